"""What all tests share: a results folder of their own, seeded randomness, and the rule for absent programs."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import settings

from tests.private_mongod import PrivateMongod, find_mongod, start_private_mongod

if TYPE_CHECKING:
    from tests.browser.headless import Browser

# Two workers share the cores, so a single slow example proves nothing; a failing one must fail again.
settings.register_profile("qdip", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("qdip")

os.environ.setdefault("MPLBACKEND", "Agg")
# Workers of xdist have a width, to which a terminal's lines would be broken; a test that is about widths sets its own.
os.environ.pop("COLUMNS", None)
# A shell starts what it runs in the background deaf to Ctrl-C, and every program that a test starts would inherit it.
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.path.append(str(Path(__file__).resolve().parents[1] / "scripts"))  # what writes the crystal library is tested, too


FIRST = ("integration/test_dft_study", "integration/test_dft_", "cluster/", "integration/", "browser/", "test_")
"""Beginnings of the files that take longest, the longest first: those that run the codes, then whole studies and
clusters.  A fixture of a quarter of an hour that starts last leaves the other core with nothing to do."""

TESTS = Path(__file__).parent


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Start the slow files first, unless the order is random."""
    if not config.getoption("random_order_enabled", default=False):
        items.sort(key=lambda item: _place_of(item.path.relative_to(TESTS).as_posix()))


def _place_of(file: str) -> int:
    return next((place for place, start in enumerate(FIRST) if file.startswith(start)), len(FIRST))


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test whose program is absent on a user's machine; fail it where QDIP_CI is set."""
    for marker in item.iter_markers("needs_binary"):
        require_binary(marker.args[0])


def require_binary(name: str) -> None:
    """Skip the running test if a program is absent, or fail it if QDIP_CI says that nothing may be skipped."""
    if shutil.which(name) is None:
        skip_or_fail(f"the program {name} is not on PATH")


def skip_or_fail(reason: str) -> None:
    """Skip the running test, or fail it if QDIP_CI says that nothing may be skipped."""
    if os.environ.get("QDIP_CI"):
        pytest.fail(f"{reason}, and QDIP_CI is set", pytrace=False)
    pytest.skip(reason)


@pytest.fixture
def repository() -> Path:
    """The root of the checkout."""
    return Path(__file__).resolve().parents[1]


@pytest.fixture
def results_folder(tmp_path: Path) -> Path:
    """A results folder that does not exist yet."""
    return tmp_path / "qdip-results"


@pytest.fixture
def rng() -> np.random.Generator:
    """Random numbers that are the same in every run."""
    return np.random.default_rng(20200206)


@pytest.fixture(scope="session")
def mongod() -> Iterator[PrivateMongod]:
    """A MongoDB server of this test run, with passwords required."""
    program = find_mongod()
    if program is None:
        skip_or_fail("there is no mongod on PATH and none in this environment (make mongod)")
    else:
        with start_private_mongod(program) as server:
            yield server


@pytest.fixture
def mongo_uri(mongod: PrivateMongod) -> Iterator[str]:
    """The address, with the password, of a database that is empty and that is removed after the test."""
    from pymongo import MongoClient

    name = f"test_{secrets.token_hex(8)}"
    yield mongod.database_uri(name)
    with MongoClient[dict[str, object]](mongod.uri) as client:
        client.drop_database(name)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A browser for the tests of pages, started once for each file of tests."""
    from tests.browser.headless import start_browser

    for program in ("chromium", "chromedriver"):
        require_binary(program)
    with start_browser(tmp_path_factory.mktemp("screenshots")) as started:
        yield started

"""What all tests share: a results folder of their own, seeded randomness, and the rule for absent programs."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

# Two workers share the cores, so a single slow example proves nothing; a failing one must fail again.
settings.register_profile("qdip", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("qdip")

os.environ.setdefault("MPLBACKEND", "Agg")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test whose program is absent on a user's machine; fail it where QDIP_CI is set."""
    for marker in item.iter_markers("needs_binary"):
        require_binary(marker.args[0])


def require_binary(name: str) -> None:
    """Skip the running test if a program is absent, or fail it if QDIP_CI says that nothing may be skipped."""
    if shutil.which(name) is not None:
        return
    reason = f"the program {name} is not on PATH"
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

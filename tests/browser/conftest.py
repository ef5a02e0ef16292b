"""A browser for the tests of pages, started once for each file of tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.browser.headless import Browser, start_browser
from tests.conftest import require_binary


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    for program in ("chromium", "chromedriver"):
        require_binary(program)
    with start_browser(tmp_path_factory.mktemp("screenshots")) as started:
        yield started

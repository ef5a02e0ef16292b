"""The page about the codes says what the engines declare and what the tests run."""

from __future__ import annotations

import runpy
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_page_of_the_codes_is_current() -> None:
    table = runpy.run_path(str(ROOT / "scripts" / "write_codes_table.py"))
    page = (ROOT / "docs" / "codes.md").read_text(encoding="utf-8")
    assert page == table["write_page"](), "run python scripts/write_codes_table.py"

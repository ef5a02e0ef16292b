"""The page of a result says how to make it again: whoever does as it says gets the same numbers."""

from __future__ import annotations

import html
import json
import re
import shlex
from pathlib import Path

import pytest

from tests.command_line import qdip

TOY_STUDY = Path(__file__).parents[1] / "data" / "toy-study.yaml"


def read_block(page: str, name: str) -> str:
    """Return the text of a block that can be copied."""
    found = re.search(rf'<pre id="{name}"[^>]*><code>(.*?)</code></pre>', page, re.DOTALL)
    assert found is not None, f"the page has no block {name}"
    return html.unescape(found[1])


def test_doing_what_the_page_says_gives_the_same_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = tmp_path / "first"
    said = qdip("run", TOY_STUDY, "--results", first, "--quiet").stdout
    path = Path(next(line for line in said.splitlines() if line.startswith("Report: ")).removeprefix("Report: "))
    page = path.read_text(encoding="utf-8")
    again = tmp_path / "again"
    again.mkdir()
    monkeypatch.chdir(again)
    (again / "toy-study.yaml").write_text(read_block(page, "study-file"), encoding="utf-8")
    for command in read_block(page, "commands").splitlines():
        program, *arguments = shlex.split(command)
        assert program == "qdip"
        qdip(*arguments)
    old, new = (
        json.loads((folder / "reports" / "toy-study" / "report.json").read_text(encoding="utf-8"))
        for folder in (first, again / "toy-study-again")
    )
    assert new["stabilization"] == old["stabilization"]
    assert new["settings"] == old["settings"]
    assert new["calculations"] == old["calculations"]

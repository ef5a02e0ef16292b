"""Every block in README and docs is run or parsed, and every link leads somewhere."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted(
    [
        *ROOT.glob("*.md"),
        *(ROOT / "docs").rglob("*.md"),
        *(page for folder in ("structures", "workflows", "fireworks_config") for page in (ROOT / folder).rglob("*.md")),
    ]
)
FENCE = re.compile(r"^(?P<indent> *)```(?P<language>\w*)\n(?P<text>.*?)^(?P=indent)```$", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
QUICK = ("doctor", "structures", "match", "plan", "status")
"""Commands that run no calculation: they are run for real."""


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block of a page."""

    page: Path
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.text.strip().splitlines()[0][:40]}"


def blocks(*languages: str) -> list[Block]:
    """Return all blocks of the given languages, in page order."""
    found = [
        Block(page, match["language"], match["text"]) for page in PAGES for match in FENCE.finditer(page.read_text())
    ]
    return [block for block in found if block.language in languages]


def commands() -> list[str]:
    """Return each line of the console blocks that a reader would type."""
    lines = [line for block in blocks("console") for line in block.text.splitlines()]
    return sorted({line.removeprefix("$ ") for line in lines if line.startswith("$ ")})


def heading_anchors(page: Path) -> set[str]:
    """Return the anchors that the headings of a page get."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_block_has_a_language_that_is_checked() -> None:
    known = {"console", "python", "yaml", "text"}
    found = {match["language"] for page in PAGES for match in FENCE.finditer(page.read_text())}
    assert found <= known


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_resolves(page: Path) -> None:
    for target in LINK.findall(page.read_text()):
        if "://" in target or target.startswith("mailto:"):
            continue
        name, _, anchor = target.partition("#")
        linked = (page.parent / name).resolve() if name else page
        assert linked.exists(), f"{target} does not exist"
        assert not anchor or anchor in heading_anchors(linked), f"{target}: no such heading"


def test_the_readme_has_at_most_120_lines() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 120


def test_the_readme_shows_what_the_demo_printed() -> None:
    shown = (ROOT / "README.md").read_text().partition("<!-- demo-output -->")[2].partition("<!-- /demo-output -->")[0]
    assert "eV" in shown, "paste the output of `make demo` between the two demo-output marks"


@pytest.mark.parametrize("name", ["pbs-fapbi3.png", "pbs-fapbi3-dark.png"])
def test_the_picture_of_the_readme_is_that_of_its_numbers(name: str) -> None:
    with Image.open(ROOT / "docs" / "pictures" / name) as picture:
        sentence = picture.text["Description"]
    words = " ".join((ROOT / "README.md").read_text().split())
    assert sentence in words, "run `make demo`, paste its output, then `make picture`"
    number = re.search(r"\S+ ± \S+", sentence)
    assert number is not None
    assert number[0] in words.partition("![")[2].partition("](")[0], "the alternative text has another number"


def test_the_terminal_blocks_hold_only_commands() -> None:
    for block in blocks("console"):
        for line in block.text.splitlines():
            assert line.startswith("$ "), f"{block}: {line!r} is neither a command nor run; show output in a text block"


@pytest.mark.parametrize("command", commands())
def test_every_command_is_one_that_exists(command: str, tmp_path: Path) -> None:
    program, *arguments = shlex.split(command)
    name = Path(program).name
    if name == "make":
        check_make_target(arguments)
    elif name == "qdip":
        check_qdip_command(arguments, tmp_path)
    elif "pip" in arguments:
        check_extras(arguments)
    else:
        assert name in {"git", "cd", "python3.11"}, f"{command} is not checked"


def check_make_target(arguments: list[str]) -> None:
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert [word for word in arguments if "=" not in word and word not in targets] == []


def check_extras(arguments: list[str]) -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    asked = re.findall(r"\[([\w,]+)\]", " ".join(arguments))
    assert {extra for group in asked for extra in group.split(",")} <= set(extras)


def check_qdip_command(arguments: list[str], folder: Path) -> None:
    """Run a quick command for real; of one that computes or needs an earlier result, check the words it takes."""
    for name, text in zip(("my-study.yaml", "another-study.yaml"), study_texts(), strict=False):
        (folder / name).write_text(text)
    if arguments[0] in QUICK:
        run_qdip(arguments, folder)
        return
    explained = run_qdip([*arguments, "--help"], folder)
    assert [word for word in arguments if word.startswith("--") and word not in explained] == []


def run_qdip(arguments: list[str], folder: Path) -> str:
    """Return what a qdip command prints, with the code of this checkout."""
    done = subprocess.run(
        [sys.executable, "-c", "from qdip_dft.cli import main; main()", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, f"qdip {shlex.join(arguments)}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def study_texts() -> list[str]:
    """Return the YAML blocks that are whole studies."""
    return [block.text for block in blocks("yaml") if re.search(r"^phases:", block.text, re.MULTILINE)]


@pytest.mark.parametrize("block", blocks("yaml"), ids=str)
def test_every_yaml_block_can_be_read_and_every_study_is_valid(block: Block) -> None:
    import yaml

    from qdip_dft.model.campaign import CampaignSpec
    from qdip_dft.planning.campaign import expand
    from qdip_dft.planning.study_files import validate_study

    content = yaml.safe_load(block.text)
    assert content is not None
    if "phases" in content:
        validate_study(content, source=str(block))
    if "dots" in content:
        assert list(expand(CampaignSpec.model_validate(content)))


@pytest.mark.parametrize("block", blocks("python"), ids=str)
def test_every_python_block_runs(block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    exec(compile(block.text, str(block.page), "exec"), {"__name__": "documentation"})

"""The first words that a user tries: a version, another word for a command, the file of a study in place of its id."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from qdip_dft.cli.app import COMMANDS, SYNONYMS
from qdip_dft.runtime.line_width import wrap_line
from qdip_dft.version import __version__
from tests.command_line import qdip

LONG_NAME = "a-study-with-the-longest-name-of-all-that-are-here"


def test_the_version_is_printed() -> None:
    assert qdip("--version").stdout == f"qdip_dft {__version__}\n"


def test_a_synonym_means_a_command_that_exists_and_is_none_itself() -> None:
    names = {name for commands in COMMANDS.values() for name in commands}
    assert set(SYNONYMS.values()) <= names | {"--version"}
    assert not names & set(SYNONYMS)


@pytest.mark.parametrize(("word", "meant"), [("compute", "qdip run"), ("statsu", "status"), ("why", "qdip explain")])
def test_a_wrong_word_is_answered_with_the_command_that_it_means(word: str, meant: str) -> None:
    refused = qdip(word, check=False)
    assert refused.returncode == 2
    assert meant in refused.stderr


def test_a_report_is_asked_for_by_the_file_of_its_study(tmp_path: Path) -> None:
    (tmp_path / "qdip-results").mkdir()
    study = Path(__file__).parents[1] / "data" / "toy-study.yaml"
    refused = qdip("report", study, "--results", tmp_path / "qdip-results", check=False)
    assert "no result called 'toy-study'" in refused.stderr


@pytest.mark.needs_binary("bash")
@pytest.mark.parametrize(
    ("typed", "offered"), [("qdip sta", "status"), ("qdip db ba", "backup"), ("qdip run quick", "quickstart"),
                           ("qdip plan --js", "--json"), ("qdip run my-fi", "")],
)  # fmt: skip
def test_a_shell_completes_commands_options_and_studies(typed: str, offered: str) -> None:
    """Where nothing is offered bash completes files."""
    ask = f'COMP_WORDS=({typed}); COMP_CWORD={len(typed.split()) - 1}; _qdip_completion qdip; echo "${{COMPREPLY[*]}}"'
    path = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    script = f'eval "$(_QDIP_COMPLETE=source_bash qdip)"; {ask}'
    done = subprocess.run(["bash", "-c", script], env=os.environ | path, capture_output=True, text=True, check=True)
    assert done.stdout.split() == offered.split()


def test_the_doctor_ends_with_one_line(tmp_path: Path) -> None:
    said = qdip("doctor", "--results", tmp_path / "results").stdout.splitlines()
    assert said[-1] == "ready: qdip run quickstart"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a study, and its results with the toy potential; one of them has a long id."""
    folder = tmp_path_factory.mktemp("columns")
    study = Path(shutil.copy(Path(__file__).parents[1] / "data" / "toy-study.yaml", folder / "my-study.yaml"))
    (folder / "other-study.yaml").write_text(study.read_text().replace("name: toy-study", f"name: {LONG_NAME}"))
    for each in (study, folder / "other-study.yaml"):
        qdip("run", each, "--results", folder / "qdip-results", "--workers", 1)
    return folder


@pytest.mark.parametrize(
    "command",
    ["--help", *(f"{name} --help" for commands in COMMANDS.values() for name in commands),
     "doctor", "structures list", "structures show FAPbI3-delta", "structures check CsPbI3-delta",
     "structures terminations FAPbI3-delta 100", "match PbS FAPbI3 --planes 2", "match PbS 111 FAPbI3-alpha 100",
     "plan quickstart", "plan my-study.yaml", "plan campaigns/lead-chalcogenides", "run my-study.yaml", "status",
     "status my-study.yaml", "report toy-study --for print", "explain toy-study", "query",
     "query --columns id,dot,total", f"compare toy-study {LONG_NAME}", "atlas", "size toy-study", "show FAPbI3-delta",
     "dot PbS --diameter 20", "inputs my-study.yaml --write written", "temperature toy-study --to 100",
     "export toy-study --extxyz written.extxyz",
     "db check qdip-results", "db upgrade qdip-results", "converge my-study.yaml --what layers --to 5eV"],
)  # fmt: skip
def test_everything_fits_eighty_columns(command: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("COLUMNS", "80")
    said = qdip(*command.split())
    printed = [*said.stdout.splitlines(), *said.stderr.splitlines()]
    assert printed
    assert [line for line in printed if len(line) > 80 and " " in line.strip()] == []  # a path stays whole


@pytest.mark.parametrize("command", ["report nothing", "run nothing", "show my-study.yaml", "match PbS"])
def test_refusals_fit_eighty_columns(command: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("COLUMNS", "80")
    refused = qdip(*command.split(), check=False)
    assert refused.returncode == 2
    assert [line for line in refused.stderr.splitlines() if len(line) > 80] == []


def test_where_no_width_is_known_no_line_is_broken(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.delenv("COLUMNS", raising=False)
    assert f"\n{LONG_NAME}  PbTe " in qdip("query").stdout
    assert len(qdip("run", "nothing", check=False).stderr.splitlines()) == 4


def test_a_command_in_a_message_is_not_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    said = wrap_line("it is not there: `python -m pip install a-package-with-a-name` brings it", indent=4)
    assert said.splitlines() == [
        "it is not there:", "    `python -m pip install a-package-with-a-name`", "    brings it"
    ]  # fmt: skip


def test_numbers_have_a_minus_that_a_spreadsheet_reads(folder: Path) -> None:
    results = ("--results", folder / "qdip-results")
    printed = (
        qdip("report", "toy-study", *results).stdout + qdip("query", *results).stdout + qdip("status", *results).stdout
    )
    rows = [
        line for line in printed.splitlines() if line.startswith(("black ", "yellow ", "competitor ", "toy-study "))
    ]
    numbers = [word for row in rows for word in row.split() if word.lstrip("+-−").replace(".", "").isdigit()]
    assert any(number.startswith("-") for number in numbers)
    assert [number for number in numbers if number.startswith("−")] == []

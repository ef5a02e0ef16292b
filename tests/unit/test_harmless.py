"""Nothing that files, codes or databases say steers a terminal, a spreadsheet or an encoding."""

from __future__ import annotations

import csv
import io
import json
import os
import random
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from qdip_dft.cli.terminal import HarmlessStream
from qdip_dft.results.writing import guard_cell
from qdip_dft.runtime.harmless import escape_steering, make_harmless
from qdip_dft.storage.results_folder import ResultsFolder
from tests.command_line import QDIP, qdip
from tests.synthetic_results import make_results

ATTACKS = (
    "\x1b[2J\x1b[H",
    "\x1b]0;title\x07",
    "\x1b]8;;http://evil.example.org\x1b\\click\x1b]8;;\x1b\\",
    "\x1b]52;c;cm0gLXJm\x07",
    "\x1b[1A\x1b[2Kstabilization −9.999",
    "\x1b[8mhidden",
    "\x9b31mred",
    "\u202egnp.exe",
    "\u2066left\u2069",
    "line\rover",
    "bell\x07\x08\x08",
    "\x1bPq#0;2;0;0;0\x1b\\",
    "\x00\x7f",
)
STEERS = set(map(chr, (*range(9), *range(11, 32), *range(127, 160)))) | set(
    "\u202a\u202b\u202c\u202d\u202e\u2066\u2067"
)


@pytest.mark.parametrize("attack", ATTACKS, ids=range(len(ATTACKS)))
def test_nothing_steers_the_terminal(attack: str) -> None:
    assert not STEERS & set(make_harmless(f"before {attack} after"))
    assert make_harmless("Δσ = −3.1 meV/Å²\t✓\n") == "Δσ = −3.1 meV/Å²\t✓\n"


def test_colours_of_our_own_pass_on_a_terminal_and_nothing_else() -> None:
    assert make_harmless("\x1b[1;31mred\x1b[0m", has_colours=True) == "\x1b[1;31mred\x1b[0m"
    for attack in ATTACKS:
        assert "\x1b]" not in make_harmless(attack, has_colours=True)
        assert "\x1b[8m" not in make_harmless(attack, has_colours=True)
        assert "\x1b[2" not in make_harmless(attack, has_colours=True)


@pytest.mark.parametrize("attack", ATTACKS, ids=range(len(ATTACKS)))
def test_json_keeps_its_values_and_steers_nothing(attack: str) -> None:
    text = escape_steering(json.dumps({"text": attack}, ensure_ascii=False))
    assert json.loads(text) == {"text": attack}
    assert not STEERS & set(text)


def test_random_text_never_steers() -> None:
    chance = random.Random(18)
    stream = io.StringIO()
    harmless = HarmlessStream(stream)
    for _ in range(2000):
        harmless.write("".join(chr(chance.choice((27, 91, 93, 109, chance.randrange(0x2100)))) for _ in range(30)))
    assert not STEERS & set(stream.getvalue())


@pytest.mark.parametrize("text", ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\t=1", "\r=1"])
def test_no_cell_is_a_formula(text: str) -> None:
    assert guard_cell(text) == f"'{text}"
    assert guard_cell(-1.5) == -1.5
    assert guard_cell(None) is None
    assert guard_cell("PbS(111)") == "PbS(111)"


@pytest.fixture
def hostile_results(tmp_path: Path) -> Path:
    """A result whose every text attacks."""
    results = tmp_path / "results"
    with closing(ResultsFolder(results).collection("stabilizations")) as store:
        for number, document in enumerate(make_results(len(ATTACKS))):
            attack = f"=cmd{ATTACKS[number]}"
            document["study"]["dot"]["material"] = attack
            document["study"]["host"] = attack
            document["stabilization"]["sentence"] = attack
            document["stabilization"]["black"] = attack
            store.update(document)
    return results


@pytest.mark.parametrize("form", [(), ("--csv",), ("--json",), ("--table",)])
def test_hostile_results_are_listed_without_steering_anything(form: tuple[str, ...], hostile_results: Path) -> None:
    listed = qdip("query", *form, "--results", hostile_results)
    assert not STEERS & set(listed.stdout)
    if form == ("--csv",):
        cells = [cell for row in csv.reader(io.StringIO(listed.stdout)) for cell in row]
        assert not [cell for cell in cells if cell.startswith(("=", "@", "+"))]


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
def test_what_an_encoding_lacks_degrades(encoding: str, hostile_results: Path) -> None:
    """Commands must not fail at their last line because a terminal has no Å."""
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
    for command in (("query", "--table"), ("structures", "list"), ("match", "PbS", "111", "FAPbI3-alpha", "100")):
        place = ("--results", str(hostile_results)) if command[0] == "query" else ()
        done = subprocess.run([*QDIP, *command, *place], env=environment, capture_output=True, timeout=120, check=False)
        assert b"Traceback" not in done.stderr, done.stderr
        assert done.returncode == 0, done.stderr
        done.stdout.decode(encoding)


def test_an_error_does_not_steer_the_terminal() -> None:
    refused = subprocess.run(
        [*QDIP, "report", "\x1b[2J\x1b]0;x\x07", "--results", "/nonexistent/\x1b[2J"],
        capture_output=True, text=True, check=False, timeout=60, env={**os.environ, "PYTHONUTF8": "1"},
    )  # fmt: skip
    assert refused.returncode == 2
    assert not STEERS & set(refused.stderr)
    assert sys.platform == "win32" or "�[2J" in refused.stderr

"""Results files with changed bytes: no traceback, no wrong number, everything sound is saved, the rest is named."""

from __future__ import annotations

import json
import logging
import random
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from qdip_dft.execution.local import run_study
from qdip_dft.planning.plan import plan_study
from qdip_dft.planning.study_files import read_study
from qdip_dft.storage.checkup import SET_ASIDE
from qdip_dft.storage.results_folder import ResultsFolder, open_archive
from tests.command_line import Outcome, assert_four_parts, qdip

TOY_STUDY = Path(__file__).parents[1] / "data" / "toy-study.yaml"
N_CORRUPTIONS = 80
PAGE_BYTES = 4096


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The file of a finished study, without a log."""
    results = tmp_path_factory.mktemp("sound") / "results"
    run_study(plan_study(read_study(str(TOY_STUDY))), results=results)
    with closing(sqlite3.connect(results / "qdip.sqlite")) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
    return (results / "qdip.sqlite").read_bytes()


@pytest.fixture
def own(sound: bytes, tmp_path: Path) -> Path:
    results = tmp_path / "results"
    results.mkdir()
    (results / "qdip.sqlite").write_bytes(sound)
    return results


def corrupt(content: bytes, chance: random.Random) -> bytes:
    """Return the file with flipped bits, a lost page, overwritten text or header, or cut short."""
    damaged = bytearray(content)
    kind = chance.choice(("bits", "bits", "bits", "page", "text", "header", "cut"))
    if kind == "bits":
        for _ in range(chance.choice((1, 3, 30))):
            damaged[chance.randrange(len(damaged))] ^= 1 << chance.randrange(8)
    elif kind == "page":
        start = chance.randrange(len(damaged) // PAGE_BYTES) * PAGE_BYTES
        damaged[start : start + PAGE_BYTES] = chance.choice((bytes(PAGE_BYTES), chance.randbytes(PAGE_BYTES)))
    elif kind == "text":
        start = chance.randrange(len(damaged) - 40)
        damaged[start : start + 40] = chance.choice((b'"', b"{", b"\xff", b"9", b"\0", b"[")) * 40
    elif kind == "header":
        for _ in range(3):
            damaged[chance.randrange(100)] = chance.randrange(256)
    else:
        del damaged[chance.randrange(len(damaged)) :]
    return bytes(damaged)


def list_numbers(outcome: Outcome) -> object:
    return json.loads(outcome.stdout)["stabilization"]


@pytest.mark.parametrize("seed", range(8))
def test_a_tenth_of_eighty_corruptions_gives_no_traceback_and_no_other_number(
    seed: int, sound: bytes, own: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    expected = list_numbers(qdip("report", "toy-study", "--json", "--results", own))
    chance = random.Random(seed)
    for _ in range(N_CORRUPTIONS // 8):
        for left in own.glob("qdip.sqlite*"):
            left.unlink()
        (own / "qdip.sqlite").write_bytes(corrupt(sound, chance))
        for command in (("query",), ("report", "toy-study", "--json"), ("status",)):
            outcome = qdip(*command, "--results", own, check=False)
            if outcome.returncode:
                assert_four_parts(outcome, "", code=2)
            elif command[0] == "report":
                assert list_numbers(outcome) == expected
        assert qdip("db", "check", own, check=False).returncode in (0, 1, 2)
        qdip("db", "repair", own)
        assert "0 findings" in qdip("db", "check", own).stdout


def spoil_row(results: Path, collection: str, text: str, row: int = 1) -> None:
    """Overwrite a document with something that is none."""
    with closing(sqlite3.connect(results / "qdip.sqlite")) as connection:
        connection.execute("PRAGMA ignore_check_constraints = ON")
        found = connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger' OR type = 'index'").fetchall()
        for (name,) in found:
            kind = "INDEX" if ":" in name or name.rpartition("_")[2].isdigit() else "TRIGGER"
            connection.execute(f'DROP {kind} IF EXISTS "{name}"')
        connection.execute(f"UPDATE {collection} SET doc = ? WHERE id = ?", (text, row))
        connection.commit()


NO_DOCUMENTS = (
    "{",
    "",
    "[1, 2]",
    "12",
    "null",
    '{"output": ' + "9" * 5000 + "}",
    "[" * 100_000,
    '{"a": 1}',
    '{"output": []}',
)


@pytest.mark.parametrize("text", NO_DOCUMENTS, ids=range(len(NO_DOCUMENTS)))
@pytest.mark.parametrize("collection", ["calculations", "stabilizations"])
def test_one_bad_document_blocks_no_command(collection: str, text: str, own: Path) -> None:
    spoil_row(own, collection, text)
    for command in (("query",), ("status",), ("atlas", "--out", own / "atlas.html")):
        assert qdip(*command, "--results", own).returncode == 0
    archive = open_archive(ResultsFolder(own))
    assert len(list(archive.list_calculations())) == (25 if collection == "stabilizations" else 24)
    checked = qdip("db", "check", own, leaves_with=1)
    assert collection in checked.stdout


def test_a_bad_calculation_is_made_again_and_a_repair_sets_the_bad_one_aside(own: Path) -> None:
    spoil_row(own, "calculations", '{"output": {"key": ')
    qdip("run", TOY_STUDY, "--quiet", "--workers", 1, "--results", own)
    assert len(list(open_archive(ResultsFolder(own)).list_calculations())) == 25
    repaired = qdip("db", "repair", own)
    assert "set aside: calculations row 1: its text is no document any more" in repaired.stdout
    with closing(sqlite3.connect(own / "qdip.sqlite")) as connection:
        rows = connection.execute(f"SELECT collection, doc FROM {SET_ASIDE}").fetchall()
    assert rows == [("calculations", b'{"output": {"key": ')]
    assert "0 findings" in qdip("db", "check", own).stdout


def test_a_changed_summary_is_not_shown(own: Path) -> None:
    """The summary beside the results is what `qdip query` reads: a digit changed there must not be believed."""
    with closing(sqlite3.connect(own / "qdip.sqlite")) as connection:
        (name,) = next(iter(connection.execute("SELECT name FROM sqlite_master WHERE name GLOB '*_summary_????????'")))
        connection.execute(f"""UPDATE "{name}" SET doc = replace(doc, '"total_ev_per_fu":', '"total_ev_per_fu":9')""")
        connection.commit()
    shown = json.loads(qdip("query", "--json", "--results", own).stdout)
    (result,) = open_archive(ResultsFolder(own)).list_stabilizations()
    assert shown[0]["stabilization_total_ev_per_fu"] == pytest.approx(result.stabilization.total_ev_per_fu)
    assert "the summary of the results differs" in qdip("db", "check", own, leaves_with=1).stdout


def test_a_folder_of_nothing_is_not_repaired(tmp_path: Path) -> None:
    assert_four_parts(qdip("db", "repair", tmp_path, check=False), "does not exist")
    assert list(tmp_path.iterdir()) == []


def test_a_foreign_file_is_neither_repaired_nor_touched(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "qdip.sqlite")) as connection:
        connection.execute("CREATE TABLE invoices (id)")
    before = (tmp_path / "qdip.sqlite").read_bytes()
    assert_four_parts(qdip("db", "repair", tmp_path, check=False), "was not written by qdip_dft")
    assert (tmp_path / "qdip.sqlite").read_bytes() == before


def walk(folder: Path) -> Iterator[str]:
    return (path.name for path in folder.iterdir())


def test_a_repair_keeps_the_damaged_file(own: Path) -> None:
    content = bytearray((own / "qdip.sqlite").read_bytes())
    content[PAGE_BYTES * 3 : PAGE_BYTES * 4] = bytes(PAGE_BYTES)
    (own / "qdip.sqlite").write_bytes(content)
    qdip("db", "repair", own)
    (kept,) = (name for name in walk(own) if "damaged" in name)
    assert (own / kept).read_bytes() == bytes(content)

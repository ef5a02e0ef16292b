"""Checkpoints: a line that is not what was written is no entry."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from qdip_dft.builders.registry import GapPoint
from qdip_dft.errors import ScratchError
from qdip_dft.runtime.journal import append_entry, read_entries
from qdip_dft.runtime.unlinked import open_unlinked, replace_text
from qdip_dft.tasks.registry_scan import Checkpoint

ENTRIES = [["as cut at 0.0000, 0.0000 +0.2 Å", 0.2, -431.25 - index, 0.5] for index in range(6)]


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    for entry in ENTRIES:
        append_entry(tmp_path / "journal", entry)
    return tmp_path / "journal"


def test_what_was_written_is_read_in_order(journal: Path) -> None:
    assert list(read_entries(journal)) == ENTRIES


@pytest.mark.parametrize("seed", range(60))
def test_no_damage_of_a_byte_gives_another_entry(seed: int, journal: Path) -> None:
    chance, content = random.Random(seed), bytearray(journal.read_bytes())
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    journal.write_bytes(bytes(content))
    found = list(read_entries(journal))
    assert len(found) >= len(ENTRIES) - 2
    assert all(entry in ENTRIES for entry in found)


@pytest.mark.parametrize("n_lost", [1, 7, 40, 75, 200])
def test_a_file_that_was_cut_keeps_whole_lines_only_and_can_go_on(n_lost: int, journal: Path) -> None:
    journal.write_bytes(journal.read_bytes()[:-n_lost])
    kept = list(read_entries(journal))
    assert kept == ENTRIES[: len(kept)]
    assert len(kept) < len(ENTRIES)
    append_entry(journal, ENTRIES[-1])
    assert list(read_entries(journal)) == [*kept, ENTRIES[-1]]


@pytest.mark.parametrize("line", ["[1, 2", json.dumps(ENTRIES[0]), "", "0" * 16 + " [1]", "null", "ÿ [1]"])
def test_a_line_without_its_checksum_is_no_entry(line: str, tmp_path: Path) -> None:
    path = tmp_path / "journal"
    path.write_text(f"{line}\n", encoding="latin-1")
    assert list(read_entries(path)) == []


def test_a_changed_digit_of_an_energy_is_calculated_again(tmp_path: Path) -> None:
    path = tmp_path / "scan.jsonl"
    first = Checkpoint(path)
    first.add("as cut", GapPoint(0.1, -431.0008, 0.0))
    first.add("flipped", GapPoint(0.2, -431.0009, 0.0))
    path.write_text(path.read_text().replace("-431.0008", "-431.3970"))
    assert set(Checkpoint(path).known) == {"flipped"}


def test_a_link_in_the_place_of_a_journal_is_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "thesis.tex"
    target.write_text("my thesis")
    (tmp_path / "journal").symlink_to(target)
    with pytest.raises(ScratchError, match="run the same again"):
        append_entry(tmp_path / "journal", [1])
    assert target.read_text() == "my thesis"


@pytest.mark.parametrize("mode", ["a", "r+", "x"])
def test_a_link_is_not_opened_in_any_mode(mode: str, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "nothing")
    with pytest.raises(OSError, match=r"symbolic links|File exists"):
        open_unlinked(tmp_path / "link", mode=mode)
    assert not (tmp_path / "nothing").exists()


def test_replacing_a_file_replaces_a_link_and_leaves_its_target(tmp_path: Path) -> None:
    target, link = tmp_path / "target", tmp_path / "run.json"
    target.write_text("mine")
    link.symlink_to(target)
    replace_text(link, "new")
    assert (link.read_text(), target.read_text()) == ("new", "mine")
    assert not link.is_symlink()

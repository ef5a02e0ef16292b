"""Two processes write into one results folder and are killed at random: what was acknowledged is there afterwards."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from qdip_dft.results.migrations import read_stabilization
from qdip_dft.results.query import list_rows
from qdip_dft.storage.location import make_results, open_results
from tests.synthetic_results import make_results as make_documents

N_DOCUMENTS = int(os.environ.get("QDIP_DRILL_DOCUMENTS", "300"))
"""Documents of each writer; the whole drill has 2000."""
N_KILLS = 10


def name_documents(writer: str) -> Iterator[dict[str, Any]]:
    for document in make_documents(N_DOCUMENTS):
        yield {**document, "id": f"{writer}-{document['id']}"}


def write_documents(folder: Path, writer: str, acknowledged: Path) -> None:
    """Store what is not acknowledged yet, one document per transaction, and note each name once it is stored."""
    done = set(acknowledged.read_text().split()) if acknowledged.exists() else set()
    archive = make_results(folder)
    with acknowledged.open("a") as notes:
        for document in name_documents(writer):
            if document["id"] not in done:
                archive.stabilizations.update(document)
                os.write(notes.fileno(), f"{document['id']}\n".encode())


def start_writers(folder: Path, tmp_path: Path) -> list[Any]:
    context = multiprocessing.get_context("fork")
    writers = [
        context.Process(target=write_documents, args=(folder, name, tmp_path / f"{name}.txt"))
        for name in ("one", "two")
    ]
    for writer in writers:
        writer.start()
    return writers


def read_acknowledged(tmp_path: Path) -> set[str]:
    """Return the names of which the whole line is there."""
    texts = [path.read_text() for path in tmp_path.glob("*.txt")]
    return {line for text in texts for line in text[: text.rfind("\n") + 1].split()}


def wait_for_documents(tmp_path: Path, count: int) -> None:
    """Wait until that many more documents are acknowledged, so that the kill falls into the writing."""
    before, end = len(read_acknowledged(tmp_path)), time.monotonic() + 120
    while len(read_acknowledged(tmp_path)) < before + count:
        assert time.monotonic() < end, "the writers stand still"
        time.sleep(0.002)


def test_two_killed_writers_lose_no_acknowledged_document(results_folder: Path, tmp_path: Path) -> None:
    chance = random.Random(7)
    for _ in range(N_KILLS):
        writers = start_writers(results_folder, tmp_path)
        wait_for_documents(tmp_path, chance.randint(1, N_DOCUMENTS // N_KILLS))
        for writer in chance.sample(writers, 2):
            os.kill(writer.pid, signal.SIGKILL)
            writer.join()
        stored = {row["id"] for row in list_rows(open_results(results_folder).stabilizations, columns=["id"])}
        assert read_acknowledged(tmp_path) <= stored
    assert len(read_acknowledged(tmp_path)) < 2 * N_DOCUMENTS
    for writer in start_writers(results_folder, tmp_path):
        writer.join()
        assert writer.exitcode == 0
    check_everything(results_folder)


def check_everything(folder: Path) -> None:
    archive = open_results(folder)
    expected = {document["id"]: document for name in ("one", "two") for document in name_documents(name)}
    stored = {document["id"]: document for document in archive.stabilizations.query({})}
    assert stored == expected
    totals = {row["id"]: row["total"] for row in list_rows(archive.stabilizations, columns=["id", "total"])}
    assert totals == {name: d["stabilization"]["total_ev_per_fu"] for name, d in expected.items()}
    for name in ("one-synthetic-000000", "two-synthetic-000299"):
        assert archive.find_stabilizations(name) == [read_stabilization(expected[name])]
    with sqlite3.connect(folder / "qdip.sqlite") as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]

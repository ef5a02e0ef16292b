"""A study on several workers: the same numbers as on one, and nothing lost or repeated when it is killed."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

QDIP = [sys.executable, "-c", "import sys; sys.argv[0] = 'qdip'; from qdip_dft.cli import main; main()"]


def start(results: Path, workers: int) -> subprocess.Popen[bytes]:
    command = [*QDIP, "run", "quickstart", "--engine", "testing", "--quiet", "--json", "--results", str(results)]
    return subprocess.Popen([*command, "--workers", str(workers)], stdout=subprocess.DEVNULL)


def read(results: Path, what: str) -> dict[str, object]:
    """Return something of every stored calculation by its job's id."""
    if not (results / "qdip.sqlite").exists():
        return {}
    with closing(sqlite3.connect(results / "qdip.sqlite", timeout=60)) as connection:
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'calculations'").fetchone():
            return {}
        rows = connection.execute(f"SELECT doc ->> '$.uuid', {what} FROM calculations").fetchall()
    assert len(rows) == len(dict(rows)), "a calculation is stored twice"
    return dict(rows)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The study calculated by one process."""
    results = tmp_path_factory.mktemp("undisturbed")
    assert start(results, 1).wait() == 1  # a toy potential keeps no phase: there is no answer
    return results


@pytest.mark.slow
def test_a_study_that_is_killed_three_times_on_two_workers_gives_the_same_numbers(
    undisturbed: Path, tmp_path: Path
) -> None:
    for way in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT):
        stored = read(tmp_path, "doc")
        run = start(tmp_path, 2)
        while run.poll() is None and len(read(tmp_path, "doc")) < len(stored) + 3:
            time.sleep(0.1)
        run.send_signal(way)
        run.wait(60)
        after = read(tmp_path, "doc")
        assert {key: after[key] for key in stored} == stored
    assert start(tmp_path, 2).wait() == 1
    energy = "doc ->> '$.output.result.energy_ev'"
    assert read(tmp_path, energy) == read(undisturbed, energy)

"""Commands that read start fast: what they do not need is not loaded."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from qdip_dft.results.archive import Archive
from qdip_dft.storage.results_folder import ResultsFolder, open_archive
from tests.synthetic_results import make_results

MANAGERS = {"jobflow", "maggma", "pymongo", "torch", "atomate2", "pandas", "plotly", "scipy.stats"}
HEAVY = MANAGERS | {"pymatgen", "monty"}
LIBRARIES = HEAVY | {"numpy", "scipy", "ase", "matplotlib"}
SEARCHES = {
    "scipy.optimize",
    "qdip_dft.builders.candidates",
    "qdip_dft.flows",
    "qdip_dft.planning.plan",
    "qdip_dft.engines",
}
SCRIPT = (
    "import sys; sys.argv[0] = 'qdip'\nfrom qdip_dft.cli import main\n"
    "try: main()\n"
    "except SystemExit as end: assert not end.code, end.code\n"
    "sys.stderr.write(' '.join(sys.modules))"
)
BARE = ("import sys; sys.argv[0] = 'qdip'; from qdip_dft.cli import main; main()",)
# Linux hands the highest memory of a parent down to `ru_maxrss` of its child; VmHWM begins anew with the program.
WITH_MEMORY = (
    "import re, sys; sys.argv[0] = 'qdip'\nfrom qdip_dft.cli import main\n"
    "try: main()\n"
    "finally: sys.stderr.write(re.search(r'VmHWM:\\s+(\\d+) kB', open('/proc/self/status').read())[1])"
)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results folder with a few synthetic results."""
    folder = tmp_path_factory.mktemp("results")
    archive: Archive = open_archive(ResultsFolder(folder))
    archive.stabilizations.update(list(make_results(3)), key="id")
    archive.close()
    return folder


@pytest.mark.parametrize(
    ("command", "unneeded"),
    [
        (["--help"], LIBRARIES | {"pydantic", "yaml", "sqlite3"}),
        (["run", "--help"], LIBRARIES | {"sqlite3"}),
        (["structures", "list"], LIBRARIES | {"sqlite3"}),
        (["status"], LIBRARIES),
        (["query"], LIBRARIES),
        (["report", "synthetic-000000"], HEAVY),
        (["match", "PbS", "111", "CsPbI3-gamma", "100"], MANAGERS | SEARCHES | {"matplotlib"}),
        (["match", "PbS", "CsPbI3", "--planes", "1"], MANAGERS | SEARCHES | {"matplotlib"}),
        (["plan", "quickstart"], MANAGERS | {"matplotlib"}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_command_loads_only_what_it_needs(command: list[str], unneeded: set[str], results: Path) -> None:
    environment = os.environ | {"QDIP_RESULTS": str(results)}
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT, *command], env=environment, capture_output=True, text=True, check=True
    )
    assert unneeded & set(run.stderr.split()) == set()


@pytest.mark.parametrize(
    ("command", "most_cpu_s"),
    [(["--help"], 0.9), (["structures", "list"], 0.9), (["status"], 1.0), (["query"], 1.0)],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_command_takes_little_processor_time(command: list[str], most_cpu_s: float, results: Path) -> None:
    """The bounds are three times what a quiet machine takes."""
    environment = os.environ | {"QDIP_RESULTS": str(results)}
    assert min(measure_cpu_s(command, environment) for _ in range(3)) < most_cpu_s


def measure_cpu_s(command: list[str], environment: dict[str, str]) -> float:
    run = subprocess.Popen([sys.executable, "-c", *BARE, *command], env=environment, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(run.pid, 0)
    run.returncode = os.waitstatus_to_exitcode(status)
    assert run.returncode == 0
    return used.ru_utime + used.ru_stime


def test_two_thousand_results_are_listed_and_drawn_from_their_summaries(tmp_path: Path) -> None:
    ResultsFolder(tmp_path).collection("stabilizations").update(list(make_results(2000)), key="id")
    environment = os.environ | {"QDIP_RESULTS": str(tmp_path)}
    for command in ("status", "atlas"):
        assert measure_cpu_s([command], environment) < 4
        run = subprocess.run(
            [sys.executable, "-c", WITH_MEMORY, command], env=environment, capture_output=True, text=True, check=True
        )
        assert int(run.stderr.split()[-1]) < 300_000
    assert not (tmp_path / "reports").exists()

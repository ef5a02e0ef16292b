"""Codes that hang, are silent, leave children behind, or are started by any launch line."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from qdip_dft.engines.cp2k.data import PROGRAM_NAMES as CP2K_NAMES
from qdip_dft.engines.espresso.engine import PROGRAM_NAMES as PW_NAMES
from qdip_dft.engines.espresso.engine import VERSION_VARIABLE, EspressoEngine
from qdip_dft.engines.programs import find_program, run_command
from qdip_dft.engines.registry import engine_from_spec
from qdip_dft.errors import EngineError, MachineError
from qdip_dft.model.engine import EngineSpec
from qdip_dft.runtime import watched
from qdip_dft.runtime.faults import explain_machine_fault
from qdip_dft.runtime.watched import IDLE_VARIABLE, LOCK, WALL_VARIABLE, WatchedProgram, read_limit


def run(script: str, folder: Path) -> int:
    return run_command(["/bin/sh", "-c", script], folder=folder, stdin=None, stdout=folder / "out")


def is_alive(process_id: int) -> bool:
    try:
        state = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def wait_until_dead(process_id: int) -> bool:
    end_s = time.monotonic() + 60
    while is_alive(process_id) and time.monotonic() < end_s:
        time.sleep(0.05)
    return not is_alive(process_id)


def test_a_code_that_ends_is_as_before(tmp_path: Path) -> None:
    assert run("echo done; exit 3", tmp_path) == 3
    assert (tmp_path / "out").read_text() == "done\n"


def test_a_silent_code_is_ended_with_its_children(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(IDLE_VARIABLE, "1")
    with pytest.raises(EngineError, match="raise the limit and run again with --retry") as failed:
        run("sleep 600 & echo $!; wait", tmp_path)
    assert "wrote nothing" in failed.value.what
    assert explain_machine_fault(failed.value) is None  # it is the failure of this calculation
    assert wait_until_dead(int((tmp_path / "out").read_text()))


def test_a_code_that_writes_is_not_silent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(IDLE_VARIABLE, "3")
    assert run("for i in 1 2 3 4 5 6 7 8; do echo $i >> log; sleep 0.5; done", tmp_path) == 0


def test_a_code_may_not_run_longer_than_its_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(WALL_VARIABLE, "1")
    with pytest.raises(EngineError, match=r"ran in .* for more than 1 s and was ended"):
        run("while true; do echo busy; sleep 0.1; done", tmp_path)


@pytest.mark.parametrize("value", ["soon", "-1", "nan", "inf", ""])
def test_a_limit_that_is_no_number_is_refused(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(IDLE_VARIABLE, value)
    with pytest.raises(EngineError, match="or set it as in: export QDIP_IDLE_LIMIT=7200"):
        read_limit(IDLE_VARIABLE, 1.0)


PARENT = """
import sys
from pathlib import Path
from qdip_dft.engines.programs import run_command
folder = Path(sys.argv[1])
run_command(["/bin/sh", "-c", "sleep 600 & echo $! > child; wait"], folder=folder, stdin=None, stdout=folder / "out")
"""


def test_a_kill_ends_what_a_wrapper_script_has_started(tmp_path: Path) -> None:
    """The kernel ends the script with its parent; the program that it started would go on in the next run's folder."""
    with subprocess.Popen([sys.executable, "-c", PARENT, tmp_path]) as parent:
        child = tmp_path / "child"
        while not child.exists() or not child.read_text().strip():
            time.sleep(0.05)
        number = int(child.read_text())
        assert is_alive(number)
        os.kill(parent.pid, signal.SIGKILL)
    assert wait_until_dead(number)
    assert run("true", tmp_path) == 0


def test_no_second_code_starts_while_one_works_in_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watched, "LOCK_PATIENCE_S", 0.3)
    script = "setsid sleep 600 > /dev/null 2>&1 & echo $!; exit 0"  # it leaves the process group, but keeps the lock
    assert run(script, tmp_path) == 0
    survivor = int((tmp_path / "out").read_text())
    try:
        with pytest.raises(MachineError, match=f"one code at a time works in a folder \\({LOCK} is locked\\)"):
            run("true", tmp_path)
    finally:
        os.kill(survivor, signal.SIGKILL)
    assert wait_until_dead(survivor)
    assert run("true", tmp_path) == 0


def test_the_guard_ends_with_the_code(tmp_path: Path) -> None:
    with WatchedProgram(["/bin/true"], folder=tmp_path) as program:
        guard = program._guard
        assert guard is not None
        assert program.wait() == 0
    assert guard.poll() is not None


LINES = (
    ("mpirun -n 8 pw.x -nk 4", "pw.x"),
    ("pw.x", "pw.x"),
    ("srun --mpi=pmix /opt/qe/bin/pw.x -npool 2 -ndiag 1", "/opt/qe/bin/pw.x"),
    ("mpirun -np 4 singularity exec qe.sif pw.x -nk 2", "pw.x"),
    ("env OMP_NUM_THREADS=1 mpirun -n 2 pw-mpi.x -nk 2", "pw-mpi.x"),
)


@pytest.mark.parametrize(("line", "program"), LINES)
def test_the_program_of_any_launch_line_is_found(line: str, program: str) -> None:
    assert find_program(line.split(), names=PW_NAMES) == program


def test_the_program_of_cp2k_is_found_before_its_options() -> None:
    assert find_program(["mpirun", "-n", "8", "cp2k.psmp", "--mpi-mapping", "2"], names=CP2K_NAMES) == "cp2k.psmp"


def test_of_a_script_of_ones_own_the_last_program_is_asked() -> None:
    assert find_program(["env", "A=1", "sh", "-x"], names=PW_NAMES) == "sh"


def test_a_declared_version_is_enough(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    script = tmp_path / "run-pw.sh"
    script.write_text("#!/bin/sh\nexit 1\n")
    script.chmod(0o755)
    monkeypatch.setattr("qdip_dft.engines.espresso.engine.configured_command", lambda: [str(script), "-nk", "4"])
    engine = engine_from_spec(EngineSpec(name="espresso"))
    assert isinstance(engine, EspressoEngine)
    monkeypatch.delenv(VERSION_VARIABLE, raising=False)
    with pytest.raises(EngineError, match=f"declare it \\({VERSION_VARIABLE}=7.2\\)"):
        engine.code_version()
    monkeypatch.setenv(VERSION_VARIABLE, "7.3")
    assert engine.code_version() == "7.3"

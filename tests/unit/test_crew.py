"""Worker processes: side by side, one thread each, and no death of a process becomes a fact about a structure."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from qdip_dft.errors import ScratchError
from qdip_dft.execution.crew import WorkerCrew, explain_given_up
from qdip_dft.execution.machine import choose_workers, count_cores, free_memory_gib

HERE = Path(__file__).parent
sys.path.append(str(HERE))  # workers import what they are sent by the name of its module alone
Errand: Any = import_module("errands").Errand


@pytest.fixture
def crew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WorkerCrew]:
    """Two workers that find the tests' errands."""
    monkeypatch.setenv("PYTHONPATH", str(HERE))
    with WorkerCrew(2, tmp_path) as two:
        yield two


def carry_out(crew: WorkerCrew, *errands: Any) -> dict[str, Any]:
    waiting, found = list(errands), {}
    while waiting or crew.is_busy:
        while waiting and crew.is_free:
            crew.start(waiting.pop(0))
        found |= {outcome.assignment.key: outcome.record for outcome in crew.wait()}
    return found


def is_running(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    return "Z" not in Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[0]


def wait_until(is_so: Any, *, at_most_s: float = 30) -> None:
    deadline = time.monotonic() + at_most_s
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_two_workers_share_the_errands_with_one_thread_each(crew: WorkerCrew) -> None:
    found = carry_out(crew, *(Errand(f"errand-{index}") for index in range(6)))
    assert len(found) == 6
    assert len({answer["process_id"] for answer in found.values()} - {os.getpid()}) == 2
    assert {answer["threads"] for answer in found.values()} == {"1"}


def test_a_worker_that_is_killed_is_replaced_and_its_errand_tried_once_more(crew: WorkerCrew) -> None:
    found = carry_out(crew, Errand("unlucky", "die once"), Errand("other"))
    assert found["unlucky"]["key"] == "unlucky"
    assert found["other"] is not None
    assert not crew.given_up


def test_what_kills_two_workers_is_given_up_and_named_and_the_rest_goes_on(crew: WorkerCrew) -> None:
    found = carry_out(crew, Errand("deadly", "die"), Errand("first"), Errand("second"))
    assert found["deadly"] is None
    assert all(found[key] is not None for key in ("first", "second"))
    error = explain_given_up(crew.given_up)
    assert "deadly: its process ended with SIGKILL" in error.what
    assert "free memory" in error.remedy


def test_a_worker_without_memory_is_replaced_and_its_errand_tried_once_more(crew: WorkerCrew) -> None:
    found = carry_out(crew, Errand("large", "run out of memory once"), Errand("other"))
    assert all(found[key] is not None for key in ("large", "other"))
    assert not crew.given_up


def test_what_finds_no_memory_twice_is_given_up_and_named_and_the_rest_goes_on(crew: WorkerCrew) -> None:
    found = carry_out(crew, Errand("too-large", "run out of memory"), Errand("other"))
    assert found["too-large"] is None
    assert found["other"] is not None
    assert "an array of 80 GiB" in explain_given_up(crew.given_up).what


def test_what_is_raised_in_a_worker_is_raised_in_the_run(crew: WorkerCrew) -> None:
    with pytest.raises(ScratchError, match="free some space there"):
        carry_out(crew, Errand("full", "complain"))


def test_workers_that_calculate_end_with_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(HERE))
    with WorkerCrew(1, tmp_path) as crew:
        crew.start(Errand("long", "sleep"))
        wait_until(lambda: (tmp_path / "long").exists() and (tmp_path / "long").read_text())
        process_id = int((tmp_path / "long").read_text())
    assert not is_running(process_id)


@pytest.mark.parametrize("way", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_no_worker_outlives_a_run_that_is_killed(way: signal.Signals, tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from qdip_dft.execution.crew import WorkerCrew;"
        "from errands import Errand\n"
        "with WorkerCrew(1, Path(sys.argv[1])) as crew:\n crew.start(Errand('long', 'sleep')); list(crew.wait())"
    )
    run = subprocess.Popen([sys.executable, "-c", script, tmp_path], cwd=HERE, stderr=subprocess.DEVNULL)
    wait_until(lambda: (tmp_path / "long").exists() and (tmp_path / "long").read_text())
    process_id = int((tmp_path / "long").read_text())
    run.send_signal(way)
    run.wait(30)
    wait_until(lambda: not is_running(process_id))


def test_short_work_and_other_codes_get_one_worker_and_long_work_all_cores() -> None:
    from qdip_dft.engines.registry import engine_from_spec
    from qdip_dft.model.engine import EngineSpec

    potential = engine_from_spec(EngineSpec(name="testing"))
    assert choose_workers([potential], estimated_s=5) == 1
    assert 1 <= choose_workers([potential], estimated_s=5000) <= count_cores()
    assert choose_workers([potential, object()], estimated_s=5000) == 1  # type: ignore[list-item]
    assert free_memory_gib() > 0

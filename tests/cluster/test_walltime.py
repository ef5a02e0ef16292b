"""Jobs that do not fit into one allocation: they stop before its end and go on in the next one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from fireworks import FWorker

from qdip_dft.cluster.batch_job import BATCH_VARIABLE, announce_end, parse_walltime_s
from qdip_dft.cluster.database import CONTINUED
from qdip_dft.cluster.fireworks.control import list_statuses
from qdip_dft.cluster.fireworks.outbox import Outbox
from qdip_dft.cluster.fireworks.queue import FireworksQueue
from qdip_dft.cluster.fireworks.reconcile import Reconciler
from qdip_dft.cluster.fireworks.task import MOST_CONTINUATIONS
from qdip_dft.cluster.fireworks.worker import Worker, WorkerQueue
from qdip_dft.cluster.queue import MOST_FAULTS
from qdip_dft.cluster.resources import Resources, Scheduler
from qdip_dft.cluster.submission import submit_through
from qdip_dft.engines.testing import TestingEngine
from qdip_dft.errors import ResultsError
from qdip_dft.execution.local import run_study
from qdip_dft.runtime.deadline import END_VARIABLE, MARGIN_VARIABLE, SLURM_END_VARIABLE
from tests.cluster.conftest import TOY_STUDY
from tests.cluster.test_end_to_end import init_cluster, qlaunch
from tests.command_line import qdip


@pytest.mark.parametrize(
    ("walltime", "scheduler", "seconds"),
    [
        ("4:00:00", Scheduler.SLURM, 14400),
        ("1-12:30:15", Scheduler.SLURM, 131415),
        ("2-00", Scheduler.SLURM, 172800),
        ("1-02:30", Scheduler.SLURM, 95400),
        ("30", Scheduler.SLURM, 1800),
        ("2:30", Scheduler.SLURM, 150),
        ("30", Scheduler.PBS, 30),
        ("24:00:00", Scheduler.PBS, 86400),
        ("0:30:00", Scheduler.SGE, 1800),
    ],
)
def test_a_walltime_is_understood_as_its_batch_system_does(walltime, scheduler, seconds):
    assert parse_walltime_s(walltime, scheduler) == seconds


def test_a_walltime_that_is_none_is_refused():
    with pytest.raises(ResultsError, match="correct it in my_qadapter"):
        parse_walltime_s("tomorrow", Scheduler.SLURM)


def test_the_end_follows_from_the_start_of_the_batch_script_and_its_walltime(monkeypatch):
    for variable in (END_VARIABLE, SLURM_END_VARIABLE):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv(BATCH_VARIABLE, "PBS 1:00:00 1700000000")
    announce_end()
    assert os.environ.pop(END_VARIABLE) == "1700003600.0"


@pytest.fixture
def queue(launchpad: Any) -> WorkerQueue:
    """The queue of the test as a worker opens it."""
    opened = WorkerQueue(host=launchpad.host, uri_mode=True, name=launchpad.name, strm_lvl="CRITICAL")
    yield opened
    opened.connection.close()


@pytest.fixture
def run(queue: WorkerQueue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Be a packed worker in an allocation that lasts so long, and return how many jobs it has run."""
    folder = tmp_path / "launches"
    folder.mkdir()
    monkeypatch.setenv(MARGIN_VARIABLE, "0.2")
    monkeypatch.delenv("QDIP_SCRATCH", raising=False)
    environment = {"outbox": str(tmp_path / "outbox"), "scratch": str(tmp_path / "scratch"), "patience_s": 1}
    worker = FWorker("tester", category=["mlip"], env=environment)

    def run_for(seconds: float) -> int:
        monkeypatch.setenv(END_VARIABLE, str(time.time() + seconds))
        queue.is_over = False
        return Worker(queue, worker, folder, idle_s=0.3).run_all()

    return run_for


@pytest.fixture
def evaluations(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The toy potential, which notes each evaluation and takes as long as the first entry says."""
    noted: list[float] = []
    load = TestingEngine.load_potential

    def load_slow(engine: TestingEngine) -> Any:
        potential = load(engine)

        def evaluate(arrangement: Any) -> Any:
            noted.append(time.sleep(float(os.environ.get("TEST_EVALUATION_S", "0"))) or 0.0)
            return potential(arrangement)

        return evaluate

    monkeypatch.setattr(TestingEngine, "load_potential", load_slow)
    return noted


def test_a_study_in_many_short_allocations_evaluates_nothing_twice_and_gives_the_same_numbers(  # noqa: PLR0917 (fixtures)
    toy_plan, launchpad, database, run, evaluations, monkeypatch, tmp_path
):
    (local,) = run_study(toy_plan, results=tmp_path / "local").documents
    n_undisturbed = len(evaluations)
    monkeypatch.setenv("TEST_EVALUATION_S", "0.02")
    submit_through(FireworksQueue(launchpad), toy_plan, resources=Resources())
    for _ in range(200):
        run(0.9)
        if database.submissions.find_one({"state": "finished"}) is not None:
            break
    (document,) = database.archive().find_stabilizations("toy-study")
    assert document.stabilization.total_ev_per_fu == pytest.approx(local.stabilization.total_ev_per_fu, abs=1e-9)
    continued = list(database.fireworks.find({"spec.qdip.term": CONTINUED}))
    assert len(continued) >= 3
    assert {firework["state"] for firework in continued} == {"COMPLETED"}
    assert len(evaluations) == 2 * n_undisturbed
    (status,) = list_statuses(database)
    assert status.totals == {"completed": 24}
    assert list((tmp_path / "scratch").iterdir()) == []


def test_a_worker_that_was_out_of_time_takes_no_other_job(toy_plan, launchpad, run, monkeypatch, evaluations):
    monkeypatch.setenv("TEST_EVALUATION_S", "0.2")
    submit_through(FireworksQueue(launchpad), toy_plan, resources=Resources())
    assert run(1.0) == 1
    assert len(evaluations) < 5


def test_a_job_is_not_put_back_for_ever(  # noqa: PLR0917 (fixtures)
    toy_plan, launchpad, database, run, monkeypatch, evaluations
):
    monkeypatch.setenv("TEST_EVALUATION_S", "0.3")
    submit_through(FireworksQueue(launchpad), toy_plan, resources=Resources())
    database.fireworks.update_many({}, {"$set": {"spec.qdip.n_continued": MOST_CONTINUATIONS}})
    run(0.7)
    (given_up,) = database.fireworks.find({"state": "FIZZLED"})
    action = database.database["launches"].find_one({"fw_id": given_up["fw_id"]})["action"]
    assert "longer walltime" in str(action)
    assert evaluations


@pytest.fixture
def faults(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """So many evaluations of the toy potential find no memory; each takes one away."""
    left = [0]
    load = TestingEngine.load_potential

    def load_failing(engine: TestingEngine) -> Any:
        potential = load(engine)

        def evaluate(arrangement: Any) -> Any:
            if left[0]:
                left[0] -= 1
                raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
            return potential(arrangement)

        return evaluate

    monkeypatch.setattr(TestingEngine, "load_potential", load_failing)
    return left


def test_a_fault_of_the_machine_puts_its_job_back_and_stores_nothing(toy_plan, launchpad, database, run, faults):
    submit_through(FireworksQueue(launchpad), toy_plan, resources=Resources())
    faults[0] = 1
    assert run(60) == 1
    assert not database.fireworks.count_documents({"state": "FIZZLED"})
    assert not database.database["calculations"].count_documents({})
    assert run(60) > 1
    assert not database.fireworks.count_documents({"state": "FIZZLED"})
    assert database.database["calculations"].count_documents({"output.failure": None})


def test_a_job_that_meets_the_same_fault_again_and_again_is_left_with_the_reason(  # noqa: PLR0917 (fixtures)
    toy_plan, launchpad, database, run, faults, tmp_path
):
    submit_through(FireworksQueue(launchpad), toy_plan, resources=Resources())
    database.fireworks.update_many({}, {"$set": {"spec.qdip.n_faults": MOST_FAULTS}})
    faults[0] = 1
    run(60)
    (given_up,) = database.fireworks.find({"state": "FIZZLED"})
    action = str(database.database["launches"].find_one({"fw_id": given_up["fw_id"]})["action"])
    assert "CUDA out of memory" in action
    assert "give its class more memory" in action
    mended = Reconciler(launchpad, Outbox(tmp_path / "outbox"), frozenset(), grace_s=-60.0, lock_s=0.0).run()
    assert "lost jobs started again" not in mended
    (left,) = list_statuses(database)[0].left
    assert "CUDA out of memory" in left
    assert given_up["name"] in left


def test_a_worker_with_no_time_left_takes_nothing(toy_plan, launchpad, run):
    submit_through(FireworksQueue(launchpad), toy_plan, resources=Resources())
    assert run(0.2) == 0


def test_a_scan_goes_on_in_another_launch_folder(  # noqa: PLR0917 (fixtures)
    toy_plan, launchpad, database, work, run, monkeypatch, evaluations
):
    """Its energies lie in the scratch folder of the cluster, not in the folder of the launch."""
    submit_through(FireworksQueue(launchpad), toy_plan, resources=Resources())
    is_registry_scan = {"name": {"$regex": "registry scan"}, "state": "READY"}
    while database.fireworks.find_one(is_registry_scan) is None:
        assert work(1) == 1
    others = {"state": "READY", "name": {"$not": {"$regex": "registry scan"}}}
    database.fireworks.update_many(others, {"$set": {"state": "PAUSED"}})
    monkeypatch.setenv("TEST_EVALUATION_S", "0.02")
    before = len(evaluations)
    while database.fireworks.find_one({**is_registry_scan, "state": {"$in": ["READY"]}}) is not None:
        run(0.6)
    registry_scans = database.archive().list_registry_scans()
    assert len(evaluations) - before == sum(scan.n_evaluations for scan in registry_scans)
    assert database.fireworks.count_documents({"spec.qdip.term": CONTINUED}) >= 2


def test_a_terminated_worker_puts_its_job_back_and_leaves(toy_plan, launchpad, database, tmp_path):
    """What `scancel` and the walltime do: SIGTERM, and some seconds later SIGKILL."""
    submit_through(FireworksQueue(launchpad), toy_plan, resources=Resources())
    process = subprocess.Popen([sys.executable, "-c", SLOW_WORKER, *worker_files(launchpad, tmp_path), "rapidfire"],
                               cwd=tmp_path)  # fmt: skip
    wait_until(lambda: database.fireworks.find_one({"state": "RUNNING"}) is not None)
    time.sleep(1.0)
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0
    assert database.fireworks.count_documents({"state": "RUNNING"}) == 0
    assert database.fireworks.count_documents({"spec.qdip.term": CONTINUED, "state": "COMPLETED"}) == 1
    assert database.fireworks.count_documents({"state": "READY"}) == 3


def test_slurm_finds_nothing_to_kill_at_its_time_limit(mongod, mongo_uri, slurm, database, tmp_path):
    """Allocations of one minute, of which 45 s are kept: every job stops in time and goes on in the next."""
    cluster = tmp_path / "cluster"
    init_cluster(cluster, mongod, mongo_uri, "--packed-ranks", "1", "--before", f"export {MARGIN_VARIABLE}=45")
    (tmp_path / "slow.py").write_text(SLOW_WORKER.replace("30", "0.4"), encoding="utf-8")
    adapter = cluster / "mlip" / "my_qadapter.yaml"
    text = adapter.read_text(encoding="utf-8").replace('walltime: "4:00:00"', 'walltime: "0:01:00"')
    adapter.write_text(
        text.replace("-m qdip_dft.cluster.fireworks.worker", str(tmp_path / "slow.py")), encoding="utf-8"
    )
    qdip("submit", TOY_STUDY, "--cluster", cluster)
    earlier = list_states(slurm).keys()  # of other tests, which cancel what still waits
    done = {"spec.qdip.n_continued": {"$gte": 1}, "spec.qdip.term": {"$ne": CONTINUED}, "state": "COMPLETED"}
    with qlaunch(cluster, slurm, "rapidfire", "-m", "1", "--nlaunches", "infinite", "--sleep", "1"):
        wait_until(lambda: database.fireworks.find_one(done) is not None, limit_s=180)
        states = [state for job, state in list_states(slurm).items() if job not in earlier]
    assert states.count("COMPLETED") >= 1
    assert not {"TIMEOUT", "FAILED", "CANCELLED", "NODE_FAIL"} & set(states)
    assert database.fireworks.count_documents({"state": "FIZZLED"}) == 0


def list_states(slurm) -> dict[str, str]:
    """The state of every batch job, by its number."""
    lines = slurm.call("squeue", "--noheader", "--states=all", "--format=%i %T").splitlines()
    return dict(line.split() for line in lines)


SLOW_WORKER = """
import time
from qdip_dft.engines.testing import TestingEngine
load = TestingEngine.load_potential
def load_slow(engine):
    potential = load(engine)
    return lambda arrangement: (time.sleep(30), potential(arrangement))[1]
TestingEngine.load_potential = load_slow
from qdip_dft.cluster.fireworks.worker import main
main()
"""


def worker_files(launchpad: Any, folder: Path) -> list[str]:
    """Write the two files that a worker needs and return its options."""
    places = {"outbox": str(folder / "outbox"), "scratch": str(folder / "scratch")}
    worker = {"name": "tester", "category": ["mlip"], "query": "{}", "env": places}
    for name, content in {
        "my_launchpad.yaml": {"host": launchpad.host, "uri_mode": True, "name": launchpad.name},
        "my_fworker.yaml": worker,
    }.items():
        (folder / name).write_text(json.dumps(content), encoding="utf-8")
    return ["-l", str(folder / "my_launchpad.yaml"), "-w", str(folder / "my_fworker.yaml")]


def wait_until(is_true: Any, limit_s: float = 60.0) -> None:
    end_s = time.monotonic() + limit_s
    while not is_true():
        assert time.monotonic() < end_s
        time.sleep(0.05)

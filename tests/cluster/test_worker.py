"""What a worker does with a job: nothing foreign is imported, no result is lost."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from fireworks import Firework, FWorker
from jobflow import JobStore
from maggma.stores import MemoryStore
from pymongo import MongoClient
from pymongo.monitoring import CommandListener

from qdip_dft.cluster.claims import Claims
from qdip_dft.cluster.database import ClusterDatabase
from qdip_dft.cluster.fireworks.alive import report_alive
from qdip_dft.cluster.fireworks.outbox import Outbox, insist
from qdip_dft.cluster.fireworks.queue import FireworksQueue
from qdip_dft.cluster.fireworks.task import RunJob
from qdip_dft.cluster.fireworks.worker import Worker, WorkerQueue
from qdip_dft.cluster.orders import is_advance
from qdip_dft.cluster.resources import Resources
from qdip_dft.cluster.stored_job import StoredJob, read_job, write_job
from qdip_dft.cluster.submission import submit_through
from qdip_dft.engines.registry import engine_from_spec
from qdip_dft.errors import ResultsError
from qdip_dft.jobs.calculate import calculation_job
from qdip_dft.model.calculation import CalculationTask, Freedom
from qdip_dft.model.engine import EngineSpec
from tests.cluster.private_slurm import free_ports
from tests.private_mongod import build_command, find_mongod, wait_until_open
from tests.unit.crystals import load

JOB = "0c6b9a4e-0000-5000-8000-000000000001"
DOCUMENT = {"uuid": JOB, "index": 1, "output": {"key": "k", "energy_ev": -1.25}}


@pytest.fixture
def store() -> JobStore:
    made = JobStore(MemoryStore())
    made.connect()
    return made


@pytest.fixture
def claims(database: ClusterDatabase) -> Claims:
    return database.claims


def first_job(plan: Any) -> Any:
    return next(job for job in plan.make_flow(lambda _: None).jobs if not is_advance(job))


def test_a_job_survives_the_way_through_the_database(toy_plan):
    job = first_job(toy_plan)
    back = read_job(write_job(job))
    assert (back.uuid, back.name) == (job.uuid, job.name)
    assert list(back.function_args) == list(job.function_args)


@pytest.mark.parametrize(
    ("module", "name"),
    [("antigravity", "geohash"), ("qdip_dft.execution.local", "warnings.warn"), ("os", "system")],
)
def test_a_job_that_names_something_foreign_imports_nothing(toy_plan, module, name):
    content = json.loads(write_job(first_job(toy_plan)))
    content["function"] = {"@module": module, "@callable": name, "@bound": None}
    with pytest.raises(ResultsError, match="who may write to the database"):
        read_job(json.dumps(content))
    assert "antigravity" not in sys.modules


def test_a_job_runs_functions_of_jobs_only(toy_plan):
    content = json.loads(write_job(first_job(toy_plan)))
    content["function"] = {"@module": "qdip_dft.execution.local", "@callable": "run_study", "@bound": None}
    with pytest.raises(ResultsError, match="who may write to the database"):
        read_job(json.dumps(content))


def run_with_jobflow(job: Any) -> dict[str, Any]:
    """Return the document that jobflow stores of a job."""
    store = JobStore(MemoryStore())
    store.connect()
    job.run(store=store)
    (document,) = store.query({"uuid": job.uuid})
    document.pop("_id", None)
    return document


@pytest.mark.parametrize("stage", ["calculation", "registry scan"])
def test_without_jobflow_a_job_leaves_the_document_that_jobflow_would(toy_plan, toy_registry_scan, stage):
    job = first_job(toy_plan) if stage == "calculation" else toy_registry_scan
    ours, theirs = StoredJob(write_job(job)).run(), run_with_jobflow(read_job(write_job(job)))
    assert theirs.pop("@version")
    for document in (ours, theirs):
        assert document.pop("completed_at")
        assert document["output"].pop("finished_at")
        assert document["output"].pop("checksum")
        (document["output"] if stage == "registry scan" else document["output"]["result"]).pop("wall_time_s")
    assert ours == theirs


@pytest.fixture
def toy_registry_scan(tmp_path) -> Any:
    from tests.integration.test_registry_scans import job_of, make_task

    task = make_task(grid_spacing_ang=5.0)
    return job_of(task, checkpoint_folder=str(tmp_path))


UNNEEDED = ("atomate2", "jobflow", "maggma", "emmet", "pandas", "matplotlib", "networkx", "torch", "typer", "rich",
            "pymatgen.core", "pymatgen.io", "boto3")  # fmt: skip

RUN_ONE = """
import sys
from qdip_dft.cluster.fireworks import task, worker
from qdip_dft.cluster.stored_job import StoredJob
document = StoredJob(sys.stdin.read()).run()
assert document["output"]["failure"] is None, document["output"]["failure"]
print(*sorted(sys.modules))
"""


def run_alone(job: Any) -> set[str]:
    """Return the modules that a process has imported after it has run a job as a worker does."""
    done = subprocess.run(
        [sys.executable, "-c", RUN_ONE], input=write_job(job), capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


@pytest.mark.parametrize("freedom", [Freedom.NONE, Freedom.CELL])
def test_a_testing_job_imports_no_workflow_manager_and_no_heavy_library(freedom):
    task = CalculationTask(label="bulk PbTe", freedom=freedom, structure=load("PbTe").structure)
    engine = engine_from_spec(EngineSpec(name="testing"))
    modules = run_alone(calculation_job(task, engine, key="a" * 64))
    assert [name for name in UNNEEDED if name in modules] == []


def test_a_job_of_a_network_imports_besides_the_network_no_workflow_manager():
    task = CalculationTask(label="bulk PbTe", freedom=Freedom.NONE, structure=load("PbTe").structure)
    job = calculation_job(task, engine_from_spec(EngineSpec(potential="chgnet")), key="a" * 64)
    assert run_alone(job) & {"atomate2", "jobflow", "maggma", "emmet", "typer", "rich"} == set()


def test_a_sent_result_is_stored_and_leaves_nothing_behind(store, tmp_path):
    Outbox(tmp_path).send(DOCUMENT, store.update)
    assert store.query_one({"uuid": JOB})["output"] == DOCUMENT["output"]
    assert list(tmp_path.iterdir()) == []


class AwayStore(JobStore):  # type: ignore[misc]
    """A database that cannot be reached."""

    def update(self, *_: Any, **__: Any) -> None:
        from pymongo.errors import ServerSelectionTimeoutError

        raise ServerSelectionTimeoutError("nobody is there")


def test_a_result_waits_on_disk_while_the_database_is_away(store, tmp_path):
    from pymongo.errors import ServerSelectionTimeoutError

    outbox = Outbox(tmp_path, patience_s=0)
    with pytest.raises(ServerSelectionTimeoutError, match="nobody is there"):
        outbox.send(DOCUMENT, AwayStore(MemoryStore()).update)
    assert list(outbox.list_jobs()) == [JOB]
    assert outbox.deliver(JOB, store.update)
    assert store.query_one({"uuid": JOB})["output"] == DOCUMENT["output"]
    assert not outbox.deliver(JOB, store.update)


def test_a_half_written_result_is_none(store, tmp_path):
    (tmp_path / f"{JOB}.4711.partial").write_text('{"uuid": "0c6b', encoding="utf-8")
    assert list(Outbox(tmp_path).list_jobs()) == []
    assert not Outbox(tmp_path).deliver(JOB, store.update)


def test_two_workers_with_the_same_job_calculate_it_one_after_the_other(tmp_path):
    """The first was taken for lost while it was alive; the second then finds the result."""
    outbox, order = Outbox(tmp_path), []

    def work(name: str) -> None:
        with outbox.owning(JOB):
            order.append(f"{name} begins")
            time.sleep(0.2)
            order.append(f"{name} ends")

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(work, ("one", "other")))
    assert [line.split()[1] for line in order] == ["begins", "ends", "begins", "ends"]
    assert list(tmp_path.iterdir()) == []


def test_a_lock_that_was_removed_while_somebody_waited_for_it_locks_nobody_out(tmp_path):
    outbox, owners, most = Outbox(tmp_path), [], []

    def work(_: int) -> None:
        for _ in range(50):
            with outbox.owning(JOB):
                owners.append(1)
                most.append(len(owners))
                time.sleep(0.0005)
                owners.pop()

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(work, range(6)))
    assert max(most) == 1
    assert len(most) == 300


@pytest.mark.usefixtures("mongod")
def test_a_stored_result_survives_the_death_of_the_server(tmp_path):
    """The worker removes its own copy as soon as the server has answered."""
    program, (port,) = find_mongod(), free_ports(1)
    assert program is not None
    command = [word for word in build_command(program, tmp_path, port) if word != "--auth"]
    found = []
    for number in range(4):
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as server, MongoClient("127.0.0.1", port) as client:
            try:
                assert wait_until_open(server, port)
                database = ClusterDatabase(client["deaths"])
                found.append(database.database["calculations"].count_documents({}))
                database.store_output({**DOCUMENT, "index": number})
            finally:
                server.kill()
    assert found == [0, 1, 2, 3]


def test_a_disk_that_takes_no_more_is_named_and_the_result_is_stored_all_the_same(store, tmp_path):
    with files_of_at_most(16), pytest.raises(ResultsError, match="check the disk, the quota") as caught:
        Outbox(tmp_path).send(DOCUMENT, store.update)
    assert str(tmp_path) in caught.value.what
    assert store.query_one({"uuid": JOB})["output"] == DOCUMENT["output"]


@contextmanager
def files_of_at_most(n_bytes: int) -> Iterator[None]:
    """Let no file grow further, as a quota does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("job", ["../../etc/passwd", "0c6b9a4e", f"{JOB}/x"])
def test_an_id_from_the_database_cannot_leave_the_outbox(store, tmp_path, job):
    with pytest.raises(ResultsError, match="delete this job"):
        Outbox(tmp_path).deliver(job, store.update)


def test_an_action_is_repeated_until_the_database_is_back():
    from pymongo.errors import AutoReconnect

    answers = iter([AutoReconnect("away"), AutoReconnect("away"), "stored"])

    def act() -> str:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert insist(act, patience_s=60) == "stored"


def test_a_result_in_the_outbox_is_not_calculated_again(toy_plan, launchpad, database, work, tmp_path):
    """The worker was killed between writing its result and sending it."""
    submit_through(FireworksQueue(launchpad), toy_plan, resources=Resources())
    work(1)
    done = database.database["calculations"].find_one_and_delete({}, {"_id": 0})
    assert done is not None
    (tmp_path / "outbox" / f"{done['uuid']}.json").write_text(json.dumps(done, default=str), encoding="utf-8")
    launchpad.rerun_fw(database.fireworks.find_one({"spec.qdip.job": done["uuid"]})["fw_id"])
    work(3)
    again = database.database["calculations"].find_one({"uuid": done["uuid"]})
    assert again is not None
    assert again["completed_at"] == done["completed_at"]


def test_a_claim_belongs_to_the_first_who_asks(claims):
    assert claims.claim([JOB], owner="one") == {JOB}
    assert claims.claim([JOB], owner="two") == frozenset()
    assert claims.claim([JOB], owner="one") == {JOB}
    assert claims.find_owner(JOB) == "one"


def test_part_of_what_is_asked_may_be_claimed(claims):
    claims.claim(["a"], owner="one")
    assert claims.claim(["a", "b"], owner="two") == {"b"}


def test_a_claim_changes_hands_only_if_its_owner_still_holds_it(claims):
    claims.claim([JOB], owner="one")
    assert claims.hand_over(JOB, owner="one", heir="two")
    assert not claims.hand_over(JOB, owner="one", heir="three")
    assert claims.find_owner(JOB) == "two"


def test_a_released_claim_is_free(claims):
    claims.claim([JOB], owner="one")
    claims.release(JOB, owner="two")
    assert claims.find_owner(JOB) == "one"
    claims.release(JOB)
    assert claims.find_owner(JOB) is None


@pytest.fixture
def running(launchpad: Any, tmp_path: Any) -> tuple[int, Callable[[], Any]]:
    """A firework that runs, and what returns when it has reported last."""
    launchpad.add_wf(Firework(RunJob(job="")))
    firework, launch_id = launchpad.checkout_fw(FWorker(), str(tmp_path))

    def last_report() -> Any:
        return launchpad.launches.find_one({"launch_id": launch_id})["state_history"][-1].get("updated_on")

    return firework.fw_id, last_report


def test_a_job_reports_while_it_runs_and_no_longer(launchpad, running):
    fw_id, last_report = running
    begun, end_s = last_report(), time.monotonic() + 10
    with report_alive(launchpad, fw_id, interval_s=0.05):
        while last_report() == begun and time.monotonic() < end_s:
            time.sleep(0.02)
    assert last_report() != begun
    time.sleep(0.5)  # the report that was on its way has arrived
    ended = last_report()
    time.sleep(0.3)
    assert last_report() == ended


def test_all_jobs_of_a_process_report_by_one_thread(launchpad):
    before = threading.active_count()
    for fw_id in range(1, 20):
        with report_alive(launchpad, fw_id, interval_s=61.0):
            assert threading.active_count() <= before + 1


class RoundTrips(CommandListener):
    """Notes what is asked of a database."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def started(self, event: Any) -> None:
        self.asked.append(f"{event.command_name} {event.command.get(event.command_name)}")

    def succeeded(self, event: Any) -> None: ...

    def failed(self, event: Any) -> None: ...


def test_a_calculation_costs_fewer_round_trips_than_fireworks_without_its_result(
    toy_plan, launchpad, tmp_path, monkeypatch
):
    """FireWorks alone makes 34 for a bare task.

    Ours makes 25, with claim, result and release, and one or two more for each firework that waits for it.
    """
    submit_through(FireworksQueue(launchpad), toy_plan, resources=Resources())
    trips = RoundTrips()
    monkeypatch.setenv("QDIP_SCRATCH", str(tmp_path / "scratch"))
    options = {"event_listeners": [trips]}
    queue = WorkerQueue(launchpad.host, name=launchpad.name, uri_mode=True, mongoclient_kwargs=options)
    worker = FWorker("tester", category=["mlip"], env={"outbox": str(tmp_path / "outbox")})
    with queue.connection:
        monkeypatch.chdir(tmp_path)
        Worker(queue, worker, tmp_path).run_one(None)
        trips.asked.clear()
        Worker(queue, worker, tmp_path).run_one(None)
    assert len(trips.asked) <= 28, trips.asked
    assert {"aggregate claims", "update calculations", "findAndModify claims"} <= set(trips.asked)

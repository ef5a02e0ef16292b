"""jobflow-remote: the numbers of a local run through its Slurm worker, whatever happens to its runner."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from jobflow import JobStore
from jobflow_remote.remote.data import get_remote_in_file, get_remote_store
from maggma.stores import MemoryStore

from qdip_dft.cli.managers import Action, Manager, act_on_study, list_all_statuses, open_queue
from qdip_dft.cluster.fireworks.outbox import Outbox
from qdip_dft.cluster.fireworks.queue import FireworksQueue
from qdip_dft.cluster.fireworks.reconcile import Reconciler
from qdip_dft.cluster.folder import ClusterFolder, write_cluster_folder
from qdip_dft.cluster.remote.checkup import check_remote
from qdip_dft.cluster.remote.control import list_statuses
from qdip_dft.cluster.remote.project import read_project
from qdip_dft.cluster.remote.queue import RemoteQueue
from qdip_dft.cluster.remote.runner import is_at_work, run_runner
from qdip_dft.cluster.remote.studies import Studies
from qdip_dft.cluster.resources import Resources
from qdip_dft.cluster.stored_job import write_job
from qdip_dft.cluster.submission import SubmitSummary, submit_through
from qdip_dft.errors import ResultsError
from qdip_dft.execution.local import run_study
from tests.cluster.conftest import TOY_STUDY
from tests.command_line import assert_four_parts, qdip
from tests.private_mongod import PrivateMongod

N_CALCULATIONS = 24
LIMIT_S = 240.0


@pytest.fixture
def folder(mongod: PrivateMongod, mongo_uri: str, tmp_path: Path) -> ClusterFolder:
    settings = mongod.cluster_settings(mongo_uri.partition("?")[0].rpartition("/")[2])
    written = write_cluster_folder(tmp_path / "cluster", settings)
    text = written.remote_project_file.read_text(encoding="utf-8")
    noting = f"{Path(__file__).parent / 'noting_work.py'} {tmp_path / 'ended.log'}"
    assert "-m qdip_dft.cluster.remote.work" in text
    written.remote_project_file.write_text(text.replace("-m qdip_dft.cluster.remote.work", noting), encoding="utf-8")
    return written


@pytest.fixture
def queue(folder: ClusterFolder) -> Iterator[RemoteQueue]:
    with open_queue(folder, Manager.REMOTE) as opened:
        assert isinstance(opened, RemoteQueue)
        yield opened


def submit(plan: Any, queue: Any, **options: Any) -> SubmitSummary:
    return submit_through(queue, plan, resources=Resources(), **options)


def list_jobs(queue: RemoteQueue, **criteria: Any) -> list[dict[str, Any]]:
    return list(queue.controller.jobs.find(criteria))


@contextmanager
def runner(folder: ClusterFolder, slurm: Any, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A runner in a process of its own, that may be killed."""
    environment = {**os.environ, **slurm.environment, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", "from qdip_dft.cli import main; main()", "runner", "--interval", "1"]
    with log.open("ab") as file:
        process = subprocess.Popen([*command, "--cluster", str(folder.path)], env=environment, stdout=file, stderr=file)
        try:
            yield process
        finally:
            process.kill()
            process.wait()


def wait_until_at_work(folder: ClusterFolder) -> None:
    """Wait for the end of the imports: a runner at work holds the lock of its folder."""
    deadline_s = time.monotonic() + LIMIT_S
    with (folder.path / "runner.lock").open("a") as file:
        while time.monotonic() < deadline_s:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return
            fcntl.flock(file, fcntl.LOCK_UN)
            time.sleep(0.1)
    raise TimeoutError("the runner did not start")


def test_a_second_dot_queues_no_calculation_of_the_host(toy_plan, other_dot_plan, queue):
    assert submit(toy_plan, queue).n_fireworks == 3
    second = submit(other_dot_plan, queue)
    assert (second.n_fireworks, second.n_shared) == (1, 2)
    assert len(list_jobs(queue)) == 4
    again = submit(other_dot_plan, queue)
    assert again.n_fireworks == 0
    assert "submitted already by" in again.note


def test_both_managers_share_their_calculations(toy_plan, other_dot_plan, queue, launchpad, work):
    """What one manager makes stands by in the other, and is woken when it is stored."""
    submit(toy_plan, FireworksQueue(launchpad))
    second = submit(other_dot_plan, queue)
    assert (second.n_fireworks, second.n_shared) == (1, 2)
    assert submit(toy_plan, queue).n_fireworks == 0
    work(3)
    Studies(queue).go_on()
    (status,) = list_statuses(queue.database, study="other-dot")
    assert status.counts["bulk"] == {"completed": 2, "ready": 3}  # its own dot, and the host's static calculations
    assert sorted(job["job"]["name"] for job in list_jobs(queue)) == [
        "bulk CsPbI3-alpha (static)", "bulk CsPbI3-beta (static)", "dot bulk PbSe",
    ]  # fmt: skip


def test_the_repairs_of_fireworks_leave_the_claims_of_the_other_manager_alone(
    toy_plan, other_dot_plan, queue, launchpad, tmp_path
):
    submit(toy_plan, queue)
    submit(other_dot_plan, FireworksQueue(launchpad))
    before = list(queue.database.claims.collection.find({}))
    assert Reconciler(launchpad, Outbox(tmp_path), frozenset(), grace_s=-60.0, lock_s=0.0).run() == {}
    assert list(queue.database.claims.collection.find({})) == before


def test_a_cancelled_study_leaves_its_calculations_to_the_next(toy_plan, other_dot_plan, queue, folder):
    submit(toy_plan, queue)
    submit(other_dot_plan, queue)
    assert act_on_study(folder, Action.PAUSE, "toy-study", term="bulk") == 3
    assert act_on_study(folder, Action.RESUME, "toy-study", term=None) == 3
    assert act_on_study(folder, Action.CANCEL, "toy-study", term=None) == 3
    Studies(queue).go_on()
    assert len(list_jobs(queue, state="READY")) == 3
    states = {status.study: status.state for status in list_all_statuses(folder, study=None, term=None)}
    assert states == {"toy-study": "cancelled", "other-dot": "active"}
    assert submit(toy_plan, queue).n_shared == 2


def test_a_lost_job_is_started_again_five_times(toy_plan, queue, folder):
    submit(toy_plan, queue)
    jobs = queue.controller.jobs
    lost = {"$set": {"state": "FAILED", "error": "killed"}}
    for _ in range(5):
        jobs.update_one({"job.name": "dot bulk PbTe"}, lost)
        Studies(queue).go_on()
        assert jobs.find_one({"job.name": "dot bulk PbTe"})["state"] == "READY"
    jobs.update_one({"job.name": "dot bulk PbTe"}, lost)
    Studies(queue).go_on()
    assert jobs.find_one({"job.name": "dot bulk PbTe"})["state"] == "FAILED"
    assert act_on_study(folder, Action.RERUN, "toy-study", term=None) == 1


def test_a_job_that_meets_a_fault_of_the_machine_again_and_again_is_left_with_its_words(toy_plan, queue, folder):
    submit(toy_plan, queue)
    jobs = queue.controller.jobs
    full = "Traceback (most recent call last):\nqdip_dft.errors.MachineError: the machine failed (MemoryError)"
    for _ in range(3):
        jobs.update_one({"job.name": "dot bulk PbTe"}, {"$set": {"state": "FAILED", "error": full}})
        Studies(queue).go_on()
        assert jobs.find_one({"job.name": "dot bulk PbTe"})["state"] == "READY"
    jobs.update_one({"job.name": "dot bulk PbTe"}, {"$set": {"state": "FAILED", "error": full}})
    Studies(queue).go_on()
    assert jobs.find_one({"job.name": "dot bulk PbTe"})["state"] == "FAILED"
    (left,) = list_statuses(queue.database)[0].left
    assert "the machine failed (MemoryError)" in left
    assert act_on_study(folder, Action.RERUN, "toy-study", term=None) == 1
    assert list_statuses(queue.database)[0].left == ()


def test_a_batch_job_that_was_killed_for_its_memory_is_asked_about(toy_plan, queue):
    submit(toy_plan, queue)
    queue.controller.jobs.update_one({"job.name": "dot bulk PbTe"}, {"$set": {"state": "REMOTE_ERROR"}})
    Studies(queue, lambda job: f"the memory of {job['worker']} was full").go_on()
    (claim,) = queue.database.claims.collection.find({"n_restarts": {"$exists": True}})
    assert (claim["n_restarts"], claim["fault"]) == (2, "the memory of mlip was full")


def test_a_run_that_stopped_before_its_walltime_goes_on_without_end(toy_plan, queue):
    submit(toy_plan, queue)
    for _ in range(7):
        stopped = {"$set": {"state": "FAILED", "error": "qdip_dft.errors.OutOfTime: 10 s are left"}}
        queue.controller.jobs.update_one({"job.name": "dot bulk PbTe"}, stopped)
        Studies(queue).go_on()
    assert len(list_jobs(queue, state="READY")) == 3


def test_a_second_runner_is_refused(folder):
    with (folder.path / "runner.lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert is_at_work(folder)
        with pytest.raises(ResultsError, match="leave it to the other one"):
            run_runner(folder, interval_s=1, n_rounds=1)
    assert not is_at_work(folder)


def test_an_unknown_manager_is_refused(folder):
    refused = qdip("submit", TOY_STUDY, "--manager", "aiida", "--cluster", folder.path, check=False)
    assert_four_parts(refused, "choose one with --manager")


def test_a_project_that_was_damaged_is_named_without_its_password(folder, mongod):
    text = folder.remote_project_file.read_text(encoding="utf-8")
    folder.remote_project_file.write_text(text.replace("scheduler_type", "schedular"), encoding="utf-8")
    with pytest.raises(ResultsError, match="correct what is named there") as caught:
        read_project(folder)
    assert "workers.mlip" in caught.value.what
    assert mongod.password not in str(caught.value)
    (finding,) = check_remote(folder)
    assert not finding.is_ok
    assert "workers.mlip" in finding.finding
    assert mongod.password not in finding.finding


def test_the_doctor_names_the_workers_and_says_whether_a_runner_is_at_work(folder):
    project, runner = check_remote(folder)
    assert project.is_ok
    assert project.finding == "workers mlip (here), dft-small (here), dft-large (here)"
    assert runner.finding.startswith("not at work")
    with (folder.path / "runner.lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert check_remote(folder)[1].finding == "at work"


class TestInItsFolder:
    """What a batch job does, without batch system and database."""

    @pytest.fixture
    def run_folder(self, toy_plan, tmp_path) -> Path:
        flow = toy_plan.make_flow(lambda _: None)
        job = next(job for job, _ in flow.iterflow() if job.name == "dot bulk PbTe")
        store = get_remote_store(JobStore(MemoryStore()), tmp_path, None)
        written = get_remote_in_file(json.loads(write_job(job)), store).read()
        (tmp_path / "jfremote_in.json").write_bytes(written)
        return tmp_path

    def run(self, folder: Path) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "qdip_dft.cluster.remote.work", str(folder)]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)

    def output(self, folder: Path) -> Any:
        return json.loads((folder / "remote_job_data.json").read_text(encoding="utf-8"))[0]["output"]

    def test_a_job_that_has_ended_is_not_run_again(self, run_folder):
        assert self.run(run_folder).returncode == 0
        first = self.output(run_folder)["result"]
        written = (run_folder / "jfremote_out.json").stat().st_mtime_ns
        assert self.run(run_folder).returncode == 0
        assert (run_folder / "jfremote_out.json").stat().st_mtime_ns == written
        (run_folder / "remote_job_data.json").write_text('[{"uuid": "0c6b', encoding="utf-8")  # cut short by a kill
        assert self.run(run_folder).returncode == 0
        assert self.output(run_folder)["result"]["energy_ev"] == first["energy_ev"]

    def test_a_job_that_names_something_foreign_is_refused(self, run_folder):
        content = json.loads((run_folder / "jfremote_in.json").read_text(encoding="utf-8"))
        content["job"]["function"] = {"@module": "antigravity", "@callable": "geohash", "@bound": None}
        (run_folder / "jfremote_in.json").write_text(json.dumps(content), encoding="utf-8")
        refused = self.run(run_folder)
        assert "who may write to the database" in refused.stderr
        assert not (run_folder / "jfremote_out.json").exists()


def test_a_study_survives_the_death_of_its_runner_and_gives_the_numbers_of_a_local_run(
    folder, queue, toy_plan, slurm, tmp_path
):
    """Killed three times, at moments that differ: while it submits, while jobs run, while results come in.

    The first job finds no memory: that is no result, and it is run again.
    """
    started = time.monotonic()
    assert submit(toy_plan, queue).n_fireworks == 3
    log = tmp_path / "runner.log"
    for seconds in (0.3, 1.5, 4.0):
        with runner(folder, slurm, log) as process:
            wait_until_at_work(folder)
            time.sleep(seconds)
            os.kill(process.pid, signal.SIGKILL)
    with runner(folder, slurm, log):
        while queue.database.submissions.count_documents({"state": "finished"}) == 0:
            assert time.monotonic() - started < LIMIT_S, log.read_text()[-3000:]
            time.sleep(0.5)
    (local,) = run_study(toy_plan, results=tmp_path / "local").documents
    (document,) = queue.database.archive().find_stabilizations("toy-study")
    for mine, theirs in zip(document.candidates, local.candidates, strict=True):
        assert mine.total_ev_per_fu == pytest.approx(theirs.total_ev_per_fu, abs=1e-9)
        assert mine.binding_ev_per_fu == pytest.approx(theirs.binding_ev_per_fu, abs=1e-9)
    assert document.calculations == local.calculations
    assert (tmp_path / "fault").exists()
    assert [record.label for record in queue.database.archive().list_calculations() if record.failure] == []
    ended = (tmp_path / "ended.log").read_text(encoding="utf-8").split()
    assert len(ended) == len(set(ended)) == N_CALCULATIONS
    assert queue.database.claims.collection.count_documents({}) == 0
    assert submit(toy_plan, queue).n_fireworks == 0

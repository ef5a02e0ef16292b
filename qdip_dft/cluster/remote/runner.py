"""The runner: jobflow-remote's own round, then one step of every study, again and again."""

from __future__ import annotations

import fcntl
import logging
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from qdip_dft.cluster.remote.project import PROJECT, open_controller, read_project
from qdip_dft.cluster.remote.queue import RemoteQueue
from qdip_dft.cluster.remote.studies import Studies
from qdip_dft.cluster.scheduler import explain_end
from qdip_dft.errors import ResultsError
from qdip_dft.runtime.unlinked import open_unlinked

if TYPE_CHECKING:
    from jobflow_remote import JobController
    from jobflow_remote.config.base import Project

    from qdip_dft.cluster.folder import ClusterFolder

LOCK = "runner.lock"
"""File of the cluster folder that a runner keeps locked."""

logger = logging.getLogger("jobflow_remote.qdip")  # goes where the runner's own lines go


def run_runner(folder: ClusterFolder, *, interval_s: float, n_rounds: int | None = None) -> None:
    """Feed the batch systems of a cluster folder and go on with its studies until SIGTERM or Ctrl-C.

    Parameters
    ----------
    folder
        The cluster folder.
    interval_s
        Pause between two rounds in s.
    n_rounds
        Number of rounds; None: no end.

    Raises
    ------
    ResultsError
        If another runner is at work on this folder.
    """
    project = read_project(folder)
    from jobflow_remote.jobs.runner import Runner
    from pymongo.errors import PyMongoError

    with _being_the_only_one(folder), _without_noise(), open_controller(folder) as controller:
        _unlock(controller)
        runner, find_cause = Runner(PROJECT, log_level=project.log_level), partial(_explain_end, folder, project)
        studies = Studies(RemoteQueue(controller), find_cause)
        try:
            while not runner.stop_signal and n_rounds != 0:
                runner.run(ticks=1)
                try:
                    studies.go_on()
                except PyMongoError:
                    logger.exception("the database cannot be reached, trying again")
                n_rounds = None if n_rounds is None else n_rounds - 1
                time.sleep(max(interval_s - 1.0, 0.0))  # a tick is one second
        finally:
            for host in runner.hosts.values():
                host.close()
            runner.job_controller.close()


def _explain_end(folder: ClusterFolder, project: Project, job: dict[str, Any]) -> str | None:
    """Ask the batch system of this machine why a job has ended; of a worker elsewhere nobody here knows it."""
    number, worker = (job.get("remote") or {}).get("process_id"), project.workers.get(job["worker"])
    if number is None or worker is None or worker.type != "local":
        return None
    return explain_end(folder.read_resources().scheduler, number)


@contextmanager
def _without_noise() -> Iterator[None]:
    """Hide what third parties will have to change one day."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="(cd|makedirs_p) is deprecated", category=FutureWarning)
        yield


def _unlock(controller: JobController) -> None:
    """Free what a killed runner held: jobflow-remote's locks have no end, and no other runner is at work."""
    n_unlocked = controller.unlock_jobs() + controller.unlock_flows()
    if n_unlocked:
        logger.warning("%d locks of a killed runner removed", n_unlocked)


def is_at_work(folder: ClusterFolder) -> bool:
    """Return whether a runner holds the lock of a cluster folder."""
    path = folder.path / LOCK
    if not path.exists():
        return False
    with path.open(encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


@contextmanager
def _being_the_only_one(folder: ClusterFolder) -> Iterator[None]:
    path = folder.path / LOCK
    with open_unlinked(path, mode="a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ResultsError(
                f"a runner is at work on {folder.path}",
                limit="one runner per cluster folder",
                why="two would undo each other's locks and submit jobs twice",
                remedy="leave it to the other one, or end that first",
            ) from None
        yield

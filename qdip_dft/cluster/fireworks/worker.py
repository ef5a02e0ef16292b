"""A worker: takes the jobs of its class one after the other and runs them with FireWorks until its allocation ends.

    python -m qdip_dft.cluster.fireworks.worker -l my_launchpad.yaml -w my_fworker.yaml rapidfire
    python -m qdip_dft.cluster.fireworks.worker -l my_launchpad.yaml -w my_fworker.yaml singleshot --fw_id 17

It stands in the place of FireWorks' ``rlaunch``, whose workers end at the first error of the database, take new jobs
until they are killed, and ask the database more often.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import time
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from fireworks import FWorker, LaunchPad, Workflow
from fireworks.core import rocket
from fireworks.core.rocket import Rocket
from fireworks.fw_config import RAPIDFIRE_SLEEP_SECS
from fireworks.utilities import fw_serializers
from pymongo.errors import ConnectionFailure

from qdip_dft.cluster.batch_job import announce_end, find_batch_job_number
from qdip_dft.cluster.fireworks.outbox import FIRST_PAUSE_S
from qdip_dft.cluster.stored_job import OUR_TASK, TASK_MARK, require_plain
from qdip_dft.errors import ResultsError
from qdip_dft.runtime.deadline import Deadline, interrupt_job
from qdip_dft.yaml_text import parse_yaml

logger = logging.getLogger("qdip_dft.cluster")

FOREIGN = "foreign"
"""Category of fireworks that hold another task than ours."""

LEAST_TIME_S = 60.0
"""With less time left before it would have to stop, a further job is not worth its start."""

LEAST_SHARE = 0.1
"""In a short allocation it is this share of it."""

IDLE_S = 600.0
"""Between two stages of a study there is nothing to run for a moment: a worker leaves after ten idle minutes only."""


class WorkerQueue(LaunchPad):  # type: ignore[misc]
    """FireWorks' queue as a worker uses it, with twelve round trips to the database less for a job.

    A job reports by itself that it is alive (`qdip_dft.cluster.fireworks.alive`), also after an outage; FireWorks'
    reports at the start, before each task and at the end would be six of them.
    """

    is_over: bool = False
    """Whether a job has run out of time: what would be taken next is the rest of that job."""

    def ping_launch(self, *_: Any, **__: Any) -> None:
        """Report nothing."""

    def get_fw_dict_by_id(self, fw_id: int) -> dict[str, Any]:
        """Return a firework as it is stored, if it holds our own task and no other.

        FireWorks imports the task that a firework names; what else it could import is switched off (`main`).

        Raises
        ------
        ResultsError
            If it holds anything else; its category is changed, so that no worker of ours meets it again.
        """
        stored = self._read_firework(fw_id)
        try:
            require_plain(stored, what=f"firework {fw_id}", marks=[TASK_MARK], known=OUR_TASK)
        except ResultsError:
            logger.exception("firework %s is left alone", fw_id)
            self.fireworks.update_one({"fw_id": fw_id}, {"$set": {"spec._category": FOREIGN}})
            raise
        return stored

    def get_wf_by_fw_id_lzyfw(self, fw_id: int) -> Workflow:
        """Return the workflow of a firework and read that at once; FireWorks reads its state and then the rest."""
        workflow = super().get_wf_by_fw_id_lzyfw(fw_id)
        _ = workflow.id_fw[fw_id].partial_fw
        return workflow

    def _read_firework(self, fw_id: int) -> dict[str, Any]:
        """Return a firework with its launches, which nobody looks for where there are none."""
        stored: dict[str, Any] | None = self.fireworks.find_one({"fw_id": fw_id})
        if stored is None or stored["launches"] or stored["archived_launches"]:
            stored = super().get_fw_dict_by_id(fw_id)
        return dict(stored)

    def _update_wf(self, wf: Workflow, updated_ids: Collection[int]) -> None:
        """Store a workflow that this worker has locked; FireWorks looks first whether it is there."""
        changed = [wf.id_fw[fw_id] for fw_id in updated_ids]
        if all(fw_id > 0 for fw_id in updated_ids):  # else they are new and get their numbers
            self._upsert_fws(changed)
            document = {**wf.to_db_dict(), "locked": True}
            if self.workflows.replace_one({"nodes": next(iter(wf.id_fw))}, document).matched_count:
                return
        super()._update_wf(wf, updated_ids)


@dataclass
class Worker:
    """Takes jobs and runs them, each in a new folder.

    Parameters
    ----------
    queue
        Where the jobs come from.
    fworker
        Which jobs are taken.
    folder
        Where the launch folders are made.
    idle_s
        Leave after so many seconds without a job.
    """

    queue: WorkerQueue
    fworker: FWorker
    folder: Path
    idle_s: float = IDLE_S
    is_launching: bool = field(init=False, default=False)

    def run_all(self) -> int:
        """Run what there is until the allocation ends or nothing has come for long; return how many jobs that were."""
        count, pause_s, idle_from_s = 0, FIRST_PAUSE_S, time.monotonic()
        least_s = min(LEAST_TIME_S, LEAST_SHARE * Deadline.from_environment().usable_s)
        while self._has_time(least_s) and time.monotonic() - idle_from_s < self.idle_s:
            if self._run_next(is_waiting=pause_s > FIRST_PAUSE_S):
                count, pause_s, idle_from_s = count + 1, FIRST_PAUSE_S, time.monotonic()
            else:
                time.sleep(pause_s)
                pause_s = min(2 * pause_s, RAPIDFIRE_SLEEP_SECS)
        return count

    def run_one(self, fw_id: int | None) -> bool:
        """Run one job here, the given one or the next; return whether there was one."""
        self.is_launching = True
        try:
            return bool(Rocket(self.queue, self.fworker, fw_id).run())
        finally:
            self.is_launching = False

    def stop(self) -> None:
        """Put back the job that is running, since the batch system is about to kill this process, and take no other."""
        self.queue.is_over = True
        interrupt_job()
        if not self.is_launching:
            raise SystemExit

    def _has_time(self, least_s: float) -> bool:
        """Return whether a further job may do something before it would have to stop."""
        return not self.queue.is_over and Deadline.from_environment().usable_s > max(least_s, 0.0)

    def _run_next(self, *, is_waiting: bool) -> bool:
        """Run the next job in a folder of its own; after a pause look first whether there is one."""
        try:
            return (not is_waiting or self.queue.run_exists(self.fworker)) and self._run_in_new_folder()
        except ConnectionFailure as error:
            logger.warning("the database cannot be reached: %s", error)
        return False

    def _run_in_new_folder(self) -> bool:
        launch = self.folder / f"launcher_{datetime.now():%Y-%m-%d-%H-%M-%S-%f}-{os.getpid()}"
        launch.mkdir()
        os.chdir(launch)
        has_run = False
        try:
            has_run = self.run_one(None)
        finally:
            os.chdir(self.folder)
            if not has_run and not any(launch.iterdir()):
                launch.rmdir()
        return has_run


def open_queue(launchpad_file: Path) -> WorkerQueue:
    """Return the queue of a ``my_launchpad.yaml``."""
    return WorkerQueue(**parse_yaml(launchpad_file.read_text(encoding="utf-8")))


def read_worker(worker_file: Path) -> FWorker:
    """Return the worker of a ``my_fworker.yaml``; its launches say in which batch job they run."""
    worker = FWorker.from_dict(parse_yaml(worker_file.read_text(encoding="utf-8")))
    worker.env["batch_job"] = find_batch_job_number()
    return worker


def main() -> None:
    """Run one job, or one after the other."""
    given = _read_arguments()
    announce_end()
    fw_serializers.DECODE_MONTY = False  # nothing in a firework of ours is to become an object
    rocket.start_ping_launch = lambda *_: None  # its thread would report to a queue that reports nothing
    queue = open_queue(given.launchpad)
    with queue.connection:
        worker = Worker(queue, read_worker(given.worker), given.folder.absolute(), given.idle)
        signal.signal(signal.SIGTERM, lambda *_: _stop_once(worker))
        if given.mode == "singleshot":
            worker.run_one(given.fw_id)
        else:
            worker.run_all()


def _stop_once(worker: Worker) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    worker.stop()


def _read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser("worker", description="Run jobs of one class.")
    parser.add_argument("-l", dest="launchpad", type=Path, required=True, help="my_launchpad.yaml")
    parser.add_argument("-w", dest="worker", type=Path, required=True, help="my_fworker.yaml")
    parser.add_argument("mode", choices=("singleshot", "rapidfire"), help="one job, or one after the other")
    parser.add_argument("-d", dest="folder", type=Path, default=Path(), help="where the launch folders are made")
    parser.add_argument("--fw_id", type=int, help="the one firework that this batch job was made for")
    parser.add_argument("--idle", type=float, default=IDLE_S, help="leave after so many s without a job")
    return parser.parse_args()


if __name__ == "__main__":
    main()

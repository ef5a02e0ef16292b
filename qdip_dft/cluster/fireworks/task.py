"""The Firetask that runs one job on a worker."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fireworks import FiretaskBase, Firework, FWAction, explicit_serialize

from qdip_dft.cluster.database import ClusterDatabase
from qdip_dft.cluster.fireworks.alive import REPORT_INTERVAL_S, report_alive
from qdip_dft.cluster.fireworks.outbox import Outbox, insist
from qdip_dft.cluster.fireworks.stage import append_stage, build_stage
from qdip_dft.cluster.orders import Orders
from qdip_dft.cluster.queue import MOST_FAULTS
from qdip_dft.cluster.stored_job import StoredJob
from qdip_dft.errors import MachineError, OutOfTime, ResultsError
from qdip_dft.runtime.journal import SCRATCH_VARIABLE, recording_in

MOST_CONTINUATIONS = 50
"""A job that was put back so often is left for people: with 24 h each it has had 50 days."""


@explicit_serialize
class RunJob(FiretaskBase):  # type: ignore[misc]
    """Run a job of a study, once for the whole group.

    Parameters
    ----------
    job
        The job as text.
    orders
        What holds for the whole submission; None for a calculation.
    """

    required_params = ["job"]
    optional_params = ["orders"]

    def run_task(self, fw_spec: dict[str, Any]) -> FWAction:
        """Run the job and do what follows from its response."""
        environment = fw_spec.get("_fw_env") or {}
        interval_s = float(environment.get("report_s", REPORT_INTERVAL_S))
        database = ClusterDatabase(self.launchpad.db)
        with report_alive(self.launchpad, self.fw_id, interval_s=interval_s):
            if self.get("orders") is None:
                return _calculate(self, fw_spec, database, Places.from_environment(environment))
            _advance(self, database)
        return FWAction()


@dataclass(frozen=True, slots=True)
class Places:
    """Where a worker keeps what is not in the database yet; all workers of a cluster see these folders.

    Parameters
    ----------
    outbox
        Finished results.
    recordings
        What unfinished calculations have evaluated, a folder for each job.
    """

    outbox: Outbox
    recordings: Path

    @classmethod
    def from_environment(cls, environment: dict[str, Any]) -> Places:
        """Return the places that ``my_fworker.yaml`` names; codes run beside the recordings."""
        folder = Path(environment.get("scratch", "scratch")).absolute()
        os.environ.setdefault(SCRATCH_VARIABLE, str(folder))
        outbox = Outbox(Path(environment.get("outbox", "outbox")), float(environment.get("patience_s", 600)))
        return cls(outbox, folder)


def _calculate(task: RunJob, fw_spec: dict[str, Any], database: ClusterDatabase, places: Places) -> FWAction:
    """Calculate, unless the result is stored or lies in the outbox.

    What runs out of time, or fails because of the machine, goes on in a new launch.
    """
    note, outbox = fw_spec["qdip"], places.outbox
    job = note["job"]
    with outbox.owning(job):
        is_there = outbox.deliver(job, database.store_output) or _is_stored(note, database, outbox.patience_s)
        if not is_there:
            try:
                with recording_in(places.recordings / job):
                    outbox.send(StoredJob(task["job"]).run(), database.store_output)
            except (OutOfTime, MachineError) as error:
                return _go_on_later(task, fw_spec, database, error)
    insist(lambda: database.settle(job), patience_s=outbox.patience_s)
    shutil.rmtree(places.recordings / job, ignore_errors=True)
    return FWAction()


def _is_stored(note: dict[str, Any], database: ClusterDatabase, patience_s: float) -> bool:
    """Return whether a job is stored; if not it must be this submission's to make."""
    is_stored, owner = insist(lambda: database.look_up(note["job"]), patience_s=patience_s)
    if is_stored or owner == note["submission"]:
        return is_stored
    if database.claims.claim([note["job"]], owner=note["submission"]):
        return False
    raise ResultsError(
        f"job {note['job']} belongs to submission {database.claims.find_owner(note['job'])}",
        limit="one submission makes a calculation, the others wait for it",
        why="it would be calculated twice",
        remedy="give every worker a category (my_fworker.yaml); qdip reconcile puts this firework back",
    )


def _go_on_later(
    task: RunJob, fw_spec: dict[str, Any], database: ClusterDatabase, reason: OutOfTime | MachineError
) -> FWAction:
    """Return the action that lets the rest of a job follow as a firework of its own, before all that wait for it.

    Raises
    ------
    ResultsError
        If it has been put back too often: its allocations are too short for a single evaluation, or too small.
    """
    task.launchpad.is_over = True  # a worker of ours takes no other job: it would be this one again
    note = fw_spec["qdip"]
    n_launches = note.get("n_continued", 0) + 1
    n_faults = note.get("n_faults", 0) + isinstance(reason, MachineError)
    if n_launches > MOST_CONTINUATIONS:
        raise _too_short(note["job"], reason)
    if n_faults > MOST_FAULTS:
        database.note_fault(task.fw_id, reason.what)
        raise _too_small(note["job"], reason)
    name = database.set_aside(task.fw_id)
    spec = {key: value for key, value in fw_spec.items() if key not in ("_fw_env", "_tasks")}
    rest = Firework(
        [RunJob(job=task["job"])],
        spec={**spec, "qdip": {**note, "n_continued": n_launches, "n_faults": n_faults}},
        name=name,
    )
    return FWAction(stored_data={"continued": str(reason)}, detours=[rest])


def _too_small(job: str, reason: Exception) -> ResultsError:
    return ResultsError(
        f"job {job} met a fault of the machine {MOST_FAULTS + 1} times",
        limit=str(reason),
        why="the same request would end in the same way",
        remedy="give its class more memory or another device (resources.yaml, my_qadapter.yaml), then qdip rerun",
    )


def _too_short(job: str, reason: Exception) -> ResultsError:
    return ResultsError(
        f"job {job} was put back {MOST_CONTINUATIONS} times without coming to its end",
        limit=str(reason),
        why="each launch must get further than the one before",
        remedy="give its class a longer walltime (resources.yaml, my_qadapter.yaml), then qdip rerun",
    )


def _advance(task: RunJob, database: ClusterDatabase) -> None:
    """Build the next stage from what is calculated, or keep the results of the finished study."""
    from jobflow import Flow

    from qdip_dft.cluster.stored_job import read_job
    from qdip_dft.cluster.submission import finish_submission

    orders = Orders.model_validate(task["orders"])
    job = read_job(task["job"])
    response = job.run(store=database.job_store())
    if response.replace is None:
        finish_submission(orders.submission, response.output["documents"], database)
    elif isinstance(response.replace, Flow) and not _has_children(task, database):
        stage = build_stage(response.replace, orders, database, make_task=RunJob, replaced=job.uuid)
        append_stage(task.launchpad, task.fw_id, stage, orders, database)


def _has_children(task: RunJob, database: ClusterDatabase) -> bool:
    """Return whether an earlier launch of this firework has inserted the next stage already."""
    workflow = database.database["workflows"].find_one({"nodes": task.fw_id}, {"links": 1}) or {}
    return bool(workflow.get("links", {}).get(str(task.fw_id)))

"""jobflow-remote's queue: every calculation is a flow of one job, whose id follows from the calculation's key.

The flow of a study is not handed over as a whole.  Its stages are built by the runner (`continue_studies`) from what is
stored, and each asks for its calculations by their ids: whoever has claimed an id queues it, everybody else waits for
its result.  So two studies, and both managers, share calculations, and a runner may be killed anywhere: what it does is
worked out from the database and may be done twice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from copy import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar
from uuid import UUID, uuid5

from qdip_dft.cluster.database import ClusterDatabase, Manager
from qdip_dft.cluster.orders import Orders, classify_job, find_term, is_advance
from qdip_dft.cluster.queue import Inserted
from qdip_dft.cluster.resources import JobClass, Resources

if TYPE_CHECKING:
    from jobflow import Flow, Job
    from jobflow_remote import JobController
    from qtoolkit.core.data_objects import QResources

FLOW_NAMESPACE = UUID("0f4d0c5e-8a3f-4f0f-9d6a-0b8f7f1f5c64")
"""Namespace of the ids of the flows that hold one job each."""

FIRST_INDEX = 1
"""jobflow counts repeated runs of a job in an index; ours have a new id for each attempt instead."""

LOST_STATES = ("FAILED", "REMOTE_ERROR")
"""A calculation that fails is a result; a job in these states was killed, ran out of time, or met a full disk."""


@dataclass(frozen=True, slots=True)
class RemoteQueue:
    """The queue of a project.

    Parameters
    ----------
    controller
        jobflow-remote's connection to the database.
    """

    controller: JobController
    manager: ClassVar[Manager] = Manager.REMOTE

    @property
    def database(self) -> ClusterDatabase:
        """The group's database."""
        return ClusterDatabase(self.controller.db)

    def insert(self, flow: Flow, orders: Orders) -> Inserted:
        """Queue what a study needs now and nobody else makes; what is queued already is left as it is."""
        database = self.database
        jobs = {job.uuid: job for job, _ in flow.iterflow() if not is_advance(job)}
        wanted = {f"jobs.{uuid}": find_term(job) for uuid, job in jobs.items()}
        database.submissions.update_one({"_id": orders.submission}, {"$set": wanted})
        stored = database.list_stored(jobs)
        missing = [uuid for uuid in jobs if uuid not in stored]
        mine = database.claims.claim(missing, owner=orders.submission)
        new = mine - self.list_queued(mine)
        for uuid in sorted(new):
            self._add(jobs[uuid], orders)
        classes = Counter(classify_job(jobs[uuid], orders.resources).value for uuid in missing)
        return Inserted(n_jobs=len(new), n_shared=len(missing) - len(mine), n_stored=len(stored), classes=dict(classes))

    def list_queued(self, jobs: Iterable[str]) -> frozenset[str]:
        """Return which of these jobs are in the queue, in any state."""
        found = self.controller.jobs.find({"uuid": {"$in": list(jobs)}}, {"uuid": 1, "_id": 0})
        return frozenset(document["uuid"] for document in found)

    def remove(self, jobs: Iterable[str], *, states: tuple[str, ...]) -> list[str]:
        """Take jobs out of the queue unless they have left these states; return which."""
        removed = []
        for uuid in jobs:
            criteria: dict[str, Any] = {"uuid": uuid, "state": {"$in": states}, "lock_id": None}
            if self.controller.jobs.find_one_and_delete(criteria, {"_id": 1}) is not None:
                self.controller.flows.delete_one({"uuid": _flow_id(uuid)})
                removed.append(uuid)
        return removed

    def restart(self, job: str) -> None:
        """Queue a lost job again; its folder stays, so that it goes on from what was evaluated there."""
        self.controller.rerun_job(job_id=job, job_index=FIRST_INDEX, delete_files=False)

    def _add(self, job: Job, orders: Orders) -> None:
        """Queue a job in a flow of its own.

        A flow without its job was left by a process that was killed in between.
        """
        from jobflow import Flow

        self.controller.flows.delete_one({"uuid": _flow_id(job.uuid)})
        job_class, alone = classify_job(job, orders.resources), copy(job)
        alone.hosts = []
        self.controller.add_flow(
            Flow([alone], name=f"{orders.study}: {job.name}", uuid=_flow_id(job.uuid)),
            worker=job_class.value,
            resources=make_request(orders.resources, job_class, orders),
            priority=orders.priority,
        )


def make_request(resources: Resources, job_class: JobClass, orders: Orders) -> QResources:
    """Return what a job asks of its batch system, in the words of qtoolkit, which knows Slurm, PBS and SGE."""
    from qtoolkit.core.data_objects import QResources

    request = resources.classes[job_class]
    return QResources(
        nodes=request.nodes,
        processes_per_node=request.cores_per_node // request.threads,
        threads_per_process=request.threads,
        memory_per_thread=round(request.memory_gb * 1000 / request.cores_per_node),
        time_limit=resources.walltime_s(job_class, preset=orders.preset),
        queue_name=resources.partition,
        account=resources.account,
    )


def _flow_id(job: str) -> str:
    return str(uuid5(FLOW_NAMESPACE, job))

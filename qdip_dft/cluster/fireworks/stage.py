"""From a stage of a jobflow flow to fireworks: what is stored is left out, what others make stands by.

    1. jobs whose output is stored are left out; the following job reads it from the store
    2. the rest is claimed; what another submission has claimed becomes a firework that stands by
    3. the fireworks are inserted
    4. those that were stored between 1 and 3 are woken

A worker stores first and wakes afterwards; therefore nobody stands by for ever, whichever comes first.  Waking takes
FireWorks' lock of the workflow, since FireWorks writes a firework back as a whole when its state changes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qdip_dft.cluster.database import STANDBY, ClusterDatabase
from qdip_dft.cluster.orders import ADVANCE, Orders, classify_job, count_atoms, find_term, is_advance
from qdip_dft.cluster.resources import JobClass
from qdip_dft.cluster.stored_job import write_job

if TYPE_CHECKING:
    from fireworks import FiretaskBase, Firework, LaunchPad, Workflow
    from jobflow import Flow, Job

MakeTask = Callable[..., "FiretaskBase"]
"""Makes the Firetask of a job from its text and the orders of its submission; the class of the Firetask itself."""


@dataclass(frozen=True, slots=True)
class Stage:
    """The fireworks of a stage.

    Parameters
    ----------
    fireworks
        Calculations, and last the job that builds the next stage.
    parents
        The calculations.
    standing_by
        Jobs that another submission makes.
    n_stored
        Jobs left out because their output is stored.
    """

    fireworks: list[Firework]
    parents: list[Firework]
    standing_by: tuple[str, ...]
    n_stored: int

    def to_workflow(self, orders: Orders) -> Workflow:
        """Return the workflow of the stage."""
        from fireworks import Workflow

        links = {parent: [f for f in self.fireworks if f not in self.parents] for parent in self.parents}
        metadata = {"study": orders.study, "submission": orders.submission}
        return Workflow(self.fireworks, links_dict=links, name=orders.study, metadata=metadata)


def build_stage(
    flow: Flow, orders: Orders, database: ClusterDatabase, *, make_task: MakeTask, replaced: str | None = None
) -> Stage:
    """Return the fireworks of what a flow still needs, and claim them.

    Parameters
    ----------
    flow
        Calculations and the job that follows them.
    orders
        What holds for the whole submission.
    database
        The group's database.
    make_task
        The Firetask that runs a job.
    replaced
        Id of the job that made the flow: jobflow adds a job of that id which only copies the output; it is left out.
    """
    jobs = [job for job, _ in flow.iterflow() if job.uuid != replaced]
    calculations = {job.uuid: job for job in jobs if not is_advance(job)}
    stored = database.list_stored(calculations)
    missing = {uuid: job for uuid, job in calculations.items() if uuid not in stored}
    mine = database.claims.claim(list(missing), owner=orders.submission)
    parents = [make_firework(job, orders, make_task, is_standing_by=uuid not in mine) for uuid, job in missing.items()]
    following = [make_firework(job, orders, make_task) for job in jobs if job.uuid not in calculations]
    return Stage(
        fireworks=[*parents, *following],
        parents=parents,
        standing_by=tuple(uuid for uuid in missing if uuid not in mine),
        n_stored=len(stored),
    )


def make_firework(job: Job, orders: Orders, make_task: MakeTask, *, is_standing_by: bool = False) -> Firework:
    """Return the firework of a job."""
    from fireworks import Firework

    n_atoms = 0 if is_advance(job) else count_atoms(job)
    job_class = JobClass.MLIP if is_advance(job) else classify_job(job, orders.resources)
    note = {
        "job": job.uuid,
        "submission": orders.submission,
        "study": orders.study,
        "term": ADVANCE if is_advance(job) else find_term(job),
        "category": job_class.value,
        "n_atoms": n_atoms,
    }
    spec: dict[str, Any] = {
        "qdip": note,
        "_category": STANDBY if is_standing_by else job_class.value,
        "_priority": orders.priority,
        "_add_launchpad_and_fw_id": True,
        "_queueadapter": orders.resources.queue_parameters(job_class, preset=orders.preset),
    }
    orders_of_stage = orders.model_dump(mode="json") if is_advance(job) else None
    return Firework([make_task(job=write_job(job), orders=orders_of_stage)], spec=spec, name=job.name)


def append_stage(launchpad: LaunchPad, fw_id: int, stage: Stage, orders: Orders, database: ClusterDatabase) -> None:
    """Insert the next stage below the running firework that built it.

    It is inserted here and not through FireWorks' ``FWAction``: only then is it in the database when we look whether
    something was stored meanwhile.  Its fireworks begin when the running one has completed.
    """
    launchpad.append_wf(stage.to_workflow(orders), [fw_id])
    wake_stored(stage, database)


def wake_stored(stage: Stage, database: ClusterDatabase) -> None:
    """Wake the fireworks that stand by for something which is stored by now."""
    database.wake(database.list_stored(stage.standing_by))

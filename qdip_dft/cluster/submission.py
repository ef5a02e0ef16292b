"""Submitting studies: only what nobody has calculated and nobody is calculating becomes work."""

from __future__ import annotations

import getpass
import hashlib
import json
import socket
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qdip_dft.cluster.database import ClusterDatabase, Manager, SubmissionState
from qdip_dft.cluster.orders import Orders, classify_job, is_advance
from qdip_dft.cluster.queue import Queue
from qdip_dft.cluster.resources import Resources
from qdip_dft.model.crystal import CrystalRecord
from qdip_dft.model.stabilization import StabilizationDoc
from qdip_dft.planning.campaign import Counts, count_calculations
from qdip_dft.planning.plan import StudyPlan, list_repeats
from qdip_dft.planning.study_files import make_engine, validate_study

if TYPE_CHECKING:
    from jobflow import Flow

    from qdip_dft.flows.resolution import Resolution

UNSTARTED_AFTER = timedelta(minutes=5)
"""A submission without fireworks of this age was killed before it had any; the study may be submitted again."""


@dataclass(frozen=True, slots=True)
class SubmitSummary:
    """What a submission did.

    Parameters
    ----------
    study
        Name of the study.
    n_stored
        Calculations of the study that are stored.
    n_fireworks
        Entries of the queue made now; with FireWorks, the one that builds the next stage included.
    n_shared
        Those of them that another submission makes.
    n_later
        Calculations whose structures follow from earlier results; they become fireworks then.
    classes
        Number of calculations to be made now by job class.
    note
        Why nothing was submitted, if so.
    """

    study: str
    n_stored: int
    n_fireworks: int = 0
    n_shared: int = 0
    n_later: int = 0
    classes: dict[str, int] | None = None
    note: str = ""


def submit_through(
    queue: Queue,
    plan: StudyPlan,
    *,
    resources: Resources,
    priority: int = 0,
    is_retry: bool = False,
    is_dry_run: bool = False,
) -> SubmitSummary:
    """Submit what a study still needs; a study that is complete gets its result at once.

    Parameters
    ----------
    queue
        The manager that carries it out.
    plan
        The study.
    resources
        What the job classes ask for.
    priority
        Higher ones run first.
    is_retry
        Whether failed and unconverged calculations are tried again.
    is_dry_run
        Whether only to say what would be submitted.

    Raises
    ------
    EngineError
        If the study leaves a code to atomate2.
    """
    plan.engines.require_own_runner()
    database = queue.database
    archive = database.archive()
    resolution = plan.resolve(archive.find_record)
    repeats = list_repeats(resolution)
    flow = plan.make_flow(archive.find_record, resolution=resolution, is_retry=is_retry, attempts=repeats)
    n_stored = len({record.key for record in resolution.stored})
    if flow is None:
        if not is_dry_run:
            _save(plan.assemble(resolution), database)
        return SubmitSummary(plan.study.name, n_stored, note="everything is stored")
    orders = Orders(
        submission=fingerprint(plan),
        study=plan.study.name,
        preset=plan.study.engine.preset,
        priority=priority,
        resources=resources,
    )
    if is_dry_run:
        return _describe(flow, resolution, orders, n_stored)
    if not _register(orders, plan, queue, attempts=_read_attempts(flow)):
        return SubmitSummary(plan.study.name, n_stored, note=_describe_active(orders.submission, database))
    inserted = queue.insert(flow, orders)
    return SubmitSummary(
        plan.study.name,
        n_stored + inserted.n_stored,
        n_fireworks=inserted.n_jobs,
        n_shared=inserted.n_shared,
        n_later=len(resolution.waiting),
        classes=inserted.classes,
    )


def count_together(database: ClusterDatabase, plans: Iterable[StudyPlan]) -> Counts:
    """Return what several studies ask for together, what is stored and what others are making left out of the new."""
    find = database.archive().find_record
    claimed = {claim["_id"] for claim in database.claims.collection.find({}, {"_id": 1})}
    return count_calculations([plan.list_calculations(find) for plan in plans], claimed=claimed)


def _read_attempts(flow: Flow) -> dict[str, int]:
    """Return the number of the attempt that each failed calculation is in now, by key."""
    following = next(job for job, _ in flow.iterflow() if is_advance(job))
    return dict(following.function_args[0].attempts)


def finish_submission(submission: str, documents: list[dict[str, Any]], database: ClusterDatabase) -> None:
    """Keep the results of a study and mark its submission as finished."""
    _save([StabilizationDoc.model_validate(document) for document in documents], database)
    database.submissions.update_one(
        {"_id": submission}, {"$set": {"state": SubmissionState.FINISHED, "finished_at": datetime.now(UTC)}}
    )


def restore_plan(submission: dict[str, Any]) -> StudyPlan:
    """Return the plan of a submission, with the crystals that it was submitted with."""
    folder = Path(submission.get("folder", ""))
    study = validate_study(submission["spec"], source=f"submission {submission['_id']}", folder=folder)
    crystals = {name: CrystalRecord.model_validate(crystal) for name, crystal in submission["crystals"].items()}
    return StudyPlan(study=study, crystals=crystals, engine=make_engine(study.engine, study))


def fingerprint(plan: StudyPlan) -> str:
    """Return an id that is the same for everybody who submits this study with these crystals and this engine."""
    content = {
        "study": plan.study.model_dump(mode="json"),
        "crystals": {name: crystal.model_dump(mode="json") for name, crystal in plan.crystals.items()},
        "theory": plan.engine.theory().model_dump(mode="json"),
        "others": {name: engine.theory().model_dump(mode="json") for name, engine in plan.engines.by_purpose()},
        "relaxation": plan.engines.relaxing.relaxation_settings(),
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]


def _save(documents: Any, database: ClusterDatabase) -> None:
    archive = database.archive()
    for document in documents:
        archive.save_stabilization(document)


def _register(orders: Orders, plan: StudyPlan, queue: Queue, *, attempts: dict[str, int]) -> bool:
    """Note the submission; False if the same study is submitted already and not finished."""
    from pymongo.errors import DuplicateKeyError

    submissions = queue.database.submissions
    document = {
        "_id": orders.submission,
        "study": orders.study,
        "spec": plan.study.model_dump(mode="json"),
        "folder": str(plan.study.folder.resolve()),
        "crystals": {name: crystal.model_dump(mode="json") for name, crystal in plan.crystals.items()},
        "orders": orders.model_dump(mode="json"),
        "attempts": attempts,
        "manager": queue.manager.value,
        "state": SubmissionState.ACTIVE,
        "submitted_at": datetime.now(UTC),
        "submitted_by": f"{getpass.getuser()}@{socket.gethostname()}",
    }
    try:
        submissions.insert_one(document)
        return True
    except DuplicateKeyError:
        criteria = {"_id": orders.submission, "$or": _replaceable(orders.submission, queue.database)}
        return submissions.find_one_and_replace(criteria, document) is not None


def _replaceable(submission: str, database: ClusterDatabase) -> list[dict[str, Any]]:
    """Return when an earlier submission may be replaced: it has ended, or was killed before it had any firework."""
    ended = {"state": {"$in": [SubmissionState.FINISHED.value, SubmissionState.CANCELLED.value]}}
    if database.fireworks.find_one({"spec.qdip.submission": submission}, {"_id": 1}) is not None:
        return [ended]
    killed = {"submitted_at": {"$lt": datetime.now(UTC) - UNSTARTED_AFTER}, "manager": {"$ne": Manager.REMOTE.value}}
    return [ended, killed]


def _describe_active(submission: str, database: ClusterDatabase) -> str:
    found = database.submissions.find_one({"_id": submission}) or {}
    when = f"{found['submitted_at']:%Y-%m-%d %H:%M} UTC" if "submitted_at" in found else "just now"
    return f"submitted already by {found.get('submitted_by', 'somebody')} at {when}"


def _describe(flow: Flow, resolution: Resolution, orders: Orders, n_stored: int) -> SubmitSummary:
    jobs = [job for job, _ in flow.iterflow()]
    classes = Counter(classify_job(job, orders.resources).value for job in jobs if not is_advance(job))
    return SubmitSummary(
        orders.study,
        n_stored,
        n_fireworks=len(jobs),
        n_later=len(resolution.waiting),
        classes=dict(classes),
        note="dry run, nothing was submitted",
    )

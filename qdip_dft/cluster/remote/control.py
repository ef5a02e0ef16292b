"""Submitted studies in jobflow-remote's queue: how far they are, and pausing, resuming, cancelling, repeating them."""

from __future__ import annotations

from collections import Counter
from typing import Any

from qdip_dft.cluster.database import STANDBY, ClusterDatabase, Manager, SubmissionState
from qdip_dft.cluster.queue import StudyStatus
from qdip_dft.cluster.remote.queue import FIRST_INDEX, LOST_STATES, RemoteQueue

Document = dict[str, Any]

UNSTARTED = ("READY", "PAUSED", "WAITING")


def list_statuses(database: ClusterDatabase, *, study: str | None = None, term: str | None = None) -> list[StudyStatus]:
    """Return how far the studies submitted to jobflow-remote are, in the order of their names."""
    chosen = {"manager": Manager.REMOTE.value} | ({} if study is None else {"study": study})
    submissions = list(database.submissions.find(chosen, {"spec": 0, "crystals": 0}, sort={"study": 1}))
    wanted = [job for submission in submissions for job in submission.get("jobs", ())]
    states = _list_states(database, wanted)
    claims = list(database.claims.collection.find({"_id": {"$in": wanted}}, {"owner": 1, "fault": 1}))
    owners = {claim["_id"]: claim["owner"] for claim in claims}
    lost = {state.lower() for state in LOST_STATES}
    faults = {c["_id"]: c["fault"] for c in claims if c.get("fault") and states.get(c["_id"]) in lost}
    return [_describe(submission, states, owners, term, faults) for submission in submissions]


def _list_states(database: ClusterDatabase, jobs: list[str]) -> dict[str, str]:
    """Return the state of each job: jobflow-remote's own in lower case, or completed once its result is stored."""
    queued = database.remote_jobs.find({"uuid": {"$in": jobs}}, {"_id": 0, "uuid": 1, "state": 1})
    states = {job["uuid"]: job["state"].lower() for job in queued}
    return states | dict.fromkeys(database.list_stored(jobs), "completed")


def _describe(
    submission: Document, states: dict[str, str], owners: dict[str, str], term: str | None, faults: dict[str, str]
) -> StudyStatus:
    counts: dict[str, Counter[str]] = {}
    for job, its_term in submission.get("jobs", {}).items():
        if term not in (None, its_term):
            continue
        state = states.get(job, "ready")
        if state != "completed" and owners.get(job, submission["_id"]) != submission["_id"]:
            state = STANDBY
        counts.setdefault(its_term, Counter())[state] += 1
    plain = {each: dict(found) for each, found in counts.items()}
    left = tuple(
        f"{its_term}, job {job}: {faults[job]}" for job, its_term in submission.get("jobs", {}).items() if job in faults
    )
    return StudyStatus(submission["study"], submission["state"], submission["submitted_by"], plain, left)


def pause(queue: RemoteQueue, study: str, *, term: str | None = None) -> int:
    """Keep what has not started from starting; return how many jobs that are."""
    jobs = _list_own(queue, study, term, states=("READY", "WAITING"))
    return len(queue.controller.pause_jobs(job_ids=jobs, raise_on_error=False)) if jobs else 0


def resume(queue: RemoteQueue, study: str, *, term: str | None = None) -> int:
    """Let what was paused start again; return how many jobs that are."""
    jobs = _list_own(queue, study, term, states=("PAUSED",))
    return len(queue.controller.resume_jobs(job_ids=jobs, raise_on_error=False)) if jobs else 0


def cancel(queue: RemoteQueue, study: str, *, term: str | None = None) -> int:
    """Give up what has not started; running calculations end and are kept, what others wait for goes on for them."""
    database, count = queue.database, 0
    if term is None:
        chosen = {"study": study, "manager": Manager.REMOTE.value}
        database.submissions.update_many(chosen, {"$set": {"state": SubmissionState.CANCELLED}})
    for submission, jobs in _list_jobs(database, study, term).items():
        mine = [job for job in jobs if database.claims.find_owner(job) == submission]
        removed = queue.remove(mine, states=(*UNSTARTED, *LOST_STATES))
        for job in removed:
            database.pass_on_claim(job, owner=submission)
        count += len(removed)
    return count


def rerun(queue: RemoteQueue, study: str, *, term: str | None = None) -> int:
    """Start again what was lost; return how many jobs that are."""
    jobs = _list_own(queue, study, term, states=LOST_STATES)
    for job, _ in jobs:
        queue.database.claims.collection.update_one({"_id": job}, {"$unset": {"n_restarts": "", "fault": ""}})
        queue.restart(job)
    return len(jobs)


def _list_jobs(database: ClusterDatabase, study: str, term: str | None) -> dict[str, list[str]]:
    """Return the jobs that a study wants, by submission."""
    found = database.submissions.find({"study": study, "manager": Manager.REMOTE.value}, {"jobs": 1})
    return {
        submission["_id"]: [job for job, its_term in submission.get("jobs", {}).items() if term in (None, its_term)]
        for submission in found
    }


def _list_own(queue: RemoteQueue, study: str, term: str | None, *, states: tuple[str, ...]) -> list[tuple[str, int]]:
    """Return the jobs that a study makes itself and that are in one of these states."""
    database = queue.database
    wanted = [
        job
        for submission, jobs in _list_jobs(database, study, term).items()
        for job in jobs
        if database.claims.find_owner(job) == submission
    ]
    found = queue.controller.jobs.find({"uuid": {"$in": wanted}, "state": {"$in": states}}, {"uuid": 1})
    return [(job["uuid"], FIRST_INDEX) for job in found]

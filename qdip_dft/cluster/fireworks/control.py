"""Submitted studies: how far they are, and pausing, resuming, cancelling and repeating them, by study and term."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from qdip_dft.cluster.database import (
    ALIVE,
    CONTINUED,
    STANDBY,
    STATUS_INDEX,
    ClusterDatabase,
    Manager,
    SubmissionState,
)
from qdip_dft.cluster.orders import ADVANCE
from qdip_dft.cluster.queue import StudyStatus
from qdip_dft.errors import ResultsError

if TYPE_CHECKING:
    from fireworks import LaunchPad

Document = dict[str, Any]


def list_statuses(database: ClusterDatabase, *, study: str | None = None, term: str | None = None) -> list[StudyStatus]:
    """Return how far the submitted studies are, in the order of their names."""
    chosen = {"manager": {"$ne": Manager.REMOTE.value}} | ({} if study is None else {"study": study})
    fields = {"study": 1, "state": 1, "submitted_by": 1}
    submissions = {s["_id"]: s for s in database.submissions.find(chosen, fields, sort={"study": 1})}
    counts: dict[str, dict[str, dict[str, int]]] = {}
    for group in _count(database, list(submissions)):
        key = group["_id"]
        if key["term"] in (ADVANCE, CONTINUED) or term not in (None, key["term"]):
            continue
        state = STANDBY if key["category"] == STANDBY and key["state"] in ALIVE else key["state"].lower()
        states = counts.setdefault(key["submission"], {}).setdefault(key["term"], {})
        states[state] = states.get(state, 0) + group["count"]
    left = _list_left(database, list(submissions))
    return [
        StudyStatus(
            found["study"], found["state"], found["submitted_by"], counts.get(submission, {}), left.get(submission, ())
        )
        for submission, found in submissions.items()
    ]


def _list_left(database: ClusterDatabase, submissions: list[str]) -> dict[str, tuple[str, ...]]:
    """Return by submission which jobs have ended with a fault of the machine and wait for people, and with which."""
    chosen = {"state": "FIZZLED", "spec.qdip.submission": {"$in": submissions}, "spec.qdip.fault": {"$exists": True}}
    left: dict[str, tuple[str, ...]] = {}
    for found in database.fireworks.find(chosen, {"name": 1, "spec.qdip": 1}, sort={"fw_id": 1}):
        note = found["spec"]["qdip"]
        left[note["submission"]] = (*left.get(note["submission"], ()), f"{found['name']}: {note['fault']}")
    return left


def _count(database: ClusterDatabase, submissions: list[str]) -> Iterator[Document]:
    """Return the number of fireworks by submission, term, state and category, from the index alone."""
    names = {"submission": "$spec.qdip.submission", "term": "$spec.qdip.term", "category": "$spec._category"}
    pipeline: list[Document] = [
        {"$match": {"spec.qdip.submission": {"$in": submissions}}},
        {"$project": {"_id": 0, "state": 1, **dict.fromkeys(STATUS_INDEX, 1)}},
        {"$group": {"_id": {"state": "$state", **names}, "count": {"$sum": 1}}},
    ]
    yield from database.fireworks.aggregate(pipeline)


def pause_study(launchpad: LaunchPad, study: str, *, term: str | None = None) -> int:
    """Keep what has not started from starting; return how many fireworks that are."""
    found = _find(launchpad, study, term, states=("WAITING", "READY"))
    return sum(launchpad.pause_fw(firework["fw_id"]) is not None for firework in found)


def resume_study(launchpad: LaunchPad, study: str, *, term: str | None = None) -> int:
    """Let what was paused start again; return how many fireworks that are."""
    found = _find(launchpad, study, term, states=("PAUSED",))
    return sum(launchpad.resume_fw(firework["fw_id"]) is not None for firework in found)


def cancel_study(launchpad: LaunchPad, study: str, *, term: str | None = None) -> int:
    """Give up what has not started; running calculations end and are kept.

    What other studies wait for goes on in one of them.

    Returns
    -------
    int
        Number of fireworks given up.
    """
    database = ClusterDatabase(launchpad.db)
    found = _find(launchpad, study, term, states=("WAITING", "READY", "PAUSED", "RESERVED", "FIZZLED"))
    for firework in found:
        launchpad.defuse_fw(firework["fw_id"])
        note = firework["spec"]["qdip"]
        database.pass_on_claim(note["job"], owner=note["submission"])
    if term is None:
        chosen = {"study": study, "manager": {"$ne": Manager.REMOTE.value}}
        database.submissions.update_many(chosen, {"$set": {"state": SubmissionState.CANCELLED}})
    return len(found)


def rerun_failed(launchpad: LaunchPad, study: str, *, term: str | None = None) -> int:
    """Start again what was lost or ended with an error of the machine; return how many fireworks that are.

    A calculation that did not converge is a result, not a loss: `qdip submit --retry` makes a new attempt.
    """
    found = _find(launchpad, study, term, states=("FIZZLED",))
    database = ClusterDatabase(launchpad.db)
    for firework in found:
        forgotten = {"spec.qdip.n_faults": "", "spec.qdip.fault": ""}
        database.fireworks.update_one({"fw_id": firework["fw_id"]}, {"$unset": forgotten})
        revive(launchpad, firework)
    return len(found)


def revive(launchpad: LaunchPad, firework: Document) -> None:
    """Start a lost firework again; if another study has taken its calculation over, it stands by from now on."""
    database, note = ClusterDatabase(launchpad.db), firework["spec"]["qdip"]
    is_mine = note["term"] == ADVANCE or database.claims.claim([note["job"]], owner=note["submission"])
    category = note["category"] if is_mine else STANDBY
    database.fireworks.update_one({"fw_id": firework["fw_id"]}, {"$set": {"spec._category": category}})
    launchpad.rerun_fw(firework["fw_id"])
    database.wake(database.list_stored([note["job"]]))


def _find(launchpad: LaunchPad, study: str, term: str | None, *, states: tuple[str, ...]) -> list[Document]:
    database = ClusterDatabase(launchpad.db)
    if database.submissions.find_one({"study": study}, {"_id": 1}) is None:
        raise _unknown(study, database)
    criteria = {"spec.qdip.study": study, "state": {"$in": states}}
    if term is not None:
        criteria["spec.qdip.term"] = term
    fields = {"fw_id": 1, "state": 1, "spec.qdip": 1, "spec._category": 1}
    return list(database.fireworks.find(criteria, fields, sort={"fw_id": 1}))


def _unknown(study: str, database: ClusterDatabase) -> ResultsError:
    known = ", ".join(sorted(database.submissions.distinct("study"))) or "none"
    return ResultsError(
        f"no study {study!r} was submitted",
        limit=f"submitted: {known}",
        why="there is nothing to act on",
        remedy="qdip submit it first, or take one of these names",
    )

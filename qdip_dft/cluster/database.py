"""The group's database: FireWorks' own collections, and beside them calculations, results, claims and submissions."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from enum import StrEnum
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from qdip_dft.cluster.claims import Claims

if TYPE_CHECKING:
    from jobflow import JobStore
    from pymongo.collection import Collection as MongoCollection
    from pymongo.database import Database

    from qdip_dft.results.archive import Archive

Document = dict[str, Any]

STANDBY = "standby"
"""Category of a firework that another study's firework makes superfluous: no worker takes it.

It is in the workflow so that its study waits; when the other one is done or given up, it gets its own category back."""

ALIVE = ("WAITING", "READY", "RESERVED", "RUNNING", "PAUSED")
"""States of fireworks that will still do something by themselves."""


class Manager(StrEnum):
    """Who carries out the jobs of a submission."""

    FIREWORKS = "fireworks"
    """FireWorks: every worker talks to the database."""
    REMOTE = "jobflow-remote"
    """jobflow-remote: one runner talks to the database and to the batch systems."""


class SubmissionState(StrEnum):
    """How a submission stands."""

    ACTIVE = "active"
    FINISHED = "finished"
    CANCELLED = "cancelled"


LOCK_PATIENCE_S = 20
"""A workflow that stays locked for longer was locked by a process that was killed; our templates say the same."""

logger = logging.getLogger("qdip_dft.cluster")


@dataclass(frozen=True, slots=True)
class ClusterDatabase:
    """The database that queue and results share.

    Parameters
    ----------
    database
        Connected with the rights to read and write.
    """

    database: Database[Document]

    @property
    def fireworks(self) -> MongoCollection[Document]:
        """FireWorks' fireworks; what is ours lies in ``spec.qdip``."""
        return self.database["fireworks"]

    @property
    def submissions(self) -> MongoCollection[Document]:
        """One document per submitted study."""
        return self.database["submissions"]

    @property
    def remote_jobs(self) -> MongoCollection[Document]:
        """jobflow-remote's jobs, as its project file names them."""
        return self.database["jf_jobs"]

    @property
    def claims(self) -> Claims:
        """Who makes which calculation."""
        return Claims(self.database["claims"])

    def job_store(self) -> JobStore:
        """Return jobflow's view of the calculations, which imports nothing that they name."""
        from maggma.stores import MongoStore

        from qdip_dft.cluster.plain_store import PlainJobStore

        return PlainJobStore(MongoStore.from_collection(self.database["calculations"]))

    def archive(self) -> Archive:
        """Return the stored calculations and results."""
        from maggma.stores import MongoStore

        from qdip_dft.results.archive import Archive

        names = ("calculations", "stabilizations", "revisions")
        return Archive(*(MongoStore.from_collection(self.database[name]) for name in names)).connect()

    def prepare(self) -> None:
        """Make the indexes, and FireWorks' counters where there are none; nothing that exists is changed."""
        self.database["fw_id_assigner"].update_one(
            {}, {"$setOnInsert": {"_id": -1, "next_fw_id": 1, "next_launch_id": 1}}, upsert=True
        )
        self.database["calculations"].create_index(["uuid", "index"], unique=True)
        self.database["calculations"].create_index("output.key")
        self.database["stabilizations"].create_index("id", unique=True)
        self.database["revisions"].create_index("id", unique=True)
        self.database["workflows"].create_index("nodes")
        self.database["launches"].create_index("launch_id", unique=True)
        self.database["launches"].create_index("fw_id")
        self.fireworks.create_index("fw_id", unique=True)
        self.fireworks.create_index("launches")
        self.fireworks.create_index("spec.qdip.job")
        self.fireworks.create_index(["state", "spec._category", ("spec._priority", -1)])
        self.fireworks.create_index(STATUS_INDEX)

    def list_stored(self, jobs: Collection[str]) -> frozenset[str]:
        """Return which of these jobs have a stored output."""
        found = self.database["calculations"].find({"uuid": {"$in": list(jobs)}}, {"uuid": 1, "_id": 0})
        return frozenset(document["uuid"] for document in found)

    def look_up(self, job: str) -> tuple[bool, str | None]:
        """Return whether a job has a stored output, and who has claimed it; one round trip."""
        stored: Document = {"coll": "calculations", "pipeline": [{"$match": {"uuid": job}}, {"$project": {"uuid": 1}}]}
        claims: list[Document] = [{"$match": {"_id": job}}, {"$project": {"owner": 1}}, {"$unionWith": stored}]
        found = list(self.claims.collection.aggregate(claims))
        owner = next((str(document["owner"]) for document in found if "owner" in document), None)
        return any("uuid" in document for document in found), owner

    def store_output(self, document: Document) -> None:
        """Store the document of a job in the place of an earlier one.

        The server answers when it is in its journal: otherwise a power cut would lose what was stored in
        the last 0.1 s, and the worker has removed its own copy by then.
        """
        from pymongo import WriteConcern

        calculations = self.database["calculations"].with_options(write_concern=WriteConcern(j=True))
        calculations.replace_one({"uuid": document["uuid"], "index": document["index"]}, document, upsert=True)

    def set_aside(self, fw_id: int) -> str:
        """Count a firework no longer as a calculation, since its rest follows as another; return its name."""
        criteria, change = {"fw_id": fw_id}, {"$set": {"spec.qdip.term": CONTINUED}}
        found = self.fireworks.find_one_and_update(criteria, change, {"name": 1})
        return "" if found is None else str(found["name"])

    def note_fault(self, fw_id: int, fault: str) -> None:
        """Count a fault of the machine against a firework, with its words; after too many it is left for people."""
        self.fireworks.update_one(
            {"fw_id": fw_id}, {"$inc": {"spec.qdip.n_faults": 1}, "$set": {"spec.qdip.fault": fault}}
        )

    def wake(self, jobs: Iterable[str]) -> int:
        """Give the fireworks that stand by for these jobs their own category back; return how many there were."""
        return self.end_standby({"spec.qdip.job": {"$in": list(jobs)}})

    def end_standby(self, criteria: Document) -> int:
        """Give fireworks that stand by their own category back, and return how many there were.

        Each is changed under FireWorks' lock of its workflow.  Whoever changes the state of a firework reads it and
        writes it back as a whole; without the lock a category that changed in between would be lost, and the firework
        would stand by for ever.
        """
        standing_by = list(self.fireworks.find({**criteria, "spec._category": STANDBY}, {"fw_id": 1}))
        return sum(self._end_standby(firework["fw_id"]) for firework in standing_by)

    def _end_standby(self, fw_id: int) -> int:
        from fireworks.core.launchpad import WFLock

        workflows = self.database["workflows"]
        if workflows.find_one({"nodes": fw_id}, {"_id": 1}) is None:
            return 0
        queue = SimpleNamespace(workflows=workflows, m_logger=logger)
        with WFLock(queue, fw_id, expire_secs=LOCK_PATIENCE_S, kill=True):
            criteria = {"fw_id": fw_id, "spec._category": STANDBY}
            change = [{"$set": {"spec._category": "$spec.qdip.category"}}]
            return self.fireworks.update_one(criteria, change).modified_count

    def settle(self, job: str) -> None:
        """Do what follows a stored calculation: drop its claim and wake those who wait for it."""
        if self.claims.release(job):
            self.wake([job])

    def pass_on_claim(self, job: str, *, owner: str) -> None:
        """Let a study that stands by make a calculation which its owner has given up; without one the claim lapses."""
        standing_by = {"spec.qdip.job": job, "spec._category": STANDBY, "state": {"$in": ALIVE}}
        heir = self.fireworks.find_one(standing_by, {"spec.qdip.submission": 1})
        if heir is None:
            self.claims.release(job, owner=owner)
            return
        submission = heir["spec"]["qdip"]["submission"]
        if self.claims.hand_over(job, owner=owner, heir=submission):
            self.end_standby({"spec.qdip.job": job, "spec.qdip.submission": submission})


CONTINUED = "continued"
"""Term of a firework that ran out of time and whose rest is another firework."""

STATUS_INDEX = ["spec.qdip.submission", "spec.qdip.term", "state", "spec._category"]
"""Answers how far the studies are without touching a firework."""

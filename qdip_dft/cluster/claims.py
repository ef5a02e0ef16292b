"""Who makes a calculation that is not stored yet: one claim per job, kept unique by the database.

The id of a claim is the id of the job, which follows from the calculation key and the attempt, so two studies that ask
the same question at the same second meet here; the owner is the submission that makes the calculation.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pymongo.collection import Collection as MongoCollection

DUPLICATE_KEY = 11000
"""MongoDB's error code for a value that a unique index holds already."""


@dataclass(frozen=True, slots=True)
class Claims:
    """The claims of a group.

    Parameters
    ----------
    collection
        Where they are kept; `_id` is the id of the job and unique by MongoDB's own index.
    """

    collection: MongoCollection[dict[str, Any]]

    def claim(self, jobs: Collection[str], *, owner: str) -> frozenset[str]:
        """Claim what nobody has claimed, and return all jobs of this owner among those asked for."""
        from pymongo.errors import BulkWriteError

        now = datetime.now(UTC)
        if jobs:
            try:
                documents = [{"_id": job, "owner": owner, "claimed_at": now} for job in jobs]
                self.collection.insert_many(documents, ordered=False)
            except BulkWriteError as error:
                if any(failure["code"] != DUPLICATE_KEY for failure in error.details["writeErrors"]):
                    raise
        found = self.collection.find({"_id": {"$in": list(jobs)}, "owner": owner}, {"_id": 1})
        mine = frozenset(claim["_id"] for claim in found)
        others = [job for job in jobs if job not in mine]
        if others:
            self.collection.update_many({"_id": {"$in": others}}, {"$set": {"is_awaited": True}})
        return mine

    def find_owner(self, job: str) -> str | None:
        """Return who has claimed a job, if anybody."""
        claim = self.collection.find_one({"_id": job}, {"owner": 1})
        return None if claim is None else str(claim["owner"])

    def hand_over(self, job: str, *, owner: str, heir: str) -> bool:
        """Give a claim to another submission; False if it has changed hands meanwhile."""
        found = self.collection.find_one_and_update(
            {"_id": job, "owner": owner}, {"$set": {"owner": heir, "claimed_at": datetime.now(UTC)}}
        )
        return found is not None

    def release(self, job: str, *, owner: str | None = None) -> bool:
        """Forget a claim: its calculation is stored, or nobody wants it any more.

        Returns
        -------
        bool
            Whether somebody else has asked for it.
        """
        criteria = {"_id": job} if owner is None else {"_id": job, "owner": owner}
        claim = self.collection.find_one_and_delete(criteria)
        return claim is None or bool(claim.get("is_awaited"))

"""Going on with the submitted studies: what has become possible is queued, what is complete gets its result."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from qdip_dft.cluster.database import Manager, SubmissionState
from qdip_dft.cluster.orders import Orders
from qdip_dft.cluster.remote.queue import LOST_STATES, RemoteQueue
from qdip_dft.cluster.submission import finish_submission, restore_plan
from qdip_dft.errors import QdipError
from qdip_dft.planning.plan import StudyPlan

logger = logging.getLogger("jobflow_remote.qdip")  # goes where the runner's own lines go

Document = dict[str, Any]

MAX_RESTARTS = 5
"""A job that was lost so often is left for somebody to look at."""

_FAULT = re.compile(r"\b(?:MachineError|ScratchError|MemoryError)\b")
"""The names of faults of the machine in the traceback of a job."""


@dataclass
class Studies:
    """The submitted studies of a queue.

    Parameters
    ----------
    queue
        The queue.
    explain_end
        Why the batch job of a stored job has ended, where that was its memory.
    """

    queue: RemoteQueue
    explain_end: Callable[[Document], str | None] = lambda _: None
    plans: dict[str, StudyPlan] = field(default_factory=dict)
    seen: dict[str, frozenset[str]] = field(default_factory=dict)

    def go_on(self) -> None:
        """Settle what is stored, start again what was lost, and queue what has become possible."""
        self.settle()
        self.restart_lost()
        active = {"manager": Manager.REMOTE.value, "state": SubmissionState.ACTIVE.value}
        for submission in list(self.queue.database.submissions.find(active)):
            try:
                self._continue(submission)
            except QdipError:
                logger.exception("study %s cannot go on", submission["study"])

    def settle(self) -> int:
        """Drop the claims on what is stored and wake whoever waits for it; return how many there were."""
        database = self.queue.database
        claimed = [claim["_id"] for claim in database.claims.collection.find({}, {"_id": 1})]
        stored = database.list_stored(claimed)
        for job in stored:
            database.settle(job)
        return len(stored)

    def restart_lost(self) -> int:
        """Start lost jobs again in the folder of their last run, where they go on; return how many there were.

        A fault of the machine counts twice: the same request meets it again.
        """
        jobs, claims = self.queue.controller.jobs, self.queue.database.claims.collection
        n_restarted, fields = 0, {"uuid": 1, "error": 1, "worker": 1, "remote.process_id": 1}
        for lost in list(jobs.find({"state": {"$in": LOST_STATES}}, fields)):
            fault = self._find_fault(lost)
            n_used = 2 if fault else 0 if "OutOfTime" in (lost.get("error") or "") else 1
            may_restart = {"_id": lost["uuid"], "n_restarts": {"$not": {"$gte": MAX_RESTARTS}}}
            change = {"$inc": {"n_restarts": n_used}, "$set": {"fault": fault}}
            if claims.find_one_and_update(may_restart, change) is None:
                continue
            self.queue.restart(lost["uuid"])
            n_restarted += 1
        return n_restarted

    def _find_fault(self, lost: Document) -> str | None:
        """Return the fault of the machine that a job has named, or that the batch system names for it."""
        said = (lost.get("error") or "").strip()
        if _FAULT.search(said):
            return str(said.splitlines()[-1])
        return None if said else self.explain_end(lost)

    def _continue(self, submission: Document) -> None:
        """Queue what a study needs now, if anything has changed since it was last asked."""
        database, name = self.queue.database, submission["_id"]
        wanted = list(submission.get("jobs", ()))
        stored = database.list_stored(wanted)
        if stored == self.seen.get(name) and not self._list_unmade(wanted, stored):
            return
        plan = self.plans.setdefault(name, restore_plan(submission))
        find = database.archive().find_record
        flow = plan.make_flow(find, attempts=submission.get("attempts", {}))
        if flow is not None:
            self.queue.insert(flow, Orders.model_validate(submission["orders"]))
            self.seen[name] = stored
            return
        documents = plan.assemble(plan.resolve(find))
        finish_submission(name, [document.model_dump(mode="json") for document in documents], database)
        self.plans.pop(name)

    def _list_unmade(self, wanted: list[str], stored: frozenset[str]) -> frozenset[str]:
        """Return the jobs that nobody has claimed: whoever was to make them has given them up."""
        missing = frozenset(wanted) - stored
        claims = self.queue.database.claims.collection.find({"_id": {"$in": list(missing)}}, {"_id": 1})
        return missing - {claim["_id"] for claim in claims}

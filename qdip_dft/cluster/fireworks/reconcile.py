"""Mending what FireWorks leaves behind after kills, cancelled batch jobs and outages.

FireWorks notices a lost run by its missing pings only, a cancelled batch job after two weeks, and some states never.
Each repair below compares what FireWorks believes with what is there, and may be repeated at any time.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from qdip_dft.cluster.database import ALIVE, STANDBY, ClusterDatabase
from qdip_dft.cluster.fireworks.control import revive
from qdip_dft.cluster.fireworks.outbox import Outbox
from qdip_dft.cluster.queue import MOST_FAULTS

if TYPE_CHECKING:
    from fireworks import LaunchPad

Document = dict[str, Any]
logger = logging.getLogger("qdip_dft.cluster")


@dataclass(slots=True)
class Reconciler:
    """One round of repairs.

    Parameters
    ----------
    launchpad
        The group's queue.
    outbox
        Where workers leave results while the database is away.
    live_jobs
        Numbers of the batch jobs that wait or run; None: the batch system was not asked, only pings count.
    silence_s
        A run that belongs to no live batch job is lost after so many seconds without a ping.
    grace_s
        States younger than this are left alone: a worker may be in the middle of changing them.
    lock_s
        A workflow that stays locked without a change for so long has lost the process that locked it.
    cluster
        Mark of the workers whose batch system was asked; launches of another cluster are left to its own reconciler.
    explain_end
        Why a batch job that is gone has ended, where that was its memory.
    max_restarts
        A firework that was lost this often is left for `qdip rerun`: the cause is not the weather.
    """

    launchpad: LaunchPad
    outbox: Outbox
    live_jobs: frozenset[str] | None
    silence_s: float = 240.0
    grace_s: float = 30.0
    lock_s: float = 5.0
    explain_end: Callable[[str], str | None] = lambda _: None
    max_restarts: int = 5
    cluster: str | None = None
    repairs: Counter[str] = field(default_factory=Counter)

    def run(self) -> dict[str, int]:
        """Make all repairs and return how many of each there were."""
        self._deliver_results()
        self._unlock_workflows()
        self._refresh_inconsistent()
        self._drop_orphans()
        self._find_lost_runs()
        self._free_reservations()
        self._restart_fizzled()
        self._mend_claims()
        return dict(self.repairs)

    @property
    def _database(self) -> ClusterDatabase:
        return ClusterDatabase(self.launchpad.db)

    def _note(self, repair: str, what: object) -> None:
        self.repairs[repair] += 1
        logger.info("%s: %s", repair, what)

    def _deliver_results(self) -> None:
        """Send results whose worker was killed, or gave up, before the database took them."""
        for job in list(self.outbox.list_jobs()):
            path = self.outbox.folder / f"{job}.json"
            if path.exists() and datetime.now(UTC).timestamp() - path.stat().st_mtime < self.grace_s:
                continue
            if self.outbox.deliver(job, self._database.store_output):
                self._database.settle(job)
                self._note("results delivered", job)

    def _unlock_workflows(self) -> None:
        """Unlock workflows whose lock was held by a process that is gone: a lock in use changes within milliseconds."""
        workflows = self._database.database["workflows"]
        locked = list(workflows.find({"locked": True}, {"updated_on": 1, "nodes": 1}))
        if locked:
            time.sleep(self.lock_s)
        for workflow in locked:
            criteria = {"_id": workflow["_id"], "updated_on": workflow["updated_on"], "locked": True}
            if workflows.update_one(criteria, {"$unset": {"locked": ""}}).modified_count:
                self._note("workflows unlocked", workflow["nodes"][0])

    def _refresh_inconsistent(self) -> None:
        """Let FireWorks draw the conclusions of launches that ended while their workflow could not be written."""
        ended = {"state": {"$in": ["COMPLETED", "FIZZLED"]}}
        for firework in self._database.fireworks.find({"state": "RUNNING"}, {"fw_id": 1, "launches": 1}):
            last = self._last_launch(firework, ended)
            if last is not None and self._is_older(last["state_history"][-1]["created_on"], self.grace_s):
                self.launchpad._refresh_wf(firework["fw_id"])  # noqa: SLF001 (what `lpad admin refresh` calls)
                self._note("workflows refreshed", firework["fw_id"])

    def _drop_orphans(self) -> None:
        """Remove fireworks that were inserted for a workflow which a kill has kept from knowing them."""
        known = {
            node
            for workflow in self._database.database["workflows"].find({}, {"nodes": 1})
            for node in workflow["nodes"]
        }
        for firework in self._database.fireworks.find({"state": {"$in": ALIVE}}, {"fw_id": 1, "updated_on": 1}):
            if firework["fw_id"] not in known and self._is_older(firework["updated_on"], self.grace_s):
                self._database.fireworks.delete_one({"fw_id": firework["fw_id"]})
                self._note("orphans removed", firework["fw_id"])

    def _find_lost_runs(self) -> None:
        """Mark runs as lost whose batch job is gone, or that belong to none and have not pinged for long."""
        for launch in self._launches("RUNNING"):
            if self._is_lost(launch):
                self.launchpad.mark_fizzled(launch["launch_id"])
                self._note("lost runs found", launch["fw_id"])
                self._name_cause(launch)

    def _name_cause(self, launch: Document) -> None:
        """Count it as a fault of the machine where the memory of a batch job was full: the same request fails again."""
        number = find_batch_job(launch)
        is_gone = number is not None and self.live_jobs is not None and number not in self.live_jobs
        fault = self.explain_end(number) if is_gone and number is not None else None
        if fault is not None:
            self._database.note_fault(launch["fw_id"], fault)
            self._note("out of memory", fault)

    def _is_lost(self, launch: Document) -> bool:
        last, number = launch["state_history"][-1], find_batch_job(launch)
        has_no_job = number is not None and self.live_jobs is not None and number not in self.live_jobs
        return self._is_older(last["updated_on"], self.grace_s if has_no_job else self.silence_s)

    def _free_reservations(self) -> None:
        """Free fireworks reserved for batch jobs that are gone, and those reserved without any launch."""
        for launch in self._launches("RESERVED"):
            number = find_batch_job(launch)
            is_gone = number is None or (self.live_jobs is not None and number not in self.live_jobs)
            if is_gone and self._is_older(launch["state_history"][-1]["created_on"], self.grace_s):
                self.launchpad.cancel_reservation(launch["launch_id"])
                self._note("reservations freed", launch["fw_id"])
        fields = {"fw_id": 1, "launches": 1, "updated_on": 1}
        for firework in self._database.fireworks.find({"state": "RESERVED"}, fields):
            alive = self._last_launch(firework, {"state": {"$in": ["RESERVED", "RUNNING"]}})
            if alive is None and self._is_older(firework["updated_on"], self.grace_s):
                self.launchpad.rerun_fw(firework["fw_id"])
                self._note("reservations without launch freed", firework["fw_id"])

    def _restart_fizzled(self) -> None:
        """Start again what was lost: an engine's failure is a result here, so a fizzled firework lost its machine."""
        fields = {"fw_id": 1, "state": 1, "spec.qdip": 1, "archived_launches": 1}
        for firework in self._database.fireworks.find({"state": "FIZZLED", "spec.qdip": {"$exists": True}}, fields):
            is_faulty = firework["spec"]["qdip"].get("n_faults", 0) > MOST_FAULTS
            if len(firework.get("archived_launches", [])) < self.max_restarts and not is_faulty:
                revive(self.launchpad, firework)
                self._note("lost jobs started again", firework["fw_id"])

    def _mend_claims(self) -> None:
        """Let waiting studies take over claims that nobody works on, and wake those whose result is stored."""
        database = self._database
        standing_by = database.fireworks.distinct("spec.qdip.job", {"spec._category": STANDBY, "state": {"$in": ALIVE}})
        woken = database.wake(database.list_stored(standing_by))
        if woken:
            self.repairs["standing by woken"] += woken
        for claim in list(database.claims.collection.find({})):
            if not self._is_older(claim["claimed_at"], self.grace_s) or self._is_worked_on(claim):
                continue
            database.pass_on_claim(claim["_id"], owner=claim["owner"])
            self._note("claims passed on", claim["_id"])

    def _is_worked_on(self, claim: Document) -> bool:
        """Return whether a firework of the owner, or a job in jobflow-remote's queue, makes this calculation."""
        worker = {"spec.qdip.job": claim["_id"], "spec.qdip.submission": claim["owner"], "state": {"$in": ALIVE}}
        if self._database.fireworks.find_one(worker, {"_id": 1}) is not None:
            return True
        return self._database.remote_jobs.find_one({"uuid": claim["_id"]}, {"_id": 1}) is not None

    def _launches(self, state: str) -> Iterator[Document]:
        fields = {"launch_id": 1, "fw_id": 1, "state_history": 1, "fworker.env.batch_job": 1}
        criteria: Document = {"state": state}
        if self.cluster is not None:
            criteria["fworker.env.cluster"] = {"$in": [self.cluster, None]}
        for launch in list(self.launchpad.launches.find(criteria, fields)):
            firework = self._database.fireworks.find_one({"fw_id": launch["fw_id"], "state": state}, {"_id": 1})
            if firework is not None:
                yield launch

    def _last_launch(self, firework: Document, criteria: Document) -> Document | None:
        chosen = {"launch_id": {"$in": firework["launches"][-1:]}, **criteria}
        found: Document | None = self.launchpad.launches.find_one(chosen, {"state_history": 1})
        return found

    def _is_older(self, moment: str | datetime, seconds: float) -> bool:
        then = datetime.fromisoformat(moment) if isinstance(moment, str) else moment
        then = then if then.tzinfo is not None else then.replace(tzinfo=UTC)
        return datetime.now(UTC) - then > timedelta(seconds=seconds)


def find_batch_job(launch: Document) -> str | None:
    """Return the number of the batch job that a launch runs in by its worker's report, or was reserved for."""
    reserved = (entry.get("reservation_id") for entry in reversed(launch["state_history"]))
    reported = launch.get("fworker", {}).get("env", {}).get("batch_job")
    number = reported or next((number for number in reserved if number), None)
    return None if number is None else str(number)

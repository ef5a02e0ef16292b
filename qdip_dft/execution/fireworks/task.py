"""The Firetask that runs one job on a worker."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fireworks import FiretaskBase, FWAction, explicit_serialize

from qdip_dft.errors import ResultsError
from qdip_dft.execution.fireworks.alive import REPORT_INTERVAL_S, report_alive
from qdip_dft.execution.fireworks.database import ClusterDatabase
from qdip_dft.execution.fireworks.outbox import Outbox, insist
from qdip_dft.execution.fireworks.serial import read_job


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
        with report_alive(self.launchpad, self.fw_id, interval_s=interval_s):
            self._run(fw_spec, environment)
        return FWAction()

    def _run(self, fw_spec: dict[str, Any], environment: dict[str, Any]) -> None:
        database = ClusterDatabase(self.launchpad.db)
        outbox = Outbox(Path(environment.get("outbox", "outbox")), float(environment.get("patience_s", 600)))
        if self.get("orders") is None:
            _calculate(self["job"], fw_spec["qdip"], database, outbox)
        else:
            _advance(self, database)


def _calculate(text: str, note: dict[str, Any], database: ClusterDatabase, outbox: Outbox) -> None:
    """Calculate, unless the result is stored or lies in the outbox."""
    job, store = note["job"], database.job_store()
    is_there = outbox.deliver(job, store) or insist(lambda: database.list_stored([job]), patience_s=outbox.patience_s)
    if not is_there:
        _require_claim(note, database)
        outbox.send(_run(text), store)
    insist(lambda: database.settle(job), patience_s=outbox.patience_s)


def _run(text: str) -> dict[str, Any]:
    """Return the document of a job without storing it."""
    from jobflow import JobStore
    from maggma.stores import MemoryStore
    from monty.json import jsanitize

    class Catch(JobStore):
        """A store that keeps the one document of a job for us."""

        def query_one(self, *_: Any, **__: Any) -> None:
            """Find nothing: whether the job is stored was asked before."""

        def update(self, docs: Any, *_: Any, **__: Any) -> None:
            """Keep the document."""
            self.caught = jsanitize(docs, strict=True, allow_bson=True)

    catch = Catch(MemoryStore())
    read_job(text).run(store=catch)
    return dict(catch.caught)


def _require_claim(note: dict[str, Any], database: ClusterDatabase) -> None:
    owner = database.claims.find_owner(note["job"])
    if owner == note["submission"] or database.claims.claim([note["job"]], owner=note["submission"]):
        return
    raise ResultsError(
        f"job {note['job']} belongs to submission {database.claims.find_owner(note['job'])}",
        limit="one submission makes a calculation, the others wait for it",
        why="it would be calculated twice",
        remedy="give every worker a category (my_fworker.yaml); qdip reconcile puts this firework back",
    )


def _advance(task: RunJob, database: ClusterDatabase) -> None:
    """Build the next stage from what is calculated, or keep the results of the finished study."""
    from jobflow import Flow

    from qdip_dft.execution.fireworks.stage import Orders, append_stage, build_stage
    from qdip_dft.execution.fireworks.submission import finish_submission

    orders = Orders.model_validate(task["orders"])
    job = read_job(task["job"])
    response = job.run(store=database.job_store())
    if response.replace is None:
        finish_submission(orders.submission, response.output["documents"], database)
    elif isinstance(response.replace, Flow) and not _has_children(task, database):
        stage = build_stage(response.replace, orders, database, replaced=job.uuid)
        append_stage(task.launchpad, task.fw_id, stage, orders, database)


def _has_children(task: RunJob, database: ClusterDatabase) -> bool:
    """Return whether an earlier launch of this firework has inserted the next stage already."""
    workflow = database.database["workflows"].find_one({"nodes": task.fw_id}, {"links": 1}) or {}
    return bool(workflow.get("links", {}).get(str(task.fw_id)))

"""The one job that runs an engine; what it does stands in `qdip_dft.tasks.calculation`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jobflow import CURRENT_JOB, Job, JobConfig, job

from qdip_dft.model.calculation import CalculationTask
from qdip_dft.model.keys import job_id
from qdip_dft.model.term_names import TERM_OF_JOB
from qdip_dft.tasks.calculation import calculate_task

if TYPE_CHECKING:
    from qdip_dft.engines.base import Engine


def calculation_job(task: CalculationTask, engine: Engine, *, key: str, term: str = "other", attempt: int = 0) -> Job:
    """The job of a calculation; its id follows from the key, so the same question has the same id everywhere.

    Parameters
    ----------
    task
        What is calculated.
    engine
        The engine that calculates it.
    key
        The calculation key.
    term
        The term that it enters first; for the queue.
    attempt
        Number of the attempt; each has an id of its own.
    """
    made = calculate(task.model_dump(mode="json"), engine, key, attempt)
    made.name, made.metadata = task.label, {TERM_OF_JOB: term}
    made.set_uuid(job_id(key, attempt=attempt))
    return made


@job(config=JobConfig(expose_store=True))
def calculate(task: dict[str, Any], engine: Engine, key: str, attempt: int) -> dict[str, Any]:
    """Return what is stored under the same id already, or else what `calculate_task` finds."""
    stored = find_stored_output()
    return calculate_task(task, engine, key, attempt) if stored is None else stored


def find_stored_output() -> dict[str, Any] | None:
    """Return the output of an earlier job of the same id: another study may have asked the same meanwhile."""
    if CURRENT_JOB.store is None or CURRENT_JOB.job is None:
        return None
    found = CURRENT_JOB.store.query_one({"uuid": CURRENT_JOB.job.uuid}, {"output": 1}, load=True)
    return None if found is None else found["output"]

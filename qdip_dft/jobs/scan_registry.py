"""The job that compares the registries of a film; what it does stands in `qdip_dft.tasks.registry_scan`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jobflow import Job, JobConfig, job

from qdip_dft.jobs.calculate import find_stored_output
from qdip_dft.model.keys import job_id
from qdip_dft.model.registry import RegistryScanTask
from qdip_dft.model.term_names import TERM_OF_JOB
from qdip_dft.tasks.registry_scan import name_registry_scan, scan_task

if TYPE_CHECKING:
    from qdip_dft.engines.base import Engine


def registry_scan_job(
    task: RegistryScanTask,
    engine: Engine,
    *,
    key: str,
    term: str = "other",
    checkpoint_folder: str = ".",
    attempt: int = 0,
) -> Job:
    """Return the job of a registry scan; its id follows from the key.

    Parameters
    ----------
    task
        What is compared.
    engine
        The engine that calculates the energies.
    key
        The scan's key.
    term
        The term that it enters first; for the queue.
    checkpoint_folder
        Where the energies are kept; relative to the folder that the job runs in.
    attempt
        Number of the attempt; each has an id of its own.
    """
    made = scan_registry(task.model_dump(mode="json"), engine, key, checkpoint_folder, attempt)
    made.name, made.metadata = name_registry_scan(task.label), {TERM_OF_JOB: term}
    made.set_uuid(job_id(key, attempt=attempt))
    return made


@job(config=JobConfig(expose_store=True))
def scan_registry(
    task: dict[str, Any], engine: Engine, key: str, checkpoint_folder: str, attempt: int
) -> dict[str, Any]:
    """Return what is stored under the same id already, or else what `scan_task` finds."""
    stored = find_stored_output()
    return scan_task(task, engine, key, checkpoint_folder, attempt) if stored is None else stored

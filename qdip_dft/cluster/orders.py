"""What a submission orders, and what a job of it is: its size, its class and the term that it enters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qdip_dft.cluster.resources import JobClass, Resources
from qdip_dft.model.base import Record
from qdip_dft.model.engine import PresetName
from qdip_dft.model.term_names import TERM_OF_JOB

if TYPE_CHECKING:
    from jobflow import Job

ADVANCE = "advance"
"""Term of the jobs that build the next stage."""


class Orders(Record):
    """What every firework of a submission carries on to the next stage.

    Parameters
    ----------
    submission
        Id of the submission.
    study
        Name of the study.
    preset
        Preset of the study's engine.
    priority
        Higher ones run first.
    resources
        What the job classes ask for.
    """

    submission: str
    study: str
    preset: PresetName
    priority: int = 0
    resources: Resources = Resources()


def is_advance(job: Job) -> bool:
    """Return whether a job builds the next stage; all others are made once for the whole group."""
    return str(job.function.__name__) == "advance_study"


def count_atoms(job: Job) -> int:
    """Return the number of atoms of a calculation or registry scan: all sites in its task."""
    return _count_sites(job.function_args[0])


def _count_sites(task: Any) -> int:
    if not isinstance(task, dict):
        return 0
    return len(task.get("species", ())) + sum(_count_sites(part) for part in task.values())


def classify_job(job: Job, resources: Resources) -> JobClass:
    """Return the class of a calculation or registry scan."""
    return resources.classify(n_atoms=count_atoms(job), level=job.function_args[1].theory().level)


def find_term(job: Job) -> str:
    """The term that a calculation or registry scan enters first."""
    return str(job.metadata.get(TERM_OF_JOB, "other"))

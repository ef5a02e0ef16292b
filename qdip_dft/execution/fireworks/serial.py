"""Jobs as text and back; what is read from a shared database may only name classes of qdip_dft and jobflow."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from qdip_dft.errors import ResultsError

if TYPE_CHECKING:
    from jobflow import Job

ALLOWED_PACKAGES = ("qdip_dft", "jobflow")
"""Packages whose classes a stored job may name."""

FUNCTIONS = "qdip_dft.jobs."
"""Where the function of a stored job must be defined."""


def write_job(job: Job) -> str:
    """Return a job as JSON text: FireWorks keeps it as it is, instead of taking it apart at every reading."""
    from monty.json import MontyEncoder

    return json.dumps(job.as_dict(), cls=MontyEncoder, separators=(",", ":"))


def read_job(text: str) -> Job:
    """Return the job of a text.

    Raises
    ------
    ResultsError
        If it names a class of another package; nothing is imported then.
    """
    from jobflow import Job
    from monty.json import MontyDecoder

    content = json.loads(text)
    _require_allowed(content)
    job = MontyDecoder().process_decoded(content)
    if not isinstance(job, Job):
        raise _foreign(type(job).__name__)
    if not str(job.function.__module__).startswith(FUNCTIONS):
        raise _foreign(f"the function {job.function.__module__}.{job.function.__name__}")
    return job


def require_known_job(content: dict[str, Any]) -> None:
    """Refuse a job, not yet read, that names anything but functions of ours; nothing is imported.

    Raises
    ------
    ResultsError
        If it does.
    """
    _require_allowed(content)
    function = content["function"]
    if not str(function["@module"]).startswith(FUNCTIONS):
        raise _foreign(f"the function {function['@module']}.{function['@callable']}")


def _require_allowed(content: Any) -> None:
    """Refuse text that would import from elsewhere; monty imports whatever stands in ``@module``."""
    if isinstance(content, dict):
        module, name = content.get("@module"), content.get("@class", content.get("@callable", ""))
        if module is not None and str(module).split(".")[0] not in ALLOWED_PACKAGES:
            raise _foreign(str(module))
        if not str(name or "x").isidentifier():  # a dot would lead on to whatever that module has imported
            raise _foreign(f"{module}.{name}")
        for value in content.values():
            _require_allowed(value)
    elif isinstance(content, list):
        for value in content:
            _require_allowed(value)


def _foreign(what: str) -> ResultsError:
    return ResultsError(
        f"a stored job names {what}",
        limit=f"jobs are made of classes of {' and '.join(ALLOWED_PACKAGES)}",
        why="reading it would run somebody else's code",
        remedy="find out who may write to the database; delete the job and submit the study again",
    )

"""Jobs as text and back; what is read from a shared database may only name classes of qdip_dft and jobflow."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib import import_module
from typing import TYPE_CHECKING, Any

from qdip_dft.errors import ResultsError

if TYPE_CHECKING:
    from jobflow import Job

ALLOWED_PACKAGES = ("qdip_dft", "jobflow")
"""Packages whose classes a stored job may name."""

FUNCTIONS = "qdip_dft.jobs."
"""Where the function of a stored job must be defined."""

CLASS_MARKS = ("@module", "@class", "@callable", "_fw_name")
"""Where monty and FireWorks read which class to import."""

TASK_MARK = "_fw_name"
OUR_TASK = "{{qdip_dft.cluster.fireworks.task.RunJob}}"
"""The one task of our fireworks, in FireWorks' words."""

DONE_BY = {
    ("qdip_dft.jobs.calculate", "calculate"): ("qdip_dft.tasks.calculation", "calculate_task"),
    ("qdip_dft.jobs.scan_registry", "scan_registry"): ("qdip_dft.tasks.registry_scan", "scan_task"),
}
"""Jobs whose work can be done without jobflow, and the function that does it.

Importing jobflow with its stores takes longer than many of these jobs."""


def write_job(job: Job) -> str:
    """Return a job as JSON text: FireWorks keeps it as it is, instead of taking it apart at every reading."""
    from monty.json import MontyEncoder

    return json.dumps(job.as_dict(), cls=MontyEncoder, separators=(",", ":"))


@dataclass(frozen=True, slots=True)
class StoredJob:
    """A job as it lies in the queue, its classes not imported yet.

    Parameters
    ----------
    text
        What `write_job` has written.
    """

    text: str

    def run(self) -> dict[str, Any]:
        """Run the job and return the document that jobflow would store.

        Raises
        ------
        ResultsError
            If it names a class of another package or a function not in `DONE_BY`; nothing is imported.
        OutOfTime
            If it must stop before it has ended.
        """
        content = json.loads(self.text)
        function = content["function"]
        done_by = DONE_BY.get((function.get("@module"), function.get("@callable")))
        _require_allowed(content)
        if done_by is None:
            raise _foreign(f"the function {function.get('@module')}.{function.get('@callable')}")
        return _make_document(content, _call(*done_by, content))


def _call(module: str, name: str, content: dict[str, Any]) -> dict[str, Any]:
    """Return what the function returns; these take plain data and an engine, and return plain data."""
    from monty.json import MontyDecoder

    arguments, options = MontyDecoder().process_decoded([content["function_args"], content["function_kwargs"]])
    output: dict[str, Any] = getattr(import_module(module), name)(*arguments, **options)
    return output


def _make_document(content: dict[str, Any], output: dict[str, Any]) -> dict[str, Any]:
    """Return the document of a job as jobflow stores it, so that its own tools can read it."""
    return {
        "uuid": content["uuid"],
        "index": content["index"],
        "output": output,
        "completed_at": datetime.now().isoformat(),
        "metadata": content["metadata"],
        "hosts": content["hosts"],
        "name": content["name"],
        "@module": "jobflow.core.schemas",
        "@class": "JobStoreDocument",
    }


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


def require_plain(content: Any, *, what: str, marks: Sequence[str] = CLASS_MARKS, known: str | None = None) -> None:
    """Refuse stored data that names classes, which jobflow and FireWorks would import on reading.

    Parameters
    ----------
    content
        A document or a part of it.
    what
        What it is, for the message.
    marks
        Keys whose values name classes.
    known
        The one name that may stand there.

    Raises
    ------
    ResultsError
        If it names another one; nothing is imported.
    """
    if isinstance(content, dict):
        named = next((content[mark] for mark in marks if content.get(mark, known) != known), None)
        if named is not None:
            raise ResultsError(
                f"{what} names {str(named)[:80]!r}",
                limit="results are plain numbers and texts, and fireworks hold our own task",
                why="reading it would import somebody else's code",
                remedy="find out who may write to the database; delete the document and submit the study again",
            )
        content = list(content.values())
    if isinstance(content, list | tuple):
        for value in content:
            require_plain(value, what=what, marks=marks, known=known)


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

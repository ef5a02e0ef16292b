"""Calculations that atomate2 runs: a job of its Maker, and one that judges the folder which that leaves.

The folder is read by the readers of finished calculations and judged by the same rules as one that a person ran: the
energy counts if structure, code, version and every setting of physics are those of the step.  So a powerup may change
how VASP runs, and one that changes what it calculates makes a failure that names the tag.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from jobflow import Job, JobConfig, OnMissing, job

from qdip_dft.engines.vasp.custodian import describe_corrections
from qdip_dft.errors import EngineError, QdipError
from qdip_dft.finished.finished_run import find_file
from qdip_dft.finished.judgement import Answer
from qdip_dft.finished.matching_steps import match_sites
from qdip_dft.finished.readers import find_code, read_run
from qdip_dft.model.calculation import CalculationRecord, CalculationTask
from qdip_dft.model.keys import POSITION_ROUNDING_ANG
from qdip_dft.model.seals import seal

if TYPE_CHECKING:
    from jobflow import Maker

    from qdip_dft.engines.base import Engine
    from qdip_dft.engines.dft import DftEngine

ORIGIN = "run by atomate2"


def list_makers(engines: Iterable[Engine]) -> dict[str, Maker]:
    """The Makers of the codes that atomate2 runs, by the name of the engine."""
    asked = {engine.name: engine for engine in engines if engine.is_run_by_atomate2}
    return {name: _makers_of(engine).make_maker(engine) for name, engine in asked.items()}


def atomate2_jobs(
    task: CalculationTask, engine: Engine, maker: Maker, *, key: str, attempt: int = 0
) -> tuple[Job, Job]:
    """The job that runs the code and the one that turns its folder into our record, whose id the caller sets.

    Parameters
    ----------
    task, engine, key, attempt
        As for `calculation_job`.
    maker
        That of `list_makers` for this engine.
    """
    running = _makers_of(engine).make_job(maker, task, engine)
    judging = judge_run(task.model_dump(mode="json"), engine, key, attempt, running.output.dir_name)
    judging.name = f"judge {task.label}"
    return running, judging


def _makers_of(engine: Engine) -> ModuleType:
    """The module with `make_maker` and `make_job` of a code; atomate2 is imported only here."""
    return import_module(f"qdip_dft.jobs.{engine.name}_maker")


@job(config=JobConfig(on_missing_references=OnMissing.NONE))
def judge_run(task: dict[str, Any], engine: DftEngine, key: str, attempt: int, directory: str | None) -> dict[str, Any]:
    """Return the record of a calculation from the folder that it was run in, as plain data.

    Parameters
    ----------
    task, engine, key, attempt
        As for `calculate_task`.
    directory
        ``host:folder`` as atomate2 writes it; None if its job has failed.

    Raises
    ------
    EngineError
        If there is no folder to judge: that is no fact about the task.
    """
    asked, folder = CalculationTask.model_validate(task), _find_folder(directory)
    try:
        found = _judge(asked, engine, folder, key=key, attempt=attempt)
    except QdipError as error:
        found = f"{error.what}: {error.limit}"
    if isinstance(found, str):
        found = CalculationRecord(
            key=key,
            attempt=attempt,
            task=asked,
            theory=engine.theory(),
            result=None,
            failure=f"{found} ({ORIGIN} in {folder.name})",
            finished_at=datetime.now(UTC).isoformat(timespec="seconds"),
        )
    return seal(found.model_dump(mode="json"))


def _find_folder(directory: str | None) -> Path:
    folder = None if directory is None else Path(directory.partition(":")[2] or directory)
    if folder is not None and folder.is_dir():
        return folder
    raise EngineError(
        "atomate2's job has left no folder" if folder is None else f"the folder {directory} cannot be seen from here",
        limit="the folder of a run must be there when it is judged",
        why="the record is read from the outputs, not from the TaskDoc alone",
        remedy="see why the job before this one failed; let both run on one file system, and run them again",
    )


def _judge(
    task: CalculationTask, engine: DftEngine, folder: Path, *, key: str, attempt: int
) -> CalculationRecord | str:
    """Return the record of a folder, or why it does not answer the task."""
    run = read_run(folder, find_code(folder) or engine.name)
    match = match_sites(task.structure, run.start, tolerance_ang=POSITION_ROUNDING_ANG)
    if isinstance(match, str):
        return match
    answer = Answer(run, task, engine, match, origin=ORIGIN, corrections=_read_corrections(folder))
    differences = answer.find_differences()
    if differences:
        return f"not at the level of theory of the study: {'; '.join(differences)}"
    objection = answer.find_objection()
    if objection is not None:
        return objection
    record = answer.make_record(key, attempt=attempt)
    return answer.find_defect(record) or record


def _read_corrections(folder: Path) -> tuple[str, ...]:
    """What custodian mended on the way."""
    from monty.serialization import loadfn

    path = find_file(folder / "custodian.json")
    return tuple(describe_corrections(loadfn(path, cls=None))) if path.is_file() else ()

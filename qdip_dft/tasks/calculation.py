"""Running an engine, without a workflow manager: a task in, a calculation record out."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from qdip_dft.errors import OutOfTime
from qdip_dft.model.calculation import CalculationRecord, CalculationTask, EngineResult, Freedom
from qdip_dft.model.progress import ProgressEvent, ProgressKind
from qdip_dft.model.seals import seal
from qdip_dft.runtime.deadline import Deadline, working_until
from qdip_dft.runtime.faults import explain_machine_fault

if TYPE_CHECKING:
    from qdip_dft.engines.base import Engine, OnStep, RelaxationStep

logger = logging.getLogger("qdip_dft.progress")


def calculate_task(task: dict[str, Any], engine: Engine, key: str, attempt: int) -> dict[str, Any]:
    """Calculate a task and return the record as plain data, with its checksum.

    A failure is a record as well, so that the terms it belongs to can say why they are missing; a later attempt has
    another id.

    Parameters
    ----------
    task
        A `CalculationTask` as plain data.
    engine
        The engine that calculates.
    key
        The calculation key.
    attempt
        Number of the attempt.

    Raises
    ------
    OutOfTime
        If the allocation ends before the calculation would; the next run of the job goes on from there.
    MachineError
        If memory, disk or processor failed: that is no fact about the task.
    """
    asked = CalculationTask.model_validate(task)
    with working_until(Deadline.from_environment()):
        result, failure = _run_engine(asked, engine, key)
    record = CalculationRecord(
        key=key,
        attempt=attempt,
        task=asked,
        theory=engine.theory(),
        result=result,
        failure=failure,
        pseudopotentials=None if result is None else engine.pseudopotentials(asked.structure.species),
        finished_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    return seal(record.model_dump(mode="json"))


def _run_engine(task: CalculationTask, engine: Engine, key: str) -> tuple[EngineResult | None, str | None]:
    progress = _Progress(task, engine)
    progress.report(ProgressKind.STARTED)
    try:
        if task.freedom is Freedom.NONE:
            result = engine.static(task.structure)
        else:
            result = _relax(task, engine, key, on_step=progress.report_step)
    except OutOfTime:
        raise
    except Exception as error:
        fault = explain_machine_fault(error)
        if fault is not None:
            raise fault from error
        # The boundary to foreign codes: whatever goes wrong there is recorded, not hidden and not fatal to the study.
        logger.exception("%s failed", task.label)
        progress.report(ProgressKind.FAILED)
        return None, f"{type(error).__name__}: {error}"
    progress.report(ProgressKind.FINISHED, step=result.n_steps, force=result.max_force_ev_per_ang)
    return result, None


def _relax(task: CalculationTask, engine: Engine, key: str, *, on_step: OnStep) -> EngineResult:
    """The next minimum, or the lowest of several where the engine is told to search."""
    if not engine.relaxation.search_tries:
        return engine.relax(task.structure, task.freedom, on_step=on_step)
    from qdip_dft.engines.potential import PotentialEngine
    from qdip_dft.tasks.search import search_minimum

    assert isinstance(engine, PotentialEngine), "no other engine has the setting"
    return search_minimum(engine, task.structure, task.freedom, seed=int(key, 16), on_step=on_step)


@dataclass
class _Progress:
    """Tells the log where a calculation stands; a terminal may listen."""

    task: CalculationTask
    engine: Engine

    def __post_init__(self) -> None:
        self.started = time.monotonic()

    def report_step(self, step: RelaxationStep) -> None:
        self.report(ProgressKind.STEP, step=step.step, force=step.max_force_ev_per_ang, energy=step.energy_ev)

    def report(
        self, kind: ProgressKind, *, step: int = 0, force: float | None = None, energy: float | None = None
    ) -> None:
        event = ProgressEvent(
            kind=kind,
            label=self.task.label,
            n_atoms=self.task.structure.n_atoms,
            step=step,
            max_steps=self.engine.relaxation.max_steps if self.task.freedom is not Freedom.NONE else 0,
            max_force_ev_per_ang=force,
            force_threshold_ev_per_ang=self.engine.relaxation.force_threshold_ev_per_ang,
            energy_ev=energy,
            elapsed_s=time.monotonic() - self.started,
        )
        logger.info("%s: %s", kind.value, self.task.label, extra={"progress": event})

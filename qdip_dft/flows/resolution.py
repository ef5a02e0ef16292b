"""Which steps of a study are done, ready or blocked, given the calculations that exist already."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from qdip_dft.cache import adapt_record, calculation_key
from qdip_dft.errors import QdipError
from qdip_dft.flows.steps import Step, StudySteps
from qdip_dft.model.calculation import CalculationRecord, CalculationTask
from qdip_dft.model.structure import StructureRecord

if TYPE_CHECKING:
    from qdip_dft.engines.base import Engine

LookUp = Callable[[str], CalculationRecord | None]
"""From a calculation key to the stored record, if there is one."""


@dataclass(slots=True)
class Resolution:
    """The state of every step.

    Parameters
    ----------
    tasks
        The task of every step whose structure is known, by step name.
    keys
        Its calculation key.
    records
        The stored record of every step that was calculated, usable or not.
    blocked
        Steps that cannot be built, because a parent failed or relaxed into something unsound, with the reason.
    waiting
        Steps whose parents are not calculated yet.
    """

    tasks: dict[str, CalculationTask] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)
    records: dict[str, CalculationRecord] = field(default_factory=dict)
    blocked: dict[str, str] = field(default_factory=dict)
    waiting: list[str] = field(default_factory=list)

    @property
    def ready(self) -> dict[str, CalculationTask]:
        """Return the steps that can be calculated now."""
        return {name: task for name, task in self.tasks.items() if name not in self.records}

    def usable(self, name: str) -> CalculationRecord | None:
        """Return the record of a step if its energy may enter a difference."""
        record = self.records.get(name)
        return record if record is not None and record.is_usable else None


def resolve_steps(steps: StudySteps, engine: Engine, look_up: LookUp) -> Resolution:
    """Return the state of every step of a study.

    A step's structure is built as soon as its parents are calculated; its key then says whether it is stored.  A step
    that cannot be built from its relaxed parents is blocked, and so are those that need it.

    Parameters
    ----------
    steps
        The study's steps.
    engine
        The engine; its level of theory is part of every key.
    look_up
        Finds stored records.
    """
    resolution = Resolution()
    theory, settings = engine.theory(), engine.relaxation_settings()
    relaxed: dict[str, StructureRecord] = {}
    for step in steps.steps:
        if _is_held_up(step, relaxed, resolution):
            continue
        try:
            structure = step.build(relaxed)
        except QdipError as error:  # a relaxed parent may have become something that no child can be built from
            resolution.blocked[step.name] = f"{step.name} could not be built: {error.what}"
            continue
        task = CalculationTask(label=step.name, freedom=step.freedom, structure=structure)
        key = calculation_key(task, theory, settings)
        resolution.tasks[step.name], resolution.keys[step.name] = task, key
        record = look_up(key)
        if record is None:
            continue
        resolution.records[step.name] = adapt_record(record, task)
        usable = resolution.usable(step.name)
        if usable is not None and usable.result is not None:
            relaxed[step.name] = usable.result.structure
    return resolution


def _is_held_up(step: Step, relaxed: dict[str, StructureRecord], resolution: Resolution) -> bool:
    """Note why a step cannot be built yet, and return whether that is so."""
    missing = [parent for parent in step.parents if parent not in relaxed]
    if not missing:
        return False
    failed = [parent for parent in missing if parent in resolution.records or parent in resolution.blocked]
    if failed:
        resolution.blocked[step.name] = explain_failure(resolution, failed[0])
    else:
        resolution.waiting.append(step.name)
    return True


def explain_failure(resolution: Resolution, name: str) -> str:
    """Return in one clause why a step gave no usable energy."""
    if name in resolution.blocked:
        return resolution.blocked[name]
    record = resolution.records.get(name)
    if record is None:
        return f"{name} was not calculated"
    if record.result is None:
        return f"{name} failed: {record.failure}"
    left = f"{record.result.max_force_ev_per_ang:.3f} eV/Å left"
    return f"{name} did not converge in {record.result.n_steps} steps ({left})"


def preview_structures(steps: StudySteps) -> dict[str, StructureRecord]:
    """Return the structure of every step built from unrelaxed parents: for counting atoms and for early refusals."""
    structures: dict[str, StructureRecord] = {}
    for step in steps.steps:
        structures[step.name] = step.build(structures)
    return structures

"""Which steps of a study are done, ready or blocked, given the calculations that exist already."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

from qdip_dft.analysis.integrity import find_defect, find_energy_jump, find_mismatch
from qdip_dft.errors import QdipError
from qdip_dft.flows.engines import StudyEngines
from qdip_dft.flows.prerelaxation import find_objection
from qdip_dft.flows.screening import RegistryScanStep, registry_scan_of
from qdip_dft.flows.steps import Part, Stage, Step, Structures, StudySteps
from qdip_dft.model.calculation import CalculationRecord, CalculationTask, Freedom, LevelOfTheory
from qdip_dft.model.keys import adapt_record, calculation_key, registry_scan_key
from qdip_dft.model.registry import RegistryScan, RegistryScanTask
from qdip_dft.model.stored import StoredRecord
from qdip_dft.model.structure import StructureRecord

if TYPE_CHECKING:
    from qdip_dft.engines.base import Engine

LookUp = Callable[[str], StoredRecord | None]
"""From a key to the stored calculation or screening, if there is one."""


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
    defects
        Why the energy of a record may not be used although it is there, by step name.
    registry_scan_tasks, registry_scans
        The same for the registry registry_scans, by their names; their keys are among the others.
    objections
        Why a pre-relaxed structure was not taken, by the step of the pre-relaxation.
    blocked
        Steps that cannot be built, because a parent failed or relaxed into something unsound, with the reason.
    waiting
        Steps whose parents are not calculated yet.
    steps
        Every step that was looked at, by name.
    """

    tasks: dict[str, CalculationTask] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)
    records: dict[str, CalculationRecord] = field(default_factory=dict)
    defects: dict[str, str] = field(default_factory=dict)
    registry_scan_tasks: dict[str, RegistryScanTask] = field(default_factory=dict)
    registry_scans: dict[str, RegistryScan] = field(default_factory=dict)
    objections: dict[str, str] = field(default_factory=dict)
    blocked: dict[str, str] = field(default_factory=dict)
    waiting: list[str] = field(default_factory=list)
    steps: dict[str, Step] = field(default_factory=dict)

    @property
    def ready(self) -> dict[str, CalculationTask]:
        """Return the steps that can be calculated now."""
        return {name: task for name, task in self.tasks.items() if name not in self.records}

    @property
    def ready_registry_scans(self) -> dict[str, RegistryScanTask]:
        """Return the registry_scans that can be made now."""
        return {name: task for name, task in self.registry_scan_tasks.items() if name not in self.registry_scans}

    @property
    def unfinished(self) -> tuple[str, ...]:
        """Return everything that can be calculated now, by name."""
        return (*self.ready, *self.ready_registry_scans)

    @property
    def stored(self) -> tuple[StoredRecord, ...]:
        """Return every stored calculation and screening."""
        return (*self.records.values(), *self.registry_scans.values())

    @property
    def defective_keys(self) -> frozenset[str]:
        """Return the keys of records that claim an energy which may not be used."""
        return frozenset(self.keys[name] for name in self.defects)

    @property
    def relaxed(self) -> dict[str, StructureRecord]:
        """Return the final structure of every step whose energy may enter a difference."""
        usable = {name: self.usable(name) for name in self.records}
        return {name: r.result.structure for name, r in usable.items() if r is not None and r.result is not None}

    def usable(self, name: str) -> CalculationRecord | None:
        """Return the record of a step if its energy may enter a difference."""
        record = self.records.get(name)
        return record if record is not None and record.is_usable and name not in self.defects else None


def resolve_steps(
    steps: StudySteps, engines: StudyEngines, look_up: LookUp, *, earlier: Resolution | None = None
) -> Resolution:
    """Return the state of every step of a study.

    A step's structure is built as soon as its parents are calculated; its key then says whether it is stored.  A step
    that cannot be built from its relaxed parents is blocked, and so are those that need it.

    Parameters
    ----------
    steps
        The study's steps.
    engines
        The engines; the level of theory of a step's engine is part of its key.
    look_up
        Finds stored records.
    earlier
        The state of the steps that these build on; it is continued.
    """
    resolution = Resolution() if earlier is None else earlier
    registry_theory = engines.registry_engine.theory()
    relaxed = resolution.relaxed
    for step in steps.steps:
        resolution.steps[step.name] = step
        screening = registry_scan_of(steps, step)
        if screening is not None:
            _resolve_registry_scan(screening, relaxed, registry_theory, look_up, resolution)
        if _is_held_up(step, relaxed, resolution, screening):
            continue
        try:
            structure = step.build(relaxed, None if screening is None else resolution.registry_scans[screening.name])
        except QdipError as error:  # a relaxed parent may have become something that no child can be built from
            resolution.blocked[step.name] = f"{step.name} could not be built: {error.what}"
            continue
        engine = engines.of(step)
        task = CalculationTask(label=step.name, freedom=step.freedom, structure=structure)
        key = calculation_key(task, engine.theory(), engine.relaxation_settings())
        resolution.tasks[step.name], resolution.keys[step.name] = task, key
        record = look_up(key)
        if isinstance(record, CalculationRecord):
            _note_record(step, record, engine, resolution)
            outcome = _find_outcome(steps, step, resolution)
            relaxed |= {} if outcome is None else {step.name: outcome}
    return resolution


def _note_record(step: Step, record: CalculationRecord, engine: Engine, resolution: Resolution) -> None:
    """Note what is stored for a step, and why its energy may not be used if it may not."""
    task, threshold = resolution.tasks[step.name], engine.relaxation.force_threshold_ev_per_ang
    defect = find_mismatch(record, task) or find_defect(record, engine.theory(), force_threshold_ev_per_ang=threshold)
    resolution.records[step.name] = record if defect is not None else adapt_record(record, task)
    if defect is None and step.stage is Stage.STATIC:
        defect = _find_jump(record, resolution.records[step.parents[0]])
    if defect is not None:
        resolution.defects[step.name] = defect


def _find_jump(static: CalculationRecord, relaxation: CalculationRecord) -> str | None:
    """Return how far a static energy lies from that of its relaxation; energies of two levels cannot be compared."""
    return find_energy_jump(static, relaxation) if static.theory == relaxation.theory else None


def _find_outcome(steps: StudySteps, step: Step, resolution: Resolution) -> StructureRecord | None:
    """Return the structure that the following steps start from, or None if there is none.

    A pre-relaxed structure that is not taken gives way to the one that it started from.
    """
    usable = resolution.usable(step.name)
    if step.stage is not Stage.PRERELAXATION:
        return None if usable is None or usable.result is None else usable.result.structure
    record = resolution.records[step.name]
    n_dot_atoms = _count_dot_atoms(step, resolution)
    objection = resolution.defects.get(step.name) or find_objection(steps, step, record, n_dot_atoms=n_dot_atoms)
    if objection is None and record.result is not None:
        return record.result.structure
    resolution.objections[step.name] = str(objection)
    return resolution.tasks[step.name].structure


def _count_dot_atoms(step: Step, resolution: Resolution) -> int:
    if step.part is not Part.INTERFACE:
        return 0
    return resolution.tasks[step.parents[0]].structure.n_atoms


def _resolve_registry_scan(
    step: RegistryScanStep,
    relaxed: Structures,
    theory: LevelOfTheory,
    look_up: LookUp,
    resolution: Resolution,
) -> None:
    """Note the state of a screening; candidates that differ in their place share it."""
    if step.name in (*resolution.keys, *resolution.blocked, *resolution.waiting):
        return
    if _is_held_up(step, relaxed, resolution):
        return
    try:
        task = step.build(relaxed)
    except QdipError as error:
        resolution.blocked[step.name] = f"{step.name} could not be built: {error.what}"
        return
    key = registry_scan_key(task, theory)
    resolution.registry_scan_tasks[step.name], resolution.keys[step.name] = task, key
    record = look_up(key)
    if isinstance(record, RegistryScan):
        resolution.registry_scans[step.name] = record


def _is_held_up(
    step: Step | RegistryScanStep,
    relaxed: Structures,
    resolution: Resolution,
    screening: RegistryScanStep | None = None,
) -> bool:
    """Note why a step cannot be built yet, and return whether that is so."""
    missing = [parent for parent in step.parents if parent not in relaxed]
    if screening is not None and screening.name not in resolution.registry_scans:
        missing.append(screening.name)
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
    if name in resolution.defects:
        return f"{name} {resolution.defects[name]}"
    if record.result is None:
        return f"{name} failed: {record.failure}"
    if record.task.freedom is Freedom.NONE:
        return f"{name} did not converge: its energy is not self-consistent"
    left = f"{record.result.max_force_ev_per_ang:.3f} eV/Å left"
    return f"{name} did not converge in {record.result.n_steps} steps ({left})"


def preview_registry_scans(steps: StudySteps, structures: Structures) -> dict[str, RegistryScanTask]:
    """Return the registry registry_scans of a study built from unrelaxed bulks: for counting positions and atoms.

    Parameters
    ----------
    steps
        The study.
    structures
        The structures of `preview_structures`.
    """
    found = (registry_scan_of(steps, step) for step in steps.steps)
    registry_scans = {screening.name: screening for screening in found if screening is not None}
    return {name: screening.build(structures) for name, screening in registry_scans.items()}


def preview_structures(steps: StudySteps, *, earlier: Structures = MappingProxyType({})) -> dict[str, StructureRecord]:
    """Return the structure of every step built from unrelaxed parents: for counting atoms and for early refusals.

    Parameters
    ----------
    steps
        The steps.
    earlier
        Structures of the steps that these build on.
    """
    structures = dict(earlier)
    for step in steps.steps:
        structures[step.name] = step.build(structures)
    return structures

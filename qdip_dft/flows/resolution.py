"""Which steps of a study are done, ready or blocked, given the calculations that exist already.

A resolution is a value: whoever learns of another record resolves anew.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

from qdip_dft.analysis.integrity import find_defect, find_energy_jump, find_mismatch
from qdip_dft.errors import QdipError
from qdip_dft.flows.building import build_scan_task, build_structure
from qdip_dft.flows.engines import StudyEngines
from qdip_dft.flows.prerelaxation import find_objection
from qdip_dft.flows.steps import Part, RegistryScanId, RegistryScanStep, Stage, Step, StepId, StudySteps
from qdip_dft.flows.variations import Variation
from qdip_dft.model.calculation import CalculationRecord, CalculationTask, Freedom
from qdip_dft.model.keys import adapt_record, calculation_key, registry_scan_key
from qdip_dft.model.registry import RegistryScan, RegistryScanTask
from qdip_dft.model.stored import LookUp, StoredRecord
from qdip_dft.model.structure import StructureRecord

if TYPE_CHECKING:
    from qdip_dft.engines.base import Engine

AnyStepId = StepId | RegistryScanId
"""What a calculation or a registry scan of a study is known by."""


@dataclass(frozen=True, slots=True)
class StepState:
    """How far one step is.

    Parameters
    ----------
    step
        The step.
    task, key
        What is to be calculated and its key; None while the structure is not known.
    record
        What is stored, usable or not.
    defect
        Why the energy of the record may not be used although it is there.
    objection
        Why a pre-relaxed structure was not taken.
    blocked
        Why the step cannot be built: a parent failed, or relaxed into something unsound.
    is_unbuildable
        Whether it is this step itself that cannot be built, its parents being there.
    """

    step: Step
    task: CalculationTask | None = None
    key: str | None = None
    record: CalculationRecord | None = None
    defect: str | None = None
    objection: str | None = None
    blocked: str | None = None
    is_unbuildable: bool = False

    @property
    def usable(self) -> CalculationRecord | None:
        """The record, if its energy may enter a difference."""
        return self.record if self.record is not None and self.record.is_usable and self.defect is None else None

    @property
    def outcome(self) -> StructureRecord | None:
        """The structure that the following steps start from; None while there is none.

        A pre-relaxed structure that is not taken gives way to the one that it started from.
        """
        if self.objection is not None:
            return None if self.task is None else self.task.structure
        return None if self.usable is None or self.usable.result is None else self.usable.result.structure


@dataclass(frozen=True, slots=True)
class RegistryScanState:
    """How far one registry scan is; the fields are those of `StepState`."""

    step: RegistryScanStep
    task: RegistryScanTask | None = None
    key: str | None = None
    record: RegistryScan | None = None
    blocked: str | None = None
    is_unbuildable: bool = False


@dataclass(frozen=True)
class Resolution:
    """The state of every step.

    Parameters
    ----------
    states
        Of every calculation, parents before children.
    scan_states
        Of every registry scan.
    variations
        What is calculated around the films that are compared; empty until these are known.
    """

    states: Mapping[StepId, StepState] = field(default_factory=dict)
    scan_states: Mapping[RegistryScanId, RegistryScanState] = field(default_factory=dict)
    variations: tuple[Variation, ...] = ()

    @property
    def _all_states(self) -> Iterator[tuple[AnyStepId, StepState | RegistryScanState]]:
        yield from self.states.items()
        yield from self.scan_states.items()

    @cached_property
    def tasks(self) -> Mapping[StepId, CalculationTask]:
        """The task of every step whose structure is known."""
        return {step: state.task for step, state in self.states.items() if state.task is not None}

    @cached_property
    def keys(self) -> Mapping[AnyStepId, str]:
        """The key of every calculation and registry scan whose structures are known."""
        return {step: state.key for step, state in self._all_states if state.key is not None}

    @cached_property
    def records(self) -> Mapping[StepId, CalculationRecord]:
        """The stored record of every step that was calculated, usable or not."""
        return {step: state.record for step, state in self.states.items() if state.record is not None}

    @cached_property
    def defects(self) -> Mapping[StepId, str]:
        """Why the energy of a record may not be used although it is there."""
        return {step: state.defect for step, state in self.states.items() if state.defect is not None}

    @cached_property
    def objections(self) -> Mapping[StepId, str]:
        """Why a pre-relaxed structure was not taken."""
        return {step: state.objection for step, state in self.states.items() if state.objection is not None}

    @cached_property
    def blocked(self) -> Mapping[AnyStepId, str]:
        """Why a step cannot be built."""
        return {step: state.blocked for step, state in self._all_states if state.blocked is not None}

    @cached_property
    def unbuildable(self) -> frozenset[AnyStepId]:
        """The steps that cannot be built although their parents are there."""
        return frozenset(step for step, state in self._all_states if state.is_unbuildable)

    @cached_property
    def waiting(self) -> tuple[AnyStepId, ...]:
        """Steps whose parents are not calculated yet."""
        return tuple(step for step, state in self._all_states if state.task is None and state.blocked is None)

    @cached_property
    def steps(self) -> Mapping[StepId, Step]:
        """Every calculation that was looked at."""
        return {step: state.step for step, state in self.states.items()}

    @cached_property
    def registry_scan_tasks(self) -> Mapping[RegistryScanId, RegistryScanTask]:
        """The task of every registry scan whose slabs are known."""
        return {scan: state.task for scan, state in self.scan_states.items() if state.task is not None}

    @cached_property
    def registry_scans(self) -> Mapping[RegistryScanId, RegistryScan]:
        """Every registry scan that was made."""
        return {scan: state.record for scan, state in self.scan_states.items() if state.record is not None}

    @cached_property
    def unusable_registry_scans(self) -> Mapping[RegistryScanId, RegistryScan]:
        """The registry scans in which registries failed: the best of them may be among these."""
        return {scan: record for scan, record in self.registry_scans.items() if record.failures}

    @property
    def ready(self) -> dict[StepId, CalculationTask]:
        """The steps that can be calculated now."""
        return {step: task for step, task in self.tasks.items() if step not in self.records}

    @property
    def ready_registry_scans(self) -> dict[RegistryScanId, RegistryScanTask]:
        """The registry scans that can be made now."""
        return {scan: task for scan, task in self.registry_scan_tasks.items() if scan not in self.registry_scans}

    @property
    def unfinished(self) -> tuple[AnyStepId, ...]:
        """Everything that can be calculated now."""
        return (*self.ready, *self.ready_registry_scans)

    @property
    def stored(self) -> tuple[StoredRecord, ...]:
        """Every stored calculation and registry scan."""
        return (*self.records.values(), *self.registry_scans.values())

    @property
    def defective_keys(self) -> frozenset[str]:
        """The keys of records that claim an energy which may not be used."""
        return frozenset(self.keys[step] for step in self.defects)

    @cached_property
    def relaxed(self) -> Mapping[StepId, StructureRecord]:
        """The final structure of every step whose energy may enter a difference."""
        usable = {step: state.usable for step, state in self.states.items()}
        return {step: r.result.structure for step, r in usable.items() if r is not None and r.result is not None}

    def usable(self, step: StepId) -> CalculationRecord | None:
        """The record of a step, if its energy may enter a difference."""
        state = self.states.get(step)
        return None if state is None else state.usable

    def energy_ev(self, step: StepId) -> float | None:
        """Energy of the cell of a step in eV; None without a usable calculation."""
        record = self.usable(step)
        return None if record is None or record.result is None else record.result.energy_ev

    def is_scanned(self, scan: RegistryScanId) -> bool:
        """Whether a registry scan is made, and every registry of it that may have an energy has one."""
        return scan in self.registry_scans and scan not in self.unusable_registry_scans

    def label(self, step: AnyStepId) -> str:
        """What people call a step that was looked at."""
        state = self.scan_states[step] if isinstance(step, RegistryScanId) else self.states[step]
        return state.step.label

    def explain_failure(self, step: AnyStepId) -> str:
        """Why a step gave no usable energy, in one clause."""
        return self.blocked.get(step) or f"{self.label(step)} {self._explain_record(step)}"

    def _explain_record(self, step: AnyStepId) -> str:
        if isinstance(step, RegistryScanId):
            scan = self.registry_scans.get(step)
            return "was not calculated" if scan is None else f"does not say where the film lies best: {scan.failure}"
        record = self.records.get(step)
        if record is None:
            return "was not calculated"
        if step in self.defects:
            return self.defects[step]
        if record.result is None:
            return f"failed: {record.failure}"
        if record.task.freedom is Freedom.NONE:
            return "did not converge: its energy is not self-consistent"
        left = f"{record.result.max_force_ev_per_ang:.3f} eV/Å left"
        return f"did not converge in {record.result.n_steps} steps ({left})"


def resolve_steps(
    steps: StudySteps, engines: StudyEngines, look_up: LookUp, *, earlier: Resolution | None = None
) -> Resolution:
    """The state of every step of a study.

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
        The state of the steps that these build on; it is part of what is returned.
    """
    known = Resolution() if earlier is None else earlier
    states, scans = dict(known.states), dict(known.scan_states)
    for step in steps.steps:
        if step.scan is not None and step.scan not in scans:
            scans[step.scan] = _resolve_scan(steps, steps.scans[step.scan], engines, look_up, Resolution(states))
        states[step.id] = _resolve_step(steps, step, engines, look_up, Resolution(states, scans))
    return Resolution(states, scans)


def _resolve_step(
    steps: StudySteps, step: Step, engines: StudyEngines, look_up: LookUp, before: Resolution
) -> StepState:
    if _is_held_up(step, before):
        return StepState(step, blocked=_find_obstacle(step, before))
    scan = None if step.scan is None else before.registry_scans[step.scan]
    try:
        structure = build_structure(steps, step, _list_outcomes(step, before), scan=scan)
    except QdipError as error:  # a relaxed parent may have become something that no child can be built from
        return StepState(step, blocked=f"{step.label} could not be built: {error.what}", is_unbuildable=True)
    engine = engines.of(step)
    task = CalculationTask(label=step.label, freedom=step.freedom, structure=structure)
    key = calculation_key(task, engine.theory(), engine.relaxation_settings())
    found = StepState(step, task=task, key=key)
    record = look_up(key)
    if not isinstance(record, CalculationRecord):
        return found
    return _judge_start(steps, _judge_record(found, task, record, engine, before), before)


def _judge_record(
    found: StepState, task: CalculationTask, record: CalculationRecord, engine: Engine, before: Resolution
) -> StepState:
    """The state with what is stored, and why its energy may not be used if it may not."""
    threshold = engine.relaxation.force_threshold_ev_per_ang
    defect = find_mismatch(record, task) or find_defect(record, engine.theory(), force_threshold_ev_per_ang=threshold)
    adapted = record if defect is not None else adapt_record(record, task)
    if defect is None and found.step.stage is Stage.STATIC:
        defect = _find_jump(record, before.records[found.step.parents[0]])
    return replace(found, record=adapted, defect=defect)


def _find_jump(static: CalculationRecord, relaxation: CalculationRecord) -> str | None:
    """How far a static energy lies from that of its relaxation; energies of two levels cannot be compared."""
    return find_energy_jump(static, relaxation) if static.theory == relaxation.theory else None


def _judge_start(steps: StudySteps, found: StepState, before: Resolution) -> StepState:
    """The state of a pre-relaxation with the objection to its structure; any other state as it is."""
    if found.step.stage is not Stage.PRERELAXATION or found.record is None:
        return found
    is_interface = found.step.part is Part.INTERFACE
    n_dot_atoms = before.tasks[found.step.parents[0]].structure.n_atoms if is_interface else 0
    objection = found.defect or find_objection(steps, found.step, found.record, n_dot_atoms=n_dot_atoms)
    return replace(found, objection=objection)


def _resolve_scan(
    steps: StudySteps, scan: RegistryScanStep, engines: StudyEngines, look_up: LookUp, before: Resolution
) -> RegistryScanState:
    if _is_held_up(scan, before):
        return RegistryScanState(scan, blocked=_find_obstacle(scan, before))
    try:
        task = build_scan_task(steps, scan.id, _list_outcomes(scan, before))
    except QdipError as error:
        return RegistryScanState(scan, blocked=f"{scan.label} could not be built: {error.what}", is_unbuildable=True)
    key = registry_scan_key(task, engines.registry_engine.theory())
    record = look_up(key)
    return RegistryScanState(scan, task, key, record if isinstance(record, RegistryScan) else None)


def _list_outcomes(step: Step | RegistryScanStep, before: Resolution) -> dict[StepId, StructureRecord]:
    outcomes = {parent: before.states[parent].outcome for parent in step.parents}
    return {parent: structure for parent, structure in outcomes.items() if structure is not None}


def _list_missing(step: Step | RegistryScanStep, before: Resolution) -> list[AnyStepId]:
    """What a step waits for."""
    missing: list[AnyStepId] = [parent for parent in step.parents if before.states[parent].outcome is None]
    if isinstance(step, Step) and step.scan is not None and not before.is_scanned(step.scan):
        missing.append(step.scan)
    return missing


def _is_held_up(step: Step | RegistryScanStep, before: Resolution) -> bool:
    return bool(_list_missing(step, before))


def _find_obstacle(step: Step | RegistryScanStep, before: Resolution) -> str | None:
    """Why a step that is held up will stay so; None if what it waits for may still come."""
    ended: tuple[Container[AnyStepId], ...] = (before.records, before.blocked, before.registry_scans)
    failed = (each for each in _list_missing(step, before) if any(each in group for group in ended))
    first = next(failed, None)
    return None if first is None else before.explain_failure(first)

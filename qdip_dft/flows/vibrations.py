"""The calculations behind the vibrations of a study's bulks, and what follows from them.

    bulk, strained bulk     relaxed by the study, then to thresholds that phonons need
    displaced supercells    a static calculation each, with the engine of the study's relaxations

Every one is a calculation like any other: known by its key, made once, found again by a second run.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from qdip_dft.analysis.phonons import DisplacedCrystal
from qdip_dft.model.calculation import CalculationRecord, CalculationTask, Freedom
from qdip_dft.model.keys import adapt_record, calculation_key
from qdip_dft.model.structure import StructureRecord, Vector
from qdip_dft.model.temperature import HarmonicFreeEnergy, PhaseVibrations
from qdip_dft.units import BOLTZMANN_EV_PER_K

if TYPE_CHECKING:
    from qdip_dft.engines.base import Engine

FORCE_THRESHOLD_EV_PER_ANG = 0.001
STRESS_THRESHOLD_EV_PER_ANG3 = 1e-5
MAX_STEPS = 1000
"""How far a crystal is relaxed before its atoms are displaced: 0.001 eV/Å is 1 % of the force on a displaced atom."""

FindCalculation = Callable[[str], CalculationRecord | None]


def tighten(engine: Engine) -> Engine:
    """Return the engine with the thresholds that phonons need; the level of theory stays."""
    tight = replace(
        engine.relaxation,
        force_threshold_ev_per_ang=FORCE_THRESHOLD_EV_PER_ANG,
        stress_threshold_ev_per_ang3=STRESS_THRESHOLD_EV_PER_ANG3,
        max_steps=MAX_STEPS,
    )
    return replace(engine, relaxation=tight)


@dataclass(frozen=True, slots=True)
class VibratingCrystal:
    """A crystal whose vibrations are asked for.

    Parameters
    ----------
    subject
        Phase, or candidate whose strained bulk it is.
    freedom
        ``cell`` for a bulk, ``out_of_plane`` for a strained bulk.
    start
        The structure that the study relaxed.
    formula_units
        Formula units in it.
    n_orientations
        Equivalent orientations of its organic cation; None without one.
    """

    subject: str
    freedom: Freedom
    start: StructureRecord
    formula_units: int
    n_orientations: int | None = None

    @property
    def name(self) -> str:
        """Return what it is called in plans and messages."""
        return f"{'bulk' if self.freedom is Freedom.CELL else 'strained bulk'} {self.subject}"


@dataclass(slots=True)
class VibrationSurvey:
    """How far the calculations of one crystal are.

    Parameters
    ----------
    crystal
        The crystal.
    displaced
        Its supercells; None before it is relaxed.
    records
        What is calculated, by step.
    ready
        What can be calculated now: task by key.
    failure
        Why nothing more can be calculated.
    """

    crystal: VibratingCrystal
    displaced: DisplacedCrystal | None = None
    records: dict[str, CalculationRecord] = field(default_factory=dict)
    ready: dict[str, CalculationTask] = field(default_factory=dict)
    failure: str | None = None

    @property
    def is_complete(self) -> bool:
        """Return whether every calculation is there."""
        return self.displaced is not None and self.failure is None and not self.ready

    def describe(self, temperatures_k: Sequence[float]) -> PhaseVibrations:
        """Return the vibrations, or why they are missing."""
        complete = self.is_complete
        w = self.crystal.n_orientations
        return PhaseVibrations(
            subject=self.crystal.subject,
            is_strained=self.crystal.freedom is not Freedom.CELL,
            static_ev_per_fu=self.static_ev_per_fu(),
            space_group=self.displaced.space_group if self.displaced is not None else None,
            supercell=self.displaced.supercell_size if self.displaced is not None else None,
            n_displacements=len(self.displaced.supercells) - 1 if self.displaced is not None else 0,
            harmonic=self._harmonic(temperatures_k) if complete else None,
            orientation_ev_per_fu=None if w is None else orientation_free_energies(w, temperatures_k),
            n_orientations=w,
            missing=None if complete else self.failure or f"the calculations of {self.crystal.name} are not finished",
            calculations={name: record.key for name, record in self.records.items()},
        )

    def static_ev_per_fu(self) -> float | None:
        """Return the potential energy at rest per formula unit; None before all is calculated."""
        rest = self.records.get(_name_supercell(self.crystal, 0)) if self.is_complete else None
        if rest is None or rest.result is None or self.displaced is None:
            return None
        return rest.result.energy_ev / (self.crystal.formula_units * math.prod(self.displaced.supercell_size))

    def forces_ev_per_ang(self) -> list[tuple[Vector, ...]]:
        """Return the forces in every supercell, at rest first."""
        n_supercells = 0 if self.displaced is None else len(self.displaced.supercells)
        results = [self.records[_name_supercell(self.crystal, index)].result for index in range(n_supercells)]
        return [result.forces_ev_per_ang for result in results if result is not None]

    def _harmonic(self, temperatures_k: Sequence[float]) -> HarmonicFreeEnergy | None:
        if self.displaced is None:
            return None
        return self.displaced.harmonic(self.forces_ev_per_ang()).describe(temperatures_k)


def survey_vibrations(
    crystal: VibratingCrystal, engine: Engine, find: FindCalculation, *, min_length_ang: float
) -> VibrationSurvey:
    """Return how far the calculations of a crystal are, given those that are stored.

    Parameters
    ----------
    crystal
        The crystal.
    engine
        The engine, with tight thresholds.
    find
        Finds stored calculations by key.
    min_length_ang
        Least thickness of the supercell.
    """
    survey = VibrationSurvey(crystal)
    start = CalculationTask(label=f"{crystal.name}, tight", freedom=crystal.freedom, structure=crystal.start)
    relaxed = _look_up(survey, start, engine, find)
    if relaxed is None or relaxed.result is None:
        return survey
    survey.displaced = DisplacedCrystal(relaxed.result.structure, crystal.formula_units, min_length_ang)
    for index, supercell in enumerate(survey.displaced.supercells):
        task = CalculationTask(label=_name_supercell(crystal, index), freedom=Freedom.NONE, structure=supercell)
        _look_up(survey, task, engine, find)
    return survey


def _look_up(
    survey: VibrationSurvey, task: CalculationTask, engine: Engine, find: FindCalculation
) -> CalculationRecord | None:
    """Return the usable record of a task; note what is missing."""
    key = calculation_key(task, engine.theory(), engine.relaxation_settings())
    record = find(key)
    if record is None:
        survey.ready[key] = task
        return None
    survey.records[task.label] = adapt_record(record, task)
    if not record.is_usable:
        survey.failure = f"{task.label} {'did not converge' if record.failure is None else f'failed: {record.failure}'}"
        return None
    return survey.records[task.label]


def _name_supercell(crystal: VibratingCrystal, index: int) -> str:
    return f"{crystal.name}, supercell {'at rest' if index == 0 else f'displaced {index}'}"


def orientation_free_energies(n_orientations: int, temperatures_k: Sequence[float]) -> tuple[float, ...]:
    """Return −kT ln W in eV for a cation that visits W orientations of equal energy."""
    return tuple(-BOLTZMANN_EV_PER_K * t * math.log(n_orientations) for t in temperatures_k)

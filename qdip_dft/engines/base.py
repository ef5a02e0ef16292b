"""The contract that every engine keeps, whatever code it drives.

An engine answers two questions about a periodic structure: its energy as it stands (`Engine.static`) and its energy
after the atoms, and perhaps the lattice, have followed their forces (`Engine.relax`).  It declares beforehand what it
can do, so that a plan fails before anything runs, and it states its level of theory, so that only energies that may be
subtracted are.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import ClassVar

from monty.json import MSONable
from pydantic import JsonValue

from qdip_dft.errors import EngineError
from qdip_dft.model.calculation import EngineResult, Freedom, LevelOfTheory, PseudopotentialSet
from qdip_dft.model.structure import StructureRecord


class Feature(StrEnum):
    """What an engine may be able to do."""

    RELAX_POSITIONS = "relax_positions"
    RELAX_OUT_OF_PLANE = "relax_out_of_plane"
    RELAX_CELL = "relax_cell"
    STRESS = "stress"
    DIPOLE = "dipole"
    D3BJ = "d3bj"
    SOC = "soc"
    RESTART_DENSITY = "restart_density"
    RESTART_WAVEFUNCTIONS = "restart_wavefunctions"
    GHOST_FUNCTIONS = "ghost_functions"
    """Basis functions at sites without an atom; without them nobody can tell what a slab borrows from another."""
    SELF_STOP = "self_stop"
    """Stops between two evaluations before its allocation ends, and goes on from there in the next run."""


FEATURE_OF_FREEDOM: dict[Freedom, Feature] = {
    Freedom.POSITIONS: Feature.RELAX_POSITIONS,
    Freedom.OUT_OF_PLANE: Feature.RELAX_OUT_OF_PLANE,
    Freedom.CELL: Feature.RELAX_CELL,
}
"""The feature that each freedom of a relaxation needs; a static calculation needs none."""


@dataclass(frozen=True, slots=True)
class RelaxationStep:
    """How far a relaxation has come.

    Parameters
    ----------
    step
        Number of the force evaluation, 0 for the starting structure.
    energy_ev
        Potential energy of the cell in eV.
    max_force_ev_per_ang
        Largest force on a free atom in eV/Å.
    elapsed_s
        Wall time since the start in s.
    """

    step: int
    energy_ev: float
    max_force_ev_per_ang: float
    elapsed_s: float


RELAXATIONS = frozenset({*FEATURE_OF_FREEDOM.values(), Feature.STRESS, Feature.SELF_STOP})
"""What an engine can do whose forces and stress are relaxed here."""

OnStep = Callable[[RelaxationStep], None]
"""What a caller may pass to watch a relaxation."""


@dataclass(frozen=True)
class RelaxationSettings(MSONable):
    """When a relaxation is done and when it is given up.

    Parameters
    ----------
    force_threshold_ev_per_ang
        Converged when no free atom feels more than this, in eV/Å.
    stress_threshold_ev_per_ang3
        Converged when no component of the stress that may relax exceeds this, in eV/Å³.
    max_steps
        Number of force evaluations after which the relaxation is given up as not converged.
    optimiser
        Name of the algorithm.
    search_tries
        After the first relaxation so many times: a short anneal of the lowest minimum, relaxed again.
    """

    force_threshold_ev_per_ang: float
    stress_threshold_ev_per_ang3: float
    max_steps: int
    optimiser: str
    search_tries: int = 0


@dataclass(frozen=True)
class Engine(MSONable, ABC):
    """One code behind the common contract; frozen and serialisable, so that a job can carry it.

    Parameters
    ----------
    relaxation
        When a relaxation is done.
    """

    relaxation: RelaxationSettings

    name: ClassVar[str]
    """The engine's name in a study."""
    features: ClassVar[frozenset[Feature]]
    """What the engine can do."""

    def require(self, feature: Feature) -> None:
        """Refuse a task that needs a feature which the engine lacks.

        Raises
        ------
        EngineError
            If the engine lacks the feature.
        """
        if feature in self.features:
            return
        raise EngineError(
            f"engine {self.name!r} cannot do {feature.value!r}",
            limit=f"it can do {', '.join(sorted(known.value for known in self.features))}",
            why="the calculation would be another one than the study asks for",
            remedy="choose another engine, or leave out what needs this feature",
        )

    @property
    def is_run_by_atomate2(self) -> bool:
        """Whether a study leaves the calculations of this engine to atomate2."""
        return False

    def require_freedom(self, freedom: Freedom) -> None:
        """Refuse a relaxation whose freedom the engine lacks; a static calculation is always possible."""
        if freedom is not Freedom.NONE:
            self.require(FEATURE_OF_FREEDOM[freedom])

    def require_sites(self, structure: StructureRecord) -> None:
        """Refuse sites without an atom where the engine would put one."""
        if structure.presence:
            self.require(Feature.GHOST_FUNCTIONS)

    def require_elements(self, elements: Iterable[str]) -> None:
        """Refuse elements for which the engine cannot do what it is asked, before anything runs.

        Parameters
        ----------
        elements
            Chemical symbols.

        Raises
        ------
        EngineError
            If an element lacks what its calculation needs.
        """
        del elements

    def for_relaxations(self) -> Engine:
        """Return the engine that relaxes where this one gives energies: the same, without what energies alone have."""
        return self

    def relaxation_settings(self) -> dict[str, JsonValue]:
        """Return what decides where a relaxation ends; part of a relaxation's key, not of the level of theory."""
        return {name: value for name, value in asdict(self.relaxation).items() if name != "search_tries" or value}

    @abstractmethod
    def theory(self) -> LevelOfTheory:
        """Return everything besides the structure that changes an energy; cheap, loads no potential."""

    def pseudopotentials(self, elements: Iterable[str]) -> PseudopotentialSet | None:
        """Return what stands for the cores of some elements; None where an engine has no such files.

        Raises
        ------
        EngineError
            If a file is missing.
        """
        del elements
        return None

    @abstractmethod
    def static(self, structure: StructureRecord) -> EngineResult:
        """Return energy, forces and stress of a structure as it stands."""

    def static_many(self, structures: Sequence[StructureRecord]) -> list[EngineResult] | None:
        """Return energies, forces and stresses of structures evaluated at once; None where that brings nothing.

        Raises
        ------
        EngineError
            If one of them has no energy; evaluated alone each says for itself.
        """
        del structures
        return None

    @abstractmethod
    def relax(self, structure: StructureRecord, freedom: Freedom, *, on_step: OnStep | None = None) -> EngineResult:
        """Return the structure after relaxation with its energy, honest about whether it is converged.

        Sites keep their order and are never moved by lattice vectors; fixed sites keep their place in the cell.

        Parameters
        ----------
        structure
            Where the relaxation starts.
        freedom
            What may move.
        on_step
            Called after each force evaluation.
        """

    @abstractmethod
    def seconds_per_force_call(self, n_atoms: int) -> float:
        """Return the rough time of one force evaluation on two processor cores, in s, for the printed plan."""


def run_elsewhere(engine: Engine) -> EngineError:
    """What is said where this package is asked to run what a study leaves to atomate2."""
    return EngineError(
        f"the study leaves {engine.name!r} to atomate2 (`runner: atomate2`)",
        limit="its jobs are those of a flow that a manager of jobflow carries",
        why="two runners would calculate everything twice",
        remedy="carry the flow (workflows/python/with_run_locally.py) and take the records with `qdip import-store`, or"
        " leave `runner` out of the study",
    )

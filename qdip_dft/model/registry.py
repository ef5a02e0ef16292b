"""What a scan of lateral positions, gaps and orientations is asked and what it answers."""

from __future__ import annotations

from typing import Final, Literal

from pydantic import Field, model_validator

from qdip_dft.model.base import Record, is_missing
from qdip_dft.model.calculation import LevelOfTheory
from qdip_dft.model.orientation import AS_CUT, FilmTurn
from qdip_dft.model.structure import BareStructure, is_empty

REGISTRY_SCAN_SCHEMA_VERSION: Final = 1

ENERGIES_PER_POSITION: Final = 1.6
"""Energies that finding the best gap of a position takes on average, for the printed estimate only."""

ONE_REGISTRY_IS_ENOUGH_ANG2: Final = 5.0
"""Below this area of distinct displacements one lateral position stands for all (Å²)."""

Pair = tuple[float, float]


def is_none_at_all(number: int) -> bool:
    """Whether a number is zero; such a field is left out of the stored document."""
    return number == 0


class RegistryScanTask(Record):
    """One interface whose lateral positions, gaps and orientations are to be compared.

    Parameters
    ----------
    label
        Where it belongs, for people, such as ``PbS(111)//FAPbI3-alpha(100)``.  Not part of the key.
    dot, film
        Slabs on one interface cell, in vacuum.
    formal_charges
        Formal charge in e by ion label, of the ions of both slabs.
    turns
        Orientations of the film that are tried; those that give the same interface are tried once.
    grid_spacing_ang
        Largest distance of neighbouring lateral positions along the vectors of the displacement cell, in Å.
    gap_range_ang
        Least and largest height of the film above contact of the ions' radii, in Å.
    vacuum_ang
        Vacuum above the film in Å.
    n_kept
        How many of the best distinct positions are calculated at their own gap and kept.
    outer_dot
        The slab of the dot that comes to lie on the upper face of the film, where the film is embedded; None: vacuum.
    """

    label: str
    dot: BareStructure
    film: BareStructure
    formal_charges: dict[str, int]
    turns: tuple[FilmTurn, ...] = (AS_CUT,)
    grid_spacing_ang: float = Field(default=1.0, gt=0)
    gap_range_ang: Pair = (-0.4, 2.0)
    vacuum_ang: float = Field(default=15.0, gt=0)
    n_kept: int = Field(default=3, ge=1)
    outer_dot: BareStructure | None = None

    @property
    def n_atoms(self) -> int:
        """Number of atoms of the interface."""
        return self.dot.n_atoms + self.film.n_atoms

    @model_validator(mode="after")
    def _contact_is_within_range(self) -> RegistryScanTask:
        if not self.gap_range_ang[0] <= 0.0 <= self.gap_range_ang[1]:
            raise ValueError("gap_range_ang must hold 0, the contact of the ions' radii")
        return self


class OuterRegistry(Record):
    """The best registry of the dot on the upper face of an embedded film.

    Parameters
    ----------
    shift_ang
        Displacement of the dot against the film as both were built, in the plane, in Å.
    gap_offset_ang
        Height above contact of the ions' radii in Å.
    gap_ang
        From the highest atom of the film to the lowest of the dot in Å.
    energy_ev
        Energy of film and this dot alone in eV.
    n_positions
        Distinct positions that were compared.
    range_ev
        Largest less least energy of these, each at its best gap, in eV per cell.
    is_minimum
        Whether the gap is a minimum inside the range, not its end.
    energies_ev, multiplicities
        Energy of each position at its best gap in eV, and the points of the grid that it stands for; empty in scans
        that kept the range alone.
    """

    shift_ang: Pair
    gap_offset_ang: float
    gap_ang: float
    energy_ev: float
    n_positions: int
    range_ev: float
    is_minimum: bool
    energies_ev: tuple[float, ...] = Field(default=(), exclude_if=is_empty)
    multiplicities: tuple[int, ...] = Field(default=(), exclude_if=is_empty)


class ScannedRegistry(Record):
    """One lateral position of one orientation at its best gap.

    Parameters
    ----------
    turn
        Orientation of the film.
    shift
        Displacement of the film in units of the displacement cell.
    shift_ang
        The same in Å, in the plane.
    multiplicity
        Points of the grid that it stands for.
    gap_offset_ang
        Height above contact of the ions' radii in Å.
    gap_ang
        From the highest atom of the dot to the lowest of the film in Å; negative where the faces interlock.
    energy_ev
        Energy of the cell in eV.
    is_calculated
        Whether the energy was calculated at this gap, or follows from nearby gaps and their forces.
    is_minimum
        Whether the gap is a minimum inside the range, not its end.
    outer
        Registry of the second interface of an embedded film in this orientation; None in vacuum, and where the position
        is not among the best.
    """

    turn: FilmTurn
    shift: Pair
    shift_ang: Pair
    multiplicity: int
    gap_offset_ang: float
    gap_ang: float
    energy_ev: float
    is_calculated: bool
    is_minimum: bool
    outer: OuterRegistry | None = None


class RegistryScan(Record):
    """How much the lateral position, the gap and the orientation of a film matter, and which are best.

    Parameters
    ----------
    kind
        Tells a scan from other stored records.
    key
        SHA-256 of task and level of theory.
    attempt
        0 for the first attempt, one more for each retry after a failure.
    task
        What was asked.
    theory
        How the energies were calculated; atoms were not relaxed.
    displacement_vectors_ang
        Rows: the cell of distinct displacements of the film against the dot in Å.
    displacement_area_ang2
        Its area in Å².
    best
        The best points, lowest energy first; their energies are calculated at their own gap.
    points
        All points, in the order of the search.
    range_ev
        Largest less least energy of the points, each at its best gap, in eV per cell.
    deviation_ev
        Standard deviation of the same, weighted by multiplicity, in eV per cell.
    area_ang2
        Area of the interface cell in Å².
    failures
        Points whose energy is missing although they may have one, and why; such a scan is repeated.
    impossible
        Points that have no energy, because atoms lie on top of each other there, and why.
    n_evaluations
        Energies that were calculated.
    wall_time_s
        Time of the run that finished in s.
    finished_at
        UTC time as ISO 8601.
    """

    schema_version: Literal[1] = REGISTRY_SCAN_SCHEMA_VERSION
    kind: Literal["registry screening"] = "registry screening"
    key: str
    attempt: int = 0
    task: RegistryScanTask
    theory: LevelOfTheory
    displacement_vectors_ang: tuple[Pair, Pair]
    displacement_area_ang2: float
    best: tuple[ScannedRegistry, ...]
    points: tuple[ScannedRegistry, ...]
    range_ev: float | None
    deviation_ev: float | None
    area_ang2: float
    failures: tuple[str, ...] = ()
    impossible: tuple[str, ...] = Field(default=(), exclude_if=is_empty)
    n_evaluations: int
    wall_time_s: float
    finished_at: str

    @property
    def is_usable(self) -> bool:
        """Whether the best registries are known: one that failed may be better than all that have an energy."""
        return bool(self.best) and not self.failures

    @property
    def n_positions(self) -> int:
        """Distinct positions that were looked at, with and without an energy."""
        return len(self.points) + len(self.failures) + len(self.impossible)

    @property
    def failure(self) -> str | None:
        """Why the best registries are not known, in one clause; None where they are."""
        if self.is_usable:
            return None
        first = (*self.failures, *self.impossible, "no registry was compared")[0]
        n_without = len(self.failures) or len(self.impossible)
        return f"{n_without} of {self.n_positions} registries have no energy, first {first}"


class UpperFinding(Record):
    """What a scan says about the dot on the upper face of an embedded film.

    Parameters
    ----------
    n_positions
        Distinct positions that were compared.
    range_mev_per_ang2
        Largest less least energy of these, each at its best gap, atoms not relaxed, per area of this interface.
    gap_offset_ang, gap_ang
        Height of the unrelaxed dot above contact of the ions' radii, and from the highest atom of the film to the
        lowest of the dot, in Å.
    """

    n_positions: int
    range_mev_per_ang2: float
    gap_offset_ang: float
    gap_ang: float


class RegistryFinding(Record):
    """What a scan says about the registry of one candidate.

    Parameters
    ----------
    key
        Key of the scan.
    theory
        How its energies were calculated; they enter no term.
    n_positions, n_failed, n_impossible
        Distinct positions in all orientations that were looked at, those whose energy is missing, and those that have
        none because atoms lie on top of each other.
    displacement_area_ang2
        Area of the cell of distinct displacements in Å².
    rank
        The registry of this candidate, 1: the best; None: it lies as cut, at contact.
    turn
        Orientation of the film in words.
    gap_offset_ang, gap_ang
        Height of the unrelaxed film above contact of the ions' radii, and from the highest atom of the dot to the
        lowest of the film, in Å.
    above_best_mev_per_ang2
        Energy of this registry less that of the best.
    range_mev_per_ang2, range_ev_per_fu
        Largest less least energy of all positions, each at its best gap, atoms not relaxed.
    deviation_mev_per_ang2, deviation_ev_per_fu
        Standard deviation of the same, which is what an unknown position leaves open.
    failure
        Why the best registries are not known.
    upper
        What the scan of the film's upper face found, where the film lies between two dots; None under vacuum.
    """

    key: str
    theory: LevelOfTheory
    n_positions: int
    n_failed: int
    n_impossible: int = Field(default=0, exclude_if=is_none_at_all)
    displacement_area_ang2: float
    rank: int | None
    turn: str
    gap_offset_ang: float
    gap_ang: float | None
    above_best_mev_per_ang2: float | None
    range_mev_per_ang2: float | None
    range_ev_per_fu: float | None
    deviation_mev_per_ang2: float | None
    deviation_ev_per_fu: float | None
    failure: str | None = None
    upper: UpperFinding | None = Field(default=None, exclude_if=is_missing)

"""What a screening of lateral positions, gaps and orientations is asked and what it answers."""

from __future__ import annotations

from math import gcd
from typing import Final, Literal

from pydantic import Field, model_validator

from qdip_dft.model.base import Record
from qdip_dft.model.calculation import LevelOfTheory
from qdip_dft.model.interface import IntegerMatrix2
from qdip_dft.model.structure import StructureRecord

SCREENING_SCHEMA_VERSION: Final = 1

ONE_REGISTRY_IS_ENOUGH_ANG2: Final = 5.0
"""Below this area of distinct displacements one lateral position stands for all (Å²)."""

_DEGREES_OF_TRACE = {2: 0, 1: 60, 0: 90, -1: 120, -2: 180}
"""Angle of a rotation by the trace of its matrix, 2 cos θ: the only angles that keep a lattice."""

Pair = tuple[float, float]


class FilmTurn(Record):
    """A proper rotation that lays the film on the same mesh in another orientation.

    Parameters
    ----------
    matrix
        Acts on fractional in-plane coordinates, x' = S x.  det S = 1: the film turns about the normal.  det S = −1:
        it turns by 180° about an axis in the plane and comes to lie upside down; no mirror is involved.
    """

    matrix: IntegerMatrix2

    @model_validator(mode="after")
    def _keeps_areas(self) -> FilmTurn:
        (a, b), (c, d) = self.matrix
        if a * d - b * c not in (1, -1):
            raise ValueError("the matrix of a turn must have the determinant 1 or -1")
        return self

    @property
    def is_flipped(self) -> bool:
        """Return whether the film lies upside down."""
        (a, b), (c, d) = self.matrix
        return a * d - b * c < 0

    @property
    def name(self) -> str:
        """Return the turn in words, such as ``turned by 180°`` or ``flipped about [1 0]``."""
        (a, b), (c, d) = self.matrix
        if self.is_flipped:
            along = (a + 1, c) if (a + 1, c) != (0, 0) else (b, d + 1)
            sign = 1 if along > (0, 0) else -1
            u, v = (sign * value // gcd(*along) for value in along)
            return f"flipped about [{u} {v}]"
        degrees = _DEGREES_OF_TRACE[a + d]
        if degrees == 0:
            return "as cut"
        return f"turned by {'-' if c < 0 and degrees < 180 else ''}{degrees}°"


AS_CUT = FilmTurn(matrix=((1, 0), (0, 1)))
"""The film as it was built."""


class ScreeningTask(Record):
    """One interface whose lateral positions, gaps and orientations are to be compared.

    Parameters
    ----------
    label
        Where it belongs, for people, such as ``PbS(111)//FAPbI3-alpha(100)``.  Not part of the key.
    dot, film
        Slabs on one mesh, in vacuum.
    formal_charges
        Formal charge in e by ion label, of the ions of both slabs.
    turns
        Orientations of the film that are tried; those that give the same interface are tried once.
    n_grid
        Lateral positions along each vector of the displacement cell.
    gap_range_ang
        Least and largest height of the film above contact of the ions' radii, in Å.
    vacuum_ang
        Vacuum above the film in Å.
    n_kept
        How many of the best positions are calculated at their own gap and kept.
    """

    label: str
    dot: StructureRecord
    film: StructureRecord
    formal_charges: dict[str, int]
    turns: tuple[FilmTurn, ...] = (AS_CUT,)
    n_grid: int = Field(default=6, ge=1)
    gap_range_ang: Pair = (-0.4, 2.0)
    vacuum_ang: float = Field(default=15.0, gt=0)
    n_kept: int = Field(default=3, ge=1)

    @model_validator(mode="after")
    def _contact_is_within_range(self) -> ScreeningTask:
        if not self.gap_range_ang[0] <= 0.0 <= self.gap_range_ang[1]:
            raise ValueError("gap_range_ang must hold 0, the contact of the ions' radii")
        return self


class ScreenedPoint(Record):
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


class RegistryScreening(Record):
    """How much the lateral position, the gap and the orientation of a film matter, and which are best.

    Parameters
    ----------
    key
        SHA-256 of task and level of theory.
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
        Points without an energy, and why.
    n_evaluations
        Energies that were calculated.
    wall_time_s
        Time of the run that finished in s.
    finished_at
        UTC time as ISO 8601.
    """

    schema_version: Literal[1] = SCREENING_SCHEMA_VERSION
    key: str
    task: ScreeningTask
    theory: LevelOfTheory
    displacement_vectors_ang: tuple[Pair, Pair]
    displacement_area_ang2: float
    best: tuple[ScreenedPoint, ...]
    points: tuple[ScreenedPoint, ...]
    range_ev: float | None
    deviation_ev: float | None
    area_ang2: float
    failures: tuple[str, ...] = ()
    n_evaluations: int
    wall_time_s: float
    finished_at: str

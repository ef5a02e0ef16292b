"""Where films lie: which candidates are scanned, the registries that are compared, and the one that is kept."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from qdip_dft.builders.ions import Array, IonicCrystal
from qdip_dft.builders.registry import (
    Displacement,
    DisplacementCell,
    coincidence_index,
    count_grid_points,
    find_displacement_cell,
    list_displacements,
)
from qdip_dft.builders.strain import CommonCell
from qdip_dft.builders.variants import FilmVariant, list_film_variants
from qdip_dft.errors import InterfaceError
from qdip_dft.model.interface import Candidate
from qdip_dft.model.orientation import FilmTurn, count_surface_cells
from qdip_dft.model.registry import ONE_REGISTRY_IS_ENOUGH_ANG2, RegistryScan, ScannedRegistry
from qdip_dft.model.study import FilmSpec

APPROACH_ANG = 0.4
"""The start lies this much inside the best gap, but not inside contact: repulsion is steep and brings a relaxation
back, while on the flat attractive side each atom feels so little that it stops too early."""

ONE_BASIN_ANG = 1.5
"""Registries of one orientation closer than this relax into the same one."""


@dataclass(frozen=True, slots=True)
class RegistryChoice:
    """Where a candidate lies, as far as the study says.

    Parameters
    ----------
    name
        What tells it apart in labels; empty if it is alone.
    shift
        In-plane displacement in units of the film's 1 × 1 cell.
    rank
        Rank of its registry in the scan, counted from 1; 0: as given.
    """

    name: str
    shift: tuple[float, float]
    rank: int


def list_registry_choices(film: FilmSpec, cell: CommonCell, *, area_ang2: float) -> tuple[RegistryChoice, ...]:
    """Return one registry per candidate: those given, the best of a scan, or the only one of a small cell.

    Parameters
    ----------
    film
        What the study says about its films.
    cell
        The common cell.
    area_ang2
        Its area in Å² on the catalogue's lattices, so that every engine scans the same candidates.
    """
    if film.registries is not None:
        is_alone = len(film.registries) == 1
        return tuple(RegistryChoice("" if is_alone else f"shift {x:g},{y:g}", (x, y), 0) for x, y in film.registries)
    if displacement_area_ang2(cell, area_ang2=area_ang2) <= ONE_REGISTRY_IS_ENOUGH_ANG2:
        return (RegistryChoice("", (0.0, 0.0), 0),)
    ranks = range(1, film.registry_scan.n_kept + 1)
    return tuple(RegistryChoice(f"registry {rank}" if len(ranks) > 1 else "", (0.0, 0.0), rank) for rank in ranks)


def displacement_area_ang2(cell: CommonCell, *, area_ang2: float) -> float:
    """Return the area of distinct displacements m · A_dot · A_film / A_cell in Å² (`qdip_dft.builders.registry`)."""
    n_film, n_dot = map(count_surface_cells, (cell.film_matrix, cell.dot_matrix))
    return coincidence_index(cell.film_matrix, cell.dot_matrix) * area_ang2 / (n_film * n_dot)


@dataclass(frozen=True, slots=True)
class FilmRegistry:
    """One orientation at one lateral position."""

    variant: FilmVariant
    cell: DisplacementCell
    displacement: Displacement

    @property
    def name(self) -> str:
        """The registry in words, unique within a scan."""
        x, y = self.displacement.fractions
        return f"{self.variant.turn.name} at {x:.4f}, {y:.4f}"


def list_film_registries(
    dot: IonicCrystal, film: IonicCrystal, turns: tuple[FilmTurn, ...], *, spacing_ang: float
) -> tuple[FilmRegistry, ...]:
    """Return every registry that gives an interface of its own.

    Parameters
    ----------
    dot, film
        Slabs in vacuum on one interface cell.
    turns
        Orientations to try, the preferred of equal ones first.
    spacing_ang
        Largest distance of neighbouring lateral positions in Å.
    """

    def registries() -> Iterator[FilmRegistry]:
        for variant in list_film_variants(dot, film, turns):
            cell = find_displacement_cell(dot, variant.film)
            for displacement in list_displacements(cell, count_grid_points(cell, spacing_ang)):
                yield FilmRegistry(variant, cell, displacement)

    return tuple(registries())


def are_one_basin(first: FilmRegistry, second: FilmRegistry) -> bool:
    """Return whether two registries, or images of them by a common symmetry, lie so close that they relax into one."""
    if first.variant.turn != second.variant.turn:
        return False
    cell, start = first.cell, np.array(first.displacement.fractions)
    return any(
        _distance_ang(rotation @ start + shift - second.displacement.fractions, cell.vectors_ang) < ONE_BASIN_ANG
        for rotation, shift in zip(cell.rotations, cell.shifts, strict=True)
    )


def _distance_ang(difference: Array, vectors_ang: Array) -> float:
    """Return the length of a difference of fractions, up to the vectors of a reduced cell."""
    images = [difference - np.floor(difference) - (i, j) for i in (0, 1) for j in (0, 1)]
    return min(float(np.linalg.norm(image @ vectors_ang)) for image in images)


def set_registry(candidate: Candidate, scan: RegistryScan | None) -> Candidate:
    """Return the candidate with the turn and shift that its scan found, a little inside the gap.

    When the scan gave no energy, the film stays as cut and at contact: an interface at a chosen registry is still an
    interface, and its check says that the registry was not found.

    Parameters
    ----------
    candidate
        The candidate.
    scan
        The scan that it names; None: not done yet.

    Raises
    ------
    InterfaceError
        If the scan found fewer distinct registries.
    """
    if scan is None or candidate.place == 0:
        return candidate
    point = find_point(candidate, scan)
    if point is None:
        if candidate.place == 1:
            return candidate
        raise _too_few_registries(candidate, scan)
    unit = np.linalg.inv(candidate.film_matrix) @ np.array(scan.task.film.lattice_ang)[:2, :2]
    found = {
        "turn": point.turn,
        "shift": _in_units(point.shift_ang, unit),
        "gap_offset_ang": _approach(point.gap_offset_ang),
    }
    if point.outer is not None:
        found["outer_shift"] = _in_units(point.outer.shift_ang, unit)
        found["outer_gap_offset_ang"] = _approach(point.outer.gap_offset_ang)
    return candidate.model_copy(update=found)


def _in_units(shift_ang: tuple[float, float], unit: Array) -> tuple[float, float]:
    """Return a displacement in units of a 1 × 1 cell."""
    x, y = (np.array(shift_ang) @ np.linalg.inv(unit)).tolist()
    return x, y


def _approach(gap_offset_ang: float) -> float:
    """Return the height above contact where a relaxation starts, a little inside the best gap."""
    return max(0.0, gap_offset_ang - APPROACH_ANG)


def find_point(candidate: Candidate, scan: RegistryScan) -> ScannedRegistry | None:
    """Return the point of a scan that a candidate takes, or None if there are fewer."""
    return scan.best[candidate.place - 1] if 1 <= candidate.place <= len(scan.best) else None


def _too_few_registries(candidate: Candidate, scan: RegistryScan) -> InterfaceError:
    return InterfaceError(
        f"the registry scan of {candidate.title.interface} has {len(scan.best)} distinct best registries, "
        f"{candidate.label} would be another",
        limit=f"registries of one orientation are distinct when they are {ONE_BASIN_ANG} Å apart",
        why="closer ones relax into the same interface",
        remedy="lower film.registry_scan.n_kept, or set a finer film.registry_scan.grid_spacing_ang",
    )

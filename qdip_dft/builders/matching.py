"""The common cells of a film and a dot surface: all that exist within limits of area and strain.

The search itself is `sub_lattices`; here its cells are described, ranked, and missed ones named.

Handedness.  A film laid on a dot is turned, not mirrored, so only det U = +1 is allowed between right-handed bases.  If
one of the surface lattices has a mirror line (square, rectangular, rhombic or hexagonal), every one of its sub-lattices
has its mirror image among the sub-lattices, and what a mirrored pairing could give is found with that image.  If both
are oblique, a mirrored pairing is another interface: the film turned upside down, which is its face (-h-k-l).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf
from operator import itemgetter

import numpy as np
from numpy.typing import NDArray

from qdip_dft.builders.planes import CrystalLattice, list_faces, list_planes, surface_lattice
from qdip_dft.builders.strain import StrainPair, von_mises_strain
from qdip_dft.builders.sub_lattices import STRAIN_TIE, cell_area, search_bases
from qdip_dft.errors import MatchError
from qdip_dft.model.miller import Miller
from qdip_dft.model.orientation import IntegerMatrix2
from qdip_dft.model.snapping import first_least, rank

Array = NDArray[np.float64]
Integers = NDArray[np.int64]

LARGEST_STRAIN = 0.25
"""Largest strain that can be searched: beyond it the film is another material."""

LARGEST_NUMBER_OF_CELLS = 500
"""Largest supercell that is searched, in 1×1 cells: the number of matches grows with the fourth power of the area."""

AREA_REACH = 8.0
"""How many times the area limit is searched for the nearest cell."""


@dataclass(frozen=True, slots=True)
class CellMatch:
    """One common cell: a film supercell strained onto a dot supercell.

    Parameters
    ----------
    area_ang2
        Area of the dot supercell in Å².
    n_film, n_dot
        Number of 1×1 surface cells in each supercell.
    principal_strains
        Engineering strains of the film on the unstrained dot, ascending, rotation removed; negative is compressed.
    von_mises_strain
        Von Mises equivalent of the two.
    film_matrix, dot_matrix
        Rows of integers with positive determinant: ``film_matrix @ film_2d``, turned and stretched, becomes
        ``dot_matrix @ dot_2d``.  With right-handed 1×1 bases both are right-handed: the film is never mirrored.
    is_pareto
        Whether no other cell of the search is smaller or equal in area and less in largest strain.
    """

    area_ang2: float
    n_film: int
    n_dot: int
    principal_strains: StrainPair
    von_mises_strain: float
    film_matrix: IntegerMatrix2
    dot_matrix: IntegerMatrix2
    is_pareto: bool = False

    @property
    def largest_strain(self) -> float:
        """Largest absolute principal strain."""
        return max(map(abs, self.principal_strains))

    def __str__(self) -> str:
        return f"{self.n_film}:{self.n_dot} at {self.area_ang2:.0f} Å², {100 * self.largest_strain:.2f} %"


@dataclass(frozen=True, slots=True)
class NearestCells:
    """What comes nearest where no cell lies within the limits.

    Parameters
    ----------
    smallest
        The smallest cell within the strain limit, if there is one up to `AREA_REACH` times the area limit.
    least_strained
        The least strained cell within the area limit, if there is one up to `LARGEST_STRAIN`.
    """

    smallest: CellMatch | None
    least_strained: CellMatch | None

    def __str__(self) -> str:
        larger = f"{self.smallest} (larger)" if self.smallest else ""
        strained = f"{self.least_strained} (more strained)" if self.least_strained else ""
        return "nearest: " + (" or ".join(filter(None, (larger, strained))) or "none")


@dataclass(frozen=True, slots=True)
class PlaneMatch:
    """The common cells of one pair of faces, smallest first; planes refer to the conventional cells."""

    film_hkl: Miller
    dot_hkl: Miller
    cells: tuple[CellMatch, ...]


def match_cells(film_2d: Array, dot_2d: Array, *, max_area_ang2: float, max_strain: float) -> tuple[CellMatch, ...]:
    """Return every metric-distinct common cell within the limits, smallest first.

    Two cells count as one if both their film and their dot sub-lattices have the same reduced Gram matrix, mirror
    images included; the least strained proper relation of each such pair is returned.

    Parameters
    ----------
    film_2d, dot_2d
        1×1 surface lattices, two right-handed rows in Å (`SurfaceLattice.vectors_2d`).
    max_area_ang2
        Largest area of the dot supercell in Å².
    max_strain
        Largest absolute principal strain of the film on the dot, a fraction in (0, 0.25].

    Returns
    -------
    tuple of CellMatch
        Empty if nothing matches; `require_matches` says what comes nearest.

    Raises
    ------
    MatchError
        If a limit or a lattice makes no sense.
    """
    film, dot = np.asarray(film_2d, dtype=float), np.asarray(dot_2d, dtype=float)
    _check_search(film, dot, max_area_ang2=max_area_ang2, max_strain=max_strain)
    film_bases, dot_bases = search_bases(film, dot, max_area_ang2=max_area_ang2, max_strain=max_strain)
    cells = [
        cell
        for cell in _describe_cells(film, dot, film_bases=film_bases, dot_bases=dot_bases)
        if cell.largest_strain <= max_strain + STRAIN_TIE
    ]
    front = pareto_front(cells)
    return tuple(replace(cell, is_pareto=True) if cell in front else cell for cell in cells)


def require_matches(film_2d: Array, dot_2d: Array, *, max_area_ang2: float, max_strain: float) -> tuple[CellMatch, ...]:
    """Return the common cells within the limits, as `match_cells` does, but at least one.

    Raises
    ------
    MatchError
        If there is none; the message names the nearest cells.
    """
    cells = match_cells(film_2d, dot_2d, max_area_ang2=max_area_ang2, max_strain=max_strain)
    if cells:
        return cells
    nearest = find_nearest_cells(film_2d, dot_2d, max_area_ang2=max_area_ang2, max_strain=max_strain)
    raise MatchError(
        f"no cell within {100 * max_strain:g} % up to {max_area_ang2:g} Å²; {nearest}",
        limit="film and dot need a common cell within both limits",
        why="without one the interface is not periodic and cannot be computed",
        remedy="raise the largest area or the largest strain to a cell named here, or choose other planes",
    )


def find_nearest_cells(film_2d: Array, dot_2d: Array, *, max_area_ang2: float, max_strain: float) -> NearestCells:
    """Return the cells that come nearest to the limits: one larger, one more strained.

    Both limits are widened step by step, so that the answer costs little more than it must.
    """
    film_area, dot_area = cell_area(np.asarray(film_2d)), cell_area(np.asarray(dot_2d))
    largest_area = LARGEST_NUMBER_OF_CELLS * min(film_area, dot_area)
    start = max(max_area_ang2, film_area, dot_area)
    areas = dict.fromkeys(min(start * factor, largest_area) for factor in (1.0, 2.0, 4.0, AREA_REACH))
    strains = dict.fromkeys(min(max_strain * factor, LARGEST_STRAIN) for factor in (1.0, 1.5, 2.0, 3.0, 4.0, inf))
    larger = (match_cells(film_2d, dot_2d, max_area_ang2=area, max_strain=max_strain) for area in areas)
    strained = (match_cells(film_2d, dot_2d, max_area_ang2=max_area_ang2, max_strain=strain) for strain in strains)
    return NearestCells(
        smallest=next((cells[0] for cells in larger if cells), None),
        least_strained=next((least_strained(cells) for cells in strained if cells), None),
    )


def pareto_front(cells: Sequence[CellMatch]) -> tuple[CellMatch, ...]:
    """Return the cells of one search that no other beats in area and largest strain at once, smallest first."""
    front: list[CellMatch] = []
    least_strain = inf
    areas, strains = [cell.area_ang2 for cell in cells], [cell.largest_strain for cell in cells]
    for _, _, index in sorted(zip(rank(areas), rank(strains), range(len(cells)), strict=True)):
        if strains[index] < least_strain - STRAIN_TIE:
            front.append(cells[index])
            least_strain = strains[index]
    return tuple(front)


def scan_planes(
    film: CrystalLattice, dot: CrystalLattice, *, max_index: int, max_area_ang2: float, max_strain: float
) -> tuple[PlaneMatch, ...]:
    """Return the common cells of all planes up to a Miller index, pairs with the smallest cell first.

    One plane stands for all that a rotation of the lattice makes equal; the film's opposite face is searched too
    where it is the mirror image.  A crystal can be less symmetric than its lattice: its planes of one kind then match
    alike but may end in different atoms.

    Parameters
    ----------
    film, dot
        Lattices of the two crystals.
    max_index
        Largest absolute Miller index.
    max_area_ang2, max_strain
        As for `match_cells`.

    Returns
    -------
    tuple of PlaneMatch
        Pairs without a common cell are left out.
    """
    films = [
        (hkl, surface_lattice(film.conventional, film.primitive, hkl).vectors_2d) for hkl in list_faces(film, max_index)
    ]
    dots = [
        (hkl, surface_lattice(dot.conventional, dot.primitive, hkl).vectors_2d) for hkl in list_planes(dot, max_index)
    ]
    matches = [
        PlaneMatch(film_hkl, dot_hkl, match_cells(film_2d, dot_2d, max_area_ang2=max_area_ang2, max_strain=max_strain))
        for film_hkl, film_2d in films
        for dot_hkl, dot_2d in dots
    ]
    found = [match for match in matches if match.cells]
    areas = rank(match.cells[0].area_ang2 for match in found)
    return tuple(match for _, match in sorted(zip(areas, found, strict=True), key=itemgetter(0)))


def _check_search(film: Array, dot: Array, *, max_area_ang2: float, max_strain: float) -> None:
    if not 0 < max_strain <= LARGEST_STRAIN:
        raise MatchError(
            f"largest strain {max_strain:g}",
            limit=f"0 < strain ≤ {LARGEST_STRAIN:g} (a fraction)",
            why="a film strained further is another material",
            remedy="give a fraction such as 0.05 for 5 %",
        )
    if not min(cell_area(film), cell_area(dot)) > 0:
        raise MatchError(
            "surface lattice with area ≤ 0",
            limit="the two rows must be a right-handed basis",
            why="the film would be mirrored",
            remedy="take SurfaceLattice.vectors_2d",
        )
    n_cells = max_area_ang2 / min(cell_area(film), cell_area(dot))
    if not 0 < n_cells <= LARGEST_NUMBER_OF_CELLS:
        raise MatchError(
            f"largest area {max_area_ang2:g} Å² ({n_cells:.0f} surface cells)",
            limit=f"a positive area of at most {LARGEST_NUMBER_OF_CELLS} surface cells",
            why="the interface could not be computed",
            remedy="give an area such as 400 Å²",
        )


def _in_order(cells: Sequence[CellMatch]) -> list[CellMatch]:
    """Return the cells of a search in their one order: size, strain, and for equal strains the matrices."""
    strains = rank(cell.largest_strain for cell in cells)
    keyed = ((c.n_dot, strain, c.dot_matrix, c.film_matrix, c) for strain, c in zip(strains, cells, strict=True))
    return [cell for *_, cell in sorted(keyed, key=itemgetter(0, 1, 2, 3))]


def least_strained(cells: Sequence[CellMatch]) -> CellMatch:
    """The cell of least strain; of equal ones the first, which is the smallest."""
    return cells[first_least([cell.largest_strain for cell in cells])]


def _describe_cells(film: Array, dot: Array, *, film_bases: Integers, dot_bases: Integers) -> list[CellMatch]:
    """Return the cells with their strains, smallest first, of equal size the least strained first."""
    stretches = np.linalg.svd(np.linalg.solve(film_bases @ film, dot_bases @ dot), compute_uv=False)
    n_film, n_dot = (np.rint(np.linalg.det(bases)).astype(int).tolist() for bases in (film_bases, dot_bases))
    columns = zip(
        n_film, n_dot, (stretches[:, ::-1] - 1).tolist(), film_bases.tolist(), dot_bases.tolist(), strict=True
    )
    cells = [
        CellMatch(
            area_ang2=in_dot * cell_area(dot),
            n_film=in_film,
            n_dot=in_dot,
            principal_strains=(least, most),
            von_mises_strain=von_mises_strain((least, most)),
            film_matrix=_freeze(film_rows),
            dot_matrix=_freeze(dot_rows),
        )
        for in_film, in_dot, (least, most), film_rows, dot_rows in columns
    ]
    return _in_order(cells)


def _freeze(rows: list[list[int]]) -> IntegerMatrix2:
    """Return integer rows as tuples, turned by 180° if the first entry that is not zero is negative."""
    (a, b), (c, d) = rows
    return ((-a, -b), (-c, -d)) if (a, b) < (0, 0) else ((a, b), (c, d))

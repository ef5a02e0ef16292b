"""Exhaustive search for the common cells of a film and a dot surface.

Every sub-lattice of a two-dimensional lattice with n cells is one matrix in Hermite normal form, so all of them can
be listed.  A film sub-lattice with Gram matrix G_f is strained onto a dot sub-lattice with Gram matrix G_d by a
deformation whose squared stretches are the eigenvalues of C = G_f⁻¹ (U G_d Uᵀ), where the unimodular U says which
basis vectors meet; the principal strains are sqrt(eig C) − 1.  det C does not depend on U, so the least strained U is
that of the smallest trace, and tr C is linear in (g11, g12, g22) of U G_d Uᵀ: all candidates are one matrix product.

Three facts keep the search small, and none loses a cell.  Areas, shortest and second shortest vectors of two lattices
related by principal strains within ±s differ by factors within 1 ± s, which dismisses most pairs unseen.  Sub-lattices
with equal Gram matrices give equal strains, so one stands for all.  Between reduced bases the best U has small entries.

Handedness.  A film laid on a dot is turned, not mirrored, so only det U = +1 is allowed between right-handed bases.  If
one of the surface lattices has a mirror line (square, rectangular, rhombic or hexagonal), every one of its sub-lattices
has its mirror image among the sub-lattices, and what a mirrored pairing could give is found with that image.  If both
are oblique, a mirrored pairing is another interface: the film turned upside down, which is its face (-h-k-l).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import lru_cache
from math import floor, inf, sqrt

import numpy as np
from numpy.typing import NDArray

from qdip_dft.builders.planes import CrystalLattice, Miller, list_faces, list_planes, surface_lattice
from qdip_dft.builders.strain import IntegerMatrix, StrainPair, von_mises_strain
from qdip_dft.errors import MatchError

Array = NDArray[np.float64]
Integers = NDArray[np.int64]

LARGEST_STRAIN = 0.25
"""Largest strain that can be searched: beyond it the film is another material."""

LARGEST_NUMBER_OF_CELLS = 500
"""Largest supercell that is searched, in 1×1 cells: the number of matches grows with the fourth power of the area."""

PAIRS_AT_ONCE = 500_000
"""Pairs of sub-lattices compared in one array operation; bounds memory."""

METRIC_TOLERANCE = 1e-5
"""Sub-lattices whose reduced Gram matrices differ by less than this fraction are one metric."""

STRAIN_TIE = 1e-6
"""Strains closer than this are equal when a front is drawn or a limit is checked."""

AREA_REACH = 8.0
"""How many times the area limit is searched for the nearest cell."""


class SizeMeasure(StrEnum):
    """What a Pareto front calls the size of a cell."""

    AREA = "area"
    ATOMS = "atoms"


class StrainMeasure(StrEnum):
    """What a Pareto front calls the strain of a cell."""

    LARGEST = "largest"
    VON_MISES = "von_mises"


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
    n_atoms
        Atoms of film and dot together, if their numbers per 1×1 cell were given.
    is_pareto
        Whether no other cell of the search is smaller or equal in area and less in largest strain.
    """

    area_ang2: float
    n_film: int
    n_dot: int
    principal_strains: StrainPair
    von_mises_strain: float
    film_matrix: IntegerMatrix
    dot_matrix: IntegerMatrix
    n_atoms: int | None = None
    is_pareto: bool = False

    @property
    def largest_strain(self) -> float:
        """Return the largest absolute principal strain."""
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


@dataclass(frozen=True, slots=True, eq=False)
class _SubLattices:
    """Sub-lattices of one surface lattice, smallest first, one for each metric and handedness.

    `areas` are in Å², shape (m,); `gram` holds (g11, g12, g22) of the Gauss-reduced right-handed basis, shape (m, 3);
    `bases` its integer rows, shape (m, 2, 2); `kinds` numbers the metrics: mirror images share one, shape (m,).
    """

    areas: Array
    gram: Array
    bases: Integers
    kinds: Integers

    def select(self, index: Integers) -> _SubLattices:
        """Return those named by their indices, in that order."""
        return _SubLattices(self.areas[index], self.gram[index], self.bases[index], self.kinds[index])


def match_cells(
    film_2d: Array,
    dot_2d: Array,
    *,
    max_area_ang2: float,
    max_strain: float,
    film_atoms_per_cell: int | None = None,
    dot_atoms_per_cell: int | None = None,
) -> tuple[CellMatch, ...]:
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
    film_atoms_per_cell, dot_atoms_per_cell
        Atoms of the film and of the dot slab per 1×1 cell, for `CellMatch.n_atoms`.

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
    film_bases, dot_bases = _search(film, dot, max_area_ang2=max_area_ang2, max_strain=max_strain)
    cells = [
        _count_atoms(cell, film_atoms_per_cell, dot_atoms_per_cell)
        for cell in _describe_cells(film, dot, film_bases=film_bases, dot_bases=dot_bases)
        if cell.largest_strain <= max_strain + STRAIN_TIE
    ]
    front = pareto_front(cells)
    return tuple(replace(cell, is_pareto=True) if cell in front else cell for cell in cells)


def require_matches(
    film_2d: Array,
    dot_2d: Array,
    *,
    max_area_ang2: float,
    max_strain: float,
    film_atoms_per_cell: int | None = None,
    dot_atoms_per_cell: int | None = None,
) -> tuple[CellMatch, ...]:
    """Return the common cells within the limits, as `match_cells` does, but at least one.

    Raises
    ------
    MatchError
        If there is none; the message names the nearest cells.
    """
    cells = match_cells(
        film_2d,
        dot_2d,
        max_area_ang2=max_area_ang2,
        max_strain=max_strain,
        film_atoms_per_cell=film_atoms_per_cell,
        dot_atoms_per_cell=dot_atoms_per_cell,
    )
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
    film_area, dot_area = _area(np.asarray(film_2d)), _area(np.asarray(dot_2d))
    largest_area = LARGEST_NUMBER_OF_CELLS * min(film_area, dot_area)
    start = max(max_area_ang2, film_area, dot_area)
    areas = dict.fromkeys(min(start * factor, largest_area) for factor in (1.0, 2.0, 4.0, AREA_REACH))
    strains = dict.fromkeys(min(max_strain * factor, LARGEST_STRAIN) for factor in (1.0, 1.5, 2.0, 3.0, 4.0, inf))
    larger = (match_cells(film_2d, dot_2d, max_area_ang2=area, max_strain=max_strain) for area in areas)
    strained = (match_cells(film_2d, dot_2d, max_area_ang2=max_area_ang2, max_strain=strain) for strain in strains)
    return NearestCells(
        smallest=next((cells[0] for cells in larger if cells), None),
        least_strained=next((min(cells, key=_strain_then_area) for cells in strained if cells), None),
    )


def pareto_front(
    cells: Sequence[CellMatch],
    *,
    size: SizeMeasure = SizeMeasure.AREA,
    strain: StrainMeasure = StrainMeasure.LARGEST,
) -> tuple[CellMatch, ...]:
    """Return the cells that no other beats in size and strain at once, smallest first.

    Parameters
    ----------
    cells
        Cells of one search.
    size, strain
        What is traded: area or number of atoms, against largest principal or von Mises strain.

    Raises
    ------
    MatchError
        If the front is asked by atoms and their numbers are not known.
    """
    if size is SizeMeasure.ATOMS and any(cell.n_atoms is None for cell in cells):
        raise MatchError(
            "front by number of atoms",
            limit="the atoms of each cell must be known",
            why="cells of equal area can hold different numbers of atoms",
            remedy="give film_atoms_per_cell and dot_atoms_per_cell to match_cells",
        )
    front: list[CellMatch] = []
    least_strain = inf
    for _, cell_strain, index in sorted((*_measure(cell, size, strain), k) for k, cell in enumerate(cells)):
        if cell_strain < least_strain - STRAIN_TIE:
            front.append(cells[index])
            least_strain = cell_strain
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
    return tuple(sorted((match for match in matches if match.cells), key=lambda match: match.cells[0].area_ang2))


@lru_cache(maxsize=32)
def list_hermite_forms(max_cells: int) -> Integers:
    """Return all 2×2 Hermite normal forms [[p, q], [0, r]] with p r ≤ `max_cells` and 0 ≤ q < r, smallest first.

    Each is one sub-lattice of p r cells; there are σ(n) of n cells, the sum of the divisors of n.

    Returns
    -------
    NDArray
        Columns (p, q, r), shape (m, 3), read-only.
    """
    sizes = np.arange(1, max_cells + 1)
    p = np.repeat(sizes, max_cells // sizes)
    r = np.concatenate([sizes[: max_cells // size] for size in sizes]) if max_cells else sizes
    q = np.arange(r.sum()) - np.repeat(np.cumsum(r) - r, r)
    forms = np.stack([np.repeat(p, r), q, np.repeat(r, r)], axis=1)
    forms = forms[np.argsort(forms[:, 0] * forms[:, 2], kind="stable")]
    forms.setflags(write=False)
    return forms


def _check_search(film: Array, dot: Array, *, max_area_ang2: float, max_strain: float) -> None:
    if not 0 < max_strain <= LARGEST_STRAIN:
        raise MatchError(
            f"largest strain {max_strain:g}",
            limit=f"0 < strain ≤ {LARGEST_STRAIN:g} (a fraction)",
            why="a film strained further is another material",
            remedy="give a fraction such as 0.05 for 5 %",
        )
    if not min(_area(film), _area(dot)) > 0:
        raise MatchError(
            "surface lattice with area ≤ 0",
            limit="the two rows must be a right-handed basis",
            why="the film would be mirrored",
            remedy="take SurfaceLattice.vectors_2d",
        )
    n_cells = max_area_ang2 / min(_area(film), _area(dot))
    if not 0 < n_cells <= LARGEST_NUMBER_OF_CELLS:
        raise MatchError(
            f"largest area {max_area_ang2:g} Å² ({n_cells:.0f} surface cells)",
            limit=f"a positive area of at most {LARGEST_NUMBER_OF_CELLS} surface cells",
            why="the interface could not be computed",
            remedy="give an area such as 400 Å²",
        )


def _count_atoms(cell: CellMatch, film_atoms_per_cell: int | None, dot_atoms_per_cell: int | None) -> CellMatch:
    if film_atoms_per_cell is None or dot_atoms_per_cell is None:
        return cell
    return replace(cell, n_atoms=cell.n_film * film_atoms_per_cell + cell.n_dot * dot_atoms_per_cell)


def _size_strain_and_matrices(cell: CellMatch) -> tuple[int, float, IntegerMatrix, IntegerMatrix]:
    """Return the key of the one order of a search's cells; the matrices decide between equal strains."""
    return cell.n_dot, round(cell.largest_strain, 9), cell.dot_matrix, cell.film_matrix


def _strain_then_area(cell: CellMatch) -> tuple[float, float]:
    return cell.largest_strain, cell.area_ang2


def _measure(cell: CellMatch, size: SizeMeasure, strain: StrainMeasure) -> tuple[float, float]:
    """Return size and strain of a cell; the size is rounded so that equal cells tie."""
    by_atoms = size is SizeMeasure.ATOMS and cell.n_atoms is not None
    return (
        float(cell.n_atoms or 0) if by_atoms else round(cell.area_ang2, 6),
        cell.von_mises_strain if strain is StrainMeasure.VON_MISES else cell.largest_strain,
    )


def _area(lattice: Array) -> float:
    """Return the signed area of a 2D cell in Å²: positive if its rows are right-handed."""
    (ax, ay), (bx, by) = lattice.tolist()
    return float(ax * by - ay * bx)


def _search(film: Array, dot: Array, *, max_area_ang2: float, max_strain: float) -> tuple[Integers, Integers]:
    """Return the integer bases of film and dot, each of shape (m, 2, 2), of all cells that match."""
    dots = _list_sub_lattices(dot, max_area_ang2)
    films = _list_sub_lattices(film, max_area_ang2 / (1 - max_strain) ** 2)
    if _has_mirror(dot):
        films = _drop_mirror_images(films)
    elif _has_mirror(film):
        dots = _drop_mirror_images(dots)
    changes = list_basis_changes(_largest_entry(max_strain))
    blocks = [
        _relate(films, dots, film_index=i, dot_index=j, changes=changes, max_strain=max_strain)
        for i, j in _pair_near_metrics(films, dots, max_strain)
    ]
    i, j, best, trace = (np.concatenate(column) for column in zip(*blocks, strict=True))
    kept = _least_of_each(films.kinds[i] * (dots.kinds.max(initial=0) + 1) + dots.kinds[j], trace.round(9))
    inverse = _invert(changes[best[kept]])
    return inverse @ films.bases[i[kept]], dots.bases[j[kept]]


def _has_mirror(lattice: Array) -> bool:
    """Return whether a 2D lattice is rectangular, rhombic, square or hexagonal, by its reduced Gram matrix."""
    gram, _ = _reduce(np.array([[1, 0, 1]]), lattice @ lattice.T)
    g11, g12, g22 = gram[0].tolist()
    return bool(min(abs(g12), abs(abs(g12) - g11 / 2), g22 - g11) <= METRIC_TOLERANCE * g11)


def _list_sub_lattices(lattice: Array, max_area_ang2: float) -> _SubLattices:
    """Return the sub-lattices with cells up to an area, one for each metric and handedness.

    Of several it is the one with the smallest integers, which lies along short lattice directions.
    """
    area = _area(lattice)
    forms = list_hermite_forms(floor(max_area_ang2 / area * (1 + 1e-9)))
    gram, bases = _reduce(forms, lattice @ lattice.T)
    n_cells = forms[:, 0] * forms[:, 2]
    areas = np.asarray(n_cells * area)
    lengths = _number_runs(n_cells, gram[:, 0], METRIC_TOLERANCE * gram[:, 0])
    kinds = _number_runs(lengths, abs(gram[:, 1]), METRIC_TOLERANCE * areas)
    is_mirrored = gram[:, 1] < -METRIC_TOLERANCE * areas
    kept = _least_of_each(2 * kinds + is_mirrored, abs(bases).sum(axis=(1, 2)))
    return _SubLattices(areas[kept], gram[kept], bases[kept], kinds[kept])


def _drop_mirror_images(lattices: _SubLattices) -> _SubLattices:
    return lattices.select(np.unique(lattices.kinds, return_index=True)[1])


def _reduce(forms: Integers, gram: Array) -> tuple[Array, Integers]:
    """Return (g11, g12, g22) and the integer rows of the Gauss-reduced right-handed basis of each Hermite form."""
    p, q, r = forms.T
    g11 = p * p * gram[0, 0] + 2 * p * q * gram[0, 1] + q * q * gram[1, 1]
    g12 = r * (p * gram[0, 1] + q * gram[1, 1])
    g22 = r * r * gram[1, 1]
    first, second = np.stack([p, q]), np.stack([np.zeros_like(r), r])
    while True:
        steps = np.rint(g12 / g11)
        g22 = g22 + steps * (steps * g11 - 2 * g12)
        g12 = g12 - steps * g11
        second = second - steps.astype(np.int64) * first
        is_longer = g11 > g22 * (1 + 1e-9)
        if not is_longer.any():
            return np.stack([g11, g12, g22], axis=1), np.stack([first, second]).transpose(2, 0, 1)
        g11, g12, g22 = np.where(is_longer, [g22, -g12, g11], [g11, g12, g22])
        first, second = np.where(is_longer, [second, -first], [first, second])


def _number_runs(groups: Integers, values: Array, tolerances: Array) -> Integers:
    """Return numbers from zero, equal for the members of one group whose values follow within the tolerance."""
    order = np.lexsort((values, groups))
    is_new = np.ones(len(values), dtype=np.int64)
    is_new[1:] = (np.diff(groups[order]) != 0) | (np.diff(values[order]) > tolerances[order][1:])
    numbers = np.empty_like(is_new)
    numbers[order] = np.cumsum(is_new) - 1
    return numbers


def _pair_near_metrics(
    films: _SubLattices, dots: _SubLattices, max_strain: float
) -> Iterator[tuple[Integers, Integers]]:
    """Yield blocks of index pairs (film, dot) whose areas and two shortest vectors agree within the strain."""
    least, most = (1 - max_strain) ** 2 * (1 - 1e-6), (1 + max_strain) ** 2 * (1 + 1e-6)
    low = np.searchsorted(films.areas, dots.areas / most)
    counts = np.searchsorted(films.areas, dots.areas / least) - low
    blocks = np.cumsum(counts) // PAIRS_AT_ONCE
    for block in range(blocks.max(initial=0) + 1):
        members = np.flatnonzero(blocks == block)
        n_films = counts[members]
        j = np.repeat(members, n_films)
        i = np.arange(len(j)) + np.repeat(low[members] - np.cumsum(n_films) + n_films, n_films)
        ratios = dots.gram[j, ::2] / films.gram[i, ::2]
        is_near = ((ratios >= least) & (ratios <= most)).all(axis=1)
        yield i[is_near], j[is_near]


def _relate(
    films: _SubLattices,
    dots: _SubLattices,
    *,
    film_index: Integers,
    dot_index: Integers,
    changes: Integers,
    max_strain: float,
) -> tuple[Integers, Integers, Integers, Array]:
    """Return film, dot, best basis change and its trace tr C of those pairs that match within the strain."""
    candidates = (dots.gram @ _gram_products(changes)).reshape(len(dots.gram), len(changes), 3)
    weights = films.gram[:, ::-1] * [1, -2, 1] / films.areas[:, None] ** 2
    traces = np.einsum("pkg,pg->pk", candidates[dot_index], weights[film_index])
    trace = traces.min(axis=1)
    best = (traces <= trace[:, None] + 1e-9).argmax(axis=1)  # the first of equals, whatever the rounding
    determinant = (dots.areas[dot_index] / films.areas[film_index]) ** 2
    kept = _is_within(trace, determinant, max_strain + STRAIN_TIE)
    return film_index[kept], dot_index[kept], best[kept], trace[kept]


def _is_within(trace: Array, determinant: Array, max_strain: float) -> NDArray[np.bool_]:
    """Return whether both squared stretches, the roots of λ² − tr C λ + det C, lie within (1 ± s)²."""
    larger = trace / 2 + np.sqrt(np.maximum(trace**2 / 4 - determinant, 0.0))
    is_within: NDArray[np.bool_] = (larger <= (1 + max_strain) ** 2) & (determinant / larger >= (1 - max_strain) ** 2)
    return is_within


def _least_of_each(keys: Integers, values: Array) -> Integers:
    """Return the index of the smallest value of each key."""
    order = np.argsort(values, kind="stable")
    return order[np.unique(keys[order], return_index=True)[1]]


def _largest_entry(max_strain: float) -> int:
    """Return the largest entry that the best basis change between reduced bases can have.

    With κ = (1 + s)/(1 − s), a basis vector of one cell seen in the other is at most κ times as long as its partner.
    In a reduced basis (a, b) the height of b over a is at least √3/2 |b|.  So the image of the shorter vector has
    coefficients up to 2κ/√3.  If it contains b then |b| ≤ 2κ/√3 |a|, and the image x a ± b of the longer one has
    |x| ≤ √((κ² − 1) 4κ²/3 + ¼) + ½.  If it is ±a, the trace is least for the x nearest to the difference of
    the two reduced projections a·b/a·a, each at most ½, so |x| ≤ 1.
    """
    squared = ((1 + max_strain) / (1 - max_strain)) ** 2
    return max(floor(sqrt(4 / 3 * squared)), floor(sqrt((squared - 1) * 4 / 3 * squared + 0.25) + 0.5))


@lru_cache(maxsize=8)
def list_basis_changes(largest_entry: int) -> Integers:
    """Return all integer 2×2 matrices of determinant +1 with entries up to a bound, one of each ±U, read-only."""
    span = np.arange(-largest_entry, largest_entry + 1)
    entries = np.stack(np.meshgrid(span, span, span, span, indexing="ij"), axis=-1).reshape(-1, 2, 2)
    a, b, c, d = entries.reshape(-1, 4).T
    proper: Integers = entries[(a * d - b * c == 1) & ((a > 0) | ((a == 0) & (b > 0)))]
    proper.setflags(write=False)
    return proper


def _gram_products(changes: Integers) -> Array:
    """Return the (3, 3m) matrix that takes (g11, g12, g22) of G to those of U G Uᵀ for each of the m changes U."""
    a, b, c, d = changes.reshape(-1, 4).T
    products = np.array([[a * a, a * c, c * c], [2 * a * b, a * d + b * c, 2 * c * d], [b * b, b * d, d * d]])
    return products.transpose(0, 2, 1).reshape(3, -1).astype(float)


def _invert(changes: Integers) -> Integers:
    """Return the inverses of integer 2×2 matrices of determinant +1."""
    a, b, c, d = changes.reshape(-1, 4).T
    return np.stack([d, -b, -c, a], axis=1).reshape(-1, 2, 2)


def _describe_cells(film: Array, dot: Array, *, film_bases: Integers, dot_bases: Integers) -> list[CellMatch]:
    """Return the cells with their strains, smallest first, of equal size the least strained first."""
    stretches = np.linalg.svd(np.linalg.solve(film_bases @ film, dot_bases @ dot), compute_uv=False)
    n_film, n_dot = (np.rint(np.linalg.det(bases)).astype(int).tolist() for bases in (film_bases, dot_bases))
    columns = zip(
        n_film, n_dot, (stretches[:, ::-1] - 1).tolist(), film_bases.tolist(), dot_bases.tolist(), strict=True
    )
    cells = [
        CellMatch(
            area_ang2=in_dot * _area(dot),
            n_film=in_film,
            n_dot=in_dot,
            principal_strains=(least, most),
            von_mises_strain=von_mises_strain((least, most)),
            film_matrix=_freeze(film_rows),
            dot_matrix=_freeze(dot_rows),
        )
        for in_film, in_dot, (least, most), film_rows, dot_rows in columns
    ]
    return sorted(cells, key=_size_strain_and_matrices)


def _freeze(rows: list[list[int]]) -> IntegerMatrix:
    """Return integer rows as tuples, turned by 180° if the first entry that is not zero is negative."""
    (a, b), (c, d) = rows
    return ((-a, -b), (-c, -d)) if (a, b) < (0, 0) else ((a, b), (c, d))

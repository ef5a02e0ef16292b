"""Sub-lattices of two surface lattices, and every pair of them that is the same cell within a strain.

Every sub-lattice of a two-dimensional lattice with n cells is one matrix in Hermite normal form, so all of them can
be listed.  A film sub-lattice with Gram matrix G_f is strained onto a dot sub-lattice with Gram matrix G_d by a
deformation whose squared stretches are the eigenvalues of C = G_f⁻¹ (U G_d Uᵀ), where the unimodular U says which
basis vectors meet; the principal strains are sqrt(eig C) − 1.  det C does not depend on U, so the least strained U is
that of the smallest trace, and tr C is linear in (g11, g12, g22) of U G_d Uᵀ: all candidates are one matrix product.

Three facts keep the search small, and none loses a cell.  Areas, shortest and second shortest vectors of two lattices
related by principal strains within ±s differ by factors within 1 ± s, which dismisses most pairs unseen.  Sub-lattices
with equal Gram matrices give equal strains, so one stands for all.  Between reduced bases the best U has small entries.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from math import floor, sqrt

import numpy as np
from numpy.typing import NDArray

from qdip_dft.model.snapping import floor_whole, nearest_whole

Array = NDArray[np.float64]
Integers = NDArray[np.int64]

PAIRS_AT_ONCE = 500_000
"""Pairs of sub-lattices compared in one array operation; bounds memory."""

METRIC_TOLERANCE = 1e-5
"""Sub-lattices whose reduced Gram matrices differ by less than this fraction are one metric."""

STRAIN_TIE = 1e-6
"""Strains closer than this are equal when a front is drawn or a limit is checked."""

TRACE_TIE = 1e-9
"""Traces of C closer than this are equal: 10⁻¹³ is rounding, and a stretch changes by half of what tr C does."""


@dataclass(frozen=True, slots=True, eq=False)
class SubLattices:
    """Sub-lattices of one surface lattice, smallest first, one for each metric and handedness.

    `areas` are in Å², shape (m,); `gram` holds (g11, g12, g22) of the Gauss-reduced right-handed basis, shape (m, 3);
    `bases` its integer rows, shape (m, 2, 2); `kinds` numbers the metrics: mirror images share one, shape (m,).
    """

    areas: Array
    gram: Array
    bases: Integers
    kinds: Integers

    def select(self, index: Integers) -> SubLattices:
        """Return those named by their indices, in that order."""
        return SubLattices(self.areas[index], self.gram[index], self.bases[index], self.kinds[index])


def search_bases(film: Array, dot: Array, *, max_area_ang2: float, max_strain: float) -> tuple[Integers, Integers]:
    """Return the integer bases of film and dot, each of shape (m, 2, 2), of all cells that match."""
    dots, is_dot_mirrored = _survey_lattice(_freeze(dot), max_area_ang2)
    films, is_film_mirrored = _survey_lattice(_freeze(film), max_area_ang2 / (1 - max_strain) ** 2)
    if is_dot_mirrored:
        films = _drop_mirror_images(films)
    elif is_film_mirrored:
        dots = _drop_mirror_images(dots)
    changes = list_basis_changes(_largest_entry(max_strain))
    blocks = [
        _relate(films, dots, film_index=i, dot_index=j, changes=changes, max_strain=max_strain)
        for i, j in _pair_near_metrics(films, dots, max_strain)
    ]
    i, j, best, trace = (np.concatenate(column) for column in zip(*blocks, strict=True))
    kept = _least_of_each(films.kinds[i] * (dots.kinds.max(initial=0) + 1) + dots.kinds[j], trace)
    inverse = _invert(changes[best[kept]])
    return inverse @ films.bases[i[kept]], dots.bases[j[kept]]


Rows = tuple[tuple[float, ...], ...]


def _freeze(lattice: Array) -> Rows:
    return tuple(map(tuple, np.asarray(lattice, dtype=float).tolist()))


@lru_cache(maxsize=512)
def _survey_lattice(lattice: Rows, max_area_ang2: float) -> tuple[SubLattices, bool]:
    """Return the sub-lattices of a lattice and whether it has a mirror; a scan asks for each face many times."""
    rows = np.array(lattice)
    return _list_sub_lattices(rows, max_area_ang2), _has_mirror(rows)


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


def _has_mirror(lattice: Array) -> bool:
    """Return whether a 2D lattice is rectangular, rhombic, square or hexagonal, by its reduced Gram matrix."""
    gram, _ = _reduce(np.array([[1, 0, 1]]), lattice @ lattice.T)
    g11, g12, g22 = gram[0].tolist()
    return bool(min(abs(g12), abs(abs(g12) - g11 / 2), g22 - g11) <= METRIC_TOLERANCE * g11)


def _list_sub_lattices(lattice: Array, max_area_ang2: float) -> SubLattices:
    """Return the sub-lattices with cells up to an area, one for each metric and handedness.

    Of several it is the one with the smallest integers, which lies along short lattice directions.
    """
    area = cell_area(lattice)
    forms = list_hermite_forms(int(floor_whole(max_area_ang2 / area)))
    gram, bases = _reduce(forms, lattice @ lattice.T)
    n_cells = forms[:, 0] * forms[:, 2]
    areas = np.asarray(n_cells * area)
    lengths = _number_runs(n_cells, gram[:, 0], METRIC_TOLERANCE * gram[:, 0])
    kinds = _number_runs(lengths, abs(gram[:, 1]), METRIC_TOLERANCE * areas)
    is_mirrored = gram[:, 1] < -METRIC_TOLERANCE * areas
    kept = _least_of_each(2 * kinds + is_mirrored, abs(bases).sum(axis=(1, 2)))
    return SubLattices(areas[kept], gram[kept], bases[kept], kinds[kept])


def _drop_mirror_images(lattices: SubLattices) -> SubLattices:
    return lattices.select(np.unique(lattices.kinds, return_index=True)[1])


def _reduce(forms: Integers, gram: Array) -> tuple[Array, Integers]:
    """Return (g11, g12, g22) and the integer rows of the Gauss-reduced right-handed basis of each Hermite form."""
    p, q, r = forms.T
    g11 = p * p * gram[0, 0] + 2 * p * q * gram[0, 1] + q * q * gram[1, 1]
    g12 = r * (p * gram[0, 1] + q * gram[1, 1])
    g22 = r * r * gram[1, 1]
    first, second = np.stack([p, q]), np.stack([np.zeros_like(r), r])
    while True:
        steps = nearest_whole(g12 / g11)
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


def _pair_near_metrics(films: SubLattices, dots: SubLattices, max_strain: float) -> Iterator[tuple[Integers, Integers]]:
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
    films: SubLattices,
    dots: SubLattices,
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
    best = (traces <= trace[:, None] + TRACE_TIE).argmax(axis=1)  # the first of equals, whatever the rounding
    determinant = (dots.areas[dot_index] / films.areas[film_index]) ** 2
    kept = _is_within(trace, determinant, max_strain + STRAIN_TIE)
    return film_index[kept], dot_index[kept], best[kept], trace[kept]


def _is_within(trace: Array, determinant: Array, max_strain: float) -> NDArray[np.bool_]:
    """Return whether both squared stretches, the roots of λ² − tr C λ + det C, lie within (1 ± s)²."""
    larger = trace / 2 + np.sqrt(np.maximum(trace**2 / 4 - determinant, 0.0))
    is_within: NDArray[np.bool_] = (larger <= (1 + max_strain) ** 2) & (determinant / larger >= (1 - max_strain) ** 2)
    return is_within


def _least_of_each(keys: Integers, values: Array | Integers) -> Integers:
    """Return the index of the smallest value of each key, of equal ones the first."""
    _, groups = np.unique(keys, return_inverse=True)
    least = np.full(groups.max(initial=-1) + 1, np.inf)
    np.minimum.at(least, groups, values)
    (equal,) = np.nonzero(values <= least[groups] + TRACE_TIE)
    return np.asarray(equal[np.unique(groups[equal], return_index=True)[1]])


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


def cell_area(lattice: Array) -> float:
    """Return the signed area of a 2D cell in Å²: positive if its rows are right-handed."""
    (ax, ay), (bx, by) = lattice.tolist()
    return float(ax * by - ay * bx)

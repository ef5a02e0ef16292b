"""One rule for numbers that rounding errors could turn: what is within the tolerance of a decision counts as on it.

The last bits of a coordinate depend on the processor: a product of matrices gives 0 on one and 4·10⁻¹⁶ on another.  No
choice (into which cell an atom is wrapped, which of two equal cells is taken, what comes first) may hang on them.
Whole numbers and halves, where `floor`, `ceil` and `rint` turn, are set exactly first; of equal values the first one
in an order of whole numbers is taken.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

TOLERANCE = 3.7e-8
"""Fractions, lengths in Å and strains closer than this are equal.

A thousand times more than what rounding leaves of them (10⁻¹¹ at most), and a thousand times less than what tells two
structures apart (10⁻⁴ Å, `keys.POSITION_ROUNDING_ANG`).  It is no power of ten because files hold decimal numbers: two
that differ by exactly the tolerance would be equal on one processor and not on the next."""


def snap_halves(values: ArrayLike) -> Array:
    """Numbers next to a multiple of one half, set to it; the others as they are."""
    given = np.asarray(values, dtype=float)
    halves = 0.5 * np.rint(2.0 * given) + 0.0  # no negative zero
    return np.where(abs(given - halves) <= TOLERANCE, halves, given)


def floor_whole(values: ArrayLike) -> Array:
    """The largest whole number that does not exceed each value, within the tolerance."""
    return np.asarray(np.floor(snap_halves(values)))


def ceil_whole(values: ArrayLike) -> Array:
    """The smallest whole number that is not exceeded by each value, within the tolerance."""
    return np.asarray(np.ceil(snap_halves(values)))


def nearest_whole(values: ArrayLike) -> Array:
    """The nearest whole number of each value; of two equally near ones the even one."""
    return np.asarray(np.rint(snap_halves(values)))


def wrap(fractions: ArrayLike) -> Array:
    """Fractional coordinates moved into the cell; whole numbers go to zero from either side."""
    given = np.asarray(fractions, dtype=float)
    inside = given - floor_whole(given)
    return np.where(abs(inside) <= TOLERANCE, 0.0, inside)


def snap_zeros(lattice_ang: ArrayLike) -> Array:
    """Lattice vectors, rows in Å, with exact zeros where only rounding left something else."""
    given = np.asarray(lattice_ang, dtype=float)
    return np.where(abs(given) <= TOLERANCE, 0.0, given)


def first_least(values: ArrayLike, *, tolerance: float = TOLERANCE) -> int:
    """The index of the least value, of equal ones the first."""
    given = np.asarray(values, dtype=float)
    return int(np.argmax(given <= given.min() + tolerance))


def rank(values: Iterable[float], *, tolerance: float = TOLERANCE) -> list[int]:
    """Ranks from zero, for sorting; values that follow each other within the tolerance share one."""
    given = np.fromiter(values, dtype=float)
    order = np.argsort(given, kind="stable")
    is_new = np.diff(given[order], prepend=given[order][:1]) > tolerance
    ranks = np.empty(len(given), dtype=int)
    ranks[order] = np.cumsum(is_new)
    return [int(each) for each in ranks]


def least_first(values: ArrayLike, *, tolerance: float) -> list[int]:
    """Indices by ascending value; each is the first of those within the tolerance of the least that is left."""
    given = np.asarray(values, dtype=float)
    left, order = list(range(len(given))), list[int]()
    while left:
        order.append(left.pop(first_least(given[left], tolerance=tolerance)))
    return order

"""How a film is laid on its interface cell: as cut, turned about the normal, or upside down."""

from __future__ import annotations

from math import gcd

from pydantic import model_validator

from qdip_dft.model.base import Record

IntegerMatrix2 = tuple[tuple[int, int], tuple[int, int]]

_DEGREES_OF_TRACE = {2: 0, 1: 60, 0: 90, -1: 120, -2: 180}
"""Angle of a rotation by the trace of its matrix, 2 cos θ: the only angles that keep a lattice."""


def count_surface_cells(matrix: IntegerMatrix2) -> int:
    """Return how many 1 × 1 surface cells a common cell holds: the determinant of its matrix."""
    (a, b), (c, d) = matrix
    return abs(a * d - b * c)


class FilmTurn(Record):
    """A proper rotation that lays the film on the same interface cell in another orientation.

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
        """Whether the film lies upside down."""
        (a, b), (c, d) = self.matrix
        return a * d - b * c < 0

    @property
    def name(self) -> str:
        """Turn in words, such as ``turned by 180°`` or ``flipped about [1 0]``."""
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

"""How slabs are cut, in whole numbers of the crystal's own ions and lattice planes."""

from __future__ import annotations

from fractions import Fraction

from qdip_dft.model.base import Record


class DotCut(Record):
    """How a dot slab is cut from the oriented cell of its plane.

    Parameters
    ----------
    cut
        For each ion of the oriented cell, the number of stacking vectors that it is shifted by: the termination.
    n_planes
        Number of lattice planes.
    is_polar
        Whether both faces end with cations and need passivation.
    n_passivating_per_face
        Monovalent anions per 1 × 1 cell on each face, where both need the same whole number; otherwise 0.
    uneven_passivation
        Anions on the lower face, on the upper face, and the number of 1 × 1 cells that hold them, where the numbers
        differ or are fractions per cell.
    """

    cut: tuple[int, ...]
    n_planes: int
    is_polar: bool
    n_passivating_per_face: int
    uneven_passivation: tuple[int, int, int] | None = None

    @property
    def anions_per_cell(self) -> tuple[Fraction, Fraction]:
        """Passivating anions per 1 × 1 cell on the lower and on the upper face."""
        if self.uneven_passivation is None:
            return Fraction(self.n_passivating_per_face), Fraction(self.n_passivating_per_face)
        bottom, top, cells = self.uneven_passivation
        return Fraction(bottom, cells), Fraction(top, cells)

    def fits_cell(self, n_cells: int) -> bool:
        """Return whether both faces of a supercell of 1 × 1 cells hold whole numbers of anions."""
        return all((count * n_cells).denominator == 1 for count in self.anions_per_cell)

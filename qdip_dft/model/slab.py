"""How slabs are cut, in whole numbers of the crystal's own ions and lattice planes."""

from __future__ import annotations

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
        Monovalent anions per 1 × 1 cell and face.
    """

    cut: tuple[int, ...]
    n_planes: int
    is_polar: bool
    n_passivating_per_face: int

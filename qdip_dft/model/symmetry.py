"""Symmetry operations of a cell by spglib, whichever way of reporting errors another package has switched on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True, slots=True, eq=False)
class Operations:
    """Operations x' = W x + w on fractional coordinates.

    Parameters
    ----------
    rotations
        The integer matrices W, shape (m, 3, 3).
    translations
        The w, shape (m, 3).
    """

    rotations: NDArray[np.int64]
    translations: NDArray[np.float64]


def find_operations(
    lattice_ang: ArrayLike, frac_coords: ArrayLike, kinds: Sequence[int], *, tolerance_ang: float
) -> Operations | None:
    """Return the symmetry operations of a cell, the identity among them; None if spglib finds none.

    spglib has one switch for the whole process that makes it raise an error instead of returning None; phonopy turns it
    on when it is imported.  Here both are one answer.

    Parameters
    ----------
    lattice_ang
        Lattice vectors as rows in Å.
    frac_coords
        Fractional coordinates, shape (n, 3).
    kinds
        A number for each site; sites that may be exchanged share one.
    tolerance_ang
        How far a site may be off in Å; lengths, not angles, tell lattice systems apart.
    """
    import spglib
    from spglib.error import SpglibError

    cell = np.asarray(lattice_ang).tolist(), np.asarray(frac_coords).tolist(), list(kinds)
    try:
        found = spglib.get_symmetry(cell, symprec=tolerance_ang)
    except SpglibError:
        return None
    return None if found is None else Operations(found["rotations"].astype(np.int64), found["translations"])

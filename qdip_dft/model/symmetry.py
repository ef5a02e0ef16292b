"""Symmetry operations of a cell by spglib, whichever way of reporting errors another package has switched on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

SYMMETRY_TOLERANCE_ANG = 0.02
"""An operation is a symmetry when it brings every atom this close to an equal one; relaxations leave less noise."""


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


@dataclass(frozen=True, slots=True)
class SpaceGroup:
    """Number and symbol of a space group in the International Tables, and the atoms of its conventional cell."""

    number: int
    symbol: str
    n_atoms: int


def find_operations(
    lattice_ang: ArrayLike, frac_coords: ArrayLike, kinds: Sequence[int], *, tolerance_ang: float
) -> Operations | None:
    """Return the symmetry operations of a cell, the identity among them; None if spglib finds none.

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

    found = _ask(spglib.get_symmetry, lattice_ang, frac_coords, kinds, symprec=tolerance_ang)
    return None if found is None else Operations(found["rotations"].astype(np.int64), found["translations"])


def find_space_group(
    lattice_ang: ArrayLike, frac_coords: ArrayLike, kinds: Sequence[int], *, tolerance_ang: float
) -> SpaceGroup | None:
    """Return the space group of a cell and the size of its conventional cell; None if spglib finds none."""
    import spglib

    found = _ask(spglib.get_symmetry_dataset, lattice_ang, frac_coords, kinds, symprec=tolerance_ang)
    return None if found is None else SpaceGroup(found.number, found.international, len(found.std_types))


def standardize(
    lattice_ang: ArrayLike, frac_coords: ArrayLike, kinds: Sequence[int], *, tolerance_ang: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]] | None:
    """Return lattice, fractional coordinates and kinds of the conventional cell, no atom moved; None likewise."""
    import spglib

    options = {"symprec": tolerance_ang, "no_idealize": True}
    found = _ask(spglib.standardize_cell, lattice_ang, frac_coords, kinds, **options)
    return None if found is None else (found[0], found[1], found[2])


def reduce_lattice(lattice_ang: ArrayLike) -> NDArray[np.float64]:
    """Return the reduced cell of a lattice (Niggli), vectors as rows in Å, in the same orientation.

    Raises
    ------
    ValueError
        If spglib finds none.
    """
    import spglib
    from spglib.error import SpglibError

    try:
        found = spglib.niggli_reduce(np.asarray(lattice_ang).tolist())
    except SpglibError:
        found = None
    if found is None:
        raise ValueError("its cell cannot be reduced")
    return np.asarray(found)


def _ask(
    function: Callable[..., Any], lattice_ang: ArrayLike, frac_coords: ArrayLike, kinds: Sequence[int], **options: Any
) -> Any:
    """What spglib says, None if nothing.

    It has one switch for the whole process that makes it raise an error instead of returning None; phonopy turns it on
    when it is imported.  Here both are one answer.
    """
    from spglib.error import SpglibError

    cell = np.asarray(lattice_ang).tolist(), np.asarray(frac_coords).tolist(), list(kinds)
    try:
        return function(cell, **options)
    except SpglibError:
        return None

"""Cells of users' files in the axes that Miller indices refer to: those of the conventional cell."""

from __future__ import annotations

from bisect import bisect
from typing import TYPE_CHECKING

import numpy as np

from qdip_dft.model.symmetry import find_space_group, standardize

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pymatgen.core import Structure

SYMMETRY_ANG = 0.01
"""Atoms that a symmetry operation brings this near to each other are equivalent."""

SAME_ANGLE_DEGREE = 0.5
"""Angles that agree to this are equal."""

SAME_LENGTH = 0.01
"""Lengths that agree to this fraction are equal."""

LARGEST_SKEW_DEGREE = 45.0
"""How far the angles of a triclinic cell, which has no convention but to be reduced, may lie from a right angle."""


def find_conventional(structure: Structure) -> tuple[Structure, str]:
    """Return a crystal in its conventional cell, and in words what was changed; empty if nothing was.

    A file whose cell is a conventional one in any setting, such as Pbnm beside Pnma, keeps its axes.  A primitive, a
    rhombohedral, a skewed or a multiplied cell of the same crystal is converted, without moving an atom, to the cell
    of the International Tables that spglib chooses; its indices would otherwise name other planes.

    Parameters
    ----------
    structure
        The crystal in the axes of its file.
    """
    from pymatgen.core import Element, Structure

    cell = (structure.lattice.matrix, structure.frac_coords, [site.specie.Z for site in structure])
    found = find_space_group(*cell, tolerance_ang=SYMMETRY_ANG)
    standard = standardize(*cell, tolerance_ang=SYMMETRY_ANG)
    if found is None or standard is None:
        return structure, ""
    n_atoms, shape = found.n_atoms, (structure.lattice.lengths, structure.lattice.angles)
    if n_atoms == len(structure) and _has_form(found.number, *shape):
        return structure, ""
    if n_atoms > len(structure) and _is_lattice_of_higher_symmetry(structure, found.number):
        return structure, ""
    lattice, places, numbers = standard
    converted = Structure(lattice, [Element.from_Z(int(number)) for number in numbers], places)
    kind = "primitive or rhombohedral" if n_atoms > len(structure) else "multiplied"
    kind = "skewed" if n_atoms == len(structure) else kind
    return converted, (
        f"its cell of {len(structure)} atoms is {kind}; planes refer to the conventional cell of {n_atoms} atoms,"
        f" {found.symbol}, {name_cell(converted)}"
    )


def _is_lattice_of_higher_symmetry(structure: Structure, number: int) -> bool:
    """Whether the cell without its atoms is a conventional one of a higher system: cubic, with an ordering, say."""
    bare = find_space_group(structure.lattice.matrix, [[0, 0, 0]], [1], tolerance_ang=SYMMETRY_ANG)
    if bare is None or bare.n_atoms > 1 or _find_system(bare.number) <= _find_system(number):
        return False
    return _has_form(bare.number, structure.lattice.lengths, structure.lattice.angles)


def _find_system(number: int) -> int:
    """How high the symmetry of the crystal system of a space group is, from triclinic, 0, to cubic, 5."""
    return bisect([3, 16, 75, 143, 195], number)


def name_cell(structure: Structure) -> str:
    """Lengths and angles in words."""
    words = [f"{number:.4g}" for number in structure.lattice.parameters]
    return f"{' '.join(words[:3])} Å, {' '.join(words[3:])}°"


def _has_form(number: int, lengths: Sequence[float], angles: Sequence[float]) -> bool:
    """Whether lengths and angles are those of a conventional cell of a space group, its axes in any order."""
    n_right = sum(abs(angle - 90) <= SAME_ANGLE_DEGREE for angle in angles)
    if number <= 2:
        return max(abs(angle - 90) for angle in angles) <= LARGEST_SKEW_DEGREE
    if number <= 15:
        return n_right >= 2
    if number <= 74:
        return n_right == 3
    equal = [abs(lengths[i] / lengths[j] - 1) <= SAME_LENGTH for i, j in ((1, 2), (0, 2), (0, 1))]
    if 143 <= number <= 194:
        turned = [abs(angle - 120) <= SAME_ANGLE_DEGREE for angle in angles]
        return n_right == 2 and bool((np.array(turned) & np.array(equal)).any())
    return n_right == 3 and (all(equal) if number >= 195 else any(equal))

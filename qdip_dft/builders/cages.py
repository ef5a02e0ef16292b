"""How many equivalent ways an organic cation may lie in its cage.

The cage is the crystal without the molecules' orientations: an average structure, whose symmetry a pinned molecule
breaks.  Every symmetry operation that keeps the cation's site turns or mirrors the molecule into an orientation of the
same energy; their number is W.  Formamidinium has 12 in the cubic cage of α-FAPbI3, and a molecule that hops among
them gains the entropy k ln W over one that does not.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qdip_dft.builders.ions import Array, IonicCrystal
from qdip_dft.model.symmetry import find_operations

CAGE_TOLERANCE_ANG = 0.2
"""The cage of a filed crystal is as symmetric as this; thermal displacements are larger."""

SAME_ORIENTATION_ANG = 0.3
"""Two orientations are one when no atom lies further from its like; a hop of a cation moves atoms by 1 Å and more."""


def count_orientations(crystal: IonicCrystal) -> int | None:
    """Return the equivalent orientations of the crystal's organic cation, None without one."""
    molecules = [index for index, ion in enumerate(crystal.ions) if len(ion.species) > 1]
    if not molecules:
        return None
    site = molecules[0]
    ion = crystal.ions[site]
    distinct: list[Array] = []
    for rotation in _site_rotations(crystal, site):
        turned = ion.offsets_ang @ rotation.T
        if not any(_are_alike(turned, known, ion.species) for known in distinct):
            distinct.append(turned)
    return len(distinct)


def _site_rotations(crystal: IonicCrystal, site: int) -> list[Array]:
    """Return the Cartesian operations, mirrors included, of the cage that keep a site."""
    labels = sorted({ion.label for ion in crystal.ions})
    numbers = [labels.index(ion.label) + 1 for ion in crystal.ions]
    found = find_operations(crystal.lattice_ang, crystal.frac_centres, numbers, tolerance_ang=CAGE_TOLERANCE_ANG)
    if found is None:
        return [np.eye(3)]
    centre, to_cartesian = crystal.frac_centres[site], crystal.lattice_ang.T
    kept: list[Array] = []
    for rotation, translation in zip(found.rotations, found.translations, strict=True):
        moved = rotation @ centre + translation - centre
        if np.linalg.norm((moved - np.round(moved)) @ crystal.lattice_ang) < CAGE_TOLERANCE_ANG:
            kept.append(to_cartesian @ rotation @ np.linalg.inv(to_cartesian))
    return kept


def _are_alike(one: Array, other: Array, species: tuple[str, ...]) -> bool:
    """Return whether every atom of one orientation has an atom of its element near it in the other."""
    kinds: NDArray[np.str_] = np.array(species)
    distances = np.linalg.norm(one[:, None] - other[None], axis=2)
    distances[kinds[:, None] != kinds[None]] = np.inf
    return bool((distances.min(axis=1) < SAME_ORIENTATION_ANG).all())

"""The oriented cell: one primitive cell of a crystal whose first two vectors lie in a lattice plane.

It is described in whole numbers of the crystal's own ions, so the same recipe applies to the catalogue's structure and
to any relaxed one: matching and building use one and the same object.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from qdip_dft.builders.ions import Array, IonicCrystal, transform_crystal
from qdip_dft.builders.planes import CrystalLattice, primitive_lattice, surface_lattice
from qdip_dft.model.snapping import floor_whole, snap_zeros

MEMBER_TOLERANCE = 1e-3
"""Two ions are translationally equivalent when their fractional coordinates agree to this."""


@dataclass(frozen=True, slots=True, eq=False)
class Orientation:
    """How an oriented cell is cut out of a conventional cell.

    Parameters
    ----------
    vectors
        Shape (3, 3), rows: the two in-plane vectors and the stacking vector, in conventional lattice vectors.
    members
        Index of each ion in the conventional cell; one per ion of the primitive cell.
    translations
        Shape (n_members, 3), translation of each member in oriented-cell vectors (whole numbers).
    """

    vectors: Array
    members: tuple[int, ...]
    translations: Array


def find_orientation(crystal: IonicCrystal, plane: tuple[int, int, int]) -> Orientation:
    """Return the recipe of the oriented cell of a plane.

    Parameters
    ----------
    crystal
        The conventional cell; Miller indices refer to it.
    plane
        Miller indices (h, k, l).
    """
    kinds = _motif_kinds(crystal)
    lattice = find_lattice(crystal)
    surface = surface_lattice(lattice.conventional, lattice.primitive, plane)
    rows = np.vstack([surface.vectors_3d, surface.stacking])
    vectors = rows @ np.linalg.inv(crystal.lattice_ang)
    members, translations = _choose_members(crystal, vectors, kinds)
    return Orientation(vectors=vectors, members=members, translations=translations)


def find_lattice(crystal: IonicCrystal) -> CrystalLattice:
    """Return the lattice of a crystal, conventional and primitive."""
    primitive = primitive_lattice(crystal.lattice_ang, crystal.frac_centres, _motif_kinds(crystal))
    return CrystalLattice(crystal.lattice_ang, primitive)


def _motif_kinds(crystal: IonicCrystal) -> list[int]:
    """Return a number for each ion that is equal for ions of the same label and the same atomic offsets."""
    kinds: list[int] = []
    examples: list[int] = []
    for index, ion in enumerate(crystal.ions):
        for kind, example in enumerate(examples):
            other = crystal.ions[example]
            is_same = ion.label == other.label and ion.species == other.species
            if is_same and np.allclose(ion.offsets_ang, other.offsets_ang, atol=1e-3):
                kinds.append(kind)
                break
        else:
            kinds.append(len(examples))
            examples.append(index)
    return kinds


def _choose_members(crystal: IonicCrystal, vectors: Array, kinds: list[int]) -> tuple[tuple[int, ...], Array]:
    """Return one ion per translational orbit and the translation that brings it near the origin cell."""
    coordinates = crystal.frac_centres @ np.linalg.inv(vectors)
    members: list[int] = []
    for index, coordinate in enumerate(coordinates):
        differences = [coordinate - coordinates[m] for m in members if kinds[m] == kinds[index]]
        if not any(np.all(np.abs(d - np.round(d)) < MEMBER_TOLERANCE) for d in differences):
            members.append(index)
    translations = -floor_whole(coordinates[members] + MEMBER_TOLERANCE)
    return tuple(members), translations


def orient_crystal(crystal: IonicCrystal, orientation: Orientation, *, cut: tuple[int, ...] = ()) -> IonicCrystal:
    """Return the oriented cell: first vector along x, second in the xy plane, planes stacked along +z.

    Parameters
    ----------
    crystal
        The conventional cell, as filed or relaxed; ions in the same order as when the recipe was found.
    orientation
        The recipe.
    cut
        For each member, the number of stacking vectors that it is shifted by: the termination.  Empty: none.
    """
    lattice = snap_zeros(orientation.vectors @ crystal.lattice_ang)
    coordinates = crystal.frac_centres[list(orientation.members)] @ np.linalg.inv(orientation.vectors)
    coordinates = coordinates + orientation.translations
    if cut:
        coordinates[:, 2] += np.array(cut)
    oriented = IonicCrystal(
        lattice_ang=lattice,
        ions=tuple(crystal.ions[m] for m in orientation.members),
        frac_centres=coordinates,
    )
    return transform_crystal(oriented, _standard_rotation(lattice))


def _standard_rotation(lattice: Array) -> Array:
    """Return the proper rotation that turns the first vector along x and the plane normal along z."""
    first = lattice[0] / np.linalg.norm(lattice[0])
    normal = np.cross(lattice[0], lattice[1])
    normal = normal / np.linalg.norm(normal)
    return np.vstack([first, np.cross(normal, first), normal])


def in_plane_vectors(oriented: IonicCrystal) -> Array:
    """Return the 1 × 1 surface vectors of an oriented cell, shape (2, 2), rows in Å."""
    return oriented.lattice_ang[:2, :2].copy()


def plane_spacing_ang(oriented: IonicCrystal) -> float:
    """Return the distance between lattice planes in Å."""
    return float(oriented.lattice_ang[2, 2])

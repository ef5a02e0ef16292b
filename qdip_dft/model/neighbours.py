"""Pairs of atoms in a periodic structure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

CLOSEST_COVALENT_RATIO = 0.75
"""Atoms that are nearer than this times the sum of their covalent radii overlap."""


@dataclass(frozen=True, slots=True)
class Pairs:
    """All pairs within a cutoff, each once; an atom may pair with its own periodic image.

    Parameters
    ----------
    first, second
        Indices of the two atoms, shape (pairs,).
    images
        Cell of the second atom when the first lies in cell zero, shape (pairs, 3).
    vectors_ang
        From the first atom to the image of the second, in Å, shape (pairs, 3).
    distances_ang
        Their lengths in Å, shape (pairs,).
    """

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    images: NDArray[np.int64]
    vectors_ang: NDArray[np.float64]
    distances_ang: NDArray[np.float64]


def find_pairs(positions_ang: NDArray[np.float64], lattice_ang: NDArray[np.float64], *, cutoff_ang: float) -> Pairs:
    """Return all pairs of atoms closer than the cutoff, sorted by the atoms and the image."""
    from pymatgen.optimization.neighbors import find_points_in_spheres

    coordinates = np.ascontiguousarray(positions_ang)
    lattice = np.ascontiguousarray(lattice_ang)
    first, second, images, _ = find_points_in_spheres(
        coordinates, coordinates, r=cutoff_ang, pbc=np.ones(3, dtype=np.int64), lattice=lattice, tol=1e-8
    )
    keep = np.flatnonzero(_appears_once(first, second, images))
    keep = keep[np.lexsort((*images[keep].T[::-1], second[keep], first[keep]))]
    first, second, images = first[keep], second[keep], images[keep]
    vectors = coordinates[second] + images @ lattice - coordinates[first]
    return Pairs(first, second, images.astype(np.int64), vectors, np.linalg.norm(vectors, axis=1))


def _appears_once(
    first: NDArray[np.int64], second: NDArray[np.int64], images: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Keep of (i, j, R) and (j, i, −R) the one with i < j, or with the first non-zero of R positive."""
    leading = np.where(images[:, 0] != 0, images[:, 0], np.where(images[:, 1] != 0, images[:, 1], images[:, 2]))
    return np.asarray((first < second) | ((first == second) & (leading > 0)))

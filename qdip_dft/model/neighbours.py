"""Pairs of atoms in a periodic structure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qdip_dft.model.elements import covalent_radii_ang


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

    def __getitem__(self, chosen: NDArray[np.bool_] | NDArray[np.int64]) -> Pairs:
        """Some of the pairs."""
        indices = (self.first[chosen], self.second[chosen], self.images[chosen])
        return Pairs(*indices, self.vectors_ang[chosen], self.distances_ang[chosen])

    def between(self, is_first: NDArray[np.bool_], is_second: NDArray[np.bool_]) -> Pairs:
        """Pairs of an atom of one kind with one of another, turned round where they are listed the other way.

        Parameters
        ----------
        is_first, is_second
            Whether each atom of the structure is of that kind; none is of both.
        """
        forward = self[is_first[self.first] & is_second[self.second]]
        backward = self[is_second[self.first] & is_first[self.second]]
        return Pairs(
            first=np.concatenate([forward.first, backward.second]),
            second=np.concatenate([forward.second, backward.first]),
            images=np.concatenate([forward.images, -backward.images]),
            vectors_ang=np.concatenate([forward.vectors_ang, -backward.vectors_ang]),
            distances_ang=np.concatenate([forward.distances_ang, backward.distances_ang]),
        )

    def covalent_sums_ang(self, species: Sequence[str]) -> NDArray[np.float64]:
        """Sum of the covalent radii of each pair in Å."""
        radii = covalent_radii_ang(species)
        return np.asarray(radii[self.first] + radii[self.second])


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


def find_close_pairs(
    species: Sequence[str], positions_ang: NDArray[np.float64], lattice_ang: NDArray[np.float64], *, ratio: float
) -> Pairs:
    """Return all pairs of atoms closer than `ratio` times the sum of their covalent radii."""
    longest_ang = 2.0 * ratio * float(covalent_radii_ang(species).max())
    pairs = find_pairs(positions_ang, lattice_ang, cutoff_ang=longest_ang)
    return pairs[pairs.distances_ang < ratio * pairs.covalent_sums_ang(species)]


def _appears_once(
    first: NDArray[np.int64], second: NDArray[np.int64], images: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Keep of (i, j, R) and (j, i, −R) the one with i < j, or with the first non-zero of R positive."""
    leading = np.where(images[:, 0] != 0, images[:, 0], np.where(images[:, 1] != 0, images[:, 1], images[:, 2]))
    return np.asarray((first < second) | ((first == second) & (leading > 0)))

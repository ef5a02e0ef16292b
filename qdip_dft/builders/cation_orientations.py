"""Other orientations of the organic cations of a crystal: which way they point is a choice, not a result.

A relaxation leaves each cation in the orientation that it started near; the energy of a hybrid perovskite depends on
that choice by some ten meV per formula unit.  Orientations are drawn uniformly from SO(3); every cation keeps its
centre and its rigid shape.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from qdip_dft.builders.ions import view_ions
from qdip_dft.errors import StructureError
from qdip_dft.model.elements import HALIDES, MIN_HYDROGEN_HALIDE_ANG
from qdip_dft.model.structure import StructureRecord

if TYPE_CHECKING:
    from pymatgen.core import Structure

MIN_HYDROGEN_HYDROGEN_ANG = 2.0
"""Shortest H···H contact between two cations, somewhat below twice the van der Waals radius of 1.1 Å."""

N_ORIENTATIONS = 4_000
"""Random orientations tried before a cage is called too small."""


def has_molecules(structure: StructureRecord, formal_charges: Mapping[str, int]) -> bool:
    """Return whether a crystal has ions of several atoms, which can point somewhere."""
    return any(len(ion.species) > 1 for ion in view_ions(structure, formal_charges).ions)


def turn_cations(structure: StructureRecord, formal_charges: Mapping[str, int], *, seed: int) -> StructureRecord:
    """Return the crystal with every molecular ion turned about its centre, sites in the same order.

    One after the other, each takes the first random orientation that touches neither the framework nor the molecules
    turned before (the rule by which the molecules of the crystal library were placed).

    Parameters
    ----------
    structure
        The crystal.
    formal_charges
        Formal charge in e by ion label.
    seed
        Seed of the orientations.

    Raises
    ------
    StructureError
        If an ion fits in no orientation.
    """
    crystal = view_ions(structure, formal_charges)
    molecules = [index for index, ion in enumerate(crystal.ions) if len(ion.species) > 1]
    atoms_of_molecules = {site for index in molecules for site in crystal.ions[index].site_indices}
    cage = structure.to_pymatgen()
    cage.remove_sites(sorted(atoms_of_molecules))
    coordinates = np.array(structure.frac_coords)
    for number, index in enumerate(molecules):
        ion, centre = crystal.ions[index], crystal.frac_centres[index]
        orientations = draw_orientations((seed, number))
        hydrogens = ion.offsets_ang[[symbol == "H" for symbol in ion.species]]
        fits = find_fitting(cage, np.einsum("rij,hj->rhi", orientations, hydrogens), centre.tolist())
        if not fits.any():
            raise _fits_nowhere(ion.label)
        positions = centre + ion.rotated(orientations[fits.argmax()]).offsets_ang @ np.linalg.inv(crystal.lattice_ang)
        coordinates[list(ion.site_indices)] = positions
        for symbol, position in zip(ion.species, positions, strict=True):
            cage.append(symbol, position)
    return structure.model_copy(update={"frac_coords": tuple(map(tuple, coordinates.tolist()))})


def _fits_nowhere(label: str) -> StructureError:
    return StructureError(
        f"no random orientation of {label} keeps its distances",
        limit="H···X and H···H contacts as for a cation placed into a cage",
        why="closer atoms would tear the molecule apart in the first relaxation step",
        remedy="set uncertainty.orientations to 1: the cations of this crystal cannot turn",
    )


def draw_orientations(seed: int | Sequence[int]) -> NDArray[np.float64]:
    """Return rotation matrices, shape (n, 3, 3), uniform in SO(3): a normal 4-vector is a uniform unit quaternion."""
    from scipy.spatial.transform import Rotation

    quaternions = np.random.default_rng(seed).normal(size=(N_ORIENTATIONS, 4))
    matrices: NDArray[np.float64] = Rotation.from_quat(quaternions).as_matrix()
    return matrices


def find_fitting(
    cage: Structure, hydrogens_ang: NDArray[np.float64], centre_frac: Sequence[float]
) -> NDArray[np.bool_]:
    """Return which orientations of the hydrogens, shape (orientations, n, 3) about the centre, touch nothing."""
    reach_ang = float(np.linalg.norm(hydrogens_ang[0], axis=1).max())
    near_ang = reach_ang + MIN_HYDROGEN_HALIDE_ANG
    halides = _find_neighbours(cage, centre_frac, elements=frozenset(HALIDES), radius_ang=near_ang)
    others = _find_neighbours(cage, centre_frac, elements=frozenset({"H"}), radius_ang=near_ang)
    fits = _shortest(hydrogens_ang, halides) >= MIN_HYDROGEN_HALIDE_ANG
    fits &= _shortest(hydrogens_ang, others) >= MIN_HYDROGEN_HYDROGEN_ANG
    for shift_ang in _lattice_points(cage, 2 * reach_ang + MIN_HYDROGEN_HYDROGEN_ANG):
        gaps = np.linalg.norm(hydrogens_ang[:, :, None] - hydrogens_ang[:, None, :] - shift_ang, axis=-1)
        fits &= gaps.min(axis=(1, 2)) >= MIN_HYDROGEN_HYDROGEN_ANG
    return fits


def _find_neighbours(
    cage: Structure, centre_frac: Sequence[float], *, elements: frozenset[str], radius_ang: float
) -> NDArray[np.float64]:
    """Return the positions of those elements within a radius, periodic images included, relative to the centre."""
    centre_ang = cage.lattice.get_cartesian_coords(centre_frac)
    sites = cage.get_sites_in_sphere(centre_ang, radius_ang)
    return np.array([site.coords - centre_ang for site in sites if site.specie.symbol in elements]).reshape(-1, 3)


def _lattice_points(cage: Structure, radius_ang: float) -> NDArray[np.float64]:
    """Return the lattice vectors up to a length, one of each ± pair, without zero."""
    found = cage.lattice.get_points_in_sphere([[0, 0, 0]], [0, 0, 0], radius_ang)
    points = [np.rint(row[0]) for row in found]
    return np.array([point @ cage.lattice.matrix for point in points if tuple(point) > (0, 0, 0)]).reshape(-1, 3)


def _shortest(points_ang: NDArray[np.float64], obstacles_ang: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return for each orientation the shortest distance from any of its points to any obstacle, in Å."""
    if len(obstacles_ang) == 0:
        return np.full(len(points_ang), np.inf)
    gaps_ang = [np.linalg.norm(points_ang - obstacle_ang, axis=-1).min(axis=1) for obstacle_ang in obstacles_ang]
    shortest_ang: NDArray[np.float64] = np.min(gaps_ang, axis=0)
    return shortest_ang

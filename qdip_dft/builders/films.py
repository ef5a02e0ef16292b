"""The film: its strained-bulk reference in the interface's own cell, and the slab cut from the relaxed reference.

The reference and the slab are the same atoms in the same in-plane supercell: the slab is the relaxed reference with
vacuum in place of the next period.  A film can therefore not gain a tilt or a distortion that its reference could
not have, and bulk energy is never booked as interface energy.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

import numpy as np

from qdip_dft.builders.ions import (
    Array,
    IonicCrystal,
    atom_positions,
    repeat_crystal,
    transform_crystal,
    translations_inside,
)
from qdip_dft.builders.strain import InterfaceCell
from qdip_dft.model.orientation import IntegerMatrix2

OUT_OF_PLANE_RESPONSE = 0.43
"""First guess of −e_zz / (e_xx + e_yy): ν/(1 − ν) with a Poisson ratio of 0.3; only a start for the relaxation."""


def embed_matrix(matrix: IntegerMatrix2, n_periods: int) -> np.ndarray[tuple[int, int], np.dtype[np.int_]]:
    """Return the 3 × 3 supercell matrix of an in-plane supercell and a number of stacked periods."""
    embedded = np.zeros((3, 3), dtype=int)
    embedded[:2, :2] = matrix
    embedded[2, 2] = n_periods
    return embedded


def build_strained_bulk(
    oriented: IonicCrystal, matrix: IntegerMatrix2, cell: InterfaceCell, *, n_periods: int
) -> IonicCrystal:
    """Return the bulk film on the interface cell, ready to relax its atoms and its third vector.

    Parameters
    ----------
    oriented
        The film's oriented cell with its cut, from the relaxed bulk.
    matrix
        In-plane supercell.
    cell
        The common cell of the interface.
    n_periods
        Stacked lattice planes in the reference cell.
    """
    deformation = np.eye(3)
    deformation[:2, :2] = cell.film_deformation
    deformation[2, 2] = 1.0 - OUT_OF_PLANE_RESPONSE * sum(cell.film_principal_strains)
    supercell = repeat_crystal(oriented, embed_matrix(matrix, n_periods))
    return transform_crystal(supercell, deformation)


def displace_ions(crystal: IonicCrystal, *, deviation_ang: float, seed: int) -> IonicCrystal:
    """Return the crystal with each centre displaced at random, so that a relaxation can leave a saddle point.

    Parameters
    ----------
    crystal
        The crystal.
    deviation_ang
        Standard deviation of each Cartesian component in Å.
    seed
        Seed of the random numbers.
    """
    if deviation_ang == 0:
        return crystal
    displacements = np.random.default_rng(seed).normal(0.0, deviation_ang, size=(len(crystal.ions), 3))
    frac_centres = crystal.frac_centres + displacements @ np.linalg.inv(crystal.lattice_ang)
    return IonicCrystal(lattice_ang=crystal.lattice_ang.copy(), ions=crystal.ions, frac_centres=frac_centres)


def stack_film(reference: IonicCrystal, *, n_repeats: int, vacuum_ang: float) -> IonicCrystal:
    """Return the film slab: n repeats of the relaxed strained bulk and vacuum along the normal.

    Parameters
    ----------
    reference
        The relaxed strained bulk, centres not wrapped; its first two vectors span the interface cell.
    n_repeats
        How often the reference is stacked.
    vacuum_ang
        Vacuum thickness in Å.
    """
    matrix = np.diag([1, 1, n_repeats])
    return in_vacuum(repeat_crystal(reference, matrix), vacuum_ang)


def count_images(closing: Sequence[int], *, n_planes: int, matrix: IntegerMatrix2, n_periods: int) -> list[int]:
    """Return how often a film repeats each ion of its strained-bulk reference.

    Parameters
    ----------
    closing
        For each ion of the oriented cell, the images beyond whole lattice planes.
    n_planes
        Whole lattice planes of the film.
    matrix, n_periods
        In-plane supercell and lattice planes of the reference (`build_strained_bulk`).
    """
    planes = translations_inside(embed_matrix(matrix, n_periods))[:, 2]
    return [ceil((n_planes + extra - plane) / n_periods) for extra in closing for plane in planes]


def stack_closed_film(reference: IonicCrystal, *, n_images: Sequence[int], vacuum_ang: float) -> IonicCrystal:
    """Return a film slab that ends with a closing layer: each ion of the reference with its own number of images.

    Parameters
    ----------
    reference
        The relaxed strained bulk, centres not wrapped.
    n_images
        For each of its ions how often it is stacked upwards (`count_images`).
    vacuum_ang
        Vacuum thickness in Å.
    """
    images = [(ion, repeat) for ion, count in enumerate(n_images) for repeat in range(count)]
    centres = np.array([reference.centres_ang[ion] + repeat * reference.lattice_ang[2] for ion, repeat in images])
    stacked = IonicCrystal.at(reference.lattice_ang, (reference.ions[ion] for ion, _ in images), centres)
    return in_vacuum(stacked, vacuum_ang)


def in_vacuum(crystal: IonicCrystal, vacuum_ang: float) -> IonicCrystal:
    """Return a slab in a cell whose third vector is normal to it and leaves the given vacuum.

    The lowest atom comes to z = 0.
    """
    positions = atom_positions(crystal)
    bottom, top = positions[:, 2].min(), positions[:, 2].max()
    lattice = crystal.lattice_ang.copy()
    lattice[2] = [0.0, 0.0, top - bottom + vacuum_ang]
    centres = crystal.centres_ang - np.array([0.0, 0.0, bottom])
    return IonicCrystal.at(lattice, crystal.ions, centres)


def move_in_plane(slab: IonicCrystal, displacement_ang: Array) -> IonicCrystal:
    """Return a slab displaced within its plane.

    Parameters
    ----------
    slab
        The slab.
    displacement_ang
        Cartesian x and y in Å.
    """
    moved = slab.frac_centres + np.append(displacement_ang, 0.0) @ np.linalg.inv(slab.lattice_ang)
    return IonicCrystal(lattice_ang=slab.lattice_ang, ions=slab.ions, frac_centres=moved)

"""Crystals of the library, faces and molecules that several test files share."""

from __future__ import annotations

from functools import cache

import numpy as np

from qdip_dft.builders.faces import OrientedFace, orient_face
from qdip_dft.builders.ions import IonicCrystal, find_ions
from qdip_dft.library.crystals import load_crystal_record
from qdip_dft.model.crystal import CrystalRecord
from qdip_dft.model.structure import StructureRecord

TEST_CHARGES = {"FA": 1, "MA": 1, "PEA": 1, "Pb": 2, "Cs": 1, "I": -1, "Br": -1, "S": -2, "X": 0, "CHNO": 1}
"""Formal charges of everything that the tests build."""

CHIRAL_OFFSETS_ANG = {
    "C": (0.0, 0.0, 0.0),
    "H": (0.63, 0.63, 0.63),
    "N": (-0.85, -0.85, 0.85),
    "O": (0.82, -0.82, -0.82),
}
"""A carbon with three different neighbours on three corners of a tetrahedron: not its own mirror image."""

HANDEDNESS_ANG3 = float(np.linalg.det([CHIRAL_OFFSETS_ANG[symbol] for symbol in "HNO"]))
"""Signed volume of the vectors C–H, C–N and C–O; the mirror image has the opposite sign."""


@cache
def load(name: str) -> CrystalRecord:
    """Return a crystal of the library."""
    return load_crystal_record(name)


@cache
def load_ions(name: str) -> IonicCrystal:
    """Return a crystal of the library as rigid ions."""
    crystal = load(name)
    return find_ions(crystal.structure, crystal.formal_charges)


@cache
def load_face(name: str, plane: str) -> OrientedFace:
    """Return a crystal of the library, oriented along a plane."""
    return orient_face(load(name), plane)


def make_record(lattice_ang: object, species: object, positions_ang: object) -> StructureRecord:
    """Return a record from Cartesian positions in Å."""
    lattice = np.array(lattice_ang, dtype=float)
    frac_coords = np.array(positions_ang, dtype=float) @ np.linalg.inv(lattice)
    return StructureRecord(
        lattice_ang=lattice.tolist(), species=tuple(species), frac_coords=tuple(map(tuple, frac_coords.tolist()))
    )


def chiral_crystal(lattice_ang: object = np.diag([7.0, 8.0, 9.0])) -> StructureRecord:
    """Return a crystal of one chiral molecule and one lead ion per cell; the molecule straddles the cell's corner."""
    molecule = np.array(list(CHIRAL_OFFSETS_ANG.values()))
    lead = 0.5 * np.sum(lattice_ang, axis=0)
    return make_record(lattice_ang, (*CHIRAL_OFFSETS_ANG, "Pb"), [*molecule, lead])


def positions_ang(record: StructureRecord) -> np.ndarray:
    """Return the Cartesian positions of a record, not wrapped."""
    return np.array(record.frac_coords) @ np.array(record.lattice_ang)


def internal_distances_ang(crystal: IonicCrystal) -> list[np.ndarray]:
    """Return the distances between the atoms of each molecular ion."""
    return [distances_of(ion.offsets_ang) for ion in crystal.ions if len(ion.species) > 1]


def distances_of(points_ang: np.ndarray) -> np.ndarray:
    """Return all distances between points."""
    return np.linalg.norm(points_ang[:, None] - points_ang[None], axis=-1)


def handedness_ang3(crystal: IonicCrystal) -> list[float]:
    """Return the signed volume of each chiral molecule."""
    volumes = []
    for ion in crystal.ions:
        if ion.label != "CHNO":
            continue
        place = {symbol: ion.offsets_ang[index] for index, symbol in enumerate(ion.species)}
        volumes.append(float(np.linalg.det([place[symbol] - place["C"] for symbol in "HNO"])))
    return volumes


def count_cut_contacts(oriented: IonicCrystal, cut: tuple[int, ...], pair: frozenset[str], reach_ang: float) -> int:
    """Return how many contacts of two elements a cut separates per 1 × 1 cell.

    The cut cell is stacked twice as a slab; what is missing of two bulk cells was cut by the two faces together.
    """
    heights = oriented.frac_centres.copy()
    heights[:, 2] += np.array(cut)
    cell = IonicCrystal(oriented.lattice_ang, oriented.ions, heights)
    return 2 * _count_contacts(cell, pair, reach_ang, is_slab=False) - _count_contacts(
        _stack_twice(cell), pair, reach_ang, is_slab=True
    )


def _stack_twice(cell: IonicCrystal) -> IonicCrystal:
    above = cell.frac_centres + np.array([0.0, 0.0, 1.0])
    lattice = cell.lattice_ang.copy()
    lattice[2] = lattice[2] * 2
    centres = np.vstack([cell.frac_centres, above]) * np.array([1.0, 1.0, 0.5])
    return IonicCrystal(lattice, cell.ions * 2, centres)


def _count_contacts(cell: IonicCrystal, pair: frozenset[str], reach_ang: float, *, is_slab: bool) -> int:
    record = cell.to_record()
    first, second, images, _ = record.to_pymatgen().get_neighbor_list(reach_ang)
    kept = [
        {record.species[i], record.species[j]} == pair and not (is_slab and image[2] != 0)
        for i, j, image in zip(first, second, images, strict=True)
    ]
    return sum(kept) // 2

"""Crystals of rigid ions: an organic cation is one ion, found by its covalent bonds and never cut or strained.

A crystal is a lattice and a list of ions.  An ion is an atom or a whole molecule: a centre (in fractional coordinates)
and rigid Cartesian offsets of its atoms.  Slabs, layers, matching and cleavage act on the centres; a strain moves the
centres and only rotates the offsets by the rotational part of the deformation (polar decomposition), so bond lengths
and handedness stay exactly.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from math import gcd

import numpy as np
from numpy.typing import NDArray

from qdip_dft.errors import StructureError
from qdip_dft.model.molecules import find_molecules
from qdip_dft.model.snapping import snap_zeros
from qdip_dft.model.structure import StructureRecord

Array = NDArray[np.float64]

MOLECULAR_IONS = {
    (("C", 1), ("H", 5), ("N", 2)): "FA",
    (("C", 1), ("H", 6), ("N", 1)): "MA",
    (("C", 8), ("H", 12), ("N", 1)): "PEA",
    (("H", 1), ("O", 1)): "OH",
}
"""Names of molecular ions by composition."""


@dataclass(frozen=True, slots=True, eq=False)
class Ion:
    """A rigid ion.

    Parameters
    ----------
    label
        Element symbol or name of the molecule, such as ``FA``.
    charge
        Formal charge in e.
    species
        Element of each atom.
    offsets_ang
        Shape (n, 3), position of each atom relative to the centre in Å.
    site_indices
        Index of each atom in the structure that the ion was found in.
    part
        ``dot``, ``film``, ``passivation`` or another single word; empty: one piece.
    """

    label: str
    charge: int
    species: tuple[str, ...]
    offsets_ang: Array
    site_indices: tuple[int, ...]
    part: str = ""

    def rotated(self, rotation: Array) -> Ion:
        """Return the ion turned by a proper 3 × 3 rotation (column convention)."""
        return replace(self, offsets_ang=self.offsets_ang @ rotation.T)


@dataclass(frozen=True, slots=True, eq=False)
class IonicCrystal:
    """A periodic arrangement of rigid ions.

    Parameters
    ----------
    lattice_ang
        Shape (3, 3), lattice vectors as rows in Å.
    ions
        The ions of one cell.
    frac_centres
        Shape (n_ions, 3), centres in fractional coordinates, not wrapped.
    """

    lattice_ang: Array
    ions: tuple[Ion, ...]
    frac_centres: Array

    @classmethod
    def at(cls, lattice_ang: Array, ions: Iterable[Ion], centres_ang: Array) -> IonicCrystal:
        """Return ions at Cartesian centres, shape (n_ions, 3), in Å."""
        return cls(lattice_ang, tuple(ions), np.asarray(centres_ang @ np.linalg.inv(lattice_ang)))

    @property
    def n_atoms(self) -> int:
        """Number of atoms in the cell."""
        return sum(len(ion.species) for ion in self.ions)

    @property
    def species(self) -> tuple[str, ...]:
        """Element of each atom, ion after ion."""
        return tuple(symbol for ion in self.ions for symbol in ion.species)

    @property
    def owners(self) -> NDArray[np.int_]:
        """Number of the ion that each atom belongs to."""
        return np.repeat(np.arange(len(self.ions)), [len(ion.species) for ion in self.ions])

    @property
    def formal_charge(self) -> int:
        """Sum of the formal charges in e."""
        return sum(ion.charge for ion in self.ions)

    @property
    def charges(self) -> Array:
        """Formal charge of each ion in e."""
        return np.array([ion.charge for ion in self.ions], dtype=float)

    @property
    def centres_ang(self) -> Array:
        """Cartesian centres, shape (n_ions, 3), in Å."""
        return np.asarray(self.frac_centres @ self.lattice_ang)

    def count(self, label: str) -> int:
        """Return how many ions carry a label."""
        return sum(ion.label == label for ion in self.ions)

    def as_part(self, part: str) -> IonicCrystal:
        """Return the crystal with every ion that has no part yet in this one."""
        return replace(self, ions=tuple(ion if ion.part else replace(ion, part=part) for ion in self.ions))

    def to_record(self) -> StructureRecord:
        """Return the atoms, ion after ion, in the order of the ions, each with its ion and its part."""
        frac_coords = atom_positions(self) @ np.linalg.inv(self.lattice_ang)
        owners = self.owners.tolist()
        parts = tuple(self.ions[owner].part for owner in owners)
        return StructureRecord(
            lattice_ang=self.lattice_ang.tolist(),
            species=self.species,
            frac_coords=tuple(map(tuple, frac_coords.tolist())),
            ion=tuple(owners),
            part=parts if all(parts) else (),
        )


def atom_positions(crystal: IonicCrystal) -> Array:
    """Return the Cartesian atom positions, ion after ion, shape (n_atoms, 3), in Å."""
    offsets = np.concatenate([ion.offsets_ang for ion in crystal.ions])
    return np.asarray(crystal.centres_ang[crystal.owners] + offsets)


def view_ions(structure: StructureRecord, formal_charges: Mapping[str, int]) -> IonicCrystal:
    """Return a structure as rigid ions: those that it names, else those that `find_ions` finds; made once.

    Raises
    ------
    StructureError
        If an ion has no formal charge.
    """
    view = _split if structure.ion else find_ions
    return structure.derive(("ions", tuple(sorted(formal_charges.items()))), lambda: view(structure, formal_charges))


def find_ions(structure: StructureRecord, formal_charges: Mapping[str, int]) -> IonicCrystal:
    """Group the atoms of a structure into rigid ions.

    Organic atoms (H, C, N, O) that are connected by covalent bonds, also across cell boundaries, form one molecular
    ion; every other atom is an ion of its own.  A bonded network that reaches itself in another cell (graphene) is not
    a molecule; its atoms stay single.

    Parameters
    ----------
    structure
        The atoms; molecules may straddle cell boundaries.
    formal_charges
        Formal charge in e by ion label, such as ``{"FA": 1, "Pb": 2, "I": -1}``.

    Raises
    ------
    StructureError
        If an ion has no formal charge.
    """
    return _split(group_ions(structure), formal_charges)


def group_ions(structure: StructureRecord) -> StructureRecord:
    """Return a structure with the ion of every site found anew and its molecules made whole."""
    frac_coords = np.array(structure.frac_coords)
    owners = list(range(structure.n_atoms))
    for molecule in find_molecules(structure.arrangement):
        for site in molecule.sites:
            owners[site] = molecule.sites[0]
        frac_coords[list(molecule.sites)] += molecule.cells
    numbers = {owner: number for number, owner in enumerate(dict.fromkeys(owners))}
    whole = tuple(map(tuple, frac_coords.tolist()))
    return structure.model_copy(update={"frac_coords": whole, "ion": tuple(numbers[owner] for owner in owners)})


def _split(structure: StructureRecord, formal_charges: Mapping[str, int]) -> IonicCrystal:
    """Return the ions of a structure that names them."""
    lattice = np.array(structure.lattice_ang)
    positions = _transform(np.array(structure.frac_coords), lattice)
    groups = _sites_of_ions(structure.ion)
    centres = positions[[sites[0] for sites in groups]]
    kinds: dict[tuple[str, ...], tuple[str, int]] = {}
    ions = []
    for number, sites in enumerate(groups):
        species = tuple([structure.species[site] for site in sites])
        if species not in kinds:
            label = name_ion(species)
            kinds[species] = label, _charge_of(label, formal_charges)
        if len(sites) > 1:
            centres[number] = positions[list(sites)].mean(axis=0)
        offsets = positions[list(sites)] - centres[number]
        part = structure.part[sites[0]] if structure.part else ""
        ions.append(Ion(*kinds[species], species, offsets, site_indices=sites, part=part))
    return IonicCrystal(lattice, tuple(ions), frac_centres=_transform(centres, np.linalg.inv(lattice)))


def _transform(rows: Array, matrix: Array) -> Array:
    """Return each row times a matrix, rounded in the same way however many rows there are."""
    return np.asarray(np.einsum("ij,jk->ik", rows, matrix))


def _sites_of_ions(owners: Sequence[int]) -> list[tuple[int, ...]]:
    sites: dict[int, list[int]] = {}
    for site, owner in enumerate(owners):
        sites.setdefault(owner, []).append(site)
    return [tuple(sites[owner]) for owner in sorted(sites)]


def name_composition(labels: Sequence[str], *, anions: Container[str]) -> str:
    """Return ions per smallest whole unit, cations first, such as ``PbI2``."""
    counts = Counter(labels)
    divisor = gcd(*counts.values())
    ordered = sorted(counts, key=lambda label: (label in anions, label))
    return "".join(label + (str(counts[label] // divisor) if counts[label] > divisor else "") for label in ordered)


def name_ions(structure: StructureRecord) -> tuple[str, ...]:
    """Return the label of each ion that a structure names: an element or a molecule such as ``FA``."""
    return tuple(name_ion([structure.species[site] for site in sites]) for sites in _sites_of_ions(structure.ion))


def name_ion(species: Sequence[str]) -> str:
    """Return the name of an ion from its atoms."""
    if len(species) == 1:
        return species[0]
    composition = tuple(sorted(Counter(species).items()))
    return MOLECULAR_IONS.get(composition, "".join(f"{s}{n if n > 1 else ''}" for s, n in composition))


def _charge_of(label: str, formal_charges: Mapping[str, int]) -> int:
    if label in formal_charges:
        return formal_charges[label]
    raise StructureError(
        f"ion {label} has no formal charge",
        limit=f"charges are known for {', '.join(sorted(formal_charges))}",
        why="without formal charges a slab could be charged without notice",
        remedy="add the ion to formal_charges of the catalogue entry, or check that no molecule is broken",
    )


def transform_crystal(crystal: IonicCrystal, deformation: Array) -> IonicCrystal:
    """Return the crystal under x → F x: centres and lattice follow F, ions only rotate.

    The rotation is that of the polar decomposition F = R U, so a molecule keeps its bond lengths and its handedness.

    Parameters
    ----------
    crystal
        The crystal.
    deformation
        Shape (3, 3), F in the column convention, det F > 0.
    """
    left, _, right = np.linalg.svd(deformation)
    rotation = left @ right
    return IonicCrystal(
        lattice_ang=snap_zeros(crystal.lattice_ang @ deformation.T),
        ions=tuple(ion.rotated(rotation) if len(ion.species) > 1 else ion for ion in crystal.ions),
        frac_centres=crystal.frac_centres.copy(),
    )


def repeat_crystal(crystal: IonicCrystal, matrix: NDArray[np.int_]) -> IonicCrystal:
    """Return the supercell with lattice M·L; det M > 0, ions keep their height along every unmixed axis.

    Parameters
    ----------
    crystal
        The crystal.
    matrix
        Shape (3, 3), integer rows: the new lattice vectors in the old ones.
    """
    translations = translations_inside(matrix)
    inverse = np.linalg.inv(matrix)
    centres = (crystal.frac_centres[:, None, :] + translations[None, :, :]) @ inverse
    n = len(translations)
    ions = tuple(ion for ion in crystal.ions for _ in range(n))
    return IonicCrystal(lattice_ang=matrix @ crystal.lattice_ang, ions=ions, frac_centres=centres.reshape(-1, 3))


def translations_inside(matrix: NDArray[np.int_]) -> Array:
    """Return the |det M| lattice translations (in old lattice vectors) inside the supercell."""
    corners = np.array(list(product((0, 1), repeat=3))) @ matrix
    ranges = [np.arange(corners[:, k].min(), corners[:, k].max() + 1) for k in range(3)]
    points = np.array(list(product(*ranges)), dtype=float)
    inside = points @ np.linalg.inv(matrix)
    keep = np.all((inside > -1e-9) & (inside < 1 - 1e-9), axis=1)
    return points[keep]

"""Bond valences between ions and the distances that follow from them.

Parameters: `qdip_dft.model.bond_valence`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from qdip_dft.builders.ions import Array, IonicCrystal, atom_positions
from qdip_dft.model.bond_valence import SOFTNESS_ANG, bond_valence_radius_ang
from qdip_dft.model.neighbours import find_pairs

Contact = tuple[int, int, int, int, int]
"""Two ions and the lattice translation of the second."""

LEAST_VALENCE = 0.02
"""Weaker contacts are not counted as bonds (valence units)."""


@dataclass(frozen=True, slots=True)
class Bond:
    """A bond between two ions of a crystal.

    Parameters
    ----------
    first, second
        Indices of the ions.
    translation
        Lattice translation of the second ion, in lattice vectors.
    valence
        Bond valence, summed over the atoms of molecular ions.
    """

    first: int
    second: int
    translation: tuple[int, int, int]
    valence: float


def find_bonds(crystal: IonicCrystal, *, cutoff_ang: float = 4.5) -> tuple[Bond, ...]:
    """Return the bonds between ions of opposite formal charge, or between all ions where nothing is charged.

    The contacts of a molecular ion are scaled so that they sum to its formal charge: the parameters of H with a
    halide describe covalent H–X bonds, and with them alone an organic cation would seem to be bound to nothing.

    Parameters
    ----------
    crystal
        The crystal; its centres need not be wrapped.
    cutoff_ang
        Longest atomic contact that is counted, in Å.
    """
    contacts = _find_contacts(crystal, cutoff_ang)
    scales = _molecular_scales(crystal, contacts)
    bonds = (Bond(i, j, (x, y, z), v * scales[i] * scales[j]) for (i, j, x, y, z), v in contacts.items())
    return tuple(bond for bond in bonds if bond.valence >= LEAST_VALENCE)


def _find_contacts(crystal: IonicCrystal, cutoff_ang: float) -> dict[Contact, float]:
    """Return the unscaled valence of every contact of two ions, each listed once."""
    pairs = find_pairs(atom_positions(crystal), crystal.lattice_ang, cutoff_ang=cutoff_ang)
    ends = crystal.owners[[pairs.first, pairs.second]]
    charges = crystal.charges
    is_bound = charges[ends[0]] * charges[ends[1]] < 0 if np.any(charges) else np.ones(len(pairs.first), dtype=bool)
    radii_ang = _valence_radii_ang(crystal)[pairs.first[is_bound], pairs.second[is_bound]]
    strengths = np.exp((radii_ang - pairs.distances_ang[is_bound]) / SOFTNESS_ANG)
    valences: dict[Contact, float] = {}
    columns = (*ends[:, is_bound].tolist(), *pairs.images[is_bound].T.tolist())
    for contact, strength in zip(zip(*columns, strict=True), strengths.tolist(), strict=True):
        valences[contact] = valences.get(contact, 0.0) + strength
    return valences


def _valence_radii_ang(crystal: IonicCrystal) -> Array:
    """Return R0 of every two atoms of a crystal in Å, shape (n_atoms, n_atoms)."""
    species = crystal.species
    elements = sorted(set(species))
    table = np.array([[bond_valence_radius_ang(a, b) for b in elements] for a in elements])
    kinds = np.array([elements.index(symbol) for symbol in species])
    return np.asarray(table[np.ix_(kinds, kinds)])


def _molecular_scales(crystal: IonicCrystal, contacts: dict[Contact, float]) -> Array:
    """Return for each molecular ion its charge over the sum of its contacts, and 1 for every atom."""
    sums = np.zeros(len(crystal.ions))
    for (first, second, *_), valence in contacts.items():
        sums[first] += valence
        sums[second] += valence
    is_scaled = np.array([len(ion.species) > 1 for ion in crystal.ions]) & (sums > 0) & (crystal.charges != 0)
    return np.where(is_scaled, np.abs(crystal.charges) / np.where(is_scaled, sums, 1.0), 1.0)

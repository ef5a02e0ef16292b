"""Checks a crystal before it is used: charge, formula units, contacts, symmetry, volume and molecules."""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from qdip_dft.library.collections import load_catalogue, load_molecule
from qdip_dft.library.contacts import (
    Pair,
    covalent_sum_ang,
    find_bonds,
    find_molecules,
    find_pairs,
    name_atoms,
    name_pair,
    symbols_of,
)
from qdip_dft.library.conventional import SYMMETRY_ANG
from qdip_dft.library.crystals import count_ions
from qdip_dft.model.elements import HALIDES, SHORTEST_HYDROGEN_HALIDE_ANG, closest_ratio
from qdip_dft.model.symmetry import find_space_group

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pymatgen.core import Structure

    from qdip_dft.model.material import Crystal

MAX_BOND_ERROR_ANG = 0.05
"""Largest deviation of a molecule's bond length from the library's geometry."""

MAX_VOLUME_ERROR = 1e-3
"""Largest relative deviation of a catalogued phase's volume per formula unit."""


class Finding(NamedTuple):
    """The outcome of one check of a crystal."""

    check: str
    """What was checked."""
    is_passed: bool
    """Whether it is in order."""
    message: str
    """What was found, with its unit."""


def check_crystal(crystal: Crystal) -> list[Finding]:
    """Check everything that can be wrong with a crystal, one finding for each.

    A catalogued phase is compared with its entry: formula units, space group of the framework, volume.
    """
    ions = count_ions(crystal.structure, crystal.id)
    molecules = find_molecules(crystal.structure)
    charge = sum(amount * crystal.formal_charges.get(ion, 0) for ion, amount in ions.items())
    per_cell = math.gcd(*ions.values())
    return [
        Finding("formal charge", charge == 0, f"{charge:+d} e per cell"),
        Finding("formula units", crystal.formula_units == per_cell, f"Z = {crystal.formula_units}, counted {per_cell}"),
        _check_contacts(crystal.structure),
        _check_space_group(crystal, molecules),
        _check_volume(crystal),
        _check_molecules(crystal.structure, molecules),
        _check_hydrogen_bonds(crystal.structure),
        *(Finding("as read", True, remark) for remark in crystal.remarks),
    ]


def _check_contacts(structure: Structure) -> Finding:
    pairs = find_pairs(structure, ratio=1.5)
    if not pairs:
        return Finding("shortest contact", True, "no atoms within 1.5 times the sum of their covalent radii")
    closest = min(pairs, key=lambda pair: pair.distance_ang / covalent_sum_ang(structure, pair))
    ratio = closest.distance_ang / covalent_sum_ang(structure, closest)
    named, limit = name_pair(structure, closest), closest_ratio(*symbols_of(structure, closest))
    return Finding("shortest contact", ratio >= limit, f"{named}, {ratio:.2f} of the covalent radii")


def _check_space_group(crystal: Crystal, molecules: list[list[int]]) -> Finding:
    framework = crystal.structure.copy()
    framework.remove_sites([index for molecule in molecules for index in molecule])
    if len(framework) == 0:
        return Finding("space group", True, "a molecular crystal: not checked")
    numbers = [site.specie.Z for site in framework]
    found = find_space_group(framework.lattice.matrix, framework.frac_coords, numbers, tolerance_ang=SYMMETRY_ANG)
    number, name = (0, "none") if found is None else (found.number, f"{found.symbol} ({found.number})")
    if crystal.entry is None:
        return Finding("space group", True, name)
    declared = f"{crystal.entry.space_group} ({crystal.entry.space_group_number})"
    return Finding("space group", number == crystal.entry.space_group_number, f"{name}, declared {declared}")


def _check_volume(crystal: Crystal) -> Finding:
    volume_ang3 = crystal.structure.volume / crystal.formula_units
    if crystal.entry is None:
        return Finding("volume", True, f"{volume_ang3:.3f} Å³ per formula unit")
    declared_ang3 = crystal.entry.volume_ang3_per_fu
    message = f"{volume_ang3:.3f} Å³ per formula unit, catalogue {declared_ang3:.3f}"
    return Finding("volume", abs(volume_ang3 / declared_ang3 - 1) <= MAX_VOLUME_ERROR, message)


def _check_molecules(structure: Structure, molecules: list[list[int]]) -> Finding:
    known = [(molecule, load_catalogue().find_molecule(name_atoms(structure, molecule))) for molecule in molecules]
    if not known:
        return Finding("molecules", True, "none")
    foreign = [name_atoms(structure, molecule) for molecule, entry in known if entry is None]
    if foreign:
        return Finding("molecules", False, f"not in the library: {', '.join(foreign)}")
    error_ang = max(_largest_bond_error_ang(structure, molecule, entry.id) for molecule, entry in known if entry)
    message = f"{len(known)} whole, bond lengths within {error_ang:.4f} Å of the library's"
    return Finding("molecules", error_ang <= MAX_BOND_ERROR_ANG, message)


def _check_hydrogen_bonds(structure: Structure) -> Finding:
    contacts = [
        pair
        for pair in find_pairs(structure, ratio=2.5)
        if "H" in (names := symbols_of(structure, pair)) and set(HALIDES) & set(names)
    ]
    if not contacts:
        return Finding("H···X", True, "no contact")

    def limit_ang(pair: Pair) -> float:
        return min(SHORTEST_HYDROGEN_HALIDE_ANG.get(symbol, math.inf) for symbol in symbols_of(structure, pair))

    closest = min(contacts, key=lambda pair: pair.distance_ang / limit_ang(pair))
    is_passed = closest.distance_ang >= limit_ang(closest)
    return Finding("H···X", is_passed, f"shortest {name_pair(structure, closest)}, limit {limit_ang(closest)} Å")


def _largest_bond_error_ang(structure: Structure, molecule: list[int], molecule_id: str) -> float:
    """Return how far the bond lengths of a molecule are from those of the library's geometry, in Å."""
    reference = _read_reference(molecule_id)
    expected, found = _list_bonds(reference, range(len(reference))), _list_bonds(structure, molecule)
    if [names for names, _ in expected] != [names for names, _ in found]:
        return math.inf
    return max(abs(was - is_now) for (_, was), (_, is_now) in zip(expected, found, strict=True))


@cache
def _read_reference(molecule_id: str) -> Structure:
    """Return a molecule of the library alone in a large box."""
    from pymatgen.core import Lattice, Structure

    molecule = load_molecule(molecule_id)
    return Structure(Lattice.cubic(40), molecule.species, molecule.cart_coords, coords_are_cartesian=True)


def _list_bonds(structure: Structure, molecule: Iterable[int]) -> list[tuple[str, float]]:
    """Return element pair and length in Å of each bond of a molecule, sorted."""
    inside = set(molecule)
    bonds = [pair for pair in find_bonds(structure) if pair.first in inside]
    return sorted(("-".join(sorted(symbols_of(structure, bond))), bond.distance_ang) for bond in bonds)

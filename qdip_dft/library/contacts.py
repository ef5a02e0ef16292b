"""Distances, bonds and molecules of a crystal, periodic images included."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from qdip_dft.model import molecules, neighbours
from qdip_dft.model.elements import covalent_radii_ang
from qdip_dft.model.structure import Arrangement

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pymatgen.core import Structure


class Pair(NamedTuple):
    """Two atoms close to each other, maybe in different cells."""

    first: int
    """Index of the one site."""
    second: int
    """Index of the other, not below the first; equal to it for an atom and its own image."""
    distance_ang: float
    """Their distance in Å."""


def find_pairs(structure: Structure, *, ratio: float) -> list[Pair]:
    """Return each pair of atoms, images included, closer than a multiple of the sum of their covalent radii."""
    atoms = _arrange(structure)
    return _list_pairs(neighbours.find_close_pairs(atoms.species, atoms.positions_ang, atoms.lattice_ang, ratio=ratio))


def find_bonds(structure: Structure) -> list[Pair]:
    """Return the covalent bonds between C, H, N and O atoms."""
    return _list_pairs(molecules.find_bonds(_arrange(structure)))


def find_molecules(structure: Structure) -> list[list[int]]:
    """Return the sites of each molecule, as `qdip_dft.model.molecules` finds them."""
    return [list(molecule.sites) for molecule in molecules.find_molecules(_arrange(structure))]


def _arrange(structure: Structure) -> Arrangement:
    symbols = tuple(site.specie.symbol for site in structure)
    return Arrangement(symbols, structure.cart_coords, structure.lattice.matrix)


def _list_pairs(pairs: neighbours.Pairs) -> list[Pair]:
    columns = (pairs.first.tolist(), pairs.second.tolist(), pairs.distances_ang.tolist())
    return [Pair(*row) for row in zip(*columns, strict=True)]


def covalent_sum_ang(structure: Structure, pair: Pair) -> float:
    """Sum of the covalent radii of a pair in Å."""
    return float(covalent_radii_ang(symbols_of(structure, pair)).sum())


def symbols_of(structure: Structure, pair: Pair) -> tuple[str, str]:
    """Return the elements of a pair."""
    return structure[pair.first].specie.symbol, structure[pair.second].specie.symbol


def name_atoms(structure: Structure, sites: Iterable[int]) -> str:
    """Return the atoms as the catalogue writes a molecule's formula, such as ``C1 H5 N2``."""
    counts = Counter(structure[index].specie.symbol for index in sites)
    return " ".join(f"{element}{amount}" for element, amount in sorted(counts.items()))


def name_pair(structure: Structure, pair: Pair) -> str:
    """Return a pair in words, with its distance."""
    first, second = symbols_of(structure, pair)
    partner = "its image" if pair.first == pair.second else f"{second} {pair.second}"
    return f"{first} {pair.first} and {partner} are {pair.distance_ang:.3f} Å apart"

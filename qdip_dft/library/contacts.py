"""Distances, bonds and molecules of a crystal, periodic images included."""

from __future__ import annotations

from collections import Counter
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pymatgen.core import Structure

BOND_RATIO = 1.25
"""Two atoms of a molecule are bonded up to this fraction of the sum of their covalent radii."""

_ORGANIC = frozenset({"C", "H", "N", "O"})


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
    reach_ang = ratio * 2 * max(_covalent_radius_ang(element.symbol) for element in structure.elements)
    firsts, seconds, _, distances_ang = structure.get_neighbor_list(reach_ang)
    columns = (firsts.tolist(), seconds.tolist(), distances_ang.tolist())
    pairs = (Pair(*row) for row in zip(*columns, strict=True) if row[0] <= row[1])
    return [pair for pair in pairs if pair.distance_ang < ratio * covalent_sum_ang(structure, pair)]


def find_bonds(structure: Structure) -> list[Pair]:
    """Return the covalent bonds between C, H, N and O atoms."""
    pairs = find_pairs(structure, ratio=BOND_RATIO)
    return [pair for pair in pairs if _ORGANIC.issuperset(symbols_of(structure, pair))]


def find_molecules(structure: Structure) -> list[list[int]]:
    """Return the sites of each molecule: C, H, N and O atoms joined by bonds, with at least one H.

    A network that reaches itself in another cell, such as graphene with OH groups, is not a molecule.
    """
    import networkx

    organic = [index for index, site in enumerate(structure) if site.specie.symbol in _ORGANIC]
    bonds = networkx.Graph([(pair.first, pair.second) for pair in find_bonds(structure)])
    bonds.add_nodes_from(organic)
    groups = (sorted(group) for group in networkx.connected_components(bonds))
    molecules = (group for group in groups if {"C", "N"} & (names := _elements_of(structure, group)) and "H" in names)
    return sorted(group for group in molecules if not _is_endless(structure, group))


def _is_endless(structure: Structure, group: list[int]) -> bool:
    """Return whether bonds lead from an atom of a group to the same atom in another cell."""
    images_of = _bonds_with_images(structure, group)
    places: dict[int, tuple[int, ...]] = {group[0]: (0, 0, 0)}
    pending = [group[0]]
    while pending:
        site = pending.pop()
        for neighbour, image in images_of.get(site, ()):
            place = tuple(start + step for start, step in zip(places[site], image, strict=True))
            if neighbour not in places:
                places[neighbour] = place
                pending.append(neighbour)
            elif places[neighbour] != place:
                return True
    return False


def _bonds_with_images(structure: Structure, group: list[int]) -> dict[int, list[tuple[int, tuple[int, ...]]]]:
    """Return for each atom of a group its bonded neighbours and the cells that these lie in."""
    radii_ang = {site: _covalent_radius_ang(structure[site].specie.symbol) for site in group}
    reach_ang = 2 * BOND_RATIO * max(radii_ang.values())
    bonds: dict[int, list[tuple[int, tuple[int, ...]]]] = {}
    neighbours = structure.get_neighbor_list(reach_ang, sites=[structure[site] for site in group])
    for first, second, image, distance in zip(*(column.tolist() for column in neighbours), strict=True):
        site = group[first]
        if second in radii_ang and distance < BOND_RATIO * (radii_ang[site] + radii_ang[second]):
            bonds.setdefault(site, []).append((second, tuple(image)))
    return bonds


def covalent_sum_ang(structure: Structure, pair: Pair) -> float:
    """Return the sum of the covalent radii of a pair in Å (Cordero et al., Dalton Trans. 2008, 2832)."""
    return sum(map(_covalent_radius_ang, symbols_of(structure, pair)))


@cache
def _covalent_radius_ang(symbol: str) -> float:
    from ase.data import atomic_numbers, covalent_radii

    return float(covalent_radii[atomic_numbers[symbol]])


def symbols_of(structure: Structure, pair: Pair) -> tuple[str, str]:
    """Return the elements of a pair."""
    return structure[pair.first].specie.symbol, structure[pair.second].specie.symbol


def _elements_of(structure: Structure, sites: Iterable[int]) -> set[str]:
    return {structure[index].specie.symbol for index in sites}


def name_atoms(structure: Structure, sites: Iterable[int]) -> str:
    """Return the atoms as the catalogue writes a molecule's formula, such as ``C1 H5 N2``."""
    counts = Counter(structure[index].specie.symbol for index in sites)
    return " ".join(f"{element}{amount}" for element, amount in sorted(counts.items()))


def name_pair(structure: Structure, pair: Pair) -> str:
    """Return a pair in words, with its distance."""
    first, second = symbols_of(structure, pair)
    partner = "its image" if pair.first == pair.second else f"{second} {pair.second}"
    return f"{first} {pair.first} and {partner} are {pair.distance_ang:.3f} Å apart"

"""Molecules of a structure: organic atoms joined by covalent bonds, across cell boundaries too."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qdip_dft.model.elements import BOND_RATIO, CARBON_PARTNERS, ORGANIC_ELEMENTS
from qdip_dft.model.neighbours import Pairs, find_close_pairs
from qdip_dft.model.structure import Arrangement

Cell = tuple[int, int, int]


@dataclass(frozen=True, slots=True, eq=False)
class Molecule:
    """Two or more atoms held together by covalent bonds.

    Parameters
    ----------
    sites
        Their indices, ascending.
    cells
        Lattice translation of each atom that makes the molecule whole, that of the first zero, shape (atoms, 3).
    """

    sites: tuple[int, ...]
    cells: NDArray[np.int64]


def find_bonds(atoms: Arrangement) -> Pairs:
    """Return the covalent bonds of H, C, N and O, and those of carbon, periodic images included, each once."""
    partners = CARBON_PARTNERS if "C" in atoms.species else frozenset[str]()
    kept = np.flatnonzero(np.isin(atoms.species, tuple(ORGANIC_ELEMENTS | partners)))
    if len(kept) == 0:
        none = np.empty(0, dtype=np.int64)
        return Pairs(none, none, none.reshape(0, 3), np.empty((0, 3)), np.empty(0))
    symbols = np.array([atoms.species[site] for site in kept.tolist()])
    pairs = find_close_pairs(symbols.tolist(), atoms.positions_ang[kept], atoms.lattice_ang, ratio=BOND_RATIO)
    is_organic, is_carbon = np.isin(symbols, tuple(ORGANIC_ELEMENTS)), symbols == "C"
    first, second = pairs.first, pairs.second
    bonds = (is_organic[first] & is_organic[second]) | is_carbon[first] | is_carbon[second]
    columns = (kept[first], kept[second], pairs.images, pairs.vectors_ang, pairs.distances_ang)
    return Pairs(*(column[bonds] for column in columns))


def find_molecules(atoms: Arrangement) -> tuple[Molecule, ...]:
    """Return the molecules of a structure, in the order of their first atoms.

    A network of bonds that reaches itself in another cell, such as graphene with or without OH groups, is no molecule.
    """
    neighbours = _list_neighbours(find_bonds(atoms))
    molecules, seen = [], set[int]()
    for start in sorted(neighbours):
        if start in seen:
            continue
        cells, is_endless = _walk(start, neighbours)
        seen.update(cells)
        if not is_endless:
            sites = tuple(sorted(cells))
            molecules.append(Molecule(sites, np.array([cells[site] for site in sites])))
    return tuple(molecules)


def _list_neighbours(bonds: Pairs) -> dict[int, list[tuple[int, Cell]]]:
    """Return for each bonded atom its neighbours and the cells that these lie in."""
    neighbours: dict[int, list[tuple[int, Cell]]] = {}
    for first, second, (a, b, c) in zip(
        bonds.first.tolist(), bonds.second.tolist(), bonds.images.tolist(), strict=True
    ):
        neighbours.setdefault(first, []).append((second, (a, b, c)))
        neighbours.setdefault(second, []).append((first, (-a, -b, -c)))
    return neighbours


def _walk(start: int, neighbours: Mapping[int, list[tuple[int, Cell]]]) -> tuple[dict[int, Cell], bool]:
    """Return the atoms bonded to one, directly or not, with their cells, and whether one is met in two cells."""
    cells: dict[int, Cell] = {start: (0, 0, 0)}
    waiting, is_endless = [start], False
    while waiting:
        here = waiting.pop()
        a, b, c = cells[here]
        for there, (i, j, k) in neighbours[here]:
            cell = (a + i, b + j, c + k)
            if there not in cells:
                cells[there] = cell
                waiting.append(there)
            is_endless |= cells[there] != cell
    return cells, is_endless

"""Sheets of graphene with the oxygen groups of carbon dots: hydroxyl and epoxide on the faces, carbonyl at a hole.

All groups leave every electron paired.  A hydroxyl pair is two OH on neighbouring carbons, one above and one below; an
epoxide is one O above a C–C bond.  A carbonyl needs a carbon with two neighbours: reduced graphene oxide carries it in
pairs at the holes that oxidation etches (Bagri et al., Nature Chem. 2, 581 (2010)).  Here the hole is one missing ring:
of its six edge carbons two opposite ones, which belong to different sublattices as in a quinone, become C=O in the
plane of the sheet, and the other four C–H.  Oxygens on neighbouring edge carbons would be 1.6 Å apart.
"""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from qdip_dft.errors import StructureError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pymatgen.core import Structure

    Array = NDArray[np.float64]
    Atoms = list[tuple[str, Array]]

CARBON_BOND_ANG = 1.42
"""C–C distance in graphene."""

CARBONYL_BOND_ANG = 1.23
"""C=O distance."""

EDGE_HYDROGEN_BOND_ANG = 1.09
"""C–H distance at the edge of a hole."""

LEAST_REPEATS_AROUND_HOLE = 4
"""Cells along each vector of a sheet with a hole: fewer leave no ring of carbons untouched."""


def build_graphene(
    repeats: int,
    *,
    bond_ang: float = CARBON_BOND_ANG,
    spacing_ang: float,
    hydroxyl_pairs: int = 0,
    epoxides: int = 0,
    carbonyl_pairs: int = 0,
) -> Structure:
    """Build sheets of graphene on top of each other, with neutral oxygen groups.

    Hydroxyl pairs and epoxides are placed on every other C–C bond along the cell's diagonal, the hole with the pair of
    carbonyl groups off the diagonal; the sheet itself is left flat for the relaxation.

    Parameters
    ----------
    repeats
        Cells of two carbons along each in-plane vector.
    bond_ang
        C–C distance in Å.
    spacing_ang
        Distance of the sheets in Å.
    hydroxyl_pairs, epoxides
        Numbers of groups per cell, two O and one O each.
    carbonyl_pairs
        Number of holes per cell, 0 or 1; a hole takes six C and adds two O and four H.

    Raises
    ------
    StructureError
        If the groups do not fit on the sheet.
    """
    from pymatgen.core import Lattice, Structure

    _require_room(repeats, hydroxyl_pairs=hydroxyl_pairs, epoxides=epoxides, carbonyl_pairs=carbonyl_pairs)
    edge = np.sqrt(3.0) * bond_ang
    cell = np.array([[edge, 0.0, 0.0], [-edge / 2.0, bond_ang * 1.5, 0.0], [0.0, 0.0, spacing_ang]])
    lattice = Lattice(cell * np.array([[repeats], [repeats], [1]]))
    corners = [i * cell[0] + j * cell[1] for i, j in product(range(repeats), repeat=2)]
    across = np.array([0.0, bond_ang, 0.0])  # from the first carbon of a cell to the second
    atoms: Atoms = [("C", corner + carbon) for corner in corners for carbon in (np.zeros(3), across)]
    for index in range(hydroxyl_pairs + epoxides):
        start = 2 * index * (cell[0] + cell[1])
        atoms += _hydroxyl_pair(start, start + across) if index < hydroxyl_pairs else _epoxide(start, start + across)
    if carbonyl_pairs:
        ring_centre = repeats // 2 * cell[0] + 2.0 * across
        atoms = _cut_ring(atoms, lattice.matrix, ring_centre, bond_ang) + _hole_edge(ring_centre, bond_ang)
    return Structure(lattice, [s for s, _ in atoms], [x for _, x in atoms], coords_are_cartesian=True)


def _require_room(repeats: int, *, hydroxyl_pairs: int, epoxides: int, carbonyl_pairs: int) -> None:
    n_groups = hydroxyl_pairs + epoxides
    if repeats < 1 or min(hydroxyl_pairs, epoxides) < 0 or 2 * n_groups > repeats:
        raise StructureError(
            f"{n_groups} oxygen groups on {repeats} × {repeats} cells of graphene",
            limit="at most one group for every two cells along the diagonal",
            why="neighbouring groups would touch",
            remedy="enlarge the sheet or take fewer groups",
        )
    if carbonyl_pairs not in (0, 1) or (carbonyl_pairs and (repeats < LEAST_REPEATS_AROUND_HOLE or n_groups)):
        raise StructureError(
            f"{carbonyl_pairs} carbonyl pairs and {n_groups} other groups on {repeats} × {repeats} cells of graphene",
            limit=f"one hole, at least {LEAST_REPEATS_AROUND_HOLE} cells along each vector, no other group",
            why="the edge of the hole would touch its images or the other groups",
            remedy="enlarge the sheet or take one kind of group",
        )


def _cut_ring(atoms: Atoms, lattice_ang: Array, centre: Array, bond_ang: float) -> Atoms:
    """Return the atoms without the ring of six carbons around a centre."""
    difference = (np.array([position for _, position in atoms]) - centre) @ np.linalg.inv(lattice_ang)
    distances = np.linalg.norm((difference - np.rint(difference)) @ lattice_ang, axis=1)
    return [atom for atom, distance in zip(atoms, distances, strict=True) if distance > 1.5 * bond_ang]


def _hole_edge(centre: Array, bond_ang: float) -> Atoms:
    """Return two O and four H that saturate the six carbons around a missing ring, two bond lengths from its centre."""
    atoms: Atoms = []
    for index in range(6):
        angle = np.pi * (index / 3.0 + 0.5)
        symbol, length_ang = ("O", CARBONYL_BOND_ANG) if index % 3 == 0 else ("H", EDGE_HYDROGEN_BOND_ANG)
        outward = np.array([np.cos(angle), np.sin(angle), 0.0])
        atoms.append((symbol, centre + (2.0 * bond_ang - length_ang) * outward))
    return atoms


def _hydroxyl_pair(first: Array, second: Array) -> Atoms:
    """Return two OH (C–O 1.44, O–H 0.97 Å, C–O–H 107°), above one carbon and below its neighbour."""
    up, outward = np.array([0.0, 0.0, 1.0]), np.array([1.0, 0.0, 0.0])
    tilt = np.radians(180.0 - 107.0)
    atoms: Atoms = []
    for carbon, normal in ((first, up), (second, -up)):
        oxygen = carbon + 1.44 * normal
        atoms += [("O", oxygen), ("H", oxygen + 0.97 * (np.cos(tilt) * normal + np.sin(tilt) * outward))]
    return atoms


def _epoxide(first: Array, second: Array) -> Atoms:
    """Return an O above the middle of a bond, 1.44 Å from both carbons."""
    height = np.sqrt(1.44**2 - 0.25 * float((second - first) @ (second - first)))
    return [("O", 0.5 * (first + second) + np.array([0.0, 0.0, height]))]

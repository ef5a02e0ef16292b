r"""How the octahedra of a film are tilted and stretched, layer by layer, and what binds the film to the dot.

Two metals B that share one halide X form a bridge B-X-B.  In the cubic perovskite every bridge is straight; where the
octahedra tilt it bends, and the tilt of the two octahedra against the line between their metals is

.. math:: \varphi = (180° - \angle_{\mathrm{BXB}}) / 2.

Edges and faces that octahedra share (the yellow phases) are bent by their geometry, so only corners count as tilts.

A bond's valence is s = exp[(R0 − d) / b] (`qdip_dft.model.bond_valence`); the valences around a divalent metal add up
to about 2 where it has all its neighbours, and to less on a bare surface.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qdip_dft.analysis.phases import METALS, find_halide_bonds, list_links
from qdip_dft.model.bond_valence import SOFTNESS_ANG, bond_valence_radius_ang
from qdip_dft.model.elements import ANIONS, ORGANIC_ELEMENTS
from qdip_dft.model.neighbours import Pairs, find_pairs
from qdip_dft.model.snapping import rank
from qdip_dft.model.structure import StructureRecord

LONGEST_CONTACT_ANG = 4.5
"""Longer contacts add less than 0.01 to a valence sum."""

LEAST_BOND_VALENCE = 0.05
"""A weaker contact across the interface is no bond: a sixth of a Pb–I bond in an octahedron."""

SHEET_SPACING_ANG = 1.5
"""Metals whose heights differ by less belong to one sheet of octahedra: sheets are some 6 Å apart and buckle by less,
while the chemical layers of a slab, metals and halides alike, are told apart by 0.7 Å."""

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Shape:
    """The octahedra of some metals.

    Parameters
    ----------
    n_metals
        How many metals.
    bond_ang, bond_spread_ang
        Mean metal–halide distance and its standard deviation in Å; None without bonds.
    bridge_deg
        Mean angle B-X-B over shared corners in degrees; None without shared corners.
    valence
        Mean bond-valence sum of the metals, all anions counted.
    """

    n_metals: int
    bond_ang: float | None
    bond_spread_ang: float | None
    bridge_deg: float | None
    valence: float

    @property
    def tilt_deg(self) -> float | None:
        """Return the mean tilt φ in degrees."""
        return None if self.bridge_deg is None else 0.5 * (180.0 - self.bridge_deg)


@dataclass(frozen=True, slots=True)
class Bridge:
    """Two metals that share one halide.

    Parameters
    ----------
    metals
        Their sites.
    angle_deg
        B-X-B in degrees.
    """

    metals: tuple[int, int]
    angle_deg: float


@dataclass(frozen=True, slots=True)
class CrossBond:
    """The bonds of one kind between film and dot.

    Parameters
    ----------
    pair
        Such as ``Pb-I``, the cation first.
    count
        How many in the cell.
    shortest_ang, mean_ang
        Lengths in Å.
    valence
        Sum of their valences.
    """

    pair: str
    count: int
    shortest_ang: float
    mean_ang: float
    valence: float


def measure_shape(structure: StructureRecord) -> Shape:
    """Return the shape of the octahedra of a crystal."""
    metals = find_metals(structure)
    return _Octahedra(structure, frozenset(metals)).describe(metals)


def measure_layers(structure: StructureRecord, *, sites: Iterable[int] | None = None) -> tuple[Shape, ...]:
    """Return the shape of every layer of metals along the third axis, lowest first.

    Parameters
    ----------
    structure
        A bulk, slab or interface; anions of other parts count as neighbours, but only metals among the sites are linked
        by corners: a halide between film and dot is no tilt of the film.
    sites
        Indices of the sites; None: all.
    """
    chosen = None if sites is None else set(sites)
    metals = [site for site in find_metals(structure) if chosen is None or site in chosen]
    octahedra = _Octahedra(structure, frozenset(metals))
    return tuple(octahedra.describe(layer) for layer in group_layers(structure, metals))


def find_metals(structure: StructureRecord) -> list[int]:
    """Return the sites of the metals that sit in octahedra."""
    return [site for site, symbol in enumerate(structure.species) if symbol in METALS]


def group_layers(structure: StructureRecord, sites: Iterable[int]) -> list[list[int]]:
    """Return sites in layers, lowest first, each in ascending order: a gap in their heights begins a new one."""
    ordered, heights = sorted(sites), structure.arrangement.positions_ang[:, 2]
    layers: dict[int, list[int]] = defaultdict(list)
    for site, layer in zip(ordered, rank(heights[ordered], tolerance=SHEET_SPACING_ANG), strict=True):
        layers[layer].append(site)
    return [layers[layer] for layer in sorted(layers)]


def find_bridges(structure: StructureRecord) -> tuple[Bridge, ...]:
    """Return every shared corner: pairs of metals, or a metal and its image, with exactly one halide in common."""
    bonds = find_halide_bonds(structure)
    links = list_links(bonds)
    shared = Counter(name for _, name in links)
    return tuple(
        Bridge((int(bonds.first[one]), int(bonds.first[other])), _angle_deg(*bonds.vectors_ang[[one, other]]))
        for (one, other), name in links
        if shared[name] == 1
    )


def find_cross_bonds(structure: StructureRecord, *, n_dot: int) -> tuple[CrossBond, ...]:
    """Return the bonds between the first sites of an interface, its dot, and the others, its film.

    Parameters
    ----------
    structure
        The interface.
    n_dot
        Number of sites of the dot.
    """
    bonds, valences = _find_bonds(structure)
    crosses = ((bonds.first < n_dot) != (bonds.second < n_dot)) & (valences >= LEAST_BOND_VALENCE)
    kinds: dict[str, list[int]] = defaultdict(list)
    for index in np.flatnonzero(crosses).tolist():
        kinds[f"{structure.species[bonds.first[index]]}-{structure.species[bonds.second[index]]}"].append(index)
    return tuple(
        CrossBond(
            pair=pair,
            count=len(found),
            shortest_ang=float(bonds.distances_ang[found].min()),
            mean_ang=float(bonds.distances_ang[found].mean()),
            valence=float(valences[found].sum()),
        )
        for pair, found in sorted(kinds.items())
    )


class _Octahedra:
    """The octahedra around some metals of a structure."""

    def __init__(self, structure: StructureRecord, metals: frozenset[int]) -> None:
        self.halides = find_halide_bonds(structure)
        self.bonds, self.valences = _find_bonds(structure)
        self.bridges = [bridge for bridge in find_bridges(structure) if metals.issuperset(bridge.metals)]

    def describe(self, metals: list[int]) -> Shape:
        """Return the shape around some of the metals; a bridge to another layer counts half for either."""
        lengths = self.halides.distances_ang[np.isin(self.halides.first, metals)]
        ends = [(b.angle_deg, sum(metal in metals for metal in b.metals)) for b in self.bridges]
        weight = sum(count for _, count in ends)
        valence = self.valences[np.isin(self.bonds.first, metals)].sum()
        return Shape(
            n_metals=len(metals),
            bond_ang=float(lengths.mean()) if len(lengths) else None,
            bond_spread_ang=float(lengths.std()) if len(lengths) else None,
            bridge_deg=sum(angle * count for angle, count in ends) / weight if weight else None,
            valence=float(valence) / len(metals) if metals else 0.0,
        )


def _find_bonds(structure: StructureRecord) -> tuple[Pairs, Array]:
    """Return the contacts of cations with anions and their valences; those with organic ions are none of them."""
    atoms, species = structure.arrangement, structure.species
    pairs = find_pairs(atoms.positions_ang, atoms.lattice_ang, cutoff_ang=LONGEST_CONTACT_ANG)
    is_anion, is_organic = np.isin(species, list(ANIONS)), np.isin(species, list(ORGANIC_ELEMENTS))
    bonds = pairs.between(~is_anion & ~is_organic, is_anion)
    ends = zip(bonds.first, bonds.second, strict=True)
    radii = np.array([bond_valence_radius_ang(species[cation], species[anion]) for cation, anion in ends])
    return bonds, np.exp((radii - bonds.distances_ang) / SOFTNESS_ANG)


def _angle_deg(one: Array, other: Array) -> float:
    cosine = one @ other / (np.linalg.norm(one) * np.linalg.norm(other))
    return float(np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0))))

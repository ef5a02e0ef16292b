"""Phase identity: how the metal-halide octahedra are linked.

Two octahedra share one halide (corner), two (edge) or three (face).  Black perovskites share corners only; yellow
δ-CsPbI3 has double chains of edge-sharing octahedra; yellow δ-FAPbI3 has chains of face-sharing octahedra.  The
fractions of the three links, counted over metal pairs that share a halide, tell the phases apart whatever the tilts.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from enum import StrEnum
from itertools import combinations

import numpy as np

from qdip_dft.model.neighbours import Pairs, find_pairs
from qdip_dft.model.structure import StructureRecord

METALS = frozenset({"Pb", "Sn", "Ge"})

LONGEST_BOND_ANG = {"I": 3.9, "Br": 3.65, "Cl": 3.5}
"""Longest metal–halide contact that counts as a bond, Å; the next shell of a perovskite starts beyond 5 Å."""

BRIDGING_HALIDES = frozenset(LONGEST_BOND_ANG)
"""Halides that link the octahedra of a halide perovskite: fluoride forms none of those that are studied here."""

SAME_PHASE_OVERLAP = 0.75
"""Two structures are the same phase when their link fractions overlap at least this much."""

TIED_LINKS = 0.05
"""Fractions that differ by less are equal: lead bromide shares as many corners as edges, and no film has both faces
cut alike."""


Link = tuple[int, int, tuple[int, ...]]
"""Two metals, and the cell of the second when the first lies in cell zero."""


class Linkage(StrEnum):
    """How two octahedra are linked."""

    CORNER = "corner"
    EDGE = "edge"
    FACE = "face"


@dataclass(frozen=True, slots=True)
class Connectivity:
    """Fractions of the links between octahedra; they sum to one, or are all zero without links."""

    corner: float
    edge: float
    face: float

    @property
    def fractions(self) -> dict[Linkage, float]:
        """The fraction of each kind of link."""
        return {Linkage.CORNER: self.corner, Linkage.EDGE: self.edge, Linkage.FACE: self.face}

    @property
    def dominant(self) -> Linkage | None:
        """Return the commonest link; None without links."""
        best = max(self.fractions, key=lambda link: self.fractions[link])
        return best if self.fractions[best] > 0 else None

    def is_commonest(self, link: Linkage | None) -> bool:
        """Return whether no link is clearly commoner: of two that are equally common either may lead in a film."""
        return link is not None and self.fractions[link] >= max(self.fractions.values()) - TIED_LINKS

    def describe(self) -> str:
        """Return the fractions in words."""
        return f"{self.corner:.0%} corner, {self.edge:.0%} edge, {self.face:.0%} face sharing"


def measure_connectivity(structure: StructureRecord, *, sites: frozenset[int] | None = None) -> Connectivity:
    """Return how the octahedra of a structure are linked.

    Parameters
    ----------
    structure
        A bulk, slab or interface.
    sites
        Indices of the sites to look at, such as those of the film; None: all.
    """
    bonds = find_halide_bonds(structure)
    if sites is not None:
        bonds = bonds[np.isin(bonds.first, list(sites)) & np.isin(bonds.second, list(sites))]
    shared = Counter(name for _, name in list_links(bonds))
    links = Counter(min(count, 3) for count in shared.values())
    total = sum(links.values())
    if total == 0:
        return Connectivity(0.0, 0.0, 0.0)
    return Connectivity(links[1] / total, links[2] / total, links[3] / total)


def find_halide_bonds(structure: StructureRecord) -> Pairs:
    """Return the bonds that make octahedra, from the metal to the halide."""
    longest_ang = max(LONGEST_BOND_ANG.values())
    pairs = find_pairs(structure.arrangement.positions_ang, structure.arrangement.lattice_ang, cutoff_ang=longest_ang)
    bonds = pairs.between(np.isin(structure.species, list(METALS)), np.isin(structure.species, list(BRIDGING_HALIDES)))
    return bonds[bonds.distances_ang <= [LONGEST_BOND_ANG[structure.species[halide]] for halide in bonds.second]]


def list_links(bonds: Pairs) -> list[tuple[tuple[int, int], Link]]:
    """Return every two bonds that meet at a halide, with the pair of metals that they link.

    Metals that share two halides are linked twice: by an edge.  The name of a pair depends neither on its order nor on
    the cell that it was found in.
    """
    around: dict[int, list[int]] = defaultdict(list)
    for bond, halide in enumerate(bonds.second.tolist()):
        around[halide].append(bond)
    links = [pair for halide in around.values() for pair in combinations(halide, 2)]
    return [(link, _name_link(bonds, *link)) for link in links]


def _name_link(bonds: Pairs, one: int, other: int) -> Link:
    first, second = int(bonds.first[one]), int(bonds.first[other])
    cells = tuple((bonds.images[one] - bonds.images[other]).tolist())
    back = tuple(-n for n in cells)
    return min((first, second, cells), (second, first, back))


def measure_overlap(found: Connectivity, expected: Connectivity) -> float:
    """Return the common part of two sets of link fractions, 0 to 1."""
    return min(found.corner, expected.corner) + min(found.edge, expected.edge) + min(found.face, expected.face)


def is_same_phase(found: Connectivity, expected: Connectivity) -> bool:
    """Return whether two structures have the same network of octahedra.

    A film has fewer links than its bulk, but of the same kinds: the fractions must overlap by three quarters and the
    commonest link must agree, or be one of two that are equally common.  Without links, as in Cs4PbBr6 or NaI, there
    must be none in either.
    """
    if expected.dominant is None:
        return found.dominant is None
    return expected.is_commonest(found.dominant) and measure_overlap(found, expected) >= SAME_PHASE_OVERLAP

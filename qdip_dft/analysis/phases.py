"""Phase identity: how the metal-halide octahedra are linked.

Two octahedra share one halide (corner), two (edge) or three (face).  Black perovskites share corners only; yellow
δ-CsPbI3 has double chains of edge-sharing octahedra; yellow δ-FAPbI3 has chains of face-sharing octahedra.  The
fractions of the three links, counted over metal pairs that share a halide, tell the phases apart whatever the tilts.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from enum import StrEnum

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
    shared: Counter[tuple[int, int, tuple[int, ...]]] = Counter()
    for metals in _metals_of_each_halide(structure, sites).values():
        for position, (first, first_image) in enumerate(metals):
            for second, second_image in metals[position + 1 :]:
                shared[_pair(first, first_image, second, second_image)] += 1
    links = Counter(min(count, 3) for count in shared.values())
    total = sum(links.values())
    if total == 0:
        return Connectivity(0.0, 0.0, 0.0)
    return Connectivity(links[1] / total, links[2] / total, links[3] / total)


def _metals_of_each_halide(
    structure: StructureRecord, sites: frozenset[int] | None
) -> dict[int, list[tuple[int, tuple[int, ...]]]]:
    """Return for each halide the metals bonded to it with their lattice translations."""
    neighbours = structure.to_pymatgen().get_neighbor_list(max(LONGEST_BOND_ANG.values()))
    bonded: dict[int, list[tuple[int, tuple[int, ...]]]] = defaultdict(list)
    for halide, metal, image, distance in zip(*neighbours, strict=True):
        if structure.species[halide] not in BRIDGING_HALIDES or structure.species[metal] not in METALS:
            continue
        if sites is not None and not {int(halide), int(metal)} <= sites:
            continue
        if distance <= LONGEST_BOND_ANG[structure.species[halide]]:
            bonded[int(halide)].append((int(metal), tuple(int(t) for t in image)))
    return bonded


def _pair(
    first: int, first_image: tuple[int, ...], second: int, second_image: tuple[int, ...]
) -> tuple[int, int, tuple[int, ...]]:
    """Return the key of a metal pair that does not depend on the order or on the cell it was found in."""
    forward = tuple(b - a for a, b in zip(first_image, second_image, strict=True))
    backward = tuple(-t for t in forward)
    return min((first, second, forward), (second, first, backward))


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

"""Finite faceted dots: cut from bulk by Wulff construction and passivated until neutral.

At equilibrium the distance of a facet from the centre is proportional to its surface energy (Wulff, Z. Kristallogr.
34, 449 (1901)), so one ratio γ(111)/γ(100) fixes the shape between the octahedron (ratio ≤ 1/√3) and the cube
(ratio ≥ √3).  In a rock-salt crystal, counted in half lattice constants from an ion, the sites are integers (i, j, k)
whose parity tells cation from anion.  A dot is then

    |i|, |j|, |k| ≤ L    and    |i| + |j| + |k| ≤ M,

and all eight {111} facets end with cations when M has the parity of the cations.  The excess charge of these facets
is neutralized by monovalent anions on the sites where the anion sublattice would continue, as in colloidal PbS dots.

For geometry, strain maps and export; the calculated energies of this package come from periodic slabs.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import ceil, log, pi, sqrt

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from qdip_dft.builders.interfaces import check_built
from qdip_dft.builders.ions import Array, Ion, IonicCrystal
from qdip_dft.builders.passivation import passivating_ion
from qdip_dft.errors import ChargeBalanceError, SlabError
from qdip_dft.model.bond_valence import bond_length_ang
from qdip_dft.model.snapping import first_least

Integers = NDArray[np.int_]
Site = tuple[int, int, int]

SMALLEST_DIAMETER_ANG, LARGEST_DIAMETER_ANG = 15.0, 80.0
"""Below, a dot is a cluster without facets; above, an embedded dot exceeds 50 000 atoms."""

OCTAHEDRON_RATIO, CUBE_RATIO = 1 / sqrt(3), sqrt(3)
"""Ratios γ(111)/γ(100) beyond which only one kind of facet is left."""

_STEPS = np.array([(1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0), (0, 0, 1), (0, 0, -1)])


class DotPart(StrEnum):
    """What an ion of a dot or of an embedded dot belongs to."""

    CORE = "dot"
    """The dot material."""
    PASSIVATION = "passivation"
    """The monovalent anions on its surface."""
    HOST = "host"
    """The matrix around it."""


@dataclass(frozen=True, slots=True)
class DotShape:
    """A faceted rock-salt dot in whole numbers.

    Parameters
    ----------
    n_100
        L: the {100} facets lie L half lattice constants from the centre.
    n_111
        M: the {111} facets lie M half lattice constants from the centre along i + j + k.
    is_cation_centred
        Whether the centre is a cation; otherwise an anion.
    """

    n_100: int
    n_111: int
    is_cation_centred: bool

    def contains(self, sites: Integers) -> NDArray[np.bool_]:
        """Return which integer sites, shape (n, 3), belong to the dot."""
        distances = np.abs(sites)
        return np.asarray((distances.max(axis=-1) <= self.n_100) & (distances.sum(axis=-1) <= self.n_111))

    def is_cation(self, sites: Integers) -> NDArray[np.bool_]:
        """Return which integer sites lie on the cation sublattice."""
        return np.asarray((sites.sum(axis=-1) % 2 == 0) == self.is_cation_centred)

    def list_sites(self) -> Integers:
        """Return the sites of the dot, shape (n, 3)."""
        sites = _list_grid(self.n_100)
        return sites[self.contains(sites)]

    @property
    def facet_ratio(self) -> float:
        """H(111)/h(100), each facet half a plane spacing beyond its outermost ions."""
        return (self.n_111 + 0.5) / (sqrt(3) * (self.n_100 + 0.5))


@dataclass(frozen=True, slots=True)
class FiniteDot:
    """A neutral faceted dot, its centre at the origin.

    Parameters
    ----------
    name
        Material, such as ``PbS``.
    shape
        The facets in whole numbers.
    lattice_constant_ang
        Of the material, in Å.
    ions, centres_ang, parts
        Core first, then the passivating anions; centres of shape (n, 3) in Å.
    """

    name: str
    shape: DotShape
    lattice_constant_ang: float
    ions: tuple[Ion, ...]
    centres_ang: Array
    parts: tuple[DotPart, ...]

    @property
    def diameter_ang(self) -> float:
        """Diameter in Å of the sphere that has the volume of the core."""
        return _diameter_ang(self.parts.count(DotPart.CORE), self.lattice_constant_ang)

    @property
    def facet_distances_ang(self) -> dict[str, float]:
        """How far the outermost planes of the core lie from the centre, in Å."""
        half = self.lattice_constant_ang / 2
        octahedral, cubic = self.shape.n_111 * half / sqrt(3), self.shape.n_100 * half
        return {"111": octahedral, "100": min(cubic, self.shape.n_111 * half)}

    @property
    def formal_charge(self) -> int:
        """Sum of the formal charges in e."""
        return sum(ion.charge for ion in self.ions)

    def count(self, part: DotPart) -> int:
        """Return the number of ions of a part."""
        return self.parts.count(part)

    def in_vacuum(self, vacuum_ang: float) -> IonicCrystal:
        """Return the dot in the middle of a cubic cell that leaves the given vacuum to its images in Å."""
        edge = float(np.ptp(self.centres_ang, axis=0).max()) + vacuum_ang
        lattice = edge * np.eye(3)
        return IonicCrystal(lattice_ang=lattice, ions=self.ions, frac_centres=self.centres_ang / edge + 0.5)


def choose_shape(*, lattice_constant_ang: float, diameter_ang: float, energy_ratio: float) -> DotShape:
    """Return the shape in whole planes that comes nearest to a diameter and a Wulff ratio.

    Parameters
    ----------
    lattice_constant_ang
        Of the conventional rock-salt cell, in Å.
    diameter_ang
        Diameter of the sphere of the same volume, in Å.
    energy_ratio
        γ(111)/γ(100) of the passivated facets; taken as 1/√3 below it (octahedron) and √3 above it (cube).

    Raises
    ------
    SlabError
        If the diameter or the ratio is out of range.
    """
    _require_sensible_size(diameter_ang, energy_ratio)
    wanted = float(np.clip(energy_ratio, OCTAHEDRON_RATIO, CUBE_RATIO))
    largest = ceil(2 * diameter_ang / lattice_constant_ang)
    shapes = [
        DotShape(n_100=n_100, n_111=n_111, is_cation_centred=n_111 % 2 == 0)
        for n_100 in range(1, largest + 1)
        for n_111 in range(max(2, n_100), 3 * n_100 + 1)
        if abs(log((n_111 + 0.5) / (sqrt(3) * (n_100 + 0.5)) / wanted)) < 0.5
    ]

    def misfit(shape: DotShape) -> float:
        found_ang = _diameter_ang(_count_sites(shape), lattice_constant_ang)
        ratio = float(np.clip(shape.facet_ratio, OCTAHEDRON_RATIO, CUBE_RATIO))
        return log(found_ang / diameter_ang) ** 2 + log(ratio / wanted) ** 2

    return shapes[first_least([misfit(shape) for shape in shapes])]


def _require_sensible_size(diameter_ang: float, energy_ratio: float) -> None:
    if not SMALLEST_DIAMETER_ANG <= diameter_ang <= LARGEST_DIAMETER_ANG:
        raise SlabError(
            f"a dot of {diameter_ang:g} Å",
            limit=f"diameters from {SMALLEST_DIAMETER_ANG:g} to {LARGEST_DIAMETER_ANG:g} Å can be built",
            why="a smaller one has no facets, and a larger one exceeds what can be handled atom by atom",
            remedy="choose a diameter of 20 to 60 Å",
        )
    if not 0 < energy_ratio < float("inf"):
        raise SlabError(
            f"a ratio of surface energies of {energy_ratio:g}",
            limit="γ(111)/γ(100) must be positive",
            why="a facet of no energy would spread without limit",
            remedy="give a ratio near 1; below 0.58 the dot is an octahedron, above 1.73 a cube",
        )


def _diameter_ang(n_core: int, lattice_constant_ang: float) -> float:
    volume_ang3 = n_core * lattice_constant_ang**3 / 8
    return float((6 * volume_ang3 / pi) ** (1 / 3))


def _count_sites(shape: DotShape) -> int:
    """Return the number of sites, summed over one axis in closed form."""
    axis = np.abs(np.arange(-shape.n_100, shape.n_100 + 1))
    reach = np.minimum(shape.n_111 - axis[:, None] - axis[None, :], shape.n_100)
    return int(np.sum(np.where(reach >= 0, 2 * reach + 1, 0)))


def _list_grid(reach: int) -> Integers:
    axis = np.arange(-reach, reach + 1)
    return np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3)


def build_finite_dot(
    crystal: IonicCrystal,
    *,
    name: str,
    diameter_ang: float,
    energy_ratio: float,
    passivation: str | None,
    seed: int = 0,
) -> FiniteDot:
    """Return a neutral, faceted dot with a passivated surface.

    The anions fill the sites of most cation neighbours first: the hollows of {111}, then the edges, then single
    cations of the lowest coordination.  Whole orbits of the cubic group are filled as long as the number allows it;
    the rest goes in pairs related by inversion, as far apart as possible, so that the dot has no dipole.

    Parameters
    ----------
    crystal
        The dot material in its conventional rock-salt cell.
    name
        The material, for messages.
    diameter_ang
        Diameter of the sphere of the same volume, in Å; whole planes come as near as they can.
    energy_ratio
        γ(111)/γ(100) of the passivated facets.
    passivation
        Monovalent anion, such as ``I``; None: only a dot that is neutral without one is returned.
    seed
        Decides between equally good places of the last anions.

    Raises
    ------
    SlabError
        If the material is not rock salt, or the size is out of range.
    ChargeBalanceError
        If no whole number of monovalent anions on the surface makes the dot neutral, or the anion is not monovalent.
    """
    cation, anion, lattice_constant_ang = _read_rock_salt(crystal, name)
    if passivation is not None:
        passivating_ion(passivation, outward=1.0)
    shape = choose_shape(
        lattice_constant_ang=lattice_constant_ang, diameter_ang=diameter_ang, energy_ratio=energy_ratio
    )
    core = shape.list_sites()
    is_cation = shape.is_cation(core)
    excess = int(np.sum(np.where(is_cation, cation.charge, anion.charge)))
    places = _choose_places(shape, core[is_cation], n_wanted=excess, anion=passivation, name=name, seed=seed)
    half = lattice_constant_ang / 2
    added = [_place_anion(place, core[is_cation], half, cation.label, str(passivation)) for place in places]
    dot = FiniteDot(
        name=name,
        shape=shape,
        lattice_constant_ang=lattice_constant_ang,
        ions=(*(cation if c else anion for c in is_cation), *(ion for ion, _ in added)),
        centres_ang=np.vstack([core * half, *(centre for _, centre in added)]),
        parts=(*(DotPart.CORE for _ in core), *(DotPart.PASSIVATION for _ in places)),
    )
    check_built(dot.in_vacuum(20.0), name=f"{name} dot")
    return dot


def _read_rock_salt(crystal: IonicCrystal, name: str) -> tuple[Ion, Ion, float]:
    """Return cation, anion and lattice constant in Å of a conventional rock-salt cell."""
    edge = float(np.linalg.norm(crystal.lattice_ang[0]))
    cations = [k for k, charge in enumerate(crystal.charges) if charge > 0]
    steps = 2 * (crystal.frac_centres - crystal.frac_centres[cations[0]]) if cations else np.full((1, 3), 0.5)
    whole = np.round(steps)
    is_rock_salt = (
        len(crystal.ions) == 8
        and len({ion.label for ion in crystal.ions}) == 2
        and np.allclose(crystal.lattice_ang @ crystal.lattice_ang.T, edge**2 * np.eye(3), atol=1e-3 * edge**2)
        and np.allclose(steps, whole, atol=1e-3)
        and np.array_equal(whole.sum(axis=1) % 2 == 0, crystal.charges > 0)
    )
    if not is_rock_salt:
        raise SlabError(
            f"{name} is not given as a conventional rock-salt cell",
            limit="finite dots are cut from cubic cells of four cations and four anions (PbS, PbSe, PbTe)",
            why="the facets and the places of the passivating anions are those of rock salt",
            remedy="choose PbS, PbSe or PbTe of the library, or give the conventional cell",
        )
    anion = next(ion for ion in crystal.ions if ion.charge < 0)
    return crystal.ions[cations[0]], anion, edge


def _choose_places(
    shape: DotShape, cations: Integers, *, n_wanted: int, anion: str | None, name: str, seed: int
) -> list[Site]:
    """Return the sites of the passivating anions, best bound first."""
    groups = _rank_places(shape, cations)
    available = sum(len(group) for group in groups)
    if n_wanted == 0:
        return []
    if anion is None or not 0 < n_wanted <= available or n_wanted % 2:
        raise ChargeBalanceError(
            f"the faceted {name} dot carries {n_wanted:+d} e",
            limit=f"a passivating anion must be given, and its surface takes an even number up to {available} of them",
            why="a charged dot has no defined energy or neighbourhood",
            remedy=f"passivate with {n_wanted} halides such as I, or choose another diameter or ratio of the facets",
        )
    chosen: list[Site] = []
    for group in groups:
        n_left = n_wanted - len(chosen)
        chosen += group if len(group) <= n_left else _choose_symmetric(group, n_left, seed=seed)
        if len(chosen) == n_wanted:
            break
    return chosen


def _rank_places(shape: DotShape, cations: Integers) -> list[list[Site]]:
    """Return the empty anion sites around the dot in groups: most cations first, then the barest cations."""
    partners: dict[Site, list[Site]] = defaultdict(list)
    coordination: dict[Site, int] = {}
    for cation in cations:
        around = cation + _STEPS
        is_empty = ~shape.contains(around)
        coordination[_freeze(cation)] = int(np.sum(~is_empty))
        for place in around[is_empty]:
            partners[_freeze(place)].append(_freeze(cation))
    for around_place in partners.values():
        if len(around_place) > 1:
            coordination.update({cation: coordination[cation] + 1 for cation in around_place})
    groups: dict[tuple[int, int], list[Site]] = defaultdict(list)
    for place, around_place in partners.items():
        barest = min(coordination[cation] for cation in around_place) if len(around_place) == 1 else 0
        groups[-len(around_place), barest].append(place)
    return [sorted(groups[rank]) for rank in sorted(groups)]


def _freeze(site: Integers) -> Site:
    i, j, k = (int(x) for x in site)
    return i, j, k


def _choose_symmetric(group: Sequence[Site], n_wanted: int, *, seed: int) -> list[Site]:
    """Return some sites of a group: whole orbits of the cubic group if they add up, else inversion pairs."""
    orbits: dict[Site, list[Site]] = defaultdict(list)
    for site in group:
        orbits[_freeze(np.sort(np.abs(site)))].append(site)
    reachable: dict[int, tuple[Site, ...]] = {0: ()}
    for orbit, members in orbits.items():
        for total, used in list(reachable.items()):
            reachable.setdefault(total + len(members), (*used, orbit))
    if n_wanted in reachable:
        return [site for orbit in reachable[n_wanted] for site in orbits[orbit]]
    return _spread_pairs(group, n_wanted // 2, seed=seed)


def _spread_pairs(group: Sequence[Site], n_pairs: int, *, seed: int) -> list[Site]:
    """Return inversion pairs, each next one as far from the earlier ones as possible; the seed breaks ties."""
    halves = np.array([site for site in group if site > (0, 0, 0)])
    halves = halves[np.random.default_rng(seed).permutation(len(halves))]
    nearest = np.full(len(halves), np.inf)
    chosen: list[int] = []
    for _ in range(n_pairs):
        nearest[chosen] = -1.0
        chosen.append(int(np.argmax(nearest)))
        for end in (halves[chosen[-1]], -halves[chosen[-1]]):
            nearest = np.minimum(nearest, np.linalg.norm(halves - end, axis=1))
    return [_freeze(sign * halves[index]) for index in chosen for sign in (1, -1)]


def _place_anion(place: Site, cations: Integers, half_ang: float, cation: str, label: str) -> tuple[Ion, Array]:
    """Return a passivating anion outside the cations of a site, one bond length from each, and its centre in Å.

    A monovalent anion shares its one bond valence among its n cations; a hydroxide points outwards.
    """
    around = cations[np.sum(np.abs(cations - np.array(place)), axis=1) == 1] * half_ang
    middle = around.mean(axis=0)
    outward = np.array(place) * half_ang - middle
    outward = outward / np.linalg.norm(outward)
    ion, beyond = passivating_ion(label, outward=1.0)
    length = bond_length_ang(cation, ion.species[0], 1 / len(around))
    lateral = float(np.linalg.norm(around[0] - middle))
    rise = sqrt(max(length**2 - lateral**2, 0.25))
    turn = Rotation.align_vectors(outward[None], [[0.0, 0.0, 1.0]])[0].as_matrix()
    return ion.rotated(turn), np.asarray(middle + (rise + beyond) * outward)


def describe_counts(counts: Mapping[str, int]) -> str:
    """Return counts in words, such as ``12 Cs, 3 Pb``; ``none`` when empty."""
    return ", ".join(f"{number} {label}" for label, number in counts.items()) or "none"

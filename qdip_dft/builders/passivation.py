"""Monovalent anions on polar, cation-terminated faces: how many, where, and which.

A face cut from an ionic crystal carries the bound charge P = Σ q_j (z_j/d + k_j) per 1 × 1 cell; the field inside the
slab vanishes when charges on the face compensate it (Tasker, J. Phys. C 12, 4977 (1979); Noguera, J. Phys.: Condens.
Matter 12, R367 (2000)).  Electron counting gives the same number: every bond carries the strength q/N of its cation of
charge q with N neighbours (Pauling), and each broken bond leaves its cation short of that many electrons (Pashley,
Phys. Rev. B 40, 10481 (1989)).  Rock-salt (111): three broken bonds of 2/6, one halide per Pb.  Zinc-blende (100): two
of 2/4, one per Cd.  Zinc-blende (111): one or three of 2/4, so 1/2 on one face and 3/2 on the other.

A fractional number has to become whole on the common cell of dot and film.  The anions continue the crystal's own anion
sites, evenly spread; where these do not suffice the others sit atop the surface cations.
"""

from __future__ import annotations

from collections import Counter
from fractions import Fraction
from itertools import product
from math import sqrt

import numpy as np

from qdip_dft.builders.bonds import find_bonds
from qdip_dft.builders.ions import Array, Ion, IonicCrystal
from qdip_dft.errors import ChargeBalanceError
from qdip_dft.model.bond_valence import bond_length_ang
from qdip_dft.model.elements import HALIDES
from qdip_dft.model.snapping import TOLERANCE, first_least

HYDROXIDE = "OH"
HYDROXIDE_BOND_ANG = 0.97
"""O–H distance of a hydroxide ion, Å."""

BOND_SPREAD_ANG = 0.3
"""Cations this much further from a site, in the plane, than its nearest one are still bonded to its anion."""

LARGEST_DISAGREEMENT_E = 0.2
"""Electron counting and Σ q z agree to this on a face of ordinary bonds."""


def passivating_ion(label: str, *, outward: float) -> tuple[Ion, float]:
    """Return a passivating anion and how far its centre lies beyond the atom that bonds, along the normal in Å.

    Parameters
    ----------
    label
        A halide, or ``OH``: oxygen towards the cations, the bond along the normal.
    outward
        +1 on the upper, −1 on the lower face.

    Raises
    ------
    ChargeBalanceError
        If it is neither.
    """
    if label in HALIDES:
        return Ion(label, -1, (label,), np.zeros((1, 3)), ()), 0.0
    if label != HYDROXIDE:
        raise ChargeBalanceError(
            f"passivation with {label}",
            limit=f"known monovalent anions are {', '.join(HALIDES)} and {HYDROXIDE}",
            why="the charge of anything else would be a guess",
            remedy="choose one of these, as `dot.passivation` of a study or `--passivation` of `qdip dot`",
        )
    half = 0.5 * HYDROXIDE_BOND_ANG
    offsets = np.array([[0.0, 0.0, -outward * half], [0.0, 0.0, outward * half]])
    return Ion(HYDROXIDE, -1, ("O", "H"), offsets, ()), half


def count_missing_electrons(oriented: IonicCrystal, cut: tuple[int, ...], *, is_bottom: bool) -> Fraction:
    """Return the monovalent anions per 1 × 1 cell that one face needs, by electron counting.

    Parameters
    ----------
    oriented
        The oriented cell without a cut.
    cut
        Lower cut k of a bottom face (it keeps the images p ≥ k_j) or upper cut l of a top face (p < l_j).
    is_bottom
        Which face is asked for.

    Returns
    -------
    Fraction
        Negative where the face has electrons to spare.
    """
    bonds = find_bonds(oriented)
    n_bonds = Counter(ion for bond in bonds for ion in (bond.first, bond.second))
    missing = Fraction(0)
    for bond in bonds:
        crossings = cut[bond.second] - bond.translation[2] - cut[bond.first]
        keeps_first = (crossings > 0) == is_bottom
        kept, lost = (bond.first, bond.second) if keeps_first else (bond.second, bond.first)
        charge = oriented.ions[kept].charge
        cation = kept if charge > 0 else lost
        strength = Fraction(oriented.ions[cation].charge, n_bonds[cation])
        missing += abs(crossings) * strength * (1 if charge > 0 else -1)
    return missing


def count_anions(oriented: IonicCrystal, lower: tuple[int, ...], upper: tuple[int, ...]) -> tuple[Fraction, Fraction]:
    """Return the monovalent anions per 1 × 1 cell that leave a slab neutral and without a field: bottom and top face.

    Parameters
    ----------
    oriented
        The oriented cell without a cut.
    lower, upper
        The cuts of the bare slab.

    Raises
    ------
    ChargeBalanceError
        If electron counting and the dipole disagree, or a face would need cations.
    """
    counted = (
        count_missing_electrons(oriented, lower, is_bottom=True),
        count_missing_electrons(oriented, upper, is_bottom=False),
    )
    heights = oriented.frac_centres[:, 2]
    bound = (-float(oriented.charges @ (heights + lower)), float(oriented.charges @ (heights + upper)))
    disagreement_e = max(abs(float(number) - charge) for number, charge in zip(counted, bound, strict=True))
    if min(counted) > 0 and disagreement_e < LARGEST_DISAGREEMENT_E:
        return counted
    raise ChargeBalanceError(
        f"faces that need {counted[0]} and {counted[1]} monovalent anions per 1 × 1 cell by their broken bonds,"
        f" and {bound[0]:.2f} and {bound[1]:.2f} by their dipole",
        limit="both counts must agree and be positive",
        why="the slab would keep a field, and its energy would grow with its thickness",
        remedy="choose another facet",
    )


def require_whole_number(per_cell: Fraction, *, n_cells: int, facet: str) -> int:
    """Return the anions on one face of a supercell of 1 × 1 cells.

    Raises
    ------
    ChargeBalanceError
        If it is no whole number.
    """
    count = per_cell * n_cells
    if count.denominator == 1:
        return int(count)
    raise ChargeBalanceError(
        f"{facet} needs {per_cell} monovalent anions per 1 × 1 cell, {float(count):g} on {n_cells} cells",
        limit=f"the interface cell must hold a multiple of {per_cell.denominator} surface cells of the dot",
        why="with whole anions the slab would stay charged or keep a field",
        remedy="take another common cell: raise matching.max_area_ang2 or matching.max_strain",
    )


def place_anions(
    surface: list[tuple[str, Array]],
    sites: Array,
    vectors: Array,
    *,
    label: str,
    n_anions: int,
    outward: float,
) -> list[tuple[Ion, Array]]:
    """Return the anions of one face with their centres in Å.

    Parameters
    ----------
    surface
        Label and centre of each cation of the outermost layer.
    sites
        Shape (n, 3): where the crystal's own anions would continue, in Å; filled first.
    vectors
        Shape (2, 2): the interface cell, rows in Å.
    label
        The anion.
    n_anions
        How many.
    outward
        +1 on the upper, −1 on the lower face.

    Raises
    ------
    ChargeBalanceError
        If the face has fewer sites.
    """
    atop = np.array([centre for _, centre in surface])
    if n_anions > len(sites) + len(atop):
        raise ChargeBalanceError(
            f"{n_anions} anions on a face with {len(sites)} hollow and {len(atop)} atop sites",
            limit="each site holds one anion",
            why="closer anions would leave the surface",
            remedy="choose another facet",
        )
    chosen = sites[spread_evenly(sites, vectors, count=min(n_anions, len(sites)))]
    more = atop[spread_evenly(atop, vectors, count=n_anions - len(chosen))]
    ion, beyond = passivating_ion(label, outward=outward)
    bonding = ion.species[0]
    placed = [_at_bond_length(site, surface, vectors, bonding, outward) for site in (*chosen, *more)]
    return [(ion, centre + np.array([0.0, 0.0, outward * beyond])) for centre in placed]


def spread_evenly(points: Array, vectors: Array, *, count: int) -> list[int]:
    """Return which points to fill so that the filled ones lie far apart in a periodic cell, in ascending order.

    Each next point is the one furthest from those chosen; then single points are exchanged while Σ 1/r² falls.

    Parameters
    ----------
    points
        Shape (n, 2 or 3) in Å; heights do not count.
    vectors
        Shape (2, 2): the interface cell, rows in Å.
    count
        How many are filled.
    """
    if count >= len(points) or count == 0:
        return list(range(count))
    repulsion = 1.0 / np.maximum(_lateral_distances(points, points, vectors), 1e-3) ** 2
    chosen = [0]
    while len(chosen) < count:
        free = [i for i in range(len(points)) if i not in chosen]
        chosen.append(free[first_least([float(repulsion[i, chosen].max()) for i in free])])
    while (better := _exchange(chosen, repulsion)) is not None:
        chosen = better
    return sorted(chosen)


def _exchange(chosen: list[int], repulsion: Array) -> list[int] | None:
    """Return the choice with one point exchanged if that lowers the repulsion."""
    free = [i for i in range(len(repulsion)) if i not in chosen]
    for place, new in product(range(len(chosen)), free):
        rest = chosen[:place] + chosen[place + 1 :]
        if repulsion[new, rest].sum() < repulsion[chosen[place], rest].sum() - TOLERANCE:
            return [*rest, new]
    return None


def _lateral_distances(first: Array, second: Array, vectors: Array) -> Array:
    """Return the shortest in-plane distances between points over the periodic images of an interface cell."""
    return np.asarray(_image_distances(first, second, vectors).min(axis=-1))


def _image_distances(first: Array, second: Array, vectors: Array) -> Array:
    """Return in-plane distances to the images around a cell that need not be reduced, shape (n, m, 49)."""
    steps = np.array(list(product(range(-3, 4), repeat=2))) @ vectors
    difference = (first[:, None, :2] - second[None, :, :2]) @ np.linalg.inv(vectors)
    difference = (difference - np.rint(difference)) @ vectors
    return np.asarray(np.linalg.norm(difference[:, :, None] + steps, axis=-1))


def _at_bond_length(site: Array, surface: list[tuple[str, Array]], vectors: Array, anion: str, outward: float) -> Array:
    """Return the site moved along the normal to one bond length from its nearest cations, which share its valence."""
    lateral = _image_distances(site[None], np.array([centre for _, centre in surface]), vectors)[0]
    n_bonds = int(np.sum(lateral < lateral.min() + BOND_SPREAD_ANG))
    heights = []
    for (label, centre), distances in zip(surface, lateral, strict=True):
        length = bond_length_ang(label, anion, 1.0 / n_bonds)
        rise = sqrt(max(length**2 - float(distances.min()) ** 2, 0.25))
        heights.append(outward * centre[2] + rise)
    return np.array([site[0], site[1], outward * max(heights)])

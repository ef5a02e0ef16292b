"""A dot in a cavity of a host supercell: whole host ions leave, and the wall is made neutral."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qdip_dft.builders.finite_dots import DotPart, FiniteDot, Integers
from qdip_dft.builders.interfaces import check_built
from qdip_dft.builders.ions import Array, Ion, IonicCrystal, repeat_crystal
from qdip_dft.errors import ChargeBalanceError, InterfaceError
from qdip_dft.model.elements import contact_radii_ang
from qdip_dft.model.snapping import TOLERANCE, ceil_whole, first_least, rank, wrap

LEAST_HOST_ANG = 10.0
"""Least host between a dot and its images: half of it must exceed the longest contact."""

BONDED_RATIO = 1.2
"""Ions of opposite charge count as bonded up to this times the sum of their contact radii."""

LEAST_PARTNERS = 3
"""A multivalent cation of the host with fewer anions around it, half an octahedron, is taken out of the cavity wall."""


@dataclass(frozen=True, slots=True)
class EmbeddedDot:
    """A dot in a cavity of a host supercell, neutral as a whole and in both parts.

    Parameters
    ----------
    crystal
        Dot first, host ions after it.
    parts
        The part of each ion.
    host_sites
        For each host ion, its index among the ions of the host's own cell.
    carved
        Host ions by label that had no room beside the dot.
    balanced
        Host ions by label that were taken from the wall of the cavity to make the host neutral.
    """

    crystal: IonicCrystal
    parts: tuple[DotPart, ...]
    host_sites: tuple[int, ...]
    carved: dict[str, int]
    balanced: dict[str, int]


def embed_dot(
    dot: FiniteDot, host: IonicCrystal, *, host_name: str, host_thickness_ang: float = 20.0, clearance_ang: float = 0.0
) -> EmbeddedDot:
    """Return the dot in a cavity of a host supercell, its cubic axes along x, y and z.

    A host ion leaves as a whole, molecule or atom, when one of its atoms is closer to an atom of the dot than the sum
    of their contact radii plus the clearance.  Multivalent cations left with less than half an octahedron follow.
    What charge the host then has is taken away in monovalent ions of the cavity wall, those with the fewest partners
    first.

    Parameters
    ----------
    dot
        A neutral dot.
    host
        The host crystal, third vector normal to the first two.
    host_name
        For messages.
    host_thickness_ang
        Least host between the dot and its images, in Å.
    clearance_ang
        Room beyond contact, in Å.

    Raises
    ------
    InterfaceError
        If the host is too thin, stands oblique, or ions come too close.
    ChargeBalanceError
        If the host has too few monovalent ions at the cavity to become neutral.
    """
    _require_room(host, host_name, host_thickness_ang, clearance_ang)
    supercell, host_sites, middle = _repeat_around(dot, host, host_thickness_ang)
    dot_centres = dot.centres_ang + middle
    has_room = _find_room(supercell, dot, dot_centres, clearance_ang)
    kept = _drop_bare_cations(supercell, has_room, dot, dot_centres)
    balanced = _balance(supercell, kept, dot, dot_centres, host_name)
    final = np.flatnonzero(balanced)
    embedded = EmbeddedDot(
        crystal=IonicCrystal.at(
            supercell.lattice_ang,
            (*dot.ions, *(supercell.ions[k] for k in final)),
            np.vstack([dot_centres, supercell.centres_ang[final]]),
        ),
        parts=(*dot.parts, *(DotPart.HOST for _ in final)),
        host_sites=tuple(host_sites[k] for k in final),
        carved=_count_labels(supercell, np.flatnonzero(~has_room)),
        balanced=_count_labels(supercell, np.flatnonzero(has_room & ~balanced)),
    )
    check_built(embedded.crystal, name=f"{dot.name} dot in {host_name}")
    return embedded


def _require_room(host: IonicCrystal, host_name: str, host_thickness_ang: float, clearance_ang: float) -> None:
    least = LEAST_HOST_ANG + 2 * max(clearance_ang, 0.0)
    if host_thickness_ang < least:
        raise InterfaceError(
            f"{host_thickness_ang:g} Å of {host_name} between a dot and its images",
            limit=f"at least {least:g} Å are needed",
            why="the cavities of neighbouring dots would touch",
            remedy=f"raise the host thickness to {least:g} Å or more; 20 Å is usual",
        )
    if not (np.allclose(host.lattice_ang[2, :2], 0, atol=1e-6) and np.allclose(host.lattice_ang[:2, 2], 0, atol=1e-6)):
        raise InterfaceError(
            f"the third vector of {host_name} is not along z and normal to the others",
            limit="hosts with the third vector normal to the first two can be carved",
            why="the sanity gate of built structures needs that setting",
            remedy="give the host in an orthogonal or hexagonal setting",
        )


def _repeat_around(dot: FiniteDot, host: IonicCrystal, thickness_ang: float) -> tuple[IonicCrystal, list[int], Array]:
    """Return the host supercell, the host ion of each of its ions, and the place of the dot's centre in Å.

    The centre is the multivalent cation next to the middle, an inversion centre of the cubic perovskites.
    """
    normals = np.linalg.inv(host.lattice_ang)
    heights = 1 / np.linalg.norm(normals, axis=0)
    extents = 2 * np.abs(dot.centres_ang @ (normals * heights)).max(axis=0)
    numbers = [int(n) for n in ceil_whole((extents + thickness_ang) / heights)]
    repeated = repeat_crystal(host, np.diag(numbers))
    host_sites = np.repeat(np.arange(len(host.ions)), int(np.prod(numbers))).tolist()
    charges = repeated.charges
    anchors = np.flatnonzero(charges == charges.max())
    frac = repeated.frac_centres
    nearest = anchors[first_least(np.linalg.norm((wrap(frac[anchors]) - 0.5) @ repeated.lattice_ang, axis=1))]
    wrapped = wrap(frac - frac[nearest] + 0.5)
    crystal = IonicCrystal(lattice_ang=repeated.lattice_ang, ions=repeated.ions, frac_centres=wrapped)
    return crystal, host_sites, np.asarray(0.5 * repeated.lattice_ang.sum(axis=0))


def _atoms_of(ions: Iterable[Ion], centres_ang: Array) -> tuple[Array, Array, Integers, Integers]:
    """Return positions, contact radii, owning ion and charge sign of every atom."""
    ions = tuple(ions)
    positions = np.concatenate([centre + ion.offsets_ang for ion, centre in zip(ions, centres_ang, strict=True)])
    species = [symbol for ion in ions for symbol in ion.species]
    radii = contact_radii_ang(species)
    owners = np.repeat(np.arange(len(ions)), [len(ion.species) for ion in ions])
    signs = np.sign([ion.charge for ion in ions]).astype(int)[owners]
    return positions, radii, owners, signs


def _find_room(supercell: IonicCrystal, dot: FiniteDot, dot_centres: Array, clearance_ang: float) -> NDArray[np.bool_]:
    """Return which host ions keep their contact distance to the dot and lie outside of it."""
    from scipy.spatial import cKDTree

    positions, radii, owners, _ = _atoms_of(supercell.ions, supercell.centres_ang)
    dot_positions, dot_radii, _, _ = _atoms_of(dot.ions, dot_centres)
    tree = cKDTree(positions)
    has_room = np.ones(len(supercell.ions), dtype=bool)
    for position, radius in zip(dot_positions, dot_radii, strict=True):
        near = np.array(tree.query_ball_point(position, radius + float(radii.max()) + clearance_ang), dtype=int)
        distances = np.linalg.norm(positions[near] - position, axis=1)
        has_room[owners[near[distances < radii[near] + radius + clearance_ang]]] = False
    sites = (supercell.centres_ang - dot_centres[: dot.count(DotPart.CORE)].mean(axis=0)) * 2 / dot.lattice_constant_ang
    distance = np.abs(sites)
    limits = dot.shape.n_100 + TOLERANCE, dot.shape.n_111 + TOLERANCE  # ions on a facet plane lie inside
    inside = (distance.max(axis=1) <= limits[0]) & (distance.sum(axis=1) <= limits[1])
    return np.asarray(has_room & ~inside)


def _count_partners(
    supercell: IonicCrystal, kept: NDArray[np.bool_], dot: FiniteDot, dot_centres: Array
) -> tuple[Integers, Array]:
    """Return for each host ion the number of bonded ions of opposite charge and its distance to the dot in Å.

    Only the wall of the cavity is asked about, which lies inside the cell; the outer faces are not looked at.
    """
    from scipy.spatial import cKDTree

    everything = (*supercell.ions, *dot.ions)
    centres = np.vstack([supercell.centres_ang, dot_centres])
    positions, radii, owners, signs = _atoms_of(everything, centres)
    is_present = np.concatenate([kept, np.ones(len(dot.ions), dtype=bool)])[owners]
    pairs = cKDTree(positions).query_pairs(2 * BONDED_RATIO * float(radii.max()), output_type="ndarray")
    first, second = pairs[:, 0], pairs[:, 1]
    distances = np.linalg.norm(positions[first] - positions[second], axis=1)
    is_bonded = (distances < BONDED_RATIO * (radii[first] + radii[second])) & (signs[first] * signs[second] < 0)
    is_bonded &= is_present[first] & is_present[second]
    bonds = np.unique(np.sort(np.column_stack([owners[first[is_bonded]], owners[second[is_bonded]]]), axis=1), axis=0)
    partners = np.bincount(bonds.ravel(), minlength=len(everything))[: len(supercell.ions)]
    nearest, _ = cKDTree(dot_centres).query(supercell.centres_ang)
    return partners, np.asarray(nearest)


def _drop_bare_cations(
    supercell: IonicCrystal, kept: NDArray[np.bool_], dot: FiniteDot, dot_centres: Array
) -> NDArray[np.bool_]:
    partners, distances = _count_partners(supercell, kept, dot, dot_centres)
    is_wall = distances < _wall_thickness_ang(supercell)
    is_bare = (supercell.charges > 1) & (partners < LEAST_PARTNERS) & is_wall
    return np.asarray(kept & ~is_bare)


def _wall_thickness_ang(supercell: IonicCrystal) -> float:
    """Return how far from the dot's ions the wall of the cavity reaches: two contacts of the largest ions."""
    return 4 * float(contact_radii_ang(supercell.species).max())


def _balance(
    supercell: IonicCrystal, kept: NDArray[np.bool_], dot: FiniteDot, dot_centres: Array, host_name: str
) -> NDArray[np.bool_]:
    """Return the host ions that stay when its charge is taken away in monovalent ions of the wall."""
    charges = supercell.charges
    excess = round(float(charges[kept].sum()))
    partners, distances = _count_partners(supercell, kept, dot, dot_centres)
    is_removable = kept & (charges == np.sign(excess)) & (distances < _wall_thickness_ang(supercell))
    removable = np.flatnonzero(is_removable)
    if len(removable) < abs(excess):
        raise ChargeBalanceError(
            f"the cavity leaves {host_name} with {excess:+d} e",
            limit=f"only {len(removable)} monovalent ions of that sign line it",
            why="the supercell would be charged",
            remedy="choose another diameter, clearance or host",
        )
    order = np.lexsort((np.array(rank(distances[removable])), partners[removable]))
    balanced = kept.copy()
    balanced[removable[order[: abs(excess)]]] = False
    return balanced


def _count_labels(supercell: IonicCrystal, indices: Integers) -> dict[str, int]:
    return dict(sorted(Counter(supercell.ions[k].label for k in indices).items()))

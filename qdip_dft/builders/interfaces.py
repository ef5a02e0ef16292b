"""Joining a film and a dot at contact, and the gate that every built structure passes."""

from __future__ import annotations

from itertools import product

import numpy as np

from qdip_dft.builders.films import in_vacuum
from qdip_dft.builders.ions import Array, IonicCrystal, atom_positions
from qdip_dft.builders.planes import reduce_basis
from qdip_dft.errors import ChargeBalanceError, InterfaceError
from qdip_dft.model.elements import CLOSEST_COVALENT_RATIO, contact_radii_ang, covalent_radii_ang
from qdip_dft.model.neighbours import find_close_pairs

START_COMPRESSION = 0.85
"""Film and dot start at this share of the contact radii, slightly inside the equilibrium: repulsion is steep, so a
relaxation comes back to the minimum; on the flat attractive side each atom feels so little that it stops too early."""

SAFE_COVALENT_RATIO = 0.78
"""No pair of film and dot starts closer than this share of the sum of its covalent radii."""

_CONTACT_DEPTH_ANG = 6.0
"""Atoms this far below a surface have no contacts across it."""


def join_slabs(dot: IonicCrystal, film: IonicCrystal, *, shift_ang: Array, vacuum_ang: float) -> IonicCrystal:
    """Return the interface: the film above the dot, slightly closer than the contact radii of their atoms allow.

    The height is analytic: for every pair of atoms with lateral distance ρ and contact distance r > ρ the film must
    stand at least √(r² − ρ²) above; the largest demand decides.  r is `START_COMPRESSION` of the sum of the radii.
    Dot ions come first, film ions after them.

    Parameters
    ----------
    dot, film
        Slabs with the same first two lattice vectors, along which both are periodic.
    shift_ang
        Shape (2,), in-plane displacement of the film in Å.
    vacuum_ang
        Vacuum above the film in Å.

    Raises
    ------
    InterfaceError
        If the slabs do not share their in-plane cell.
    """
    _require_same_cell(dot, film)
    displacement = np.array([shift_ang[0], shift_ang[1], 0.0])
    displacement[2] = contact_height_ang(dot, film, displacement)
    centres = np.vstack([dot.centres_ang, film.centres_ang + displacement])
    joined = IonicCrystal.at(dot.lattice_ang, (*dot.ions, *film.ions), centres)
    return in_vacuum(joined, vacuum_ang)


def _require_same_cell(dot: IonicCrystal, film: IonicCrystal) -> None:
    difference = float(np.abs(dot.lattice_ang[:2] - film.lattice_ang[:2]).max())
    if difference > 1e-6:
        raise InterfaceError(
            f"dot and film cells differ by {difference:.2g} Å in the interface plane",
            limit="both slabs must have the same in-plane vectors to 1e-6 Å",
            why="the joined structure would not be periodic",
            remedy="build both slabs on one interface cell",
        )


def contact_height_ang(dot: IonicCrystal, film: IonicCrystal, displacement: Array) -> float:
    """Return how far the film must be raised so that no pair is closer than its contact distance.

    Where no ion of the film lies above one of the dot, the film stands level with the dot's top instead of sinking.
    """
    lower, upper = atom_positions(dot), atom_positions(film) + displacement
    near_top = lower[:, 2] > lower[:, 2].max() - _CONTACT_DEPTH_ANG
    near_bottom = upper[:, 2] < upper[:, 2].min() + _CONTACT_DEPTH_ANG
    contact = _contact_distances(dot.species, film.species)[np.ix_(near_top, near_bottom)]
    lower, upper = lower[near_top], upper[near_bottom]
    lateral = _lateral_distances(lower[:, :2], upper[:, :2], dot.lattice_ang[:2, :2], reach_ang=float(contact.max()))
    rise = np.sqrt(np.maximum(contact**2 - lateral**2, 0.0))
    demand = np.where(lateral < contact, lower[:, None, 2] + rise - upper[None, :, 2], -np.inf)
    return float(demand.max() if np.isfinite(demand).any() else lower[:, 2].max() - upper[:, 2].min())


def _contact_distances(first: tuple[str, ...], second: tuple[str, ...]) -> Array:
    """Return the least starting distance of every pair, shape (n, m), in Å; never one that the gate would refuse."""
    ionic, covalent = map(contact_radii_ang, (first, second)), map(covalent_radii_ang, (first, second))
    least = np.maximum(START_COMPRESSION * np.add.outer(*ionic), SAFE_COVALENT_RATIO * np.add.outer(*covalent))
    return np.asarray(least)


def _lateral_distances(first: Array, second: Array, vectors: Array, *, reach_ang: float) -> Array:
    """Return in-plane distances between two sets of points over periodic images, shape (n, m), in Å.

    They are exact up to the reach; longer ones may be those of another image.
    """
    vectors = reduce_basis(vectors)  # for a skewed basis the nearest image may lie beyond the next cells
    difference = (second[None, :, :] - first[:, None, :]) @ np.linalg.inv(vectors)
    difference -= np.round(difference)
    narrowest_ang = abs(float(np.linalg.det(vectors))) / max(np.linalg.norm(vectors, axis=1))
    span = (0,) if narrowest_ang > 2.0 * reach_ang else (-1, 0, 1)  # in a wide cell only the wrapped image is in reach
    images = np.array(list(product(span, repeat=2)))
    vectors_to_images = (difference[:, :, None, :] + images[None, None, :, :]) @ vectors
    return np.asarray(np.linalg.norm(vectors_to_images, axis=3).min(axis=2))


def check_built(crystal: IonicCrystal, *, name: str) -> IonicCrystal:
    """Return the crystal if it is sound: neutral, right-handed, third vector along z, no atoms too close.

    Parameters
    ----------
    crystal
        A slab or interface.
    name
        What it is, for messages.

    Raises
    ------
    ChargeBalanceError
        If the formal charges do not sum to zero.
    InterfaceError
        If the cell is left-handed or not normal to the plane, or two ions overlap.
    """
    _check_charge(crystal, name)
    _check_plane(crystal, name)
    if not np.allclose(crystal.lattice_ang[2, :2], 0.0, atol=1e-8):
        raise _unsound_cell(name, "not normal to the plane", wanted="the third vector along the normal")
    _check_distances(crystal, name)
    return crystal


def check_closed(crystal: IonicCrystal, *, name: str) -> IonicCrystal:
    """Return dot | film | dot if it is sound: as `check_built`, but the third vector may have lateral components.

    Parameters
    ----------
    crystal
        A film between two dots.
    name
        What it is, for messages.

    Raises
    ------
    ChargeBalanceError
        If the formal charges do not sum to zero.
    InterfaceError
        If the cell is left-handed or its first two vectors leave the plane, or two ions overlap.
    """
    _check_charge(crystal, name)
    _check_plane(crystal, name)
    _check_distances(crystal, name)
    return crystal


def _check_charge(crystal: IonicCrystal, name: str) -> None:
    if crystal.formal_charge == 0:
        return
    raise ChargeBalanceError(
        f"{name} carries {crystal.formal_charge:+d} e",
        limit="the formal charges must sum to zero",
        why="a charged periodic cell has no defined energy",
        remedy=f"add {abs(crystal.formal_charge)} monovalent ion(s) of the opposite sign per cell,"
        " or choose another termination",
    )


def _check_plane(crystal: IonicCrystal, name: str) -> None:
    if np.linalg.det(crystal.lattice_ang) <= 0:
        raise _unsound_cell(name, "left-handed", wanted="a right-handed cell")
    if not np.allclose(crystal.lattice_ang[:2, 2], 0.0):
        raise _unsound_cell(name, "not normal to the plane", wanted="the first two vectors in the plane")


def _unsound_cell(name: str, fault: str, *, wanted: str) -> InterfaceError:
    return InterfaceError(
        f"the cell of {name} is {fault}",
        limit=f"slabs and interfaces need {wanted}",
        why="the vacuum and the handedness of the film would be wrong",
        remedy="report this as a defect of the builder, with the study file",
    )


def _check_distances(crystal: IonicCrystal, name: str) -> None:
    owner, species = crystal.owners, crystal.species
    pairs = find_close_pairs(species, atom_positions(crystal), crystal.lattice_ang, ratio=CLOSEST_COVALENT_RATIO)
    pairs = pairs[owner[pairs.first] != owner[pairs.second]]
    if len(pairs.first) == 0:
        return
    limits = CLOSEST_COVALENT_RATIO * pairs.covalent_sums_ang(species)
    worst = int(np.argmin(pairs.distances_ang - limits))
    pair = f"{species[pairs.first[worst]]} and {species[pairs.second[worst]]}"
    raise InterfaceError(
        f"{pair} of {name} are {pairs.distances_ang[worst]:.2f} Å apart",
        limit=f"at least {limits[worst]:.2f} Å, 0.75 of the sum of their covalent radii",
        why="overlapping ions would relax to a structure that was not asked for",
        remedy="choose another termination, registry shift or a less strained cell",
    )

"""Other orientations of a film on the same interface cell: turned about the normal, or laid upside down.

Every proper rotation of space that maps the interface cell onto itself lays the film, with its strain, on it again.  In
the plane such a rotation acts as an integer matrix S that keeps the cell's metric: det S = 1 turns the film about the
normal; for det S = −1 the rotation is a half turn about the cell's mirror line, which brings the film's top down.
Nothing is ever mirrored, so molecules and chiral films keep their handedness.

The 180° turn keeps every cell.  An oblique cell has no mirror line, and the flipped film does not fit it; such a film
is the opposite face (-h-k-l) and has its own common cells.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np

from qdip_dft.builders.films import in_vacuum
from qdip_dft.builders.ions import Array, IonicCrystal, atom_positions
from qdip_dft.builders.registry import Integers, find_plane_operations
from qdip_dft.errors import InterfaceError
from qdip_dft.model.orientation import AS_CUT, FilmTurn
from qdip_dft.model.snapping import nearest_whole
from qdip_dft.model.symmetry import SYMMETRY_TOLERANCE_ANG

METRIC_TOLERANCE = 1e-4
"""Largest change of a metric component, as a fraction, of a rotation that keeps an interface cell."""

HALF_TURN = FilmTurn(matrix=((-1, 0), (0, -1)))
"""The film turned by 180° about the normal."""


@dataclass(frozen=True, slots=True)
class FilmVariant:
    """A film in one orientation.

    Parameters
    ----------
    turn
        How it was turned.
    film
        The turned film on the same interface cell.
    """

    turn: FilmTurn
    film: IonicCrystal


def list_turns(cell_2d: Array) -> tuple[FilmTurn, ...]:
    """Return all proper rotations that keep an interface cell: as cut, then turned about the normal, then flipped.

    Parameters
    ----------
    cell_2d
        The interface cell, two rows in Å.
    """
    matrices = _metric_symmetries(np.asarray(cell_2d, dtype=float))
    turns = [FilmTurn(matrix=((int(m[0, 0]), int(m[0, 1])), (int(m[1, 0]), int(m[1, 1])))) for m in matrices]
    return tuple(sorted(turns, key=lambda turn: (turn.is_flipped, turn not in (AS_CUT, HALF_TURN), turn != AS_CUT)))


def list_half_turns(cell_2d: Array) -> tuple[FilmTurn, ...]:
    """Return the orientations that every study should try: as cut, turned by 180°, flipped, and flipped and turned.

    On a square or hexagonal cell `list_turns` adds turns by 90° or 60° to them.
    """
    flipped = next((turn for turn in list_turns(cell_2d) if turn.is_flipped), None)
    if flipped is None:
        return AS_CUT, HALF_TURN
    (a, b), (c, d) = flipped.matrix
    return AS_CUT, HALF_TURN, flipped, FilmTurn(matrix=((-a, -b), (-c, -d)))


def _metric_symmetries(cell: Array) -> list[Integers]:
    """Return the integer matrices S with Sᵀ G S = G; in a reduced basis their entries are -1, 0 and 1."""
    change = _reducing_change(cell)
    reduced = change @ cell
    metric = reduced @ reduced.T
    scale = np.sqrt(np.outer(np.diag(metric), np.diag(metric)))
    found = []
    for entries in product((-1, 0, 1), repeat=4):
        matrix = np.array(entries).reshape(2, 2)
        if np.all(abs(matrix.T @ metric @ matrix - metric) <= METRIC_TOLERANCE * scale):
            found.append(np.rint(change.T @ matrix @ np.linalg.inv(change.T)).astype(np.int64))
    return found


def _reducing_change(cell: Array) -> Integers:
    """Return the unimodular U for which U · cell is Gauss-reduced."""
    change = np.eye(2, dtype=np.int64)
    while True:
        short, long = change @ cell
        if long @ long < (short @ short) * (1 - METRIC_TOLERANCE):
            change = change[::-1]
            continue
        steps = int(nearest_whole(short @ long / (short @ short)))
        if steps == 0:
            return change
        change = np.array([change[0], change[1] - steps * change[0]])


def turn_film(film: IonicCrystal, turn: FilmTurn) -> IonicCrystal:
    """Return the film after a proper rotation, on the same interface cell, its lowest atom at z = 0.

    Ions keep their order, their site numbers and their rigid shape.

    Parameters
    ----------
    film
        A slab in vacuum, third vector along the normal.
    turn
        The rotation.

    Raises
    ------
    InterfaceError
        If the rotation does not keep the film's interface cell.
    """
    matrix = np.array(turn.matrix)
    rotation = _rotation_of(matrix, film.lattice_ang[:2, :2])
    centres = film.frac_centres.copy()
    centres[:, :2] = film.frac_centres[:, :2] @ matrix.T
    centres[:, 2] *= rotation[2, 2]
    turned = IonicCrystal(film.lattice_ang, tuple(ion.rotated(rotation) for ion in film.ions), centres)
    heights = atom_positions(film)[:, 2]
    return in_vacuum(turned, float(film.lattice_ang[2, 2] - (heights.max() - heights.min())))


def _rotation_of(matrix: Integers, cell: Array) -> Array:
    """Return the proper 3 × 3 rotation that acts on fractions of the interface cell as an integer matrix."""
    in_plane = cell.T @ matrix @ np.linalg.inv(cell.T)
    left, stretches, right = np.linalg.svd(in_plane)
    if np.any(abs(stretches - 1.0) > 2 * METRIC_TOLERANCE):
        raise InterfaceError(
            f"the turn {matrix.tolist()} stretches the interface cell by {100 * float(abs(stretches - 1).max()):.2g} %",
            limit="a turn must map the interface cell onto itself",
            why="the film would carry another strain",
            remedy="flip the film by cutting its opposite face (-h-k-l), which has its own common cells",
        )
    rotation = np.zeros((3, 3))
    rotation[:2, :2] = left @ right
    rotation[2, 2] = round(float(np.linalg.det(left @ right)))
    return rotation


def list_film_variants(dot: IonicCrystal, film: IonicCrystal, turns: tuple[FilmTurn, ...]) -> tuple[FilmVariant, ...]:
    """Return the orientations of a film that give distinct interfaces with a dot.

    Two orientations give the same interface, up to a displacement, when an operation W of the dot's own plane group
    carries one film onto the other: W may be the identity (the film has the axis), the axis itself (the dot has it), or
    a mirror, which makes a mirror image of the whole interface and keeps its energy.

    Parameters
    ----------
    dot, film
        Slabs in vacuum on one interface cell.
    turns
        Orientations to try, the preferred of equal ones first.
    """
    operations = np.unique(find_plane_operations(dot).rotations, axis=0)
    kept: list[FilmVariant] = []
    for turn in turns:
        variant = FilmVariant(turn, turn_film(film, turn))
        images = [(other.film, operation) for other in kept for operation in operations]
        if not any(_is_carried(first, variant.film, w) for first, w in images):
            kept.append(variant)
    return tuple(kept)


def _is_carried(first: IonicCrystal, second: IonicCrystal, operation: Integers) -> bool:
    """Return whether an in-plane operation and some displacement carry the atoms of one film onto the other's."""
    species = np.array(first.species)
    cell = first.lattice_ang[:2, :2]
    start, end = (atom_positions(film) for film in (first, second))
    start[:, :2] = start[:, :2] @ np.linalg.inv(cell) @ operation.T @ cell
    order, target = (np.lexsort((positions[:, 2].round(6), species)) for positions in (start, end))
    if not np.allclose(start[order, 2], end[target, 2], atol=SYMMETRY_TOLERANCE_ANG):
        return False
    rarest = min(sorted(set(species.tolist())), key=lambda symbol: int((species == symbol).sum()))
    (members,) = np.nonzero(species == rarest)
    return any(
        _is_covered(start + _in_plane(end[member] - start[members[0]]), end, species, cell)
        for member in members
        if abs(end[member, 2] - start[members[0], 2]) <= SYMMETRY_TOLERANCE_ANG
    )


def _in_plane(vector: Array) -> Array:
    return np.array([vector[0], vector[1], 0.0])


def _is_covered(first: Array, second: Array, species: np.ndarray, cell: Array) -> bool:
    """Return whether each atom of the first set lies on an equal one of the second, up to vectors of the cell."""
    difference = second[None, :, :] - first[:, None, :]
    fractions = difference[:, :, :2] @ np.linalg.inv(cell)
    difference[:, :, :2] = (fractions - np.round(fractions)) @ cell
    is_on = np.linalg.norm(difference, axis=2) <= 2 * SYMMETRY_TOLERANCE_ANG
    return bool(np.all((is_on & (species[:, None] == species[None, :])).any(axis=1)))

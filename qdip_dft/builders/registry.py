r"""Where a film may lie on a dot: the cell of distinct displacements, its irreducible points, and the best gap.

A displacement of the film by a lattice vector of either strained 1 × 1 lattice gives the same interface, so distinct
displacements fill one cell of the lattice L that both generate, L = L_film + L_dot.  Its area follows from the second
isomorphism theorem, [L : L_film] = [L_dot : L_film ∩ L_dot]:

.. math:: A(L) = A_\mathrm{dot} A_\mathrm{film} / A(L_\mathrm{film} \cap L_\mathrm{dot}) = m\, A_\mathrm{dot}
    A_\mathrm{film} / A_\mathrm{cell}

where m is the number of coincidence cells in the interface cell: 1 unless the interface cell is a supercell of a
smaller common cell.  In units of the interface cell both lattices are rational, so everything is done in integers.

If a plane-group operation (W, w) maps the dot onto itself and (W, v) the film, the displacements t and W t + w − v give
the same interface or its mirror image, which has the same energy.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from itertools import product
from math import gcd, inf

import numpy as np
from numpy.typing import NDArray

from qdip_dft.builders.films import in_vacuum
from qdip_dft.builders.interfaces import join_slabs
from qdip_dft.builders.ions import Array, IonicCrystal, atom_positions
from qdip_dft.builders.planes import reduce_basis
from qdip_dft.errors import StructureError
from qdip_dft.model.orientation import IntegerMatrix2, count_surface_cells
from qdip_dft.model.registry import ONE_REGISTRY_IS_ENOUGH_ANG2
from qdip_dft.model.snapping import TOLERANCE, ceil_whole, nearest_whole, wrap
from qdip_dft.model.symmetry import SYMMETRY_TOLERANCE_ANG, find_operations

Integers = NDArray[np.int64]
GridSize = tuple[int, int]

FRACTION_TOLERANCE = 1e-3
"""Fractional coordinates that agree to this are equal; spglib averages them far better."""

HEXAGONAL_TOLERANCE = 0.01
"""Squared lengths and twice the scalar product of two vectors that agree to this share span a hexagonal lattice."""

LARGEST_GAP_STEP_ANG = 0.4
"""Longest step of the search for the best gap: beyond it neither forces nor stiffness foretell the energy."""

TYPICAL_STIFFNESS_EV_PER_ANG4 = 0.05
"""First guess of d²E/dgap² per area, for a contact of ionic crystals."""

GAP_ENERGY_TOLERANCE_EV_PER_ANG2 = 2e-5
"""The gap is found when moving to the expected minimum would gain less than this per area."""

COARSE_SHARE = 0.1
"""The energy of a position that lies high above the best may be wrong by this share of the difference."""

MOST_GAP_POINTS = 8
"""Energies after which the search for a gap is given up."""


def coincidence_index(film_matrix: IntegerMatrix2, dot_matrix: IntegerMatrix2) -> int:
    """Return how many cells of the coincidence lattice L_film ∩ L_dot the interface cell holds; 1: it is primitive."""
    basis, denominator = _common_span(film_matrix, dot_matrix)
    return int(basis[0, 0] * basis[1, 1]) // denominator


def _common_span(film_matrix: IntegerMatrix2, dot_matrix: IntegerMatrix2) -> tuple[Integers, int]:
    """Return a basis of L_film + L_dot in the interface cell divided by the returned n_film · n_dot.

    The inverse of an integer matrix is its adjugate over its determinant.
    """
    n_film, n_dot = count_surface_cells(film_matrix), count_surface_cells(dot_matrix)
    rows = [(n_dot * a, n_dot * b) for a, b in _adjugate(film_matrix)]
    rows += [(n_film * a, n_film * b) for a, b in _adjugate(dot_matrix)]
    return _span(rows), n_film * n_dot


def _adjugate(matrix: IntegerMatrix2) -> IntegerMatrix2:
    (a, b), (c, d) = matrix
    return (d, -b), (-c, a)


def _span(rows: list[tuple[int, int]]) -> Integers:
    """Return the Hermite normal form ((p, q), (0, r)) of the lattice that integer rows generate."""
    pivot, step = (0, 0), 0
    for row in rows:
        rest = row
        while rest[0]:
            factor = pivot[0] // rest[0]
            pivot, rest = rest, (pivot[0] - factor * rest[0], pivot[1] - factor * rest[1])
        step = gcd(step, rest[1])
    sign = 1 if pivot[0] > 0 else -1
    return np.array([[sign * pivot[0], sign * pivot[1] % step], [0, step]], dtype=np.int64)


def _reduce_right_handed(vectors: Array) -> Array:
    """Return the two shortest vectors of an in-plane lattice (Gauss), right-handed."""
    short, long = reduce_basis(vectors)
    return np.array([short, long if np.linalg.det([short, long]) > 0 else -long])


@dataclass(frozen=True, slots=True, eq=False)
class PlaneOperations:
    """The operations that map a slab onto itself without turning it upside down.

    Parameters
    ----------
    rotations
        Shape (k, 2, 2), integer matrices W on fractional in-plane coordinates: x' = W x + w.
    translations
        Shape (k, 2), the w in units of the cell.
    """

    rotations: Integers
    translations: Array

    @property
    def pure_translations(self) -> Array:
        """Translations by which the slab repeats within its cell."""
        is_identity = (self.rotations == np.eye(2)).all(axis=(1, 2))
        return np.asarray(self.translations[is_identity])

    def first_with(self, rotation: Integers) -> Array | None:
        """Return one translation that goes with a rotation, or None if the slab does not have it."""
        (found,) = np.nonzero((self.rotations == rotation).all(axis=(1, 2)))
        return self.translations[found[0]] if len(found) else None


def find_plane_operations(slab: IonicCrystal) -> PlaneOperations:
    """Return the plane-group operations of a slab.

    spglib finds them on its atoms: Togo, Shinohara and Tanaka, Sci. Technol. Adv. Mater.: Methods 4, 2384822 (2024).

    Parameters
    ----------
    slab
        A slab in vacuum, third vector along the normal.

    Raises
    ------
    StructureError
        If spglib finds no symmetry, not even the identity.
    """
    from ase.data import atomic_numbers

    record = slab.to_record()
    numbers = [atomic_numbers[symbol] for symbol in record.species]
    found = find_operations(record.lattice_ang, record.frac_coords, numbers, tolerance_ang=SYMMETRY_TOLERANCE_ANG)
    if found is None:
        raise _no_symmetry()
    return _keep_upright(found.rotations, found.translations)


def _keep_upright(rotations: Integers, translations: Array) -> PlaneOperations:
    """Return the operations that leave the third coordinate alone; in a slab none can only shift it."""
    is_upright = (rotations[:, 2] == (0, 0, 1)).all(axis=1) & (rotations[:, :2, 2] == 0).all(axis=1)
    rise = translations[:, 2] - nearest_whole(translations[:, 2])
    is_kept = is_upright & (abs(rise) < FRACTION_TOLERANCE)
    return PlaneOperations(rotations[is_kept][:, :2, :2], translations[is_kept][:, :2])


def _no_symmetry() -> StructureError:
    return StructureError(
        "spglib finds no symmetry operations of a slab",
        limit=f"no two atoms may be closer than {SYMMETRY_TOLERANCE_ANG} Å",
        why="without them the distinct displacements are not known",
        remedy="check the slab for atoms on top of each other",
    )


@dataclass(frozen=True, slots=True, eq=False)
class DisplacementCell:
    """The displacements of a film that give distinct interfaces, before and after symmetry.

    Parameters
    ----------
    vectors_ang
        Shape (2, 2), rows in Å: displacements by them change nothing.
    rotations, shifts
        Shapes (k, 2, 2) and (k, 2), in units of the vectors: t and ``rotations @ t + shifts`` are equivalent.
    """

    vectors_ang: Array
    rotations: Integers
    shifts: Array

    @property
    def area_ang2(self) -> float:
        """Area of the cell in Å²."""
        return float(np.linalg.det(self.vectors_ang))


def find_displacement_cell(dot: IonicCrystal, film: IonicCrystal) -> DisplacementCell:
    """Return the cell of distinct displacements of two slabs and the symmetries that both share.

    The slabs' own translations count, so a film that tilted, or whose sites are mixed, has more distinct displacements
    than its ideal 1 × 1 lattice.

    Parameters
    ----------
    dot, film
        Slabs in vacuum with the same first two lattice vectors.
    """
    of_dot, of_film = (find_plane_operations(slab) for slab in (dot, film))
    in_plane = dot.lattice_ang[:2, :2]
    vectors = _reduce_right_handed(_common_translations(of_dot, of_film) @ in_plane)
    to_cell = np.linalg.inv(vectors @ np.linalg.inv(in_plane))  # fractions of the interface cell to those of this one
    rotations, shifts = [], []
    for rotation in np.unique(of_dot.rotations, axis=0):
        in_dot, in_film = of_dot.first_with(rotation), of_film.first_with(rotation)
        if in_dot is None or in_film is None:
            continue
        rotations.append(np.rint(to_cell.T @ rotation @ np.linalg.inv(to_cell.T)).astype(np.int64))
        shifts.append(wrap((in_dot - in_film) @ to_cell))
    return DisplacementCell(vectors, np.array(rotations), np.array(shifts))


def _common_translations(of_dot: PlaneOperations, of_film: PlaneOperations) -> Array:
    """Return a basis of the lattice that the translations of both slabs generate, in units of the interface cell.

    A slab with n translations in its cell repeats by n-ths of the cell's vectors.
    """
    counts = [len(operations.pure_translations) for operations in (of_dot, of_film)]
    denominator = counts[0] * counts[1]
    rows = [(denominator, 0), (0, denominator)]
    for operations, count in zip((of_dot, of_film), counts, strict=True):
        whole = np.rint(operations.pure_translations * count).astype(int) * (denominator // count)
        rows += [(int(a), int(b)) for a, b in whole]
    return _span(rows) / denominator


@dataclass(frozen=True, slots=True)
class Displacement:
    """One displacement of the film that stands for all equivalent ones of a grid.

    Parameters
    ----------
    fractions
        In units of the displacement cell.
    shift_ang
        In Å.
    multiplicity
        Number of grid points that it stands for.
    """

    fractions: tuple[float, float]
    shift_ang: tuple[float, float]
    multiplicity: int


def count_grid_points(cell: DisplacementCell, spacing_ang: float) -> GridSize:
    """Return how many grid points along each vector of the cell keep neighbours within a distance in Å.

    Energies are stationary at symmetric displacements, and the best ones are among them, so all of them lie on the
    grid: of a hexagonal cell 0 and the thirds of its long diagonal, of any other 0 and the halves of its vectors.  The
    counts are therefore multiples of 3 or of 2; a lattice constant below the distance needs one point.
    """
    multiple = 3 if _is_hexagonal(cell.vectors_ang) else 2
    along, across = (
        1 if length <= spacing_ang * (1 + 1e-6) else multiple * int(ceil_whole(length / (multiple * spacing_ang)))
        for length in np.linalg.norm(cell.vectors_ang, axis=1)
    )
    return along, across


def _is_hexagonal(vectors_ang: Array) -> bool:
    """Return whether two vectors of a reduced cell are equally long and enclose 60° or 120°."""
    first, second = vectors_ang
    products = np.array([first @ first, second @ second, 2 * abs(first @ second)])
    return bool(np.ptp(products) <= HEXAGONAL_TOLERANCE * products[0])


def list_displacements(cell: DisplacementCell, grid: GridSize) -> tuple[Displacement, ...]:
    """Return the irreducible points of an n × m grid, or the film's present place alone in a cell below 5 Å².

    The grid is centred on the most symmetric point of the cell: energies are stationary there.

    Parameters
    ----------
    cell
        The displacement cell.
    grid
        Points along each of its vectors.
    """
    if cell.area_ang2 <= ONE_REGISTRY_IS_ENOUGH_ANG2:
        return (Displacement((0.0, 0.0), (0.0, 0.0), 1),)
    origin = _most_symmetric_point(cell, grid)
    displacements = []
    for point, multiplicity in _irreducible_points(cell, origin, grid):
        x, y = wrap(origin + np.array(point) / grid).tolist()
        shift_x, shift_y = (np.array([x, y]) @ cell.vectors_ang).tolist()
        displacements.append(Displacement((x, y), (shift_x, shift_y), multiplicity))
    return tuple(displacements)


def _most_symmetric_point(cell: DisplacementCell, grid: GridSize) -> Array:
    """Return the origin whose grid is kept by most operations, among the points that one operation keeps."""
    origins = [np.zeros(2)]
    for rotation, shift in zip(cell.rotations, cell.shifts, strict=True):
        solve = np.linalg.pinv(np.eye(2) - rotation, rcond=TOLERANCE)  # a mirror's zero must not be inverted
        origins += [solve @ (shift + np.array(lattice)) for lattice in product((0, 1), repeat=2)]
    return max(origins, key=lambda origin: len(_steps_on_grid(cell, origin, grid)))


def _steps_on_grid(cell: DisplacementCell, origin: Array, grid: GridSize) -> list[tuple[Integers, Integers]]:
    """Return the operations that keep the grid, as matrices and shifts of grid points."""
    counts = np.array(grid)
    kept = []
    for rotation, shift in zip(cell.rotations, cell.shifts, strict=True):
        steps = counts * (rotation @ origin + shift - origin)
        on_points = counts[:, None] * rotation / counts  # of point numbers: i / n are the fractions
        tolerance = FRACTION_TOLERANCE * max(grid)
        if all(np.all(abs(numbers - np.rint(numbers)) < tolerance) for numbers in (steps, on_points)):
            kept.append((np.rint(on_points).astype(np.int64), np.rint(steps).astype(np.int64)))
    return kept


def _irreducible_points(cell: DisplacementCell, origin: Array, grid: GridSize) -> list[tuple[tuple[int, int], int]]:
    """Return one point of each orbit of the grid with the orbit's size."""
    operations = _steps_on_grid(cell, origin, grid)
    seen: set[tuple[int, int]] = set()
    found = []
    for point in product(range(grid[0]), range(grid[1])):
        if point in seen:
            continue
        images = [(rotation @ point + shift) % grid for rotation, shift in operations]
        orbit = {(int(a), int(b)) for a, b in images}
        seen |= orbit
        found.append((point, len(orbit)))
    return found


def join_at_gap(
    dot: IonicCrystal,
    film: IonicCrystal,
    *,
    shift_ang: tuple[float, float],
    gap_offset_ang: float,
    vacuum_ang: float,
) -> IonicCrystal:
    """Return the interface with the film some Å above (or below) the contact of the ions' radii.

    Parameters
    ----------
    dot, film
        Slabs on one interface cell.
    shift_ang
        In-plane displacement of the film in Å.
    gap_offset_ang
        Height above contact in Å.
    vacuum_ang
        Vacuum above the film in Å.
    """
    joined = join_slabs(dot, film, shift_ang=np.array(shift_ang), vacuum_ang=vacuum_ang)
    centres = joined.centres_ang
    centres[len(dot.ions) :, 2] += gap_offset_ang
    return in_vacuum(IonicCrystal.at(joined.lattice_ang, joined.ions, centres), vacuum_ang)


def measure_gap_ang(interface: IonicCrystal, *, n_dot_atoms: int) -> float:
    """Return the height of the film's lowest atom over the dot's highest in Å; negative where they interlock."""
    heights = atom_positions(interface)[:, 2]
    return float(heights[n_dot_atoms:].min() - heights[:n_dot_atoms].max())


@dataclass(frozen=True, slots=True)
class GapPoint:
    """Energy in eV and its slope dE/dgap in eV/Å at one height of the film above contact in Å."""

    offset_ang: float
    energy_ev: float
    slope_ev_per_ang: float


@dataclass(frozen=True, slots=True)
class GapMinimum:
    """The best gap of one lateral position.

    Parameters
    ----------
    offset_ang
        Height above contact in Å.
    energy_ev
        Energy there in eV, from the last point and the slope and stiffness at it.
    stiffness_ev_per_ang2
        d²E/dgap², which serves as the first guess for the next position.
    is_minimum
        Whether the search ended at a minimum inside its range.
    """

    offset_ang: float
    energy_ev: float
    stiffness_ev_per_ang2: float
    is_minimum: bool


GapSearch = Generator[float, GapPoint, GapMinimum]
"""The search for the gap of one lateral position; see `search_gap`."""


def search_gap(
    *,
    start_ang: float,
    stiffness_ev_per_ang2: float,
    range_ang: tuple[float, float],
    tolerance_ev: float,
    lowest_ev: float = inf,
) -> GapSearch:
    """Search the gap of least energy of two rigid slabs, by Newton's method on the force between them.

    Yields the heights above contact in Å whose energy and slope it wants, and returns the best: the searches of several
    positions can wait for one evaluation together.

    The force on the film along the normal is −dE/dgap exactly, so each point gives energy and slope, and two give the
    stiffness: with a good guess of it one or two points find the minimum that a scan needs many for.  Once the slope
    changes its sign the search stays between the points.

    Parameters
    ----------
    start_ang
        Where to begin.
    stiffness_ev_per_ang2
        Guess of d²E/dgap².
    range_ang
        Least and largest height.
    tolerance_ev
        Done when the expected gain of another step is smaller.
    lowest_ev
        Least energy of the positions searched before: far above it a coarser gap is enough (`COARSE_SHARE`).
    """
    points = [(yield start_ang)]
    stiffness = stiffness_ev_per_ang2
    while True:
        last = points[-1]
        target = float(np.clip(_next_offset(points, stiffness), *range_ang))
        gain = 0.5 * abs(last.slope_ev_per_ang * (target - last.offset_ang))
        allowed = max(tolerance_ev, COARSE_SHARE * (last.energy_ev - gain - lowest_ev))
        if gain <= allowed or len(points) == MOST_GAP_POINTS:
            break
        points.append((yield target))
        stiffness = _stiffness_between(points[-2], points[-1]) or stiffness
    is_inside = range_ang[0] < target < range_ang[1] or abs(last.slope_ev_per_ang) ** 2 < 2 * stiffness * tolerance_ev
    return GapMinimum(
        offset_ang=target,
        energy_ev=last.energy_ev + 0.5 * last.slope_ev_per_ang * (target - last.offset_ang),
        stiffness_ev_per_ang2=stiffness,
        is_minimum=is_inside and gain <= allowed,
    )


def _next_offset(points: list[GapPoint], stiffness: float) -> float:
    """Return where the slope should vanish: between a falling and a rising point, or one Newton step on."""
    last = points[-1]
    step = -last.slope_ev_per_ang / stiffness
    target = last.offset_ang + float(np.clip(step, -LARGEST_GAP_STEP_ANG, LARGEST_GAP_STEP_ANG))
    falling = [s.offset_ang for s in points if s.slope_ev_per_ang < 0]
    rising = [s.offset_ang for s in points if s.slope_ev_per_ang >= 0]
    if not falling or not rising:
        return target
    lower, upper = max(falling), min(rising)
    return target if min(lower, upper) <= target <= max(lower, upper) else 0.5 * (lower + upper)


def _stiffness_between(first: GapPoint, second: GapPoint) -> float | None:
    """Return the mean d²E/dgap² of two points, or None where the energy is not convex."""
    distance = second.offset_ang - first.offset_ang
    if abs(distance) < 1e-9:
        return None
    stiffness = (second.slope_ev_per_ang - first.slope_ev_per_ang) / distance
    return stiffness if stiffness > 0 else None

"""The 1×1 lattice of a crystal plane, found from the crystal's pure translations.

Miller indices always refer to the conventional cell of the input.  A plane (hkl) has the normal +G_hkl, with
G = h a* + k b* + l c*, and its 1×1 lattice holds every lattice vector that lies in it: for a centred cell that
is more than the conventional cell shows.  The two in-plane vectors and one stacking vector form a right-handed
basis of the *primitive* lattice, so that the cell turned to the plane holds exactly one primitive cell.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import product
from math import gcd
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qdip_dft.errors import StructureError
from qdip_dft.model.miller import Miller, parse_hkl
from qdip_dft.model.snapping import first_least, floor_whole, nearest_whole, wrap

Array = NDArray[np.float64]

RELATIVE_TIE = 1e-6
"""Lengths closer than this fraction count as equal when a reduced basis is chosen."""


@dataclass(frozen=True, slots=True, eq=False)
class SurfaceLattice:
    """The 1×1 lattice of one plane, with the step to the next plane.

    Parameters
    ----------
    hkl
        Miller indices in the conventional cell, coprime.
    vectors_3d
        Reduced basis of the plane, two rows in Å, in the crystal's own Cartesian frame.
    stacking
        A lattice vector from one lattice plane to the next in Å, as upright as the lattice allows.
    normal
        Unit vector along +G_hkl.
    spacing_ang
        Distance of adjacent lattice planes in Å.
    area_ang2
        Area of the 1×1 cell in Å².
    vectors_2d
        The basis in the plane's own frame, two rows in Å: the first along x, the second with y > 0.
    """

    hkl: Miller
    vectors_3d: Array
    stacking: Array
    normal: Array
    spacing_ang: float
    area_ang2: float
    vectors_2d: Array


@dataclass(frozen=True, slots=True, eq=False)
class CrystalLattice:
    """The conventional and the primitive lattice of one crystal, rows in Å in one frame, each of shape (3, 3)."""

    conventional: Array
    primitive: Array


def primitive_lattice(
    lattice_ang: Array, frac_centres: Array, labels: Sequence[Hashable], *, tolerance_ang: float = 1e-3
) -> Array:
    """Return the lattice of all pure translations of a crystal.

    A translation belongs to the lattice if it carries every unit (an atom or a rigid molecule) onto an equal one.
    Only the centring is removed: no rotation, no change of the axes' frame.

    Parameters
    ----------
    lattice_ang
        Conventional lattice vectors as rows in Å, shape (3, 3).
    frac_centres
        Fractional coordinates of the units, shape (n, 3).
    labels
        One label per unit; units with equal labels are identical, orientation included.
    tolerance_ang
        How far in Å a translated unit may lie from its image.

    Returns
    -------
    Array
        Primitive lattice vectors as rows in Å, right-handed if the input is, shape (3, 3).

    Raises
    ------
    StructureError
        If the translations found within the tolerance do not close to a lattice.
    """
    lattice = np.asarray(lattice_ang, dtype=float)
    translations = _pure_translations(lattice, np.asarray(frac_centres, dtype=float), labels, tolerance_ang)
    multiplicity = len(translations)
    numerators = np.rint(translations * multiplicity).astype(int)
    rounded_by_ang = np.linalg.norm((translations - numerators / multiplicity) @ lattice, axis=1).max()
    basis = _integer_basis([*numerators.tolist(), *(multiplicity * np.eye(3, dtype=int)).tolist()])
    if round(float(np.linalg.det(basis))) != multiplicity**2 or rounded_by_ang > 2 * tolerance_ang:
        raise StructureError(
            f"crystal with {multiplicity} translations that map it onto itself within {tolerance_ang} Å",
            limit="their sums must be among them",
            why="the primitive cell would depend on rounding",
            remedy="symmetrise the structure or lower the tolerance",
        )
    return np.asarray(basis / multiplicity @ lattice)


def surface_lattice(lattice_conventional: Array, primitive: Array, hkl: str | Sequence[int]) -> SurfaceLattice:
    """Return the 1×1 lattice of the plane (hkl).

    The integers (p q r) are the components of G_hkl on the primitive axes, made coprime; the in-plane vectors are
    the integer kernel of (p q r), Gauss-reduced, and the stacking vector solves p x + q y + r z = 1.

    Parameters
    ----------
    lattice_conventional
        Conventional lattice vectors as rows in Å, shape (3, 3); the Miller indices refer to it.
    primitive
        Primitive lattice vectors as rows in Å in the same frame (`primitive_lattice`), shape (3, 3).
    hkl
        Miller indices, in any form that `parse_hkl` reads.

    Raises
    ------
    SlabError
        If the indices cannot be read.
    """
    miller = parse_hkl(hkl)
    conventional, primitive = np.asarray(lattice_conventional, dtype=float), np.asarray(primitive, dtype=float)
    reciprocal = np.linalg.inv(conventional) @ np.array(miller, dtype=float)
    multiplicity = round(abs(float(np.linalg.det(conventional) / np.linalg.det(primitive))))
    kernel, step = _solve_plane(np.rint(primitive @ reciprocal * multiplicity).astype(int).tolist())
    in_plane = _orient(reduce_basis(kernel @ primitive), reciprocal)
    stacking = _straighten(step @ primitive, in_plane)
    return _describe_plane(miller, in_plane, stacking)


def list_planes(lattice: CrystalLattice, max_index: int) -> tuple[Miller, ...]:
    """Return the planes up to a Miller index, one of those that any symmetry of the lattice makes equal.

    The crystal can be less symmetric than its lattice; the 1×1 lattices of equal planes are congruent all the same.
    """
    return _first_of_orbits(lattice_symmetries(lattice), max_index)


def list_faces(lattice: CrystalLattice, max_index: int) -> tuple[Miller, ...]:
    """Return the faces up to a Miller index, one of those that a rotation of the lattice makes equal.

    Unlike `list_planes` it holds (hkl) and (-h-k-l) as two where the one's 1×1 lattice, seen from outside, is the
    mirror image of the other's and differs from it.
    """
    symmetries = lattice_symmetries(lattice)
    return _first_of_orbits(symmetries[np.linalg.det(symmetries) > 0], max_index)


def lattice_symmetries(lattice: CrystalLattice, *, tolerance_ang: float = 1e-3) -> Array:
    """Return the point group of a lattice as matrices acting on Miller indices (columns), shape (m, 3, 3).

    An isometry carries the conventional axes onto lattice vectors of the same lengths and angles, and the primitive
    lattice onto itself.
    """
    conventional, primitive = lattice.conventional, lattice.primitive
    choices = [_vectors_of_length(primitive, float(np.linalg.norm(axis)), tolerance_ang) for axis in conventional]
    images = np.array([(a, b, c) for a in choices[0] for b in choices[1] for c in choices[2]])
    lengths = np.linalg.norm(conventional, axis=1)
    deviation = (
        abs(images @ images.transpose(0, 2, 1) - conventional @ conventional.T) / np.outer(lengths, lengths) ** 0.5
    )
    images = images[(deviation <= 2 * tolerance_ang).all(axis=(1, 2))]
    return np.array([image @ np.linalg.inv(conventional) for image in images if _is_kept(lattice, image)])


def _is_kept(lattice: CrystalLattice, image: Array) -> bool:
    """Return whether an isometry, given by the images of the conventional axes, keeps both lattices."""
    axes = np.linalg.inv(lattice.conventional) @ image
    kept = [basis @ axes @ np.linalg.inv(basis) for basis in (lattice.conventional, lattice.primitive)]
    return all(bool(np.all(abs(change - np.rint(change)) < 1e-3)) for change in kept)


def _vectors_of_length(primitive: Array, length: float, tolerance_ang: float) -> Array:
    """Return all lattice vectors of a length."""
    reach = floor_whole((length + tolerance_ang) * np.linalg.norm(np.linalg.inv(primitive), axis=0)).astype(int)
    spans = [np.arange(-bound, bound + 1) for bound in reach]
    vectors = np.stack(np.meshgrid(*spans, indexing="ij"), axis=-1).reshape(-1, 3) @ primitive
    return np.asarray(vectors[abs(np.linalg.norm(vectors, axis=1) - length) <= tolerance_ang])


def _first_of_orbits(symmetries: Array, max_index: int) -> tuple[Miller, ...]:
    """Return the simplest plane of each orbit, simplest first."""
    span = range(-max_index, max_index + 1)
    planes = [(h, k, m) for h, k, m in product(span, span, span) if gcd(h, k, m) == 1]
    planes.sort(key=lambda plane: (max(map(abs, plane)), sum(map(abs, plane)), [-index for index in plane]))
    seen: set[Miller] = set()
    first = []
    for plane in planes:
        if plane not in seen:
            first.append(plane)
            seen.update((image[0], image[1], image[2]) for image in np.rint(symmetries @ plane).astype(int).tolist())
    return tuple(first)


def _pure_translations(
    lattice: Array, centres: Array, labels: Sequence[Hashable], tolerance_ang: float
) -> NDArray[np.float64]:
    """Return the fractional translations in [0, 1) that carry each unit onto an equal one, zero first."""
    groups = [centres[[other == label for other in labels]] for label in dict.fromkeys(labels)]
    rarest = min(groups, key=len)
    candidates = rarest - rarest[0]
    kept = [t for t in candidates if all(_is_mapped(group, t, lattice, tolerance_ang) for group in groups)]
    return wrap(kept)


def _is_mapped(group: Array, translation: Array, lattice: Array, tolerance_ang: float) -> bool:
    offsets = (group + translation)[:, None] - group[None]
    distances = np.linalg.norm((offsets - np.rint(offsets)) @ lattice, axis=-1)
    return bool(np.all(distances.min(axis=1) <= tolerance_ang))


def _integer_basis(rows: list[list[int]]) -> NDArray[np.int64]:
    """Return the Hermite normal form (upper triangular) of the lattice that integer rows generate."""
    pending, basis = [list(row) for row in rows], []
    for column in range(3):
        pivot = None
        while active := [row for row in pending if row[column]]:
            pivot = min(active, key=lambda row: abs(row[column]))
            if len(active) == 1:
                break
            for row in active:
                if row is not pivot:
                    _subtract(row, pivot, row[column] // pivot[column])
        assert pivot is not None  # the conventional axes are among the rows, so no column is empty
        pending.remove(pivot)
        basis.append([value * (1 if pivot[column] > 0 else -1) for value in pivot])
    return np.array(basis)


def _subtract(row: list[int], pivot: list[int], factor: int) -> None:
    row[:] = [value - factor * other for value, other in zip(row, pivot, strict=True)]


def _extended_gcd(first: int, second: int) -> tuple[int, int, int]:
    """Return (g, x, y) with first·x + second·y = g = gcd ≥ 0."""
    x, next_x, y, next_y = 1, 0, 0, 1
    while second:
        quotient = first // second
        first, second = second, first - quotient * second
        x, next_x, y, next_y = next_x, x - quotient * next_x, next_y, y - quotient * next_y
    return (first, x, y) if first >= 0 else (-first, -x, -y)


def _solve_plane(components: list[int]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return two integer vectors with p x + q y + r z = 0 and one with 1, together a unimodular basis."""
    divisor = gcd(*components)
    p, q, r = (component // divisor for component in components)
    if p == q == 0:
        return np.array([[1, 0, 0], [0, 1, 0]]), np.array([0, 0, r])
    common, x, y = _extended_gcd(p, q)
    _, u, w = _extended_gcd(common, r)
    return np.array([[q // common, -p // common, 0], [-r * x, -r * y, common]]), np.array([x * u, y * u, w])


def reduce_basis(vectors: Array) -> Array:
    """The Gauss-reduced basis of two rows: |a| ≤ |b| and |a·b| ≤ |a|²/2; equally short ones keep their order."""
    a, b = vectors
    if b @ b < (a @ a) * (1 - RELATIVE_TIE):
        a, b = b, a
    while True:
        b = b - nearest_whole(a @ b / (a @ a)) * a
        if b @ b >= (a @ a) * (1 - RELATIVE_TIE):
            return np.array([a, b])
        a, b = b, a


def _orient(vectors: Array, normal: Array) -> Array:
    """Return the reduced basis right-handed about the normal; where both angles serve, the obtuse one is taken."""
    a, b = vectors
    if np.cross(a, b) @ normal < 0:
        b = -b
    g11, g12, g22 = a @ a, a @ b, b @ b
    if g12 > (0.5 - RELATIVE_TIE) * g11:
        return np.array([a, b - a])
    if g12 > RELATIVE_TIE * g11 and g22 < g11 * (1 + RELATIVE_TIE):
        return np.array([b, -a])
    return np.array([a, b])


def _straighten(stacking: Array, in_plane: Array) -> Array:
    """Return the stacking vector less the in-plane lattice vector that leaves the smallest lateral shift."""
    fractions = np.linalg.lstsq(in_plane.T, stacking, rcond=None)[0]
    shifts = [nearest_whole(fractions) + np.array([i, j]) for i in (0, -1, 1) for j in (0, -1, 1)]
    lengths = [float(np.linalg.norm((fractions - shift) @ in_plane)) for shift in shifts]
    return np.asarray(stacking - shifts[first_least(lengths, tolerance=RELATIVE_TIE)] @ in_plane)


def _describe_plane(hkl: Miller, in_plane: Array, stacking: Array) -> SurfaceLattice:
    a, b = in_plane
    cross = np.cross(a, b)
    area = float(np.linalg.norm(cross))
    length = float(np.linalg.norm(a))
    fields: dict[str, Any] = {
        "vectors_3d": in_plane.copy(),
        "stacking": stacking.copy(),
        "normal": cross / area,
        "vectors_2d": np.array([[length, 0.0], [float(a @ b) / length, area / length]]),
    }
    for array in fields.values():
        array.setflags(write=False)
    return SurfaceLattice(hkl=hkl, spacing_ang=float(stacking @ fields["normal"]), area_ang2=area, **fields)

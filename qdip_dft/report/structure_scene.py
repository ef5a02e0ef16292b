"""What a picture of a structure shows: atoms in a standard frame, periodic images at the border, layers and bonds.

The frame has x along the first lattice vector and z along the normal of the first two, whatever the file's axes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from math import ceil

import numpy as np
from numpy.typing import NDArray

from qdip_dft.builders.ions import name_composition, name_ions
from qdip_dft.model.elements import ALKALI_METALS, ANIONS, BOND_RATIO, HALIDES, ORGANIC_ELEMENTS, covalent_radii_ang
from qdip_dft.model.structure import DOT_PART, FILM_PART, NO_PART, StructureRecord

Array = NDArray[np.float64]

VACUUM_ANG = 6.0
"""A gap between atoms of more than this is vacuum."""

BORDER = 0.02
"""Ions within this fraction of a cell boundary are shown on both sides."""

LEAST_WIDTH_ANG = 9.0
"""A narrower cell is repeated until the picture is at least as wide."""

RUMPLING_ANG = 0.9
"""Ions closer than this in height belong to one drawn layer: relaxed layers are rumpled more than those as cut."""


FACE_DEPTH_ANG = 2.0
"""Ions of the layer that a film was cut at lie within this depth, relaxed as well."""

N_CORNERS = 6
"""Halides around the metal of an octahedron."""

ANIONIC_IONS = ANIONS | {"OH", "P", "As"}
"""Labels of ions that are written last."""


@dataclass(frozen=True, slots=True)
class Layer:
    """A chemical layer of a slab.

    Parameters
    ----------
    height_ang
        Mean height of its ions in Å.
    composition
        Its ions per smallest whole unit, such as ``PbI2``.
    """

    height_ang: float
    composition: str


@dataclass(frozen=True, slots=True)
class Octahedra:
    """Faces of octahedra, eight for each metal.

    Parameters
    ----------
    metals
        Shape (k,), the atom that each face belongs to.
    corners_ang
        Shape (k, 3, 3), its corners in the standard frame, in Å.
    """

    metals: NDArray[np.int_]
    corners_ang: Array


@dataclass(frozen=True, slots=True)
class Scene:
    """Atoms ready to be projected.

    Parameters
    ----------
    positions_ang
        Shape (n, 3), in the standard frame, in Å.
    species, parts
        Element and part of each atom.
    cell_ang
        Shape (3, 3), lattice vectors as rows in the standard frame.
    is_open
        For each lattice vector, whether there is vacuum along it.
    vacuum_ang
        Vacuum along the third vector in Å; 0 without.
    layers
        Chemical layers from bottom to top.
    bonds
        Shape (m, 2), pairs of bonded atoms.
    octahedra
        Faces of the octahedra of the host, whole at the border as well.
    is_image
        Which atoms are images along the third vector.
    is_embedded
        Whether a film lies between two faces of a dot, without vacuum; the cell then begins with the dot.
    """

    positions_ang: Array
    species: tuple[str, ...]
    parts: tuple[str, ...]
    cell_ang: Array
    is_open: tuple[bool, bool, bool]
    vacuum_ang: float
    layers: tuple[Layer, ...]
    bonds: NDArray[np.int_]
    octahedra: Octahedra
    is_image: NDArray[np.bool_]
    is_embedded: bool

    @property
    def area_ang2(self) -> float:
        """Return the area spanned by the first two vectors in Å²."""
        return float(np.linalg.norm(np.cross(self.cell_ang[0], self.cell_ang[1])))

    @property
    def is_finite(self) -> bool:
        """Return whether there is vacuum on all sides."""
        return all(self.is_open)

    @property
    def has_layers(self) -> bool:
        """Return whether the structure is a slab, or a film between two dots, so that its layers begin somewhere."""
        return self.is_embedded or (self.vacuum_ang > 0 and not self.is_finite)


def set_scene(structure: StructureRecord, *, faces: tuple[str, str] | None = None) -> Scene:
    """Return the scene of a structure.

    Parameters
    ----------
    structure
        The structure; its ions are named.
    faces
        Layers that its film was cut at, the lower one first; None: layers are told by gaps alone.
    """
    cell = _standard_cell(np.array(structure.lattice_ang))
    coordinates = np.array(structure.frac_coords)
    owners = np.array(structure.ion)
    heights = _measure_heights(cell)
    gaps = [_widest_gap(coordinates[:, axis]) for axis in range(3)]
    is_open = tuple(gap * height > VACUUM_ANG for (gap, _), height in zip(gaps, heights, strict=True))
    starts = np.array([start if axis_open else 0.0 for (_, start), axis_open in zip(gaps, is_open, strict=True)])
    dot_start = None if any(is_open) else _find_start_of_dot(coordinates[:, 2], structure.parts)
    if dot_start is not None:
        starts[2] = dot_start
    placed = _wrap_ions(coordinates, owners, starts)
    atoms, translations = _repeat_ions(placed, owners, cell, is_open)
    positions = (placed[atoms] + translations) @ cell
    species = tuple(structure.species[atom] for atom in atoms)
    vacuum = gaps[2][0] * heights[2] if is_open[2] else 0.0
    return Scene(
        positions_ang=positions,
        species=species,
        parts=tuple(structure.parts[atom] for atom in atoms),
        cell_ang=cell,
        is_open=(is_open[0], is_open[1], is_open[2]),
        vacuum_ang=float(vacuum),
        layers=_find_layers(
            _centres(placed, owners) @ cell,
            name_ions(structure),
            is_film=np.isin(structure.parts, (FILM_PART, NO_PART))[np.unique(owners, return_index=True)[1]],
            faces=faces,
        ),
        bonds=_find_bonds(positions, species),
        octahedra=_find_octahedra(structure, placed @ cell, cell, atoms, translations @ cell),
        is_image=translations[:, 2] > 0,
        is_embedded=dot_start is not None,
    )


def find_layers(structure: StructureRecord, *, faces: tuple[str, str] | None = None) -> tuple[Layer, ...]:
    """Return the chemical layers of a slab or crystal from bottom to top; parameters as of `set_scene`."""
    return set_scene(structure, faces=faces).layers


def _standard_cell(lattice: Array) -> Array:
    """Return the cell with the first vector along x and the first two in the plane z = 0."""
    x = lattice[0] / np.linalg.norm(lattice[0])
    normal = np.cross(lattice[0], lattice[1])
    z = normal / np.linalg.norm(normal)
    if lattice[2] @ z < 0:  # a left-handed file: turned, never mirrored
        z = -z
    return np.asarray(lattice @ np.array([x, np.cross(z, x), z]).T)


def _measure_heights(cell: Array) -> Array:
    """Return the distance between opposite faces along each vector in Å."""
    return np.asarray(1 / np.linalg.norm(np.linalg.inv(cell), axis=0))


def _widest_gap(coordinates: Array) -> tuple[float, float]:
    """Return the widest empty stretch of one fractional coordinate, and where the atoms start above it."""
    wrapped = np.sort(coordinates % 1.0)
    gaps = np.append(wrapped[1:], wrapped[0] + 1.0) - wrapped
    widest = int(np.argmax(gaps))
    return float(gaps[widest]), float(wrapped[(widest + 1) % len(wrapped)])


def _find_start_of_dot(heights: Array, parts: Sequence[str]) -> float | None:
    """Return the fractional height of the dot's lowest atom above a film; None where there is no film, or no dot.

    Of several places where the dot follows the film, as where they interlock, the one with the widest gap counts.
    """
    is_film = np.array(parts) == FILM_PART
    if not is_film.any() or is_film.all():
        return None
    order = np.argsort(heights % 1.0, kind="stable")
    wrapped, film = heights[order] % 1.0, is_film[order]
    gaps = (wrapped - np.roll(wrapped, 1)) % 1.0
    follows = ~film & np.roll(film, 1)
    return float(wrapped[int(np.argmax(np.where(follows, gaps, -1.0)))])


def _centres(coordinates: Array, owners: NDArray[np.int_]) -> Array:
    numbers = np.bincount(owners)
    return np.stack([np.bincount(owners, weights=coordinates[:, k]) / numbers for k in range(3)], axis=1)


def _wrap_ions(coordinates: Array, owners: NDArray[np.int_], starts: Array) -> Array:
    """Return the coordinates with whole ions moved into the cell, counted from where its atoms start.

    Along an open direction the first atom decides, so that a molecule at the bottom of a slab stays there.
    """
    shifted = coordinates - starts
    centres = _centres(shifted, owners)
    wrapped: Array = shifted - np.floor(centres + BORDER / 2)[owners]
    return wrapped


def _repeat_ions(
    placed: Array, owners: NDArray[np.int_], cell: Array, is_open: Sequence[bool]
) -> tuple[NDArray[np.int_], Array]:
    """Return the atoms that are shown, with their lattice translations: whole cells and the images at the border."""
    heights = _measure_heights(cell)
    numbers = [ceil(LEAST_WIDTH_ANG / height) for height in heights]
    limits = np.array([np.inf if axis_open else n + BORDER for axis_open, n in zip(is_open, numbers, strict=True)])
    centres = _centres(placed, owners)
    atoms, translations = [], []
    for shift in product(*(range(1 if o else n + 1) for o, n in zip(is_open, numbers, strict=True))):
        is_shown = np.all(centres + np.array(shift) <= limits, axis=1)
        shown = np.flatnonzero(is_shown[owners])
        atoms.append(shown)
        translations.append(np.tile(np.array(shift, dtype=float), (len(shown), 1)))
    return np.concatenate(atoms), np.concatenate(translations)


def _find_layers(
    centres_ang: Array, labels: Sequence[str], *, is_film: NDArray[np.bool_], faces: tuple[str, str] | None
) -> tuple[Layer, ...]:
    """Return ions in layers: a gap in their heights begins a new one, and the film's faces are those of its cut."""
    order = np.argsort(centres_ang[:, 2], kind="stable")
    starts = np.append(True, np.diff(centres_ang[order, 2]) > RUMPLING_ANG)
    film = np.flatnonzero(is_film[order])
    for face, inwards in zip(faces or (), (film, film[::-1]), strict=False):
        ions = order[inwards]
        n_face = _count_face(centres_ang[ions, 2], [labels[ion] for ion in ions], face)
        within = np.sort(inwards[: n_face + 1])
        if n_face and len(within) > n_face:
            starts[within[1:]] = False
            starts[max(inwards[n_face - 1], inwards[n_face])] = True
    return tuple(
        Layer(float(centres_ang[group, 2].mean()), name_layer([labels[k] for k in group]))
        for group in np.split(order, np.flatnonzero(starts)[1:])
    )


def _count_face(heights_ang: Array, labels: Sequence[str], face: str) -> int:
    """Return how many of the outermost ions, listed inwards, make up a face such as ``PbI2``; 0: none do."""
    n_near = int((abs(heights_ang - heights_ang[:1]) <= FACE_DEPTH_ANG).sum())
    return max((n for n in range(1, n_near + 1) if name_layer(labels[:n]) == face), default=0)


def name_layer(labels: Sequence[str]) -> str:
    """Return the ions of a layer per smallest whole unit, as terminations are named."""
    return name_composition(labels, anions=ANIONIC_IONS)


def _find_bonds(positions: Array, species: Sequence[str]) -> NDArray[np.int_]:
    """Return the bonds that are drawn: within molecules and between metals and anions, alkali ions left out."""
    from scipy.spatial import cKDTree

    radii = covalent_radii_ang(species)
    pairs = cKDTree(positions).query_pairs(2 * BOND_RATIO * float(radii.max()), output_type="ndarray")
    if len(pairs) == 0:
        return np.empty((0, 2), dtype=int)
    lengths = np.linalg.norm(positions[pairs[:, 0]] - positions[pairs[:, 1]], axis=1)
    close = pairs[lengths < BOND_RATIO * (radii[pairs[:, 0]] + radii[pairs[:, 1]])]
    drawn = [_is_bond(species[first], species[second]) for first, second in close]
    return np.asarray(close[np.array(drawn, dtype=bool)], dtype=int)


def _find_octahedra(
    structure: StructureRecord, places: Array, cell: Array, atoms: NDArray[np.int_], shifts: Array
) -> Octahedra:
    """Return the faces around each shown metal of the host that has six halides, images of the cell included."""
    from scipy.spatial import ConvexHull, cKDTree

    species = np.array(structure.species)
    images = np.array(list(product((-1, 0, 1), repeat=3))) @ cell
    is_halide = np.isin(species, HALIDES)
    halides = (places[is_halide][:, None] + images).reshape(-1, 3)
    radii = covalent_radii_ang(structure.species)
    reach = BOND_RATIO * (radii + radii[is_halide].max(initial=0.0))
    faces = {}
    for metal in np.flatnonzero(~np.isin(species, (*ANIONS, *ALKALI_METALS, *ORGANIC_ELEMENTS))):
        if structure.parts[metal] == DOT_PART or not is_halide.any():
            continue
        corners = halides[cKDTree(halides).query_ball_point(places[metal], reach[metal])]
        if len(corners) == N_CORNERS:
            faces[metal] = corners[ConvexHull(corners).simplices]
    shown = [number for number, atom in enumerate(atoms) if atom in faces]
    return Octahedra(
        np.repeat(np.array(shown, dtype=int), [len(faces[atoms[number]]) for number in shown]),
        np.concatenate([np.empty((0, 3, 3)), *(faces[atoms[number]] + shifts[number] for number in shown)]),
    )


def _is_bond(first: str, second: str) -> bool:
    pair = {first, second}
    if pair & ALKALI_METALS or pair == {"H"}:
        return False
    return (
        pair <= ORGANIC_ELEMENTS
        or pair == {"P"}
        or (len(pair & ANIONS) == 1 and len(pair) == 2 and not (pair - ANIONS) & ORGANIC_ELEMENTS)
    )

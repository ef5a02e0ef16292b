"""A lattice plane and its faces: chemical layers, bound charges, dangling bonds and what turns the plane over.

A cut k counts the images p ≥ k_j of ion j (whole numbers, in lattice planes) to the film above it.  The bound charge of
this face per 1 × 1 cell is P(k) = Σ q_j (z_j/d + k_j), with z_j the heights and d the plane spacing (Tasker, J. Phys. C
12, 4977 (1979); Noguera, J. Phys.: Condens. Matter 12, R367 (2000)); a face with P = 0 makes no field.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from qdip_dft.builders.cleavage import LAYER_THICKNESS_ANG, POLARITY_TOLERANCE_E, name_layer, unit_valences
from qdip_dft.builders.ions import Array, IonicCrystal
from qdip_dft.builders.minimum_cut import BondNetwork
from qdip_dft.builders.orientation import plane_spacing_ang
from qdip_dft.model.snapping import TOLERANCE, ceil_whole, first_least, wrap
from qdip_dft.model.symmetry import SYMMETRY_TOLERANCE_ANG, find_operations

LAYER_GAP_ANG = 0.7
"""Chemical layers are further apart in height; tilted octahedra and off-centre cations corrugate them less."""

LARGEST_VALENCE_RATIO = 1.5
"""Faces of one chemical layer whose broken valences differ by more than this factor have other dangling bonds."""

Cut = tuple[int, ...]


class TaskerType(StrEnum):
    """The stacking of a lattice plane (Tasker 1979)."""

    NEUTRAL_LAYERS = "1"
    """Every chemical layer is neutral."""
    CHARGED_LAYERS = "2"
    """Layers are charged, but some planar cut leaves no dipole."""
    POLAR = "3"
    """Every planar cut leaves a dipole."""


@dataclass(frozen=True, slots=True, eq=False)
class TurnOver:
    """An operation that turns a lattice plane over.

    Parameters
    ----------
    images
        Ion g(j) that each ion goes to.
    planes
        T_j: the image p of ion j goes to the image T_j − p.
    """

    images: NDArray[np.int_]
    planes: NDArray[np.int_]

    def mirror_cut(self, cut: Cut) -> Cut:
        """Return the upper cut of the film that this operation maps onto itself."""
        mirrored = np.empty(len(cut), dtype=int)
        mirrored[self.images] = self.planes - np.array(cut) + 1
        return tuple(mirrored.tolist())


@dataclass(frozen=True, slots=True, eq=False)
class LatticePlane:
    """A lattice plane with what its faces are judged by.

    Parameters
    ----------
    oriented
        The oriented primitive cell, without a cut.
    bonds
        Its bonds with their valences.
    turns
        Operations of the crystal that turn the plane over.
    """

    oriented: IonicCrystal
    bonds: BondNetwork
    turns: tuple[TurnOver, ...]

    def face_charge_e(self, cut: Cut) -> float:
        """Return the bound charge P(k) of the lower face per 1 × 1 cell in e, which a neutral film must compensate."""
        return float(self.oriented.charges @ self._heights(cut))

    def is_polar(self, cut: Cut) -> bool:
        """Return whether a face carries a bound charge."""
        return abs(self.face_charge_e(cut)) > POLARITY_TOLERANCE_E

    def has_field(self, lower: Cut, upper: Cut) -> bool:
        """Return whether the dipole of a film between two cuts grows with its thickness."""
        return abs(self.face_charge_e(lower) + self.face_charge_e(upper)) > 2 * POLARITY_TOLERANCE_E

    def broken_valence(self, cut: Cut) -> float:
        """Return the bond valence that a cut breaks per 1 × 1 cell."""
        return float(self.bonds.count_crossings(np.array(cut)) @ self.bonds.costs)

    def name_face(self, cut: Cut, *, is_bottom: bool) -> str:
        """Return the outermost chemical layer of the film above (or below) a cut."""
        thickness_ang = self._layer_thickness_ang(cut)
        return name_layer(self.oriented, self._heights(cut), is_bottom=is_bottom, thickness_ang=thickness_ang)

    def layer_charge_e(self, cut: Cut, *, is_bottom: bool) -> int:
        """Return the formal charge of this layer per 1 × 1 cell in e."""
        heights = self._heights(cut)
        inward = heights - heights.min() if is_bottom else heights.max() - heights
        is_outer = inward * plane_spacing_ang(self.oriented) <= self._layer_thickness_ang(cut)
        return round(float(self.oriented.charges[is_outer].sum()))

    def has_like_faces(self, lower: Cut, upper: Cut) -> bool:
        """Return whether a film shows the same chemical layer with about the same dangling bonds on both faces."""
        if self.name_face(lower, is_bottom=True) != self.name_face(upper, is_bottom=False):
            return False
        fewer, more = sorted(self.broken_valence(cut) for cut in (lower, upper))
        return more <= LARGEST_VALENCE_RATIO * fewer + TOLERANCE

    def _heights(self, cut: Cut) -> Array:
        return np.asarray(self.oriented.frac_centres[:, 2] + np.array(cut))

    def _layer_thickness_ang(self, cut: Cut) -> float:
        return LAYER_GAP_ANG if self.is_polar(cut) else LAYER_THICKNESS_ANG


def survey_plane(oriented: IonicCrystal) -> LatticePlane:
    """Return a lattice plane with its bonds and the operations that turn it over."""
    return LatticePlane(oriented, bonds=unit_valences(oriented), turns=find_turn_overs(oriented))


def find_turn_overs(oriented: IonicCrystal) -> tuple[TurnOver, ...]:
    """Return the operations of the crystal that turn the plane over, of all atoms, hydrogens included."""
    record = oriented.to_record()
    elements = sorted(set(record.species))
    kinds = [elements.index(symbol) for symbol in record.species]
    found = find_operations(record.lattice_ang, record.frac_coords, kinds, tolerance_ang=SYMMETRY_TOLERANCE_ANG)
    operations = [] if found is None else zip(found.rotations, found.translations, strict=True)
    turns = (_map_ions(oriented, rotation, shift) for rotation, shift in operations if tuple(rotation[2]) == (0, 0, -1))
    return tuple(turn for turn in turns if turn is not None)


def _map_ions(oriented: IonicCrystal, rotation: NDArray[np.int_], translation: Array) -> TurnOver | None:
    """Return where an operation takes each ion; None if an ion has no image within the tolerance."""
    images, planes = [], []
    for ion, centre in zip(oriented.ions, oriented.frac_centres, strict=True):
        difference = rotation @ centre + translation - oriented.frac_centres
        misses = np.linalg.norm((difference - np.rint(difference)) @ oriented.lattice_ang, axis=1)
        misses[[other.label != ion.label for other in oriented.ions]] = np.inf
        image = first_least(misses)
        if misses[image] > 5 * SYMMETRY_TOLERANCE_ANG:
            return None
        images.append(image)
        planes.append(round(float(difference[image, 2])))
    return TurnOver(np.array(images), np.array(planes)) if len(set(images)) == len(images) else None


def planar_cuts(oriented: IonicCrystal) -> tuple[Cut, ...]:
    """Return the flat cuts between chemical layers, one for each gap between layers."""
    heights = oriented.frac_centres[:, 2]
    inside = np.sort(wrap(heights))
    gaps_ang = (inside - np.append(inside[-1] - 1.0, inside[:-1])) * plane_spacing_ang(oriented)
    above_gap = inside[gaps_ang > LAYER_GAP_ANG]
    return tuple(tuple(ceil_whole(lowest - heights).astype(int).tolist()) for lowest in above_gap)


def classify_plane(plane: LatticePlane) -> TaskerType:
    """Return the Tasker type of a plane from its flat cuts; one layer without gaps counts as neutral layers."""
    is_polar = [plane.is_polar(cut) for cut in planar_cuts(plane.oriented)]
    if not any(is_polar):
        return TaskerType.NEUTRAL_LAYERS
    return TaskerType.POLAR if all(is_polar) else TaskerType.CHARGED_LAYERS

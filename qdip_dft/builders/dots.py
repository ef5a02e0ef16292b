"""Slabs of the dot material: stoichiometric where the facet allows it, otherwise cation-terminated and passivated.

A rock-salt (100) facet is neutral plane by plane.  A rock-salt (111) facet alternates Pb²⁺ and S²⁻ planes; a slab
with Pb on both faces carries an excess of one positive charge per surface Pb and face.  Colloidal PbS dots neutralize
it with exactly one monovalent anion (iodide, …) per surface Pb, which sits where the next sulfur would be.
"""

from __future__ import annotations

from math import ceil, sqrt

import numpy as np

from qdip_dft.builders.bonds import bond_length_ang
from qdip_dft.builders.cleavage import LAYER_TOLERANCE_ANG, find_terminations
from qdip_dft.builders.ions import Array, Ion, IonicCrystal
from qdip_dft.builders.orientation import in_plane_vectors, plane_spacing_ang
from qdip_dft.errors import ChargeBalanceError, SlabError
from qdip_dft.model.slab import DotCut

PASSIVATING_VALENCE = 1.0 / 3.0
"""Bond valence of each of the three bonds of a monovalent anion in a hollow site."""


def plan_dot_cut(oriented: IonicCrystal, *, min_thickness_ang: float, passivation: str | None, facet: str) -> DotCut:
    """Return how to cut a neutral dot slab without a dipole.

    Parameters
    ----------
    oriented
        The oriented primitive cell of the dot.
    min_thickness_ang
        Least thickness in Å between the outermost planes of the material itself.
    passivation
        Monovalent anion for polar facets; None refuses them.
    facet
        Name of the facet for messages, such as ``PbS(111)``.

    Raises
    ------
    ChargeBalanceError
        If the facet is polar and cannot be neutralized with whole anions on both faces.
    """
    spacing = plane_spacing_ang(oriented)
    terminations = find_terminations(oriented)
    if terminations:
        n_planes = max(1, ceil(min_thickness_ang / spacing - 1e-6))
        return DotCut(cut=terminations[0].cut, n_planes=n_planes, is_polar=False, n_passivating_per_face=0)
    cut = _cation_first(oriented)
    n_planes = max(2, ceil(min_thickness_ang / spacing - 1e-6) + 1)
    n_anions = _anions_per_face(oriented, cut, facet)
    if passivation is None:
        raise ChargeBalanceError(
            f"{facet} is polar: a slab with cations on both faces has {n_anions:+d} e per 1 × 1 cell and face",
            limit="the formal charges of a slab must sum to zero",
            why="a charged slab has no defined energy in a periodic cell",
            remedy="set dot.passivation to a halide such as I, or choose a neutral facet",
        )
    return DotCut(cut=cut, n_planes=n_planes, is_polar=True, n_passivating_per_face=n_anions)


def _cation_first(oriented: IonicCrystal) -> tuple[int, ...]:
    """Return the planar cut whose lowest layer holds cations only."""
    heights = oriented.frac_centres[:, 2]
    for index in np.argsort(heights):
        cut = tuple(int(k) for k in np.ceil(heights[index] - heights - _layer_tolerance(oriented)))
        shifted = heights + np.array(cut)
        is_lowest = shifted < shifted.min() + _layer_tolerance(oriented)
        if np.all(oriented.charges[is_lowest] > 0):
            return cut
    raise SlabError(
        "the polar facet has no plane of cations only",
        limit="cations and anions must lie in separate planes",
        why="the passivating anions would have no defined places",
        remedy="choose another facet",
    )


def _layer_tolerance(oriented: IonicCrystal) -> float:
    return LAYER_TOLERANCE_ANG / plane_spacing_ang(oriented)


def _lowest_layer(oriented: IonicCrystal, cut: tuple[int, ...]) -> list[int]:
    heights = oriented.frac_centres[:, 2] + np.array(cut)
    return [int(i) for i in np.nonzero(heights < heights.min() + _layer_tolerance(oriented))[0]]


def _anions_per_face(oriented: IonicCrystal, cut: tuple[int, ...], facet: str) -> int:
    """Return the number of monovalent anions per face that neutralize the slab with one more cation layer."""
    excess = sum(oriented.ions[i].charge for i in _lowest_layer(oriented, cut))
    available = len(oriented.ions) - len(_lowest_layer(oriented, cut))
    if excess % 2 or not 0 < excess // 2 <= available:
        raise ChargeBalanceError(
            f"{facet} needs {excess / 2:g} monovalent anions per 1 × 1 cell and face",
            limit=f"a whole number between 1 and {available}, the number of anion sites",
            why="the slab would stay charged or one face would differ from the other",
            remedy="choose another facet",
        )
    return excess // 2


def build_dot_slab(oriented: IonicCrystal, dot_cut: DotCut, *, passivation: str | None) -> IonicCrystal:
    """Return the 1 × 1 dot slab, not yet in vacuum: its third vector spans the slab.

    Parameters
    ----------
    oriented
        The oriented cell **without** a cut, of the catalogue's or of a relaxed crystal.
    dot_cut
        How to cut it.
    passivation
        The monovalent anion of a polar facet.
    """
    stacked = _stack(oriented, dot_cut)
    if not dot_cut.is_polar or passivation is None:
        return stacked
    bottom = _passivate_bottom(oriented, dot_cut, passivation)
    top = _passivate_top(oriented, dot_cut, passivation)
    centres = np.vstack([stacked.centres_ang, *[c for _, c in bottom], *[c for _, c in top]])
    return IonicCrystal(
        lattice_ang=stacked.lattice_ang,
        ions=(*stacked.ions, *[ion for ion, _ in bottom], *[ion for ion, _ in top]),
        frac_centres=centres @ np.linalg.inv(stacked.lattice_ang),
    )


def _stack(oriented: IonicCrystal, dot_cut: DotCut) -> IonicCrystal:
    """Return n planes, and for a polar facet the closing cation layer."""
    shifts = np.array(dot_cut.cut, dtype=float)
    periods = dot_cut.n_planes - 1 if dot_cut.is_polar else dot_cut.n_planes
    images = [(i, shifts[i] + p) for p in range(periods) for i in range(len(oriented.ions))]
    if dot_cut.is_polar:
        images += [(i, shifts[i] + periods) for i in _lowest_layer(oriented, dot_cut.cut)]
    centres = np.array([oriented.centres_ang[i] + k * oriented.lattice_ang[2] for i, k in images])
    lattice = _slab_lattice(oriented, dot_cut.n_planes)
    return IonicCrystal(
        lattice_ang=lattice,
        ions=tuple(oriented.ions[i] for i, _ in images),
        frac_centres=centres @ np.linalg.inv(lattice),
    )


def _slab_lattice(oriented: IonicCrystal, n_planes: int) -> Array:
    lattice = np.zeros((3, 3))
    lattice[:2, :2] = in_plane_vectors(oriented)
    lattice[2, 2] = n_planes * plane_spacing_ang(oriented)
    return lattice


def _passivate_bottom(oriented: IonicCrystal, dot_cut: DotCut, anion: str) -> list[tuple[Ion, Array]]:
    shifts = np.array(dot_cut.cut, dtype=float) - 1.0
    cations = [(oriented.ions[i], shifts[i] + 1.0, i) for i in _lowest_layer(oriented, dot_cut.cut)]
    return _place_anions(oriented, dot_cut, anion, shifts, cations, outward=-1.0)


def _passivate_top(oriented: IonicCrystal, dot_cut: DotCut, anion: str) -> list[tuple[Ion, Array]]:
    shifts = np.array(dot_cut.cut, dtype=float) + dot_cut.n_planes - 1.0
    cations = [(oriented.ions[i], shifts[i], i) for i in _lowest_layer(oriented, dot_cut.cut)]
    return _place_anions(oriented, dot_cut, anion, shifts, cations, outward=1.0)


def _place_anions(
    oriented: IonicCrystal,
    dot_cut: DotCut,
    anion: str,
    shifts: Array,
    cations: list[tuple[Ion, float, int]],
    *,
    outward: float,
) -> list[tuple[Ion, Array]]:
    """Return passivating anions at the anion sites just outside the cation layer, at their own bond length."""
    stacking = oriented.lattice_ang[2]
    layer = {i for _, _, i in cations}
    surface = [(ion.label, oriented.centres_ang[i] + k * stacking) for ion, k, i in cations]
    sites = [oriented.centres_ang[i] + shifts[i] * stacking for i in range(len(oriented.ions)) if i not in layer]
    sites.sort(key=lambda site: outward * site[2])
    halide = Ion(label=anion, charge=-1, species=(anion,), offsets_ang=np.zeros((1, 3)), site_indices=())
    return [
        (halide, _at_bond_length(site, surface, in_plane_vectors(oriented), anion, outward))
        for site in sites[: dot_cut.n_passivating_per_face]
    ]


def _at_bond_length(site: Array, surface: list[tuple[str, Array]], vectors: Array, anion: str, outward: float) -> Array:
    """Return the site moved along the normal until its nearest cation is one bond length away."""
    heights = []
    for label, centre in surface:
        difference = (site - centre)[:2]
        images = [difference + i * vectors[0] + j * vectors[1] for i in range(-2, 3) for j in range(-2, 3)]
        lateral = min(float(np.linalg.norm(image)) for image in images)
        length = bond_length_ang(label, anion, PASSIVATING_VALENCE)
        rise = sqrt(max(length**2 - lateral**2, 0.25))
        heights.append(outward * centre[2] + rise)
    return np.array([site[0], site[1], outward * max(heights)])

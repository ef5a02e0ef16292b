"""Slabs of the dot material: stoichiometric where the facet allows it, otherwise cation-terminated and passivated.

A rock-salt (100) facet is neutral plane by plane.  A rock-salt (111) facet alternates Pb²⁺ and S²⁻ planes; a slab
with Pb on both faces carries an excess of one positive charge per surface Pb and face.  Colloidal PbS dots neutralize
it with exactly one monovalent anion (iodide, …) per surface Pb, which sits where the next sulfur would be.  Polar faces
of zinc-blende crystals need other numbers, see `passivation`.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from math import lcm

import numpy as np

from qdip_dft.builders.cleavage import LAYER_TOLERANCE_ANG, find_terminations
from qdip_dft.builders.films import embed_matrix
from qdip_dft.builders.ions import Array, Ion, IonicCrystal, repeat_crystal
from qdip_dft.builders.orientation import in_plane_vectors, plane_spacing_ang
from qdip_dft.builders.passivation import count_anions, passivating_ion, place_anions, require_whole_number
from qdip_dft.errors import ChargeBalanceError, SlabError
from qdip_dft.model.orientation import IntegerMatrix2
from qdip_dft.model.slab import DotCut
from qdip_dft.model.snapping import ceil_whole, rank
from qdip_dft.model.structure import DOT_PART, PASSIVATION_PART

ONE_CELL: IntegerMatrix2 = ((1, 0), (0, 1))


def plan_dot_cut(oriented: IonicCrystal, *, min_thickness_ang: float, passivation: str | None, facet: str) -> DotCut:
    """Return how to cut a neutral dot slab without a dipole.

    Parameters
    ----------
    oriented
        The oriented primitive cell of the dot.
    min_thickness_ang
        Least thickness in Å between the outermost planes of the material itself.
    passivation
        Monovalent anion for polar facets, a halide or ``OH``; None refuses them.
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
        n_planes = max(1, int(ceil_whole(min_thickness_ang / spacing)))
        return DotCut(cut=terminations[0].cut, n_planes=n_planes, is_polar=False, n_passivating_per_face=0)
    cut = _cation_first(oriented)
    n_planes = max(2, int(ceil_whole(min_thickness_ang / spacing)) + 1)
    bottom, top = count_anions(oriented, cut, _closing_cut(oriented, cut))
    if passivation is None:
        cells = lcm(bottom.denominator, top.denominator)
        anions = "set dot.passivation to a halide such as I, or to OH"
        if cells > 1:
            anions += f", which fits only common cells that hold a multiple of {cells} surface cells of the dot"
        raise ChargeBalanceError(
            f"{facet} is polar: a slab with cations on both faces has {float(bottom):+g} e per 1 × 1 cell on the lower"
            f" face and {float(top):+g} e on the upper one",
            limit="the formal charges of a slab must sum to zero",
            why="a charged slab has no defined energy in a periodic cell",
            remedy=f"{anions}, or choose a neutral facet" if cells == 1 else f"choose a neutral facet, or {anions}",
        )
    passivating_ion(passivation, outward=1.0)
    return _describe_polar(cut, n_planes, bottom, top)


def _describe_polar(cut: tuple[int, ...], n_planes: int, bottom: Fraction, top: Fraction) -> DotCut:
    if bottom == top and bottom.denominator == 1:
        return DotCut(cut=cut, n_planes=n_planes, is_polar=True, n_passivating_per_face=int(bottom))
    cells = lcm(bottom.denominator, top.denominator)
    uneven = (int(bottom * cells), int(top * cells), cells)
    return DotCut(cut=cut, n_planes=n_planes, is_polar=True, n_passivating_per_face=0, uneven_passivation=uneven)


def _closing_cut(oriented: IonicCrystal, cut: tuple[int, ...]) -> tuple[int, ...]:
    """Return the upper cut of a slab that ends with the same cations as it begins with."""
    closing = set(_lowest_layer(oriented, cut))
    return tuple(k + (i in closing) for i, k in enumerate(cut))


def _cation_first(oriented: IonicCrystal) -> tuple[int, ...]:
    """Return the planar cut whose lowest layer holds cations only."""
    heights = oriented.frac_centres[:, 2]
    for index in sorted(range(len(heights)), key=rank(heights).__getitem__):
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


def build_dot_slab(
    oriented: IonicCrystal, dot_cut: DotCut, *, passivation: str | None, matrix: IntegerMatrix2 = ONE_CELL
) -> IonicCrystal:
    """Return the dot slab on a supercell of its 1 × 1 cells, not yet in vacuum: its third vector spans the slab.

    Parameters
    ----------
    oriented
        The oriented cell **without** a cut, of the catalogue's or of a relaxed crystal.
    dot_cut
        How to cut it.
    passivation
        The monovalent anion of a polar facet.
    matrix
        The supercell in 1 × 1 cells, rows.

    Raises
    ------
    ChargeBalanceError
        If the interface cell cannot hold a whole number of passivating anions.
    """
    bare = repeat_crystal(_stack(oriented, dot_cut), embed_matrix(matrix, 1)).as_part(DOT_PART)
    if not dot_cut.is_polar or passivation is None:
        return bare
    anions = _passivate(oriented, dot_cut, passivation, matrix)
    centres = np.vstack([bare.centres_ang, *[centre for _, centre in anions]])
    added = (replace(ion, part=PASSIVATION_PART) for ion, _ in anions)
    return IonicCrystal.at(bare.lattice_ang, (*bare.ions, *added), centres)


def _stack(oriented: IonicCrystal, dot_cut: DotCut) -> IonicCrystal:
    """Return n planes, and for a polar facet the closing cation layer."""
    shifts = np.array(dot_cut.cut, dtype=float)
    periods = dot_cut.n_planes - 1 if dot_cut.is_polar else dot_cut.n_planes
    images = [(i, shifts[i] + p) for p in range(periods) for i in range(len(oriented.ions))]
    if dot_cut.is_polar:
        images += [(i, shifts[i] + periods) for i in _lowest_layer(oriented, dot_cut.cut)]
    centres = np.array([oriented.centres_ang[i] + k * oriented.lattice_ang[2] for i, k in images])
    return IonicCrystal.at(_slab_lattice(oriented, dot_cut.n_planes), (oriented.ions[i] for i, _ in images), centres)


def _slab_lattice(oriented: IonicCrystal, n_planes: int) -> Array:
    lattice = np.zeros((3, 3))
    lattice[:2, :2] = in_plane_vectors(oriented)
    lattice[2, 2] = n_planes * plane_spacing_ang(oriented)
    return lattice


def _passivate(oriented: IonicCrystal, dot_cut: DotCut, anion: str, matrix: IntegerMatrix2) -> list[tuple[Ion, Array]]:
    """Return the anions of both faces with their centres, bottom first."""
    supercell = repeat_crystal(oriented, embed_matrix(matrix, 1))
    n_cells, stacking = len(supercell.ions) // len(oriented.ions), oriented.lattice_ang[2]
    layer = set(_lowest_layer(oriented, dot_cut.cut))
    shifts = np.repeat(np.array(dot_cut.cut, dtype=float), n_cells)
    is_cation = np.repeat([i in layer for i in range(len(oriented.ions))], n_cells)
    placed: list[tuple[Ion, Array]] = []
    for outward, first, beyond, per_cell in (
        (-1.0, 0.0, -1.0, dot_cut.anions_per_cell[0]),
        (1.0, dot_cut.n_planes - 1.0, dot_cut.n_planes - 1.0, dot_cut.anions_per_cell[1]),
    ):
        centres = supercell.centres_ang + np.outer(shifts + np.where(is_cation, first, beyond), stacking)
        sites = _outermost(centres[~is_cation], outward)
        placed += place_anions(
            [(supercell.ions[i].label, centres[i]) for i in np.nonzero(is_cation)[0]],
            sites,
            in_plane_vectors(supercell),
            label=anion,
            n_anions=require_whole_number(per_cell, n_cells=n_cells, facet="the polar facet"),
            outward=outward,
        )
    return placed


def _outermost(sites: Array, outward: float) -> Array:
    """Return the anion sites of the layer next to the surface cations."""
    heights = outward * sites[:, 2]
    return np.asarray(sites[heights < heights.min() + LAYER_TOLERANCE_ANG])

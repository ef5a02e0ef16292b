"""Organic cations: exact geometries, symmetric where they must be, and placed without touching anything."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from crystal_builders.molecules import (
    OrganicCation,
    build_formamidinium,
    build_methylammonium,
    build_phenethylammonium,
    place_cation,
    place_cations,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.core import Lattice, Structure
from pymatgen.symmetry.analyzer import PointGroupAnalyzer

from qdip_dft.builders.cation_orientations import MIN_HYDROGEN_HYDROGEN_ANG
from qdip_dft.errors import StructureError
from qdip_dft.model.elements import MIN_HYDROGEN_HALIDE_ANG

BUILDERS = (build_formamidinium, build_methylammonium, build_phenethylammonium)


def distances_ang(cation: OrganicCation) -> np.ndarray:
    return np.linalg.norm(cation.positions_ang[:, None] - cation.positions_ang[None], axis=-1)


def bonds_ang(cation: OrganicCation) -> dict[str, list[float]]:
    """Bond lengths by element pair; no two atoms of these molecules that are not bonded are closer than 1.6 Å."""
    bonds: dict[str, list[float]] = {}
    for i, j in combinations(range(len(cation.symbols)), 2):
        if distances_ang(cation)[i, j] < 1.6:
            bonds.setdefault("".join(sorted((cation.symbols[i], cation.symbols[j]))), []).append(
                distances_ang(cation)[i, j]
            )
    return bonds


def angle_deg(cation: OrganicCation, first: int, apex: int, second: int) -> float:
    arms = cation.positions_ang[[first, second]] - cation.positions_ang[apex]
    return float(np.degrees(np.arccos(arms[0] @ arms[1] / np.prod(np.linalg.norm(arms, axis=1)))))


def point_group(cation: OrganicCation) -> str:
    from pymatgen.core import Molecule

    return str(PointGroupAnalyzer(Molecule(cation.symbols, cation.positions_ang), tolerance=1e-3).sch_symbol)


def make_cage(a_ang: float = 6.362, halide: str = "I") -> Structure:
    return Structure.from_spacegroup("Pm-3m", Lattice.cubic(a_ang), ["Pb", halide], [[0, 0, 0], [0.5, 0, 0]])


def test_formamidinium_has_the_stated_bond_lengths():
    bonds = bonds_ang(build_formamidinium())
    assert bonds["CN"] == pytest.approx([1.31] * 2, abs=1e-12)
    assert bonds["HN"] == pytest.approx([1.02] * 4, abs=1e-12)
    assert bonds["CH"] == pytest.approx([1.10], abs=1e-12)
    assert set(bonds) == {"CN", "HN", "CH"}


def test_formamidinium_is_bent_by_126_degrees_and_planar():
    cation = build_formamidinium()
    carbon, *nitrogens = [i for i, symbol in enumerate(cation.symbols) if symbol in "CN"]
    assert angle_deg(cation, nitrogens[0], carbon, nitrogens[1]) == pytest.approx(126.0, abs=1e-9)
    assert np.linalg.svd(cation.positions_ang - cation.positions_ang.mean(axis=0))[1][2] == pytest.approx(0, abs=1e-12)
    assert point_group(cation) == "C2v"


def test_methylammonium_has_the_stated_bond_lengths():
    bonds = bonds_ang(build_methylammonium())
    assert bonds["CN"] == pytest.approx([1.49], abs=1e-12)
    assert bonds["CH"] == pytest.approx([1.09] * 3, abs=1e-12)
    assert bonds["HN"] == pytest.approx([1.04] * 3, abs=1e-12)


def test_methylammonium_is_staggered_with_a_threefold_axis():
    cation = build_methylammonium()
    assert point_group(cation) == "C3v"
    axis = cation.positions_ang[1] - cation.positions_ang[0]
    arms = cation.positions_ang[2:] - np.outer(cation.positions_ang[2:] @ axis, axis) / (axis @ axis)
    turns = np.degrees(np.arctan2(arms @ np.cross(axis, arms[0]) / np.linalg.norm(axis), arms @ arms[0]))
    assert np.sort(np.round(turns, 6) % 360) == pytest.approx([0, 60, 120, 180, 240, 300], abs=1e-5)


def test_phenethylammonium_has_all_its_bonds():
    bonds = bonds_ang(build_phenethylammonium())
    assert sorted(bonds["CC"]) == pytest.approx([1.39] * 6 + [1.51, 1.53], abs=1e-9)
    assert {pair: len(lengths) for pair, lengths in bonds.items()} == {"CC": 8, "CN": 1, "CH": 9, "HN": 3}


@pytest.mark.parametrize("build", BUILDERS)
def test_a_cation_is_centred_and_carries_one_charge(build):
    cation = build()
    masses = np.array([{"H": 1.008, "C": 12.011, "N": 14.007}[symbol] for symbol in cation.symbols])
    assert masses @ cation.positions_ang == pytest.approx(np.zeros(3), abs=1e-9)
    assert cation.charge == 1


@settings(max_examples=30)
@given(seed=st.integers(0, 2**32))
def test_no_seed_brings_a_hydrogen_too_close(seed):
    crystal = place_cation(make_cage(), build_formamidinium(), centre_frac=[0.5, 0.5, 0.5], seed=seed)
    symbols = np.array([site.specie.symbol for site in crystal])
    first, second, images, apart_ang = crystal.get_neighbor_list(3.0)
    from_hydrogen = symbols[first] == "H"
    assert (apart_ang[from_hydrogen & (symbols[second] == "I")] >= MIN_HYDROGEN_HALIDE_ANG).all()
    to_next_cell = images.any(axis=1)  # the placed molecule is not wrapped, so its own bonds stay in one cell
    assert (apart_ang[from_hydrogen & (symbols[second] == "H") & to_next_cell] >= MIN_HYDROGEN_HYDROGEN_ANG).all()


@settings(max_examples=30)
@given(seed=st.integers(0, 2**32))
def test_placing_keeps_every_distance_and_the_centre_of_mass(seed):
    cation = build_methylammonium()
    cage = make_cage(5.92, "Br")
    crystal = place_cation(cage, cation, centre_frac=[0.5, 0.5, 0.5], seed=seed)
    placed = crystal.cart_coords[len(cage) :]
    assert np.linalg.norm(placed[:, None] - placed[None], axis=-1) == pytest.approx(distances_ang(cation), abs=1e-9)
    masses = np.array([site.specie.atomic_mass for site in crystal[len(cage) :]])
    assert masses @ placed / masses.sum() == pytest.approx([2.96] * 3, abs=1e-3)


def test_placing_keeps_handedness():
    cation = build_phenethylammonium()
    cage = Structure(Lattice.cubic(25), ["Pb"], [[0, 0, 0]])
    placed = place_cation(cage, cation, centre_frac=[0.5, 0.5, 0.5], seed=3).cart_coords[1:]
    corner = [0, 6, 7, 15]
    before = np.linalg.det(np.diff(cation.positions_ang[corner], axis=0))
    assert abs(before) > 0.1
    assert np.linalg.det(np.diff(placed[corner], axis=0)) == pytest.approx(before, abs=1e-9)


def test_the_same_seed_gives_the_same_crystal_and_another_seed_another():
    def place(seed):
        return place_cation(make_cage(), build_formamidinium(), centre_frac=[0.5] * 3, seed=seed).frac_coords

    assert np.array_equal(place(5), place(5))
    assert not np.allclose(place(5), place(6), atol=0.01)


def test_orientations_point_everywhere_alike():
    cage = Structure(Lattice.cubic(15), ["Pb"], [[0, 0, 0]])
    cation = build_methylammonium()
    axes = []
    for seed in range(200):
        coords = place_cation(cage, cation, centre_frac=[0.5] * 3, seed=seed).cart_coords
        axes.append((coords[2] - coords[1]) / 1.49)
    # the mean of 200 uniform unit vectors has components of σ = sqrt(1/600); their squares average to 1/3 ± 0.021
    assert np.abs(np.mean(axes, axis=0)).max() < 4 / np.sqrt(600)
    assert np.mean(np.square(axes), axis=0) == pytest.approx([1 / 3] * 3, abs=4 * 0.021)


def test_placing_leaves_the_cage_as_it_was():
    cage = make_cage()
    before = cage.copy()
    place_cations(cage, build_formamidinium(), centres_frac=[[0.5] * 3], seed=0)
    assert cage == before


def test_two_cations_in_one_cell_are_turned_differently_and_keep_apart():
    cage = make_cage() * (2, 1, 1)
    crystal = place_cations(cage, build_formamidinium(), centres_frac=[[0.25, 0.5, 0.5], [0.75, 0.5, 0.5]], seed=2)
    first, second = (crystal.cart_coords[start : start + 8] for start in (len(cage), len(cage) + 8))
    assert not np.allclose(first - first.mean(axis=0), second - second.mean(axis=0), atol=0.05)
    hydrogens = [i for i, site in enumerate(crystal) if site.specie.symbol == "H"]
    apart = crystal.distance_matrix[np.ix_(hydrogens[:5], hydrogens[5:])]
    assert apart.min() >= MIN_HYDROGEN_HYDROGEN_ANG


def test_a_cage_that_is_too_small_is_refused():
    with pytest.raises(StructureError, match="use a larger cell"):
        place_cation(make_cage(4.2), build_formamidinium(), centre_frac=[0.5] * 3, seed=0)


def test_a_centre_on_a_halide_is_refused():
    with pytest.raises(StructureError, match="move the centre to the middle of the cage"):
        place_cation(make_cage(), build_methylammonium(), centre_frac=[0.5, 0, 0], seed=0)

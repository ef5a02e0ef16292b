"""The oriented cell: the same crystal, turned so that a plane lies flat."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qdip_dft.builders.ions import IonicCrystal, find_ions
from qdip_dft.builders.orientation import (
    Orientation,
    find_orientation,
    in_plane_vectors,
    orient_crystal,
    plane_spacing_ang,
)
from tests.unit.crystals import (
    HANDEDNESS_ANG3,
    TEST_CHARGES,
    chiral_crystal,
    handedness_ang3,
    internal_distances_ang,
    load_ions,
    positions_ang,
)

PLANES = ((1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (1, 0, 1), (0, 1, 1), (1, 1, 1), (1, -1, 0), (2, 1, 0), (2, 1, 1))
CRYSTALS = {"PbS": 4, "CsPbI3-delta": 1, "FAPbI3-alpha": 1, "CdSe-zincblende": 4, "CsPbI3-gamma": 1, "Cs4PbBr6": 3}
"""Lattice points in the conventional cell of each file."""

planes = st.tuples(*[st.integers(-3, 3)] * 3).filter(any)


@cache
def orient(name: str, plane: tuple[int, int, int]) -> tuple[IonicCrystal, Orientation, IonicCrystal]:
    crystal = load_ions(name)
    orientation = find_orientation(crystal, plane)
    return crystal, orientation, orient_crystal(crystal, orientation)


def volume_ang3(crystal: IonicCrystal) -> float:
    return float(np.linalg.det(crystal.lattice_ang))


@pytest.mark.parametrize("plane", PLANES)
@pytest.mark.parametrize(("name", "n_lattice_points"), CRYSTALS.items())
def test_the_oriented_cell_holds_one_primitive_cell(name, n_lattice_points, plane):
    crystal, _, oriented = orient(name, plane)
    assert volume_ang3(oriented) == pytest.approx(volume_ang3(crystal) / n_lattice_points, rel=1e-9)
    labels = sorted(ion.label for ion in oriented.ions)
    assert sorted(labels * n_lattice_points) == sorted(ion.label for ion in crystal.ions)


@pytest.mark.parametrize("plane", PLANES)
@pytest.mark.parametrize("name", CRYSTALS)
def test_the_plane_lies_flat_with_its_first_vector_along_x(name, plane):
    _, _, oriented = orient(name, plane)
    a, b, c = oriented.lattice_ang
    assert a[1:] == pytest.approx([0, 0], abs=1e-9)
    assert b[2] == pytest.approx(0, abs=1e-9)
    assert min(a[0], b[1], c[2]) > 0  # right-handed, planes stacked upwards


@pytest.mark.parametrize("plane", PLANES)
@pytest.mark.parametrize("name", CRYSTALS)
def test_planes_refer_to_the_conventional_cell(name, plane):
    crystal, orientation, oriented = orient(name, plane)
    reciprocal = np.linalg.inv(crystal.lattice_ang) @ np.array(plane)
    rows = orientation.vectors @ crystal.lattice_ang
    assert rows[:2] @ reciprocal == pytest.approx([0, 0], abs=1e-9)
    steps = rows[2] @ reciprocal
    assert steps > 0
    assert plane_spacing_ang(oriented) == pytest.approx(steps / np.linalg.norm(reciprocal), rel=1e-9)


def test_the_lead_sulfide_facets_have_their_known_cells():
    a = float(np.linalg.norm(load_ions("PbS").lattice_ang[0]))
    area_111, area_100 = (float(np.linalg.det(in_plane_vectors(orient("PbS", p)[2]))) for p in ((1, 1, 1), (1, 0, 0)))
    assert area_111 == pytest.approx(a**2 * np.sqrt(3) / 4, rel=1e-9)
    assert area_111 * (5.936 / a) ** 2 == pytest.approx(15.26, abs=0.005)
    assert area_100 == pytest.approx(a**2 / 2, rel=1e-9)
    assert plane_spacing_ang(orient("PbS", (1, 1, 1))[2]) == pytest.approx(a / np.sqrt(3), rel=1e-9)
    assert plane_spacing_ang(orient("PbS", (1, 0, 0))[2]) == pytest.approx(a / 2, rel=1e-9)


@pytest.mark.parametrize("plane", [(1, 0, 0), (1, 1, 0), (1, 1, 1), (2, 1, 1)])
@pytest.mark.parametrize("name", ["PbS", "CsPbI3-delta", "FAPbI3-alpha", "FAPbI3-delta", "CdSe-zincblende"])
def test_every_atom_keeps_its_surroundings(name, plane):
    crystal, _, oriented = orient(name, plane)
    assert shells(oriented) == shells(crystal)


def shells(crystal: IonicCrystal) -> set[tuple[object, ...]]:
    """Return the neighbours within 4.5 Å of each atom: elements and distances to 1e-3 Å."""
    record = crystal.to_record()
    first, second, _, distances = record.to_pymatgen().get_neighbor_list(4.5)
    found: list[list[tuple[str, float]]] = [[] for _ in record.species]
    for i, j, distance in zip(first, second, distances, strict=True):
        found[i].append((record.species[j], round(float(distance), 3)))
    return {(record.species[i], *sorted(shell)) for i, shell in enumerate(found)}


@settings(max_examples=40)
@given(plane=planes)
def test_orienting_turns_molecules_without_bending_or_mirroring_them(plane):
    crystal = find_ions(chiral_crystal([[7, 0, 0], [1, 8, 0], [0, 2, 9]]), TEST_CHARGES)
    oriented = orient_crystal(crystal, find_orientation(crystal, plane))
    assert handedness_ang3(oriented) == pytest.approx([HANDEDNESS_ANG3], abs=1e-9)
    assert internal_distances_ang(oriented)[0] == pytest.approx(internal_distances_ang(crystal)[0], abs=1e-9)


@settings(max_examples=20)
@given(plane=planes)
def test_opposite_planes_have_the_same_cell_and_spacing(plane):
    up, down = orient("CsPbI3-delta", plane)[2], orient("CsPbI3-delta", tuple(-i for i in plane))[2]
    assert plane_spacing_ang(up) == pytest.approx(plane_spacing_ang(down), rel=1e-9)
    areas = [np.linalg.det(in_plane_vectors(cell)) for cell in (up, down)]
    assert areas[0] == pytest.approx(areas[1], rel=1e-9)


@pytest.mark.parametrize("name", ["PbS", "CsPbI3-delta", "FAPbI3-delta"])
def test_a_relaxed_crystal_follows_the_recipe_of_the_filed_one(name, rng):
    crystal, orientation, oriented = orient(name, (1, 1, 0))
    displacements = rng.normal(0, 0.05, size=crystal.frac_centres.shape)
    frac_centres = crystal.frac_centres + displacements @ np.linalg.inv(crystal.lattice_ang)
    relaxed = orient_crystal(IonicCrystal(crystal.lattice_ang * 1.02, crystal.ions, frac_centres), orientation)
    assert [ion.label for ion in relaxed.ions] == [ion.label for ion in oriented.ions]
    assert relaxed.lattice_ang == pytest.approx(1.02 * oriented.lattice_ang, abs=1e-9)
    moved = np.linalg.norm((relaxed.frac_centres - oriented.frac_centres) @ relaxed.lattice_ang, axis=1)
    assert moved == pytest.approx(1.02 * np.linalg.norm(displacements[list(orientation.members)], axis=1), abs=1e-9)


def test_a_cut_lifts_ions_by_whole_stacking_vectors():
    crystal, orientation, oriented = orient("CsPbI3-delta", (1, 0, 0))
    cut = tuple(index % 3 - 1 for index in range(len(oriented.ions)))
    lifted = orient_crystal(crystal, orientation, cut=cut)
    moved = positions_ang(lifted.to_record()) - positions_ang(oriented.to_record())
    assert moved == pytest.approx(np.outer(cut, oriented.lattice_ang[2]), abs=1e-9)


def test_the_stacking_vector_is_as_upright_as_the_lattice_allows():
    for name in CRYSTALS:
        for plane in PLANES:
            a, b, c = orient(name, plane)[2].lattice_ang
            lateral = c[:2]
            neighbours = [lateral + i * a[:2] + j * b[:2] for i in (-1, 0, 1) for j in (-1, 0, 1)]
            assert np.linalg.norm(lateral) <= min(map(np.linalg.norm, neighbours)) + 1e-6

"""Films: the strained bulk in the interface's cell, and the slab cut from it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qdip_dft.builders.cleavage import find_terminations
from qdip_dft.builders.films import (
    OUT_OF_PLANE_RESPONSE,
    atom_positions,
    build_strained_bulk,
    displace_ions,
    embed_matrix,
    in_vacuum,
    stack_film,
)
from qdip_dft.builders.interfaces import check_built
from qdip_dft.builders.ions import IonicCrystal, find_ions, repeat_crystal
from qdip_dft.builders.orientation import find_orientation, in_plane_vectors, orient_crystal
from qdip_dft.builders.strain import InterfaceCell, interface_cell
from tests.unit.crystals import (
    HANDEDNESS_ANG3,
    TEST_CHARGES,
    chiral_crystal,
    handedness_ang3,
    internal_distances_ang,
    load_face,
    positions_ang,
)
from tests.unit.test_strain import ONE_BY_ONE, Supercells

FACES = [("FAPbI3-alpha", "100"), ("FAPbI3-delta", "001"), ("CsPbI3-delta", "100"), ("CsPbI3-gamma", "110")]
percents = st.integers(-70, 70).map(lambda permille: permille / 1000)


def cut_cell(name: str, plane: str) -> IonicCrystal:
    face = load_face(name, plane)
    return orient_crystal(face.crystal, face.orientation, cut=find_terminations(face.oriented)[0].cut)


def mesh_of(oriented: IonicCrystal, stretch: np.ndarray, supercells: Supercells = ONE_BY_ONE) -> InterfaceCell:
    """Return the mesh of a film on a dot that is the film's own lattice, stretched."""
    vectors = in_plane_vectors(oriented)
    return interface_cell(vectors, vectors @ stretch.T, supercells)


def volume_ang3(crystal: IonicCrystal) -> float:
    return float(np.linalg.det(crystal.lattice_ang))


@pytest.mark.parametrize(("name", "plane"), FACES)
def test_an_unstrained_reference_is_the_bulk(name, plane):
    oriented = cut_cell(name, plane)
    reference = build_strained_bulk(oriented, ((1, 0), (0, 1)), mesh_of(oriented, np.eye(2)), n_periods=1)
    assert reference.lattice_ang == pytest.approx(oriented.lattice_ang, abs=1e-9)
    assert positions_ang(reference.to_record()) == pytest.approx(positions_ang(oriented.to_record()), abs=1e-9)


@pytest.mark.parametrize(("name", "plane"), FACES)
@pytest.mark.parametrize("n_periods", [1, 2])
def test_an_unstrained_reference_in_a_supercell_is_the_repeated_bulk(name, plane, n_periods):
    oriented = cut_cell(name, plane)
    matrix = ((2, 0), (1, 1))
    mesh = mesh_of(oriented, np.eye(2), Supercells(matrix, matrix))
    reference = build_strained_bulk(oriented, matrix, mesh, n_periods=n_periods)
    assert volume_ang3(reference) == pytest.approx(2 * n_periods * volume_ang3(oriented), rel=1e-9)
    expected = repeat_crystal(oriented, embed_matrix(matrix, n_periods))
    distances = [np.sort(c.to_record().to_pymatgen().get_neighbor_list(4.0)[3]) for c in (reference, expected)]
    assert distances[0] == pytest.approx(distances[1], abs=1e-8)


@settings(max_examples=25)
@given(xx=percents, yy=percents, xy=percents)
def test_the_reference_lies_on_the_mesh_and_gives_way_along_its_normal(xx, yy, xy):
    oriented = cut_cell("FAPbI3-delta", "001")
    mesh = mesh_of(oriented, np.array([[1 + xx, xy], [0.0, 1 + yy]]))
    reference = build_strained_bulk(oriented, ((1, 0), (0, 1)), mesh, n_periods=1)
    assert reference.lattice_ang[:2, :2] == pytest.approx(mesh.vectors_2d, abs=1e-9)
    height = (1 - OUT_OF_PLANE_RESPONSE * sum(mesh.film_principal_strains)) * oriented.lattice_ang[2, 2]
    assert reference.lattice_ang[2, 2] == pytest.approx(height, rel=1e-9)
    assert internal_distances_ang(reference) == [
        pytest.approx(distances, abs=1e-9) for distances in internal_distances_ang(oriented)
    ]


@settings(max_examples=25)
@given(xx=percents, yy=percents, xy=percents)
def test_a_strained_film_is_never_mirrored(xx, yy, xy):
    crystal = find_ions(chiral_crystal(), TEST_CHARGES)
    oriented = orient_crystal(crystal, find_orientation(crystal, (1, 1, 0)))
    mesh = mesh_of(oriented, np.array([[1 + xx, xy], [0.0, 1 + yy]]))
    reference = build_strained_bulk(oriented, ((1, 0), (0, 1)), mesh, n_periods=1)
    film = stack_film(reference, n_repeats=2, vacuum_ang=10.0)
    assert handedness_ang3(film) == pytest.approx([HANDEDNESS_ANG3] * 2, abs=1e-9)


@pytest.mark.parametrize(("name", "plane"), FACES)
@pytest.mark.parametrize("n_repeats", [1, 3])
def test_a_film_is_the_reference_with_vacuum_in_place_of_the_next_period(name, plane, n_repeats):
    oriented = cut_cell(name, plane)
    film = stack_film(oriented, n_repeats=n_repeats, vacuum_ang=12.0)
    assert sorted(ion.label for ion in film.ions) == sorted(ion.label for ion in oriented.ions * n_repeats)
    assert film.lattice_ang[:2] == pytest.approx(oriented.lattice_ang[:2], abs=1e-12)
    heights = atom_positions(film)[:, 2]
    assert heights.min() == pytest.approx(0, abs=1e-9)
    assert film.lattice_ang[2] == pytest.approx([0, 0, heights.max() + 12.0], abs=1e-9)
    bulk = repeat_crystal(oriented, np.diag([1, 1, n_repeats]))
    lifted = film.centres_ang[:, 2] - bulk.centres_ang[:, 2]
    assert np.ptp(lifted) == pytest.approx(0, abs=1e-9)
    assert film.centres_ang[:, :2] == pytest.approx(bulk.centres_ang[:, :2], abs=1e-9)


@pytest.mark.parametrize(("name", "plane"), FACES)
def test_every_film_passes_the_gate(name, plane):
    film = stack_film(cut_cell(name, plane), n_repeats=2, vacuum_ang=12.0)
    assert check_built(film, name=name) is film


def test_the_same_seed_displaces_alike_and_zero_not_at_all():
    crystal = cut_cell("CsPbI3-gamma", "110")
    first, second, other = (displace_ions(crystal, deviation_ang=0.02, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(first.frac_centres, second.frac_centres)
    assert not np.allclose(first.frac_centres, other.frac_centres)
    assert displace_ions(crystal, deviation_ang=0.0, seed=1) is crystal


def test_displacements_have_the_asked_size_and_bend_no_molecule():
    crystal = repeat_crystal(cut_cell("FAPbI3-delta", "001"), np.diag([3, 3, 3]))
    displaced = displace_ions(crystal, deviation_ang=0.02, seed=5)
    moved = displaced.centres_ang - crystal.centres_ang
    # 810 components: the standard error of their deviation is 0.02 / sqrt(2 · 810) = 0.0005 Å
    assert moved.std() == pytest.approx(0.02, abs=4 * 0.0005)
    assert displaced.ions is crystal.ions


def test_a_slab_of_an_oblique_crystal_gets_an_upright_cell():
    oriented = cut_cell("FAPbI3-alpha", "100")
    oblique = IonicCrystal(
        oriented.lattice_ang + np.array([[0, 0, 0], [0, 0, 0], [1.5, 0.5, 0.0]]), oriented.ions, oriented.frac_centres
    )
    slab = in_vacuum(oblique, 10.0)
    assert slab.lattice_ang[2, :2] == pytest.approx([0, 0], abs=1e-12)
    assert slab.centres_ang[:, :2] == pytest.approx(oblique.centres_ang[:, :2], abs=1e-9)

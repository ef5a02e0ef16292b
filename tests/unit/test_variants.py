"""Films turned about the normal or laid upside down, and which of these are distinct interfaces."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from qdip_dft.builders.films import atom_positions, embed_matrix, in_vacuum
from qdip_dft.builders.ions import Ion, IonicCrystal, find_ions, repeat_crystal
from qdip_dft.builders.registry import join_at_gap
from qdip_dft.builders.variants import HALF_TURN, list_film_variants, list_half_turns, list_turns, turn_film
from qdip_dft.engines.testing import evaluate_morse
from qdip_dft.errors import InterfaceError
from qdip_dft.model.orientation import AS_CUT, FilmTurn
from tests.unit.crystals import TEST_CHARGES, chiral_crystal, handedness_ang3, internal_distances_ang, load_face

SQUARE = np.diag([6.0, 6.0])
RECTANGLE = np.diag([6.0, 8.0])
RHOMBUS = np.array([[6.0, 0.0], [1.7, np.sqrt(36.0 - 1.7**2)]])
HEXAGON = np.array([[6.0, 0.0], [-3.0, 3.0 * 3**0.5]])
OBLIQUE = np.array([[6.0, 0.0], [1.7, 7.3]])
MESHES = {"square": SQUARE, "rectangle": RECTANGLE, "rhombus": RHOMBUS, "hexagon": HEXAGON, "oblique": OBLIQUE}


def slab_of(mesh: np.ndarray, places: list[tuple[str, float, float, float]], copies: int = 1) -> IonicCrystal:
    """Return a slab of single atoms at fractions of the mesh and heights in Å."""
    lattice = np.zeros((3, 3))
    lattice[:2, :2], lattice[2, 2] = mesh, 25.0
    ions = tuple(Ion(s, TEST_CHARGES[s], (s,), np.zeros((1, 3)), ()) for s, *_ in places)
    centres = np.array([(x, y, z / 25.0) for _, x, y, z in places])
    return in_vacuum(repeat_crystal(IonicCrystal(lattice, ions, centres), np.diag([copies, copies, 1])), 15.0)


LOW_PLACES = [("Pb", 0.0, 0.0, 0.0), ("I", 0.31, 0.12, 1.1), ("Br", 0.62, 0.45, 2.5), ("Cs", 0.11, 0.7, 3.9)]
"""Atoms without any symmetry."""


def dot_with_axis(mesh: np.ndarray) -> IonicCrystal:
    """Return a dot whose only operation is the two-fold axis."""
    return slab_of(mesh, [("Pb", 0.0, 0.0, 1.0), ("S", 0.2, 0.1, 0.0), ("S", -0.2, -0.1, 0.0)])


def dot_without_symmetry(mesh: np.ndarray) -> IonicCrystal:
    return slab_of(mesh, [("Pb", 0.0, 0.0, 1.0), ("S", 0.2, 0.1, 0.4), ("S", -0.3, 0.35, 0.0)])


def dot_with_mirror(mesh: np.ndarray) -> IonicCrystal:
    """Return a dot on a rectangular mesh that only x -> -x maps onto itself."""
    return slab_of(mesh, [("Pb", 0.0, 0.0, 1.0), ("S", 0.2, 0.1, 0.4), ("S", -0.2, 0.1, 0.4)])


def names(dot: IonicCrystal, film: IonicCrystal) -> list[str]:
    turns = list_half_turns(dot.lattice_ang[:2, :2])
    return [variant.turn.name for variant in list_film_variants(dot, film, turns)]


@pytest.mark.parametrize(
    ("mesh", "order"), [("square", 8), ("rectangle", 4), ("rhombus", 4), ("hexagon", 12), ("oblique", 2)]
)
def test_a_mesh_has_as_many_turns_as_its_point_group(mesh: str, order: int) -> None:
    turns = list_turns(MESHES[mesh])
    assert len(turns) == order
    assert turns[:2] == (AS_CUT, HALF_TURN)
    assert sum(turn.is_flipped for turn in turns) == (0 if mesh == "oblique" else order // 2)


@pytest.mark.parametrize("mesh", MESHES.values(), ids=MESHES)
def test_the_turns_do_not_depend_on_the_basis_of_the_mesh(mesh: np.ndarray) -> None:
    skewed = np.array([[3, 1], [5, 2]]) @ mesh
    assert len(list_turns(skewed)) == len(list_turns(mesh))


def test_turns_are_named_for_people() -> None:
    assert [turn.name for turn in list_half_turns(RECTANGLE)] == [
        "as cut",
        "turned by 180°",
        "flipped about [0 1]",
        "flipped about [1 0]",
    ]
    assert {turn.name for turn in list_turns(HEXAGON) if not turn.is_flipped} == {
        "as cut", "turned by 60°", "turned by -60°", "turned by 120°", "turned by -120°", "turned by 180°",
    }  # fmt: skip


def test_a_matrix_that_changes_areas_is_no_turn() -> None:
    with pytest.raises(ValidationError, match="determinant 1 or -1"):
        FilmTurn(matrix=((2, 0), (0, 1)))


@pytest.mark.parametrize("mesh", MESHES.values(), ids=MESHES)
def test_every_turn_keeps_distances_and_the_mesh(mesh: np.ndarray) -> None:
    film = slab_of(mesh, LOW_PLACES)
    before = film.to_record().to_pymatgen().distance_matrix
    for turn in list_turns(mesh):
        turned = turn_film(film, turn)
        assert np.allclose(turned.lattice_ang, film.lattice_ang, atol=1e-9)
        assert np.allclose(turned.to_record().to_pymatgen().distance_matrix, before, atol=1e-9)


@pytest.mark.parametrize("mesh", MESHES.values(), ids=MESHES)
def test_every_turn_keeps_the_energy_of_the_film(mesh: np.ndarray) -> None:
    film = slab_of(mesh, LOW_PLACES)
    energies = [evaluate_morse(turn_film(film, turn).to_record().arrangement).energy_ev for turn in list_turns(mesh)]
    assert np.ptp(energies) < 1e-9


def test_a_flip_brings_the_top_down_and_a_turn_about_the_normal_does_not() -> None:
    film = slab_of(RECTANGLE, LOW_PLACES)
    for turn in list_turns(RECTANGLE):
        heights = atom_positions(turn_film(film, turn))[:, 2]
        expected = [3.9, 2.8, 1.4, 0.0] if turn.is_flipped else [0.0, 1.1, 2.5, 3.9]
        assert heights == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("edge_ang", [7.0, 8.0])
def test_a_chiral_molecule_keeps_its_handedness_and_its_bonds(edge_ang: float) -> None:
    cell = find_ions(chiral_crystal(np.diag([7.0, edge_ang, 9.0])), TEST_CHARGES)
    film = in_vacuum(cell, 15.0)
    for turn in list_turns(film.lattice_ang[:2, :2]):
        turned = turn_film(film, turn)
        assert handedness_ang3(turned) == pytest.approx(handedness_ang3(film), abs=1e-9)
        for after, before in zip(internal_distances_ang(turned), internal_distances_ang(film), strict=True):
            assert np.allclose(after, before, atol=1e-9)


def test_two_half_turns_restore_the_film() -> None:
    film = slab_of(OBLIQUE, LOW_PLACES)
    twice = turn_film(turn_film(film, HALF_TURN), HALF_TURN)
    assert np.allclose(atom_positions(twice), atom_positions(film), atol=1e-9)


def test_a_turn_that_would_strain_the_film_is_refused() -> None:
    quarter = FilmTurn(matrix=((0, -1), (1, 0)))
    with pytest.raises(InterfaceError, match="opposite face"):
        turn_film(slab_of(RECTANGLE, LOW_PLACES), quarter)


def test_without_any_symmetry_all_four_orientations_are_distinct() -> None:
    assert len(names(dot_without_symmetry(RECTANGLE), slab_of(RECTANGLE, LOW_PLACES))) == 4


def test_a_film_with_the_two_fold_axis_is_not_turned() -> None:
    film = slab_of(OBLIQUE, [("Pb", 0.1, 0.3, 0.0), ("I", 0.4, 0.5, 1.0), ("I", -0.2, 0.1, 1.0)])
    assert names(dot_without_symmetry(OBLIQUE), film) == ["as cut"]


def test_a_dot_with_the_two_fold_axis_needs_no_turned_film() -> None:
    film = slab_of(OBLIQUE, LOW_PLACES)
    assert names(dot_with_axis(OBLIQUE), film) == ["as cut"]
    assert names(dot_without_symmetry(OBLIQUE), film) == ["as cut", "turned by 180°"]


def test_crossed_mirrors_of_dot_and_film_make_the_turned_film_a_mirror_image() -> None:
    film = slab_of(RECTANGLE, [("Pb", 0.0, 0.0, 0.0), ("I", 0.1, 0.2, 1.0), ("I", 0.1, -0.2, 1.0)])
    assert "turned by 180°" not in names(dot_with_mirror(RECTANGLE), film)
    assert "turned by 180°" in names(dot_without_symmetry(RECTANGLE), film)


def test_parallel_mirrors_of_dot_and_film_leave_the_turned_film_distinct() -> None:
    film = slab_of(RECTANGLE, [("Pb", 0.0, 0.0, 0.0), ("I", 0.2, 0.1, 1.0), ("I", -0.2, 0.1, 1.0)])
    assert "turned by 180°" in names(dot_with_mirror(RECTANGLE), film)


def test_a_film_with_equal_faces_is_not_flipped() -> None:
    perovskite = load_face("CsPbBr3-cubic", "100").oriented
    centres = perovskite.centres_ang
    lattice = perovskite.lattice_ang
    layer = [i for i, z in enumerate(centres[:, 2]) if z < centres[:, 2].min() + 0.5]
    closing = centres[layer] + lattice[2]
    ions = (*perovskite.ions, *(perovskite.ions[i] for i in layer))
    symmetric = IonicCrystal(lattice, ions, np.vstack([centres, closing]) @ np.linalg.inv(lattice))
    dot = slab_of(lattice[:2, :2], [("Pb", 0.3, 0.1, 1.0), ("S", 0.0, 0.0, 0.0)])
    assert names(dot, in_vacuum(symmetric, 15.0)) == ["as cut"]
    assert names(dot, in_vacuum(perovskite, 15.0)) == ["as cut", "flipped about [0 1]"]


def test_variants_are_recognised_in_a_supercell_and_after_a_displacement() -> None:
    dot = repeat_crystal(dot_without_symmetry(OBLIQUE), embed_matrix(((2, 0), (0, 2)), 1))
    film = slab_of(OBLIQUE, [("Pb", 0.1, 0.3, 0.0), ("I", 0.4, 0.5, 1.0), ("I", -0.2, 0.1, 1.0)], copies=2)
    moved = IonicCrystal(film.lattice_ang, film.ions, film.frac_centres + np.array([0.217, 0.341, 0.0]))
    assert names(dot, film) == names(dot, moved) == ["as cut"]


def test_the_recognised_duplicate_has_the_same_energy_at_the_matching_displacement() -> None:
    dot, film = dot_with_axis(OBLIQUE), slab_of(OBLIQUE, LOW_PLACES)
    turned = turn_film(film, HALF_TURN)
    shift = np.array([0.4, 0.9])
    energies = [
        evaluate_morse(
            join_at_gap(dot, placed, shift_ang=(float(x), float(y)), gap_offset_ang=0.3, vacuum_ang=15.0)
            .to_record()
            .arrangement
        ).energy_ev
        for placed, (x, y) in ((film, shift), (turned, -shift))
    ]
    assert energies[0] == pytest.approx(energies[1], abs=1e-9)

"""Laws of crystal planes: what their 1×1 lattices hold, and what centring and symmetry do to them."""

from __future__ import annotations

import re
from math import gcd, sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qdip_dft.builders.planes import (
    CrystalLattice,
    lattice_symmetries,
    list_faces,
    list_planes,
    primitive_lattice,
    surface_lattice,
)
from qdip_dft.errors import SlabError, StructureError
from qdip_dft.model.miller import parse_hkl, write_plane

FACE_CENTRES = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
CUBE = 5.936 * np.eye(3)
HEXAGON = np.array([[8.66, 0, 0], [-4.33, 4.33 * sqrt(3), 0], [0, 0, 7.9]])

lengths_ang = st.integers(300, 1500).map(lambda hundredths: hundredths / 100)
skews = st.integers(-45, 45).map(lambda percent: percent / 100)
indices = st.integers(-4, 4)


@st.composite
def crystal_lattices(draw: st.DrawFn) -> np.ndarray:
    """Draw a right-handed lattice from cubic to triclinic, rows in Å."""
    a, b, c = draw(lengths_ang), draw(lengths_ang), draw(lengths_ang)
    return np.array([[a, 0, 0], [draw(skews) * b, b, 0], [draw(skews) * c, draw(skews) * c, c]])


@st.composite
def planes(draw: st.DrawFn) -> tuple[int, int, int]:
    """Draw coprime Miller indices."""
    hkl = draw(st.tuples(indices, indices, indices).filter(any))
    divisor = gcd(*hkl)
    return hkl[0] // divisor, hkl[1] // divisor, hkl[2] // divisor


@st.composite
def centred_lattices(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Draw a conventional lattice and its primitive one: P, face-, body- or base-centred."""
    conventional = draw(crystal_lattices())
    centres = draw(st.sampled_from([FACE_CENTRES, FACE_CENTRES[:1], FACE_CENTRES[[0, 3]], [[0, 0, 0], [0.5] * 3]]))
    return conventional, primitive_lattice(conventional, np.array(centres), ["X"] * len(centres))


def is_integer(values: np.ndarray) -> bool:
    return bool(np.allclose(values, np.rint(values), atol=1e-6))


def shape_of(vectors_2d: np.ndarray) -> tuple[float, float, float]:
    gram = vectors_2d @ vectors_2d.T
    return round(gram[0, 0], 4), round(abs(gram[0, 1]), 4), round(gram[1, 1], 4)


@pytest.mark.parametrize(
    ("text", "hkl"),
    [
        ("111", (1, 1, 1)),
        ("1-10", (1, -1, 0)),
        ("-1-1-1", (-1, -1, -1)),
        ("(1 -1 0)", (1, -1, 0)),
        ("0-1 1", (0, -1, 1)),
        ("1,0,-2", (1, 0, -2)),
        ("{10 -1 0}", (10, -1, 0)),
        ("1−10", (1, -1, 0)),
        ("(1–10)", (1, -1, 0)),
        ("+1-1+0", (1, -1, 0)),
        ("[11, 0, 1]", (11, 0, 1)),
        ("11 -10 3", (11, -10, 3)),
        ("10-1 0", (10, -1, 0)),
        ("12,0,1", (12, 0, 1)),
        ([1, 1, 1], (1, 1, 1)),
        ((0, 0, 1.0), (0, 0, 1)),
    ],
)
def test_planes_are_read_as_chemists_write_them(text: object, hkl: tuple[int, int, int]) -> None:
    assert parse_hkl(text) == hkl


def test_a_common_factor_is_divided_out_and_the_sign_stays() -> None:
    assert parse_hkl("-2-2-2") == (-1, -1, -1)


@pytest.mark.parametrize(
    "indices",
    ["", "11", "abc", "1 1", "1.5 0 0", "11111", "11 0", "1 -10", "\u0661\u0661\u0660", "1 1 1000", "1 - 1 0", [1, 1],
     [0.5, 0, 0], [11, 0], [True, 0, 0], ["1", "0", "0"], [float("nan"), 0, 1], [float("inf"), 0, 1], [10**400, 0, 1]],
)  # fmt: skip
def test_what_is_no_plane_is_refused(indices: object) -> None:
    with pytest.raises(SlabError, match="write it as 111, 1-10"):
        parse_hkl(indices)


@pytest.mark.parametrize(
    ("indices", "cure"),
    [
        ("0001", "leave it out: (0 0 0 1) is written 001"),
        ("(1 0 -1 0)", "leave it out: (1 0 -1 0) is written 100"),
        ([1, 0, -1, 0], "leave it out: (1 0 -1 0) is written 100"),
        ("2-1-12", "leave it out: (2 -1 -1 2) is written 2-12"),
        ("1 0 -1 10", "leave it out: (1 0 -1 10) is written 1,0,10"),
        ("1010", "correct the indices"),
    ],
)
def test_four_index_notation_is_refused_with_its_three_index_form(indices: object, cure: str) -> None:
    with pytest.raises(SlabError, match=re.escape(cure)):
        parse_hkl(indices)


@pytest.mark.parametrize(
    ("written", "text"),
    [
        ("111", "111"),
        ("200", "200"),
        ("-1-1-1", "-1-1-1"),
        ("1 -1 0", "1-10"),
        ("(1-10)", "1-10"),
        ([1, -1, 0], "1-10"),
        ("11 0 0", "11,0,0"),
        ([12, 0, -1], "12,0,-1"),
        ("{12 0 -1}", "12,0,-1"),
    ],
)
def test_a_plane_has_one_text_and_is_read_from_it_again(written: object, text: str) -> None:
    assert write_plane(written) == text
    assert write_plane(text) == text
    assert parse_hkl(text) == parse_hkl(written)


@pytest.mark.parametrize("indices", ["000", [0, 0, 0]])
def test_the_zero_plane_is_refused(indices: object) -> None:
    with pytest.raises(SlabError, match="give three indices"):
        parse_hkl(indices)


def test_the_face_centred_cube_has_a_quarter_of_its_volume() -> None:
    primitive = primitive_lattice(CUBE, FACE_CENTRES, ["Pb"] * 4)
    assert np.linalg.det(primitive) == pytest.approx(np.linalg.det(CUBE) / 4)
    assert is_integer(FACE_CENTRES @ CUBE @ np.linalg.inv(primitive))


def test_rock_salt_is_face_centred_whatever_the_order_of_its_ions() -> None:
    centres = np.vstack([FACE_CENTRES + 0.5, FACE_CENTRES[::-1] + np.array([0.1, 0, 0])])
    primitive = primitive_lattice(CUBE, centres[:4], ["S"] * 4)
    both = primitive_lattice(CUBE, centres, ["S"] * 4 + ["Pb"] * 4)
    assert is_integer(both @ np.linalg.inv(primitive))
    assert np.linalg.det(both) == pytest.approx(np.linalg.det(primitive))


def test_unlike_units_remove_the_centring() -> None:
    assert np.allclose(primitive_lattice(CUBE, FACE_CENTRES, ["Pb", "Pb", "Pb", "Sn"]), CUBE)


@pytest.mark.parametrize(("shift_ang", "n_translations"), [(5e-4, 4), (5e-3, 1)])
def test_the_tolerance_decides_whether_a_displaced_ion_breaks_the_centring(
    shift_ang: float, n_translations: int
) -> None:
    centres = FACE_CENTRES + np.array([[0, 0, 0], [shift_ang / CUBE[0, 0], 0, 0], [0, 0, 0], [0, 0, 0]])
    primitive = primitive_lattice(CUBE, centres, ["Pb"] * 4)
    assert np.linalg.det(CUBE) / np.linalg.det(primitive) == pytest.approx(n_translations)


def test_translations_that_do_not_close_are_refused() -> None:
    centres = np.array([[0, 0, 0], [0.02, 0, 0], [0.5, 0, 0], [0.52, 0, 0]])
    with pytest.raises(StructureError, match="symmetrise the structure"):
        primitive_lattice(10 * np.eye(3), centres, ["X"] * 4, tolerance_ang=0.3)


@settings(max_examples=50)
@given(crystal_lattices(), st.lists(st.integers(-2, 2), min_size=9, max_size=9))
def test_the_primitive_lattice_is_found_in_any_supercell(primitive: np.ndarray, entries: list[int]) -> None:
    matrix = np.array(entries).reshape(3, 3)
    n_cells = round(np.linalg.det(matrix))
    if not 0 < n_cells <= 8:
        matrix, n_cells = np.array([[2, 1, 0], [0, 1, 0], [0, 1, 2]]), 4
    grid = np.stack(np.meshgrid(*[np.arange(-9, 10)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    inside = grid @ np.linalg.inv(matrix)
    centres = inside[((inside > -1e-9) & (inside < 1 - 1e-9)).all(axis=1)] + 0.123
    found = primitive_lattice(matrix @ primitive, centres, ["X"] * n_cells)
    assert len(centres) == n_cells
    assert is_integer(found @ np.linalg.inv(primitive))
    assert np.linalg.det(found) == pytest.approx(np.linalg.det(primitive))


@settings(max_examples=100)
@given(centred_lattices(), planes())
def test_plane_and_stacking_are_a_right_handed_primitive_basis(lattices: tuple, hkl: tuple[int, int, int]) -> None:
    conventional, primitive = lattices
    surface = surface_lattice(conventional, primitive, hkl)
    basis = np.vstack([surface.vectors_3d, surface.stacking])
    assert is_integer(basis @ np.linalg.inv(primitive))
    assert np.linalg.det(basis) == pytest.approx(np.linalg.det(primitive))


@settings(max_examples=100)
@given(centred_lattices(), planes())
def test_the_normal_is_the_reciprocal_vector(lattices: tuple, hkl: tuple[int, int, int]) -> None:
    conventional, primitive = lattices
    surface = surface_lattice(conventional, primitive, hkl)
    reciprocal = np.linalg.inv(conventional) @ hkl
    assert surface.normal == pytest.approx(reciprocal / np.linalg.norm(reciprocal), abs=1e-9)
    assert surface.vectors_3d @ reciprocal == pytest.approx(0, abs=1e-9)


@settings(max_examples=100)
@given(centred_lattices(), planes())
def test_area_times_spacing_is_the_primitive_volume(lattices: tuple, hkl: tuple[int, int, int]) -> None:
    surface = surface_lattice(*lattices, hkl)
    assert surface.area_ang2 * surface.spacing_ang == pytest.approx(np.linalg.det(lattices[1]))
    assert np.linalg.det(surface.vectors_2d) == pytest.approx(surface.area_ang2)


@settings(max_examples=100)
@given(centred_lattices(), planes())
def test_no_lattice_vector_of_the_plane_is_shorter_than_the_basis(lattices: tuple, hkl: tuple[int, int, int]) -> None:
    surface = surface_lattice(*lattices, hkl)
    a, b = np.linalg.norm(surface.vectors_3d, axis=1)
    grid = np.array([[i, j] for i in range(-4, 5) for j in range(-4, 5) if (i, j) != (0, 0)])
    lengths = np.linalg.norm(grid @ surface.vectors_3d, axis=1)
    assert a <= lengths.min() * (1 + 1e-5)
    assert b <= lengths[grid[:, 1] != 0].min() * (1 + 1e-5)


@settings(max_examples=100)
@given(centred_lattices(), planes())
def test_no_other_step_to_the_next_plane_is_more_upright(lattices: tuple, hkl: tuple[int, int, int]) -> None:
    surface = surface_lattice(*lattices, hkl)
    lateral = surface.stacking - surface.spacing_ang * surface.normal
    grid = np.array([[i, j] for i in range(-3, 4) for j in range(-3, 4)])
    assert np.linalg.norm(lateral) <= np.linalg.norm(lateral + grid @ surface.vectors_3d, axis=1).min() + 1e-5


@settings(max_examples=50)
@given(centred_lattices(), planes())
def test_the_plane_frame_keeps_lengths_and_angles(lattices: tuple, hkl: tuple[int, int, int]) -> None:
    surface = surface_lattice(*lattices, hkl)
    assert surface.vectors_2d @ surface.vectors_2d.T == pytest.approx(surface.vectors_3d @ surface.vectors_3d.T)
    assert surface.vectors_2d[0, 1] == 0
    assert surface.vectors_2d[0, 0] > 0
    assert surface.vectors_2d[1, 1] > 0


@pytest.mark.parametrize(
    ("hkl", "area_in_squared_edges"),
    [("111", sqrt(3) / 4), ("100", 1 / 2), ("110", 1 / sqrt(2)), ("311", sqrt(11) / 4)],
)
def test_face_centred_planes_have_their_textbook_areas(hkl: str, area_in_squared_edges: float) -> None:
    surface = surface_lattice(CUBE, primitive_lattice(CUBE, FACE_CENTRES, ["Pb"] * 4), hkl)
    assert surface.area_ang2 == pytest.approx(area_in_squared_edges * CUBE[0, 0] ** 2)


def test_hexagonal_planes_have_an_angle_of_120_degrees() -> None:
    a, b = surface_lattice(HEXAGON, HEXAGON, "001").vectors_2d
    assert a @ b / (a @ a) == pytest.approx(-0.5)


def test_opposite_faces_have_opposite_normals_and_mirrored_lattices() -> None:
    triclinic = np.array([[5.0, 0, 0], [1.3, 6.1, 0], [0.7, 1.9, 7.3]])
    up, down = surface_lattice(triclinic, triclinic, "123"), surface_lattice(triclinic, triclinic, "-1-2-3")
    assert down.normal == pytest.approx(-up.normal)
    first, second = (surface.vectors_2d @ surface.vectors_2d.T for surface in (up, down))
    assert first[0, 1] == pytest.approx(-second[0, 1])
    assert abs(first[0, 1]) > 0.1


def test_a_surface_lattice_cannot_be_changed() -> None:
    surface = surface_lattice(CUBE, CUBE, "111")
    with pytest.raises(ValueError, match="read-only"):
        surface.vectors_2d[0, 0] = 1.0


@pytest.mark.parametrize(
    ("lattice", "order"), [(CUBE, 48), (HEXAGON, 24), (np.diag([4.0, 4.0, 9.0]), 16), (np.diag([4.0, 5.0, 9.0]), 8)]
)
def test_lattices_have_the_point_groups_of_their_systems(lattice: np.ndarray, order: int) -> None:
    symmetries = lattice_symmetries(CrystalLattice(lattice, lattice))
    assert len(symmetries) == order
    assert is_integer(symmetries)


def test_a_cubic_lattice_has_three_planes_up_to_index_one() -> None:
    lattice = CrystalLattice(CUBE, primitive_lattice(CUBE, FACE_CENTRES, ["Pb"] * 4))
    assert list_planes(lattice, 1) == ((1, 0, 0), (1, 1, 0), (1, 1, 1))


def test_only_planes_without_a_rotation_between_them_have_two_faces() -> None:
    triclinic = np.array([[5.0, 0, 0], [1.3, 6.1, 0], [0.7, 1.9, 7.3]])
    lattice = CrystalLattice(triclinic, triclinic)
    assert len(list_faces(lattice, 1)) == 2 * len(list_planes(lattice, 1)) == 26
    cube = CrystalLattice(CUBE, CUBE)
    assert list_faces(cube, 1) == list_planes(cube, 1)


@settings(max_examples=20)
@given(centred_lattices(), planes())
def test_every_plane_is_congruent_to_a_listed_one(lattices: tuple, hkl: tuple[int, int, int]) -> None:
    lattice = CrystalLattice(*lattices)
    listed = [surface_lattice(*lattices, plane) for plane in list_planes(lattice, max(map(abs, hkl)))]
    wanted = surface_lattice(*lattices, hkl)
    assert any(np.allclose(shape_of(wanted.vectors_2d), shape_of(one.vectors_2d), atol=1e-3) for one in listed)

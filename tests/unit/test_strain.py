"""Laws of strain: rotations cost nothing, and film and dot share what the other does not take."""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, sin

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qdip_dft.builders.planes import surface_lattice
from qdip_dft.builders.strain import (
    automatic_partition,
    interface_cell,
    principal_strains,
    split_rotation,
    von_mises_strain,
)
from qdip_dft.errors import MatchError
from qdip_dft.model.orientation import IntegerMatrix2

angles = st.integers(-314, 314).map(lambda hundredths: hundredths / 100)
strains = st.integers(-100, 100).map(lambda permille: permille / 1000)
partitions = st.integers(0, 20).map(lambda twentieths: twentieths / 20)

CUBE = np.eye(3)
PRIMITIVE = np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]]) / 2
PBS_111 = surface_lattice(5.936 * CUBE, 5.936 * PRIMITIVE, "111")
CSPBI3_100 = surface_lattice(6.2894 * CUBE, 6.2894 * CUBE, "100")


@dataclass(frozen=True)
class Supercells:
    """The integer matrices of a common cell, with no search behind them."""

    film_matrix: IntegerMatrix2
    dot_matrix: IntegerMatrix2


ONE_BY_ONE = Supercells(film_matrix=((1, 0), (0, 1)), dot_matrix=((1, 0), (0, 1)))


def rotation(angle: float) -> np.ndarray:
    return np.array([[cos(angle), -sin(angle)], [sin(angle), cos(angle)]])


@st.composite
def deformations(draw: st.DrawFn) -> np.ndarray:
    """Draw a rotation, a stretch of up to 10 % and another rotation."""
    stretch = np.diag([1 + draw(strains), 1 + draw(strains)])
    return rotation(draw(angles)) @ stretch @ rotation(draw(angles))


@st.composite
def lattices(draw: st.DrawFn) -> np.ndarray:
    """Draw a right-handed 2D lattice, rows in Å."""
    a, b, shear = (draw(st.integers(low, 900)) / 100 for low in (300, 300, -300))
    return np.array([[a, 0.0], [shear, b]])


@given(angles)
def test_a_rotation_strains_nothing(angle: float) -> None:
    assert principal_strains(rotation(angle)) == pytest.approx((0, 0), abs=1e-12)


@given(strains, strains, angles, angles)
def test_principal_strains_are_found_under_any_rotation(
    first: float, second: float, before: float, after: float
) -> None:
    deformation = rotation(after) @ np.diag([1 + first, 1 + second]) @ rotation(before)
    assert principal_strains(deformation) == pytest.approx(sorted((first, second)), abs=1e-12)


@given(deformations())
def test_a_deformation_is_its_stretch_after_its_rotation(deformation: np.ndarray) -> None:
    turn, stretch = split_rotation(deformation)
    assert stretch @ turn == pytest.approx(deformation)
    assert stretch == pytest.approx(stretch.T)
    assert turn @ turn.T == pytest.approx(np.eye(2))
    assert np.linalg.det(turn) == pytest.approx(1)


def test_a_mirrored_cell_is_refused() -> None:
    with pytest.raises(MatchError, match="opposite face"):
        split_rotation(np.diag([1.0, -1.0]))


@given(strains, strains)
def test_von_mises_strain_is_the_norm_of_the_deviator(first: float, second: float) -> None:
    tensor = np.diag([first, second, 0.0])
    deviator = tensor - np.trace(tensor) / 3 * np.eye(3)
    assert von_mises_strain((first, second)) == pytest.approx(np.sqrt(2 / 3 * np.sum(deviator**2)), abs=1e-12)


@given(lattices(), deformations(), partitions)
def test_film_and_dot_meet_on_the_mesh(film: np.ndarray, deformation: np.ndarray, partition: float) -> None:
    dot = film @ deformation.T
    mesh = interface_cell(film, dot, ONE_BY_ONE, partition)
    assert film @ mesh.film_deformation.T == pytest.approx(mesh.vectors_2d)
    assert dot @ mesh.dot_deformation.T == pytest.approx(mesh.vectors_2d)
    assert mesh.vectors_2d[0, 1] == 0
    assert np.linalg.det(mesh.vectors_2d) == pytest.approx(mesh.area_ang2)
    assert min(np.linalg.det(mesh.film_deformation), np.linalg.det(mesh.dot_deformation)) > 0


@given(lattices(), deformations(), partitions)
def test_the_film_takes_its_share_and_the_dot_the_rest(
    film: np.ndarray, deformation: np.ndarray, partition: float
) -> None:
    misfit = np.array(principal_strains(deformation))
    mesh = interface_cell(film, film @ deformation.T, ONE_BY_ONE, partition)
    assert mesh.film_principal_strains == pytest.approx((1 - partition) * misfit, abs=1e-9)
    assert mesh.dot_principal_strains == pytest.approx(sorted(partition * (1 / (1 + misfit) - 1)), abs=1e-9)


@given(lattices(), deformations(), partitions)
def test_swapping_dot_and_film_gives_the_same_mesh(film: np.ndarray, deformation: np.ndarray, partition: float) -> None:
    dot = film @ deformation.T
    mesh, swapped = (
        interface_cell(film, dot, ONE_BY_ONE, partition),
        interface_cell(dot, film, ONE_BY_ONE, 1 - partition),
    )
    assert swapped.vectors_2d == pytest.approx(mesh.vectors_2d)
    assert swapped.film_principal_strains == pytest.approx(mesh.dot_principal_strains, abs=1e-9)


@given(lattices(), deformations())
def test_swapping_dot_and_film_inverts_the_stretch(film: np.ndarray, deformation: np.ndarray) -> None:
    dot = film @ deformation.T
    film_on_dot = 1 + np.array(interface_cell(film, dot, ONE_BY_ONE, 0.0).film_principal_strains)
    dot_on_film = 1 + np.array(interface_cell(dot, film, ONE_BY_ONE, 0.0).film_principal_strains)
    assert film_on_dot * dot_on_film[::-1] == pytest.approx(1)


@given(lattices(), deformations(), angles)
def test_the_mesh_does_not_know_how_the_crystals_lay(film: np.ndarray, deformation: np.ndarray, angle: float) -> None:
    dot = film @ deformation.T
    turned = interface_cell(film @ rotation(angle).T, dot, ONE_BY_ONE, 0.5)
    assert turned.vectors_2d == pytest.approx(interface_cell(film, dot, ONE_BY_ONE, 0.5).vectors_2d, abs=1e-9)


# 6 cells of CsPbI3 α(100) on 15 of PbS(111): the reference areas follow from a(PbS) = 5.936 and a(CsPbI3) = 6.2894 Å,
# 15 √3/4 a² = 228.87 Å² for the dot's mesh and 6 a² = 237.34 Å² for the film's; half-way lies their interpolation.
@pytest.mark.parametrize(("partition", "area_ang2"), [(0.0, 228.87), (0.5, 233.1), (1.0, 237.3)])
def test_the_partition_moves_the_area_from_the_dots_to_the_films(partition: float, area_ang2: float) -> None:
    cells = Supercells(film_matrix=((2, 0), (-1, 3)), dot_matrix=((0, 3), (-5, -4)))
    mesh = interface_cell(CSPBI3_100.vectors_2d, PBS_111.vectors_2d, cells, partition)
    assert mesh.area_ang2 == pytest.approx(area_ang2, abs=0.05)


@given(lattices(), deformations())
def test_the_area_moves_steadily_from_the_dots_to_the_films(film: np.ndarray, deformation: np.ndarray) -> None:
    """The area is that of the film times Π (1 + (1 − w) ε), which runs one way when both strains have one sign."""
    dot = film @ deformation.T
    areas = [interface_cell(film, dot, ONE_BY_ONE, w).area_ang2 for w in (0.0, 0.25, 0.5, 0.75, 1.0)]
    assert areas[0] == pytest.approx(float(np.linalg.det(dot)))
    assert areas[-1] == pytest.approx(float(np.linalg.det(film)))
    steps = np.diff(areas)
    misfit = np.array(principal_strains(deformation))
    if np.all(misfit > 1e-9) or np.all(misfit < -1e-9):  # a mere rotation has none
        assert len(set(np.sign(steps))) == 1


def test_relaxed_lattices_keep_their_supercells() -> None:
    cells = Supercells(film_matrix=((2, 0), (-1, 3)), dot_matrix=((0, 3), (-5, -4)))
    film = np.diag([6.30, 6.28])
    dot = surface_lattice(5.945 * CUBE, 5.945 * PRIMITIVE, "111").vectors_2d
    mesh = interface_cell(film, dot, cells)
    assert mesh.area_ang2 == pytest.approx(15 * np.sqrt(3) / 4 * 5.945**2)
    assert 6 * np.linalg.det(film) * np.linalg.det(mesh.film_deformation) == pytest.approx(mesh.area_ang2)


@pytest.mark.parametrize("partition", [-0.1, 1.1, float("nan")])
def test_a_share_outside_zero_to_one_is_refused(partition: float) -> None:
    with pytest.raises(MatchError, match="or a value between"):
        interface_cell(CSPBI3_100.vectors_2d, CSPBI3_100.vectors_2d, ONE_BY_ONE, partition)


def test_the_automatic_share_costs_the_least_energy() -> None:
    film_stiffness, dot_stiffness = 300.0, 700.0
    trial = np.linspace(0, 1, 1001)
    energy = film_stiffness * (1 - trial) ** 2 + dot_stiffness * trial**2
    assert automatic_partition(film_stiffness, dot_stiffness) == pytest.approx(trial[energy.argmin()], abs=1e-3)


@pytest.mark.parametrize(("film", "dot"), [(0.0, 1.0), (1.0, -2.0)])
def test_a_stiffness_that_is_not_positive_is_refused(film: float, dot: float) -> None:
    with pytest.raises(MatchError, match="biaxial modulus"):
        automatic_partition(film, dot)

"""Where a film may lie on a dot, and the best gap."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from qdip_dft.builders.films import embed_matrix, in_vacuum
from qdip_dft.builders.ions import Ion, IonicCrystal, repeat_crystal
from qdip_dft.builders.registry import (
    GapMinimum,
    GapPoint,
    _common_span,
    _reduce_right_handed,
    coincidence_index,
    count_grid_points,
    find_displacement_cell,
    find_plane_operations,
    join_at_gap,
    list_displacements,
    measure_gap_ang,
    search_gap,
)
from qdip_dft.engines.testing import evaluate_morse
from qdip_dft.errors import StructureError
from qdip_dft.model.orientation import IntegerMatrix2
from tests.unit.crystals import load_face

MESH = np.array([[9.0, 0.0], [2.0, 7.0]])
IDENTITY: IntegerMatrix2 = ((1, 0), (0, 1))
ROOT_TWO: IntegerMatrix2 = ((1, 1), (-1, 1))

entries = st.integers(-4, 4)
matrices = st.tuples(st.tuples(entries, entries), st.tuples(entries, entries))


def determinant(matrix: IntegerMatrix2) -> int:
    (a, b), (c, d) = matrix
    return a * d - b * c


def in_units_of(vectors: np.ndarray, lattice: np.ndarray) -> np.ndarray:
    return vectors @ np.linalg.inv(lattice)


def displacement_lattice(film_matrix: IntegerMatrix2, dot_matrix: IntegerMatrix2, cell_2d: np.ndarray) -> np.ndarray:
    """Return the cell of distinct displacements from integer matrices alone, two rows in Å."""
    basis, denominator = _common_span(film_matrix, dot_matrix)
    return _reduce_right_handed(basis @ cell_2d / denominator)


def is_whole(numbers: np.ndarray) -> bool:
    return bool(np.allclose(numbers, np.rint(numbers), atol=1e-8))


def one_by_one(matrix: IntegerMatrix2) -> np.ndarray:
    """Return the strained 1 × 1 lattice whose supercell is the mesh."""
    return np.linalg.inv(matrix) @ MESH


@given(film=matrices, dot=matrices)
def test_displacements_by_either_surface_lattice_change_nothing(film: IntegerMatrix2, dot: IntegerMatrix2) -> None:
    assume(determinant(film) and determinant(dot))
    cell = displacement_lattice(film, dot, MESH)
    assert is_whole(in_units_of(one_by_one(film), cell))
    assert is_whole(in_units_of(one_by_one(dot), cell))


@given(film=matrices, dot=matrices)
def test_the_area_is_dot_times_film_over_cell_times_the_coincidence_index(
    film: IntegerMatrix2, dot: IntegerMatrix2
) -> None:
    assume(determinant(film) and determinant(dot))
    area = np.linalg.det(displacement_lattice(film, dot, MESH))
    areas = [np.linalg.det(MESH) / abs(determinant(matrix)) for matrix in (film, dot)]
    expected = coincidence_index(film, dot) * areas[0] * areas[1] / np.linalg.det(MESH)
    assert area == pytest.approx(expected, rel=1e-9)


@given(film=matrices, dot=matrices)
def test_the_coincidence_index_counts_common_translations_of_both_in_the_cell(
    film: IntegerMatrix2, dot: IntegerMatrix2
) -> None:
    assume(determinant(film) and 0 < abs(determinant(dot)) <= 16)
    inside = [np.array([i, j]) for i in range(abs(determinant(dot))) for j in range(abs(determinant(dot)))]
    of_dot = {tuple(np.round(p @ np.linalg.inv(dot) % 1.0, 9) % 1.0) for p in inside}
    common = [p for p in of_dot if is_whole(np.array(p) @ np.array(film))]
    assert coincidence_index(film, dot) == len(common)


@given(size=st.integers(2, 4))
def test_a_supercell_of_the_common_cell_has_the_same_displacements(size: int) -> None:
    film, dot = ((0, 1), (-1, 0)), ((1, 1), (-1, 1))
    large_film, large_dot = (((size * a, size * b), (c, d)) for (a, b), (c, d) in (film, dot))
    small = displacement_lattice(film, dot, MESH)
    large = displacement_lattice(large_film, large_dot, np.diag([size, 1]) @ MESH)
    assert is_whole(in_units_of(small, large))
    assert is_whole(in_units_of(large, small))
    assert coincidence_index(large_film, large_dot) == size


@given(film=matrices, dot=matrices)
def test_the_cell_is_right_handed_and_reduced(film: IntegerMatrix2, dot: IntegerMatrix2) -> None:
    assume(determinant(film) and determinant(dot))
    a, b = displacement_lattice(film, dot, MESH)
    assert np.linalg.det([a, b]) > 0
    assert abs(a @ b) <= (a @ a) * (0.5 + 1e-9) <= (b @ b) * (0.5 + 2e-9) + 1e-9


def rock_salt_slab(n_planes: int = 4) -> IonicCrystal:
    """Return PbSe(100) with a 1 × 1 cell."""
    oriented = load_face("PbSe", "100").oriented
    return in_vacuum(repeat_crystal(oriented, np.diag([1, 1, n_planes])), 15.0)


def supercell(slab: IonicCrystal, matrix: IntegerMatrix2) -> IonicCrystal:
    return repeat_crystal(slab, embed_matrix(matrix, 1))


def perovskite_on(dot: IonicCrystal, matrix: IntegerMatrix2, n_planes: int = 2) -> IonicCrystal:
    """Return cubic CsPbBr3(100) strained onto the mesh of a dot."""
    film = repeat_crystal(load_face("CsPbBr3-cubic", "100").oriented, embed_matrix(matrix, n_planes))
    lattice = film.lattice_ang.copy()
    lattice[:2, :2] = dot.lattice_ang[:2, :2]
    return in_vacuum(IonicCrystal(lattice, film.ions, film.frac_centres), 15.0)


@pytest.fixture(scope="module")
def slabs() -> tuple[IonicCrystal, IonicCrystal]:
    dot = supercell(rock_salt_slab(), ROOT_TWO)
    return dot, perovskite_on(dot, IDENTITY)


Slabs = tuple[IonicCrystal, IonicCrystal]


def test_the_slabs_own_translations_give_the_same_cell_as_the_integer_matrices(slabs: Slabs) -> None:
    cell = find_displacement_cell(*slabs)
    expected = displacement_lattice(IDENTITY, ROOT_TWO, slabs[0].lattice_ang[:2, :2])
    assert cell.area_ang2 == pytest.approx(np.linalg.det(expected), abs=1e-6)
    assert is_whole(in_units_of(cell.vectors_ang, expected))


def test_lead_selenide_with_cubic_perovskite_has_ten_irreducible_points_on_a_6_by_6_grid(slabs: Slabs) -> None:
    displacements = list_displacements(find_displacement_cell(*slabs), (6, 6))
    assert len(displacements) <= 10
    assert sum(d.multiplicity for d in displacements) == 36


@pytest.mark.parametrize("grid", [(1, 1), (2, 2), (3, 3), (5, 5), (2, 4), (3, 5)])
def test_every_grid_point_is_counted_once(slabs: Slabs, grid: tuple[int, int]) -> None:
    displacements = list_displacements(find_displacement_cell(*slabs), grid)
    assert sum(d.multiplicity for d in displacements) == grid[0] * grid[1]


@given(spacing_ang=st.floats(0.3, 3.0))
def test_neighbours_on_the_grid_are_no_further_apart_than_asked(slabs: Slabs, spacing_ang: float) -> None:
    cell = find_displacement_cell(*slabs)
    grid = count_grid_points(cell, spacing_ang)
    for length, count in zip(np.linalg.norm(cell.vectors_ang, axis=1), grid, strict=True):
        assert length / count <= spacing_ang * (1 + 1e-5)
        assert count <= 2 or length / (count - 2) > spacing_ang * (1 - 1e-5)


def test_symmetric_displacements_lie_on_the_grid(slabs: Slabs) -> None:
    """0 and the halves of the vectors of a square cell: energies are stationary there."""
    cell = find_displacement_cell(*slabs)
    for spacing_ang in (0.7, 1.0, 1.5, 2.5):
        fractions = {d.fractions for d in list_displacements(cell, count_grid_points(cell, spacing_ang))}
        assert len([f for f in fractions if {2 * x % 1 for x in f} == {0.0}]) == 3


def test_the_irreducible_points_do_not_depend_on_where_the_film_was_built(slabs: Slabs) -> None:
    dot, film = slabs
    moved = IonicCrystal(film.lattice_ang, film.ions, film.frac_centres + np.array([0.137, 0.291, 0.0]))
    cells = [find_displacement_cell(dot, built) for built in (film, moved)]
    first, second = (sorted(d.multiplicity for d in list_displacements(cell, (6, 6))) for cell in cells)
    assert first == second


def test_below_five_square_angstroms_the_film_stays_where_it_is() -> None:
    film_matrix, dot_matrix = ((2, -1), (1, 2)), ((3, 0), (0, 3))
    dot = supercell(rock_salt_slab(2), dot_matrix)
    cell = find_displacement_cell(dot, perovskite_on(dot, film_matrix, 1))
    assert cell.area_ang2 == pytest.approx(np.linalg.det(dot.lattice_ang[:2, :2]) / 45, abs=1e-6)
    assert cell.area_ang2 < 5.0
    assert [d.shift_ang for d in list_displacements(cell, (6, 6))] == [(0.0, 0.0)]


def test_a_displaced_ion_in_the_film_removes_its_translations_and_symmetries(slabs: Slabs) -> None:
    dot, film = (repeat_crystal(slab, np.diag([2, 1, 1])) for slab in slabs)
    centres = film.frac_centres.copy()
    centres[0] += [0.05, 0.03, 0.0]
    tilted = IonicCrystal(film.lattice_ang, film.ions, centres)
    assert len(find_plane_operations(tilted).pure_translations) == 1
    assert len(list_displacements(find_displacement_cell(dot, tilted), (6, 6))) == 36


def test_overlapping_atoms_are_refused(slabs: Slabs) -> None:
    dot, _ = slabs
    doubled = IonicCrystal(dot.lattice_ang, dot.ions * 2, np.vstack([dot.frac_centres, dot.frac_centres]))
    with pytest.raises(StructureError, match="atoms on top of each other"):
        find_plane_operations(doubled)


def energy_ev(interface: IonicCrystal) -> float:
    return evaluate_morse(interface.to_record().arrangement).energy_ev


def place(slabs: Slabs, shift_ang: Any, gap_offset_ang: float = 0.5) -> IonicCrystal:
    x, y = map(float, shift_ang)
    return join_at_gap(*slabs, shift_ang=(x, y), gap_offset_ang=gap_offset_ang, vacuum_ang=15.0)


@pytest.mark.parametrize("vector", [0, 1])
def test_the_energy_is_invariant_under_the_vectors_of_the_displacement_cell(slabs: Slabs, vector: int) -> None:
    start = np.array([0.7, 0.4])
    step = find_displacement_cell(*slabs).vectors_ang[vector]
    assert energy_ev(place(slabs, start + step)) == pytest.approx(energy_ev(place(slabs, start)), abs=1e-8)
    assert abs(energy_ev(place(slabs, start + 0.5 * step)) - energy_ev(place(slabs, start))) > 1e-2


def test_the_energy_is_invariant_under_every_operation_of_the_pair(slabs: Slabs) -> None:
    cell = find_displacement_cell(*slabs)
    point = np.array([0.13, 0.31])
    images = [rotation @ point + shift for rotation, shift in zip(cell.rotations, cell.shifts, strict=True)]
    energies = [energy_ev(place(slabs, image @ cell.vectors_ang)) for image in images]
    assert len(images) == 8
    assert np.ptp(energies) < 1e-6


def test_the_irreducible_points_carry_all_energies_of_the_full_grid(slabs: Slabs) -> None:
    cell = find_displacement_cell(*slabs)
    irreducible = list_displacements(cell, (4, 4))
    origin = np.array(irreducible[0].fractions)
    grid = [(origin + np.array([i, j]) / 4) @ cell.vectors_ang for i in range(4) for j in range(4)]
    full = sorted(energy_ev(place(slabs, shift)) for shift in grid)
    unfolded = sorted(e for d in irreducible for e in [energy_ev(place(slabs, d.shift_ang))] * d.multiplicity)
    assert full == pytest.approx(unfolded, abs=1e-6)


def test_the_gap_grows_by_the_offset(slabs: Slabs) -> None:
    n_dot = slabs[0].n_atoms
    gaps = [measure_gap_ang(place(slabs, (0.3, 0.2), offset), n_dot_atoms=n_dot) for offset in (0.0, 0.7)]
    assert gaps[1] - gaps[0] == pytest.approx(0.7, abs=1e-9)


def point_at(slabs: Slabs, offset_ang: float) -> GapPoint:
    evaluation = evaluate_morse(place(slabs, (0.3, 0.2), offset_ang).to_record().arrangement)
    pull = evaluation.forces_ev_per_ang[slabs[0].n_atoms :, 2].sum()
    return GapPoint(offset_ang, evaluation.energy_ev, -float(pull))


def test_the_force_on_the_film_is_the_slope_of_the_energy_with_the_gap(slabs: Slabs) -> None:
    below, here, above = (point_at(slabs, offset) for offset in (0.499, 0.5, 0.501))
    assert here.slope_ev_per_ang == pytest.approx((above.energy_ev - below.energy_ev) / 0.002, rel=1e-4)


def find_best_gap(sample: Callable[[float], GapPoint], **guess: Any) -> GapMinimum:
    search = search_gap(**guess)
    asked_ang = next(search)
    while True:
        try:
            asked_ang = search.send(sample(asked_ang))
        except StopIteration as end:
            return cast("GapMinimum", end.value)


@pytest.mark.parametrize("start_ang", [-0.5, 0.0, 1.0])
def test_the_best_gap_is_that_of_a_fine_scan(slabs: Slabs, start_ang: float) -> None:
    calls: list[float] = []

    def evaluate(offset_ang: float) -> GapPoint:
        calls.append(offset_ang)
        return point_at(slabs, offset_ang)

    found = find_best_gap(
        evaluate, start_ang=start_ang, stiffness_ev_per_ang2=2.0, range_ang=(-1.0, 3.0), tolerance_ev=1e-3
    )
    scan = [point_at(slabs, offset) for offset in np.arange(-1.0, 3.0, 0.02)]
    lowest = min(scan, key=lambda s: s.energy_ev)
    assert found.is_minimum
    assert found.offset_ang == pytest.approx(lowest.offset_ang, abs=0.03)
    assert found.energy_ev == pytest.approx(lowest.energy_ev, abs=2e-3)
    assert len(calls) <= 8


def test_a_parabola_of_known_stiffness_needs_one_point() -> None:
    calls: list[float] = []

    def evaluate(offset_ang: float) -> GapPoint:
        calls.append(offset_ang)
        return GapPoint(offset_ang, 2.0 * (offset_ang - 0.1) ** 2 - 7.0, 4.0 * (offset_ang - 0.1))

    found = find_best_gap(evaluate, start_ang=0.11, stiffness_ev_per_ang2=4.0, range_ang=(-1.0, 1.0), tolerance_ev=1e-3)
    assert (found.offset_ang, found.energy_ev) == pytest.approx((0.1, -7.0), abs=1e-12)
    assert calls == [0.11]


def test_a_film_that_only_repels_ends_at_the_far_end_of_the_range() -> None:
    def evaluate(offset_ang: float) -> GapPoint:
        return GapPoint(offset_ang, 3.0 * float(np.exp(-offset_ang)), -3.0 * float(np.exp(-offset_ang)))

    found = find_best_gap(evaluate, start_ang=0.0, stiffness_ev_per_ang2=1.0, range_ang=(-1.0, 1.0), tolerance_ev=1e-3)
    assert found.offset_ang == 1.0
    assert not found.is_minimum


def test_coprime_supercells_leave_their_common_fraction_as_displacements() -> None:
    cell = displacement_lattice(((5, 0), (0, 1)), ((3, 0), (0, 1)), np.diag([15.0, 4.0]))
    assert sorted(np.linalg.norm(cell, axis=1).tolist()) == pytest.approx([1.0, 4.0])


def test_a_three_fold_slab_keeps_its_operations_in_a_supercell() -> None:
    lattice = np.array([[4.0, 0.0, 0.0], [-2.0, 2.0 * 3**0.5, 0.0], [0.0, 0.0, 20.0]])
    ion = Ion("Pb", 2, ("Pb",), np.zeros((1, 3)), (0,))
    centres = np.array([[0.0, 0.0, 0.1], [1 / 3, 2 / 3, 0.2], [2 / 3, 1 / 3, 0.35]])
    slab = IonicCrystal(lattice, (ion,) * 3, centres)
    operations = find_plane_operations(supercell(slab, ((1, -1), (1, 2))))
    assert len(operations.pure_translations) == 3
    assert len(np.unique(operations.rotations, axis=0)) == 6

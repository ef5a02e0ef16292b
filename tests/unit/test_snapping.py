"""The one rule for numbers next to a decision, and inputs as a processor with AVX-512 hands them over."""

from __future__ import annotations

import numpy as np
import pytest
import spglib.error
from hypothesis import given
from hypothesis import strategies as st
from pymatgen.core import Lattice, Structure

from qdip_dft.analysis.octahedra import find_bridges, find_metals, group_layers, measure_layers
from qdip_dft.builders.faces import orient_face
from qdip_dft.builders.terminations import list_terminations
from qdip_dft.library.collections import load_catalogue
from qdip_dft.library.reading import read_structure
from qdip_dft.model.keys import calculation_key
from qdip_dft.model.snapping import (
    TOLERANCE,
    ceil_whole,
    first_least,
    floor_whole,
    least_first,
    nearest_whole,
    rank,
    snap_zeros,
    wrap,
)
from qdip_dft.model.structure import StructureRecord
from qdip_dft.model.symmetry import find_operations
from tests.unit.crystals import load, make_record

COS_90_DEG = 6.2894 * np.cos(np.pi / 2)
"""What a cubic cell of 6.2894 Å has in place of zero when it is made from lengths and angles: 3.9·10⁻¹⁶ Å."""

noise = st.floats(-1e-10, 1e-10)


@given(st.integers(-9, 9), noise)
def test_whole_numbers_are_whole_whatever_the_last_bits(whole: int, error: float) -> None:
    assert floor_whole(whole + error) == ceil_whole(whole + error) == nearest_whole(whole + error) == whole
    assert wrap(whole + error) == 0.0


@given(st.integers(-9, 9), noise)
def test_halves_go_to_the_even_side_whatever_the_last_bits(whole: int, error: float) -> None:
    assert nearest_whole(whole + 0.5 + error) == np.rint(whole + 0.5)


@given(st.floats(-5, 5))
def test_wrapping_moves_by_whole_cells_into_one(fraction: float) -> None:
    inside = float(wrap(fraction))
    assert -TOLERANCE <= inside < 1.0
    assert fraction - inside == pytest.approx(round(fraction - inside), abs=2 * TOLERANCE)


def test_a_site_just_below_zero_stays_at_the_bottom() -> None:
    assert wrap([-1e-17, 1.0 - 1e-16, 0.25]).tolist() == [0.0, 0.0, 0.25]


def test_of_equal_values_the_first_is_taken() -> None:
    assert first_least([2.0, 1.0 + 1e-13, 1.0, 1.0 - 1e-13]) == 1
    assert rank([2.0, 1.0 + 1e-13, 1.0]) == [1, 0, 0]
    assert rank([]) == []
    assert least_first([3.0, 1.0 + 1e-13, 1.0, 2.0], tolerance=TOLERANCE) == [1, 2, 3, 0]


def test_the_least_of_a_slow_rise_is_not_lost() -> None:
    """Values that follow each other closely are no one tie: the first taken lies within the tolerance of the least."""
    assert least_first([0.9, 0.6, 0.3, 0.0], tolerance=0.4)[0] == 2


@pytest.mark.parametrize("name", load_catalogue().ids)
def test_lattices_of_files_have_exact_zeros(name: str) -> None:
    lattice = np.abs(load(name).structure.lattice_ang)
    assert not np.any((lattice > 0) & (lattice < 1e-6))


def test_a_lattice_of_lengths_and_angles_keeps_what_is_no_rounding(tmp_path) -> None:
    monoclinic = Lattice.from_parameters(6.0, 7.0, 8.0, 90.0, 90.001, 90.0)
    Structure(monoclinic, ["Pb"], [[0, 0, 0]]).to(str(tmp_path / "a.cif"))
    found = read_structure(tmp_path / "a.cif").lattice
    assert found.beta == pytest.approx(90.001, abs=1e-5)
    assert found.matrix.tolist() == snap_zeros(found.matrix).tolist()


def as_read_with_avx512(structure: StructureRecord) -> StructureRecord:
    """Return a crystal whose lattice has 3.9·10⁻¹⁶ Å and whose sites have −10⁻¹⁷ in place of zeros."""
    lattice, coordinates = np.array(structure.lattice_ang), np.array(structure.frac_coords)
    lattice[lattice == 0.0], coordinates[coordinates == 0.0] = COS_90_DEG, -1e-17
    return structure.model_copy(
        update={
            "lattice_ang": tuple(map(tuple, lattice.tolist())),
            "frac_coords": tuple(map(tuple, coordinates.tolist())),
        }
    )


CUBIC = ("CsPbI3-alpha", "PbS", "CsPbBr3-cubic", "CsSnI3-alpha")


@pytest.mark.parametrize("plane", ["100", "110", "111"])
@pytest.mark.parametrize("name", CUBIC)
def test_a_crystal_read_with_avx512_is_cut_the_same(name: str, plane: str) -> None:
    there = load(name).model_copy(update={"structure": as_read_with_avx512(load(name).structure)})
    here_face, there_face = orient_face(load(name), plane), orient_face(there, plane)
    assert there_face.oriented.lattice_ang == pytest.approx(here_face.oriented.lattice_ang, abs=1e-12)
    assert there_face.oriented.frac_centres == pytest.approx(here_face.oriented.frac_centres, abs=1e-12)
    here, found = (list_terminations(face.oriented) for face in (here_face, there_face))
    assert [(p.name, p.cut, p.closing) for p in found.pairs] == [(p.name, p.cut, p.closing) for p in here.pairs]


def test_layers_and_bridges_are_the_same_on_avx512() -> None:
    here = load("CsPbI3-alpha").structure
    there = as_read_with_avx512(here)
    assert find_bridges(there) == find_bridges(here)
    assert group_layers(there, find_metals(there)) == group_layers(here, find_metals(here))
    assert measure_layers(there)[0].n_metals == 1


def test_the_sites_of_one_layer_are_listed_in_their_own_order() -> None:
    heights = [0.0, 2e-16, -1e-16, 5.0, 5.0 - 1e-15]
    slab = make_record(np.diag([20.0, 20.0, 30.0]), ["Pb"] * 5, [(4.0 * i, 0.0, z) for i, z in enumerate(heights)])
    assert group_layers(slab, find_metals(slab)) == [[0, 1, 2], [3, 4]]


def test_bridges_are_counted_where_the_metals_lie_on_a_rounding_edge() -> None:
    """6.2895 Å lies between two numbers of three decimals: each edge of the cube is one corner-sharing bridge."""
    edge = 6.2895
    coordinates = [(0, 0, 0), (0.5, 0, 0), (0, 0.5, 0), (0, 0, 0.5), (0.5, 0.5, 0.5)]
    cube = make_record(np.eye(3) * edge, ["Pb", "I", "I", "I", "Cs"], np.array(coordinates) * edge)
    for factor in (1.0, 1.0 - 1e-15, 1.0 + 1e-15):
        stretched = cube.model_copy(update={"lattice_ang": tuple(map(tuple, (np.eye(3) * edge * factor).tolist()))})
        assert len(find_bridges(stretched)) == 3


@pytest.mark.parametrize("relative", [1e-13, -1e-13])
def test_a_cell_edge_between_two_grid_spacings_has_one_key(relative: float, key_inputs) -> None:
    """4.69375 Å is 46937.5 spacings of 10⁻⁴ Å."""
    assert load("CsPbI1.5Br1.5-delta").structure.lattice_ang[1][1] == pytest.approx(4.69375)
    task, theory, settings = key_inputs("CsPbI1.5Br1.5-delta")
    lattice = np.array(task.structure.lattice_ang) * (1.0 + relative)
    turned = task.structure.model_copy(update={"lattice_ang": tuple(map(tuple, lattice.tolist()))})
    other = task.model_copy(update={"structure": turned})
    assert calculation_key(other, theory, settings) == calculation_key(task, theory, settings)


@pytest.fixture
def key_inputs():
    """What a key is made of, for the bulk of a crystal."""
    from qdip_dft.engines.registry import engine_from_spec
    from qdip_dft.model.calculation import CalculationTask, Freedom
    from qdip_dft.model.engine import EngineSpec

    engine = engine_from_spec(EngineSpec(name="mlip"))

    def make(name: str):
        task = CalculationTask(label=name, freedom=Freedom.CELL, structure=load(name).structure)
        return task, engine.theory(), engine.relaxation_settings()

    return make


@pytest.mark.parametrize("is_old", [True, False])
def test_sites_on_top_of_each_other_have_no_symmetry_either_way(is_old: bool, monkeypatch) -> None:
    """phonopy, once imported, makes spglib raise errors for the whole process."""
    monkeypatch.delenv("SPGLIB_OLD_ERROR_HANDLING", raising=False)
    monkeypatch.setattr(spglib.error, "OLD_ERROR_HANDLING", is_old)
    assert find_operations(np.eye(3) * 5, [[0, 0, 0], [0, 0, 0]], [1, 1], tolerance_ang=0.02) is None
    found = find_operations(np.eye(3) * 5, [[0, 0, 0]], [1], tolerance_ang=0.02)
    assert found is not None
    assert found.rotations.shape == (48, 3, 3)

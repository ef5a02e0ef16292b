"""Films between two faces of the dot, without vacuum."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from qdip_dft.builders.embedded import close_cell, measure_gaps_ang, separate_slabs, shortest_image, split_interface
from qdip_dft.builders.interfaces import check_closed, join_slabs
from qdip_dft.builders.ions import Ion, IonicCrystal, atom_positions
from qdip_dft.engines.evaluation import Arrangement
from qdip_dft.engines.testing import evaluate_morse
from qdip_dft.errors import InterfaceError
from qdip_dft.flows.assembly import describe_candidate
from qdip_dft.flows.reservoirs import survey_reservoirs
from qdip_dft.flows.resolution import Resolution
from qdip_dft.flows.steps import Part, StudySteps
from qdip_dft.model.calculation import Freedom
from qdip_dft.model.stabilization import CandidateResult
from qdip_dft.model.study import Environment, StudySpec
from qdip_dft.model.study_versions import translate_study
from tests.unit.studies import TINY_STUDY, make_steps, stages

CELL = np.array([[6.0, 0.0, 0.0], [0.0, 6.0, 0.0], [0.0, 0.0, 20.0]])
DOT = [("Pb", 2, (0.0, 0.0, 0.0)), ("S", -2, (3.0, 3.0, 0.0)), ("Pb", 2, (3.0, 3.0, 3.0)), ("S", -2, (0.0, 0.0, 3.0))]
FILM = [("Cs", 1, (1.0, 1.0, 0.0)), ("I", -1, (4.0, 4.0, 0.0)), ("Cs", 1, (4.0, 4.0, 3.4)), ("I", -1, (1.0, 1.0, 3.4))]


def slab(atoms: list[tuple[str, int, tuple[float, float, float]]]) -> IonicCrystal:
    ions = tuple(Ion(symbol, charge, (symbol,), np.zeros((1, 3)), (i,)) for i, (symbol, charge, _) in enumerate(atoms))
    return IonicCrystal(CELL, ions, np.array([place for *_, place in atoms]) @ np.linalg.inv(CELL))


def join(shift: tuple[float, float] = (0.0, 0.0)) -> IonicCrystal:
    return join_slabs(slab(DOT), slab(FILM), shift_ang=np.array(shift), vacuum_ang=12.0)


def close(shift: tuple[float, float] = (0.0, 0.0), gap_ang: float = 0.0) -> IonicCrystal:
    return close_cell(join(), n_dot_ions=4, shift_ang=shift, gap_offset_ang=gap_ang)


def energy_ev(crystal: IonicCrystal) -> float:
    record = crystal.to_record()
    return evaluate_morse(Arrangement(record.species, atom_positions(crystal), np.array(record.lattice_ang))).energy_ev


def test_the_next_dot_lies_on_the_film_as_the_film_lies_on_the_dot():
    below, above = measure_gaps_ang(close(), n_dot_ions=4)
    mirrored = join_slabs(slab(FILM), slab(DOT), shift_ang=np.zeros(2), vacuum_ang=12.0)
    dot, film = split_interface(mirrored, n_dot_ions=4)
    assert above == pytest.approx(atom_positions(film)[:, 2].min() - atom_positions(dot)[:, 2].max())
    assert below > 0


def test_the_third_vector_carries_the_registry_of_the_upper_interface():
    closed = close((1.0, 2.0))
    assert closed.lattice_ang[2, :2] == pytest.approx([1.0, 2.0])
    assert check_closed(closed, name="interface") is closed


def test_a_displacement_by_a_vector_of_the_cell_changes_nothing():
    assert close((7.0, -4.0)).lattice_ang == pytest.approx(close((1.0, 2.0)).lattice_ang)


def test_the_shortest_image_is_never_longer_than_half_the_diagonal():
    for x, y in np.random.default_rng(0).uniform(-20, 20, size=(50, 2)):
        image = shortest_image(np.array([x, y]), CELL[:2, :2])
        assert np.linalg.norm(image) <= np.sqrt(18.0) + 1e-9
        steps = (np.array([x, y]) - image) / 6.0
        assert steps == pytest.approx(np.round(steps), abs=1e-9)


def test_a_gap_above_contact_lengthens_the_cell_by_as_much():
    assert close(gap_ang=0.7).lattice_ang[2, 2] - close().lattice_ang[2, 2] == pytest.approx(0.7)


def test_nothing_is_bound_at_a_large_distance():
    far = separate_slabs(close((1.0, 2.0)), n_dot_ions=4, distance_ang=10.0)
    apart = energy_ev(slab(DOT)) + energy_ev(slab(FILM))
    assert energy_ev(far) == pytest.approx(apart, abs=1e-9)
    assert abs(energy_ev(close((1.0, 2.0))) - apart) > 0.1


def test_two_interfaces_bind_as_much_as_each_does_alone():
    """The toy potential ends at 6 Å: the two interfaces do not feel each other through dot and film."""
    dot, film = slab(DOT), slab(FILM)
    apart = energy_ev(dot) + energy_ev(film)
    lower = energy_ev(join()) - apart
    closed = close((1.0, 2.0))
    lifted = closed.centres_ang.copy()
    lifted[4:, 2] += 8.0
    lattice = closed.lattice_ang + np.diag([0.0, 0.0, 8.0])
    upper = energy_ev(IonicCrystal(lattice, closed.ions, lifted @ np.linalg.inv(lattice))) - apart
    assert energy_ev(closed) - apart == pytest.approx(lower + upper, abs=0.02 * abs(lower + upper))


def test_the_gate_refuses_a_plane_that_is_tilted():
    tilted = close()
    lattice = tilted.lattice_ang.copy()
    lattice[0, 2] = 0.5
    with pytest.raises(InterfaceError, match="report this as a defect of the builder"):
        check_closed(IonicCrystal(lattice, tilted.ions, tilted.frac_centres), name="interface")


ONE_PHASE = {"phases": [{"phase": "CsPbI3-alpha", "role": "black", "planes": ["100"], "termination": "PbI2"}]}


@cache
def calculated(environment: str, *, film_ang: float = 12.0, **changes: float) -> tuple[StudySteps, Resolution]:
    film = {"min_thickness_ang": film_ang, "registries": [[0.0, 0.0]]}
    asked = {**ONE_PHASE, "film": film, "schema_version": 2, "environment": environment, "check_minima": False}
    matching = {"max_area_ang2": 90, "max_strain": 0.05, **changes}
    steps = make_steps(**asked, matching=matching, symmetry_breaking_ang=0.0)
    *_, resolution = stages(steps, {})
    return steps, resolution


def describe(environment: str, **changes: float) -> CandidateResult:
    steps, resolution = calculated(environment, **changes)
    return describe_candidate(steps, resolution, steps.candidates[0], survey_reservoirs(steps, resolution))


def test_a_study_of_version_1_is_capped_and_a_new_one_embedded():
    assert (
        StudySpec.model_validate(translate_study({**TINY_STUDY, "schema_version": 1})).environment is Environment.CAPPED
    )
    assert (
        StudySpec.model_validate(translate_study({**TINY_STUDY, "schema_version": 2})).environment
        is Environment.EMBEDDED
    )


def test_an_embedded_interface_has_no_vacuum_and_relaxes_its_third_vector():
    steps, resolution = calculated("embedded")
    step = steps.id_of(Part.INTERFACE, steps.candidates[0].id)
    task, relaxed = resolution.tasks[step], resolution.relaxed[step]
    assert task.freedom is Freedom.OUT_OF_PLANE
    assert relaxed.lattice_ang[2][2] != task.structure.lattice_ang[2][2]
    assert relaxed.lattice_ang[:2] == task.structure.lattice_ang[:2]
    heights = np.sort(np.array(relaxed.frac_coords)[:, 2] % 1.0)
    gaps_ang = np.diff(np.append(heights, heights[0] + 1.0)) * relaxed.lattice_ang[2][2]
    assert gaps_ang.max() < 4.5


def test_the_terms_of_an_embedded_film_belong_to_both_faces_of_the_dot():
    capped, embedded = describe("capped"), describe("embedded")
    assert embedded.area_ang2 == pytest.approx(2 * capped.area_ang2)
    assert embedded.bulk_ev_per_fu == capped.bulk_ev_per_fu
    assert embedded.strain_ev_per_fu == pytest.approx(capped.strain_ev_per_fu, abs=1e-9)
    assert embedded.surface_ev_per_fu == pytest.approx(capped.surface_ev_per_fu, abs=1e-9)
    assert embedded.surface_mev_per_ang2 == pytest.approx(capped.surface_mev_per_ang2 / 2)
    assert embedded.binding_ev_per_fu < capped.binding_ev_per_fu < 0
    assert abs(embedded.identity_residual_ev) < 1e-9 * embedded.n_formula_units
    assert embedded.is_valid


@pytest.mark.parametrize("partition", [0.0, 0.5, 1.0])
def test_what_the_strain_of_the_dot_costs_is_part_of_the_strain(partition):
    result = describe("embedded", strain_partition=partition)
    steps, resolution = calculated("embedded", strain_partition=partition)
    assert (result.dot_strain_ev_per_fu == 0.0) is (partition == 0.0)
    assert result.strain_ev_per_fu == pytest.approx(result.film_strain_ev_per_fu + result.dot_strain_ev_per_fu)
    own = Part.UNSTRAINED_DOT_SLAB if partition else Part.DOT_SLAB
    parts = steps.parts_of(steps.candidates[0])
    interface, dot = (resolution.records[parts[part]].result.energy_ev for part in (Part.INTERFACE, own))
    assert result.n_formula_units * result.total_ev_per_fu == pytest.approx(interface - dot, abs=1e-9)


def test_the_strain_is_continuous_where_the_dot_begins_to_take_it():
    shares = [describe("embedded", strain_partition=partition) for partition in (0.0, 0.01, 0.02)]
    strains = [share.strain_ev_per_fu for share in shares]
    assert strains[1] - strains[0] == pytest.approx(strains[2] - strains[1], abs=2e-4)
    assert abs(strains[1] - strains[0]) < 2e-3
    assert [share.dot_strain_ev_per_fu > 0 for share in shares] == [False, True, True]


def test_a_dot_that_is_strained_by_one_per_cent_costs_hundredths_of_an_ev():
    """Energy that no term held while the strain of the dot was left out."""
    result = describe("embedded", strain_partition=1.0, film_ang=6.0)
    assert result.dot_principal_strains == pytest.approx((0.0098, 0.0098), abs=2e-4)
    assert result.dot_strain_ev_per_fu == pytest.approx(0.06, abs=0.015)

"""Films between two faces of the dot, without vacuum."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import pytest

from qdip_dft.analysis.coverage import evaluate_total
from qdip_dft.builders.embedded import close_cell, shortest_image, split_interface
from qdip_dft.builders.interfaces import check_closed, join_slabs
from qdip_dft.builders.ions import Ion, IonicCrystal, atom_positions
from qdip_dft.engines.base import OnStep
from qdip_dft.engines.evaluation import Arrangement
from qdip_dft.engines.testing import TestingEngine, evaluate_morse
from qdip_dft.errors import InterfaceError
from qdip_dft.flows.assembly import describe_candidate
from qdip_dft.flows.engines import StudyEngines
from qdip_dft.flows.reservoirs import survey_reservoirs
from qdip_dft.flows.resolution import Resolution
from qdip_dft.flows.steps import Part, StudySteps
from qdip_dft.model.calculation import EngineResult, Freedom
from qdip_dft.model.stabilization import CandidateResult
from qdip_dft.model.structure import StructureRecord
from qdip_dft.model.study import Environment, StudySpec
from qdip_dft.model.study_versions import translate_study
from tests.unit.studies import TINY_STUDY, make_steps, stages, toy_engine

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
    closed = close()
    lower, upper = (atom_positions(part)[:, 2] for part in split_interface(closed, n_dot_ions=4))
    below, above = upper.min() - lower.max(), lower.min() + closed.lattice_ang[2, 2] - upper.max()
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


@dataclass(frozen=True)
class RigidEngine(TestingEngine):
    """The toy potential, which ends at 6 Å, with atoms held where they are: laws of surfaces hold to rounding."""

    def relax(self, structure: StructureRecord, freedom: Freedom, *, on_step: OnStep | None = None) -> EngineResult:  # noqa: ARG002
        """The structure as it is; what holds it leaves no force."""
        found = self.static(structure)
        nothing = (0.0, 0.0, 0.0)
        held = {"forces_ev_per_ang": (nothing,) * structure.n_atoms, "stress_ev_per_ang3": (nothing,) * 3}
        return found.model_copy(update={**held, "max_force_ev_per_ang": 0.0, "is_converged": True})


RIGID = StudyEngines(energy=RigidEngine(relaxation=toy_engine().relaxation))

TERMINATIONS = ("PbI2|CsI", "PbI2|PbI2", "CsI|CsI")


def rigid_steps(environment: str = "embedded", *, film_ang: float = 12.0) -> StudySteps:
    first, *others = TERMINATIONS
    phase = {"phase": "CsPbI3-alpha", "role": "black", "planes": ["100"], "termination": first}
    return make_steps(
        schema_version=2,
        environment=environment,
        check_minima=False,
        symmetry_breaking_ang=0.0,
        dot={"material": "PbTe", "facets": ["100"], "min_thickness_ang": 9},
        phases=[{**phase, "further_terminations": others}],
        matching={"max_area_ang2": 90, "max_strain": 0.05},
        film={
            "min_thickness_ang": film_ang,
            "registries": [[0.0, 0.0]],
            "reservoirs": {"ax": "CsI", "bx2": "PbI2"},
        },
    )


def describe_rigid(steps: StudySteps) -> dict[str, CandidateResult]:
    *_, resolution = stages(steps, {}, engines=RIGID)
    reservoirs = survey_reservoirs(steps, resolution)
    found = [describe_candidate(steps, resolution, candidate, reservoirs) for candidate in steps.candidates]
    return {result.candidate.termination: result for result in found}


def test_doubling_the_film_moves_nothing_once_its_faces_do_not_see_each_other():
    thin, thick = (describe_rigid(rigid_steps(film_ang=film_ang)) for film_ang in (12.0, 24.0))
    for termination in TERMINATIONS:
        once, twice = thin[termination], thick[termination]
        assert twice.n_formula_units > 1.5 * once.n_formula_units
        assert evaluate_total(twice, once.coverage_fu_per_ang2) == pytest.approx(
            evaluate_total(once, once.coverage_fu_per_ang2), abs=1e-9
        )
        assert abs(twice.total_ev_per_fu - once.total_ev_per_fu) > 0.01


def test_a_cell_twice_as_large_has_the_same_energies_per_area():
    steps = rigid_steps()
    wide = [
        candidate.model_copy(
            update={
                "film_matrix": (tuple(2 * n for n in candidate.film_matrix[0]), candidate.film_matrix[1]),
                "dot_matrix": (tuple(2 * n for n in candidate.dot_matrix[0]), candidate.dot_matrix[1]),
                "n_formula_units": 2 * candidate.n_formula_units,
                "excess": {name: 2 * number for name, number in candidate.excess.items()},
            }
        )
        for candidate in steps.candidates
    ]
    small, large = describe_rigid(steps), describe_rigid(replace(steps, candidates=tuple(wide)))
    for termination in TERMINATIONS:
        assert large[termination].area_ang2 == pytest.approx(2 * small[termination].area_ang2)
        for name in ("surface_mev_per_ang2", "binding_mev_per_ang2", "interface_mev_per_ang2"):
            assert getattr(large[termination], name) == pytest.approx(getattr(small[termination], name), abs=1e-6)


def test_a_stoichiometric_film_has_the_mean_of_its_two_symmetric_films():
    """Each of its faces is one of theirs.  What both hold beyond whole formula units, one CsI and one PbI2, comes from
    reservoirs in equilibrium with the unstrained host, so that their σ pays for straining it."""
    found = describe_rigid(rigid_steps(film_ang=20.0))
    film, *symmetric = (found[termination] for termination in TERMINATIONS)
    assert [result.candidate.excess for result in symmetric] == [{"PbI2": 1}, {"CsI": 1}]
    mean = sum(result.interface_mev_per_ang2 for result in symmetric) / 2
    strained_mev_per_ang2 = 1000.0 * film.film_strain_ev_per_fu / (2 * film.area_ang2)
    assert film.interface_mev_per_ang2 == pytest.approx(mean - strained_mev_per_ang2, abs=1e-6)
    assert strained_mev_per_ang2 > 0.1


def test_a_capped_film_pays_its_free_face_besides():
    embedded, capped = (describe_rigid(rigid_steps(environment)) for environment in ("embedded", "capped"))
    for termination in TERMINATIONS[1:]:
        free_face = capped[termination].surface_mev_per_ang2 / 2
        difference = capped[termination].interface_mev_per_ang2 - embedded[termination].interface_mev_per_ang2
        assert difference == pytest.approx(free_face, abs=1e-6)

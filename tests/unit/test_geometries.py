"""Energies at geometries of another engine, and relaxations that start from pre-relaxed structures."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from qdip_dft.analysis.checks import check_distances, check_residual_pressure
from qdip_dft.analysis.comparability import find_obstacle
from qdip_dft.analysis.stability import IDENTITY_TOLERANCE_EV
from qdip_dft.engines.registry import engine_from_spec
from qdip_dft.errors import LevelOfTheoryError, StudyError
from qdip_dft.flows.engines import StudyEngines
from qdip_dft.flows.resolution import Resolution
from qdip_dft.flows.steps import Stage, StudySteps
from qdip_dft.model.calculation import CalculationRecord, Level, combine_levels
from qdip_dft.model.engine import EngineSpec
from qdip_dft.model.stabilization import StabilizationDoc
from qdip_dft.model.structure import StructureRecord
from qdip_dft.planning.study_files import validate_study
from qdip_dft.report.words import describe
from qdip_dft.units import EV_PER_ANG3_IN_GPA
from tests.unit.studies import (
    STIFFENING,
    TINY_STUDY,
    assemble,
    fail,
    find_step,
    leave_unconverged,
    make_steps,
    stages,
    stiff_engine,
    toy_engine,
)

PEROVSKITES = {
    "phases": [
        {"phase": "CsPbI3-alpha", "role": "black", "planes": ["100"], "termination": "PbI2"},
        {"phase": "CsPbI3-beta", "role": "competitor", "planes": ["001"], "termination": "PbI2"},
    ],
    "matching": {"max_area_ang2": 100, "max_strain": 0.08},
}
"""Two phases that the toy potential keeps."""

BLACK = "PbTe(100)//CsPbI3-alpha(100)"


def finish(steps: StudySteps, engines: StudyEngines, *, spoil=None) -> Resolution:
    *_, last = stages(steps, {}, engines=engines, spoil=spoil)
    return last


def document(steps: StudySteps, resolution: Resolution, engines: StudyEngines) -> StabilizationDoc:
    return assemble(steps, resolution, level=engines.level)


@pytest.fixture(scope="module")
def composite() -> tuple[StudySteps, StudyEngines, Resolution]:
    steps = make_steps(**PEROVSKITES, geometry={"name": "testing"})
    engines = StudyEngines(energy=stiff_engine(), geometry=toy_engine())
    return steps, engines, finish(steps, engines)


@pytest.fixture(scope="module")
def plain() -> tuple[StudySteps, Resolution]:
    steps = make_steps(**PEROVSKITES)
    return steps, finish(steps, StudyEngines(energy=toy_engine()))


def test_in_a_composite_study_one_engine_relaxes_and_the_other_gives_every_energy(composite):
    steps, _, state = composite
    for step in steps.steps:
        code = "stiff morse" if step.stage is Stage.STATIC else "morse"
        assert state.records[step.id].theory.code == code, step.label


def test_energies_scaled_at_the_same_geometries_scale_every_term(composite, plain):
    doc, reference = document(composite[0], composite[2], composite[1]), document(*plain, StudyEngines(toy_engine()))
    for mine, theirs in zip(doc.candidates, reference.candidates, strict=True):
        for term in ("strain_ev_per_fu", "surface_ev_per_fu", "binding_ev_per_fu", "total_ev_per_fu"):
            assert getattr(mine, term) == pytest.approx(STIFFENING * getattr(theirs, term), abs=1e-9)
        assert abs(mine.identity_residual_ev) < IDENTITY_TOLERANCE_EV * mine.n_formula_units


def test_a_composite_study_shares_its_relaxations_with_the_study_of_its_geometries(composite, plain):
    steps, _, state = composite
    relaxations = [step.id for step in steps.steps if step.stage is Stage.RELAXATION]
    assert [state.keys[id_] for id_ in relaxations] == [plain[1].keys[id_] for id_ in relaxations]


def test_a_composite_result_names_both_levels_of_theory(composite):
    steps, engines, state = composite
    doc = document(steps, state, engines)
    assert (doc.theory.code, doc.geometry_theory.code) == ("stiff morse", "morse")
    assert "geometries: engine testing, morse" in describe(doc)


def test_a_composite_result_states_what_the_lattices_of_the_other_level_leave_behind(composite):
    doc = document(composite[0], composite[2], composite[1])
    for result in doc.candidates:
        found = [check.finding for check in result.checks if check.name == "residual pressure"]
        assert len(found) == 2
        assert "dot bulk PbTe" in found[0]
        assert "GPa at the geometry of the other level" in found[1]


def test_a_composite_result_states_the_largest_force_that_is_left_on_its_slabs(composite):
    steps, engines, state = composite
    for result in document(steps, state, engines).candidates:
        (check,) = (check for check in result.checks if check.name == "residual forces")
        name = f"interface {result.candidate.label} (static)"
        part, _, left = check.finding.partition(": ")
        largest = state.records[find_step(state, name.replace("interface", part))].result.max_force_ev_per_ang
        assert left.startswith(f"{largest:.2f} eV/Å")
        assert largest >= state.records[find_step(state, name)].result.max_force_ev_per_ang
        assert check.is_passed


def test_results_at_different_geometries_are_not_subtracted(composite):
    doc = document(composite[0], composite[2], composite[1])
    other = doc.model_copy(update={"geometry_theory": None})
    obstacle = find_obstacle(doc, other)
    assert isinstance(obstacle, LevelOfTheoryError)
    assert "geometry code: morse and stiff morse" in obstacle.what


@pytest.mark.parametrize("stage", ["", " (static)"])
def test_one_record_of_another_level_among_them_leaves_its_terms_missing(composite, stage):
    steps, engines, state = composite
    name = f"film slab {BLACK}{stage}"

    def change(step_name: str, record: CalculationRecord) -> CalculationRecord:
        other = record.theory.model_copy(update={"settings": {"cutoff_ev": 450}})
        return record.model_copy(update={"theory": other}) if step_name == name else record

    changed = finish(steps, engines, spoil=change)
    assert changed.keys[find_step(changed, name)] == state.keys[find_step(state, name)]
    black, _ = document(steps, changed, engines).candidates
    assert black.strain_ev_per_fu is not None
    assert (black.surface_ev_per_fu, black.binding_ev_per_fu, black.total_ev_per_fu) == (None, None, None)
    assert "film slab energy missing because" in black.missing[0]
    assert "another level of theory than the study (cutoff_ev: 450 and not set)" in black.missing[0]


@pytest.mark.parametrize(
    ("energies", "geometries", "combined"),
    [
        (Level.DFT, Level.SCREENING, Level.COMPOSITE),
        (Level.DFT, Level.DFT, Level.DFT),
        (Level.SCREENING, Level.DFT, Level.SCREENING),
        (Level.DFT, Level.TEST, Level.TEST),
    ],
)
def test_a_result_is_as_good_as_its_energies_and_its_geometries(energies, geometries, combined):
    assert combine_levels(energies, geometries) is combined


def test_the_label_of_dft_energies_at_geometries_of_a_potential_says_so():
    assert Level.COMPOSITE.value == "dft//mlip"


@pytest.fixture(scope="module")
def prerelaxed() -> tuple[StudySteps, StudyEngines]:
    return make_steps(**PEROVSKITES, prerelaxation={"name": "mlip"}), StudyEngines(
        stiff_engine(), prerelaxation=toy_engine()
    )


def test_every_relaxation_starts_where_the_pre_relaxation_ended(prerelaxed):
    steps, engines = prerelaxed
    state = finish(steps, engines)
    for step in steps.steps:
        if step.stage is Stage.RELAXATION:
            (before,) = step.parents
            assert state.tasks[step.id].structure == state.records[before].result.structure
            assert state.records[before].theory.code == "morse"
            assert state.records[step.id].theory.code == "stiff morse"
    (check,) = (c for c in document(steps, state, engines).candidates[0].checks if c.name == "pre-relaxation")
    assert check.is_passed


def test_both_phases_are_pre_relaxed_by_the_same_engine(prerelaxed):
    steps, engines = prerelaxed
    first = {engines.of(step) for step in steps.steps if step.stage is Stage.PRERELAXATION}
    assert len(first) == 1
    assert sum(s.stage is Stage.PRERELAXATION for s in steps.steps) == sum(
        s.stage is Stage.RELAXATION for s in steps.steps
    )


def break_phase(record: CalculationRecord) -> CalculationRecord:
    """Return the record of a pre-relaxation that lost its metals into the vacuum: no octahedra are left."""
    result = record.result
    frac = np.array(result.structure.frac_coords)
    frac[[i for i, symbol in enumerate(result.structure.species) if symbol == "Pb"], 2] -= 0.3
    structure = result.structure.model_copy(update={"frac_coords": tuple(map(tuple, frac.tolist()))})
    return record.model_copy(update={"result": result.model_copy(update={"structure": structure})})


def overlap(record: CalculationRecord) -> CalculationRecord:
    """Return the record of a pre-relaxation that left two atoms on top of each other."""
    result = record.result
    frac = [list(site) for site in result.structure.frac_coords]
    frac[0] = [value + 0.02 for value in frac[1]]
    structure = result.structure.model_copy(update={"frac_coords": tuple(map(tuple, frac))})
    return record.model_copy(update={"result": result.model_copy(update={"structure": structure})})


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (fail, "the node went down"),
        (leave_unconverged, "did not converge"),
        (break_phase, "phase identity"),
        (overlap, "distances"),
    ],
)
def test_a_pre_relaxation_that_went_wrong_gives_way_to_the_structure_as_built(prerelaxed, spoil, reason):
    steps, engines = prerelaxed
    name = f"film slab {BLACK} (pre-relaxation)"

    def change(step_name: str, record: CalculationRecord) -> CalculationRecord:
        return spoil(record) if step_name == name else record

    state = finish(steps, engines, spoil=change)
    assert (
        state.tasks[find_step(state, f"film slab {BLACK}")].structure == state.tasks[find_step(state, name)].structure
    )
    assert not state.blocked
    doc = document(steps, state, engines)
    (check,) = (c for c in doc.candidates[0].checks if c.name == "pre-relaxation")
    assert not check.is_passed
    assert not check.is_decisive
    assert reason in check.finding
    assert "film slab" in check.finding
    assert doc.candidates[0].total_ev_per_fu is not None


def test_a_pre_relaxation_with_the_engine_that_relaxes_is_refused():
    with pytest.raises(StudyError, match="correct the named keys") as caught:
        validate_study({**TINY_STUDY, "prerelaxation": {"name": "testing"}}, source="tiny")
    assert "leave it out" in caught.value.what


def test_the_energy_left_in_a_compressed_lattice_is_that_of_its_elasticity():
    """p = 0.3 GPa on 250 Å³ with B = 15 GPa: p²V/2B = 4.7 meV."""
    stress = tuple(map(tuple, (-0.3 / EV_PER_ANG3_IN_GPA * np.eye(3)).tolist()))
    check = check_residual_pressure(stress, volume_ang3_per_fu=250.0, bulk_modulus_gpa=15.0, part="bulk X")
    assert check.finding.startswith("bulk X: +0.30 GPa")
    assert "about 5 meV" in check.finding
    assert check.is_passed
    tripled = tuple(map(tuple, (3 * np.array(stress)).tolist()))
    assert not check_residual_pressure(
        tripled, volume_ang3_per_fu=250.0, bulk_modulus_gpa=15.0, part="bulk X"
    ).is_passed


def test_covalent_bonds_are_no_overlap():
    cell = np.diag([8.0, 8.0, 8.0]).tolist()
    methane = StructureRecord(lattice_ang=cell, species=("C", "H"), frac_coords=((0.5, 0.5, 0.5), (0.5, 0.5, 0.636)))
    assert check_distances(methane, part="cation").is_passed
    closer = methane.model_copy(update={"frac_coords": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.57))})
    assert not check_distances(closer, part="cation").is_passed


def test_engines_survive_serialisation():
    engines = StudyEngines(toy_engine(), geometry=engine_from_spec(EngineSpec(name="testing")))
    assert StudyEngines.from_dict(engines.as_dict()) == engines
    assert replace(engines, geometry=None).relaxing == toy_engine()

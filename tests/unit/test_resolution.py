"""Which steps are done, ready or blocked, and what a study says when some are missing."""

from __future__ import annotations

import numpy as np
import pytest

from qdip_dft.flows.resolution import Resolution
from qdip_dft.flows.steps import Part, Stage, StudySteps
from qdip_dft.model.calculation import CalculationRecord
from qdip_dft.model.stabilization import StabilizationDoc
from tests.unit import studies
from tests.unit.studies import (
    Records,
    assemble,
    fail,
    find_step,
    leave_unconverged,
    make_maker,
    name_steps,
    resolve,
    stages,
)

BLACK, YELLOW = "PbTe(100)//CsPbI3-alpha(100)", "PbTe(100)//CsPbI3-beta(001)"
KEPT_PHASES = {
    "phases": [
        {"phase": "CsPbI3-alpha", "role": "black", "planes": ["100"], "termination": "PbI2"},
        {"phase": "CsPbI3-beta", "role": "competitor", "planes": ["001"], "termination": "PbI2"},
    ],
    "matching": {"max_area_ang2": 100, "max_strain": 0.08},
}
"""Two phases that the toy potential keeps."""


def make_steps(**changes: object) -> StudySteps:
    return studies.make_steps(**{**KEPT_PHASES, **changes})


@pytest.fixture(scope="module")
def steps() -> StudySteps:
    return make_steps()


@pytest.fixture(scope="module")
def finished(steps: StudySteps) -> Records:
    """The records of the whole study."""
    records: Records = {}
    for _ in stages(steps, records):
        pass
    return records


def spoilt(steps: StudySteps, finished: Records, name: str, spoil) -> Resolution:
    """Return the state of the study when one step went wrong; steps that follow are calculated where possible."""

    def change(step_name: str, record: CalculationRecord) -> CalculationRecord:
        return spoil(record) if step_name == name else record

    state = resolve(steps, finished)
    records = {key: record for key, record in finished.items() if key != state.keys[find_step(state, name)]}
    *_, last = stages(steps, records, spoil=change)
    return last


def document(steps: StudySteps, resolution: Resolution) -> StabilizationDoc:
    return assemble(steps, resolution)


def static_name(name: str) -> str:
    return f"{name} (static)"


def test_at_first_only_the_bulks_are_ready(steps):
    state = resolve(steps, {})
    assert name_steps(state, state.ready) == {"dot bulk PbTe", "bulk CsPbI3-alpha", "bulk CsPbI3-beta"}
    assert len(state.waiting) == len(steps.steps) + len(steps.candidates) - 3  # each candidate has a screening
    assert not state.blocked


def test_a_study_goes_through_its_stages_until_nothing_is_left(steps):
    records: Records = {}
    rounds = [name_steps(state, state.ready) for state in stages(steps, records)]
    relaxed = [{name.split(" Pb")[0] for name in ready if "static" not in name} for ready in rounds]
    assert relaxed[1] == {"strained bulk", "dot slab"}
    assert relaxed[2] == {"film slab"}
    assert relaxed[3] == {"interface"}
    assert rounds[-1] == set()
    assert set(resolve(steps, records).records) == {step.id for step in steps.steps}


def test_with_all_records_nothing_is_ready_waiting_or_blocked(steps, finished):
    state = resolve(steps, finished)
    assert (state.ready, state.waiting, state.blocked) == ({}, (), {})


def test_a_result_names_every_calculation_that_it_rests_on(steps, finished):
    state = resolve(steps, finished)
    assert document(steps, state).calculations == {state.label(step): state.keys[step] for step in state.tasks}


def test_resolving_twice_gives_the_same_keys(steps, finished):
    assert resolve(steps, finished).keys == resolve(make_steps(), finished).keys


def test_a_child_starts_from_the_relaxed_structure_of_its_parent(steps, finished):
    state = resolve(steps, finished)
    for step in steps.steps:
        if step.stage is Stage.STATIC:
            parent = state.records[step.parents[0]].result.structure
            assert state.tasks[step.id].structure == parent


def test_candidates_that_share_a_dot_slab_share_its_calculation(finished):
    steps = make_steps(film={"min_thickness_ang": 6, "registries": [[0, 0], [0.5, 0]]})
    state = resolve(steps, finished)
    plain, shifted = (steps.relaxations_of(candidate)[Part.DOT_SLAB] for candidate in steps.candidates[:2])
    assert plain != shifted
    assert state.keys[plain] == state.keys[shifted]
    assert set(state.ready).isdisjoint({plain, shifted})  # both were calculated for the study without shifts


def test_a_second_study_pays_only_for_what_is_new(finished):
    thicker = make_steps(film={"min_thickness_ang": 12})
    state = resolve(thicker, finished)
    assert {"dot bulk PbTe", "bulk CsPbI3-alpha", f"dot slab {BLACK}"} <= name_steps(state, state.records)
    assert f"film slab {BLACK}" in name_steps(state, state.ready)


@pytest.mark.parametrize("spoil", [fail, leave_unconverged], ids=["failed", "unconverged"])
def test_a_parent_that_went_wrong_blocks_its_children_with_the_reason(steps, finished, spoil):
    name = f"strained bulk {BLACK}"
    state = spoilt(steps, finished, name, spoil)
    reason = state.explain_failure(find_step(state, name))
    assert "the node went down" in reason or "did not converge" in reason
    later = [name, f"film slab {BLACK}", f"interface {BLACK}"]
    blocked = [*later[1:], *map(static_name, later)]
    assert {state.label(step): why for step, why in state.blocked.items()} == dict.fromkeys(blocked, reason)
    assert not state.ready
    assert not state.waiting


def test_a_bulk_that_failed_leaves_the_other_phase_alone(steps, finished):
    state = spoilt(steps, finished, "bulk CsPbI3-beta", fail)
    assert static_name(f"interface {BLACK}") in name_steps(state, state.records)
    assert all("CsPbI3-beta" in name for name in name_steps(state, state.blocked))


def test_a_step_that_cannot_be_built_from_a_relaxed_parent_is_blocked_too(steps, finished):
    def collapse(record: CalculationRecord) -> CalculationRecord:
        structure = record.result.structure
        coords = np.array(structure.frac_coords)
        coords[1] = coords[0] + 0.06  # about 0.6 Å: the toy potential still has an energy there
        together = structure.model_copy(update={"frac_coords": tuple(map(tuple, coords.tolist()))})
        return record.model_copy(update={"result": record.result.model_copy(update={"structure": together})})

    state = spoilt(steps, finished, f"strained bulk {BLACK}", collapse)
    reason = state.blocked[find_step(state, f"film slab {BLACK}")]
    assert reason.startswith(f"film slab {BLACK} could not be built: ")
    assert "Å apart" in reason
    assert state.blocked[find_step(state, f"interface {BLACK}")] == reason
    result = next(c for c in document(steps, state).candidates if c.candidate.label == BLACK)
    assert any("could not be built" in sentence for sentence in result.missing)


def test_the_document_of_a_finished_study_is_complete(steps, finished):
    state = resolve(steps, finished)
    found = document(steps, state)
    assert found.id == "tiny"
    for result in found.candidates:
        assert result.missing == ()
        assert abs(result.identity_residual_ev) < 1e-9
        assert result.calculations == {
            part.value: state.keys[step] for part, step in steps.parts_of(result.candidate).items()
        }
        assert result.n_atoms == state.tasks[find_step(state, f"interface {result.candidate.label}")].structure.n_atoms
        assert result.work_of_separation_j_per_m2 == -result.binding_j_per_m2


def test_the_terms_follow_from_the_static_energies(steps, finished):
    state = resolve(steps, finished)
    energy = {state.label(step): record.result.energy_ev for step, record in state.records.items()}
    for result in document(steps, state).candidates:
        label, phase, n = result.candidate.label, result.candidate.phase, result.n_formula_units
        bulk = energy[static_name(f"bulk {phase}")] / steps.crystals[phase].formula_units
        assert result.bulk_ev_per_fu == pytest.approx(bulk, abs=1e-12)
        apart = energy[static_name(f"film slab {label}")] + energy[static_name(f"dot slab {label}")]
        binding = (energy[static_name(f"interface {label}")] - apart) / n
        assert result.binding_ev_per_fu == pytest.approx(binding, abs=1e-12)


@pytest.mark.parametrize(
    ("part", "missing"),
    [
        (Part.INTERFACE, {"binding"}),
        (Part.FILM_SLAB, {"surface", "binding"}),
        (Part.DOT_SLAB, {"binding"}),
        (Part.STRAINED_BULK, {"strain", "surface", "binding"}),
    ],
)
def test_an_unconverged_calculation_leaves_its_terms_missing_and_says_so(steps, finished, part, missing):
    state = spoilt(steps, finished, f"{part} {YELLOW}", leave_unconverged)
    found = document(steps, state)
    result = next(c for c in found.candidates if c.candidate.label == YELLOW)
    terms = ("bulk", "strain", "surface", "binding")
    assert {term for term in terms if getattr(result, f"{term}_ev_per_fu") is None} == missing
    assert result.total_ev_per_fu is None
    assert any(f"{part} energy missing" in sentence and "did not converge" in sentence for sentence in result.missing)
    assert not result.is_valid
    assert not result.is_selected
    assert found.stabilization.total_ev_per_fu is None
    assert found.stabilization.competitor is None
    assert "converge" in found.stabilization.sentence


def test_the_lowest_valid_candidate_stands_for_its_phase(steps, finished):
    found = document(steps, resolve(steps, finished))
    for result in found.candidates:
        assert result.is_selected is result.is_valid  # one candidate per phase


def test_the_flow_holds_one_job_per_question(steps):
    maker = make_maker(steps)
    flow = maker.make()
    state = resolve(steps, {})
    assert {job.name for job in flow.jobs} == {*name_steps(state, state.ready), "advance tiny"}
    assert len({job.uuid for job in flow.jobs}) == len(flow.jobs)


def test_the_flow_of_a_finished_study_only_assembles(steps, finished):
    maker = make_maker(steps)
    output = maker.make_next({key: record.model_dump(mode="json") for key, record in finished.items()})
    (found,) = output["documents"]
    assert StabilizationDoc.model_validate(found).id == "tiny"


def test_a_lost_job_ends_the_study_instead_of_repeating_it_for_ever(steps, finished):
    maker = make_maker(steps)
    state = resolve(steps, finished)
    lost = state.keys[find_step(state, static_name(f"interface {YELLOW}"))]
    records = {key: None if key == lost else record.model_dump(mode="json") for key, record in finished.items()}
    (found,) = maker.make_next(records)["documents"]
    result = next(c for c in found["candidates"] if c["candidate"]["label"] == YELLOW)
    assert any("was not calculated" in sentence for sentence in result["missing"])

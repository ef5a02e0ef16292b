"""What is computed around the compared films: a star whose variations share what a change leaves alone."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest

from qdip_dft.analysis.verdict import Verdict, judge
from qdip_dft.builders.cation_orientations import has_molecules, turn_cations
from qdip_dft.builders.ions import find_ions
from qdip_dft.engines.registry import engine_from_spec
from qdip_dft.errors import StructureError
from qdip_dft.flows.building import preview_structures
from qdip_dft.flows.engines import StudyEngines
from qdip_dft.flows.resolution import Resolution
from qdip_dft.flows.steps import Part, StudySteps
from qdip_dft.flows.study_results import assemble_study, preview_variations, resolve_study
from qdip_dft.flows.variations import list_variations
from qdip_dft.model.engine import EngineSpec, PresetName
from qdip_dft.model.stabilization import StabilizationDoc
from qdip_dft.model.uncertainty import Uncertainty, VariationKind
from qdip_dft.tasks.registry_scan import Checkpoint, scan_registries
from tests.unit.crystals import load
from tests.unit.studies import Records, calculate, fail, make_steps, toy_engine

PHASES = [
    {"phase": "CsPbI3-alpha", "role": "black", "planes": ["100"], "termination": "PbI2"},
    {"phase": "CsPbI3-beta", "role": "competitor", "planes": ["001"], "termination": "PbI2"},
]
STAR: dict[str, Any] = {
    "phases": PHASES,
    "matching": {"max_area_ang2": 100, "max_strain": 0.08},
    "dot": {"material": "PbTe", "facets": ["100"], "min_thickness_ang": 6, "thicknesses": 2},
    "film": {"min_thickness_ang": 6, "thicknesses": 3, "registries": [[0, 0]]},
    "uncertainty": {"preset": "balanced", "terminations": 2},
}
BALANCED = engine_from_spec(EngineSpec(name="testing", preset=PresetName.BALANCED))
ENGINES = StudyEngines(toy_engine(), by_tag={"preset balanced": BALANCED})


def resolve(steps: StudySteps, records: Records) -> Resolution:
    return resolve_study(steps, ENGINES, records.get)


def run(steps: StudySteps, *, spoilt: str = "") -> tuple[Resolution, Records]:
    """Calculate all of a study with the toy potential; steps whose name contains ``spoilt`` fail."""
    records: Records = {}
    while (state := resolve(steps, records)).unfinished:
        for scan, task in state.ready_registry_scans.items():
            key = state.keys[scan]
            records[key] = scan_registries(task, toy_engine(), key=key, checkpoint=Checkpoint(None))
        for step, task in state.ready.items():
            record = calculate(task, state.keys[step], ENGINES.of(state.steps[step]))
            records[state.keys[step]] = fail(record) if spoilt and spoilt in state.label(step) else record
    return state, records


@cache
def star() -> tuple[StudySteps, Resolution, StabilizationDoc]:
    steps = make_steps(**STAR)
    state, _ = run(steps)
    (document,) = assemble_study(steps, state, engines=ENGINES)
    return steps, state, document


def stated() -> Uncertainty:
    found = star()[2].uncertainty
    assert found is not None
    return found


def test_a_study_that_varies_nothing_computes_nothing_more() -> None:
    steps = make_steps(phases=PHASES, matching=STAR["matching"])
    assert preview_variations(steps) == ()


def test_nothing_is_varied_before_the_compared_films_are_known() -> None:
    steps = make_steps(**STAR)
    assert all(step.variation == "" for step in resolve(steps, {}).steps)


def test_variations_are_planned_for_one_film_of_each_side() -> None:
    tags = {(variation.film.phase, variation.steps.tag) for variation in preview_variations(make_steps(**STAR))}
    expected = {"film +1", "film +2", "dot +1", "preset balanced", "termination CsI|PbI2"}
    assert tags == {(phase["phase"], tag) for phase in PHASES for tag in expected}


def test_a_variation_is_never_a_candidate() -> None:
    steps, _, document = star()
    assert [result.candidate.label for result in document.candidates] == [c.label for c in steps.candidates]


def test_a_thicker_film_shares_its_bulk_its_reference_and_its_dot() -> None:
    document = star()[2]
    for variation in (s for s in stated().samples if s.kind is VariationKind.FILM_THICKNESS):
        base = next(result for result in document.candidates if result.candidate.label == variation.film)
        shared = {part for part, key in variation.calculations.items() if base.calculations[part] == key}
        assert shared == {Part.BULK, Part.STRAINED_BULK, Part.DOT_SLAB}
        assert not variation.faults


def test_a_thicker_film_starts_on_the_dot_as_it_lies_under_the_relaxed_film() -> None:
    steps, state, _ = star()
    for film in steps.candidates:
        names = steps.relaxations_of(film)
        relaxed, n_dot_atoms = state.relaxed[names[Part.INTERFACE]], state.relaxed[names[Part.DOT_SLAB]].n_atoms
        start = state.tasks[names[Part.INTERFACE]._replace(variation="film +2")].structure
        before, after = (np.array(s.frac_coords) @ np.array(s.lattice_ang) for s in (relaxed, start))
        raised_ang = after[:n_dot_atoms] - before[:n_dot_atoms]
        assert np.ptp(raised_ang, axis=0).max() < 1e-6


def test_a_second_run_finds_every_thickness_done() -> None:
    steps, state, _ = star()
    records: Records = {record.key: record for record in state.stored}
    again = resolve(steps, records)
    assert again.keys == state.keys
    assert not again.unfinished


def test_a_thicker_dot_keeps_the_face_under_the_film() -> None:
    steps = make_steps(**{**STAR, "dot": {"material": "PbS", "facets": ["111"], "min_thickness_ang": 6,
                                          "passivation": "I", "thicknesses": 2},
                          "matching": {"max_area_ang2": 240, "max_strain": 0.06}})  # fmt: skip
    base = preview_structures(steps)
    variation = next(s for s in list_variations(steps, steps.candidates[:1]) if s.kind is VariationKind.DOT_THICKNESS)
    slabs = [each.id_of(Part.DOT_SLAB, variation.film.id) for each in (steps, variation.steps)]
    thin, thick = base[slabs[0]], preview_structures(variation.steps, earlier=base)[slabs[1]]
    faces = []
    for slab in (thin, thick):
        positions = np.array(slab.frac_coords) @ np.array(slab.lattice_ang)
        top = positions[positions[:, 2] > positions[:, 2].max() - 0.5]
        fractions = (top[:, :2] @ np.linalg.inv(np.array(slab.lattice_ang)[:2, :2])) % 1.0
        faces.append(sorted(map(tuple, np.round(fractions, 5) % 1.0)))
    assert thick.n_atoms > thin.n_atoms
    assert np.allclose(faces[0], faces[1], atol=1e-4)


def test_the_line_passes_through_the_study_and_its_thicker_films() -> None:
    document = star()[2]
    for fit in stated().fits:
        base = next(result for result in document.candidates if result.candidate.label == fit.film)
        assert fit.degrees_of_freedom == 1
        assert fit.fu_per_ang2[0] == pytest.approx(base.n_formula_units / base.area_ang2)
        assert fit.reference_ev_per_fu == base.strain_ev_per_fu
        checks = [check for check in base.checks if check.name == "thickness line"]
        assert [check.is_passed for check in checks] == [fit.is_consistent]


def test_every_source_of_error_is_listed_once_estimated_or_not() -> None:
    components = {component.name: component for component in stated().components}
    assert len(components) == len(stated().components)
    estimated = {name for name, component in components.items() if component.is_sampled}
    assert estimated == {"film thickness", "dot thickness", "termination", "geometry"}
    assert not components["cation orientation"].is_applicable
    assert not components["k-points and cutoff"].is_applicable
    assert components["model"].difference is None


def test_the_estimated_errors_add_up_to_the_error_bar_of_the_sentence() -> None:
    found, document = stated(), star()[2]
    parts = [component.difference.total_ev_per_fu for component in found.components if component.difference]
    total = found.difference.total_ev_per_fu
    assert total == pytest.approx(float(np.sqrt(np.square(parts).sum())))
    assert f"± {total:.3f}" in document.stabilization.sentence


def test_one_more_layer_is_told_apart_from_the_dilution_of_the_faces() -> None:
    layer, total = stated().one_more_layer, star()[2].stabilization.total_ev_per_fu
    assert layer is not None
    assert total is not None
    assert layer.at_base_thickness_ev_per_fu - total == pytest.approx(layer.change_ev_per_fu)


def test_every_calculation_of_a_variation_is_named_in_the_result() -> None:
    _, state, document = star()
    assert set(document.calculations) == {state.label(step) for step in state.records}


def test_a_failed_variation_is_left_out_and_says_why() -> None:
    steps = make_steps(**{**STAR, "uncertainty": {}})
    state, _ = run(steps, spoilt="interface PbTe(100)//CsPbI3-beta(001), film +2")
    (document,) = assemble_study(steps, state, engines=ENGINES)
    assert document.uncertainty is not None
    assert document.stabilization.total_ev_per_fu is not None
    faults = [variation.faults for variation in document.uncertainty.samples if variation.faults]
    assert len(faults) == 1
    assert "film +2" in faults[0][0]
    assert [fit.film for fit in document.uncertainty.fits] == ["PbTe(100)//CsPbI3-alpha(100)"]


def test_a_difference_below_twice_its_error_is_undecided() -> None:
    document = star()[2]
    found = stated()
    for error_ev_per_fu, verdict in ((0.3, Verdict.UNDECIDED), (0.01, Verdict.BLACK)):
        difference = found.difference.model_copy(update={"total_ev_per_fu": error_ev_per_fu})
        changed = document.model_copy(
            update={
                "uncertainty": found.model_copy(update={"difference": difference}),
                "stabilization": document.stabilization.model_copy(update={"total_ev_per_fu": -0.1}),
            }
        )
        assert judge(changed) is verdict


@pytest.mark.parametrize("phase", ["FAPbI3-alpha", "FAPbI3-delta", "MAPbI3-tetragonal"])
def test_turned_cations_keep_their_centres_and_shapes(phase: str) -> None:
    crystal = load(phase)
    turned = turn_cations(crystal.structure, crystal.formal_charges, seed=3)
    before, after = (find_ions(s, crystal.formal_charges) for s in (crystal.structure, turned))
    assert turned.species == crystal.structure.species
    assert np.allclose(before.frac_centres, after.frac_centres, atol=1e-9)
    assert not np.allclose(crystal.structure.frac_coords, turned.frac_coords, atol=1e-3)
    for one, other in zip(before.ions, after.ions, strict=True):
        lengths = [np.linalg.norm(ion.offsets_ang[:, None] - ion.offsets_ang[None], axis=2) for ion in (one, other)]
        assert np.allclose(*lengths, atol=1e-9)
    assert turned == turn_cations(crystal.structure, crystal.formal_charges, seed=3)


def test_a_crystal_without_molecules_has_nothing_to_turn() -> None:
    crystal = load("CsPbI3-alpha")
    assert not has_molecules(crystal.structure, crystal.formal_charges)
    assert turn_cations(crystal.structure, crystal.formal_charges, seed=1) == crystal.structure


def test_a_cation_that_fits_nowhere_is_refused() -> None:
    crystal = load("FAPbI3-alpha")
    lattice = tuple(tuple(0.8 * x for x in row) for row in crystal.structure.lattice_ang)
    squeezed = crystal.structure.model_copy(update={"lattice_ang": lattice})
    with pytest.raises(StructureError, match="orientations to 1"):
        turn_cations(squeezed, crystal.formal_charges, seed=1)


def test_orientations_are_drawn_for_each_phase_with_cations() -> None:
    phases = [{"phase": "FAPbI3-alpha", "role": "black", "planes": ["100"], "termination": "PbI2"}]
    matching = {"max_area_ang2": 90, "max_strain": 0.1}
    steps = make_steps(host="FAPbI3", phases=phases, matching=matching, film={"min_thickness_ang": 12},
                       uncertainty={"orientations": 3})  # fmt: skip
    variations = preview_variations(steps)
    assert [variation.steps.tag for variation in variations] == ["orientation 2", "orientation 3"]
    names = {step.label for variation in variations for step in variation.steps.steps if step.part is Part.BULK}
    assert "bulk FAPbI3-alpha, orientation 2" in names

"""The scan of the registry of a film as a part of a study."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from qdip_dft.analysis.sides import find_sides
from qdip_dft.builders.candidate_registries import APPROACH_ANG, displacement_area_ang2
from qdip_dft.builders.ions import find_ions
from qdip_dft.builders.registry import join_at_gap
from qdip_dft.builders.variants import HALF_TURN, turn_film
from qdip_dft.engines.testing import TestingEngine
from qdip_dft.errors import EngineError
from qdip_dft.flows.answer import spread_of_registries_ev, state_uncertainty
from qdip_dft.flows.building import preview_scans, preview_structures
from qdip_dft.flows.registry_scans import count_positions
from qdip_dft.flows.resolution import Resolution
from qdip_dft.flows.steps import Part, StudySteps
from qdip_dft.model.calculation import EngineResult
from qdip_dft.model.keys import job_id
from qdip_dft.model.registry import ONE_REGISTRY_IS_ENOUGH_ANG2, RegistryScan, RegistryScanTask
from qdip_dft.model.stabilization import CandidateResult
from qdip_dft.model.structure import StructureRecord
from qdip_dft.planning.plan import StudyPlan
from qdip_dft.tasks.registry_scan import Checkpoint, scan_registries
from tests.unit.crystals import positions_ang
from tests.unit.studies import (
    Records,
    assemble,
    fail,
    find_step,
    make_maker,
    make_steps,
    name_steps,
    resolve,
    stages,
    toy_engine,
)

BLACK, YELLOW = "PbTe(100)//CsPbI3-alpha(100)", "PbTe(100)//CsPbI3-delta(100)"
SCAN = f"registry scan {YELLOW}"
FILM = {"min_thickness_ang": 6}


def with_film(**film: Any) -> StudySteps:
    return make_steps(film={**FILM, **film})


@cache
def finished() -> tuple[StudySteps, Records]:
    """Return the tiny study with two registries per film, and everything calculated."""
    steps, records = with_film(registry_scan={"n_kept": 2}), {}
    for _ in stages(steps, records):
        pass
    return steps, records


def registry_scan_of(resolution: Resolution, name: str = SCAN) -> RegistryScan:
    return next(found for scan, found in resolution.registry_scans.items() if resolution.label(scan) == name)


def results(steps: StudySteps, resolution: Resolution) -> dict[str, CandidateResult]:
    document = assemble(steps, resolution)
    return {result.candidate.label: result for result in document.candidates}


def preview(steps: StudySteps) -> dict[str, RegistryScanTask]:
    tasks = preview_scans(steps, preview_structures(steps))
    return {steps.scans[scan].label: task for scan, task in tasks.items()}


def test_a_film_whose_registry_matters_is_scanned() -> None:
    steps = with_film()
    assert {scan.subject for scan in steps.scans.values()} == {BLACK, YELLOW}
    assert all(candidate.registry_scan and candidate.place == 1 for candidate in steps.candidates)


def test_where_one_position_is_enough_nothing_is_scanned() -> None:
    small = make_steps(
        dot={"material": "PbS", "facets": ["100"], "min_thickness_ang": 6},
        phases=[{"phase": "CsPbI3-alpha", "role": "black", "planes": ["100"]}],
        matching={"max_area_ang2": 160, "max_strain": 0.05},
    )
    (candidate,) = small.candidates
    assert displacement_area_ang2(candidate, area_ang2=candidate.search_area_ang2) < ONE_REGISTRY_IS_ENOUGH_ANG2
    assert (candidate.registry_scan, candidate.place) == (None, 0)
    assert not preview(small)


def test_given_positions_are_not_scanned() -> None:
    given = with_film(registries=[[0, 0], [0.5, 0]])
    assert {candidate.registry_scan for candidate in given.candidates} == {None}
    assert not preview(given)


def test_giving_and_scanning_positions_at_once_is_refused() -> None:
    with pytest.raises(ValidationError, match="not both"):
        with_film(registries=[[0, 0]], registry_scan={"n_kept": 2})


def test_a_scan_waits_for_both_bulks_only() -> None:
    steps, records = with_film(), {}
    at_first, then, *_ = stages(steps, records)
    assert not at_first.registry_scan_tasks
    assert name_steps(then, then.ready_registry_scans) == {f"registry scan {label}" for label in (BLACK, YELLOW)}


def test_the_slabs_of_a_scan_are_unrelaxed_and_on_the_cell_of_the_interface() -> None:
    steps = with_film()
    structures = preview_structures(steps)
    for candidate in steps.candidates:
        task = preview(steps)[f"registry scan {candidate.title.interface}"]
        interface = structures[steps.relaxations_of(candidate)[Part.INTERFACE]]
        for slab in (task.dot, task.film):
            assert np.array(slab.lattice_ang)[:2] == pytest.approx(np.array(interface.lattice_ang)[:2], abs=1e-9)
    task = preview(steps)[SCAN]
    still = preview(make_steps(film=FILM, symmetry_breaking_ang=0.0))[SCAN]
    assert task == still  # no random displacement: the symmetry is intact


@pytest.mark.parametrize(("plane", "passivation"), [("100", None), ("111", "I")])
def test_the_dot_of_a_scan_ends_where_the_thicker_one_of_the_study_does(plane: str, passivation: str | None) -> None:
    dot = {"material": "PbS", "facets": [plane], "min_thickness_ang": 16, "passivation": passivation}
    steps = make_steps(dot=dot, matching={"max_area_ang2": 250, "max_strain": 0.08})
    structures = preview_structures(steps)
    scanned = [candidate for candidate in steps.candidates if candidate.registry_scan]
    assert scanned
    for candidate in scanned:
        thin = preview(steps)[f"registry scan {candidate.title.interface}"].dot
        thick = structures[steps.relaxations_of(candidate)[Part.DOT_SLAB]]
        assert 0.3 < thin.n_atoms / thick.n_atoms < 0.9
        ends = [top_of(slab, depth_ang=4.0) for slab in (thin, thick)]
        assert ends[0] == ends[1]


def top_of(slab: StructureRecord, *, depth_ang: float) -> set[tuple[str, int, int, int]]:
    """Return element, position in the cell and depth of the atoms near the top of a slab, to 0.05 Å."""
    positions = positions_ang(slab)
    depths = positions[:, 2].max() - positions[:, 2]
    cell = np.array(slab.lattice_ang)[:2, :2]
    counts = np.rint(np.linalg.norm(cell, axis=1) / 0.05).astype(int)
    places = np.rint(positions[:, :2] @ np.linalg.inv(cell) * counts + 0.137).astype(int) % counts
    top = [i for i in range(slab.n_atoms) if depths[i] < depth_ang]
    return {(slab.species[i], *places[i].tolist(), round(float(depths[i] / 0.05))) for i in top}


def test_upside_down_is_tried_only_where_the_termination_is_left_open() -> None:
    tasks = preview(with_film())
    flips = {name: any(turn.is_flipped for turn in task.turns) for name, task in tasks.items()}
    assert flips == {f"registry scan {BLACK}": False, SCAN: True}
    assert all(len(task.turns) == 1 for task in preview(with_film(registry_scan={"turns": "none"})).values())


def test_a_finer_grid_has_more_positions() -> None:
    counts = [
        count_positions(preview(with_film(registry_scan={"grid_spacing_ang": spacing}))[SCAN]) for spacing in (1.5, 0.8)
    ]
    assert counts[0] < counts[1]


def test_registries_share_every_calculation_but_the_interface() -> None:
    steps, records = finished()
    state = resolve(steps, records)
    for part in (Part.STRAINED_BULK, Part.DOT_SLAB, Part.FILM_SLAB):
        assert len({state.keys[find_step(state, f"{part} {YELLOW} registry {rank}")] for rank in (1, 2)}) == 1
    assert len({state.keys[find_step(state, f"{Part.INTERFACE} {YELLOW} registry {rank}")] for rank in (1, 2)}) == 2
    n_interfaces = 2 * sum(candidate.label.startswith(YELLOW) for candidate in steps.candidates)
    n_black = 2 * sum(steps.id_of(Part.INTERFACE, c.id) in state.records for c in steps.candidates if BLACK in c.label)
    assert len(records) == 6 + 2 * 6 + 2 + n_interfaces + n_black  # bulks, slabs, registry_scans


def test_an_interface_lies_where_its_scan_found_the_registry() -> None:
    steps, records = finished()
    state = resolve(steps, records)
    for rank, point in enumerate(registry_scan_of(state).best, start=1):
        label = f"{YELLOW} registry {rank}"
        relaxed = [
            state.records[find_step(state, f"{part} {label}")].result.structure
            for part in (Part.DOT_SLAB, Part.FILM_SLAB)
        ]
        dot, film = (find_ions(slab, {"Pb": 2, "Te": -2, "Cs": 1, "I": -1}) for slab in relaxed)
        turned = turn_film(film, point.turn)
        start_ang = max(0.0, point.gap_offset_ang - APPROACH_ANG)  # a little inside the best gap, never inside contact
        place = {"shift_ang": point.shift_ang, "gap_offset_ang": start_ang}
        expected = join_at_gap(dot, turned, **place, vacuum_ang=12.0)
        built = state.tasks[find_step(state, f"{Part.INTERFACE} {label}")].structure
        assert positions_ang(built) == pytest.approx(positions_ang(expected.to_record()), abs=1e-8)


def test_a_result_keeps_the_place_and_the_spread() -> None:
    steps, records = finished()
    state = resolve(steps, records)
    scan = registry_scan_of(state)
    for rank in (1, 2):
        result = results(steps, state)[f"{YELLOW} registry {rank}"]
        found, point = result.registry, scan.best[rank - 1]
        assert found is not None
        assert (found.rank, found.key, found.n_positions) == (rank, scan.key, len(scan.points))
        assert (result.candidate.turn, found.turn) == (point.turn, point.turn.name)
        assert found.gap_offset_ang == point.gap_offset_ang
        assert found.range_mev_per_ang2 == pytest.approx(1000 * scan.range_ev / scan.area_ang2)
        assert found.deviation_ev_per_fu == pytest.approx(scan.deviation_ev / result.n_formula_units)
        assert found.above_best_mev_per_ang2 >= 0
        (check,) = (check for check in result.checks if check.name == "registry")
        assert check.is_passed
        assert "meV/Å²" in check.finding


def test_the_kept_places_are_distinct() -> None:
    steps, records = finished()
    first, second = registry_scan_of(resolve(steps, records)).best
    difference = np.array(first.shift_ang) - second.shift_ang
    assert first.turn != second.turn or np.linalg.norm(difference) > 1.4


def test_a_stored_scan_is_not_made_again() -> None:
    steps, records = finished()
    flow = make_maker(steps).make(resolve(steps, records))
    assert [job.name for job in flow.jobs] == ["advance tiny"]


def test_a_failed_bulk_blocks_the_scan_and_its_interface_with_the_reason() -> None:
    steps, records = with_film(), {}
    *_, state = stages(steps, records, spoil=lambda name, r: fail(r) if name == "bulk CsPbI3-delta" else r)
    assert "the node went down" in state.blocked[find_step(state, SCAN)]
    assert not state.unfinished
    assert not state.waiting


def test_the_lowest_relaxed_registry_stands_for_its_film_and_relaxing_two_says_what_others_could_gain() -> None:
    steps, records = finished()
    state = resolve(steps, records)
    document = assemble(steps, state)
    stated = state_uncertainty(document, (), steps=steps, resolution=state).uncertainty
    assert stated is not None
    (found,) = (each for each in stated.components if each.name == "registry")
    assert "within what relaxing several of them changed" in found.finding
    film = find_sides(document).films[0]
    pair = [each for each in document.candidates if each.candidate.film_plane == film.candidate.film_plane
            and each.candidate.phase == film.candidate.phase]  # fmt: skip
    own, other = sorted(pair, key=lambda each: each.total_ev_per_fu or 0.0)
    assert own == film
    scan = next(scan for scan in state.registry_scans.values() if scan.task.label == str(own.candidate.title.interface))
    points = [scan.best[each.candidate.place - 1].energy_ev for each in (own, other)]
    relaxed = [(each.total_ev_per_fu or 0.0) * each.n_formula_units for each in (own, other)]
    reach_ev = abs(relaxed[1] - relaxed[0] - points[1] + points[0])
    above_ev = spread_of_registries_ev(
        [p.energy_ev for p in scan.points], [p.multiplicity for p in scan.points], reach_ev=reach_ev
    )
    assert own.area_ang2 is not None
    n = document.stabilization.coverage_fu_per_ang2
    assert n is not None
    assert found.black is not None
    assert found.black.binding_ev_per_fu == pytest.approx(above_ev / own.area_ang2 / n)


@dataclass(frozen=True)
class FailingEngine(TestingEngine):
    """The testing engine with a potential that knows nothing."""

    __test__ = False

    def static(self, structure: StructureRecord) -> EngineResult:
        """Fail."""
        what = f"no energy for {structure.n_atoms} atoms"
        raise EngineError(what, limit="none", why="the elements are unknown", remedy="take another potential")


@cache
def without_energies() -> tuple[StudySteps, Resolution]:
    """Return the state of the study whose registry_scans all failed."""
    steps, records = with_film(registry_scan={"n_kept": 2}), {}
    engine = FailingEngine(relaxation=toy_engine().relaxation)
    for state in stages(steps, records):
        for name, task in state.ready_registry_scans.items():
            key = state.keys[name]
            records[key] = scan_registries(task, engine, key=key, checkpoint=Checkpoint(None))
    return steps, state


@pytest.mark.parametrize("rank", [1, 2])
def test_nothing_is_built_on_a_failed_scan_and_the_result_says_why(rank: int) -> None:
    steps, state = without_energies()
    result = results(steps, state)[f"{YELLOW} registry {rank}"]
    assert not result.is_valid
    assert any("interface energy missing because registry scan" in reason for reason in result.missing)
    assert result.registry is not None
    assert "take another potential" in str(result.registry.failure)
    (check,) = (check for check in result.checks if check.name == "registry")
    assert not check.is_passed
    assert check.is_decisive
    assert "nothing is built on it" in check.finding


def test_a_failed_scan_is_tried_again_only_when_asked() -> None:
    steps, state = without_energies()
    plan = StudyPlan(steps.study, dict(steps.crystals), toy_engine())
    records = {record.key: record for record in state.stored}
    assert plan.make_flow(records.get) is None
    again = plan.make_flow(records.get, is_retry=True)
    assert again is not None
    assert {job.name for job in again.jobs} == {*name_steps(state, state.registry_scans), "advance tiny"}
    assert {job.uuid for job in again.jobs}.isdisjoint(job_id(record.key) for record in state.stored)


def test_turning_a_symmetric_film_changes_no_energy() -> None:
    task = preview(with_film())[f"registry scan {BLACK}"]
    assert HALF_TURN in task.turns
    dot, film = (find_ions(slab, task.formal_charges) for slab in (task.dot, task.film))
    energies = [
        toy_engine()
        .static(join_at_gap(dot, turned, shift_ang=(0.7, 0.4), gap_offset_ang=0.3, vacuum_ang=12).to_record())
        .energy_ev
        for turned in (film, turn_film(film, HALF_TURN))
    ]
    half_of_both = count_positions(task), count_positions(task.model_copy(update={"turns": task.turns[:1]}))
    assert energies[0] != pytest.approx(0)
    assert half_of_both[0] == half_of_both[1]  # the film has the axis: both orientations are one

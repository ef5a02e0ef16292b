"""The search for the lowest minimum: what it finds, that one question has one answer, and what it says of itself."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from qdip_dft.engines.base import RelaxationSettings
from qdip_dft.engines.evaluation import Evaluation, Potential
from qdip_dft.engines.registry import engine_from_spec
from qdip_dft.engines.testing import TestingEngine, evaluate_morse
from qdip_dft.errors import EngineError, OverlapError
from qdip_dft.flows.engines import StudyEngines
from qdip_dft.flows.steps import BULKS, Stage
from qdip_dft.model.calculation import ANNEAL_STEPS, CalculationRecord, CalculationTask, Freedom, MinimumSearch
from qdip_dft.model.engine import EngineSpec
from qdip_dft.model.keys import calculation_key
from qdip_dft.model.structure import Arrangement
from qdip_dft.planning.plan import TYPICAL_FORCE_CALLS, estimate_seconds
from qdip_dft.runtime.journal import recording_in
from qdip_dft.tasks import search
from qdip_dft.tasks.calculation import calculate_task
from qdip_dft.tasks.search import search_minimum
from tests.unit.crystals import load
from tests.unit.studies import make_steps, toy_engine

FILM = load("CsPbI3-alpha").structure
CATION = FILM.species.index("Cs")
OTHERS = [site for site in range(FILM.n_atoms) if site != CATION]
HOME_ANG = FILM.arrangement.positions_ang
HEIGHT_EV, DEPTH_EV, HALF_WIDTH_ANG = 0.03, 0.05, 0.35


def evaluate_double_well(arrangement: Arrangement) -> Evaluation:
    """Every atom on a spring at its place among the others but one cation, which starts in the upper of two wells.

    E = h (u² − 1)² + (d/2) u along x with u = 1 at the start and −1 in the lower well, about d below.
    """
    away = arrangement.positions_ang - HOME_ANG
    away -= away[OTHERS].mean(axis=0)  # where all atoms are together counts nothing
    u = 1.0 - away[CATION, 0] / HALF_WIDTH_ANG
    away[CATION, 0] = 0.0
    forces = -2.0 * away
    forces[CATION, 0] = (4 * HEIGHT_EV * u * (u**2 - 1) + DEPTH_EV / 2) / HALF_WIDTH_ANG
    forces[OTHERS] -= forces[CATION] / len(OTHERS)
    energy_ev = float((away**2).sum()) + HEIGHT_EV * (u**2 - 1) ** 2 + DEPTH_EV * u / 2
    return Evaluation(energy_ev, forces, np.zeros((3, 3)))


class Counted:
    """A potential that counts, and fails once after so many evaluations, as a killed process would."""

    def __init__(self, potential: Potential = evaluate_double_well, *, dies_after: int | None = None) -> None:
        self.potential, self.dies_after, self.n_calls = potential, dies_after, 0

    def __call__(self, arrangement: Arrangement) -> Evaluation:
        if self.n_calls == self.dies_after:
            raise KeyboardInterrupt
        self.n_calls += 1
        return self.potential(arrangement)


@dataclass(frozen=True)
class Borrowing(TestingEngine):
    """The toy engine with a potential of the test's own."""

    potential: Potential = evaluate_double_well

    def load_potential(self) -> Potential:
        return self.potential


def engine_that_tries(n_tries: int, potential: Potential = evaluate_double_well) -> Borrowing:
    settings: RelaxationSettings = toy_engine().relaxation
    return Borrowing(relaxation=replace(settings, search_tries=n_tries), potential=potential)


def test_a_film_that_a_plain_relaxation_leaves_in_the_upper_well_falls_into_the_lower_one() -> None:
    engine = engine_that_tries(6)
    plain = engine.relax(FILM, Freedom.POSITIONS)
    found = search_minimum(engine, FILM, Freedom.POSITIONS, seed=1)
    assert plain.is_converged
    assert found.energy_ev == pytest.approx(plain.energy_ev - DEPTH_EV, abs=0.005)
    assert found.search is not None
    assert found.search.energies_ev[0] == plain.energy_ev
    assert found.search.gain_ev == pytest.approx(plain.energy_ev - found.energy_ev)
    assert found.search.spread_ev == pytest.approx(0.0, abs=1e-3)  # found more than once


def test_two_seeds_agree_and_one_seed_repeats_itself() -> None:
    engine = engine_that_tries(6)
    one, again, other = (search_minimum(engine, FILM, Freedom.POSITIONS, seed=seed) for seed in (1, 1, 2))
    assert one.energy_ev == pytest.approx(other.energy_ev, abs=1e-3)
    assert one.search != other.search
    assert (one.search, one.structure) == (again.search, again.structure)


def test_a_search_that_was_killed_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "UNRECORDED_S", 0.0)
    counted, rest = Counted(), Counted()
    with recording_in(tmp_path):
        whole = search_minimum(engine_that_tries(3, counted), FILM, Freedom.POSITIONS, seed=1)
        n_before = counted.n_calls // 2
        with pytest.raises(KeyboardInterrupt):
            search_minimum(engine_that_tries(3, Counted(dies_after=n_before)), FILM, Freedom.POSITIONS, seed=1)
        resumed = search_minimum(engine_that_tries(3, rest), FILM, Freedom.POSITIONS, seed=1)
    assert (resumed.search, resumed.structure) == (whole.search, whole.structure)
    assert rest.n_calls == counted.n_calls - n_before
    assert list(tmp_path.iterdir()) == []


def test_every_evaluation_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing is recorded; else a relaxation finds the place that its anneal ended at."""
    monkeypatch.setattr(search, "recording_folder", lambda *_: None)
    counted = Counted()
    found = search_minimum(engine_that_tries(2, counted), FILM, Freedom.POSITIONS, seed=3)
    assert found.search is not None
    assert found.search.n_force_calls == counted.n_calls


def test_an_anneal_that_must_stop_has_asked_for_what_it_was_refused() -> None:
    nowhere = replace(evaluate_double_well(FILM.arrangement), energy_ev=float("nan"))
    record, n_force_calls = search._anneal(FILM, Freedom.POSITIONS, lambda _: nowhere, np.random.default_rng(1))
    assert n_force_calls == 1
    assert np.allclose(record.arrangement.positions_ang, FILM.arrangement.positions_ang)


def test_the_seed_follows_from_the_calculation_key() -> None:
    engine = engine_that_tries(2)
    task = CalculationTask(label="film", freedom=Freedom.POSITIONS, structure=FILM)
    key = calculation_key(task, engine.theory(), engine.relaxation_settings())
    record = CalculationRecord.model_validate(
        {k: v for k, v in calculate_task(task.model_dump(mode="json"), engine, key, 0).items() if k != "checksum"}
    )
    found = search_minimum(engine, FILM, Freedom.POSITIONS, seed=int(key, 16))
    assert record.result is not None
    assert record.result.search == found.search


@pytest.mark.parametrize("freedom", [Freedom.OUT_OF_PLANE, Freedom.CELL])
def test_a_cell_is_searched_within_its_freedom(freedom: Freedom) -> None:
    found = search_minimum(engine_that_tries(2, evaluate_morse), FILM, freedom, seed=1)
    before, after = np.array(FILM.lattice_ang), np.array(found.structure.lattice_ang)
    assert found.is_converged
    assert not np.allclose(before[2], after[2], atol=1e-6)
    if freedom is Freedom.OUT_OF_PLANE:
        assert np.array_equal(before[:2], after[:2])
    else:
        assert np.allclose(after / after[0, 0], np.eye(3), atol=1e-6)  # still cubic


def test_a_minimum_with_broken_molecules_is_never_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """At 30,000 K molecules fall apart."""
    monkeypatch.setattr(search, "START_K", 30_000.0)
    host = load("MAPbI3-orthorhombic").structure
    found = search_minimum(engine_that_tries(2, evaluate_morse), host, Freedom.POSITIONS, seed=1)
    plain = toy_engine().relax(host, Freedom.POSITIONS)
    assert found.search == MinimumSearch(energies_ev=(plain.energy_ev,), n_force_calls=found.search.n_force_calls)  # type: ignore[union-attr]
    assert found.search.spread_ev is None  # type: ignore[union-attr]
    assert found.structure == plain.structure


def test_an_ion_that_leaves_its_place_makes_another_phase() -> None:
    host = load("MAPbI3-orthorhombic").structure
    moved = np.array(host.frac_coords)
    moved[host.species.index("I")] += (0.0, 0.0, 2.0 / host.lattice_ang[2][2])
    other = host.model_copy(update={"frac_coords": tuple(map(tuple, moved.tolist()))})
    drifted = host.model_copy(update={"frac_coords": tuple((x + 0.3, y, z) for x, y, z in host.frac_coords)})
    assert not search._is_same_phase(host, other)
    assert search._is_same_phase(host, drifted)


def test_an_anneal_in_which_atoms_meet_goes_on_from_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "START_K", 1e7)
    try:
        found = search_minimum(engine_that_tries(1, evaluate_morse), FILM, Freedom.POSITIONS, seed=1)
    except OverlapError:
        pytest.fail("an anneal is no structure of the study's")
    assert found.search is not None


def test_a_study_without_a_search_keeps_its_keys() -> None:
    off, on = (engine_from_spec(EngineSpec(name="testing", settings={"search_tries": n_tries})) for n_tries in (0, 3))
    assert off.relaxation_settings() == toy_engine().relaxation_settings()
    assert "search_tries" not in off.relaxation_settings()
    assert on.relaxation_settings() == off.relaxation_settings() | {"search_tries": 3}
    assert estimate_seconds(on, Freedom.NONE, 10) == estimate_seconds(off, Freedom.NONE, 10)
    calls = estimate_seconds(on, Freedom.POSITIONS, 10) / estimate_seconds(off, Freedom.POSITIONS, 10)
    assert calls == pytest.approx(4 + 3 * ANNEAL_STEPS / TYPICAL_FORCE_CALLS[Freedom.POSITIONS])


@pytest.mark.parametrize("prerelaxes", [False, True])
def test_bulks_stay_the_crystals_that_they_are_and_keep_their_keys(prerelaxes: bool) -> None:
    searching = engine_from_spec(EngineSpec(name="testing", settings={"search_tries": 3}))
    plain = toy_engine()
    engines = StudyEngines(energy=plain if prerelaxes else searching, prerelaxation=searching if prerelaxes else None)
    changes = {"prerelaxation": {"name": "testing", "settings": {"search_tries": 3}}} if prerelaxes else {}
    searched_stage = Stage.PRERELAXATION if prerelaxes else Stage.RELAXATION
    for step in make_steps(**changes).steps:
        is_searched = step.part not in BULKS and step.stage is searched_stage
        settings = engines.of(step).relaxation_settings()
        assert step.stage is Stage.STATIC or (settings != plain.relaxation_settings()) is is_searched


@pytest.mark.parametrize("name", ["cp2k", "espresso", "gpaw", "vasp"])
def test_density_functional_codes_refuse_to_search(name: str) -> None:
    with pytest.raises(EngineError, match="'search_tries' is not one of its settings"):
        engine_from_spec(EngineSpec(name=name, settings={"search_tries": 3}))


@pytest.mark.parametrize("value", [-1, 101, "many"])
def test_impossible_numbers_of_tries_are_refused(value: object) -> None:
    with pytest.raises(EngineError, match="give `search_tries` a number in this range"):
        engine_from_spec(EngineSpec.model_validate({"name": "testing", "settings": {"search_tries": value}}))


def test_the_spread_is_that_of_the_lowest_three() -> None:
    found = MinimumSearch(energies_ev=(9.0, 1.0, 1.3, 1.4, 5.0), n_force_calls=1)
    assert found.spread_ev == pytest.approx(np.sqrt((0.3**2 + 0.4**2) / 2))
    assert found.gain_ev == 8.0

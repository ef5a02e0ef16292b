"""Calculation keys: the same question has the same key, another question another one."""

from __future__ import annotations

from uuid import UUID

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qdip_dft.model.calculation import (
    CalculationRecord,
    CalculationTask,
    EngineResult,
    Freedom,
    Level,
    LevelOfTheory,
)
from qdip_dft.model.keys import adapt_record, calculation_key, job_id
from qdip_dft.model.structure import StructureRecord
from tests.unit.crystals import load, positions_ang

THEORY = LevelOfTheory(
    level=Level.TEST,
    engine="testing",
    code="morse",
    code_version="1",
    functional="none",
    dispersion="none",
    weights_hash="",
    settings={"cutoff_ang": 6.0},
)
SETTINGS = {"force_threshold_ev_per_ang": 0.05, "max_steps": 100, "optimiser": "fire"}
CRYSTALS = ["PbS", "FAPbI3-delta", "CsPbI3-gamma"]

seeds = st.integers(0, 2**32 - 1)


def make_task(name: str = "FAPbI3-delta", freedom: Freedom = Freedom.CELL, **changes: object) -> CalculationTask:
    structure = load(name).structure.model_copy(update=changes)
    return CalculationTask(label=name, freedom=freedom, structure=structure)


def key_of(task: CalculationTask, theory: LevelOfTheory = THEORY, **settings: object) -> str:
    return calculation_key(task, theory, {**SETTINGS, **settings})


def listed_anew(task: CalculationTask, seed: int) -> tuple[CalculationTask, np.ndarray]:
    """Return the same question with its sites in another order and in other cells, and the order."""
    rng = np.random.default_rng(seed)
    structure = task.structure
    order = rng.permutation(structure.n_atoms)
    coords = np.array(structure.frac_coords)[order] + rng.integers(-3, 4, size=(structure.n_atoms, 3))
    fixed = np.array(structure.is_fixed)[order].tolist() if structure.is_fixed else ()
    anew = structure.model_copy(
        update={
            "species": tuple(structure.species[i] for i in order),
            "frac_coords": tuple(map(tuple, coords.tolist())),
            "is_fixed": tuple(fixed),
        }
    )
    return task.model_copy(update={"structure": anew, "label": "someone else's"}), order


def with_moved_atom(task: CalculationTask, distance_ang: float) -> CalculationTask:
    positions = positions_ang(task.structure)
    positions[3] += np.array([1.0, -1.0, 1.0]) / np.sqrt(3) * distance_ang
    coords = positions @ np.linalg.inv(np.array(task.structure.lattice_ang))
    moved = task.structure.model_copy(update={"frac_coords": tuple(map(tuple, coords.tolist()))})
    return task.model_copy(update={"structure": moved})


@pytest.mark.parametrize("name", CRYSTALS)
@settings(max_examples=15)
@given(seed=seeds)
def test_the_key_does_not_depend_on_how_the_sites_are_listed(name, seed):
    task = make_task(name)
    assert key_of(listed_anew(task, seed)[0]) == key_of(task)


@settings(max_examples=20)
@given(seed=seeds)
def test_rounding_errors_do_not_change_the_key(seed):
    # A site on a cell boundary or on the edge of the rounding may come out a hair on either side.
    task = make_task("PbS")
    noise = np.random.default_rng(seed).normal(0, 1e-12, size=(task.structure.n_atoms, 3))
    coords = np.array(task.structure.frac_coords) + noise
    again = task.model_copy(
        update={"structure": task.structure.model_copy(update={"frac_coords": tuple(map(tuple, coords.tolist()))})}
    )
    assert key_of(again) == key_of(task)


def test_the_key_does_not_depend_on_the_label():
    task = make_task()
    assert key_of(task.model_copy(update={"label": "another"})) == key_of(task)


def test_the_key_is_a_hash_that_never_changes():
    # A changed key would make every stored calculation unfindable: change it only with a migration.
    lattice = ((6.0, 0.0, 0.0), (0.0, 6.0, 0.0), (0.0, 0.0, 6.0))
    salt = StructureRecord(lattice_ang=lattice, species=("Cs", "I"), frac_coords=((0, 0, 0), (0.5, 0.5, 0.5)))
    task = CalculationTask(label="", freedom=Freedom.NONE, structure=salt)
    assert key_of(task) == "066dcbc3a6c464a1a0745e85096c6d3c4e0feb6031462f623ca2af17722cf0cb"
    assert job_id(key_of(task)) == "0ead2a13-fcc5-5a71-b937-e421f563366e"


@pytest.mark.parametrize("distance_ang", [1e-3, -1e-3, 0.1])
def test_a_displacement_of_a_thousandth_of_an_angstrom_is_another_question(distance_ang):
    task = make_task()
    assert key_of(with_moved_atom(task, distance_ang)) != key_of(task)


def test_another_lattice_is_another_question():
    task = make_task()
    longer = (np.array(task.structure.lattice_ang) * 1.0005).tolist()
    assert key_of(make_task(lattice_ang=tuple(map(tuple, longer)))) != key_of(task)


def test_another_element_is_another_question():
    task = make_task("PbS")
    species = tuple("Se" if s == "S" else s for s in task.structure.species)
    assert key_of(make_task("PbS", species=species)) != key_of(task)


def test_every_freedom_is_another_question():
    assert len({key_of(make_task(freedom=freedom)) for freedom in Freedom}) == len(Freedom)


@pytest.mark.parametrize(
    "change",
    [
        {"engine": "mlip"},
        {"code": "other"},
        {"code_version": "2"},
        {"functional": "PBE"},
        {"dispersion": "d3bj"},
        {"weights_hash": "00"},
        {"settings": {"cutoff_ang": 6.5}},
    ],
)
def test_another_theory_is_another_question(change):
    assert key_of(make_task(), THEORY.model_copy(update=change)) != key_of(make_task())


def test_a_tighter_threshold_is_another_relaxation_but_the_same_static_calculation():
    relaxation, static = make_task(freedom=Freedom.POSITIONS), make_task(freedom=Freedom.NONE)
    assert key_of(relaxation, force_threshold_ev_per_ang=0.01) != key_of(relaxation)
    assert key_of(static, force_threshold_ev_per_ang=0.01) == key_of(static)


def test_fixed_sites_are_another_question():
    n_atoms = load("PbS").structure.n_atoms
    free, none_fixed = make_task("PbS"), make_task("PbS", is_fixed=(False,) * n_atoms)
    first_fixed = make_task("PbS", is_fixed=(True, *(False,) * (n_atoms - 1)))
    assert key_of(free) == key_of(none_fixed)
    assert key_of(first_fixed) != key_of(free)


def test_a_job_id_is_a_uuid_that_follows_from_key_and_attempt():
    key = key_of(make_task())
    assert job_id(key) == job_id(key, attempt=0) == str(UUID(job_id(key)))
    assert len({job_id(key, attempt=attempt) for attempt in range(5)}) == 5
    assert job_id(key_of(make_task("PbS"))) != job_id(key)


def relaxed_record(task: CalculationTask, seed: int) -> tuple[CalculationRecord, np.ndarray]:
    """Return a record whose atoms moved at random, with forces that name their site, and the displacements in Å."""
    rng = np.random.default_rng(seed)
    start = task.structure
    displacements = rng.normal(0, 0.2, size=(start.n_atoms, 3))
    lattice = np.array(start.lattice_ang) * (1.02 if task.freedom is Freedom.CELL else 1.0)
    coords = np.array(start.frac_coords) + displacements @ np.linalg.inv(lattice)
    final = start.model_copy(
        update={"lattice_ang": tuple(map(tuple, lattice.tolist())), "frac_coords": tuple(map(tuple, coords.tolist()))}
    )
    result = EngineResult(
        structure=final,
        energy_ev=-12.5,
        forces_ev_per_ang=tuple((float(i), 0.0, 0.0) for i in range(start.n_atoms)),
        stress_ev_per_ang3=None,
        is_converged=True,
        n_steps=3,
        max_force_ev_per_ang=0.01,
        wall_time_s=0.1,
    )
    record = CalculationRecord(
        key=key_of(task), task=task, theory=THEORY, result=result, finished_at="2026-01-01T00:00:00+00:00"
    )
    return record, displacements


@pytest.mark.parametrize("freedom", [Freedom.POSITIONS, Freedom.CELL])
@pytest.mark.parametrize("name", CRYSTALS)
@settings(max_examples=15)
@given(seed=seeds)
def test_an_adapted_record_moves_my_atoms_as_the_stored_ones_moved(name, freedom, seed):
    task = make_task(name, freedom=freedom)
    record, displacements = relaxed_record(task, seed)
    mine, order = listed_anew(task, seed)
    adapted = adapt_record(record, mine)
    final = adapted.result.structure
    assert final.species == mine.structure.species
    assert adapted.task == mine
    moved = np.array(final.frac_coords) - np.array(mine.structure.frac_coords)
    assert moved @ np.array(final.lattice_ang) == pytest.approx(displacements[order], abs=1e-9)
    assert [force[0] for force in adapted.result.forces_ev_per_ang] == order.tolist()
    assert adapted.result.energy_ev == record.result.energy_ev


def test_the_same_question_gets_the_record_as_it_is():
    task = make_task("PbS")
    record, _ = relaxed_record(task, 3)
    renamed = task.model_copy(update={"label": "mine"})
    assert adapt_record(record, renamed) == record.model_copy(update={"task": renamed})


def test_a_failure_is_adapted_too():
    task = make_task("PbS")
    failed = relaxed_record(task, 3)[0].model_copy(update={"result": None, "failure": "no convergence"})
    mine, _ = listed_anew(task, 4)
    assert adapt_record(failed, mine).failure == "no convergence"
    assert adapt_record(failed, mine).task == mine


@settings(max_examples=15)
@given(seed=seeds)
def test_fixed_sites_stay_with_their_atoms(seed):
    structure = load("PbS").structure
    fixed = tuple(index % 2 == 0 for index in range(structure.n_atoms))
    task = make_task("PbS", freedom=Freedom.POSITIONS, is_fixed=fixed)
    record, _ = relaxed_record(task, seed)
    mine, order = listed_anew(task, seed)
    assert adapt_record(record, mine).result.structure.is_fixed == tuple(fixed[i] for i in order)

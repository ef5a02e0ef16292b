"""A job stops by itself before its allocation ends, and the next run goes on there, repeating nothing."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from jobflow import JobStore, run_locally
from maggma.stores import MemoryStore

from qdip_dft.engines.ase import AseEngine
from qdip_dft.engines.base import Engine, Feature
from qdip_dft.engines.evaluation import Evaluation, Potential
from qdip_dft.engines.registry import ENGINES, engine_from_spec
from qdip_dft.engines.relaxation.recorded import RecordedPotential
from qdip_dft.engines.testing import TestingEngine, evaluate_morse
from qdip_dft.errors import EngineError, OutOfTime, ScratchError
from qdip_dft.jobs.calculate import calculation_job
from qdip_dft.model.calculation import CalculationTask, Freedom
from qdip_dft.model.engine import EngineSpec
from qdip_dft.model.keys import calculation_key
from qdip_dft.model.structure import Arrangement
from qdip_dft.runtime.deadline import (
    END_VARIABLE,
    MARGIN_VARIABLE,
    SLURM_END_VARIABLE,
    Deadline,
    current_deadline,
    working_until,
)
from qdip_dft.runtime.journal import SCRATCH_VARIABLE, recording_in
from qdip_dft.tasks.calculation import calculate_task
from tests.unit.crystals import load
from tests.unit.studies import toy_engine

STRUCTURE = load("CsPbI3-gamma").structure


@dataclass
class Counted:
    """The toy potential, counting its evaluations, and doing something after each."""

    after: Callable[[int], None] = lambda _: None
    count: int = field(default=0)

    def __call__(self, arrangement: Arrangement) -> Evaluation:
        evaluation = evaluate_morse(arrangement)
        self.count += 1
        self.after(self.count)
        return evaluation


def engine_with(potential: Potential) -> TestingEngine:
    """Return the toy engine with a potential of the test's own."""
    engine: TestingEngine = toy_engine()

    class Borrowing(TestingEngine):
        def load_potential(self) -> Potential:
            return potential

    return Borrowing(relaxation=engine.relaxation)


def stop_after(count: int, deadline: Deadline) -> Callable[[int], None]:
    """Let the allocation end after so many evaluations."""

    def look(done: int) -> None:
        if done == count:
            deadline.end_s = time.time()

    return look


def test_without_a_batch_system_there_is_no_hurry(monkeypatch):
    for variable in (END_VARIABLE, SLURM_END_VARIABLE):
        monkeypatch.delenv(variable, raising=False)
    Deadline.from_environment().require_time()
    current_deadline().require_time()


def test_the_end_comes_from_the_environment_ours_before_that_of_slurm(monkeypatch):
    monkeypatch.setenv(SLURM_END_VARIABLE, "2000")
    assert Deadline.from_environment().end_s == 2000
    monkeypatch.setenv(END_VARIABLE, "1000")
    monkeypatch.setenv(MARGIN_VARIABLE, "5")
    assert Deadline.from_environment() == Deadline(end_s=1000, margin_s=5)


def test_an_end_that_is_no_number_is_refused(monkeypatch):
    monkeypatch.setenv(END_VARIABLE, "12:00:00")
    with pytest.raises(EngineError, match=f"unset {END_VARIABLE}"):
        Deadline.from_environment()


def test_an_evaluation_begins_only_if_one_half_longer_than_the_longest_would_end_in_time():
    deadline = Deadline(end_s=time.time() + 100, margin_s=60)
    deadline.note(20)
    deadline.require_time()
    deadline.note(30)
    with pytest.raises(OutOfTime, match="resumes where it stopped"):
        deadline.require_time()


def test_a_job_learns_nothing_from_the_job_before_it():
    with working_until(Deadline(end_s=time.time() + 100)) as first:
        first.note(1000)
    with working_until(Deadline(end_s=time.time() + 100)):
        current_deadline().require_time()


@pytest.mark.parametrize("name", sorted(set(ENGINES) - {"ase", "espresso", "gpaw"}))
def test_every_engine_declares_that_it_stops_itself(name):
    assert Feature.SELF_STOP in engine_from_spec(EngineSpec(name=name)).features


def test_a_calculator_of_ase_stops_itself_whichever_it_is():
    assert Feature.SELF_STOP in AseEngine.features


def test_a_stopped_relaxation_goes_on_where_it_stopped_and_ends_at_the_same_place(tmp_path):
    whole = Counted()
    straight = engine_with(whole).relax(STRUCTURE, Freedom.CELL)
    deadline = Deadline(end_s=time.time() + 1e6)
    first, second = Counted(stop_after(4, deadline)), Counted()
    with recording_in(tmp_path):
        with working_until(deadline), pytest.raises(OutOfTime, match="resumes where it stopped"):
            engine_with(first).relax(STRUCTURE, Freedom.CELL)
        resumed = engine_with(second).relax(STRUCTURE, Freedom.CELL)
    assert (first.count, second.count) == (4, whole.count - 4)
    assert resumed.energy_ev == straight.energy_ev
    assert resumed.structure == straight.structure
    assert resumed.n_steps == straight.n_steps
    assert list(tmp_path.iterdir()) == []


def test_a_short_relaxation_leaves_no_trace_on_disk(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with recording_in(tmp_path / "recordings"):
        toy_engine().relax(STRUCTURE, Freedom.POSITIONS)
    toy_engine().relax(STRUCTURE, Freedom.POSITIONS)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_relaxation_is_forgotten(tmp_path):
    def fail(count: int) -> None:
        if count == 3:
            raise ValueError("the potential broke")

    with recording_in(tmp_path), pytest.raises(ValueError, match="broke"):
        engine_with(Counted(fail)).relax(STRUCTURE, Freedom.CELL)
    assert list(tmp_path.iterdir()) == []


def test_the_next_run_knows_how_long_the_evaluations_of_the_last_one_took(tmp_path):
    recorded = RecordedPotential(lambda arrangement: (time.sleep(0.05), evaluate_morse(arrangement))[1], tmp_path)

    recorded(STRUCTURE.arrangement)
    with working_until(Deadline()) as deadline:
        RecordedPotential(evaluate_morse, tmp_path)
    assert deadline.longest_s >= 0.05


def run_job(engine: Engine, freedom: Freedom) -> Any:
    task = CalculationTask(label="bulk CsPbI3", freedom=freedom, structure=STRUCTURE)
    job = calculation_job(task, engine, key=calculation_key(task, engine.theory(), engine.relaxation_settings()))
    outputs = run_locally(job, store=JobStore(MemoryStore()), log=False, raise_immediately=True)
    return outputs[job.uuid][1].output


@pytest.mark.parametrize("freedom", [Freedom.NONE, Freedom.POSITIONS])
def test_a_job_that_is_out_of_time_is_no_failed_calculation(freedom, monkeypatch):
    monkeypatch.setenv(END_VARIABLE, str(time.time() + 10))
    with pytest.raises(OutOfTime, match="resumes where it stopped"):
        run_job(toy_engine(), freedom)
    monkeypatch.delenv(END_VARIABLE)
    assert run_job(toy_engine(), freedom)["failure"] is None


def calculate(engine: Engine, freedom: Freedom) -> Any:
    """Do what a job does."""
    task = CalculationTask(label="bulk CsPbI3", freedom=freedom, structure=STRUCTURE)
    return calculate_task(task.model_dump(mode="json"), engine, "k", 0)


def test_a_full_scratch_disk_is_named_and_is_no_failed_relaxation(tmp_path, monkeypatch):
    monkeypatch.setattr("qdip_dft.engines.potential.UNRECORDED_S", 0.0)

    def fill_the_disk(count: int) -> None:
        if count == 1:
            full = partial(Path.open, Path("/dev/full"), encoding="utf-8")
            monkeypatch.setattr("qdip_dft.runtime.journal.open_unlinked", lambda _, mode: full(mode))

    engine = engine_with(Counted(fill_the_disk))
    with recording_in(tmp_path), pytest.raises(ScratchError, match="free some space there") as caught:
        calculate(engine, Freedom.POSITIONS)
    assert str(tmp_path) in caught.value.what


def test_a_code_that_finds_the_disk_full_has_not_failed(monkeypatch, tmp_path):
    monkeypatch.setenv(SCRATCH_VARIABLE, str(tmp_path))

    def write_density(_: int) -> None:
        with Path("/dev/full").open("w", encoding="utf-8") as file:
            file.write("density")

    with pytest.raises(ScratchError, match="free some space there") as caught:
        calculate(engine_with(Counted(write_density)), Freedom.NONE)
    assert str(tmp_path) in caught.value.limit

"""The job that calculates: an outcome as plain data, a failure as a record, and nothing done twice."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import pytest
from jobflow import JobStore, run_locally
from maggma.stores import MemoryStore

from qdip_dft.engines.testing import TestingEngine
from qdip_dft.jobs.calculate import calculation_job
from qdip_dft.model.calculation import CalculationRecord, CalculationTask, Freedom
from qdip_dft.model.keys import calculation_key, job_id
from qdip_dft.model.progress import ProgressEvent, ProgressKind
from qdip_dft.results.migrations import read_calculation
from tests.unit.crystals import load
from tests.unit.studies import toy_engine


@dataclass(frozen=True)
class OverworkedEngine(TestingEngine):
    """The toy potential behind an engine whose relaxations always end badly."""

    def relax(self, *_: Any, **__: Any) -> Any:
        raise RuntimeError("the node went down")


def make_task(freedom: Freedom = Freedom.POSITIONS) -> CalculationTask:
    return CalculationTask(label="bulk PbTe", freedom=freedom, structure=load("PbTe").structure)


def key_of(task: CalculationTask) -> str:
    return calculation_key(task, toy_engine().theory(), toy_engine().relaxation_settings())


@pytest.fixture
def store() -> JobStore:
    return JobStore(MemoryStore())


def run(task: CalculationTask, store: JobStore, *, engine: Any = None, attempt: int = 0) -> CalculationRecord:
    job = calculation_job(task, engine or toy_engine(), key=key_of(task), attempt=attempt)
    outputs = run_locally(job, store=store, log=False, ensure_success=True)
    return read_calculation(outputs[job.uuid][1].output)


@pytest.mark.parametrize("freedom", [Freedom.NONE, Freedom.POSITIONS, Freedom.CELL])
def test_a_job_answers_with_the_record_of_its_task(store, freedom):
    task = make_task(freedom)
    record = run(task, store)
    assert record.task == task
    assert record.key == key_of(task)
    assert record.theory == toy_engine().theory()
    assert record.is_usable


def test_a_static_job_gives_the_energy_of_the_structure_as_it_stands(store):
    task = make_task(Freedom.NONE)
    assert run(task, store).result.energy_ev == toy_engine().static(task.structure).energy_ev


def test_the_id_of_a_job_follows_from_the_question():
    task = make_task()
    job = calculation_job(task, toy_engine(), key=key_of(task), attempt=2)
    assert job.uuid == job_id(key_of(task), attempt=2)
    assert job.name == "bulk PbTe"


def test_the_same_question_is_calculated_once(store):
    first = run(make_task(), store)
    again = run(make_task(), store, engine=OverworkedEngine(toy_engine().relaxation))  # would fail if it had to work
    assert again == first


def test_another_attempt_is_calculated_anew(store):
    failed = run(make_task(), store, engine=OverworkedEngine(toy_engine().relaxation))
    assert run(make_task(), store, attempt=1).is_usable
    assert not failed.is_usable


def test_a_failure_is_a_record_with_its_reason(store):
    record = run(make_task(), store, engine=OverworkedEngine(toy_engine().relaxation))
    assert record.result is None
    assert record.failure == "RuntimeError: the node went down"


def test_a_listener_hears_the_start_the_steps_and_the_end(store, caplog):
    caplog.set_level(logging.INFO, logger="qdip_dft.progress")
    record = run(make_task(), store)
    events = [r.progress for r in caplog.records if isinstance(getattr(r, "progress", None), ProgressEvent)]
    kinds = [event.kind for event in events]
    assert kinds[0] is ProgressKind.STARTED
    assert kinds[-1] is ProgressKind.FINISHED
    assert set(kinds[1:-1]) <= {ProgressKind.STEP}
    assert events[-1].step == record.result.n_steps
    assert {event.label for event in events} == {"bulk PbTe"}


def test_a_listener_hears_of_a_failure(store, caplog):
    caplog.set_level(logging.INFO, logger="qdip_dft.progress")
    run(make_task(), store, engine=OverworkedEngine(toy_engine().relaxation))
    events = [r.progress for r in caplog.records if hasattr(r, "progress")]
    assert [event.kind for event in events] == [ProgressKind.STARTED, ProgressKind.FAILED]

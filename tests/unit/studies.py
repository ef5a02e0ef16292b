"""A tiny study with the toy potential, and its calculations, for tests of the flow."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from qdip_dft.builders.candidates import find_candidates
from qdip_dft.engines.base import Engine
from qdip_dft.engines.evaluation import Evaluation, Potential
from qdip_dft.engines.registry import engine_from_spec
from qdip_dft.engines.testing import TestingEngine, evaluate_morse
from qdip_dft.flows.assembly import assemble_document, describe_facets
from qdip_dft.flows.engines import StudyEngines
from qdip_dft.flows.resolution import AnyStepId, Resolution, resolve_steps
from qdip_dft.flows.stabilization import StageMaker
from qdip_dft.flows.steps import StudySteps
from qdip_dft.model.calculation import CalculationRecord, CalculationTask, EngineResult, Freedom, Level, LevelOfTheory
from qdip_dft.model.engine import EngineSpec
from qdip_dft.model.stabilization import StabilizationDoc
from qdip_dft.model.stored import StoredRecord
from qdip_dft.model.structure import Arrangement
from qdip_dft.model.study import StudySpec
from qdip_dft.model.study_versions import translate_study
from qdip_dft.tasks.registry_scan import Checkpoint, scan_registries
from tests.unit.crystals import load

Records = dict[str, StoredRecord]
Spoil = Callable[[str, CalculationRecord], CalculationRecord]

STIFFENING = 1.5
"""Factor on the energies of the stiff toy potential."""

TINY_STUDY: dict[str, Any] = {
    "schema_version": 1,
    "name": "tiny",
    "dot": {"material": "PbTe", "facets": ["100"], "min_thickness_ang": 6},
    "host": "CsPbI3",
    "phases": [
        {"phase": "CsPbI3-alpha", "role": "black", "planes": ["100"], "termination": "PbI2"},
        {"phase": "CsPbI3-delta", "role": "competitor", "planes": ["100"]},
    ],
    "matching": {"max_area_ang2": 90, "max_strain": 0.05},
    "film": {"min_thickness_ang": 6},
    "vacuum_ang": 12,
    "engine": {"name": "testing"},
}


def make_steps(**changes: Any) -> StudySteps:
    """Return the steps of the tiny study with some keys changed."""
    study = StudySpec.model_validate(translate_study({**TINY_STUDY, **changes}))
    reservoirs = () if study.film.reservoirs is None else (study.film.reservoirs.ax, study.film.reservoirs.bx2)
    names = (study.dot.material, *(phase.phase for phase in study.phases), *reservoirs)
    crystals = {name: load(name) for name in names}
    return StudySteps(study, crystals, *find_candidates(study, crystals))


def make_maker(steps: StudySteps) -> StageMaker:
    """Return the maker of the study's flow, with the toy potential."""
    return StageMaker(steps.study, dict(steps.crystals), steps.candidates, toy_engines(), steps.dropped)


@cache
def toy_engine() -> Engine:
    """Return the toy potential."""
    return engine_from_spec(EngineSpec(name="testing"))


@dataclass(frozen=True)
class StiffEngine(TestingEngine):
    """The toy potential with all energies scaled: the same minima, another level of theory."""

    def theory(self) -> LevelOfTheory:
        """Return a level of theory of its own, which claims to be DFT."""
        return super().theory().model_copy(update={"code": "stiff morse", "level": Level.DFT})

    def load_potential(self) -> Potential:
        """Return the scaled potential."""
        return scale_morse


def scale_morse(arrangement: Arrangement) -> Evaluation:
    plain = evaluate_morse(arrangement)
    stress = plain.stress_ev_per_ang3
    assert stress is not None
    return Evaluation(STIFFENING * plain.energy_ev, STIFFENING * plain.forces_ev_per_ang, STIFFENING * stress)


def stiff_engine() -> StiffEngine:
    return StiffEngine(relaxation=toy_engine().relaxation)


def toy_engines() -> StudyEngines:
    """Return the toy potential for every step."""
    return StudyEngines(energy=toy_engine())


def calculate(task: CalculationTask, key: str, engine: Engine | None = None) -> CalculationRecord:
    """Carry out one calculation, with the toy potential if no engine is given."""
    engine = engine or toy_engine()
    is_static = task.freedom is Freedom.NONE
    result = engine.static(task.structure) if is_static else engine.relax(task.structure, task.freedom)
    return CalculationRecord(
        key=key, task=task, theory=engine.theory(), result=result, finished_at="2026-01-01T00:00:00+00:00"
    )


def find_step(state: Resolution, name: str) -> AnyStepId:
    """Return the step that people call so."""
    return next(step for step in (*state.states, *state.scan_states) if state.label(step) == name)


def name_steps(state: Resolution, steps: Iterable[AnyStepId]) -> set[str]:
    """Return what people call these steps."""
    return {state.label(step) for step in steps}


def assemble(steps: StudySteps, state: Resolution, *, level: Level = Level.TEST) -> StabilizationDoc:
    """Return the result of a study with one facet, without its uncertainty."""
    (found,) = describe_facets(steps, state)
    return assemble_document(steps, state, found, level=level)


def resolve(steps: StudySteps, records: Records, engines: StudyEngines | None = None) -> Resolution:
    """Return the state of every step."""
    return resolve_steps(steps, engines or toy_engines(), records.get)


def stages(
    steps: StudySteps, records: Records, *, spoil: Spoil | None = None, engines: StudyEngines | None = None
) -> Iterator[Resolution]:
    """Calculate all that is ready, again and again, and yield the state before each round and at the end.

    Parameters
    ----------
    steps
        The study.
    records
        What is known already; grows on the way.
    spoil
        Changes the record of a step before it is stored.
    engines
        Which engine does which step; None: the toy potential all.
    """
    engines = engines or toy_engines()
    while (resolution := resolve(steps, records, engines)).unfinished:
        yield resolution
        for scan, scan_task in resolution.ready_registry_scans.items():
            key = resolution.keys[scan]
            if key not in records:
                records[key] = scan_registries(scan_task, engines.registry_engine, key=key, checkpoint=Checkpoint(None))
        for id_, task in resolution.ready.items():
            key = resolution.keys[id_]
            if key not in records:
                record = calculate(task, key, engines.of(resolution.steps[id_]))
                records[key] = record if spoil is None else spoil(resolution.label(id_), record)
    yield resolution


def fail(record: CalculationRecord) -> CalculationRecord:
    """Return the record of a calculation that gave nothing."""
    return record.model_copy(update={"result": None, "failure": "RuntimeError: the node went down"})


def leave_unconverged(record: CalculationRecord) -> CalculationRecord:
    """Return the record of a relaxation that ran out of steps."""
    assert isinstance(record.result, EngineResult)
    return record.model_copy(update={"result": record.result.model_copy(update={"is_converged": False})})

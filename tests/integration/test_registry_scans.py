"""Scanning lateral positions, gaps and orientations of real interfaces in one job."""

from __future__ import annotations

import errno
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from jobflow import Job, JobStore, run_locally
from maggma.stores import MemoryStore
from pydantic import ValidationError

from qdip_dft.builders.ions import find_ions
from qdip_dft.builders.registry import find_displacement_cell, join_at_gap
from qdip_dft.builders.variants import list_half_turns
from qdip_dft.engines.base import Engine
from qdip_dft.engines.evaluation import Evaluation, Potential
from qdip_dft.engines.registry import engine_from_spec
from qdip_dft.engines.testing import TestingEngine, evaluate_morse
from qdip_dft.errors import EngineError, MachineError, OutOfTime, OverlapError
from qdip_dft.execution.failures import list_failures
from qdip_dft.execution.local import run_study
from qdip_dft.jobs.scan_registry import registry_scan_job
from qdip_dft.model.calculation import EngineResult, Freedom
from qdip_dft.model.engine import Dispersion, EngineSpec
from qdip_dft.model.keys import registry_scan_key
from qdip_dft.model.registry import RegistryScan, RegistryScanTask
from qdip_dft.model.structure import Arrangement, StructureRecord
from qdip_dft.planning.plan import StudyPlan
from qdip_dft.results.migrations import read_registry_scan
from qdip_dft.runtime.deadline import Deadline, working_until
from qdip_dft.storage.results_folder import ResultsFolder, open_archive
from qdip_dft.tasks.registry_scan import Checkpoint, checkpoint_file, scan_registries
from tests.unit.studies import make_steps
from tests.unit.test_registry import IDENTITY, ROOT_TWO, perovskite_on, rock_salt_slab, supercell

CHARGES = {"Pb": 2, "Se": -2, "Cs": 1, "Br": -1}


@cache
def engine_of(name: str, potential: str | None = None) -> Engine:
    return engine_from_spec(EngineSpec(name=name, potential=potential, dispersion=Dispersion.NONE))


def make_task(**changes: Any) -> RegistryScanTask:
    """Return PbSe(100)//CsPbBr3(100), 26 atoms, with both faces of the film."""
    dot = supercell(rock_salt_slab(2), ROOT_TWO)
    film = perovskite_on(dot, IDENTITY, 2)
    choices = {"grid_spacing_ang": 2.2, "n_kept": 2, "turns": list_half_turns(dot.lattice_ang[:2, :2])} | changes
    slabs = {"dot": dot.to_record(), "film": film.to_record()}
    return RegistryScanTask(label="PbSe(100)//CsPbBr3(100)", formal_charges=CHARGES, **(slabs | choices))


def scan_with(engine: Engine, task: RegistryScanTask, path: Path) -> RegistryScan:
    return scan_registries(task, engine, key=registry_scan_key(task, engine.theory()), checkpoint=Checkpoint(path))


def energy_ev(engine: Engine, task: RegistryScanTask, shift_ang: np.ndarray) -> float:
    dot, film = (find_ions(slab, CHARGES) for slab in (task.dot, task.film))
    x, y = map(float, shift_ang)
    interface = join_at_gap(dot, film, shift_ang=(x, y), gap_offset_ang=0.2, vacuum_ang=15.0)
    return engine.static(interface.to_record()).energy_ev


@pytest.mark.parametrize("potential", ["chgnet", "sevennet-0"])
def test_a_network_s_energy_is_invariant_under_the_vectors_of_the_displacement_cell(potential: str) -> None:
    task, engine = make_task(), engine_of("mlip", potential)
    cell = find_displacement_cell(*(find_ions(slab, CHARGES) for slab in (task.dot, task.film)))
    start = np.array([0.7, 0.4])
    here = energy_ev(engine, task, start)
    for vector in cell.vectors_ang:
        assert energy_ev(engine, task, start + vector) == pytest.approx(here, abs=1e-4)
    assert abs(energy_ev(engine, task, start + 0.5 * cell.vectors_ang[0]) - here) > 1e-2


def test_the_best_points_are_calculated_at_their_own_gap(tmp_path: Path) -> None:
    task, engine = make_task(), engine_of("mlip", "chgnet")
    found = scan_with(engine, task, tmp_path / "energies.jsonl")
    predicted = {(p.turn, p.shift): p for p in found.points}
    assert [p.energy_ev for p in found.best] == sorted(p.energy_ev for p in found.best)
    assert len(found.best) == 2
    for point in found.best:
        assert point.is_calculated
        assert point.is_minimum
        assert point.energy_ev == pytest.approx(predicted[point.turn, point.shift].energy_ev, abs=5e-3)


def test_the_best_gap_of_a_network_is_that_of_a_scan(tmp_path: Path) -> None:
    task, engine = make_task(grid_spacing_ang=5.0, turns=make_task().turns[:1], n_kept=1), engine_of("mlip", "chgnet")
    best = scan_with(engine, task, tmp_path / "energies.jsonl").best[0]
    dot, film = (find_ions(slab, CHARGES) for slab in (task.dot, task.film))
    scan = [
        engine.static(
            join_at_gap(dot, film, shift_ang=best.shift_ang, gap_offset_ang=float(offset), vacuum_ang=15.0).to_record()
        ).energy_ev
        for offset in np.arange(-0.8, 1.21, 0.1)
    ]
    assert best.energy_ev <= min(scan) + 2e-3


def test_range_and_deviation_describe_all_points_of_the_grid(tmp_path: Path) -> None:
    found = scan_with(engine_of("testing"), make_task(), tmp_path / "energies.jsonl")
    energies = [point.energy_ev for point in found.points for _ in range(point.multiplicity)]
    assert found.range_ev == pytest.approx(max(energies) - min(energies))
    assert found.deviation_ev == pytest.approx(np.std(energies))
    assert {point.turn.is_flipped for point in found.points} == {False, True}
    assert len(energies) == 2 * 2**2


def job_of(task: RegistryScanTask, **options: Any) -> Job:
    engine = engine_of("testing")
    return registry_scan_job(task, engine, key=registry_scan_key(task, engine.theory()), **options)


def test_a_job_gives_plain_data_and_keeps_its_checkpoint(tmp_path: Path) -> None:
    task = make_task()
    job = job_of(task, checkpoint_folder=str(tmp_path / "checkpoints"))
    store = JobStore(MemoryStore())
    outcome = run_locally(job, store=store, log=False, ensure_success=True, root_dir=tmp_path)[job.uuid][1].output
    record = read_registry_scan(json.loads(json.dumps(outcome)))
    assert record.key == registry_scan_key(task, engine_of("testing").theory())
    assert checkpoint_file(tmp_path / "checkpoints", record.key).exists()  # until the record is stored
    assert record.is_usable


def test_the_same_question_is_the_same_job_and_another_one_is_not() -> None:
    first, renamed = make_task(), make_task().model_copy(update={"label": "another name"})
    finer = make_task(grid_spacing_ang=1.5)
    ids = [job_of(task).uuid for task in (first, renamed, finer)]
    assert ids[0] == ids[1] != ids[2]


@dataclass(frozen=True)
class MortalEngine(TestingEngine):
    """The testing engine in a process that is killed after some energies."""

    __test__ = False

    calls: ClassVar[list[int]] = []
    lives: ClassVar[list[int]] = []

    def static(self, structure: StructureRecord) -> EngineResult:
        """Return the energy, unless the process is killed first."""
        if self.lives and len(self.calls) >= self.lives[0]:
            raise KeyboardInterrupt
        self.calls.append(structure.n_atoms)
        return super().static(structure)


@dataclass(frozen=True)
class HurriedEngine(TestingEngine):
    """The testing engine whose allocation ends after the first energy."""

    __test__ = False

    deadline: Deadline

    def static(self, structure: StructureRecord) -> EngineResult:
        """Return the energy; from then on there is no time left."""
        result = super().static(structure)
        self.deadline.end_s = time.time()
        return result


@pytest.fixture
def mortal() -> MortalEngine:
    MortalEngine.calls.clear()
    MortalEngine.lives.clear()
    return MortalEngine(relaxation=engine_of("testing").relaxation)


def test_a_killed_job_continues_where_it_stopped(mortal: MortalEngine, tmp_path: Path) -> None:
    task = make_task()
    whole = scan_with(engine_of("testing"), task, tmp_path / "whole.jsonl")
    mortal.lives.append(5)
    path = tmp_path / "energies.jsonl"
    with pytest.raises(KeyboardInterrupt):
        scan_with(mortal, task, path)
    with path.open("a") as file:
        file.write('\n["as cut at 0.2')  # the kill came while a line was written
    mortal.lives.clear()
    continued = scan_with(mortal, task, path)
    assert len(mortal.calls) == whole.n_evaluations == continued.n_evaluations
    assert continued.points == whole.points
    assert continued.best == whole.best


def test_a_scan_that_runs_out_of_time_has_no_failed_place_and_goes_on(tmp_path: Path) -> None:
    task, path = make_task(), tmp_path / "energies.jsonl"
    whole = scan_with(engine_of("testing"), task, tmp_path / "whole.jsonl")
    with working_until(Deadline(end_s=time.time() + 1e6)) as deadline, pytest.raises(OutOfTime, match="resumes"):
        scan_with(HurriedEngine(engine_of("testing").relaxation, deadline), task, path)
    assert len(Checkpoint(path).known) == 1
    assert scan_with(engine_of("testing"), task, path).points == whole.points


def test_a_run_killed_within_a_scan_goes_on_with_its_energies(mortal: MortalEngine, tmp_path: Path) -> None:
    steps = make_steps()
    plan, folder = StudyPlan(steps.study, dict(steps.crystals), mortal), ResultsFolder(tmp_path / "results")
    mortal.lives.append(10)
    with pytest.raises(KeyboardInterrupt):
        run_study(plan, results=folder.path)
    (left,) = folder.checkpoints.iterdir()
    assert Checkpoint(left).known
    mortal.lives.clear()
    run_study(plan, results=folder.path)
    archive = open_archive(folder)
    n_static = sum(record.task.freedom is Freedom.NONE for record in archive.list_calculations())
    assert len(mortal.calls) == n_static + sum(record.n_evaluations for record in archive.list_registry_scans())
    assert list(folder.checkpoints.iterdir()) == []


@pytest.mark.parametrize("potential", ["chgnet", "sevennet-0"])
def test_a_dot_of_six_angstroms_tells_positions_apart_as_a_thick_one_does(potential: str) -> None:
    """Positions differ by the same energies within a tenth when the dot is twice as thick."""
    engine, differences = engine_of("mlip", potential), []
    for n_planes in (3, 5):
        dot = supercell(rock_salt_slab(n_planes), ROOT_TWO)
        task = make_task(dot=dot.to_record(), film=perovskite_on(dot, IDENTITY, 2).to_record())
        here, there = (energy_ev(engine, task, np.array(shift)) for shift in ((0.0, 0.0), (2.16, 2.16)))
        differences.append(there - here)
    assert abs(differences[1]) > 0.1
    assert differences[0] == pytest.approx(differences[1], rel=0.1)


@dataclass(frozen=True)
class FaultyEngine(TestingEngine):
    """The testing engine with a code that fails for films that lie the right way up."""

    __test__ = False

    def static(self, structure: StructureRecord) -> EngineResult:
        """Return the energy, or fail where the film's first caesium ion lies low."""
        heights = np.array(structure.frac_coords)[:, 2][np.array(structure.species) == "Cs"]
        if heights[0] < heights[-1]:
            raise EngineError("no energy", limit="none", why="the code failed", remedy="look at its output")
        return super().static(structure)


def test_a_point_without_an_energy_is_named_and_the_others_count(tmp_path: Path) -> None:
    engine = FaultyEngine(relaxation=engine_of("testing").relaxation)
    found = scan_with(engine, make_task(), tmp_path / "energies.jsonl")
    assert all("as cut at" in failure and "look at its output" in failure for failure in found.failures)
    assert len(found.failures) == len(found.points) > 0
    assert {point.turn.is_flipped for point in found.points} == {True}
    assert found.best
    assert not found.is_usable
    assert found.failure is not None
    assert f"{len(found.failures)} of {found.n_positions} registries have no energy" in found.failure


@dataclass(frozen=True)
class UnsteadyEngine(TestingEngine):
    """The testing engine, which raises what it is told to in place of one energy."""

    __test__ = False

    calls: ClassVar[list[int]] = []
    errors: ClassVar[dict[int, BaseException]] = {}

    def static(self, structure: StructureRecord) -> EngineResult:
        """Return the energy, or raise what is due at this call."""
        self.calls.append(structure.n_atoms)
        if len(self.calls) in self.errors:
            raise self.errors[len(self.calls)]
        return super().static(structure)


@pytest.fixture
def unsteady() -> UnsteadyEngine:
    UnsteadyEngine.calls.clear()
    UnsteadyEngine.errors.clear()
    return UnsteadyEngine(relaxation=engine_of("testing").relaxation)


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        (MemoryError(), "free memory"),
        (RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"), "free memory"),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), "free memory"),
        (OSError(errno.ENOSPC, "No space left on device", "wavefunctions"), "free some space"),
        (OSError(errno.EIO, "Input/output error"), "run the same command again"),
    ],
)
def test_a_fault_of_the_machine_ends_a_scan_and_is_no_fact_about_a_place(
    error: BaseException, remedy: str, unsteady: UnsteadyEngine, tmp_path: Path
) -> None:
    task, path = make_task(), tmp_path / "energies.jsonl"
    unsteady.errors[4] = error
    with pytest.raises(MachineError, match=remedy):
        scan_with(unsteady, task, path)
    assert len(Checkpoint(path).known) == 3
    continued = scan_with(unsteady, task, path)
    assert continued.is_usable
    assert continued.points == scan_with(engine_of("testing"), task, tmp_path / "whole.jsonl").points


def test_places_where_atoms_lie_on_top_of_each_other_leave_a_scan_usable(
    unsteady: UnsteadyEngine, tmp_path: Path
) -> None:
    unsteady.errors[1] = OverlapError("no energy", limit="none", why="atoms overlap", remedy="none")
    found = scan_with(unsteady, make_task(), tmp_path / "energies.jsonl")
    assert (len(found.impossible), found.failures) == (1, ())
    assert found.is_usable
    assert RegistryScan.model_validate(found.model_dump(mode="json")) == found


def test_a_study_is_not_built_on_a_scan_with_a_failed_place_and_the_next_run_repeats_it(
    unsteady: UnsteadyEngine, tmp_path: Path
) -> None:
    steps = make_steps()
    plan, folder = StudyPlan(steps.study, dict(steps.crystals), unsteady), ResultsFolder(tmp_path / "results")
    unsteady.errors.update(dict.fromkeys(range(2, 2000), EngineError("a", limit="b", why="c", remedy="d")))
    run_study(plan, results=folder.path)
    archive = open_archive(folder)
    broken = list(archive.list_registry_scans())
    assert broken
    assert not any(scan.is_usable for scan in broken)
    resolution = plan.resolve(archive.find_record)
    interfaces = [step for step in resolution.blocked if "interface" in resolution.label(step)]
    assert interfaces
    assert all("registries have no energy" in resolution.blocked[step] for step in interfaces)
    assert any("repeats the registries" in failure.remedy for failure in list_failures(plan, resolution, where="here"))
    unsteady.errors.clear()
    run_study(plan, results=folder.path)  # without --retry
    scans = plan.resolve(archive.find_record).registry_scans.values()
    assert scans
    assert all(scan.is_usable and scan.attempt == 1 for scan in scans)


def test_a_scan_without_any_energy_says_so(tmp_path: Path) -> None:
    engine = FaultyEngine(relaxation=engine_of("testing").relaxation)
    found = scan_with(engine, make_task(turns=make_task().turns[:1]), tmp_path / "energies.jsonl")
    assert (found.best, found.range_ev, found.deviation_ev) == ((), None, None)
    assert len(found.failures) > 0


def test_a_gap_range_without_contact_is_refused() -> None:
    with pytest.raises(ValidationError, match="gap_range_ang must hold 0"):
        make_task(gap_range_ang=(0.2, 1.0))


@dataclass
class BatchedMorse:
    """The testing engine's potential as one that takes several structures at once, and fails at a batch if told to."""

    sizes: list[int] = field(default_factory=list)
    errors: dict[int, BaseException] = field(default_factory=dict)

    def __call__(self, arrangement: Arrangement) -> Evaluation:
        return self.evaluate_many([arrangement])[0]

    def evaluate_many(self, arrangements: Sequence[Arrangement]) -> list[Evaluation]:
        n_batches = sum(size > 1 for size in self.sizes)
        if len(arrangements) > 1 and n_batches in self.errors:
            raise self.errors.pop(n_batches)
        self.sizes.append(len(arrangements))
        return [evaluate_morse(arrangement) for arrangement in arrangements]


@dataclass(frozen=True)
class BatchingEngine(TestingEngine):
    """The testing engine with a potential that takes several structures at once."""

    __test__ = False

    potential: BatchedMorse

    def load_potential(self) -> Potential:
        """Return the potential."""
        return self.potential


@pytest.fixture
def batching() -> BatchingEngine:
    return BatchingEngine(engine_of("testing").relaxation, BatchedMorse())


def test_places_evaluated_at_once_have_the_numbers_of_places_evaluated_alone(
    batching: BatchingEngine, tmp_path: Path
) -> None:
    task = make_task(grid_spacing_ang=1.2)
    alone = scan_with(engine_of("testing"), task, tmp_path / "alone.jsonl")
    together = scan_with(batching, task, tmp_path / "together.jsonl")
    assert (together.points, together.best) == (alone.points, alone.best)
    assert sum(batching.potential.sizes) == together.n_evaluations == alone.n_evaluations
    assert len(batching.potential.sizes) < 0.6 * alone.n_evaluations


def test_a_scan_killed_in_a_batch_repeats_nothing_that_was_evaluated(batching: BatchingEngine, tmp_path: Path) -> None:
    task, path = make_task(grid_spacing_ang=1.2), tmp_path / "energies.jsonl"
    whole = scan_with(engine_of("testing"), task, tmp_path / "whole.jsonl")
    batching.potential.errors[2] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        scan_with(batching, task, path)
    assert len(Checkpoint(path).known) == sum(batching.potential.sizes)
    continued = scan_with(batching, task, path)
    assert sum(batching.potential.sizes) == continued.n_evaluations == whole.n_evaluations
    assert (continued.points, continued.best) == (whole.points, whole.best)


def test_a_fault_of_the_machine_in_a_batch_is_no_fact_about_its_places(
    batching: BatchingEngine, tmp_path: Path
) -> None:
    batching.potential.errors[1] = RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
    with pytest.raises(MachineError, match="free memory"):
        scan_with(batching, make_task(), tmp_path / "energies.jsonl")


def test_what_fails_in_a_batch_is_evaluated_alone(batching: BatchingEngine, tmp_path: Path) -> None:
    batching.potential.errors[1] = ValueError("one of them is unusable")
    task = make_task()
    found = scan_with(batching, task, tmp_path / "energies.jsonl")
    assert not batching.potential.errors
    assert found.is_usable
    assert found.points == scan_with(engine_of("testing"), task, tmp_path / "whole.jsonl").points

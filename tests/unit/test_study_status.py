"""How far a study is: terms, times from measured calculations, failures with their cause and cure, live notes."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from qdip_dft.cli import status as command
from qdip_dft.execution.failures import list_failures, list_left_out
from qdip_dft.execution.run_notes import NOTES_FILE, NotedRun, RunningCalculation, RunNotes, read_run_notes
from qdip_dft.execution.study_status import Speed, StudyStatus, measure_speed, measure_status
from qdip_dft.flows.resolution import Resolution
from qdip_dft.model.calculation import CalculationRecord, Freedom
from qdip_dft.model.progress import ProgressEvent, ProgressKind
from qdip_dft.model.study import StudySpec
from qdip_dft.model.study_versions import translate_study
from qdip_dft.planning.plan import StudyPlan, estimate_seconds, plan_study
from qdip_dft.storage.results_folder import ResultsFolder, open_archive
from tests.command_line import qdip
from tests.unit.report_documents import LOST_PHASE, make_black, make_document, make_yellow
from tests.unit.studies import TINY_STUDY, Records, fail, find_step, leave_unconverged, make_steps, stages

AS_PLANNED = Speed(ratios={}, overall=1.0, n_measured=0)
FILM = "PbTe(100)//CsPbI3-delta(100)"
DOT_BULK = "dot bulk PbTe"


@pytest.fixture(scope="module")
def plan() -> StudyPlan:
    return plan_study(StudySpec.model_validate(translate_study(TINY_STUDY)))


@pytest.fixture(scope="module")
def rounds() -> list[tuple[Resolution, Records]]:
    """What is known of the tiny study after each round of calculations."""
    records: Records = {}
    return [(resolution, dict(records)) for resolution in stages(make_steps(), records)]


def spoiled(name: str, how: object) -> Resolution:
    """Return the end of the tiny study in which one calculation went wrong."""
    records: Records = {}

    def spoil(step: str, record: CalculationRecord) -> CalculationRecord:
        return how(record) if step == name else record  # type: ignore[operator,no-any-return]

    return list(stages(make_steps(), records, spoil=spoil))[-1]


@pytest.fixture(scope="module")
def failed() -> Resolution:
    """The end of the tiny study without one film slab."""
    return spoiled(f"film slab {FILM}", fail)


def look(
    plan: StudyPlan, resolution: Resolution, *, notes: RunNotes | None = None, speed: Speed = AS_PLANNED
) -> StudyStatus:
    return measure_status(plan, resolution, speed=speed, notes=notes, where="results")


def make_notes(study: StudySpec, *running: RunningCalculation, process_id: int | None = None) -> RunNotes:
    import socket

    return RunNotes(
        process_id=process_id or os.getpid(),
        host=socket.gethostname(),
        started_at="2026-01-01T00:00:00+00:00",
        study=study,
        running=running,
    )


def dead_process() -> int:
    """Return the id of a process that has ended."""
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    return ended.pid


# --- terms ------------------------------------------------------------------------------------------------------


def test_a_new_study_has_everything_to_do(plan: StudyPlan) -> None:
    seen = look(plan, plan.resolve(lambda _: None))
    assert seen.counts["stored"] == 0
    assert sum(seen.counts.values()) == len(seen.calculations)
    assert [term.title for term in seen.terms][:3] == ["bulk of PbTe", "bulk of CsPbI3-alpha", "bulk of CsPbI3-delta"]
    assert not seen.is_finished


def test_binding_needs_the_dot_slab_and_the_interface(plan: StudyPlan) -> None:
    seen = look(plan, plan.resolve(lambda _: None))
    sizes = {term.title: term.n_calculations for term in seen.terms}
    assert sizes["binding of CsPbI3-delta(100)"] == 4
    assert sizes["surface of CsPbI3-delta(100)"] == 2


def test_each_round_moves_on_and_the_last_leaves_nothing(
    plan: StudyPlan, rounds: list[tuple[Resolution, Records]]
) -> None:
    seen = [look(plan, resolution) for resolution, _ in rounds]
    done = [status.counts["stored"] for status in seen]
    left = [status.remaining_s for status in seen]
    assert done == sorted(set(done))
    assert left == sorted(left, reverse=True)
    assert seen[-1].is_finished
    assert left[-1] == 0


# --- times ------------------------------------------------------------------------------------------------------


def test_a_machine_that_is_twice_as_slow_takes_twice_as_long(plan: StudyPlan) -> None:
    untouched = plan.resolve(lambda _: None)
    planned = look(plan, untouched).remaining_s
    slow = look(plan, untouched, speed=Speed(ratios={}, overall=2.0, n_measured=5)).remaining_s
    assert slow == pytest.approx(2 * planned)


def test_the_speed_is_the_median_of_what_was_measured(
    plan: StudyPlan, rounds: list[tuple[Resolution, Records]]
) -> None:
    resolution, _ = rounds[1]
    states = dict(resolution.states)
    for number, (step, record) in enumerate(resolution.records.items()):
        freedom, n_atoms = record.task.freedom, record.task.structure.n_atoms
        factor = 1000.0 if number == 0 else 3.0  # one calculation waited for the machine
        assert record.result is not None
        time_s = factor * estimate_seconds(plan.engine, freedom, n_atoms)
        result = record.result.model_copy(update={"wall_time_s": time_s})
        states[step] = replace(states[step], record=record.model_copy(update={"result": result}))
    speed = measure_speed(plan, Resolution(states), None)
    assert speed.ratios[Freedom.CELL] == pytest.approx(3.0)
    assert speed.n_measured == len(resolution.records)


def test_a_study_without_measurements_asks_the_folder(
    plan: StudyPlan, rounds: list[tuple[Resolution, Records]], tmp_path: Path
) -> None:
    archive = open_archive(ResultsFolder(tmp_path))
    archive.save_records(list(rounds[-1][1].values()))
    speed = measure_speed(plan, plan.resolve(lambda _: None), archive)
    assert speed.n_measured > 0
    assert measure_speed(plan, plan.resolve(lambda _: None), None).n_measured == 0


def test_a_running_calculation_takes_what_is_left_of_it(plan: StudyPlan) -> None:
    untouched = plan.resolve(lambda _: None)
    slow = Speed(ratios={}, overall=1e6, n_measured=1)
    before = look(plan, untouched, speed=slow)
    running = RunningCalculation(label=DOT_BULK, started_at_s=time.time() - 100.0, step=3, max_steps=300,
                                 max_force_ev_per_ang=0.25)  # fmt: skip
    after = look(plan, untouched, notes=make_notes(plan.study, running), speed=slow)
    assert before.remaining_s - after.remaining_s == pytest.approx(100.0, abs=5.0)
    assert after.terms[0].running == ("dot bulk, step 3, force 0.250 eV/Å",)
    assert after.counts["running"] == 1
    paced = running.model_copy(update={"rest_s": 7.0})
    left_s = look(plan, untouched, notes=make_notes(plan.study, paced), speed=slow).remaining_s
    others = [c.estimated_s for c in before.calculations if c.name != DOT_BULK]
    assert left_s == pytest.approx(sum(others) + 7.0)


# --- failures ---------------------------------------------------------------------------------------------------


def test_a_failure_says_what_it_holds_up_where_it_is_and_what_to_do(plan: StudyPlan, failed: Resolution) -> None:
    (failure,) = list_failures(plan, failed, where="results")
    assert failure.kind == "failed"
    assert "the node went down" in failure.reason
    assert failure.where.startswith("stored in results as calculation ")
    assert "qdip run tiny --retry" in failure.remedy
    assert f"interface {FILM}" in failure.holds_up


def test_an_unconverged_relaxation_needs_more_steps_and_no_mere_repetition(plan: StudyPlan) -> None:
    (failure,) = list_failures(plan, spoiled(f"film slab {FILM}", leave_unconverged), where="results")
    assert failure.kind == "unconverged"
    assert "max_steps above" in failure.remedy
    assert "--retry" not in failure.remedy


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("RuntimeError: CUDA out of memory", "more memory"),
        ("ModuleNotFoundError: No module named 'sevenn'", "qdip doctor"),
        ("TimeoutError: the run was killed at its time limit", "more time"),
        ("ValueError: energy is nan", "qdip show"),
    ],
)
def test_the_advice_fits_the_failure(plan: StudyPlan, failed: Resolution, reason: str, expected: str) -> None:
    step = find_step(failed, f"film slab {FILM}")
    record = failed.records[step].model_copy(update={"failure": f"{reason}; its files are in /scratch/qdip/run-7"})
    changed = replace(failed, states={**failed.states, step: replace(failed.states[step], record=record)})
    (failure,) = list_failures(plan, changed, where="results")
    assert expected in failure.remedy
    assert failure.where.endswith("ran in /scratch/qdip/run-7")


def test_a_film_that_changed_its_phase_is_named_with_its_cure() -> None:
    document = make_document(make_black(checks=(LOST_PHASE,), is_selected=False), make_yellow())
    (failure,) = list_left_out(document)
    assert failure.kind == "left out"
    assert "share edges" in failure.reason
    assert "another plane or termination" in failure.remedy


# --- the notes of a run -----------------------------------------------------------------------------------------


def log(kind: ProgressKind, label: str, **values: float) -> None:
    event = ProgressEvent(kind, label, n_atoms=8, max_steps=300, **values)  # type: ignore[arg-type]
    logging.getLogger("qdip_dft.progress").warning("%s", kind, extra={"progress": event})


def test_a_run_notes_what_it_is_at_and_takes_its_notes_away(plan: StudyPlan, tmp_path: Path) -> None:
    with NotedRun(ResultsFolder(tmp_path), plan.study):
        begun_s = time.time()
        log(ProgressKind.STARTED, DOT_BULK, elapsed_s=2.0)
        noted_s = time.time()
        notes = read_run_notes(tmp_path)
        assert notes is not None
        assert notes.is_alive
        assert notes.study == plan.study
        assert [calculation.label for calculation in notes.running] == [DOT_BULK]
        assert begun_s - 2.0 <= notes.running[0].started_at_s <= noted_s - 2.0
        log(ProgressKind.FINISHED, DOT_BULK)
        ended = read_run_notes(tmp_path)
        assert ended is not None
        assert ended.running == ()
    assert read_run_notes(tmp_path) is None


def test_an_interrupted_run_leaves_its_notes_behind(plan: StudyPlan, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), NotedRun(ResultsFolder(tmp_path), plan.study):
        raise KeyboardInterrupt
    notes = read_run_notes(tmp_path)
    assert notes is not None
    assert not notes.model_copy(update={"process_id": dead_process()}).is_alive


@pytest.mark.parametrize("content", ["", "{", '{"process_id": 1}', "[]"])
def test_notes_that_cannot_be_read_are_no_notes(tmp_path: Path, content: str) -> None:
    (tmp_path / NOTES_FILE).write_text(content)
    assert read_run_notes(tmp_path) is None


# --- the command ------------------------------------------------------------------------------------------------


@pytest.fixture
def half_way(rounds: list[tuple[Resolution, Records]], tmp_path: Path) -> Path:
    """A results folder with the first two rounds of the tiny study, and the study's file beside it."""
    results = tmp_path / "results"
    open_archive(ResultsFolder(results)).save_records(list(rounds[2][1].values()))
    (tmp_path / "tiny.yaml").write_text(json.dumps(TINY_STUDY))
    return results


def test_the_status_shows_every_term_and_how_long_the_rest_takes(half_way: Path) -> None:
    printed = qdip("status", half_way.parent / "tiny.yaml", "--results", half_way).stdout
    assert "bulk of PbTe" in printed
    assert "Times from" in printed
    assert "Nothing is running; resume with qdip run tiny." in " ".join(printed.split())
    seen = json.loads(qdip("status", half_way.parent / "tiny.yaml", "--results", half_way, "--json").stdout)
    assert seen["remaining_s"] > 0
    assert {"stored", "ready", "waiting"} <= {c["state"] for c in seen["calculations"]}


def test_an_interrupted_study_is_listed(half_way: Path, plan: StudyPlan) -> None:
    notes = make_notes(plan.study, process_id=dead_process())
    (half_way / NOTES_FILE).write_text(notes.model_dump_json())
    assert "interrupted; resume with qdip run tiny" in " ".join(qdip("status", "--results", half_way).stdout.split())


@pytest.fixture
def watched(half_way: Path, plan: StudyPlan) -> Iterator[tuple[subprocess.Popen[str], subprocess.Popen[str]]]:
    """A process that seems to run the study, and one that watches it."""
    running = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, text=True)
    (half_way / NOTES_FILE).write_text(make_notes(plan.study, process_id=running.pid).model_dump_json())
    watching = subprocess.Popen(
        [sys.executable, "-c", "from qdip_dft.cli import main; main()", "status", "--watch", "--results", half_way],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    yield running, watching
    for process in (running, watching):
        process.kill()
        process.communicate()


def test_a_watch_prints_lines_and_ends_with_the_run(
    watched: tuple[subprocess.Popen[str], subprocess.Popen[str]],
) -> None:
    running, watching = watched
    assert watching.stdout is not None
    first = watching.stdout.readline()
    running.communicate("")
    rest, errors = watching.communicate(timeout=120)
    assert watching.returncode == 0, errors
    assert first == "bulk of PbTe: 2 of 2 calculations\n"
    assert "tiny: " in rest
    assert "Nothing is running" in rest


def test_an_interrupted_watch_leaves_the_last_state_and_no_error(
    watched: tuple[subprocess.Popen[str], subprocess.Popen[str]],
) -> None:
    _, watching = watched
    assert watching.stdout is not None
    watching.stdout.readline()
    watching.send_signal(signal.SIGINT)
    rest, errors = watching.communicate(timeout=120)
    assert (watching.returncode, errors) == (0, "")
    assert "tiny: " in rest


def test_a_terminal_shows_the_table_live(
    plan: StudyPlan, rounds: list[tuple[Resolution, Records]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "REFRESH_EVERY_S", 0.01)
    notes = make_notes(plan.study)
    states = [look(plan, resolution, notes=notes) for resolution, _ in rounds[1:]] + [look(plan, rounds[-1][0])]
    following = iter(states[1:])
    out = Console(file=StringIO(), force_terminal=True, width=90, color_system=None)
    command._follow(lambda: next(following), states[0], out)
    shown = out.file.getvalue()  # type: ignore[attr-defined]
    assert "binding of CsPbI3-delta(100)" in shown
    assert next(following, None) is None, "it looked until the run had ended"

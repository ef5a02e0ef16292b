"""The progress of a run: the remaining time, the lines for people, and that a display never disturbs a run."""

from __future__ import annotations

import io
import logging
import os
import pty
import re
import subprocess
import sys
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from qdip_dft.execution import progress as progress_module
from qdip_dft.execution.progress import ProgressDisplay, RunProgress, format_duration
from qdip_dft.model.progress import ProgressEvent, ProgressKind

PLAN = {"bulk PbS": 10.0, "dot slab": 20.0, "interface": 70.0}
logger = logging.getLogger("qdip_dft.progress")


def make_event(kind: ProgressKind, label: str, **values: Any) -> ProgressEvent:
    defaults = {"n_atoms": 164, "max_steps": 300, "force_threshold_ev_per_ang": 0.05}
    return ProgressEvent(kind, label, **(defaults | values))


def log(kind: ProgressKind, label: str, **values: Any) -> None:
    logger.info("%s: %s", kind, label, extra={"progress": make_event(kind, label, **values)})


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time that a display reads, in s, in a list of one: a busy machine does not turn it."""
    now_s = [1000.0]
    monkeypatch.setattr(progress_module, "time", SimpleNamespace(monotonic=lambda: now_s[0]))
    return now_s


def make_console(*, is_terminal: bool) -> tuple[Console, io.StringIO]:
    file = io.StringIO()
    return Console(file=file, force_terminal=is_terminal, width=110, color_system=None), file


# --- the remaining time -----------------------------------------------------------------------------------------


def test_an_untouched_run_takes_what_was_planned() -> None:
    assert RunProgress(PLAN).remaining_s(0.0) == 100.0


def test_the_remaining_time_falls_by_one_second_per_second() -> None:
    run = RunProgress(PLAN)
    run.note(make_event(ProgressKind.STARTED, "bulk PbS"), 100.0)
    assert run.remaining_s(100.0) - run.remaining_s(104.0) == pytest.approx(4.0)


def test_an_overdue_calculation_does_not_make_the_rest_shorter() -> None:
    run = RunProgress(PLAN)
    run.note(make_event(ProgressKind.STEP, "bulk PbS", elapsed_s=500.0), 0.0)
    assert run.remaining_s(0.0) == 90.0


def test_a_slow_machine_stretches_all_that_is_left() -> None:
    run = RunProgress(PLAN)
    run.note(make_event(ProgressKind.FINISHED, "bulk PbS", elapsed_s=30.0), 0.0)
    assert run.correction() == 3.0
    assert run.remaining_s(0.0) == pytest.approx(3.0 * 90.0)


def test_a_failure_teaches_nothing_about_the_speed() -> None:
    run = RunProgress(PLAN)
    run.note(make_event(ProgressKind.FAILED, "bulk PbS", elapsed_s=0.1), 0.0)
    assert run.remaining_s(0.0) == 90.0
    assert run.n_failed == 1


def note_steps(run: RunProgress, label: str, forces: list[float], **values: Any) -> None:
    for step, force in enumerate(forces, start=1):
        event = make_event(ProgressKind.STEP, label, step=step, elapsed_s=20.0 + 2.0 * step,
                           max_force_ev_per_ang=force, **values)  # fmt: skip
        run.note(event, 0.0)


@pytest.mark.parametrize(
    ("forces", "left_s"), [([0.8, 0.4, 0.2], 4.0), ([0.8, 0.2, 0.04], 0.0), ([0.8, 0.9, 1.0], 74.0), ([0.8], 78.0)]
)
def test_a_relaxation_ends_when_its_force_has_fallen_to_the_threshold(forces: list[float], left_s: float) -> None:
    """0.8, 0.4, 0.2: two more halvings to 0.05 at 2 s each; where the force tells nothing, the plan's 100 s count."""
    run = RunProgress({"film slab": 100.0})
    note_steps(run, "film slab", forces, max_steps=300, force_threshold_ev_per_ang=0.05)
    assert run.remaining_s(0.0) == pytest.approx(left_s)
    assert run.remaining_s(1.0) == pytest.approx(max(left_s - 1.0, 0.0))


def test_a_relaxation_ends_with_its_last_allowed_step() -> None:
    run = RunProgress({"film slab": 100.0})
    note_steps(run, "film slab", [0.8, 0.79, 0.78], max_steps=10, force_threshold_ev_per_ang=0.05)
    assert run.remaining_s(0.0) == pytest.approx(7 * 2.0)


def test_a_registry_scan_ends_with_its_last_position() -> None:
    run = RunProgress({"registry scan": 100.0})
    for step in (0, 4, 10):
        run.note(make_event(ProgressKind.STEP, "registry scan", step=step, max_steps=42, step_word="position",
                            elapsed_s=5.0 + 0.5 * step, force_threshold_ev_per_ang=None), 0.0)  # fmt: skip
    assert run.remaining_s(0.0) == pytest.approx(32 * 0.5)


def test_a_calculation_that_starts_anew_is_judged_by_its_new_steps() -> None:
    run = RunProgress({"film slab": 100.0})
    note_steps(run, "film slab", [0.8, 0.4, 0.2], max_steps=300, force_threshold_ev_per_ang=0.05)
    run.note(make_event(ProgressKind.STARTED, "film slab", elapsed_s=0.0), 0.0)
    assert run.remaining_s(0.0) == pytest.approx(100.0)


def test_a_finished_run_takes_no_more_time() -> None:
    run = RunProgress(PLAN)
    for label in PLAN:
        run.note(make_event(ProgressKind.FINISHED, label, elapsed_s=1.0), 0.0)
    assert run.remaining_s(0.0) == 0.0


def test_messages_get_their_place_in_the_plan() -> None:
    run = RunProgress(PLAN)
    places = [run.note(make_event(kind, "dot slab"), 0.0) for kind in (ProgressKind.STARTED, ProgressKind.FINISHED)]
    unplanned = run.note(make_event(ProgressKind.STARTED, "film slab"), 0.0)
    assert [(place.index, place.total) for place in (*places, unplanned)] == [(1, 3), (1, 3), (2, 4)]
    own = run.note(make_event(ProgressKind.STEP, "film slab", index=7, total=9), 0.0)
    assert (own.index, own.total) == (7, 9)


def test_planned_times_of_the_caller_are_not_changed() -> None:
    planned = dict(PLAN)
    RunProgress(planned).note(make_event(ProgressKind.STARTED, "unplanned"), 0.0)
    assert planned == PLAN


@pytest.mark.parametrize(
    ("duration_s", "words"),
    [(0.04, "0.0 s"), (9.94, "9.9 s"), (9.96, "10 s"), (59.4, "59 s"), (59.6, "1 min 00 s"), (3599, "59 min 59 s"),
     (3600, "1 h 00 min"), (90061, "25 h 01 min")],
)  # fmt: skip
def test_durations_are_written_in_words(duration_s: float, words: str) -> None:
    assert format_duration(duration_s) == words


# --- what people see --------------------------------------------------------------------------------------------


def test_a_log_file_gets_one_line_per_finished_calculation(clock: list[float]) -> None:
    console, file = make_console(is_terminal=False)
    with ProgressDisplay(PLAN, console=console):
        log(ProgressKind.STARTED, "interface")
        for step in range(1000):
            log(ProgressKind.STEP, "interface", step=step, max_force_ev_per_ang=1.0)
        clock[0] += 74.2
        log(ProgressKind.FINISHED, "interface", step=57, max_force_ev_per_ang=0.0471, elapsed_s=65.2)
        log(ProgressKind.FINISHED, "dot slab", step=300, max_force_ev_per_ang=0.2, elapsed_s=8)
        log(ProgressKind.FINISHED, "bulk PbS", max_steps=0, max_force_ev_per_ang=0.2, elapsed_s=1)
    assert file.getvalue().splitlines() == [
        "[1/3] done   interface  (164 atoms, 57 steps, force 0.047 eV/Å, 1 min 05 s)",
        "[2/3] UNCONVERGED dot slab  (164 atoms, 300 steps, force 0.200 > 0.05 eV/Å, 8.0 s)",
        "[3/3] done   bulk PbS  (164 atoms, force 0.200 eV/Å, 1.0 s)",
        "3 calculations in 1 min 14 s",
    ]


def test_a_log_file_gets_few_lines_while_a_calculation_runs(clock: list[float]) -> None:
    console, file = make_console(is_terminal=False)
    with ProgressDisplay(PLAN, console=console):
        for _ in range(250):
            clock[0] += 0.1
            log(ProgressKind.STEP, "interface", step=12, max_force_ev_per_ang=0.31, elapsed_s=20)
    lines = file.getvalue().splitlines()
    assert len(lines) == 2
    assert lines[0] == (
        "[1/3] running interface  (164 atoms, step 12, force 0.310 > 0.05 eV/Å, 20 s); about 1 min 20 s left"
    )


def test_a_failure_shows_its_reason() -> None:
    console, file = make_console(is_terminal=False)
    with ProgressDisplay(PLAN, console=console):
        try:
            raise ValueError("the energy is not finite")
        except ValueError:
            logger.exception("%s failed", "interface")
        log(ProgressKind.FAILED, "interface", elapsed_s=3)
    first, second, last = file.getvalue().splitlines()
    assert first == "interface failed: ValueError: the energy is not finite"
    assert second == "[1/3] FAILED interface  (164 atoms, 3.0 s)"
    assert last.endswith("1 of them failed")


@pytest.mark.usefixtures("clock")
def test_a_terminal_shows_the_running_calculation_and_the_whole_run() -> None:
    console, _ = make_console(is_terminal=True)
    display = ProgressDisplay(PLAN, console=console)
    with display:
        log(ProgressKind.FINISHED, "bulk PbS", step=9, max_force_ev_per_ang=0.03, elapsed_s=30)
        log(ProgressKind.STEP, "interface", step=12, max_force_ev_per_ang=0.31, elapsed_s=20)
        picture, file = make_console(is_terminal=True)
        picture.print(display.render())
    running, whole = file.getvalue().splitlines()
    assert re.fullmatch(r"interface +164 atoms +step 12 +force 0\.310 > 0\.05 eV/Å +20 s *", running)
    assert re.fullmatch(r"1 of 3 calculations .* 0\.0 s, about 4 min 10 s left *", whole)


RUN_IN_TERMINAL = """
import logging, time
from rich.console import Console
from qdip_dft.execution.progress import ProgressDisplay
from qdip_dft.model.progress import ProgressEvent, ProgressKind

log = logging.getLogger("qdip_dft.progress")
with ProgressDisplay({"interface": 1.0}, console=Console(stderr=True)):
    for kind in (ProgressKind.STARTED, ProgressKind.STEP, ProgressKind.FINISHED):
        log.info("", extra={"progress": ProgressEvent(kind, "interface", 164, 3, 300, 0.04, 0.05)})
        print("a library prints")
        time.sleep(0.4)
"""


def test_a_real_terminal_is_left_tidy() -> None:
    ours, theirs = pty.openpty()
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "TERM": "xterm",
        "COLUMNS": "100",
    }
    with subprocess.Popen(
        [sys.executable, "-c", RUN_IN_TERMINAL], stdout=theirs, stderr=theirs, env=environment
    ) as run:
        os.close(theirs)
        seen = b""
        while chunk := read_terminal(ours):
            seen += chunk
    os.close(ours)
    text = seen.decode()
    assert run.returncode == 0
    assert "Traceback" not in text
    assert "0 of 1 calculations" in text
    assert text.count("a library prints") == 3
    assert text.count("\x1b[?25l") == text.count("\x1b[?25h") == 1  # the cursor is hidden and shown again
    assert re.search(r"1 calculation in \d+(\.\d)? s\s*$", text)


def read_terminal(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65536)
    except OSError:  # Linux' way to say that the other side is closed
        return b""


# --- the run comes first ----------------------------------------------------------------------------------------


class BrokenFile(io.StringIO):
    """A terminal that went away."""

    def write(self, text: str, /) -> int:
        raise OSError(f"the terminal is gone before {text!r}")


@pytest.mark.parametrize("is_terminal", [False, True])
def test_a_broken_terminal_does_not_disturb_the_run(is_terminal: bool) -> None:
    console = Console(file=BrokenFile(), force_terminal=is_terminal)
    with ProgressDisplay(PLAN, console=console) as display:
        for label in PLAN:
            log(ProgressKind.STARTED, label)
            log(ProgressKind.FINISHED, label, elapsed_s=1)
    assert display.progress.ended.keys() == PLAN.keys()


def test_malformed_messages_do_not_disturb_the_run() -> None:
    console, file = make_console(is_terminal=False)
    with ProgressDisplay(PLAN, console=console):
        logger.info("no event at all")
        logger.info("not an event", extra={"progress": "half way"})
        log(ProgressKind.FINISHED, "interface", n_atoms="many", elapsed_s="soon")
        log(ProgressKind.FINISHED, "interface", elapsed_s=1)
    assert file.getvalue().splitlines()[0] == "[1/3] done   interface  (164 atoms, 0 steps, 1.0 s)"


def test_without_a_console_nothing_is_shown(capfd: pytest.CaptureFixture[str]) -> None:
    with ProgressDisplay(PLAN, console=None) as display:
        log(ProgressKind.FINISHED, "interface")
        try:
            raise ValueError("hidden")
        except ValueError:
            logger.exception("failed")
    assert display.progress.ended.keys() == {"interface"}
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("is_terminal", [False, True])
def test_an_interrupted_run_is_left_as_it_is(is_terminal: bool) -> None:
    def interrupt() -> None:
        with ProgressDisplay(PLAN, console=make_console(is_terminal=is_terminal)[0]):
            raise KeyboardInterrupt("Ctrl-C")

    handlers, level = list(logger.handlers), logger.level
    with pytest.raises(KeyboardInterrupt, match="Ctrl-C"):
        interrupt()
    assert logger.handlers == handlers
    assert logger.level == level


def measure_s(action: Callable[[], None]) -> float:
    start = time.process_time()
    action()
    return time.process_time() - start


def test_a_message_costs_less_than_a_millisecond() -> None:
    def log_thousand() -> None:
        for step in range(1000):
            log(ProgressKind.STEP, "interface", step=step, max_force_ev_per_ang=0.3)

    with ProgressDisplay(PLAN, console=make_console(is_terminal=True)[0]):
        assert measure_s(log_thousand) < 1.0

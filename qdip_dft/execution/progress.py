"""Live progress of a run: which calculation, its atoms, step and force, and how long everything will still take.

Jobs know no terminal: they log a `ProgressEvent` on ``qdip_dft.progress``, on a cluster into a file, here into a
display.  What goes wrong in the display never reaches the run.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from qdip_dft.execution.pace import estimate_rest_s
from qdip_dft.model.progress import ProgressEvent, ProgressKind
from qdip_dft.runtime.harmless import make_harmless
from qdip_dft.runtime.line_width import find_width, wrap_line

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.live import Live

logger = logging.getLogger("qdip_dft.progress")

REDRAWS_PER_S = 4
"""How often the terminal is redrawn, in 1/s."""

PLAIN_LINE_EVERY_S = 10.0
"""How often a running calculation gets a line where there is no terminal, in s."""

_ENDS = (ProgressKind.FINISHED, ProgressKind.FAILED)


@dataclass(frozen=True, slots=True)
class ActiveCalculation:
    """The first step of a running calculation, its latest message, and when that came, in s of the monotonic clock."""

    first: ProgressEvent
    event: ProgressEvent
    received_at_s: float

    def elapsed_s(self, now_s: float) -> float:
        """Return how long the calculation has been running, in s."""
        return self.event.elapsed_s + now_s - self.received_at_s

    def remaining_s(self, now_s: float, *, planned_s: float) -> float:
        """Return the time that is left in s: by its own steps, else what is left of the planned time."""
        rest_s = estimate_rest_s(self.first, self.event)
        left_s = planned_s - self.event.elapsed_s if rest_s is None else rest_s
        return max(left_s - (now_s - self.received_at_s), 0.0)


class RunProgress:
    """How far a run is, from the planned times and the messages of its calculations.

    Parameters
    ----------
    planned_s
        The estimated time of each calculation that is still to be made, in s, by label.
    """

    def __init__(self, planned_s: Mapping[str, float]) -> None:
        self.planned_s = dict(planned_s)
        self.active: dict[str, ActiveCalculation] = {}
        self.ended: dict[str, ProgressEvent] = {}

    def note(self, event: ProgressEvent, now_s: float) -> ProgressEvent:
        """Take in a message and return it with its place in the plan; what was not planned joins the plan."""
        self.planned_s.setdefault(event.label, 0.0)
        if event.kind in _ENDS:
            self.active.pop(event.label, None)
            self.ended[event.label] = event
        else:
            self.ended.pop(event.label, None)
            before = self.active.get(event.label)
            first = event if before is None or before.first.kind is ProgressKind.STARTED else before.first
            self.active[event.label] = ActiveCalculation(first, event, now_s)
        index = len(self.ended) + (0 if event.kind in _ENDS else len(self.active))
        return replace(event, index=event.index or index, total=event.total or len(self.planned_s))

    @property
    def n_failed(self) -> int:
        """Return how many calculations failed."""
        return sum(event.kind is ProgressKind.FAILED for event in self.ended.values())

    def correction(self) -> float:
        """Return the measured time of the finished calculations over their planned time; 1 before there are any."""
        finished = [e for e in self.ended.values() if e.kind is ProgressKind.FINISHED and self.planned_s[e.label] > 0]
        planned_s = sum(self.planned_s[event.label] for event in finished)
        measured_s = sum(event.elapsed_s for event in finished)
        return measured_s / planned_s if planned_s > 0 and measured_s > 0 else 1.0

    def remaining_s(self, now_s: float) -> float:
        """Return the estimated time until the end of the run, in s."""
        correction = self.correction()
        waiting = self.planned_s.keys() - self.active.keys() - self.ended.keys()
        rest_s = [
            calculation.remaining_s(now_s, planned_s=correction * self.planned_s[label])
            for label, calculation in self.active.items()
        ]
        return correction * sum(self.planned_s[label] for label in waiting) + sum(rest_s)


class ProgressDisplay:
    """Shows the progress of a run while it is entered.

    On a terminal: a line for each finished calculation, below them the running ones and the whole run.  Elsewhere:
    one plain line for each finished calculation and at most one line in 10 s for a running one.

    Parameters
    ----------
    planned_s
        The estimated time of each calculation that is still to be made, in s, by label.
    console
        Where to show it; None: silent.
    """

    def __init__(self, planned_s: Mapping[str, float], *, console: Console | None) -> None:
        self.progress = RunProgress(planned_s)
        self.console = console
        self._lock = threading.RLock()
        self._live: Live | None = None
        self._handler = _ProgressHandler(self)
        self._level_before = logging.NOTSET
        self._started_at_s = self._last_line_at_s = time.monotonic()

    def __enter__(self) -> Self:
        """Listen to the calculations."""
        self._level_before = logger.level
        logger.setLevel(logging.INFO)
        logger.addHandler(self._handler)
        self._started_at_s = self._last_line_at_s = time.monotonic()
        if self.console is not None and self.console.is_terminal and not self.console.is_dumb_terminal:
            self._live = _start_live(self, self.console)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop listening and leave a last line."""
        logger.removeHandler(self._handler)
        logger.setLevel(self._level_before)
        try:
            self._say_goodbye()
        except Exception:  # noqa: BLE001 (a broken terminal must not cost a finished run)
            self.console = None

    def show(self, event: ProgressEvent) -> None:
        """Show a message of a calculation."""
        with self._lock:
            now_s = time.monotonic()
            placed = self.progress.note(event, now_s)
            if event.kind in _ENDS:
                self._print(describe_end(placed, width=find_width()))
            elif self._live is None and now_s - self._last_line_at_s >= PLAIN_LINE_EVERY_S:
                self._print(f"{describe_step(placed)}; {_describe_rest(self.progress.remaining_s(now_s))}")

    def show_error(self, message: str) -> None:
        """Show why a calculation failed."""
        with self._lock:
            self._print(message)

    def render(self) -> RenderableType:
        """Return the running calculations and the whole run, as the terminal shows them."""
        from rich.console import Group

        with self._lock:
            now_s = time.monotonic()
            return Group(_render_active(self.progress, now_s), _render_run(self.progress, now_s, self._started_at_s))

    def _print(self, text: str) -> None:
        self._last_line_at_s = time.monotonic()
        if self.console is not None:
            self.console.print(wrap_line(text, indent=8), markup=False, highlight=False, soft_wrap=True)

    def _say_goodbye(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None
        if self.progress.ended:
            took = format_duration(time.monotonic() - self._started_at_s)
            failed = f", {self.progress.n_failed} of them failed" if self.progress.n_failed else ""
            plural = "" if len(self.progress.ended) == 1 else "s"
            self._print(f"{len(self.progress.ended)} calculation{plural} in {took}{failed}")


class _ProgressHandler(logging.Handler):
    """Hands messages of calculations to a display."""

    def __init__(self, display: ProgressDisplay) -> None:
        super().__init__(logging.INFO)
        self.display = display

    def emit(self, record: logging.LogRecord) -> None:
        try:
            event = getattr(record, "progress", None)
            if isinstance(event, ProgressEvent):
                self.display.show(replace(event, label=make_harmless(event.label)))
            elif record.exc_info and record.exc_info[1] is not None:
                error = record.exc_info[1]
                self.display.show_error(make_harmless(f"{record.getMessage()}: {type(error).__name__}: {error}"))
            elif record.levelno >= logging.WARNING:
                self.display.show_error(make_harmless(record.getMessage()))
        except Exception:  # noqa: BLE001 (whatever goes wrong in a display must not end a calculation)
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 (the name is logging's)
        """Leave the message out: the run matters more."""


def describe_end(event: ProgressEvent, *, width: int | None = None) -> str:
    """Return the line of a calculation that ended, with as much as fits into a number of columns."""
    facts = [f"{event.n_atoms} atoms"]
    if event.max_steps and event.kind is ProgressKind.FINISHED:
        facts.append(f"{event.step} {event.step_word}" + ("" if event.step == 1 else "s"))
    if event.max_force_ev_per_ang is not None:
        facts.append(_describe_force(event))
    facts.append(format_duration(event.elapsed_s))
    start = f"{_describe_place(event)} {_describe_outcome(event):<6} {event.label}"
    lines = [f"{start}  ({', '.join(facts[first:])})" for first in range(len(facts))]
    return next((line for line in lines if width is None or len(line) <= width), lines[-1])


def describe_step(event: ProgressEvent) -> str:
    """Return the line of a running calculation."""
    facts = [f"{event.n_atoms} atoms", f"{event.step_word} {event.step}"]
    if event.max_force_ev_per_ang is not None:
        facts.append(_describe_force(event))
    facts.append(format_duration(event.elapsed_s))
    return f"{_describe_place(event)} running {event.label}  ({', '.join(facts)})"


def format_duration(duration_s: float) -> str:
    """Return a time in words, such as ``2 min 05 s``, from seconds."""
    minutes, seconds = divmod(round(duration_s), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    if minutes:
        return f"{minutes} min {seconds:02d} s"
    return f"{duration_s:.1f} s" if duration_s < 9.95 else f"{seconds} s"


def _describe_outcome(event: ProgressEvent) -> str:
    if event.kind is ProgressKind.FAILED:
        return "FAILED"
    return "UNCONVERGED" if _is_above_threshold(event) else "done"


def _describe_rest(remaining_s: float) -> str:
    """Return the remaining time no finer than it is known."""
    return "a few seconds left" if remaining_s < 10 else f"about {format_duration(remaining_s)} left"


def _describe_place(event: ProgressEvent) -> str:
    width = len(str(event.total))
    return f"[{event.index:>{width}}/{event.total}]"


def _describe_force(event: ProgressEvent) -> str:
    """Return the largest force and, until it is reached, the threshold."""
    if _is_above_threshold(event):
        return f"force {event.max_force_ev_per_ang:.3f} > {event.force_threshold_ev_per_ang:g} eV/Å"
    return f"force {event.max_force_ev_per_ang:.3f} eV/Å"


def _is_above_threshold(event: ProgressEvent) -> bool:
    """Return whether a relaxation has not reached its threshold; a static calculation has none to reach."""
    force, threshold = event.max_force_ev_per_ang, event.force_threshold_ev_per_ang
    return force is not None and threshold is not None and event.max_steps > 0 and force > threshold


def _start_live(display: ProgressDisplay, console: Console) -> Live | None:
    from rich.live import Live

    live = Live(
        console=console, get_renderable=_Harmless(display), refresh_per_second=REDRAWS_PER_S, transient=True
    )  # fmt: skip
    try:
        live.start()
    except Exception:  # noqa: BLE001 (without a live display the run goes on with plain lines)
        return None
    return live


class _Harmless:
    """Renders a display, or nothing when that fails: rich calls it in a thread of its own."""

    def __init__(self, display: ProgressDisplay) -> None:
        self.display = display

    def __call__(self) -> Any:
        try:
            return self.display.render()
        except Exception:  # noqa: BLE001
            return ""


def _render_active(progress: RunProgress, now_s: float) -> RenderableType:
    from rich.table import Table

    table = Table.grid(padding=(0, 2, 0, 0), expand=True)
    table.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
    for _ in range(4):
        table.add_column(justify="right", no_wrap=True)
    for calculation in progress.active.values():
        event = calculation.event
        step = f"{event.step_word} {event.step}" if event.max_steps else "static"
        step = "starting" if event.kind is ProgressKind.STARTED else step
        force = "" if event.max_force_ev_per_ang is None else _describe_force(event)
        elapsed = format_duration(calculation.elapsed_s(now_s))
        table.add_row(event.label, f"{event.n_atoms} atoms", step, force, elapsed, style="bold")
    return table


def _render_run(progress: RunProgress, now_s: float, started_at_s: float) -> RenderableType:
    from rich.progress_bar import ProgressBar
    from rich.table import Table

    remaining_s, elapsed_s = progress.remaining_s(now_s), now_s - started_at_s
    table = Table.grid(padding=(0, 2, 0, 0), expand=True)
    table.add_column(no_wrap=True)
    table.add_column(ratio=1)
    table.add_column(no_wrap=True, justify="right")
    table.add_row(
        f"{len(progress.ended)} of {len(progress.planned_s)} calculations",
        ProgressBar(total=elapsed_s + remaining_s, completed=elapsed_s),
        f"{format_duration(elapsed_s)}, {_describe_rest(remaining_s)}",
    )
    return table

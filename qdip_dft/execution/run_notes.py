"""What a run says about itself in the results folder, so that others can watch it: ``run.json``.

The running process rewrites the file whole, at most once a second; whoever reads it needs no lock.  A killed run leaves
its file behind, from which the interrupted study is known.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from pydantic import ValidationError

from qdip_dft.execution.pace import estimate_rest_s
from qdip_dft.model.base import Record
from qdip_dft.model.progress import ProgressEvent, ProgressKind
from qdip_dft.model.study import StudySpec
from qdip_dft.runtime.unlinked import replace_text
from qdip_dft.storage.results_folder import NOTES_FILE, ResultsFolder

WRITE_EVERY_S = 1.0
"""How often the steps of a calculation are written down, in s."""


class RunningCalculation(Record):
    """A calculation that is under way.

    Parameters
    ----------
    label
        Its name within the study.
    started_at_s
        When it started, in s since 1970.
    step, max_steps
        Ionic steps made so far and allowed; 0 for a static calculation.
    max_force_ev_per_ang, force_threshold_ev_per_ang
        Largest force now, and where it ends, in eV/Å; None before they are known.
    rest_s
        The time that was left in s after the latest step, by its own steps; None where they do not tell.
    """

    label: str
    started_at_s: float
    step: int = 0
    max_steps: int = 0
    max_force_ev_per_ang: float | None = None
    force_threshold_ev_per_ang: float | None = None
    rest_s: float | None = None


class RunNotes(Record):
    """A run: who, what, and what it is calculating.

    Parameters
    ----------
    process_id, host
        The process and its machine.
    started_at
        UTC time as ISO 8601.
    study
        The study.
    folder
        Where the paths of its files start from on this machine.
    running
        What is being calculated.
    """

    process_id: int
    host: str
    started_at: str
    study: StudySpec
    folder: str = ""
    running: tuple[RunningCalculation, ...] = ()

    @property
    def is_alive(self) -> bool:
        """Return whether the run goes on; on another machine that cannot be seen and is taken for granted."""
        if self.host != socket.gethostname():
            return True
        try:
            os.kill(self.process_id, 0)  # asks only whether the process exists
        except (ProcessLookupError, OverflowError):
            return False
        except PermissionError:  # it belongs to somebody else
            return True
        return True


def read_run_notes(results: Path) -> RunNotes | None:
    """Return what the last run said, going on or interrupted; None when it ended properly or nothing can be read."""
    try:
        notes = RunNotes.model_validate_json((results / NOTES_FILE).read_bytes())
    except (OSError, ValidationError):
        return None
    return notes.model_copy(update={"study": notes.study.place_in(Path(notes.folder))})


class _Writer(logging.Handler):
    """Listens to the calculations of a run and keeps its notes."""

    def __init__(self, path: Path, notes: RunNotes) -> None:
        super().__init__(logging.INFO)
        self.path = path
        self.notes = notes
        self._first_steps: dict[str, ProgressEvent] = {}
        self._written_at_s = 0.0

    def emit(self, record: logging.LogRecord) -> None:
        event = getattr(record, "progress", None)
        if isinstance(event, ProgressEvent):
            self.note(event)

    def note(self, event: ProgressEvent) -> None:
        others = tuple(c for c in self.notes.running if c.label != event.label)
        ended = event.kind in {ProgressKind.FINISHED, ProgressKind.FAILED}
        if event.kind is ProgressKind.STEP:
            self._first_steps.setdefault(event.label, event)
        else:
            self._first_steps.pop(event.label, None)
        first = self._first_steps.get(event.label, event)
        running = others if ended else (*others, _describe(event, estimate_rest_s(first, event)))
        self.notes = self.notes.model_copy(update={"running": running})
        if event.kind is not ProgressKind.STEP or time.monotonic() - self._written_at_s >= WRITE_EVERY_S:
            self.write()

    def write(self) -> None:
        """Replace the file as a whole; a full disk must not end a run for the sake of its notes."""
        self._written_at_s = time.monotonic()
        with suppress(OSError):
            replace_text(self.path, json.dumps(self.notes.model_dump(mode="json")))


class NotedRun:
    """Keeps the notes of a run while it is entered; an interrupted run leaves them behind.

    Parameters
    ----------
    folder
        The results folder.
    study
        The study that runs.
    """

    def __init__(self, folder: ResultsFolder, study: StudySpec) -> None:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        host, place = socket.gethostname(), str(study.folder.absolute())
        notes = RunNotes(process_id=os.getpid(), host=host, started_at=now, study=study, folder=place)
        self._writer = _Writer(folder.path / NOTES_FILE, notes)
        self._logger = logging.getLogger("qdip_dft.progress")

    def __enter__(self) -> Self:
        """Write who runs what, and listen."""
        self._writer.write()
        self._logger.addHandler(self._writer)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop listening, and take the notes away after a proper end."""
        self._logger.removeHandler(self._writer)
        if kind is None:
            with suppress(OSError):
                self._writer.path.unlink(missing_ok=True)


def _describe(event: ProgressEvent, rest_s: float | None) -> RunningCalculation:
    return RunningCalculation(
        label=event.label,
        started_at_s=time.time() - event.elapsed_s,
        step=event.step,
        max_steps=event.max_steps,
        max_force_ev_per_ang=event.max_force_ev_per_ang,
        force_threshold_ev_per_ang=event.force_threshold_ev_per_ang,
        rest_s=rest_s,
    )

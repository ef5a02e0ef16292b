"""Who calculates: this process itself, or several worker processes with one thread each."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from qdip_dft.errors import MachineError, ScratchError
from qdip_dft.execution.assignments import Assignment
from qdip_dft.execution.worker import GRACE_S, PROGRESS_LOGGER

THREADS = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS"), "1")
"""One thread per worker: threads that wait for each other spin, and make each other 10 to 40 times slower."""

MOST_DEATHS = 2
"""After so many workers have died of a calculation it is given up."""

logger = logging.getLogger(PROGRESS_LOGGER)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an assignment ended.

    Parameters
    ----------
    assignment
        What was asked.
    record
        Its record as plain data; None if it was given up.
    """

    assignment: Assignment
    record: dict[str, Any] | None


class LoneWorker:
    """Calculates in this process, one assignment after the other.

    Parameters
    ----------
    checkpoints
        Folder for what unfinished calculations have found.
    """

    def __init__(self, checkpoints: Path) -> None:
        self.checkpoints = checkpoints
        self._assignment: Assignment | None = None

    @property
    def is_free(self) -> bool:
        """Whether another assignment can be started."""
        return self._assignment is None

    @property
    def is_busy(self) -> bool:
        """Whether an assignment waits to be calculated."""
        return self._assignment is not None

    def start(self, assignment: Assignment) -> None:
        """Take an assignment; it is calculated in `wait`."""
        self._assignment = assignment

    def wait(self) -> Iterator[Outcome]:
        """Calculate what was taken."""
        assignment, self._assignment = self._assignment, None
        if assignment is not None:
            yield Outcome(assignment, assignment.carry_out(self.checkpoints))

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End; nothing is left to be stopped."""


@dataclass(slots=True)
class _Worker:
    """A worker process and what it is at."""

    process: subprocess.Popen[bytes]
    connection: Connection
    output: IO[bytes]
    assignment: Assignment | None = None

    def last_words(self) -> str:
        """What it wrote last."""
        self.output.seek(0)
        lines = self.output.read().decode(errors="replace").strip().splitlines()
        return lines[-1][:300] if lines else "it wrote nothing"


@dataclass
class WorkerCrew:
    """Several worker processes; one that dies is replaced, and its calculation is tried once more, alone.

    What ends a process is nothing that a calculation may be blamed for: most often the memory was full.  Such an end is
    never stored.  A calculation of which two workers have died is given up and named.

    Parameters
    ----------
    size
        Number of processes.
    checkpoints
        Folder for what unfinished calculations have found.
    """

    size: int
    checkpoints: Path
    given_up: dict[str, str] = field(default_factory=dict)
    _workers: list[_Worker] = field(default_factory=list)
    _deaths: Counter[str] = field(default_factory=Counter)
    _postponed: list[Assignment] = field(default_factory=list)

    @property
    def is_free(self) -> bool:
        """Whether another assignment can be started; none is while one that killed its worker runs alone."""
        busy = self._list_busy()
        is_alone = any(self._deaths[worker.assignment.key] for worker in busy if worker.assignment is not None)
        return len(busy) < self.size and not is_alone and not self._postponed

    @property
    def is_busy(self) -> bool:
        """Whether anything is being calculated or is to be tried again."""
        return bool(self._list_busy() or self._postponed)

    def start(self, assignment: Assignment) -> None:
        """Give an assignment to a worker that is free, or to a new one."""
        free = next((worker for worker in self._workers if worker.assignment is None), None)
        worker = free or self._hire()
        worker.assignment = assignment
        try:
            worker.connection.send(assignment)
        except (BrokenPipeError, ConnectionResetError):  # it has died while it was idle
            self._dismiss(worker)
            self.start(assignment)

    def wait(self) -> Iterator[Outcome]:
        """Wait until a worker says something; yield what has ended."""
        if self._postponed and not self._list_busy():
            self.start(self._postponed.pop())
        by_connection = {worker.connection: worker for worker in self._workers}
        for connection in wait(list(by_connection)):
            worker = by_connection[connection]  # type: ignore[index]
            try:
                kind, content = worker.connection.recv()
            except (EOFError, OSError):
                yield from self._bury(worker)
                continue
            yield from self._take(worker, kind, content)

    def __enter__(self) -> Self:
        """Begin; a worker is started when there is something for it."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop all workers; one that calculates stops its code first."""
        for worker in self._workers:
            worker.connection.close()
        while self._workers:
            self._dismiss(self._workers[0])

    def _list_busy(self) -> list[_Worker]:
        return [worker for worker in self._workers if worker.assignment is not None]

    def _take(self, worker: _Worker, kind: str, content: Any) -> Iterator[Outcome]:
        if kind == "event":
            logger.info("%s: %s", content.kind.value, content.label, extra={"progress": content})
        elif kind == "note":
            logger.warning("%s", content)
        elif kind == "raised" and isinstance(content, MachineError) and not isinstance(content, ScratchError):
            yield from self._bury(worker, content.what)
        elif kind == "raised":
            raise content
        elif worker.assignment is not None:
            assignment, worker.assignment = worker.assignment, None
            yield Outcome(assignment, content)

    def _bury(self, worker: _Worker, fault: str | None = None) -> Iterator[Outcome]:
        """Let a calculation whose worker has died or met a fault of the machine be tried again, or give it up."""
        assignment = worker.assignment
        reason = fault or f"its process ended with {_describe_end(_end(worker.process))}; {worker.last_words()}"
        self._dismiss(worker)
        if assignment is None:
            return
        self._deaths[assignment.key] += 1
        if self._deaths[assignment.key] < MOST_DEATHS:
            logger.warning("%s: %s; it is tried once more, alone", assignment.label, reason)
            self._postponed.append(assignment)
            return
        self.given_up[assignment.label] = reason
        yield Outcome(assignment, None)

    def _hire(self) -> _Worker:
        mine, theirs = Pipe()
        output = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the worker)
        command = [sys.executable, "-m", "qdip_dft.execution.worker", str(theirs.fileno()), str(self.checkpoints)]
        process = subprocess.Popen(
            command,
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=os.environ | THREADS,
            start_new_session=True,  # Ctrl-C reaches the run alone, which stops its workers in order
        )
        theirs.close()
        worker = _Worker(process, mine, output)
        self._workers.append(worker)
        return worker

    def _dismiss(self, worker: _Worker) -> None:
        """End a process, within the time that it needs to stop a code."""
        self._workers.remove(worker)
        worker.connection.close()
        _end(worker.process)
        worker.output.close()


def _end(process: subprocess.Popen[bytes]) -> int:
    """Wait until a process has ended, within the time that it needs to stop a code; return its exit code."""
    try:
        return process.wait(2 * GRACE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def _describe_end(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    name = signal.Signals(-code).name
    return f"{name} (most often: out of memory)" if -code == signal.SIGKILL else name


Crew = LoneWorker | WorkerCrew
"""Takes assignments and hands back records."""


def explain_given_up(given_up: dict[str, str]) -> MachineError:
    """Return the error that names the calculations of which workers have died."""
    named = "; ".join(f"{label}: {reason}" for label, reason in given_up.items())
    return MachineError(
        f"{len(given_up)} calculations were given up ({named})",
        limit=f"a calculation is tried {MOST_DEATHS} times, the second time alone",
        why="a process that is killed says nothing about the structure; nothing was stored, and the terms are missing",
        remedy="free memory or take a larger machine, and run the same command again with --workers 1",
    )

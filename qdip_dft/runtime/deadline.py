"""When the running job must have stopped, and stopping between two evaluations before that.

A batch system kills what still runs at the end of its allocation.  A job therefore asks before every evaluation whether
one more fits, taken to last half as long again as the longest so far; if not it raises `OutOfTime`, and whoever runs
the job puts it back into the queue.  What was evaluated lies on disk, so the next run goes on where this one stopped.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from math import inf

from qdip_dft.errors import EngineError, OutOfTime

END_VARIABLE = "QDIP_WALLTIME_END"
"""Environment variable with the Unix time in s at which the allocation ends; none: there is no hurry."""

SLURM_END_VARIABLE = "SLURM_JOB_END_TIME"
"""What newer versions of Slurm tell their jobs."""

MARGIN_VARIABLE = "QDIP_WALLTIME_MARGIN"
"""Environment variable with the time in s to be left at the end; none: `MARGIN_S`."""

MARGIN_S = 60.0
"""Time for storing what is there and putting the job back into the queue."""

LONGER = 1.5
"""The next evaluation may take so many times as long as the longest so far."""


@dataclass(slots=True)
class Deadline:
    """The end of an allocation and how long evaluations take.

    Parameters
    ----------
    end_s
        Unix time at which everything is killed, in s.
    margin_s
        Time to be left then, in s.
    longest_s
        Duration of the longest evaluation so far, in s.
    """

    end_s: float = inf
    margin_s: float = MARGIN_S
    longest_s: float = 0.0

    @classmethod
    def from_environment(cls) -> Deadline:
        """Return the end that the environment names; without one there is no end."""
        end_s = _read_seconds(END_VARIABLE, _read_seconds(SLURM_END_VARIABLE, inf))
        return cls(end_s=end_s, margin_s=_read_seconds(MARGIN_VARIABLE, MARGIN_S))

    @property
    def usable_s(self) -> float:
        """Return for how long a code may run from now on, in s; codes that can stop themselves are told this."""
        return self.end_s - time.time() - self.margin_s

    def note(self, duration_s: float) -> None:
        """Take the duration of an evaluation into account, also one of an earlier run."""
        self.longest_s = max(self.longest_s, duration_s)

    def require_time(self) -> None:
        """Refuse to begin an evaluation that may not end in time.

        Raises
        ------
        OutOfTime
            If less is left than the longest evaluation with half as much again.
        """
        needed_s = LONGER * self.longest_s
        if self.usable_s > needed_s:
            return
        raise OutOfTime(
            f"the allocation ends in {max(0.0, self.end_s - time.time()):.0f} s",
            limit=f"the next evaluation may take {needed_s:.0f} s, and {self.margin_s:.0f} s are kept for storing",
            why="it would be killed in the middle",
            remedy="run the same again with more time: it resumes where it stopped",
        )

    @contextmanager
    def evaluation(self) -> Iterator[None]:
        """Surround one evaluation: begin it only if it may end in time, and learn how long it takes."""
        self.require_time()
        start_s = time.perf_counter()
        yield
        self.note(time.perf_counter() - start_s)


_deadline_of_job: ContextVar[Deadline | None] = ContextVar("deadline", default=None)


@contextmanager
def working_until(deadline: Deadline) -> Iterator[Deadline]:
    """Make a deadline that of everything which runs inside; each job has its own, which learns from its evaluations."""
    token = _deadline_of_job.set(deadline)
    try:
        yield deadline
    finally:
        _deadline_of_job.reset(token)


def current_deadline() -> Deadline:
    """Return the deadline of the running job; outside of any job there is no end."""
    return _deadline_of_job.get() or Deadline()


def interrupt_job() -> None:
    """Make the running job stop at once, in the middle of an evaluation; called where a signal is handled.

    Raises
    ------
    OutOfTime
        If a job is running.
    """
    if _deadline_of_job.get() is None:
        return
    raise OutOfTime(
        "the batch system ends this job",
        limit="it kills what does not stop within seconds",
        why="the evaluation that was running is lost",
        remedy="run the same again: it resumes where it stopped",
    )


def _read_seconds(variable: str, otherwise_s: float) -> float:
    text = os.environ.get(variable)
    try:
        return otherwise_s if text is None else float(text)
    except ValueError:
        raise EngineError(
            f"{variable} is {text!r}",
            limit="it must be a number of seconds",
            why="nobody would know when to stop, and the run would be killed in the middle",
            remedy=f"unset {variable}, or set it as in: export {END_VARIABLE}=$(( $(date +%s) + 3600 ))",
        ) from None

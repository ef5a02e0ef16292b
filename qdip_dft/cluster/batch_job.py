"""What a process knows about the batch job that it runs in: its number, and when it ends."""

from __future__ import annotations

import os
import re

from qdip_dft.cluster.resources import Scheduler
from qdip_dft.errors import ResultsError
from qdip_dft.runtime.deadline import END_VARIABLE, SLURM_END_VARIABLE

BATCH_VARIABLE = "QDIP_BATCH"
"""Set by our batch scripts: the batch system, the wall time as it was asked for, and the Unix time of the start in s.

Slurm of 2022 does not tell its jobs when they end, PBS and SGE never do."""

JOB_NUMBER_VARIABLES = ("SLURM_JOB_ID", "PBS_JOBID", "JOB_ID")
"""Where Slurm, PBS and SGE tell a job its number."""

_WALLTIME = re.compile(r"(?:(?P<days>\d+)-)?(?P<fields>\d+(?::\d+){0,2})")


def find_batch_job_number() -> str | None:
    """Return the number of the batch job that this process runs in; None outside of any."""
    number = next((os.environ[name] for name in JOB_NUMBER_VARIABLES if name in os.environ), None)
    return None if number is None else number.split(".")[0]


def announce_end() -> None:
    """Let everything in this process know when its batch job ends, unless it is known already."""
    if END_VARIABLE in os.environ or SLURM_END_VARIABLE in os.environ or BATCH_VARIABLE not in os.environ:
        return
    scheduler, walltime, start_s = os.environ[BATCH_VARIABLE].split()
    os.environ[END_VARIABLE] = str(float(start_s) + parse_walltime_s(walltime, Scheduler(scheduler)))


def parse_walltime_s(walltime: str, scheduler: Scheduler) -> float:
    """Return a wall time in s, written as the batch system writes it.

    ``30`` is half an hour for Slurm and half a minute for PBS and SGE; ``1-12`` is one and a half days, ``2:30`` is two
    and a half minutes.

    Raises
    ------
    ResultsError
        If it cannot be understood.
    """
    found = _WALLTIME.fullmatch(walltime)
    if found is None:
        raise ResultsError(
            f"the wall time {walltime!r} cannot be understood",
            limit="it is written as hours:minutes:seconds, for Slurm also as days-hours:minutes:seconds",
            why="jobs would not stop before they are killed",
            remedy="correct it in my_qadapter.yaml",
        )
    fields = [float(field) for field in found["fields"].split(":")]
    if found["days"] is not None:
        return 86400.0 * float(found["days"]) + _add_up(fields, first=3600.0)
    if len(fields) == 1:
        return fields[0] * (60.0 if scheduler is Scheduler.SLURM else 1.0)
    return _add_up(fields, first=60.0 ** (len(fields) - 1))


def _add_up(fields: list[float], *, first: float) -> float:
    """Return the sum of fields of which each counts a sixtieth of the one before."""
    return sum(field * first / 60.0**place for place, field in enumerate(fields))

"""Asking a batch system which jobs it still knows, and cancelling jobs."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass

from qdip_dft.cluster.resources import Scheduler
from qdip_dft.errors import ResultsError

LIST_COMMANDS = {
    # All users' jobs: the queue launcher may run under another account than this command.
    Scheduler.SLURM: ("squeue", "--noheader", "--format=%A", "--states="),
    Scheduler.PBS: ("qstat",),
    Scheduler.SGE: ("qstat", "-u", "*"),
}
CANCEL_COMMANDS = {Scheduler.SLURM: "scancel", Scheduler.PBS: "qdel", Scheduler.SGE: "qdel"}
SUBMIT_COMMANDS = {Scheduler.SLURM: "sbatch", Scheduler.PBS: "qsub", Scheduler.SGE: "qsub"}

JOB_NUMBER = re.compile(r"^\s*(\d+)", re.MULTILINE)
ALIVE_IN_SLURM = "PENDING,RUNNING,SUSPENDED,COMPLETING,CONFIGURING,RESIZING,REQUEUED,STOPPED,SIGNALING,STAGE_OUT"
TIMEOUT_S = 30
JOB_NAME = "qdip-"
"""What the names of our batch jobs begin with (``my_qadapter.yaml``)."""


@dataclass(frozen=True, slots=True)
class WaitingJob:
    """A batch job of this package that waits.

    Parameters
    ----------
    number, name
        As the batch system has them.
    reason
        Why it waits, in the batch system's words.
    """

    number: str
    name: str
    reason: str


def list_waiting_jobs(scheduler: Scheduler) -> tuple[WaitingJob, ...]:
    """The batch jobs of this package that wait, with the reason; Slurm alone says one.

    Raises
    ------
    ResultsError
        If the batch system does not answer.
    """
    if scheduler is not Scheduler.SLURM:
        return ()
    lines = _run(["squeue", "--noheader", "--states=PENDING", "--format=%A|%j|%r"]).splitlines()
    found = (line.strip().split("|", 2) for line in lines if line.count("|") >= 2)
    return tuple(WaitingJob(*parts) for parts in found if parts[1].startswith(JOB_NAME))


def list_live_jobs(scheduler: Scheduler) -> frozenset[str]:
    """Return the numbers of all jobs that wait or run.

    Raises
    ------
    ResultsError
        If the batch system does not answer; then nothing is known about any job.
    """
    command = list(LIST_COMMANDS[scheduler])
    if scheduler is Scheduler.SLURM:
        command[-1] = f"--states={ALIVE_IN_SLURM}"
    return frozenset(JOB_NUMBER.findall(_run(command)))


def _run(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=TIMEOUT_S)
    except (OSError, subprocess.SubprocessError) as error:
        complaint = getattr(error, "stderr", None) or str(error)
        raise ResultsError(
            f"{command[0]} does not answer ({str(complaint).strip()})",
            limit=f"it must be on PATH ({shutil.which(command[0]) or 'it is not'}) and reach the batch system",
            why="without it nobody knows which jobs are lost",
            remedy="run this on a machine that submits jobs; scheduler in resources.yaml names the batch system",
        ) from error
    return done.stdout

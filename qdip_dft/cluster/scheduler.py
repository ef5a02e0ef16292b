"""Asking a batch system which jobs it still knows, why one waits and why one has ended."""

from __future__ import annotations

import re
import shutil
import signal
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
END_COMMANDS = {
    # The first that answers: the controller forgets a job after minutes, and accounting may be switched off.
    Scheduler.SLURM: (
        ("scontrol", "--oneliner", "show", "job"),
        ("sacct", "--noheader", "--parsable2", "--format=State,ExitCode", "--jobs"),
    ),
    Scheduler.PBS: (("qstat", "-x", "-f"),),
    Scheduler.SGE: (("qacct", "-j"),),
}
"""What tells how the job of a number ended, the number to be appended."""

LIST_WAITING = {Scheduler.SLURM: "squeue", Scheduler.PBS: "qstat -f NUMBER", Scheduler.SGE: "qstat -j NUMBER"}
"""What a person asks why a batch job waits; of Slurm alone the answer is read here."""

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


_SAYS_MEMORY = re.compile(r"\bOUT_OF_MEM\w*|job killed: p?v?mem[^\n]*")
_ON_PURPOSE = re.compile(r"\b(?:CANCELLED|TIMEOUT|NODE_FAIL|PREEMPTED|BOOT_FAIL|DEADLINE)\b")
"""States in which Slurm itself has killed a job, for another reason than its memory."""

_EXIT_CODE = re.compile(r"(?:ExitCode=|\||exit_status(?: =)? +)(?P<code>\d+)(?::(?P<signal>\d+))?\b", re.IGNORECASE)
"""As Slurm (code:signal), PBS and SGE write it; killed by a signal: 128 or 256 more than its number."""


def explain_end(scheduler: Scheduler, number: str) -> str | None:
    """Why a batch job has ended, where that was its memory; None: otherwise, or nobody knows any more.

    A SIGKILL that the batch system does not say to have sent is taken for that of the kernel, which ends so what fills
    the memory.

    Parameters
    ----------
    scheduler
        The batch system.
    number
        Of the job.
    """
    for command in END_COMMANDS[scheduler]:
        try:
            said = _run([*command, number])
        except ResultsError:
            continue
        cause = _find_cause(said)
        if cause is not None:
            return f"batch job {number} was killed, most likely because its memory was full ({command[0]}: {cause})"
    return None


def _find_cause(said: str) -> str | None:
    found = _SAYS_MEMORY.search(said)
    if found is not None:
        return found[0]
    if _ON_PURPOSE.search(said):
        return None
    return next((code[0].strip("|") for code in _EXIT_CODE.finditer(said) if _is_killed(code)), None)


def _is_killed(exit_code: re.Match[str]) -> bool:
    code, sent = int(exit_code["code"]), exit_code["signal"]
    return (code >= 128 and code % 128 == signal.SIGKILL) or sent == str(signal.SIGKILL.value)


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

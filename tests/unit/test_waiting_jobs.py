"""Why batch jobs wait, as Slurm says it, and which ones have ended because their memory was full."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from qdip_dft.cluster.resources import Scheduler
from qdip_dft.cluster.scheduler import WaitingJob, explain_end, list_waiting_jobs
from qdip_dft.errors import ResultsError


@pytest.fixture
def squeue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A squeue whose answer is a file."""
    program = tmp_path / "squeue"
    program.write_text(f"#!/bin/sh\ncat {tmp_path}/answer\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return tmp_path / "answer"


def test_every_waiting_job_of_ours_has_the_reason_of_the_scheduler(squeue: Path) -> None:
    drained = "ReqNodeNotAvail, UnavailableNodes:node1 (drained)"
    squeue.write_text(f"12|qdip-dft|{drained}\n13|somebody-else|Priority\n14|qdip-mlip|Resources\n")
    assert list_waiting_jobs(Scheduler.SLURM) == (
        WaitingJob("12", "qdip-dft", drained),
        WaitingJob("14", "qdip-mlip", "Resources"),
    )


def test_without_waiting_jobs_nothing_is_said(squeue: Path) -> None:
    squeue.write_text("")
    assert list_waiting_jobs(Scheduler.SLURM) == ()
    assert list_waiting_jobs(Scheduler.PBS) == ()


@pytest.mark.usefixtures("squeue")
def test_a_scheduler_that_does_not_answer_is_named() -> None:
    with pytest.raises(ResultsError, match="run this on a machine that submits jobs"):
        list_waiting_jobs(Scheduler.SLURM)


CONTROLLER = "JobId=12 JobName=qdip-dft JobState="
ENDED = [
    ((Scheduler.SLURM, "scontrol"), f"{CONTROLLER}OUT_OF_MEMORY Reason=OutOfMemory ExitCode=0:125", True),
    ((Scheduler.SLURM, "scontrol"), f"{CONTROLLER}FAILED Reason=RaisedSignal:9(Killed) ExitCode=0:9", True),
    ((Scheduler.SLURM, "scontrol"), f"{CONTROLLER}FAILED Reason=NonZeroExitCode ExitCode=137:0", True),
    ((Scheduler.SLURM, "scontrol"), f"{CONTROLLER}CANCELLED Reason=None ExitCode=0:9", False),
    ((Scheduler.SLURM, "scontrol"), f"{CONTROLLER}TIMEOUT Reason=TimeLimit TimeLimit=00:01:00 ExitCode=0:9", False),
    ((Scheduler.SLURM, "scontrol"), f"{CONTROLLER}FAILED Reason=NonZeroExitCode ExitCode=9:0", False),
    ((Scheduler.SLURM, "scontrol"), f"{CONTROLLER}COMPLETED Reason=None ExitCode=0:0", False),
    ((Scheduler.SLURM, "sacct"), "FAILED|0:0\nOUT_OF_MEMORY|0:125\nCANCELLED by 0|0:9\n", True),
    ((Scheduler.SLURM, "sacct"), "NODE_FAIL|1:0\nCANCELLED|0:9\n", False),
    ((Scheduler.PBS, "qstat"), "Job Id: 12.host\n    job_state = F\n    Exit_status = 265\n", True),
    (
        (Scheduler.PBS, "qstat"),
        "    Exit_status = -29\n    comment = job killed: mem 200kb exceeded limit 100kb\n",
        True,
    ),
    ((Scheduler.PBS, "qstat"), "    Exit_status = 271\n    comment = terminated by its owner\n", False),
    ((Scheduler.SGE, "qacct"), "failed       100 : assumedly after job\nexit_status  137     (Killed)\n", True),
    ((Scheduler.SGE, "qacct"), "failed       0\nexit_status  0\n", False),
]


@pytest.mark.parametrize(("asked", "said", "is_memory"), ENDED)
def test_a_job_that_the_kernel_has_killed_is_told_from_one_that_the_batch_system_has(
    asked: tuple[Scheduler, str], said: str, is_memory: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scheduler, program = asked
    answer = tmp_path / "answer"
    answer.write_text(said)
    script = tmp_path / program
    script.write_text(f"#!/bin/sh\n/bin/cat {answer}\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    found = explain_end(scheduler, "12")
    assert (found is not None) is is_memory, found
    assert found is None or "batch job 12 was killed, most likely because its memory was full" in found


def test_nobody_knows_the_end_of_a_job_where_no_batch_system_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert explain_end(Scheduler.SGE, "12") is None

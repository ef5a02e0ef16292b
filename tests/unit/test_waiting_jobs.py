"""Why batch jobs wait, as Slurm says it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from qdip_dft.cluster.resources import Scheduler
from qdip_dft.cluster.scheduler import WaitingJob, list_waiting_jobs
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

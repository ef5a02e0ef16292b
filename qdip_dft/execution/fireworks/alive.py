"""Signs of life of a running job.

FireWorks' own thread for this ends at the first error of the database, and a run that outlives an outage would be taken
for lost and calculated a second time.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fireworks import LaunchPad

REPORT_INTERVAL_S = 30.0

JOB_NUMBER_VARIABLES = ("SLURM_JOB_ID", "PBS_JOBID", "JOB_ID")
"""Where Slurm, PBS and SGE tell a job its number."""


@contextmanager
def report_alive(launchpad: LaunchPad, fw_id: int, *, interval_s: float = REPORT_INTERVAL_S) -> Iterator[None]:
    """Say which batch job this run belongs to, and report every so many seconds while it lasts."""
    launch = launchpad.launches.find_one_and_update(
        {"fw_id": fw_id, "state": "RUNNING"},
        {"$set": {"batch_job": find_batch_job_number()}},
        {"launch_id": 1},
        sort=[("launch_id", -1)],
    )
    is_done = Event()
    arguments = (launchpad, launch["launch_id"], is_done, interval_s)
    thread = Thread(target=_report, args=arguments, daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_done.set()


def find_batch_job_number() -> str | None:
    """Return the number of the batch job that this process runs in; None outside of any."""
    number = next((os.environ[name] for name in JOB_NUMBER_VARIABLES if name in os.environ), None)
    return None if number is None else number.split(".")[0]


def _report(launchpad: LaunchPad, launch_id: int, is_done: Event, interval_s: float) -> None:
    from pymongo.errors import PyMongoError

    while not is_done.wait(interval_s):
        try:
            launchpad.ping_launch(launch_id)
        except PyMongoError:
            continue  # the next report may get through

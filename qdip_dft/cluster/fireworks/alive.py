"""Signs of life of a running job.

FireWorks' own thread for this ends at the first error of the database, and a run that outlives an outage would be taken
for lost and calculated a second time.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from threading import Thread
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fireworks import LaunchPad

REPORT_INTERVAL_S = 30.0


@contextmanager
def report_alive(launchpad: LaunchPad, fw_id: int, *, interval_s: float = REPORT_INTERVAL_S) -> Iterator[None]:
    """Report every so many seconds while it lasts; a short one reports nothing beyond its beginning and its end."""
    reporter, job = _start_reporter(interval_s), _RunningJob(launchpad, fw_id)
    reporter.running.add(job)
    try:
        yield
    finally:
        reporter.running.discard(job)


@dataclass(frozen=True, eq=False)
class _RunningJob:
    """A job that is running; two of them are never equal."""

    launchpad: LaunchPad
    fw_id: int

    def report(self) -> None:
        """Report once."""
        from fireworks import LaunchPad
        from pymongo.errors import PyMongoError

        criteria = {"fw_id": self.fw_id, "state": "RUNNING"}
        try:
            launch = self.launchpad.launches.find_one(criteria, {"launch_id": 1}, sort=[("launch_id", -1)])
            if launch is not None:
                LaunchPad.ping_launch(self.launchpad, launch["launch_id"])  # a worker's own queue has none
        except PyMongoError:
            return  # the next report may get through


class _Reporter(Thread):
    """The one thread of a process that reports, for as long as the process lives: a thread for each job costs more.

    It wakes at a fixed interval, so that the first report of a job comes after that time at the latest.
    """

    def __init__(self, interval_s: float) -> None:
        super().__init__(daemon=True)
        self.interval_s = interval_s
        self.running: set[_RunningJob] = set()

    def run(self) -> None:
        """Report what is running."""
        while True:
            time.sleep(self.interval_s)
            for job in list(self.running):
                job.report()


@cache
def _start_reporter(interval_s: float) -> _Reporter:
    reporter = _Reporter(interval_s)
    reporter.start()
    return reporter

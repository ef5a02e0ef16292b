"""Signs of life of a running job.

FireWorks' own thread for this ends at the first error of the database, and a run that outlives an outage would be taken
for lost and calculated a second time.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fireworks import LaunchPad

REPORT_INTERVAL_S = 30.0


@contextmanager
def report_alive(launchpad: LaunchPad, fw_id: int, *, interval_s: float = REPORT_INTERVAL_S) -> Iterator[None]:
    """Report every so many seconds while it lasts; a short one reports nothing beyond its beginning and its end."""
    is_done = Event()
    arguments = (launchpad, fw_id, is_done, interval_s)
    thread = Thread(target=_report, args=arguments, daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_done.set()


def _report(launchpad: LaunchPad, fw_id: int, is_done: Event, interval_s: float) -> None:
    from fireworks import LaunchPad
    from pymongo.errors import PyMongoError

    running = {"fw_id": fw_id, "state": "RUNNING"}
    while not is_done.wait(interval_s):
        try:
            launch = launchpad.launches.find_one(running, {"launch_id": 1}, sort=[("launch_id", -1)])
            if launch is not None:
                LaunchPad.ping_launch(launchpad, launch["launch_id"])  # a worker's own queue has none
        except PyMongoError:
            continue  # the next report may get through

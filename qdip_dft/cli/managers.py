"""The two cluster managers behind one interface; each is imported when it is used."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from qdip_dft.cluster.database import ClusterDatabase, Manager, SubmissionState
from qdip_dft.cluster.fireworks import control
from qdip_dft.cluster.orders import Orders
from qdip_dft.cluster.queue import Queue, StudyStatus
from qdip_dft.cluster.remote import control as remote_control
from qdip_dft.cluster.submission import restore_plan, submit_through

if TYPE_CHECKING:
    from qdip_dft.cluster.folder import ClusterFolder


@contextmanager
def open_queue(folder: ClusterFolder, manager: Manager) -> Iterator[Queue]:
    """Yield the connected queue of a manager."""
    if manager is Manager.FIREWORKS:
        with folder.open_launchpad() as launchpad:
            from qdip_dft.cluster.fireworks.queue import FireworksQueue

            yield FireworksQueue(launchpad)
        return
    from qdip_dft.cluster.remote.project import open_controller
    from qdip_dft.cluster.remote.queue import RemoteQueue

    with open_controller(folder) as controller:
        yield RemoteQueue(controller)


def list_all_statuses(folder: ClusterFolder, *, study: str | None, term: str | None) -> list[StudyStatus]:
    """Return how far the submitted studies are, whoever carries them out, in the order of their names."""
    with folder.open_launchpad() as launchpad:
        database = ClusterDatabase(launchpad.db)
        found = [
            *control.list_statuses(database, study=study, term=term),
            *remote_control.list_statuses(database, study=study, term=term),
        ]
    return sorted(found, key=lambda status: status.study)


class Action(StrEnum):
    """What can be done with a submitted study."""

    PAUSE = "paused"
    RESUME = "resumed"
    CANCEL = "cancelled"
    RERUN = "started again"


FIREWORKS_ACTIONS: dict[Action, Callable[..., int]] = {
    Action.PAUSE: control.pause_study,
    Action.RESUME: control.resume_study,
    Action.CANCEL: control.cancel_study,
    Action.RERUN: control.rerun_failed,
}
REMOTE_ACTIONS: dict[Action, Callable[..., int]] = {
    Action.PAUSE: remote_control.pause,
    Action.RESUME: remote_control.resume,
    Action.CANCEL: remote_control.cancel,
    Action.RERUN: remote_control.rerun,
}


def act_on_study(folder: ClusterFolder, action: Action, study: str, *, term: str | None) -> int:
    """Do something with a submitted study, whoever carries it out; return how many jobs are concerned.

    Raises
    ------
    ResultsError
        If no such study was submitted.
    """
    count = 0
    with folder.open_launchpad() as launchpad:
        managers = set(ClusterDatabase(launchpad.db).submissions.distinct("manager", {"study": study}))
        if managers != {Manager.REMOTE.value}:
            count += FIREWORKS_ACTIONS[action](launchpad, study, term=term)
    if Manager.REMOTE.value in managers:
        with open_queue(folder, Manager.REMOTE) as queue:
            count += REMOTE_ACTIONS[action](queue, study, term=term)
    if action is Action.RERUN and term is None:
        count += retry_ended(folder, study)
    return count


def retry_ended(folder: ClusterFolder, study: str) -> int:
    """Make a new attempt of what failed or did not converge in a study that has its result; return how many jobs.

    As long as a study goes on nothing is tried again: what depends on the failure is left out, the rest still comes.
    """
    with folder.open_launchpad() as launchpad:
        ended = {"study": study, "state": SubmissionState.FINISHED.value}
        submissions = list(ClusterDatabase(launchpad.db).submissions.find(ended))
    count = 0
    for submission in submissions:
        orders = Orders.model_validate(submission["orders"])
        options: dict[str, Any] = {"resources": orders.resources, "priority": orders.priority, "is_retry": True}
        with open_queue(folder, Manager(submission.get("manager", Manager.FIREWORKS))) as queue:
            count += submit_through(queue, restore_plan(submission), **options).n_fireworks
    return count

"""jobflow-remote's project in a cluster folder: its workers, and the group's database that it shares with FireWorks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qdip_dft.cluster.database import ClusterDatabase
from qdip_dft.cluster.folder import read_settings
from qdip_dft.errors import ResultsError
from qdip_dft.runtime.installation import install_hint

if TYPE_CHECKING:
    from jobflow_remote import JobController
    from jobflow_remote.config.base import Project

    from qdip_dft.cluster.folder import ClusterFolder

PROJECT = "qdip"
"""Name of the project, and of its file without the ending."""


@contextmanager
def open_controller(folder: ClusterFolder) -> Iterator[JobController]:
    """Yield jobflow-remote's connection to the database of a cluster folder.

    Raises
    ------
    ResultsError
        If jobflow-remote is missing, the folder has no project, or the database refuses.
    """
    project = read_project(folder)
    from jobflow_remote import JobController
    from pymongo.errors import PyMongoError

    try:
        controller = JobController.from_project(project)
        controller.db.command("listCollections", nameOnly=True, authorizedCollections=True)
    except PyMongoError as error:
        raise _unreachable(folder.remote_project_file, str(error).split(",")[0]) from None
    try:
        prepare(controller)
        yield controller
    finally:
        controller.close()


def read_project(folder: ClusterFolder) -> Project:
    """Return the project of a cluster folder; from now on jobflow-remote's own tools in this process use it, too.

    Raises
    ------
    ResultsError
        If jobflow-remote is missing, or the folder has no readable project.
    """
    file = folder.remote_project_file
    folder.require_private(file)
    try:
        import jobflow_remote
    except ImportError:
        raise _not_installed() from None
    from jobflow_remote.config.base import Project
    from pydantic import ValidationError

    jobflow_remote.SETTINGS.projects_folder = str(file.parent)
    try:
        return Project.model_validate(read_settings(file))
    except ValidationError as error:
        places = [".".join(map(str, e["loc"])) for e in error.errors()]
        raise ResultsError(
            f"{file} cannot be used ({', '.join(places)})",
            limit="it is a project of jobflow-remote",
            why="without it no job can be queued",
            remedy="correct what is named there; fireworks_config/jobflow-remote.yaml shows how it was",
        ) from None  # the cause would print the password


def prepare(controller: JobController) -> None:
    """Make jobflow-remote's counters and indexes, and ours, where there are none; nothing that exists is changed.

    jobflow-remote's own reset would also drop the indexes of the calculations.
    """
    auxiliary = controller.auxiliary
    if auxiliary.find_one({"next_id": {"$exists": True}}) is not None:
        return
    ClusterDatabase(controller.db).prepare()
    starts: dict[str, Any] = {"next_id": 1, "running_runner": None, "runner_pings": []}
    for name, start in starts.items():
        auxiliary.update_one({name: {"$exists": True}}, {"$setOnInsert": {name: start}}, upsert=True)
    controller.update_version_information()
    controller.build_indexes()


def _not_installed() -> ResultsError:
    return ResultsError(
        "jobflow-remote is not installed",
        limit="the manager jobflow-remote needs the extra `remote`",
        why="its jobs cannot be queued without it",
        remedy=install_hint("remote"),
    )


def _unreachable(file: Path, complaint: str) -> ResultsError:
    return ResultsError(
        f"the database of {file.name} cannot be used ({complaint})",
        limit="it must be reachable within 10 s and accept the user named there",
        why="queue and results lie there",
        remedy=f"check address, user and password in {file}",
    )

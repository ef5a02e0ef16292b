"""The cluster folder: FireWorks' configuration with absolute paths, written once and read by every command.

.. code-block:: text

    DIR/
      my_launchpad.yaml   address and credentials of the database, mode 600
      jobflow.yaml        the same for jobflow's own tools, mode 600
      remote/qdip.yaml    jobflow-remote's project: the same database, its workers; mode 600
      resources.yaml      what the job classes ask of the scheduler
      mlip/ dft-small/ dft-large/
                          FW_config.yaml, my_fworker.yaml and my_qadapter.yaml of the workers of a class
      launches/           FireWorks' launch folders
      outbox/             finished results on their way to the database
      scratch/            where codes run, and what unfinished calculations have evaluated
"""

from __future__ import annotations

import json
import secrets
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import yaml

from qdip_dft.cluster.batch_job import BATCH_VARIABLE
from qdip_dft.cluster.resources import JobClass, Request, Resources, Scheduler, read_resources
from qdip_dft.errors import ResultsError
from qdip_dft.library.collections import find_collection
from qdip_dft.runtime.installation import install_hint
from qdip_dft.runtime.threads import THREADS_VARIABLE
from qdip_dft.storage.sqlite_errors import explain_file_errors
from qdip_dft.units import SECONDS_PER_HOUR
from qdip_dft.yaml_text import parse_yaml

if TYPE_CHECKING:
    from fireworks import LaunchPad

WORKER = "qdip_dft.cluster.fireworks.worker"
PRIVATE = 0o600


@dataclass(frozen=True, slots=True)
class ClusterSettings:
    """What `qdip init-cluster` must know.

    Parameters
    ----------
    mongodb_uri
        Address of the server without user and password, TLS options included.
    database
        Name of the group's database.
    user, password
        Who may read and write it.
    authentication_database
        Where MongoDB keeps this user.
    scheduler
        The batch system.
    partition, account
        Queue and account of the batch system; empty: its defaults.
    pre_rocket
        Shell command before each job, such as ``source /path/to/venv/bin/activate``.
    packed_nodes, packed_ranks
        Size of one allocation of the class ``mlip``, in which as many jobs run at once as there are ranks; 0 ranks:
        every job gets a batch job of its own, as those of the other classes do.
    """

    mongodb_uri: str
    database: str
    user: str
    password: str = field(repr=False)
    authentication_database: str
    scheduler: Scheduler = Scheduler.SLURM
    partition: str = ""
    account: str = ""
    pre_rocket: str = ""
    packed_nodes: int = 1
    packed_ranks: int = 4


@dataclass(frozen=True, slots=True)
class ClusterFolder:
    """A folder that `write_cluster_folder` has written.

    Parameters
    ----------
    path
        The folder.
    """

    path: Path

    @property
    def launchpad_file(self) -> Path:
        """Address and credentials."""
        return self.path / "my_launchpad.yaml"

    @property
    def remote_project_file(self) -> Path:
        """jobflow-remote's project; the folder of this file is its ``projects_folder``."""
        return self.path / "remote" / "qdip.yaml"

    @property
    def outbox(self) -> Path:
        """Where finished results wait for the database."""
        return self.path / "outbox"

    @property
    def scratch(self) -> Path:
        """Where codes run, and unfinished calculations keep what they have evaluated."""
        return self.path / "scratch"

    def worker(self, job_class: JobClass) -> Path:
        """Return the folder with the configuration of a class of workers."""
        return self.path / job_class.value

    def read_mark(self) -> str | None:
        """Return what tells the workers of this folder from those of other clusters; older folders have none."""
        worker = self.worker(JobClass.MLIP) / "my_fworker.yaml"
        if not worker.exists():
            return None
        environment = read_settings(worker).get("env")
        mark = environment.get("cluster") if isinstance(environment, dict) else None
        return None if mark is None else str(mark)

    def read_resources(self) -> Resources:
        """Return what the job classes ask for."""
        return read_resources(self.path / "resources.yaml")

    @contextmanager
    def open_launchpad(self) -> Iterator[LaunchPad]:
        """Yield the connected queue.

        Raises
        ------
        ResultsError
            If the folder is no cluster folder, its credentials are open to others, or the database refuses.
        """
        self.require_private(self.launchpad_file)
        _require_fireworks()
        from fireworks import LaunchPad
        from pymongo.errors import PyMongoError

        try:
            launchpad = LaunchPad.from_dict(read_settings(self.launchpad_file))
        except (PyMongoError, KeyError, TypeError, ValueError):
            raise _unreadable(self.launchpad_file) from None  # the error would quote the file
        with launchpad.connection:
            try:
                launchpad.db.command("listCollections", nameOnly=True, authorizedCollections=True)
            except PyMongoError as error:
                raise _unreachable(launchpad.host, str(error).split(",")[0]) from None
            yield launchpad

    def require_private(self, file: Path) -> None:
        """Refuse a file with credentials that is missing or open to others."""
        if not file.exists():
            raise _no_cluster(self.path, file)
        mode = file.stat().st_mode & 0o777
        if mode & 0o077:
            raise ResultsError(
                f"{file} has mode {mode:o}",
                limit="it holds a password and must be readable for you alone (mode 600)",
                why="anybody on this machine could change or delete the group's results",
                remedy=f"chmod 600 {file}, and change the password if it was open for long",
            )


def write_cluster_folder(
    path: Path, settings: ClusterSettings, *, try_out: Callable[[ClusterFolder], None] = lambda _: None
) -> ClusterFolder:
    """Fill in the templates of ``fireworks_config/``; the folder comes into being whole or not at all.

    Parameters
    ----------
    path
        The folder; it does not exist or is empty.
    settings
        What the templates are filled with.
    try_out
        Called with the written folder before it gets its name; what it raises leaves nothing behind.

    Raises
    ------
    ResultsError
        If there is something already, FireWorks is missing, or it cannot be written.
    """
    folder = ClusterFolder(path.absolute())
    _require_fireworks()
    with explain_file_errors(folder.path):
        if folder.path.exists() and any(folder.path.iterdir()):
            raise _is_there(folder)
        folder.path.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=f".{folder.path.name}-", dir=folder.path.parent) as private:
            written = ClusterFolder(Path(private) / "whole")
            _write_files(written.path, folder, settings)
            try_out(written)
            written.path.rename(folder.path)
    return folder


def _write_files(target: Path, folder: ClusterFolder, settings: ClusterSettings) -> None:
    """Write everything into a place from where the folder is moved to its own, which the files name."""
    templates = find_collection("fireworks_config")
    values = {**asdict(settings), "scheduler": settings.scheduler.value, "cluster_folder": str(folder.path)}
    values |= {"scheduler_type": settings.scheduler.value.lower(), "python": sys.executable}
    values["cluster_mark"] = secrets.token_hex(4)
    for name in ("launches", "outbox", "scratch", folder.remote_project_file.parent.name):
        (target / name).mkdir(parents=True)
    for name in ("resources.yaml", "my_launchpad.yaml", "jobflow.yaml"):
        _fill_in(templates / name, target / name, values)
    _fill_in(templates / "jobflow-remote.yaml", ClusterFolder(target).remote_project_file, values)
    for job_class, request in Resources().classes.items():
        filled = _describe_worker(folder, job_class, request, settings)
        _write_worker(target / job_class.value, settings.scheduler, {**values, **filled})


def _describe_worker(
    folder: ClusterFolder, job_class: JobClass, request: Request, settings: ClusterSettings
) -> dict[str, Any]:
    """Return what the templates of a class of workers are filled with."""
    worker = folder.worker(job_class)
    is_packed = job_class is JobClass.MLIP and settings.packed_ranks > 0
    nodes = settings.packed_nodes if is_packed else request.nodes
    ranks = settings.packed_ranks if is_packed else request.ranks
    seconds = round(request.walltime_h * SECONDS_PER_HOUR)
    memory_gb = request.memory_gb * (-(-ranks // nodes) if is_packed else 1)
    return {
        "worker_folder": str(worker),
        "worker_name": f"{job_class.value} worker",
        "job_class": job_class.value,
        "nodes": nodes,
        "ranks": ranks,
        "cores": ranks * request.threads,
        "cores_per_node": -(-ranks // nodes) * request.threads,
        "threads": request.threads,
        "memory_mb": round(memory_gb * 1000),
        "walltime": f"{seconds // SECONDS_PER_HOUR}:{seconds // 60 % 60:02}:00",
        "pre_rocket": f"export FW_CONFIG_FILE={worker}/FW_config.yaml; {settings.pre_rocket}".rstrip("; "),
        "rocket_launch": _rocket_launch(folder, job_class, settings),
    }


def _write_worker(target: Path, scheduler: Scheduler, values: dict[str, Any]) -> None:
    templates = find_collection("fireworks_config") / "worker"
    target.mkdir()
    for name in ("FW_config.yaml", "my_fworker.yaml"):
        _fill_in(templates / name, target / name, values)
    _fill_in(templates / f"my_qadapter-{scheduler}.yaml", target / "my_qadapter.yaml", values)
    (target / f"{scheduler}_template.txt").write_text(_batch_script(templates, scheduler), encoding="utf-8")


def _batch_script(templates: Path, scheduler: Scheduler) -> str:
    """Return the template of the batch script, FireWorks' own or ours, which tells its jobs when the batch job ends."""
    import fireworks

    name = f"{scheduler}_template.txt"
    packaged = Path(fireworks.__file__).parent / "user_objects" / "queue_adapters" / name
    text = (templates / name if (templates / name).exists() else packaged).read_text(encoding="utf-8")
    announcement = f'export {BATCH_VARIABLE}="{scheduler} $${{walltime}} $(date +%s)"\n'
    announcement += f"export {THREADS_VARIABLE}=$${{cpus_per_task}}\n"
    return text.replace("$${pre_rocket}", f"{announcement}$${{pre_rocket}}", 1)


def _rocket_launch(folder: ClusterFolder, job_class: JobClass, settings: ClusterSettings) -> str:
    """Return what runs in a batch job: many small jobs side by side, or the one that it was made for."""
    command = f"{sys.executable} -m {WORKER} -l {folder.launchpad_file}"
    command += f" -w {folder.worker(job_class)}/my_fworker.yaml"
    if job_class is not JobClass.MLIP or settings.packed_ranks == 0:
        return f"{command} singleshot"
    packed = f'{command} rapidfire -d "$PWD"'
    if settings.packed_ranks == 1:
        return packed
    # Started on other nodes by these two a process has neither the script's environment nor its working directory.
    kept = " ".join(
        f'"{name}=${name}"' for name in (BATCH_VARIABLE, THREADS_VARIABLE, "FW_CONFIG_FILE", "LD_LIBRARY_PATH", "PATH")
    )
    start = {
        Scheduler.SLURM: f"srun --ntasks={settings.packed_ranks} --cpus-per-task=${THREADS_VARIABLE}",
        Scheduler.PBS: f"pbsdsh -- env {kept}",
        Scheduler.SGE: f"mpirun -np {settings.packed_ranks} env {kept}",
    }
    return f"{start[settings.scheduler]} {packed}"


def _fill_in(template: Path, target: Path, values: dict[str, Any]) -> None:
    """Write a template with its values; every file is private, since two of them hold the password."""
    text = template.read_text(encoding="utf-8")
    for name, value in values.items():
        text = text.replace(f"{{{{ {name} }}}}", json.dumps(str(value), ensure_ascii=False)[1:-1])
    target.touch(mode=PRIVATE)
    target.write_text(_drop_empty(text), encoding="utf-8")


def _drop_empty(text: str) -> str:
    """Leave out what was not given, such as the account: FireWorks would pass an empty one to the scheduler."""
    return "".join(line for line in text.splitlines(keepends=True) if not line.rstrip().endswith(': ""'))


def _require_fireworks() -> None:
    if find_spec("fireworks") is None:
        raise ResultsError(
            "FireWorks is not installed",
            limit="cluster folders and their queue need the extra `fireworks`",
            why="nothing could be queued, and nothing was written",
            remedy=install_hint("fireworks"),
        )


def read_settings(file: Path) -> dict[str, Any]:
    """Return what a YAML file of a cluster folder holds.

    Raises
    ------
    ResultsError
        If it cannot be read; nothing of the file is quoted, which may hold the password.
    """
    try:
        content = parse_yaml(file.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError, ValueError, RecursionError):
        raise _unreadable(file) from None
    if not isinstance(content, dict):
        raise _unreadable(file)
    return content


def _unreadable(file: Path) -> ResultsError:
    return ResultsError(
        f"{file} cannot be used",
        limit="it holds names and values in YAML, as qdip init-cluster has written it",
        why="nobody would know which database and which workers are meant",
        remedy=f"correct it as in fireworks_config/{file.name}, or write a new folder with qdip init-cluster",
    )


def _is_there(folder: ClusterFolder) -> ResultsError:
    return ResultsError(
        f"{folder.path} exists and is not empty",
        limit="a cluster folder is written once",
        why="your own changes would be overwritten",
        remedy="edit the files there, or choose another folder",
    )


def _no_cluster(path: Path, file: Path) -> ResultsError:
    return ResultsError(
        f"{path} is no cluster folder",
        limit=f"it needs {file.relative_to(path)}",
        why="without it the queue cannot be found",
        remedy="qdip init-cluster DIR, then --cluster DIR or export QDIP_CLUSTER=DIR",
    )


def _unreachable(host: str, complaint: str) -> ResultsError:
    return ResultsError(
        f"the database at {host} cannot be used ({complaint})",
        limit="it must be reachable within 10 s and accept the user of my_launchpad.yaml",
        why="queue and results lie there",
        remedy="check address, user and password in my_launchpad.yaml: qdip doctor --cluster DIR",
    )

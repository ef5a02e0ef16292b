"""Whether jobflow-remote's project of a cluster folder can be used, and whether its runner is at work."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from qdip_dft.cluster.remote.project import read_project
from qdip_dft.cluster.remote.runner import is_at_work
from qdip_dft.errors import ResultsError
from qdip_dft.model.finding import Finding

if TYPE_CHECKING:
    from qdip_dft.cluster.folder import ClusterFolder


def check_remote(folder: ClusterFolder) -> list[Finding]:
    """Return what there is to say about the second manager; nothing where it is not installed: nobody needs it."""
    if find_spec("jobflow_remote") is None:
        return []
    try:
        project = read_project(folder)
    except ResultsError as error:
        return [Finding.of_error("jobflow-remote", error)]
    workers = ", ".join(f"{name} ({getattr(worker, 'host', 'here')})" for name, worker in project.workers.items())
    runner = "at work" if is_at_work(folder) else "not at work; studies submitted to jobflow-remote need `qdip runner`"
    return [
        Finding("jobflow-remote", is_ok=True, finding=f"workers {workers}"),
        Finding("runner", is_ok=True, finding=runner),
    ]

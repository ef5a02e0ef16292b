"""Job classes and what they ask of the scheduler, from atom count, level of theory and preset."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field

from qdip_dft.errors import ResultsError
from qdip_dft.model.base import Record
from qdip_dft.model.calculation import Level
from qdip_dft.model.engine import PresetName
from qdip_dft.units import SECONDS_PER_HOUR
from qdip_dft.yaml_text import parse_yaml


class Scheduler(StrEnum):
    """Batch systems, in FireWorks' words."""

    SLURM = "SLURM"
    PBS = "PBS"
    SGE = "SGE"


class JobClass(StrEnum):
    """Kinds of jobs, each with workers of its own."""

    MLIP = "mlip"
    """Machine-learned and toy potentials, building and assembling: one core, minutes."""
    DFT_SMALL = "dft-small"
    """DFT on one node."""
    DFT_LARGE = "dft-large"
    """DFT on several nodes."""


class Request(Record):
    """What one job asks of the scheduler.

    Parameters
    ----------
    nodes
        Number of nodes.
    ranks
        Number of processes over all nodes.
    threads
        Number of threads of each process.
    walltime_h
        Wall time in hours with the ``fast`` preset.
    memory_gb
        Memory per node in GB.
    """

    nodes: int = Field(default=1, ge=1)
    ranks: int = Field(default=1, ge=1)
    threads: int = Field(default=1, ge=1)
    walltime_h: float = Field(gt=0)
    memory_gb: float = Field(gt=0)

    @property
    def cores_per_node(self) -> int:
        """Number of cores on each node."""
        return -(-self.ranks // self.nodes) * self.threads


class Resources(Record):
    """What every job class asks for; written by ``qdip init-cluster`` and edited by hand.

    Parameters
    ----------
    scheduler
        The batch system.
    large_from_atoms
        DFT calculations of at least this many atoms are ``dft-large``.
    classes
        Request of each job class.
    partition, account
        Queue and account of jobs through jobflow-remote; None: the defaults.  FireWorks has them in my_qadapter.yaml.
    walltime_factors
        Factor on the wall time by preset; 1 where none is given.
    """

    scheduler: Scheduler = Scheduler.SLURM
    large_from_atoms: int = Field(default=100, ge=1)
    partition: str | None = None
    account: str | None = None
    classes: dict[JobClass, Request] = {
        JobClass.MLIP: Request(walltime_h=4, memory_gb=4),
        JobClass.DFT_SMALL: Request(ranks=32, walltime_h=24, memory_gb=120),
        JobClass.DFT_LARGE: Request(nodes=4, ranks=128, walltime_h=48, memory_gb=120),
    }
    walltime_factors: dict[PresetName, float] = {PresetName.BALANCED: 1.5, PresetName.PRECISE: 2.0}

    def classify(self, *, n_atoms: int, level: Level) -> JobClass:
        """Return the class of a calculation with so many atoms."""
        if level is not Level.DFT:
            return JobClass.MLIP
        return JobClass.DFT_LARGE if n_atoms >= self.large_from_atoms else JobClass.DFT_SMALL

    def walltime_s(self, job_class: JobClass, *, preset: PresetName) -> int:
        """Return the wall time of a job in s."""
        return round(self.classes[job_class].walltime_h * self.walltime_factors.get(preset, 1.0) * SECONDS_PER_HOUR)

    def queue_parameters(self, job_class: JobClass, *, preset: PresetName) -> dict[str, Any]:
        """Return a request in the words of FireWorks' queue adapter for the scheduler.

        Used when a firework gets a batch job of its own; in a packed allocation the worker's own request holds.
        """
        request = self.classes[job_class]
        seconds = self.walltime_s(job_class, preset=preset)
        walltime = f"{seconds // SECONDS_PER_HOUR}:{seconds // 60 % 60:02}:{seconds % 60:02}"
        asked = {"walltime": walltime, "cpus_per_task": request.threads}
        memory_mb, per_core_mb = (round(request.memory_gb * 1000 / n) for n in (1, request.cores_per_node))
        if self.scheduler is Scheduler.SLURM:
            return {**asked, "nodes": request.nodes, "ntasks": request.ranks, "mem": f"{memory_mb}M"}
        if self.scheduler is Scheduler.PBS:
            return {**asked, "nnodes": request.nodes, "ppnode": request.cores_per_node, "pmem": f"{per_core_mb}mb"}
        return {**asked, "ntasks": request.ranks * request.threads, "mem_per_slot": f"{per_core_mb}M"}


def read_resources(path: Path) -> Resources:
    """Return the resources of a YAML file.

    Raises
    ------
    ResultsError
        If it is missing, not YAML, or names something unknown.
    """
    try:
        return Resources.model_validate(parse_yaml(path.read_text(encoding="utf-8")) or {})
    except (OSError, yaml.YAMLError, ValueError) as error:  # also what is no UTF-8, and pydantic's
        raise ResultsError(
            f"{path} cannot be used ({str(error).splitlines()[0]})",
            limit=f"it names {', '.join(Resources.model_fields)}; classes are {', '.join(JobClass)}",
            why="jobs would be sent to the scheduler with the wrong request",
            remedy="correct it, or write a new one with qdip init-cluster",
        ) from error

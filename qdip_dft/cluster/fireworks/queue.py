"""The small interface of a cluster manager, and FireWorks behind it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol

from qdip_dft.cluster.database import ClusterDatabase, Manager
from qdip_dft.cluster.fireworks.stage import Orders, build_stage, wake_stored

if TYPE_CHECKING:
    from fireworks import LaunchPad
    from jobflow import Flow


class Queue(Protocol):
    """The small interface of a cluster manager: whatever carries out the jobs of a flow, each once for the group."""

    manager: ClassVar[Manager]

    @property
    def database(self) -> ClusterDatabase:
        """The group's database."""

    def insert(self, flow: Flow, orders: Orders) -> Inserted:
        """Claim what a flow still needs and queue it."""


@dataclass(frozen=True, slots=True)
class Inserted:
    """What came into a queue.

    Parameters
    ----------
    n_jobs
        Entries of the queue made now.
    n_shared
        Calculations that another submission makes.
    n_stored
        Calculations that were stored meanwhile.
    classes
        Number of calculations to be made by job class.
    """

    n_jobs: int
    n_shared: int
    n_stored: int
    classes: dict[str, int]


@dataclass(frozen=True, slots=True)
class FireworksQueue:
    """FireWorks: a workflow per study, the job that builds the next stage included.

    Parameters
    ----------
    launchpad
        The group's queue; results, claims and submissions lie in the same database.
    """

    launchpad: LaunchPad
    manager: ClassVar[Manager] = Manager.FIREWORKS

    @property
    def database(self) -> ClusterDatabase:
        """The group's database."""
        return ClusterDatabase(self.launchpad.db)

    def insert(self, flow: Flow, orders: Orders) -> Inserted:
        """Insert the first stage of a study."""
        database = self.database
        stage = build_stage(flow, orders, database)
        self.launchpad.add_wf(stage.to_workflow(orders))
        wake_stored(stage, database)
        return Inserted(
            n_jobs=len(stage.fireworks),
            n_shared=len(stage.standing_by),
            n_stored=stage.n_stored,
            classes=dict(Counter(firework.spec["qdip"]["category"] for firework in stage.parents)),
        )

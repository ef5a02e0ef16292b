"""FireWorks behind the interface of a cluster manager."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from qdip_dft.cluster.database import ClusterDatabase, Manager
from qdip_dft.cluster.fireworks.stage import build_stage, wake_stored
from qdip_dft.cluster.fireworks.task import RunJob
from qdip_dft.cluster.orders import Orders
from qdip_dft.cluster.queue import Inserted

if TYPE_CHECKING:
    from fireworks import LaunchPad
    from jobflow import Flow


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
        stage = build_stage(flow, orders, database, make_task=RunJob)
        self.launchpad.add_wf(stage.to_workflow(orders))
        wake_stored(stage, database)
        return Inserted(
            n_jobs=len(stage.fireworks),
            n_shared=len(stage.standing_by),
            n_stored=stage.n_stored,
            classes=dict(Counter(firework.spec["qdip"]["category"] for firework in stage.parents)),
        )

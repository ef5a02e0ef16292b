"""The small interface of a cluster manager, and what it says."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Protocol

from qdip_dft.cluster.database import ClusterDatabase, Manager
from qdip_dft.cluster.orders import Orders

if TYPE_CHECKING:
    from jobflow import Flow


class Queue(Protocol):
    """The small interface of a cluster manager: whatever carries out the jobs of a flow, each once for the group."""

    manager: ClassVar[Manager]

    @property
    def database(self) -> ClusterDatabase:
        """The group's database."""

    def insert(self, flow: Flow, orders: Orders) -> Inserted:
        """Claim what a flow still needs and queue it."""


MOST_FAULTS = 2
"""A job that met a fault of the machine oftener is left for people: the same request would end in the same way."""


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
class StudyStatus:
    """How far a submitted study is.

    Parameters
    ----------
    study, state, submitted_by
        What was submitted, how it stands and by whom.
    counts
        Number of calculations by term and state; the states are FireWorks' own in lower case, and ``standby`` for what
        another study calculates.
    left
        Jobs that nobody starts again by itself, each with the fault of the machine that it ended with.
    """

    study: str
    state: str
    submitted_by: str
    counts: dict[str, dict[str, int]] = field(default_factory=dict)
    left: tuple[str, ...] = ()

    @property
    def totals(self) -> dict[str, int]:
        """The number of calculations by state."""
        totals: dict[str, int] = {}
        for states in self.counts.values():
            for state, count in states.items():
                totals[state] = totals.get(state, 0) + count
        return totals

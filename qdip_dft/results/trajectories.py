"""Trajectories in their store: a document per segment, so that a killed run goes on at its last one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qdip_dft.results.collection import Collection


@dataclass(frozen=True, slots=True)
class TrajectoryStore:
    """The segments of all trajectories.

    Parameters
    ----------
    store
        Store of the segments, key ``id``.
    """

    store: Collection

    def connect(self) -> TrajectoryStore:
        """Open the store and make sure that trajectories are found fast."""
        self.store.connect()
        self.store.ensure_index("trajectory")
        return self

    def read(self, key: str) -> list[dict[str, Any]]:
        """Return the states after the segments of a trajectory, in order, as plain data; empty if it never ran."""
        return [document["state"] for document in self.store.query({"trajectory": key}, sort={"index": 1})]

    def keep(self, key: str, index: int, state: dict[str, Any]) -> None:
        """Keep the state after a segment, which has the segment's numbers in it."""
        self.store.update([{"id": f"{key}:{index}", "trajectory": key, "index": index, "state": state}], key="id")

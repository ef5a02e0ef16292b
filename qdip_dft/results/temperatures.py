"""Results against temperature in their store: one per result."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qdip_dft.model.seals import seal
from qdip_dft.model.temperature import TemperatureDoc
from qdip_dft.results.migrations import read_temperature

if TYPE_CHECKING:
    from qdip_dft.results.collection import Collection


def save_temperature(store: Collection, document: TemperatureDoc) -> None:
    """Keep a result against temperature; an earlier one of the same id is replaced."""
    store.connect()
    store.update([seal(document.model_dump(mode="json"))], key="id")


def find_temperature(store: Collection, result_id: str) -> TemperatureDoc | None:
    """Return the stored document of a result, None if there is none; see `read_temperature`."""
    store.connect()
    found = store.query_one({"id": result_id})
    return None if found is None else read_temperature(found)

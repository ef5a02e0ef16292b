"""Results against temperature in their store: one per result."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from qdip_dft.errors import ResultsError
from qdip_dft.model.temperature import TemperatureDoc

if TYPE_CHECKING:
    from qdip_dft.results.collection import Collection


def save_temperature(store: Collection, document: TemperatureDoc) -> None:
    """Keep a result against temperature; an earlier one of the same id is replaced."""
    store.connect()
    store.update([document.model_dump(mode="json")], key="id")


def find_temperature(store: Collection, result_id: str) -> TemperatureDoc | None:
    """Return the stored document of a result, None if there is none.

    Raises
    ------
    ResultsError
        If it cannot be read.
    """
    store.connect()
    found: dict[str, Any] | None = store.query_one({"id": result_id})
    if found is None:
        return None
    fields = {name: value for name, value in found.items() if name not in {"_id", "last_updated"}}
    try:
        return TemperatureDoc.model_validate(fields)
    except ValidationError as error:
        raise ResultsError(
            f"the result against temperature {result_id!r} cannot be read",
            limit="stored documents must follow the schema of their version",
            why="a misread number would be worse than none",
            remedy="update qdip_dft, or calculate it again with qdip temperature",
        ) from error

"""A collection in a SQLite file as a maggma store, which jobflow asks for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from maggma.core import Store
from maggma.core.store import DateTimeFormat

from qdip_dft.storage.sqlite_collection import SQLiteCollection


class SQLiteStore(SQLiteCollection, Store):
    """A `SQLiteCollection` that is a maggma store: it can be serialised and knows when documents were updated.

    Parameters
    ----------
    path, collection_name, key
        As in `SQLiteCollection`.
    last_updated_field
        The field that holds a document's date.
    last_updated_type
        ``datetime`` or ``isoformat``.
    """

    def __init__(
        self,
        path: str | Path,
        collection_name: str = "documents",
        key: str = "task_id",
        last_updated_field: str = "last_updated",
        last_updated_type: DateTimeFormat | str = DateTimeFormat.DateTime,
    ) -> None:
        Store.__init__(self, key, last_updated_field, DateTimeFormat(last_updated_type))
        self._open_later(path, collection_name)

    def groupby(self, *arguments: Any, **options: Any) -> Iterator[tuple[dict[str, Any], list[dict[str, Any]]]]:
        """Yield (key values, documents) as maggma's store in memory does."""
        from maggma.stores import MemoryStore

        group: Any = MemoryStore.groupby
        yield from group(self, *arguments, **options)

    def __eq__(self, other: object) -> bool:
        """Return whether two stores are the same collection of the same file."""
        return isinstance(other, SQLiteStore) and self.as_dict() == other.as_dict()

    def __hash__(self) -> int:
        """Return a hash that agrees with equality."""
        return hash((self.path, self.collection_name))

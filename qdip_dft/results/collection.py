"""What a collection of documents can do, wherever it is: a table in a SQLite file, or a maggma store of any kind."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

Document = dict[str, Any]


class Collection(Protocol):
    """Documents that are found with MongoDB's filters; every maggma store is one."""

    def connect(self, force_reset: bool = False) -> None:  # noqa: FBT001, FBT002 (maggma's signature)
        """Open the collection."""

    def close(self) -> None:
        """Close it; a later question opens it again."""

    def count(self, criteria: Document | None = None) -> int:
        """Return the number of documents that pass a filter."""

    def query(
        self,
        criteria: Document | None = None,
        properties: Any = None,
        sort: Any = None,
        *,
        skip: int = 0,
        limit: int = 0,
    ) -> Iterator[Document]:
        """Yield the documents that pass a filter."""

    def query_one(self, criteria: Document | None = None, properties: Any = None, sort: Any = None) -> Document | None:
        """Return the first document that passes a filter, or None."""

    def update(self, docs: Any, key: Any = None) -> None:
        """Store documents; each replaces the one with the same key fields."""

    def remove_docs(self, criteria: Document) -> None:
        """Remove the documents that pass a filter."""

    def ensure_index(self, key: str, unique: bool = False) -> bool:  # noqa: FBT001, FBT002 (maggma's signature)
        """Make sure that a field is found fast."""

"""Documents in one SQLite file: many readers, several writers, nothing acknowledged is ever lost.

Each collection is a table of documents in JSON.  The file is in write-ahead-log mode: readers never wait, and writers
wait for each other.  Every `update` is one transaction, complete when it returns: a process killed at any moment takes
back nothing that was acknowledged and leaves no half document.  Documents that were expensive are on the disk, in the
file itself, before `update` returns; at a power failure others of the last seconds may be missing and are computed
again: their log is handed to the operating system without waiting (waiting would cost up to 10 ms for every document).
How the file is opened, also on network file systems, stands in `sqlite_file`.

A document that is no document any more, because its bytes were changed, is left out of every answer and named once; it
stays where it is until `qdip db repair` sets it aside.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qdip_dft.errors import ResultsError
from qdip_dft.storage.codec import Document, decode_value, encode_document
from qdip_dft.storage.filters import (
    MISSING,
    Field,
    bound_filter,
    document_passes,
    find_values,
    index_sql,
    is_plain_field,
    list_filtered,
    order_sql,
    split_field,
)
from qdip_dft.storage.sqlite_errors import explain_sqlite_errors
from qdip_dft.storage.sqlite_file import FileConnection, has_table, open_connection, transaction

if TYPE_CHECKING:
    from maggma.core import Sort

logger = logging.getLogger("qdip_dft.results")

Tree = dict[str, Any]

_DOCUMENTS_AT_A_TIME = 64
_DIRECTIONS = {1: "ASC", -1: "DESC"}
_INHERITED: list[FileConnection] = []
"""Connections opened before a fork.  The child must neither use nor close them: closing would remove a live log."""


class SQLiteCollection:
    """Documents of one collection in a SQLite file, with the methods of every maggma store.

    Parameters
    ----------
    path
        The file; it is created when missing, its folder is not.
    collection_name
        The table: letters, digits and underscores.
    key
        The field that identifies a document when `update` is not told otherwise.
    is_expensive
        Whether a document must be on the disk before `update` returns; None: none has to.
    """

    def __init__(
        self,
        path: str | Path,
        collection_name: str = "documents",
        key: str = "task_id",
        *,
        is_expensive: Callable[[Document], bool] | None = None,
    ) -> None:
        self.key = key
        self._is_expensive = is_expensive
        self._open_later(path, collection_name)

    _is_expensive: Callable[[Document], bool] | None = None

    def _open_later(self, path: str | Path, collection_name: str) -> None:
        """Note where the collection is; the file is opened when it is needed."""
        self.path = str(Path(path).absolute())
        self.collection_name = _require_table_name(collection_name)
        self._connection: FileConnection | None = None
        self._is_damaged = False
        self._process_id = 0
        self._indexed: set[str] = set()
        self._lock = threading.RLock()

    @property
    def name(self) -> str:
        """The file and the collection."""
        return f"sqlite://{self.path}/{self.collection_name}"

    @property
    def _collection(self) -> FileConnection:
        """The connection of this process, opened when needed."""
        if self._connection is None or self._process_id != os.getpid():
            self.connect()
        assert self._connection is not None
        return self._connection

    def connect(self, force_reset: bool = False) -> None:  # noqa: FBT001, FBT002 (maggma's signature)
        """Open the file and create the collection when missing.

        Raises
        ------
        ResultsError
            If the file cannot be opened or is not a database.
        """
        with self._lock, explain_sqlite_errors(self.path):
            if force_reset or self._process_id != os.getpid():
                self.close()
            if self._connection is None:
                self._connection, self._process_id = open_connection(self.path), os.getpid()
                self._create_table()

    def close(self) -> None:
        """Close the file; a later call opens it again."""
        with self._lock:
            connection, self._connection = self._connection, None
            self._indexed.clear()
            if connection is not None and self._process_id == os.getpid():
                connection.close()
            elif connection is not None:
                _INHERITED.append(connection)

    def __del__(self) -> None:
        """Close the file of a store that is no longer used."""
        if hasattr(self, "_lock"):
            self.close()

    def count(self, criteria: Document | None = None) -> int:
        """Return the number of documents that pass a filter."""
        return len(self._choose(criteria))

    def query(
        self,
        criteria: Document | None = None,
        properties: Document | list[str] | None = None,
        sort: dict[str, Sort | int] | None = None,
        skip: int = 0,
        limit: int = 0,
    ) -> Iterator[Document]:
        """Yield the documents that pass a filter, in the order of their first storing unless sorted.

        Missing values come first, then numbers, then text, and everything else by its JSON text.  The documents are
        chosen at once and read as they are asked for: one that is removed meanwhile is left out.
        """
        wanted = list_wanted(properties)
        chosen = self._choose(criteria, sort, skip + limit if limit else None)[skip:]
        for start in range(0, len(chosen), _DOCUMENTS_AT_A_TIME):
            yield from self._read(chosen[start : start + _DOCUMENTS_AT_A_TIME], wanted)

    def query_one(
        self,
        criteria: Document | None = None,
        properties: Document | list[str] | None = None,
        sort: dict[str, Sort | int] | None = None,
    ) -> Document | None:
        """Return the first document that passes a filter, or None."""
        return next(self.query(criteria, properties, sort, limit=1), None)

    def update(self, docs: list[Document] | Document, key: list[str] | str | None = None) -> None:
        """Store documents, all of them or none; each replaces the first one that has the same key fields.

        Raises
        ------
        ResultsError
            If a document lacks a key field, cannot be written as JSON, or the disk is full.
        """
        names = [key or self.key] if isinstance(key, str | None) else list(key)
        documents = docs if isinstance(docs, list) else [docs]
        texts = [encode_document(document) for document in documents]
        wanted = [_key_criteria(document, names) for document in documents]
        self._ensure_index(names, is_unique=False)
        is_durable = self._is_expensive is not None and any(map(self._is_expensive, documents))
        with (
            self._lock,
            explain_sqlite_errors(self.path),
            transaction(self._collection, is_durable=is_durable) as connection,
        ):
            for text, criteria in zip(texts, wanted, strict=True):
                self._replace(connection, text, criteria)

    def remove_docs(self, criteria: Document) -> None:
        """Remove the documents that pass a filter."""
        with self._lock, explain_sqlite_errors(self.path), transaction(self._collection) as connection:
            chosen = [(row,) for row in self._choose(criteria)]
            connection.executemany(f"DELETE FROM {self._table} WHERE id = ?", chosen)

    def ensure_index(self, key: str, unique: bool = False) -> bool:  # noqa: FBT001, FBT002 (maggma's signature)
        """Create an index on a field, so that equality and ``$in`` on it need no scan; return whether there is one."""
        return self._ensure_index([key], is_unique=unique)

    @property
    def _table(self) -> str:
        return f'"{self.collection_name}"'

    @property
    def _source(self) -> str:
        """Where documents are read: the table, or its sound rows once an unsound one was met."""
        return sound_rows_sql(self._table) if self._is_damaged else self._table

    def _fetch(self, sql: str, parameters: tuple[Any, ...]) -> list[Any]:
        """Return all rows at once: an open cursor would keep an old view of the file and block our own writes."""
        with self._lock, explain_sqlite_errors(self.path):
            return self._collection.execute(sql, parameters).fetchall()

    def _create_table(self) -> None:
        connection = self._collection
        try:
            if has_table(connection, self.collection_name):
                return
            columns = "(id INTEGER PRIMARY KEY, doc TEXT NOT NULL)"
            if connection.is_read_only:
                connection.make_temporary(f"CREATE TEMP TABLE {self._table} {columns}")
            else:
                with transaction(connection):
                    connection.execute(f"CREATE TABLE IF NOT EXISTS {self._table} {columns}")
        except BaseException:
            self.close()
            raise

    def _ensure_index(self, names: list[str], *, is_unique: bool) -> bool:
        """Create one index on all the fields together: an index on the second key field alone would select nothing."""
        fields = [split_field(name) for name in names]
        if not all(map(is_plain_field, fields)):
            return False
        columns = ", ".join(map(index_sql, fields))
        digest = hashlib.sha256(columns.encode()).hexdigest()[:16]
        label = f"{self.collection_name}:{digest}{':unique' * is_unique}"
        if label in self._indexed:
            return True
        create = f'CREATE {"UNIQUE " * is_unique}INDEX IF NOT EXISTS "{label}" ON {self._table} ({columns})'
        with self._lock, explain_sqlite_errors(self.path):
            try:
                if self._collection.is_read_only:
                    return has_table(self._collection, label)
                if not has_table(self._collection, label):
                    with transaction(self._collection) as connection:
                        connection.execute(create)
            except sqlite3.IntegrityError:
                return False
            except sqlite3.OperationalError as error:
                if not _is_damage(error):
                    raise
                return False
            self._indexed.add(label)
            return True

    def _replace(self, connection: FileConnection, text: str, criteria: Document) -> None:
        found = self._choose(criteria, at_most=1)
        if found:
            connection.execute(f"UPDATE {self._table} SET doc = ? WHERE id = ?", (text, found[0]))
        else:
            connection.execute(f"INSERT INTO {self._table} (doc) VALUES (?)", (text,))

    def _choose(
        self, criteria: Document | None, sort: dict[str, Sort | int] | None = None, at_most: int | None = None
    ) -> list[int]:
        """Return the row numbers of the documents that pass a filter, sorted; without what is no document any more."""
        try:
            return self._choose_once(criteria, sort, at_most)
        except sqlite3.OperationalError as error:
            if self._is_damaged or not _is_damage(error):
                raise
            self._is_damaged = True
            return self._choose_once(criteria, sort, at_most)

    def _choose_once(
        self, criteria: Document | None, sort: dict[str, Sort | int] | None, at_most: int | None
    ) -> list[int]:
        order = {split_field(name): read_direction(way) for name, way in (sort or {}).items()}
        fields = list_filtered(criteria) | order.keys()
        table, decided = self._find_table(fields), self._list_decided(fields)
        bounds = bound_filter(criteria, decided)
        terms = [order_sql(field, _DIRECTIONS[way], is_decided=field in decided) for field, way in order.items()]
        # + keeps SQLite from walking through the rows in order instead of using the index.
        ordered = ", ".join([*terms, "id"] if terms else ["+id"])
        sql = f"SELECT id, CASE WHEN {bounds.certain.text} THEN NULL ELSE doc END FROM {table} "
        sql += f"WHERE {bounds.possible.text} ORDER BY {ordered}"
        with self._lock, explain_sqlite_errors(self.path):
            rows = self._collection.execute(sql, (*bounds.certain.parameters, *bounds.possible.parameters))
            passing = (row for row, text in rows if text is None or self._passes(criteria, text, row))
            return list(islice(passing, at_most))

    def _passes(self, criteria: Document | None, text: str, row: int) -> bool:
        document = self._decode(text, row)
        return document is not None and document_passes(criteria, document)

    def _decode(self, text: object, row: int) -> Document | None:
        """Return a document; None, with a warning, where the text is none any more."""
        try:
            document = decode_value(text) if isinstance(text, str) else None
        except (ValueError, RecursionError):
            document = None
        if isinstance(document, dict):
            return document
        warn_of_damage(self.path, self.collection_name, row)
        return None

    def _find_table(self, fields: Iterable[Field]) -> str:  # noqa: ARG002 (of a summary)
        """Return the table that answers questions about these fields."""
        return self._source

    def _list_decided(self, fields: Iterable[Field]) -> frozenset[Field]:  # noqa: ARG002 (of a summary)
        """Return those of the fields that are known to hold plain values in every document."""
        return frozenset()

    def _fetch_texts(self, table: str, rows: list[int]) -> dict[int, object]:
        """Return the texts of rows."""
        return dict(self._fetch(f"SELECT id, doc FROM {table} WHERE id IN ({marks_sql(rows)})", tuple(rows)))

    def _read(self, rows: list[int], wanted: list[str] | None) -> Iterator[Document]:
        table = self._source if wanted is None else self._find_table(map(split_field, wanted))
        texts = self._fetch_texts(table, rows)
        tree = None if wanted is None else grow_tree(wanted)
        for row in rows:
            document = self._decode(texts[row], row) if row in texts else None
            if document is not None:
                yield document if tree is None else keep_fields(document, tree)


def marks_sql(values: list[int]) -> str:
    """Return a question mark for each value."""
    return ", ".join("?" * len(values))


def sound_rows_sql(table: str) -> str:
    """Return the SQL for a table without the rows that are no documents any more."""
    return f"(SELECT id, CASE WHEN typeof(doc) = 'text' AND json_valid(doc) THEN doc END AS doc FROM {table})"


@cache
def warn_of_damage(path: str, collection_name: str, row: int) -> None:
    """Name a row that is no document any more, once."""
    logger.warning(
        "%s: row %d of %s is damaged and left out (qdip db check names all such rows, qdip db repair sets them aside)",
        path,
        row,
        collection_name,
    )


def _is_damage(error: sqlite3.OperationalError) -> bool:
    """Whether SQLite met a text that is no JSON any more."""
    return "malformed JSON" in str(error)


def read_direction(direction: Sort | int) -> int:
    """Return 1 for ascending and -1 for descending order, given as MongoDB's number or maggma's word."""
    number = getattr(direction, "value", direction)
    if number not in (1, -1):
        raise ValueError(f"{direction!r} is neither 1 (ascending) nor -1 (descending)")
    return int(number)


def list_wanted(properties: Document | list[str] | tuple[str, ...] | None) -> list[str] | None:
    """Return the fields that maggma's ``properties`` ask for; None for whole documents.

    Raises
    ------
    ResultsError
        If it asks for anything but fields to keep.
    """
    asked = properties if isinstance(properties, dict) else dict.fromkeys(properties or (), 1)
    wanted = {name: choice for name, choice in asked.items() if name != "_id"}
    if all(choice == 1 for choice in wanted.values()):
        return list(wanted) or None
    raise ResultsError(
        f"the projection {properties!r} is not supported",
        limit="a projection lists fields to keep (1)",
        why="the documents would come back with the wrong fields",
        remedy="name the fields to keep, or take whole documents and select in Python",
    )


def grow_tree(names: Iterable[str]) -> Tree:
    """Return the names of fields as a tree; an empty branch stands for the whole field."""
    tree: Tree = {}
    for field in sorted(map(split_field, names), key=len, reverse=True):
        branch = tree
        for part in field[:-1]:
            branch = branch.setdefault(part, {})
        branch[field[-1]] = {}
    return tree


def keep_fields(value: Any, tree: Tree) -> Any:
    """Return the part of a document, or of each member of a list, that has the fields of a tree."""
    if isinstance(value, list):
        return [keep_fields(member, tree) for member in value if isinstance(member, dict | list)]
    return {
        name: keep_fields(value[name], branch) if branch else value[name]
        for name, branch in tree.items()
        if name in value and (not branch or isinstance(value[name], dict | list))
    }


def _key_criteria(document: Document, names: list[str]) -> Document:
    values = {name: next(find_values(document, split_field(name)), MISSING) for name in names}
    missing = [name for name, value in values.items() if value is MISSING]
    if missing:
        raise ResultsError(
            f"a document has no field {missing[0]!r}",
            limit=f"its key fields are {', '.join(names)}",
            why="without them it could not be found again and would be stored twice",
            remedy="add the field to the document, or name other key fields",
        )
    return {name: {"$eq": value} for name, value in values.items()}


def _require_table_name(name: str) -> str:
    if re.fullmatch("[A-Za-z][A-Za-z0-9_]{0,63}", name) and not name.lower().startswith("sqlite_"):
        return name
    raise ResultsError(
        f"{name!r} cannot name a collection",
        limit="names have letters, digits and underscores, start with a letter and not with sqlite_",
        why="the name becomes a table of the results file",
        remedy="choose a name such as calculations",
    )

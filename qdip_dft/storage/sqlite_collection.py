"""Documents in one SQLite file: many readers, several writers, nothing acknowledged is ever lost.

Each collection is a table of documents in JSON.  The file is in write-ahead-log mode: readers never wait, and writers
wait for each other.  Every `update` is one transaction, complete when it returns: a process killed at any moment takes
back nothing that was acknowledged and leaves no half document.  At a power failure the file stays intact, but
documents of the last seconds may be missing and are computed again: the log is handed to the operating system without
waiting for the disk (``synchronous=NORMAL``; waiting would cost up to 10 ms for every document).  The log needs memory
shared between all processes that use the file: they must run on one machine, and the folder should not be on a
network drive.
"""

from __future__ import annotations

import hashlib
import os
import re
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qdip_dft.errors import ResultsError
from qdip_dft.storage.codec import Document, decode_value, encode_document, encode_value
from qdip_dft.storage.filter_sql import (
    crosses_list_sql,
    filter_to_sql,
    index_sql,
    is_plain_field,
    raw_value_sql,
    type_sql,
)
from qdip_dft.storage.filter_values import (
    MISSING,
    find_value,
    find_values,
    order_values,
    text_matches,
    value_passes,
)
from qdip_dft.storage.filters import Field, Filter, parse_filter, split_field
from qdip_dft.storage.projections import Projection, project_document, read_projection
from qdip_dft.storage.sqlite_errors import explain_sqlite_errors

if TYPE_CHECKING:
    from maggma.core import Sort

BUSY_TIMEOUT_S = 60.0
"""How long a writer waits for another one before it gives up, in s."""

_DOCUMENTS_AT_A_TIME = 64
_INHERITED: list[sqlite3.Connection] = []
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
    """

    def __init__(self, path: str | Path, collection_name: str = "documents", key: str = "task_id") -> None:
        self.key = key
        self._open_later(path, collection_name)

    def _open_later(self, path: str | Path, collection_name: str) -> None:
        """Note where the collection is; the file is opened when it is needed."""
        self.path = str(Path(path).absolute())
        self.collection_name = _require_table_name(collection_name)
        self._connection: sqlite3.Connection | None = None
        self._process_id = 0
        self._indexed: set[str] = set()
        self._lock = threading.RLock()

    @property
    def name(self) -> str:
        """Return the file and the collection."""
        return f"sqlite://{self.path}/{self.collection_name}"

    @property
    def _collection(self) -> sqlite3.Connection:
        """Return the connection of this process, opened when needed."""
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
        where, parameters = filter_to_sql(parse_filter(criteria))
        return int(self._fetch(f"SELECT count(*) FROM {self._table} WHERE {where}", parameters)[0][0])

    def query(
        self,
        criteria: Document | None = None,
        properties: Document | list[str] | None = None,
        sort: dict[str, Sort | int] | None = None,
        skip: int = 0,
        limit: int = 0,
    ) -> Iterator[Document]:
        """Yield the documents that pass a filter, in the order of their first storing unless sorted.

        The documents are chosen at once and read as they are asked for: one that is removed meanwhile is left out.
        """
        projection = read_projection(properties)
        chosen = self._choose(parse_filter(criteria), sort or {})[skip : skip + limit if limit else None]
        yield from self._read_in_turn(chosen, projection)

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
        with self._lock, explain_sqlite_errors(self.path), transaction(self._collection) as connection:
            for text, criteria in zip(texts, wanted, strict=True):
                self._replace(connection, text, criteria)

    def remove_docs(self, criteria: Document) -> None:
        """Remove the documents that pass a filter."""
        where, parameters = filter_to_sql(parse_filter(criteria))
        with self._lock, explain_sqlite_errors(self.path), transaction(self._collection) as connection:
            connection.execute(f"DELETE FROM {self._table} WHERE {where}", parameters)

    def ensure_index(self, key: str, unique: bool = False) -> bool:  # noqa: FBT001, FBT002 (maggma's signature)
        """Create an index on a field, so that equality and ``$in`` on it need no scan; return whether there is one."""
        return self._ensure_index([key], is_unique=unique)

    def distinct(
        self,
        field: str,
        criteria: Document | None = None,
        all_exist: bool = False,  # noqa: ARG002, FBT001, FBT002 (maggma's signature; it has no effect there either)
    ) -> list[Any]:
        """Return the different values of a field; the members of a list count one by one."""
        found: dict[str, Any] = {}
        for _, values in self._find_values(split_field(field), parse_filter(criteria)):
            for value in values:
                for member in value if isinstance(value, list) else [value]:
                    if member is not MISSING:
                        found.setdefault(encode_value(member), member)
        return list(found.values())

    def groupby(  # noqa: PLR0917 (maggma's signature)
        self,
        keys: list[str] | str,
        criteria: Document | None = None,
        properties: Document | list[str] | None = None,
        sort: dict[str, Sort | int] | None = None,
        skip: int = 0,
        limit: int = 0,
    ) -> Iterator[tuple[Document, list[Document]]]:
        """Yield (key values, documents) for documents that have all the keys, in the order of first appearance."""
        names = [keys] if isinstance(keys, str) else list(keys)
        asked = [*properties, *names] if properties else None
        groups: dict[str, tuple[Document, list[Document]]] = {}
        for document in self.query(criteria, asked, sort, skip, limit):
            values = [find_value(document, split_field(name)) for name in names]
            if MISSING not in values:
                label = _nest(names, values)
                groups.setdefault(encode_value(label), (label, []))[1].append(document)
        yield from groups.values()

    @property
    def _table(self) -> str:
        return f'"{self.collection_name}"'

    def _fetch(self, sql: str, parameters: tuple[Any, ...]) -> list[Any]:
        """Return all rows at once: an open cursor would keep an old view of the file and block our own writes."""
        with self._lock, explain_sqlite_errors(self.path):
            return self._collection.execute(sql, parameters).fetchall()

    def _create_table(self) -> None:
        connection = self._collection
        try:
            if not has_table(connection, self.collection_name):
                with transaction(connection):
                    columns = "(id INTEGER PRIMARY KEY, doc TEXT NOT NULL)"
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
                if not has_table(self._collection, label):
                    with transaction(self._collection) as connection:
                        connection.execute(create)
            except sqlite3.IntegrityError:
                return False
            self._indexed.add(label)
            return True

    def _replace(self, connection: sqlite3.Connection, text: str, criteria: Document) -> None:
        where, parameters = filter_to_sql(parse_filter(criteria))
        # + keeps SQLite from walking through the rows in order instead of using the index.
        found = connection.execute(f"SELECT min(+id) FROM {self._table} WHERE {where}", parameters).fetchone()[0]
        if found is None:
            connection.execute(f"INSERT INTO {self._table} (doc) VALUES (?)", (text,))
        else:
            connection.execute(f"UPDATE {self._table} SET doc = ? WHERE id = ?", (text, found))

    def _choose(self, node: Filter, sort: dict[str, Sort | int]) -> list[int]:
        """Return the row numbers of the documents that pass a filter, sorted."""
        where, parameters = filter_to_sql(node)
        rows = self._fetch(f"SELECT id FROM {self._table} WHERE {where}", parameters)
        chosen = sorted(row[0] for row in rows)
        for name, direction in reversed(sort.items()):
            is_descending = read_direction(direction) < 0
            values = dict(self._find_values(split_field(name), node))
            keys = {row: order_values(values.get(row, []), is_descending=is_descending) for row in chosen}
            chosen = sorted(chosen, key=keys.__getitem__, reverse=is_descending)
        return chosen

    def _read_in_turn(self, chosen: list[int], projection: Projection | None) -> Iterator[Document]:
        for start in range(0, len(chosen), _DOCUMENTS_AT_A_TIME):
            yield from self._read(chosen[start : start + _DOCUMENTS_AT_A_TIME], projection)

    def _read(self, rows: list[int], projection: Projection | None) -> Iterator[Document]:
        marks = ", ".join("?" * len(rows))
        texts = dict(self._fetch(f"SELECT id, doc FROM {self._table} WHERE id IN ({marks})", tuple(rows)))
        for row in rows:
            if row in texts:
                yield project_document(decode_value(texts[row]), projection)

    def _find_values(self, field: Field, node: Filter) -> Iterator[tuple[int, list[Any]]]:
        """Yield the row number and all values of a field for every document that passes a filter."""
        where, parameters = filter_to_sql(node)
        columns = "doc, NULL, NULL"
        if is_plain_field(field):
            columns = f"CASE WHEN {crosses_list_sql(field)} THEN doc END, {type_sql(field)}, {raw_value_sql(field)}"
        for row, text, kind, value in self._fetch(f"SELECT id, {columns} FROM {self._table} WHERE {where}", parameters):
            if text is not None:
                yield row, list(find_values(decode_value(text), field))
            else:
                yield row, [MISSING if kind is None else decode_value(value)[0]]


def read_direction(direction: Sort | int) -> int:
    """Return 1 for ascending and -1 for descending order, given as MongoDB's number or maggma's word."""
    number = getattr(direction, "value", direction)
    if number not in (1, -1):
        raise ValueError(f"{direction!r} is neither 1 (ascending) nor -1 (descending)")
    return int(number)


def open_connection(path: str | Path) -> sqlite3.Connection:
    """Open a SQLite file as the stores of this package use it; the caller begins its own transactions."""
    connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
    try:
        _switch_to_write_ahead_log(connection)
    except BaseException:
        connection.close()
        raise
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.create_function("value_passes", 2, value_passes, deterministic=True)
    connection.create_function("text_matches", 3, text_matches, deterministic=True)
    return connection


def _switch_to_write_ahead_log(connection: sqlite3.Connection) -> None:
    """Switch on the write-ahead log; while another process does the same, SQLite answers busy without waiting."""
    deadline_s = time.monotonic() + BUSY_TIMEOUT_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline_s:
                raise
        time.sleep(0.01)


def has_table(connection: sqlite3.Connection, name: str) -> bool:
    """Return whether there is a table or index; unlike IF NOT EXISTS this needs no write lock."""
    return connection.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (name,)).fetchone() is not None


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """Hold the write lock from the first statement on, and take everything back if one fails."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield connection
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _key_criteria(document: Document, names: list[str]) -> Document:
    values = {name: find_value(document, split_field(name)) for name in names}
    missing = [name for name, value in values.items() if value is MISSING]
    if missing:
        raise ResultsError(
            f"a document has no field {missing[0]!r}",
            limit=f"its key fields are {', '.join(names)}",
            why="without them it could not be found again and would be stored twice",
            remedy="add the field to the document, or name other key fields",
        )
    return {name: {"$eq": value} for name, value in values.items()}


def _nest(names: list[str], values: list[Any]) -> Document:
    nested: Document = {}
    for name, value in zip(names, values, strict=True):
        *parents, last = split_field(name)
        branch = nested
        for parent in parents:
            branch = branch.setdefault(parent, {})
        branch[last] = value
    return nested


def _require_table_name(name: str) -> str:
    if re.fullmatch("[A-Za-z][A-Za-z0-9_]{0,63}", name) and not name.lower().startswith("sqlite_"):
        return name
    raise ResultsError(
        f"{name!r} cannot name a collection",
        limit="names have letters, digits and underscores, start with a letter and not with sqlite_",
        why="the name becomes a table of the results file",
        remedy="choose a name such as calculations",
    )

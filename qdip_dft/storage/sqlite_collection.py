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
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qdip_dft.errors import ResultsError
from qdip_dft.storage.codec import Document, decode_value, encode_document, encode_value
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

if TYPE_CHECKING:
    from maggma.core import Sort

BUSY_TIMEOUT_S = 60.0
"""How long a writer waits for another one before it gives up, in s."""

Tree = dict[str, Any]

_DOCUMENTS_AT_A_TIME = 64
_DIRECTIONS = {1: "ASC", -1: "DESC"}
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
        """The file and the collection."""
        return f"sqlite://{self.path}/{self.collection_name}"

    @property
    def _collection(self) -> sqlite3.Connection:
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
        with self._lock, explain_sqlite_errors(self.path), transaction(self._collection) as connection:
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
            values = [next(find_values(document, split_field(name)), MISSING) for name in names]
            if MISSING not in values:
                label: Document = {}
                for name, value in zip(names, values, strict=True):
                    *parents, last = split_field(name)
                    branch = label
                    for parent in parents:
                        branch = branch.setdefault(parent, {})
                    branch[last] = value
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
        found = self._choose(criteria, at_most=1)
        if found:
            connection.execute(f"UPDATE {self._table} SET doc = ? WHERE id = ?", (text, found[0]))
        else:
            connection.execute(f"INSERT INTO {self._table} (doc) VALUES (?)", (text,))

    def _choose(
        self, criteria: Document | None, sort: dict[str, Sort | int] | None = None, at_most: int | None = None
    ) -> list[int]:
        """Return the row numbers of the documents that pass a filter, sorted."""
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
            passing = (row for row, text in rows if text is None or document_passes(criteria, decode_value(text)))
            return list(islice(passing, at_most))

    def _find_table(self, fields: Iterable[Field]) -> str:  # noqa: ARG002 (of a summary)
        """Return the table that answers questions about these fields."""
        return self._table

    def _list_decided(self, fields: Iterable[Field]) -> frozenset[Field]:  # noqa: ARG002 (of a summary)
        """Return those of the fields that are known to hold plain values in every document."""
        return frozenset()

    def _read(self, rows: list[int], wanted: list[str] | None) -> Iterator[Document]:
        table = self._table if wanted is None else self._find_table(map(split_field, wanted))
        marks = ", ".join("?" * len(rows))
        texts = dict(self._fetch(f"SELECT id, doc FROM {table} WHERE id IN ({marks})", tuple(rows)))
        tree = None if wanted is None else grow_tree(wanted)
        for row in rows:
            if row in texts:
                document = decode_value(texts[row])
                yield document if tree is None else keep_fields(document, tree)


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


def open_connection(path: str | Path) -> sqlite3.Connection:
    """Open a SQLite file as the stores of this package use it; the caller begins its own transactions."""
    connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
    try:
        _switch_to_write_ahead_log(connection)
    except BaseException:
        connection.close()
        raise
    connection.execute("PRAGMA synchronous = NORMAL")
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

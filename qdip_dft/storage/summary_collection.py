"""A collection in a SQLite file that keeps a summary beside each document, so that common questions are answered fast.

A result has some 15 kB, a question about it looks at a dozen short fields.  The summary is a second table with these
fields only, as a small document of the same layout: the same filters run on it, exactly.  SQLite itself keeps it
current, by triggers inside the transaction that writes the document, whichever program writes; when it is missing, or
was made for other fields, it is made anew.  Indexes on single fields also sort.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from itertools import compress, islice
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from qdip_dft.storage.codec import Document
from qdip_dft.storage.filters import Field, crosses_list_sql, index_sql, json_path_sql, split_field, type_sql
from qdip_dft.storage.sqlite_collection import (
    SQLiteCollection,
    grow_tree,
    keep_fields,
    logger,
    marks_sql,
    sound_rows_sql,
)
from qdip_dft.storage.sqlite_file import FileConnection, has_table, transaction

if TYPE_CHECKING:
    from maggma.core import Sort


class SummaryCollection(SQLiteCollection):
    """Documents with a summary of their most asked fields.

    Parameters
    ----------
    path, collection_name, key
        As in `SQLiteCollection`.
    summary
        Names of the fields in the summary; none may lead into another one.
    indexes
        Fields of the summary that have an index, each a tuple of fields that are asked for together.
    counts
        Numbers that are kept beside the summary, by name: SQL expressions of ``doc``.
    """

    def __init__(
        self,
        path: str | Path,
        collection_name: str,
        key: str,
        summary: tuple[str, ...],
        indexes: tuple[tuple[str, ...], ...] = (),
        *,
        counts: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.summary, self.indexes, self.counts = tuple(summary), tuple(map(tuple, indexes)), dict(counts)
        self._fields = frozenset(map(split_field, self.summary))
        self._indexed_fields = frozenset(split_field(index[0]) for index in self.indexes)
        super().__init__(path, collection_name, key)

    def query_counted(
        self, fields: list[str], sort: dict[str, Sort | int] | None = None
    ) -> Iterator[tuple[Document, dict[str, int]]]:
        """Yield fields of the summary and the counts of every document.

        Parameters
        ----------
        fields
            Fields of the summary.
        sort
            Indexed fields to sort by.
        """
        tree = grow_tree(fields)
        order = {row: place for place, row in enumerate(self._choose({}, sort))}
        found = self._fetch_counted()
        for row, text, counts in sorted((row for row in found if row[0] in order), key=lambda row: order[row[0]]):
            document, counted = self._decode(text, row), self._decode(counts, row)
            if document is not None and counted is not None:
                yield keep_fields(document, tree), counted

    def is_current(self) -> bool:
        """Whether every row of the summary is what its document makes it."""
        sql = f"SELECT id, {self._summary_sql()} FROM {self._source} WHERE doc IS NOT NULL ORDER BY id"
        kept = self._fetch(f"SELECT * FROM {self._summary_table} ORDER BY id", ())
        return all(map(_is_as_written, kept)) and [row[:3] for row in kept] == self._fetch(sql, ())

    def _fetch_counted(self) -> list[tuple[int, object, object]]:
        """Return row, text and counts of every document; from the documents themselves if the summary was changed."""
        found = [] if self._is_damaged else self._fetch(f"SELECT * FROM {self._summary_table}", ())
        if self._is_damaged or not all(map(_is_as_written, found)):
            self._distrust_summary()
            return self._fetch(
                f"SELECT id, doc, {counts_sql(self.counts)} FROM {self._source} WHERE doc IS NOT NULL", ()
            )
        return [row[:3] for row in found]

    def _fetch_texts(self, table: str, rows: list[int]) -> dict[int, object]:
        if table != self._summary_table:
            return super()._fetch_texts(table, rows)
        found = self._fetch(f"SELECT * FROM {table} WHERE id IN ({marks_sql(rows)})", tuple(rows))
        if all(map(_is_as_written, found)):
            return {row[0]: row[1] for row in found}
        self._distrust_summary()
        return super()._fetch_texts(self._source, rows)

    def _distrust_summary(self) -> None:
        """Read the documents themselves from now on."""
        if not self._is_damaged:
            logger.warning("%s: the summary of %s was changed (qdip db check)", self.path, self.collection_name)
        self._is_damaged = True

    @property
    def _summary_table(self) -> str:
        return f'"{self._summary_name}"'

    @property
    def _summary_name(self) -> str:
        made_of = ("twice", self.summary, self.indexes, sorted(self.counts.items()))
        digest = hashlib.sha256(repr(made_of).encode()).hexdigest()[:8]
        return f"{self.collection_name}_summary_{digest}"

    def _find_table(self, fields: Iterable[Field]) -> str:
        is_summed_up = self._fields.issuperset(fields) and not self._is_damaged
        return self._summary_table if is_summed_up else self._source

    def _list_decided(self, fields: Iterable[Field]) -> frozenset[Field]:
        """Return those of the fields that hold plain values in every document, as their index says."""
        indexed = sorted(self._indexed_fields.intersection(fields))
        tests = [
            f"NOT EXISTS (SELECT 1 FROM {self._summary_table} WHERE {index_sql(field)} = x'00')" for field in indexed
        ]
        found = self._fetch(f"SELECT {', '.join(tests)}", ())[0] if tests else ()
        return frozenset(compress(indexed, found))

    def _create_table(self) -> None:
        super()._create_table()
        if has_table(self._collection, self._summary_name):
            return
        if self._collection.is_read_only:
            for sql in islice(self._describe_summary(), 2):
                self._collection.make_temporary(sql.replace("CREATE TABLE", "CREATE TEMP TABLE"))
            return
        with transaction(self._collection) as connection:
            if has_table(connection, self._summary_name):
                return  # another process was faster
            self._drop_summaries(connection)
            for sql in self._describe_summary():
                connection.execute(sql)

    def _drop_summaries(self, connection: FileConnection) -> None:
        """Drop the summaries that were made for other fields."""
        find = "SELECT type, name FROM sqlite_master WHERE type IN ('table', 'trigger') AND instr(name, ?) = 1"
        for kind, name in connection.execute(find, (f"{self.collection_name}_summary_",)).fetchall():
            connection.execute(f'DROP {kind} "{name}"')

    def _summary_sql(self) -> str:
        return f"{summary_sql(sorted(self._fields))} AS part, {counts_sql(self.counts)} AS counts"

    def _describe_summary(self) -> Iterator[str]:
        table, name = self._summary_table, self._summary_name
        columns = "id INTEGER PRIMARY KEY, doc TEXT NOT NULL, counts TEXT NOT NULL, again TEXT NOT NULL"
        put = f"INSERT OR REPLACE INTO {table} SELECT id, part, counts, part || counts FROM"
        select = f"SELECT id, {self._summary_sql()} FROM"
        yield f"CREATE TABLE {table} ({columns})"
        yield f"{put} ({select} {sound_rows_sql(self._table)} WHERE doc IS NOT NULL)"
        put = f"{put} ({select} (SELECT NEW.id AS id, NEW.doc AS doc))"
        yield f'CREATE TRIGGER "{name}_insert" AFTER INSERT ON {self._table} BEGIN {put}; END'
        yield f'CREATE TRIGGER "{name}_update" AFTER UPDATE ON {self._table} BEGIN {put}; END'
        gone = f"DELETE FROM {table} WHERE id = OLD.id"
        yield f'CREATE TRIGGER "{name}_delete" AFTER DELETE ON {self._table} BEGIN {gone}; END'
        for number, index in enumerate(self.indexes):
            columns = ", ".join(index_sql(split_field(field)) for field in index)
            yield f'CREATE INDEX "{name}_{number}" ON {table} ({columns})'


def _is_as_written(row: tuple[int, object, object, object]) -> bool:
    """Whether both copies of a row of a summary are the same: SQLite alone could make no checksum."""
    return row[3] == f"{row[1]}{row[2]}"


def counts_sql(counts: Mapping[str, str]) -> str:
    """Return the SQL for a mapping of numbers counted in ``doc``."""
    parts = ", ".join(f"'{name}', {sql}" for name, sql in counts.items())
    return f"json_object({parts})"


def summary_sql(fields: list[Field]) -> str:
    """Return the SQL for a document that holds only some fields of ``doc``, every digit as it was written.

    Where a list lies on the way to a field, the whole document is the summary, so that no meaning is lost.
    """
    whole = " OR ".join(crosses_list_sql(field) for field in fields)
    absent = ", ".join(
        f"CASE WHEN {type_sql(field)} IS NULL THEN {json_path_sql(field)} ELSE '$.\"\"' END" for field in fields
    )
    return f"CASE WHEN {whole} THEN doc ELSE json_remove({_object_sql(fields, 0)}, {absent}) END"


def _object_sql(fields: list[Field], depth: int) -> str:
    names = list(dict.fromkeys(field[depth] for field in fields))
    parts = []
    for name in names:
        inside = [field for field in fields if field[depth] == name]
        is_leaf = len(inside[0]) == depth + 1
        value = f"doc -> {json_path_sql(inside[0])}" if is_leaf else _object_sql(inside, depth + 1)
        parts.append(f"'{name}', {value}")
    return f"json_object({', '.join(parts)})"

"""Whether stored results are sound: the file, every document, every result against its calculations."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qdip_dft.errors import QdipError
from qdip_dft.model.keys import job_id
from qdip_dft.results.archive import Archive, read_consistent, refuse_contradiction
from qdip_dft.results.migrations import read_record
from qdip_dft.results.retracing import retrace
from qdip_dft.storage.codec import decode_value
from qdip_dft.storage.sqlite_file import UNREADABLE, open_connection
from qdip_dft.storage.summary_collection import SummaryCollection

if TYPE_CHECKING:
    from qdip_dft.storage.results_folder import ResultsFolder

Document = dict[str, Any]

SET_ASIDE = "set_aside"
"""The table of documents that `qdip db repair` has set aside."""

_COMPLAINTS = 20
"""So many complaints about the file are listed."""

_OWN_TABLES = frozenset({"meta", SET_ASIDE})


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it was stored.

    Parameters
    ----------
    where
        The file, or the collection and the row or id.
    what
        What is wrong with it.
    """

    where: str
    what: str


def check_archive(archive: Archive) -> Iterator[Finding]:
    """Yield what is wrong with the documents of an archive, wherever it is; nothing is changed.

    Parameters
    ----------
    archive
        The results.
    """
    for document in archive.calculations.query({}):
        what = find_fault("calculations", document)
        if what is not None:
            yield Finding(f"calculations {document.get('uuid')}", what)
    for document in archive.stabilizations.query({}):
        what = find_fault("stabilizations", document) or _retrace(document, archive)
        if what is not None:
            yield Finding(f"stabilizations {document.get('id')}", what)


def check_folder(folder: ResultsFolder, archive: Archive) -> Iterator[Finding]:
    """Yield what is wrong with the file of a results folder, then with its documents; nothing is changed.

    Parameters
    ----------
    folder
        The folder.
    archive
        Its records.
    """
    with closing(open_connection(folder.database)) as connection:
        yield from _check_file(connection, folder.database)
        yield from _check_rows(connection)
    try:
        summary = folder.collection("stabilizations")
        if isinstance(summary, SummaryCollection) and not summary.is_current():
            yield Finding(str(folder.database), "the summary of the results differs from the results")
        yield from check_archive(archive)
    except (QdipError, *UNREADABLE) as error:
        yield Finding(str(folder.database), _name(error))


def find_fault(collection: str, document: Document) -> str | None:
    """Why a stored document may not be believed; None: it is sound, or of a kind that has no schema.

    Parameters
    ----------
    collection
        Its collection.
    document
        What is stored.
    """
    try:
        if collection == "stabilizations":
            read_consistent(document)
        elif collection == "calculations" and not isinstance(document.get("uuid"), str):
            return "it has no uuid, by which jobs are known"
        elif collection == "calculations" and isinstance(document.get("output"), dict) and "key" in document["output"]:
            record = read_record(document["output"])
            if document.get("uuid") != job_id(record.key, attempt=record.attempt):
                return f"it is stored under {document.get('uuid')}, which is not the id of its key"
    except QdipError as error:
        return error.what
    return None


def decode_row(content: object) -> Document | None:
    """The document of a row's bytes; None where they are none any more."""
    try:
        document = decode_value(content.decode()) if isinstance(content, bytes) else None
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def list_collections(connection: sqlite3.Connection) -> list[str]:
    """The tables of documents of a results file."""
    found = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")
    names = [str(row[0]) for row in found.fetchall()]
    return [name for name in names if name not in _OWN_TABLES and "_summary_" not in name and name.isidentifier()]


def _check_file(connection: sqlite3.Connection, path: Path) -> Iterator[Finding]:
    try:
        found = connection.execute(f"PRAGMA integrity_check({_COMPLAINTS})").fetchall()
    except UNREADABLE as error:
        found = [(_name(error),)]
    for (complaint,) in found:
        if complaint != "ok":
            yield Finding(str(path), str(complaint))


def _check_rows(connection: sqlite3.Connection) -> Iterator[Finding]:
    """Yield the rows that are no documents any more: queries leave them out."""
    try:
        for name in list_collections(connection):
            for row, content in connection.execute(f'SELECT id, CAST(doc AS BLOB) FROM "{name}"'):
                if decode_row(content) is None:
                    yield Finding(f"{name} row {row}", "its text is no document any more")
    except UNREADABLE as error:
        yield Finding("the file", _name(error))


def _retrace(document: Document, archive: Archive) -> str | None:
    result = read_consistent(document)
    contradictions = retrace(result, archive.find_record)
    return refuse_contradiction(result, contradictions).what if contradictions else None


def _name(error: Exception) -> str:
    return error.what if isinstance(error, QdipError) else str(error)

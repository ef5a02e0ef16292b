"""Copying all results from one place to another: what is there already is left, and every copy is read back."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from qdip_dft.errors import ResultsError
from qdip_dft.model.seals import compute_checksum
from qdip_dft.results.archive import Archive
from qdip_dft.results.collection import Collection
from qdip_dft.storage.codec import Document, encode_value

KEYS = {"calculations": ("uuid", "index"), "stabilizations": ("id",), "revisions": ("id",)}
"""The fields that identify a document of each collection."""

_AT_A_TIME = 50


@dataclass(frozen=True, slots=True)
class CopySummary:
    """What a copy did with one collection.

    Parameters
    ----------
    collection
        Its name.
    n_documents
        Documents of the source; as many of them are in the target now.
    n_copied
        Documents that were written, and read back with the same checksum.
    n_present
        Documents that the target held already, with the same checksum.
    differing
        Keys of documents that the target holds with another content, and keeps.
    """

    collection: str
    n_documents: int
    n_copied: int
    n_present: int
    differing: tuple[str, ...]


def copy_results(
    source: Archive, target: Archive, *, replace: bool = False, report: Callable[[str, int], None] = lambda *_: None
) -> tuple[CopySummary, ...]:
    """Copy every document that the target does not hold; after an interruption the same call goes on.

    Parameters
    ----------
    source, target
        The results; those of the source are not changed.
    replace
        Whether documents of the same key and another content are replaced by those of the source.
    report
        Is told the collection and the number of documents done.

    Raises
    ------
    ResultsError
        If a document does not read back as it was written, or the counts differ at the end.
    """
    return tuple(
        _copy_collection(name, getattr(source, name), getattr(target, name), replace=replace, report=report)
        for name in KEYS
        if name != "revisions" or source.revisions.count({})
    )


def checksum(document: Document) -> str:
    """Return the SHA-256 of a document's content, the same in every store."""
    return compute_checksum(json.loads(encode_value(_leave_out_additions(document))))


def _copy_collection(
    name: str, source: Collection, target: Collection, *, replace: bool, report: Callable[[str, int], None]
) -> CopySummary:
    keys, n_copied, n_present, differing = KEYS[name], 0, 0, list[str]()
    for batch in _take_batches(source.query({}), _AT_A_TIME):
        there = _list_checksums(target, batch, keys)
        wanted = {_key_of(document, keys): checksum(document) for document in batch}
        different = {key for key in wanted if there.get(key, wanted[key]) != wanted[key]}
        to_write = [d for d in batch if (key := _key_of(d, keys)) not in there or (replace and key in different)]
        _write(target, to_write, keys, wanted)
        n_copied += len(to_write)
        n_present += sum(there.get(key) == wanted[key] for key in wanted)
        differing += [] if replace else [key[0] for key in sorted(different, key=str)]
        report(name, n_copied + n_present + len(differing))
    n_documents = n_copied + n_present + len(differing)
    if source.count({}) > n_documents or target.count({}) < n_documents:
        raise _incomplete(name, f"the source holds {source.count({})} documents, the target {target.count({})}")
    return CopySummary(name, n_documents, n_copied, n_present, tuple(differing))


def _write(
    target: Collection, documents: list[Document], keys: tuple[str, ...], wanted: dict[tuple[Any, ...], str]
) -> None:
    if not documents:
        return
    target.update([_leave_out_additions(document) for document in documents], key=list(keys))
    written = _list_checksums(target, documents, keys)
    for document in documents:
        key = _key_of(document, keys)
        if written.get(key) != wanted[key]:
            raise _incomplete(str(key[0]), "the copy does not have the checksum of the original")


def _list_checksums(store: Collection, like: list[Document], keys: tuple[str, ...]) -> dict[tuple[Any, ...], str]:
    """Return the checksums of the stored documents that have the keys of the given ones."""
    names = [document[keys[0]] for document in like]
    return {_key_of(document, keys): checksum(document) for document in store.query({keys[0]: {"$in": names}})}


def _leave_out_additions(document: Document) -> Document:
    """Return the document without what stores add to it."""
    return {name: value for name, value in document.items() if name not in {"_id", "last_updated"}}


def _key_of(document: Document, keys: tuple[str, ...]) -> tuple[Any, ...]:
    return tuple(document[key] for key in keys)


def _take_batches(documents: Iterable[Document], size: int) -> Iterator[list[Document]]:
    rest = iter(documents)
    while batch := list(islice(rest, size)):
        yield batch


def _incomplete(what: str, reason: str) -> ResultsError:
    return ResultsError(
        f"{what} was not copied as it is: {reason}",
        limit="every document must arrive with the same content",
        why="the copy could not replace the original",
        remedy="run the same command again when nothing else writes to source and target; the original is unchanged",
    )

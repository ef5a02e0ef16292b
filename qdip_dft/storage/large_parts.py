"""Large parts of documents, kept apart from them: a database document ends at 16 MB, a trajectory does not.

A document that is too large leaves its large lists, texts and mappings in a file store, each under the SHA-256 of its
content, and names them in its field ``large_parts``.  Reading puts them back; filters do not look into them.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Iterator
from typing import Any

from qdip_dft.errors import ResultsError
from qdip_dft.storage.codec import Document, decode_value, encode_value

FIELD = "large_parts"
LARGEST_DOCUMENT_BYTES = 4_000_000
"""Documents up to this size stay whole."""
LARGEST_PART_BYTES = 100_000
"""Of a larger document, lists, texts and mappings up to this size stay in place."""

KeepFile = Callable[[str, bytes], None]
FetchFile = Callable[[str], bytes]


def split_document(document: Document, keep: KeepFile) -> Document:
    """Return a document without its large parts, after `keep` has stored each under its name.

    Parameters
    ----------
    document
        A plain document; it is not changed.
    keep
        Stores bytes under a name, and does nothing when the name is taken.
    """
    moved: list[Document] = []
    rest = _split(document, (), keep, moved)
    return {**rest, FIELD: moved} if moved else document


def restore_document(document: Document, fetch: FetchFile) -> Document:
    """Return a document with its large parts in place again.

    Raises
    ------
    ResultsError
        If a part is damaged.
    """
    restored = {name: value for name, value in document.items() if name != FIELD}
    for part in document.get(FIELD, ()):
        *parents, last = part["path"]
        branch = restored
        for name in parents:
            branch[name] = dict(branch[name])
            branch = branch[name]
        branch[last] = _unpack(part["sha256"], fetch(part["sha256"]))
    return restored


def _split(mapping: Document, path: tuple[str, ...], keep: KeepFile, moved: list[Document]) -> Document:
    return dict(_split_members(mapping, path, keep, moved))


def _split_members(
    mapping: Document, path: tuple[str, ...], keep: KeepFile, moved: list[Document]
) -> Iterator[tuple[str, Any]]:
    for name, value in mapping.items():
        is_plain = not isinstance(value, dict | list | str)
        text = "" if is_plain else encode_value(value)
        if len(text) <= LARGEST_PART_BYTES:
            yield name, value
        elif isinstance(value, dict) and value:
            yield name, _split(value, (*path, name), keep, moved)
        else:
            moved.append(_move(text, [*path, name], keep))


def _move(text: str, path: list[str], keep: KeepFile) -> Document:
    content = text.encode()
    name = hashlib.sha256(content).hexdigest()
    keep(name, zlib.compress(content, level=3))
    return {"path": path, "sha256": name, "size_bytes": len(content)}


def _unpack(name: str, packed: bytes) -> Any:
    try:
        content = zlib.decompress(packed)
    except zlib.error:
        content = b""
    if hashlib.sha256(content).hexdigest() != name:
        raise ResultsError(
            f"the large part {name[:12]}… of a document is damaged",
            limit="its SHA-256 must be its name",
            why="a changed number would go unnoticed",
            remedy="restore the database from a copy, or calculate it again",
        )
    return decode_value(content.decode())

"""The checksum that every stored document carries: a changed digit is found when the document is read.

It is the SHA-256 of the document as canonical JSON (sorted names, no spaces), without what stores add.  Documents of
versions that wrote none are read as they are.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final

SEAL: Final = "checksum"
"""The field that holds it."""

ADDED_BY_STORES: Final = frozenset({"_id", "last_updated", SEAL})
"""Fields of a stored document that its record does not have."""


def compute_checksum(document: Mapping[str, Any]) -> str:
    """The SHA-256 (hex) of a document of plain JSON values, the same in every store.

    Parameters
    ----------
    document
        With or without a seal and what stores add.
    """
    content = {name: value for name, value in document.items() if name not in ADDED_BY_STORES}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def seal(document: Mapping[str, Any]) -> dict[str, Any]:
    """The document with its checksum; the given one is not changed."""
    return {**document, SEAL: compute_checksum(document)}


def is_intact(document: Mapping[str, Any]) -> bool:
    """Whether a document is as it was written; true where it carries no checksum."""
    try:
        return SEAL not in document or document[SEAL] == compute_checksum(document)
    except (TypeError, ValueError, RecursionError):  # no plain JSON: nobody of us has written that
        return False

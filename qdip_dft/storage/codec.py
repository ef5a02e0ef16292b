"""Documents as JSON text and back, without losing anything.

JSON has no word for dates and for numbers that are not finite.  They are written as MongoDB's Extended JSON writes
them (``{"$date": …}``, ``{"$numberDouble": "NaN"}``), so that any program can read the file.  Dates follow MongoDB's
convention: with a time zone they become UTC, and they are read back without one.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from qdip_dft.errors import ResultsError

Document = dict[str, Any]

_SURROGATE = re.compile("[\ud800-\udfff]")
_PLAIN_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def encode_document(document: Document) -> str:
    """Return a document as JSON text.

    Objects that know ``as_dict`` (MSONable) and numpy arrays are written as maggma's own stores write them.

    Raises
    ------
    ResultsError
        If the document holds something that JSON cannot carry.
    """
    if not isinstance(document, dict):
        raise _unstorable(document, f"it is a {type(document).__name__}, a document is a mapping")
    return encode_value(document)


def encode_value(value: Any) -> str:
    """Return any storable value as JSON text; see `encode_document`."""
    try:
        text = _PLAIN_ENCODER.encode(value)
    except (TypeError, ValueError):
        return _encode_carefully(value)
    except RecursionError as error:
        raise _unstorable(value, "it is nested too deeply") from error
    # "$ may be a reserved name; SQLite cuts texts at a NUL and cannot hand back half a surrogate pair.
    is_plain = '"$' not in text and "\\u0000" not in text and (text.isascii() or not _SURROGATE.search(text))
    return text if is_plain else _encode_carefully(value)


def decode_value(text: str) -> Any:
    """Return the value that `encode_value` wrote."""
    return json.loads(text, object_hook=_untag if '"$' in text else None)


def make_naive_utc(moment: datetime) -> datetime:
    """Return a moment in UTC without its time zone; a moment without one is taken as it is."""
    return moment if moment.tzinfo is None else moment.astimezone(UTC).replace(tzinfo=None)


def _encode_carefully(value: Any) -> str:
    from monty.json import jsanitize  # loads numpy, which plain values do not need

    try:
        text = _PLAIN_ENCODER.encode(_tag(jsanitize(value, strict=True, allow_bson=True)))
    except (TypeError, ValueError, AttributeError) as error:
        raise _unstorable(value, str(error)) from error
    return _SURROGATE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def _tag(value: Any) -> Any:
    if isinstance(value, dict):
        return {_refuse_tag(name): _tag(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_tag(part) for part in value]
    if isinstance(value, datetime):
        return {"$date": make_naive_utc(value).isoformat(sep=" ", timespec="microseconds")}
    if isinstance(value, float) and not math.isfinite(value):
        return {"$numberDouble": str(value)}
    if isinstance(value, str) and ("\0" in value or _SURROGATE.search(value)):
        return {"$text": value.encode("unicode_escape").decode("ascii")}
    return value


_UNTAG: dict[str, Callable[[str], Any]] = {
    "$date": datetime.fromisoformat,
    "$numberDouble": float,
    "$text": lambda text: text.encode("ascii").decode("unicode_escape"),
}


def _untag(mapping: Document) -> Any:
    name = next(iter(mapping), "")
    return _UNTAG[name](mapping[name]) if name in _UNTAG else mapping


def _refuse_tag(name: str) -> str:
    if name in _UNTAG:
        raise ValueError(f"the field name {name!r} is reserved")
    return name


def _unstorable(value: Any, reason: str) -> ResultsError:
    return ResultsError(
        f"a {type(value).__name__} cannot be stored: {reason}",
        limit="documents hold text, numbers, booleans, dates, lists and mappings with text keys",
        why="anything else could not be read back as it was",
        remedy="convert it to plain values (for example with .tolist() or .as_dict()) before storing it",
    )

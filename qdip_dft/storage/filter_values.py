"""Filters on documents, evaluated in Python: what a field refers to, whether it passes, and how values are ordered."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterator
from datetime import datetime
from functools import lru_cache
from typing import Any

from qdip_dft.storage.codec import decode_value
from qdip_dft.storage.filters import (
    AllOf,
    AnyOf,
    Field,
    FieldTest,
    Filter,
    Not,
    compile_pattern,
    parse_member,
)

MISSING: Any = object()
"""Stands for the value of a field that a document does not have."""

_RANKS: tuple[tuple[int, type | tuple[type, ...]], ...] = (
    (5, bool),
    (1, (int, float)),
    (2, str),
    (3, dict),
    (4, list),
    (6, datetime),
)
"""MongoDB's order of types; 0 is null or missing.  Booleans come first here because Python counts them as integers."""


def document_passes(node: Filter, document: Any) -> bool:
    """Return whether a document passes a filter."""
    match node:
        case AllOf(parts):
            return all(document_passes(part, document) for part in parts)
        case AnyOf(parts):
            return any(document_passes(part, document) for part in parts)
        case Not(part):
            return not document_passes(part, document)
        case FieldTest(field, name, operand):
            return any(_passes(value, name, operand) for value in find_values(document, field))


def value_passes(value_text: str, test_text: str) -> bool:
    """Return whether a value in JSON passes a test in JSON; SQLite calls this for what it cannot decide itself."""
    return document_passes(_read_test(test_text), decode_value(value_text))


def text_matches(text: str, pattern: str, options: str) -> bool:
    """Return whether a regular expression is found in a text; SQLite calls this."""
    return compile_pattern(pattern, options).search(text) is not None


def find_values(document: Any, field: Field) -> Iterator[Any]:
    """Yield every value that a field refers to; one per member where the field crosses a list of mappings."""
    if not field:
        yield document
    elif isinstance(document, dict):
        yield from find_values(document[field[0]], field[1:]) if field[0] in document else [MISSING]
    elif isinstance(document, list) and field[0].isdecimal():
        if int(field[0]) < len(document):
            yield from find_values(document[int(field[0])], field[1:])
    elif isinstance(document, list):
        for member in document:
            yield from find_values(member, field) if isinstance(member, dict) else [MISSING]
    else:
        yield MISSING


def find_value(document: Any, field: Field) -> Any:
    """Return the one value that a field refers to through mappings and numbered members of lists, or `MISSING`."""
    for part in field:
        if isinstance(document, dict) and part in document:
            document = document[part]
        elif isinstance(document, list) and part.isdecimal() and int(part) < len(document):
            document = document[int(part)]
        else:
            return MISSING
    return document


def order_values(values: list[Any], *, is_descending: bool) -> tuple[Any, ...]:
    """Return the key by which a document is sorted: its smallest value, or its largest in descending order.

    The order of types is MongoDB's: empty list, null or missing, numbers, text, mappings, lists, booleans, dates.
    """
    members = [member for value in values for member in (value if isinstance(value, list) else [value])]
    if not members:
        return (-1,)
    return (max if is_descending else min)(map(_order, members))


def _order(value: Any) -> tuple[Any, ...]:
    rank = _rank(value)
    if isinstance(value, dict):
        return (rank, tuple((_rank(part), name, _order(part)) for name, part in value.items()))
    if isinstance(value, list):
        return (rank, tuple(map(_order, value)))
    if isinstance(value, float) and math.isnan(value):
        return (rank, -math.inf)
    return (rank,) if value is MISSING or value is None else (rank, value)


def _rank(value: Any) -> int:
    if value is MISSING or value is None:
        return 0
    return next(rank for rank, kind in _RANKS if isinstance(value, kind))


def _passes(value: Any, operator_name: str, operand: Any) -> bool:
    if operator_name == "$exists":
        return value is not MISSING
    if operator_name in _LIST_TESTS:
        return isinstance(value, list) and _LIST_TESTS[operator_name](value, operand)
    members = [value, *value] if isinstance(value, list) else [value]
    return any(_MEMBER_TESTS[operator_name](member, operand) for member in members)


def _has_size(value: list[Any], size: int) -> bool:
    return len(value) == size


def _has_member(value: list[Any], condition: Any) -> bool:
    return any(document_passes(parse_member(condition), member) for member in value)


def _is_equal(value: Any, operand: Any) -> bool:
    if _rank(value) != _rank(operand):
        return False
    if isinstance(operand, dict):
        return value.keys() == operand.keys() and all(_is_equal(value[name], operand[name]) for name in operand)
    if isinstance(operand, list):
        return len(value) == len(operand) and all(map(_is_equal, value, operand))
    if isinstance(operand, float) and math.isnan(operand):
        return isinstance(value, float) and math.isnan(value)
    return operand is None or bool(value == operand)


def _is_among(value: Any, choices: list[Any]) -> bool:
    return any(_is_equal(value, choice) for choice in choices)


def _has_pattern(value: Any, pattern: list[str]) -> bool:
    return isinstance(value, str) and text_matches(value, *pattern)


def _compare(comparison: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    return lambda value, operand: _rank(value) == _rank(operand) and comparison(value, operand)


_LIST_TESTS: dict[str, Callable[[list[Any], Any], bool]] = {"$size": _has_size, "$elemMatch": _has_member}
_MEMBER_TESTS: dict[str, Callable[[Any, Any], bool]] = {
    "$eq": _is_equal,
    "$in": _is_among,
    "$regex": _has_pattern,
    "$gt": _compare(operator.gt),
    "$gte": _compare(operator.ge),
    "$lt": _compare(operator.lt),
    "$lte": _compare(operator.le),
}


@lru_cache(maxsize=256)
def _read_test(text: str) -> FieldTest:
    field, name, operand = decode_value(text)
    return FieldTest(tuple(field), f"${name}", operand)

"""Filters on documents, in MongoDB's words, parsed into a small tree.

A filter such as ``{"output.energy_ev": {"$lt": -3}}`` is read once; `document_sql` turns the tree into SQL and
`document_values` evaluates it in Python.  The meaning follows the MongoDB manual: a test on a list is passed by the
list itself or by any of its members, numbers, text and booleans never equal each other, and a missing field equals
null.  What is not supported is refused, never ignored.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

from qdip_dft.errors import ResultsError
from qdip_dft.storage.codec import Document, decode_value, encode_value, make_naive_utc

Field = tuple[str, ...]

_LARGEST_INTEGER = 2**63 - 1
_PATTERN_FLAGS = {"i": re.IGNORECASE, "m": re.MULTILINE, "s": re.DOTALL, "x": re.VERBOSE, "a": re.ASCII}


@dataclass(frozen=True, slots=True)
class AllOf:
    """Passes when every part passes."""

    parts: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    """Passes when at least one part passes."""

    parts: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """Passes when its part does not."""

    part: Filter


@dataclass(frozen=True, slots=True)
class FieldTest:
    """One positive test of one field: ``$eq $in $gt $gte $lt $lte $exists $regex $size $elemMatch``."""

    field: Field
    operator: str
    operand: Any


Filter = AllOf | AnyOf | Not | FieldTest


def parse_filter(criteria: Document | None) -> Filter:
    """Return the tree of a MongoDB filter.

    Raises
    ------
    ResultsError
        If the filter uses an operator or operand that is not supported.
    """
    if not isinstance(criteria or {}, dict):
        raise _refuse(f"the filter {criteria!r} is not a mapping")
    return AllOf(tuple(_parse_clause(name, condition) for name, condition in (criteria or {}).items()))


def split_field(name: str) -> Field:
    """Return the parts of a dotted field name.

    Raises
    ------
    ResultsError
        If a part of the name starts with ``$``, as operators do.
    """
    field = tuple(str(name).split("."))
    if any(part.startswith("$") for part in field):
        raise _refuse(f"{name!r} is neither a supported operator nor a field name")
    return field


def parse_member(condition: Any) -> Filter:
    """Return what one member of a list must pass: operators on the member itself, or a filter on its fields."""
    if not isinstance(condition, dict):
        raise _refuse(f"$elemMatch needs a mapping, not {condition!r}")
    if _has_operators(condition) and not set(condition) & {"$and", "$or", "$nor"}:
        return _parse_condition((), condition)
    return parse_filter(condition)


@lru_cache(maxsize=256)
def compile_pattern(pattern: str, options: str) -> re.Pattern[str]:
    """Return the regular expression with its options, each a letter out of ``imsxa``."""
    flags = re.RegexFlag(0)
    for letter in options:
        flags |= _PATTERN_FLAGS[letter]
    return re.compile(pattern, flags)


def _parse_clause(name: str, condition: Any) -> Filter:
    if name in ("$and", "$or", "$nor"):
        parts = tuple(parse_filter(part) for part in _require_list(name, condition))
        if not parts:
            raise _refuse(f"{name} has an empty list")
        combine: dict[str, Filter] = {"$and": AllOf(parts), "$or": AnyOf(parts), "$nor": Not(AnyOf(parts))}
        return combine[name]
    return _parse_condition(split_field(name), condition)


def _parse_condition(field: Field, condition: Any) -> Filter:
    if isinstance(condition, re.Pattern):
        return _parse_pattern(field, condition, "")
    if not (isinstance(condition, dict) and _has_operators(condition)):
        return FieldTest(field, "$eq", _read_operand(condition))
    options = condition.get("$options", "")
    if "$options" in condition and "$regex" not in condition:
        raise _refuse("$options stands without $regex")
    operators = {name: operand for name, operand in condition.items() if name != "$options"}
    return AllOf(tuple(_parse_operator(field, name, operand, options) for name, operand in operators.items()))


def _parse_operator(field: Field, operator: str, operand: Any, options: str) -> Filter:
    if operator == "$regex":
        return _parse_pattern(field, operand, options)
    if operator not in _PARSERS:
        raise _refuse(f"the operator {operator!r} is not supported")
    return _PARSERS[operator](field, operator, operand)


def _parse_equal(field: Field, operator: str, operand: Any) -> Filter:
    return FieldTest(field, operator, _read_operand(operand))


def _parse_not_equal(field: Field, _: str, operand: Any) -> Filter:
    return Not(FieldTest(field, "$eq", _read_operand(operand)))


def _parse_range(field: Field, operator: str, operand: Any) -> Filter:
    value = _read_operand(operand)
    is_ordered = isinstance(value, int | float | str | datetime) and not isinstance(value, bool)
    if not is_ordered or (isinstance(value, float) and math.isnan(value)):
        raise _refuse(f"{operator} compares numbers, text or dates, not {operand!r}")
    return FieldTest(field, operator, value)


def _parse_exists(field: Field, operator: str, operand: Any) -> Filter:
    test = FieldTest(field, operator, None)
    return test if operand else Not(test)


def _parse_size(field: Field, operator: str, operand: Any) -> Filter:
    if isinstance(operand, bool) or not isinstance(operand, int):
        raise _refuse(f"$size needs a whole number, not {operand!r}")
    return FieldTest(field, operator, operand)


def _parse_all(field: Field, operator: str, operand: Any) -> Filter:
    parts = tuple(_parse_condition(field, part) for part in _require_list(operator, operand))
    return AllOf(parts) if parts else AnyOf(())


def _parse_member(field: Field, operator: str, operand: Any) -> Filter:
    parse_member(operand)
    return FieldTest(field, operator, operand)


def _parse_not(field: Field, _: str, condition: Any) -> Filter:
    if isinstance(condition, re.Pattern) or (isinstance(condition, dict) and _has_operators(condition)):
        return Not(_parse_condition(field, condition))
    raise _refuse(f"$not needs operators or a regular expression, not {condition!r}")


def _parse_not_in(field: Field, operator: str, operand: Any) -> Filter:
    return Not(_parse_in(field, operator, operand))


def _parse_in(field: Field, operator: str, operand: Any) -> Filter:
    """Gather texts and numbers into one test each, which an index can answer; the rest are tested one by one."""
    operands = _require_list(operator, operand)
    patterns = [operand for operand in operands if isinstance(operand, re.Pattern)]
    values = [_read_operand(operand) for operand in operands if not isinstance(operand, re.Pattern)]
    texts = [value for value in values if isinstance(value, str)]
    whole_numbers = [value for value in values if isinstance(value, int) and not isinstance(value, bool)]
    others = [value for value in values if isinstance(value, bool) or not isinstance(value, str | int)]
    parts: list[Filter] = [FieldTest(field, "$in", group) for group in (texts, whole_numbers) if group]
    parts += [FieldTest(field, "$eq", value) for value in others]
    parts += [_parse_pattern(field, pattern, "") for pattern in patterns]
    return parts[0] if len(parts) == 1 else AnyOf(tuple(parts))


def _parse_pattern(field: Field, pattern: Any, options: str) -> Filter:
    if isinstance(pattern, re.Pattern):
        options += "".join(letter for letter in _PATTERN_FLAGS if pattern.flags & _PATTERN_FLAGS[letter])
        pattern = pattern.pattern
    if not isinstance(pattern, str) or set(options) - set(_PATTERN_FLAGS):
        raise _refuse(f"$regex needs a text and $options out of i, m, s, x and a, not {pattern!r} and {options!r}")
    try:
        compile_pattern(pattern, options)
    except re.error as error:
        raise _refuse(f"the regular expression {pattern!r} is malformed ({error})") from error
    return FieldTest(field, "$regex", [pattern, options])


def _has_operators(condition: Document) -> bool:
    return any(str(name).startswith("$") for name in condition)


def _require_list(operator: str, operand: Any) -> list[Any]:
    if not isinstance(operand, list | tuple | set | frozenset):
        raise _refuse(f"{operator} needs a list, not {operand!r}")
    return list(operand)


def _read_operand(operand: Any) -> Any:
    """Return the operand as it would read if it had been stored."""
    if isinstance(operand, datetime):
        return make_naive_utc(operand)
    value = operand if isinstance(operand, str | int | float | None) else decode_value(encode_value(operand))
    if isinstance(value, int) and abs(value) > _LARGEST_INTEGER:
        raise _refuse(f"{value} is beyond 64 bits")
    return value


_PARSERS: dict[str, Callable[[Field, str, Any], Filter]] = {
    "$eq": _parse_equal,
    "$ne": _parse_not_equal,
    "$in": _parse_in,
    "$nin": _parse_not_in,
    "$gt": _parse_range,
    "$gte": _parse_range,
    "$lt": _parse_range,
    "$lte": _parse_range,
    "$exists": _parse_exists,
    "$not": _parse_not,
    "$all": _parse_all,
    "$size": _parse_size,
    "$elemMatch": _parse_member,
}


def _refuse(what: str) -> ResultsError:
    return ResultsError(
        what,
        limit="filters use $eq $ne $in $nin $gt $gte $lt $lte $exists $regex $not $all $size $elemMatch $and $or $nor",
        why="a filter that is only half understood would return the wrong documents",
        remedy="write the filter with these operators, or query more broadly and select in Python",
    )

"""Filters on documents in MongoDB's words, as far as jobflow and our own questions use them.

SQLite cannot decide everything: lists, booleans, and decimal numbers that differ in their last digit.  So a filter
becomes two conditions: whatever meets the first one passes for certain, whatever does not meet the second one fails for
certain, and the documents between them are decided in Python.  The meaning follows the MongoDB manual: a test on a list
is passed by the list itself or by any of its members, numbers, text and booleans never equal each other, and a missing
field equals null.  What is not supported is refused, never ignored.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from itertools import compress
from typing import Any

from qdip_dft.errors import ResultsError
from qdip_dft.storage.codec import Document, decode_value, encode_value, make_naive_utc

Field = tuple[str, ...]

MISSING: Any = object()
"""Stands for the value of a field that a document does not have."""

_UNDECIDED = "x'00'"
"""What an index holds where SQL cannot decide."""

_UNNAMEABLE = re.compile(r'["\\\x00-\x1f\ud800-\udfff]')
"""What SQLite's JSON path cannot name."""

_UNBINDABLE = re.compile("[\0\ud800-\udfff]")
"""What SQLite cannot take; texts with it are stored as mappings (see `codec`)."""

_LARGEST_INTEGER = 2**63 - 1
_COMPARISONS: dict[str, tuple[str, Callable[[Any, Any], bool]]] = {
    "$gt": (">", operator.gt),
    "$gte": (">=", operator.ge),
    "$lt": ("<", operator.lt),
    "$lte": ("<=", operator.le),
}
_NEGATED = {"$ne": "$eq", "$nin": "$in"}
_OPERATORS = {"$eq", "$in", "$exists", *_NEGATED, *_COMPARISONS}


@dataclass(frozen=True, slots=True)
class Sql:
    """A condition with its parameters."""

    text: str
    parameters: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class Bounds:
    """What SQL knows about a filter: documents that certainly pass, and those that may."""

    certain: Sql
    possible: Sql


def bound_filter(criteria: Document | None, decided: frozenset[Field] = frozenset()) -> Bounds:
    """Return what SQL knows about a filter.

    Parameters
    ----------
    criteria
        The filter; None passes everything.
    decided
        Fields that hold plain values in every document.

    Raises
    ------
    ResultsError
        If the filter uses an operator or operand that is not supported.
    """
    if not isinstance(criteria or {}, dict):
        raise _refuse(f"the filter {criteria!r} is not a mapping")
    bounds = [_bound_clause(name, condition, decided) for name, condition in (criteria or {}).items()]
    return _join(" AND ", bounds) if bounds else _exactly("TRUE")


def document_passes(criteria: Document | None, document: Any) -> bool:
    """Return whether a document passes a filter."""
    return all(_passes_clause(name, condition, document) for name, condition in (criteria or {}).items())


def list_filtered(criteria: Document | None) -> set[Field]:
    """Return the fields that a filter looks at."""
    found = set[Field]()
    for name, condition in (criteria or {}).items():
        parts = _require_list(name, condition) if name in ("$and", "$or", "$nor") else None
        found |= {split_field(name)} if parts is None else set().union(*map(list_filtered, parts))
    return found


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


def is_plain_field(field: Field) -> bool:
    """Return whether SQLite's JSON path can name the field: no quotes, backslashes or control characters."""
    return not any(_UNNAMEABLE.search(part) for part in field)


@lru_cache(maxsize=1024)
def json_path_sql(field: Field) -> str:
    """Return the SQL literal of the path to a plain field."""
    path = "$" + "".join(f'."{part}"' for part in field)
    return "'" + path.replace("'", "''") + "'"


def type_sql(field: Field) -> str:
    """Return the SQL for the JSON type of a plain field; NULL where it is missing."""
    return f"json_type(doc, {json_path_sql(field)})"


def crosses_list_sql(field: Field) -> str:
    """Return the SQL that is true where a list lies on the way to a plain field."""
    parents = [f"{type_sql(field[:length])} IS 'array'" for length in range(1, len(field))]
    return f"({' OR '.join(parents or ['FALSE'])})"


def index_sql(field: Field) -> str:
    """Return the SQL that an index on a plain field holds: its value, or the blob ``x'00'`` where SQL cannot decide."""
    kinds = "('array', 'object', 'true', 'false')"  # SQL takes booleans for numbers
    undecided = f"{type_sql(field)} IN {kinds} OR {crosses_list_sql(field)}"
    return f"CASE WHEN {undecided} THEN {_UNDECIDED} ELSE json_extract(doc, {json_path_sql(field)}) END"


def order_sql(field: Field, direction: str, *, is_decided: bool) -> str:
    """Return the SQL that sorts by a field: missing, numbers, text, then everything else by its JSON text."""
    if not is_plain_field(field):
        raise _refuse(f"the field {'.'.join(field)!r} cannot be sorted by")
    column = f"{index_sql(field)} {direction}"
    return column if is_decided else f"{column}, json_extract(doc, {json_path_sql(field)}) {direction}"


def _exactly(text: str, *parameters: Any) -> Bounds:
    return Bounds(Sql(text, parameters), Sql(text, parameters))


def _join(word: str, parts: list[Bounds]) -> Bounds:
    sides = [[part.certain for part in parts], [part.possible for part in parts]]
    joined = (
        Sql(word.join(f"({sql.text})" for sql in side), tuple(p for sql in side for p in sql.parameters))
        for side in sides
    )
    return Bounds(*joined)


def _negate(bounds: Bounds) -> Bounds:
    certain, possible = bounds.certain, bounds.possible
    return Bounds(
        Sql(f"({possible.text}) IS NOT TRUE", possible.parameters),
        Sql(f"({certain.text}) IS NOT TRUE", certain.parameters),
    )


def _bound_clause(name: str, condition: Any, decided: frozenset[Field]) -> Bounds:
    if name in ("$and", "$or", "$nor"):
        parts = [bound_filter(part, decided) for part in _require_list(name, condition)]
        if not parts:
            raise _refuse(f"{name} has an empty list")
        joined = _join(" AND " if name == "$and" else " OR ", parts)
        return _negate(joined) if name == "$nor" else joined
    field = split_field(name)
    tests = list(_list_tests(condition))
    return _join(" AND ", [_bound_test(field, *test, is_decided=field in decided) for test in tests])


def _list_tests(condition: Any) -> Iterator[tuple[str, Any]]:
    """Yield operators and operands as they would read if they had been stored."""
    is_operators = isinstance(condition, dict) and any(str(name).startswith("$") for name in condition)
    for name, operand in condition.items() if is_operators else [("$eq", condition)]:
        if name not in _OPERATORS:
            raise _refuse(f"the operator {name!r} is not supported")
        yield (
            name,
            [_read_operand(one) for one in _require_list(name, operand)]
            if name in ("$in", "$nin")
            else (_read_operand(operand)),
        )


def _bound_test(field: Field, name: str, operand: Any, *, is_decided: bool) -> Bounds:
    if name in _NEGATED:
        return _negate(_bound_test(field, _NEGATED[name], operand, is_decided=is_decided))
    if name in _COMPARISONS:
        _require_ordered(name, operand)
    if not is_plain_field(field):
        return Bounds(Sql("FALSE"), Sql("TRUE"))
    if name == "$exists":
        is_there = f"{type_sql(field)} IS NOT NULL"
        bounds = _widen(_exactly(is_there), field)
        return bounds if operand else _negate(bounds)
    if name == "$in":
        return _bound_choice(field, operand, is_decided=is_decided)
    column = index_sql(field)
    bounds = _bound_equal(field, column, operand) if name == "$eq" else _bound_range(column, name, operand)
    return bounds if is_decided else _widen(bounds, field)


def _widen(bounds: Bounds, field: Field) -> Bounds:
    """Admit what SQL cannot decide to the possible documents."""
    undecided = f"{index_sql(field)} = {_UNDECIDED}"
    return Bounds(bounds.certain, Sql(f"{bounds.possible.text} OR {undecided}", bounds.possible.parameters))


def _bound_choice(field: Field, choices: list[Any], *, is_decided: bool) -> Bounds:
    """Gather the texts into one test, which an index can answer; the rest are tested one by one."""
    is_text = [isinstance(choice, str) and not _UNBINDABLE.search(choice) for choice in choices]
    texts = list(compress(choices, is_text))
    others = [choice for choice, is_one in zip(choices, is_text, strict=True) if not is_one]
    parts = [_bound_test(field, "$eq", other, is_decided=is_decided) for other in others]
    undecided = "" if is_decided else f" UNION ALL SELECT {_UNDECIDED}"
    column = f"{index_sql(field)} IN (SELECT value FROM json_each(?)"
    given = (encode_value(texts),)
    return _join(" OR ", [Bounds(Sql(f"{column})", given), Sql(f"{column}{undecided})", given)), *parts])


def _bound_equal(field: Field, column: str, operand: Any) -> Bounds:
    if operand is None:
        return _exactly(f"{column} IS NULL")
    if isinstance(operand, bool):
        return _exactly(f"{type_sql(field)} = '{str(operand).lower()}'")
    if isinstance(operand, str) and not _UNBINDABLE.search(operand):
        return _exactly(f"{column} = ?", operand)
    if isinstance(operand, int):
        exact = Sql(f"{type_sql(field)} = 'integer' AND {column} = ?", (operand,))
        return Bounds(exact, _near(column, operand))
    if isinstance(operand, float) and math.isfinite(operand):
        return Bounds(Sql("FALSE"), _near(column, operand))
    return _exactly("FALSE")


def _bound_range(column: str, name: str, operand: Any) -> Bounds:
    sign, _ = _COMPARISONS[name]
    is_upper = sign.startswith("<")
    if isinstance(operand, str) and not _UNBINDABLE.search(operand):
        limits = f"{column} >= '' AND {column} {sign} ?" if is_upper else f"{column} {sign} ? AND {column} < x''"
        return _exactly(limits, operand)
    if not isinstance(operand, int | float) or not math.isfinite(operand):
        return _exactly("FALSE")
    text = f"{column} {sign[0]}= ? AND {column} < ''"  # numbers come before all text
    margin = _measure_margin(operand) if is_upper else -_measure_margin(operand)
    return Bounds(Sql(text, (operand - margin,)), Sql(text, (operand + margin,)))


def _near(column: str, operand: float) -> Sql:
    margin = _measure_margin(operand)
    return Sql(f"{column} BETWEEN ? AND ?", (operand - margin, operand + margin))


def _measure_margin(operand: float) -> float:
    """Return more than SQLite's reading of a decimal number may be off."""
    return 1e-14 * abs(operand) + 1e-300


def _passes_clause(name: str, condition: Any, document: Any) -> bool:
    if name == "$and":
        return all(document_passes(part, document) for part in condition)
    if name in ("$or", "$nor"):
        return any(document_passes(part, document) for part in condition) == (name == "$or")
    values = list(find_values(document, split_field(name)))
    return all(_passes_test(values, *test) for test in _list_tests(condition))


def _passes_test(values: list[Any], name: str, operand: Any) -> bool:
    if name in _NEGATED:
        return not _passes_test(values, _NEGATED[name], operand)
    if name == "$exists":
        return any(value is not MISSING for value in values) == bool(operand)
    if name == "$in":
        return any(_passes_test(values, "$eq", choice) for choice in operand)
    members = [member for value in values for member in ([value, *value] if isinstance(value, list) else [value])]
    if operand is None:
        return any(member is None or member is MISSING for member in members)
    compare = operator.eq if name == "$eq" else _COMPARISONS[name][1]
    return any(_kind(member) is _kind(operand) and compare(member, operand) for member in members)


def _kind(value: Any) -> type:
    return float if isinstance(value, int) and not isinstance(value, bool) else type(value)


def _require_ordered(name: str, operand: Any) -> None:
    is_ordered = isinstance(operand, int | float | str | datetime) and not isinstance(operand, bool)
    if not is_ordered or (isinstance(operand, float) and math.isnan(operand)):
        raise _refuse(f"{name} compares numbers, text or dates, not {operand!r}")


def _require_list(name: str, operand: Any) -> list[Any]:
    if not isinstance(operand, list | tuple | set | frozenset):
        raise _refuse(f"{name} needs a list, not {operand!r}")
    return list(operand)


def _read_operand(operand: Any) -> Any:
    """Return the operand as it would read if it had been stored."""
    if isinstance(operand, datetime):
        return make_naive_utc(operand)
    if isinstance(operand, re.Pattern):
        raise _refuse(f"the pattern {operand.pattern!r} is not supported")
    value = operand if isinstance(operand, str | int | float | None) else decode_value(encode_value(operand))
    if isinstance(value, int) and abs(value) > _LARGEST_INTEGER:
        raise _refuse(f"{value} is beyond 64 bits")
    return value


def _refuse(what: str) -> ResultsError:
    return ResultsError(
        what,
        limit="filters use $eq $ne $in $nin $gt $gte $lt $lte $exists $and $or $nor",
        why="a filter that is only half understood would return the wrong documents",
        remedy="write the filter with these operators, or query more broadly and select in Python",
    )

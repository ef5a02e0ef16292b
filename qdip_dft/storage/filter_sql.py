"""Filters on documents, as SQL over a column ``doc`` of JSON text.

SQLite decides plain values itself and asks `document_values.value_passes` back for what SQL cannot say exactly: lists,
mappings, dates, and decimal numbers so close to the operand that SQLite's own conversion could be off in the last bit.
"""

from __future__ import annotations

import re
from datetime import datetime
from functools import lru_cache
from typing import Any

from qdip_dft.storage.codec import encode_value
from qdip_dft.storage.filters import AllOf, Field, FieldTest, Filter, Not

Sql = tuple[str, tuple[Any, ...]]

_UNNAMEABLE = re.compile(r'["\\\x00-\x1f\ud800-\udfff]')
_UNBINDABLE = re.compile("[\0\ud800-\udfff]")
_LARGEST_EXACT_FLOAT = 2.0**53
_COMPARISONS = {"$eq": "=", "$gt": ">", "$gte": ">=", "$lt": "<", "$lte": "<="}


def filter_to_sql(node: Filter, decided: frozenset[Field] = frozenset()) -> Sql:
    """Return an SQL condition over ``doc`` with its parameters, true exactly for the documents that pass.

    Values are always bound; a field name enters the text only if `is_plain_field` and then inside an escaped literal.

    Parameters
    ----------
    node
        The filter.
    decided
        Fields whose index is known to hold no ``x'00'``: it answers comparisons as well, several fields together.
    """
    if isinstance(node, Not):
        sql, parameters = filter_to_sql(node.part, decided)
        return f"({sql}) IS NOT TRUE", parameters
    if isinstance(node, FieldTest):
        return _test_to_sql(node, decided)
    if not node.parts:
        return ("TRUE" if isinstance(node, AllOf) else "FALSE"), ()
    parts = [filter_to_sql(part, decided) for part in node.parts]
    joined = (" AND " if isinstance(node, AllOf) else " OR ").join(f"({sql})" for sql, _ in parts)
    return joined, tuple(parameter for _, parameters in parts for parameter in parameters)


def is_plain_field(field: Field) -> bool:
    """Return whether SQLite's JSON path can name the field: no quotes, backslashes or control characters."""
    return bool(field) and not any(_UNNAMEABLE.search(part) for part in field)


def type_sql(field: Field) -> str:
    """Return the SQL for the JSON type of a plain field; NULL where it is missing."""
    return f"json_type(doc, {json_path_sql(field)})"


def value_sql(field: Field) -> str:
    """Return the SQL for the value of a plain field."""
    return f"json_extract(doc, {json_path_sql(field)})"


def raw_value_sql(field: Field) -> str:
    """Return the SQL for a JSON list whose first member is the value of a plain field, every digit as it was written.

    SQLite's own conversion of decimal numbers may be off in the last bit.
    """
    return f"json_extract(doc, {json_path_sql(field)}, {json_path_sql(field)})"


def crosses_list_sql(field: Field) -> str:
    """Return the SQL that is true where a list lies on the way to a plain field."""
    parents = [f"{type_sql(field[:length])} IS 'array'" for length in range(1, len(field))]
    return f"({' OR '.join(parents or ['FALSE'])})"


def index_sql(field: Field) -> str:
    """Return the SQL that an index on a plain field holds: its value, or the blob ``x'00'`` where SQL cannot decide."""
    kinds = "('array', 'object', 'true', 'false')"  # SQL takes booleans for numbers
    return f"CASE WHEN {type_sql(field)} IN {kinds} OR {crosses_list_sql(field)} THEN x'00' ELSE {value_sql(field)} END"


def _undecided_sql(field: Field) -> str:
    return f"({type_sql(field)} IN ('array', 'object') OR {crosses_list_sql(field)})"


@lru_cache(maxsize=1024)
def json_path_sql(field: Field) -> str:
    """Return the SQL literal of the path to a plain field."""
    path = "$" + "".join(f'."{part}"' for part in field)
    return "'" + path.replace("'", "''") + "'"


def _test_to_sql(test: FieldTest, decided: frozenset[Field]) -> Sql:
    if not is_plain_field(test.field) or (isinstance(test.operand, str) and _UNBINDABLE.search(test.operand)):
        return "value_passes(doc, ?)", (_write_test(test, test.field),)
    find_lookup = _decided_lookup_to_sql if test.field in decided else _lookup_to_sql
    lookup, lookup_parameters = find_lookup(test)
    plain, plain_parameters = _plain_test_to_sql(test)
    root = value_sql(test.field[:1])
    exact = f"CASE WHEN {_undecided_sql(test.field)} THEN value_passes({root}, ?) ELSE {plain} END"
    return lookup + exact, (*lookup_parameters, _write_test(test, test.field[1:]), *plain_parameters)


def _write_test(test: FieldTest, field: Field) -> str:
    return encode_value([list(field), test.operator.removeprefix("$"), test.operand])


def _lookup_to_sql(test: FieldTest) -> Sql:
    """Return a condition that every passing document meets and that an index can answer; empty where there is none."""
    if test.operator == "$eq" and _is_exact(test.operand):
        return f"{index_sql(test.field)} IN (?, x'00') AND ", (test.operand,)
    if test.operator == "$in":
        choices = "SELECT value FROM json_each(?) UNION ALL SELECT x'00'"
        return f"{index_sql(test.field)} IN ({choices}) AND ", (_write_choices(test.operand),)
    return "", ()


def _decided_lookup_to_sql(test: FieldTest) -> Sql:
    """Return such a condition for a field whose index holds plain values only."""
    operand, index = test.operand, index_sql(test.field)
    if test.operator == "$in":
        return f"{index} IN (SELECT value FROM json_each(?)) AND ", (_write_choices(operand),)
    if test.operator not in _COMPARISONS or isinstance(operand, bool) or not isinstance(operand, int | float | str):
        return "", ()
    if isinstance(operand, str):
        return f"{index} {_COMPARISONS[test.operator]} ? AND ", (operand,)
    margin = _measure_margin([operand])
    if test.operator == "$eq":
        return f"{index} BETWEEN ? AND ? AND ", (operand - margin, operand + margin)
    is_upper = test.operator in ("$lt", "$lte")
    return f"{index} {'<=' if is_upper else '>='} ? AND ", (operand + margin if is_upper else operand - margin,)


def _measure_margin(operands: list[float]) -> float:
    """Return how far SQLite's reading of a decimal number may be off at most."""
    return 1e-14 * max(map(abs, operands)) + 1e-300


def _is_exact(operand: Any) -> bool:
    if isinstance(operand, bool) or not isinstance(operand, int | float | str):
        return False
    return not isinstance(operand, float) or (operand.is_integer() and abs(operand) < _LARGEST_EXACT_FLOAT)


def _write_choices(operand: list[Any]) -> str:
    """Return the choices as JSON, without texts that no plain value can equal (see `document_codec`)."""
    return encode_value([choice for choice in operand if not (isinstance(choice, str) and _UNBINDABLE.search(choice))])


def _plain_test_to_sql(test: FieldTest) -> Sql:
    """Return the SQL of a test for a field that holds a plain value or nothing."""
    if test.operator in _COMPARISONS:
        return _comparison_to_sql(test)
    kind, value = type_sql(test.field), value_sql(test.field)
    if test.operator == "$exists":
        return f"{kind} IS NOT NULL", ()
    if test.operator == "$regex":
        # CASE, because SQLite may evaluate both sides of AND.
        return f"CASE WHEN {kind} = 'text' THEN text_matches({value}, ?, ?) ELSE FALSE END", tuple(test.operand)
    if test.operator != "$in":
        return "FALSE", ()
    is_among, choices = f"{value} IN (SELECT value FROM json_each(?))", _write_choices(test.operand)
    if isinstance(test.operand[0], str):
        return f"{kind} = 'text' AND {is_among}", (choices,)
    return _number_test_to_sql(test, is_among, choices)


def _comparison_to_sql(test: FieldTest) -> Sql:
    kind, operand = type_sql(test.field), test.operand
    if operand is None:
        return f"{kind} IS NULL OR {kind} = 'null'", ()
    if isinstance(operand, bool):
        return f"{kind} = ?", ("true" if operand else "false",)
    if isinstance(operand, dict | list | datetime):
        return "FALSE", ()
    comparison = f"{value_sql(test.field)} {_COMPARISONS[test.operator]} ?"
    if isinstance(operand, str):
        return f"{kind} = 'text' AND {comparison}", (operand,)
    return _number_test_to_sql(test, comparison, operand)


def _number_test_to_sql(test: FieldTest, comparison: str, parameter: Any) -> Sql:
    """Return the SQL of a test of numbers, leaving decimal numbers that are close to the operand to Python."""
    kind, value = type_sql(test.field), value_sql(test.field)
    operands = test.operand if isinstance(test.operand, list) else [test.operand]
    margin = _measure_margin(operands)
    exact = f"value_passes({raw_value_sql(test.field)}, ?)"
    is_close = f"{kind} = 'real' AND {value} BETWEEN ? AND ?"
    sql = f"{kind} IN ('integer', 'real') AND CASE WHEN {is_close} THEN {exact} ELSE {comparison} END"
    return sql, (min(operands) - margin, max(operands) + margin, _write_test(test, ("0",)), parameter)

"""The filter language: what it means, what it refuses, and that nothing in it is ever executed."""

from __future__ import annotations

import operator
import re
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qdip_dft.errors import FilterError
from qdip_dft.results.fields import SHORT_NAMES, find_field, list_fields
from qdip_dft.results.filter_language import parse_filter_text
from qdip_dft.results.query import make_filter
from qdip_dft.storage.filters import bound_filter, document_passes

ROOT = Path(__file__).resolve().parents[2]


def document(total: float | None = -0.1, dot: str = "PbS", facet: str = "111") -> dict[str, Any]:
    found = {"study": {"dot": {"material": dot}}, "dot_plane": facet, "stabilization": {"total_ev_per_fu": total}}
    return {**found, "candidates": [{"is_selected": True, "n_atoms": 60}, {"is_selected": False, "n_atoms": None}]}


def passes(text: str, candidate: dict[str, Any]) -> bool:
    return document_passes(parse_filter_text(text, find_field), candidate)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("total < 0", True),
        ("total<0", True),
        ("stabilization.total_ev_per_fu <= -0.1", True),
        ("total >= -1e-1", True),
        ("total > -.1", False),
        ("total = -0.1 and dot == 'PbS'", True),
        ('dot != "PbS"', False),
        ('dot in ["PbSe", "PbS"]', True),
        ('dot not in ["PbSe", "PbS"]', False),
        ("total is missing", False),
        ("total is not missing", True),
        ("theory.settings.cutoff_ev is missing", True),
        ("theory.settings.cutoff_ev != 400", False),
        ("not theory.settings.cutoff_ev = 400", True),
        ("NOT total < 0 OR facet = '111'", True),
        ("not (total < 0 or facet = '111')", False),
        ("candidates.is_selected = true", True),
        ("candidates.n_atoms > 100", False),
        ("candidates.n_atoms is missing", True),
        ("candidates.n_atoms in [60, 61]", True),
    ],
)
def test_a_filter_means_what_it_says(text: str, expected: bool) -> None:
    assert passes(text, document()) is expected


DOCUMENTED = re.findall(
    r"^\| `((?!qdip )[^`]+)` \|", (ROOT / "docs" / "results.md").read_text(encoding="utf-8"), re.MULTILINE
)


@pytest.mark.parametrize("text", DOCUMENTED)
def test_a_documented_filter_is_understood(text: str) -> None:
    bound_filter(parse_filter_text(text, find_field))


def test_and_binds_closer_than_or_and_not_closest() -> None:
    parsed = parse_filter_text("dot='a' or not dot='b' and dot='c'", find_field)
    dot = SHORT_NAMES["dot"]
    assert parsed == {"$or": [{dot: "a"}, {"$and": [{"$nor": [{dot: "b"}]}, {dot: "c"}]}]}


@pytest.mark.parametrize("sign", ["<", "<=", ">", ">=", "=", "!="])
def test_a_comparison_with_a_missing_value_never_passes(sign: str) -> None:
    assert not passes(f"total {sign} 0", document(total=None))


PYTHON = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge, "=": operator.eq, "!=": operator.ne}


@given(
    value=st.floats(-10, 10),
    limit=st.one_of(st.floats(-10, 10), st.integers(-10, 10)),
    sign=st.sampled_from(sorted(PYTHON)),
)
def test_numbers_compare_as_they_do_in_python(value: float, limit: float, sign: str) -> None:
    assert passes(f"total {sign} {limit!r}", document(total=value)) is PYTHON[sign](value, limit)


@given(text=st.text(st.characters(exclude_categories=("C", "Z"), exclude_characters="'"), max_size=30))
def test_a_text_is_compared_letter_by_letter_whatever_it_holds(text: str) -> None:
    if text.isprintable():
        assert passes(f"dot = '{text}'", document(dot=text))
        assert not passes(f"dot = '{text}'", document(dot=f"{text}x"))


@given(text=st.text(max_size=60))
def test_any_text_is_understood_or_refused(text: str) -> None:
    with suppress(FilterError):
        bound_filter(parse_filter_text(text, find_field))


HOSTILE = {
    "sql": "dot = 'x'; DROP TABLE stabilizations; --",
    "sql quotes": "dot = 'x' OR '1'='1'",
    "always true": "1 = 1",
    "where": "$where = 'sleep(1000)'",
    "where in a field": "study.$where = 'sleep(1000)'",
    "operator as value": 'dot = {"$gt": ""}',
    "function": "__import__('os').system('true')",
    "lambda": "(lambda: 0)() = 1",
    "attribute": "__class__.__mro__ = 'object'",
    "pattern": "dot ~ '(a+)+$'",
    "pattern operator": "dot regex '(a|a)*b'",
    "bare word": "dot = PbS",
    "unfinished text": "dot = 'PbS",
    "unfinished list": "dot in ['PbS'",
    "empty list": "dot in []",
    "empty": "",
    "blank": "  \n ",
    "no end": "total < 0 and",
    "two values": "total < 0 1",
    "chained": "-1 < total < 0",
    "deep": "(" * 200 + "total<0" + ")" * 200,
    "many nots": "not " * 1000 + "total < 0",
    "a megabyte": "dot = '" + "x" * 1_000_000 + "'",
    "a megabyte of signs": "(" * 1_000_000,
    "a megabyte of blanks": " " * 1_000_000,
    "many digits": "total < " + "9" * 9000,
    "beyond 64 bits": "total < 9223372036854775808",
    "beyond floats": "total < 1e999",
    "not a number": "total < nan",
    "infinity": "total < inf",
    "hexadecimal": "total < 0x10",
    "nul": "dot = 'a\0b'",
    "half a surrogate pair": "dot = '\ud800'",
    "direction mark": "dot = '\u202eSbP'",
    "wrong kind": "dot < 3",
    "wrong kind in a list": "total in [1, 'a']",
    "boolean order": "candidates.is_selected < true",
    "whole part": "study = 'x'",
}


@pytest.mark.parametrize("name", sorted(HOSTILE))
def test_a_hostile_filter_is_refused_at_once_with_a_remedy(name: str) -> None:
    started = time.process_time()
    with pytest.raises(FilterError, match=r"write it like|take one of the names") as refused:
        parse_filter_text(HOSTILE[name], find_field)
    assert time.process_time() - started < 1.0
    assert len(str(refused.value)) < 1000


@pytest.mark.parametrize(
    ("wrong", "near"),
    [
        ("totl", "total"),
        ("Dot", "dot"),
        ("total_ev_per_fu", "stabilization.total_ev_per_fu"),
        ("stabilization.total_ev_per_f", "stabilization.total_ev_per_fu"),
        ("candidates.candidate.fase", "candidates.candidate.phase"),
    ],
)
def test_an_unknown_field_names_near_matches(wrong: str, near: str) -> None:
    with pytest.raises(FilterError, match="take one of the names") as refused:
        find_field(wrong)
    assert near in refused.value.limit


def test_every_short_name_leads_to_a_field() -> None:
    assert set(SHORT_NAMES.values()) <= set(list_fields())


@pytest.mark.parametrize("value", ["x" * 2000, "a\0", "\ud800", "\n"])
def test_a_field_is_not_compared_with_a_text_that_none_can_have(value: str) -> None:
    with pytest.raises(FilterError, match="such as PbS"):
        make_filter(None, dot=value)

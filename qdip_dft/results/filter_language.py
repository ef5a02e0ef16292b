"""A small language for filters, such as ``stabilization.total_ev_per_fu < 0 and dot in ["PbS", "PbSe"]``.

.. code-block:: text

    filter   = all { "or" all }
    all      = part { "and" part }
    part     = "not" part | "(" filter ")" | test
    test     = field ("=" | "==" | "!=" | "<" | "<=" | ">" | ">=") value
             | field ["not"] "in" "[" value { "," value } "]"
             | field "is" ["not"] "missing"
    value    = number | "text" | 'text' | true | false

A comparison with a missing value never passes, and ``not`` turns a part around, so that documents without the value
pass then.  A field inside a list passes when any member passes.  The text is parsed here and translated into a filter
in MongoDB's words; it is never evaluated as code, and a value never becomes an operator.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from qdip_dft.errors import FilterError

MongoFilter = dict[str, Any]
FindField = Callable[[str], tuple[str, frozenset[str]]]
"""Returns the full name of a field and the kinds of its values (``number``, ``text``, ``boolean``), or refuses it."""

MAX_LENGTH = 10_000
MAX_DEPTH = 50
_TOKEN = re.compile(
    r"""\s*(?:
    (?P<number>[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)(?![\w.])
    |(?P<text>"[^"]*"|'[^']*')
    |(?P<name>[^\W\d]\w*(?:\.\w[\w-]*)*)
    |(?P<sign><=|>=|==|!=|[=<>()\[\],])
    )""",
    re.VERBOSE,
)
_COMPARISONS = {"=": "$eq", "==": "$eq", "!=": "$ne", "<": "$lt", "<=": "$lte", ">": "$gt", ">=": "$gte"}
_WORDS = frozenset({"and", "or", "not", "in", "is", "missing", "true", "false"})
_LARGEST_INTEGER = 2**63 - 1


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    start: int


def parse_filter_text(text: str, find_field: FindField) -> MongoFilter:
    """Return the filter, in MongoDB's words, that a text means.

    Parameters
    ----------
    text
        The filter; at most 10 000 characters and 50 levels of parentheses.
    find_field
        Knows the fields.

    Raises
    ------
    FilterError
        If the text does not follow the language, a field is unknown, or a value is of the wrong kind.
    """
    if len(text) > MAX_LENGTH:
        raise _refuse(f"the filter has {len(text)} characters", limit=f"at most {MAX_LENGTH} are read")
    return _Parser(list(_tokenise(text)), find_field).parse()


def _tokenise(text: str) -> Iterator[_Token]:
    position, end = 0, len(text.rstrip())
    while position < end:
        found = _TOKEN.match(text, position)
        if found is None:
            rest = text[position:].lstrip()
            raise _refuse(f"{_cut(rest)!r} cannot be understood", place=end - len(rest.rstrip()))
        kind = str(found.lastgroup)
        yield _Token(_classify(kind, found[kind]), found[kind], found.start(kind))
        position = found.end()
    yield _Token("end", "the end", end)


def _classify(kind: str, text: str) -> str:
    """Return the kind of a token; words of the language and signs are kinds of their own."""
    if kind == "sign":
        return text
    return text.lower() if kind == "name" and text.lower() in _WORDS else kind


class _Parser:
    """Reads tokens from left to right, one rule of the grammar per method."""

    def __init__(self, tokens: list[_Token], find_field: FindField) -> None:
        self.tokens = tokens
        self.find_field = find_field
        self.next = 0
        self.depth = 0

    def parse(self) -> MongoFilter:
        parsed = self._parse_or()
        if self._token.kind != "end":
            self._fail("and, or, or the end")
        return parsed

    @property
    def _token(self) -> _Token:
        return self.tokens[self.next]

    def _take(self, *kinds: str) -> _Token | None:
        token = self._token
        if token.kind not in kinds:
            return None
        self.next += 1
        return token

    def _require(self, *kinds: str) -> _Token:
        token = self._take(*kinds)
        return token if token is not None else self._fail(" or ".join(kinds))

    def _fail(self, expected: str) -> NoReturn:
        token = self._token
        raise _refuse(f"{_cut(token.text)!r} stands where {expected} was expected", place=token.start)

    def _parse_or(self) -> MongoFilter:
        parts = [self._parse_and()]
        while self._take("or"):
            parts.append(self._parse_and())
        return parts[0] if len(parts) == 1 else {"$or": parts}

    def _parse_and(self) -> MongoFilter:
        parts = [self._parse_part()]
        while self._take("and"):
            parts.append(self._parse_part())
        return parts[0] if len(parts) == 1 else {"$and": parts}

    def _parse_part(self) -> MongoFilter:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise _refuse(f"the filter is nested more than {MAX_DEPTH} levels deep", place=self._token.start)
        parsed = self._parse_test()
        self.depth -= 1
        return parsed

    def _parse_test(self) -> MongoFilter:
        if self._take("not"):
            return {"$nor": [self._parse_part()]}
        if self._take("("):
            parsed = self._parse_or()
            self._require(")")
            return parsed
        name = self._take("name") or self._fail("a field, not or (")
        field, kinds = self.find_field(name.text)
        return self._parse_condition(field, kinds)

    def _parse_condition(self, field: str, kinds: frozenset[str]) -> MongoFilter:
        if self._take("is"):
            operator = "$ne" if self._take("not") else "$eq"
            self._require("missing")
            return {field: {operator: None}}
        if not kinds:
            raise _refuse(f"{field} holds several values", limit="only single numbers, texts and booleans are compared")
        if self._take("not"):
            self._require("in")
            return {"$and": [{field: {"$nin": self._parse_values(field, kinds)}}, {field: {"$ne": None}}]}
        if self._take("in"):
            return {field: {"$in": self._parse_values(field, kinds)}}
        sign = self._take(*_COMPARISONS) or self._fail("a comparison, in or is")
        return _compare(field, sign, self._parse_value(field, kinds))

    def _parse_values(self, field: str, kinds: frozenset[str]) -> list[Any]:
        self._require("[")
        values = [self._parse_value(field, kinds)]
        while self._take(","):
            values.append(self._parse_value(field, kinds))
        self._require("]")
        return values

    def _parse_value(self, field: str, kinds: frozenset[str]) -> Any:
        token = self._take("number", "text", "true", "false") or self._fail("a number or a text in quotes")
        kind = "boolean" if token.kind in {"true", "false"} else token.kind
        if kind not in kinds:
            raise _refuse(f"{field} is compared with the {kind} {_cut(token.text)}", place=token.start,
                          limit=f"its values are of the kind {' or '.join(sorted(kinds))}")  # fmt: skip
        return _READERS[kind](token)


def _compare(field: str, sign: _Token, value: Any) -> MongoFilter:
    operator = _COMPARISONS[sign.text]
    if operator == "$eq":
        return {field: value}
    if operator == "$ne":
        return {"$and": [{field: {"$ne": value}}, {field: {"$ne": None}}]}
    if isinstance(value, bool):
        raise _refuse(f"{sign.text} compares {field} with a boolean", limit="booleans are = or !=", place=sign.start)
    return {field: {operator: value}}


def _read_number(token: _Token) -> int | float:
    is_whole = re.fullmatch(r"[+-]?\d+", token.text) is not None
    number = int(token.text) if is_whole and len(token.text) < 30 else float(token.text)
    if abs(number) > (_LARGEST_INTEGER if is_whole else 1e300):
        raise _refuse(f"{_cut(token.text)} is too large", limit="numbers have 64 bits", place=token.start)
    return number


def _read_text(token: _Token) -> str:
    if not token.text.isprintable():
        raise _refuse(f"{_cut(token.text)!r} holds control characters", limit="texts are printable", place=token.start)
    return token.text[1:-1]


_READERS: Mapping[str, Callable[[_Token], Any]] = {
    "number": _read_number,
    "text": _read_text,
    "boolean": lambda token: token.kind == "true",
}


def _cut(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:40]}…"


def _refuse(
    what: str, *, limit: str = "a filter is made of tests, and, or, not and ( )", place: int | None = None
) -> FilterError:
    return FilterError(
        what if place is None else f"{what} (character {place + 1})",
        limit=limit,
        why="a filter that is only half understood would return the wrong results",
        remedy="""write it like: stabilization.total_ev_per_fu < 0 and dot in ["PbS", "PbSe"]""",
    )

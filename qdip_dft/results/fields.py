"""The fields of a stabilization document that can be asked for, by their dotted names and short ones."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches
from functools import cache
from typing import Any, Final

from qdip_dft.errors import FilterError, ResultsError
from qdip_dft.runtime.installation import update_hint

SHORT_NAMES: Final = {
    "dot": "study.dot.material",
    "host": "study.host",
    "facet": "dot_plane",
    "engine": "study.engine.name",
    "total": "stabilization.total_ev_per_fu",
    "stabilization_total_ev_per_fu": "stabilization.total_ev_per_fu",
    "coverage": "stabilization.coverage_fu_per_ang2",
    "sigma": "stabilization.interface.interface_mev_per_ang2",
    "formula": "formula_version",
    "sentence": "stabilization.sentence",
    "black": "stabilization.black",
    "competitor": "stabilization.competitor",
    "bulk": "stabilization.bulk_ev_per_fu",
    "bulk_basis": "bulk_basis.finding",
    "model_error": "uncertainty.model_error.total_ev_per_fu",
}
"""Short names of what people ask for most."""

SUMMARY_FIELDS: Final = (
    "schema_version",
    "id",
    "study.name",
    "level",
    "created_at",
    *dict.fromkeys(SHORT_NAMES.values()),
    "stabilization.strain_ev_per_fu",
    "stabilization.surface_ev_per_fu",
    "stabilization.binding_ev_per_fu",
    "study.phases",
    "study.decomposition",
    "uncertainty.difference.total_ev_per_fu",
)
"""What the usual questions ask for and show, and what the verdict follows from."""

_TOTAL: Final = SHORT_NAMES["total"]

INDEXES: Final = (
    ("id",),
    ("study.name",),
    ("created_at",),
    (_TOTAL,),
    ("level", _TOTAL),
    (SHORT_NAMES["host"], _TOTAL),
    (SHORT_NAMES["facet"], _TOTAL),
    (SHORT_NAMES["engine"], _TOTAL),
    (SHORT_NAMES["dot"], "level", _TOTAL),
    (SHORT_NAMES["dot"], SHORT_NAMES["host"], SHORT_NAMES["facet"], _TOTAL),
)
"""What people ask for, alone and together."""

_KINDS = {"number": "number", "integer": "number", "string": "text", "boolean": "boolean"}
_TYPED = {"type", "anyOf", "oneOf", "enum", "const"}
"""A node of the schema without any of these may be any value, such as a setting of a code."""


def find_field(name: str) -> tuple[str, frozenset[str]]:
    """Return the full name of a field and the kinds of its values; none for a field that holds further fields.

    Raises
    ------
    FilterError
        If there is no such field; near matches are named.
    """
    full = SHORT_NAMES.get(name, name)
    fields = list_fields()
    if full in fields:
        return full, fields[full]
    parent, _, last = full.rpartition(".")
    if last and f"{parent}.*" in fields:
        return full, fields[f"{parent}.*"]
    raise _unknown(name)


def find_path(name: str) -> str:
    """Return the full name of a field; see `find_field`.  What is asked for most needs no schema."""
    full = SHORT_NAMES.get(name, name)
    return full if full in SUMMARY_FIELDS else find_field(name)[0]


@cache
def list_fields() -> dict[str, frozenset[str]]:
    """Return the kinds of values of every field; ``.*`` stands for any one name."""
    from qdip_dft.model.stabilization import StabilizationDoc

    schema = StabilizationDoc.model_json_schema(mode="serialization")
    found: dict[str, set[str]] = {}
    for name, kind in _walk(schema, schema.get("$defs", {}), prefix=""):
        found.setdefault(name, set()).update({kind} - {""})
    return {name: frozenset(kinds) for name, kinds in found.items()}


def _walk(node: Any, definitions: dict[str, Any], *, prefix: str) -> Iterator[tuple[str, str]]:
    """Yield name and kind of every field below a node of a JSON schema; the kind is empty for lists and mappings."""
    if "$ref" in node:
        yield from _walk(definitions[node["$ref"].rpartition("/")[2]], definitions, prefix=prefix)
        return
    for part in (*node.get("anyOf", ()), *node.get("oneOf", ())):
        yield from _walk(part, definitions, prefix=prefix)
    for part in (node.get("items"), *node.get("prefixItems", ())):
        if isinstance(part, dict):
            yield from _walk(part, definitions, prefix=prefix)
    if not set(node) & _TYPED:
        yield from ((prefix, kind) for kind in set(_KINDS.values()))
    elif prefix:
        yield prefix, _KINDS.get(node.get("type", ""), "")
    yield from _walk_members(node, definitions, prefix=f"{prefix}." if prefix else "")


def _walk_members(node: Any, definitions: dict[str, Any], *, prefix: str) -> Iterator[tuple[str, str]]:
    for name, part in node.get("properties", {}).items():
        yield from _walk(part, definitions, prefix=f"{prefix}{name}")
    if isinstance(node.get("additionalProperties"), dict):
        yield from _walk(node["additionalProperties"], definitions, prefix=f"{prefix}*")


def _unknown(name: str) -> FilterError:
    shown = name if len(name) <= 60 else f"{name[:60]}…"
    known = [*SHORT_NAMES, *(field for field in list_fields() if "*" not in field)]
    by_end = [field for field in known if field.rpartition(".")[2] == name.rpartition(".")[2]]
    near = list(dict.fromkeys([*by_end, *get_close_matches(name[:60], known, n=5)]))[:5]
    return FilterError(
        f"there is no field {shown!r}",
        limit=f"near matches: {', '.join(near)}" if near else f"short names: {', '.join(SHORT_NAMES)}",
        why="a misspelt field would find nothing, and look like an answer",
        remedy="take one of the names in docs/results.md, such as stabilization.total_ev_per_fu",
    )


def unknown_version(what: str, version: object, *, newest: int) -> ResultsError:
    """Return the error about a document of a version that cannot be read."""
    return ResultsError(
        f"{what} has schema version {show_value(version)}",
        limit=f"this version of qdip_dft reads versions 1 to {newest}",
        why="a number whose meaning has changed would be misread",
        remedy=f"{update_hint()}, or leave the document out",
    )


def show_value(value: object) -> str:
    """Return a value for a message, cut to a readable length."""
    text = "?" if value is None else str(value)
    return text if len(text) <= 100 else f"{text[:100]}…"

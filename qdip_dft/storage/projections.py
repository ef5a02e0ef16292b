"""Projections: the part of a document that is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from qdip_dft.errors import ResultsError
from qdip_dft.storage.codec import Document
from qdip_dft.storage.filters import split_field

Tree = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Projection:
    """The fields to keep, or those to leave out, as a tree of names; an empty branch stands for the whole field."""

    fields: Tree
    is_inclusive: bool


def read_projection(properties: Document | list[str] | tuple[str, ...] | None) -> Projection | None:
    """Return the projection that maggma's ``properties`` ask for, or None for whole documents.

    Raises
    ------
    ResultsError
        If fields to keep and fields to leave out are mixed, or a projection operator is used.
    """
    asked = properties if isinstance(properties, dict) else dict.fromkeys(properties or (), 1)
    choices = {name: choice for name, choice in asked.items() if name != "_id"}
    if not choices:
        return None
    if any(choice not in (0, 1) for choice in choices.values()) or len(set(choices.values())) > 1:
        raise _refuse(properties)
    return Projection(_grow_tree(list(choices)), is_inclusive=bool(next(iter(choices.values()))))


def project_document(document: Document, projection: Projection | None) -> Document:
    """Return the part of a document that a projection asks for."""
    if projection is None:
        return document
    part: Document = (_keep if projection.is_inclusive else _drop)(document, projection.fields)
    return part


def _grow_tree(names: list[str]) -> Tree:
    tree: Tree = {}
    for field in sorted(map(split_field, names), key=len, reverse=True):
        branch = tree
        for part in field[:-1]:
            branch = branch.setdefault(part, {})
        branch[field[-1]] = {}
    return tree


def _keep(value: Any, tree: Tree) -> Any:
    if isinstance(value, list):
        return [_keep(member, tree) for member in value if isinstance(member, dict | list)]
    parts = {name: part for name, part in value.items() if name in tree}
    return {
        name: _keep(part, tree[name]) if tree[name] else part
        for name, part in parts.items()
        if not tree[name] or isinstance(part, dict | list)
    }


def _drop(value: Any, tree: Tree) -> Any:
    if isinstance(value, list):
        return [_drop(member, tree) for member in value]
    if not isinstance(value, dict):
        return value
    kept = {name: part for name, part in value.items() if name not in tree or tree[name]}
    return {name: _drop(part, tree[name]) if name in tree else part for name, part in kept.items()}


def _refuse(properties: object) -> ResultsError:
    return ResultsError(
        f"the projection {properties!r} is not supported",
        limit="a projection lists fields to keep (1) or fields to leave out (0), not both",
        why="the documents would come back with the wrong fields",
        remedy="keep to one of the two and select the rest in Python",
    )

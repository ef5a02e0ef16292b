"""Asking for results: the same questions to every store, answered as rows or as a table of pandas."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

from qdip_dft.errors import FilterError
from qdip_dft.model.versions import STABILIZATION_SCHEMA_VERSION
from qdip_dft.results.collection import Collection
from qdip_dft.results.fields import find_field, find_path, unknown_version
from qdip_dft.results.filter_language import parse_filter_text

if TYPE_CHECKING:
    from pandas import DataFrame

    from qdip_dft.results.archive import Archive

DEFAULT_COLUMNS: Final = (
    "id",
    "dot",
    "facet",
    "host",
    "engine",
    "level",
    "black",
    "competitor",
    "stabilization_total_ev_per_fu",
    "coverage",
    "sigma",
    "formula",
    "sentence",
)


def query_results(
    archive: Archive,
    *,
    where: str | None = None,
    sort: Sequence[str] = (),
    columns: Sequence[str] = DEFAULT_COLUMNS,
    limit: int = 0,
    **equal: str | None,
) -> DataFrame:
    """Return the results that pass a filter as a table, one row per result.

    Energies are in eV per formula unit of the host; stabilization = black - competitor at the coverage n*, negative:
    black favoured; ``sigma`` is its interface energy in meV/Å².  Totals of two coverages or two versions of the formula
    must not be subtracted.

    Parameters
    ----------
    archive
        Where to look.
    where
        A filter; see `filter_language`.
    sort
        Fields to sort by, the most important first; a minus in front reverses.  By default the id.
    columns
        Fields to return; a field inside a list gives all its values.
    limit
        Largest number of rows; 0: all.
    equal
        Fields with the text that they must equal: ``dot="PbS"``; None asks nothing.

    Raises
    ------
    FilterError
        If a field is unknown or the filter cannot be understood.
    ResultsError
        If a document is of a newer version.

    Examples
    --------
    >>> table = query_results(open_results("qdip-results"), where="host = 'CsPbI3'", sort=["total"])
    >>> list(table.columns[:4])
    ['id', 'dot', 'facet', 'host']
    """
    from pandas import DataFrame

    rows = list_rows(archive.stabilizations, where=where, sort=sort, columns=columns, limit=limit, **equal)
    return DataFrame(rows, columns=list(columns))


def list_rows(
    stabilizations: Collection,
    *,
    where: str | None = None,
    sort: Sequence[str] = (),
    columns: Sequence[str] = DEFAULT_COLUMNS,
    limit: int = 0,
    **equal: str | None,
) -> list[dict[str, Any]]:
    """Return the results that pass a filter, each as a mapping from column to value; see `query_results`."""
    criteria = make_filter(where, **equal)
    paths = {column: find_path(column) for column in columns}
    order = {find_path(name.removeprefix("-")): -1 if name.startswith("-") else 1 for name in sort or ["id"]}
    found = stabilizations.query(criteria, _list_outermost(paths.values()), sort=order, limit=max(limit, 0))
    return [_make_row(document, paths) for document in found]


def check_question(
    *,
    where: str | None = None,
    sort: Sequence[str] = (),
    columns: Sequence[str] = (),
    limit: int = 0,
    **equal: str | None,
) -> None:
    """Refuse what `list_rows` would refuse, where there is nothing to ask yet."""
    del limit
    make_filter(where, **equal)
    for name in (*columns, *sort):
        find_path(name.removeprefix("-"))


def make_filter(where: str | None, **equal: str | None) -> dict[str, Any]:
    """Return the filter, in MongoDB's words, that a text and fields with their values mean together."""
    parts = [{find_path(name): _require_text(name, value)} for name, value in equal.items() if value is not None]
    if where is not None:
        parts.append(parse_filter_text(where, find_field))
    return {"$and": parts} if len(parts) > 1 else next(iter(parts), {})


def _list_outermost(paths: Iterable[str]) -> list[str]:
    """Return the fields to read: a field inside another one that is read comes with it."""
    asked = {"schema_version", *paths}
    return sorted(path for path in asked if not any(path.startswith(f"{other}.") for other in asked))


def _make_row(document: dict[str, Any], paths: dict[str, str]) -> dict[str, Any]:
    newest, version = STABILIZATION_SCHEMA_VERSION, document.get("schema_version")
    if not isinstance(version, int) or not 1 <= version <= newest:
        raise unknown_version(f"a result ({document.get('id', 'id not asked for')})", version, newest=newest)
    return {column: _find_value(document, path.split(".")) for column, path in paths.items()}


def _find_value(value: Any, path: list[str]) -> Any:
    """Return the value at a path, None where it is missing, and a list of values where the path crosses a list."""
    for index, name in enumerate(path):
        if isinstance(value, list):
            return [_find_value(member, path[index:]) for member in value]
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _require_text(name: str, value: object) -> str:
    if isinstance(value, str) and value.isprintable() and len(value) <= 1000:
        return value
    raise FilterError(
        f"{name} is asked to equal {str(value)[:40]!r}",
        limit="a printable text of at most 1000 characters",
        why="no stored value looks like this",
        remedy=f"give {name} as it stands in the study, such as PbS; use a filter for anything else",
    )

"""`qdip query`: find stored results in a folder or a database, and show them as a table, JSON or CSV."""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from qdip_dft.cli.options import AsJson, ResultsLocation
from qdip_dft.cli.output import write_json, write_line, write_table
from qdip_dft.errors import FilterError
from qdip_dft.results.writing import guard_cell

NUMBERS = ("total (eV/f.u.)", "n* (f.u./Å²)", "σ (meV/Å²)")

TABLE_CAPTION = (
    "stabilization = black - competitor at the coverage n*; negative: the black phase is favoured\n"
    "As stored: qdip report and qdip db check hold a result against its checksum and its calculations."
)

Where = Annotated[
    str | None, typer.Option("--where", help="A filter, such as \"total < 0 and level = 'dft'\"; see docs/results.md.")
]
Sorting = Annotated[
    str | None, typer.Option("--sort", help="Fields to sort by, with commas; a minus reverses: -total.")
]
Columns = Annotated[str | None, typer.Option("--columns", help="Fields to show, with commas: id,dot,total.")]


def query(
    dot: Annotated[str | None, typer.Option("--dot", help="Dot material.")] = None,
    host: Annotated[str | None, typer.Option("--host", help="Host material.")] = None,
    facet: Annotated[str | None, typer.Option("--facet", help="Facet of the dot, such as 111.")] = None,
    engine: Annotated[str | None, typer.Option("--engine", help="Engine, such as mlip.")] = None,
    where: Where = None,
    sort: Sorting = None,
    columns: Columns = None,
    limit: Annotated[int, typer.Option("--limit", min=0, help="Largest number of results; 0: all.")] = 0,
    revisions: Annotated[bool, typer.Option("--revisions", help="Results whose study has changed since.")] = False,
    results: ResultsLocation = "qdip-results",
    as_json: AsJson = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print comma-separated values.")] = False,
    as_table: Annotated[bool, typer.Option("--table", help="Print a table (the default).")] = False,
) -> None:
    """Find stored results; totals at the coverage n* in eV per formula unit of the host, negative: black favoured.

    A filter compares fields with = != < <= > >= in, joined by and, or, not and parentheses.

    Example: qdip query --dot PbS --where "total < 0" --sort total --csv
    """
    from qdip_dft.results.query import DEFAULT_COLUMNS

    _require_one_form(as_json, as_csv, as_table)
    shown = _split(columns) or list(DEFAULT_COLUMNS)
    rows = find_rows(
        results, dot=dot, host=host, facet=facet, engine=engine, where=where,
        sort=_split(sort), columns=shown, limit=limit, collection="revisions" if revisions else "stabilizations",
    )  # fmt: skip
    if as_json:
        write_json(rows)
    elif as_csv:
        _write_csv(rows, shown)
    elif columns is None:
        print_rows(rows)
    else:
        _print_columns(rows, shown)


def find_rows(results: str | Path, collection: str = "stabilizations", **asked: Any) -> list[dict[str, Any]]:
    """Return the results or revisions that pass; a folder that does not exist holds none and is not created."""
    from qdip_dft.results.query import check_question, list_rows
    from qdip_dft.storage.location import open_stabilizations
    from qdip_dft.storage.mongo_address import is_mongo_uri

    if not is_mongo_uri(results) and not Path(results).exists():
        check_question(**asked)
        return []
    return list_rows(open_stabilizations(results, collection), **asked)


def print_rows(rows: list[dict[str, Any]]) -> None:
    """Print the usual columns and the sentence of each result."""
    if not rows:
        write_line("No such result is stored: make one with qdip run STUDY, or name another folder with --results.")
        return
    names = ("id", "dot", "facet", "host", "level")
    write_table(
        (*names, *NUMBERS),
        [(*(str(row[name]) for name in names), *_write_numbers(row)) for row in rows],
        numbers=NUMBERS,
        caption=TABLE_CAPTION,
    )
    for row in rows:
        write_line(f"{row['id']}: {row['sentence']}")


def _write_numbers(row: dict[str, Any]) -> tuple[str, str, str]:
    """Return total, coverage and σ; a result of formula version 1 took every film at its own n."""
    from qdip_dft.analysis.numbers import write_signed

    total, coverage, sigma = (row[name] for name in ("stabilization_total_ev_per_fu", "coverage", "sigma"))
    own = "own n (version 1)" if row["formula"] == 1 else "missing"
    return (
        "missing" if total is None else write_signed(total),
        own if coverage is None else f"{coverage:.4f}",
        "missing" if sigma is None else write_signed(sigma, decimals=1),
    )


def _print_columns(rows: list[dict[str, Any]], columns: list[str]) -> None:
    write_table(columns, [[_write_value(row[column]) for column in columns] for row in rows])


def _write_value(value: Any) -> str:
    if value is None:
        return "missing"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _write_csv(rows: list[dict[str, Any]], columns: list[str]) -> None:
    writer = csv.DictWriter(sys.stdout, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: guard_cell(value) for name, value in row.items()} for row in rows)


def _split(text: str | None) -> list[str]:
    return [name.strip() for name in (text or "").split(",") if name.strip()]


def _require_one_form(*forms: bool) -> None:
    if sum(forms) > 1:
        raise FilterError(
            "several of --json, --csv and --table are asked for",
            limit="results are printed in one form",
            why="a program that reads them would fail",
            remedy="keep one of the three",
        )

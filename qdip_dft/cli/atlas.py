"""`qdip atlas`: all results of a folder or database on one page."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import quote

import typer

from qdip_dft.cli.options import AsJson, ResultsLocation
from qdip_dft.cli.output import write_json, write_line
from qdip_dft.errors import ResultsError

if TYPE_CHECKING:
    from qdip_dft.results.overview import ResultOverview

FILE_NAME = "atlas.html"

Out = Annotated[
    Path | None,
    typer.Option(
        "--out", metavar="FILE|DIR", help="The page, or a folder for the page and all reports; atlas.html in --results."
    ),
]


def atlas(
    results: ResultsLocation = "qdip-results",
    out: Out = None,
    has_reports: Annotated[
        bool, typer.Option("--reports", help="Write missing and outdated reports first, about 1 s each.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Draw all results on one page: a matrix of dots and hosts and a table, with filters and links to the reports.

    Stabilization = black - competitor in eV per formula unit; negative: black favoured. A result is linked to its
    report where there is one: qdip report ID writes it, --reports all of them. With --reports, a folder given with
    --out holds everything that the page leads to and can be passed on.

    Example: qdip atlas --results ./qdip-results --out overview.html
    """
    from qdip_dft.report.atlas import render_atlas, summarise_atlas
    from qdip_dft.results.overview import list_overviews
    from qdip_dft.results.writing import write_content
    from qdip_dft.storage.location import open_stabilizations

    found = list_overviews(open_stabilizations(results))
    if as_json:
        write_json(summarise_atlas(found))
        return
    page, reports = _choose_places(results, out)
    if has_reports:
        current = _find_current(found, reports)
        _write_reports(results, [result.id for result in found if result.id not in current], reports)
    links = {result_id: _link(page, _name_report(reports, result_id)) for result_id in _find_current(found, reports)}
    write_content(page, render_atlas(found, links).encode())
    words = f"Atlas of {len(found)} results, {len(links)} with a report: {page}"
    write_line(words)


def _choose_places(results: str, out: Path | None) -> tuple[Path, Path]:
    """Return the page and the folder of the reports: those of a results folder, unless a folder is asked for."""
    from qdip_dft.storage.mongo_address import is_mongo_uri

    if out is not None and (out.is_dir() or not out.suffix):
        return out / FILE_NAME, out / "reports"
    if not is_mongo_uri(results):
        return out or Path(results) / FILE_NAME, Path(results) / "reports"
    if out is not None:
        return out, out.parent / "reports"
    raise ResultsError(
        "the atlas of a database needs a place",
        limit="the page and the reports that it leads to are files",
        why="a database holds no pages",
        remedy="name a folder: qdip atlas --results mongodb://HOST/NAME --out DIR",
    )


def _name_report(reports: Path, result_id: str) -> Path:
    return reports / result_id / "report.html"


def _find_current(found: list[ResultOverview], reports: Path) -> set[str]:
    """Return the results whose report is there and not older than the result."""
    written = {folder.name for folder in reports.iterdir()} if reports.is_dir() else set()
    return {result.id for result in found if result.id in written and _is_current(result, reports)}


def _is_current(result: ResultOverview, reports: Path) -> bool:
    page = _name_report(reports, result.id)
    return page.is_file() and page.stat().st_mtime >= _read_time(result.created_at)


def _write_reports(results: str, ids: list[str], reports: Path) -> None:
    from qdip_dft.report.files import write_report
    from qdip_dft.report.summary import list_calculation_keys
    from qdip_dft.storage.location import open_results

    archive = open_results(results)
    for document in (found for result_id in ids for found in archive.find_stabilizations(result_id)):
        calculations = archive.find_calculations(list_calculation_keys(document))
        write_report(document, reports / document.id, calculations=calculations)


def _read_time(text: str) -> float:
    from datetime import datetime

    return datetime.fromisoformat(text).timestamp()


def _link(page: Path, report: Path) -> str:
    return quote(Path(os.path.relpath(report.absolute(), page.absolute().parent)).as_posix())

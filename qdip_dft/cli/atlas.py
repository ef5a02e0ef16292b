"""`qdip atlas`: all results of a folder or database on one page."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import quote

import typer

from qdip_dft.cli.options import AsJson, ResultsLocation
from qdip_dft.cli.output import console, write_json
from qdip_dft.errors import ResultsError

if TYPE_CHECKING:
    from qdip_dft.model.stabilization import StabilizationDoc
    from qdip_dft.results.archive import Archive

FILE_NAME = "atlas.html"

Out = Annotated[
    Path | None,
    typer.Option(
        "--out", metavar="FILE|DIR", help="The page, or a folder for the page and all reports; atlas.html in --results."
    ),
]


def atlas(results: ResultsLocation = "qdip-results", out: Out = None, as_json: AsJson = False) -> None:
    """Draw all results on one page: a matrix of dots and hosts and a table, with filters and links to the reports.

    Stabilization = black - competitor in eV per formula unit; negative: black favoured. Reports that do not exist yet
    are written. A folder given with --out holds everything that the page leads to and can be passed on.

    Example: qdip atlas --results ./qdip-results --out overview.html
    """
    from qdip_dft.report.atlas import render_atlas, summarise_atlas
    from qdip_dft.results.structure_export import write_content
    from qdip_dft.storage.location import open_results

    archive = open_results(results)
    documents = archive.list_stabilizations()
    if as_json:
        write_json(summarise_atlas(documents))
        return
    page, reports = _choose_places(results, out)
    links = {document.id: _link(page, _require_report(archive, document, reports)) for document in documents}
    write_content(page, render_atlas(documents, links).encode())
    console().print(f"Atlas of {len(documents)} results: {page}", markup=False, soft_wrap=True)


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


def _require_report(archive: Archive, document: StabilizationDoc, reports: Path) -> Path:
    """Return the page of a result, written if it is missing or older than the result."""
    from qdip_dft.report.files import PAGE, write_report
    from qdip_dft.report.summary import list_calculation_keys

    page = reports / document.id / PAGE
    if page.is_file() and page.stat().st_mtime >= _read_time(document.created_at):
        return page
    calculations = archive.find_calculations(list_calculation_keys(document))
    return write_report(document, page.parent, calculations=calculations).html


def _read_time(text: str) -> float:
    from datetime import datetime

    return datetime.fromisoformat(text).timestamp()


def _link(page: Path, report: Path) -> str:
    return quote(Path(os.path.relpath(report.absolute(), page.absolute().parent)).as_posix())

"""The files of a report: a page that stands alone, every number as JSON, tables as CSV and LaTeX, figures for print."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

from pydantic import JsonValue

from qdip_dft.model.calculation import CalculationRecord
from qdip_dft.model.stabilization import StabilizationDoc
from qdip_dft.model.term_names import TERM_FIELDS, TOTAL_FIELD
from qdip_dft.model.terms import Terms
from qdip_dft.report.figure import PRINT_SHAPES, WIDE, FigureKind, render_figure
from qdip_dft.report.figures import list_figures
from qdip_dft.report.latex import write_latex
from qdip_dft.report.study_page import render_study_page
from qdip_dft.report.summary import summarise
from qdip_dft.report.thickness_figure import view_thickness
from qdip_dft.results.writing import guard_cell, write_content

DIFFERENCE_LABEL = "black - competitor"

TABLE_COLUMNS = (
    "candidate",
    "phase",
    "role",
    "plane",
    "dot_plane",
    "is_selected",
    "is_valid",
    *TERM_FIELDS,
    TOTAL_FIELD,
    "coverage_fu_per_ang2",
    "total_at_coverage_ev_per_fu",
    "bulk_above_lowest_ev_per_fu",
    "surface_mev_per_ang2",
    "surface_j_per_m2",
    "binding_mev_per_ang2",
    "binding_j_per_m2",
    "work_of_separation_mev_per_ang2",
    "work_of_separation_j_per_m2",
    "interface_mev_per_ang2",
    "interface_j_per_m2",
    "n_film",
    "n_dot",
    "area_ang2",
    "film_strain_min",
    "film_strain_max",
    "dot_strain_min",
    "dot_strain_max",
    "n_formula_units",
    "n_atoms",
)
"""Columns of ``table.csv``: one row per candidate with its own terms at its own coverage n, and its total at n*.

The last row is the difference at n*, which stands in its column of the coverage.  An empty field is missing.
"""


PAGE, JSON, CSV, LATEX = "report.html", "report.json", "table.csv", "tables.tex"
"""Names of the files; each figure is there as ``NAME.png``, ``NAME.svg`` and ``NAME.pdf``."""


@dataclass(frozen=True, slots=True)
class ReportFiles:
    """Where the files of a report lie.

    Parameters
    ----------
    folder
        Their folder.
    html
        The report as a page that stands alone.
    json
        Every number with units, sign convention, settings and versions.
    csv
        One row per candidate.
    latex
        The tables for LaTeX.
    figures
        The level diagram and, where a result has them, the line against the thickness, the films over the strip of
        chemical potentials and the map of dots in a host, in every format.
    """

    folder: Path
    html: Path
    json: Path
    csv: Path
    latex: Path
    figures: tuple[Path, ...]


def write_report(
    doc: StabilizationDoc, folder: Path, *, calculations: Mapping[str, CalculationRecord] | None = None
) -> ReportFiles:
    """Write the report of a document; each file appears whole or not at all.

    Parameters
    ----------
    doc
        The result of a study on one dot facet.
    folder
        Where to write; it is created.
    calculations
        Stored calculations by key: they give the page its structures.  Without them it has none.

    Raises
    ------
    ResultsError
        If the disk is full or the folder cannot be written.

    Examples
    --------
    >>> files = write_report(document, Path("report"))
    >>> files.html.name, files.csv.name
    ('report.html', 'table.csv')
    """
    known = calculations or {}
    texts = {
        PAGE: render_study_page(doc, known),
        JSON: json.dumps(summarise(doc), indent=2, ensure_ascii=False, allow_nan=False) + "\n",
        CSV: tabulate(doc),
        LATEX: write_latex(doc),
    }
    figures = {
        f"{figure.name}.{kind.value}": render_figure(figure.draw(WIDE), kind)
        for figure in list_figures(doc, view_thickness(doc, known))
        for kind in FigureKind
    }
    for name, content in {**{name: text.encode() for name, text in texts.items()}, **figures}.items():
        write_content(folder / name, content)
    html, json_file, csv_file, latex = (folder / name for name in texts)
    return ReportFiles(folder, html, json_file, csv_file, latex, tuple(folder / name for name in figures))


def write_print_figures(
    doc: StabilizationDoc, folder: Path, *, calculations: Mapping[str, CalculationRecord]
) -> tuple[Path, ...]:
    """Write every figure for one and for two columns of a journal, without headings: the caption says what it shows.

    Parameters
    ----------
    doc
        The result of a study on one dot facet.
    folder
        Where to write ``NAME-3.25in.pdf``, ``NAME-6.75in.pdf`` and the other formats; it is created.
    calculations
        Stored calculations by key.
    """
    files = {
        folder / f"{figure.name}-{shape.width_inch:g}in.{kind.value}": render_figure(figure.draw(shape), kind)
        for figure in list_figures(doc, view_thickness(doc, calculations))
        for shape in PRINT_SHAPES
        for kind in FigureKind
    }
    for path, content in files.items():
        write_content(path, content)
    return tuple(files)


def tabulate(doc: StabilizationDoc) -> str:
    """Return the candidates and the difference as comma-separated text with a header line."""
    text = StringIO()
    table = csv.DictWriter(text, TABLE_COLUMNS, extrasaction="ignore", lineterminator="\n")
    table.writeheader()
    candidates = summarise(doc)["candidates"]
    for candidate in candidates if isinstance(candidates, list) else ():
        if isinstance(candidate, dict):
            row = {**candidate, **_split_strains(candidate, "film"), **_split_strains(candidate, "dot")}
            table.writerow({name: guard_cell(value) for name, value in row.items()})
    answer = doc.stabilization
    difference = answer.model_dump(include={*Terms.model_fields, "coverage_fu_per_ang2"})
    interface = {} if answer.interface is None else answer.interface.model_dump()
    total = {} if doc.formula_version == 1 else {"total_at_coverage_ev_per_fu": answer.total_ev_per_fu}
    table.writerow({"candidate": DIFFERENCE_LABEL, "dot_plane": doc.dot_plane, **difference, **interface, **total})
    return text.getvalue()


def _split_strains(candidate: dict[str, JsonValue], side: str) -> dict[str, JsonValue]:
    """Return the two principal strains as columns of their own."""
    strains = candidate[f"{side}_principal_strains"]
    low, high = strains if isinstance(strains, list) else (None, None)
    return {f"{side}_strain_min": low, f"{side}_strain_max": high}

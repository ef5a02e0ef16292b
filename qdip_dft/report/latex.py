"""The tables of a report for LaTeX: booktabs, units in the heading, ready to be included."""

from __future__ import annotations

import re

from qdip_dft.model.stabilization import StabilizationDoc
from qdip_dft.report.error_tables import list_report_tables
from qdip_dft.report.notation import typeset_latex
from qdip_dft.report.tables import Row, Table
from qdip_dft.report.words import LEVEL_NOTICES, describe


def write_latex(doc: StabilizationDoc) -> str:
    """Return the tables of a result as LaTeX floats, each with a label such as ``tab:pbs-fapbi3-error-budget``.

    Parameters
    ----------
    doc
        The result of a study on one dot facet.
    """
    lines = [
        "% Needs \\usepackage{booktabs} and \\usepackage[version=4]{mhchem}.",
        f"% {' '.join(describe(doc).split())}",
        f"% {LEVEL_NOTICES[doc.level]}",
    ]
    return "\n\n".join(["\n".join(lines), *(_write_float(table, doc.id) for table in list_report_tables(doc))]) + "\n"


def _write_float(table: Table, result_id: str) -> str:
    heading = [table.heading, *(column.name for column in table.columns)]
    units = ["", *(column.unit for column in table.columns)]
    body = [_write_row(row) for row in table.rows]
    if table.result is not None:
        body += ["\\midrule", _write_row(table.result)]
    note = " ".join(table.note.split())
    return "\n".join(
        (
            "\\begin{table}",
            f"\\caption{{{typeset_latex(table.title)}. {typeset_latex(note)}}}",
            f"\\label{{{_write_label(result_id, table.title)}}}",
            f"\\begin{{tabular}}{{l{'r' * len(table.columns)}}}",
            "\\toprule",
            _join(heading),
            _join(units),
            "\\midrule",
            *body,
            "\\bottomrule",
            "\\end{tabular}",
            "\\end{table}",
        )
    )


def _write_label(result_id: str, title: str) -> str:
    words, _, _ = title.partition(" at n*")
    return "tab:" + re.sub(r"[^a-z0-9]+", "-", f"{result_id} {words}".lower()).strip("-")


def _write_row(row: Row) -> str:
    return _join([row.name, *(cell.text for cell in row.cells)])


def _join(texts: list[str]) -> str:
    return f"{' & '.join(map(typeset_latex, texts))} \\\\"

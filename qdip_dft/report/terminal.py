"""The report on the terminal: three narrow tables, what else was tried, and the answer in one sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qdip_dft.model.stabilization import StabilizationDoc
from qdip_dft.report.error_tables import list_report_tables
from qdip_dft.report.tables import Row, Table
from qdip_dft.report.words import LEVEL_NOTICES, describe, list_remarks, name_facet

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table as RichTable
    from rich.text import Text


def print_report(doc: StabilizationDoc, console: Console) -> None:
    """Print the four terms of every phase, the difference, what lost and why, and the answer.

    Parameters
    ----------
    doc
        The result of a study on one dot facet.
    console
        Where to print; from 80 columns on every number is shown in full.
    """
    from rich.text import Text

    console.print(Text(f"{doc.id}: {doc.study.question}" if doc.study.question else doc.id, style="bold"))
    console.print(Text(f"Dot facet {name_facet(doc)}, host {doc.study.host}, {doc.created_at}"))
    console.print(Text(describe(doc)))
    for table in list_report_tables(doc):
        console.print()
        console.print(lay_out_table(table))
        console.print(Text(table.note))
    for remark in list_remarks(doc):
        console.print()
        console.print(Text(remark.title, style="bold"))
        for line in remark.lines:
            _print_item(line, console)
    console.print()
    console.print(Text(doc.stabilization.sentence, style="bold"))
    console.print(Text(LEVEL_NOTICES[doc.level]))


def _print_item(line: str, console: Console) -> None:
    """Print one item of a list; what does not fit on the line is indented under it."""
    from rich.padding import Padding
    from rich.table import Table as RichTable
    from rich.text import Text

    grid = RichTable.grid(padding=(0, 1))
    grid.add_row("•", Text(line))
    console.print(Padding(grid, (0, 0, 0, 1)))


def lay_out_table(table: Table) -> RichTable:
    """Return a table for the terminal; names and numbers are never read as markup."""
    from rich import box
    from rich.table import Table as RichTable
    from rich.text import Text

    laid_out = RichTable(
        title=Text(table.title, style="bold"),
        title_justify="left",
        title_style="",
        header_style="",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, 0, 0, 1),
    )
    laid_out.add_column(Text(table.heading), overflow="fold", vertical="top")
    for column in table.columns:
        heading = f"{column.name}\n{column.unit}" if column.unit else column.name
        laid_out.add_column(Text(heading, justify="right"), justify="right", no_wrap=True)
    for row in table.rows:
        laid_out.add_row(*_write_row(row))
    if table.result is not None:
        laid_out.add_section()
        name, *numbers = _write_row(table.result)
        name.stylize("bold")
        laid_out.add_row(name, *numbers)
    return laid_out


def _write_row(row: Row) -> list[Text]:
    from rich.text import Text

    # The minus that a spreadsheet reads.
    cells = [(cell.text.replace("−", "-"), "bold" if cell.is_marked else "") for cell in row.cells]
    return [Text(row.name), *(Text(text, style=style) for text, style in cells)]

"""`qdip compare`: stored results side by side, and their differences where these are energies of something."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qdip_dft.cli.options import DEFAULT_RESULTS, AsJson, Results
from qdip_dft.cli.output import console, write_json, write_line
from qdip_dft.cli.stored import find_results, open_folder

if TYPE_CHECKING:
    from qdip_dft.analysis.comparison import Comparison


def compare(
    result_ids: Annotated[
        list[str], typer.Argument(metavar="A B …", help="Ids of stored results; differences are taken from the first.")
    ],
    results: Results = DEFAULT_RESULTS,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print every number as CSV instead of tables.")] = False,
    html: Annotated[Path | None, typer.Option("--html", metavar="FILE", help="Write a page for any browser.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show results side by side: two engines, dots, facets or hosts.

    Terms of each phase and black - competitor in eV per formula unit, energies per area in meV/Å² and J/m²; negative:
    black favoured. Differences are taken within one level of theory and one host only; where they are not, the reason
    and the settings that differ are given.

    Example: qdip compare pbs-fapbi3 pbs-fapbi3+testing --html comparison.html
    """
    from qdip_dft.analysis.comparison import compare_results
    from qdip_dft.report.comparison import summarise_comparison, write_comparison_csv

    folder = open_folder(results)
    documents = [document for name in result_ids for document in find_results(folder, name)]
    comparison = compare_results(documents)
    if html is not None:
        _write_page(comparison, html)
    if as_json:
        write_json(summarise_comparison(comparison))
    elif as_csv:
        typer.echo(write_comparison_csv(comparison), nl=False)
    elif html is None:
        _print_comparison(comparison)
    else:
        write_line(f"Comparison: {html}")


def _write_page(comparison: Comparison, path: Path) -> None:
    from qdip_dft.report.comparison import render_comparison_page
    from qdip_dft.results.writing import write_content

    write_content(path, render_comparison_page(comparison).encode())


def _print_comparison(comparison: Comparison) -> None:
    from rich.text import Text

    from qdip_dft.report.comparison import (
        explain_differences,
        list_comparison_tables,
        list_refusals,
        say_agreement,
    )
    from qdip_dft.report.terminal import lay_out_table

    out = console()
    for letter, document in zip(comparison.letters, comparison.documents, strict=True):
        out.print(Text(f"{letter}  {document.id} ({document.level.value})", style="bold"))
    for table in list_comparison_tables(comparison):
        out.print()
        out.print(lay_out_table(table))
        out.print(Text(table.note))
    out.print()
    out.print(Text(explain_differences(comparison)))
    for refusal in list_refusals(comparison):
        out.print()
        out.print(Text(refusal))
    out.print()
    for letter, document in zip(comparison.letters, comparison.documents, strict=True):
        out.print(Text(f"{letter}: {document.stabilization.sentence}"))
    out.print(Text(say_agreement(comparison), style="bold"))

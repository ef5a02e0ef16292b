"""`qdip explain`: why a phase wins."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from qdip_dft.cli.options import DEFAULT_RESULTS, AsJson, Results
from qdip_dft.cli.output import console, write_json
from qdip_dft.cli.stored import find_results, open_archive_of, open_folder

if TYPE_CHECKING:
    from qdip_dft.model.stabilization import StabilizationDoc
    from qdip_dft.report.explanation import Explanation


def explain(
    result_id: Annotated[str, typer.Argument(metavar="ID", help="Id of a result, or name of a study.")],
    results: Results = DEFAULT_RESULTS,
    as_json: AsJson = False,
) -> None:
    """Explain why a phase wins: what would reverse the answer, tilts and bonds by layer, bonds to the dot, charges.

    Lengths in Å, angles in degrees, terms in eV per formula unit of the host.

    Example: qdip explain pbs-fapbi3
    """
    from qdip_dft.report.explanation import explain as explain_result
    from qdip_dft.report.explanation import summarise_explanation
    from qdip_dft.report.summary import list_calculation_keys

    folder = open_folder(results)
    documents = find_results(folder, result_id)
    archive = open_archive_of(folder)
    explained = [(d, explain_result(d, archive.find_calculations(list_calculation_keys(d)))) for d in documents]
    if as_json:
        summaries = [{"id": document.id, **summarise_explanation(found)} for document, found in explained]
        write_json(summaries[0] if len(summaries) == 1 else {"results": summaries})
        return
    for document, found in explained:
        _print(document, found)


def _print(document: StabilizationDoc, explanation: Explanation) -> None:
    from rich.text import Text

    from qdip_dft.report.explanation import list_explanation_tables
    from qdip_dft.report.terminal import lay_out_table
    from qdip_dft.report.words import LEVEL_NOTICES

    out = console()
    out.print(Text(document.id, style="bold"))
    out.print(Text(document.stabilization.sentence))
    for table in list_explanation_tables(explanation):
        out.print()
        out.print(lay_out_table(table))
        out.print(Text(table.note))
    out.print()
    out.print(Text(explanation.decision, style="bold"))
    out.print(Text(LEVEL_NOTICES[document.level]))

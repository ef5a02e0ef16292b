"""`qdip import`: energies that were run by hand become calculations of a study."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from qdip_dft.cli.options import DEFAULT_RESULTS, Results
from qdip_dft.cli.output import console
from qdip_dft.cli.stored import make_look_up, open_archive_of
from qdip_dft.cli.studies import EngineName, PresetWord, make_plan


def import_folders(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A finished folder, or a folder of them.")],
    study: Annotated[str, typer.Option("--study", help="The study whose steps they answer.")],
    results: Results = DEFAULT_RESULTS,
    engine: EngineName = None,
    preset: PresetWord = None,
    is_dry: Annotated[bool, typer.Option("--dry-run", help="Say what would be stored, store nothing.")] = False,
) -> None:
    """Store energies (eV) of folders that `qdip inputs` wrote and somebody ran; exit code 1 if one is refused.

    A folder is taken if its inputs are byte for byte those of a static calculation that the study waits for, and its
    output is complete, converged and of the right version. Nothing stored is replaced.

    Example: qdip import ./inputs --study my-study.yaml --engine vasp
    """
    from qdip_dft.execution.imports import list_records, read_finished_folders
    from qdip_dft.execution.results_folder import ResultsFolder

    found = read_finished_folders(make_plan(study, engine, preset), folder, make_look_up(results))
    if not is_dry:
        open_archive_of(ResultsFolder(results)).save_records(list(list_records(found)))
    for each in found:
        words = f"refused: {each.objection}" if each.record is None else each.record.task.label
        console().print(f"{each.folder.name}: {words}", markup=False, soft_wrap=True)
    n_taken = len(list(list_records(found)))
    console().print(f"{n_taken} energies {'would be stored' if is_dry else 'stored'}.", markup=False)
    if any(each.record is None for each in found):
        raise typer.Exit(1)

"""`qdip import`: calculations that were run by hand become calculations of a study."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qdip_dft.cli.options import DEFAULT_RESULTS, Results
from qdip_dft.cli.output import console
from qdip_dft.cli.stored import make_look_up, open_archive_of
from qdip_dft.cli.studies import EngineName, PresetWord, make_plan

if TYPE_CHECKING:
    from qdip_dft.by_hand.imports import ImportedFolder


def import_folders(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A finished folder, or a folder of them.")],
    study: Annotated[
        str | None, typer.Option("--study", help="The study whose steps they answer; without it: say what they are.")
    ] = None,
    results: Results = DEFAULT_RESULTS,
    engine: EngineName = None,
    preset: PresetWord = None,
    step: Annotated[
        str | None, typer.Option("--step", help="The relaxation that DIR answers although it started elsewhere.")
    ] = None,
    is_dry: Annotated[bool, typer.Option("--dry-run", help="Say what would be stored, store nothing.")] = False,
) -> None:
    """Store calculations of VASP, Quantum ESPRESSO, CP2K or GPAW (eV, Å) that were run by hand; exit code 1 if refused.

    A folder is taken if its atoms are those of a step that the study waits for and every setting that changes the
    energy is the study's; a relaxation must also be converged to the study's thresholds. Nothing stored is replaced.

    Example: qdip import ./finished --study my-study.yaml --engine vasp
    """
    if study is None:
        _describe(folder)
        return
    from qdip_dft.by_hand.imports import list_records, read_finished_folders
    from qdip_dft.storage.results_folder import ResultsFolder

    found = read_finished_folders(make_plan(study, engine, preset), folder, make_look_up(results), declared=step)
    records = list(list_records(found))
    if not is_dry:
        open_archive_of(ResultsFolder(results)).save_records(records)
    for each in found:
        console().print(f"{each.folder.name}: {_say(each)}", markup=False, soft_wrap=True)
    console().print(f"{len(records)} calculations {'would be stored' if is_dry else 'stored'}.", markup=False)
    if any(each.objection is not None for each in found):
        raise typer.Exit(1)


def _say(found: ImportedFolder) -> str:
    if found.objection is not None:
        return f"refused: {found.objection}"
    return f"{found.step} is stored already" if found.record is None else found.record.task.label


def _describe(folder: Path) -> None:
    from qdip_dft.by_hand.imports import describe_finished_folders

    for line in describe_finished_folders(folder):
        console().print(line, markup=False, soft_wrap=True)
    console().print("Nothing is stored without --study.", markup=False)

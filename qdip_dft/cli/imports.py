"""`qdip import | import-store`: calculations run by hand or in flows of others become calculations of a study."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qdip_dft.cli.options import DEFAULT_RESULTS, Results
from qdip_dft.cli.output import console, write_line
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
        write_line(f"{each.folder.resolve().name}: {_say(each)}")
    console().print(f"{len(records)} calculations {'would be stored' if is_dry else 'stored'}.", markup=False)
    if any(each.objection is not None for each in found):
        raise typer.Exit(1)


def import_store(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="Settings of jobflow (jobflow.yaml), or a project of jobflow-remote.")
    ],
    results: Results = DEFAULT_RESULTS,
) -> None:
    """Store the records and results (eV, Å) of flows that other managers carried; exit code 1 if some were refused.

    The JobStore is read, not changed; nothing that is stored here is replaced.

    Example: qdip import-store ~/.jobflow.yaml --results ./qdip-results
    """
    from qdip_dft.storage.job_store import opened_job_store, read_job_store, save_content
    from qdip_dft.storage.results_folder import ResultsFolder

    with opened_job_store(file) as store:  # before the folder: a store of others must not create one
        content = read_job_store(store)
    folder = ResultsFolder(results)
    with folder.lock_for_run():
        done = save_content(content, open_archive_of(folder))
    lines = [f"refused: {words}" for words in done.refused]
    lines.append(f"{done.n_records} records written to {results}, {done.n_known} were there already.")
    lines += [f"qdip report {name} --results {results}" for name in done.results]
    for line in lines:
        write_line(line)
    if done.refused:
        raise typer.Exit(1)


def _say(found: ImportedFolder) -> str:
    if found.objection is not None:
        return f"refused: {found.objection}"
    return f"{found.step} is stored already" if found.record is None else found.record.task.label


def _describe(folder: Path) -> None:
    from qdip_dft.by_hand.imports import describe_finished_folders

    for line in describe_finished_folders(folder):
        write_line(line)
    console().print("Nothing is stored without --study.", markup=False)

"""`qdip db`: results as a whole, in folders and databases."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qdip_dft.cli.options import DEFAULT_RESULTS, AsJson, Results
from qdip_dft.cli.output import console, write_json, write_line
from qdip_dft.cli.stored import open_folder

if TYPE_CHECKING:
    from qdip_dft.results.archive import Archive
    from qdip_dft.storage.checkup import Finding

app = typer.Typer(no_args_is_help=True, help="Copy, check, repair, back up and upgrade results.")

Place = "a results folder, or mongodb://HOST/NAME"


@app.callback()
def choose() -> None:
    """Copy, check, repair, back up and upgrade results.

    Example: qdip db copy ./qdip-results mongodb://server.example.org/group
    """


@app.command("copy")
def copy(
    source: Annotated[str, typer.Argument(help=f"Where the results are: {Place}.")],
    target: Annotated[str, typer.Argument(help=f"Where they go: {Place}; a folder is created when missing.")],
    is_replacing: Annotated[
        bool, typer.Option("--replace", help="Replace documents of the same key and another content.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Copy all calculations and results; what is there already stays, and every copy is read back and compared.

    An interrupted copy resumes with the same command. User and password of a database: QDIP_MONGODB_USER and
    QDIP_MONGODB_PASSWORD.

    Example: qdip db copy ./qdip-results mongodb://server.example.org/group
    """
    from qdip_dft.storage.copying import copy_results
    from qdip_dft.storage.location import make_results, open_results

    summaries = copy_results(open_results(source), make_results(target), replace=is_replacing)
    if as_json:
        write_json([asdict(summary) for summary in summaries])
        return
    for summary in summaries:
        words = f"{summary.n_copied} copied, {summary.n_present} there already, {len(summary.differing)} differing"
        console().print(f"{summary.collection}: {summary.n_documents} documents: {words}", markup=False)
        for key in summary.differing[:10]:
            console().print(f"  kept in the target: {key} (--replace takes that of the source)", markup=False)


@app.command("upgrade")
def upgrade(
    results: Annotated[str, typer.Argument(help=f"Where the results are: {Place}.")] = "qdip-results",
    as_json: AsJson = False,
) -> None:
    """Make results of an older formula anew from their stored calculations; nothing is calculated.

    Formula version 1 took every film at its own coverage, version 2 compares at one. What cannot be made anew stays
    as it is and is shown as version 1.

    Example: qdip db upgrade ./qdip-results
    """
    from qdip_dft.execution.upgrade import upgrade_results
    from qdip_dft.storage.location import open_results

    upgrades = upgrade_results(open_results(results))
    if as_json:
        write_json([asdict(upgrade) for upgrade in upgrades])
        return
    for found in upgrades:
        words = "made anew" if found.reason is None else f"stays as it is: {found.reason}"
        console().print(f"{found.id}: {words}", markup=False)
    if not upgrades:
        console().print("Every result follows the present formula.", markup=False)


@app.command("check")
def check(
    results: Annotated[str, typer.Argument(help=f"Where the results are: {Place}.")] = "qdip-results",
    is_quick: Annotated[
        bool, typer.Option("--quick", help="Documents, terms and totals alone: not error bar, hull and registry.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Check the file, every document and every result against its calculations; changes nothing, exit code 1 if not.

    Every result is made anew from its calculations, a second or two for each study; what cannot be is named, and only
    its terms and totals are checked.

    Example: qdip db check ./qdip-results
    """
    from qdip_dft.storage.checkup import check_archive, check_folder
    from qdip_dft.storage.location import open_results
    from qdip_dft.storage.mongo_address import is_mongo_uri
    from qdip_dft.storage.results_folder import ResultsFolder

    archive = open_results(results)
    found = list(check_archive(archive) if is_mongo_uri(results) else check_folder(ResultsFolder(results), archive))
    notes: list[str] = []
    if not is_quick and not found:
        found, notes = _compare_with_calculations(archive)
    if as_json:
        write_json([asdict(finding) for finding in found])
    else:
        _write_findings(found, notes, n_all=archive.calculations.count() + archive.stabilizations.count())
    if found:
        raise typer.Exit(1)


def _compare_with_calculations(archive: Archive) -> tuple[list[Finding], list[str]]:
    """Return the results that differ from what their calculations give, and those that cannot be made anew."""
    from qdip_dft.execution.remaking import compare_with_calculations
    from qdip_dft.storage.checkup import Finding

    remade = list(compare_with_calculations(archive.list_stabilizations(), archive.find_record))
    found = [Finding(f"stabilizations {each.id}", each.difference) for each in remade if each.difference is not None]
    words = "error bar, hull and registry were not made anew"
    return found, [f"{each.id}: {words}: {each.reason}" for each in remade if each.reason is not None]


def _write_findings(found: list[Finding], notes: list[str], *, n_all: int) -> None:
    for finding in found:
        write_line(f"{finding.where}: {finding.what}")
    for note in notes:
        write_line(note)
    write_line(f"{n_all} documents, {len(found)} findings.")
    if found:
        write_line("qdip db repair saves what is sound; qdip run makes the rest anew.")


@app.command("repair")
def repair(
    results: Annotated[Path, typer.Argument(help="A results folder that no run uses.")] = DEFAULT_RESULTS,
    as_json: AsJson = False,
) -> None:
    """Write a new results file with every sound document; the damaged file is kept beside it, the rest set aside.

    Example: qdip db repair ./qdip-results
    """
    from qdip_dft.storage.repair import repair_folder

    done = repair_folder(results)
    if as_json:
        write_json({**asdict(done), "kept": str(done.kept)})
        return
    for finding in done.set_aside:
        write_line(f"set aside: {finding.where}: {finding.what}")
    saved = ", ".join(f"{count} {name}" for name, count in sorted(done.n_saved.items())) or "nothing"
    write_line(f"Saved: {saved}; {len(done.set_aside)} set aside. The damaged file is {done.kept}.")


@app.command("backup")
def backup(
    target: Annotated[Path, typer.Argument(help="The folder of the backup; it must not exist.")],
    results: Results = DEFAULT_RESULTS,
) -> None:
    """Copy a results file as it is at one moment, also while a run writes to it, and check the copy.

    Example: qdip db backup ./backup-2026-11-30 --results ./qdip-results
    """
    from qdip_dft.storage.checkup import check_folder
    from qdip_dft.storage.repair import backup_folder
    from qdip_dft.storage.results_folder import ResultsFolder, open_archive

    n_bytes = backup_folder(open_folder(results).path, target)
    folder = ResultsFolder(target)
    found = list(check_folder(folder, open_archive(folder)))
    write_line(f"{target}: {n_bytes / 1e6:.1f} MB, {len(found)} findings (qdip db check {target}).")
    if found:
        raise typer.Exit(1)

"""`qdip export | import-bundle`: results leave and enter as files that others can check."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qdip_dft.cli.options import DEFAULT_RESULTS, Results
from qdip_dft.cli.output import write_line
from qdip_dft.cli.stored import open_archive_of, open_folder
from qdip_dft.errors import ResultsError

if TYPE_CHECKING:
    from qdip_dft.results.evidence import Evidence


def export(
    result_id: Annotated[str, typer.Argument(metavar="ID", help="Name of a study (all its facets), or study@facet.")],
    bundle: Annotated[
        Path | None, typer.Option("--bundle", help="Zip file with documents, structures, inputs, versions, checksums.")
    ] = None,
    optimade: Annotated[
        Path | None, typer.Option("--optimade", help="Folder for optimade.jsonl: structures in Å, energies in eV.")
    ] = None,
    extxyz: Annotated[
        Path | None,
        typer.Option("--extxyz", help="Extended XYZ with energy (eV), forces (eV/Å) and stress (eV/Å³), for training."),
    ] = None,
    results: Results = DEFAULT_RESULTS,
) -> None:
    """Write a stored result with its evidence for a referee, a database or a training program.

    Stress is positive in tension, forces are minus the gradient (ASE's conventions). Existing files are replaced.

    Example: qdip export pbs-fapbi3 --bundle pbs-fapbi3.zip
    """
    if bundle is None and optimade is None and extxyz is None:
        raise ResultsError(
            "nothing to write was named",
            limit="an export needs at least one of --bundle, --optimade and --extxyz",
            why="they serve different readers",
            remedy=f"qdip export {result_id} --bundle {result_id}.zip",
        )
    from qdip_dft.results.bundle import export_bundle
    from qdip_dft.results.optimade_folder import export_optimade
    from qdip_dft.results.training_set import export_training_set

    archive = open_archive_of(open_folder(results))
    if bundle is not None:
        made = export_bundle(archive, result_id, bundle)
        size = f"{made.n_results} results, {made.n_calculations} calculations, {made.size_bytes / 1e6:.1f} MB"
        write_line(f"{bundle}: {size}\nSHA-256 {made.sha256}")
    if optimade is not None:
        write_line(f"{optimade / 'optimade.jsonl'}: {export_optimade(archive, result_id, optimade)} structures")
    if extxyz is not None:
        write_line(f"{extxyz}: {export_training_set(archive, result_id, extxyz)} frames")


def import_bundle(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A bundle that `qdip export --bundle` wrote.")],
    results: Results = DEFAULT_RESULTS,
) -> None:
    """Check a bundle and put its documents into a results folder, numbers in eV and Å unchanged.

    A bundle that is damaged or altered, or that differs from what is stored, is refused and nothing is written.

    Example: qdip import-bundle pbs-fapbi3.zip --results ./restored
    """
    from qdip_dft.results.bundle_reading import read_bundle
    from qdip_dft.results.bundle_restoring import restore_evidence
    from qdip_dft.storage.results_folder import ResultsFolder

    bundle = read_bundle(file)  # before the folder: a refused bundle must not create one
    folder = ResultsFolder(results)
    with folder.lock_for_run():
        done = restore_evidence(bundle.evidence, open_archive_of(folder))
    write_line(f"{done.n_written} documents written to {results}, {done.n_skipped} were there already.")
    _compare_with_calculations(bundle.evidence)
    for name in done.results:
        write_line(f"qdip report {name} --results {results}")


def _compare_with_calculations(evidence: Evidence) -> None:
    """Say which results have another error bar, hull or registry than their calculations give here.

    Terms and totals have been checked before; these may also differ because an earlier version made them otherwise.
    """
    from qdip_dft.execution.remaking import compare_with_calculations

    records = {record.key: record for record in evidence.records}
    for remade in compare_with_calculations(evidence.documents, records.get):
        if remade.difference is not None:
            write_line(
                f"Caution: {remade.id}: {remade.difference}. Its terms and its total do follow from its calculations."
            )
        elif remade.reason is not None:
            write_line(f"{remade.id}: error bar, hull and registry were not made anew: {remade.reason}")

"""`qdip db`: results as a whole, in folders and databases."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from qdip_dft.cli.options import AsJson
from qdip_dft.cli.output import console, write_json

app = typer.Typer(no_args_is_help=True, help="Copy results between folders and databases, and bring them up to date.")

Place = "a results folder, or mongodb://HOST/NAME"


@app.callback()
def choose() -> None:
    """Copy results between folders and databases, and bring them up to date.

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

    An interrupted copy goes on with the same command. User and password of a database: QDIP_MONGODB_USER and
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

"""The command tree and its one error boundary."""

from __future__ import annotations

import sys

import typer

from qdip_dft.cli import (
    atlas,
    cluster,
    compare,
    converge,
    database,
    doctor,
    dot,
    explain,
    export,
    imports,
    inputs,
    match,
    query,
    show,
    size,
    status,
    structures,
    studies,
    temperature,
)
from qdip_dft.cli.output import write_error
from qdip_dft.errors import QdipError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    help=(
        "By how much does a quantum dot stabilize the black perovskite phase over the yellow one, and why?\n\n"
        "Energies in eV per formula unit of the host; stabilization = black - competitor, negative: black favoured.\n\n"
        "Example: qdip run quickstart"
    ),
)
app.add_typer(structures.app, name="structures")
app.add_typer(database.app, name="db", short_help="Copy results between folders and databases.")
app.command("match", short_help="List the common cells of two planes.")(match.match)
app.command("show", short_help="Draw, describe or write a structure.")(show.show)
app.command("dot", short_help="Cut a finite dot and put it into a host.")(dot.dot)
app.command("plan", short_help="List the calculations of a study; runs nothing.")(studies.plan)
app.command("inputs", short_help="Write every input file; runs nothing.")(inputs.inputs)
app.command("run", short_help="Carry out a study and report it.")(studies.run)
app.command("converge", short_help="Refine a setting until the answer stays.")(converge.converge)
app.command("status", short_help="Say how far a study is.")(status.status)
app.command("report", short_help="Show a stored result: four terms, one answer.")(studies.report)
app.command("explain", short_help="Say why a phase wins.")(explain.explain)
app.command("size", short_help="Convert a film's result to dots in a host.")(size.size)
app.command("query", short_help="Find stored results.")(query.query)
app.command("export", short_help="Write a bundle, a training set or OPTIMADE.")(export.export)
app.command("import-bundle", short_help="Restore the results of a bundle.")(export.import_bundle)
app.command("import", short_help="Take energies that were run by hand.")(imports.import_folders)
app.command("compare", short_help="Show results side by side.")(compare.compare)
app.command("atlas", short_help="Draw all results on one page.")(atlas.atlas)
app.command("temperature", short_help="Add harmonic free energies to a result.")(temperature.temperature)
app.command("doctor", short_help="Check the installation.")(doctor.doctor)
app.command("init-cluster", short_help="Write the configuration of a cluster.")(cluster.init_cluster)
app.command("submit", short_help="Submit studies to the group's queue.")(cluster.submit)
app.command("queue", short_help="Say how far the submitted studies are.")(cluster.queue)
app.command("pause", short_help="Keep a submitted study from starting.")(cluster.pause)
app.command("resume", short_help="Let a paused study go on.")(cluster.resume)
app.command("cancel", short_help="Give up what has not started of a study.")(cluster.cancel)
app.command("rerun", short_help="Start again what a study has lost.")(cluster.rerun)
app.command("runner", short_help="Feed the batch system through jobflow-remote.")(cluster.runner)
app.command("reconcile", short_help="Mend the queue after kills and outages.")(cluster.reconcile)


def main() -> None:
    """Run the command line; errors that a user can cure leave with exit code 2 and no traceback."""
    try:
        app()
    except QdipError as error:
        write_error(error)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.stderr.write("Interrupted; everything finished is stored, the same command continues.\n")
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(0)

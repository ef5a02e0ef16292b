"""The command tree and its one error boundary."""

from __future__ import annotations

import sys

import typer

from qdip_dft.cli import compare, doctor, dot, export, match, show, structures, studies
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
app.command("match")(match.match)
app.command("show")(show.show)
app.command("dot")(dot.dot)
app.command("plan")(studies.plan)
app.command("run")(studies.run)
app.command("status")(studies.status)
app.command("report")(studies.report)
app.command("query")(studies.query)
app.command("export")(export.export)
app.command("import-bundle")(export.import_bundle)
app.command("compare")(compare.compare)
app.command("doctor")(doctor.doctor)


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

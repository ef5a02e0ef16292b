"""The command tree and its one error boundary.

A command's module is imported when the command is called: `qdip --help` and the commands that only read start in a
fraction of a second, because what they do not need is never loaded.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

import typer
from typer.core import TyperCommand, TyperGroup

from qdip_dft.cli.output import write_error
from qdip_dft.cli.terminal import harmless_output
from qdip_dft.errors import QdipError, StoppedError
from qdip_dft.runtime.threads import state_threads

if TYPE_CHECKING:
    from collections.abc import Mapping

HELP: Final = (
    "By how much does a quantum dot stabilize the black perovskite phase over the yellow one, and why?\n\n"
    "Energies in eV per formula unit of the host; stabilization = black - competitor, negative: black favoured.\n\n"
    "Example: qdip run quickstart"
)

COMMANDS: Final[Mapping[str, Mapping[str, tuple[str, str]]]] = {
    "Structures": {
        "structures": ("structures:app", "List, show and check the crystals of the library."),
        "match": ("match:match", "List the common cells of a dot and a host."),
        "show": ("show:show", "Draw, describe or write a structure."),
        "dot": ("dot:dot", "Cut a finite dot and put it into a host."),
    },
    "Studies": {
        "plan": ("studies:plan", "List the calculations of a study; runs nothing."),
        "inputs": ("inputs:inputs", "Write every input file; runs nothing."),
        "run": ("studies:run", "Run a study and report it."),
        "converge": ("converge:converge", "Refine a setting until the answer stays."),
        "status": ("status:status", "Show progress and failures."),
        "import": ("imports:import_folders", "Import calculations run by hand."),
    },
    "Results": {
        "report": ("studies:report", "Show a stored result: four terms, one answer."),
        "explain": ("explain:explain", "Explain why a phase wins."),
        "size": ("size:size", "Convert a film's result to dots in a host."),
        "temperature": ("temperature:temperature", "Add harmonic free energies to a result."),
        "compare": ("compare:compare", "Compare results side by side."),
        "query": ("query:query", "Find stored results."),
        "atlas": ("atlas:atlas", "Draw all results on one page."),
        "export": ("export:export", "Write a bundle, a training set or OPTIMADE."),
        "import-bundle": ("export:import_bundle", "Restore the results of a bundle."),
        "db": ("database:app", "Copy, check, repair and back up results."),
    },
    "Cluster": {
        "init-cluster": ("cluster:init_cluster", "Write the configuration of a cluster."),
        "submit": ("cluster:submit", "Submit studies to the group's queue."),
        "queue": ("cluster:queue", "Show the progress of submitted studies."),
        "pause": ("cluster:pause", "Keep a submitted study from starting."),
        "resume": ("cluster:resume", "Let a paused study continue."),
        "cancel": ("cluster:cancel", "Cancel what has not started of a study."),
        "rerun": ("cluster:rerun", "Restart what a study has lost."),
        "runner": ("cluster:runner", "Feed the batch system through jobflow-remote."),
        "reconcile": ("cluster:reconcile", "Repair the queue after kills and outages."),
    },
    "Installation": {"doctor": ("doctor:doctor", "Check the installation.")},
}
"""Where each command is, as ``module:name`` below this package, and its line in the help, by section."""


class LazyCommand(TyperCommand):
    """A command that is imported when it is called.

    Parameters
    ----------
    name
        What the user types.
    place
        Where it is: ``module:name`` below this package; a function or a `typer.Typer` of further commands.
    short_help
        Its line in the help.
    """

    def __init__(self, name: str, *, place: str, short_help: str) -> None:
        super().__init__(name, short_help=short_help, rich_markup_mode=None)
        self._place = place

    def make_context(
        self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any
    ) -> Any:  # click's context, which typer keeps inside itself
        """Parse the arguments with the real command, which the context then carries."""
        return self.load().make_context(info_name, args, parent=parent, **extra)

    def load(self) -> Any:
        """Import the real command."""
        module, _, attribute = self._place.partition(":")
        found = getattr(import_module(f"qdip_dft.cli.{module}"), attribute)
        root = typer.Typer(add_completion=False, rich_markup_mode=None)
        if isinstance(found, typer.Typer):
            root.add_typer(found, name=self.name)
        else:
            root.command(self.name)(found)
        return typer.main.get_group(root).commands[str(self.name)]


class SectionedGroup(TyperGroup):
    """The command tree, with a section of the help for each kind of command."""

    def invoke(self, ctx: Any) -> Any:
        """Carry out a command; an interruption leaves as the error of a run that can go on, not as click's own."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise _interrupted() from None

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002 (click's signature)
        """Write the sections, their second columns aligned."""
        width = max(map(len, self.commands))
        for section, commands in COMMANDS.items():
            with formatter.section(section):
                formatter.write_dl([(name.ljust(width), help_line) for name, (_, help_line) in commands.items()])


def _interrupted() -> StoppedError:
    return StoppedError(
        "the command was interrupted",
        limit="it must run until it says what it has found",
        why="everything finished is stored, what was under way is not",
        remedy="run the same command again: it goes on where it stopped",
    )


def make_app() -> SectionedGroup:
    """Make the command tree; no command is imported."""
    return SectionedGroup(
        name="qdip",
        commands={
            name: LazyCommand(name, place=place, short_help=help_line)
            for commands in COMMANDS.values()
            for name, (place, help_line) in commands.items()
        },
        help=HELP,
        no_args_is_help=True,
        rich_markup_mode=None,
    )


def main() -> None:
    """Run the command line; errors that a user can cure leave with exit code 2 or 3 and no traceback."""
    state_threads()
    with harmless_output():
        _run()


def _run() -> None:
    try:
        make_app()()
    except QdipError as error:
        write_error(error)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        write_error(_interrupted())
        sys.exit(StoppedError.exit_code)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(0)

"""The command tree.

A command's module is imported when the command is called: `qdip --help` and the commands that only read start in a
fraction of a second, because what they do not need is never loaded.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from typer.core import TyperCommand, TyperGroup

from qdip_dft.cli.interruption import explain_interruption

if TYPE_CHECKING:
    from collections.abc import Mapping

HELP: Final = (
    "By how much does a quantum dot stabilize the black perovskite phase over the yellow one, and why?\n\n"
    "Energies in eV per formula unit of the host; stabilization = black - competitor, negative: black favoured.\n\n"
    "Example: qdip run quickstart"
)

COMMANDS: Final[Mapping[str, Mapping[str, tuple[str, str]]]] = {
    "First steps": {
        "doctor": ("doctor:doctor", "Check the installation."),
        "structures": ("structures:app", "List, show and check the crystals of the library."),
        "match": ("match:match", "List the common cells of a dot and a host."),
        "plan": ("studies:plan", "List the calculations of a study; runs nothing."),
        "run": ("studies:run", "Run a study and report it."),
        "status": ("status:status", "Show progress and failures."),
        "report": ("studies:report", "Show a stored result: four terms, one answer."),
        "explain": ("explain:explain", "Explain why a phase wins."),
    },
    "Results": {
        "query": ("query:query", "Find stored results."),
        "compare": ("compare:compare", "Compare results side by side."),
        "atlas": ("atlas:atlas", "Draw all results on one page."),
        "size": ("size:size", "Convert a film's result to dots in a host."),
        "temperature": ("temperature:temperature", "Add harmonic free energies to a result."),
        "show": ("show:show", "Draw, describe or write a structure."),
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
    "Expert": {
        "converge": ("converge:converge", "Refine a setting until the answer is stable."),
        "calibrate": ("calibrate:calibrate", "Measure the error of the potential."),
        "dot": ("dot:dot", "Cut a finite dot and put it into a host."),
        "inputs": ("inputs:inputs", "Write every input file; runs nothing."),
        "import": ("imports:import_folders", "Import calculations run by hand."),
        "import-store": ("imports:import_store", "Import flows run by other managers."),
    },
}
"""Where each command is, as ``module:name`` below this package, and its line in the help, by section."""


SYNONYMS: Final[Mapping[str, str]] = {
    **dict.fromkeys(("start", "calculate", "compute", "relax"), "run"),
    **dict.fromkeys(("list", "find", "search", "results", "table"), "query"),
    **dict.fromkeys(("progress", "watch", "state", "log"), "status"),
    **dict.fromkeys(("check", "test", "install"), "doctor"),
    **dict.fromkeys(("why", "interpret"), "explain"),
    **dict.fromkeys(("draw", "view", "plot"), "show"),
    **dict.fromkeys(("overview", "map"), "atlas"),
    **dict.fromkeys(("interface", "cells", "scan"), "match"),
    **dict.fromkeys(("share", "publish", "bundle"), "export"),
    **dict.fromkeys(("stop", "kill", "delete"), "cancel"),
    **dict.fromkeys(("launch", "batch"), "submit"),
    "version": "--version",
}
"""What a user may call a command."""


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
        """Carry out a command; an interruption leaves as the error of a run that can go on, not as typer's own."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise explain_interruption() from None

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find a command; another word for one is refused with the command that it means."""
        if args and args[0] not in self.commands and args[0] in SYNONYMS:
            ctx.fail(f"No such command '{args[0]}'. Did you mean 'qdip {SYNONYMS[args[0]]}'?")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002 (click's signature)
        """Write the sections, their second columns aligned."""
        width = max(map(len, self.commands))
        for section, commands in COMMANDS.items():
            with formatter.section(section):
                formatter.write_dl([(name.ljust(width), help_line) for name, (_, help_line) in commands.items()])


def _show_version(is_asked: bool) -> None:
    from qdip_dft.cli.output import write_line
    from qdip_dft.version import __version__

    if is_asked:
        write_line(f"qdip_dft {__version__}")
        raise typer.Exit


def _list_options() -> list[Any]:
    """Return the options of `qdip` itself, those for shell completion included, as typer makes them of a function."""

    def options(
        is_version: Annotated[
            bool,
            typer.Option("--version", is_eager=True, callback=_show_version, help="Show the version and exit."),
        ] = False,
    ) -> None:
        del is_version

    root = typer.Typer(rich_markup_mode=None)
    root.callback()(options)
    params = typer.main.get_command(root).params
    for param in params:
        param.expose_value = False
    return params


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
        params=_list_options(),
        no_args_is_help=True,
        rich_markup_mode=None,
    )

"""Starting the program of a code, and complaining about what it wrote."""

from __future__ import annotations

import ctypes
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from qdip_dft.errors import EngineError
from qdip_dft.model.structure import Arrangement
from qdip_dft.runtime.threads import thread_settings
from qdip_dft.runtime.watched import WatchedProgram


def unusable_output(output: Path, reason: str) -> EngineError:
    """Return the error of an output that was not made by a run of the package and may not be taken for one."""
    return EngineError(
        f"{output} cannot be imported: {reason}",
        limit="an output must be complete, converged and of the version that the level of theory names",
        why="its energy would enter differences in which it does not belong",
        remedy="run the folder again with this code, or let qdip run do it",
    )


def require_known_version(version: str, *, code: str, known: Sequence[str]) -> str:
    """The version itself, if its outputs are of a kind that is known; refused before anything is calculated with it.

    Parameters
    ----------
    version
        What the code says of itself.
    code
        Its name.
    known
        Major versions whose outputs are known.

    Raises
    ------
    EngineError
        If the major version is none of them.
    """
    if version.partition(".")[0] in known:
        return version
    raise EngineError(
        f"the outputs of {code} {version} are not known",
        limit=f"known are the major versions {', '.join(known)}",
        why="codes change words and units of their outputs, and a number in another unit is a wrong energy",
        remedy=f"name a known version of {code} in its command (docs/installation.md), or update qdip-dft",
    )


def no_version(program: str, *, code: str, remedy: str) -> EngineError:
    """Return the error for a program that does not say which version it is."""
    return EngineError(
        f"{program} prints no version of {code}",
        limit="the version is part of every calculation's key",
        why="energies of different versions must not meet in one difference",
        remedy=remedy,
    )


def read_text(path: Path) -> str:
    """The text that a code wrote or read, compressed (.gz, .bz2, .xz) or not."""
    from monty.io import zopen

    with zopen(path, "rt", encoding="utf-8", errors="replace") as file:
        return str(file.read())


def last_run(text: str, banner: str) -> str:
    """The last run of an output to which several were appended; it alone is judged.

    Parameters
    ----------
    text
        The output.
    banner
        Words that a program prints once, when it starts.
    """
    return text[max(text.rfind(banner), 0) :]


def require_same_atoms(species: Sequence[str], arrangement: Arrangement, output: Path) -> None:
    """Refuse an output whose atoms are not those that were asked for, in the same order.

    Raises
    ------
    EngineError
        If they are not.
    """
    if tuple(species) != arrangement.species:
        raise EngineError(
            f"{output} holds other atoms than were asked for",
            limit="the sites must keep their order",
            why="forces would belong to other atoms",
            remedy="delete the folder and run again",
        )


def find_command(command: str, *, engine: str, remedy: str) -> list[str]:
    """Return a command as words if its program exists.

    Parameters
    ----------
    command
        The command with its launcher, such as ``mpirun -n 8 pw.x``.
    engine
        The engine that needs it, for the message.
    remedy
        How to get it.

    Raises
    ------
    EngineError
        If a program of it is not found.
    """
    words = shlex.split(command)
    if words and shutil.which(words[0]) is not None:
        return words
    raise EngineError(
        f"engine {engine!r} finds no program {words[0] if words else command!r}",
        limit="it must be on PATH, or its full path must be configured",
        why="without the code there is no energy",
        remedy=remedy,
    )


def find_program(words: Sequence[str], *, names: str) -> str:
    """The word of a launch line that is the code: ``pw.x`` of ``mpirun -n 8 pw.x -nk 4``.

    Parameters
    ----------
    words
        The launch line.
    names
        Regular expression of the names that the code's program has; without one of them, as of a script of your own,
        it is the last word that is a program.
    """
    named = [word for word in words if re.fullmatch(names, Path(word).name)]
    programs = [word for word in words if shutil.which(word) is not None]
    return (named or programs[::-1] or list(words))[0]


def ask_version(words: Sequence[str]) -> str:
    """What a program prints when it is asked for its version; nothing where it cannot be started or does not answer.

    Parameters
    ----------
    words
        The program and its options; its input is empty.
    """
    try:
        done = subprocess.run(words, input=b"", capture_output=True, timeout=60, check=False, cwd="/")
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode("utf-8", errors="replace")


def run_command(words: Sequence[str], *, folder: Path, stdin: Path | None, stdout: Path) -> int:
    """Run a code in its folder and return its exit code; the code ends when this process does, however it ends.

    Parameters
    ----------
    words
        The command.
    folder
        Where it runs.
    stdin, stdout
        Files for its input and its output.
    """
    process = start_command(words, folder=folder, stdin=stdin, stdout=stdout)
    try:
        return process.wait()
    finally:
        if process.poll() is None:
            process.end()


def start_command(words: Sequence[str], *, folder: Path, stdin: Path | int | None, stdout: Path) -> WatchedProgram:
    """Start a code in its folder; it ends when this process does, and whoever started it waits for it.

    Parameters
    ----------
    words, folder, stdin, stdout
        As in `run_command`; ``subprocess.PIPE`` for the input of a code that is kept alive.
    """
    environment = {**os.environ, **thread_settings()}
    with ExitStack() as files:
        source = stdin if isinstance(stdin, int) else files.enter_context((stdin or Path(os.devnull)).open("rb"))
        sink = files.enter_context(stdout.open("wb"))
        return WatchedProgram(
            words, folder=folder, stdin=source, stdout=sink, stderr=subprocess.STDOUT, env=environment,
            preexec_fn=_end_with_parent,
        )  # fmt: skip


def end_command(process: WatchedProgram, *, patience_s: float) -> None:
    """Wait until a code that was told to stop has ended; end it, and what it started, if it does not.

    Parameters
    ----------
    process
        What `start_command` started.
    patience_s
        How long it may take, in s.
    """
    try:
        process.wait(timeout=patience_s)
    except subprocess.TimeoutExpired:
        process.end()
        process.wait()


def _end_with_parent() -> None:
    """Ask the kernel to end the code even when this process is killed: the next run uses the same folder."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG

"""A finished calculation, its settings, and how these differ from those of a study."""

from __future__ import annotations

import lzma
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qdip_dft.engines.evaluation import Evaluation
from qdip_dft.engines.programs import read_text, unusable_output
from qdip_dft.errors import EngineError
from qdip_dft.model.structure import Arrangement

LOOSEST_CONVERGENCE_EV_PER_ATOM = 1e-6
"""The energy of a density that is called self-consistent may still change by this: for an interface of twenty atoms per
formula unit 0.02 meV, far below any term.  The package itself asks for a hundredth of it."""

RELATIVE_TOLERANCE = 1e-4
"""Numbers that agree to this are one setting, written in other units or with fewer digits: a cutoff of 800 eV that
differs by so little moves an energy by less than 0.01 meV per atom."""

PLACE_TOLERANCE = 0.01
"""The same for the place of a dipole layer, in parts of the cell: inside the vacuum it does not matter."""

NOT_SET = "not set"

PLACE = "place of the dipole layer"

DISPERSION = "dispersion in the code"

NO_DISPERSION = "none"

D3BJ_IN_CODE = "d3bj"
"""Two-body D3(BJ) with the parameters of the functional, the same sum as the package adds."""

PACKED = (".gz", ".bz2", ".xz")
"""Endings of compressed files."""

DAMAGED = (OSError, EOFError, zlib.error, lzma.LZMAError)
"""What reading a compressed file that is cut short or damaged raises."""

Value = str | int | float | bool | None | Sequence[Any]


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of a calculation by name.

    Parameters
    ----------
    physics
        What the energy depends on.
    numerics
        How the ground state is found; two calculations may differ in it.
    """

    physics: Mapping[str, Value]
    numerics: Mapping[str, Value]


@dataclass(frozen=True, slots=True)
class FinishedRun:
    """What a folder holds, atoms in the order of its files.

    Parameters
    ----------
    folder
        The folder.
    engine
        Name of the engine whose code ran.
    code_version
        Version that the output names.
    start, final
        Where the code started and where it ended.
    evaluation
        What the code says at the end, with whatever dispersion it added itself.
    settings
        Settings by name.
    n_steps
        Steps of a relaxation; 0 if nothing moved.
    is_relaxation
        Whether the code was to move atoms or the cell.
    held
        Sites that the code was told to hold.
    """

    folder: Path
    engine: str
    code_version: str
    start: Arrangement
    final: Arrangement
    evaluation: Evaluation
    settings: Settings
    n_steps: int = 0
    is_relaxation: bool = False
    held: frozenset[int] = frozenset()


def list_differences(theirs: Mapping[str, Value], ours: Mapping[str, Value]) -> Iterator[str]:
    """Yield every setting that differs, as ``name: theirs, the study has ours``.

    Parameters
    ----------
    theirs, ours
        Settings of the finished calculation and of the study's.
    """
    for name in [*ours, *(name for name in theirs if name not in ours)]:
        their_value, our_value = theirs.get(name, NOT_SET), ours.get(name, NOT_SET)
        if not _agree(name, their_value, our_value):
            yield f"{name}: {_say(their_value)}, the study has {_say(our_value)}"


def list_numerics(theirs: Mapping[str, Value], ours: Mapping[str, Value]) -> Iterator[str]:
    """Yield the numerics of a finished calculation that the package would have chosen otherwise, as ``name = value``.

    Parameters
    ----------
    theirs, ours
        Numerics of the finished calculation and of a run of the package.
    """
    for name, value in theirs.items():
        if not _agree(name, value, ours.get(name, NOT_SET)):
            yield f"{name} = {_say(value)}"


def _agree(name: str, first: Value, other: Value) -> bool:
    if isinstance(first, bool) or isinstance(other, bool):
        return first is other
    if isinstance(first, int | float) and isinstance(other, int | float):
        if name == PLACE:
            return abs((first - other + 0.5) % 1.0 - 0.5) <= PLACE_TOLERANCE
        return abs(first - other) <= RELATIVE_TOLERANCE * max(abs(first), abs(other))
    return first == other


def _say(value: Value) -> str:
    if isinstance(value, float):
        return f"{value:.8g}"
    return " ".join(map(_say, value)) if isinstance(value, list | tuple) else str(value)


def describe_mesh(mesh: Sequence[int], offset: Sequence[float] = (0.0, 0.0, 0.0)) -> str:
    """Return a mesh of k-points in words, such as ``2 x 2 x 1 around Γ``.

    Parameters
    ----------
    mesh
        Points along the reciprocal vectors.
    offset
        Distance of the first point from Γ, in steps of the mesh.
    """
    words = " x ".join(str(int(n)) for n in mesh)
    moved = [round(each % 1.0, 6) % 1.0 for each in offset]
    return f"{words} around Γ" if not any(moved) else f"{words} moved by {_say(moved)} steps"


def monkhorst_offset(mesh: Sequence[int]) -> list[float]:
    """Return how far the meshes of Monkhorst and Pack lie from Γ, in steps: half a step where a number is even."""
    return [0.0 if n % 2 else 0.5 for n in mesh]


def require_convergence(change_ev: float, n_atoms: int, output: Path) -> None:
    """Refuse a density whose energy still changed too much in its last step.

    Parameters
    ----------
    change_ev
        Last change of the energy, or the bound that the code gives for it, in eV.
    n_atoms
        Number of atoms.
    output
        File that says so.

    Raises
    ------
    EngineError
        With the change and the limit.
    """
    if not change_ev <= LOOSEST_CONVERGENCE_EV_PER_ATOM * n_atoms * (1.0 + 1e-6):
        raise unusable_output(
            output,
            f"its energy is self-consistent to {change_ev / n_atoms:.1e} eV per atom only,"
            f" {LOOSEST_CONVERGENCE_EV_PER_ATOM:g} are allowed",
        )


def require_equal(name: str, said: Value, asked: Value, *, output: Path, tolerance: float = 0.0) -> None:
    """Refuse an output that was not made from the input beside it.

    Parameters
    ----------
    name
        A setting.
    said, asked
        What the output and the input say.
    output
        The output.
    tolerance
        By how much numbers may differ, for the digits that an output shows.

    Raises
    ------
    EngineError
        If the two differ.
    """
    is_number = isinstance(said, int | float) and isinstance(asked, int | float)
    if said == asked or (is_number and abs(float(str(said)) - float(str(asked))) <= tolerance):
        return
    raise unusable_output(
        output, f"it was made by another input: {name} is {_say(said)}, the input beside it asks for {_say(asked)}"
    )


def find_one(folder: Path, mark: str, *, what: str, skip: Sequence[str] = ()) -> Path | None:
    """Return the one text file of a folder whose first 8 kB hold a mark; None if there is none.

    Parameters
    ----------
    folder
        Where to look.
    mark
        Words that only such a file has, in capitals or not.
    what
        What the file is, for the message.
    skip
        Endings of files that are no such file.

    Raises
    ------
    EngineError
        If there are several: nobody knows which belongs to the inputs.
    """
    found = [path for path in sorted(folder.iterdir()) if path.is_file() and not _plain_name(path).endswith(tuple(skip))
             and mark.lower() in read_head(path).lower()]  # fmt: skip
    if len(found) > 1:
        raise EngineError(
            f"{folder} holds {len(found)} files of {what}: {', '.join(path.name for path in found)}",
            limit="one calculation per folder",
            why="nobody knows which of them belongs to the inputs",
            remedy="move each calculation with its input into a folder of its own",
        )
    return found[0] if found else None


def read_all(path: Path) -> str:
    """Return the text of an output, compressed or not; nothing where there is no such file."""
    found = find_file(path)
    return read_text(found) if found.is_file() else ""


def read_head(path: Path) -> str:
    """Return the first 8 kB of a file, compressed or not, as text."""
    from monty.io import zopen

    with zopen(path, "rb") as file:
        return bytes(file.read(8192)).decode("utf-8", errors="replace")


def find_file(path: Path) -> Path:
    """A file of this name, or what it was compressed to; the name itself if there is neither."""
    names = (path, *(path.with_name(path.name + ending) for ending in PACKED))
    return next((name for name in names if name.is_file()), path)


def _plain_name(path: Path) -> str:
    return path.name.removesuffix(path.suffix) if path.suffix in PACKED else path.name

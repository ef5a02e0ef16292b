"""The atoms of a CP2K calculation: where its input puts them, where its restart file leaves them, which are held."""

from __future__ import annotations

import re
from collections.abc import Sequence
from io import StringIO
from pathlib import Path

import numpy as np

from qdip_dft.engines.evaluation import FloatArray
from qdip_dft.engines.programs import unusable_output
from qdip_dft.finished.codes.cp2k_words import SUBSYS, Line, factor_of, find_last, is_on, read_lines
from qdip_dft.finished.finished_run import find_file, read_all
from qdip_dft.model.structure import Arrangement, Presence

LISTED_DIGITS_ANG = 1e-5
"""An output lists places with six digits."""


def read_start(lines: Sequence[Line], folder: Path, text: str, output: Path) -> Arrangement:
    """Return the atoms of the input; where the output lists them it must be the same ones.

    Parameters
    ----------
    lines, folder
        The input and its folder.
    text, output
        The output and its file.

    Raises
    ------
    EngineError
        If they are not.
    """
    start = _read_atoms(lines, folder, output)
    said_species, said = _list_places(text)
    is_same = said_species == start.species and bool(np.abs(said - start.positions_ang).max() < LISTED_DIGITS_ANG)
    if not start.species or (said_species and not is_same):
        raise unusable_output(output, "its atoms are not those of the input beside it")
    return start


def _read_atoms(lines: Sequence[Line], folder: Path, source: Path) -> Arrangement:
    """Return the atoms of an input or of a restart file."""
    lattice_ang = _read_cell(lines, source)
    file = find_last(lines, f"{SUBSYS}TOPOLOGY/COORD_FILE_NAME")
    kinds, positions = _read_places(lines, source)
    species = tuple(element_of(lines, kind) for kind in kinds)
    presence = tuple(_find_presence(lines, kind) for kind in kinds)
    if file is not None and not species:
        species, positions = _read_file(find_file(folder / file.words[0]))
    if is_on(find_last(lines, f"{SUBSYS}COORD/SCALED")):
        positions = positions @ lattice_ang
    return Arrangement(species, positions, lattice_ang, presence if set(presence) - {Presence.ATOM} else ())


def _read_file(path: Path) -> tuple[tuple[str, ...], FloatArray]:
    from ase.io.extxyz import read_xyz

    if not path.is_file():
        raise unusable_output(path, "the coordinates that the input names are not there")
    atoms = next(iter(read_xyz(StringIO(read_all(path)), 0)))
    return tuple(atoms.get_chemical_symbols()), np.array(atoms.positions)


def _read_places(lines: Sequence[Line], output: Path) -> tuple[tuple[str, ...], FloatArray]:
    """Return kinds and places of the section COORD; scaled ones are not multiplied yet."""
    place = f"{SUBSYS}COORD/"
    unit = find_last(lines, f"{place}UNIT")
    factor = 1.0 if unit is None else factor_of(unit.words[0].strip("[]"), unit.path)
    rows = [
        line
        for line in lines
        if line.path.startswith(place) and line.path not in (place, f"{place}SCALED", f"{place}UNIT")
    ]
    try:
        positions = np.array([row.words[:3] for row in rows], dtype=np.float64) * factor
    except ValueError as error:
        raise unusable_output(output, "the atoms of its input cannot be read") from error
    return tuple(row.path.removeprefix(place) for row in rows), positions


def element_of(lines: Sequence[Line], kind: str) -> str:
    """Return the element of a kind, such as Pb of ``Pb1``."""
    stated = _find_word(lines, kind, "ELEMENT")
    return (stated.words[0] if stated else re.split(r"[^A-Za-z]", kind)[0]).capitalize()


def _find_presence(lines: Sequence[Line], kind: str) -> Presence:
    """Return what there is at the sites of a kind."""
    if not is_on(_find_word(lines, kind, "GHOST")):
        return Presence.ATOM
    basis_set = _find_word(lines, kind, "BASIS_SET")
    return Presence.ABSENT if basis_set is None or basis_set.words[-1].upper() == "NONE" else Presence.GHOST


def _find_word(lines: Sequence[Line], kind: str, word: str) -> Line | None:
    kinds = [line.path.split("/")[2] for line in lines if line.path.startswith(f"{SUBSYS}KIND ")]
    name = next((each for each in kinds if each.upper() == f"KIND {kind}".upper()), f"KIND {kind}")
    return find_last(lines, f"{SUBSYS}{name}/{word}")


def _list_places(text: str) -> tuple[tuple[str, ...], FloatArray]:
    """Return elements and places in Å of the atoms at the start, where the output lists them."""
    table = re.split(r"MODULE QUICKSTEP: +ATOMIC COORDINATES IN ANGSTROM", text, flags=re.IGNORECASE)
    rows = re.findall(
        r"^ +\d+ +\d+ ([A-Z][a-z]?) +\d+ +(-?\d+\.\d+) +(-?\d+\.\d+) +(-?\d+\.\d+) +\S+ +\S+$",
        table[1].split("SCF PARAMETERS")[0] if len(table) > 1 else "",
        flags=re.MULTILINE,
    )
    return tuple(row[0] for row in rows), np.array([row[1:] for row in rows], dtype=np.float64)


def _read_cell(lines: Sequence[Line], output: Path) -> FloatArray:
    from ase.cell import Cell

    try:
        vectors = [find_last(lines, f"{SUBSYS}CELL/{name}") for name in "ABC"]
        if all(vectors):
            return np.array([_vector(line) for line in vectors if line is not None])
        edges, angles = (find_last(lines, f"{SUBSYS}CELL/{name}") for name in ("ABC", "ALPHA_BETA_GAMMA"))
        if edges is not None:
            corners = [90.0] * 3 if angles is None else _vector(angles)
            return np.array(Cell.fromcellpar([*_vector(edges), *corners]))
    except (ValueError, KeyError, StopIteration) as error:
        raise unusable_output(output, "the cell in its input cannot be read") from error
    raise unusable_output(output, "its input does not state the cell in &CELL by A, B and C or by ABC")


def _vector(line: Line) -> list[float]:
    unit = line.words[0] if line.words[0][0] == "[" else ""
    return [Line("", (unit, word) if unit else (word,)).number for word in line.words if word[0] != "["]


def read_end(folder: Path, lines: Sequence[Line], start: Arrangement, output: Path) -> tuple[int, Arrangement]:
    """Return steps and final structure of a relaxation, to the digits of the restart file.

    Parameters
    ----------
    folder, lines
        The folder and its input.
    start
        The atoms at the start.
    output
        The output.

    Raises
    ------
    EngineError
        If the restart file or the trajectory is missing or holds other atoms.
    """
    project = " ".join((find_last(lines, "GLOBAL/PROJECT", "GLOBAL/PROJECT_NAME") or Line("", ("PROJECT",))).words)
    restart, trajectory = (find_file(folder / f"{project}{end}") for end in ("-1.restart", "-pos-1.xyz"))
    if not restart.is_file() or not trajectory.is_file():
        raise unusable_output(output, f"{restart.name} or {trajectory.name}, with the relaxed structure, is missing")
    end = _read_atoms(read_lines(restart), folder, restart)
    if end.species != start.species:
        raise unusable_output(restart, "it holds other atoms than the input")
    frames = len(re.findall(r"^ i = ", read_all(trajectory), flags=re.MULTILINE))
    return frames, end


def find_held(lines: Sequence[Line], n_atoms: int) -> frozenset[int]:
    """Return the sites that are fixed; a constraint of another kind is taken as one on all of them."""
    fixed = [line for line in lines if line.path.startswith("MOTION/CONSTRAINT/")]
    if not fixed:
        return frozenset()
    sites: set[int] = set()
    for line in fixed:
        if line.path == "MOTION/CONSTRAINT/FIXED_ATOMS/LIST":
            for word in line.words:
                first, _, last = word.partition("..")
                sites |= set(range(int(first) - 1, int(last or first)))
        elif not line.path.startswith("MOTION/CONSTRAINT/FIXED_ATOMS/") and line.path != "MOTION/CONSTRAINT/":
            return frozenset(range(n_atoms))
    return frozenset(sites)

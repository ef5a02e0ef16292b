"""The input of CP2K as a flat list: one line for each keyword, in order, with the sections before it.

pymatgen's reader forgets the parameters of sections and the order of repeated lines; its preprocessor (variables and
included files) is used.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from qdip_dft.engines.programs import unusable_output
from qdip_dft.errors import EngineError
from qdip_dft.finished.finished_run import read_all
from qdip_dft.units import BOHR_IN_ANG, RYDBERG_IN_EV

DFT = "FORCE_EVAL/DFT/"
SUBSYS = "FORCE_EVAL/SUBSYS/"

UNITS = {"ev": 1.0 / RYDBERG_IN_EV, "ry": 1.0, "hartree": 2.0, "k": 1.0, "angstrom": 1.0, "bohr": BOHR_IN_ANG}
"""Factors to Rydberg, K and Å."""


@dataclass(frozen=True, slots=True)
class Line:
    """A keyword, or a section with its parameters.

    Parameters
    ----------
    path
        Sections and keyword in capitals, joined by slashes; ends in a slash for a section.
    words
        What follows.
    """

    path: str
    words: tuple[str, ...]

    @property
    def number(self) -> float:
        """The one number of a keyword, in Rydberg, K or Å where a unit is written before it."""
        unit = next((word[1:-1].lower() for word in self.words if word[0] == "["), None)
        value = next(word for word in self.words if word[0] != "[")
        return float(value.lower().replace("d", "e")) * (1.0 if unit is None else factor_of(unit, self.path))


def factor_of(unit: str, path: str) -> float:
    """The factor of a unit to Rydberg, K or Å.

    Parameters
    ----------
    unit
        The unit, without brackets.
    path
        The keyword that has it, for the message.

    Raises
    ------
    EngineError
        If the unit is not known.
    """
    if unit.lower() in UNITS:
        return UNITS[unit.lower()]
    raise EngineError(
        f"the unit [{unit}] of {path} is not known",
        limit=f"known are {', '.join(UNITS)}",
        why="a number in another unit is another setting",
        remedy="write the keyword in one of these units and run the folder again",
    )


def read_lines(path: Path) -> tuple[Line, ...]:
    """Return the lines of an input file, with its variables and included files put in.

    Raises
    ------
    EngineError
        If its sections do not close.
    """
    from pymatgen.io.cp2k.utils import preprocessor

    return read_text(preprocessor(read_all(path), str(path.parent)), path)


def read_text(text: str, source: Path) -> tuple[Line, ...]:
    """Return the lines of the text of an input.

    Parameters
    ----------
    text
        The text.
    source
        Where it stands, for messages.
    """
    return tuple(_walk(text, source))


def _walk(text: str, source: Path) -> Iterator[Line]:
    sections: list[str] = []
    for raw in re.sub(r"\\\s*\n", " ", text).splitlines():
        words = re.sub(r"[!#].*", "", raw).split()
        if not words:
            continue
        if words[0].upper().startswith("&END"):
            if not sections:
                raise unusable_output(source, "its sections do not close")
            sections.pop()
        elif words[0].startswith("&"):
            name = words[0][1:].upper()
            parameters = words[1:]
            if name == "KIND" and parameters:
                name = f"KIND {parameters[0]}"
            sections.append(name)
            yield Line("/".join(sections) + "/", tuple(parameters))
        else:
            yield Line("/".join([*sections, words[0].upper()]), tuple(words[1:]))


def find_all(lines: Sequence[Line], path: str) -> list[Line]:
    """Return the lines of a path."""
    return [line for line in lines if line.path == path]


def find_last(lines: Sequence[Line], *paths: str) -> Line | None:
    """Return the last line of any of some paths, which CP2K uses; None if there is none."""
    return next((line for line in reversed(lines) if line.path in paths), None)


def is_on(line: Line | None, *, default: bool = False) -> bool:
    """Return what a switch says; a switch without a word is on."""
    if line is None:
        return default
    return not line.words or line.words[0].strip(".").upper() in ("T", "TRUE", "ON", "YES", "Y")

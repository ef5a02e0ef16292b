"""The pseudopotentials and basis sets that come with CP2K, and which of them belong together.

Goedecker-Teter-Hutter pseudopotentials fitted to PBE, and the MOLOPT basis sets that were optimised for them:
VandeVondele and Hutter, J. Chem. Phys. 2007, 127, 114105.  An element has pseudopotentials with more or fewer valence
electrons (``GTH-PBE-q4``, ``GTH-PBE-q22``); the one with the most electrons for which the family of basis sets has a
member is taken.  For lead that is q4: 5d stays in the core.  A family of basis sets is named by what comes before the
number of electrons, such as ``TZV2P-MOLOPT-PBE-GTH``.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from qdip_dft.engines.cp2k.output import KNOWN_MAJOR_VERSIONS
from qdip_dft.engines.programs import ask_version, no_version, read_text, require_known_version
from qdip_dft.errors import EngineError
from qdip_dft.model.calculation import PseudopotentialFile, PseudopotentialSet

VERSION_VARIABLE = "QDIP_CP2K_VERSION"
"""Environment variable with the version, for programs that cannot be asked."""

PROGRAM_NAMES = r"cp2k\S*"
"""Names of CP2K and its variants, such as ``cp2k.psmp``."""

DATA_VARIABLE = "CP2K_DATA_DIR"
"""CP2K's own variable for the folder of its data; the default is the folder that CP2K was built with."""

POTENTIAL_FILE = "POTENTIAL_UZH"
BASIS_FILES = ("BASIS_MOLOPT", "BASIS_MOLOPT_UZH")

INSTALL_LINE = (
    "install CP2K (Debian: apt install cp2k; conda: conda install -c conda-forge cp2k), or name its command:"
    ' export ATOMATE2_CP2K_CMD="mpirun -n 8 cp2k.psmp"'
)


@dataclass(frozen=True, slots=True)
class Kind:
    """What CP2K needs to know about an element.

    Parameters
    ----------
    potential
        Name of its pseudopotential.
    basis_set
        Name of its basis set.
    n_electrons
        Electrons outside the pseudopotential's core.
    """

    potential: str
    basis_set: str
    n_electrons: int


@cache
def describe_program(program: str) -> str:
    """Return what ``cp2k --version`` prints, with its folded lines joined."""
    return re.sub(r"\n {3}", "", ask_version([program, "--version"]))


def version_of(program: str) -> str:
    """Return the version of CP2K: the declared one, or the one that the program prints.

    Raises
    ------
    EngineError
        If the program names none, or one whose outputs are not known.
    """
    declared = os.environ.get(VERSION_VARIABLE)
    found = None if declared else re.search(r"CP2K version (\S+)", describe_program(program))
    if declared or found:
        version = declared or (found.group(1) if found else "")
        return require_known_version(version, code="CP2K", known=KNOWN_MAJOR_VERSIONS)
    remedy = f"declare it ({VERSION_VARIABLE}=2023.1) where the program runs in a container; else {INSTALL_LINE}"
    raise no_version(program, code="CP2K", remedy=remedy)


def data_folder(program: str) -> Path:
    """Return the folder with the pseudopotentials and basis sets.

    Raises
    ------
    EngineError
        If it is not there.
    """
    named = os.environ.get(DATA_VARIABLE)
    built_with = None if named else re.search(r'__DATA_DIR="([^"]+)"', describe_program(program))
    folder = Path(named or (built_with.group(1) if built_with else "/usr/share/cp2k"))
    absent = [name for name in (POTENTIAL_FILE, *BASIS_FILES) if not (folder / name).is_file()]
    if not absent:
        return folder
    raise EngineError(
        f"engine 'cp2k' finds no {', '.join(absent)}",
        limit=f"it looked in {folder}",
        why="without pseudopotentials and basis sets there is no energy",
        remedy=f"set {DATA_VARIABLE} to CP2K's folder `data` (Debian: apt install cp2k-data)",
    )


def find_kind(folder: Path, symbol: str, *, family: str) -> Kind:
    """Return pseudopotential and basis set of an element.

    Parameters
    ----------
    folder
        The folder with CP2K's data.
    symbol
        The element.
    family
        The family of basis sets, such as ``TZV2P-MOLOPT-PBE-GTH``.

    Raises
    ------
    EngineError
        If the family has none for it.
    """
    basis_sets, potentials = _basis_sets(folder, family), _potentials(folder)
    electrons = [n for element, n in potentials if element == symbol and (symbol, n) in basis_sets]
    if electrons:
        n = max(electrons)
        return Kind(potential=f"GTH-PBE-q{n}", basis_set=f"{family}-q{n}", n_electrons=n)
    raise EngineError(
        f"CP2K has no basis set {family} and PBE pseudopotential of {symbol} that belong together",
        limit=f"they must stand in {', '.join(BASIS_FILES)} and {POTENTIAL_FILE} of {folder}",
        why="a basis set made for another number of electrons gives wrong energies",
        remedy="choose another preset or another engine for this element",
    )


def describe_kinds(folder: Path, elements: Iterable[str], *, family: str) -> PseudopotentialSet:
    """Return pseudopotential and basis set of each element, with the hash of both entries.

    Parameters
    ----------
    folder, elements, family
        As in `find_kind`.
    """
    files = {}
    for symbol in sorted(set(elements)):
        kind = find_kind(folder, symbol, family=family)
        place = symbol, kind.n_electrons
        content = f"{_potentials(folder)[place]}\0{_basis_sets(folder, family)[place]}"
        name = f"{kind.potential} with {kind.basis_set}"
        files[symbol] = PseudopotentialFile(name=name, sha256=hashlib.sha256(content.encode()).hexdigest())
    return PseudopotentialSet(family=f"{POTENTIAL_FILE} with {family}", version="unknown", files=files)


@cache
def hash_of_family(folder: Path, family: str) -> str:
    """Return the SHA-256 of every entry that `find_kind` may choose; other entries of the files do not matter."""
    digest = hashlib.sha256()
    for entries in (_potentials(folder), _basis_sets(folder, family)):
        for (element, n), text in sorted(entries.items()):
            digest.update(f"{element} q{n} {text}\0".encode())
    return digest.hexdigest()


Entries = dict[tuple[str, int], str]
"""The numbers of an entry by element and valence electrons, spaces normalised."""


@cache
def _potentials(folder: Path) -> Entries:
    return _entries(folder / POTENTIAL_FILE, r"GTH-PBE")


@cache
def _basis_sets(folder: Path, family: str) -> Entries:
    return {key: text for name in BASIS_FILES for key, text in _entries(folder / name, re.escape(family)).items()}


def _entries(path: Path, family: str) -> Entries:
    """Return the entries of a data file one of whose names is that of the family with a number of electrons."""
    found = {}
    for element, names, body in _split_entries(path):
        if electrons := re.search(rf" {family}-q(\d+)(?: |$)", names):
            found[element, int(electrons[1])] = " ".join(body.split())
    return found


def find_entry(path: Path, symbol: str, name: str) -> str | None:
    """Return the numbers of the entry of an element that has this among its names, spaces normalised; None without."""
    bodies = (body for element, names, body in _split_entries(path) if element == symbol and name in names.split())
    return next((" ".join(body.split()) for body in bodies), None)


@cache
def _split_entries(path: Path) -> tuple[tuple[str, str, str], ...]:
    parts = re.split(r"^ *([A-Z][a-z]?)((?: +[A-Z][\w-]+)+) *$", _without_comments(path), flags=re.MULTILINE)
    return tuple(zip(parts[1::3], parts[2::3], parts[3::3], strict=True))


def _without_comments(path: Path) -> str:
    return re.sub(r" *[#!].*$", "", read_text(path), flags=re.MULTILINE)

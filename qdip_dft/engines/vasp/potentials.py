"""The PAW potentials of VASP: licensed files of the user, found as pymatgen finds them.

pymatgen's setting ``PMG_VASP_PSP_DIR`` (environment, or ``~/.config/.pmgrc.yaml``) names the folder; in it every
release has a folder, such as ``POT_GGA_PAW_PBE_54``, with files ``POTCAR.Pb_d`` or ``Pb_d/POTCAR``, compressed or not.
Which potential stands for an element (``Pb_d`` for lead) is the choice of the Materials Project (pymatgen's
``MPScanRelaxSet``).  Nothing of these files leaves the user's machine but their titles and hashes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

from qdip_dft.errors import EngineError
from qdip_dft.model.calculation import PseudopotentialFile, PseudopotentialSet

FAMILIES = ("PBE_54", "PBE_64", "PBE_52", "PBE")
"""Releases of the PBE potentials, the default first."""

SETTING = "PMG_VASP_PSP_DIR"


def release_folder(family: str) -> Path:
    """Return the folder of one release of the potentials.

    Raises
    ------
    EngineError
        If it is not set or does not exist.
    """
    from pymatgen.core import SETTINGS
    from pymatgen.io.vasp.inputs import PotcarSingle

    root: str | None = SETTINGS.get(SETTING)
    name: str = SETTINGS.get("PMG_VASP_PSP_SUB_DIRS", {}).get(family, PotcarSingle.functional_dir[family])
    folder = Path(root).expanduser() / name if root else None
    if folder is not None and folder.is_dir():
        return folder
    raise EngineError(
        f"engine 'vasp' finds no potentials {family}",
        limit=f"it looked in {folder}" if folder else f"pymatgen's setting {SETTING} is not set",
        why="without the POTCAR files of your licence there is no energy, and their hash is part of every key",
        remedy=f"set {SETTING} to the folder that holds {name} (pmg config -p), or write inputs --without-potentials",
    )


def potential_symbols() -> dict[str, str]:
    """Return the potential of every element, such as ``Pb_d`` for lead."""
    from pymatgen.io.vasp.sets import MPScanRelaxSet

    return dict(MPScanRelaxSet.CONFIG["POTCAR"])


def choose_potentials(species: Sequence[str]) -> list[str]:
    """Return the potential of each element, in the order given.

    Raises
    ------
    EngineError
        If an element has none.
    """
    known = potential_symbols()
    for symbol in species:
        if symbol not in known:
            raise _no_potential(symbol, "the Materials Project names no potential for it")
    return [known[symbol] for symbol in species]


def describe_potentials(family: str, elements: Iterable[str]) -> PseudopotentialSet:
    """Return title and hash of the potential of each element of a release."""
    folder, chosen = release_folder(family), sorted(set(elements))
    texts = [read_potential(folder, symbol) for symbol in choose_potentials(chosen)]
    files = [PseudopotentialFile(name=title_of(text), sha256=hash_of(text)) for text in texts]
    return PseudopotentialSet(family="POTCAR", version=family, files=dict(zip(chosen, files, strict=True)))


def read_potential(folder: Path, symbol: str) -> str:
    """Return the text of a POTCAR file.

    Raises
    ------
    EngineError
        If there is none.
    """
    path = _find_potential(folder, symbol)
    if path is None:
        raise _no_potential(symbol, f"there is neither POTCAR.{symbol} nor {symbol}/POTCAR in {folder}")
    return _read(path)


def title_of(text: str) -> str:
    """Return the first line of a POTCAR file, such as ``PAW_PBE Pb_d 06Sep2000``."""
    return text.split("\n", maxsplit=1)[0].strip()


def hash_of(text: str) -> str:
    """Return the SHA-256 of a POTCAR file's text."""
    return hashlib.sha256(text.encode()).hexdigest()


@cache
def hash_of_release(folder: Path) -> str:
    """Return the hash of the chosen potentials of all elements that a release folder holds."""
    digest = hashlib.sha256()
    for symbol in sorted(potential_symbols().values()):
        path = _find_potential(folder, symbol)
        if path is not None:
            digest.update(f"{symbol}\0{hash_of(_read(path))}\0".encode())
    return digest.hexdigest()


def _find_potential(folder: Path, symbol: str) -> Path | None:
    from monty.os.path import zpath

    for path in (folder / f"POTCAR.{symbol}", folder / symbol / "POTCAR"):
        found = Path(zpath(str(path)))
        if found.is_file():
            return found
    return None


def _read(path: Path) -> str:
    from monty.io import zopen

    with zopen(path, "rt", encoding="utf-8", errors="replace") as file:
        return str(file.read())


def _no_potential(symbol: str, reason: str) -> EngineError:
    return EngineError(
        f"engine 'vasp' has no potential {symbol}",
        limit=reason,
        why="another potential is another level of theory",
        remedy=f"add the file of your licence (pmg config -p fills the folder of {SETTING})",
    )

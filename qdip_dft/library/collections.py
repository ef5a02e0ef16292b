"""Finds crystals, molecules and studies: the user's file first, then the packaged copy, then the checkout."""

from __future__ import annotations

import difflib
import importlib.resources
import re
from functools import cache
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qdip_dft.errors import StructureError, StudyError
from qdip_dft.runtime.installation import install_hint
from qdip_dft.runtime.names import is_file
from qdip_dft.yaml_text import parse_yaml

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pymatgen.core import Molecule

    from qdip_dft.model.material import Catalogue


_SPELLINGS = {
    "CH3NH3": "MA", "HC(NH2)2": "FA", "CH(NH2)2": "FA", "α": "alpha", "β": "beta", "γ": "gamma", "δ": "delta",
}  # fmt: skip


def load_catalogue() -> Catalogue:
    """Return the list of contents of the crystal library.

    Raises
    ------
    StructureError
        When the library is missing or its list cannot be read.
    """
    return _read_catalogue(find_collection("structures") / "catalogue.yaml")


def list_filed_phases() -> list[dict[str, Any]]:
    """Return the phases of the crystal library as they are filed.

    Nothing is checked, so that a list of them appears at once; `load_catalogue` checks.
    """
    phases: list[dict[str, Any]] = _read_filed_catalogue(find_collection("structures") / "catalogue.yaml")["phases"]
    return phases


def find_structure(name_or_path: str | Path) -> Path:
    """Return the file of a crystal: the user's own file if there is one of that path, else the library's.

    Raises
    ------
    StructureError
        When there is no such file and no such id; the nearest ids are named.
    """
    if is_file(name_or_path):
        return Path(name_or_path)
    catalogue = load_catalogue()
    entry = catalogue.find_entry(str(name_or_path))
    if entry is None:
        raise StructureError(
            f"`{name_or_path}` is neither a structure file nor a phase of the library",
            limit=f"the nearest ids are {_name_nearest(str(name_or_path), catalogue.ids)}",
            why="without its crystal nothing can be built",
            remedy="take an id of `qdip structures list` or the path of a CIF, POSCAR or extended XYZ file;"
            " in a study it starts from the study's folder",
        )
    return find_collection("structures") / entry.file


def load_molecule(molecule_id: str) -> Molecule:
    """Read a molecular ion of the library, such as ``FA``, with its centre of mass at the origin.

    Raises
    ------
    StructureError
        When the library has no such molecule.
    """
    from pymatgen.core import Molecule

    catalogue = load_catalogue()
    found = next((molecule for molecule in catalogue.molecules if molecule.id == molecule_id), None)
    if found is None:
        known = tuple(molecule.id for molecule in catalogue.molecules)
        raise StructureError(
            f"`{molecule_id}` is not a molecule of the library",
            limit=f"known are {', '.join(known)}",
            why="its geometry cannot be looked up",
            remedy="use one of these",
        )
    atoms = Molecule.from_file(find_collection("structures") / found.file)
    return Molecule(atoms.species, atoms.cart_coords, charge=found.charge)


def list_studies() -> tuple[Path, ...]:
    """Return the files of all ready-made studies, in alphabetical order."""
    return tuple(sorted(find_collection("workflows").glob("*.yaml")))


def list_campaigns() -> tuple[Path, ...]:
    """Return the files of all ready-made campaigns, in alphabetical order."""
    return tuple(sorted((find_collection("workflows") / "campaigns").glob("*.yaml")))


def find_study(name_or_path: str | Path) -> Path:
    """Return the file of a study or campaign: the user's own of that path, else the library's of that name.

    Raises
    ------
    StudyError
        When there is neither; the nearest names are given.
    """
    if is_file(name_or_path):
        return Path(name_or_path)
    studies = {path.stem: path for path in list_studies()}
    studies |= {f"{path.parent.name}/{path.stem}": path for path in list_campaigns()}
    name = str(name_or_path).removesuffix(".yaml")
    if name not in studies:
        raise StudyError(
            f"`{name_or_path}` is neither a study file nor the name of a ready-made study",
            limit=f"the nearest names are {_name_nearest(name, tuple(studies))}",
            why="without a study there is nothing to compute",
            remedy=f"give the path of a YAML file or one of: {', '.join(studies)}",
        )
    return studies[name]


def find_collection(name: str) -> Path:
    """Return the data folder of that name: the wheel's copy, else the one at the root of the checkout."""
    package = Path(str(importlib.resources.files("qdip_dft")))
    for root in (package / "_collections", package.parent):
        if (root / "structures" / "catalogue.yaml").is_file():
            return root / name
    raise StructureError(
        "the crystal library is missing from this installation",
        limit=f"neither {package / '_collections'} nor {package.parent} holds structures/catalogue.yaml",
        why="no phase can be looked up",
        remedy=f"install it again: {install_hint()}",
    )


@cache
def _read_catalogue(path: Path) -> Catalogue:
    from qdip_dft.model.material import Catalogue

    try:
        return Catalogue.model_validate(_read_filed_catalogue(path))
    except ValueError as error:
        raise _unreadable_catalogue(path, error) from error


def _read_filed_catalogue(path: Path) -> Any:
    import yaml

    try:
        return parse_yaml(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise _unreadable_catalogue(path, error) from error


def _unreadable_catalogue(path: Path, error: Exception) -> StructureError:
    return StructureError(
        f"the catalogue {path} cannot be read",
        limit=" ".join(str(error).split())[:400],
        why="no phase can be looked up",
        remedy="repair the file; `python scripts/build_structures.py` writes it anew in a checkout",
    )


def _name_nearest(name: str, known: Iterable[str]) -> str:
    """The names of the same compound or, where there is none, those most like the one given; or a few of all."""
    name = _spell_as_library(name)
    lowered = {candidate.lower(): candidate for candidate in known}
    same = [candidate for candidate in lowered.values() if _have_one_formula(name, candidate)]
    if same:
        return ", ".join(sorted(same, key=lambda candidate: -_compare_phases(name, candidate))[:5])
    nearest = difflib.get_close_matches(name.lower(), lowered, n=3, cutoff=0.4) or list(lowered)[:5]
    return ", ".join(lowered[candidate] for candidate in nearest) or "none at all"


def _compare_phases(name: str, known: str) -> float:
    """How much a word of a name is like one for the phase in a known name, from 0 to 1: ``gama`` and ``gamma``."""
    words, phases = re.split(r"[^a-z0-9.]+", name.lower()), known.lower().split("-")[1:]
    return max((difflib.SequenceMatcher(None, *pair).ratio() for pair in product(words, phases)), default=1.0)


def _have_one_formula(name: str, known: str) -> bool:
    """Whether two names hold the same compound, whatever stands around it: ``α-CsPbI3`` and ``CsPbI3-delta``."""
    words, formula = re.split(r"[^A-Za-z0-9.]+", name), known.partition("-")[0]
    own = _read_formula(formula)
    return formula.lower() in [word.lower() for word in words] or (bool(own) and own in map(_read_formula, words))


def count_atoms(formula: str) -> dict[str, float]:
    """The atoms of a formula whose ions may be molecules of the library: ``FAPbI3``; empty for no formula."""
    from pymatgen.core import Composition

    for molecule in sorted(load_catalogue().molecules, key=lambda molecule: -len(molecule.id)):
        formula = formula.replace(molecule.id, f"({molecule.formula.replace(' ', '')})")
    try:
        return {str(element): float(amount) for element, amount in Composition(formula).items()}
    except ValueError:
        return {}


def _spell_as_library(name: str) -> str:
    """A name with organic cations and Greek letters as in the library: ``α-CH3NH3PbI3`` is ``alpha-MAPbI3``."""
    for written, filed in _SPELLINGS.items():
        name = name.replace(written, filed)
    return name


def _read_formula(word: str) -> dict[str, float]:
    """Ions and their amounts in a formula, in any order; empty for another word."""
    part = r"(PEA|MA|FA|[A-Z][a-z]?)(\d*\.?\d*)"
    amounts: dict[str, float] = {}
    for ion, amount in re.findall(part, word) if re.fullmatch(f"({part})+", word) else ():
        amounts[ion] = amounts.get(ion, 0.0) + float(amount if amount.strip(".") else 1)
    return amounts

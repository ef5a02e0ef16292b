"""Gives a crystal its formula units and formal charges."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from qdip_dft.errors import StructureError
from qdip_dft.library.collections import find_structure, load_catalogue
from qdip_dft.library.contacts import find_molecules, name_atoms
from qdip_dft.library.reading import read_structure
from qdip_dft.model.crystal import CrystalRecord
from qdip_dft.model.elements import CHALCOGENIDES, HALIDES
from qdip_dft.model.material import CatalogueEntry, Crystal
from qdip_dft.model.structure import StructureRecord

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pymatgen.core import Structure

COMMON_CHARGES: dict[str, int] = (
    dict.fromkeys(("Li", "Na", "K", "Rb", "Cs", "Ag", "Cu"), 1)
    | dict.fromkeys(("Mg", "Ca", "Sr", "Ba", "Zn", "Cd", "Hg", "Ge", "Sn", "Pb"), 2)
    | dict.fromkeys(("Al", "Ga", "In", "Sb", "Bi"), 3)
    | dict.fromkeys(HALIDES, -1)
    | dict.fromkeys(CHALCOGENIDES, -2)
)
"""Formal charge in e that an element of a user's file is given when nothing else is said."""


def load_crystal(id_or_path: str | Path, *, formal_charges: Mapping[str, int] | None = None) -> Crystal:
    """Read a crystal in the axes of its file and give it formula units and formal charges.

    Parameters
    ----------
    id_or_path
        A catalogue id, or the path of a CIF, POSCAR or extended XYZ file.
    formal_charges
        Charges in e of elements or molecular cations, over those of the catalogue or of ``COMMON_CHARGES``.

    Raises
    ------
    StructureError
        When it is unknown, unreadable, partially occupied, empty, charged or has atoms on top of each other.
    """
    path = find_structure(id_or_path)
    structure = read_structure(path)
    entry = None if Path(id_or_path).is_file() else load_catalogue().find_entry(str(id_or_path))
    ions = count_ions(structure, path.name)
    charges = _choose_charges(ions, entry, formal_charges or {}, path.name)
    _require_neutral(ions, charges, path.name)
    record = CrystalRecord(
        id=path.stem if entry is None else entry.id,
        structure=StructureRecord.from_pymatgen(structure),
        formula_units=math.gcd(*ions.values()) if entry is None else entry.formula_units,
        formal_charges=charges,
        bulk_modulus_gpa=None if entry is None else entry.bulk_modulus_gpa,
    )
    return Crystal(record, entry)


def load_crystal_record(id_or_path: str | Path) -> CrystalRecord:
    """Return a crystal of the library or of a file as a calculation carries it; errors as of `load_crystal`."""
    return load_crystal(id_or_path).record


def count_ions(structure: Structure, name: str) -> dict[str, int]:
    """Count molecular cations by short name and all other atoms by element."""
    molecules = find_molecules(structure)
    inside = {index for molecule in molecules for index in molecule}
    counts = Counter(site.specie.symbol for index, site in enumerate(structure) if index not in inside)
    for molecule in molecules:
        entry = load_catalogue().find_molecule(name_atoms(structure, molecule))
        if entry is None:
            raise StructureError(
                f"{name} holds a molecule {name_atoms(structure, molecule)}",
                limit=f"known are {', '.join(f'{known.id} ({known.formula})' for known in load_catalogue().molecules)}",
                why="its formal charge is unknown, and hydrogens may be missing or doubled",
                remedy="add the missing hydrogens or remove the alternative positions of a disordered molecule",
            )
        counts[entry.id] += 1
    return dict(counts)


def _choose_charges(
    ions: Mapping[str, int], entry: CatalogueEntry | None, given: Mapping[str, int], name: str
) -> dict[str, int]:
    """Return the formal charge of each ion: the given one, else the catalogue's, else the common one."""
    molecules = {molecule.id: molecule.charge for molecule in load_catalogue().molecules}
    usual = entry.formal_charges if entry is not None else COMMON_CHARGES | molecules
    known = dict.fromkeys(ions, 0) if len(ions) == 1 and entry is None else usual
    charges = {**known, **given}
    missing = [ion for ion in ions if ion not in charges]
    if missing:
        raise StructureError(
            f"the formal charge of {', '.join(missing)} in {name} is not known",
            limit=f"known are {', '.join(usual)}",
            why="slabs and interfaces are balanced by formal charges",
            remedy="give it in `formal_charges`",
        )
    return {ion: charges[ion] for ion in ions}


def _require_neutral(ions: Mapping[str, int], charges: Mapping[str, int], name: str) -> None:
    total = sum(amount * charges[ion] for ion, amount in ions.items())
    if total != 0:
        listed = ", ".join(f"{amount} {ion} ({charges[ion]:+d})" for ion, amount in ions.items())
        raise StructureError(
            f"the formal charges of {name} sum to {total:+d} e: {listed}",
            limit="a crystal is neutral, 0 e per cell",
            why="slabs and interfaces are balanced by formal charges, which must start from zero",
            remedy="look for missing atoms in the file, or give the right charges in `formal_charges`",
        )

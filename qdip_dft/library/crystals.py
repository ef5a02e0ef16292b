"""Gives a crystal its formula units and formal charges."""

from __future__ import annotations

import math
import re
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from qdip_dft.errors import StructureError
from qdip_dft.library.charges import choose_charges
from qdip_dft.library.collections import find_structure, load_catalogue
from qdip_dft.library.contacts import find_molecules, name_atoms
from qdip_dft.library.conventional import find_conventional
from qdip_dft.library.reading import MAX_HEIGHT_ANG, read_file, read_filed, read_text
from qdip_dft.library.second_reader import require_size
from qdip_dft.model.crystal import CrystalRecord
from qdip_dft.model.material import Crystal, MoleculeEntry
from qdip_dft.model.structure import StructureRecord
from qdip_dft.runtime.names import CHOICE, is_file, split_choice

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pymatgen.core import Structure


def load_crystal(
    id_or_path: str | Path,
    *,
    formal_charges: Mapping[str, int] | None = None,
    molecules: Sequence[MoleculeEntry] = (),
) -> Crystal:
    """Read a crystal and give it formula units and formal charges; a user's file in its conventional cell.

    Parameters
    ----------
    id_or_path
        A catalogue id, or the path of a CIF, POSCAR or extended XYZ file; of several crystals one is chosen behind
        ``#``, by the name of its block or by its number from 1.
    formal_charges
        Charges in e of elements or molecular ions, over those of the catalogue, of the file, or the common ones.
    molecules
        Molecular ions besides those of the catalogue.

    Raises
    ------
    StructureError
        When it is unknown, unreadable, partially occupied, empty, charged, has atoms on top of each other or a molecule
        that is not known.

    Examples
    --------
    >>> crystal = load_crystal("CsPbI3-gamma").record
    >>> crystal.formula_units, crystal.structure.n_atoms, crystal.formal_charges["Pb"]
    (4, 20, 2)
    >>> crystal.structure.to_pymatgen().composition.reduced_formula
    'CsPbI3'
    """
    file, choice = split_choice(id_or_path)
    path = find_structure(file)
    entry = None if is_file(file) else load_catalogue().find_entry(str(file))
    held = read_file(path, choice) if entry is None else read_filed(path)
    structure, converted = (held.structure, "") if entry is not None else find_conventional(held.structure)
    ions = count_ions(structure, path.name, molecules=molecules)
    known = {each.id: each.charge for each in (*load_catalogue().molecules, *molecules)}
    charges, chosen = choose_charges(
        ions,
        name=path.name if entry is None else entry.id,
        given=formal_charges or {},
        known={ion: charge for ion, charge in known.items() if ion in ions} if entry is None else entry.formal_charges,
        states=held.oxidation_states,
    )
    record = CrystalRecord(
        id=_name_file(path, choice) if entry is None else entry.id,
        structure=StructureRecord.from_pymatgen(structure),
        formula_units=math.gcd(*ions.values()) if entry is None else entry.formula_units,
        formal_charges=charges,
        bulk_modulus_gpa=None if entry is None else entry.bulk_modulus_gpa,
    )
    chosen = f"formal charges {chosen}" if chosen else ""
    return Crystal(record, entry, tuple(filter(None, (held.remark, converted, chosen))))


def _name_file(path: Path, choice: str) -> str:
    """What a file's crystal is called: short, but never like one of the library."""
    name = path.name if path.stem in load_catalogue().ids else path.stem
    return f"{name}{CHOICE}{choice}" if choice else name


def load_crystal_record(id_or_path: str | Path) -> CrystalRecord:
    """Return a crystal of the library or of a file as a calculation carries it; errors as of `load_crystal`."""
    return load_crystal(id_or_path).record


def count_ions(structure: Structure, name: str, *, molecules: Sequence[MoleculeEntry] = ()) -> dict[str, int]:
    """Count molecular ions by short name and all other atoms by element.

    Parameters
    ----------
    structure
        The crystal.
    name
        What errors call it.
    molecules
        Molecular ions besides those of the catalogue.

    Raises
    ------
    StructureError
        If a molecule is none of them.
    """
    found = find_molecules(structure)
    inside = {index for molecule in found for index in molecule}
    counts = Counter(site.specie.symbol for index, site in enumerate(structure) if index not in inside)
    known = {each.formula: each.id for each in (*load_catalogue().molecules, *molecules)}
    for molecule in found:
        formula = name_atoms(structure, molecule)
        if formula not in known:
            raise _unknown_molecule(formula, name)
        counts[known[formula]] += 1
    return dict(counts)


def read_molecule(path: Path, charge: int) -> MoleculeEntry:
    """Read a molecular ion of a user's XYZ file.

    Parameters
    ----------
    path
        The file.
    charge
        Its formal charge in e.

    Raises
    ------
    StructureError
        If the file cannot be read, or its atoms are not one molecule.
    """
    from pymatgen.core import Lattice, Molecule, Structure

    try:
        atoms = Molecule.from_str(read_text(path), fmt="xyz")
    except StructureError:
        raise
    except Exception as error:  # the readers of pymatgen and ASE raise of every kind on a damaged file
        raise _no_molecule(path, f"it cannot be read ({type(error).__name__})") from error
    require_size(len(atoms), path.name)
    span_ang = float(np.ptp(atoms.cart_coords, axis=0).max())
    size_ang = span_ang + 20
    if not size_ang < MAX_HEIGHT_ANG:
        raise _no_molecule(path, f"its atoms lie up to {span_ang:.3g} Å apart")
    boxed = Structure(Lattice.cubic(size_ang), atoms.species, atoms.cart_coords, coords_are_cartesian=True)
    whole = find_molecules(boxed)
    if len(whole) != 1 or len(whole[0]) != len(boxed):
        raise _no_molecule(path, f"its {len(boxed)} atoms form {len(whole)} molecules")
    formula = name_atoms(boxed, whole[0])
    label = formula.replace(" ", "")
    return MoleculeEntry(
        id=re.sub(r"([A-Za-z])1(?=[A-Z]|$)", r"\1", label),
        name=path.stem,
        formula=formula,
        charge=charge,
        file=path.name,
        source="the user's file",
        licence="the user's",
    )


def _no_molecule(path: Path, found: str) -> StructureError:
    return StructureError(
        f"{path.name} holds no molecular ion: {found}",
        limit="an XYZ file of one molecule, all its atoms bonded to each other, hydrogens included",
        why="it tells the atoms that are moved and turned as one",
        remedy="correct the file: number of atoms, a line of words, then element and place in Å of each atom",
    )


def _unknown_molecule(formula: str, name: str) -> StructureError:
    """What is the matter with a molecule: hydrogens missing or too many, water, or not known."""
    catalogue = load_catalogue()
    given = "if it is meant, give it in the study, such as `molecules: [{file: molecule.xyz, charge: 1}]`"
    listed = f"known are {', '.join(f'{known.id} ({known.formula})' for known in catalogue.molecules)}"
    why = "its formal charge is not known, and a molecule that is not whole has another energy"
    if formula == "H2 O1":
        return StructureError(
            f"{name} holds a molecule of water, H2 O1",
            limit="a perovskite film is dry; " + listed,
            why="a hydrate is another compound than the host that is asked about",
            remedy="remove the water from the file; if the hydrate is meant, give it in the study:"
            " `molecules: [{file: water.xyz, charge: 0}]`",
        )
    atoms = _count_atoms(formula)
    for known in catalogue.molecules:
        own = _count_atoms(known.formula)
        if {**own, "H": 0} == {**atoms, "H": 0}:
            number, needed = atoms.get("H", 0), own["H"]
            word = "hydrogens are missing" if number < needed else "there are too many hydrogens"
            return StructureError(
                f"{name} holds a molecule {formula}, {known.id} with {number} of {needed} hydrogens: {word}",
                limit=listed,
                why=why,
                remedy=f"add the missing hydrogens to {known.id}"
                if number < needed
                else f"remove the alternative positions of a disordered {known.id}, or {given}",
            )
    if "H" not in atoms and {"C", "N"} <= set(atoms) and len(atoms) == 2:
        given = f"add the missing hydrogens if it is a cation; {given}"
    return StructureError(f"{name} holds a molecule {formula}, which is not known", limit=listed, why=why, remedy=given)


def _count_atoms(formula: str) -> dict[str, int]:
    """The atoms of a molecule's formula, such as ``C1 H5 N2``."""
    return {symbol: int(amount) for symbol, amount in re.findall(r"([A-Z][a-z]?)(\d+)", formula)}

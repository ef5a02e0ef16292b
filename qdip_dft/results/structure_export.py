"""Structures for other programs: CIF, POSCAR and extended XYZ, with the part and the ion of every atom kept.

    CIF      site label such as ``Pb12_film_7``: element and site, part, ion
    POSCAR   the same label behind each coordinate line; atoms grouped by element, as VASP's POTCAR needs it
    extXYZ   columns ``part``, ``ion`` and ``ion_label``

Sites and ions are counted from 0 in the order of the package; coordinates are not wrapped, so molecules stay whole.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from qdip_dft.builders.ions import MOLECULAR_IONS, IonicCrystal
from qdip_dft.errors import ResultsError, StructureError
from qdip_dft.library.reading import read_structure
from qdip_dft.model.molecules import find_molecules
from qdip_dft.model.structure import StructureRecord

if TYPE_CHECKING:
    from ase import Atoms

NO_PART = "bulk"
"""The part of every atom of a structure that is one piece."""

COORDINATE_DIGITS = 12
"""Digits after the point of a fractional coordinate."""


class StructureFormat(StrEnum):
    """The formats that structures are written in."""

    CIF = "cif"
    """Crystallographic Information File, all sites in P 1."""
    POSCAR = "vasp"
    """VASP 5, direct coordinates."""
    EXTXYZ = "extxyz"
    """Extended XYZ of ASE."""


FORMAT_OF_SUFFIX = {
    ".cif": StructureFormat.CIF,
    ".vasp": StructureFormat.POSCAR,
    ".poscar": StructureFormat.POSCAR,
    ".extxyz": StructureFormat.EXTXYZ,
    ".xyz": StructureFormat.EXTXYZ,
}
"""Formats by the ending of a file name."""


@dataclass(frozen=True, slots=True)
class LabelledStructure:
    """A structure whose atoms know their part and their ion.

    Parameters
    ----------
    record
        The atoms; molecules are whole, not split by the cell's boundaries.
    parts
        Part of each atom, such as ``dot``, ``film`` or ``passivation``.
    ions
        Ion of each atom, counted from 0.
    ion_labels
        Label of each ion: an element or a molecule such as ``FA``.
    faces
        Chemical layers of the film towards the dot and away from it, as its termination names them; None: not known.
    """

    record: StructureRecord
    parts: tuple[str, ...]
    ions: tuple[int, ...]
    ion_labels: tuple[str, ...]
    faces: tuple[str, str] | None = None

    def label_sites(self) -> tuple[str, ...]:
        """Return a unique label of each site, such as ``Pb12_film_7``."""
        rows = zip(self.record.species, self.parts, self.ions, strict=True)
        return tuple(f"{symbol}{site}_{part}_{ion}" for site, (symbol, part, ion) in enumerate(rows))


def label_structure(
    record: StructureRecord, *, parts: Sequence[str] = (), faces: tuple[str, str] | None = None
) -> LabelledStructure:
    """Return a structure with its ions found and its molecules made whole.

    Parameters
    ----------
    record
        The atoms.
    parts
        Part of each atom: one word without blanks; empty: all ``bulk``.
    faces
        Chemical layers of the film towards the dot and away from it; None: not known.

    Raises
    ------
    StructureError
        If there is not one part per atom, or a part is no single word.
    """
    parts = tuple(parts) or (NO_PART,) * record.n_atoms
    _require_parts(parts, record.n_atoms)
    lattice, coordinates = np.array(record.lattice_ang), np.array(record.frac_coords)
    molecules = find_molecules(record.species, coordinates @ lattice, lattice)
    for molecule in molecules:
        coordinates[list(molecule.sites)] += molecule.cells
    first_of = {site: molecule.sites[0] for molecule in molecules for site in molecule.sites}
    owners = [first_of.get(site, site) for site in range(record.n_atoms)]
    numbers = {owner: number for number, owner in enumerate(dict.fromkeys(owners))}
    sites: dict[int, list[str]] = {number: [] for number in numbers.values()}
    for site, owner in enumerate(owners):
        sites[numbers[owner]].append(record.species[site])
    return LabelledStructure(
        record=record.model_copy(update={"frac_coords": tuple(map(tuple, coordinates.tolist()))}),
        parts=parts,
        ions=tuple(numbers[owner] for owner in owners),
        ion_labels=tuple(_name_ion(sites[number]) for number in range(len(sites))),
        faces=faces,
    )


def label_crystal(crystal: IonicCrystal, *, ion_parts: Sequence[str]) -> LabelledStructure:
    """Return a built crystal, whose ions are known, with the part of each ion.

    Raises
    ------
    StructureError
        If there is not one part per ion, or a part is no single word.
    """
    _require_parts(ion_parts, len(crystal.ions))
    ions = tuple(number for number, ion in enumerate(crystal.ions) for _ in ion.species)
    return LabelledStructure(
        record=crystal.to_record(),
        parts=tuple(str(ion_parts[number]) for number in ions),
        ions=ions,
        ion_labels=tuple(ion.label for ion in crystal.ions),
    )


def _require_parts(parts: Sequence[str], n_owners: int) -> None:
    wrong = next((part for part in parts if not re.fullmatch(r"[A-Za-z][A-Za-z0-9-]*", part)), None)
    if len(parts) == n_owners and wrong is None:
        return
    raise StructureError(
        f"{len(parts)} parts for {n_owners} atoms or ions" if wrong is None else f"part {wrong!r}",
        limit="each has one part, a single word such as `dot` or `film`",
        why="the labels of the written file would be lost or shifted",
        remedy="give one word for each atom",
    )


def _name_ion(species: Sequence[str]) -> str:
    if len(species) == 1:
        return species[0]
    composition = tuple(sorted(Counter(species).items()))
    return MOLECULAR_IONS.get(composition, "".join(f"{s}{n if n > 1 else ''}" for s, n in composition))


def render_structure(labelled: LabelledStructure, kind: StructureFormat, *, title: str) -> str:
    """Return a structure as the text of a file, labels kept.

    Parameters
    ----------
    labelled
        The structure.
    kind
        The format.
    title
        One line that says what it is; the POSCAR and the extXYZ carry it.
    """
    title = " ".join(title.split())
    if kind is StructureFormat.CIF:
        return _render_cif(labelled)
    if kind is StructureFormat.POSCAR:
        return _render_poscar(labelled, title)
    return _render_extended_xyz(labelled, title)


def _render_cif(labelled: LabelledStructure) -> str:
    from pymatgen.core import Structure
    from pymatgen.io.cif import CifWriter

    plain = labelled.record.to_pymatgen()
    structure = Structure(plain.lattice, plain.species, plain.frac_coords, labels=list(labelled.label_sites()))
    return str(CifWriter(structure, significant_figures=COORDINATE_DIGITS))


def _render_poscar(labelled: LabelledStructure, title: str) -> str:
    record, labels = labelled.record, labelled.label_sites()
    order = sorted(range(record.n_atoms), key=lambda site: (record.species.index(record.species[site]), site))
    counts = Counter(record.species[site] for site in order)
    lines = [title, "1.0"]
    lines += [" ".join(f"{x:.{COORDINATE_DIGITS}f}" for x in vector) for vector in record.lattice_ang]
    lines += [" ".join(counts), " ".join(str(number) for number in counts.values())]
    lines += ["Selective dynamics"] if record.is_fixed else []
    lines += ["Direct"]
    for site in order:
        flags = ["F F F" if record.is_fixed[site] else "T T T"] if record.is_fixed else []
        place = " ".join(f"{x:.{COORDINATE_DIGITS}f}" for x in record.frac_coords[site])
        lines.append(" ".join([place, *flags, record.species[site], labels[site]]))
    return "\n".join(lines) + "\n"


def _render_extended_xyz(labelled: LabelledStructure, title: str) -> str:
    from ase.io import write

    content = StringIO()
    write(content, _to_atoms(labelled, title), format="extxyz")
    return content.getvalue()


def _to_atoms(labelled: LabelledStructure, title: str) -> Atoms:
    from ase import Atoms
    from ase.constraints import FixAtoms

    record = labelled.record
    atoms = Atoms(record.species, scaled_positions=record.frac_coords, cell=record.lattice_ang, pbc=True)
    atoms.info["title"] = title
    atoms.set_array("part", np.array(labelled.parts))
    atoms.set_array("ion", np.array(labelled.ions))
    atoms.set_array("ion_label", np.array([labelled.ion_labels[ion] for ion in labelled.ions]))
    if any(record.is_fixed):
        atoms.set_constraint(FixAtoms(mask=np.array(record.is_fixed)))
    return atoms


def read_labelled(path: Path) -> LabelledStructure:
    """Read a structure file, with the parts that `render_structure` wrote into a CIF or an extended XYZ.

    Labelled sites come back in the order they were written in.  A file without such labels, and any POSCAR, is one
    part.

    Raises
    ------
    StructureError
        If it cannot be read.
    """
    structure = read_structure(path)
    labels = [match for match in (_LABEL.fullmatch(site.label) for site in structure) if match]
    sites = [int(label["site"]) for label in labels]
    if sorted(sites) == list(range(len(structure))):
        order = sorted(range(len(sites)), key=lambda place: sites[place])
        record = StructureRecord.from_pymatgen(structure.from_sites([structure[place] for place in order]))
        return label_structure(record, parts=[labels[place]["part"] for place in order])
    record = StructureRecord.from_pymatgen(structure)
    is_xyz = FORMAT_OF_SUFFIX.get(path.suffix.lower()) is StructureFormat.EXTXYZ
    return label_structure(record, parts=_read_part_column(path) if is_xyz else ())


_LABEL = re.compile(r"[A-Z][a-z]?(?P<site>\d+)_(?P<part>[A-Za-z][A-Za-z0-9-]*)_\d+")


def _read_part_column(path: Path) -> list[str]:
    from ase.io import iread

    atoms = next(iter(iread(path, format="extxyz")))
    return [str(part) for part in atoms.arrays.get("part", ())]


def write_structure(labelled: LabelledStructure, path: Path, *, title: str) -> Path:
    """Write a structure in the format that the ending of its name says.

    Raises
    ------
    StructureError
        If the ending names no known format.
    ResultsError
        If the file cannot be written.
    """
    return write_content(path, render_structure(labelled, choose_format(path), title=title).encode())


def choose_format(path: Path) -> StructureFormat:
    """Return the structure format of a file name.

    Raises
    ------
    StructureError
        If its ending names none.
    """
    kind = FORMAT_OF_SUFFIX.get(path.suffix.lower())
    if kind is not None:
        return kind
    raise StructureError(
        f"{path.name} names no known format",
        limit=f"structures are written as {', '.join(FORMAT_OF_SUFFIX)}, pictures as .png",
        why="the format is read from the ending",
        remedy="give one of these endings",
    )


def write_content(path: Path, content: bytes) -> Path:
    """Write a file and its folder.

    Raises
    ------
    ResultsError
        If it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    except OSError as error:
        raise ResultsError(
            f"{path} could not be written",
            limit=f"its folder must be writable and have room ({error.strerror or error})",
            why="nothing would be left of what was asked for",
            remedy="free some space, correct the permissions or give another path with --output",
        ) from error
    return path

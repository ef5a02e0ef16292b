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
from dataclasses import replace
from enum import StrEnum
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from qdip_dft.builders.ions import IonicCrystal, group_ions, name_ions
from qdip_dft.errors import StructureError
from qdip_dft.library.reading import read_structure
from qdip_dft.model.structure import DOT_PART, FILM_PART, PASSIVATION_PART, StructureRecord
from qdip_dft.results.writing import write_content

if TYPE_CHECKING:
    from ase import Atoms

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


def label_sites(structure: StructureRecord) -> tuple[str, ...]:
    """Return a unique label of each site of a structure that names its ions, such as ``Pb12_film_7``."""
    rows = zip(structure.species, structure.parts, structure.ion, strict=True)
    return tuple(f"{symbol}{site}_{part}_{ion}" for site, (symbol, part, ion) in enumerate(rows))


def label_structure(record: StructureRecord, *, parts: Sequence[str] = ()) -> StructureRecord:
    """Return a structure with its ions found, its molecules made whole and its parts named.

    Parameters
    ----------
    record
        The atoms.
    parts
        Part of each atom: one word without blanks; empty: one piece.

    Raises
    ------
    StructureError
        If there is not one part per atom, or a part is no single word.
    """
    parts = tuple(parts) or record.parts
    _require_parts(parts, record.n_atoms)
    return group_ions(record).model_copy(update={"part": parts})


def label_slab(record: StructureRecord, *, n_dot: int, passivation: str | None) -> StructureRecord:
    """Return a slab or interface with its ions and parts: the dot's atoms come first, then the film's.

    Parameters
    ----------
    record
        The atoms.
    n_dot
        Number of atoms of the dot slab in it.
    passivation
        Label of the dot's monovalent anions; None: it has none.
    """
    grouped = group_ions(record)
    labels = name_ions(grouped)
    dot = [PASSIVATION_PART if labels[ion] == passivation else DOT_PART for ion in grouped.ion[:n_dot]]
    return grouped.model_copy(update={"part": (*dot, *[FILM_PART] * (record.n_atoms - n_dot))})


def label_crystal(crystal: IonicCrystal, *, ion_parts: Sequence[str]) -> StructureRecord:
    """Return a built crystal, whose ions are known, with the part of each ion.

    Raises
    ------
    StructureError
        If there is not one part per ion, or a part is no single word.
    """
    _require_parts(ion_parts, len(crystal.ions))
    ions = [replace(ion, part=str(part)) for ion, part in zip(crystal.ions, ion_parts, strict=True)]
    return replace(crystal, ions=tuple(ions)).to_record()


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


def render_structure(record: StructureRecord, kind: StructureFormat, *, title: str) -> str:
    """Return a structure as the text of a file, labels kept.

    Parameters
    ----------
    record
        The structure; its ions are named.
    kind
        The format.
    title
        One line that says what it is; the POSCAR and the extXYZ carry it.
    """
    title = " ".join(title.split())
    if kind is StructureFormat.CIF:
        return _render_cif(record)
    if kind is StructureFormat.POSCAR:
        return _render_poscar(record, title)
    return _render_extended_xyz(record, title)


def _render_cif(record: StructureRecord) -> str:
    from pymatgen.core import Structure
    from pymatgen.io.cif import CifWriter

    plain = record.to_pymatgen()
    structure = Structure(plain.lattice, plain.species, plain.frac_coords, labels=list(label_sites(record)))
    return str(CifWriter(structure, significant_figures=COORDINATE_DIGITS))


def _render_poscar(record: StructureRecord, title: str) -> str:
    labels = label_sites(record)
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


def _render_extended_xyz(record: StructureRecord, title: str) -> str:
    from ase.io import write

    content = StringIO()
    write(content, _to_atoms(record, title), format="extxyz")
    return content.getvalue()


def _to_atoms(record: StructureRecord, title: str) -> Atoms:
    from ase import Atoms
    from ase.constraints import FixAtoms

    atoms = Atoms(record.species, scaled_positions=record.frac_coords, cell=record.lattice_ang, pbc=True)
    atoms.info["title"] = title
    names = name_ions(record)
    atoms.set_array("part", np.array(record.parts))
    atoms.set_array("ion", np.array(record.ion))
    atoms.set_array("ion_label", np.array([names[ion] for ion in record.ion]))
    if any(record.is_fixed):
        atoms.set_constraint(FixAtoms(mask=np.array(record.is_fixed)))
    return atoms


def read_labelled(path: Path) -> StructureRecord:
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

    with path.open(encoding="utf-8", errors="replace") as file:  # as it was read before
        (atoms,) = iread(file, index=-1, format="extxyz")
    return [str(part) for part in atoms.arrays.get("part", ())]


def write_structure(record: StructureRecord, path: Path, *, title: str) -> Path:
    """Write a structure in the format that the ending of its name says.

    Raises
    ------
    StructureError
        If the ending names no known format.
    ResultsError
        If the file cannot be written.
    """
    return write_content(path, render_structure(record, choose_format(path), title=title).encode())


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

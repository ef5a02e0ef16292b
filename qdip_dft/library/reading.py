"""Reads a structure file in its own axes and refuses what would have to be guessed."""

from __future__ import annotations

import re
import warnings
from typing import TYPE_CHECKING

import numpy as np

from qdip_dft.errors import StructureError
from qdip_dft.library.contacts import covalent_sum_ang, find_pairs, name_pair
from qdip_dft.model.elements import CLOSEST_COVALENT_RATIO
from qdip_dft.model.snapping import snap_zeros

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from pymatgen.core import Structure, SymmOp
    from pymatgen.io.cif import CifParser

MIN_VOLUME_ANG3_PER_ATOM = 2.0
"""A denser cell is wrong in any case; diamond has 5.7 Å³ per atom."""

MIN_HEIGHT_ANG = 1.0
"""Smallest distance between two faces of a cell."""

MAX_HEIGHT_ANG = 1000.0
"""Largest distance between two faces of a cell."""

MAX_CELLS_AWAY = 1000
"""Largest fractional coordinate; trajectories leave the cell, but not that far."""

_OPERATION = re.compile(r"(?<![^\s'\"])[-+/.\d \txyzXYZ]*[xyzXYZ][^,\s'\"]*(?:,[^,\n'\"]*[xyzXYZ][^,\s'\"]*){2}")
"""A symmetry operation in the text of a CIF, also a damaged one."""

_TEXT_FIELD = re.compile(r"^;.*?^;", flags=re.MULTILINE | re.DOTALL)
"""A text over several lines, which may hold another program's input."""

_READ_ERRORS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    NotImplementedError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    Warning,
)
"""What the file readers of pymatgen and ASE raise on a damaged file."""


def read_structure(path: Path) -> Structure:
    """Read a CIF, POSCAR or extended XYZ file in its own axes, without oxidation states, and gate it.

    A lattice made from lengths and angles gets the exact zeros that cos 90° misses by the last bit.

    Raises
    ------
    StructureError
        When it is unreadable, empty, partially occupied or has atoms on top of each other.
    """
    from pymatgen.core import Lattice

    reader = _choose_reader(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            structure = reader(path)
            structure.remove_oxidation_states()
            structure.lattice = Lattice(snap_zeros(structure.lattice.matrix))
            _require_sound(structure, path.name)
    except _READ_ERRORS as error:
        raise _unreadable(path.name, f"{type(error).__name__}: {error}") from error
    return structure


def _choose_reader(path: Path) -> Callable[[Path], Structure]:
    suffix, name = path.suffix.lower(), path.name.upper()
    if suffix in {".cif", ".mcif"}:
        return _read_cif
    if suffix in {".xyz", ".extxyz"}:
        return _read_extended_xyz
    if suffix in {".vasp", ".poscar"} or "POSCAR" in name or "CONTCAR" in name:
        return _read_poscar
    raise _unreadable(path.name, "its name says neither .cif nor .vasp, .xyz, .extxyz, POSCAR or CONTCAR")


def _read_cif(path: Path) -> Structure:
    """Read the first structure of a CIF; what pymatgen would guess or drop is refused."""
    from pymatgen.io.cif import CifParser

    with warnings.catch_warnings(record=True) as remarks:
        warnings.simplefilter("always")
        parser = CifParser(path)
        structure = parser.parse_structures(primitive=False)[0]
    if _has_unknown_symmetry(parser, remarks):
        raise ValueError("its space group is not understood; list the symmetry operations or all sites as P 1")
    complaint = parser.check(structure)
    if complaint is not None and "Cannot determine" not in complaint and structure.is_ordered:
        raise ValueError(f"atoms and formula of the file disagree: {complaint}")
    if _has_unread_operations(path, parser.symmetry_operations):
        raise ValueError("its table of symmetry operations is damaged: not all of them are understood")
    if not _is_group(parser.symmetry_operations):
        raise ValueError("its symmetry operations form no group: some are missing or wrong")
    _require_declared_amount(structure, next(iter(parser.as_dict().values())))
    return structure


def _has_unread_operations(path: Path, operations: Sequence[SymmOp]) -> bool:
    """Return whether the file writes more operations, such as ``-x, y+1/2, z``, than pymatgen took from it."""
    text = _TEXT_FIELD.sub("", path.read_text(encoding="utf-8", errors="replace"))
    written = {"".join(found.lower().split()) for found in _OPERATION.findall(text)}
    return len(written) > len(operations)


def _is_group(operations: Sequence[SymmOp]) -> bool:
    """Return whether the product of any two operations is an operation, but for lattice translations."""
    matrices = np.array([operation.affine_matrix for operation in operations])
    known = set(map(tuple, _without_lattice_translations(matrices)))
    return all(known.issuperset(map(tuple, _without_lattice_translations(first @ matrices))) for first in matrices)


def _without_lattice_translations(matrices: NDArray[np.float64]) -> list[list[int]]:
    """Return the rotations and translations of operations as whole numbers, the latter as 1/24 of the cell's axes."""
    rows = np.rint(matrices[:, :3] * [1, 1, 1, 24]).astype(int)
    rows[:, :, 3] %= 24
    return [list(row) for row in rows.reshape(len(rows), -1).tolist()]


def _require_declared_amount(structure: Structure, block: Mapping[str, object]) -> None:
    """Refuse a cell that does not hold Z times the file's formula, or the formula where that is of the whole cell."""
    from pymatgen.core import Composition

    formula, units = block.get("_chemical_formula_sum"), block.get("_cell_formula_units_Z")
    if not isinstance(formula, str) or not isinstance(units, str) or not units.isdigit() or not structure.is_ordered:
        return
    declared, n_units = Composition(formula), int(units)
    allowed = [declared * n_units] + [declared] * all(amount % n_units == 0 for amount in declared.values())
    if not any(structure.composition.element_composition.almost_equals(composition) for composition in allowed):
        raise ValueError(f"its cell holds {structure.formula}, but {n_units} formula units of {formula} are declared")


def _has_unknown_symmetry(parser: CifParser, remarks: Iterable[warnings.WarningMessage]) -> bool:
    """Return whether the file names a space group that pymatgen read as P 1."""
    blocks: dict[str, dict[str, object]] = parser.as_dict()
    is_guessed = any("Defaulting to P1" in str(remark.message) for remark in remarks)
    return is_guessed and any("space_group" in tag for block in blocks.values() for tag in block)


def _read_poscar(path: Path) -> Structure:
    """Read a POSCAR that names its elements; pymatgen would otherwise invent H, He, Li and so on."""
    from pymatgen.io.vasp.inputs import BadPoscarWarning, Poscar

    warnings.filterwarnings("error", message="Elements in POSCAR", category=BadPoscarWarning)
    return Poscar.from_file(str(path), check_for_potcar=False).structure


def _read_extended_xyz(path: Path) -> Structure:
    from ase.io import iread
    from pymatgen.core import Structure

    atoms = next(iter(iread(path, format="extxyz")))
    if not atoms.pbc.all():
        raise ValueError("it is not periodic in three dimensions: its second line needs a Lattice")
    return Structure(atoms.cell.array, list(atoms.symbols), atoms.positions, coords_are_cartesian=True)


def _require_sound(structure: Structure, name: str) -> None:
    """Refuse a structure without atoms, with partial occupancy or with atoms on top of each other."""
    if len(structure) == 0:
        raise _unreadable(name, "it holds no atoms")
    _require_sane_numbers(structure, name)
    disordered = next((site for site in structure if not site.is_ordered), None)
    if disordered is not None:
        raise StructureError(
            f"site {disordered.label} of {name} holds {_name_occupancy(disordered.species.items())}",
            limit="every site must be fully occupied by one element; this is a file with partial occupancy",
            why="an energy needs definite atoms, and the average structure has none",
            remedy="choose an ordered cell: a supercell, a refinement of lower symmetry or a phase of the library",
        )
    if structure.volume / len(structure) < MIN_VOLUME_ANG3_PER_ATOM:
        raise _too_close(f"{name} has {structure.volume / len(structure):.3g} Å³ per atom", "at least 2 Å³ are needed")
    closest = min(find_pairs(structure, ratio=CLOSEST_COVALENT_RATIO), key=lambda pair: pair.distance_ang, default=None)
    if closest is not None:
        limit_ang = CLOSEST_COVALENT_RATIO * covalent_sum_ang(structure, closest)
        raise _too_close(
            f"{name_pair(structure, closest)} in {name}",
            f"at least {limit_ang:.2f} Å are needed, {CLOSEST_COVALENT_RATIO} of the sum of the covalent radii",
        )


def _require_sane_numbers(structure: Structure, name: str) -> None:
    """Refuse numbers that no crystal has; the neighbour and symmetry searches would hang or crash on them."""
    if not (np.isfinite(structure.lattice.matrix).all() and np.isfinite(structure.frac_coords).all()):
        raise _unreadable(name, "a lattice vector or coordinate is not a finite number")
    heights_ang = [structure.lattice.d_hkl(plane) for plane in np.eye(3, dtype=int).tolist()]
    if not MIN_HEIGHT_ANG <= min(heights_ang) <= max(heights_ang) <= MAX_HEIGHT_ANG:
        raise _too_close(
            f"the cell of {name} is {', '.join(f'{height:.3g}' for height in heights_ang)} Å high along its axes",
            f"each must lie between {MIN_HEIGHT_ANG:g} and {MAX_HEIGHT_ANG:g} Å",
        )
    if np.abs(structure.frac_coords).max() > MAX_CELLS_AWAY:
        raise _unreadable(name, f"an atom lies more than {MAX_CELLS_AWAY} cells away")


def _too_close(what: str, limit: str) -> StructureError:
    return StructureError(
        what,
        limit=limit,
        why="atoms on top of each other make any energy meaningless",
        remedy="look for a doubled site, a wrong space-group setting or a wrong unit in the file",
    )


def _unreadable(name: str, reason: str) -> StructureError:
    return StructureError(
        f"{name} cannot be read",
        limit=" ".join(reason.split())[:400],
        why="a guessed structure would give a wrong energy",
        remedy="repair the file, or export it again as CIF with all sites listed in P 1",
    )


def _name_occupancy(species: Iterable[tuple[object, float]]) -> str:
    return ", ".join(f"{element} with occupancy {occupancy:.3g}" for element, occupancy in species)

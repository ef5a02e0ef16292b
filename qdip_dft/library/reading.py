"""Reads a structure file in its own axes and refuses what would have to be guessed."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from io import StringIO
from typing import TYPE_CHECKING

import numpy as np

from qdip_dft.errors import StructureError
from qdip_dft.library.cif import not_chosen, read_cif, read_filed_cif
from qdip_dft.library.contacts import covalent_sum_ang, find_pairs, name_pair, symbols_of
from qdip_dft.library.conventional import name_cell
from qdip_dft.library.second_reader import (
    MAX_BYTES,
    read_frame_again,
    read_poscar_again,
    require_same,
    require_size,
    split_frames,
)
from qdip_dft.model.elements import CLOSEST_COVALENT_RATIO, closest_ratio
from qdip_dft.model.snapping import snap_zeros
from qdip_dft.model.symmetry import reduce_lattice

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from pymatgen.core import Structure

MIN_VOLUME_ANG3_PER_ATOM = 2.0
"""A denser cell is wrong in any case; diamond has 5.7 Å³ per atom."""

MIN_HEIGHT_ANG = 1.0
"""Smallest distance between two faces of a cell."""

MAX_HEIGHT_ANG = 1000.0
"""Largest distance between two faces of a cell."""

MAX_CELLS_AWAY = 1000
"""Largest fractional coordinate; trajectories leave the cell, but not that far."""


@dataclass(frozen=True, slots=True, eq=False)
class FileCrystal:
    """What a structure file holds.

    Parameters
    ----------
    structure
        The crystal in the axes of the file, without oxidation states.
    oxidation_states
        Charge in e of each element whose atoms all have one in the file.
    remark
        What was chosen among several crystals of the file; empty: there is one.
    """

    structure: Structure
    oxidation_states: dict[str, int]
    remark: str = ""


def read_structure(path: Path) -> Structure:
    """Read a CIF, POSCAR or extended XYZ file in its own axes; errors as of `read_file`."""
    return read_file(path).structure


def read_file(path: Path, choice: str = "") -> FileCrystal:
    """Read a CIF, POSCAR or extended XYZ file in its own axes by two readers, and gate it.

    A lattice made from lengths and angles gets the exact zeros that cos 90° misses by the last bit.

    Parameters
    ----------
    path
        The file.
    choice
        Which of its crystals: the name of a block, or a number from 1; empty: the only one, or the last frame.

    Raises
    ------
    StructureError
        When it is unreadable, empty, partially occupied, read differently by two readers, too large, holds several
        crystals or has atoms on top of each other.
    """
    return _read_by(_choose_reader(path, choice), path)


def read_filed(path: Path) -> FileCrystal:
    """Read a CIF of the library; errors as of `read_file`."""
    return _read_by(lambda text, name: (read_filed_cif(text, name), ""), path)


def _read_by(reader: Callable[[str, str], tuple[Structure, str]], path: Path) -> FileCrystal:
    from pymatgen.core import Lattice

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            structure, remark = reader(read_text(path), path.name)
            states = _find_oxidation_states(structure)
            structure.remove_oxidation_states()
            structure.lattice = Lattice(snap_zeros(structure.lattice.matrix))
            _require_sane_numbers(structure, path.name)
            if _has_flat_cell(structure):
                structure = _reduce(structure)
                remark = f"its cell is skewed; planes refer to the reduced cell, {name_cell(structure)}"
            _require_sound(structure, path.name)
    except StructureError:
        raise
    except Exception as error:  # the readers of pymatgen and ASE raise of every kind on a damaged file
        raise _unreadable(path.name, f"{type(error).__name__}: {error}") from error
    return FileCrystal(structure, states, remark)


def read_text(path: Path) -> str:
    """Return the text of a structure file.

    Raises
    ------
    StructureError
        If it is larger than any structure file needs to be.
    """
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise StructureError(
            f"{path.name} has {size / 1e6:.0f} MB",
            limit=f"a structure file has at most {MAX_BYTES / 1e6:.0f} MB",
            why="reading it would take minutes, and one crystal never needs as much",
            remedy="keep the crystal alone: one frame of a trajectory, a CIF without its table of reflections",
        )
    return path.read_bytes().decode("utf-8-sig", errors="replace")


def _choose_reader(path: Path, choice: str) -> Callable[[str, str], tuple[Structure, str]]:
    suffix, name = path.suffix.lower(), path.name.upper()
    if suffix in {".cif", ".mcif"}:
        return lambda text, name: (read_cif(text, name, choice), "")
    if suffix in {".xyz", ".extxyz"}:
        return lambda text, name: _read_extended_xyz(text, name, choice)
    if suffix in {".vasp", ".poscar"} or "POSCAR" in name or "CONTCAR" in name:
        if choice:
            raise not_chosen(path.name, choice, "a POSCAR holds one crystal")
        return _read_poscar
    raise _unreadable(path.name, "its name says neither .cif nor .vasp, .xyz, .extxyz, POSCAR or CONTCAR")


def _find_oxidation_states(structure: Structure) -> dict[str, int]:
    """The charge of each element where the file gives whole ones, the same for all its atoms."""
    found: dict[str, set[float]] = {}
    for site in structure:
        for species in site.species:
            found.setdefault(species.symbol, set()).add(float(getattr(species, "oxi_state", None) or 0.0))
    states = {symbol: next(iter(values)) for symbol, values in found.items() if len(values) == 1}
    return {symbol: round(state) for symbol, state in states.items() if state and state == round(state)}


def _read_poscar(text: str, name: str) -> tuple[Structure, str]:
    """Read a POSCAR that names its elements; pymatgen would otherwise invent H, He, Li and so on."""
    from pymatgen.io.vasp.inputs import BadPoscarWarning, Poscar

    require_size(_count_listed(text), name)
    warnings.filterwarnings("error", message="Elements in POSCAR", category=BadPoscarWarning)
    structure = Poscar.from_str(_scale_by_factor(text)).structure
    _require_sane_numbers(structure, name)
    require_same(structure, read_poscar_again(text), name, readers=("pymatgen", "ASE"))
    return structure, ""


def _count_listed(text: str) -> int:
    """The atoms of a POSCAR by its sixth or seventh line; zero where these hold no numbers."""
    rows = [line.split("!")[0].split() for line in text.splitlines()[5:7]]
    return max((sum(map(int, row)) for row in rows if row and all(word.isdigit() for word in row)), default=0)


def _scale_by_factor(text: str) -> str:
    """A POSCAR whose scale is a factor; pymatgen forgets Cartesian coordinates where it is a volume, negative."""
    lines = text.splitlines()
    scale = float(lines[1]) if len(lines) > 4 and len(lines[1].split()) == 1 else 1.0
    if scale < 0:
        lattice = np.array([line.split()[:3] for line in lines[2:5]], dtype=np.float64)
        lines[1] = repr(float((-scale / abs(np.linalg.det(lattice))) ** (1 / 3)))
    return "\n".join(lines) + "\n"


def _read_extended_xyz(text: str, name: str, choice: str) -> tuple[Structure, str]:
    from ase.io.extxyz import read_extxyz
    from pymatgen.core import Structure

    frames = split_frames(text)
    number = int(choice) if choice.isdecimal() else 0 if choice else len(frames)
    if not 1 <= number <= len(frames):
        raise not_chosen(name, choice, f"its frames are numbered from 1 to {len(frames)}")
    listed = read_frame_again(frames[number - 1])
    require_size(len(listed.species), name)
    (atoms,) = read_extxyz(StringIO(text), index=slice(number - 1, number))
    if not atoms.pbc.all():
        raise ValueError("it is not periodic in three dimensions: its second line needs a Lattice")
    structure = Structure(atoms.cell.array, list(atoms.symbols), atoms.positions, coords_are_cartesian=True)
    require_same(structure, listed, name, readers=("ASE", "a reader of columns"))
    which = f"frame {number}" if choice else "the last"
    return structure, "" if len(frames) == 1 else f"{which} of its {len(frames)} frames"


def _require_sound(structure: Structure, name: str) -> None:
    """Refuse a structure without atoms, with partial occupancy or with atoms on top of each other."""
    _require_sane_cell(structure, name)
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
    near = [
        (pair.distance_ang / covalent_sum_ang(structure, pair), pair)
        for pair in find_pairs(structure, ratio=CLOSEST_COVALENT_RATIO)
        if pair.distance_ang < closest_ratio(*symbols_of(structure, pair)) * covalent_sum_ang(structure, pair)
    ]
    if near:
        closest = min(near)[1]
        limit = closest_ratio(*symbols_of(structure, closest))
        raise _too_close(
            f"{name_pair(structure, closest)} in {name}",
            f"at least {limit * covalent_sum_ang(structure, closest):.2f} Å are needed, {limit} of the sum of the"
            " covalent radii",
        )


def _require_sane_numbers(structure: Structure, name: str) -> None:
    """Refuse numbers that no crystal has; the neighbour and symmetry searches would hang or crash on them."""
    if len(structure) == 0:
        raise _unreadable(name, "it holds no atoms")
    if not (np.isfinite(structure.lattice.matrix).all() and np.isfinite(structure.frac_coords).all()):
        raise _unreadable(name, "a lattice vector or coordinate is not a finite number")
    if max(structure.lattice.abc) > MAX_HEIGHT_ANG:
        raise _unreadable(name, f"a vector of its cell is longer than {MAX_HEIGHT_ANG:g} Å")
    if np.abs(structure.frac_coords).max() > MAX_CELLS_AWAY:
        raise _unreadable(name, f"an atom lies more than {MAX_CELLS_AWAY} cells away")


def _has_flat_cell(structure: Structure) -> bool:
    """Whether a cell is so skewed that searches for neighbours would need thousands of its images."""
    return (
        min(_heights_ang(structure)) < MIN_HEIGHT_ANG and structure.volume / len(structure) >= MIN_VOLUME_ANG3_PER_ATOM
    )


def _reduce(structure: Structure) -> Structure:
    """The same crystal in its reduced cell, no atom moved."""
    from pymatgen.core import Structure

    reduced = reduce_lattice(structure.lattice.matrix)
    species = [site.specie for site in structure]
    return Structure(reduced, species, structure.cart_coords, coords_are_cartesian=True, to_unit_cell=True)


def _heights_ang(structure: Structure) -> list[float]:
    return [structure.lattice.d_hkl(plane) for plane in np.eye(3, dtype=int).tolist()]


def _require_sane_cell(structure: Structure, name: str) -> None:
    heights_ang = _heights_ang(structure)
    if not MIN_HEIGHT_ANG <= min(heights_ang) <= max(heights_ang) <= MAX_HEIGHT_ANG:
        raise _too_close(
            f"the cell of {name} is {', '.join(f'{height:.3g}' for height in heights_ang)} Å high along its axes",
            f"each must lie between {MIN_HEIGHT_ANG:g} and {MAX_HEIGHT_ANG:g} Å",
        )


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

"""A second reading of structure files by another program, compared atom by atom: a fault of one reader is seen."""

from __future__ import annotations

import io
import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from qdip_dft.errors import StructureError

if TYPE_CHECKING:
    from pymatgen.core import Structure

MAX_BYTES = 20_000_000
"""Largest structure file; what follows takes seconds at most."""

MAX_ATOMS = 5000
"""Most atoms of a crystal's cell, and most images of its sites; interfaces of such a cell are beyond any engine."""

SAME_ANG = 0.02
"""Places that agree to this are read alike: readers round thirds of a cell differently."""

MERGED_ANG = 0.05
"""Images of one site that are nearer than this are one atom on a special position."""

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Listed:
    """Atoms as a second reader finds them.

    Parameters
    ----------
    lengths_angles
        Lengths in Å and angles in degrees of the cell, shape (6,).
    species
        Element of each atom.
    frac_coords
        Their places, shape (n, 3).
    operations
        Rotations and translations that the file lists; None: it lists none.
    """

    lengths_angles: Array
    species: tuple[str, ...]
    frac_coords: Array
    operations: tuple[NDArray[Any], Array] | None = None


def require_size(n_atoms: int, name: str) -> None:
    """Refuse a cell that is too large before any work is done on it.

    Raises
    ------
    StructureError
        If there are more than `MAX_ATOMS` atoms or images of sites.
    """
    if n_atoms > MAX_ATOMS:
        raise StructureError(
            f"{name} holds up to {n_atoms} atoms",
            limit=f"a crystal's cell has at most {MAX_ATOMS}",
            why="its slabs and interfaces would be larger than any engine can calculate",
            remedy="take the unit cell instead of a supercell, or one frame of a simulation that was reduced to it",
        )


def read_cif_again(block: str) -> Listed:
    """Read cell, sites and operations of a CIF with one block by ASE; nothing is expanded."""
    from ase.io.cif import parse_cif
    from ase.spacegroup.spacegroup import parse_sitesym

    (found,) = parse_cif(io.StringIO(block))
    operations: Any = next((found[tag] for tag in found if re.search(r"(symop|equiv).*_xyz$", tag)), None)
    written = [operations] if isinstance(operations, str) else operations
    sitesym = None if not written else parse_sitesym(["".join(str(each).split()).strip("'\"") for each in written])
    places = np.array([found[f"_atom_site_fract_{axis}"] for axis in "xyz"], dtype=np.float64).T
    cell = np.array(found.get_cellpar(), dtype=np.float64)
    return Listed(cell, tuple(found.get_symbols()), places, sitesym)


def read_poscar_again(text: str) -> Listed:
    """Read a POSCAR by ASE."""
    from ase.io.vasp import read_vasp

    atoms = read_vasp(io.StringIO(text))
    return Listed(np.array(atoms.cell.cellpar()), tuple(atoms.symbols), atoms.get_scaled_positions(wrap=False))


def split_frames(text: str) -> list[list[str]]:
    """The frames of an extended XYZ file by plain words, each from the line with its lattice on."""
    lines = text.splitlines()
    start = number = 0
    frames: list[list[str]] = []
    while start < len(lines) and lines[start].strip():
        number = int(lines[start])
        if number < 1:
            raise ValueError(f"its line {start + 1} says that a frame has {number} atoms")
        frames.append(lines[start + 1 : start + 2 + number])
        start += 2 + number
    if not frames or len(frames[-1]) != number + 1:
        raise ValueError(f"its last frame has {len(frames[-1]) - 1 if frames else 0} of {number} atoms")
    return frames


def read_frame_again(frame: list[str]) -> Listed:
    """Read a frame of an extended XYZ file by plain words."""
    from ase.cell import Cell

    words = re.search(r'Lattice\s*=\s*["\'{\[]([^"\'}\]]*)', frame[0], flags=re.IGNORECASE)
    if words is None:
        raise ValueError("it is not periodic in three dimensions: its second line needs a Lattice")
    lattice = np.array([float(word) for word in words[1].replace(",", " ").split()]).reshape(3, 3)
    species_at, place_at, n_columns = _find_columns(frame[0])
    rows = [line.split() for line in frame[1:]]
    if any(len(row) < n_columns for row in rows):
        raise ValueError(f"a line has fewer than the {n_columns} columns that its second line announces")
    places = np.array([[float(word) for word in row[place_at : place_at + 3]] for row in rows])
    cell = np.array(Cell(lattice).cellpar())
    return Listed(cell, tuple(row[species_at] for row in rows), places @ np.linalg.inv(lattice))


def _find_columns(comment: str) -> tuple[int, int, int]:
    """The columns of the element and of the first coordinate, and how many there are; 0, 1, 4 where nothing is said."""
    words = re.search(r"Properties\s*=\s*\"?([\w:]+)", comment, flags=re.IGNORECASE)
    if words is None:
        return 0, 1, 4
    parts = words[1].split(":")
    starts, column = {}, 0
    for name, _, width in zip(parts[::3], parts[1::3], parts[2::3], strict=True):
        starts[name.lower()] = column
        column += int(width)
    return starts["species"], starts["pos"], column


def expand_sites(listed: Listed, rotations: NDArray[Any], translations: Array) -> Listed:
    """All atoms of the cell from one site of each orbit."""
    lattice = _lattice_of(listed.lengths_angles)
    species: list[str] = []
    places: list[Array] = []
    for symbol, place in zip(listed.species, listed.frac_coords, strict=True):
        images = np.einsum("nij,j->ni", rotations, place) + translations
        kept: list[Array] = []
        for image in images:
            if not kept or _distances_ang(np.array(kept) - image, lattice).min() > MERGED_ANG:
                kept.append(image)
        species += [symbol] * len(kept)
        places += kept
    return Listed(listed.lengths_angles, tuple(species), np.array(places).reshape(-1, 3))


def _lattice_of(lengths_angles: Array) -> Array:
    from ase.cell import Cell

    return np.array(Cell.fromcellpar(lengths_angles).array)


def _distances_ang(differences: Array, lattice_ang: Array) -> Array:
    """Lengths in Å of fractional differences to the nearest image, good where that is near."""
    return np.asarray(np.linalg.norm((differences - np.round(differences)) @ lattice_ang, axis=-1))


def require_same(structure: Structure, listed: Listed, name: str, *, readers: tuple[str, str]) -> None:
    """Refuse a file that two readers read differently.

    Raises
    ------
    StructureError
        With what the two find.
    """
    difference = _find_difference(structure, listed)
    if difference is not None:
        raise StructureError(
            f"{name} is read differently by {readers[0]} and {readers[1]}: {difference}",
            limit=f"both find the same cell and the same atoms within {SAME_ANG} Å",
            why="one of them is wrong, and the energy would be that of another crystal",
            remedy="look for damaged lines in the file, or export it again as CIF with all sites listed in P 1",
        )


def _find_difference(structure: Structure, listed: Listed) -> str | None:
    own = np.array(structure.lattice.parameters)
    if not np.allclose(own, listed.lengths_angles, rtol=1e-4, atol=1e-3):
        return f"a cell of {_join(own)} or of {_join(listed.lengths_angles)} (Å, degrees)"
    species = np.array(["H" if symbol == "D" else symbol for symbol in _symbols_of(structure)])
    counts, others = Counter(species.tolist()), Counter(listed.species)
    if counts != others:
        return f"{_name(counts)} or {_name(others)}"
    lattice, again = np.array(structure.lattice.matrix), np.array(listed.species)
    for symbol in counts:
        places = structure.frac_coords[species == symbol]
        distances_ang = _distances_ang(places[:, None] - listed.frac_coords[again == symbol][None], lattice).min(axis=1)
        worst = int(distances_ang.argmax())
        if not distances_ang[worst] <= SAME_ANG:
            where = f"{symbol} at ({_join(places[worst])})"
            return f"{where} is {distances_ang[worst]:.2f} Å from the nearest one that the other finds"
    return None


def _symbols_of(structure: Structure) -> list[str]:
    return [site.specie.symbol for site in structure]


def _join(numbers: Array) -> str:
    return ", ".join(f"{number:.4g}" for number in numbers)


def _name(counts: Counter[str]) -> str:
    return " ".join(f"{symbol}{count}" for symbol, count in sorted(counts.items()))

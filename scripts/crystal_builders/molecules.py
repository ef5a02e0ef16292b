"""Rigid organic cations: their geometry and their place in the cages of an inorganic framework.

The geometries are ideal: bond lengths as stated, sp² atoms at 120° and sp³ atoms at the tetrahedral angle, except
for the stated N-C-N angle of formamidinium.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from qdip_dft.builders.cation_orientations import (
    MIN_HYDROGEN_HYDROGEN_ANG,
    N_ORIENTATIONS,
    draw_orientations,
    find_fitting,
)
from qdip_dft.errors import StructureError
from qdip_dft.model.elements import MIN_HYDROGEN_HALIDE_ANG

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from pymatgen.core import Structure

TETRAHEDRAL_DEG = float(np.degrees(np.arccos(-1 / 3)))


@dataclass(frozen=True, slots=True, eq=False)
class OrganicCation:
    """A rigid molecular cation.

    Parameters
    ----------
    name
        Short name, such as ``FA``.
    symbols
        Element of each atom.
    positions_ang
        Cartesian positions in Å, shape (n, 3), with the centre of mass at the origin.
    charge
        Formal charge in e.
    """

    name: str
    symbols: tuple[str, ...]
    positions_ang: NDArray[np.float64]
    charge: int


class _Bond(NamedTuple):
    """One row of a Z-matrix: an atom given by its bond, angle and dihedral to earlier atoms."""

    symbol: str
    to: int
    length_ang: float
    angle_to: int | None = None
    angle_deg: float = 0.0
    dihedral_to: int | None = None
    dihedral_deg: float = 0.0


def build_formamidinium() -> OrganicCation:
    """Build FA⁺, HC(NH2)2⁺: planar, C–N 1.31, N–H 1.02, C–H 1.10 Å, N–C–N 126°."""
    return _build_cation(
        "FA",
        "C",
        (
            _Bond("N", 0, 1.31),
            _Bond("N", 0, 1.31, 1, 126.0),
            _Bond("H", 0, 1.10, 1, 117.0, 2, 180.0),
            _Bond("H", 1, 1.02, 0, 120.0, 2, 0.0),
            _Bond("H", 1, 1.02, 0, 120.0, 2, 180.0),
            _Bond("H", 2, 1.02, 0, 120.0, 1, 0.0),
            _Bond("H", 2, 1.02, 0, 120.0, 1, 180.0),
        ),
    )


def build_methylammonium() -> OrganicCation:
    """Build MA⁺, CH3NH3⁺: staggered (C3v), C–N 1.49, C–H 1.09, N–H 1.04 Å, tetrahedral angles."""
    return _build_cation(
        "MA",
        "C",
        (
            _Bond("N", 0, 1.49),
            _Bond("H", 1, 1.04, 0, TETRAHEDRAL_DEG),
            _Bond("H", 0, 1.09, 1, TETRAHEDRAL_DEG, 2, 180.0),
            _Bond("H", 0, 1.09, 1, TETRAHEDRAL_DEG, 2, 60.0),
            _Bond("H", 0, 1.09, 1, TETRAHEDRAL_DEG, 2, -60.0),
            _Bond("H", 1, 1.04, 0, TETRAHEDRAL_DEG, 3, 60.0),
            _Bond("H", 1, 1.04, 0, TETRAHEDRAL_DEG, 3, -60.0),
        ),
    )


def build_phenethylammonium() -> OrganicCation:
    """Build PEA⁺, C6H5-CH2-CH2-NH3⁺: anti chain at right angles to a regular ring, C–C 1.39/1.51/1.53, C–N 1.49 Å."""
    ring = (
        _Bond("C", 0, 1.39),
        _Bond("C", 1, 1.39, 0, 120.0),
        _Bond("C", 2, 1.39, 1, 120.0, 0, 0.0),
        _Bond("C", 3, 1.39, 2, 120.0, 1, 0.0),
        _Bond("C", 4, 1.39, 3, 120.0, 2, 0.0),
    )
    chain = (
        _Bond("C", 0, 1.51, 1, 120.0, 2, 180.0),
        _Bond("C", 6, 1.53, 0, TETRAHEDRAL_DEG, 1, 90.0),
        _Bond("N", 7, 1.49, 6, TETRAHEDRAL_DEG, 0, 180.0),
    )
    aromatic = tuple(_Bond("H", i, 1.09, i - 1, 120.0, (i - 2) % 6, 180.0) for i in range(1, 6))
    methylene = (
        _Bond("H", 6, 1.09, 0, TETRAHEDRAL_DEG, 1, 90.0 + 120.0),
        _Bond("H", 6, 1.09, 0, TETRAHEDRAL_DEG, 1, 90.0 - 120.0),
        _Bond("H", 7, 1.09, 6, TETRAHEDRAL_DEG, 0, 60.0),
        _Bond("H", 7, 1.09, 6, TETRAHEDRAL_DEG, 0, -60.0),
    )
    ammonium = tuple(_Bond("H", 8, 1.04, 7, TETRAHEDRAL_DEG, 6, dihedral) for dihedral in (60.0, 180.0, -60.0))
    return _build_cation("PEA", "C", ring + chain + aromatic + methylene + ammonium)


def place_cation(
    cage: Structure, cation: OrganicCation, *, centre_frac: Sequence[float], seed: int | Sequence[int]
) -> Structure:
    """Put one cation into a cage with a random orientation that touches nothing.

    Orientations are drawn uniformly from SO(3); the first one is taken that keeps every H···X at 2.5 Å or more and
    every H···H to other cations, images included, at 2.0 Å or more.  The molecule is not deformed.

    Parameters
    ----------
    cage
        The framework, with the cations placed so far.
    cation
        The molecule.
    centre_frac
        Fractional coordinates of its centre of mass.
    seed
        Seed of the orientations; the same seed gives the same crystal.

    Returns
    -------
    Structure
        A copy of the cage with the atoms of the cation at the end, not wrapped, in the cation's own order.

    Raises
    ------
    StructureError
        When no orientation fits.
    """
    orientations = draw_orientations(seed)
    hydrogens = cation.positions_ang[[symbol == "H" for symbol in cation.symbols]]
    fits = find_fitting(cage, np.einsum("rij,hj->rhi", orientations, hydrogens), centre_frac)
    if not fits.any():
        raise _cage_is_too_small(cage, cation)
    centre_ang = cage.lattice.get_cartesian_coords(centre_frac)
    filled = cage.copy()
    for symbol, position_ang in zip(cation.symbols, cation.positions_ang @ orientations[fits.argmax()].T, strict=True):
        filled.append(symbol, centre_ang + position_ang, coords_are_cartesian=True)
    return filled


def place_cations(
    cage: Structure, cation: OrganicCation, *, centres_frac: Sequence[Sequence[float]], seed: int
) -> Structure:
    """Put one cation at each centre, one after the other, each with its own orientation (see :func:`place_cation`)."""
    filled = cage
    for index, centre_frac in enumerate(centres_frac):
        filled = place_cation(filled, cation, centre_frac=centre_frac, seed=(seed, index))
    return filled


def _cage_is_too_small(cage: Structure, cation: OrganicCation) -> StructureError:
    return StructureError(
        f"none of {N_ORIENTATIONS} orientations of {cation.name} fits into the cage of {cage.reduced_formula}",
        limit=f"H···X must be at least {MIN_HYDROGEN_HALIDE_ANG} Å and H···H at least {MIN_HYDROGEN_HYDROGEN_ANG} Å",
        why="closer atoms would tear the molecule apart in the first relaxation step",
        remedy="move the centre to the middle of the cage, take another seed or use a larger cell",
    )


def _build_cation(name: str, first_symbol: str, bonds: Sequence[_Bond]) -> OrganicCation:
    from ase.data import atomic_masses, atomic_numbers

    positions = [np.zeros(3)]
    for bond in bonds:
        positions.append(_attach_atom(positions, bond))
    symbols = (first_symbol, *(bond.symbol for bond in bonds))
    masses = np.array([atomic_masses[atomic_numbers[symbol]] for symbol in symbols])
    coordinates = np.array(positions)
    centred = coordinates - masses @ coordinates / masses.sum()
    return OrganicCation(name=name, symbols=symbols, positions_ang=centred, charge=1)


def _attach_atom(positions: Sequence[NDArray[np.float64]], bond: _Bond) -> NDArray[np.float64]:
    """Return the position of the next atom from its bond length, bond angle and dihedral angle."""
    start = positions[bond.to]
    if bond.angle_to is None:
        return np.array([0.0, 0.0, bond.length_ang]) + start
    pivot = positions[bond.angle_to]
    plane_point = pivot + np.array([1.0, 0.0, 0.0]) if bond.dihedral_to is None else positions[bond.dihedral_to]
    along = (start - pivot) / np.linalg.norm(start - pivot)
    normal = np.cross(pivot - plane_point, along)
    normal /= np.linalg.norm(normal)
    angle, dihedral = np.radians(bond.angle_deg), np.radians(bond.dihedral_deg)
    across = np.cos(dihedral) * np.cross(normal, along) + np.sin(dihedral) * normal
    placed: NDArray[np.float64] = start + bond.length_ang * (np.sin(angle) * across - np.cos(angle) * along)
    return placed

"""Strain of a common in-plane cell: principal strains, and how film and dot share them.

A deformation F (x' = F x) is split into a rotation and a symmetric stretch, F = R U (polar decomposition).  Only U
costs energy; its eigenvalues less one are the principal engineering strains.  Strains are fractions, positive when
the material is stretched.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from qdip_dft.errors import MatchError
from qdip_dft.model.orientation import IntegerMatrix2

Array = NDArray[np.float64]
StrainPair = tuple[float, float]


class CommonCell(Protocol):
    """Whatever says which supercells of film and dot share an interface cell: a `CellMatch` or a candidate."""

    @property
    def film_matrix(self) -> IntegerMatrix2:
        """The film supercell in 1 × 1 cells, integer rows."""

    @property
    def dot_matrix(self) -> IntegerMatrix2:
        """The dot supercell in 1 × 1 cells, integer rows."""


@dataclass(frozen=True, slots=True, eq=False)
class InterfaceCell:
    """The common in-plane cell of film and dot.

    Parameters
    ----------
    vectors_2d
        The cell, two rows in Å, right-handed, the first along x.
    film_deformation, dot_deformation
        The 2×2 deformations F, rotation included, that carry each unstrained supercell (rows) onto the interface cell:
        ``cell = supercell @ F.T``.
    film_principal_strains, dot_principal_strains
        Principal strains of each, ascending, as fractions.
    area_ang2
        Area of the cell in Å².
    """

    vectors_2d: Array
    film_deformation: Array
    dot_deformation: Array
    film_principal_strains: StrainPair
    dot_principal_strains: StrainPair
    area_ang2: float


def principal_strains(deformation: Array) -> StrainPair:
    """Return the two principal engineering strains of a deformation, ascending, rotation removed.

    They are the singular values of F less one, the square roots of the eigenvalues of Fᵀ F less one.

    Parameters
    ----------
    deformation
        The 2×2 matrix F of x' = F x, with positive determinant.
    """
    larger, smaller = np.linalg.svd(np.asarray(deformation, dtype=float), compute_uv=False)
    return float(smaller) - 1.0, float(larger) - 1.0


def von_mises_strain(strains: StrainPair) -> float:
    """Return the von Mises equivalent of two in-plane principal strains.

    ε_vM = √(2/3 e:e) with e the deviator of (ε1, ε2, 0), that is ⅔ √(ε1² − ε1 ε2 + ε2²).
    """
    first, second = strains
    return 2.0 / 3.0 * float(np.sqrt(first**2 - first * second + second**2))


def split_rotation(deformation: Array) -> tuple[Array, Array]:
    """Return rotation R and symmetric stretch V of F = V R (left polar decomposition).

    Raises
    ------
    MatchError
        If the deformation mirrors the film: no rotation and stretch can reach it.
    """
    left, stretches, right = np.linalg.svd(np.asarray(deformation, dtype=float))
    if np.linalg.det(left @ right) < 0:
        raise MatchError(
            "film and dot cells of opposite handedness",
            limit="both supercell bases must be right-handed",
            why="the film would be its own mirror image",
            remedy="search the opposite face (-h-k-l) of the film for this pairing",
        )
    return left @ right, left * stretches @ left.T


def interface_cell(film_2d: Array, dot_2d: Array, match: CommonCell, partition: float = 0.0) -> InterfaceCell:
    """Return the common cell of film and dot for a strain partition w.

    The film's supercell is turned by the rotation of the polar decomposition, which leaves a pure stretch between the
    two; the interface cell is then (1 − w)·dot + w·film.  The film's principal strains are (1 − w) ε, and the dot's are
    w (1/(1 + ε) − 1).  The lattices may differ from those of the search (after a relaxation), as long as they are given
    in the same basis.

    Parameters
    ----------
    film_2d, dot_2d
        Right-handed 1×1 lattices, two rows in Å.
    match
        The integer supercells of both.
    partition
        w ∈ [0, 1]: 0, the film takes all strain; 1, the dot.

    Raises
    ------
    MatchError
        If w lies outside [0, 1], or the two cells have opposite handedness.
    """
    check_partition(partition)
    film = np.array(match.film_matrix, dtype=float) @ film_2d
    dot = np.array(match.dot_matrix, dtype=float) @ dot_2d
    rotation, _ = split_rotation(_deformation(film, dot))
    common = _turn_to_x((1.0 - partition) * dot + partition * film @ rotation.T)
    film_deformation, dot_deformation = _deformation(film, common), _deformation(dot, common)
    return InterfaceCell(
        vectors_2d=common,
        film_deformation=film_deformation,
        dot_deformation=dot_deformation,
        film_principal_strains=principal_strains(film_deformation),
        dot_principal_strains=principal_strains(dot_deformation),
        area_ang2=float(np.linalg.det(common)),
    )


def automatic_partition(film_stiffness: float, dot_stiffness: float) -> float:
    """Return the strain partition w of least elastic energy.

    With the misfit ε shared as (1 − w) ε in the film and w ε in the dot, the energy per area
    ½ k_film (1 − w)² ε² + ½ k_dot w² ε² is least at w = k_film / (k_film + k_dot): the softer side takes more.

    Parameters
    ----------
    film_stiffness, dot_stiffness
        Biaxial modulus times thickness of each, both in one unit (such as GPa·Å), positive.

    Raises
    ------
    MatchError
        If a stiffness is not positive.
    """
    if min(film_stiffness, dot_stiffness) <= 0:
        raise MatchError(
            f"stiffness × thickness of film {film_stiffness} and dot {dot_stiffness}",
            limit="both must be positive",
            why="an unstable material has no equilibrium share of the strain",
            remedy="give the biaxial modulus in GPa times the thickness in Å of each",
        )
    return film_stiffness / (film_stiffness + dot_stiffness)


def check_partition(partition: float) -> float:
    """Return the strain partition if it lies in [0, 1].

    Raises
    ------
    MatchError
        If it does not.
    """
    if not 0.0 <= partition <= 1.0:
        raise MatchError(
            f"strain partition {partition}",
            limit="0 ≤ w ≤ 1",
            why="beyond it one side would be strained past the other's lattice",
            remedy="give 0 (the film takes all strain), 1 (the dot does) or a value between",
        )
    return partition


def _deformation(before: Array, after: Array) -> Array:
    """Return F with after = before @ F.T for cells given as rows."""
    return np.asarray(np.linalg.solve(before, after).T, dtype=float)


def _turn_to_x(cell: Array) -> Array:
    """Return the cell turned in its plane so that the first vector lies along +x."""
    (ax, ay), (bx, by) = cell
    length = float(np.hypot(ax, ay))
    return np.array([[length, 0.0], [(ax * bx + ay * by) / length, (ax * by - ay * bx) / length]])

r"""The numbers that a relaxation changes: atoms in the frame of the starting cell, and the strain of that cell.

A place r in the strained cell is :math:`r = F s`, a lattice vector :math:`a = F a_0`, with the deformation
:math:`F = 1 + \sum_k c_k D_k`.  The relaxation changes s of the free atoms and c; the gradient is

.. math:: \partial E/\partial s = F^T \partial E/\partial r, \qquad
          \partial E/\partial c_k = V \sum_{ab} (\sigma F^{-T})_{ab} (D_k)_{ab}

so that atoms whose s is held follow the cell.  For the freedom ``cell`` the D are the symmetric strains that keep the
crystal system of the starting lattice: a cubic lattice stays cubic, a hexagonal one hexagonal.  Organic cations that
point all one way would otherwise shear the lattice of a phase that is cubic because they turn (FAPbI3: to 98 degrees).
For ``out_of_plane`` they are the three that displace planes along the normal, which leave every vector in the xy-plane
untouched.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qdip_dft.engines.evaluation import Evaluation, FloatArray, free_sites
from qdip_dft.errors import EngineError
from qdip_dft.model.calculation import Freedom
from qdip_dft.model.structure import Arrangement, StructureRecord
from qdip_dft.model.symmetry import find_operations

PLANE_TOLERANCE_ANG = 1e-8
"""How far the first two lattice vectors may leave the xy-plane in an out-of-plane relaxation."""


LATTICE_TOLERANCE_ANG = 1e-3
"""Lattice vectors that agree to this are equal by symmetry."""

INVARIANCE_TOLERANCE = 0.5
"""Averages over the point group keep a strain (singular value 1 to √2) or cancel it (0, for rounded cells 1e-4)."""


@dataclass(frozen=True, slots=True)
class Coordinates:
    """The free numbers of a structure.

    Parameters
    ----------
    structure
        The starting structure.
    lattice_ang
        Its lattice vectors as rows, in Å.
    positions_ang
        Its sites, not wrapped, in Å, shape (atoms, 3).
    is_free
        Which sites may move, shape (atoms,).
    strains
        The independent deformations D, orthogonal to each other, shape (strains, 3, 3).
    """

    structure: StructureRecord
    lattice_ang: FloatArray
    positions_ang: FloatArray
    is_free: NDArray[np.bool_]
    strains: FloatArray

    @property
    def n_atoms(self) -> int:
        """Return the number of atoms."""
        return len(self.positions_ang)

    @property
    def n_atomic(self) -> int:
        """Return how many of the numbers belong to atoms; the others are strains."""
        return 3 * int(self.is_free.sum())

    def start(self) -> FloatArray:
        """Return the numbers of the starting structure: its free sites in Å, then zero strain."""
        return np.concatenate([self.positions_ang[self.is_free].ravel(), np.zeros(len(self.strains))])

    def deformation(self, q: FloatArray) -> FloatArray:
        """Return F, shape (3, 3)."""
        return np.eye(3) + np.tensordot(q[self.n_atomic :], self.strains, axes=1)

    def unstrained_positions_ang(self, q: FloatArray) -> FloatArray:
        """Return the places s in the frame of the starting cell, in Å, shape (atoms, 3)."""
        positions = self.positions_ang.copy()
        positions[self.is_free] = q[: self.n_atomic].reshape(-1, 3)
        return positions

    def arrangement(self, q: FloatArray) -> Arrangement:
        """Return the atoms in the strained cell."""
        deformation = self.deformation(q)
        return Arrangement(
            species=self.structure.species,
            positions_ang=self.unstrained_positions_ang(q) @ deformation.T,
            lattice_ang=self.lattice_ang @ deformation.T,
        )

    def record(self, q: FloatArray) -> StructureRecord:
        """Return the structure; what did not move keeps its very numbers."""
        moved_ang = self.unstrained_positions_ang(q) - self.positions_ang
        frac_coords = np.array(self.structure.frac_coords) + moved_ang @ np.linalg.inv(self.lattice_ang)
        lattice_ang = self.lattice_ang @ self.deformation(q).T
        return StructureRecord(
            lattice_ang=lattice_ang.tolist(),
            species=self.structure.species,
            frac_coords=frac_coords.tolist(),
            is_fixed=self.structure.is_fixed,
        )

    def gradient(self, q: FloatArray, evaluation: Evaluation) -> FloatArray:
        """Return dE/dq, in eV/Å for atoms and eV for strains; without drift where no atom is fixed."""
        deformation = self.deformation(q)
        by_site = -evaluation.forces_ev_per_ang @ deformation
        if self.is_free.all():
            by_site = by_site - by_site.mean(axis=0)
        if not len(self.strains):
            return by_site[self.is_free].ravel()
        volume_ang3 = abs(np.linalg.det(self.lattice_ang @ deformation.T))
        by_deformation = volume_ang3 * require_stress(evaluation) @ np.linalg.inv(deformation).T
        by_strain = np.tensordot(self.strains, by_deformation, axes=2)
        return np.concatenate([by_site[self.is_free].ravel(), by_strain])

    def largest_free_stress_ev_per_ang3(self, evaluation: Evaluation) -> float:
        """Return the largest component of the stress that may relax, in eV/Å³; 0 when the cell is held."""
        if not len(self.strains):
            return 0.0
        return float(np.abs(self.free_part(require_stress(evaluation))).max())

    def free_part(self, tensor: FloatArray) -> FloatArray:
        """Return the part of a stress or strain that lies within the independent deformations, shape (3, 3)."""
        weights = np.tensordot(self.strains, tensor, axes=2)
        norms = np.einsum("kij,kij->k", self.strains, self.strains)
        return np.asarray(np.tensordot(weights / norms, self.strains, axes=1))


def coordinates_of(structure: StructureRecord, freedom: Freedom) -> Coordinates:
    """Return the free numbers of a structure.

    Raises
    ------
    EngineError
        If the freedom is ``out_of_plane`` and the first two lattice vectors do not lie in the xy-plane.
    """
    lattice_ang = np.array(structure.lattice_ang)
    if freedom is Freedom.OUT_OF_PLANE:
        _require_in_plane(lattice_ang)
    return Coordinates(
        structure=structure,
        lattice_ang=lattice_ang,
        positions_ang=np.array(structure.frac_coords) @ lattice_ang,
        is_free=free_sites(structure),
        strains=_strains_of(freedom, lattice_ang),
    )


def require_stress(evaluation: Evaluation) -> FloatArray:
    """Return the stress in eV/Å³, shape (3, 3).

    Raises
    ------
    EngineError
        If the code gives none for this structure.
    """
    if evaluation.stress_ev_per_ang3 is not None:
        return evaluation.stress_ev_per_ang3
    raise EngineError(
        "the code gives no stress for this structure",
        limit="a cell is relaxed along its stress",
        why="the cell would stay where it is and be called relaxed",
        remedy="relax the atoms only (a slab's cell is not relaxed), or choose another engine",
    )


def _strains_of(freedom: Freedom, lattice_ang: FloatArray) -> FloatArray:
    if freedom is Freedom.CELL:
        return _invariant_strains(lattice_ang)
    components = [(0, 2), (1, 2), (2, 2)] if freedom is Freedom.OUT_OF_PLANE else []
    strains = np.zeros((len(components), 3, 3))
    for strain, (row, column) in zip(strains, components, strict=True):
        strain[row, column] = 1.0
    return strains


def _invariant_strains(lattice_ang: FloatArray) -> FloatArray:
    """Return the symmetric strains that keep every rotation of the lattice: one for cubic, six for triclinic.

    A strain averaged over the point group of the lattice keeps it; the averages of the six symmetric unit strains
    span all of them, and the singular vectors of that set are an orthogonal basis.
    """
    rotations = _lattice_rotations(lattice_ang)
    averages = []
    for row, column in [(0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)]:
        strain = np.zeros((3, 3))
        strain[row, column] = strain[column, row] = 1.0
        averages.append(np.mean([r @ strain @ r.T for r in rotations], axis=0))
    _, weights, basis = np.linalg.svd(np.array(averages).reshape(6, 9))
    kept = basis[: len(weights)][weights > INVARIANCE_TOLERANCE].reshape(-1, 3, 3)
    return np.array([strain / np.abs(strain).max() for strain in kept])


def _lattice_rotations(lattice_ang: FloatArray) -> FloatArray:
    """Return the Cartesian rotations of the empty lattice, shape (rotations, 3, 3)."""
    found = find_operations(lattice_ang, [[0.0, 0.0, 0.0]], [1], tolerance_ang=LATTICE_TOLERANCE_ANG)
    if found is None:
        raise _no_symmetry(lattice_ang)
    to_cartesian = lattice_ang.T
    rotations: FloatArray = to_cartesian @ (found.rotations @ np.linalg.inv(to_cartesian))
    return rotations


def _no_symmetry(lattice_ang: FloatArray) -> EngineError:
    return EngineError(
        f"no symmetry is found for a cell of {abs(np.linalg.det(lattice_ang)):.3g} Å³",
        limit="three independent vectors of some Å",
        why="the crystal system that a relaxation must keep is unknown",
        remedy="check the lattice of the structure",
    )


def _require_in_plane(lattice_ang: FloatArray) -> None:
    height_ang = float(np.abs(lattice_ang[:2, 2]).max())
    if height_ang > PLANE_TOLERANCE_ANG:
        raise EngineError(
            f"the first two lattice vectors leave the xy-plane by {height_ang:.2g} Å",
            limit="an out-of-plane relaxation needs them in the xy-plane",
            why="the plane of the interface would be strained, not only its normal",
            remedy="turn the structure so that the interface lies in the xy-plane",
        )

r"""A cheap guess of the second derivatives of the energy: springs between near atoms, and stiff molecules.

.. math:: P = B^T k B + \mathrm{floor}, \qquad k_{ij} = k_1 (r_1 / r)^{m} e^{-n (r / r_{cov} - 1)}

A row of B is the derivative of something stiff by the free numbers, atoms and strains alike, so that the model knows
how a strain pulls at the atoms.  There are two kinds of rows:

* the distance of each pair of near atoms.  Its force constant falls with the distance as in Badger's rule and once
  more when the pair is longer than the sum of the covalent radii: about 45 eV/Å² for N-H, 1 for Pb-I, 0.1 for I-I;
* every motion of a molecule but its translation and rotation: bending and twisting a molecule is stiff although no
  distance need change to first order, turning it as a whole is soft.

It only has to be right within a factor of a few: the quasi-Newton steps learn the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qdip_dft.engines.evaluation import FloatArray
from qdip_dft.engines.relaxation.coordinates import Coordinates
from qdip_dft.model.molecules import Molecule, find_molecules
from qdip_dft.model.neighbours import Pairs, find_pairs
from qdip_dft.model.structure import Arrangement

CUTOFF_ANG = 5.5
FORCE_CONSTANT_EV_PER_ANG2 = 45.0
AT_DISTANCE_ANG = 1.2
DISTANCE_EXPONENT = 3.6
STRETCH_EXPONENT = 3.0

MOLECULE_EV_PER_ANG2 = 4.0
"""Stiffness of a molecule against bending and twisting; N-H bends at 1100 cm⁻¹ have 4.5."""

ATOM_FLOOR_EV_PER_ANG2 = 0.3
STRAIN_FLOOR_EV_PER_ANG3 = 0.02

SOLVER_TOLERANCE = 1e-9
"""Error of a step as a share of the gradient: below the rounding of the forces, so that relaxations go the same way."""

MOST_ITERATIONS = 2000
"""A step that is less exact than that only costs further steps."""


@dataclass(frozen=True, slots=True)
class ModelHessian:
    """The model around one arrangement; time and memory grow with the number of atoms.

    Parameters
    ----------
    q
        Where it was built.
    matrix
        P as a sparse matrix, shape (numbers, numbers).
    root
        B √k over √floor, a sparse matrix R with P = Rᵀ R: P⁻¹ Rᵀ ξ of normal random numbers ξ has the covariance P⁻¹.
    blocks
        The same without what couples one molecule, other atom or strain to the next, as a sparse factorisation.
    """

    q: FloatArray
    matrix: Any
    root: Any
    blocks: Any

    def solve(self, gradient: FloatArray) -> FloatArray:
        """Return P⁻¹ g: the step that the model expects to end at the minimum, with the opposite sign.

        Conjugate gradients, which the blocks bring to their end in some 40 steps whatever the number of atoms; a
        factorisation of the whole would fill it.
        """
        from scipy.sparse.linalg import LinearOperator, cg

        within = LinearOperator(self.matrix.shape, matvec=self.blocks.solve)
        step, _ = cg(self.matrix, gradient, rtol=SOLVER_TOLERANCE, maxiter=MOST_ITERATIONS, M=within)
        return np.asarray(step)


@dataclass(frozen=True, slots=True)
class StiffMotions:
    """Rows of B: how something stiff changes with the places r of the atoms, and its force constant.

    Parameters
    ----------
    by_site
        Derivatives by the places of all atoms as a sparse matrix, shape (rows, 3 × atoms).
    by_strain
        Derivatives by the strains with the atoms following the cell, shape (rows, strains).
    stiffness_ev_per_ang2
        Force constant of each row in eV/Å², shape (rows,).
    """

    by_site: Any
    by_strain: FloatArray
    stiffness_ev_per_ang2: FloatArray


def model_hessian(coordinates: Coordinates, q: FloatArray) -> ModelHessian:
    """Return the model Hessian at q; positive definite."""
    from scipy.sparse import diags, vstack

    arrangement = coordinates.arrangement(q)
    pairs = find_pairs(arrangement.positions_ang, arrangement.lattice_ang, cutoff_ang=CUTOFF_ANG)
    molecules = find_molecules(arrangement)
    deformation = coordinates.deformation(q)
    springs = _pair_motions(pairs, arrangement, coordinates.strains, deformation)
    bends = _molecule_motions(molecules, arrangement, coordinates.strains, deformation)
    floor = np.full(len(q), ATOM_FLOOR_EV_PER_ANG2)
    floor[coordinates.n_atomic :] = STRAIN_FLOOR_EV_PER_ANG3 * arrangement.volume_ang3
    rows = vstack([_weighted_rows(springs, coordinates), _weighted_rows(bends, coordinates)]).tocsr()
    matrix = (rows.T.tocsr() @ rows + diags(floor)).tocsr()
    root = vstack([rows, diags(np.sqrt(floor))]).tocsr()
    return ModelHessian(q, matrix, root, _factor_blocks(matrix, _block_of_numbers(molecules, coordinates)))


def _block_of_numbers(molecules: Sequence[Molecule], coordinates: Coordinates) -> NDArray[np.int64]:
    """Return for each free number the first atom of its molecule, its own atom, or -1 for a strain."""
    first = np.arange(coordinates.n_atoms)
    for molecule in molecules:
        first[list(molecule.sites)] = min(molecule.sites)
    by_atom = np.repeat(first[coordinates.is_free], 3)
    return np.concatenate([by_atom, np.full(len(coordinates.strains), -1)])


def _factor_blocks(matrix: Any, block: NDArray[np.int64]) -> Any:
    from scipy.sparse import csc_matrix
    from scipy.sparse.linalg import splu

    entries = matrix.tocoo()
    kept = block[entries.row] == block[entries.col]
    blocks = csc_matrix((entries.data[kept], (entries.row[kept], entries.col[kept])), shape=matrix.shape)
    return splu(blocks, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True})


def _weighted_rows(motions: StiffMotions, coordinates: Coordinates) -> Any:
    """Return √k B for the free numbers, shape (rows, numbers)."""
    from scipy.sparse import csr_matrix, hstack

    is_free = np.repeat(coordinates.is_free, 3)
    rows = hstack([motions.by_site.tocsc()[:, is_free], csr_matrix(motions.by_strain)]).tocsr()
    return rows.multiply(np.sqrt(motions.stiffness_ev_per_ang2)[:, None]).tocsr()


def _pair_motions(pairs: Pairs, arrangement: Arrangement, strains: FloatArray, deformation: FloatArray) -> StiffMotions:
    """Return the change of each pair's distance."""
    from scipy.sparse import coo_matrix

    along = pairs.vectors_ang / pairs.distances_ang[:, None]
    by_site = along @ deformation
    row, axis = np.divmod(np.arange(3 * len(along)), 3)
    columns = np.concatenate([3 * pairs.second[row] + axis, 3 * pairs.first[row] + axis])
    values = np.concatenate([by_site.ravel(), -by_site.ravel()])
    shape = (len(along), 3 * arrangement.n_atoms)
    unstrained = pairs.vectors_ang @ np.linalg.inv(deformation).T
    return StiffMotions(
        by_site=coo_matrix((values, (np.concatenate([row, row]), columns)), shape=shape),
        by_strain=np.einsum("pa,kab,pb->pk", along, strains, unstrained),
        stiffness_ev_per_ang2=_force_constants(pairs, arrangement.species),
    )


def _force_constants(pairs: Pairs, species: tuple[str, ...]) -> FloatArray:
    """Return the force constant of each pair in eV/Å²."""
    stretch = np.maximum(pairs.distances_ang / pairs.covalent_sums_ang(species), 0.8) - 1
    by_distance = (AT_DISTANCE_ANG / np.maximum(pairs.distances_ang, 0.9)) ** DISTANCE_EXPONENT
    return np.asarray(FORCE_CONSTANT_EV_PER_ANG2 * by_distance * np.exp(-STRETCH_EXPONENT * stretch))


def _molecule_motions(
    molecules: Sequence[Molecule], arrangement: Arrangement, strains: FloatArray, deformation: FloatArray
) -> StiffMotions:
    """Return every motion of each molecule but its translation and rotation."""
    from scipy.sparse import coo_matrix

    by_strain, values, sites = [np.zeros((0, len(strains)))], [np.zeros(0)], [np.zeros((2, 0), dtype=np.int64)]
    lattice, n_rows = arrangement.lattice_ang, 0
    for molecule in molecules:
        n_atoms = len(molecule.sites)
        places = arrangement.positions_ang[list(molecule.sites)] + molecule.cells @ lattice
        places -= places.mean(axis=0)
        distorting = np.eye(3 * n_atoms) - _rigid_motions(places)
        columns = (3 * np.array(molecule.sites)[:, None] + np.arange(3)).ravel()
        sites.append(np.stack([*np.broadcast_arrays(n_rows + np.arange(3 * n_atoms)[:, None], columns)]).reshape(2, -1))
        values.append((distorting.reshape(-1, n_atoms, 3) @ deformation).ravel())
        followed = np.einsum("kab,ib->iak", strains, places @ np.linalg.inv(deformation).T)
        by_strain.append(distorting @ followed.reshape(3 * n_atoms, -1))
        n_rows += 3 * n_atoms
    entries = (np.concatenate(values), tuple(np.concatenate(sites, axis=1)))
    by_site = coo_matrix(entries, shape=(n_rows, 3 * arrangement.n_atoms))
    return StiffMotions(by_site, np.vstack(by_strain), np.full(n_rows, MOLECULE_EV_PER_ANG2))


def _rigid_motions(positions_ang: FloatArray) -> FloatArray:
    """Return the projector on translations and rotations, shape (3 × atoms, 3 × atoms)."""
    translations = np.broadcast_to(np.eye(3)[:, None, :], (3, len(positions_ang), 3))
    rotations = np.cross(np.eye(3)[:, None, :], positions_ang[None, :, :])
    motions = np.concatenate([translations, rotations]).reshape(6, -1).T
    basis, lengths, _ = np.linalg.svd(motions, full_matrices=False)
    basis = basis[:, lengths > 1e-6 * lengths[0]]
    return np.asarray(basis @ basis.T)

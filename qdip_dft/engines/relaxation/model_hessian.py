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

from dataclasses import dataclass
from typing import Any

import numpy as np

from qdip_dft.engines.evaluation import FloatArray
from qdip_dft.engines.relaxation.coordinates import Coordinates
from qdip_dft.model.molecules import find_molecules
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


@dataclass(frozen=True, slots=True)
class ModelHessian:
    """The model around one arrangement.

    Parameters
    ----------
    q
        Where it was built.
    cholesky
        Its Cholesky factor as SciPy gives it.
    """

    q: FloatArray
    cholesky: Any

    def solve(self, gradient: FloatArray) -> FloatArray:
        """Return P⁻¹ g: the step that the model expects to end at the minimum, with the opposite sign."""
        from scipy.linalg import cho_solve

        return np.asarray(cho_solve(self.cholesky, gradient))


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
    from scipy.linalg import cho_factor

    arrangement = coordinates.arrangement(q)
    pairs = find_pairs(arrangement.positions_ang, arrangement.lattice_ang, cutoff_ang=CUTOFF_ANG)
    deformation = coordinates.deformation(q)
    springs = _pair_motions(pairs, arrangement, coordinates.strains, deformation)
    bends = _molecule_motions(arrangement, coordinates.strains, deformation)
    floor = np.full(len(q), ATOM_FLOOR_EV_PER_ANG2)
    floor[coordinates.n_atomic :] = STRAIN_FLOOR_EV_PER_ANG3 * arrangement.volume_ang3
    hessian = _curvature(springs, coordinates) + _curvature(bends, coordinates) + np.diag(floor)
    return ModelHessian(q=q, cholesky=cho_factor(hessian))


def _curvature(motions: StiffMotions, coordinates: Coordinates) -> FloatArray:
    """Return Bᵀ k B for the free numbers, shape (numbers, numbers)."""
    from scipy.sparse import csr_matrix, hstack

    is_free = np.repeat(coordinates.is_free, 3)
    rows = hstack([motions.by_site.tocsc()[:, is_free], csr_matrix(motions.by_strain)]).tocsr()
    return np.asarray((rows.T @ rows.multiply(motions.stiffness_ev_per_ang2[:, None])).toarray())


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


def _molecule_motions(arrangement: Arrangement, strains: FloatArray, deformation: FloatArray) -> StiffMotions:
    """Return every motion of each molecule but its translation and rotation."""
    from scipy.sparse import csr_matrix, lil_matrix, vstack

    by_site, by_strain = [csr_matrix((0, 3 * arrangement.n_atoms))], [np.zeros((0, len(strains)))]
    lattice = arrangement.lattice_ang
    for molecule in find_molecules(arrangement.species, arrangement.positions_ang, lattice):
        n_atoms = len(molecule.sites)
        places = arrangement.positions_ang[list(molecule.sites)] + molecule.cells @ lattice
        places -= places.mean(axis=0)
        distorting = np.eye(3 * n_atoms) - _rigid_motions(places)
        rows = lil_matrix((3 * n_atoms, 3 * arrangement.n_atoms))
        rows[:, (3 * np.array(molecule.sites)[:, None] + np.arange(3)).ravel()] = (
            distorting.reshape(-1, n_atoms, 3) @ deformation
        ).reshape(-1, 3 * n_atoms)
        followed = np.einsum("kab,ib->iak", strains, places @ np.linalg.inv(deformation).T)
        by_site.append(rows.tocsr())
        by_strain.append(distorting @ followed.reshape(3 * n_atoms, -1))
    strain_rows = np.vstack(by_strain)
    return StiffMotions(vstack(by_site), strain_rows, np.full(len(strain_rows), MOLECULE_EV_PER_ANG2))


def _rigid_motions(positions_ang: FloatArray) -> FloatArray:
    """Return the projector on translations and rotations, shape (3 × atoms, 3 × atoms)."""
    translations = np.broadcast_to(np.eye(3)[:, None, :], (3, len(positions_ang), 3))
    rotations = np.cross(np.eye(3)[:, None, :], positions_ang[None, :, :])
    motions = np.concatenate([translations, rotations]).reshape(6, -1).T
    basis, lengths, _ = np.linalg.svd(motions, full_matrices=False)
    basis = basis[:, lengths > 1e-6 * lengths[0]]
    return np.asarray(basis @ basis.T)

r"""A cheap guess of the second derivatives of the energy: springs between near atoms.

.. math:: P = B^T k B + \mathrm{floor}, \qquad k_{ij} = k_1 (r_1 / r)^{m} e^{-n (r / r_{cov} - 1)}

The row of B for a pair is the derivative of its distance by the free numbers, atoms and strains alike, so that the
model knows how a strain pulls at the atoms.  The force constant falls with the distance as in Badger's rule and once
more when the pair is longer than the sum of the covalent radii: about 45 eV/Å² for N-H, 1 for Pb-I, 0.1 for I-I.
It only has to be right within a factor of a few: the quasi-Newton steps learn the rest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qdip_dft.engines.coordinates import Coordinates
from qdip_dft.engines.neighbours import Pairs, find_pairs
from qdip_dft.engines.potential import FloatArray

CUTOFF_ANG = 5.5
FORCE_CONSTANT_EV_PER_ANG2 = 45.0
AT_DISTANCE_ANG = 1.2
DISTANCE_EXPONENT = 3.6
STRETCH_EXPONENT = 3.0
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


def model_hessian(coordinates: Coordinates, q: FloatArray) -> ModelHessian:
    """Return the model Hessian at q; positive definite."""
    from scipy.linalg import cho_factor

    arrangement = coordinates.arrangement(q)
    pairs = find_pairs(arrangement.positions_ang, arrangement.lattice_ang, cutoff_ang=CUTOFF_ANG)
    derivative = _distance_derivatives(coordinates, q, pairs)
    stiffness = _force_constants(pairs, arrangement.numbers)
    springs = (derivative.T @ derivative.multiply(stiffness[:, None])).toarray()
    floor = np.full(len(q), ATOM_FLOOR_EV_PER_ANG2)
    floor[coordinates.n_atomic :] = STRAIN_FLOOR_EV_PER_ANG3 * arrangement.volume_ang3
    return ModelHessian(q=q, cholesky=cho_factor(springs + np.diag(floor)))


def _force_constants(pairs: Pairs, numbers: NDArray[np.int64]) -> FloatArray:
    """Return the force constant of each pair in eV/Å²."""
    from ase.data import covalent_radii

    covalent_ang = covalent_radii[numbers[pairs.first]] + covalent_radii[numbers[pairs.second]]
    stretch = np.maximum(pairs.distances_ang / covalent_ang, 0.8) - 1
    by_distance = (AT_DISTANCE_ANG / np.maximum(pairs.distances_ang, 0.9)) ** DISTANCE_EXPONENT
    return np.asarray(FORCE_CONSTANT_EV_PER_ANG2 * by_distance * np.exp(-STRETCH_EXPONENT * stretch))


def _distance_derivatives(coordinates: Coordinates, q: FloatArray, pairs: Pairs) -> Any:
    """Return dr/dq of each pair as a sparse matrix, shape (pairs, numbers)."""
    from scipy.sparse import coo_matrix, csr_matrix, hstack

    deformation = coordinates.deformation(q)
    along = pairs.vectors_ang / pairs.distances_ang[:, None]
    by_site = along @ deformation
    row = np.repeat(np.arange(len(along)), 3)
    axis = np.tile(np.arange(3), len(along))
    rows = np.concatenate([row, row])
    columns = np.concatenate([3 * np.repeat(pairs.second, 3) + axis, 3 * np.repeat(pairs.first, 3) + axis])
    values = np.concatenate([by_site.ravel(), -by_site.ravel()])
    sites = coo_matrix((values, (rows, columns)), shape=(len(along), 3 * coordinates.n_atoms)).tocsc()
    unstrained = pairs.vectors_ang @ np.linalg.inv(deformation).T
    strains = np.einsum("pa,kab,pb->pk", along, coordinates.strains, unstrained)
    return hstack([sites[:, np.repeat(coordinates.is_free, 3)], csr_matrix(strains)]).tocsr()

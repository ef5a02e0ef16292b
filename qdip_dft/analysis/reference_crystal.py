r"""A harmonic crystal whose free energy is known exactly, as the start of an integration to the real crystal.

The dynamical matrix of the supercell at rest gives modes of frequency :math:`\omega_j`.  Where the crystal is a
minimum, the reference is its own harmonic crystal.  Where it is none (cubic perovskites), an imaginary one
becomes :math:`\max(|\omega_j|, \omega_\mathrm{min})`: a made-up crystal on the same sites, bound in every
direction.  Any bound one would do, since the integration takes the difference to the real crystal into account.

.. math:: F_\mathrm{ref} = \frac{N}{N-1} \sum_{j=1}^{3N-3} kT \ln\frac{\hbar\omega_j}{kT}

The three translations of the whole crystal have no frequency.  They are given the mean of the other modes, by the
factor N/(N − 1): left out, they would make the free energy per formula unit depend on the size of the cell.

D. Frenkel and A. J. C. Ladd, J. Chem. Phys. 1984, 81, 3188 (integration from a bound crystal).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qdip_dft.model.structure import StructureRecord
from qdip_dft.units import BOLTZMANN_EV_PER_K, THZ_IN_EV, THZ_PER_ROOT_STIFFNESS

FloatArray = NDArray[np.float64]

LOWEST_THZ = 0.25
"""Softest mode of a reference; a softer real one is lifted to it.  At 600 K it moves 40 atoms by 0.2 Å."""

LOWEST_MADE_UP_THZ = 1.0
"""Softest mode that replaces an imaginary one.  Away from its saddle the real crystal is stiff; for a reference much
softer than that, the time step of the integration would be too long."""


@dataclass(frozen=True)
class ReferenceCrystal:
    """A harmonic crystal.

    Parameters
    ----------
    structure
        Its sites: the supercell at rest.
    vectors
        Displacements in u^−½ of each mode: mass-weighted eigenvectors over the roots of the masses, shape (3N, 3N − 3).
    frequencies_thz
        Their frequencies, all positive, shape (3N − 3,).
    n_replaced
        Modes that were imaginary or softer than `LOWEST_THZ`, and are made up.
    """

    structure: StructureRecord
    vectors: FloatArray
    frequencies_thz: FloatArray
    n_replaced: int

    @property
    def n_modes(self) -> int:
        """Return the number of modes, 3N − 3."""
        return len(self.frequencies_thz)

    @property
    def stiffness(self) -> FloatArray:
        """Return ω² of the modes in eV/(Å² u)."""
        return np.asarray((self.frequencies_thz / THZ_PER_ROOT_STIFFNESS) ** 2)

    def displacements_ang(self, temperature_k: float) -> FloatArray:
        """Return how far the atoms move in one standard deviation of each mode, in Å, shape (3N, 3N − 3)."""
        return np.asarray(self.vectors * np.sqrt(BOLTZMANN_EV_PER_K * temperature_k / self.stiffness))

    def classical_free_energy_ev(self, temperature_k: float) -> float:
        """Return the classical free energy of the cell in eV, without the potential energy at rest."""
        thermal = BOLTZMANN_EV_PER_K * temperature_k
        return self._with_translations(thermal * np.log(self.frequencies_thz * THZ_IN_EV / thermal))

    def quantum_correction_ev(self, temperature_k: float) -> float:
        """Return quantum less classical free energy of the cell in eV."""
        thermal = BOLTZMANN_EV_PER_K * temperature_k
        x = self.frequencies_thz * THZ_IN_EV / thermal
        return self._with_translations(thermal * (x / 2 + np.log(-np.expm1(-x)) - np.log(x)))

    def _with_translations(self, energies_ev: FloatArray) -> float:
        return (self.n_modes + 3) * float(np.mean(energies_ev))


def refer_to_harmonic(
    structure: StructureRecord, force_constants: FloatArray, masses_u: Sequence[float]
) -> ReferenceCrystal:
    """Return the harmonic reference of a supercell.

    Parameters
    ----------
    structure
        The supercell at rest.
    force_constants
        Second derivatives of its energy in eV/Å², shape (N, N, 3, 3).
    masses_u
        Masses of its atoms in u.
    """
    n = structure.n_atoms
    roots = np.repeat(np.sqrt(masses_u), 3)
    dynamical = force_constants.transpose(0, 2, 1, 3).reshape(3 * n, 3 * n) / np.outer(roots, roots)
    translations = np.tile(np.eye(3), (n, 1)) * (roots / np.sqrt(np.sum(masses_u)))[:, None]
    squares, eigenvectors = _modes_without(translations, (dynamical + dynamical.T) / 2)
    frequencies = THZ_PER_ROOT_STIFFNESS * np.sqrt(np.abs(squares))
    lowest = np.where(squares < 0, LOWEST_MADE_UP_THZ, LOWEST_THZ)
    return ReferenceCrystal(
        structure=structure,
        vectors=eigenvectors / roots[:, None],
        frequencies_thz=np.maximum(frequencies, lowest),
        n_replaced=int(((squares < 0) | (frequencies < lowest)).sum()),
    )


def _modes_without(translations: FloatArray, dynamical: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the eigenvalues and eigenvectors at right angles to the translations."""
    complement = np.eye(len(dynamical)) - translations @ translations.T
    out_of_the_way = 10 * float(np.abs(dynamical).sum(axis=1).max()) + 1.0
    squares, vectors = np.linalg.eigh(
        complement @ dynamical @ complement + out_of_the_way * translations @ translations.T
    )
    return squares[:-3], vectors[:, :-3]

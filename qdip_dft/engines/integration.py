r"""Thermodynamic integration from a harmonic crystal to the real one, at a fixed cell.

.. math:: U_\lambda = (1 - \lambda) U_\mathrm{ref} + \lambda U, \qquad
          F - F_\mathrm{ref} = \int_0^1 \langle U - U_\mathrm{ref} \rangle_\lambda \, d\lambda

with the classical averages of configurations along :math:`U_\lambda` (J. G. Kirkwood, J. Chem. Phys. 1935, 3, 300;
D. Frenkel and A. J. C. Ladd, J. Chem. Phys. 1984, 81, 3188).  The integral is taken by Gauss and Legendre's rule.

Masses do not enter averages of configurations, so every mode of the reference gets the mass that makes it swing once
in 2π units of time: soft and stiff modes are sampled equally fast, where molecular dynamics needs a picosecond for the
soft ones.  The integrator is Langevin's with the BAOAB splitting, whose averages are exact for harmonic crystals at any
time step (B. Leimkuhler and C. Matthews, J. Chem. Phys. 2013, 138, 174102).  ASE's has a mass per atom instead.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import exp, sqrt
from typing import Any

import numpy as np

from qdip_dft.analysis.reference_crystal import ReferenceCrystal
from qdip_dft.engines.evaluation import Arrangement, FloatArray, Potential, evaluate_apart, require_finite
from qdip_dft.errors import EngineError
from qdip_dft.model.sampling import CouplingTask
from qdip_dft.units import BOLTZMANN_EV_PER_K

STEPS_PER_SEGMENT = 50
"""What a kill costs at most."""

TIME_STEP = 0.5
"""In units of the period over 2π, which is the same for all modes of the reference: twelve steps a period."""

FRICTION = 1.0
"""Half the rate of critical damping: a mode forgets itself within a period."""


FARTHEST_ANG = 4.0
"""Farther from its site no atom of a crystal is: the run has lost the crystal, or its time step was too long."""


@dataclass(frozen=True, slots=True)
class CouplingState:
    """Where a run at one λ stands after a segment, and the segment itself.

    Parameters
    ----------
    coordinates, velocities
        Of the modes, in standard deviations of the reference.
    differences_ev
        U − U_ref of the cell after each step of the segment in eV, U counted from the crystal at rest.
    mean_displacements_ang
        Mean displacement of each atom from its site over the segment in Å, shape (atoms, 3).
    """

    coordinates: list[float]
    velocities: list[float]
    differences_ev: list[float]
    mean_displacements_ang: list[list[float]]


def sample_coupling(
    task: CouplingTask,
    reference: ReferenceCrystal,
    potential: Potential,
    *,
    last: CouplingState | None = None,
    n_done: int = 0,
) -> Iterator[CouplingState]:
    """Yield the state after each segment of a run at one λ.

    Parameters
    ----------
    task
        The run.
    reference
        The harmonic crystal at λ = 0.
    potential
        The potential at λ = 1.
    last, n_done
        The state after the last segment of an earlier life, and how many were done.
    """
    walker = _Walker(task, reference, potential)
    place, velocity = walker.start() if last is None else (np.array(last.coordinates), np.array(last.velocities))
    for index in range(n_done, -(-task.n_steps // STEPS_PER_SEGMENT)):
        n_steps = min(STEPS_PER_SEGMENT, task.n_steps - index * STEPS_PER_SEGMENT)
        rng = np.random.default_rng([task.seed, index + 1])
        differences, mean = [], np.zeros_like(place)
        for _ in range(n_steps):
            place, velocity, difference_ev = walker.step(place, velocity, rng)
            differences.append(difference_ev)
            mean += place / n_steps
        yield CouplingState(
            coordinates=place.tolist(),
            velocities=velocity.tolist(),
            differences_ev=differences,
            mean_displacements_ang=(walker.spread @ mean).reshape(-1, 3).tolist(),
        )


class _Walker:
    """Langevin dynamics in the modes of the reference, in units of kT."""

    def __init__(self, task: CouplingTask, reference: ReferenceCrystal, potential: Potential) -> None:
        self.task, self.potential = task, potential
        self.thermal_ev = BOLTZMANN_EV_PER_K * task.temperature_k
        self.spread = reference.displacements_ang(task.temperature_k)
        self.lattice = np.array(reference.structure.lattice_ang)
        self.sites = np.array(reference.structure.frac_coords) @ self.lattice
        self.species = reference.structure.species
        self.rest_ev = self._evaluate(np.zeros(reference.n_modes))[0]
        self._force: FloatArray | None = None

    def start(self) -> tuple[FloatArray, FloatArray]:
        """Return the crystal at rest with velocities of twice the temperature, half of which becomes potential."""
        n = self.spread.shape[1]
        kick = np.random.default_rng([self.task.seed, 0]).normal(size=n)
        return np.zeros(n), np.asarray(sqrt(2) * kick)

    def step(
        self, place: FloatArray, velocity: FloatArray, rng: np.random.Generator
    ) -> tuple[FloatArray, FloatArray, float]:
        """Return place and velocity after a step, and U − U_ref there in eV."""
        force = self._force if self._force is not None else self._forces(place)[0]
        kept = exp(-FRICTION * TIME_STEP)
        velocity = velocity + TIME_STEP / 2 * force
        place = place + TIME_STEP / 2 * velocity
        velocity = kept * velocity + sqrt(1 - kept**2) * rng.normal(size=len(velocity))
        place = place + TIME_STEP / 2 * velocity
        self._force, difference_ev = self._forces(place)
        return place, velocity + TIME_STEP / 2 * self._force, difference_ev

    def _forces(self, place: FloatArray) -> tuple[FloatArray, float]:
        energy_ev, slope = self._evaluate(place)
        share = self.task.coupling
        difference_ev = energy_ev - self.rest_ev - self.thermal_ev * float(place @ place) / 2
        return -(1 - share) * place - share * slope, difference_ev

    def _evaluate(self, place: FloatArray) -> tuple[float, FloatArray]:
        """Return the potential energy in eV and its slope along the coordinates in kT."""
        displacements = (self.spread @ place).reshape(-1, 3)
        _require_near(displacements)
        positions = self.sites + displacements
        found = require_finite(evaluate_apart(self.potential, Arrangement(self.species, positions, self.lattice)))
        return found.energy_ev, -(found.forces_ev_per_ang.ravel() @ self.spread) / self.thermal_ev


def _require_near(displacements_ang: FloatArray) -> None:
    farthest = float(np.linalg.norm(displacements_ang, axis=1).max())
    if farthest > FARTHEST_ANG:
        raise EngineError(
            f"an atom is {farthest:.1f} Å from its site",
            limit=f"in a crystal no atom goes farther than {FARTHEST_ANG} Å",
            why="the run has left the crystal whose free energy was asked for",
            remedy="sample at a lower temperature, or in a larger cell (--sample-length)",
        )


def plain_state(state: CouplingState) -> dict[str, Any]:
    """Return a state as plain data."""
    return {name: getattr(state, name) for name in CouplingState.__slots__}

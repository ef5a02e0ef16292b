r"""Free energies of crystals at a temperature and zero pressure, sampled with the potential that relaxes them.

    mean cell            molecular dynamics at zero pressure, the cell free; averaged within the crystal system
    harmonic reference   atoms relaxed in that cell, forces of displaced supercells (as for phonons)
    integration          ⟨U − U_ref⟩ at five values of λ in that cell

.. math:: F(T) = U_0 + F_\mathrm{ref}(T) + \int_0^1 \langle U - U_\mathrm{ref} \rangle_\lambda \, d\lambda + F_q(T)

:math:`U_0` is the energy at rest and :math:`F_q` the quantum correction of the reference.  At the mean cell of zero
pressure F is the Gibbs free energy, but for terms of order (kT/N) ln N from the fluctuations of the cell.  A crystal
that is no minimum, such as cubic CsPbI3, has a made-up reference (`qdip_dft.analysis.reference_crystal`): it has no
harmonic free energy, but this one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from qdip_dft.analysis.averages import average_equilibrated
from qdip_dft.analysis.integration import integrate_couplings, list_couplings
from qdip_dft.analysis.phases import is_same_phase, measure_connectivity
from qdip_dft.analysis.phonons import DisplacedCrystal
from qdip_dft.engines.dynamics import typical_timestep_fs
from qdip_dft.engines.relaxation.coordinates import coordinates_of
from qdip_dft.model.calculation import Freedom
from qdip_dft.model.sampling import CouplingTask, SampledSegment, SamplingTask
from qdip_dft.model.structure import StructureRecord
from qdip_dft.model.temperature import SampledFreeEnergy

if TYPE_CHECKING:
    from qdip_dft.analysis.reference_crystal import ReferenceCrystal
    from qdip_dft.flows.vibrations import VibrationSurvey

CELL_STEPS_PER_COUPLING_STEP = 4
"""Molecular dynamics must wait for the cell, the integration only for the modes."""

FARTHEST_ANG = 0.5
"""An atom whose mean place is farther from its site belongs to another crystal: octahedra tilted for good move iodine
by 0.6 to 0.9 Å."""

SHARE_KEPT = 0.5
"""The second half of a run describes where it has come to."""


@dataclass(frozen=True, slots=True)
class SampledCrystal:
    """A crystal whose free energy is sampled at one temperature.

    Parameters
    ----------
    subject
        Its phase.
    bulk
        Its relaxed cell.
    formula_units
        Formula units in it.
    temperature_k
        Temperature in K.
    min_length_ang
        Least thickness of the supercell.
    n_steps
        Steps of the integration at each λ.
    """

    subject: str
    bulk: StructureRecord
    formula_units: int
    temperature_k: float
    min_length_ang: float
    n_steps: int

    @property
    def name(self) -> str:
        """Return what it is called in messages."""
        return f"{self.subject} at {self.temperature_k:g} K"

    @property
    def displaced(self) -> DisplacedCrystal:
        """Return the relaxed cell with its supercell."""
        return DisplacedCrystal(self.bulk, self.formula_units, self.min_length_ang)

    @property
    def n_atoms(self) -> int:
        """Return the atoms in the supercell."""
        return self.bulk.n_atoms * math.prod(self.displaced.supercell_size)

    @property
    def n_evaluations(self) -> int:
        """Return how many energies of the supercell its runs take."""
        return (CELL_STEPS_PER_COUPLING_STEP + len(list_couplings())) * self.n_steps

    def cell_task(self) -> SamplingTask:
        """Return the run that gives the mean cell."""
        supercell = self.bulk.to_pymatgen()
        size = self.displaced.supercell_size
        supercell.make_supercell(size)
        return SamplingTask(
            label=f"mean cell of {self.name}",
            structure=StructureRecord.from_pymatgen(supercell),
            formula_units=self.formula_units * math.prod(size),
            temperature_k=self.temperature_k,
            n_steps=CELL_STEPS_PER_COUPLING_STEP * self.n_steps,
            timestep_fs=typical_timestep_fs(self.bulk),
        )

    def expand(self, segments: Sequence[SampledSegment]) -> StructureRecord:
        """Return the crystal's cell with the mean lattice of a run, within its crystal system."""
        kept = segments[int(len(segments) * (1 - SHARE_KEPT)) :]
        mean = np.mean([segment.mean_structure.lattice_ang for segment in kept], axis=0)
        mean /= np.array(self.displaced.supercell_size)[:, None]
        return strain_within_system(self.bulk, mean)

    def coupling_tasks(self, reference: ReferenceCrystal) -> tuple[CouplingTask, ...]:
        """Return the runs of the integration, one per λ."""
        return tuple(
            CouplingTask(
                label=f"{self.name}, λ = {coupling:.2f}",
                structure=reference.structure,
                temperature_k=self.temperature_k,
                coupling=coupling,
                n_steps=self.n_steps,
                seed=index,
            )
            for index, coupling in enumerate(list_couplings())
        )


def strain_within_system(crystal: StructureRecord, lattice_ang: np.ndarray) -> StructureRecord:
    """Return a crystal, fractional places kept, whose lattice follows another one as far as its crystal system allows.

    Parameters
    ----------
    crystal
        The crystal: a cubic one stays cubic.
    lattice_ang
        The lattice to follow, rotated or not, in Å.
    """
    own = np.array(crystal.lattice_ang)
    deformation = np.linalg.solve(own, lattice_ang).T
    left, stretches, _ = np.linalg.svd(deformation.T)
    strain = left @ np.diag(stretches) @ left.T - np.eye(3)
    directions = coordinates_of(crystal, Freedom.CELL).strains
    shares = [float(np.tensordot(strain, d) / np.tensordot(d, d)) for d in directions]
    follow = np.eye(3) + np.tensordot(shares, directions, axes=1)
    return crystal.model_copy(update={"lattice_ang": tuple(map(tuple, (own @ follow).tolist()))})


def describe_sampled(
    crystal: SampledCrystal,
    expanded: StructureRecord,
    survey: VibrationSurvey,
    reference: ReferenceCrystal,
    runs: Sequence[Sequence[tuple[list[float], list[list[float]]]]],
) -> SampledFreeEnergy:
    """Return the free energy of a crystal whose runs are complete.

    Parameters
    ----------
    crystal, expanded
        The crystal, and its cell at this temperature.
    survey
        Its calculations: the energy at rest.
    reference
        Its harmonic reference.
    runs
        For each λ, by segment: U − U_ref of the cell in eV, and mean displacements in Å.
    """
    units = crystal.formula_units * reference.structure.n_atoms / crystal.bulk.n_atoms
    averages = [average_equilibrated([value / units for segment in run for value in segment[0]]) for run in runs]
    integral = integrate_couplings(averages)
    static = survey.static_ev_per_fu()
    classical, quantum = (
        energy(crystal.temperature_k) / units
        for energy in (reference.classical_free_energy_ev, reference.quantum_correction_ev)
    )
    drift = np.mean([segment[1] for segment in runs[-1][len(runs[-1]) // 2 :]], axis=0)
    missing = _explain_other_crystal(crystal, reference.structure, drift)
    total = None if static is None or missing else static + classical + integral.value + quantum
    return SampledFreeEnergy(
        temperature_k=crystal.temperature_k,
        n_atoms=reference.structure.n_atoms,
        lattice_ang=expanded.lattice_ang,
        static_ev_per_fu=static,
        reference_ev_per_fu=classical,
        n_replaced=reference.n_replaced,
        n_modes=reference.n_modes,
        couplings=list_couplings(),
        differences_ev_per_fu=tuple(average.mean for average in averages),
        anharmonic_ev_per_fu=integral.value,
        quantum_ev_per_fu=quantum,
        free_energy_ev_per_fu=total,
        error_ev_per_fu=None if total is None else integral.error,
        displacement_ang=float(np.linalg.norm(drift, axis=1).max()),
        missing=missing,
    )


def _explain_other_crystal(crystal: SampledCrystal, rest: StructureRecord, drift: np.ndarray) -> str | None:
    """Return why a run describes another crystal than the one it started from; None if it does not."""
    farthest = float(np.linalg.norm(drift, axis=1).max())
    if farthest > FARTHEST_ANG:
        return (
            f"{crystal.name}: an atom's mean place is {farthest:.2f} Å from its site (limit {FARTHEST_ANG} Å): with "
            "this potential the crystal becomes another one at this temperature"
        )
    lattice = np.array(rest.lattice_ang)
    moved = np.array(rest.frac_coords) + drift @ np.linalg.inv(lattice)
    return explain_lost_phase(crystal, rest.model_copy(update={"frac_coords": tuple(map(tuple, moved.tolist()))}))


def explain_lost_phase(crystal: SampledCrystal, found: StructureRecord) -> str | None:
    """Return that a mean structure has lost the phase's network of octahedra; None if it has not."""
    expected = measure_connectivity(crystal.bulk)
    here = measure_connectivity(found)
    if is_same_phase(here, expected):
        return None
    return (
        f"{crystal.name}: the run left the phase, its octahedra have {here.describe()} instead of {expected.describe()}"
    )

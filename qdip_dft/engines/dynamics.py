"""Molecular dynamics with any interatomic potential: classical sampling at constant temperature and zero pressure.

The integrator is ASE's Langevin dynamics with the BAOAB splitting, whose averages over positions are accurate at long
time steps (Leimkuhler and Matthews, J. Chem. Phys. 2013, 138, 174102), with a Langevin-Hoover cell that is free in all
its six parameters (Quigley and Probert, J. Chem. Phys. 2004, 120, 11432).  The dynamics are cut into segments, each
with random numbers of its own and each kept as soon as it is done, so a run that was killed continues at its last
segment and ends with the numbers that it would have had.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import sqrt
from typing import TYPE_CHECKING, Any

import numpy as np

from qdip_dft.engines.evaluation import (
    Arrangement,
    FloatArray,
    Potential,
    arrangement_of,
    evaluate_apart,
    require_finite,
)
from qdip_dft.model.sampling import SampledSegment, SamplingTask
from qdip_dft.model.structure import StructureRecord

if TYPE_CHECKING:
    from ase import Atoms
    from ase.md.langevinbaoab import LangevinBAOAB

STEPS_PER_SEGMENT = 250
"""What a kill costs at most, and the stretch over which a mean structure is taken."""

TIMESTEP_FS_PER_ROOT_MASS = 0.8
"""Time step over the root of the lightest mass in u: 0.8 fs with hydrogen, 9 fs where iodine is the lightest."""


def typical_timestep_fs(structure: StructureRecord) -> float:
    """Return a time step in fs that suits the lightest atom of a structure."""
    from ase.data import atomic_masses, atomic_numbers

    lightest = min(float(atomic_masses[atomic_numbers[symbol]]) for symbol in set(structure.species))
    return round(TIMESTEP_FS_PER_ROOT_MASS * sqrt(lightest), 1)


@dataclass(frozen=True, slots=True)
class MolecularState:
    """Where a trajectory stands after a segment, and the segment itself as plain data.

    Parameters
    ----------
    positions_ang, momenta, lattice_ang, cell_momentum
        Phase point in ASE's units.
    segment
        The stretch that led here; None at the start.
    """

    positions_ang: list[list[float]]
    momenta: list[list[float]]
    lattice_ang: list[list[float]]
    cell_momentum: Any
    segment: dict[str, Any] | None = None


def sample_segments(
    task: SamplingTask, potential: Potential, *, last: MolecularState | None = None, n_done: int = 0
) -> Iterator[MolecularState]:
    """Yield the state after each segment of a run.

    Parameters
    ----------
    task
        The run.
    potential
        The potential.
    last, n_done
        The state after the last segment of an earlier life, and how many were done.
    """
    atoms = _start(task, potential) if last is None else _restore(task, potential, last)
    cell_momentum: Any = 0.0 if last is None else np.array(last.cell_momentum)
    n_segments = -(-task.n_steps // STEPS_PER_SEGMENT)
    for index in range(n_done, n_segments):
        n_steps = min(STEPS_PER_SEGMENT, task.n_steps - index * STEPS_PER_SEGMENT)
        dynamics = _dynamics(task, atoms, segment=index)
        dynamics.p_eps = cell_momentum
        segment = _run_segment(task, dynamics, atoms, n_steps)
        cell_momentum = dynamics.p_eps
        yield MolecularState(
            positions_ang=atoms.positions.tolist(),
            momenta=atoms.get_momenta().tolist(),
            lattice_ang=atoms.cell.array.tolist(),
            cell_momentum=np.asarray(cell_momentum).tolist(),
            segment=segment.model_dump(mode="json"),
        )


def _start(task: SamplingTask, potential: Potential) -> Atoms:
    """Return the crystal at rest with velocities of twice the temperature, half of which becomes potential energy."""
    from ase import units

    atoms = _atoms(task.structure, potential)
    rng = np.random.default_rng([task.seed, 0, 1])
    spread = np.sqrt(2 * units.kB * task.temperature_k * atoms.get_masses())
    atoms.set_momenta(spread[:, None] * rng.normal(size=(len(atoms), 3)))
    return atoms


def _restore(task: SamplingTask, potential: Potential, state: MolecularState) -> Atoms:
    atoms = _atoms(task.structure, potential)
    atoms.set_cell(state.lattice_ang)
    atoms.set_positions(state.positions_ang)
    atoms.set_momenta(state.momenta)
    return atoms


def _atoms(structure: StructureRecord, potential: Potential) -> Atoms:
    from ase import Atoms

    arrangement = arrangement_of(structure)
    atoms = Atoms(arrangement.species, positions=arrangement.positions_ang, cell=arrangement.lattice_ang, pbc=True)
    atoms.calc = calculator_of(potential)
    return atoms


def calculator_of(potential: Potential) -> Any:
    """Return a potential as a calculator of ASE."""
    from ase.calculators.calculator import Calculator, all_changes

    class PotentialCalculator(Calculator):
        implemented_properties: list[str] = ["energy", "forces", "stress"]

        def calculate(self, atoms: Any = None, properties: Any = None, system_changes: Any = all_changes) -> None:
            super().calculate(atoms, properties, system_changes)  # type: ignore[no-untyped-call]
            here = Arrangement(tuple(atoms.get_chemical_symbols()), atoms.positions, atoms.cell.array)
            found = require_finite(evaluate_apart(potential, here))
            self.results = {"energy": found.energy_ev, "forces": found.forces_ev_per_ang}
            if found.stress_ev_per_ang3 is not None:
                self.results["stress"] = _voigt(found.stress_ev_per_ang3)

    return PotentialCalculator()  # type: ignore[no-untyped-call]


def _voigt(stress: FloatArray) -> FloatArray:
    return np.array([stress[i, j] for i, j in ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))])


def _dynamics(task: SamplingTask, atoms: Atoms, *, segment: int) -> LangevinBAOAB:
    from ase import units
    from ase.md.langevinbaoab import LangevinBAOAB

    return LangevinBAOAB(
        atoms,
        task.timestep_fs * units.fs,
        temperature_K=task.temperature_k,
        externalstress=0.0,
        T_tau=task.friction_time_fs * units.fs,
        P_tau=task.barostat_time_fs * units.fs,
        P_mass=_cell_mass(task),
        rng=np.random.default_rng([task.seed, segment + 1, 0]),
    )


def _cell_mass(task: SamplingTask) -> float:
    """Return the mass of the cell in ASE's units, by ASE's rule for a period of a quarter of the time constant."""
    return float((task.barostat_time_fs / 4 / 1.66) ** 2 * len(task.structure.species) ** (1 / 3))


def _run_segment(task: SamplingTask, dynamics: LangevinBAOAB, atoms: Atoms, n_steps: int) -> SampledSegment:
    energies, volumes, lattices, places = [], [], [], []
    for _ in range(n_steps // task.stride):
        dynamics.run(task.stride)
        energies.append(float(atoms.get_potential_energy()))
        volumes.append(float(atoms.get_volume()))
        lattices.append(atoms.cell.array.copy())
        places.append(atoms.get_scaled_positions(wrap=False))
    mean = StructureRecord(
        lattice_ang=np.mean(lattices, axis=0).tolist(),
        species=task.structure.species,
        frac_coords=tuple(map(tuple, np.mean(places, axis=0).tolist())),
    )
    return SampledSegment(energies_ev=tuple(energies), volumes_ang3=tuple(volumes), mean_structure=mean)

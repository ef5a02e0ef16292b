"""Sampling a crystal at a temperature: what is asked of molecular dynamics and what comes out."""

from __future__ import annotations

from pydantic import Field

from qdip_dft.model.base import Record
from qdip_dft.model.structure import StructureRecord


class SamplingTask(Record):
    """One run of molecular dynamics at constant temperature and zero pressure, with the whole cell free.

    Parameters
    ----------
    label
        Where it belongs, for people.  Not part of the key.
    structure
        Supercell where the run starts: a relaxed crystal.
    formula_units
        Formula units in it.
    temperature_k
        Temperature in K.
    n_steps
        Time steps in all.
    timestep_fs
        Time step in fs.
    stride
        An energy is kept every so many steps.
    friction_time_fs, barostat_time_fs
        Time constants of the Langevin thermostat and of the cell in fs.
    seed
        Seed of the velocities and of the random forces.
    """

    label: str
    structure: StructureRecord
    formula_units: int = Field(ge=1)
    temperature_k: float = Field(gt=0)
    n_steps: int = Field(ge=100)
    timestep_fs: float = Field(gt=0)
    stride: int = Field(default=5, ge=1)
    friction_time_fs: float = Field(default=200.0, gt=0)
    barostat_time_fs: float = Field(default=1000.0, gt=0)
    seed: int = 0


class SampledSegment(Record):
    """A stretch of a trajectory.

    Parameters
    ----------
    energies_ev
        Potential energies of the cell in eV, one per stride.
    volumes_ang3
        Volumes of the cell in Å³, likewise.
    mean_structure
        Averages of the lattice and of the fractional coordinates.
    """

    energies_ev: tuple[float, ...]
    volumes_ang3: tuple[float, ...]
    mean_structure: StructureRecord


class CouplingTask(Record):
    """One run of a thermodynamic integration, at one value of λ.

    Parameters
    ----------
    label
        Where it belongs, for people.  Not part of the key.
    structure
        Supercell at rest, whose cell stays.
    temperature_k
        Temperature in K.
    coupling
        λ: 0 the harmonic reference, 1 the potential.
    n_steps
        Steps in all.
    seed
        Seed of the random numbers.
    """

    label: str
    structure: StructureRecord
    temperature_k: float = Field(gt=0)
    coupling: float = Field(ge=0, le=1)
    n_steps: int = Field(ge=8)
    seed: int = 0

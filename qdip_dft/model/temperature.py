"""Free energies of a study's phases against temperature, and what they change about its answer."""

from __future__ import annotations

from typing import Final, Literal

from qdip_dft.model.base import Record
from qdip_dft.model.calculation import Level, LevelOfTheory

TEMPERATURE_SCHEMA_VERSION: Final = 2

TEMPERATURE_UNITS = {
    "_ev_per_fu": "eV per formula unit of the host",
    "_k": "kelvin",
    "_thz": "terahertz; imaginary frequencies by their size",
    "_ang": "angstrom",
}
TEMPERATURE_SIGN = "difference = black - competitor; negative: the black phase is favoured"


class ImaginaryModes(Record):
    """The modes of a crystal that is no minimum.

    Parameters
    ----------
    n_commensurate, n_commensurate_modes
        Imaginary modes among those that fit into the supercell, the three translations not counted.
    fraction_of_mesh
        Share of imaginary modes among all of the mesh of q-points.
    largest_thz
        Size of the largest imaginary frequency in THz.
    q_point
        Where it is, in reciprocal lattice vectors of the crystal's cell.
    is_commensurate
        Whether this point fits into the supercell; between such points frequencies are interpolated.
    """

    n_commensurate: int
    n_commensurate_modes: int
    fraction_of_mesh: float
    largest_thz: float
    q_point: tuple[float, float, float]
    is_commensurate: bool


class HarmonicFreeEnergy(Record):
    """Harmonic vibrations of a crystal.

    Parameters
    ----------
    mesh
        q-points along each reciprocal lattice vector.
    highest_thz
        Highest frequency in THz.
    imaginary
        Imaginary modes; None if there are none.
    zero_point_ev_per_fu
        Zero-point energy; None with imaginary modes.
    vibrational_ev_per_fu
        Vibrational free energy, zero-point energy included, one per temperature; None with imaginary modes.
    missing
        Why there is no free energy; None when there is.
    """

    mesh: tuple[int, ...]
    highest_thz: float
    imaginary: ImaginaryModes | None
    zero_point_ev_per_fu: float | None
    vibrational_ev_per_fu: tuple[float | None, ...]
    missing: str | None


class PhaseVibrations(Record):
    """A bulk or strained bulk with its vibrations.

    Parameters
    ----------
    subject
        Phase, or candidate whose strained bulk it is.
    is_strained
        Whether it is held on the mesh of the interface.
    static_ev_per_fu
        Potential energy of the crystal, relaxed to the thresholds of the phonons.
    space_group, supercell, n_displacements
        Symmetry of the relaxed cell, repetitions of its vectors, and displaced supercells that were calculated.
    harmonic
        The vibrations; None when a calculation is missing.
    orientation_ev_per_fu
        Free energy −kT ln W of an organic cation that visits W equivalent orientations, one per temperature: the lower
        bound; 0, a frozen cation, is the upper one.  None without organic cations.
    n_orientations
        W; None without organic cations.
    missing
        Why the vibrations are missing; None when they are there.
    calculations
        Calculation keys, by step.
    """

    subject: str
    is_strained: bool
    static_ev_per_fu: float | None
    space_group: str | None
    supercell: tuple[int, int, int] | None
    n_displacements: int
    harmonic: HarmonicFreeEnergy | None
    orientation_ev_per_fu: tuple[float, ...] | None = None
    n_orientations: int | None = None
    missing: str | None
    calculations: dict[str, str]


class TemperatureCurve(Record):
    """Black − competitor against temperature.

    Parameters
    ----------
    black, competitor
        Phases, or candidates on the dot.
    static_ev_per_fu
        The difference of potential energies.
    lower_ev_per_fu, upper_ev_per_fu
        The difference of free energies at each temperature, as an interval where the entropy of rotating cations is
        only bounded; None where a free energy is missing.
    transition_k
        Temperature interval in which the sign may change, (T, T) where the curve is a single one; None: no change
        within the temperatures.
    missing
        Why there is no curve, a sentence per reason.
    """

    black: str
    competitor: str
    static_ev_per_fu: float | None
    lower_ev_per_fu: tuple[float | None, ...]
    upper_ev_per_fu: tuple[float | None, ...]
    transition_k: tuple[float, float] | None
    missing: tuple[str, ...]


class TemperatureDoc(Record):
    """What temperature does to the answer of a study on one facet.

    Parameters
    ----------
    id
        Id of the result that it belongs to.
    level, theory
        How far the numbers may be trusted, and the level of theory of every energy.
    temperatures_k
        The temperatures.
    min_length_ang
        Least thickness of the phonons' supercells.
    phases
        Bulks and strained bulks.
    off_dot
        Difference of the unstrained bulks.
    on_dot
        Stabilization of the study plus the difference of the strained bulks' vibrations.
    assumptions
        What is neglected, in words.
    """

    schema_version: Literal[2] = TEMPERATURE_SCHEMA_VERSION
    id: str
    level: Level
    theory: LevelOfTheory
    temperatures_k: tuple[float, ...]
    min_length_ang: float
    phases: tuple[PhaseVibrations, ...]
    off_dot: TemperatureCurve
    on_dot: TemperatureCurve
    assumptions: tuple[str, ...]
    units: dict[str, str] = TEMPERATURE_UNITS
    sign_convention: str = TEMPERATURE_SIGN
    versions: dict[str, str]
    created_at: str

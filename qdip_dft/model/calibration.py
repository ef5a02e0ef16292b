"""By how much a potential misses strain and interfaces, measured with another engine at the potential's geometries.

With both engines at the same structures, films and coverage-free terms,

    Δe = [e_strain]_reference − [e_strain]_potential   (eV per formula unit, black − competitor),
    Δσ = [σ_surf + σ_bind]_reference − [σ_surf + σ_bind]_potential   (meV/Å² of dot, black − competitor),

so the potential misses black − competitor at n* by Δe + Δσ/n*, its bulk term not counted.
"""

from __future__ import annotations

from typing import Final, Literal

from qdip_dft.model.base import Record
from qdip_dft.model.calculation import LevelOfTheory
from qdip_dft.units import MEV_PER_EV

CALIBRATION_SCHEMA_VERSION: Final = 1


class CalibratedFilm(Record):
    """One side of a calibration.

    Parameters
    ----------
    name
        The film, or the products of a decomposition off the dot, which have neither strain nor interface.
    strain_ev_per_fu, reference_strain_ev_per_fu
        Strain of the film with the potential and with the reference engine.
    interface_mev_per_ang2, reference_interface_mev_per_ang2
        σ with what the strain of the dot costs per area, likewise.
    """

    name: str
    strain_ev_per_fu: float
    reference_strain_ev_per_fu: float
    interface_mev_per_ang2: float
    reference_interface_mev_per_ang2: float

    @property
    def strain_correction_ev_per_fu(self) -> float:
        """Reference less potential."""
        return self.reference_strain_ev_per_fu - self.strain_ev_per_fu

    @property
    def interface_correction_mev_per_ang2(self) -> float:
        """Reference less potential."""
        return self.reference_interface_mev_per_ang2 - self.interface_mev_per_ang2


class Calibration(Record):
    """What another engine says of the two films of a study.

    Parameters
    ----------
    id
        The result that was calibrated, followed by the engine that did it, such as ``pbs-cspbi3-size+cp2k``.
    result_id
        The result.
    potential
        Level of theory of the result: what is calibrated.
    reference
        Level of theory of the energies it is measured with.
    elements
        Elements of dot and host: the range of validity.
    facet
        Dot and facet, such as ``PbS(100)``, likewise.
    black, competitor
        Both sides.
    calculations
        Calculation keys of the reference energies, by step.
    """

    schema_version: Literal[1] = CALIBRATION_SCHEMA_VERSION
    id: str
    result_id: str
    potential: LevelOfTheory
    reference: LevelOfTheory
    elements: tuple[str, ...]
    facet: str
    black: CalibratedFilm
    competitor: CalibratedFilm
    calculations: dict[str, str]
    created_at: str

    @property
    def strain_ev_per_fu(self) -> float:
        """Δe, what the reference adds to the strain of black − competitor."""
        return self.black.strain_correction_ev_per_fu - self.competitor.strain_correction_ev_per_fu

    @property
    def interface_mev_per_ang2(self) -> float:
        """Δσ, what the reference adds to σ of black − competitor."""
        return self.black.interface_correction_mev_per_ang2 - self.competitor.interface_correction_mev_per_ang2

    def correction_ev_per_fu(self, coverage_fu_per_ang2: float) -> float:
        """What the reference adds to black − competitor at n*, in eV per formula unit."""
        return self.strain_ev_per_fu + self.interface_mev_per_ang2 / MEV_PER_EV / coverage_fu_per_ang2

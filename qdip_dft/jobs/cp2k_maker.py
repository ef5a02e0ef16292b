"""CP2K as atomate2 runs it, with the inputs of a study; imported only where a study asks for it.

As `qdip_dft.jobs.vasp_maker`, for atomate2's `BaseCp2kMaker`.  Sections and keywords are those that the engine
``cp2k`` writes for a person to run (self-consistency by diagonalisation, because nobody looks at the gap and repeats),
with those that move atoms or cell; whatever a powerup sets comes on top, by the names of CP2K's sections.

None of custodian's handlers is used: most of them watch a run, and to end one custodian's `Cp2kJob` kills every process
of CP2K that the user has on the machine.  Its validator is not used either: it makes an error of a density that is not
self-consistent, whose folder is to be judged.  Powerups may bring both back.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from atomate2.cp2k.jobs.base import BaseCp2kMaker, cp2k_job
from atomate2.cp2k.schemas import calculation
from atomate2.cp2k.schemas.calculation import CalculationInput
from atomate2.cp2k.schemas.task import TaskDocument
from atomate2.cp2k.sets.base import Cp2kInputGenerator, Cp2kInputSet
from jobflow import Response
from pydantic import field_validator
from pymatgen.core import Molecule, Structure

from qdip_dft.engines.cp2k.engine import Cp2kEngine, Cp2kRun
from qdip_dft.engines.cp2k.input import assemble_input, k_points
from qdip_dft.engines.dispersion import PBE_D3BJ
from qdip_dft.engines.relaxation.coordinates import LATTICE_TOLERANCE_ANG
from qdip_dft.jobs import study_inputs
from qdip_dft.model.calculation import CalculationTask, Freedom
from qdip_dft.model.engine import Dispersion
from qdip_dft.model.structure import StructureRecord
from qdip_dft.units import BOHR_IN_ANG, EV_PER_ANG3_IN_GPA, HARTREE_IN_EV

if TYPE_CHECKING:
    from jobflow import Job

    from qdip_dft.engines.evaluation import FloatArray

Sections = dict[str, Any]
"""Keywords by sections, as `Cp2kInput.update` takes them."""

GPA_IN_BAR = 1e4

LOOSEST_STEP_BOHR = 1.0
"""A relaxation ends by its forces, not because its last step was short."""

D3BJ_SECTIONS: Sections = {
    "POTENTIAL_TYPE": "PAIR_POTENTIAL",
    "PAIR_POTENTIAL": {
        "TYPE": "DFTD3(BJ)",
        "PARAMETER_FILE_NAME": "dftd3.dat",
        "REFERENCE_FUNCTIONAL": "PBE",
        "R_CUTOFF": PBE_D3BJ.pair_cutoff_bohr / 2 * BOHR_IN_ANG,
    },
}
"""The dispersion of the study as CP2K has it, which sums over pairs up to twice its ``R_CUTOFF``."""

SYSTEMS = {
    (True, True): "CUBIC",
    (True, False): "TETRAGONAL_AB",
    (False, True): "TETRAGONAL_BC",
    (False, False): "ORTHORHOMBIC",
}
"""Crystal systems of rectangular cells, by whether a = b and b = c."""


@dataclass
class StudyInputGenerator(Cp2kInputGenerator):
    """Inputs of CP2K as the engine of a study writes them; ``user_input_settings`` are sections of CP2K.

    Parameters
    ----------
    engine
        The engine; None in a maker that has no calculation yet.
    freedom
        What CP2K may move.
    """

    engine: Cp2kEngine | None = None
    freedom: str = Freedom.NONE.value

    def get_input_set(
        self, structure: Structure | Molecule | None = None, prev_dir: Any = None, optional_files: Any = None
    ) -> Cp2kInputSet:
        """The sections of the engine, those that move atoms, and those of powerups; no earlier run is taken up."""
        del prev_dir
        assert self.engine is not None
        assert isinstance(structure, Structure)
        record, freedom = StructureRecord.from_pymatgen(structure), Freedom(self.freedom)
        run = self.engine.start(self.engine.setting_of(record, freedom, Path()))
        assert isinstance(run, Cp2kRun)
        found = run.draft_input(record.arrangement, {})
        found.update({} if freedom is Freedom.NONE else list_moving_sections(self.engine, record, freedom))
        if self.user_kpoints_settings and (asked := self._get_kpoints(structure, {})) is not None:
            found["FORCE_EVAL"]["DFT"].insert(assemble_input({"KPOINTS": k_points(asked.kpts[0])})["KPOINTS"])
        found.update(self.user_input_settings)
        return Cp2kInputSet(found, optional_files)


def list_moving_sections(engine: Cp2kEngine, structure: StructureRecord, freedom: Freedom) -> Sections:
    """Sections of a relaxation by CP2K, which ends below the thresholds of the engine.

    CP2K compares components of forces where the study compares their length.  Of the third vector it relaxes the
    height alone, as VASP does.  Charge and multiplicity are stated, cells, forces and stresses of all steps written for
    pymatgen, which reads a trajectory only with them.

    Parameters
    ----------
    engine, structure, freedom
        Of a step that moves something.
    """
    limits = engine.relaxation
    force_au = limits.force_threshold_ev_per_ang / sqrt(3) / (HARTREE_IN_EV / BOHR_IN_ANG)
    ends: Sections = {"MAX_ITER": limits.max_steps, "MAX_FORCE": force_au, "RMS_FORCE": force_au}
    ends |= {"MAX_DR": LOOSEST_STEP_BOHR, "RMS_DR": LOOSEST_STEP_BOHR}
    pressure_bar = limits.stress_threshold_ev_per_ang3 * EV_PER_ANG3_IN_GPA * GPA_IN_BAR
    cell = {"TYPE": "DIRECT_CELL_OPT", "EXTERNAL_PRESSURE": 0.0, "PRESSURE_TOLERANCE": pressure_bar}
    kind, optimiser = ("GEO_OPT", ends) if freedom is Freedom.POSITIONS else ("CELL_OPT", ends | cell)
    motion: Sections = {"PRINT": {"CELL": {}, "FORCES": {}, "STRESS": {}}, kind: optimiser}
    force_eval: Sections = {"DFT": {"CHARGE": 0, "MULTIPLICITY": 1}}
    if freedom is Freedom.OUT_OF_PLANE:
        optimiser["CONSTRAINT"] = "XY"
    elif freedom is Freedom.CELL and (system := find_system(np.array(structure.lattice_ang))) is not None:
        optimiser["KEEP_SYMMETRY"] = True
        force_eval["SUBSYS"] = {"CELL": {"SYMMETRY": system}}
    if any(structure.is_fixed):
        sites = [str(site + 1) for site, is_fixed in enumerate(structure.is_fixed) if is_fixed]
        motion["CONSTRAINT"] = {"FIXED_ATOMS": {"LIST": " ".join(sites)}}
    if engine.dispersion == Dispersion.D3BJ.value:
        force_eval["DFT"]["XC"] = {"VDW_POTENTIAL": D3BJ_SECTIONS}
    return {"GLOBAL": {"RUN_TYPE": kind}, "MOTION": motion, "FORCE_EVAL": force_eval}


def find_system(lattice_ang: FloatArray) -> str | None:
    """The crystal system that CP2K is told to keep: of rectangular cells along the axes; None for any other cell.

    Other cells keep theirs as far as the stress has its symmetry, and are judged by it.
    """
    edges_ang = np.diag(lattice_ang)
    if np.abs(lattice_ang - np.diag(edges_ang)).max() > LATTICE_TOLERANCE_ANG:
        return None
    a, b, c = edges_ang
    if abs(a - c) < LATTICE_TOLERANCE_ANG <= abs(a - b):
        return "TETRAGONAL_AC"
    return SYSTEMS[bool(abs(a - b) < LATTICE_TOLERANCE_ANG), bool(abs(b - c) < LATTICE_TOLERANCE_ANG)]


class RestrictedInput(CalculationInput):
    """What atomate2 notes of an input, also of a spin-restricted one.

    To find ``UKS`` atomate2 0.1.5 takes all that an output says about the method for words; of a spin-restricted
    calculation it meets numbers and tables, and raises an AttributeError.
    """

    @field_validator("dft", mode="before")
    @classmethod
    def cleanup_dft(cls, dft: dict[str, Any]) -> dict[str, Any]:
        """As atomate2 does it, with words alone."""
        return {**dft, "UKS": True} if "UKS" in dft.values() else dft


@dataclass
class StudyCp2kMaker(BaseCp2kMaker):
    """atomate2's maker, whose documents can be read again when a calculation was spin-restricted."""

    @cp2k_job
    def make(self, structure: Structure, prev_dir: Any = None) -> Response[TaskDocument]:
        """Run CP2K, as `BaseCp2kMaker.make` does; numbers that its document holds about the method become words."""
        setattr(calculation, CalculationInput.__name__, RestrictedInput)
        try:
            response: Response[TaskDocument] = BaseCp2kMaker.make.original(self, structure, prev_dir)  # type: ignore[attr-defined]
        finally:
            setattr(calculation, CalculationInput.__name__, CalculationInput)
        if response.output is not None:
            for each in response.output.calcs_reversed or ():
                each.input.dft = {name: str(value) for name, value in each.input.dft.items()}
        return response


def make_maker(engine: Cp2kEngine) -> StudyCp2kMaker:
    """Return the maker of all calculations of an engine, for powerups to change before anything runs."""
    return StudyCp2kMaker(
        name=engine.name,
        input_set_generator=StudyInputGenerator(engine=engine, config_dict={"KPOINTS": {}}),
        run_cp2k_kwargs={"handlers": [], "validators": []},
        stop_children_kwargs={"handle_unsuccessful": False},
    )


def make_job(maker: BaseCp2kMaker, task: CalculationTask, engine: Cp2kEngine) -> Job:
    """Return the job of one calculation, as `study_inputs.make_job` does."""
    return study_inputs.make_job(maker, StudyInputGenerator, task, engine, range(task.structure.n_atoms))

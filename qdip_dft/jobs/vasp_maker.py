"""VASP as atomate2 runs it, with the inputs of a study; imported only where a study asks for it.

atomate2's `BaseVaspMaker` writes the inputs, runs VASP through custodian and parses the `TaskDoc`.  What is written is
what the engine ``vasp`` writes, with the tags that move atoms or cell; whatever a powerup sets comes on top.  Whether
the energy is that of the study is found afterwards, from the output (`qdip_dft.jobs.by_atomate2`).

Of custodian's handlers those of the engine are used, which leave the converged energy as it is; powerups may replace
them.  A run that ended unconverged is no error here: its folder is judged, and the reason becomes the record.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atomate2.vasp.jobs.base import BaseVaspMaker
from atomate2.vasp.sets.base import VaspInputGenerator
from pymatgen.io.vasp.inputs import Incar, Kpoints

from qdip_dft.engines.vasp.custodian import MONITORING_S, POLLING_S, mending_handlers
from qdip_dft.engines.vasp.engine import VaspEngine, VaspRun, settings_of_machine
from qdip_dft.engines.vasp.files import file_order
from qdip_dft.engines.vasp.potentials import choose_potentials, read_potential, release_folder
from qdip_dft.finished.codes.vasp import D3BJ_NUMBER
from qdip_dft.jobs import study_inputs
from qdip_dft.model.calculation import CalculationTask, Freedom
from qdip_dft.model.engine import Dispersion
from qdip_dft.model.structure import StructureRecord

if TYPE_CHECKING:
    from jobflow import Job

TAGS_OF_FREEDOM: dict[Freedom, dict[str, Any]] = {
    Freedom.POSITIONS: {"ISIF": 2},
    Freedom.OUT_OF_PLANE: {"ISIF": 3, "LATTICE_CONSTRAINTS": [False, False, True]},
    Freedom.CELL: {"ISIF": 3},
}
"""What VASP may move.  With LATTICE_CONSTRAINTS it sets the stress on the first two axes to zero
(vasp.at/wiki/LATTICE_CONSTRAINTS); the crystal system of a cell is kept by its symmetry."""


@dataclass
class StudyInputGenerator(VaspInputGenerator):
    """Inputs of VASP as the engine of a study writes them; the other fields are those of pymatgen's input sets.

    Parameters
    ----------
    engine
        The engine; None in a maker that has no calculation yet.
    freedom
        What VASP may move.
    """

    engine: VaspEngine | None = None
    freedom: str = Freedom.NONE.value
    sort_structure: bool = False  # the engine's own order
    validate_magmom: bool = False

    @property
    def _run(self) -> VaspRun:
        """The run of the engine whose inputs these are."""
        assert self.engine is not None
        return VaspRun(self.engine.setting_of(self._record, Freedom(self.freedom), Path()), self.engine)

    @property
    def _record(self) -> StructureRecord:
        assert self.structure is not None
        return StructureRecord.from_pymatgen(self.structure)

    @property
    def incar(self) -> Incar:
        """The tags of the engine, those that move atoms, and those of powerups; None takes a tag out."""
        tags = self._run.tags(self._record.arrangement, {}) | {"LWAVE": False, "LCHARG": False}
        asked = {**tags, **self._moving_tags(), **self.user_incar_settings}
        return Incar({tag: value for tag, value in asked.items() if value is not None})

    def _moving_tags(self) -> dict[str, Any]:
        """Tags of a relaxation, which sees the dispersion of the study as VASP has it; none of a static calculation."""
        assert self.engine is not None
        if self.freedom == Freedom.NONE.value:
            return {}
        limits = self.engine.relaxation
        moving = {"IBRION": 2, "NSW": limits.max_steps, "EDIFFG": -limits.force_threshold_ev_per_ang}
        dispersion = {"IVDW": D3BJ_NUMBER} if self.engine.dispersion == Dispersion.D3BJ.value else {}
        return {**moving, **dispersion, **TAGS_OF_FREEDOM[Freedom(self.freedom)]}

    @property
    def kpoints(self) -> Kpoints | None:
        """The mesh of the engine, unless a powerup asks for another one."""
        return super().kpoints if self.user_kpoints_settings else Kpoints.gamma_automatic(self._run.setting.k_mesh)

    @property
    def potcar_symbols(self) -> list[str]:
        """The potentials of the engine, unless a powerup names another one."""
        named = self.user_potcar_settings
        return [named.get(element) or choose_potentials([element])[0] for element in self.poscar.site_symbols]

    @property
    def potcar(self) -> str:  # type: ignore[override]
        """The text of the potentials as they are filed: their hashes are part of the level of theory."""
        release = release_folder(str(self.user_potcar_functional))
        return "".join(read_potential(release, symbol) for symbol in self.potcar_symbols)


def make_maker(engine: VaspEngine) -> BaseVaspMaker:
    """Return the maker of all calculations of an engine, for powerups to change before anything runs."""
    config = {"INCAR": {}, "POTCAR": {}, "POTCAR_FUNCTIONAL": engine.potentials}
    return BaseVaspMaker(
        name=engine.name,
        input_set_generator=StudyInputGenerator(engine=engine, config_dict=config),
        run_vasp_kwargs={
            "handlers": mending_handlers(),
            "custodian_kwargs": {
                "polling_time_step": POLLING_S,
                "monitor_freq": round(MONITORING_S / POLLING_S),
            },
        },
        stop_children_kwargs={"handle_unsuccessful": False},
    )


def make_job(maker: BaseVaspMaker, task: CalculationTask, engine: VaspEngine) -> Job:
    """Return the job of one calculation, as `study_inputs.make_job` does; spinors need a program of their own."""
    spinors = {"vasp_cmd": settings_of_machine().VASP_NCL_CMD, "vasp_job_kwargs": {"auto_gamma": False}}
    options = {**(spinors if engine.spin_orbit else {}), **maker.run_vasp_kwargs}
    order = file_order(task.structure.species)
    return study_inputs.make_job(maker, StudyInputGenerator, task, engine, order, run_vasp_kwargs=options)

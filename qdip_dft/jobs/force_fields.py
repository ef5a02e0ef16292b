"""atomate2's force-field Makers with the potentials and the relaxation of this package, for any flow of atomate2.

A flow that takes `atomate2.forcefields.jobs.ForceFieldRelaxMaker` or `ForceFieldStaticMaker` takes these.  Their output
is the same document; of its ionic steps there are two, the first and the last.  Relaxations end by forces and stress
alike (0007), and cells keep their crystal system.

    from qdip_dft.jobs.force_fields import ForceFieldRelaxMaker

    job = ForceFieldRelaxMaker(engine={"name": "mlip", "dispersion": "d3bj"}).make(structure)
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ase.calculators.singlepoint import SinglePointCalculator
from atomate2.ase.schemas import AseResult
from atomate2.ase.utils import TrajectoryObserver
from atomate2.forcefields import jobs
from pymatgen.core import Molecule, Structure

from qdip_dft.engines.potential import PotentialEngine
from qdip_dft.engines.registry import engine_from_spec
from qdip_dft.errors import EngineError
from qdip_dft.model.calculation import EngineResult, Freedom
from qdip_dft.model.engine import EngineSpec
from qdip_dft.model.structure import StructureRecord


@dataclass
class ForceFieldRelaxMaker(jobs.ForceFieldRelaxMaker):
    """Relax a crystal with L-BFGS on a model Hessian.

    The other parameters are those of atomate2's maker; ``steps`` and ``relax_kwargs={"fmax": …}`` (eV/Å) go before the
    thresholds of the engine's preset.

    Parameters
    ----------
    engine
        The potential, as the section ``engine`` of a study.
    freedom
        What may move: ``positions``, ``cell``, or ``out_of_plane``; None: the cell if ``relax_cell``.

    Raises
    ------
    EngineError
        When the job runs: if the engine is no potential, or it is asked for what it lacks: the shape at fixed volume, a
        molecule without a cell.
    """

    name: str = "force field relax (qdip)"
    engine: dict[str, Any] = field(default_factory=dict)
    freedom: str | None = None

    @property
    def ase_calculator_name(self) -> str:
        """Engine and potential, in the words of a study."""
        theory = self._make_engine().theory()
        return f"{theory.code} ({theory.engine})"

    def run_ase(self, mol_or_struct: Structure | Molecule, prev_dir: Any = None) -> AseResult:
        """Relax a structure, or evaluate it where ``steps`` is at most 1; not as a job."""
        del prev_dir
        if self.relax_shape or isinstance(mol_or_struct, Molecule):
            raise _not_offered("the shape at fixed volume" if self.relax_shape else "a molecule without a cell")
        engine, start = self._make_engine(), StructureRecord.from_pymatgen(mol_or_struct)
        results = [engine.static(start)]
        if self.steps > 1:
            chosen = self.freedom or (Freedom.CELL if self.relax_cell else Freedom.POSITIONS)
            results.append(engine.relax(start, Freedom(chosen)))
        last = results[-1]
        return AseResult(
            final_mol_or_struct=last.structure.to_pymatgen(),
            final_energy=last.energy_ev,
            trajectory=_observe(results).to_emmet_trajectory(filename=None),
            converged=last.is_converged,
            is_force_converged=last.max_force_ev_per_ang <= engine.relaxation.force_threshold_ev_per_ang,
            energy_downhill=last.energy_ev < results[0].energy_ev,
            dir_name=str(Path.cwd()),
            elapsed_time=sum(each.wall_time_s for each in results),
        )

    def _make_engine(self) -> PotentialEngine:
        asked = EngineSpec.model_validate(self.engine)
        limits: dict[str, Any] = {"max_steps": self.steps} if self.steps > 1 else {}
        if "fmax" in self.relax_kwargs:
            limits["force_threshold_ev_per_ang"] = self.relax_kwargs["fmax"]
        engine = engine_from_spec(asked.model_copy(update={"settings": {**asked.settings, **limits}}))
        if not isinstance(engine, PotentialEngine):
            raise _not_offered(f"engine {asked.name!r}")
        return engine


@dataclass
class ForceFieldStaticMaker(ForceFieldRelaxMaker):
    """Energy, forces and stress of a crystal as it stands; the parameters are those of `ForceFieldRelaxMaker`."""

    name: str = "force field static (qdip)"
    relax_cell: bool = False
    steps: int = 1


def _observe(results: list[EngineResult]) -> TrajectoryObserver:
    """The frames of some results, as atomate2 keeps them."""
    atoms = results[0].structure.to_ase()
    observer = None
    for result in results:
        atoms.set_cell(result.structure.lattice_ang)
        atoms.set_scaled_positions(result.structure.frac_coords)
        found = {"energy": result.energy_ev, "forces": result.forces_ev_per_ang, "stress": result.stress_ev_per_ang3}
        atoms.calc = SinglePointCalculator(atoms, **found)
        atoms.calc.implemented_properties = list(atoms.calc.results)
        observer = observer or TrajectoryObserver(atoms)
        observer()
    assert observer is not None
    return observer


def _not_offered(what: str) -> EngineError:
    return EngineError(
        f"{what} is not relaxed here",
        limit="crystals, with a potential, their cell or their atoms free",
        why="the model Hessian knows periodic cells, and its two ends are force and stress",
        remedy="take atomate2's own maker (`atomate2.forcefields.jobs`), or another `engine` or `freedom`",
    )

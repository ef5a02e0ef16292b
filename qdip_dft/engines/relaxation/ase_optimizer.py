"""The relaxation of this package as an optimiser of ASE: ``ModelHessianLBFGS(atoms).run(fmax=0.02)``."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from ase import Atoms
from ase.constraints import FixAtoms
from ase.optimize.optimize import Optimizer

from qdip_dft.engines.base import RelaxationSettings
from qdip_dft.engines.evaluation import Evaluation
from qdip_dft.engines.relaxation.descent import OPTIMISER, Steps, relaxation_steps
from qdip_dft.errors import EngineError
from qdip_dft.model.calculation import Freedom
from qdip_dft.model.structure import StructureRecord


class ModelHessianLBFGS(Optimizer):
    """L-BFGS on a model Hessian, for the atoms of a periodic cell, which stays.

    Whatever takes an ASE optimiser takes it, with ASE's log, trajectory, observers and criterion: it ends when no force
    on a free atom exceeds ``fmax`` in eV/Å.  The algorithm is that of `relax_structure`; the parameters are those of
    `ase.optimize.optimize.Optimizer`.
    """

    def initialize(self) -> None:
        """Begin anew."""
        self._steps: Steps | None = None

    def step(self, forces: Any = None) -> None:
        """Move the atoms to where their forces are wanted next.

        Raises
        ------
        EngineError
            If the cell is not periodic in three directions, something else than whole atoms is held, or no step lowers
            the energy further.
        """
        del forces
        if self._steps is None:
            self._steps = self._begin()
        energy_ev, forces_ev_per_ang = self.atoms.get_potential_energy(), self.atoms.get_forces(apply_constraint=False)
        try:
            asked = self._steps.send(Evaluation(float(energy_ev), np.asarray(forces_ev_per_ang), None))
        except StopIteration as end:
            raise _stuck(end.value.warnings) from end
        self.atoms.set_positions(asked.positions_ang)  # ASE leaves held atoms to the last digit

    def _begin(self) -> Steps:
        structure = _read_atoms(self.atoms)
        settings = RelaxationSettings(
            force_threshold_ev_per_ang=0.0,  # ASE says when it is done, and when it is given up
            stress_threshold_ev_per_ang3=np.inf,
            max_steps=sys.maxsize,
            optimiser=OPTIMISER,
        )
        steps = relaxation_steps(structure, Freedom.POSITIONS, settings=settings)
        next(steps)  # it asks for the start, where the atoms are
        return steps


def _read_atoms(atoms: Any) -> StructureRecord:
    is_cell = isinstance(atoms, Atoms) and atoms.pbc.all() and atoms.cell.rank == 3
    held = [constraint for constraint in getattr(atoms, "constraints", ()) if isinstance(constraint, FixAtoms)]
    if not is_cell or len(held) < len(atoms.constraints):
        raise EngineError(
            "these atoms are not those of a periodic cell, some of them whole and held",
            limit="the cell repeats in three directions and stays, and of the constraints FixAtoms is known",
            why="the model Hessian knows bonds across the faces of the cell, and would move what is to stay",
            remedy="put the atoms into a cell with pbc=True, hold atoms with FixAtoms, and pass no filter of the cell",
        )
    is_fixed = np.zeros(len(atoms), dtype=bool)
    for constraint in held:
        is_fixed[constraint.index] = True
    return StructureRecord(
        lattice_ang=atoms.cell.tolist(),
        species=tuple(atoms.get_chemical_symbols()),
        frac_coords=atoms.cell.scaled_positions(atoms.positions).tolist(),
        is_fixed=tuple(is_fixed.tolist()) if is_fixed.any() else (),
    )


def _stuck(warnings: tuple[str, ...]) -> EngineError:
    return EngineError(
        f"the relaxation ended before its forces did: {'; '.join(warnings)}",
        limit="each step lowers the energy until no force is left",
        why="the structure is not at rest",
        remedy="see whether energy and forces of the calculator belong together, or raise fmax",
    )

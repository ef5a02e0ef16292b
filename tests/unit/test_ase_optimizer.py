"""The relaxation as an optimiser of ASE: the same steps, in ASE's own loop."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms, FixBondLength
from ase.filters import FrechetCellFilter
from ase.io import read
from ase.optimize import LBFGS
from ase.optimize.optimize import Optimizer

from qdip_dft.engines.base import RelaxationSettings
from qdip_dft.engines.evaluation import Evaluation
from qdip_dft.engines.relaxation.ase_optimizer import ModelHessianLBFGS
from qdip_dft.engines.relaxation.descent import OPTIMISER, relax_structure
from qdip_dft.errors import EngineError
from qdip_dft.model.calculation import Freedom
from qdip_dft.model.structure import Arrangement, StructureRecord


def copper() -> Atoms:
    atoms = bulk("Cu", cubic=True) * (2, 2, 2)
    atoms.rattle(0.1, seed=3)
    atoms.calc = EMT()
    return atoms


def test_it_ends_where_our_own_loop_ends(tmp_path):
    atoms, start = copper(), copper()

    def emt(arrangement: Arrangement) -> Evaluation:
        there = arrangement.to_ase()
        there.calc = EMT()
        return Evaluation(there.get_potential_energy(), there.get_forces(), None)

    settings = RelaxationSettings(0.01, np.inf, 100, OPTIMISER)
    structure = StructureRecord(
        lattice_ang=start.cell.tolist(),
        species=tuple(start.get_chemical_symbols()),
        frac_coords=start.cell.scaled_positions(start.positions).tolist(),
    )
    expected = relax_structure(structure, Freedom.POSITIONS, potential=emt, settings=settings)
    optimizer = ModelHessianLBFGS(atoms, logfile=None, trajectory=str(tmp_path / "steps.traj"))
    assert isinstance(optimizer, Optimizer)
    assert optimizer.run(fmax=0.01)
    assert atoms.positions == pytest.approx(expected.structure.arrangement.positions_ang, abs=1e-10)
    assert optimizer.nsteps == expected.n_steps
    assert len(read(tmp_path / "steps.traj", ":")) == optimizer.nsteps + 1


def test_it_takes_fewer_steps_than_plain_lbfgs_to_the_same_minimum():
    ours, plain = copper(), copper()
    with ModelHessianLBFGS(ours, logfile=None) as first, LBFGS(plain, logfile=None) as second:
        first.run(fmax=0.005)
        second.run(fmax=0.005)
        assert first.nsteps < second.nsteps
    assert ours.get_potential_energy() == pytest.approx(plain.get_potential_energy(), abs=1e-4)


def test_it_goes_on_after_the_steps_that_it_was_allowed():
    atoms = copper()
    optimizer = ModelHessianLBFGS(atoms, logfile=None)
    assert not optimizer.run(fmax=0.01, steps=2)
    assert optimizer.run(fmax=0.01, steps=100)


def test_held_atoms_stay():
    atoms = copper()
    atoms.set_constraint(FixAtoms([0, 5]))
    start = atoms.positions.copy()
    assert ModelHessianLBFGS(atoms, logfile=None).run(fmax=0.01)
    assert np.array_equal(atoms.positions[[0, 5]], start[[0, 5]])
    assert np.abs(atoms.positions - start).max() > 0.01


@pytest.mark.parametrize("spoil", ["molecule", "bond", "filter"])
def test_what_it_cannot_hold_is_refused(spoil: str):
    atoms = copper()
    if spoil == "molecule":
        atoms.pbc = False
    if spoil == "bond":
        atoms.set_constraint(FixBondLength(0, 1))
    with pytest.raises(EngineError, match="hold atoms with FixAtoms"):
        ModelHessianLBFGS(FrechetCellFilter(atoms) if spoil == "filter" else atoms, logfile=None).run(fmax=0.01)

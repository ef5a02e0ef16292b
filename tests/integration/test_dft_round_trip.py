"""Atoms keep their order, their places and what is fixed on the way through every code's input."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.cp2k import parse_input
from ase.io import read
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from qdip_dft.engines.code_run import Setting
from qdip_dft.engines.cp2k.engine import Cp2kRun
from qdip_dft.engines.espresso.engine import EspressoRun
from qdip_dft.engines.gpaw.engine import GpawRun
from qdip_dft.engines.registry import engine_from_spec
from qdip_dft.engines.relaxation.coordinates import coordinates_of
from qdip_dft.model.calculation import Freedom
from qdip_dft.model.engine import EngineSpec
from qdip_dft.model.structure import Arrangement, StructureRecord
from tests.dft_codes import CODES, require_code

SPECIES = ("Pb", "S", "Cs", "I", "C", "N", "H")


@st.composite
def structures(draw: st.DrawFn) -> StructureRecord:
    """Any species in any order, sites outside of the cell included, some of them fixed."""
    n = draw(st.integers(1, 8))
    shear = draw(arrays(np.float64, (3, 3), elements=st.floats(-1.0, 1.0)))
    frac = draw(arrays(np.float64, (n, 3), elements=st.floats(-1.5, 1.5)))
    return StructureRecord(
        lattice_ang=(np.diag([7.0, 8.0, 9.0]) + shear).tolist(),
        species=tuple(draw(st.lists(st.sampled_from(SPECIES), min_size=n, max_size=n))),
        frac_coords=tuple(map(tuple, frac.tolist())),
        is_fixed=tuple(draw(st.lists(st.booleans(), min_size=n, max_size=n))),
    )


def through_input(name: str, arrangement: Arrangement, folder: Path) -> Atoms:
    """Return the atoms as the code reads them."""
    engine = engine_from_spec(EngineSpec(name=name))
    run = engine.start(Setting(folder=folder, k_mesh=(2, 2, 2), vacuum=None, has_fixed_cell=True))  # type: ignore[attr-defined]
    if isinstance(run, EspressoRun):
        run.write_inputs(arrangement, {})
        atoms = read(folder / "pw.in", format="espresso-in")
        assert isinstance(atoms, Atoms)
        return atoms
    if isinstance(run, GpawRun):
        question = run._question(arrangement, {})
        return Atoms(question["species"], positions=question["positions_ang"], cell=question["lattice_ang"])
    assert isinstance(run, Cp2kRun)
    subsystem = parse_input(str(run.draft_input(arrangement, {}))).get_subsection("FORCE_EVAL/SUBSYS")
    rows = [line.split() for line in subsystem.get_subsection("COORD").keywords]
    cell = [[float(x) for x in line.split()[1:]] for line in subsystem.get_subsection("CELL").keywords]
    return Atoms([row[0] for row in rows], positions=[[float(x) for x in row[1:]] for row in rows], cell=cell)


@pytest.mark.parametrize("name", CODES)
@settings(max_examples=25)
@given(structure=structures())
def test_order_places_and_cell_survive_the_input_of_a_code(
    name: str, structure: StructureRecord, tmp_path_factory: pytest.TempPathFactory
) -> None:
    require_code(name)
    arrangement = structure.arrangement
    atoms = through_input(name, arrangement, tmp_path_factory.mktemp("input"))
    assert tuple(atoms.get_chemical_symbols()) == structure.species
    assert np.allclose(atoms.positions, arrangement.positions_ang, atol=1e-8)
    assert np.allclose(atoms.cell, arrangement.lattice_ang, atol=1e-8)


@given(structure=structures(), freedom=st.sampled_from([Freedom.POSITIONS, Freedom.CELL]))
def test_fixed_sites_and_the_order_survive_a_relaxation(structure: StructureRecord, freedom: Freedom) -> None:
    coordinates = coordinates_of(structure, freedom)
    moved = coordinates.record(coordinates.start() + 0.05)
    assert moved.species == structure.species
    assert moved.is_fixed == structure.is_fixed
    for fixed, before, after in zip(structure.is_fixed, structure.frac_coords, moved.frac_coords, strict=True):
        assert (before == pytest.approx(after, abs=1e-12)) or not fixed

"""Which phases are minima with the default potential, and by how much the others are not."""

from __future__ import annotations

from functools import cache

import pytest

from qdip_dft.analysis.minima import check_minimum
from qdip_dft.builders.ions import view_ions
from qdip_dft.builders.minima import build_tilting_cell
from qdip_dft.engines.registry import engine_from_spec
from qdip_dft.library.crystals import load_crystal
from qdip_dft.model.calculation import Freedom
from qdip_dft.model.engine import EngineSpec
from qdip_dft.model.stabilization import Check

MINIMA = ["CsPbI3-gamma", "CsPbI3-delta", "FAPbI3-orthorhombic", "FAPbI3-delta", "PbS", "PbI2"]

SADDLES = {"CsPbI3-alpha": 0.20, "FAPbI3-alpha": 0.06}
"""Least gain in eV per formula unit: the cubic lattice is kept, so it is a lower bound of how far they lie above their
minima (γ-CsPbI3 0.24 below α, orthorhombic FAPbI3 0.15)."""


@cache
def check(name: str) -> tuple[float, Check]:
    """Gain in eV per formula unit of a crystal whose octahedra may tilt, and what is said about it."""
    engine = engine_from_spec(EngineSpec(name="mlip", preset="fast"))
    crystal = load_crystal(name)
    bulk = engine.relax(crystal.record.structure, Freedom.CELL)
    cell = build_tilting_cell(view_ions(bulk.structure, crystal.record.formal_charges), seed=0).to_record()
    tilting = engine.relax(cell, Freedom.CELL)
    assert bulk.is_converged
    assert tilting.is_converged
    n_cells = tilting.structure.n_atoms // bulk.structure.n_atoms
    gain_ev = (bulk.energy_ev - tilting.energy_ev / n_cells) / crystal.formula_units
    return gain_ev, check_minimum(gain_ev, crystal=name)


@pytest.mark.parametrize("name", MINIMA)
def test_a_minimum_gains_nothing_by_tilting(name: str) -> None:
    gain_ev, found = check(name)
    assert found.is_passed
    assert abs(gain_ev) < 0.002


@pytest.mark.parametrize("name", SADDLES)
def test_a_static_cubic_perovskite_is_none(name: str) -> None:
    gain_ev, found = check(name)
    assert not found.is_passed
    assert gain_ev > SADDLES[name]
    assert f"{name}, a saddle point, tilt gain +{1000 * gain_ev:.1f} meV/f.u." in found.finding

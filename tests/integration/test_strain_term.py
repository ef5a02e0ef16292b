"""The strain term of real relaxations: nothing at zero strain, positive and quadratic for small strains.

The law holds where the cell leaves no soft mode to the film.  The octahedra of cubic CsPbI3 want to tilt, but
neighbours must tilt in opposite senses, which a cell of one octahedron cannot hold; rock salt has no such mode at all.
In larger cells the tilts respond to strain themselves, and the energy is no longer a parabola.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from qdip_dft.analysis.stability import CandidateEnergies, compute_terms
from qdip_dft.builders.films import build_strained_bulk
from qdip_dft.builders.ions import find_ions
from qdip_dft.builders.orientation import find_orientation, in_plane_vectors, orient_crystal
from qdip_dft.builders.strain import interface_cell
from qdip_dft.engines.base import Engine
from qdip_dft.engines.registry import engine_from_spec
from qdip_dft.model.calculation import EngineResult, Freedom
from qdip_dft.model.engine import EngineSpec, PresetName
from tests.unit.crystals import load
from tests.unit.test_strain import ONE_BY_ONE

STRAINS = (-0.02, -0.01, 0.01, 0.02)
CASES = [("testing", "CsPbI3-alpha"), ("testing", "PbS"), ("mlip", "CsPbI3-alpha")]

each_case = pytest.mark.parametrize(("engine_name", "name"), CASES)


@cache
def engine_of(engine_name: str) -> Engine:
    return engine_from_spec(EngineSpec(name=engine_name, preset=PresetName.PRECISE))


@cache
def relaxed_bulk(engine_name: str, name: str) -> EngineResult:
    return engine_of(engine_name).relax(load(name).structure, Freedom.CELL)


@cache
def strained_bulk(engine_name: str, name: str, strain: float) -> EngineResult:
    """Return the bulk on a (100) mesh that is stretched alike in both directions, relaxed along its normal."""
    ions = find_ions(relaxed_bulk(engine_name, name).structure, load(name).formal_charges)
    oriented = orient_crystal(ions, find_orientation(ions, (1, 0, 0)))
    vectors = in_plane_vectors(oriented)
    mesh = interface_cell(vectors, vectors * (1 + strain), ONE_BY_ONE)
    reference = build_strained_bulk(oriented, ((1, 0), (0, 1)), mesh, n_periods=1)
    return engine_of(engine_name).relax(reference.to_record(), Freedom.OUT_OF_PLANE)


def strain_term_ev_per_fu(engine_name: str, name: str, strain: float) -> float:
    bulk, strained = relaxed_bulk(engine_name, name), strained_bulk(engine_name, name, strain)
    assert bulk.is_converged
    assert strained.is_converged
    energies = CandidateEnergies(
        bulk_ev=bulk.energy_ev,
        n_bulk=load(name).formula_units,
        strained_bulk_ev=strained.energy_ev,
        n_strained_bulk=strained.structure.species.count("Pb"),
        film_slab_ev=None,
        dot_slab_ev=None,
        interface_ev=None,
        n_film=1,
    )
    return compute_terms(energies).strain_ev_per_fu


@each_case
def test_zero_strain_costs_nothing(engine_name, name):
    # the out-of-plane relaxation starts in the minimum; a potential in single precision is flat to some µeV
    assert strain_term_ev_per_fu(engine_name, name, 0.0) == pytest.approx(0, abs=1e-5)


@each_case
@pytest.mark.parametrize("strain", STRAINS)
def test_strain_costs_energy(engine_name, name, strain):
    assert strain_term_ev_per_fu(engine_name, name, strain) > 1e-4


@each_case
def test_the_cost_of_strain_is_quadratic_within_a_fifth(engine_name, name):
    moduli = np.array([strain_term_ev_per_fu(engine_name, name, strain) / strain**2 for strain in STRAINS])
    assert moduli == pytest.approx(np.full(len(STRAINS), moduli.mean()), rel=0.2)


@each_case
@pytest.mark.parametrize("strain", [-0.02, 0.02])
def test_the_film_gives_way_along_its_normal(engine_name, name, strain):
    free = strained_bulk(engine_name, name, 0.0).structure.lattice_ang[2][2]
    strained = strained_bulk(engine_name, name, strain).structure.lattice_ang[2][2]
    assert (strained - free) * strain < 0  # thinner when stretched, as for every Poisson ratio above zero


@each_case
@pytest.mark.parametrize("strain", [-0.02, 0.02])
def test_only_the_normal_relaxes(engine_name, name, strain):
    relaxed = np.array(strained_bulk(engine_name, name, strain).structure.lattice_ang)
    unstrained = np.array(strained_bulk(engine_name, name, 0.0).structure.lattice_ang)
    assert relaxed[:2, :2] == pytest.approx((1 + strain) * unstrained[:2, :2], rel=1e-9)


def test_a_film_held_at_its_old_thickness_costs_more():
    # Poisson's relaxation lowers the energy: the strain term is that of a film which is free along its normal.
    strain, name = 0.02, "CsPbI3-alpha"
    structure = strained_bulk("testing", name, 0.0).structure
    stretched = np.array(structure.lattice_ang) @ np.diag([1 + strain, 1 + strain, 1.0])
    held = structure.model_copy(update={"lattice_ang": tuple(map(tuple, stretched.tolist()))})
    clamped = engine_of("testing").static(held)
    assert clamped.energy_ev > strained_bulk("testing", name, strain).energy_ev

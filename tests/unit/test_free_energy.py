"""Differences of free energies against temperature, and the entropy of organic cations."""

from __future__ import annotations

import math

import numpy as np
import pytest

from qdip_dft.analysis.free_energy import compare_phases
from qdip_dft.builders.cages import count_orientations
from qdip_dft.flows.vibrations import orientation_free_energies
from qdip_dft.model.temperature import HarmonicFreeEnergy, PhaseVibrations
from qdip_dft.units import BOLTZMANN_EV_PER_K
from tests.unit.crystals import load_ions

TEMPERATURES_K = (0.0, 100.0, 200.0)


def phase(subject: str, vibrational_ev, *, n_orientations=None, missing=None) -> PhaseVibrations:
    harmonic = HarmonicFreeEnergy(
        mesh=(2, 2, 2),
        highest_thz=3.0,
        imaginary=None,
        zero_point_ev_per_fu=vibrational_ev[0],
        vibrational_ev_per_fu=tuple(vibrational_ev),
        missing=missing,
    )
    rotation = None if n_orientations is None else orientation_free_energies(n_orientations, TEMPERATURES_K)
    return PhaseVibrations(
        subject=subject,
        is_strained=False,
        static_ev_per_fu=-10.0,
        space_group="Pnma",
        supercell=(1, 1, 1),
        n_displacements=3,
        harmonic=harmonic,
        orientation_ev_per_fu=rotation,
        n_orientations=n_orientations,
        missing=None,
        calculations={},
    )


def compare(black, competitor, static_ev=0.1):
    return compare_phases(black, competitor, static_ev_per_fu=static_ev, temperatures_k=TEMPERATURES_K)


def test_equal_vibrations_leave_the_static_difference():
    curve = compare(phase("black", (0.05, 0.0, -0.1)), phase("yellow", (0.05, 0.0, -0.1)))
    assert curve.lower_ev_per_fu == curve.upper_ev_per_fu == pytest.approx((0.1, 0.1, 0.1))
    assert curve.transition_k is None


def test_swapping_the_phases_flips_the_curve():
    soft, stiff = phase("soft", (0.05, 0.0, -0.2), n_orientations=12), phase("stiff", (0.06, 0.02, -0.1))
    forward, backward = compare(soft, stiff), compare(stiff, soft, static_ev=-0.1)
    assert forward.lower_ev_per_fu == pytest.approx([-f for f in backward.upper_ev_per_fu if f is not None])


def test_the_soft_phase_wins_where_the_curve_crosses_zero():
    curve = compare(phase("soft", (0.0, -0.08, -0.16)), phase("stiff", (0.0, 0.0, 0.0)))
    assert curve.transition_k == pytest.approx((125.0, 125.0))


def test_rotation_makes_an_interval_as_wide_as_its_entropy():
    curve = compare(phase("soft", (0, 0, 0), n_orientations=12), phase("stiff", (0, 0, 0), n_orientations=3))
    assert curve.lower_ev_per_fu[2] == pytest.approx(0.1 - 200 * BOLTZMANN_EV_PER_K * math.log(12))
    assert curve.upper_ev_per_fu[2] == pytest.approx(0.1 + 200 * BOLTZMANN_EV_PER_K * math.log(3))


def test_an_imaginary_mode_leaves_the_curve_missing_with_its_reason():
    curve = compare(phase("cubic", (0, 0, 0), missing="5 modes are imaginary"), phase("stiff", (0, 0, 0)))
    assert curve.lower_ev_per_fu == (None, None, None)
    assert curve.missing == ("cubic: 5 modes are imaginary",)


def test_a_crystal_without_molecules_has_no_orientations():
    assert count_orientations(load_ions("CsPbI3-gamma")) is None


@pytest.mark.parametrize(("crystal", "site_order"), [("FAPbI3-alpha", 48), ("FAPbI3-delta", 12)])
def test_a_pinned_cation_has_at_most_the_orientations_of_its_cage(crystal, site_order):
    # Oh has 48 operations, D3h of the hexagonal cage 12; a molecule along an axis has fewer distinct images.
    found = count_orientations(load_ions(crystal))
    assert found is not None
    assert site_order % found == 0


def test_a_planar_molecule_on_the_mirrors_of_a_cubic_cage_has_twelve_orientations():
    from dataclasses import replace

    crystal = load_ions("FAPbI3-alpha")
    aligned = {
        "C": [(0.42, 0, 0)],
        "N": [(-0.2, 1.17, 0), (-0.2, -1.17, 0)],
        "H": [(1.5, 0, 0), (0.3, 2.0, 0), (0.3, -2.0, 0), (-1.2, 1.25, 0), (-1.2, -1.25, 0)],
    }
    places = {symbol: iter(offsets) for symbol, offsets in aligned.items()}
    ions = tuple(
        replace(ion, offsets_ang=np.array([next(places[symbol]) for symbol in ion.species], dtype=float))
        if ion.label == "FA"
        else ion
        for ion in crystal.ions
    )
    assert count_orientations(replace(crystal, ions=ions)) == 12

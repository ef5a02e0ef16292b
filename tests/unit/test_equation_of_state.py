"""Birch-Murnaghan fits: published points, and the laws of the equation itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml
from equation_of_state import fit_birch_murnaghan

from qdip_dft.errors import EngineError
from qdip_dft.units import EV_PER_ANG3_IN_GPA

PUBLISHED = yaml.safe_load(
    (Path(__file__).resolve().parents[1] / "data" / "pbx_energy_volume.yaml").read_text(encoding="utf-8")
)


@pytest.mark.parametrize(
    ("dot", "volume_ang3", "bulk_modulus_gpa"),
    [("PbS", 51.218, 61.3), ("PbSe", 56.658, 54.7), ("PbTe", 66.824, 46.1)],
)
def test_published_pbesol_points_give_volume_and_bulk_modulus(dot, volume_ang3, bulk_modulus_gpa):
    fit = fit_birch_murnaghan(**PUBLISHED[dot])
    # The references have three decimals and one.
    assert fit.volume_ang3 == pytest.approx(volume_ang3, abs=6e-4)
    assert fit.bulk_modulus_gpa == pytest.approx(bulk_modulus_gpa, abs=0.06)


def birch_murnaghan_ev(volumes, energy_ev, volume_ang3, modulus_gpa, derivative):
    x = (volume_ang3 / volumes) ** (2 / 3)
    bracket = (x - 1) ** 3 * derivative + (x - 1) ** 2 * (6 - 4 * x)
    return energy_ev + 9 * volume_ang3 * modulus_gpa / EV_PER_ANG3_IN_GPA / 16 * bracket


def test_points_on_the_curve_give_its_parameters():
    volumes = np.linspace(225, 250, 7)
    fit = fit_birch_murnaghan(volumes, birch_murnaghan_ev(volumes, -15.5, 237.0, 15.0, 5.0))
    found = (fit.energy_ev, fit.volume_ang3, fit.bulk_modulus_gpa, fit.bulk_modulus_derivative)
    assert found == pytest.approx((-15.5, 237.0, 15.0, 5.0), rel=1e-6)


def test_a_doubled_cell_has_the_same_bulk_modulus():
    volumes = np.array(PUBLISHED["PbS"]["volumes_ang3"])
    energies = np.array(PUBLISHED["PbS"]["energies_ev"])
    once, twice = fit_birch_murnaghan(volumes, energies), fit_birch_murnaghan(2 * volumes, 2 * energies)
    assert twice.bulk_modulus_gpa == pytest.approx(once.bulk_modulus_gpa, rel=1e-6)
    assert twice.volume_ang3 == pytest.approx(2 * once.volume_ang3, rel=1e-6)


def test_a_minimum_outside_the_volumes_is_refused():
    volumes = np.linspace(240, 250, 6)
    with pytest.raises(EngineError, match="on both sides of the minimum"):
        fit_birch_murnaghan(volumes, birch_murnaghan_ev(volumes, -15.5, 230.0, 15.0, 5.0))


def test_energies_without_a_minimum_are_refused():
    volumes = np.linspace(240, 246, 6)
    with pytest.raises(EngineError, match="on both sides of the minimum"):
        fit_birch_murnaghan(volumes, birch_murnaghan_ev(volumes, -15.5, 244.9, 15.0, 5.0)[::-1] + 0.01 * volumes)


def test_too_few_volumes_are_refused():
    with pytest.raises(EngineError, match="calculate more volumes"):
        fit_birch_murnaghan([1.0, 2.0], [0.0, 0.0])

"""docs/validation.md says what was measured, and the arithmetic in it is right."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def script() -> ModuleType:
    specification = importlib.util.spec_from_file_location("write_validation", ROOT / "scripts" / "write_validation.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_the_page_is_current(script: ModuleType) -> None:
    page = (ROOT / "docs" / "validation.md").read_text(encoding="utf-8")
    assert script.describe_validation() == page, "run python scripts/write_validation.py"


def test_every_derived_row_of_the_page_passes(script: ModuleType) -> None:
    lines = [*script._describe_equations_of_state(), *script._describe_surface_energies()]
    assert not [line for line in lines if "failed" in line]


def test_a_value_outside_its_tolerance_fails(script: ModuleType) -> None:
    row = {"value": 5.945, "tolerance": 0.02, "unit": "Å"}
    assert script._judge(row, 5.97) == "5.970 (+0.025), **failed**"
    assert script._judge(row, 5.93) == "5.930 (−0.015), passed"


def test_an_unconverged_crystal_is_not_measured(script: ModuleType) -> None:
    row = {"kind": "volume", "crystal": "PbS"}
    unconverged = {"PbS": {"volume_ang3_per_fu": 52.0, "energy_ev_per_fu": -1.0, "is_converged": False}}
    assert script.evaluate(row, unconverged, {}, potential="chgnet") is None


@pytest.mark.parametrize("side", ["black", "competitor"])
def test_the_single_points_of_the_interfaces_give_the_strain_and_sigma_that_stand_beside_them(
    script: ModuleType, side: str
) -> None:
    stored = json.loads((ROOT / "scripts" / "interface_error.json").read_text(encoding="utf-8"))
    points = {(point["setting"], point["side"], point["part"]): point for point in stored["points"]}
    nothing = {("nothing", *key[1:]): {**point, "energy_ev": 0.0} for key, point in points.items()}
    asked = (points | nothing, "nothing", "calibration", side)
    assert script._change_of_sigma(*asked) == pytest.approx(stored[side]["reference_interface_mev_per_ang2"], abs=1e-6)
    assert script._change_of_strain(*asked) == pytest.approx(
        1000 * stored[side]["reference_strain_ev_per_fu"], abs=1e-6
    )


def test_what_was_not_repeated_is_not_compared(script: ModuleType) -> None:
    assert script._change_of_sigma({}, "calibration", "dense", "black") is None
    assert script._change_of_strain({}, "calibration", "dense", "black") is None

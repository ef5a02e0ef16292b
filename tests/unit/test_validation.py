"""docs/validation.md says what was measured, and the arithmetic in it is right."""

from __future__ import annotations

import importlib.util
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

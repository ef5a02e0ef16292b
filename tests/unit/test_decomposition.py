"""A host that competes with the compounds it may fall apart into."""

from __future__ import annotations

from pathlib import Path

import pytest

from qdip_dft.analysis.stability import balance_decomposition
from qdip_dft.errors import StudyError
from qdip_dft.execution.local import run_study
from qdip_dft.planning.plan import plan_study
from qdip_dft.planning.study_files import read_study, validate_study

TOY_STUDY = Path(__file__).parents[1] / "data" / "toy-study.yaml"
CSPBI3 = {"Cs": 1.0, "Pb": 1.0, "I": 3.0}


def test_amounts_follow_from_the_compositions() -> None:
    amounts = balance_decomposition(CSPBI3, {"CsI": {"Cs": 1.0, "I": 1.0}, "PbI2": {"Pb": 1.0, "I": 2.0}})
    assert amounts == pytest.approx({"CsI": 1.0, "PbI2": 1.0})


def test_a_mixed_host_falls_apart_in_fractions() -> None:
    host = {"Cs": 1.0, "Pb": 1.0, "I": 1.0, "Br": 2.0}
    products = {
        "CsBr": {"Cs": 1.0, "Br": 1.0},
        "PbBr2": {"Pb": 1.0, "Br": 2.0},
        "PbI2": {"Pb": 1.0, "I": 2.0},
    }
    assert balance_decomposition(host, products) == pytest.approx({"CsBr": 1.0, "PbBr2": 0.5, "PbI2": 0.5})


def test_products_that_cannot_make_the_host_are_refused() -> None:
    with pytest.raises(StudyError, match="name compounds that add up to the host"):
        balance_decomposition(CSPBI3, {"CsI": {"Cs": 1.0, "I": 1.0}, "PbS": {"Pb": 1.0, "S": 1.0}})


def test_the_products_compete_by_their_bulk_energy_alone(tmp_path: Path) -> None:
    content = read_study(str(TOY_STUDY)).model_dump(mode="json")
    content["phases"] = [phase for phase in content["phases"] if phase["role"] == "black"]
    content["decomposition"] = {"products": ["CsI", "PbI2"]}
    plan = plan_study(validate_study(content, source="decomposition"))
    document = run_study(plan, results=tmp_path / "results").documents[0]
    products = document.decomposition
    assert products is not None
    assert products.amounts == pytest.approx({"CsI": 1.0, "PbI2": 1.0})
    energy = sum(
        plan.engine.relax(plan.crystals[name].structure, step.freedom).energy_ev / plan.crystals[name].formula_units
        for step in plan.steps.steps
        for name in ("CsI", "PbI2")
        if step.label == f"bulk {name}"
    )
    assert products.bulk_ev_per_fu == pytest.approx(energy, abs=1e-6)
    assert products.total_ev_per_fu == products.bulk_ev_per_fu
    assert document.stabilization.competitor == "CsI + PbI2"
    black = document.candidates[0]
    assert document.stabilization.total_ev_per_fu == pytest.approx(black.total_ev_per_fu - products.total_ev_per_fu)
    assert "CsI + PbI2" in document.stabilization.sentence


def test_a_study_without_competitor_reports_its_film(tmp_path: Path) -> None:
    content = read_study(str(TOY_STUDY)).model_dump(mode="json")
    content["phases"] = [phase for phase in content["phases"] if phase["role"] == "black"]
    plan = plan_study(validate_study(content, source="alone"))
    document = run_study(plan, results=tmp_path / "results").documents[0]
    assert document.candidates[0].total_ev_per_fu is not None
    assert document.stabilization.total_ev_per_fu is None
    assert "names no competitor" in document.stabilization.sentence

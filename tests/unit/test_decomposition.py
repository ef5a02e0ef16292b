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
    content["terms_only"] = True
    plan = plan_study(validate_study(content, source="alone"))
    document = run_study(plan, results=tmp_path / "results").documents[0]
    assert document.candidates[0].total_ev_per_fu is not None
    assert document.stabilization.total_ev_per_fu is None
    assert "names no competitor" in document.stabilization.sentence


def ask(**changes: object) -> dict[str, object]:
    """The toy study of a black phase alone, with some keys changed."""
    content = read_study(str(TOY_STUDY)).model_dump(mode="json")
    content["phases"] = [phase for phase in content["phases"] if phase["role"] == "black"]
    return {**content, **changes}


FILM = {"min_thickness_ang": 7, "registries": [[0.0, 0.0]]}


def test_a_product_covers_the_dot_as_the_host_did(tmp_path: Path) -> None:
    on_dot = {"phase": "CsPbBr3-cubic", "planes": ["100"], "termination": "PbBr2"}
    decomposition = {"products": ["CsBr", "CsPbBr3-cubic"], "on_dot": on_dot}
    content = ask(host="Cs4PbBr6", decomposition=decomposition, film=FILM, dot={"material": "PbS", "facets": ["100"]})
    content["phases"] = [{"phase": "Cs4PbBr6", "role": "black", "planes": ["110"]}]
    content["matching"] = {"max_area_ang2": 160, "max_strain": 0.1}
    plan = plan_study(validate_study(content, source="on the dot"))
    document = run_study(plan, results=tmp_path / "results").documents[0]
    film = next(result for result in document.candidates if result.candidate.apart)
    assert film.missing == ()
    products = document.decomposition
    assert products is not None
    assert not products.is_compared
    assert film.bulk_ev_per_fu == pytest.approx(products.bulk_ev_per_fu, abs=1e-9)
    assert film.binding_ev_per_fu is not None
    assert film.binding_ev_per_fu != 0.0
    assert abs(film.identity_residual_ev or 0.0) < 1e-9 * film.n_formula_units
    assert film.candidate.label == "PbS(100)//CsPbBr3-cubic(100) + CsBr"
    assert document.stabilization.competitor == film.candidate.label
    assert document.hull is not None
    assert set(document.hull.above_ev_per_fu) <= {"Cs4PbBr6", "CsBr + CsPbBr3-cubic"}


def test_a_product_on_the_dot_must_be_one_of_the_products() -> None:
    decomposition = {"products": ["CsI", "PbI2"], "on_dot": {"phase": "PbBr2", "planes": ["010"]}}
    with pytest.raises(StudyError, match="on_dot must be one of the products CsI, PbI2"):
        validate_study(ask(decomposition=decomposition), source="on the dot")


def test_a_product_that_does_not_come_one_for_one_is_refused() -> None:
    decomposition = {"products": ["CsBr", "CsPbBr3-cubic"], "on_dot": {"phase": "CsBr", "planes": ["100"]}}
    content = ask(decomposition=decomposition, host="Cs4PbBr6")
    content["phases"] = [{"phase": "Cs4PbBr6", "role": "black", "planes": ["110"]}]
    with pytest.raises(StudyError, match=r"name another product in decomposition\.on_dot"):
        plan_study(validate_study(content, source="on the dot"))


def test_a_host_that_is_compared_with_nothing_is_refused() -> None:
    alone = ask(terms_only=False)
    with pytest.raises(StudyError, match="add a phase with role: competitor, or decomposition"):
        plan_study(validate_study(alone, source="alone"))
    assert plan_study(validate_study({**alone, "terms_only": True}, source="alone")).study.has_competitor is False

"""Why a phase wins: margins of the terms, layers of the film, bonds to the dot, charges."""

from __future__ import annotations

from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qdip_dft.analysis.margins import find_margins
from qdip_dft.analysis.octahedra import Shape
from qdip_dft.model.calculation import CalculationRecord
from qdip_dft.model.stabilization import StabilizationDoc
from qdip_dft.model.terms import Terms
from qdip_dft.report.explanation import Explanation, explain, list_explanation_tables, summarise_explanation
from qdip_dft.report.study_page import render_study_page
from tests.unit import studies
from tests.unit.report_documents import make_black, make_document, make_terms
from tests.unit.studies import assemble

energies_ev = st.floats(-2, 2).map(lambda value: round(value, 4))


@given(values=st.tuples(*[energies_ev] * 4))
def test_at_its_margin_a_term_makes_both_phases_equal(values: tuple[float, ...]) -> None:
    terms = make_terms(*values)
    for margin in find_margins(terms):
        moved = {**terms.model_dump(), f"{margin.term}_ev_per_fu": margin.flips_at_ev_per_fu}
        moved.pop("total_ev_per_fu")
        assert sum(moved.values()) == pytest.approx(0.0, abs=1e-9)


def test_the_margin_is_measured_by_the_term() -> None:
    margins = {margin.term: margin for margin in find_margins(make_terms(0.4, 0.0, -0.2, -0.3))}
    assert margins["binding"].share == pytest.approx(0.1 / 0.3)
    assert margins["bulk"].flips_at_ev_per_fu == pytest.approx(0.5)
    assert margins["strain"].share is None


def test_an_incomplete_difference_has_no_margins() -> None:
    assert find_margins(make_terms(0.4, None, 0.1, 0.1)) == ()
    nothing = dict.fromkeys(Terms.model_fields)
    assert find_margins(Terms(**nothing)) == ()


def test_the_decision_says_what_would_turn_it_round() -> None:
    decision = explain(make_document(), {}).decision
    assert decision.startswith("Undecided, within twice its error. Binding decides with −0.250 eV/f.u.")
    assert "The competitor would win if it passed −0.070 eV/f.u.: a change of +0.180 eV/f.u., 72 % of it." in decision


def test_without_a_competitor_nothing_decides() -> None:
    found = explain(make_document(make_black()), {})
    assert found.decision.startswith("Nothing decides")
    assert list_explanation_tables(found) == ()


@cache
def computed() -> tuple[StabilizationDoc, dict[str, CalculationRecord]]:
    """A study of two perovskite phases with the toy potential, and its calculations."""
    steps = studies.make_steps(
        phases=[
            {"phase": "CsPbI3-alpha", "role": "black", "planes": ["100"], "termination": "PbI2"},
            {"phase": "CsPbI3-beta", "role": "competitor", "planes": ["001"], "termination": "PbI2"},
        ],
        matching={"max_area_ang2": 100, "max_strain": 0.08},
        film={"min_thickness_ang": 12},
    )
    records: studies.Records = {}
    *_, last = studies.stages(steps, records)
    doc = assemble(steps, last)
    return doc, {key: record for key, record in records.items() if isinstance(record, CalculationRecord)}


def explained() -> Explanation:
    return explain(*computed())


def test_every_compared_film_is_explained_layer_by_layer() -> None:
    found = explained()
    assert [film.film for film in found.films] == ["CsPbI3-alpha(100)", "CsPbI3-beta(001)"]
    for film in found.films:
        assert [layer.n_metals for layer in film.bound] == [layer.n_metals for layer in film.free]
        assert len(film.bound) == 2
        assert film.bonds, "a film at rest on the dot is bound to it"


def test_the_cubic_bulk_is_straight_and_its_lead_has_valence_two() -> None:
    black, _ = explained().films
    assert black.bulk.tilt_deg == pytest.approx(0.0, abs=1e-3)
    assert black.bulk.valence == pytest.approx(2.0, abs=0.5)


def test_all_parts_of_a_film_are_neutral() -> None:
    for film in explained().films:
        assert film.charges_e == {"dot slab": 0, "film slab": 0, "interface": 0}


def test_a_layer_is_compared_with_the_same_layer_of_the_free_film() -> None:
    (black, _), doc = explained().films, computed()[0]
    assert not doc.candidates[0].candidate.turn.is_flipped
    table = next(t for t in list_explanation_tables(explained()) if t.title.startswith("Octahedra of CsPbI3-alpha"))
    touching = table.rows[2]
    assert touching.name == "layer 1, at the dot"
    differences = [cell.value for cell in touching.cells]
    assert differences[2] == pytest.approx(black.bound[0].bond_ang - black.free[0].bond_ang)
    assert differences[6] == pytest.approx(black.bound[0].tilt_deg - black.free[0].tilt_deg)


def test_the_page_says_why() -> None:
    doc, calculations = computed()
    page = render_study_page(doc, calculations)
    assert 'id="why"' in page
    assert "Octahedra of α-CsPbI₃(100) on the dot" in page
    assert "Bonds between α-CsPbI₃(100) and the dot" in page
    assert 'id="why"' not in render_study_page(make_document(make_black()), {})


def test_everything_is_there_as_plain_data() -> None:
    summary = summarise_explanation(explained())
    assert set(summary) == {"decision", "margins", "signs", "films"}
    (first, _) = summary["films"]
    assert set(Shape.__dataclass_fields__) | {"tilt_deg"} == set(first["bulk"])
    assert len(first["bound_layers"]) == 2

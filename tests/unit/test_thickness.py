"""The line of the difference against the thickness: its limits, its zero and what it needs."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from qdip_dft.analysis.thickness import find_thickness_line
from qdip_dft.model.stabilization import DecompositionResult
from tests.unit.report_documents import make_black, make_yellow

TERM = st.floats(-2, 2)


def test_films_of_the_same_thickness_give_back_the_stabilization() -> None:
    black = make_black(n_formula_units=12, area_ang2=200.0)
    yellow = make_yellow(n_formula_units=18, area_ang2=300.0)
    line = find_thickness_line(black, yellow)
    assert line is not None
    assert black.total_ev_per_fu is not None
    assert yellow.total_ev_per_fu is not None
    expected = black.total_ev_per_fu - yellow.total_ev_per_fu
    assert line.difference_ev_per_fu(12 / 200) == pytest.approx(expected, abs=1e-9)
    assert line.computed_per_ang2 == pytest.approx((0.06, 0.06))


def test_a_thick_film_is_left_with_bulk_and_strain() -> None:
    line = find_thickness_line(make_black(), make_yellow())
    assert line is not None
    assert line.difference_ev_per_fu(1e12) == pytest.approx((0.05 + 0.03) - (0.0 + 0.06), abs=1e-9)


@given(black=st.tuples(TERM, TERM, TERM, TERM), yellow=st.tuples(TERM, TERM, TERM, TERM))
def test_the_preference_changes_at_the_critical_thickness_and_only_there(black: tuple, yellow: tuple) -> None:
    line = find_thickness_line(make_black(terms_ev_per_fu=black), make_yellow(terms_ev_per_fu=yellow))
    assert line is not None
    assume(min(abs(line.strained_ev_per_fu), abs(line.interface_ev_per_ang2)) > 1e-6)
    critical = line.critical_per_ang2
    if critical is None:
        assert line.difference_ev_per_fu(1e-3) * line.difference_ev_per_fu(1e3) > 0
        return
    assert critical > 0
    assert line.difference_ev_per_fu(critical) == pytest.approx(0, abs=1e-9)
    assert (line.difference_ev_per_fu(critical / 2) < 0) is line.is_black_when_thin
    assert (line.difference_ev_per_fu(critical * 2) < 0) is not line.is_black_when_thin


def test_a_missing_term_gives_no_line() -> None:
    unfinished = make_black(terms_ev_per_fu=(0.05, 0.03, 0.2, None), missing=("synthetic",), is_selected=False)
    assert find_thickness_line(unfinished, make_yellow()) is None


def test_decomposition_products_have_no_interface() -> None:
    black = make_black()
    products = DecompositionResult(
        label="MAI + PbI2",
        amounts={"MAI": 1.0, "PbI2": 1.0},
        missing=(),
        bulk_ev_per_fu=-50.0,
        strain_ev_per_fu=0.0,
        surface_ev_per_fu=0.0,
        binding_ev_per_fu=0.0,
        total_ev_per_fu=-50.0,
        bulk_above_lowest_ev_per_fu=0.0,
        calculations={},
    )
    line = find_thickness_line(black, products)
    assert line is not None
    assert line.interface_ev_per_ang2 == pytest.approx((0.2 - 0.4) * 18 / 230.0)
    assert len(line.computed_per_ang2) == 1

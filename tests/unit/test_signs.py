"""The four signs of Masi 2020, each held against results that have it and results that have not."""

from __future__ import annotations

import pytest

from qdip_dft.analysis.signs import SIGNS, compare_signs
from tests.unit.report_documents import make_black, make_document, make_yellow

MAKERS = (make_black, make_yellow)
AS_IN_THE_PAPER = ((0.10, 0.02, 0.20, -0.50), (0.0, 0.05, 0.20, -0.30))
"""Bulk, strain, surface and binding of black and yellow, in eV per formula unit."""


def held(black: tuple[float, ...], yellow: tuple[float, ...]) -> dict[str, bool]:
    document = make_document(make_black(terms_ev_per_fu=black), make_yellow(terms_ev_per_fu=yellow))
    return {sign.term: sign.is_held for sign in compare_signs(document.stabilization)}


def test_a_result_as_in_the_paper_has_all_signs() -> None:
    assert held(*AS_IN_THE_PAPER) == dict.fromkeys(SIGNS, True)


@pytest.mark.parametrize(
    ("black", "yellow", "lost"),
    [
        ((-0.05, 0.02, 0.20, -0.50), (0.0, 0.05, 0.20, -0.30), "bulk"),
        ((0.10, 0.09, 0.20, -0.50), (0.0, 0.05, 0.20, -0.30), "strain"),
        ((0.10, 0.02, -0.30, 0.10), (0.0, 0.05, 0.20, 0.30), "binding"),
        ((0.10, 0.02, 0.60, -0.50), (0.0, 0.05, 0.20, -0.30), "total"),
    ],
)
def test_each_sign_may_be_missing_alone(black: tuple[float, ...], yellow: tuple[float, ...], lost: str) -> None:
    assert held(black, yellow) == {**dict.fromkeys(SIGNS, True), lost: False}


def test_binding_that_binds_neither_film_is_no_binding() -> None:
    assert not held((0.1, 0.0, 0.0, 0.1), (0.0, 0.1, 0.0, 0.2))["binding"]


def test_without_a_competitor_there_is_nothing_to_compare() -> None:
    assert compare_signs(make_document(make_black()).stabilization) == ()


def test_bulk_and_sum_are_given_above_the_lower_bulk() -> None:
    document = make_document(
        *(make(terms_ev_per_fu=terms) for make, terms in zip(MAKERS, AS_IN_THE_PAPER, strict=True))
    )
    signs = {sign.term: sign for sign in compare_signs(document.stabilization)}
    assert (signs["bulk"].black_ev_per_fu, signs["bulk"].competitor_ev_per_fu) == pytest.approx((0.10, 0.0))
    total = signs["total"]
    assert total.black_ev_per_fu - total.competitor_ev_per_fu == pytest.approx(total.difference_ev_per_fu)
    assert abs(total.black_ev_per_fu) < 1.0

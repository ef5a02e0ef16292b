"""What nature chooses by energy: the lowest termination or orientation stands for its film, in every comparison."""

from __future__ import annotations

import pytest

from qdip_dft.analysis.coverage import evaluate_terms, find_bulk
from qdip_dft.analysis.sides import find_sides
from qdip_dft.analysis.thickness import find_thickness_line
from qdip_dft.flows.anchoring import anchor_variations
from qdip_dft.flows.answer import take_lowest_choices
from qdip_dft.model.stabilization import StabilizationDoc
from qdip_dft.model.uncertainty import VariationKind
from qdip_dft.results.retracing import list_contradictions
from tests.unit.report_documents import make_black, make_document, make_yellow
from tests.unit.test_uncertainty import variation

LOWER = variation(make_black(), 1, VariationKind.ORIENTATION, strain=0.01, binding=-0.06)


def total(document: StabilizationDoc) -> float:
    found = document.stabilization.total_ev_per_fu
    assert found is not None
    return found


def test_the_base_value_moves_to_the_lowest_choice() -> None:
    before = make_document()
    after = take_lowest_choices(before, [LOWER])
    assert total(after) == pytest.approx(total(before) - 0.05)
    assert after.stabilization.strain_ev_per_fu == pytest.approx((before.stabilization.strain_ev_per_fu or 0.0) + 0.01)
    (black, _) = find_sides(after).films
    assert black.lowest_choice is not None
    assert black.lowest_choice.name == LOWER.tag


def test_the_own_terms_of_the_film_stay_as_computed() -> None:
    before, after = make_document(), take_lowest_choices(make_document(), [LOWER])
    for one, other in zip(before.candidates, after.candidates, strict=True):
        assert one.total_ev_per_fu == other.total_ev_per_fu
        assert one.surface_mev_per_ang2 == other.surface_mev_per_ang2


def test_the_line_against_the_size_goes_through_the_moved_answer() -> None:
    after = take_lowest_choices(make_document(), [LOWER])
    black, competitor = find_sides(after).films
    line = find_thickness_line(black, competitor)
    n = after.stabilization.coverage_fu_per_ang2
    assert line is not None
    assert n is not None
    assert line.difference_ev_per_fu(n) == pytest.approx(total(after))


@pytest.mark.parametrize(
    "other",
    [
        variation(make_black(), 1, VariationKind.ORIENTATION, binding=0.06),
        LOWER.model_copy(update={"faults": ("phase identity",)}),
        variation(make_black(), 1, VariationKind.FILM_THICKNESS, binding=-0.06),
        variation(make_black(), 1, VariationKind.MODEL, binding=-0.06),
    ],
)
def test_nothing_else_moves_the_answer(other: object) -> None:
    assert take_lowest_choices(make_document(), [other]) == make_document()  # type: ignore[list-item]


def test_of_several_the_lowest_counts_and_not_their_sum() -> None:
    others = [
        LOWER,
        variation(make_black(), 1, VariationKind.TERMINATION, surface=-0.02),
        variation(make_yellow(), 1, VariationKind.ORIENTATION, binding=-0.01),
    ]
    after = take_lowest_choices(make_document(), others)
    assert total(after) == pytest.approx(total(make_document()) - 0.05 + 0.01)


def test_a_moved_answer_does_not_contradict_its_films() -> None:
    after = take_lowest_choices(make_document(), [LOWER])
    said = after.stabilization.model_copy(update={"sentence": f"Total {total(after):+.3f} eV/f.u."})
    assert list_contradictions(after.model_copy(update={"stabilization": said})) == ()


def test_a_bulk_that_lies_lower_in_the_choice_is_no_gain_of_the_film() -> None:
    lower_bulk = variation(make_black(), 1, VariationKind.ORIENTATION, bulk=-0.04, strain=-0.02)
    after = take_lowest_choices(make_document(), [lower_bulk])
    black = find_sides(after).films[0]
    n = after.stabilization.coverage_fu_per_ang2
    assert n is not None
    assert evaluate_terms(black, n).bulk_ev_per_fu == make_black().bulk_ev_per_fu
    assert evaluate_terms(black, n).strain_ev_per_fu == pytest.approx((make_black().strain_ev_per_fu or 0.0) - 0.06)


def test_every_model_has_the_bulk_of_the_reference() -> None:
    black = make_black().model_copy(update={"bulk_shift_ev_per_fu": 0.0})
    yellow = make_yellow().model_copy(update={"bulk_shift_ev_per_fu": 0.02})
    sides = find_sides(make_document(black, yellow))
    films = [
        variation(black, 1, VariationKind.MODEL, bulk=-3.0),
        variation(yellow, 1, VariationKind.MODEL, bulk=-2.9),
        variation(black, 1, VariationKind.DOT_THICKNESS),
        variation(yellow, 1, VariationKind.DOT_THICKNESS),
    ]
    moved = [find_bulk(film) or 0.0 for film in anchor_variations(films, sides)]
    reference = (find_bulk(black) or 0.0) - (find_bulk(yellow) or 0.0)
    assert moved[0] - moved[1] == pytest.approx(reference)
    assert moved[2] - moved[3] == pytest.approx(reference)
    assert moved[0] == pytest.approx(films[0].bulk_ev_per_fu)

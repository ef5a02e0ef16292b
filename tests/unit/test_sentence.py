"""The one-sentence answer: who wins, by how much, and which term decides.  All numbers are synthetic."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qdip_dft.analysis.numbers import write_signed
from qdip_dft.analysis.sentence import (
    answer_in_words,
    find_deciding_term,
)
from qdip_dft.model.calculation import Level
from qdip_dft.model.resolution import RESOLUTION_EV_PER_FU
from qdip_dft.model.term_names import TERM_NAMES
from qdip_dft.model.terms import Terms
from tests.unit.report_documents import FACET, make_terms

BLACK = "FAPbI3-alpha(100)"
YELLOW = "yellow FAPbI3-delta(001)"


def say(terms: Terms, *, level: Level = Level.SCREENING, **changes: object) -> str:
    sides = {"black": BLACK, "competitor": YELLOW, "missing": ()}
    return answer_in_words(terms, facet=FACET, level=level, **{**sides, **changes})  # type: ignore[arg-type]


def negate(terms: Terms) -> Terms:
    return Terms(**{name: -value for name, value in terms.model_dump().items()})


def test_a_negative_total_puts_black_below_yellow() -> None:
    assert say(make_terms(0.05, 0.03, 0.0, -0.2)) == (
        "On PbS(111) the black FAPbI3-alpha(100) lies 0.120 eV/f.u. below the yellow FAPbI3-delta(001) (screening); "
        "binding decides (−0.200 eV/f.u.)."
    )


def test_a_positive_total_puts_yellow_below_black() -> None:
    assert say(make_terms(0.05, 0.2, 0.0, -0.05)) == (
        "On PbS(111) the yellow FAPbI3-delta(001) lies 0.200 eV/f.u. below the black FAPbI3-alpha(100) (screening); "
        "strain decides (+0.200 eV/f.u.)."
    )


@given(st.lists(st.floats(-1, 1), min_size=4, max_size=4))
def test_swapping_the_phases_swaps_the_winner_and_keeps_the_deciding_term(values: list[float]) -> None:
    terms = make_terms(*values)
    assert find_deciding_term(terms) == find_deciding_term(negate(terms))
    total = abs(sum(values))
    wins = ("the black FAPbI3-alpha(100) lies" in say(terms)) != (
        "the black FAPbI3-alpha(100) lies" in say(negate(terms))
    )
    assert wins == (total > RESOLUTION_EV_PER_FU[Level.SCREENING])


@given(st.lists(st.floats(-1, 1), min_size=4, max_size=4).filter(lambda values: sum(values) != 0))
def test_the_deciding_term_has_the_sign_of_the_total_and_none_is_larger(values: list[float]) -> None:
    terms = make_terms(*values)
    total = terms.total_ev_per_fu or 0.0
    deciding = dict(zip(TERM_NAMES, values, strict=True))[find_deciding_term(terms) or ""]
    assert (deciding > 0) == (total > 0)
    assert all(abs(value) <= abs(deciding) for value in values if (value > 0) == (total > 0))


@pytest.mark.parametrize("level", list(Level))
def test_a_difference_within_the_resolution_is_too_close_to_call(level: Level) -> None:
    resolution = RESOLUTION_EV_PER_FU[level]
    assert "too close to call" in say(make_terms(0.9 * resolution, 0.0, 0.0, 0.0), level=level)
    assert "too close to call" in say(make_terms(-0.9 * resolution, 0.0, 0.0, 0.0), level=level)
    assert "bulk decides" in say(make_terms(1.1 * resolution, 0.0, 0.0, 0.0), level=level)


def test_too_close_to_call_states_the_difference_and_the_rule() -> None:
    sentence = say(make_terms(0.1, 0.0, 0.0, -0.112))
    assert "−0.012 eV/f.u. (black − competitor)" in sentence
    assert "(screening) resolves 0.03 eV/f.u." in sentence


def test_dft_resolves_what_screening_does_not() -> None:
    terms = make_terms(0.0, 0.0, 0.0, -0.02)
    assert "too close to call" in say(terms)
    assert "(DFT); binding decides" in say(terms, level=Level.DFT)


def test_a_toy_potential_never_claims_physics() -> None:
    assert "no physical meaning" in say(make_terms(0.0, 0.0, 0.0, -5.0), level=Level.TEST)


def test_terms_that_nearly_cancel_are_called_so() -> None:
    assert say(make_terms(0.3, 0.1, 0.1, -0.6)).endswith(
        "binding decides (−0.600 eV/f.u.), but the terms nearly cancel (−0.600 against +0.500 eV/f.u.)."
    )


def test_terms_that_pull_together_are_not_called_a_cancellation() -> None:
    assert "cancel" not in say(make_terms(-0.1, -0.1, 0.0, -0.6))


@pytest.mark.parametrize(
    ("sides", "lacking"),
    [
        ({"black": None}, "no valid candidate of the black phase ("),
        ({"competitor": None}, "no valid candidate of the competitor ("),
        ({"black": None, "competitor": None}, "no valid candidate of the black phase and the competitor ("),
        ({}, "a term is missing ("),
    ],
)
def test_an_undecided_answer_names_what_is_missing_and_why(sides: dict[str, None], lacking: str) -> None:
    sentence = say(make_terms(0.0, None, None, None), missing=("film slab did not converge.", "second reason"), **sides)
    assert sentence == f"Undecided on PbS(111): {lacking}film slab did not converge; second reason)."


def test_without_a_total_no_term_decides() -> None:
    assert find_deciding_term(make_terms(0.1, None, 0.2, 0.3)) is None


def test_numbers_carry_a_true_minus_and_zero_carries_no_sign() -> None:
    values = (-0.2, 0.2, -0.0001, 0.0, None)
    assert [write_signed(value) for value in values] == ["−0.200", "+0.200", "0.000", "0.000", "—"]
    assert write_signed(-4.77, decimals=1) == "−4.8"

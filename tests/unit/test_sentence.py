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
from qdip_dft.library.references import load_references
from qdip_dft.model.calculation import Level
from qdip_dft.model.reference import AnchoredPair, BulkBasis
from qdip_dft.model.resolution import find_limit_ev_per_fu
from qdip_dft.model.stabilization import InterfaceEnergies, Stabilization
from qdip_dft.model.term_names import TERM_NAMES
from qdip_dft.model.terms import Terms
from qdip_dft.model.uncertainty import ErrorComponent, TermErrors, Uncertainty, VariationKind
from qdip_dft.units import EV_PER_ANG2_IN_J_PER_M2
from tests.unit.report_documents import FACET, make_black, make_terms
from tests.unit.test_uncertainty import variation

BLACK = "FAPbI3-alpha(100)"
YELLOW = "yellow FAPbI3-delta(001)"
COVERAGE = 0.05


def answer(terms: Terms) -> Stabilization:
    known = [terms.surface_ev_per_fu, terms.binding_ev_per_fu]
    surface, binding = (COVERAGE * (value or 0.0) for value in known)
    return Stabilization(
        **terms.model_dump(),
        black=BLACK,
        competitor=YELLOW,
        coverage_fu_per_ang2=COVERAGE,
        interface=InterfaceEnergies(
            surface_mev_per_ang2=1000 * surface,
            surface_j_per_m2=EV_PER_ANG2_IN_J_PER_M2 * surface,
            binding_mev_per_ang2=1000 * binding,
            binding_j_per_m2=EV_PER_ANG2_IN_J_PER_M2 * binding,
            interface_mev_per_ang2=1000 * (surface + binding),
            interface_j_per_m2=EV_PER_ANG2_IN_J_PER_M2 * (surface + binding),
        ),
        sentence="",
    )


def sure(error_ev_per_fu: float = 0.01, *, model_ev_per_fu: float = 0.02, lacking: tuple[str, ...] = ()) -> Uncertainty:
    """How sure an answer is, with something varied."""
    return Uncertainty(
        components=tuple(ErrorComponent(name=name, is_sampled=False, finding="not estimated") for name in lacking),
        black=TermErrors(),
        competitor=TermErrors(),
        difference=TermErrors(total_ev_per_fu=error_ev_per_fu),
        samples=(variation(make_black(), 1, VariationKind.FILM_THICKNESS),),
        model_error=TermErrors(total_ev_per_fu=model_ev_per_fu),
    )


def say(terms: Terms, *, level: Level = Level.SCREENING, **changes: object) -> str:
    given = {"black": BLACK, "competitor": YELLOW, "missing": (), "environment": "capped film"}
    return answer_in_words(answer(terms), facet=FACET, level=level, **{**given, **changes})  # type: ignore[arg-type]


def negate(terms: Terms) -> Terms:
    return Terms(**{name: -value for name, value in terms.model_dump().items()})


def test_a_negative_total_puts_black_below_yellow() -> None:
    assert say(make_terms(0.05, 0.03, 0.0, -0.3)) == (
        "On PbS(111) the black FAPbI3-alpha(100) lies 0.220 eV/f.u. below the yellow FAPbI3-delta(001) at n* = 0.0500 "
        "f.u./Å², Δσ = −15.0 meV/Å² (capped film; screening; model error 0.10 assumed); binding decides (−0.300 "
        "eV/f.u.)."
    )


def test_a_positive_total_puts_yellow_below_black() -> None:
    assert say(make_terms(0.05, 0.3, 0.0, -0.05)) == (
        "On PbS(111) the yellow FAPbI3-delta(001) lies 0.300 eV/f.u. below the black FAPbI3-alpha(100) at n* = 0.0500 "
        "f.u./Å², Δσ = −2.5 meV/Å² (capped film; screening; model error 0.10 assumed); strain decides (+0.300 "
        "eV/f.u.)."
    )


@given(st.lists(st.floats(-1, 1), min_size=4, max_size=4))
def test_swapping_the_phases_swaps_the_winner_and_keeps_the_deciding_term(values: list[float]) -> None:
    terms = make_terms(*values)
    assert find_deciding_term(terms) == find_deciding_term(negate(terms))
    total = abs(sum(values))
    wins = ("the black FAPbI3-alpha(100) lies" in say(terms)) != (
        "the black FAPbI3-alpha(100) lies" in say(negate(terms))
    )
    assert wins == (total > find_limit_ev_per_fu(Level.SCREENING))


@given(st.lists(st.floats(-1, 1), min_size=4, max_size=4).filter(lambda values: sum(values) != 0))
def test_the_deciding_term_has_the_sign_of_the_total_and_none_is_larger(values: list[float]) -> None:
    terms = make_terms(*values)
    total = terms.total_ev_per_fu or 0.0
    deciding = dict(zip(TERM_NAMES, values, strict=True))[find_deciding_term(terms) or ""]
    assert (deciding > 0) == (total > 0)
    assert all(abs(value) <= abs(deciding) for value in values if (value > 0) == (total > 0))


@pytest.mark.parametrize("level", list(Level))
def test_a_difference_within_twice_the_model_error_is_undecided(level: Level) -> None:
    limit = find_limit_ev_per_fu(level)
    assert say(make_terms(0.9 * limit, 0.0, 0.0, 0.0), level=level).startswith("Undecided on PbS(111): ")
    assert say(make_terms(-0.9 * limit, 0.0, 0.0, 0.0), level=level).startswith("Undecided on PbS(111): ")
    assert "bulk decides" in say(make_terms(1.1 * limit, 0.0, 0.0, 0.0), level=level)


def test_an_undecided_answer_states_the_difference_and_the_rule() -> None:
    sentence = say(make_terms(0.1, 0.0, 0.0, -0.112))
    assert "−0.012 eV/f.u. (black − competitor) at n* = 0.0500 f.u./Å²" in sentence
    assert sentence.endswith(
        "(capped film; screening; model error 0.10 assumed), less than 2 standard uncertainties (0.200)."
    )


def test_dft_resolves_what_screening_does_not() -> None:
    terms = make_terms(0.0, 0.0, 0.0, -0.1)
    assert say(terms).startswith("Undecided")
    assert "; DFT; model error 0.03 assumed); binding decides" in say(terms, level=Level.DFT)


def test_a_toy_potential_never_claims_physics() -> None:
    assert "no physical meaning" in say(make_terms(0.0, 0.0, 0.0, -5.0), level=Level.TEST)


def test_terms_that_nearly_cancel_are_called_so() -> None:
    assert say(make_terms(0.9, 0.3, 0.3, -1.8)).endswith(
        "binding decides (−1.800 eV/f.u.), but the terms nearly cancel (−1.800 against +1.500 eV/f.u.)."
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


TERMS = [(0.05, 0.03, 0.0, -0.2), (0.05, 0.2, 0.0, -0.05), (0.1, 0.0, 0.0, -0.112)]


@pytest.mark.parametrize("values", TERMS, ids=["black wins", "yellow wins", "undecided"])
def test_every_answer_has_one_error_bar_with_its_parts_and_says_what_was_not_sampled(values: tuple[float, ...]) -> None:
    terms = make_terms(*values)
    varied = say(terms, stated=sure(lacking=("termination",)))
    assert varied.count("±") == 1
    assert "± 0.022 eV/f.u." in varied
    assert "numerical part 0.010, model 0.020" in varied
    assert "not sampled: termination" in varied
    assert "not sampled" not in say(terms, stated=sure())
    assert "capped film" in varied


def test_the_model_error_decides_with_the_numbers() -> None:
    terms = make_terms(0.05, 0.03, 0.0, -0.13)
    assert say(terms, stated=sure(model_ev_per_fu=0.04)).startswith("Undecided")
    assert "binding decides" in say(terms, stated=sure(model_ev_per_fu=0.01))


def test_where_the_bulk_comes_from_is_said() -> None:
    terms = make_terms(0.05, 0.03, 0.0, -0.3)
    pair = AnchoredPair(
        phase="CsPbI3-gamma", relative_to="CsPbI3-delta", reference=load_references()[0], engine_ev_per_fu=0.157
    )
    anchored = BulkBasis(pairs=(pair,), finding="bulk anchored")
    assert "; bulk anchored to PBE-D3(BJ); " in say(terms, bulk_basis=anchored)
    assert "; bulk of the engine; " in say(terms, bulk_basis=BulkBasis(finding="none"))


def test_products_off_the_dot_give_an_upper_bound_and_the_sentence_says_so() -> None:
    sentence = say(make_terms(0.05, 0.03, 0.0, -0.4), competitor="decomposition into MAI + PbI2", is_upper_bound=True)
    assert "below the decomposition into MAI + PbI2" in sentence
    assert "upper bound of what the dot gains" in sentence
    assert "upper bound" not in say(make_terms(0.05, 0.03, 0.0, -0.2))


def test_planes_that_were_asked_for_and_not_compared_are_named_whether_decided_or_not() -> None:
    for total in (-0.3, 0.01):
        sentence = say(make_terms(total, 0.0, 0.0, 0.0), stated=sure(), uncompared=("FAPbI3-delta(100)", "PbI2(001)"))
        assert "not compared: FAPbI3-delta(100), PbI2(001)" in sentence
        assert "not compared" not in say(make_terms(total, 0.0, 0.0, 0.0), stated=sure())

"""The four terms: what must hold for any energies whatsoever."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qdip_dft.analysis.stability import (
    IDENTITY_TOLERANCE_EV,
    CandidateEnergies,
    compute_terms,
    identity_residual_ev,
    per_area,
    require_one_theory,
)
from qdip_dft.errors import LevelOfTheoryError
from qdip_dft.model.calculation import Level, LevelOfTheory
from qdip_dft.model.term_names import TERM_FIELDS, TOTAL_FIELD

TERMS = (*TERM_FIELDS, TOTAL_FIELD)
THEORY = LevelOfTheory(
    level=Level.SCREENING,
    engine="mlip",
    code="SevenNet-0",
    code_version="0.11",
    functional="PBE",
    dispersion="d3bj",
    weights_hash="ab",
    settings={"cutoff_ang": 5.0},
)

counts = st.integers(1, 60)
per_unit_ev = st.floats(-20, 20)


@st.composite
def energies(draw: st.DrawFn) -> CandidateEnergies:
    """Draw total energies of the size that a study has."""
    n_bulk, n_strained, n_film = (draw(counts) for _ in range(3))
    return CandidateEnergies(
        bulk_ev=draw(per_unit_ev) * n_bulk,
        n_bulk=n_bulk,
        strained_bulk_ev=draw(per_unit_ev) * n_strained,
        n_strained_bulk=n_strained,
        film_slab_ev=draw(per_unit_ev) * n_film,
        dot_slab_ev=draw(per_unit_ev) * n_film,
        interface_ev=draw(per_unit_ev) * n_film,
        n_film=n_film,
    )


@given(energies=energies())
def test_the_four_terms_add_up_to_what_the_interface_costs(energies):
    terms = compute_terms(energies)
    residual = identity_residual_ev(terms, energies)
    assert abs(residual) <= IDENTITY_TOLERANCE_EV
    parts = sum(getattr(terms, name) for name in TERM_FIELDS)
    assert parts == pytest.approx(terms.total_ev_per_fu, abs=1e-12)
    expected = (energies.interface_ev - energies.dot_slab_ev) / energies.n_film
    assert terms.total_ev_per_fu == pytest.approx(expected, abs=1e-9)


@given(energies=energies(), shift_ev=st.floats(-500, 500))
def test_the_total_does_not_depend_on_the_reference_states(energies, shift_ev):
    moved = replace(
        energies, bulk_ev=energies.bulk_ev + shift_ev, strained_bulk_ev=energies.strained_bulk_ev - 2 * shift_ev
    )
    assert compute_terms(moved).total_ev_per_fu == pytest.approx(compute_terms(energies).total_ev_per_fu, abs=1e-9)


@given(energies=energies(), factor=st.integers(2, 9))
def test_terms_per_formula_unit_are_the_same_in_a_larger_cell(energies, factor):
    larger = CandidateEnergies(
        **{name: getattr(energies, name) * factor for name in CandidateEnergies.__dataclass_fields__}
    )
    before, after = compute_terms(energies), compute_terms(larger)
    for name in TERMS:
        assert getattr(after, name) == pytest.approx(getattr(before, name), abs=1e-9)


def test_each_term_is_what_the_theory_page_says():
    terms = compute_terms(
        CandidateEnergies(
            bulk_ev=-40.0,  # -10 per formula unit
            n_bulk=4,
            strained_bulk_ev=-19.0,  # 0.5 above it
            n_strained_bulk=2,
            film_slab_ev=-45.0,  # 5 units, 0.5 above the strained bulk
            dot_slab_ev=-100.0,
            interface_ev=-147.0,  # bound by 2 eV, 0.4 per unit
            n_film=5,
        )
    )
    assert [getattr(terms, name) for name in TERMS] == pytest.approx([-10.0, 0.5, 0.5, -0.4, -9.4])


@pytest.mark.parametrize(
    ("lost", "missing"),
    [
        ("bulk_ev", {"bulk_ev_per_fu", "strain_ev_per_fu"}),
        ("strained_bulk_ev", {"strain_ev_per_fu", "surface_ev_per_fu"}),
        ("film_slab_ev", {"surface_ev_per_fu", "binding_ev_per_fu"}),
        ("dot_slab_ev", {"binding_ev_per_fu"}),
        ("interface_ev", {"binding_ev_per_fu"}),
    ],
)
@given(energies=energies())
def test_a_missing_energy_leaves_its_terms_and_the_total_missing(lost, missing, energies):
    incomplete = replace(energies, **{lost: None})
    terms = compute_terms(incomplete)
    assert {name for name in TERMS if getattr(terms, name) is None} == missing | {"total_ev_per_fu"}
    assert identity_residual_ev(terms, incomplete) is None


@given(black=energies(), competitor=energies())
def test_swapping_black_and_competitor_flips_every_sign(black, competitor):
    one = compute_terms(black) - compute_terms(competitor)
    other = compute_terms(competitor) - compute_terms(black)
    for name in TERMS:
        assert getattr(one, name) == -getattr(other, name)


@given(energies=energies())
def test_a_phase_against_itself_gains_nothing(energies):
    terms = compute_terms(energies)
    assert all(getattr((terms - terms), name) == 0 for name in TERMS)


def test_negative_means_that_black_is_favoured():
    black = CandidateEnergies(-10, 1, -10, 1, -10, 0, -11, 1)
    competitor = replace(black, interface_ev=-10.5)
    assert (compute_terms(black) - compute_terms(competitor)).total_ev_per_fu == pytest.approx(-0.5)


def test_a_difference_with_a_missing_term_is_missing():
    complete = CandidateEnergies(-10, 1, -10, 1, -10, 0, -11, 1)
    difference = compute_terms(complete) - compute_terms(replace(complete, interface_ev=None))
    assert difference.total_ev_per_fu is None
    assert difference.binding_ev_per_fu is None
    assert difference.bulk_ev_per_fu == 0


@given(term_ev=st.floats(-5, 5), n_film=counts, area_ang2=st.floats(10, 500))
def test_an_energy_per_area_is_the_same_in_both_units(term_ev, n_film, area_ang2):
    mev_per_ang2, j_per_m2 = per_area(term_ev, n_film=n_film, area_ang2=area_ang2)
    assert mev_per_ang2 == pytest.approx(1000 * term_ev * n_film / area_ang2)
    assert j_per_m2 == pytest.approx(16.0218 * term_ev * n_film / area_ang2, rel=1e-5)  # 1 eV/Å² in J/m², CODATA


@given(term_ev=st.floats(0.1, 5), n_film=counts, area_ang2=st.floats(10, 500))
def test_an_energy_per_area_is_intensive(term_ev, n_film, area_ang2):
    once = per_area(term_ev, n_film=n_film, area_ang2=area_ang2)
    assert per_area(term_ev, n_film=2 * n_film, area_ang2=2 * area_ang2) == pytest.approx(once)


def test_an_energy_per_area_needs_both():
    assert per_area(None, n_film=3, area_ang2=10.0) == (None, None)
    assert per_area(1.0, n_film=3, area_ang2=None) == (None, None)


@pytest.mark.parametrize(
    "change",
    [
        {"level": Level.DFT},
        {"engine": "vasp"},
        {"code": "CHGNet"},
        {"code_version": "0.12"},
        {"functional": "PBEsol"},
        {"dispersion": "none"},
        {"weights_hash": "cd"},
        {"settings": {"cutoff_ang": 6.0}},
    ],
)
def test_energies_of_two_theories_never_meet(change):
    other = THEORY.model_copy(update=change)
    with pytest.raises(LevelOfTheoryError, match="rerun the older part of the study") as refusal:
        require_one_theory([THEORY, THEORY, other])
    assert next(iter(change)) in refusal.value.what


@given(n=st.integers(1, 6))
def test_equal_theories_are_one(n):
    assert require_one_theory([THEORY.model_copy() for _ in range(n)]) == THEORY


def test_no_energies_have_no_theory():
    assert require_one_theory([]) is None

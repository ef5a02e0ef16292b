"""Errors of the terms: what is common cancels, what is independent adds in quadrature, what is unknown is no zero."""

from __future__ import annotations

from itertools import pairwise
from math import sqrt
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qdip_dft.analysis.uncertainty import (
    NO_ERRORS,
    QUANTITIES,
    Compared,
    change_together,
    combine,
    combine_components,
    estimate_residual_ev,
    lowest_choice,
    not_estimated,
    registry_errors,
    residual_errors,
)
from qdip_dft.flows.answer import spread_of_registries_ev
from qdip_dft.model.stabilization import CandidateResult, DecompositionResult
from qdip_dft.model.study import PhaseRole
from qdip_dft.model.uncertainty import TermErrors, VariationKind, VariedFilm
from tests.unit.report_documents import make_black, make_yellow

CHANGE = st.floats(-0.5, 0.5)
COVERAGE = 18 / 230
"""Coverage of both synthetic films."""
TERM_NAMES = ("bulk", "strain", "surface", "binding")


def variation(
    base: CandidateResult, index: int, kind: VariationKind, *, layers: int = 0, **changes: float
) -> VariedFilm:
    """Return a film with some terms changed, in eV per formula unit of the study's own thickness."""
    n = base.n_formula_units + layers * base.n_formula_units // 2
    ratio = base.n_formula_units / n
    terms = {name: getattr(base, f"{name}_ev_per_fu") + changes.get(name, 0.0) for name in TERM_NAMES}
    terms |= {name: ratio * terms[name] for name in ("surface", "binding")}
    values: dict[str, Any] = {f"{name}_ev_per_fu": value for name, value in terms.items()}
    return VariedFilm(
        kind=kind,
        index=index,
        tag=f"{kind.value} {index}",
        film=base.candidate.label,
        film_id=base.candidate.id,
        role=base.candidate.role,
        **values,
        total_ev_per_fu=sum(terms.values()),
        n_formula_units=n,
        area_ang2=base.area_ang2,
        n_film_planes=2 + layers,
        n_dot_planes=4,
        faults=(),
        theory=None,
        calculations={},
    )


def compare(*variations: VariedFilm) -> Compared:
    return Compared(make_black(), make_yellow(), variations, COVERAGE)


@given(shifts=st.lists(CHANGE, min_size=1, max_size=5))
def test_an_error_that_both_films_share_cancels(shifts: list[float]) -> None:
    kind = VariationKind.DOT_THICKNESS
    films = (make_black(), make_yellow())
    both = [variation(film, i, kind, bulk=shift) for i, shift in enumerate(shifts, start=1) for film in films]
    found = change_together(compare(*both), kind, name="dot thickness", words="")
    assert found.difference is not None
    assert found.black is not None
    assert found.difference.total_ev_per_fu == pytest.approx(0.0, abs=1e-9)
    assert found.black.total_ev_per_fu == pytest.approx(float(np.sqrt(np.mean(np.square(shifts)))), abs=1e-9)


def test_a_series_that_leads_away_counts_from_the_value_that_is_reported() -> None:
    kind = VariationKind.FILM_THICKNESS
    drift = [variation(make_black(), i, kind, layers=i, binding=0.01 * i) for i in (1, 2)]
    level = [variation(make_yellow(), i, kind, layers=i) for i in (1, 2)]
    found = change_together(compare(*drift, *level), kind, name="film thickness", words="")
    assert found.difference is not None
    assert found.difference.total_ev_per_fu == pytest.approx(sqrt((0.01**2 + 0.02**2) / 2))


@given(shifts=st.lists(CHANGE, min_size=2, max_size=5, unique=True))
def test_the_order_of_the_samples_does_not_matter(shifts: list[float]) -> None:
    kind = VariationKind.ORIENTATION
    films = [variation(make_black(), i, kind, binding=shift) for i, shift in enumerate(shifts, start=1)]
    given_order, reversed_order = (
        lowest_choice(compare(*order), kind, name="", words="").difference for order in (films, films[::-1])
    )
    assert given_order is not None
    assert reversed_order is not None
    assert given_order.total_ev_per_fu == pytest.approx(reversed_order.total_ev_per_fu, abs=1e-12)


def test_independent_choices_add_in_quadrature() -> None:
    kind = VariationKind.ORIENTATION
    both = (variation(make_black(), 1, kind, strain=0.06), variation(make_yellow(), 1, kind, strain=0.08))
    found = lowest_choice(compare(*both), kind, name="cation orientation", words="")
    assert found.difference is not None
    assert found.difference.total_ev_per_fu == pytest.approx(0.1)
    assert found.difference.strained_ev_per_fu == pytest.approx(0.1)
    assert found.difference.interface_mev_per_ang2 == pytest.approx(0.0, abs=1e-9)


@given(layers=st.integers(1, 6))
def test_faces_that_do_not_see_each_other_leave_no_error_of_thickness(layers: int) -> None:
    kind = VariationKind.FILM_THICKNESS
    both = [variation(film, i, kind, layers=i) for i in range(1, layers + 1) for film in (make_black(), make_yellow())]
    found = change_together(compare(*both), kind, name="film thickness", words="")
    assert found.difference is not None
    assert all(getattr(found.difference, name) == pytest.approx(0.0, abs=1e-9) for name in QUANTITIES)


def test_doubling_the_cell_changes_no_error() -> None:
    kind = VariationKind.FILM_THICKNESS
    found = []
    for size in (1, 2):
        black = make_black(n_formula_units=18 * size, area_ang2=230.0 * size)
        yellow = make_yellow(n_formula_units=16 * size, area_ang2=244.0 * size)
        changes = (variation(black, 1, kind, binding=0.01), variation(yellow, 1, kind, surface=0.02))
        films = Compared(black, yellow, changes, 0.05)
        found.append(change_together(films, kind, name="", words="").difference)
    assert found[0] is not None
    assert found[1] is not None
    for name in QUANTITIES:
        assert getattr(found[0], name) == pytest.approx(getattr(found[1], name), abs=1e-12)


@pytest.mark.parametrize("change", [0.2, -0.2])
def test_the_lowest_termination_has_no_error_of_choice(change: float) -> None:
    kind = VariationKind.TERMINATION
    found = lowest_choice(compare(variation(make_black(), 1, kind, surface=change)), kind, name="", words="")
    assert found.difference == NO_ERRORS


def test_the_lowest_of_a_few_draws_misses_the_lowest_of_all_by_its_gap_to_the_second() -> None:
    draws = np.sort(np.random.default_rng(0).uniform(0.0, 1.0, size=(20_000, 4)), axis=1)
    assert np.mean(draws[:, 1] - draws[:, 0]) == pytest.approx(np.mean(draws[:, 0]), rel=0.05)


def test_an_orientation_whose_bulk_lies_lower_counts_by_as_much() -> None:
    kind = VariationKind.ORIENTATION
    changed = variation(make_black(), 1, kind, bulk=-0.03, strain=0.05)
    found = lowest_choice(compare(changed), kind, name="", words="").black
    assert found is not None
    assert found.total_ev_per_fu == pytest.approx(sqrt(0.02**2 + 0.03**2))


def test_a_finer_preset_counts_by_what_it_changes_of_the_difference() -> None:
    kind = VariationKind.PRESET
    both = (variation(make_black(), 1, kind, bulk=-0.05), variation(make_yellow(), 1, kind, bulk=-0.04))
    found = change_together(compare(*both), kind, name="geometry", words="")
    assert found.difference is not None
    assert found.difference.total_ev_per_fu == pytest.approx(0.01)


def test_what_was_not_estimated_has_no_number() -> None:
    found = change_together(compare(), VariationKind.MODEL, name="model", words="")
    assert not found.is_sampled
    assert found.difference is None
    assert "not estimated" in found.finding


def test_the_spread_between_models_stays_out_of_the_error_bar() -> None:
    kind = VariationKind.MODEL
    models = change_together(compare(*(variation(film, 1, kind, bulk=shift) for film, shift in (
        (make_black(), 0.3), (make_yellow(), 0.0)))), kind, name="model", words="")  # fmt: skip
    kept_out = models.model_copy(update={"is_combined": False})
    assert combine_components([kept_out, not_estimated("termination", "nobody looked")], "difference") == NO_ERRORS
    assert combine_components([models], "difference").total_ev_per_fu > 0.1


def test_the_error_grows_with_every_component() -> None:
    errors = [TermErrors(total_ev_per_fu=value) for value in (0.03, 0.04, 0.12)]
    growing = [combine(errors[: count + 1]).total_ev_per_fu for count in range(3)]
    assert growing == pytest.approx([0.03, 0.05, 0.13])
    assert all(one < other for one, other in pairwise(growing))


def test_bulk_compounds_have_the_errors_of_nobody() -> None:
    products = DecompositionResult(
        label="MAI + PbI2", amounts={"MAI": 1.0, "PbI2": 1.0}, missing=(), bulk_ev_per_fu=-50.0, strain_ev_per_fu=0.0,
        surface_ev_per_fu=0.0, binding_ev_per_fu=0.0, total_ev_per_fu=-50.0, bulk_above_lowest_ev_per_fu=0.0,
        calculations={},
    )  # fmt: skip
    kind = VariationKind.FILM_THICKNESS
    films = Compared(make_black(), products, (variation(make_black(), 1, kind, layers=1, binding=0.02),), COVERAGE)
    found = change_together(films, kind, name="film thickness", words="")
    assert found.difference is not None
    assert found.black is not None
    assert found.difference.total_ev_per_fu == pytest.approx(found.black.total_ev_per_fu, abs=1e-12)


def test_forces_cost_what_a_spring_says() -> None:
    k, stretch_ang = 0.5, 0.1
    assert estimate_residual_ev([(k * stretch_ang, 0.0, 0.0)]) == pytest.approx(0.5 * k * stretch_ang**2)
    left = dict.fromkeys(("bulk", "strained bulk", "film slab", "dot slab"), 0.0) | {"interface": 0.12}
    counts = {"bulk": 1, "strained bulk": 6, "film": 12}
    own, thinner = (
        residual_errors(left, counts=counts, own_coverage_fu_per_ang2=0.06, coverage_fu_per_ang2=n)
        for n in (0.06, 0.03)
    )
    assert own.total_ev_per_fu == own.binding_ev_per_fu == pytest.approx(0.01)
    assert thinner.total_ev_per_fu == pytest.approx(0.02)
    assert own.interface_mev_per_ang2 == thinner.interface_mev_per_ang2 == pytest.approx(1000 * 0.12 / 200.0)


def test_both_roles_are_told_apart() -> None:
    found = compare(variation(make_black(), 1, VariationKind.MODEL)).changed(PhaseRole.COMPETITOR, VariationKind.MODEL)
    assert found == {}


@given(
    changes=st.lists(st.tuples(CHANGE, CHANGE, CHANGE, CHANGE), min_size=1, max_size=4),
    coverage=st.floats(0.005, 0.5),
)
def test_the_covariances_give_the_uncertainty_at_any_coverage(
    changes: list[tuple[float, ...]], coverage: float
) -> None:
    """u²(n) = u²(e) + u²(σ)/n² + 2 u(e, σ)/n is the very error that is found when all is evaluated at n."""
    kind = VariationKind.PRESET
    films = [
        variation(make_black(), i, kind, **dict(zip(TERM_NAMES, c, strict=True))) for i, c in enumerate(changes, 1)
    ]
    films += [variation(make_yellow(), i, kind) for i in range(1, len(changes) + 1)]
    known, asked = (
        change_together(Compared(make_black(), make_yellow(), tuple(films), n), kind, name="", words="").difference
        for n in (COVERAGE, coverage)
    )
    assert known is not None
    assert asked is not None
    strained, interface = known.strained_ev_per_fu, known.interface_mev_per_ang2 / 1000
    covariance = known.bulk_interface_covariance_ev2_per_ang2 + known.strain_interface_covariance_ev2_per_ang2
    variance = strained**2 + (interface / coverage) ** 2 + 2 * covariance / coverage
    assert asked.total_ev_per_fu**2 == pytest.approx(variance, rel=1e-6, abs=1e-12)


def test_what_a_reference_leaves_moves_strain_and_faces_against_each_other() -> None:
    """The strained bulk stands in both: too high, it makes the strain too large and the faces too cheap."""
    left = dict.fromkeys(("bulk", "film slab", "dot slab", "interface"), 0.0) | {"strained bulk": 0.06}
    errors = residual_errors(
        left,
        counts={"bulk": 1, "strained bulk": 6, "film": 12},
        own_coverage_fu_per_ang2=0.06,
        coverage_fu_per_ang2=0.06,
    )
    assert errors.total_ev_per_fu == pytest.approx(0.0, abs=1e-12)
    assert errors.strain_interface_covariance_ev2_per_ang2 == pytest.approx(-0.06 * 0.01**2)


def scatter_of_sigma_mev_per_ang2(mistakes_ev: np.ndarray, *, area_ang2: float) -> float:
    """Standard deviation of the interface energy of a cell whose interfaces were each laid wrongly, one row a cell."""
    return float(1000.0 * np.std(mistakes_ev.sum(axis=1)) / area_ang2)


@pytest.mark.parametrize(("first_ev", "second_ev"), [(0.04, 0.04), (0.05, 0.02), (0.03, 0.0)])
def test_unlike_interfaces_of_one_cell_are_laid_wrongly_on_their_own(first_ev: float, second_ev: float) -> None:
    drawn = np.random.default_rng(0).normal(size=(200_000, 2)) * [first_ev, second_ev]
    error = registry_errors(
        (first_ev, second_ev), is_same_surface=False, dot_area_ang2=320.0, coverage_fu_per_ang2=COVERAGE
    )
    assert error.interface_mev_per_ang2 == pytest.approx(
        scatter_of_sigma_mev_per_ang2(drawn, area_ang2=320.0), rel=0.01
    )
    assert error.binding_ev_per_fu == pytest.approx(error.interface_mev_per_ang2 / 1000.0 / COVERAGE)


def test_like_interfaces_of_one_cell_are_laid_wrongly_together() -> None:
    drawn = np.random.default_rng(0).normal(size=(200_000, 1)) * [0.04, 0.04]
    error = registry_errors((0.04, 0.04), is_same_surface=True, dot_area_ang2=320.0, coverage_fu_per_ang2=COVERAGE)
    assert error.interface_mev_per_ang2 == pytest.approx(
        scatter_of_sigma_mev_per_ang2(drawn, area_ang2=320.0), rel=0.01
    )
    alone = registry_errors((0.04,), is_same_surface=True, dot_area_ang2=160.0, coverage_fu_per_ang2=COVERAGE)
    assert error == alone


def test_places_far_above_the_best_leave_nothing_open() -> None:
    assert spread_of_registries_ev([0.0, 0.1, 1.0], [1, 1, 2]) == pytest.approx(0.1 / sqrt(2))
    assert spread_of_registries_ev([0.0, 0.1, 1.0], [1, 3, 2]) == pytest.approx(0.1 * sqrt(3 / 4))
    assert spread_of_registries_ev([0.7], [1]) == 0.0


@pytest.mark.parametrize(("reach_ev", "expected"), [(0.05, 0.0), (0.1, 0.1 / sqrt(2)), (2.0, sqrt((0.01 + 2.0) / 4))])
def test_a_measured_reach_takes_the_place_of_the_assumed_one(reach_ev: float, expected: float) -> None:
    assert spread_of_registries_ev([0.0, 0.1, 1.0], [1, 1, 2], reach_ev=reach_ev) == pytest.approx(expected)

"""Intervals against known truth: errors of known size are injected, and the ± must mean what it says."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from qdip_dft.analysis.uncertainty import (
    DEFAULT_ERRORS,
    Compared,
    assume_errors,
    change_together,
    combine,
    default_component,
    not_estimated,
)
from qdip_dft.analysis.verdict import Verdict, judge_numbers
from qdip_dft.model.calculation import Level
from qdip_dft.model.resolution import COVERAGE_FACTOR, MODEL_ERROR_EV_PER_FU
from qdip_dft.model.uncertainty import VariationKind
from tests.unit.report_documents import make_black, make_yellow
from tests.unit.test_uncertainty import COVERAGE, variation

N_DRAWS = 500
REFERENCE_EV_PER_FU = 0.015
LEVEL = Level.DFT
DRIFT_MEV_PER_ANG2 = 0.5
UNSAMPLED = ("registry", "dot thickness", "k-points and cutoff")


def state_errors(random: np.random.Generator) -> tuple[float, float, float]:
    """One study: what it misses of the truth, and both parts of the error that it states, in eV/f.u."""
    drift = random.normal(0.0, DRIFT_MEV_PER_ANG2 / 1000.0)
    thicker = [
        variation(film, i, VariationKind.FILM_THICKNESS, binding=share * i * drift / COVERAGE)
        for i in (1, 2)
        for film, share in ((make_black(), 1.0), (make_yellow(), 0.0))
    ]
    films = Compared(make_black(), make_yellow(), tuple(thicker), COVERAGE)
    sampled = change_together(films, VariationKind.FILM_THICKNESS, name="film thickness", words="")
    defaults = [default_component(not_estimated(name, "not sampled"), COVERAGE) for name in UNSAMPLED]
    assert sampled.difference is not None
    numerical = combine([sampled.difference, *(each.difference for each in defaults if each.difference is not None)])
    model = combine(
        [
            assume_errors(COVERAGE, bulk_ev_per_fu=REFERENCE_EV_PER_FU),
            assume_errors(COVERAGE, interface_ev_per_ang2=MODEL_ERROR_EV_PER_FU[LEVEL] * COVERAGE),
        ]
    )
    missed = -1.5 * drift / COVERAGE  # where the series leads, between its last two values
    for name in UNSAMPLED:
        strained, interface_mev_per_ang2 = DEFAULT_ERRORS[name]
        missed += random.normal(0.0, strained) + random.normal(0.0, interface_mev_per_ang2 / 1000.0 / COVERAGE)
    missed += random.normal(0.0, REFERENCE_EV_PER_FU) + random.normal(0.0, MODEL_ERROR_EV_PER_FU[LEVEL])
    return missed, numerical.total_ev_per_fu, model.total_ev_per_fu


@cache
def draws() -> np.ndarray:
    random = np.random.default_rng(20)
    return np.array([state_errors(random) for _ in range(N_DRAWS)])


def test_intervals_of_95_percent_hold_in_90_to_99_percent_of_all_draws() -> None:
    missed, numerical, model = draws().T
    is_held = np.abs(missed) <= COVERAGE_FACTOR * np.hypot(numerical, model)
    assert 0.90 <= is_held.mean() <= 0.99


def test_an_interval_without_the_model_would_not_hold() -> None:
    missed, numerical, _ = draws().T
    assert (np.abs(missed) <= COVERAGE_FACTOR * numerical).mean() < 0.90


@pytest.mark.parametrize("spread_ev_per_fu", [0.01, 0.03, 0.1])
def test_of_the_decided_answers_less_than_5_percent_are_wrong(spread_ev_per_fu: float) -> None:
    truths = np.random.default_rng(3).normal(0.0, spread_ev_per_fu, N_DRAWS)
    verdicts = [
        judge_numbers(
            truth + missed, level=LEVEL, has_competitor=True, numerical_ev_per_fu=numerical, model_ev_per_fu=model
        )
        for truth, (missed, numerical, model) in zip(truths, draws(), strict=True)
    ]
    wrong = [
        (verdict is Verdict.BLACK and truth > 0) or (verdict is Verdict.COMPETITOR and truth < 0)
        for verdict, truth in zip(verdicts, truths, strict=True)
    ]
    assert np.mean(wrong) < 0.05


def test_large_differences_are_decided_and_small_ones_are_not() -> None:
    limits = COVERAGE_FACTOR * np.hypot(draws()[:, 1], draws()[:, 2])
    for truth, is_decided in ((0.3, True), (0.0, False)):
        found = np.abs(truth + draws()[:, 0]) > limits
        assert np.mean(found == is_decided) > 0.9

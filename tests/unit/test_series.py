"""Lines through thicknesses, the critical size with its interval, and dots in a host."""

from __future__ import annotations

from dataclasses import replace
from math import inf, sqrt
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from qdip_dft.analysis.dot_size import (
    Dots,
    DotsInHost,
    count_host_per_area,
    embed_interface,
    measure_wulff_shape,
)
from qdip_dft.analysis.series import find_critical_size, find_fieller_interval, fit_line, fit_thicknesses
from qdip_dft.analysis.sides import Sides, subtract_sides
from qdip_dft.analysis.thickness import find_thickness_line
from qdip_dft.errors import StudyError
from qdip_dft.model.study import Environment
from qdip_dft.model.uncertainty import VariationKind
from tests.unit.report_documents import make_black, make_yellow
from tests.unit.test_uncertainty import variation

VOLUME_ANG3 = 250.0
ENERGY = st.floats(0.001, 1.0)
POINTS = st.lists(st.floats(0.01, 0.5), min_size=3, max_size=8, unique_by=lambda x: round(x, 3))


@given(x=POINTS, slope=st.floats(-3, 3), intercept=st.floats(-3, 3), order=st.randoms())
def test_points_on_a_line_give_it_back_without_error_in_any_order(
    x: list, slope: float, intercept: float, order
) -> None:
    order.shuffle(x)
    line = fit_line(x, [slope * value + intercept for value in x])
    assert line.slope == pytest.approx(slope, abs=1e-6)
    assert line.intercept == pytest.approx(intercept, abs=1e-6)
    assert line.slope_error == pytest.approx(0.0, abs=1e-6)
    assert line.intercept_error == pytest.approx(0.0, abs=1e-6)


def test_the_errors_of_a_line_are_those_of_least_squares() -> None:
    x, y = [1.0, 2.0, 3.0, 4.0], [1.1, 1.9, 3.2, 3.9]
    line = fit_line(x, y)
    (slope, intercept), covariance = np.polyfit(x, y, 1, cov="unscaled")
    residuals = np.array(y) - slope * np.array(x) - intercept
    scale = (residuals**2).sum() / (len(x) - 2)
    assert (line.slope, line.intercept) == pytest.approx((slope, intercept))
    assert (line.slope_error, line.intercept_error) == pytest.approx(tuple(np.sqrt(scale * np.diag(covariance))))
    assert line.degrees_of_freedom == 2


def test_two_points_have_no_error() -> None:
    line = fit_line([1.0, 2.0], [1.0, 3.0])
    assert line.slope == pytest.approx(2.0)
    assert line.slope_error is None


def test_thicker_films_with_the_same_faces_give_the_energy_of_the_strained_bulk() -> None:
    black = make_black()
    films = [variation(black, index, VariationKind.FILM_THICKNESS, layers=index) for index in (1, 2)]
    fit = fit_thicknesses(black, films)
    assert fit is not None
    assert fit.slope_ev_per_fu == pytest.approx(black.strain_ev_per_fu)
    assert fit.intercept_mev_per_ang2 == pytest.approx(black.interface_mev_per_ang2)
    assert fit.intercept_uncertainty_mev_per_ang2 == pytest.approx(0.0, abs=1e-6)
    assert fit.is_consistent


def test_a_film_that_gains_with_every_layer_fails_the_check_and_says_what_to_try() -> None:
    black = make_black()
    films = [variation(black, i, VariationKind.FILM_THICKNESS, layers=i, strain=-0.02 * i) for i in (1, 2)]
    fit = fit_thicknesses(black, films)
    assert fit is not None
    assert not fit.is_consistent
    assert "reference_periods" in fit.finding


def test_a_line_needs_three_thicknesses() -> None:
    black = make_black()
    assert fit_thicknesses(black, [variation(black, 1, VariationKind.FILM_THICKNESS, layers=1)]) is None


@given(e=ENERGY, sigma=ENERGY, u_e=st.floats(1e-4, 0.3), u_sigma=st.floats(1e-4, 0.3))
def test_the_best_value_lies_in_its_interval_and_the_ends_are_two_sigma_off(
    e: float, sigma: float, u_e: float, u_sigma: float
) -> None:
    found = find_critical_size(
        strained_ev_per_fu=(e, u_e), interface_ev_per_ang2=(-sigma, u_sigma), volume_ang3_per_fu=VOLUME_ANG3
    )
    assert found.critical_fu_per_ang2 == pytest.approx(sigma / e)
    assert found.interval_fu_per_ang2 is not None
    low, high = found.interval_fu_per_ang2
    assert low <= sigma / e * (1 + 1e-9)
    assert (inf if high is None else high) >= sigma / e * (1 - 1e-9)
    for end in (low, high):
        if end is not None and end > 0:
            assert abs(-sigma + end * e) == pytest.approx(2 * sqrt(u_sigma**2 + (end * u_e) ** 2), rel=1e-4, abs=1e-9)


def test_without_errors_the_interval_is_the_value() -> None:
    assert find_fieller_interval(0.06, 0.12, 0.0, 0.0) == pytest.approx((0.5, 0.5))


def test_a_slope_that_may_be_zero_leaves_the_interval_without_upper_end() -> None:
    low, high = find_fieller_interval(0.06, 0.02, 0.001, 0.05) or (0.0, 0.0)
    assert low > 0
    assert high is None


def test_two_energies_that_may_be_zero_bound_nothing() -> None:
    assert find_fieller_interval(0.01, 0.01, 0.05, 0.05) == (0.0, None)
    found = find_critical_size(
        strained_ev_per_fu=(0.01, 0.05), interface_ev_per_ang2=(-0.01, 0.05), volume_ang3_per_fu=VOLUME_ANG3
    )
    assert not found.is_bounded
    assert "unbounded" in found.finding


def test_significant_energies_of_one_sign_have_no_critical_thickness() -> None:
    found = find_critical_size(
        strained_ev_per_fu=(0.1, 0.01), interface_ev_per_ang2=(0.05, 0.001), volume_ang3_per_fu=VOLUME_ANG3
    )
    assert found.critical_fu_per_ang2 is None
    assert found.interval_fu_per_ang2 is None
    assert "no critical thickness" in found.finding


def test_a_film_between_two_dots_is_twice_as_thick_for_the_same_host_per_area_of_dot() -> None:
    energies = {"strained_ev_per_fu": (0.1, 0.01), "interface_ev_per_ang2": (-0.004, 0.0004)}
    capped, embedded = (find_critical_size(**energies, volume_ang3_per_fu=250.0, n_faces=n) for n in (1, 2))
    assert capped.critical_fu_per_ang2 == embedded.critical_fu_per_ang2 == pytest.approx(0.04)
    assert capped.interval_fu_per_ang2 == embedded.interval_fu_per_ang2
    assert "critical thickness 10.0 Å (1.6 layers)" in capped.finding
    assert "critical thickness between two dots 20.0 Å (3.2 layers)" in embedded.finding


def dots_in_host(**changes: Any) -> DotsInHost:
    """A line with round made-up numbers and no errors."""
    given = {
        "bulk_ev_per_fu": 0.1,
        "strain_ev_per_fu": 0.02,
        "interface_ev_per_ang2": -0.05,
        "covariance": ((0.0,) * 3,) * 3,
        "volume_ang3_per_fu": VOLUME_ANG3,
    }
    return DotsInHost(**{**given, **changes})


@given(loading=st.floats(0.02, 0.3), bulk=ENERGY, strain=st.floats(-0.001, 0.001), sigma=st.floats(0.01, 1.0))
def test_the_map_changes_sign_at_the_critical_radius_and_loading(
    loading: float, bulk: float, strain: float, sigma: float
) -> None:
    line = dots_in_host(bulk_ev_per_fu=bulk + 0.01, strain_ev_per_fu=strain, interface_ev_per_ang2=-sigma)
    radius_ang = line.find_critical_radius_ang(Dots(20.0, loading))
    assume(radius_ang is not None)
    assert radius_ang is not None
    assert line.difference_ev_per_fu(Dots(radius_ang, loading)) == pytest.approx(0.0, abs=1e-9)
    assert line.difference_ev_per_fu(Dots(0.9 * radius_ang, loading)) < 0
    assert line.difference_ev_per_fu(Dots(1.1 * radius_ang, loading)) > 0
    assert line.find_critical_loading(Dots(radius_ang, 0.5)) == pytest.approx(loading, rel=1e-6)


@pytest.mark.parametrize("strain_range_ang", [None, 3.0, 30.0])
@given(radius_ang=st.floats(8, 100), strain=st.floats(-0.5, 0.5), sigma=st.floats(-0.1, 0.1))
def test_vanishing_loading_leaves_the_difference_of_the_bulks_not_of_the_strained_ones(
    strain_range_ang: float | None, radius_ang: float, strain: float, sigma: float
) -> None:
    line = dots_in_host(strain_ev_per_fu=strain, interface_ev_per_ang2=sigma, strain_range_ang=strain_range_ang)
    assert line.difference_ev_per_fu(Dots(radius_ang, 1e-9)) == pytest.approx(0.1, abs=1e-6)


def test_large_dots_at_a_fixed_range_leave_the_bulk_too() -> None:
    assert dots_in_host(strain_range_ang=10.0).difference_ev_per_fu(Dots(1e9, 0.1)) == pytest.approx(0.1, abs=1e-6)


def test_a_range_beyond_the_host_strains_all_of_it() -> None:
    line = dots_in_host(strain_range_ang=100.0)
    assert line.share_strained(Dots(10.0, 0.3)) == 1.0
    assert line.difference_ev_per_fu(Dots(10.0, 0.3)) == pytest.approx(
        0.12 - 0.05 / count_host_per_area(10.0, 0.3, volume_ang3_per_fu=VOLUME_ANG3)
    )


def test_isotropic_elasticity_strains_as_much_host_as_there_is_dot() -> None:
    """The integral of (R/r)^6 from R on is the volume of the sphere; a shell of 2^(1/3) − 1 radii holds as much."""
    radii = np.linspace(20.0, 20000.0, 2_000_001)
    integral = np.trapezoid(4 * np.pi * radii**2 * (20.0 / radii) ** 6, radii)
    assert integral == pytest.approx(4 / 3 * np.pi * 20.0**3, rel=1e-4)
    elastic = dots_in_host().share_strained(Dots(20.0, 0.1))
    shell = dots_in_host(strain_range_ang=20.0 * (2 ** (1 / 3) - 1)).share_strained(Dots(20.0, 0.1))
    assert elastic == pytest.approx(shell) == pytest.approx(0.1 / 0.9)


def test_covariances_enter_the_uncertainty_of_the_map() -> None:
    """Errors of strain and σ that cancel at one coverage leave nothing of it there, and more elsewhere."""
    far = Dots(1e4, 0.1)
    n = count_host_per_area(10.0, 0.3, volume_ang3_per_fu=VOLUME_ANG3)
    together = ((0.0, 0.0, 0.0), (0.0, 1e-4, -1e-4 * n), (0.0, -1e-4 * n, 1e-4 * n**2))
    line = dots_in_host(covariance=together, strain_ev_per_fu=0.0, strain_range_ang=100.0)
    assert line.uncertainty_ev_per_fu(Dots(10.0, 0.3)) == pytest.approx(0.0, abs=1e-9)
    apart = ((0.0, 0.0, 0.0), (0.0, 1e-4, 0.0), (0.0, 0.0, 1e-4 * n**2))
    assert replace(line, covariance=apart).uncertainty_ev_per_fu(Dots(10.0, 0.3)) == pytest.approx(0.01 * sqrt(2))
    assert line.uncertainty_ev_per_fu(far) < 1e-4


def test_an_estimated_range_counts_with_all_that_it_does() -> None:
    line, case = dots_in_host(strain_ev_per_fu=0.09), Dots(20.0, 0.1)
    assert line.uncertainty_ev_per_fu(case) == pytest.approx(0.09 * 0.1 / 0.9)
    assert 0 < replace(line, strain_range_ang=5.2).uncertainty_ev_per_fu(case) < line.uncertainty_ev_per_fu(case)


def test_the_host_around_one_dot_is_what_the_loading_leaves() -> None:
    radius, loading = 20.0, 0.15
    dot_ang3, surface_ang2 = 4 / 3 * np.pi * radius**3, 4 * np.pi * radius**2
    host_ang3 = dot_ang3 * (1 - loading) / loading
    n = count_host_per_area(radius, loading, volume_ang3_per_fu=VOLUME_ANG3)
    assert n == pytest.approx(host_ang3 / VOLUME_ANG3 / surface_ang2)
    cube = (6 / np.pi) ** (1 / 3)  # surface of a cube over that of the sphere of equal volume
    assert count_host_per_area(radius, loading, volume_ang3_per_fu=VOLUME_ANG3, shape=cube) == pytest.approx(n / cube)


@pytest.mark.parametrize(
    ("ratio", "volume", "surface"),
    [(5.0, 8.0, 24.0), (0.2, 0.2**3 * sqrt(3) ** 3 * 4 / 3, 0.2**2 * 12 * sqrt(3))],
    ids=["cube", "octahedron"],
)
def test_wulff_shapes_have_more_surface_than_the_sphere(ratio: float, volume: float, surface: float) -> None:
    assert measure_wulff_shape(ratio) == pytest.approx(surface / (36 * np.pi * volume**2) ** (1 / 3))
    assert 1.0 < measure_wulff_shape(1.0) < measure_wulff_shape(ratio)


def test_a_shape_without_surface_energy_is_refused() -> None:
    with pytest.raises(StudyError, match="for a cube"):
        measure_wulff_shape(0.0)


@pytest.mark.parametrize(("radius", "loading"), [(0.0, 0.1), (20.0, 0.0), (20.0, 1.0), (20.0, 15.0)])
def test_impossible_dots_are_refused(radius: float, loading: float) -> None:
    with pytest.raises(StudyError, match="as a fraction"):
        count_host_per_area(radius, loading, volume_ang3_per_fu=VOLUME_ANG3)


def with_termination(film, termination: str):
    candidate = film.candidate.model_copy(update={"termination": termination})
    return film.model_copy(update={"candidate": candidate})


def test_an_embedded_interface_has_no_free_face() -> None:
    black, yellow = (with_termination(film, "PbI2|PbI2") for film in (make_black(), make_yellow()))
    found = embed_interface(black, yellow, interface_mev_per_ang2=(10.0, 2.0), environment=Environment.CAPPED)
    assert found is not None
    faces = black.surface_mev_per_ang2 - yellow.surface_mev_per_ang2
    assert found.difference_mev_per_ang2 == pytest.approx(10.0 - faces / 2)
    assert found.uncertainty_mev_per_ang2 == pytest.approx(2.0)
    assert found.is_split_exact


def test_a_film_between_two_dots_has_no_free_face_to_take_off() -> None:
    black, yellow = with_termination(make_black(), "PbI2|FAI"), with_termination(make_yellow(), "I|I")
    found = embed_interface(black, yellow, interface_mev_per_ang2=(10.0, 2.0), environment=Environment.EMBEDDED)
    assert found is not None
    assert (found.difference_mev_per_ang2, found.uncertainty_mev_per_ang2) == (10.0, 2.0)
    assert found.is_split_exact


def test_the_strain_of_the_dot_belongs_to_the_area_of_the_line() -> None:
    """It is shared by as much host as there is, and no part of what is left of a thick film."""
    plain, strained = make_black(), make_black().model_copy(update={"dot_strain_ev_per_fu": 0.02})
    own = plain.coverage_fu_per_ang2
    line, moved = (find_thickness_line(film, make_yellow()) for film in (plain, strained))
    assert moved.strained_ev_per_fu == pytest.approx(line.strained_ev_per_fu - 0.02)
    assert moved.interface_ev_per_ang2 == pytest.approx(line.interface_ev_per_ang2 + 0.02 * own)
    assert moved.difference_ev_per_fu(own) == pytest.approx(line.difference_ev_per_fu(own))
    for n in (own / 3, own, 3 * own):
        answer = subtract_sides(Sides(strained, make_yellow()), n)
        assert moved.difference_ev_per_fu(n) == pytest.approx(answer.total_ev_per_fu)


def test_faces_that_differ_leave_their_shares_open() -> None:
    black, yellow = with_termination(make_black(), "PbI2|FAI"), with_termination(make_yellow(), "I|I")
    found = embed_interface(black, yellow, interface_mev_per_ang2=(10.0, 2.0), environment=Environment.CAPPED)
    assert found is not None
    assert not found.is_split_exact
    assert found.uncertainty_mev_per_ang2 == pytest.approx(sqrt(4.0 + black.surface_mev_per_ang2**2 / 12))
    assert "only the sum" in found.finding

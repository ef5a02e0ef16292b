"""What a registry scan that is not whole says about a film."""

from __future__ import annotations

from typing import Any

import pytest

from qdip_dft.analysis.checks import check_registry, describe_place
from qdip_dft.model.calculation import Level, LevelOfTheory
from qdip_dft.model.registry import RegistryFinding, UpperFinding

THEORY = LevelOfTheory(
    level=Level.TEST,
    engine="testing",
    code="toy",
    code_version="1",
    functional="none",
    dispersion="none",
    weights_hash="",
)


def finding(**changes: Any) -> RegistryFinding:
    """A scan of 6 positions of which all have an energy."""
    numbers = {
        "above_best_mev_per_ang2": 0.0,
        "range_mev_per_ang2": 4.0,
        "range_ev_per_fu": 0.2,
        "deviation_mev_per_ang2": 1.0,
        "deviation_ev_per_fu": 0.05,
    }
    known = {"key": "k", "theory": THEORY, "n_positions": 6, "n_failed": 0, "displacement_area_ang2": 20.0, "rank": 1}
    placed = {"turn": "as cut", "gap_offset_ang": 0.1, "gap_ang": 2.9}
    return RegistryFinding.model_validate(known | placed | numbers | changes)


@pytest.mark.parametrize("n_failed", [1, 5])
def test_a_place_that_failed_decides(n_failed: int) -> None:
    check = check_registry(displacement_area_ang2=20.0, n_shifts=1, scanned=finding(n_failed=n_failed))
    assert (check.is_passed, check.is_decisive) == (False, True)
    assert f"{n_failed} of them failed and may be better" in check.finding


def test_a_place_that_cannot_be_decides_nothing() -> None:
    check = check_registry(displacement_area_ang2=20.0, n_shifts=1, scanned=finding(n_impossible=2))
    assert (check.is_passed, check.is_decisive) == (True, False)
    assert "2 impossible" in check.finding


def test_a_finding_without_impossible_places_is_stored_as_before() -> None:
    assert "n_impossible" not in finding().model_dump(mode="json")
    assert finding(n_impossible=1).model_dump(mode="json")["n_impossible"] == 1


def test_both_faces_of_an_embedded_film_are_told() -> None:
    upper = UpperFinding(n_positions=9, range_mev_per_ang2=3.2, gap_offset_ang=0.2, gap_ang=2.71)
    found = finding(upper=upper)
    assert describe_place(found).endswith("; upper face: 9 positions, spread 3.2 meV/Å², unrelaxed gap 2.71 Å")
    assert RegistryFinding.model_validate(found.model_dump(mode="json")) == found
    assert "upper" not in finding().model_dump(mode="json")

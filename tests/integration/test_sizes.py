"""From the stored result of a study with its uncertainty to dots in a host, on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.command_line import assert_four_parts, qdip

STUDY = """
schema_version: 1
name: toy-sizes
dot: {material: PbTe, facets: ["100"], min_thickness_ang: 6}
host: CsPbI3
phases:
  - {phase: CsPbI3-alpha, role: black, planes: ["100"], termination: PbI2}
  - {phase: CsPbI3-beta, role: competitor, planes: ["001"], termination: PbI2}
matching: {max_area_ang2: 100, max_strain: 0.08}
film: {min_thickness_ang: 6, thicknesses: 3, registry_shifts: [[0, 0]]}
vacuum_ang: 12
engine: {name: testing, preset: fast}
"""


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sizes")
    (folder / "toy-sizes.yaml").write_text(STUDY, encoding="utf-8")
    qdip("run", folder / "toy-sizes.yaml", "--results", folder / "results", "--quiet")
    return folder / "results"


def size(results: Path, *options: object) -> dict:
    (answer,) = json.loads(qdip("size", "toy-sizes", "--results", results, "--json", *options).stdout)
    return answer


def test_the_run_stores_three_thicknesses_and_the_report_shows_them(results: Path) -> None:
    report = qdip("report", "toy-sizes", "--results", results).stdout
    assert "Thickness of the films" in report
    assert "Error budget of black − competitor" in report
    assert "±" in report


def test_a_second_run_computes_nothing(results: Path) -> None:
    again = qdip("run", results.parent / "toy-sizes.yaml", "--results", results, "--quiet").stdout
    assert "0 calculations made" in again


def test_the_plan_lists_the_thicker_films(results: Path) -> None:
    planned = qdip("plan", results.parent / "toy-sizes.yaml", "--results", results.parent / "none", "--json").stdout
    assert "film slab PbTe(100)//CsPbI3-alpha(100), film +2" in planned


def test_a_faceted_dot_has_less_host_per_area_than_a_sphere(results: Path) -> None:
    sphere, faceted = size(results), size(results, "--ratio", 1.0)
    assert faceted["shape"] > sphere["shape"] == 1.0
    assert abs(faceted["difference_ev_per_fu"]) >= abs(sphere["difference_ev_per_fu"])


def test_the_answer_says_what_it_assumes(results: Path) -> None:
    assert "free face" in qdip("size", "toy-sizes", "--results", results).stdout


def test_an_impossible_loading_is_refused(results: Path) -> None:
    refused = qdip("size", "toy-sizes", "--results", results, "--loading", 10, check=False)
    assert_four_parts(refused, "give the loading as a fraction")

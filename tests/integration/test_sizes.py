"""From the stored result of a study with its uncertainty to dots in a host, on the command line."""

from __future__ import annotations

import json
from pathlib import Path
from shutil import copytree

import pytest

from qdip_dft.analysis.sides import find_sides
from qdip_dft.model.stabilization import Stabilization
from qdip_dft.storage.location import make_results, open_results
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
film: {min_thickness_ang: 6, thicknesses: 3, registries: [[0, 0]]}
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
    assert faceted["coverage_fu_per_ang2"] == pytest.approx(sphere["coverage_fu_per_ang2"] / faceted["shape"])
    assert faceted["strained_share"] == sphere["strained_share"]


def test_the_answer_says_what_it_assumes(results: Path) -> None:
    assert "free face" in qdip("size", "toy-sizes", "--results", results).stdout


def test_an_error_bar_needs_all_its_parts(results: Path) -> None:
    answer = size(results)
    assert answer["uncertainty_ev_per_fu"] is None
    assert "termination" in answer["not_estimated"]
    said = qdip("size", "toy-sizes", "--results", results).stdout
    assert "±" not in said.splitlines()[0]
    assert "not sampled: " in said


def test_vanishing_loading_leaves_the_bulk_whatever_the_range_of_the_strain(results: Path) -> None:
    doc = json.loads(qdip("report", "toy-sizes", "--results", results, "--json").stdout)
    bulk = doc["stabilization"]["bulk_ev_per_fu"]
    for options in ((), ("--strain-range", 15)):
        thin = size(results, "--loading", 1e-9, *options)
        assert thin["difference_ev_per_fu"] == pytest.approx(bulk, abs=1e-6)
    assert size(results, "--strain-range", 1000)["strained_share"] == 1.0


def test_a_range_that_the_study_gives_is_stored_with_its_result(results: Path, tmp_path: Path) -> None:
    """The same calculations, another map."""
    folder = tmp_path / "ranged"
    copytree(results, folder)
    (tmp_path / "toy-sizes.yaml").write_text(STUDY + "strain_range_ang: 4.0\n", encoding="utf-8")
    said = qdip("run", tmp_path / "toy-sizes.yaml", "--results", folder).stdout
    assert "0 calculations made" in said
    assert "Strain reaches 4.0 Å from the dot" in " ".join(said.split())
    (doc,) = open_results(folder).list_stabilizations()
    assert doc.study.strain_range_ang == 4.0
    assert size(folder) == size(results, "--strain-range", 4)
    assert size(folder, "--strain-range", 9) == size(results, "--strain-range", 9)


def test_a_result_of_the_old_formula_is_shown_as_such_and_made_anew_from_its_calculations(
    results: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "old"
    copytree(results, folder)
    archive = open_results(folder)
    (doc,) = archive.list_stabilizations()
    sides = find_sides(doc)
    own = (sides.black - sides.competitor).model_dump()
    old = Stabilization(
        **own, black=doc.stabilization.black, competitor=doc.stabilization.competitor, sentence="As it was."
    )
    archive.save_stabilization(doc.model_copy(update={"formula_version": 1, "stabilization": old}))
    archive.close()
    assert "own n (version 1)" in " ".join(qdip("query", "--results", folder).stdout.replace("│", " ").split())
    refused = qdip("size", "toy-sizes", "--results", folder, check=False)
    assert_four_parts(refused, "qdip db upgrade")
    assert json.loads(qdip("db", "upgrade", folder, "--json").stdout) == [{"id": "toy-sizes", "reason": None}]
    (anew,) = open_results(folder).list_stabilizations()
    assert anew.stabilization == doc.stabilization
    assert anew.uncertainty == doc.uncertainty
    assert "follows the present formula" in qdip("db", "upgrade", folder).stdout


def test_a_result_whose_calculations_are_not_stored_keeps_its_version(results: Path, tmp_path: Path) -> None:
    target = make_results(tmp_path / "alone")
    (doc,) = open_results(results).list_stabilizations()
    target.save_stabilization(doc.model_copy(update={"formula_version": 1}))
    target.close()
    (upgrade,) = json.loads(qdip("db", "upgrade", tmp_path / "alone", "--json").stdout)
    assert "are not stored" in upgrade["reason"]
    assert "qdip run toy-sizes" in upgrade["reason"]
    (kept,) = open_results(tmp_path / "alone").list_stabilizations()
    assert kept.formula_version == 1


def test_an_impossible_loading_is_refused(results: Path) -> None:
    refused = qdip("size", "toy-sizes", "--results", results, "--loading", 10, check=False)
    assert_four_parts(refused, "give the loading as a fraction")

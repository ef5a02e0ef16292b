"""`qdip temperature` on a finished study: every calculation once, and every missing number with its reason."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.command_line import assert_four_parts, qdip

TOY_STUDY = Path(__file__).parents[1] / "data" / "toy-study.yaml"


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("temperature") / "results"
    qdip("run", TOY_STUDY, "--results", folder, "--quiet")
    return folder


def ask(results: Path, *more: str) -> dict[str, Any]:
    answer = qdip("temperature", "toy-study", "--results", results, "--min-length", "6", "--to", "300", "--quiet",
                  "--json", *more)  # fmt: skip
    found: dict[str, Any] = json.loads(answer.stdout)
    return found


def test_the_toys_cubic_phases_have_imaginary_modes_and_no_free_energy(results: Path) -> None:
    found = ask(results)
    assert found["temperatures_k"] == [0, 50, 100, 150, 200, 250, 300]
    assert set(found["off_dot"]["lower_ev_per_fu"]) == {None}
    assert "are imaginary" in found["off_dot"]["missing"][0]
    assert all(phase["harmonic"]["imaginary"] for phase in found["phases"] if not phase["is_strained"])


def test_a_second_run_calculates_nothing(results: Path) -> None:
    from qdip_dft.storage.results_folder import ResultsFolder, open_archive

    ask(results)
    before = sum(1 for _ in open_archive(ResultsFolder(results)).list_calculations())
    found = ask(results, "--step", "100")
    assert found["temperatures_k"] == [0, 100, 200, 300]
    assert sum(1 for _ in open_archive(ResultsFolder(results)).list_calculations()) == before


def test_the_table_says_level_sign_and_assumptions(results: Path) -> None:
    shown = qdip("temperature", "toy-study", "--results", results, "--min-length", "6", "--quiet").stdout
    assert "level test" in shown
    assert "negative: black favoured" in shown
    assert "no thermal expansion" in shown
    assert (results / "reports" / "toy-study" / "temperature.svg").exists()


def test_the_stored_document_is_the_printed_one(results: Path) -> None:
    from qdip_dft.results.migrations import read_temperature
    from qdip_dft.storage.results_folder import ResultsFolder

    printed = ask(results)
    (stored,) = ResultsFolder(results).collection("temperatures").query({"id": "toy-study"})
    assert read_temperature(stored).model_dump(mode="json") == printed


def test_a_study_without_a_competing_film_is_refused(tmp_path: Path) -> None:
    study = yaml.safe_load(TOY_STUDY.read_text(encoding="utf-8"))
    study |= {"name": "alone", "phases": study["phases"][:1], "terms_only": True}
    (tmp_path / "alone.yaml").write_text(yaml.safe_dump(study), encoding="utf-8")
    qdip("run", tmp_path / "alone.yaml", "--results", tmp_path / "results", "--quiet")
    refused = qdip("temperature", "alone", "--results", tmp_path / "results", "--quiet", check=False)
    assert_four_parts(refused, "complete the study with a competing phase")


def test_without_phonopy_nothing_is_calculated(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "phonopy", None)
    monkeypatch.setattr("qdip_dft.execution.temperature.list_crystals", lambda *_: pytest.fail("it has begun"))
    refused = qdip("temperature", "toy-study", "--results", results, check=False)
    assert_four_parts(refused, "phonons need the package 'phonopy'")

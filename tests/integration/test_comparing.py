"""`qdip compare` as a user meets it, on stored synthetic results."""

from __future__ import annotations

import csv
import json
from io import StringIO
from pathlib import Path

import pytest

from qdip_dft.planning.study_files import use_engine
from qdip_dft.storage.results_folder import ResultsFolder, open_archive
from tests.command_line import assert_four_parts, qdip
from tests.unit.report_documents import make_black, make_document, make_yellow

STRONGER = make_black(terms_ev_per_fu=(0.05, 0.03, 0.2, -0.7))


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A results folder with one study at two presets, and with another engine."""
    folder = tmp_path / "results"
    archive = open_archive(ResultsFolder(folder))
    first = make_document()
    assert first.theory is not None
    precise = make_document(STRONGER, make_yellow())
    toy = first.model_copy(update={"theory": first.theory.model_copy(update={"engine": "testing", "code": "morse"})})
    for document, engine, preset in ((first, None, None), (precise, None, "precise"), (toy, "testing", None)):
        study = use_engine(first.study, engine=engine, preset=preset)
        archive.save_stabilization(document.model_copy(update={"study": study, "id": study.result_id("111")}))
    return folder


def test_one_level_of_theory_has_a_column_of_differences(results: Path) -> None:
    printed = qdip("compare", "synthetic-study", "synthetic-study+precise", "--results", results).stdout
    assert "B − A" in printed
    assert "-0.300 *" in printed
    assert "≠ preset" in printed


def test_two_engines_stand_side_by_side_with_the_reason(results: Path) -> None:
    printed = qdip("compare", "synthetic-study", "synthetic-study+testing", "--results", results).stdout
    words = " ".join(printed.split())
    assert "B − A is not taken: A and B are at different levels of theory (engine: mlip and testing" in words
    assert "What to do: compare the stabilizations side by side" in words


def test_numbers_come_as_json_and_csv(results: Path) -> None:
    asked = ("compare", "synthetic-study", "synthetic-study+precise", "--results", results)
    summary = json.loads(qdip(*asked, "--json").stdout)
    assert [result["letter"] for result in summary["results"]] == ["A", "B"]
    assert summary["not_subtracted"] == []
    rows = list(csv.DictReader(StringIO(qdip(*asked, "--csv").stdout)))
    assert {row["unit"] for row in rows} == {"eV/f.u.", "meV/Å²", "J/m²"}


def test_a_page_is_written(results: Path, tmp_path: Path) -> None:
    page = tmp_path / "new" / "comparison.html"
    qdip("compare", "synthetic-study", "synthetic-study+testing", "--results", results, "--html", page)
    assert "different levels of theory" in page.read_text(encoding="utf-8")


def test_a_result_that_does_not_exist_is_refused(results: Path) -> None:
    refused = qdip("compare", "synthetic-study", "nothing", "--results", results, check=False)
    assert_four_parts(refused, "no result called 'nothing'")

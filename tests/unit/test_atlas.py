"""The overview of all results: colours that everybody reads, links that hold, numbers in full."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qdip_dft.report.atlas import choose_colours, render_atlas
from qdip_dft.storage.results_folder import ResultsFolder, open_archive
from tests.command_line import assert_four_parts, qdip
from tests.unit.hostile_documents import make_hostile
from tests.unit.report_documents import make_black, make_document, make_yellow
from tests.unit.test_page import contrast

TOTALS = st.one_of(st.none(), st.floats(-5, 5))


@given(total_ev_per_fu=TOTALS)
def test_every_field_has_the_contrast_of_normal_text(total_ev_per_fu: float | None) -> None:
    assert contrast(*choose_colours(total_ev_per_fu)) >= 4.5


@given(smaller=st.floats(0, 0.3), larger=st.floats(0, 0.3), sign=st.sampled_from([-1, 1]))
def test_a_larger_stabilization_is_never_paler(smaller: float, larger: float, sign: int) -> None:
    smaller, larger = sorted((smaller, larger))
    paper = "#f0f0f0"
    pale, deep = (contrast(choose_colours(sign * value)[0], paper) for value in (smaller, larger))
    assert deep >= pale


def test_black_is_blue_and_the_competitor_orange() -> None:
    assert choose_colours(-1.0)[0] == "#0072b2"
    assert choose_colours(1.0)[0] == "#e69f00"
    assert choose_colours(0.0)[0] == choose_colours(None)[0]


def test_a_result_without_a_number_is_marked_in_words() -> None:
    broken = make_black(terms_ev_per_fu=(0.05, 0.03, None, None), missing=("film slab failed",), is_selected=False)
    page = render_atlas([make_document(broken, make_yellow())], {})
    assert "hatched" in page
    assert "<strong>?</strong> undecided" in page


def test_hostile_texts_are_escaped() -> None:
    hostile = make_hostile()
    page = render_atlas([hostile], {hostile.id: 'x" onclick="alert(1)'})
    assert "<script>alert" not in page
    assert 'onclick="alert' not in page


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A results folder with one result."""
    open_archive(ResultsFolder(tmp_path / "results")).save_stabilization(make_document())
    return tmp_path / "results"


def test_the_atlas_lies_in_the_results_folder_and_writes_what_it_links(results: Path) -> None:
    qdip("atlas", "--results", results)
    assert 'href="reports/synthetic-study/report.html"' in (results / "atlas.html").read_text(encoding="utf-8")
    assert (results / "reports" / "synthetic-study" / "report.html").is_file()


def test_a_page_elsewhere_links_back_to_the_results_folder(results: Path, tmp_path: Path) -> None:
    page = tmp_path / "pages" / "overview.html"
    qdip("atlas", "--results", results, "--out", page)
    assert 'href="../results/reports/synthetic-study/report.html"' in page.read_text(encoding="utf-8")


def test_a_folder_holds_the_atlas_and_its_reports(results: Path, tmp_path: Path) -> None:
    qdip("atlas", "--results", results, "--out", tmp_path / "site")
    assert (tmp_path / "site" / "reports" / "synthetic-study" / "report.html").is_file()
    assert 'href="reports/' in (tmp_path / "site" / "atlas.html").read_text(encoding="utf-8")
    assert not (results / "reports").exists()


def test_numbers_come_as_json_in_full(results: Path) -> None:
    (row,) = json.loads(qdip("atlas", "--results", results, "--json").stdout)
    assert row["total_ev_per_fu"] == make_document().stabilization.total_ev_per_fu
    assert (row["dot"], row["facet"], row["answer"]) == ("PbS", "111", "black")


def test_a_folder_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    refused = qdip("atlas", "--results", tmp_path / "nothing", check=False)
    assert_four_parts(refused, "there is no results folder")

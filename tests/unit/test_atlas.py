"""The overview of all results: colours that everybody reads, links that hold, numbers in full."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qdip_dft.analysis.verdict import judge
from qdip_dft.errors import ResultsError
from qdip_dft.model.stabilization import Check, StabilizationDoc
from qdip_dft.report.atlas import choose_colours, render_atlas
from qdip_dft.results.migrations import read_stabilization
from qdip_dft.results.overview import ResultOverview, describe_result, list_overviews
from qdip_dft.storage.results_folder import ResultsFolder, open_archive
from tests.command_line import assert_four_parts, qdip
from tests.unit.hostile_documents import make_hostile
from tests.unit.report_documents import make_black, make_document, make_yellow
from tests.unit.test_page import contrast


def overview_of(document: StabilizationDoc) -> ResultOverview:
    return describe_result(document.model_dump(mode="json"))


GOLDEN = Path(__file__).parents[1] / "data" / "golden"
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
    page = render_atlas([overview_of(make_document(broken, make_yellow()))], {})
    assert "hatched" in page
    assert "<strong>?</strong> incomplete" in page


def test_hostile_texts_are_escaped() -> None:
    hostile = make_hostile()
    page = render_atlas([overview_of(hostile)], {hostile.id: 'x" onclick="alert(1)'})
    assert "<script>alert" not in page
    assert 'onclick="alert' not in page


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A results folder with one result."""
    open_archive(ResultsFolder(tmp_path / "results")).save_stabilization(make_document())
    return tmp_path / "results"


def test_the_atlas_lies_in_the_results_folder_and_links_the_reports_that_exist(results: Path) -> None:
    qdip("atlas", "--results", results)
    assert "href=" not in find_row(results / "atlas.html")
    assert not (results / "reports").exists()
    qdip("report", "synthetic-study", "--results", results)
    qdip("atlas", "--results", results)
    assert 'href="reports/synthetic-study/report.html"' in find_row(results / "atlas.html")


def find_row(page: Path) -> str:
    text = page.read_text(encoding="utf-8")
    return text[text.index("<tbody>", text.index('id="list"')) :]


def test_missing_reports_are_written_when_asked_for(results: Path) -> None:
    qdip("atlas", "--results", results, "--reports")
    assert 'href="reports/synthetic-study/report.html"' in find_row(results / "atlas.html")
    assert (results / "reports" / "synthetic-study" / "report.html").is_file()


def test_a_report_older_than_its_result_is_not_linked(results: Path) -> None:
    outdated = results / "reports" / "synthetic-study" / "report.html"
    outdated.parent.mkdir(parents=True)
    outdated.write_text("of another result")
    os.utime(outdated, (0, 0))
    qdip("atlas", "--results", results)
    assert "href=" not in find_row(results / "atlas.html")


def test_a_page_elsewhere_links_back_to_the_results_folder(results: Path, tmp_path: Path) -> None:
    page = tmp_path / "pages" / "overview.html"
    qdip("atlas", "--results", results, "--out", page, "--reports")
    assert 'href="../results/reports/synthetic-study/report.html"' in page.read_text(encoding="utf-8")


def test_a_folder_holds_the_atlas_and_its_reports(results: Path, tmp_path: Path) -> None:
    qdip("atlas", "--results", results, "--out", tmp_path / "site", "--reports")
    assert (tmp_path / "site" / "reports" / "synthetic-study" / "report.html").is_file()
    assert 'href="reports/' in (tmp_path / "site" / "atlas.html").read_text(encoding="utf-8")
    assert not (results / "reports").exists()


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("stabilization-*.json")), ids=lambda path: path.stem)
def test_a_summary_tells_what_the_whole_document_tells(path: Path, tmp_path: Path) -> None:
    content = json.loads(path.read_text(encoding="utf-8"))
    document = read_stabilization(content)
    collection = ResultsFolder(tmp_path).collection("stabilizations")
    collection.update([content])
    (seen,) = list_overviews(collection)
    assert seen == describe_result(content)
    assert seen.verdict is judge(document)
    assert seen.total_ev_per_fu == document.stabilization.total_ev_per_fu
    assert seen.films.incomplete == sum(bool(film.missing) for film in document.candidates)
    assert seen.films.left_out == sum(bool(film.failed_checks) for film in document.candidates)


def test_films_with_flaws_are_counted_by_the_database(tmp_path: Path) -> None:
    broken = make_black(terms_ev_per_fu=(0.05, 0.03, None, None), missing=("film slab failed",), is_selected=False)
    failed = Check(name="contact", is_passed=False, is_decisive=True, finding="0.9 Å")
    left_out = make_yellow().model_copy(update={"checks": (failed,)})
    open_archive(ResultsFolder(tmp_path)).save_stabilization(make_document(broken, left_out))
    (seen,) = list_overviews(ResultsFolder(tmp_path).collection("stabilizations"))
    assert (seen.films.incomplete, seen.films.left_out) == (1, 1)


@pytest.mark.parametrize("field", ["stabilization", "study", "level"])
def test_a_summary_without_what_it_needs_is_refused(field: str) -> None:
    content = make_document().model_dump(mode="json")
    del content[field]
    with pytest.raises(ResultsError, match="update qdip_dft"):
        describe_result(content)


def test_numbers_come_as_json_in_full(results: Path) -> None:
    (row,) = json.loads(qdip("atlas", "--results", results, "--json").stdout)
    assert row["total_ev_per_fu"] == make_document().stabilization.total_ev_per_fu
    assert (row["dot"], row["facet"], row["answer"]) == ("PbS", "111", "undecided")


def test_a_folder_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    refused = qdip("atlas", "--results", tmp_path / "nothing", check=False)
    assert_four_parts(refused, "there is no results folder")

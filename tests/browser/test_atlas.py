"""The atlas in a real browser: nothing is loaded, filters and sorting work, every report is one click away."""

from __future__ import annotations

from pathlib import Path

import pytest
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select

from qdip_dft.analysis.comparison import compare_results
from qdip_dft.model.stabilization import StabilizationDoc
from qdip_dft.report.atlas import render_atlas
from qdip_dft.report.comparison import render_comparison_page
from qdip_dft.results.migrations import read_stabilization
from qdip_dft.results.overview import describe_result
from qdip_dft.storage.results_folder import ResultsFolder, open_archive
from tests.browser.headless import Browser
from tests.command_line import qdip
from tests.synthetic_results import make_results
from tests.unit.hostile_documents import make_hostile

N_RESULTS = 40
SHOWN_ROWS = "return [...document.querySelectorAll('#list tbody tr')].filter(row => row.offsetParent !== null)"
SHOWN_FIELDS = "return [...document.querySelectorAll('#matrix .entry')].filter(e => e.offsetParent !== null)"


@pytest.fixture(scope="module")
def documents() -> list[StabilizationDoc]:
    """Forty synthetic results, the first of them undecided."""
    made = [read_stabilization(content) for content in make_results(N_RESULTS)]
    nothing = dict.fromkeys(type(made[0].stabilization).model_fields)
    undecided = made[0].stabilization.model_copy(update={**nothing, "sentence": "SYNTHETIC: undecided"})
    return [made[0].model_copy(update={"stabilization": undecided}), *made[1:]]


@pytest.fixture(scope="module")
def atlas(documents: list[StabilizationDoc], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The atlas of a results folder with all of them; two reports are real, the others stand in for them."""
    results = tmp_path_factory.mktemp("atlas") / "results"
    archive = open_archive(ResultsFolder(results))
    for document in documents:
        archive.save_stabilization(document)
    for document in documents[2:]:
        report = results / "reports" / document.id / "report.html"
        report.parent.mkdir(parents=True)
        report.write_text("<title>SYNTHETIC report</title>", encoding="utf-8")
    qdip("atlas", "--results", results, "--reports")
    return results / "atlas.html"


def test_the_atlas_loads_nothing_and_makes_no_error(browser: Browser, atlas: Path) -> None:
    browser.open(atlas)
    assert browser.list_requests() == [atlas.as_uri()]
    assert browser.list_errors() == []
    browser.save_screenshot("atlas-desktop")


def test_every_result_is_a_field_and_a_row(browser: Browser, atlas: Path) -> None:
    browser.open(atlas)
    assert len(browser.run(SHOWN_ROWS)) == len(browser.run(SHOWN_FIELDS)) == N_RESULTS


def test_a_filter_leaves_what_passes_and_hides_empty_lines(
    browser: Browser, atlas: Path, documents: list[StabilizationDoc]
) -> None:
    browser.open(atlas)
    expected = [d for d in documents if d.study.dot.material == "PbS" and d.level.value == "dft"]
    for name, value in (("dot", "PbS"), ("level", "dft")):
        Select(browser.driver.find_element("name", name)).select_by_visible_text(value)
    assert 0 < len(expected) < N_RESULTS
    assert len(browser.run(SHOWN_ROWS)) == len(browser.run(SHOWN_FIELDS)) == len(expected)
    assert browser.run("return document.getElementById('count').value") == f"{len(expected)} of {N_RESULTS} results"
    assert browser.run("return document.querySelectorAll('#matrix tbody tr:not([hidden])').length") == 1
    browser.driver.find_element("css selector", "button[type=reset]").click()
    browser.driver.implicitly_wait(0)
    browser.driver.execute_async_script("setTimeout(arguments[0], 50)")
    assert len(browser.run(SHOWN_ROWS)) == N_RESULTS


def test_the_list_is_sorted_by_total_with_keys_and_missing_last(
    browser: Browser, atlas: Path, documents: list[StabilizationDoc]
) -> None:
    browser.open(atlas)
    heading = browser.driver.find_element("xpath", "//table[@id='list']//button[starts-with(., 'total')]")
    heading.send_keys(Keys.ENTER)
    sorted_ids = browser.run("return [...document.querySelectorAll('#list tbody th')].map(cell => cell.textContent)")
    known = [d for d in documents if d.stabilization.total_ev_per_fu is not None]
    expected = sorted(known, key=lambda d: d.stabilization.total_ev_per_fu or 0.0)
    assert sorted_ids == [*(d.id for d in expected), documents[0].id]


def test_a_click_leads_to_the_report(browser: Browser, atlas: Path, documents: list[StabilizationDoc]) -> None:
    browser.open(atlas)
    browser.driver.find_element("css selector", f"#matrix a[title='{documents[1].id}']").click()
    assert browser.driver.current_url == (atlas.parent / "reports" / documents[1].id / "report.html").as_uri()
    assert documents[1].id in browser.driver.title


def test_every_link_leads_to_a_file(browser: Browser, atlas: Path) -> None:
    browser.open(atlas)
    links = browser.run("return [...document.querySelectorAll('main a')].map(a => a.getAttribute('href'))")
    assert len(links) == 2 * N_RESULTS
    assert all((atlas.parent / link).is_file() for link in links)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1200])
def test_the_atlas_can_be_read_and_used(browser: Browser, atlas: Path, scheme: str, width: int) -> None:
    browser.open(atlas, scheme=scheme, width=width)
    assert browser.find_violations() == []
    overflow = browser.run("return document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert overflow <= 0
    browser.save_screenshot(f"atlas-{scheme}-{width}")


def test_all_is_reached_by_keys(browser: Browser, atlas: Path) -> None:
    browser.open(atlas)
    browser.driver.find_element("name", "dot").send_keys("CdSe")
    assert 0 < len(browser.run(SHOWN_ROWS)) < N_RESULTS
    browser.driver.find_element("css selector", "#matrix a:not([hidden])").send_keys(Keys.ENTER)
    assert browser.driver.current_url.endswith("report.html")


def test_hostile_texts_stay_texts(browser: Browser, tmp_path: Path) -> None:
    page = tmp_path / "hostile.html"
    hostile = make_hostile()
    seen = describe_result(hostile.model_dump(mode="json"))
    page.write_text(render_atlas([seen], {hostile.id: "reports/x.html"}), encoding="utf-8")
    browser.open(page)
    assert browser.run("return window.hacked") is None
    assert browser.run("return document.querySelectorAll('img, iframe, object, script[src]').length") == 0
    assert browser.list_requests() == [page.as_uri()]


@pytest.mark.parametrize(("scheme", "width"), [("light", 1200), ("dark", 360)])
def test_a_comparison_can_be_read(
    browser: Browser, documents: list[StabilizationDoc], tmp_path: Path, scheme: str, width: int
) -> None:
    page = tmp_path / "comparison.html"
    page.write_text(render_comparison_page(compare_results(documents[1:4])), encoding="utf-8")
    browser.open(page, scheme=scheme, width=width)
    assert browser.list_requests() == [page.as_uri()]
    assert browser.list_errors() == []
    assert browser.find_violations() == []
    assert browser.run("return document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0
    browser.save_screenshot(f"comparison-{scheme}-{width}")

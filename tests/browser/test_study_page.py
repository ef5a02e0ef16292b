"""The report of a study in a real browser: nothing is loaded, everything is drawn, reached by keys and readable."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image, ImageChops
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

from qdip_dft.report.notation import typeset
from qdip_dft.report.study_page import render_study_page
from qdip_dft.storage.results_folder import ResultsFolder, open_archive
from tests.browser.headless import Browser
from tests.command_line import qdip
from tests.unit.hostile_documents import make_hostile

TOY_STUDY = Path(__file__).parents[1] / "data" / "toy-study.yaml"
CANDIDATES = "document.querySelectorAll('#candidates tbody tr')"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a finished study with the toy potential."""
    results = tmp_path_factory.mktemp("browser") / "results"
    qdip("run", TOY_STUDY, "--results", results, "--quiet")
    return results / "reports" / "toy-study" / "report.html"


@pytest.fixture(scope="module")
def plain_page(page: Path) -> Path:
    """The same report without structures: opened fast, where the three-dimensional view does not matter."""
    archive = open_archive(ResultsFolder(page.parents[2]))
    path = page.with_name("plain.html")
    path.write_text(render_study_page(archive.find_stabilizations("toy-study")[0], {}), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def hostile_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a study whose every text tries to break out."""
    path = tmp_path_factory.mktemp("hostile") / "hostile.html"
    path.write_text(render_study_page(make_hostile(), {}), encoding="utf-8")
    return path


def share_changed(before: Image.Image, after: Image.Image) -> float:
    """Return the share of pixels that differ."""
    difference = ImageChops.difference(before, after).convert("L").point(lambda value: 255 * (value > 8))
    return difference.histogram()[255] / (difference.width * difference.height)


def lies_inside(picture: Image.Image) -> bool:
    """Return whether no atom touches the rim of the view; the dashed cell, paler, may."""
    inside = (2, 2, picture.width - 2, picture.height - 2)
    background = Image.new("RGB", picture.size, picture.getpixel((8, 8)))
    atoms = (
        ImageChops.difference(picture, background).convert("L").point(lambda value: 255 * (value > 120)).crop(inside)
    )
    left, top, right, bottom = atoms.getbbox() or (0, 0, 0, 0)
    return left > 0 and top > 0 and right < atoms.width and bottom < atoms.height


def sorted_rows(browser: Browser) -> list[str]:
    return browser.run(f"return [...{CANDIDATES}].map(row => row.cells[0].textContent)")


def test_the_page_loads_nothing_and_makes_no_error(browser: Browser, page: Path) -> None:
    browser.open(page)
    assert browser.list_requests() == [page.as_uri()]
    assert browser.list_errors() == []
    browser.save_screenshot("study-desktop")


def test_hostile_texts_stay_texts(browser: Browser, hostile_page: Path) -> None:
    browser.open(hostile_page)
    assert browser.run("return window.hacked") is None
    assert browser.run("return document.querySelectorAll('img, iframe, object, script[src]').length") == 0
    assert "<script>" in browser.run("return document.querySelector('h1').textContent")
    assert browser.list_requests() == [hostile_page.as_uri()]
    assert browser.list_errors() == []


def test_a_script_that_got_into_the_page_would_not_run(browser: Browser, plain_page: Path, tmp_path: Path) -> None:
    injected = tmp_path / "injected.html"
    attack = "<script>window.hacked = 1</script><img src='https://example.org/x.png' alt=''></main>"
    injected.write_text(plain_page.read_text(encoding="utf-8").replace("</main>", attack), encoding="utf-8")
    browser.open(injected)
    assert browser.run("return window.hacked") is None
    assert len(browser.list_errors()) == 2, "the policy reports the script and the picture"


def test_the_three_dimensional_view_is_drawn_and_turned_by_keys(browser: Browser, page: Path) -> None:
    browser.open(page, width=600)
    first = browser.look_at("#viewer")
    background = Image.new("RGB", first.size, first.getpixel((8, 8)))
    assert share_changed(background, first) > 0.03
    assert lies_inside(first), "the slab is cut off"
    viewer = browser.driver.find_element("css selector", "#viewer")
    viewer.send_keys(Keys.ARROW_RIGHT * 2)
    turned = browser.look_at("#viewer")
    assert share_changed(first, turned) > 0.01
    viewer.send_keys("t")
    assert share_changed(turned, browser.look_at("#viewer")) > 0.01
    viewer.send_keys("s")
    assert share_changed(first, browser.look_at("#viewer")) < 0.01


def test_the_view_shows_the_interface_that_is_chosen_and_says_it_in_words(browser: Browser, page: Path) -> None:
    browser.open(page, width=600)
    shown = []
    for number in range(2):
        browser.run(
            "const c = document.getElementById('viewer-choice'); c.value = arguments[0];"
            "c.dispatchEvent(new Event('change'))",
            str(number),
        )
        name = browser.run("return document.getElementById('viewer').dataset.shown")
        film = name.split("//")[1]
        assert typeset(film) in browser.run("return document.getElementById('viewer-words').textContent")
        shown.append(name)
    assert len(set(shown)) == 2


def test_a_table_that_does_not_fit_a_phone_says_so_and_shows_its_total(browser: Browser, plain_page: Path) -> None:
    browser.open(plain_page, width=390)
    hidden = (
        "return [...document.querySelectorAll('.scroll')].filter(box => box.checkVisibility()"
        " && box.scrollWidth > box.clientWidth + 1"
        " && !getComputedStyle(box, '::before').content.includes('scroll'))"
    )
    browser.driver.execute_async_script("setTimeout(arguments[0], 200)")
    assert browser.run(hidden) == []
    assert browser.run("return document.querySelectorAll('.scroll.is-wide').length") > 0
    outside = (
        "return [...document.querySelectorAll('.scroll .total')].filter(cell =>"
        " cell.getBoundingClientRect().right > innerWidth || cell.getBoundingClientRect().left < 0).length"
    )
    assert browser.run(outside) == 0
    browser.open(plain_page, width=1280)
    assert browser.run("return document.querySelectorAll('#terms .scroll.is-wide').length") == 0


def test_every_figure_and_picture_can_be_saved(browser: Browser, page: Path) -> None:
    browser.open(page)
    saved = browser.run(
        "return [...document.querySelectorAll('a[download]')].map(a => [a.download, a.href.slice(0, 14)])"
    )
    kinds = {name.rpartition(".")[2]: address for name, address in saved}
    assert set(kinds) == {"svg", "cif", "png"}
    assert kinds["svg"].startswith("data:image/svg")
    assert kinds["png"].startswith("data:image/png")


def test_a_table_is_sorted_by_mouse_and_by_keyboard(browser: Browser, plain_page: Path) -> None:
    browser.open(plain_page)
    button = browser.driver.find_element("css selector", "#candidates thead th:first-child button")
    button.click()
    rising = sorted_rows(browser)
    assert rising == sorted(rising)
    button.send_keys(Keys.ENTER)
    assert sorted_rows(browser) == rising[::-1]
    heading = "document.querySelector('#candidates thead th')"
    assert browser.run(f"return {heading}.getAttribute('aria-sort')") == "descending"
    assert "falling" in browser.run("return document.getElementById('announcement').textContent")


def test_numbers_are_sorted_by_value_with_missing_ones_last(browser: Browser, hostile_page: Path) -> None:
    browser.open(hostile_page)
    total = browser.driver.find_element("css selector", "#candidates thead th:nth-child(3) button")
    column = f"return [...{CANDIDATES}].map(row => row.cells[2].dataset.value ?? null)"
    for direction in (1, -1):
        total.click()
        values = browser.run(column)
        known = [float(value) for value in values if value is not None]
        assert len(known) >= 2
        assert known == sorted(known, reverse=direction < 0)
        assert values[len(known) :] == [None] * (len(values) - len(known))


def test_every_figure_and_picture_has_a_name_and_words(browser: Browser, page: Path) -> None:
    browser.open(page)
    figures = browser.run(
        "return [...document.querySelectorAll('svg')].map(f => f.getAttribute('aria-labelledby').split(' ')"
        ".map(id => document.getElementById(id).textContent))"
    )
    assert len(figures) == 4, "levels and thickness, each for wide and for narrow screens"
    assert all(len(title) > 10 and len(words) > 40 for title, words in figures)
    alternatives = browser.run("return [...document.images].map(image => image.alt)")
    assert len(alternatives) == 2
    assert all("Layers from the bottom" in words for words in alternatives)


@pytest.mark.parametrize(("width", "scheme"), [(1000, "light"), (360, "dark")])
def test_the_page_meets_wcag_aa(browser: Browser, page: Path, width: int, scheme: str) -> None:
    browser.open(page, width=width, scheme=scheme)
    browser.run("for (const d of document.querySelectorAll('details')) d.open = true")
    assert browser.find_violations() == []


def test_grey_on_grey_would_be_found(browser: Browser, hostile_page: Path) -> None:
    browser.open(hostile_page)
    browser.run("document.querySelector('h1').style.color = '#cccccc'")
    assert any(found.startswith("color-contrast: <h1") for found in browser.find_violations())


def test_dark_mode_turns_page_and_figures_dark(browser: Browser, page: Path) -> None:
    browser.open(page, scheme="dark")
    colours = browser.run(
        "const text = document.querySelector('svg.figure text');"
        "return [getComputedStyle(document.body).backgroundColor, getComputedStyle(text).fill]"
    )
    paper, ink = (sum(map(int, colour[4:-1].split(","))) for colour in colours)
    assert paper < 150
    assert ink > 500
    assert sum(browser.look_at("article.interface img").getpixel((3, 3))) == pytest.approx(paper, abs=30)
    browser.save_screenshot("study-dark")


def test_a_phone_needs_no_sideways_scrolling(browser: Browser, page: Path) -> None:
    browser.open(page, width=360)
    browser.run("for (const d of document.querySelectorAll('details')) d.open = true")
    assert browser.run("return document.documentElement.scrollWidth") == 360
    assert browser.run("return document.querySelector('.narrow-only svg').clientWidth") > 0
    assert browser.run("return document.querySelector('.wide-only svg').clientWidth") == 0
    browser.save_screenshot("study-phone")


def test_everything_is_reached_with_the_tab_key_and_nothing_traps_it(browser: Browser, page: Path) -> None:
    browser.open(page)
    n_stops = browser.run(
        "return document.querySelectorAll('a[href], button, select, summary, pre[tabindex], .scroll, #viewer').length"
    )
    reached = []
    for _ in range(n_stops + 2):
        ActionChains(browser.driver).send_keys(Keys.TAB).perform()
        reached.append(
            browser.run(
                "const e = document.activeElement; const style = getComputedStyle(e);"
                "return [e.id || e.className || e.tagName, e.getBoundingClientRect().width > 0, style.outlineStyle]"
            )
        )
    assert reached[0][0] == "skip"
    assert {"viewer", "viewer-choice", "sort", "copy", "scroll"} <= {name for name, _, _ in reached}
    assert all(is_seen and outline != "none" for name, is_seen, outline in reached if name not in {"BODY", "content"})


def test_a_copied_text_is_the_study_file(browser: Browser, plain_page: Path) -> None:
    browser.open(plain_page)
    browser.command("Browser.grantPermissions", permissions=["clipboardReadWrite", "clipboardSanitizedWrite"])
    browser.run("document.querySelector('#reproduce button.copy').focus()")
    browser.driver.switch_to.active_element.send_keys(Keys.ENTER)
    copied = browser.driver.execute_async_script(
        "const done = arguments[0]; setTimeout(() => navigator.clipboard.readText().then(done, done), 200)"
    )
    assert copied == browser.run("return document.querySelector('#study-file code').textContent")
    assert "toy-study" in copied


def test_the_printed_page_is_unfolded_and_has_no_controls(browser: Browser, page: Path) -> None:
    browser.open(page, scheme="dark")
    printed = browser.command("Page.printToPDF", preferCSSPageSize=True)["data"]
    assert len(printed) > 50_000
    browser.screenshots.mkdir(parents=True, exist_ok=True)
    from base64 import b64decode

    (browser.screenshots / "study-print.pdf").write_bytes(b64decode(printed))
    browser.run("dispatchEvent(new Event('beforeprint'))")
    browser.command("Emulation.setEmulatedMedia", media="print")
    assert browser.run("return [...document.querySelectorAll('details')].every(d => d.open)")
    hidden = ".controls, #viewer-box, nav, button.copy"
    assert browser.run(f"return [...document.querySelectorAll('{hidden}')].every(e => e.offsetParent === null)")
    assert browser.run("return getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"

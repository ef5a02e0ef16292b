"""The documentation as a site: it builds without a warning, its links lead somewhere, nothing comes from outside."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

import qdip_dft
from qdip_dft.cli.app import COMMANDS
from tests.browser.headless import Browser

ROOT = Path(__file__).resolve().parents[1]
READ_PAGES = ("index.html", "tutorial.html", "potentials.html", "atlas.html", "decisions/index.html",
              "reference/commands.html", "reference/Engines.html", "reference/StabilizationDoc.html")  # fmt: skip
"""Pages with everything that there is: pictures, code, outputs, wide tables, links inside code."""

LOADED = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src"}


@dataclass
class Page(HTMLParser):
    """What a page holds: its anchors, where it links, and what a browser loads for it."""

    anchors: set[str] = field(default_factory=set)
    links: list[str] = field(default_factory=list)
    loaded: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.anchors |= {given[name] for name in ("id", "name") if name in given}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        if tag in LOADED and given.get("rel") not in {"canonical", "prev", "next"}:
            self.loaded.append(given.get(LOADED[tag], ""))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site."""
    folder = tmp_path_factory.mktemp("site")
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(
        build, cwd=ROOT, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True, check=False
    )
    # Not with --quiet: warnings are then neither written nor counted by --strict.
    assert (done.returncode, [line for line in done.stderr.splitlines() if "WARNING" in line]) == (0, []), done.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    """Every page of the site by its file."""
    found = {path: Page() for path in site.rglob("*.html")}
    for path, page in found.items():
        page.feed(path.read_text(encoding="utf-8"))
    return found


def test_every_link_and_anchor_of_the_site_leads_somewhere(pages: dict[Path, Page]) -> None:
    lost = []
    for path, page in pages.items():
        for link in page.links if path.name != "404.html" else ():
            parts = urlsplit(link)
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if parts.scheme or not parts.path + parts.fragment:
                continue
            if not target.is_file() or (parts.fragment and unquote(parts.fragment) not in pages[target].anchors):
                lost.append(f"{path.name}: {link}")
    assert lost == []


def test_a_browser_loads_nothing_from_outside(site: Path, pages: dict[Path, Page]) -> None:
    loaded = {f"{path.name}: {address}" for path, page in pages.items() for address in page.loaded if "//" in address}
    styles = [path.name for path in site.rglob("*.css") if re.search(r"url\(.?(http|//)|@import", path.read_text())]
    assert (loaded, styles) == (set(), [])


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
@pytest.mark.parametrize("page", READ_PAGES)
def test_a_page_meets_wcag_aa_and_needs_no_sideways_scrolling(
    browser: Browser, site: Path, page: str, width: int, scheme: str
) -> None:
    browser.open(site / page, width=width, scheme=scheme)
    assert browser.run("return document.documentElement.scrollWidth") == width
    assert browser.find_violations() == []


def test_every_public_name_and_every_command_is_in_the_reference(pages: dict[Path, Page], site: Path) -> None:
    for name, place in qdip_dft._PLACES.items():
        assert f"qdip_dft.{place}.{name}" in pages[site / "reference" / f"{name}.html"].anchors
    commands = pages[site / "reference" / "commands.html"].anchors
    assert {f"qdip-{name}" for section in COMMANDS.values() for name in section} <= commands


def test_every_decision_is_listed(pages: dict[Path, Page], site: Path) -> None:
    listed = set(pages[site / "decisions" / "index.html"].links)
    assert {f"{page.stem}.html" for page in (ROOT / "docs" / "decisions").glob("*.md")} <= listed


def test_the_notebook_runs_in_jupyter_and_is_stored_without_outputs(tmp_path: Path) -> None:
    import nbformat

    stored = ROOT / "docs" / "first-look.ipynb"
    assert not any(cell.get("outputs") for cell in nbformat.read(stored, as_version=4).cells)
    copy = Path(shutil.copy(stored, tmp_path))
    execute = [sys.executable, "-c", "from nbclient.cli import main; main()", "--inplace", str(copy)]
    subprocess.run(execute, cwd=tmp_path, check=True)
    cells = [cell for cell in nbformat.read(copy, as_version=4).cells if cell.cell_type == "code"]
    shown = [output.data for cell in cells for output in cell.outputs if "data" in output]
    assert sum("text/html" in data for data in shown) >= 4  # tables, and the run itself
    assert any("image/png" in data for data in shown)  # the restyled diagram

"""The skeleton of every page: untrusted text stays text, nothing is loaded, figures have names and dark twins."""

from __future__ import annotations

import re
from base64 import b64encode
from hashlib import sha256
from xml.etree import ElementTree

import pytest

from qdip_dft.report.cells import Cell
from qdip_dft.report.figure import NARROW, WIDE, FigureKind, draw_levels, render_figure
from qdip_dft.report.page import PAGE_SCRIPT, STYLE, _open_templates, embed_figure, read_asset, write_policy
from qdip_dft.report.tables import Column, Row, Table
from tests.unit.report_documents import make_document

HOSTILE = "</title></script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&"
SVG = "{http://www.w3.org/2000/svg}"


def contrast(first: str, second: str) -> float:
    """Return the contrast ratio of two colours, WCAG 2.2."""

    def luminance(colour: str) -> float:
        parts = (int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5))
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    dark, light = sorted((luminance(first), luminance(second)))
    return (light + 0.05) / (dark + 0.05)


def test_a_table_shows_hostile_text_as_text() -> None:
    table = Table(HOSTILE, HOSTILE, (Column(HOSTILE, HOSTILE),), (Row(HOSTILE, (Cell(HOSTILE),)),), note=HOSTILE)
    page = _open_templates().from_string("{% import 'parts.html.j2' as parts %}{{ parts.show_table(table) }}")
    shown = page.render(table=table)
    assert "<script" not in shown
    assert "<img" not in shown
    assert shown.count("&lt;script&gt;alert(1)") == 8  # the title is also the name of the region


def test_the_policy_names_the_hash_of_each_script_and_forbids_everything_else() -> None:
    policy = write_policy(["one();", "two();"])
    for script in ("one();", "two();"):
        assert f"'sha256-{b64encode(sha256(script.encode()).digest()).decode()}'" in policy
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "http" not in policy


@pytest.mark.parametrize("name", [PAGE_SCRIPT, STYLE])
def test_an_asset_cannot_end_its_element_and_names_no_address(name: str) -> None:
    text = read_asset(name)
    assert re.search(r"</(script|style)|<!--|\r", text, re.IGNORECASE) is None
    assert "http" not in text
    assert "@import" not in text


@pytest.mark.parametrize("shape", [WIDE, NARROW])
def test_an_embedded_figure_has_title_description_and_ids_of_its_own(shape: object) -> None:
    svg = render_figure(draw_levels(make_document(), shape=shape), FigureKind.SVG)  # type: ignore[arg-type]
    root = ElementTree.fromstring(embed_figure(svg, name="levels", title=HOSTILE, description="Synthetic & described."))
    assert [root[0].tag, root[1].tag] == [f"{SVG}title", f"{SVG}desc"]
    assert (root[0].text, root[1].text) == (HOSTILE, "Synthetic & described.")
    assert root.get("aria-labelledby") == f"{root[0].get('id')} {root[1].get('id')}"
    ids = {node.get("id") for node in root.iter() if node.get("id")}
    assert all(name.startswith("levels-") for name in ids)
    text = ElementTree.tostring(root, encoding="unicode")
    assert {*re.findall(r'href="#([^"]+)"', text), *re.findall(r"url\(#([^)]+)\)", text)} <= ids


def test_no_colour_of_a_figure_is_out_of_the_reach_of_the_style() -> None:
    svg = render_figure(draw_levels(make_document()), FigureKind.SVG)
    text = str(embed_figure(svg, name="levels", title="t", description="d"))
    used = set(re.findall(r"var\(--c-([0-9a-f]{6}), #\1\)", text))
    assert {"1a1a1a", "e69f00", "ffffff"} <= used
    assert re.sub(r"var\(--c-[0-9a-f]{6}, #[0-9a-f]{6}\)", "", text).count(": #") == 0


def test_every_text_colour_of_a_figure_can_be_read_on_white() -> None:
    from qdip_dft.report.figure import _TEXT_COLOURS

    colours = [colour for tones in _TEXT_COLOURS.values() for colour in tones]
    assert min(contrast(colour, "#ffffff") for colour in colours) >= 4.5

"""Pages that stand alone: one HTML file with its style, scripts and figures, which asks nothing of any network.

Text of studies is untrusted: everything is escaped unless it was made here, and the page's own policy lets no script
run but those whose hash it names.  Templates lie in ``templates/``, style and scripts in ``assets/``.
"""

from __future__ import annotations

import re
from base64 import b64encode
from functools import cache
from hashlib import sha256
from importlib.resources import files
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from qdip_dft.report.notation import typeset
from qdip_dft.version import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jinja2 import Environment
    from markupsafe import Markup

PAGE_SCRIPT = "page.js"
"""What every page does: sort tables, copy texts, unfold everything for the printer."""

STYLE = "page.css"

_SVG = "http://www.w3.org/2000/svg"
_LINK = "http://www.w3.org/1999/xlink"
_HEX_COLOUR = re.compile(r"#([0-9a-f]{6})\b")
_LOCAL_REFERENCE = re.compile(r"url\(#([^)]+)\)")


def render_page(template: str, *, scripts: Sequence[str] = (), **content: object) -> str:
    """Return a page as one HTML text that needs no other file and no network.

    Parameters
    ----------
    template
        Name of a template, which extends ``page.html.j2``.
    scripts
        Scripts of ``assets/`` that it needs before its own behaviour (`PAGE_SCRIPT`, which comes last).
    content
        What the template shows; text is escaped.
    """
    from markupsafe import Markup

    sources = [read_asset(name) for name in (*scripts, PAGE_SCRIPT)]
    return (
        _open_templates()
        .get_template(template)
        .render(
            **content,
            policy=write_policy(sources),
            style=Markup(read_asset(STYLE)),
            scripts=[Markup(source) for source in sources],
            package_version=__version__,
        )
    )


def write_policy(scripts: Sequence[str]) -> str:
    """Return the content security policy of a page: no request to anywhere, no script but these.

    Style attributes are allowed, since figures carry them; pictures must lie in the page itself.
    """
    hashes = " ".join(f"'sha256-{b64encode(sha256(source.encode()).digest()).decode()}'" for source in scripts)
    return (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )


@cache
def read_asset(name: str) -> str:
    """Return the text of a file in ``assets/``."""
    return files("qdip_dft.report").joinpath("assets", name).read_text(encoding="utf-8")


@cache
def _open_templates() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    folder = str(files("qdip_dft.report").joinpath("templates"))
    environment = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["typeset"] = typeset
    return environment


def embed_figure(svg: bytes, *, name: str, title: str, description: str) -> Markup:
    """Return a figure as part of a page, with a name and a description for those who do not see it.

    Its colours become those of the page, ``var(--c-e69f00, #e69f00)``, so that the style can give each a dark twin.

    Parameters
    ----------
    svg
        The figure as matplotlib writes it.
    name
        Unique within the page: prefix of every id in the figure.
    title, description
        What it is in a few words, and what it shows.
    """
    from markupsafe import Markup

    ElementTree.register_namespace("", _SVG)
    ElementTree.register_namespace("xlink", _LINK)
    root = ElementTree.fromstring(svg)
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in {f"{{{_SVG}}}metadata", f"{{{_SVG}}}style"}:
                parent.remove(child)
    for node in root.iter():
        _adapt_attributes(node, prefix=name)
    _describe(root, name=name, title=title, description=description)
    return Markup(ElementTree.tostring(root, encoding="unicode"))


def _adapt_attributes(node: ElementTree.Element, *, prefix: str) -> None:
    """Make ids unique within the page and let the page choose the colours."""
    for key, value in node.attrib.items():
        if key == "id":
            node.set(key, f"{prefix}-{value}")
        elif key == f"{{{_LINK}}}href":
            node.set(key, f"#{prefix}-{value.removeprefix('#')}")
        elif key in {"style", "fill", "stroke", "clip-path"}:
            local = _LOCAL_REFERENCE.sub(rf"url(#{prefix}-\1)", value)
            node.set(key, _HEX_COLOUR.sub(r"var(--c-\1, #\1)", local))


def _describe(root: ElementTree.Element, *, name: str, title: str, description: str) -> None:
    """Put title and description first, where screen readers look for them, and let the page choose the size."""
    for position, (tag, text) in enumerate((("title", title), ("desc", description))):
        node = ElementTree.Element(f"{{{_SVG}}}{tag}", {"id": f"{name}-{tag}"})
        node.text = text
        root.insert(position, node)
    width_points = float(root.attrib.pop("width").removesuffix("pt"))
    root.attrib.pop("height")
    for key in ("version", "id"):
        root.attrib.pop(key, None)
    root.set("class", "figure")
    root.set("role", "img")
    root.set("aria-labelledby", f"{name}-title {name}-desc")
    root.set("style", f"max-width: {width_points / 72 * 1.25:.2f}in")

"""Draw the picture of the README: levels and black interface of the headline study, from its stored result.

Run `make picture` after `make demo`.  A twin on dark paper is for the documentation.  Both files carry the sentence of
the answer, which a test compares with the README's.
"""

from __future__ import annotations

import re
import sys
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from matplotlib.colors import to_hex, to_rgba, to_rgba_array
from matplotlib.text import Text
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from qdip_dft import open_results
from qdip_dft.report.figure import DARK_STYLE, NARROW, STYLE, draw_levels
from qdip_dft.report.structure_picture import draw_side_view
from qdip_dft.report.structure_view import label_interface
from qdip_dft.report.summary import list_calculation_keys
from qdip_dft.report.words import find_compared, name_facet, name_film

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STUDY = "pbs-fapbi3"
ROOT = Path(__file__).resolve().parents[1]
PICTURE = ROOT / "docs" / "pictures" / f"{STUDY}.png"
DARK_PICTURE = PICTURE.with_name(f"{STUDY}-dark.png")
PAGE_STYLE = ROOT / "qdip_dft" / "report" / "assets" / "page.css"
DPI = 220
COLOURS = 128


def draw_picture(results: Path) -> None:
    """Write the level diagram and, beside it, the relaxed interface of the black film, on white and on dark paper."""
    archive = open_results(results)
    document = archive.find_stabilizations(STUDY)[0]
    black = find_compared(document)[0]
    interface = label_interface(black, archive.find_calculations(list_calculation_keys(document)))
    if interface is None:
        raise SystemExit(f"{results} lacks the interface of {STUDY}: run `make demo`")
    parts = {"dot": name_facet(document), "film": name_film(black)}
    for path, style in ((PICTURE, STYLE), (DARK_PICTURE, DARK_STYLE)):
        levels = draw_levels(document, shape=NARROW)
        if style is DARK_STYLE:
            darken(levels)
        side = draw_side_view(
            interface, height_inch=levels.get_figheight(), part_names=parts, faces=black.candidate.faces, style=style
        )
        _write(path, [_render(figure) for figure in (levels, side)], sentence=document.stabilization.sentence)


def darken(figure: Figure) -> None:
    """Give every colour of a figure its dark twin in the style of the pages."""
    dark = PAGE_STYLE.read_text().partition("(prefers-color-scheme: dark)")[2].partition("}")[0]
    variables = dict(re.findall(r"--([\w-]+): (#\w{6}|var\(--\w+\))", dark))
    behind_texts = [text.get_bbox_patch() for text in figure.findobj(Text)]
    for artist in [*figure.findobj(), *filter(None, behind_texts)]:
        for name in ("color", "facecolor", "edgecolor", "markeredgecolor"):
            if hasattr(artist, f"get_{name}") and hasattr(artist, f"set_{name}"):
                colours = to_rgba_array(getattr(artist, f"get_{name}")())
                twins = [variables.get(f"c-{to_hex(colour)[1:]}", to_hex(colour)) for colour in colours]
                named = [variables[twin[6:-1]] if twin.startswith("var") else twin for twin in twins]
                seen = [to_rgba(twin, float(colour[3])) for twin, colour in zip(named, colours, strict=True)]
                if seen:
                    getattr(artist, f"set_{name}")(seen[0] if len(seen) == 1 else seen)


def _write(path: Path, images: list[Image.Image], *, sentence: str) -> None:
    picture = Image.new("RGB", (sum(image.width for image in images), images[0].height))
    picture.paste(images[0], (0, 0))
    picture.paste(images[1], (images[0].width, 0))
    said = PngInfo()
    said.add_itxt("Description", sentence)
    picture.quantize(COLOURS, dither=Image.Dither.NONE).save(path, optimize=True, pnginfo=said)


def _render(figure: Figure) -> Image.Image:
    content = BytesIO()
    figure.savefig(content, format="png", dpi=DPI)
    return Image.open(content).convert("RGB")


if __name__ == "__main__":
    draw_picture(Path(sys.argv[1]))

"""The figures of a report, each with the name of its files, a title and what it shows in words."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qdip_dft.analysis.strip import survey_strip
from qdip_dft.model.stabilization import StabilizationDoc
from qdip_dft.report.figure import FigureShape, describe_levels, draw_levels
from qdip_dft.report.size_map import describe_size_map, draw_size_map, view_size_map
from qdip_dft.report.strip_figure import describe_strip, draw_strip
from qdip_dft.report.thickness_figure import ThicknessView, describe_thickness, draw_thickness
from qdip_dft.report.words import name_facet

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, slots=True)
class ReportFigure:
    """A figure that can be drawn in any room.

    Parameters
    ----------
    name
        Name of its files, and of its place on the page.
    title, description
        What it is in a few words, and what it shows to those who do not see it.
    draw
        Draws it in the room that it is given.
    """

    name: str
    title: str
    description: str
    draw: Callable[[FigureShape], Figure]


def list_figures(doc: StabilizationDoc, thickness: ThicknessView | None) -> Iterator[ReportFigure]:
    """Yield the level diagram and, where a result has them, line, strip of chemical potentials and map of dots.

    Parameters
    ----------
    doc
        The result of a study on one dot facet.
    thickness
        Its line against the thickness; None: it has none.
    """
    facet = name_facet(doc)
    title = f"Energy levels on {facet}"
    yield ReportFigure("levels", title, describe_levels(doc), lambda shape: draw_levels(doc, shape=shape))
    if thickness is not None:
        title, words = "Preference against the thickness of the film", describe_thickness(thickness)
        yield ReportFigure("thickness", title, words, lambda shape: draw_thickness(thickness, shape=shape))
    strip = survey_strip(doc)
    if strip is not None:
        title, words = "Films over the strip of chemical potentials", describe_strip(strip)
        yield ReportFigure("potentials", title, words, lambda shape: draw_strip(strip, facet=facet, shape=shape))
    dots = view_size_map(doc)
    if dots is not None:
        words = describe_size_map(dots)
        yield ReportFigure("size-map", "Dots in a host", words, lambda shape: draw_size_map(dots, shape=shape))

"""The stability map of dots in a host: black − competitor over their radius and loading."""

from __future__ import annotations

from dataclasses import dataclass
from textwrap import fill
from typing import TYPE_CHECKING

import numpy as np

from qdip_dft.analysis.dot_size import Dots, DotsInHost, survey_dots
from qdip_dft.analysis.numbers import write_signed
from qdip_dft.model.stabilization import StabilizationDoc
from qdip_dft.report.figure import STYLE, WIDE, FigureShape
from qdip_dft.report.figure_frame import FigureFrame
from qdip_dft.report.notation import typeset
from qdip_dft.report.words import find_compared, name_facet, name_film
from qdip_dft.units import ANG_PER_NM

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_RADII_ANG = np.linspace(8.0, 60.0, 53)
_LOADINGS = np.linspace(0.01, 0.40, 40)
_FRAME = FigureFrame(axes_inch=2.3, top_inch=0.5, bottom_inch=0.5, left_inch=0.6, right_inch=0.85, heading_inch=0.4)
_N_LEVELS = 11
_COLOURS = "PuOr_r"
"""Orange favours the competitor, purple the black phase; told apart without red and green."""


@dataclass(frozen=True, slots=True)
class SizeMap:
    """Black − competitor of a host with spherical dots.

    Parameters
    ----------
    dots
        The line of the films with its errors.
    black, facet
        The black film; dot and facet.
    """

    dots: DotsInHost
    black: str
    facet: str

    def evaluate(self) -> tuple[np.ndarray, np.ndarray]:
        """Return difference and standard uncertainty, rows: loadings, columns: radii, in eV per formula unit."""
        cases = [[Dots(radius, loading) for radius in _RADII_ANG] for loading in _LOADINGS]
        differences = np.array([[self.dots.difference_ev_per_fu(case) for case in row] for row in cases])
        errors = np.array([[self.dots.uncertainty_ev_per_fu(case) for case in row] for row in cases])
        return differences, errors


def view_size_map(doc: StabilizationDoc) -> SizeMap | None:
    """Return the map of a result whose study asked how sure it is; None otherwise."""
    stated, dots = doc.uncertainty, survey_dots(doc)
    if stated is None or not stated.is_stated or dots is None:
        return None
    return SizeMap(dots, name_film(find_compared(doc)[0]), name_facet(doc))


def draw_size_map(view: SizeMap, *, shape: FigureShape = WIDE) -> Figure:
    """Draw the map with its zero (solid) and the lines where it exceeds twice its uncertainty (dashed).

    Parameters
    ----------
    view
        The map.
    shape
        The room that the figure has.
    """
    import matplotlib as mpl

    with mpl.rc_context(STYLE):
        figure, axes = _FRAME.open_axes(width_inch=shape.width_inch, has_heading=shape.has_heading)
        place = axes.get_position()
        _fill(axes, view, figure, (place.x1 + 0.02, place.y0, 0.025, place.height))
        axes.set_xlabel("radius of the dots (nm)")
        axes.set_ylabel("loading (volume %)")
        if shape.has_heading:
            heading = f"{view.facet} in a host, below 0: {typeset(view.black)}; dashed: twice the standard uncertainty"
            axes.set_title(fill(heading, shape.line_length - 10), fontsize=7, color="#555555", loc="left")
    return figure


def _fill(axes: Axes, view: SizeMap, figure: Figure, bar: tuple[float, float, float, float]) -> None:
    from matplotlib.ticker import MaxNLocator

    differences, errors = view.evaluate()
    largest = float(np.quantile(np.abs(differences), 0.98)) or 1.0
    grid = _RADII_ANG / ANG_PER_NM, 100.0 * _LOADINGS
    levels = MaxNLocator(_N_LEVELS, symmetric=True).tick_values(-largest, largest)
    filled = axes.contourf(*grid, differences, levels=levels, cmap=_COLOURS, extend="both")
    _outline(axes, grid, differences, style="solid")
    for sign in (-1.0, 1.0):
        _outline(axes, grid, sign * differences - 2.0 * errors, style="dashed")
    colour_bar = figure.colorbar(filled, cax=figure.add_axes(bar))
    colour_bar.set_label("ΔE (eV/f.u.)", fontsize=8)
    colour_bar.ax.tick_params(labelsize=7)


def _outline(axes: Axes, grid: tuple[np.ndarray, np.ndarray], values: np.ndarray, *, style: str) -> None:
    """Draw where values change their sign, if they do."""
    if values.min() < 0 < values.max():
        axes.contour(*grid, values, levels=[0.0], colors="#1a1a1a", linewidths=1.1, linestyles=style)


def describe_size_map(view: SizeMap) -> str:
    """Say in words what the map shows."""
    corners = [Dots(10.0, 0.3), Dots(50.0, 0.02)]
    spoken = " and ".join(
        f"{write_signed(view.dots.difference_ev_per_fu(case))} for dots of {case.radius_ang / ANG_PER_NM:.0f} nm at "
        f"{case.loading:.0%}"
        for case in corners
    )
    return f"Map of black minus competitor over radius and loading of the dots, in eV per formula unit: {spoken}."

"""The frame of a figure with one pair of axes: margins in inches, whatever its width."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True, slots=True)
class FigureFrame:
    """Height of the axes and the room around them, in inches; `heading_inch` of the top is for the heading."""

    axes_inch: float
    top_inch: float
    bottom_inch: float
    left_inch: float
    right_inch: float
    heading_inch: float = 0.0

    def open_axes(
        self, *, width_inch: float, legend_inch: float = 0.0, has_heading: bool = True
    ) -> tuple[Figure, Axes]:
        """Return a figure without a window and its axes.

        Parameters
        ----------
        width_inch
            Width of the figure.
        legend_inch
            Further room below, for a legend.
        has_heading
            Whether there is a heading above the axes.
        """
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        top_inch = self.top_inch if has_heading else self.top_inch - self.heading_inch
        height_inch = top_inch + self.axes_inch + self.bottom_inch + legend_inch
        figure = Figure(figsize=(width_inch, height_inch))
        FigureCanvasAgg(figure)
        width = 1.0 - (self.left_inch + self.right_inch) / width_inch
        bottom = (self.bottom_inch + legend_inch) / height_inch
        return figure, figure.add_axes((self.left_inch / width_inch, bottom, width, self.axes_inch / height_inch))

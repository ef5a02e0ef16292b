"""The energy of every film against the chemical potential of AX: which termination grows where."""

from __future__ import annotations

from textwrap import fill
from typing import TYPE_CHECKING

from qdip_dft.analysis.numbers import write_signed
from qdip_dft.analysis.strip import PhaseStrip, Strip
from qdip_dft.model.study import PhaseRole
from qdip_dft.report.figure import STYLE, WIDE, FigureShape
from qdip_dft.report.figure_frame import FigureFrame
from qdip_dft.report.notation import typeset
from qdip_dft.report.words import ROLE_WORDS, name_film_and_termination

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_FRAME = FigureFrame(axes_inch=2.4, top_inch=0.35, bottom_inch=0.5, left_inch=0.66, right_inch=0.15, heading_inch=0.25)
_LEGEND_ROW_INCH = 0.17
_COLOURS = {PhaseRole.BLACK: "#1a1a1a", PhaseRole.COMPETITOR: "#e69f00"}
_DASHES = ("-", "--", ":", "-.")
_REIGN_WIDTHS = {PhaseRole.BLACK: 2.2, PhaseRole.COMPETITOR: 5.0}
"""The yellow line is the thicker one and lies below: two equal films stay visible."""

_LINE_WIDTH = 1.1


def draw_strip(strip: Strip, *, facet: str, shape: FigureShape = WIDE) -> Figure:
    """Draw the lines of all films, bold where a film is the lowest of its phase, and mark where the winner changes.

    Parameters
    ----------
    strip
        What is drawn.
    facet
        Dot and facet.
    shape
        The room that the figure has.
    """
    import matplotlib as mpl

    legend_inch = _LEGEND_ROW_INCH * (1 + sum(len(phase.lines) for phase in strip.phases))
    with mpl.rc_context(STYLE):
        figure, axes = _FRAME.open_axes(
            width_inch=shape.width_inch, legend_inch=legend_inch, has_heading=shape.has_heading
        )
        for phase in sorted(strip.phases, key=lambda phase: phase.role is PhaseRole.BLACK):
            _draw_phase(axes, phase, strip.width_ev)
        _label_axes(axes, strip)
        if shape.has_heading:
            heading = f"on {facet}; bold: lowest of its phase"
            axes.set_title(fill(heading, shape.line_length), fontsize=7, color="#555555", loc="left")
        axes.legend(loc="upper left", bbox_to_anchor=(0.0, -0.5 / _FRAME.axes_inch), frameon=False, fontsize=7)
    return figure


def _draw_phase(axes: Axes, phase: PhaseStrip, width_ev: float) -> None:
    colour = _COLOURS[phase.role]
    for number, line in enumerate(phase.lines):
        axes.plot(
            (-width_ev, 0.0), (line.at(0.0), line.at(1.0)), color=colour, linewidth=_LINE_WIDTH,
            linestyle=_DASHES[number % len(_DASHES)],
            label=f"{ROLE_WORDS[phase.role]} {typeset(name_film_and_termination(line.result))}",
        )  # fmt: skip
    for reign in phase.reigns:
        ends = (reign.start_ev, reign.end_ev)
        axes.plot(
            ends,
            [reign.line.at(1.0 + end / width_ev) for end in ends],
            color=colour,
            linewidth=_REIGN_WIDTHS[phase.role],
        )
    for reign in phase.reigns[1:]:
        energy = reign.line.at(1.0 + reign.start_ev / width_ev)
        axes.plot(reign.start_ev, energy, marker="D", markersize=6, color=colour, markerfacecolor="#ffffff", zorder=5)


def _label_axes(axes: Axes, strip: Strip) -> None:
    axes.set_xlim(-strip.width_ev, 0.0)
    axes.set_xlabel(typeset(f"Δμ({strip.ax}) (eV): {strip.bx2}-rich … {strip.ax}-rich"))
    axes.set_ylabel("film above bulk (meV/Å²)")
    axes.spines[["right", "top"]].set_visible(False)


def describe_strip(strip: Strip) -> str:
    """Say in words what the figure shows."""
    words = [
        f"{name_film_and_termination(reign.line.result)} from {write_signed(reign.start_ev)} to "
        f"{write_signed(reign.end_ev)} eV"
        for phase in strip.phases
        for reign in phase.reigns
    ]
    return (
        f"Energy of every film per area against the chemical potential of {strip.ax}, from {strip.bx2}-rich on the "
        f"left to {strip.ax}-rich on the right. The lowest of each phase: {'; '.join(words)}."
    )

"""The figure of the report: the levels of black and yellow phase as bulk, strain, surface and binding are added.

After the level diagram of Masi et al., ACS Energy Lett. 2020, 5, 418.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from io import BytesIO
from itertools import accumulate, pairwise, takewhile
from textwrap import fill
from typing import TYPE_CHECKING, Any

from qdip_dft.analysis.numbers import write_signed
from qdip_dft.analysis.sentence import find_error_ev_per_fu
from qdip_dft.model.calculation import Level
from qdip_dft.model.orientation import count_surface_cells
from qdip_dft.model.stabilization import CandidateResult, StabilizationDoc
from qdip_dft.model.study import PhaseRole
from qdip_dft.model.term_names import TERM_NAMES
from qdip_dft.model.terms import Terms
from qdip_dft.report.figure_frame import FigureFrame
from qdip_dft.report.notation import typeset
from qdip_dft.report.words import (
    ROLE_WORDS,
    count_from_lowest,
    describe_coverage,
    find_compared,
    list_selected,
    name_facet,
    name_film,
    write_strains,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STAGES = ("bulk", "+ strain", "+ surface", "+ binding")
"""What has been added up at each position of the figure."""

PNG_DPI = 300

_LEFT_INCH, _RIGHT_INCH = 0.66, 0.08
_AXES_INCH = 2.9
_LEGEND_ROW_INCH = 0.34
_LABEL_POINTS = 10.0
"""Height that the number of a level takes, with its distance to the bar."""
_POINTS_PER_INCH = 72.0

_COLOURS = {
    PhaseRole.BLACK: ("#1a1a1a", "#8c8c8c", "#bdbdbd"),
    PhaseRole.COMPETITOR: ("#e69f00", "#f3d08a", "#b98a3c"),
}
"""By rank.  Near-black and the golden yellow of the Okabe-Ito palette: told apart by every eye and in greyscale;
paler for the phases that are not compared."""

_TEXT_COLOURS = {
    PhaseRole.BLACK: ("#1a1a1a", "#6e6e6e", "#737373"),
    PhaseRole.COMPETITOR: ("#8a5a00", "#7d5a14", "#7a5a2a"),
}
"""As the bars, dark enough to read: at least 4.5 : 1 on white."""

_LINE_WIDTHS = {PhaseRole.BLACK: 2.2, PhaseRole.COMPETITOR: 5.0}
"""The yellow bar is the thicker one and lies below: two equal levels stay visible."""

_LEVEL_NOTES = {
    Level.TEST: "test level: toy potential, no physical meaning",
    Level.SCREENING: "screening level: not for publication without a DFT check",
    Level.COMPOSITE: "DFT energies at machine-learned geometries",
    Level.DFT: "DFT level",
}
_HALF_WIDTH = 0.3
STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 8.0,
    "axes.linewidth": 0.8,
    "svg.fonttype": "none",
    "pdf.fonttype": 42,
    "text.parse_math": False,
    "svg.hashsalt": "qdip_dft",
}
"""Text stays text in the SVG, and the same document gives the same file."""

DARK_STYLE: dict[Any, Any] = {**STYLE, "text.color": "#e8ebee", "figure.facecolor": "#14181c"}
"""On the dark paper of a page, with its ink."""


class FigureKind(StrEnum):
    """The file formats of a figure."""

    PDF = "pdf"
    """Vectors and embedded fonts, for LaTeX."""
    PNG = "png"
    """Pixels, 300 per inch."""
    SVG = "svg"
    """Vectors and text."""


_STAMPS = {FigureKind.PNG: "Software", FigureKind.SVG: "Date", FigureKind.PDF: "CreationDate"}
"""What a writer would add that differs from one run to the next."""


@dataclass(frozen=True, slots=True)
class FigureShape:
    """The room that a figure has.

    Parameters
    ----------
    width_inch, top_inch, bottom_inch
        Width, and room above and below the axes, in inches.
    legend_columns
        Entries of the legend side by side.
    line_length
        Characters in a line above or below the axes.
    has_heading
        Whether the figure says itself what it shows; for print the caption does.
    """

    width_inch: float
    top_inch: float
    bottom_inch: float
    legend_columns: int
    line_length: int
    has_heading: bool = True

    @property
    def is_narrow(self) -> bool:
        """Whether it is one column of a journal or a phone wide."""
        return self.width_inch < 4.0


WIDE = FigureShape(width_inch=5.4, top_inch=0.46, bottom_inch=0.78, legend_columns=2, line_length=90)
"""A screen."""

NARROW = FigureShape(width_inch=3.4, top_inch=0.72, bottom_inch=0.9, legend_columns=1, line_length=46)
"""A phone: the same text sizes."""

PRINT_SHAPES = (
    FigureShape(width_inch=3.25, top_inch=0.1, bottom_inch=0.9, legend_columns=1, line_length=44, has_heading=False),
    FigureShape(width_inch=6.75, top_inch=0.1, bottom_inch=0.78, legend_columns=2, line_length=110, has_heading=False),
)
"""One and two columns of a journal, such as those of the ACS and the APS."""


@dataclass(frozen=True, slots=True)
class LevelSeries:
    """The levels of one phase.

    Parameters
    ----------
    name
        Film and plane in the field's notation, such as ``α-FAPbI₃(100)``.
    cell
        Common cell and film strain in words.
    role
        Black phase or competitor.
    levels_ev_per_fu
        Running sum of the terms, counted from the most stable bulk; it ends before the first missing term.
    rank
        0: one of the two sides of the difference; 1, 2, …: the other phases of the role.
    """

    name: str
    cell: str
    role: PhaseRole
    levels_ev_per_fu: tuple[float, ...]
    rank: int

    @property
    def is_compared(self) -> bool:
        """Return whether it is one of the two sides of the difference."""
        return self.rank == 0

    @property
    def colour(self) -> str:
        """Return the colour of its bars."""
        tones = _COLOURS[self.role]
        return tones[min(self.rank, len(tones) - 1)]

    @property
    def text_colour(self) -> str:
        """Return the colour of its numbers."""
        tones = _TEXT_COLOURS[self.role]
        return tones[min(self.rank, len(tones) - 1)]

    @property
    def line_width(self) -> float:
        """Return the thickness of its bars in points."""
        return _LINE_WIDTHS[self.role] * (1.0 if self.is_compared else 0.6)


def draw_levels(doc: StabilizationDoc, *, shape: FigureShape = WIDE) -> Figure:
    """Draw the stacked levels of the phases and the difference at every stage.

    Parameters
    ----------
    doc
        The result of a study on one dot facet.
    shape
        The room that the figure has.

    Returns
    -------
    matplotlib.figure.Figure
        A figure on the Agg canvas, outside pyplot; its axes can be restyled, and a notebook shows it after
        ``%matplotlib inline``.

    Examples
    --------
    >>> figure = draw_levels(document)
    >>> figure.axes[0].set_ylim(-0.5, 0.5)
    (-0.5, 0.5)
    >>> figure.savefig("levels.pdf")
    """
    import matplotlib as mpl

    series = list_series(doc)
    n_rows = -(-len(series) // shape.legend_columns)
    frame = FigureFrame(_AXES_INCH, shape.top_inch, shape.bottom_inch, _LEFT_INCH, _RIGHT_INCH)
    with mpl.rc_context(STYLE):
        figure, axes = frame.open_axes(width_inch=shape.width_inch, legend_inch=n_rows * _LEGEND_ROW_INCH)
        _set_limits(axes, series)
        for entry in sorted(series, key=lambda entry: (entry.is_compared, entry.role is PhaseRole.BLACK)):
            _draw_series(axes, entry)
        for stage in range(len(STAGES)):
            _write_levels(axes, series, stage=stage)
        _label_axes(axes, doc=doc, series=series, shape=shape)
        if shape.has_heading:
            _write_heading(figure, doc, shape)
    return figure


def render_figure(figure: Figure, kind: FigureKind) -> bytes:
    """Return a figure as PNG (300 dpi) or as SVG with its text as text; the same figure gives the same bytes."""
    import matplotlib as mpl

    content = BytesIO()
    with mpl.rc_context(STYLE):
        figure.savefig(content, format=kind.value, dpi=PNG_DPI, metadata={_STAMPS[kind]: None})
    return content.getvalue()


def list_series(doc: StabilizationDoc) -> tuple[LevelSeries, ...]:
    """Return the levels of every phase that has a valid candidate, the two that are compared first."""
    compared = find_compared(doc)
    others = [result for result in list_selected(doc) if result not in compared]
    ranks = [sum(o.candidate.role is other.candidate.role for o in others[:i]) + 1 for i, other in enumerate(others)]
    return tuple(
        LevelSeries(
            name=typeset(name_film(result)),
            cell=_describe_cell(result),
            role=result.candidate.role,
            levels_ev_per_fu=stack_levels(count_from_lowest(doc, result)),
            rank=rank,
        )
        for result, rank in (*((side, 0) for side in compared), *zip(others, ranks, strict=True))
    )


def stack_levels(counted: Terms) -> tuple[float, ...]:
    """Return the running sum of the four terms, up to the first missing one."""
    known = takewhile(lambda term: term is not None, (counted[name] for name in TERM_NAMES))
    return tuple(accumulate(term for term in known if term is not None))


def describe_levels(doc: StabilizationDoc) -> str:
    """Say in words what the level diagram shows."""
    stages = ("bulk", "with strain", "with surfaces", "with binding")
    lines = [
        f"{entry.name}: "
        + ", ".join(
            f"{stage} {write_signed(level)}" for stage, level in zip(stages, entry.levels_ev_per_fu, strict=False)
        )
        for entry in list_series(doc)
    ]
    lead = "Energy above the most stable bulk in eV per formula unit as the terms are added up. "
    return lead + ("; ".join(lines) + "." if lines else "No phase has a valid candidate.")


def _describe_cell(result: CandidateResult) -> str:
    film, dot = (count_surface_cells(m) for m in (result.candidate.film_matrix, result.candidate.dot_matrix))
    return f"cell {film}:{dot}, film strain {write_strains(result.film_principal_strains)} %"


def _set_limits(axes: Axes, series: Sequence[LevelSeries]) -> None:
    """Leave room above and below the levels for one number per phase."""
    levels = [energy for entry in series for energy in entry.levels_ev_per_fu] or [0.0, 0.1]
    span = max(max(levels) - min(levels), 0.02)
    label_height = _LABEL_POINTS / (_AXES_INCH * _POINTS_PER_INCH) * span * 1.5
    axes.set_xlim(-0.5, len(STAGES) - 0.5)
    axes.set_ylim(min(levels) - 2 * label_height, max(levels) + (len(series) + 1) * label_height)


def _draw_series(axes: Axes, series: LevelSeries) -> None:
    """Draw one bar per stage and thin dashed connectors between them."""
    for stage, energy in enumerate(series.levels_ev_per_fu):
        ends = (stage - _HALF_WIDTH, stage + _HALF_WIDTH)
        bar = axes.plot(ends, (energy, energy), color=series.colour, linewidth=series.line_width, zorder=3)
        bar[0].set_solid_capstyle("butt")
    for stage, (start, end) in enumerate(pairwise(series.levels_ev_per_fu)):
        ends = (stage + _HALF_WIDTH, stage + 1 - _HALF_WIDTH)
        axes.plot(ends, (start, end), color=series.colour, linewidth=0.8, linestyle=(0, (4, 2)), zorder=2)


def _write_levels(axes: Axes, series: Sequence[LevelSeries], *, stage: int) -> None:
    """Write the number of every level of one stage, in the order of the levels and clear of all bars."""
    reached = sorted((e for e in series if stage < len(e.levels_ev_per_fu)), key=lambda e: e.levels_ev_per_fu[stage])
    levels = [entry.levels_ev_per_fu[stage] for entry in reached]
    bottom, top = axes.get_ylim()
    height = _LABEL_POINTS * (top - bottom) / (_AXES_INCH * _POINTS_PER_INCH)
    for entry, energy, base in zip(reached, levels, place_labels(levels, height=height), strict=True):
        axes.annotate(
            write_signed(energy),
            (stage, base),
            xytext=(0, 4.5 if base >= energy else 1.0),
            textcoords="offset points",
            ha="center",
            va="bottom",
            fontsize=7,
            color=entry.text_colour,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.2},
            zorder=2.5,
        )


def place_labels(levels: Sequence[float], *, height: float) -> list[float]:
    """Return where the label of each level starts: below the lowest level, above the others.

    A label that would touch the next bar or a label moves above it, so that labels keep the order of the levels.

    Parameters
    ----------
    levels
        Energies of the bars in ascending order.
    height
        Height of a label in the same unit, its distance to the bar included.
    """
    places: list[float] = []
    for index, level in enumerate(levels):
        if index == 0 and len(levels) > 1:
            places.append(level - 1.4 * height)
            continue
        base = level
        for obstacle in sorted((*levels[index + 1 :], *(place + height for place in places[1:]))):
            if base <= obstacle < base + 1.5 * height:
                base = obstacle
        places.append(base)
    return places


def _label_axes(axes: Axes, *, doc: StabilizationDoc, series: Sequence[LevelSeries], shape: FigureShape) -> None:
    """Write the axes, the difference at each stage and the legend."""
    axes.set_ylabel("energy above the most stable bulk (eV/f.u.)")
    stages = _label_stages(series, error_ev_per_fu=find_error_ev_per_fu(doc.uncertainty))
    axes.set_xticks(range(len(STAGES)), stages, fontsize=7 if shape.is_narrow else 8)
    meaning = f"Δ = black − competitor (eV/f.u.) at {describe_coverage(doc)}; negative favours black"
    axes.set_xlabel(fill(meaning, shape.line_length), fontsize=7)
    axes.tick_params(axis="x", length=0)
    axes.spines[["top", "right"]].set_visible(False)
    axes.axhline(0.0, color="#bbbbbb", linewidth=0.6, zorder=1)
    if series:
        _draw_legend(axes, series, shape)
    else:
        axes.text(0.5, 0.5, "no phase has a valid candidate", transform=axes.transAxes, ha="center", va="center")


def _draw_legend(axes: Axes, series: Sequence[LevelSeries], shape: FigureShape) -> None:
    """Write film, cell and strain of every phase below the axes."""
    from matplotlib.lines import Line2D

    handles = [
        Line2D(
            [],
            [],
            color=entry.colour,
            linewidth=entry.line_width,
            solid_capstyle="butt",
            label=f"{ROLE_WORDS[entry.role]}  {entry.name}\n{entry.cell}",
        )
        for entry in series
    ]
    top = -(shape.bottom_inch - 0.08) / _AXES_INCH
    axes.legend(
        handles=handles,
        loc="upper center",
        bbox_to_anchor=(0.5, top),
        ncols=shape.legend_columns,
        frameon=False,
        fontsize=7,
        borderaxespad=0.0,
    )


def _write_heading(figure: Figure, doc: StabilizationDoc, shape: FigureShape) -> None:
    """Write host, facet, planes and the level of theory above the axes; on a narrow figure from its very left."""
    left = 0.02 if shape.is_narrow else _LEFT_INCH / shape.width_inch
    height_inch = figure.get_figheight()
    sides = [typeset(name_film(result)) for result in find_compared(doc)]
    films = " against ".join(sides) if len(sides) == 2 else typeset(doc.study.host)
    heading = fill(f"{films} on {name_facet(doc)}{'' if len(sides) == 2 else ': undecided'}", shape.line_length)
    method = f"{doc.theory.code}, " if doc.theory else ""
    note = fill(f"{method}{_LEVEL_NOTES[doc.level]}", shape.line_length)
    points = 8 if shape.is_narrow else 9
    note_inch = 0.06 + 0.02 * points * (1 + heading.count("\n"))
    figure.text(left, 1.0 - 0.06 / height_inch, heading, fontsize=points, fontweight="bold", va="top")
    figure.text(left, 1.0 - note_inch / height_inch, note, fontsize=7, color="#555555", va="top")


def _label_stages(series: Sequence[LevelSeries], *, error_ev_per_fu: float | None) -> list[str]:
    """Return each stage with the difference of the two compared levels, the last one with its error."""
    black, yellow = (
        next((entry.levels_ev_per_fu for entry in series if entry.is_compared and entry.role is role), ())
        for role in (PhaseRole.BLACK, PhaseRole.COMPETITOR)
    )
    differences = [write_signed(b - y) for b, y in zip(black, yellow, strict=False)]
    if len(differences) == len(STAGES) and error_ev_per_fu is not None:
        differences[-1] += f"\n± {error_ev_per_fu:.3f}"
    differences += ["—"] * (len(STAGES) - len(differences))
    return [f"{stage}\nΔ = {difference}" for stage, difference in zip(STAGES, differences, strict=True)]

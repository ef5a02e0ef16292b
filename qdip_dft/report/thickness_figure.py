"""The preference against the thickness of the film: a straight line in one over thickness, and its zero."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import sqrt
from textwrap import fill
from typing import TYPE_CHECKING

import numpy as np

from qdip_dft.analysis.coverage import interface_ev_per_ang2
from qdip_dft.analysis.numbers import write_signed
from qdip_dft.analysis.thickness import ThicknessLine, find_thickness_line
from qdip_dft.model.calculation import CalculationRecord
from qdip_dft.model.stabilization import CandidateResult, StabilizationDoc
from qdip_dft.model.study import PhaseRole
from qdip_dft.model.uncertainty import CriticalSize, Uncertainty, VariationKind
from qdip_dft.report.figure import STYLE, WIDE, FigureShape
from qdip_dft.report.figure_frame import FigureFrame
from qdip_dft.report.notation import typeset
from qdip_dft.report.words import find_compared, name_facet, name_film
from qdip_dft.units import ANG_PER_NM, MEV_PER_EV

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_FRAME = FigureFrame(axes_inch=2.2, top_inch=0.75, bottom_inch=0.5, left_inch=0.66, right_inch=0.15, heading_inch=0.28)
_LINE_COLOUR, _CRITICAL_COLOUR, _ZERO_COLOUR = "#0072b2", "#1a1a1a", "#bbbbbb"
_STRAINED_BULK, _BULK = "strained bulk", "bulk"
"""Names under which a candidate lists the calculations that give the volume of its formula unit."""

_TICK_DISTANCE = 0.09
"""Least distance of two labels over the length of the axis."""


@dataclass(frozen=True, slots=True)
class ThicknessView:
    """The line of a result, in lengths.

    Parameters
    ----------
    line
        The line.
    volume_ang3_per_fu
        Volume of a formula unit of the strained black phase in Å³.
    black, competitor
        The two sides.
    facet
        Dot and facet.
    errors
        Standard uncertainties of Δe in eV per formula unit and of Δσ in eV/Å², and their covariance; None: not known.
    points
        Formula units per Å² and difference in eV per formula unit of every thickness that was computed for both films.
    critical_words
        The critical thickness with its interval; empty where that is not known.
    n_faces
        Faces of the dot that a film lies on: one of n formula units per Å² of dot is n_faces times n times v thick.
    """

    line: ThicknessLine
    volume_ang3_per_fu: float
    black: str
    competitor: str
    facet: str
    errors: tuple[float, float, float] | None = None
    points: tuple[tuple[float, float], ...] = ()
    critical_words: str = ""
    n_faces: int = 1

    @property
    def critical_nm(self) -> float | None:
        """Return the critical thickness of the black film in nm; None if one phase wins at any thickness."""
        critical = self.line.critical_per_ang2
        return None if critical is None else self.to_nm(critical)

    @property
    def layer_nm(self) -> float:
        """Return about how thick one layer of formula units is: the edge of a cube of their volume, in nm."""
        return float(self.volume_ang3_per_fu ** (1 / 3)) / ANG_PER_NM

    @property
    def is_reached(self) -> bool:
        """Return whether a film of the critical thickness exists: it holds at least one layer."""
        return self.critical_nm is not None and self.critical_nm >= self.layer_nm

    @property
    def computed_nm(self) -> tuple[float, ...]:
        """Return the thickness of a black film with as many formula units per area as each computed film."""
        return tuple(self.to_nm(n) for n in self.line.computed_per_ang2)

    def to_nm(self, n_per_ang2: float) -> float:
        """Return the thickness of the black film in nm for formula units per Å² of interface."""
        return n_per_ang2 * self.n_faces * self.volume_ang3_per_fu / ANG_PER_NM

    def to_inverse_coverage(self, inverse_per_nm: float) -> float:
        """Return one over n in Å² per formula unit for one over a thickness in nm⁻¹."""
        return inverse_per_nm * self.n_faces * self.volume_ang3_per_fu / ANG_PER_NM

    def error_ev_per_fu(self, inverse_per_nm: float) -> float:
        """Return the standard uncertainty of the line at one over a thickness; zero where it is not known."""
        strained, interface, covariance = self.errors or (0.0, 0.0, 0.0)
        inverse = self.to_inverse_coverage(inverse_per_nm)
        return sqrt(max(strained**2 + (interface * inverse) ** 2 + 2.0 * covariance * inverse, 0.0))

    @property
    def caption(self) -> str:
        """Return how to read the figure."""
        place = " between two dots" if self.n_faces == 2 else ""
        lead = (
            "ΔE(n) = Δe_strained + Δσ / n for n formula units per area of interface; thickness of the black film"
            f"{place}."
        )
        if self.errors is None:
            return (
                f"{lead} Circles: the films that were computed. One thickness of each phase, so there is no error bar."
            )
        return (
            f"{lead} Line: strained bulks and interface energies of the answer. Circles: each computed thickness. "
            "Band: twice the standard uncertainty of what was estimated."
        )

    def sentence(self) -> str:
        """Return what the line says about thin and thick films."""
        thin, thick = self.black, self.competitor
        if not self.line.is_black_when_thin:
            thin, thick = thick, thin
        if self.critical_nm is not None and not self.is_reached:
            return (
                f"At any real thickness bulk and strain favour {thick}: the line crosses zero at "
                f"{self.critical_nm:.1f} nm, less than one layer ({self.layer_nm:.1f} nm)."
            )
        if self.critical_nm is not None:
            return (
                f"Below a critical thickness of {self.critical_nm:.1f} nm the interfaces favour {thin}; "
                f"above it, bulk and strain favour {thick}."
            )
        winner = (
            self.black if self.line.strained_ev_per_fu < 0 or self.line.interface_ev_per_ang2 < 0 else self.competitor
        )
        return f"There is no critical thickness: {winner} is favoured by bulk and strain as well as by the interfaces."


def view_thickness(doc: StabilizationDoc, calculations: Mapping[str, CalculationRecord]) -> ThicknessView | None:
    """Return the line of a result; None where a term or the structure that gives the volume is missing.

    Parameters
    ----------
    doc
        The result.
    calculations
        Stored calculations by key.
    """
    compared = find_compared(doc)
    competitor = compared[1] if len(compared) == 2 else doc.decomposition
    if not compared or competitor is None or doc.stabilization.total_ev_per_fu is None:
        return None
    line = find_thickness_line(compared[0], competitor)
    volume_ang3 = _find_volume_ang3_per_fu(compared[0], calculations)
    if line is None or volume_ang3 is None:
        return None
    name = name_film(competitor) if isinstance(competitor, CandidateResult) else competitor.label
    n_faces = compared[0].candidate.n_dot_faces
    view = ThicknessView(line, volume_ang3, name_film(compared[0]), name, name_facet(doc), n_faces=n_faces)
    stated = doc.uncertainty
    if stated is None or not stated.is_stated or stated.critical is None:
        return view
    return _add_errors(view, stated, stated.critical)


def _add_errors(view: ThicknessView, stated: Uncertainty, critical: CriticalSize) -> ThicknessView:
    """Return the view with the error of its line and a point for every thickness."""
    errors = (
        critical.strained_uncertainty_ev_per_fu,
        critical.interface_uncertainty_mev_per_ang2 / MEV_PER_EV,
        critical.covariance_ev2_per_ang2,
    )
    return replace(view, errors=errors, points=_list_points(stated, view), critical_words=critical.finding)


def _list_points(stated: Uncertainty, view: ThicknessView) -> tuple[tuple[float, float], ...]:
    """Return Δe + Δσ/n with the interface energies of each thickness, at that of its black film."""
    films = [s for s in stated.samples if s.kind is VariationKind.FILM_THICKNESS and not s.faults]
    sigma: dict[PhaseRole, dict[int, float]] = {role: {} for role in PhaseRole}
    density: dict[int, float] = {}
    for film in films:
        sigma[film.role][film.index] = sum(interface_ev_per_ang2(film) or ())
        if film.role is PhaseRole.BLACK and film.coverage_fu_per_ang2 is not None:
            density[film.index] = film.coverage_fu_per_ang2
    has_film = any(film.role is PhaseRole.COMPETITOR for film in films)
    others = sigma[PhaseRole.COMPETITOR] if has_film else dict.fromkeys(density, 0.0)
    points = [(view.line.computed_per_ang2[0], view.line.interface_ev_per_ang2)]
    points += [(n, sigma[PhaseRole.BLACK][i] - others[i]) for i, n in density.items() if i in others]
    return tuple((n, view.line.strained_ev_per_fu + interface / n) for n, interface in points)


def _find_volume_ang3_per_fu(result: CandidateResult, calculations: Mapping[str, CalculationRecord]) -> float | None:
    """Return the volume of a formula unit in the strained bulk; energies of the bulk say how many atoms one has.

    The film cannot say it: it may hold more of a compound than its formula units need.
    """
    records = [calculations.get(result.calculations.get(name, "")) for name in (_STRAINED_BULK, _BULK)]
    found = [record.result for record in records if record is not None and record.result is not None]
    if len(found) < len(records) or not result.bulk_ev_per_fu:
        return None
    strained, bulk = found
    atoms_per_fu = bulk.structure.n_atoms * result.bulk_ev_per_fu / bulk.energy_ev
    volume_ang3 = float(abs(np.linalg.det(np.array(strained.structure.lattice_ang))))
    return volume_ang3 / strained.structure.n_atoms * atoms_per_fu


def draw_thickness(view: ThicknessView, *, shape: FigureShape = WIDE) -> Figure:
    """Draw the difference against one over the thickness, the computed thicknesses and the zero.

    Parameters
    ----------
    view
        The line.
    shape
        The room that the figure has.
    """
    import matplotlib as mpl

    with mpl.rc_context(STYLE):
        figure, axes = _FRAME.open_axes(width_inch=shape.width_inch, has_heading=shape.has_heading)
        _draw_line(axes, view)
        _mark_thicknesses(axes, view)
        _label_axes(axes, view, shape)
    return figure


def _find_end_per_nm(view: ThicknessView) -> float:
    """Return where the line ends: beyond the thinnest computed film and a critical thickness that is reached."""
    reached = [view.critical_nm] if view.critical_nm is not None and view.is_reached else []
    return 1.2 / min(*view.computed_nm, *reached, 1e3)


def _difference(view: ThicknessView, inverse_per_nm: float) -> float:
    n_inverse = view.to_inverse_coverage(inverse_per_nm)
    return view.line.strained_ev_per_fu + view.line.interface_ev_per_ang2 * n_inverse


def _draw_line(axes: Axes, view: ThicknessView) -> None:
    end = _find_end_per_nm(view)
    axes.axhline(0.0, color=_ZERO_COLOUR, linewidth=0.8, zorder=1)
    if view.errors is not None:
        places = np.linspace(0.0, end, 60)
        middle = np.array([_difference(view, place) for place in places])
        width = 2.0 * np.array([view.error_ev_per_fu(place) for place in places])
        axes.fill_between(places, middle - width, middle + width, color=_LINE_COLOUR, alpha=0.15, linewidth=0, zorder=2)
    axes.plot((0.0, end), (_difference(view, 0.0), _difference(view, end)), color=_LINE_COLOUR, linewidth=2.0, zorder=3)
    axes.set_xlim(0.0, end)


def _mark_thicknesses(axes: Axes, view: ThicknessView) -> None:
    """Mark the computed films by open circles and the critical thickness by a diamond with its value."""
    computed = [(1.0 / thickness, _difference(view, 1.0 / thickness)) for thickness in view.computed_nm]
    for place in [(1.0 / view.to_nm(n), value) for n, value in view.points] or computed:
        axes.plot(*place, marker="o", markersize=6, color=_LINE_COLOUR, markerfacecolor="#ffffff", zorder=4)
    critical_nm = view.critical_nm
    if critical_nm is None or not view.is_reached:
        return
    axes.plot(1.0 / critical_nm, 0.0, marker="D", markersize=6, color=_CRITICAL_COLOUR, zorder=5)
    axes.annotate(
        f"{critical_nm:.1f} nm", (1.0 / critical_nm, 0.0), xytext=(7, 7), textcoords="offset points", fontsize=8,
        color=_CRITICAL_COLOUR, zorder=5,
    )  # fmt: skip


def _label_axes(axes: Axes, view: ThicknessView, shape: FigureShape) -> None:
    """Write the axes: one over thickness below, the thickness itself above."""
    axes.set_xlabel("1 / thickness of the black film (1/nm)")
    axes.set_ylabel("ΔE, black − competitor (eV/f.u.)")
    axes.spines["right"].set_visible(False)
    inverse = axes.secondary_xaxis("top")
    end = _find_end_per_nm(view)
    thicknesses = _choose_ticks_nm(end)
    inverse.set_xticks([0.0, *(1 / t for t in thicknesses)], ["∞", *(f"{t:g}" for t in thicknesses)])
    inverse.set_xlabel("thickness (nm)")
    if shape.has_heading:
        favoured = f"on {view.facet}, below 0: {typeset(view.black)}; "
        favoured += "one thickness, no error bar" if view.errors is None else "band: twice the standard uncertainty"
        axes.set_title(fill(favoured, shape.line_length), fontsize=7, color="#555555", loc="left")


def _choose_ticks_nm(end_per_nm: float) -> list[float]:
    """Return round thicknesses whose labels do not touch on an axis of one over thickness."""
    chosen: list[float] = []
    for thickness_nm in (0.5, 0.7, 1, 1.5, 2, 3, 5, 10, 20, 50):
        place = end_per_nm if not chosen else 1 / chosen[-1]
        if 1 / thickness_nm > end_per_nm or 1 / thickness_nm < _TICK_DISTANCE * end_per_nm:
            continue
        if not chosen or place - 1 / thickness_nm > _TICK_DISTANCE * end_per_nm:
            chosen.append(thickness_nm)
    return chosen


def describe_thickness(view: ThicknessView) -> str:
    """Say in words what the figure shows."""
    computed = " and ".join(f"{thickness_nm:.2f}" for thickness_nm in view.computed_nm)
    critical = "" if view.critical_nm is None else f" It crosses zero at {view.critical_nm:.2f} nm."
    slope = write_signed(MEV_PER_EV * view.line.interface_ev_per_ang2, decimals=1)
    return (
        f"Straight line of the difference {view.black} minus {view.competitor} against one over the thickness of the "
        f"film. It starts at {write_signed(view.line.strained_ev_per_fu)} eV per formula unit for a thick film; the "
        f"interfaces add {slope} meV per square ångström.{critical} The films that were computed correspond to "
        f"{computed} nm."
    )

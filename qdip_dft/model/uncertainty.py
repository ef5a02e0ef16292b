"""How sure a result is: what was varied, the line through several thicknesses, every error, the critical size.

Definitions are in docs/reading-results.md.  Uncertainties are standard uncertainties (one standard deviation; GUM,
JCGM 100:2008) unless a name says otherwise.
"""

from __future__ import annotations

from enum import StrEnum
from math import hypot
from typing import Final

from pydantic import Field

from qdip_dft.model.base import Record
from qdip_dft.model.calculation import LevelOfTheory
from qdip_dft.model.calibration import Calibration
from qdip_dft.model.resolution import COVERAGE_FACTOR
from qdip_dft.model.study import PhaseRole

SLOPE_TOLERANCE_EV_PER_FU: Final = 0.003
"""Largest difference of fitted slope and energy of the strained bulk of a series whose films are thick enough."""


class VariationKind(StrEnum):
    """What is varied around the two films that are compared."""

    FILM_THICKNESS = "film thickness"
    DOT_THICKNESS = "dot thickness"
    ORIENTATION = "cation orientation"
    TERMINATION = "termination"
    PRESET = "finer preset"
    MODEL = "model"
    COUNTERPOISE = "counterpoise"
    """Binding without the basis functions that dot and film borrow from each other."""


OTHER_THEORIES: Final = frozenset({VariationKind.PRESET, VariationKind.MODEL})
"""Variations whose energies are at another level of theory than the study's own."""


class VariedFilm(Record):
    """One film computed with one thing changed.

    Parameters
    ----------
    kind, index, tag
        What is changed, its number among the like (1: the first after the study's own), and its name in step names.
    film, film_id, role
        Label and id of the candidate that it is a variation of, and the role of its phase.
    bulk_ev_per_fu, strain_ev_per_fu, surface_ev_per_fu, binding_ev_per_fu, total_ev_per_fu
        The terms as computed, per formula unit of this very film; None where a calculation is missing.
    n_formula_units, area_ang2, n_film_planes, n_dot_planes
        Formula units of the film, area of the cell in Å², lattice planes of film and dot.
    faults
        Why it does not count: missing energies and decisive checks that failed; empty if it does.
    theory
        Level of theory of its energies; None where nothing was computed.
    calculations
        Calculation key of every part.
    dot_strain_ev_per_fu
        The share of the dot in the strain term; None in documents written before it was one.
    bulk_shift_ev_per_fu
        As of a candidate: what a reference adds to the bulk term in the comparison; None: nothing.
    """

    kind: VariationKind
    index: int
    tag: str
    film: str
    film_id: str
    role: PhaseRole
    bulk_ev_per_fu: float | None
    strain_ev_per_fu: float | None
    surface_ev_per_fu: float | None
    binding_ev_per_fu: float | None
    total_ev_per_fu: float | None
    n_formula_units: int
    area_ang2: float | None
    n_film_planes: int
    n_dot_planes: int
    faults: tuple[str, ...]
    theory: LevelOfTheory | None
    calculations: dict[str, str]
    dot_strain_ev_per_fu: float | None = None
    bulk_shift_ev_per_fu: float | None = None

    @property
    def coverage_fu_per_ang2(self) -> float | None:
        """Its own n: formula units of the host per Å² of dot; None where the area is not known."""
        return None if self.area_ang2 is None else self.n_formula_units / self.area_ang2


class LineFit(Record):
    """The straight line g(n) = e·n + σ through the energies per area of one film of several thicknesses.

    Parameters
    ----------
    film, film_id, role
        Label and id of the candidate, role of its phase.
    fu_per_ang2, energy_ev_per_ang2
        The points: n formula units per Å² of interface, and g = [E(interface) − E(dot slab) − Σ Δn μ]/A less n times
        the energy of the relaxed bulk.
    degrees_of_freedom
        Points less two.
    slope_ev_per_fu, slope_uncertainty_ev_per_fu
        Fitted strain energy e, and its standard uncertainty from the residuals.
    intercept_mev_per_ang2, intercept_uncertainty_mev_per_ang2
        Fitted interface energy σ, likewise.
    reference_ev_per_fu
        The independent strain term, from the strained bulk.
    slope_deviation_ev_per_fu
        Fitted slope less that.
    is_consistent
        Whether the two agree to ``SLOPE_TOLERANCE_EV_PER_FU``.
    finding
        The comparison in words.
    """

    film: str
    film_id: str
    role: PhaseRole
    fu_per_ang2: tuple[float, ...]
    energy_ev_per_ang2: tuple[float, ...]
    degrees_of_freedom: int
    slope_ev_per_fu: float
    slope_uncertainty_ev_per_fu: float | None
    intercept_mev_per_ang2: float
    intercept_uncertainty_mev_per_ang2: float | None
    reference_ev_per_fu: float
    slope_deviation_ev_per_fu: float
    is_consistent: bool
    finding: str


class TermErrors(Record):
    """Standard uncertainty of each term at n*, of the total and of its two parts: bulk + strain, and σ.

    Errors of terms are not independent of each other: what one term gains the next may lose.  With the covariances of
    bulk, strain and σ the uncertainty follows at any other coverage.

    Parameters
    ----------
    bulk_ev_per_fu, strain_ev_per_fu, surface_ev_per_fu, binding_ev_per_fu, total_ev_per_fu
        In eV per formula unit.
    strained_ev_per_fu
        Of bulk + strain of the film, which is left of a thick film.
    interface_mev_per_ang2
        Of surface + binding, and the strain of the dot, per area.
    bulk_strain_covariance_ev2, bulk_interface_covariance_ev2_per_ang2, strain_interface_covariance_ev2_per_ang2
        Covariances of bulk and strain of the film, per formula unit squared, and of each with σ, per formula unit;
        None: not known.
    """

    bulk_ev_per_fu: float = 0.0
    strain_ev_per_fu: float = 0.0
    surface_ev_per_fu: float = 0.0
    binding_ev_per_fu: float = 0.0
    total_ev_per_fu: float = 0.0
    strained_ev_per_fu: float = 0.0
    interface_mev_per_ang2: float = 0.0
    bulk_strain_covariance_ev2: float | None = None
    bulk_interface_covariance_ev2_per_ang2: float | None = None
    strain_interface_covariance_ev2_per_ang2: float | None = None


class ErrorPart(StrEnum):
    """Which part of the one ± a source of error belongs to."""

    NUMERICAL = "numerical"
    """What more calculations with the same engine would reduce."""
    MODEL = "model"
    """What they would not: the error of the energies themselves."""


class ErrorComponent(Record):
    """One source of error.

    Parameters
    ----------
    name
        Such as ``film thickness``.
    is_sampled
        Whether it was estimated at all; what was not counts with a default size, in documents before version 5 not.
    part
        Which part of the ± it belongs to.
    is_combined
        Whether it enters the combined uncertainty; the spread between models does not.
    is_applicable
        Whether this source exists for this study at all.
    n_values
        Values that the estimate rests on.
    black, competitor, difference
        Standard uncertainty of the terms of both sides and of black − competitor; None where it was not estimated.  The
        difference is no sum of the sides where one change was made to both.
    finding
        How it was estimated, or why not.
    """

    name: str
    is_sampled: bool
    part: ErrorPart = ErrorPart.NUMERICAL
    is_combined: bool = True
    is_applicable: bool = True
    n_values: int = 0
    black: TermErrors | None = None
    competitor: TermErrors | None = None
    difference: TermErrors | None = None
    finding: str


class ModelAnswer(Record):
    """Black − competitor of the same two films at n* with another engine, potential or preset, in eV/f.u."""

    name: str
    total_ev_per_fu: float


class OneMoreLayer(Record):
    """What one more layer of film does to black − competitor.

    Parameters
    ----------
    total_ev_per_fu
        Formula version 1 only: of the thicker films, each at its own n.
    at_base_thickness_ev_per_fu
        With the interface energies of the thicker films, at n*.
    change_ev_per_fu
        The latter less the study's own result: zero where the interface energy does not depend on the thickness.
    """

    total_ev_per_fu: float | None = None
    at_base_thickness_ev_per_fu: float
    change_ev_per_fu: float


class CriticalSize(Record):
    """Where the preference changes with size: n = −Δσ/Δe, with Fieller's interval.

    Parameters
    ----------
    strained_ev_per_fu, strained_uncertainty_ev_per_fu
        Δe, bulk and strain of the film, black − competitor.
    interface_mev_per_ang2, interface_uncertainty_mev_per_ang2
        Δσ, surface and binding and the strain of the dot, black − competitor.
    covariance_ev2_per_ang2
        Covariance of the two errors, in eV²/(f.u. Å²).
    critical_fu_per_ang2
        That n in formula units per Å² of dot; None where one phase wins at any thickness.
    interval_fu_per_ang2
        Ends of the interval of about 95 % for it; an upper end of None: there is none.  (0, None): any thickness may be
        critical; None: no thickness can be.
    is_bounded
        Whether the interval has two ends.
    volume_ang3_per_fu
        Volume of a formula unit in the strained black film.
    layer_ang
        About how thick one layer of formula units is: the edge of a cube of that volume.
    finding
        The result in words.
    """

    strained_ev_per_fu: float
    strained_uncertainty_ev_per_fu: float
    interface_mev_per_ang2: float
    interface_uncertainty_mev_per_ang2: float
    covariance_ev2_per_ang2: float = 0.0
    critical_fu_per_ang2: float | None
    interval_fu_per_ang2: tuple[float, float | None] | None
    is_bounded: bool
    volume_ang3_per_fu: float
    layer_ang: float
    finding: str


class EmbeddedInterface(Record):
    """What the interface of an embedded dot costs: without the free outer face that a film has.

    Parameters
    ----------
    difference_mev_per_ang2, uncertainty_mev_per_ang2
        Δσ of dot and host without the free faces, black − competitor.
    is_split_exact
        Whether both films end alike, so that half their surface energy is that of one face.
    finding
        How the surface energies were split.
    """

    difference_mev_per_ang2: float
    uncertainty_mev_per_ang2: float
    is_split_exact: bool
    finding: str


class Uncertainty(Record):
    """How sure an answer is.

    Parameters
    ----------
    components
        Every source of error, estimated or not.
    black, competitor, difference
        Combined standard uncertainty of the numerical components: root of the sum of squares.
    model_error
        That of the model's components; None for a toy potential, and in documents before version 5.
    coverage_factor
        The answer is decided where it exceeds this many times the root of the squares of both.
    samples
        The films that were computed for it.
    fits
        The line of each film with at least three thicknesses.
    one_more_layer
        The effect of one more layer; None with one thickness.
    models
        Black − competitor of other models.
    critical
        The critical size; None where a term is missing.
    embedded
        The interface energy of an embedded dot; None likewise.
    calibrations
        What `model_error` was measured with: they travel with the result, which can be made anew anywhere.
    """

    components: tuple[ErrorComponent, ...]
    black: TermErrors
    competitor: TermErrors
    difference: TermErrors
    model_error: TermErrors | None = None
    coverage_factor: float = COVERAGE_FACTOR
    samples: tuple[VariedFilm, ...] = ()
    fits: tuple[LineFit, ...] = ()
    one_more_layer: OneMoreLayer | None = None
    models: tuple[ModelAnswer, ...] = ()
    critical: CriticalSize | None = None
    embedded: EmbeddedInterface | None = None
    calibrations: tuple[Calibration, ...] = Field(default=(), exclude_if=lambda calibrations: not calibrations)

    @property
    def not_estimated(self) -> tuple[str, ...]:
        """Sources of error that exist for this study and that nobody looked at; a default stands for each."""
        return tuple(c.name for c in self.components if c.is_applicable and c.is_combined and not c.is_sampled)

    @property
    def is_stated(self) -> bool:
        """Whether there is an error bar: something was varied, or defaults stand for what was not."""
        return bool(self.samples) or self.model_error is not None

    @property
    def total_ev_per_fu(self) -> float:
        """The one ± of black − competitor at n*: its numerical part and that of the model in quadrature."""
        model = 0.0 if self.model_error is None else self.model_error.total_ev_per_fu
        return hypot(self.difference.total_ev_per_fu, model)

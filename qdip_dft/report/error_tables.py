"""How sure a result is, as tables and sentences: error budget, thickness series, dots in a host."""

from __future__ import annotations

from math import hypot

from qdip_dft.analysis.dot_size import count_host_per_area, find_critical_loading, find_critical_radius_ang
from qdip_dft.analysis.numbers import write_signed
from qdip_dft.analysis.sides import find_sides
from qdip_dft.analysis.uncertainty import measure_density
from qdip_dft.model.stabilization import CandidateResult, StabilizationDoc
from qdip_dft.model.term_names import TERM_COLUMNS
from qdip_dft.model.uncertainty import (
    CriticalSize,
    EmbeddedInterface,
    ErrorComponent,
    TermErrors,
    Uncertainty,
    VariationKind,
    VariedFilm,
)
from qdip_dft.report.tables import Cell, Column, Row, Table, list_tables
from qdip_dft.report.words import name_film
from qdip_dft.units import MEV_PER_EV

RADII_ANG = (10.0, 15.0, 20.0, 30.0, 50.0)
"""Radii of dots in the table of dots in a host: those of colloidal dots."""

LOADINGS = (0.02, 0.05, 0.1, 0.2, 0.3)
"""Volume fractions of dots in that table; random packing of spheres ends at 0.64, dots begin to touch before."""


def list_report_tables(doc: StabilizationDoc) -> tuple[Table, ...]:
    """Return all tables of a report: the terms, how sure they are, energies per area and cells."""
    terms, *others = list_tables(doc)
    return terms, *list_error_tables(doc), *others


def list_error_tables(doc: StabilizationDoc) -> tuple[Table, ...]:
    """Return the tables of a result whose study asked how sure it is; none otherwise."""
    stated = doc.uncertainty
    if stated is None or not stated.is_asked:
        return ()
    tables = [tabulate_errors(stated)]
    tables += [tabulate_budget(stated)] if doc.stabilization.total_ev_per_fu is not None else []
    tables += [tabulate_series(doc, stated)] if _list_series(stated) else []
    if stated.critical is not None and stated.embedded is not None:
        tables.append(tabulate_dots(stated.critical, stated.embedded))
    return tuple(tables)


def tabulate_errors(stated: Uncertainty) -> Table:
    """Return the standard uncertainty of every term of both sides and of the difference."""
    sides = (("black", stated.black), ("competitor", stated.competitor), ("black − competitor", stated.difference))
    return Table(
        title="Error bars of the terms",
        heading="±",
        columns=tuple(Column(name, "eV/f.u.") for name in TERM_COLUMNS),
        rows=tuple(Row(name, _write_errors(errors)) for name, errors in sides),
        note="one standard uncertainty of what was sampled; what both sides share cancels in the difference.",
    )


def tabulate_budget(stated: Uncertainty) -> Table:
    """Return each source of error of black − competitor, and their combination."""
    return Table(
        title="Error budget of black − competitor",
        heading="source",
        columns=tuple(Column(name, "eV/f.u.") for name in TERM_COLUMNS),
        rows=tuple(Row(_name_component(c), _write_errors(c.difference)) for c in stated.components),
        note="one standard uncertainty each; combined: root of the sum of squares, without models.\n"
        "not sampled: no value is known, which is no zero; n/a: does not exist here.",
        result=Row("combined", _write_errors(stated.difference)),
    )


def _name_component(component: ErrorComponent) -> str:
    if component.is_sampled:
        return component.name if component.is_combined else f"({component.name})"
    return f"{component.name}: {'not sampled' if component.is_applicable else 'n/a'}"


def _write_errors(errors: TermErrors | None) -> tuple[Cell, ...]:
    if errors is None:
        return tuple(Cell("—") for _ in TERM_COLUMNS)
    values = [getattr(errors, f"{name}_ev_per_fu") for name in TERM_COLUMNS]
    return tuple(Cell(f"{value:.3f}", value) for value in values)


def _list_series(stated: Uncertainty) -> list[VariedFilm]:
    return [sample for sample in stated.samples if sample.kind is VariationKind.FILM_THICKNESS and not sample.faults]


def tabulate_series(doc: StabilizationDoc, stated: Uncertainty) -> Table:
    """Return every thickness of the compared films, and the lines through them."""
    rows = []
    names = {}
    for base in find_sides(doc).films:
        name = names[base.candidate.id] = name_film(base)
        thicker = (film for film in _list_series(stated) if film.film_id == base.candidate.id)
        films: tuple[CandidateResult | VariedFilm, ...] = (base, *thicker)
        rows += [_describe_thickness(film, name=name) for film in films]
    notes = [
        f"{name}: {_write_value(fit.intercept_mev_per_ang2, fit.intercept_uncertainty_mev_per_ang2, 1)} meV/Å², slope "
        f"{_write_value(fit.slope_ev_per_fu, fit.slope_uncertainty_ev_per_fu, 4)} eV/f.u. "
        f"(strain term {write_signed(fit.reference_ev_per_fu, decimals=4)})."
        for name, fit in ((names[fit.film_id], fit) for fit in stated.fits if fit.film_id in names)
    ]
    return Table(
        title="Thickness of the films",
        heading="film",
        columns=(
            Column("planes", ""), Column("film", "f.u."), Column("n", "f.u./Å²"), Column("surface", "meV/Å²"),
            Column("binding", "meV/Å²"), Column("σ", "meV/Å²"),
        ),
        rows=tuple(rows),
        note="σ = surface + binding per area; it must not depend on the thickness.\nLeast squares: " + "\n".join(notes)
        if notes
        else "σ = surface + binding per area; it must not depend on the thickness.",
    )  # fmt: skip


def _describe_thickness(film: CandidateResult | VariedFilm, *, name: str) -> Row:
    """Return a row of a computed film: the study's own or a thicker one."""
    density = measure_density(film)
    surface, binding = (
        MEV_PER_EV * density * (term or 0.0) for term in (film.surface_ev_per_fu, film.binding_ev_per_fu)
    )
    planes = film.n_film_planes if isinstance(film, VariedFilm) else film.candidate.n_film_planes
    return Row(
        name,
        (
            Cell(str(planes), planes),
            Cell(str(film.n_formula_units), film.n_formula_units),
            Cell(f"{density:.4f}", density),
            *(Cell(write_signed(energy, decimals=1), energy) for energy in (surface, binding, surface + binding)),
        ),
    )


def _write_value(value: float, error: float | None, decimals: int) -> str:
    number = write_signed(value, decimals=decimals)
    return number if error is None else f"{number} ± {error:.{decimals}f}"


def tabulate_dots(critical: CriticalSize, embedded: EmbeddedInterface) -> Table:
    """Return black − competitor of a host with spherical dots for some radii and loadings, and the critical radius."""
    return Table(
        title="Spherical dots in a host: black − competitor",
        heading="loading",
        columns=(*(Column(f"R = {radius:.0f} Å", "eV/f.u.") for radius in RADII_ANG), Column("critical R", "Å")),
        rows=tuple(
            Row(
                f"{loading:.0%}",
                (
                    *(_write_dot(critical, embedded, radius_ang=radius, loading=loading) for radius in RADII_ANG),
                    _write_critical_radius(critical, embedded, loading),
                ),
            )
            for loading in LOADINGS
        ),
        note="loading: volume fraction of the dots; negative: black phase favoured; *: above twice its error;\n"
        f"critical: where the sign changes.\n{embedded.finding}.",
        result=Row("critical", (*(_write_critical_loading(critical, embedded, r) for r in RADII_ANG), Cell(""))),
    )


def evaluate_dots(
    critical: CriticalSize, embedded: EmbeddedInterface, *, radius_ang: float, loading: float, shape: float = 1.0
) -> tuple[float, float]:
    """Return black − competitor of a host with dots and its standard uncertainty, in eV per formula unit.

    Parameters
    ----------
    critical, embedded
        The line and the interface energy of embedded dots.
    radius_ang, loading, shape
        As for `count_host_per_area`.
    """
    n = count_host_per_area(radius_ang, loading, volume_ang3_per_fu=critical.volume_ang3_per_fu, shape=shape)
    difference = critical.strained_ev_per_fu + embedded.difference_mev_per_ang2 / MEV_PER_EV / n
    error = hypot(critical.strained_uncertainty_ev_per_fu, embedded.uncertainty_mev_per_ang2 / MEV_PER_EV / n)
    return difference, error


def find_critical_dots(
    critical: CriticalSize, embedded: EmbeddedInterface, *, radius_ang: float, loading: float, shape: float = 1.0
) -> tuple[float | None, float | None]:
    """Return the critical radius in Å at a loading and the critical loading for a radius; None where there is none."""
    e, sigma = critical.strained_ev_per_fu, embedded.difference_mev_per_ang2 / MEV_PER_EV
    if e * sigma >= 0:
        return None, None
    volume = critical.volume_ang3_per_fu
    return (
        find_critical_radius_ang(-sigma / e, loading, volume_ang3_per_fu=volume, shape=shape),
        find_critical_loading(-sigma / e, radius_ang, volume_ang3_per_fu=volume, shape=shape),
    )


def _write_dot(critical: CriticalSize, embedded: EmbeddedInterface, *, radius_ang: float, loading: float) -> Cell:
    difference, error = evaluate_dots(critical, embedded, radius_ang=radius_ang, loading=loading)
    is_decided = abs(difference) > 2 * error
    return Cell(f"{write_signed(difference)}{'*' if is_decided else ''}", difference, is_marked=is_decided)


def _write_critical_loading(critical: CriticalSize, embedded: EmbeddedInterface, radius_ang: float) -> Cell:
    _, loading = find_critical_dots(critical, embedded, radius_ang=radius_ang, loading=LOADINGS[0])
    return Cell("none") if loading is None else Cell(f"{loading:.0%}", loading)


def _write_critical_radius(critical: CriticalSize, embedded: EmbeddedInterface, loading: float) -> Cell:
    radius_ang, _ = find_critical_dots(critical, embedded, radius_ang=RADII_ANG[0], loading=loading)
    return Cell("none") if radius_ang is None else Cell(f"{radius_ang:.1f}", radius_ang)

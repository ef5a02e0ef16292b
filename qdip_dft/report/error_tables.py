"""How sure a result is, as tables and sentences: error budget, thickness series, dots in a host."""

from __future__ import annotations

from qdip_dft.analysis.coverage import interface_ev_per_ang2
from qdip_dft.analysis.dot_size import Dots, DotsInHost, survey_dots
from qdip_dft.analysis.numbers import write_signed
from qdip_dft.analysis.sides import find_sides
from qdip_dft.analysis.uncertainty import combine
from qdip_dft.model.resolution import COVERAGE_FACTOR
from qdip_dft.model.stabilization import CandidateResult, StabilizationDoc
from qdip_dft.model.term_names import TERM_COLUMNS
from qdip_dft.model.uncertainty import (
    ErrorComponent,
    TermErrors,
    Uncertainty,
    VariationKind,
    VariedFilm,
)
from qdip_dft.report.cells import Cell
from qdip_dft.report.tables import Column, Row, Table, list_tables
from qdip_dft.report.words import name_film
from qdip_dft.units import MEV_PER_EV

RADII_ANG = (10.0, 15.0, 20.0, 30.0, 50.0)
"""Radii of dots in the table of dots in a host: those of colloidal dots."""

LOADINGS = (0.02, 0.05, 0.1, 0.2, 0.3)
"""Volume fractions of dots in that table; random packing of spheres ends at 0.64, dots begin to touch before."""


def list_report_tables(doc: StabilizationDoc) -> tuple[Table, ...]:
    """Return all tables of a report: the terms, how sure they are, energies per area and cells."""
    tables = list_tables(doc)
    return *tables[:2], *list_error_tables(doc), *tables[2:]


def list_error_tables(doc: StabilizationDoc) -> tuple[Table, ...]:
    """Return the tables of a result with an error bar; none otherwise."""
    stated = doc.uncertainty
    if stated is None or not stated.is_stated:
        return ()
    tables = [tabulate_errors(stated)]
    tables += [tabulate_budget(stated)] if doc.stabilization.total_ev_per_fu is not None else []
    tables += [tabulate_series(doc, stated)] if _list_series(stated) else []
    dots = survey_dots(doc)
    if dots is not None and stated.embedded is not None:
        tables.append(tabulate_dots(dots, stated.embedded.finding))
    return tuple(tables)


def tabulate_errors(stated: Uncertainty) -> Table:
    """Return the standard uncertainty of every term of both sides and of the difference."""
    sides = (("black", stated.black), ("competitor", stated.competitor), ("black − competitor", stated.difference))
    return Table(
        title="Error bars of the terms",
        heading="±",
        columns=tuple(Column(name, "eV/f.u.") for name in TERM_COLUMNS),
        rows=tuple(Row(name, _write_errors(errors)) for name, errors in sides),
        note="one standard uncertainty at n*, numerical part: what both sides share cancels in the difference.",
    )


def tabulate_budget(stated: Uncertainty) -> Table:
    """Return each source of error of black − competitor, and their combination."""
    return Table(
        title="Error budget of black − competitor",
        heading="source",
        columns=tuple(Column(name, "eV/f.u.") for name in TERM_COLUMNS),
        rows=tuple(Row(_name_component(c), _write_errors(c.difference)) for c in stated.components),
        note="one standard uncertainty each, in (): stated, not counted; combined: root of the sum of squares.\n"
        f"{_say_parts(stated)}not sampled: counted with a default size; n/a: not applicable.",
        result=Row("combined", _write_errors(combine(filter(None, (stated.difference, stated.model_error))))),
    )


def _say_parts(stated: Uncertainty) -> str:
    if stated.model_error is None:
        return ""
    return (
        f"Of the total: numerical {stated.difference.total_ev_per_fu:.3f}, model "
        f"{stated.model_error.total_ev_per_fu:.3f} eV/f.u.; "
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
    return [film for film in stated.samples if film.kind is VariationKind.FILM_THICKNESS and not film.faults]


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
    own = film.coverage_fu_per_ang2 or 0.0
    surface, binding = (MEV_PER_EV * part for part in interface_ev_per_ang2(film) or (0.0, 0.0))
    planes = film.n_film_planes if isinstance(film, VariedFilm) else film.candidate.n_film_planes
    return Row(
        name,
        (
            Cell(str(planes), planes),
            Cell(str(film.n_formula_units), film.n_formula_units),
            Cell(f"{own:.4f}", own),
            *(Cell(write_signed(energy, decimals=1), energy) for energy in (surface, binding, surface + binding)),
        ),
    )


def _write_value(value: float, error: float | None, decimals: int) -> str:
    number = write_signed(value, decimals=decimals)
    return number if error is None else f"{number} ± {error:.{decimals}f}"


def tabulate_dots(dots: DotsInHost, split: str) -> Table:
    """Return black − competitor of a host with spherical dots for some radii and loadings, and where it changes sign.

    Parameters
    ----------
    dots
        The line of the films with its errors.
    split
        How the free faces of the films were left out.
    """
    lacking = f" (not sampled: {', '.join(dots.not_estimated)})" if dots.not_estimated else ""
    return Table(
        title="Spherical dots in a host: black − competitor",
        heading="loading",
        columns=(*(Column(f"R = {radius:.0f} Å", "eV/f.u.") for radius in RADII_ANG), Column("critical R", "Å")),
        rows=tuple(
            Row(
                f"{loading:.0%}",
                (
                    *(_write_dot(dots, Dots(radius, loading)) for radius in RADII_ANG),
                    _write_critical_radius(dots, loading),
                ),
            )
            for loading in LOADINGS
        ),
        note="loading: volume fraction of the dots; negative: black phase favoured;\n"
        f"*: above twice its error{lacking};\n"
        f"critical: where the sign changes. {say_strain_range(dots)}.\n{split}.",
        result=Row("critical", (*(_write_critical_loading(dots, radius) for radius in RADII_ANG), Cell(""))),
    )


def say_strain_range(dots: DotsInHost) -> str:
    """Say how far from the dot the host is strained, and where that comes from."""
    if dots.strain_range_ang is None:
        return (
            "Strain decays as isotropic elasticity gives it: its energy is that of a volume of host equal to the dot's"
        )
    return f"Strain reaches {dots.strain_range_ang:.1f} Å from the dot, as given"


def _write_dot(dots: DotsInHost, case: Dots) -> Cell:
    difference = dots.difference_ev_per_fu(case)
    is_decided = abs(difference) > COVERAGE_FACTOR * dots.uncertainty_ev_per_fu(case)
    return Cell(f"{write_signed(difference)}{'*' if is_decided else ''}", difference, is_marked=is_decided)


def _write_critical_loading(dots: DotsInHost, radius_ang: float) -> Cell:
    loading = dots.find_critical_loading(Dots(radius_ang, LOADINGS[0]))
    return Cell("none") if loading is None else Cell(f"{loading:.0%}", loading)


def _write_critical_radius(dots: DotsInHost, loading: float) -> Cell:
    radius_ang = dots.find_critical_radius_ang(Dots(RADII_ANG[0], loading))
    return Cell("none") if radius_ang is None else Cell(f"{radius_ang:.1f}", radius_ang)

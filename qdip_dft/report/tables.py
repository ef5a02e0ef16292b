"""The tables of a report as plain values: terminal, page and LaTeX show the same rows, each in its own way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from qdip_dft.analysis.coverage import interface_energies
from qdip_dft.analysis.numbers import write_signed
from qdip_dft.analysis.ranking import PhaseRanking, average_stabilization_ev_per_fu, rank_candidates
from qdip_dft.analysis.sides import find_sides, name_side
from qdip_dft.analysis.strip import PhaseStrip, Strip, survey_strip
from qdip_dft.model.orientation import count_surface_cells
from qdip_dft.model.resolution import MODEL_ERROR_EV_PER_FU, find_limit_ev_per_fu
from qdip_dft.model.stabilization import (
    CandidateResult,
    Hull,
    InterfaceEnergies,
    Stabilization,
    StabilizationDoc,
)
from qdip_dft.model.study import OrientationPolicy
from qdip_dft.model.term_names import TERM_COLUMNS
from qdip_dft.model.terms import Terms
from qdip_dft.report.cells import Cell, write_numbers
from qdip_dft.report.summary import find_selected
from qdip_dft.report.words import (
    ROLE_WORDS,
    count_from_lowest,
    describe_coverage,
    find_lowest_bulk,
    list_selected,
    name_facet,
    name_film,
    name_film_and_termination,
    write_strains,
)


@dataclass(frozen=True, slots=True)
class Column:
    """A column of numbers.

    Parameters
    ----------
    name
        What it holds.
    unit
        Its unit.
    """

    name: str
    unit: str


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a table.

    Parameters
    ----------
    name
        Text of the first column.
    cells
        One for each other column.
    """

    name: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """A table whose first column is text and whose other columns are numbers.

    Parameters
    ----------
    title
        What it shows.
    heading
        Heading of the first column.
    columns
        The other columns.
    rows
        The rows in their own order.
    note
        What a reader must know to read it.
    result
        The last row, which does not take part in sorting; None without.
    """

    title: str
    heading: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    note: str = ""
    result: Row | None = None


def list_tables(doc: StabilizationDoc) -> tuple[Table, ...]:
    """Return the tables of a result: terms, and where a phase has a valid candidate energies per area and cells."""
    if not list_selected(doc):
        return (tabulate_terms(doc),)
    bound = () if doc.bx2_rich is None else (tabulate_bx2_rich(doc, doc.bx2_rich),)
    strip = survey_strip(doc)
    reigns = () if strip is None else (tabulate_strip(strip),)
    rankings = rank_candidates(doc)
    has_choice = any(len(ranking.candidates) > 1 for ranking in rankings)
    ranked = (tabulate_ranking(doc, rankings),) if has_choice else ()
    hull = () if doc.hull is None else (tabulate_hull(doc, doc.hull),)
    return tabulate_terms(doc), tabulate_areas(doc), *bound, *reigns, *ranked, *hull, tabulate_cells(doc)


def tabulate_terms(doc: StabilizationDoc) -> Table:
    """Return phases × four terms and total at n* in eV per formula unit, with the difference as the result."""
    rows = [_make_phase_row(doc, phase.phase, ROLE_WORDS[phase.role]) for phase in doc.study.phases]
    if doc.decomposition is not None:
        rows.append(Row(doc.decomposition.label, write_numbers(_list_terms(count_from_lowest(doc, doc.decomposition)))))
    difference = Row("black − competitor", write_numbers(_list_terms(doc.stabilization)))
    return Table(
        title=f"The four terms at {describe_coverage(doc)}" if doc.formula_version > 1 else "The four terms",
        heading="phase",
        columns=tuple(Column(name, "eV/f.u.") for name in TERM_COLUMNS),
        rows=tuple(rows),
        note=_explain_zero(doc),
        result=difference if doc.study.has_competitor else None,
    )


def tabulate_bx2_rich(doc: StabilizationDoc, answer: Stabilization) -> Table:
    """Return what changes at the other bound of the chemical potentials: the films with an excess and the answer."""
    potentials = doc.chemical_potentials
    assert potentials is not None  # it comes with the answer at this bound
    ax, bx2 = potentials.ax, potentials.bx2
    films = [result for result in doc.candidates if result.bx2_rich is not None]
    difference = Row("black − competitor", write_numbers(_list_terms(answer)))
    return Table(
        title=f"The four terms, {bx2}-rich",
        heading="phase",
        columns=tuple(Column(name, "eV/f.u.") for name in TERM_COLUMNS),
        rows=tuple(
            Row(name_film(film), write_numbers(_list_terms(count_from_lowest(doc, film.at_bx2_rich)))) for film in films
        ),
        note=f"Films with an excess of {ax} or {bx2} at the {bx2}-rich bound; all other numbers are {ax}-rich.\n"
        f"{ax} + {bx2} lie {write_signed(potentials.window_ev)} eV/f.u. above the most stable bulk of the host.",
        result=difference if doc.study.has_competitor else None,
    )


def tabulate_strip(strip: Strip) -> Table:
    """Return which film of each phase is the lowest where on the strip of chemical potentials."""
    return Table(
        title=f"Films over the strip of chemical potentials, Δμ({strip.ax})",
        heading="lowest film",
        columns=(Column("from", "eV"), Column("to", "eV"), Column("there", "meV/Å²"), Column("then", "meV/Å²")),
        rows=tuple(row for phase in strip.phases for row in _list_reigns(phase, strip.width_ev)),
        note=f"Δμ({strip.ax}): 0 is {strip.ax}-rich, {write_signed(-strip.width_ev)} eV is {strip.bx2}-rich; "
        "the winner changes where one row ends.\n"
        "there, then: strain, surfaces and binding per area at both ends of the row, above the most stable bulk.",
    )


def _list_reigns(phase: PhaseStrip, width_ev: float) -> list[Row]:
    return [
        Row(
            f"{ROLE_WORDS[phase.role]} {name_film_and_termination(reign.line.result)}",
            (
                *write_numbers((reign.start_ev, reign.end_ev)),
                *write_numbers(
                    (reign.line.at(1.0 + reign.start_ev / width_ev), reign.line.at(1.0 + reign.end_ev / width_ev)),
                    decimals=1,
                ),
            ),
        )
        for reign in phase.reigns
    ]


def tabulate_ranking(doc: StabilizationDoc, rankings: Sequence[PhaseRanking]) -> Table:
    """Return the valid candidates of every phase, lowest first, with their Boltzmann weights."""
    ensemble = doc.study.ensemble
    mean = average_stabilization_ev_per_fu(doc)
    pinned = [r.phase for r in rankings if r.policy is OrientationPolicy.PINNED]
    note = (
        f"weight: of patches of {ensemble.patch_area_ang2:g} Å² at {ensemble.temperature_k:g} K; "
        f"all films at one coverage, n* = {rankings[0].coverage_fu_per_ang2:.4f} f.u./Å²."
    )
    limit = find_limit_ev_per_fu(doc.level, model_ev_per_fu=MODEL_ERROR_EV_PER_FU[doc.level])
    note += f"\nWithin {limit:.2f} eV/f.u. the order is undecided."
    note += f"\nPinned to the first plane named: {', '.join(pinned)}." if pinned else ""
    note += "" if mean is None else f"\nblack − competitor of the weighted means: {write_signed(mean)} eV/f.u."
    return Table(
        title="Ranking of the candidates",
        heading="film",
        columns=(Column("above lowest", "eV/f.u."), Column("per area", "meV/Å²"), Column("weight", "%")),
        rows=tuple(row for ranking in rankings for row in _list_ranked(ranking)),
        note=note,
    )


def _list_ranked(ranking: PhaseRanking) -> list[Row]:
    return [
        Row(
            f"{ROLE_WORDS[ranking.role]} {name_film(ranked.result)}"
            + (" (stands for it)" if ranked.result.is_selected else ""),
            (
                *write_numbers((ranked.above_ev_per_fu,)),
                *write_numbers((ranked.above_mev_per_ang2,), decimals=1),
                Cell(f"{100 * ranked.weight:.1f}", ranked.weight),
            ),
        )
        for ranked in ranking.candidates
    ]


def tabulate_areas(doc: StabilizationDoc) -> Table:
    """Return the energies per area of dot in both units, which do not depend on the coverage, and their difference."""
    names = ("σ surface", "σ binding", "σ")
    answer = doc.stabilization.interface
    own = "; ".join(
        f"{name_film(result)}: {result.coverage_fu_per_ang2:.4f}"
        for result in list_selected(doc)
        if result.coverage_fu_per_ang2 is not None
    )
    return Table(
        title="Interface energies per area of dot",
        heading="phase",
        columns=tuple(Column(name, unit) for name in names for unit in ("meV/Å²", "J/m²")),
        rows=tuple(Row(name_film(result), _write_areas(interface_energies(result))) for result in list_selected(doc)),
        note="σ surface: both faces of the film; σ binding: negative when bound, minus the work of separation; "
        f"σ: their sum.\nEach film's own n (f.u./Å²): {own}.",
        result=None if answer is None else Row("black − competitor", _write_areas(answer)),
    )


def _write_areas(energies: InterfaceEnergies | None) -> tuple[Cell, ...]:
    names = ("surface", "binding", "interface")
    return tuple(
        cell
        for name in names
        for unit, decimals in (("mev_per_ang2", 1), ("j_per_m2", 3))
        for cell in write_numbers(
            (None if energies is None else getattr(energies, f"{name}_{unit}"),), decimals=decimals
        )
    )


def tabulate_hull(doc: StabilizationDoc, hull: Hull) -> Table:
    """Return how far bulks and strained bulks lie above the most stable way to be the host."""
    rows = [
        Row(
            f"{ROLE_WORDS[result.candidate.role]} {name_film(result)}",
            (
                *write_numbers(
                    (hull.above_ev_per_fu.get(result.candidate.phase), result.strained_above_hull_ev_per_fu)
                ),
                *write_numbers((result.strained_above_hull_mev_per_atom,), decimals=1),
            ),
        )
        for result in list_selected(doc)
    ]
    films = {result.candidate.phase for result in list_selected(doc)}
    others = [
        Row(name, write_numbers((above, None, None)))
        for name, above in hull.above_ev_per_fu.items()
        if name not in films
    ]
    return Table(
        title="Energy above the hull",
        heading="host as",
        columns=(Column("bulk", "eV/f.u."), Column("strained", "eV/f.u."), Column("strained", "meV/atom")),
        rows=(*rows, *others),
        note=f"hull: {hull.lowest}, lowest of what this study computes; strained: the film's bulk on the dot's cell.",
    )


def tabulate_cells(doc: StabilizationDoc) -> Table:
    """Return planes, common cell, strain and size of every interface that stands for a phase."""
    columns = (
        ("cell", "film:dot"),
        ("area", "Å²"),
        ("film strain", "%"),
        ("dot strain", "%"),
        ("film", "f.u."),
        ("size", "atoms"),
    )
    return Table(
        title=f"Interfaces with {name_facet(doc)}",
        heading="phase",
        columns=tuple(Column(*column) for column in columns),
        rows=tuple(Row(name_film(result), _write_cell(result)) for result in list_selected(doc)),
        note="cell: 1 × 1 surface cells; strain: principal values with the relaxed lattices, negative: compressed.",
    )


def _make_phase_row(doc: StabilizationDoc, phase: str, role: str) -> Row:
    result = find_selected(doc, phase)
    if result is None:
        return Row(f"{role} {phase}", write_numbers((None,) * len(TERM_COLUMNS)))
    return Row(f"{role} {name_film(result)}", write_numbers(_list_terms(count_from_lowest(doc, result))))


def _write_cell(result: CandidateResult) -> tuple[Cell, ...]:
    film, dot = (count_surface_cells(matrix) for matrix in (result.candidate.film_matrix, result.candidate.dot_matrix))
    return (
        Cell(f"{film}:{dot}", film),
        Cell("—" if result.area_ang2 is None else f"{result.area_ang2:.1f}", result.area_ang2),
        *(
            Cell(write_strains(s), _find_largest(s))
            for s in (result.film_principal_strains, result.dot_principal_strains)
        ),
        Cell(str(result.n_formula_units), result.n_formula_units),
        Cell("—" if result.n_atoms is None else str(result.n_atoms), result.n_atoms),
    )


def _find_largest(strains: Sequence[float] | None) -> float | None:
    return None if strains is None else max(map(abs, strains))


def _explain_zero(doc: StabilizationDoc) -> str:
    """Say what bulk and total are counted from, and what the sign of the difference means."""
    sides = find_sides(doc)
    films = [name for name in (name_side(sides.black), name_side(sides.competitor)) if name is not None]
    subject = f"black − competitor is {' − '.join(films)}" if len(films) == 2 else "black − competitor"
    sign = f"{subject}; negative favours the black phase."
    if doc.formula_version == 1:
        sign = f"{sign}\n{describe_coverage(doc).capitalize()} (qdip db upgrade, or qdip run)."
    if doc.bulk_basis is not None and doc.bulk_basis.is_anchored:
        sign = f"{sign}\n{doc.bulk_basis.finding}."
    lowest = find_lowest_bulk(doc)
    if lowest is None:
        return sign
    phase, energy_ev_per_fu = lowest
    return f"bulk and total: above the most stable bulk, {phase} ({write_signed(energy_ev_per_fu)} eV/f.u.).\n{sign}"


def _list_terms(terms: Terms) -> tuple[float | None, ...]:
    return tuple(terms[name] for name in TERM_COLUMNS)

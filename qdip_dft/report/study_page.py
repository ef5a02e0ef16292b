"""The report of one result as a page that stands alone: what a group reads, shows and hands to a referee."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING

from pydantic import JsonValue

from qdip_dft.analysis.numbers import write_signed
from qdip_dft.analysis.sentence import find_deciding_term, find_error_ev_per_fu, write_with_error
from qdip_dft.analysis.verdict import Verdict, judge
from qdip_dft.model.calculation import CalculationRecord, Freedom
from qdip_dft.model.resolution import COVERAGE_FACTOR, default_model_error_ev_per_fu
from qdip_dft.model.stabilization import CandidateResult, Check, StabilizationDoc
from qdip_dft.model.study import Environment
from qdip_dft.planning.study_files import write_study
from qdip_dft.report.cells import Cell, write_numbers
from qdip_dft.report.citations import list_citations, list_structures
from qdip_dft.report.error_tables import list_report_tables
from qdip_dft.report.explanation import explain, list_explanation_tables
from qdip_dft.report.figure import NARROW, WIDE, FigureKind, render_figure
from qdip_dft.report.figures import ReportFigure, list_figures
from qdip_dft.report.page import embed_figure, render_page
from qdip_dft.report.structure_view import InterfaceView, view_interface, write_address
from qdip_dft.report.summary import FORMULAE, list_steps
from qdip_dft.report.tables import Column, Row, Table
from qdip_dft.report.thickness_figure import ThicknessView, view_thickness
from qdip_dft.report.words import (
    LEVEL_NOTICES,
    describe,
    describe_coverage,
    find_compared,
    find_relative_total,
    list_remarks,
    list_selected,
    name_facet,
    name_film,
    say_why_lost,
)

if TYPE_CHECKING:
    from markupsafe import Markup

TEMPLATE = "study.html.j2"
VIEWER_SCRIPTS = ("3Dmol-min.js", "viewer.js")
SIZE_LIMIT_BYTES = 5_000_000
"""What a page may weigh, so that it can be sent by mail."""

_STRUCTURES_LIMIT_BYTES = 3_500_000
"""Share of it for pictures and structures; viewer, style and tables take about 0.8 MB."""

_SETTINGS = ("matching", "film", "dot")

_UNRESOLVED: tuple[JsonValue, ...] = (None, "auto", {}, [])
"""Values of a study that say no number: what was chosen for them stands elsewhere."""


@dataclass(frozen=True, slots=True)
class Fact:
    """A number that is seen first."""

    value: str
    meaning: str


@dataclass(frozen=True, slots=True)
class HowSure:
    """What stands beside the answer: whether it is decided, and what its ± is made of.

    Parameters
    ----------
    verdict
        The outcome in words.
    reason
        The difference against its error.
    parts
        The ± and its parts in eV per formula unit; empty where it is not known.
    not_sampled
        What was not sampled.
    """

    verdict: str
    reason: str
    parts: tuple[Fact, ...]
    not_sampled: str


@dataclass(frozen=True, slots=True)
class CheckGroup:
    """The checks of one candidate."""

    film: str
    checks: tuple[Check, ...]


def render_study_page(doc: StabilizationDoc, calculations: Mapping[str, CalculationRecord]) -> str:
    """Return the report of a result as one HTML text.

    Parameters
    ----------
    doc
        The result of a study on one dot facet.
    calculations
        Stored calculations by key; those that are missing leave their structure or line out.
    """
    explanation = explain(doc, calculations)
    interfaces, unseen = _view_interfaces(doc, calculations)
    thickness = view_thickness(doc, calculations)
    remarks = {remark.title: remark.lines for remark in list_remarks(doc)}
    citations = list_citations(doc)
    return render_page(
        TEMPLATE,
        scripts=VIEWER_SCRIPTS if interfaces else (),
        doc=doc,
        facet=name_facet(doc),
        facts=list_facts(doc, thickness),
        card=weigh(doc),
        notice=LEVEL_NOTICES[doc.level],
        method=describe(doc),
        tables=list_report_tables(doc),
        figures={figure.name: _embed(figure) for figure in list_figures(doc, thickness)},
        thickness=thickness,
        decision=explanation.decision,
        reasons=list_explanation_tables(explanation),
        how_sure=remarks.get("How sure", ()),
        interfaces=interfaces,
        scenes=[{"name": view.name, "elements": view.elements, **view.scene} for view in interfaces],
        unseen=unseen,
        candidates=tabulate_candidates(doc),
        absent=remarks.get("Phases without a valid candidate", ()),
        registries=remarks.get("Registries of the films", ()),
        warnings=remarks.get("Warnings", ()),
        check_groups=[CheckGroup(name_film(result), result.checks) for result in doc.candidates if result.checks],
        settings=list(list_settings(doc)),
        calculations=tabulate_calculations(doc, calculations),
        incidents=list(_list_incidents(doc, calculations)),
        formulae=FORMULAE,
        study_file=write_study(doc.study),
        study_file_name=f"{doc.study.name}.yaml",
        own_files=_list_own_files(doc),
        commands=write_commands(doc),
        citations=citations,
        bibtex="\n\n".join(citation.bibtex for citation in citations),
        structures=list_structures(doc),
    )


def list_facts(doc: StabilizationDoc, thickness: ThicknessView | None) -> list[Fact]:
    """Return the numbers that are seen first: difference, deciding term, critical thickness."""
    facts = []
    difference = doc.stabilization
    if difference.total_ev_per_fu is not None:
        error_ev_per_fu = find_error_ev_per_fu(doc.uncertainty)
        value = f"{write_with_error(difference.total_ev_per_fu, error_ev_per_fu, is_signed=True)} eV/f.u."
        facts.append(Fact(value, f"black − competitor at {describe_coverage(doc)}; negative favours black"))
    if difference.interface is not None:
        value = f"{write_signed(difference.interface.interface_mev_per_ang2, decimals=1)} meV/Å²"
        joule = write_signed(difference.interface.interface_j_per_m2)
        facts.append(Fact(value, f"Δσ per area of dot at any coverage ({joule} J/m²)"))
    deciding = find_deciding_term(difference)
    if deciding is not None and not _is_undecided(doc):
        term_ev_per_fu = getattr(difference, f"{deciding}_ev_per_fu")
        facts.append(Fact(deciding, f"decides, with {write_signed(term_ev_per_fu)} eV/f.u."))
    if thickness is not None:
        words = f"{thickness.critical_nm:.1f} nm" if thickness.is_reached else "none"
        basis = "from one thickness each" if thickness.errors is None else "interval below"
        facts.append(Fact(words, f"critical thickness of the black film, {basis}"))
    facts.append(Fact(str(len(doc.candidates)), f"interfaces compared, {len(doc.dropped)} not built"))
    return facts


def weigh(doc: StabilizationDoc) -> HowSure:
    """Return whether the answer is decided, its ± with both parts, and what was not sampled."""
    stated, total = doc.uncertainty, doc.stabilization.total_ev_per_fu
    error = find_error_ev_per_fu(stated)
    verdict = judge(doc)
    if stated is None or error is None:
        missing = "" if stated is None else ", ".join(stated.not_estimated)
        assumed = default_model_error_ev_per_fu(doc.level)
        words = f"no ± is stated; a model error of {assumed:.2f} eV/f.u. is assumed" if assumed else "no ± is stated"
        return HowSure(verdict, words, (), missing)
    numbers = [("one standard uncertainty", error), ("numerical part", stated.difference.total_ev_per_fu)]
    if stated.model_error is not None:
        numbers.append(("model part", stated.model_error.total_ev_per_fu))
    reason = (
        ""
        if total is None
        else (f"the difference is {abs(total) / error:.1f} standard uncertainties; decided above {COVERAGE_FACTOR:g}")
    )
    parts = tuple(Fact(f"{'' if index else '± '}{value:.3f}", name) for index, (name, value) in enumerate(numbers))
    return HowSure(verdict, reason, parts, ", ".join(stated.not_estimated))


def _is_undecided(doc: StabilizationDoc) -> bool:
    return judge(doc) is Verdict.UNDECIDED


def tabulate_candidates(doc: StabilizationDoc) -> Table:
    """Return every candidate with its total and what became of it."""
    rows = [
        Row(
            name_film(result),
            (
                Cell(result.candidate.role.value),
                *write_numbers((find_relative_total(doc, result),)),
                Cell(_say_outcome(doc, result)),
            ),
        )
        for result in doc.candidates
    ]
    dropped = [
        Row(
            d.title.film_side,
            (Cell("—"), Cell("—"), Cell(f"not built: {d.reason.removeprefix(f'{d.label}: ')}")),
        )
        for d in doc.dropped
    ]
    return Table(
        title=f"Candidates on {name_facet(doc)}",
        heading="film",
        columns=(Column("role", ""), Column("total", "eV/f.u."), Column("outcome", "")),
        rows=(*rows, *dropped),
        note=f"total at {describe_coverage(doc)}, above the most stable bulk. Each phase takes its lowest total there; "
        "everything tried stays visible.",
    )


def _say_outcome(doc: StabilizationDoc, result: CandidateResult) -> str:
    if result in find_compared(doc):
        return "compared"
    return "lowest of its phase" if result in list_selected(doc) else say_why_lost(doc, result)


def list_settings(doc: StabilizationDoc) -> Iterator[tuple[str, str]]:
    """Yield what the numbers depend on, as names and values: level of theory, study, versions, hashes.

    Only what was used: a choice that the study left open is given as it was resolved.
    """
    if doc.theory is not None:
        theory = doc.theory
        yield "code", f"{theory.code} ({theory.code_version})"
        yield "functional", theory.functional
        yield "dispersion", theory.dispersion
        yield "SHA-256 of weights or pseudopotentials", theory.weights_hash
        yield from ((name, _write_value(value)) for name, value in sorted(theory.settings.items()))
    yield from ((f"relaxation: {name}", _write_value(value)) for name, value in doc.relaxation_settings.items())
    content = doc.study.model_dump(mode="json")
    for section in _SETTINGS:
        used = {name: value for name, value in content[section].items() if value not in _UNRESOLVED}
        yield from ((f"{section}: {name}", _write_value(value)) for name, value in used.items())
    if doc.study.matching.strain_partition == "auto":
        for result in find_compared(doc):
            yield f"strain_partition of {name_film(result)}", f"{result.candidate.strain_partition:.3f}"
    yield "preset", doc.study.engine.preset.value
    yield "environment", doc.study.environment.value
    if doc.study.environment is Environment.CAPPED:
        yield "vacuum_ang", _write_value(doc.study.vacuum_ang)
    yield from ((f"version of {name}", version) for name, version in doc.versions.items())
    yield "document", f"schema {doc.schema_version}, formula {doc.formula_version}, made {doc.created_at}"


def _write_value(value: JsonValue) -> str:
    if value is None:
        return "none"
    if isinstance(value, list):
        return ", ".join(f"({_write_value(part)})" if isinstance(part, list) else _write_value(part) for part in value)
    if isinstance(value, dict):
        return ", ".join(f"{name} {_write_value(part)}" for name, part in value.items() if part is not None) or "none"
    return str(value)


def tabulate_calculations(doc: StabilizationDoc, calculations: Mapping[str, CalculationRecord]) -> Table:
    """Return every calculation of a result with its size, its end and the beginning of its key."""
    rows = [Row(name, _describe_calculation(key, calculations.get(key))) for name, key in list_steps(doc).items()]
    names = (
        ("atoms", ""),
        ("moved", ""),
        ("steps", ""),
        ("largest force", "eV/Å"),
        ("time", "s"),
        ("state", ""),
        ("key", ""),
    )
    return Table(
        title="Calculations",
        heading="calculation",
        columns=tuple(Column(*name) for name in names),
        rows=tuple(rows),
        note="key: first twelve digits of the SHA-256 under which the calculation is stored.",
    )


def _describe_calculation(key: str, record: CalculationRecord | None) -> tuple[Cell, ...]:
    short = Cell(key[:12])
    if record is None or record.result is None:
        state = "not at hand" if record is None else f"failed: {record.failure}"
        return (*(Cell("—") for _ in range(5)), Cell(state), short)
    result = record.result
    freedom = "nothing" if record.task.freedom is Freedom.NONE else record.task.freedom.value.replace("_", " ")
    return (
        Cell(str(result.structure.n_atoms), result.structure.n_atoms),
        Cell(freedom),
        Cell(str(result.n_steps), result.n_steps),
        Cell(f"{result.max_force_ev_per_ang:.3f}", result.max_force_ev_per_ang),
        Cell(f"{result.wall_time_s:.1f}", result.wall_time_s),
        Cell("converged" if result.is_converged else "not converged"),
        short,
    )


def _list_incidents(doc: StabilizationDoc, calculations: Mapping[str, CalculationRecord]) -> Iterator[str]:
    """Yield the corrections and warnings of the calculations, each with its step."""
    for name, key in list_steps(doc).items():
        record = calculations.get(key)
        if record is not None and record.result is not None:
            yield from (f"{name}: corrected: {text}" for text in record.result.corrections)
            yield from (f"{name}: {text}" for text in record.result.warnings)


def write_commands(doc: StabilizationDoc) -> str:
    """Return the commands that make the result again from the study file."""
    name = doc.study.name
    return f"qdip run {name}.yaml --results {name}-again\nqdip report {doc.id} --results {name}-again\n"


def _list_own_files(doc: StabilizationDoc) -> tuple[str, ...]:
    """Return the structure files of the user that the study reads: they do not travel with it."""
    known = {entry.id for entry in list_structures(doc)}
    products = () if doc.study.decomposition is None else doc.study.decomposition.products
    names = dict.fromkeys((doc.study.dot.material, *(phase.phase for phase in doc.study.phases), *products))
    return tuple(PurePath(name).name for name in names if name not in known)


def _view_interfaces(
    doc: StabilizationDoc, calculations: Mapping[str, CalculationRecord]
) -> tuple[list[InterfaceView], list[str]]:
    """Return the views that fit on the page, the compared ones first, and the names of those that do not."""
    views: list[InterfaceView] = []
    unseen: list[str] = []
    for result in _order_by_interest(doc):
        view = view_interface(doc, result, calculations)
        if view is None:
            continue
        if sum(v.size_bytes for v in views) + view.size_bytes > _STRUCTURES_LIMIT_BYTES:
            unseen.append(view.name)
        else:
            views.append(view)
    return views, unseen


def _order_by_interest(doc: StabilizationDoc) -> Iterable[CandidateResult]:
    compared, selected = find_compared(doc), list_selected(doc)
    return sorted(doc.candidates, key=lambda result: (result not in compared, result not in selected))


@dataclass(frozen=True, slots=True)
class EmbeddedFigure:
    """A figure on a page: for wide and for narrow screens, and as a file to save."""

    wide: Markup
    narrow: Markup
    address: str
    file_name: str


def _embed(figure: ReportFigure) -> EmbeddedFigure:
    wide, narrow = (render_figure(figure.draw(shape), FigureKind.SVG) for shape in (WIDE, NARROW))
    words = {"title": figure.title, "description": figure.description}
    return EmbeddedFigure(
        embed_figure(wide, name=f"{figure.name}-wide", **words),
        embed_figure(narrow, name=f"{figure.name}-narrow", **words),
        write_address("image/svg+xml", wide),
        f"{figure.name}.svg",
    )

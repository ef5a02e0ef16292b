"""A result document in words: what stands for each phase, what was left out and why, and what a reader must know.

Terminal, figure and page say the same because they take it from here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from qdip_dft.analysis.checks import describe_place
from qdip_dft.analysis.coverage import compared_terms, find_bulk
from qdip_dft.analysis.numbers import write_signed
from qdip_dft.analysis.sides import find_sides, list_uncompared
from qdip_dft.model.calculation import Level, LevelOfTheory
from qdip_dft.model.stabilization import CandidateResult, DecompositionResult, StabilizationDoc
from qdip_dft.model.study import PhaseRole
from qdip_dft.model.terms import Terms
from qdip_dft.model.uncertainty import ErrorPart, Uncertainty, VariationKind, VariedFilm
from qdip_dft.report.summary import find_selected
from qdip_dft.units import MEV_PER_EV

ROLE_WORDS = {PhaseRole.BLACK: "black", PhaseRole.COMPETITOR: "yellow"}
"""The sides of the comparison as they are called in tables, figures and sentences."""

LEVEL_NOTICES = {
    Level.TEST: "Level: test. A toy potential computed these numbers; they have no physical meaning.",
    Level.SCREENING: "Level: screening. A machine-learned potential computed these numbers; "
    "they are not for publication without a DFT check.",
    Level.COMPOSITE: "Level: DFT energies at geometries from a machine-learned potential; "
    "what its lattices leave behind is among the checks.",
    Level.DFT: "Level: DFT.",
}
"""What a reader must know about the level of theory."""

_DISPERSION_WORDS = {"none": "", "d3bj": " + D3(BJ)"}
_PERCENT = 100.0


@dataclass(frozen=True, slots=True)
class Remark:
    """A list below the tables.

    Parameters
    ----------
    title
        What is listed.
    lines
        The items, at least one.
    """

    title: str
    lines: tuple[str, ...]


def describe(doc: StabilizationDoc) -> str:
    """Return the level of theory in one line."""
    if doc.theory is None:
        return "Nothing was computed."
    method = f"engine {doc.theory.engine}, preset {doc.study.engine.preset.value}, {describe_theory(doc.theory)}"
    if doc.geometry_theory is not None:
        method += f"; geometries: engine {doc.geometry_theory.engine}, {describe_theory(doc.geometry_theory)}"
    return f"Level {doc.level.value}: {method}."


def describe_theory(theory: LevelOfTheory) -> str:
    """Return code, version, functional and dispersion, such as ``SevenNet-0 sevenn 0.13.0 (PBE + D3(BJ))``."""
    dispersion = _DISPERSION_WORDS.get(theory.dispersion, f" + {theory.dispersion}")
    spin_orbit = " + spin-orbit" if theory.settings.get("spin_orbit") else ""
    return f"{theory.code} {theory.code_version} ({theory.functional}{dispersion}{spin_orbit})"


def name_facet(doc: StabilizationDoc) -> str:
    """Return dot and facet, such as ``PbS(111)``."""
    return doc.facet


def name_film(result: CandidateResult) -> str:
    """Return the film of a candidate as its label writes it, such as ``FAPbI3-alpha(100)``."""
    return result.candidate.title.film_side


def name_film_and_termination(result: CandidateResult) -> str:
    """Return the film with its termination, such as ``CsPbI3-alpha(100), PbI2|CsI``; once where the label has it."""
    film, termination = name_film(result), "|".join(result.candidate.faces)
    return film if termination in film else f"{film}, {termination}"


def list_selected(doc: StabilizationDoc) -> tuple[CandidateResult, ...]:
    """Return the candidates that stand for the phases, black ones first."""
    return (*doc.selected(PhaseRole.BLACK), *doc.selected(PhaseRole.COMPETITOR))


def find_compared(doc: StabilizationDoc) -> tuple[CandidateResult, ...]:
    """Return the two candidates of the difference, the black one first; fewer where a side is missing."""
    return find_sides(doc).films


def write_strains(strains: Sequence[float] | None) -> str:
    """Return principal strains in percent, such as ``−4.8, −1.0``."""
    return "—" if strains is None else ", ".join(write_signed(_PERCENT * strain, decimals=1) for strain in strains)


def find_lowest_bulk(doc: StabilizationDoc) -> tuple[str, float] | None:
    """Return the phase with the most stable bulk and its energy in eV per formula unit."""
    bulks = [(bulk, r.candidate.phase) for r in doc.candidates if (bulk := find_bulk(r)) is not None]
    if doc.decomposition is not None and doc.decomposition.bulk_ev_per_fu is not None:
        bulks.append((doc.decomposition.bulk_ev_per_fu, doc.decomposition.label))
    if not bulks:
        return None
    energy_ev_per_fu, phase = min(bulks)
    return phase, energy_ev_per_fu


def count_from_lowest(doc: StabilizationDoc, result: CandidateResult | DecompositionResult) -> Terms:
    """Return the compared terms of a side with bulk and total counted from the most stable bulk."""
    terms, above = compared_terms(doc, result), result.bulk_above_lowest_ev_per_fu
    bulk, total = terms.bulk_ev_per_fu, terms.total_ev_per_fu
    is_known = bulk is not None and total is not None and above is not None
    moved = total - bulk + above if is_known else None  # type: ignore[operator]
    return terms.model_copy(update={"bulk_ev_per_fu": above, "total_ev_per_fu": moved})


def find_relative_total(doc: StabilizationDoc, result: CandidateResult | DecompositionResult) -> float | None:
    """Return the compared total counted from the most stable bulk, in eV per formula unit."""
    return count_from_lowest(doc, result).total_ev_per_fu


def describe_coverage(doc: StabilizationDoc) -> str:
    """Return at which coverage the terms of a result are, such as ``n* = 0.0505 f.u./Å²``."""
    if doc.formula_version == 1:
        return "formula version 1: every film at its own n; not comparable with version 2"
    coverage = doc.stabilization.coverage_fu_per_ang2
    return "no coverage: nothing is valid" if coverage is None else f"n* = {coverage:.4f} f.u./Å²"


def list_remarks(doc: StabilizationDoc) -> tuple[Remark, ...]:
    """Return what stands beside the tables: absent phases, losers, what was not built, where films lie, warnings."""
    remarks = (
        ("How sure", list(say_how_sure(doc))),
        ("Phases without a valid candidate", _list_absent_phases(doc)),
        ("Other candidates", _list_losers(doc)),
        ("Candidates that were not built", [f"{dropped.label}: {dropped.reason}" for dropped in doc.dropped]),
        ("Registries of the films", _list_registries(doc)),
        ("Warnings", _list_warnings(doc)),
    )
    return tuple(Remark(title, tuple(lines)) for title, lines in remarks if lines)


def say_how_sure(doc: StabilizationDoc) -> Iterator[str]:
    """Yield what a reader must know about the error bar: what is not in it, and what follows from it."""
    stated = doc.uncertainty
    if doc.bulk_basis is not None and doc.study.has_competitor:
        yield doc.bulk_basis.finding
    uncompared = list_uncompared(doc.study, doc.candidates)
    if uncompared:
        yield f"not compared, and perhaps lower: {', '.join(uncompared)} (see the candidates below)"
    if stated is None:
        return
    missing = ", ".join(stated.not_estimated)
    if not stated.is_stated:
        yield f"no error bar: not sampled are {missing} (film.thicknesses and uncertainty of the study)"
        return
    if missing:
        sizes = "counted with default sizes" if stated.model_error is not None else "not in the error bar"
        yield f"not sampled, {sizes}: {missing}"
    yield from (
        f"{each.name}, {each.difference.total_ev_per_fu:.3f} eV/f.u.: {each.finding}"
        for each in stated.components
        if each.part is ErrorPart.MODEL and each.difference is not None
    )
    yield from _say_what_was_varied(doc, stated)


def _say_what_was_varied(doc: StabilizationDoc, stated: Uncertainty) -> Iterator[str]:
    for compared in find_sides(doc).films:
        if compared.lowest_choice is not None:
            yield f"{name_film(compared)} is taken with its {compared.lowest_choice.name}, the lowest computed"
    for film in stated.samples:
        varied = doc.find_candidate(film.film_id)
        if film.faults and varied is not None:
            yield f"{name_film(varied)}, {film.tag}, is left out: {film.faults[0]}"
        elif film.kind is VariationKind.COUNTERPOISE and varied is not None:
            yield _say_what_is_borrowed(film, varied)
    layer = stated.one_more_layer
    if layer is not None:
        yield (
            f"one more layer changes black − competitor by {write_signed(layer.change_ev_per_fu)} eV/f.u. at the "
            f"same coverage; the numerical part of the error bar is {stated.difference.total_ev_per_fu:.3f}"
        )
    yield from (
        f"{model.name}: black − competitor {write_signed(model.total_ev_per_fu)} eV/f.u." for model in stated.models
    )
    if stated.critical is not None:
        yield stated.critical.finding


def _say_what_is_borrowed(corrected: VariedFilm, film: CandidateResult) -> str:
    """Say how much of the binding of a film is functions that it and the dot borrow from each other."""
    binding, own = corrected.binding_ev_per_fu or 0.0, film.binding_ev_per_fu or 0.0
    borrowed_ev = (binding - own) * film.n_formula_units
    coverage = MEV_PER_EV * (film.coverage_fu_per_ang2 or 0.0)
    return (
        f"{name_film(film)}: basis functions that dot and film borrow from each other (BSSE) bind by {borrowed_ev:.3f}"
        f" eV per interface cell; without them binding is {write_signed(coverage * binding, decimals=1)} instead of"
        f" {write_signed(coverage * own, decimals=1)} meV/Å²; the answer is not corrected"
    )


def _list_registries(doc: StabilizationDoc) -> list[str]:
    """Return what the registry scan of each film found."""
    scanned = ((result, result.registry) for result in doc.candidates)
    return [f"{name_film(result)}: {describe_place(found)}" for result, found in scanned if found is not None]


def _list_absent_phases(doc: StabilizationDoc) -> list[str]:
    absent = (phase for phase in doc.study.phases if find_selected(doc, phase.phase) is None)
    return [f"{ROLE_WORDS[phase.role]} {phase.phase}, planes {', '.join(phase.planes)}" for phase in absent]


def _list_losers(doc: StabilizationDoc) -> list[str]:
    return [f"{name_film(result)}: {say_why_lost(doc, result)}" for result in doc.candidates if not result.is_selected]


def say_why_lost(doc: StabilizationDoc, result: CandidateResult) -> str:
    """Say how far a candidate lies above the selected one of its phase, or why it is left out."""
    if not result.is_valid:
        return f"left out: {'; '.join(result.faults)}"
    total_ev_per_fu = f"total {write_signed(find_relative_total(doc, result))} eV/f.u."
    winner = find_selected(doc, result.candidate.phase)
    own = compared_terms(doc, result).total_ev_per_fu
    lowest = None if winner is None else compared_terms(doc, winner).total_ev_per_fu
    if winner is None or lowest is None or own is None:
        return total_ev_per_fu
    above_ev_per_fu = own - lowest
    is_pinned = doc.study.find_pinned_plane(result.candidate.phase) not in {None, result.candidate.film_plane}
    pinned = ", whose plane the study pins" if is_pinned else ""
    return f"{total_ev_per_fu}, {write_signed(above_ev_per_fu)} against {name_film(winner)}{pinned}"


def _list_warnings(doc: StabilizationDoc) -> list[str]:
    """Return the failed checks that left their candidate in the comparison."""
    return [
        f"{name_film(result)}, {check.name}: {check.finding}"
        for result in doc.candidates
        for check in result.checks
        if not check.is_passed and not check.is_decisive
    ]

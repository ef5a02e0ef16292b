"""Results side by side, and their differences where a difference is an energy of something.

Two results A and B may be subtracted, term by term, if both are at one level of theory, by one definition of the terms,
and per formula unit of one compound: then

    B − A = e_term(B) − e_term(A)     (eV per formula unit, or per area of interface)

is an energy of that compound at that level.  Total energies of two levels have different zero points, and formula units
of two hosts hold different atoms: such results are only shown side by side.  A stabilization (black − competitor) is a
difference within its own level, so those of two levels may stand side by side, but are not subtracted either: what is
left would be the disagreement of two methods, not an energy.

Results that are subtracted from each other are evaluated at one coverage, the smallest n* of them; one that is only
shown keeps its own, and one of formula version 1 its films' own terms.

Bulk and total are counted from the most stable bulk of all results that may be subtracted from each other, so that each
difference is that of the two numbers beside it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from qdip_dft.analysis.comparability import HASH_DIGITS, find_obstacle, flatten, name_bulk
from qdip_dft.analysis.coverage import Side, evaluate_terms, find_bulk
from qdip_dft.analysis.sides import find_sides, name_side, subtract_sides
from qdip_dft.errors import QdipError, ResultsError
from qdip_dft.model.resolution import find_limit_ev_per_fu
from qdip_dft.model.stabilization import CandidateResult, DecompositionResult, StabilizationDoc
from qdip_dft.model.study import PhaseRole
from qdip_dft.model.term_names import TERM_COLUMNS
from qdip_dft.model.terms import Terms
from qdip_dft.units import EV_PER_ANG2_IN_J_PER_M2, MEV_PER_EV

PER_FU, PER_AREA_MEV, PER_AREA_J = "eV/f.u.", "meV/Å²", "J/m²"

_AREA_LINES = (
    ("surface", PER_AREA_MEV, "surface_mev_per_ang2"),
    ("surface", PER_AREA_J, "surface_j_per_m2"),
    ("binding", PER_AREA_MEV, "binding_mev_per_ang2"),
    ("binding", PER_AREA_J, "binding_j_per_m2"),
    ("work of separation", PER_AREA_J, "work_of_separation_j_per_m2"),
    ("σ", PER_AREA_MEV, "interface_mev_per_ang2"),
)
_J_PER_M2_OF_MEV_PER_ANG2 = EV_PER_ANG2_IN_J_PER_M2 / MEV_PER_EV
_PRINTED_MEV_PER_ANG2 = 0.1
"""Last printed digit of an energy per area; smaller differences do not show."""
_UNCOMPARED = {"name", "question", "variant", "schema_version", "phases", "bulk"}


@dataclass(frozen=True, slots=True)
class Line:
    """One quantity of all results.

    Parameters
    ----------
    name, unit
        Such as ``binding`` and ``eV/f.u.``.
    values
        One of each result; None where it is missing.
    differences
        Each further result minus the first; None where one is missing or they may not be subtracted.
    threshold
        Differences above it are decided: larger than twice the model error of the level, in the same unit.
    """

    name: str
    unit: str
    values: tuple[float | None, ...]
    differences: tuple[float | None, ...]
    threshold: float

    @property
    def is_marked(self) -> tuple[bool, ...]:
        """Return which differences are larger than twice the model error of the level."""
        return tuple(difference is not None and abs(difference) > self.threshold for difference in self.differences)


@dataclass(frozen=True, slots=True)
class Section:
    """The lines of one phase, or of black − competitor.

    Parameters
    ----------
    title
        Such as ``black FAPbI3-alpha``.
    films
        What stands for it in each result, such as ``FAPbI3-alpha(100)``; None where nothing does.
    lines
        Its quantities.
    """

    title: str
    films: tuple[str | None, ...]
    lines: tuple[Line, ...]


@dataclass(frozen=True, slots=True)
class Setting:
    """One choice of all results, in words; ``—`` where a result has none.

    Parameters
    ----------
    name
        Such as ``facet`` or ``film.min_thickness_ang``.
    values
        One of each result.
    """

    name: str
    values: tuple[str, ...]

    @property
    def differs(self) -> bool:
        """Return whether not all results have the same."""
        return len(set(self.values)) > 1


@dataclass(frozen=True, slots=True)
class Comparison:
    """Several results side by side.

    Parameters
    ----------
    documents
        The results; differences are taken from the first.
    settings
        What was asked of each.
    stabilization
        Black − competitor.
    phases
        Each phase; where the hosts differ, each side of the comparison.
    obstacles
        Why a further result is not subtracted from the first, one for each; None where it is.
    coverages_fu_per_ang2
        Where each result is evaluated; None in formula version 1.
    """

    documents: tuple[StabilizationDoc, ...]
    settings: tuple[Setting, ...]
    stabilization: Section
    phases: tuple[Section, ...]
    obstacles: tuple[QdipError | None, ...]
    coverages_fu_per_ang2: tuple[float | None, ...]

    @property
    def letters(self) -> tuple[str, ...]:
        """Return a short name of each result, ``A`` for the first."""
        return tuple(name_result(index) for index in range(len(self.documents)))


def compare_results(documents: Sequence[StabilizationDoc]) -> Comparison:
    """Return results side by side, with differences from the first where they may be taken.

    Parameters
    ----------
    documents
        At least two results.

    Raises
    ------
    ResultsError
        If there are fewer than two results, or one is given twice.
    """
    _require_several(documents)
    obstacles = tuple(
        find_obstacle(documents[0], other, names=(name_result(0), name_result(index)))
        for index, other in enumerate(documents[1:], start=1)
    )
    zeros = [_find_zero(documents, document) for document in documents]
    coverages = _choose_coverages(documents, obstacles)
    sides = [_Results(documents, obstacles, zeros, coverages, title, found) for title, found in _list_phases(documents)]
    return Comparison(
        documents=tuple(documents),
        settings=_list_settings(documents),
        stabilization=_compare_stabilizations(documents, obstacles, coverages),
        phases=tuple(side.to_section() for side in sides),
        obstacles=obstacles,
        coverages_fu_per_ang2=tuple(coverages),
    )


def _choose_coverages(
    documents: Sequence[StabilizationDoc], obstacles: Sequence[QdipError | None]
) -> list[float | None]:
    """Return the smallest n* for all results that are subtracted, and its own for every other one."""
    own = [document.stabilization.coverage_fu_per_ang2 for document in documents]
    is_subtracted = [any(obstacle is None for obstacle in obstacles), *(obstacle is None for obstacle in obstacles)]
    shared = [n for n, is_in in zip(own, is_subtracted, strict=True) if is_in and n is not None]
    return [min(shared) if is_in and n is not None else n for n, is_in in zip(own, is_subtracted, strict=True)]


def name_result(index: int) -> str:
    """Return the letter of a result; after Z they are numbered."""
    return chr(ord("A") + index) if index < 26 else f"R{index + 1}"


def _require_several(documents: Sequence[StabilizationDoc]) -> None:
    ids = [document.id for document in documents]
    if len(ids) >= 2 and len(set(ids)) == len(ids):
        return
    raise ResultsError(
        f"results to compare: {', '.join(ids) or 'none'}",
        limit="two or more different results",
        why="a result compared with itself says nothing",
        remedy="name two results; qdip query lists those that are stored",
    )


def _list_settings(documents: Sequence[StabilizationDoc]) -> tuple[Setting, ...]:
    """Return the main choices of each result, and every other one in which they differ."""
    main = [_describe_main(document) for document in documents]
    others = [_describe_others(document) for document in documents]
    rest = [Setting(name, tuple(other.get(name, "—") for other in others)) for name in dict.fromkeys(
        name for other in others for name in other)]  # fmt: skip
    shown = [Setting(name, tuple(str(values[name]) for values in main)) for name in main[0]]
    return (*shown, *(setting for setting in rest if setting.differs))


def _describe_main(document: StabilizationDoc) -> dict[str, str]:
    theory, sides = document.theory, find_sides(document)
    functional = "—" if theory is None else f"{theory.functional}, dispersion {theory.dispersion}"
    coverage = document.stabilization.coverage_fu_per_ang2
    return {
        "dot": document.study.dot.material,
        "facet": document.dot_plane,
        "host": document.study.host,
        "level": document.level.value,
        "engine": document.study.engine.name,
        "preset": document.study.engine.preset.value,
        "code": "—" if theory is None else f"{theory.code} {theory.code_version}",
        "functional": functional,
        "bulk": name_bulk(document),
        "black": name_side(sides.black) or "—",
        "competitor": name_side(sides.competitor) or "—",
        "n* (f.u./Å²)": "each film's own" if coverage is None else f"{coverage:.4f}",
        "formula version": str(document.formula_version),
    }


def _describe_others(document: StabilizationDoc) -> dict[str, str]:
    study = document.study.model_dump(mode="json", exclude=_UNCOMPARED)
    del study["host"], study["dot"]["material"], study["dot"]["facets"], study["engine"]["name"]
    del study["engine"]["preset"]
    settings = {} if document.theory is None else dict(flatten(document.theory.settings, "theory."))
    weights = {} if document.theory is None else {"weights": document.theory.weights_hash[:HASH_DIGITS]}
    return {**dict(flatten(study)), **settings, **weights}


def _find_zero(documents: Sequence[StabilizationDoc], document: StabilizationDoc) -> float:
    """Return the lowest bulk of all results that a result may be subtracted from, in eV per formula unit."""
    family = [other for other in documents if other is document or find_obstacle(document, other) is None]
    sides: list[Side] = [side for other in family for side in other.candidates]
    sides += [other.decomposition for other in family if other.decomposition is not None]
    return min((bulk for side in sides if (bulk := find_bulk(side)) is not None), default=0.0)


def _list_phases(documents: Sequence[StabilizationDoc]) -> list[tuple[str, list[Side | None]]]:
    """Return each phase with what stands for it in every result; by its role where the hosts differ."""
    if len({document.study.host for document in documents}) > 1:
        return [(role.value, [_find_compared(document, role) for document in documents]) for role in PhaseRole]
    phases = {phase.phase: phase.role for document in documents for phase in document.study.phases}
    found: list[tuple[str, list[Side | None]]] = [
        (f"{role.value} {phase}", [_find_selected(document, phase) for document in documents])
        for phase, role in sorted(phases.items(), key=lambda item: item[1] is not PhaseRole.BLACK)
    ]
    products = dict.fromkeys(d.decomposition.label for d in documents if d.decomposition is not None)
    return found + [(f"decomposition {label}", [_find_products(d, label) for d in documents]) for label in products]


def _find_selected(document: StabilizationDoc, phase: str) -> CandidateResult | None:
    return next((r for r in document.candidates if r.is_selected and r.candidate.phase == phase), None)


def _find_products(document: StabilizationDoc, label: str) -> DecompositionResult | None:
    products = document.decomposition
    return products if products is not None and products.label == label else None


def _find_compared(document: StabilizationDoc, role: PhaseRole) -> Side | None:
    sides = find_sides(document)
    return sides.black if role is PhaseRole.BLACK else sides.competitor


def _compare_stabilizations(
    documents: Sequence[StabilizationDoc],
    obstacles: Sequence[QdipError | None],
    coverages: Sequence[float | None],
) -> Section:
    resolution = _find_limit(documents)
    answers = [
        d.stabilization if n is None else subtract_sides(find_sides(d), n)
        for d, n in zip(documents, coverages, strict=True)
    ]
    rows = [(name, tuple(answer[name] for answer in answers)) for name in TERM_COLUMNS]
    lines = [_make_line(name, PER_FU, values, obstacles, threshold=resolution) for name, values in rows]
    for unit, field in ((PER_AREA_MEV, "interface_mev_per_ang2"), (PER_AREA_J, "interface_j_per_m2")):
        sigma = tuple(None if a.interface is None else getattr(a.interface, field) for a in answers)
        factor = 1.0 if unit == PER_AREA_MEV else _J_PER_M2_OF_MEV_PER_ANG2
        threshold = factor * max(resolution * MEV_PER_EV * (coverages[0] or 0.0), _PRINTED_MEV_PER_ANG2)
        lines.append(_make_line("σ", unit, sigma, obstacles, threshold=threshold))
    films = tuple(f"{name_side(s.black) or '—'} − {name_side(s.competitor) or '—'}" for s in map(find_sides, documents))
    return Section("black − competitor", films, tuple(lines))


def _find_limit(documents: Sequence[StabilizationDoc]) -> float:
    """Above which a difference of two results is decided: each has the error that its own document states."""
    errors = [document.uncertainty for document in documents]
    stated = [each.total_ev_per_fu for each in errors if each is not None and each.model_error is not None]
    if len(stated) < len(errors):
        return find_limit_ev_per_fu(documents[0].level)
    return find_limit_ev_per_fu(documents[0].level, model_ev_per_fu=max(stated))


@dataclass(frozen=True, slots=True)
class _Results:
    """What stands for one phase in every result, on its way to a section."""

    documents: Sequence[StabilizationDoc]
    obstacles: Sequence[QdipError | None]
    zeros: Sequence[float]
    coverages: Sequence[float | None]
    title: str
    sides: Sequence[Side | None]

    def to_section(self) -> Section:
        films = tuple(name_side(side) for side in self.sides)
        lines = [*self._list_term_lines(), *self._list_area_lines()]
        return Section(self.title, films, tuple(lines))

    def _list_term_lines(self) -> Iterator[Line]:
        resolution = _find_limit(self.documents)
        terms = [
            side if side is None or n is None else evaluate_terms(side, n)
            for side, n in zip(self.sides, self.coverages, strict=True)
        ]
        for name in TERM_COLUMNS:
            values = tuple(_read_above(side, name, zero) for side, zero in zip(terms, self.zeros, strict=True))
            yield _make_line(name, PER_FU, values, self.obstacles, threshold=resolution)

    def _list_area_lines(self) -> Iterator[Line]:
        films = [side if isinstance(side, CandidateResult) else None for side in self.sides]
        if not any(films):
            return
        resolution_ev_per_fu = _find_limit(self.documents)
        largest = max((film.coverage_fu_per_ang2 or 0.0 for film in films if film is not None), default=0.0)
        resolution_mev_per_ang2 = max(resolution_ev_per_fu * MEV_PER_EV * largest, _PRINTED_MEV_PER_ANG2)
        for name, unit, field in _AREA_LINES:
            values = tuple(None if film is None else getattr(film, field) for film in films)
            factor = 1.0 if unit == PER_AREA_MEV else _J_PER_M2_OF_MEV_PER_ANG2
            yield _make_line(name, unit, values, self.obstacles, threshold=factor * resolution_mev_per_ang2)


def _read_above(side: Terms | None, name: str, zero_ev_per_fu: float) -> float | None:
    """Return a term; bulk and total counted from the common zero."""
    value = None if side is None else side[name]
    return value if value is None or name not in {"bulk", "total"} else value - zero_ev_per_fu


def _make_line(
    name: str,
    unit: str,
    values: tuple[float | None, ...],
    obstacles: Sequence[QdipError | None],
    *,
    threshold: float,
) -> Line:
    first, *others = values
    differences = tuple(
        None if obstacle is not None or first is None or other is None else other - first
        for other, obstacle in zip(others, obstacles, strict=True)
    )
    return Line(name, unit, values, differences, threshold)

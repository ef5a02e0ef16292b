"""A stabilization document as one plain mapping: what ``report.json`` and ``qdip report --json`` print.

Numbers are printed in full, so that bulk + strain + surface + binding = total holds on them to 1e-9 eV.
"""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import JsonValue

from qdip_dft.analysis.coverage import compared_terms
from qdip_dft.model.calculation import CalculationRecord
from qdip_dft.model.orientation import count_surface_cells
from qdip_dft.model.stabilization import CandidateResult, StabilizationDoc
from qdip_dft.model.structure import StructureRecord
from qdip_dft.model.study import PhaseSpec
from qdip_dft.units import EV_PER_ANG2_IN_J_PER_M2, MEV_PER_EV

FORMULAE = {
    "n": "N / A, formula units of the host per area of dot; the film's own",
    "n*": "coverage at which black and competitor are compared: stabilization.coverage_fu_per_ang2",
    "bulk": "E(bulk, fully relaxed) / Z; compared with bulk_shift added, where references stand for the bulk",
    "strain": "E(strained bulk) / N_ref - bulk; strained bulk: the interface's own in-plane cell, "
    "out-of-plane axis and atoms relaxed",
    "surface": "[E(film slab) - N (bulk + strain) - excess] / N; both faces of the film",
    "binding": "[E(interface) - E(film slab) - E(dot slab)] / N",
    "total": "bulk + strain + surface + binding = [E(interface) - E(dot slab) - excess] / N, at the film's own n",
    "total_at_coverage": "bulk + strain + interface_per_area / n*",
    "excess": "sum of formula units x chemical potential of what a film has beyond N; zero if stoichiometric",
    "bulk_above_lowest": "bulk - bulk of the most stable phase of the study",
    "surface_per_area": "N surface / A",
    "binding_per_area": "N binding / A; negative: bound",
    "work_of_separation": "-N binding / A; positive: bound",
    "interface_per_area": "N (surface + binding) / A",
    "stabilization": "total_at_coverage(black) - total_at_coverage(competitor), term by term; "
    "formula version 1: the films' own totals instead",
    "N": "formula units of the host in the film of the interface cell",
    "A": "area of the interface cell",
}
"""The definitions in words."""

Json = dict[str, JsonValue]


def summarise(doc: StabilizationDoc) -> Json:
    """Return every number of a document with units, sign convention, planes, cells, strains, settings and versions.

    Parameters
    ----------
    doc
        The result of a study on one dot facet.

    Returns
    -------
    dict
        ``phases`` maps each phase to the candidate that stands for it (nulls and the reasons where none is valid);
        ``candidates`` lists all of them; ``stabilization`` is black − competitor in eV per formula unit.
    """
    return {
        "id": doc.id,
        "schema_version": doc.schema_version,
        "formula_version": doc.formula_version,
        "created_at": doc.created_at,
        "question": doc.study.question,
        "dot": doc.study.dot.material,
        "dot_plane": doc.dot_plane,
        "host": doc.study.host,
        "level": doc.level.value,
        "units": dict(doc.units),
        "sign_convention": doc.sign_convention,
        "formulae": dict(FORMULAE),
        "stabilization": doc.stabilization.model_dump(mode="json"),
        "chemical_potentials": doc.chemical_potentials.model_dump(mode="json") if doc.chemical_potentials else None,
        "bx2_rich": doc.bx2_rich.model_dump(mode="json") if doc.bx2_rich else None,
        "bulk_basis": doc.bulk_basis.model_dump(mode="json") if doc.bulk_basis else None,
        "uncertainty": doc.uncertainty.model_dump(mode="json") if doc.uncertainty else None,
        "phases": {phase.phase: _summarise_phase(doc, phase) for phase in doc.study.phases},
        "candidates": [_summarise_candidate(doc, result) for result in doc.candidates],
        "decomposition": doc.decomposition.model_dump(mode="json") if doc.decomposition else None,
        "dropped": [dropped.model_dump(mode="json") for dropped in doc.dropped],
        "theory": doc.theory.model_dump(mode="json") if doc.theory else None,
        "settings": doc.study.model_dump(mode="json", exclude={"name", "question", "schema_version"}),
        "versions": dict(doc.versions),
        "calculations": list(list_calculation_keys(doc)),
    }


def list_calculation_keys(doc: StabilizationDoc) -> tuple[str, ...]:
    """Return the key of every calculation that a result rests on, sorted, each once."""
    return tuple(sorted(set(list_steps(doc).values())))


def list_steps(doc: StabilizationDoc) -> dict[str, str]:
    """Return the key of every calculation by step; an old document names the parts of its candidates only."""
    parts = {f"{part} {r.candidate.label}": key for r in doc.candidates for part, key in r.calculations.items()}
    products = {} if doc.decomposition is None else doc.decomposition.calculations
    return doc.calculations or {**parts, **{f"bulk {name}": key for name, key in products.items()}}


def find_selected(doc: StabilizationDoc, phase: str) -> CandidateResult | None:
    """Return the candidate that stands for a phase, or None."""
    return next((result for result in doc.candidates if result.is_selected and result.candidate.phase == phase), None)


def list_reasons(doc: StabilizationDoc, phase: PhaseSpec) -> tuple[str, ...]:
    """Return why no candidate stands for a phase."""
    tried = (result for result in doc.candidates if result.candidate.phase == phase.phase)
    invalid = [f"{result.candidate.label}: {fault}" for result in tried for fault in result.faults]
    dropped = (each for each in doc.dropped if each.phase == phase.phase)
    not_built = [f"{candidate.label}: {candidate.reason}" for candidate in dropped]
    return (*invalid, *not_built) or ("no candidate was computed",)


def find_structure(
    result: CandidateResult, part: str, calculations: Mapping[str, CalculationRecord]
) -> StructureRecord | None:
    """Return the calculated structure of a part of a candidate; None where it is not at hand or has failed."""
    record = calculations.get(result.calculations.get(part, ""))
    return None if record is None or record.result is None else record.result.structure


def _summarise_phase(doc: StabilizationDoc, phase: PhaseSpec) -> Json:
    """Return the candidate that stands for a phase, or the same keys with nulls and the reasons."""
    selected = find_selected(doc, phase.phase)
    if selected is not None:
        return _summarise_candidate(doc, selected)
    nulls: Json = dict.fromkeys((*_CHOICES, *_NUMBERS))
    given: Json = {"role": phase.role.value, "phase": phase.phase, "dot_plane": doc.dot_plane}
    left_open: Json = {"is_selected": False, "is_valid": False, "checks": [], "calculations": {}}
    return {**nulls, **given, **left_open, "missing": list(list_reasons(doc, phase))}


def _summarise_candidate(doc: StabilizationDoc, result: CandidateResult) -> Json:
    candidate = result.candidate
    return {
        "role": candidate.role.value,
        "phase": candidate.phase,
        "plane": candidate.film_plane,
        "dot_plane": candidate.dot_plane,
        "candidate": candidate.label,
        "termination": "|".join(candidate.faces),
        "n_dot_planes": candidate.dot_cut.n_planes,
        "n_film": count_surface_cells(candidate.film_matrix),
        "n_dot": count_surface_cells(candidate.dot_matrix),
        **candidate.model_dump(mode="json", include=_COPIED_CHOICES),
        **result.model_dump(mode="json", include=_COPIED_RESULTS),
        **{name: _convert(getattr(result, source), factor) for name, (source, factor) in _CONVERTED.items()},
        "coverage_fu_per_ang2": result.coverage_fu_per_ang2,
        "total_at_coverage_ev_per_fu": compared_terms(doc, result).total_ev_per_fu,
        "is_valid": result.is_valid,
    }


def _convert(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor


_COPIED_CHOICES = {
    "film_matrix",
    "dot_matrix",
    "n_film_planes",
    "passivation",
    "strain_partition",
    "shift",
    "turn",
    "gap_offset_ang",
    "place",
    "notes",
}
"""Fields of a candidate that are printed as they are."""

_COPIED_RESULTS = set(CandidateResult.model_fields) - {"candidate"}
"""Fields of a candidate's result that are printed as they are."""

_CONVERTED = {
    "work_of_separation_mev_per_ang2": ("binding_mev_per_ang2", -1.0),
    "interface_j_per_m2": ("interface_mev_per_ang2", EV_PER_ANG2_IN_J_PER_M2 / MEV_PER_EV),
}
"""Energies per area that the record holds in the other unit only: source and factor."""

_CHOICES = ("plane", "candidate", "termination", "n_dot_planes", "n_film", "n_dot", *sorted(_COPIED_CHOICES))
_NUMBERS = (
    *(name for name in CandidateResult.model_fields if name in _COPIED_RESULTS),
    *_CONVERTED,
    "coverage_fu_per_ang2",
    "total_at_coverage_ev_per_fu",
)

"""Clearly synthetic result documents for the tests of everything that reads them: round made-up numbers, no physics."""

from __future__ import annotations

from qdip_dft.analysis.sides import Sides, choose_coverage, subtract_sides
from qdip_dft.model.calculation import Level, LevelOfTheory
from qdip_dft.model.interface import Candidate, DroppedCandidate, InterfaceLabel
from qdip_dft.model.orientation import IntegerMatrix2
from qdip_dft.model.slab import DotCut
from qdip_dft.model.stabilization import CandidateResult, Check, StabilizationDoc
from qdip_dft.model.study import DotSpec, PhaseRole, PhaseSpec, StudySpec
from qdip_dft.model.term_names import TERM_FIELDS
from qdip_dft.model.terms import Terms
from qdip_dft.units import ev_per_ang2_to_j_per_m2, ev_per_ang2_to_mev_per_ang2

FACET = "PbS(111)"
LOWEST_BULK_EV_PER_FU = -50.0
PASSED = Check(name="phase identity", is_passed=True, is_decisive=True, finding="synthetic: corner-sharing octahedra")
LOST_PHASE = Check(name="phase identity", is_passed=False, is_decisive=True, finding="synthetic: octahedra share edges")
THIN = Check(name="film thickness", is_passed=False, is_decisive=False, finding="synthetic: 9.0 Å, 12 Å are usual")


def make_terms(*values_ev_per_fu: float | None) -> Terms:
    """Return bulk, strain, surface, binding and their sum; no sum where one is missing."""
    known = [value for value in values_ev_per_fu if value is not None]
    total = sum(known) if len(known) == len(TERM_FIELDS) else None
    return Terms(**dict(zip(TERM_FIELDS, values_ev_per_fu, strict=True)), total_ev_per_fu=total)


def make_candidate(
    *,
    phase: str,
    role: PhaseRole,
    plane: str,
    n_formula_units: int = 18,
    film_matrix: IntegerMatrix2 = ((3, 0), (0, 3)),
) -> Candidate:
    """Return a candidate on PbS(111)."""
    return Candidate(
        id=f"{phase}-{plane}",
        title=InterfaceLabel(dot="PbS", dot_plane="111", film=phase, film_plane=plane),
        dot="PbS",
        dot_plane="111",
        passivation="I",
        dot_cut=DotCut(cut=(0, 1), n_planes=4, is_polar=True, n_passivating_per_face=1),
        phase=phase,
        role=role,
        film_plane=plane,
        n_film_planes=2,
        cut=(0, 0, 1),
        termination="PbI2 / FAI",
        film_matrix=film_matrix,
        dot_matrix=((4, 0), (0, 4)),
        search_strains=(-0.048, -0.011),
        search_area_ang2=230.0,
        strain_partition=0.0,
        shift=(0.0, 0.0),
        n_formula_units=n_formula_units,
    )


def make_result(
    *,
    phase: str = "FAPbI3-alpha",
    role: PhaseRole = PhaseRole.BLACK,
    plane: str = "100",
    terms_ev_per_fu: tuple[float | None, ...] = (0.05, 0.03, 0.2, -0.4),
    is_selected: bool = True,
    missing: tuple[str, ...] = (),
    checks: tuple[Check, ...] = (PASSED,),
    n_formula_units: int = 18,
    area_ang2: float = 230.0,
) -> CandidateResult:
    """Return the result of one candidate; the bulk term is given above ``LOWEST_BULK_EV_PER_FU``."""
    bulk, strain, surface, binding = terms_ev_per_fu
    terms = make_terms(None if bulk is None else LOWEST_BULK_EV_PER_FU + bulk, strain, surface, binding)
    density_per_ang2 = n_formula_units / area_ang2
    surface_ev_per_ang2 = None if surface is None else surface * density_per_ang2
    binding_ev_per_ang2 = None if binding is None else binding * density_per_ang2
    both = surface_ev_per_ang2 is not None and binding_ev_per_ang2 is not None
    return CandidateResult(
        **terms.model_dump(),
        candidate=make_candidate(phase=phase, role=role, plane=plane, n_formula_units=n_formula_units),
        is_selected=is_selected,
        missing=missing,
        bulk_above_lowest_ev_per_fu=bulk,
        n_formula_units=n_formula_units,
        n_atoms=312,
        area_ang2=area_ang2,
        film_principal_strains=(-0.0477, -0.0104),
        dot_principal_strains=(0.0, 0.0),
        surface_mev_per_ang2=_to_mev(surface_ev_per_ang2),
        surface_j_per_m2=_to_joule(surface_ev_per_ang2),
        binding_mev_per_ang2=_to_mev(binding_ev_per_ang2),
        binding_j_per_m2=_to_joule(binding_ev_per_ang2),
        work_of_separation_j_per_m2=_to_joule(None if binding_ev_per_ang2 is None else -binding_ev_per_ang2),
        interface_mev_per_ang2=_to_mev(surface_ev_per_ang2 + binding_ev_per_ang2) if both else None,
        identity_residual_ev=0.0 if terms.total_ev_per_fu is not None else None,
        checks=checks,
        calculations={"interface": f"synthetic-interface-{phase}-{plane}", "dot_slab": "synthetic-dot-slab"},
    )


def make_black(**changes: object) -> CandidateResult:
    """Return a black candidate with a total of −0.12 eV/f.u. above the lowest bulk."""
    return make_result(**changes)  # type: ignore[arg-type]


def make_yellow(**changes: object) -> CandidateResult:
    """Return a yellow candidate of the black one's coverage, with a total of 0.06 eV/f.u. above the lowest bulk."""
    yellow = {
        "phase": "FAPbI3-delta",
        "role": PhaseRole.COMPETITOR,
        "plane": "001",
        "terms_ev_per_fu": (0.0, 0.06, 0.15, -0.15),
        "n_formula_units": 36,
        "area_ang2": 460.0,
    }
    return make_result(**{**yellow, **changes})  # type: ignore[arg-type]


def make_document(
    *results: CandidateResult,
    compared: tuple[CandidateResult | None, CandidateResult | None] | None = None,
    sentence: str | None = None,
    dropped: tuple[DroppedCandidate, ...] = (),
    level: Level = Level.SCREENING,
) -> StabilizationDoc:
    """Return a document of the results; without any, of one black and one yellow candidate.

    ``compared`` are the black and the yellow side of the difference; without it, the first selected ones.  Without a
    sentence, one that says the total, as every stored sentence does.
    """
    candidates = results or (make_black(), make_yellow())
    black, competitor = compared or (_first(candidates, PhaseRole.BLACK), _first(candidates, PhaseRole.COMPETITOR))
    study = _make_study(candidates)
    answer = subtract_sides(Sides(black, competitor), choose_coverage(study, candidates, None))
    said = sentence or f"Synthetic: the black phase wins. Total {answer.total_ev_per_fu or 0.0:+.3f} eV/f.u."
    return StabilizationDoc(
        id="synthetic-study",
        study=study,
        dot_plane="111",
        level=level,
        theory=_make_theory(level),
        candidates=candidates,
        dropped=dropped,
        stabilization=answer.model_copy(update={"sentence": said}),
        versions={"qdip_dft": "0.0.0-synthetic"},
        created_at="2000-01-01T00:00:00+00:00",
    )


def _make_study(candidates: tuple[CandidateResult, ...]) -> StudySpec:
    planes: dict[tuple[str, PhaseRole], list[str]] = {}
    for candidate in (result.candidate for result in candidates):
        planes.setdefault((candidate.phase, candidate.role), []).append(candidate.film_plane)
    phases = tuple(PhaseSpec(phase=phase, role=role, planes=tuple(p)) for (phase, role), p in planes.items())
    return StudySpec(
        name="synthetic-study",
        question="Synthetic: does the report say what the document says?",
        dot=DotSpec(material="PbS", facets=("111",), passivation="I"),
        host="FAPbI3",
        phases=phases,
    )


def _make_theory(level: Level) -> LevelOfTheory:
    return LevelOfTheory(
        level=level,
        engine="mlip",
        code="SevenNet-0",
        code_version="0.13.0",
        functional="PBE",
        dispersion="d3bj",
        weights_hash="0" * 64,
        settings={"force_threshold_ev_per_ang": 0.05},
    )


def _first(candidates: tuple[CandidateResult, ...], role: PhaseRole) -> CandidateResult | None:
    return next((result for result in candidates if result.is_selected and result.candidate.role is role), None)


def _to_mev(energy_ev_per_ang2: float | None) -> float | None:
    return None if energy_ev_per_ang2 is None else ev_per_ang2_to_mev_per_ang2(energy_ev_per_ang2)


def _to_joule(energy_ev_per_ang2: float | None) -> float | None:
    return None if energy_ev_per_ang2 is None else ev_per_ang2_to_j_per_m2(energy_ev_per_ang2)

"""From the calculations of a study to its result documents, one per dot facet."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from typing import TypeVar

import numpy as np

from qdip_dft.analysis.checks import (
    check_cations,
    check_gap,
    check_phase,
    check_registry,
    check_strain,
    check_strain_term,
)
from qdip_dft.analysis.coverage import find_bulk
from qdip_dft.analysis.hull import find_hull, place_above_hull
from qdip_dft.analysis.minima import list_saddles
from qdip_dft.analysis.phases import measure_connectivity
from qdip_dft.analysis.sentence import answer_in_words, join_bounds, name_environment
from qdip_dft.analysis.sides import (
    Sides,
    choose_coverage,
    choose_sides,
    list_uncompared,
    name_competitor,
    name_side,
    select_candidates,
    subtract_sides,
)
from qdip_dft.analysis.stability import (
    CandidateEnergies,
    balance_decomposition,
    compute_terms,
    identity_residual_ev,
    per_area,
    require_one_theory,
    share_strain,
)
from qdip_dft.analysis.surfaces import check_window
from qdip_dft.builders.candidate_registries import displacement_area_ang2, set_registry
from qdip_dft.builders.strain import InterfaceCell
from qdip_dft.flows.anchoring import anchor_bulks
from qdip_dft.flows.geometry_checks import check_lattices, check_minima, check_slabs, check_starts
from qdip_dft.flows.registry_findings import describe_registry, find_registry_scan
from qdip_dft.flows.reservoirs import Reservoirs, survey_reservoirs
from qdip_dft.flows.resolution import Resolution
from qdip_dft.flows.steps import BULKS, CandidateGeometry, Part, Stage, Step, StudySteps
from qdip_dft.model.calculation import Level, LevelOfTheory
from qdip_dft.model.interface import Candidate
from qdip_dft.model.reference import BulkBasis
from qdip_dft.model.registry import RegistryFinding
from qdip_dft.model.stabilization import (
    CandidateResult,
    Check,
    DecompositionResult,
    Hull,
    Stabilization,
    StabilizationDoc,
)
from qdip_dft.model.study import PhaseRole, StudySpec
from qdip_dft.model.terms import Terms
from qdip_dft.model.uncertainty import Uncertainty
from qdip_dft.version import __version__

Described = TypeVar("Described", CandidateResult, DecompositionResult)

REPORTED_PACKAGES = ("ase", "pymatgen", "jobflow", "atomate2", "numpy", "scipy")
"""Packages whose versions are written into every result."""


@dataclass(frozen=True, slots=True)
class FacetResults:
    """What was found on one facet of the dot.

    Parameters
    ----------
    facet
        The facet.
    candidates
        The candidates, those that stand for their phase marked.
    decomposition
        The host as other compounds; None where the study asks for none.
    coverage_fu_per_ang2
        n*, at which they are selected and compared; None where no candidate is valid.
    reservoirs
        Where films take their excess from.
    hull
        The most stable way to be the host.
    basis
        Where the bulk term comes from.
    """

    facet: str
    candidates: tuple[CandidateResult, ...]
    decomposition: DecompositionResult | None
    coverage_fu_per_ang2: float | None
    reservoirs: Reservoirs
    hull: Hull | None
    basis: BulkBasis

    @property
    def sides(self) -> Sides:
        """The two sides that are compared."""
        return choose_sides(self.candidates, self.decomposition, self.coverage_fu_per_ang2)


def describe_facets(steps: StudySteps, resolution: Resolution) -> tuple[FacetResults, ...]:
    """What was found on every facet of the dot; missing terms stay missing and are named."""
    return tuple(_describe_facet(steps, resolution, facet) for facet in steps.study.dot.facets)


def _describe_facet(steps: StudySteps, resolution: Resolution, facet: str) -> FacetResults:
    candidates = [c for c in steps.candidates if c.dot_plane == facet]
    reservoirs = survey_reservoirs(steps, resolution)
    results = [describe_candidate(steps, resolution, candidate, reservoirs) for candidate in candidates]
    decomposition = describe_decomposition(steps, resolution)
    anchored, basis = anchor_bulks(steps, resolution, results)
    lowest = _lowest_bulk(decomposition, anchored)
    hull = _find_hull(steps, anchored, decomposition, reservoirs)
    placed = [place_above_hull(_above(result, lowest), hull) for result in anchored]
    coverage = choose_coverage(steps.study, placed, decomposition)
    return FacetResults(
        facet=facet,
        candidates=tuple(select_candidates(steps.study, placed, coverage)),
        decomposition=None if decomposition is None else _above(decomposition, lowest),
        coverage_fu_per_ang2=coverage,
        reservoirs=reservoirs,
        hull=hull,
        basis=basis,
    )


def assemble_document(
    steps: StudySteps, resolution: Resolution, found: FacetResults, *, level: Level
) -> StabilizationDoc:
    """The result of a study on one facet, without its uncertainty.

    Parameters
    ----------
    steps, resolution
        The study and what was calculated.
    found
        What was found on the facet.
    level
        How far the engine's energies may be trusted.
    """
    study, facet = steps.study, found.facet
    candidates = [c for c in steps.candidates if c.dot_plane == facet]
    dot = f"{steps.crystals[study.dot.material].id}({facet})"
    answer, bx2_rich = _answer_at_bounds(study, found, dot=dot, level=level)
    theory = require_one_theory(_theories(steps, resolution, candidates, stage=Stage.STATIC))
    geometry_theory = require_one_theory(_theories(steps, resolution, candidates, stage=Stage.RELAXATION))
    return StabilizationDoc(
        id=study.result_id(facet),
        study=study,
        dot_plane=facet,
        level=level,
        theory=theory,
        geometry_theory=None if geometry_theory == theory else geometry_theory,
        candidates=found.candidates,
        dropped=tuple(dropped for dropped in steps.dropped if dropped.title.dot_plane == facet),
        decomposition=found.decomposition,
        stabilization=answer,
        chemical_potentials=None if bx2_rich is None else found.reservoirs.potentials,
        bx2_rich=bx2_rich,
        hull=found.hull,
        bulk_basis=found.basis,
        calculations=_list_keys(steps, resolution, candidates),
        versions=_list_versions(),
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _list_keys(steps: StudySteps, resolution: Resolution, candidates: list[Candidate]) -> dict[str, str]:
    """Return the key of every calculation that the result on one facet rests on, by step."""
    return {
        step.label: resolution.keys[step.id] for step in _list_steps(steps, candidates) if step.id in resolution.records
    }


def _list_steps(steps: StudySteps, candidates: list[Candidate]) -> list[Step]:
    """Return the calculations that the result on one facet rests on."""
    crystals = {steps.study.dot.material, *steps.products, *steps.reservoirs, *(c.phase for c in candidates)}
    ids = {candidate.id for candidate in candidates}
    return [step for step in steps.steps if step.id.owner in (crystals if step.part in BULKS else ids)]


def _list_versions() -> dict[str, str]:
    """Return what made the numbers; nothing in it names a person or a machine."""
    packages = {name: version(name) for name in REPORTED_PACKAGES}
    machine = f"{platform.system()} {platform.machine()}"
    return {"qdip_dft": __version__, **packages, "python": platform.python_version(), "platform": machine}


def _theories(
    steps: StudySteps, resolution: Resolution, candidates: list[Candidate], *, stage: Stage
) -> list[LevelOfTheory]:
    """Return the level of theory of every usable calculation of a stage that the result on one facet rests on."""
    records = [resolution.usable(step.id) for step in _list_steps(steps, candidates) if step.stage is stage]
    return [record.theory for record in records if record is not None]


def describe_candidate(
    steps: StudySteps, resolution: Resolution, candidate: Candidate, reservoirs: Reservoirs
) -> CandidateResult:
    """Return the terms of one candidate with its checks; what is missing is named.

    Parameters
    ----------
    steps, resolution
        The study and what was calculated.
    candidate
        The candidate.
    reservoirs
        Where a film takes its excess from.
    """
    geometry = steps.geometry_of(candidate)
    part_checks = _check_parts(steps, resolution, candidate)
    spoilt = _list_spoilt(part_checks)
    at_bounds = _collect_energies(steps, resolution, candidate, geometry, reservoirs, spoilt=frozenset(spoilt))
    energies, terms = at_bounds[0], compute_terms(at_bounds[0])
    cell = _interface_cell(steps, resolution, candidate, geometry)
    area = None if cell is None else candidate.n_dot_faces * cell.area_ang2
    n, shares = candidate.n_formula_units, share_strain(energies)
    surface, binding = terms.surface_ev_per_fu, terms.binding_ev_per_fu
    surface_mev, surface_j = per_area(surface, n_film=n, area_ang2=area)
    binding_mev, binding_j = per_area(binding, n_film=n, area_ang2=area)
    interface = resolution.tasks.get(steps.id_of(Part.INTERFACE, candidate.id))
    return CandidateResult(
        **terms.model_dump(),
        candidate=place_built(steps, resolution, candidate),
        registry=describe_registry(resolution, candidate),
        is_selected=False,
        missing=(
            *_missing_terms(steps, resolution, candidate),
            *spoilt.values(),
            *(reservoirs.missing if candidate.excess else ()),
        ),
        bulk_above_lowest_ev_per_fu=None,
        n_formula_units=n,
        n_atoms=None if interface is None else interface.structure.n_atoms,
        area_ang2=area,
        film_principal_strains=None if cell is None else cell.film_principal_strains,
        dot_principal_strains=None if cell is None else cell.dot_principal_strains,
        surface_mev_per_ang2=surface_mev,
        surface_j_per_m2=surface_j,
        binding_mev_per_ang2=binding_mev,
        binding_j_per_m2=binding_j,
        work_of_separation_j_per_m2=None if binding_j is None else -binding_j,
        interface_mev_per_ang2=None if surface_mev is None or binding_mev is None else surface_mev + binding_mev,
        identity_residual_ev=identity_residual_ev(terms, energies),
        checks=(
            *(check for checks in part_checks.values() for check in checks),
            *_check_interface(steps, resolution, candidate, cell),
            *check_starts(steps, resolution, candidate),
            *check_lattices(steps, resolution, (candidate.dot, candidate.phase)),
            *check_minima(steps, resolution, (candidate.dot, candidate.phase)),
            *check_slabs(steps, resolution, candidate),
            *_check_terms(terms),
            *_check_potentials(candidate, reservoirs),
        ),
        calculations={part.value: resolution.keys[step] for part, step in steps.parts_of(candidate).items()
                      if step in resolution.keys},
        bx2_rich=_compute_checked_terms(at_bounds[1]) if candidate.excess else None,
        film_strain_ev_per_fu=shares.film_ev_per_fu,
        dot_strain_ev_per_fu=shares.dot_ev_per_fu,
        volume_ang3_per_fu=_volume_ang3_per_fu(steps, resolution, candidate),
    )  # fmt: skip


def _volume_ang3_per_fu(steps: StudySteps, resolution: Resolution, candidate: Candidate) -> float | None:
    """Return the volume of a formula unit of the relaxed bulk."""
    bulk = resolution.relaxed.get(steps.id_of(Part.BULK, candidate.phase))
    if bulk is None:
        return None
    return abs(float(np.linalg.det(np.array(bulk.lattice_ang)))) / steps.crystals[candidate.phase].formula_units


def _compute_checked_terms(energies: CandidateEnergies) -> Terms:
    """Return the terms, which must add up."""
    terms = compute_terms(energies)
    identity_residual_ev(terms, energies)
    return terms


def place_built(steps: StudySteps, resolution: Resolution, candidate: Candidate) -> Candidate:
    """Return the candidate with the registry that its interface was built at, as far as that is known."""
    is_built = steps.id_of(Part.INTERFACE, candidate.id) in resolution.tasks
    return set_registry(candidate, find_registry_scan(resolution, candidate)) if is_built else candidate


def _collect_energies(
    steps: StudySteps,
    resolution: Resolution,
    candidate: Candidate,
    geometry: CandidateGeometry,
    reservoirs: Reservoirs,
    *,
    spoilt: frozenset[Part],
) -> tuple[CandidateEnergies, CandidateEnergies]:
    """Return the energies of a candidate at the AX-rich and at the BX2-rich bound; the same without an excess."""
    energy = {
        part: None if part in spoilt else resolution.energy_ev(step) for part, step in steps.parts_of(candidate).items()
    }
    stoichiometric = CandidateEnergies(
        bulk_ev=energy[Part.BULK],
        n_bulk=steps.crystals[candidate.phase].formula_units,
        strained_bulk_ev=energy[Part.STRAINED_BULK],
        n_strained_bulk=geometry.n_reference_formula_units,
        film_slab_ev=energy[Part.FILM_SLAB],
        dot_slab_ev=energy[Part.DOT_SLAB],
        interface_ev=energy[Part.INTERFACE],
        n_film=candidate.n_formula_units,
        dot_strain_ev=_dot_strain_ev(energy),
        apart_ev_per_fu=_apart_ev_per_fu(steps, resolution, candidate),
    )
    ax_rich_ev, bx2_rich_ev = reservoirs.excess_ev(candidate)
    return replace(stoichiometric, excess_ev=ax_rich_ev), replace(stoichiometric, excess_ev=bx2_rich_ev)


def _dot_strain_ev(energy: Mapping[Part, float | None]) -> float | None:
    """What the strain of the dot slab costs; zero where it takes none."""
    if Part.UNSTRAINED_DOT_SLAB not in energy:
        return 0.0
    strained, unstrained = energy[Part.DOT_SLAB], energy[Part.UNSTRAINED_DOT_SLAB]
    return None if strained is None or unstrained is None else strained - unstrained


def _apart_ev_per_fu(steps: StudySteps, resolution: Resolution, candidate: Candidate) -> float | None:
    """Bulk energy of the products off the dot, per formula unit of the host; zero for a film of the host itself."""
    if not candidate.apart:
        return 0.0
    amounts = balance_products(steps)
    energies = {name: resolution.energy_ev(steps.static_of(Part.BULK, name)) for name in candidate.apart}
    known = {name: energy for name, energy in energies.items() if energy is not None}
    if len(known) < len(energies):
        return None
    return sum(amounts[name] * energy / steps.crystals[name].formula_units for name, energy in known.items())


def balance_products(steps: StudySteps) -> dict[str, float]:
    """Formula units of each product per formula unit of the host."""
    host = steps.crystals[steps.study.phases[0].phase]
    compositions = {name: steps.crystals[name].composition_per_fu for name in steps.products}
    return balance_decomposition(host.composition_per_fu, compositions)


def _missing_terms(steps: StudySteps, resolution: Resolution, candidate: Candidate) -> tuple[str, ...]:
    needed = [(part.value, step) for part, step in steps.parts_of(candidate).items()]
    needed += [(f"bulk of {steps.crystals[name].id}", steps.static_of(Part.BULK, name)) for name in candidate.apart]
    return tuple(
        f"{what} energy missing because {resolution.explain_failure(step)}"
        for what, step in needed
        if resolution.usable(step) is None
    )


def _interface_cell(
    steps: StudySteps, resolution: Resolution, candidate: Candidate, geometry: CandidateGeometry
) -> InterfaceCell | None:
    dot = resolution.relaxed.get(steps.id_of(Part.DOT_BULK, candidate.dot))
    film = resolution.relaxed.get(steps.id_of(Part.BULK, candidate.phase))
    could_be_built = steps.id_of(Part.STRAINED_BULK, candidate.id) in resolution.tasks
    return geometry.interface_cell(dot, film) if dot is not None and film is not None and could_be_built else None


def _check_parts(steps: StudySteps, resolution: Resolution, candidate: Candidate) -> dict[Part, tuple[Check, Check]]:
    """Return for every relaxed part with a film whether it is still the phase, and its cations whole."""
    checks: dict[Part, tuple[Check, Check]] = {}
    expected = measure_connectivity(steps.crystals[candidate.phase].structure)
    for part, step in steps.relaxations_of(candidate).items():
        relaxed = resolution.relaxed.get(step)
        if relaxed is None or part in (Part.DOT_SLAB, Part.UNSTRAINED_DOT_SLAB):
            continue
        checks[part] = (
            check_phase(relaxed, expected=expected, sites=_film_sites(steps, resolution, candidate, part), part=part),
            check_cations(resolution.tasks[step].structure, relaxed, part=part),
        )
    return checks


def _list_spoilt(checks: Mapping[Part, tuple[Check, ...]]) -> dict[Part, str]:
    """Return the parts that relaxed into something else: they have an energy, but not that of the phase."""
    failed = {part: [check for check in found if not check.is_passed] for part, found in checks.items()}
    return {
        part: f"{part.value} energy missing because of {found[0].name}: {found[0].finding}"
        for part, found in failed.items()
        if found
    }


def _check_interface(
    steps: StudySteps, resolution: Resolution, candidate: Candidate, cell: InterfaceCell | None
) -> tuple[Check, ...]:
    found = [] if cell is None else _check_cell(steps, candidate, cell, describe_registry(resolution, candidate))
    return (*found, *_check_gap(steps, resolution, candidate, cell))


def _check_terms(terms: Terms) -> list[Check]:
    return [] if terms.strain_ev_per_fu is None else [check_strain_term(terms.strain_ev_per_fu)]


def _check_potentials(candidate: Candidate, reservoirs: Reservoirs) -> list[Check]:
    return [check_window(reservoirs.potentials)] if candidate.excess and reservoirs.potentials is not None else []


def _check_gap(
    steps: StudySteps, resolution: Resolution, candidate: Candidate, cell: InterfaceCell | None
) -> list[Check]:
    """Return the check of the distance between film and dot, if the interface was relaxed."""
    record = resolution.usable(steps.id_of(Part.INTERFACE, candidate.id))
    film = _film_sites(steps, resolution, candidate, Part.INTERFACE) if record is not None else None
    if record is None or record.result is None or film is None or cell is None:
        return []
    pull_ev_per_ang = sum(record.result.forces_ev_per_ang[site][2] for site in film)
    return [check_gap(traction_ev_per_ang3=pull_ev_per_ang / cell.area_ang2)]


def _film_sites(steps: StudySteps, resolution: Resolution, candidate: Candidate, part: Part) -> frozenset[int] | None:
    """Return the sites of the film in an interface, where the dot's sites come first; None for other parts."""
    if part is not Part.INTERFACE:
        return None
    n_dot = resolution.tasks[steps.id_of(Part.DOT_SLAB, candidate.id)].structure.n_atoms
    n_all = resolution.tasks[steps.id_of(Part.INTERFACE, candidate.id)].structure.n_atoms
    return frozenset(range(n_dot, n_all))


def _check_cell(
    steps: StudySteps, candidate: Candidate, cell: InterfaceCell, registry: RegistryFinding | None
) -> list[Check]:
    return [
        check_registry(
            displacement_area_ang2=displacement_area_ang2(candidate, area_ang2=cell.area_ang2),
            n_shifts=len(steps.study.film.registries or ((0.0, 0.0),)),
            scanned=registry,
        ),
        *check_strain(cell.film_principal_strains, limit=steps.study.matching.max_strain, part="film"),
        *check_strain(cell.dot_principal_strains, limit=steps.study.matching.max_strain, part="dot"),
    ]


def describe_decomposition(steps: StudySteps, resolution: Resolution) -> DecompositionResult | None:
    """Return the energy of the host as bulk compounds, per formula unit of the host."""
    if not steps.products:
        return None
    products, amounts = {name: steps.crystals[name] for name in steps.products}, balance_products(steps)
    statics = {name: steps.static_of(Part.BULK, name) for name in products}
    energies = {name: resolution.energy_ev(static) for name, static in statics.items()}
    missing = [name for name, energy in energies.items() if energy is None]
    bulk = sum(amounts[n] * e / products[n].formula_units for n, e in energies.items() if e is not None)
    zero = None if missing else 0.0
    return DecompositionResult(
        bulk_ev_per_fu=None if missing else bulk,
        strain_ev_per_fu=zero,
        surface_ev_per_fu=zero,
        binding_ev_per_fu=zero,
        total_ev_per_fu=None if missing else bulk,
        label=" + ".join(products),
        amounts=amounts,
        missing=tuple(f"energy missing because {resolution.explain_failure(statics[name])}" for name in missing),
        bulk_above_lowest_ev_per_fu=None,
        calculations={name: resolution.keys[static] for name, static in statics.items() if static in resolution.keys},
        checks=(
            *check_lattices(steps, resolution, steps.products),
            *check_minima(steps, resolution, steps.products),
        ),
        is_compared=all(not candidate.apart for candidate in steps.candidates),
    )


def _find_hull(
    steps: StudySteps,
    results: list[CandidateResult],
    decomposition: DecompositionResult | None,
    reservoirs: Reservoirs,
) -> Hull | None:
    """Return the most stable way to be the host: a phase, the products of a decomposition, or the reservoirs."""
    bulks = {result.candidate.phase: find_bulk(result) for result in results if not result.candidate.apart}
    if decomposition is not None:
        bulks[decomposition.label] = decomposition.bulk_ev_per_fu
    potentials = reservoirs.potentials
    if potentials is not None:
        bulks[f"{potentials.ax} + {potentials.bx2}"] = potentials.host_ev_per_fu + potentials.window_ev
    host = steps.crystals[steps.study.phases[0].phase]
    return find_hull(bulks, n_atoms_per_fu=sum(host.composition_per_fu.values()))


def _lowest_bulk(decomposition: DecompositionResult | None, results: list[CandidateResult]) -> float | None:
    bulks = [bulk for result in results if (bulk := find_bulk(result)) is not None]
    if decomposition is not None and decomposition.bulk_ev_per_fu is not None:
        bulks.append(decomposition.bulk_ev_per_fu)
    return min(bulks, default=None)


def _above(result: Described, lowest: float | None) -> Described:
    """Return the result with its bulk term referred to the lowest bulk of the study."""
    bulk_ev_per_fu = find_bulk(result)
    if bulk_ev_per_fu is None or lowest is None:
        return result
    return result.model_copy(update={"bulk_above_lowest_ev_per_fu": bulk_ev_per_fu - lowest})


def _answer_at_bounds(
    study: StudySpec, found: FacetResults, *, dot: str, level: Level
) -> tuple[Stabilization, Stabilization | None]:
    """Return the answer at the AX-rich bound and, if a film has an excess, at the BX2-rich one: like with like."""
    answer = _compare(study, found, dot=dot, level=level)
    potentials = found.reservoirs.potentials
    if potentials is None or all(result.bx2_rich is None for result in found.candidates):
        return answer, None
    at_bx2_rich = [result.at_bx2_rich for result in found.candidates]
    moved = tuple(select_candidates(study, at_bx2_rich, found.coverage_fu_per_ang2))
    other = _compare(study, replace(found, candidates=moved), dot=dot, level=level)
    sentence = join_bounds(answer.sentence, other.sentence, ax=potentials.ax, bx2=potentials.bx2)
    return answer.model_copy(update={"sentence": sentence}), other


def _compare(study: StudySpec, found: FacetResults, *, dot: str, level: Level) -> Stabilization:
    sides = found.sides
    answer = subtract_sides(sides, found.coverage_fu_per_ang2)
    missing = _reasons_of_absence(found.candidates, found.decomposition, sides)
    return put_in_words(
        answer, sides, found.candidates, study=study, facet=dot, level=level, basis=found.basis, missing=missing
    )


def put_in_words(
    answer: Stabilization, sides: Sides, candidates: Sequence[CandidateResult], *,
    study: StudySpec, facet: str, level: Level,
    basis: BulkBasis | None, missing: Sequence[str] = (), stated: Uncertainty | None = None,
) -> Stabilization:  # fmt: skip
    """Return an answer with its sentence."""
    sentence = answer_in_words(
        answer,
        black=name_side(sides.black),
        competitor=name_competitor(sides.competitor),
        facet=facet,
        environment=name_environment(study),
        level=level,
        missing=missing,
        has_competitor=study.has_competitor,
        stated=stated,
        bulk_basis=basis,
        is_upper_bound=isinstance(sides.competitor, DecompositionResult),
        saddles=list_saddles(sides.films),
        uncompared=list_uncompared(study, candidates),
    )
    return answer.model_copy(update={"sentence": sentence})


def _reasons_of_absence(
    results: Sequence[CandidateResult], decomposition: DecompositionResult | None, sides: Sides
) -> list[str]:
    """Return one reason for everything that could have stood for a side that has nothing valid."""
    is_present = {PhaseRole.BLACK: sides.black is not None, PhaseRole.COMPETITOR: sides.competitor is not None}
    reasons = [_why_absent(result) for result in results if not is_present[result.candidate.role]]
    if sides.competitor is None and decomposition is not None:
        reasons += [f"{decomposition.label}: {reason}" for reason in decomposition.missing]
    return reasons


def _why_absent(result: CandidateResult) -> str:
    reasons = (*result.faults, "valid, but the study pins another plane of this phase")
    return f"{result.candidate.title.film_side}: {reasons[0]}"

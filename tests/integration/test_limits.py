"""The energies of a built candidate against limits that are known without computing them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from qdip_dft.analysis.stability import CandidateEnergies, compute_terms
from qdip_dft.builders.ions import find_ions
from qdip_dft.engines.registry import engine_from_spec
from qdip_dft.flows.steps import CandidateGeometry, InterfaceParts
from qdip_dft.model.calculation import Freedom
from qdip_dft.model.engine import EngineSpec
from qdip_dft.model.interface import Candidate
from qdip_dft.model.structure import StructureRecord
from qdip_dft.planning.plan import StudyPlan, plan_study
from qdip_dft.planning.study_files import read_study

TOY_STUDY = Path(__file__).parents[1] / "data" / "toy-study.yaml"


@pytest.fixture(scope="module")
def plan() -> StudyPlan:
    study = read_study(str(TOY_STUDY)).model_copy(update={"symmetry_breaking_ang": 0.0})
    return plan_study(study)


def build_parts(plan: StudyPlan, candidate: Candidate) -> dict[str, StructureRecord]:
    """Return the unrelaxed parts of a candidate."""
    dot, film = plan.crystals[candidate.dot], plan.crystals[candidate.phase]
    geometry = CandidateGeometry(plan.study, candidate, dot, film)
    reference = geometry.strained_bulk(dot.structure, film.structure)
    dot_slab, film_slab = geometry.dot_slab(dot.structure, film.structure), geometry.film_slab(reference)
    return {
        "strained_bulk": reference,
        "dot_slab": dot_slab,
        "film_slab": film_slab,
        "interface": geometry.interface(
            InterfaceParts(dot_slab, film_slab, reference, (dot.structure, film.structure))
        ),
    }


def energies_of(plan: StudyPlan, candidate: Candidate, parts: dict[str, StructureRecord]) -> CandidateEnergies:
    film = plan.crystals[candidate.phase]
    energy_ev = {name: plan.engine.static(structure).energy_ev for name, structure in parts.items()}
    return CandidateEnergies(
        bulk_ev=plan.engine.static(film.structure).energy_ev,
        n_bulk=film.formula_units,
        strained_bulk_ev=energy_ev["strained_bulk"],
        n_strained_bulk=candidate.n_formula_units // candidate.n_film_planes,
        film_slab_ev=energy_ev["film_slab"],
        dot_slab_ev=energy_ev["dot_slab"],
        interface_ev=energy_ev["interface"],
        n_film=candidate.n_formula_units,
    )


def doubled(candidate: Candidate) -> Candidate:
    """Return the candidate in an in-plane cell of twice the size."""
    matrices = {
        name: tuple(tuple(int(2 * entry) for entry in row) if index == 0 else row for index, row in enumerate(matrix))
        for name, matrix in (("film_matrix", candidate.film_matrix), ("dot_matrix", candidate.dot_matrix))
    }
    return candidate.model_copy(update={**matrices, "n_formula_units": 2 * candidate.n_formula_units})


def test_a_doubled_cell_gives_the_same_terms(plan: StudyPlan) -> None:
    candidate = plan.steps.candidates[0]
    once = compute_terms(energies_of(plan, candidate, build_parts(plan, candidate)))
    twice_as_large = doubled(candidate)
    twice = compute_terms(energies_of(plan, twice_as_large, build_parts(plan, twice_as_large)))
    for name in ("strain_ev_per_fu", "surface_ev_per_fu", "binding_ev_per_fu", "total_ev_per_fu"):
        assert getattr(twice, name) == pytest.approx(getattr(once, name), abs=1e-8)


def test_a_film_far_from_the_dot_is_not_bound(plan: StudyPlan) -> None:
    candidate = plan.steps.candidates[0]
    parts = build_parts(plan, candidate)
    charges = {**plan.crystals[candidate.dot].formal_charges, **plan.crystals[candidate.phase].formal_charges}
    joined = find_ions(parts["interface"], charges)
    n_dot = len(find_ions(parts["dot_slab"], charges).ions)
    lattice = joined.lattice_ang.copy()
    lattice[2, 2] += 40.0
    centres = joined.centres_ang.copy()
    centres[n_dot:, 2] += 20.0
    apart = type(joined)(lattice_ang=lattice, ions=joined.ions, frac_centres=centres @ np.linalg.inv(lattice))
    terms = compute_terms(energies_of(plan, candidate, {**parts, "interface": apart.to_record()}))
    assert terms.binding_ev_per_fu == pytest.approx(0.0, abs=1e-9)


def test_a_film_in_contact_is_bound(plan: StudyPlan) -> None:
    candidate = plan.steps.candidates[0]
    terms = compute_terms(energies_of(plan, candidate, build_parts(plan, candidate)))
    assert terms.binding_ev_per_fu is not None
    assert terms.binding_ev_per_fu < 0 < (terms.surface_ev_per_fu or 0.0)


def test_a_film_without_strain_has_no_strain_term() -> None:
    """PbTe on PbTe: the mesh is the film's own, so relaxing the reference gains nothing."""
    study = read_study(str(TOY_STUDY))
    engine = engine_from_spec(EngineSpec(name="testing"))
    plan = plan_study(study)
    crystal = plan.crystals["PbTe"]
    bulk = engine.relax(crystal.structure, Freedom.CELL)
    candidate = plan.steps.candidates[0].model_copy(
        update={"phase": "PbTe", "film_plane": "100", "film_matrix": ((1, 0), (0, 1)), "dot_matrix": ((1, 0), (0, 1)),
                "cut": (0, 0), "n_film_planes": 2, "n_formula_units": 2},
    )  # fmt: skip
    geometry = CandidateGeometry(study.model_copy(update={"symmetry_breaking_ang": 0.0}), candidate, crystal, crystal)
    reference = engine.relax(geometry.strained_bulk(bulk.structure, bulk.structure), Freedom.OUT_OF_PLANE)
    assert reference.energy_ev == pytest.approx(bulk.energy_ev / crystal.formula_units, abs=1e-4)

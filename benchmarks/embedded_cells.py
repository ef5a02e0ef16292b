"""What an embedded cell must obey, measured with the default engine on PbS(100)//CsPbI3-gamma(110), four layers.

    OMP_NUM_THREADS=1 python benchmarks/embedded_cells.py [--preset balanced] [--results FOLDER]

* σ of the stoichiometric film is the mean of those of its two symmetric films at equal chemical potentials, since each
  of its faces is one of theirs.
* Twice the film, and twice the cell, has the same σ.
* Apart by 12 Å more on each side, nothing is bound.
* Under vacuum σ is larger by what the free face costs: of a symmetric film half of its surface energy.

All energies in meV per Å² of dot, PbI2-rich and CsI-rich bounds as the study has them.  Calculations are stored.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from qdip_dft.builders.embedded import separate_slabs
from qdip_dft.builders.ions import view_ions
from qdip_dft.engines.registry import engine_from_spec
from qdip_dft.execution.local import run_study
from qdip_dft.flows.building import build_structure
from qdip_dft.flows.steps import Part
from qdip_dft.model.interface import Candidate
from qdip_dft.model.stabilization import CandidateResult
from qdip_dft.model.structure import StructureRecord
from qdip_dft.model.study import StudySpec
from qdip_dft.planning.plan import StudyPlan, plan_study
from qdip_dft.storage.results_folder import ResultsFolder, open_archive
from qdip_dft.units import MEV_PER_EV

FARTHER_ANG = 12.0

STOICHIOMETRIC, SYMMETRIC = "PbI2|CsI", ("PbI2|PbI2", "CsI|CsI")

STUDY: dict[str, Any] = {
    "name": "embedded-cells",
    "dot": {"material": "PbS", "facets": ["100"], "min_thickness_ang": 11},
    "host": "CsPbI3",
    "terms_only": True,
    "check_minima": False,
    "matching": {"max_area_ang2": 200, "max_strain": 0.04},
    "film": {"min_thickness_ang": 24, "reservoirs": {"ax": "CsI", "bx2": "PbI2"}},
}


def main() -> None:
    """Print every law with its numbers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="balanced")
    parser.add_argument("--results", type=Path, default=Path("embedded-cells"))
    given = parser.parse_args()
    plans = {environment: plan_study(ask(environment, preset=given.preset)) for environment in ("embedded", "capped")}
    found = {environment: run(plan, given.results) for environment, plan in plans.items()}
    embedded, capped = found["embedded"], found["capped"]
    for name, result in embedded.items():
        print(f"{name:<10} embedded {describe(result)}; capped {describe(capped[name])}")
    mean = sum(sigma(embedded[name]) for name in SYMMETRIC) / 2
    print(f"stoichiometric film {sigma(embedded[STOICHIOMETRIC]):+.2f}, mean of the symmetric ones {mean:+.2f}")
    for name in SYMMETRIC:
        free_face = (capped[name].surface_mev_per_ang2 or 0.0) / 2
        print(
            f"{name}: capped − embedded {sigma(capped[name]) - sigma(embedded[name]):+.2f}, free face {free_face:+.2f}"
        )
    film = embedded[STOICHIOMETRIC].candidate
    for words, changed in (("twice the cell", widen(film)), ("half the film", thin(film))):
        (result,) = run(with_candidate(plans["embedded"], changed), given.results).values()
        print(f"{words}: {describe(result)}")
    print(f"apart: binding {pull_apart(plans['embedded'], film, given.results):+.3f}")


def ask(environment: str, *, preset: str) -> StudySpec:
    """The study of all three terminations."""
    phase = {
        "phase": "CsPbI3-gamma",
        "role": "black",
        "planes": ["110"],
        "termination": STOICHIOMETRIC,
        "further_terminations": list(SYMMETRIC),
    }
    asked = {"environment": environment, "phases": [phase], "engine": {"name": "mlip", "preset": preset}}
    return StudySpec.model_validate({**STUDY, **asked, "name": f"embedded-cells-{environment}"})


def run(plan: StudyPlan, results: Path) -> Mapping[str, CandidateResult]:
    """Results by termination."""
    (document,) = run_study(plan, results=results, workers=1).documents
    return {result.candidate.termination: result for result in document.candidates}


def sigma(result: CandidateResult) -> float:
    """Surface and binding per area of dot in meV/Å²."""
    assert result.interface_mev_per_ang2 is not None, result.missing
    return result.interface_mev_per_ang2


def describe(result: CandidateResult) -> str:
    """Surface, binding and their sum."""
    parts = result.surface_mev_per_ang2, result.binding_mev_per_ang2, sigma(result)
    return "surface {:+.2f}, binding {:+.2f}, σ {:+.2f}".format(*parts)


def pin(candidate: Candidate) -> Candidate:
    """The candidate with its registry as given."""
    return candidate.model_copy(update={"registry_scan": None, "place": 0})


def widen(candidate: Candidate) -> Candidate:
    """The same interface on a cell twice as large."""
    matrices = {name: (tuple(2 * n for n in first), second) for name, (first, second) in matrices_of(candidate).items()}
    return pin(candidate).model_copy(
        update={**matrices, "n_formula_units": 2 * candidate.n_formula_units, "id": f"{candidate.id}-wide"}
    )


def matrices_of(candidate: Candidate) -> dict[str, Any]:
    """The common cell in 1 × 1 cells of film and dot."""
    return {"film_matrix": candidate.film_matrix, "dot_matrix": candidate.dot_matrix}


def thin(candidate: Candidate) -> Candidate:
    """The same interface with half the film."""
    halves = {"n_film_planes": candidate.n_film_planes // 2, "n_formula_units": candidate.n_formula_units // 2}
    return pin(candidate).model_copy(update={**halves, "id": f"{candidate.id}-thin"})


def with_candidate(plan: StudyPlan, candidate: Candidate) -> StudyPlan:
    """The plan with this candidate alone."""
    alone = StudyPlan(plan.study, plan.crystals, plan.engine)
    alone.__dict__["steps"] = replace(plan.steps, candidates=(candidate,))  # searched once, and kept
    return alone


def pull_apart(plan: StudyPlan, candidate: Candidate, results: Path) -> float:
    """Binding in meV/Å² of the relaxed slabs, each gap wider by 12 Å."""
    alone = with_candidate(plan, pin(candidate))
    steps, archive = alone.steps, open_archive(ResultsFolder(results))
    resolution = alone.resolve(archive.find_record)
    relaxed: dict[Any, StructureRecord] = dict(resolution.relaxed)
    interface = next(step for step in steps.steps if step.part is Part.INTERFACE)
    dot, film = (relaxed[steps.id_of(part, candidate.id)] for part in (Part.DOT_SLAB, Part.FILM_SLAB))
    closed = view_ions(build_structure(steps, interface, relaxed), steps.geometry_of(candidate).formal_charges)
    n_dot_ions = len(view_ions(dot, steps.geometry_of(candidate).formal_charges).ions)
    engine = engine_from_spec(plan.study.engine)
    far = separate_slabs(closed, n_dot_ions=n_dot_ions, distance_ang=FARTHER_ANG).to_record()
    energy_ev = engine.static(far).energy_ev - engine.static(dot).energy_ev - engine.static(film).energy_ev
    area_ang2 = 2 * steps.geometry_of(candidate).interface_cell(
        relaxed[steps.id_of(Part.DOT_BULK, candidate.dot)], relaxed[steps.id_of(Part.BULK, candidate.phase)]
    ).area_ang2  # fmt: skip
    return MEV_PER_EV * energy_ev / area_ang2


if __name__ == "__main__":
    main()

"""Everything that is decided when a study is planned, as plain data, and noise like that of another processor.

``python tests/plan_fingerprint.py FILE`` writes the decisions of all ready-made studies, as they fall in that process.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from qdip_dft.analysis.octahedra import find_metals, group_layers
from qdip_dft.builders.candidate_registries import list_film_registries
from qdip_dft.builders.faces import orient_face
from qdip_dft.builders.ions import find_ions
from qdip_dft.builders.terminations import list_terminations
from qdip_dft.flows.building import preview_scans
from qdip_dft.flows.steps import Stage
from qdip_dft.library.collections import list_studies
from qdip_dft.model.calculation import CalculationTask
from qdip_dft.model.keys import calculation_key, registry_scan_key
from qdip_dft.model.registry import RegistryScanTask
from qdip_dft.model.structure import StructureRecord
from qdip_dft.planning.plan import StudyPlan, plan_study
from qdip_dft.planning.study_files import read_study

Decisions = dict[str, Any]

RELATIVE_NOISE = 1e-13
"""Standard deviation of the factor on every number of a crystal."""

RESIDUE = 1e-15
"""Standard deviation of what is added to lattice vectors (Å) and coordinates: zeros of one processor differ from those
of another by 4·10⁻¹⁶, and a site at 0 may lie at −10⁻¹⁷."""

ROUNDING = 1e-8
"""Fractional coordinates, Å and strains that agree to this are the same."""


def add_noise(plan: StudyPlan, seed: int) -> StudyPlan:
    """Return the plan of the same study with crystals as another processor would have read them."""
    rng = np.random.default_rng(seed)
    crystals = {
        name: crystal.model_copy(update={"structure": _disturb(crystal.structure, rng)})
        for name, crystal in plan.crystals.items()
    }
    return replace(plan, crystals=crystals)


def _disturb(structure: StructureRecord, rng: np.random.Generator) -> StructureRecord:
    changed = {}
    for name in ("lattice_ang", "frac_coords"):
        exact = np.array(getattr(structure, name))
        factor, residue = 1.0 + RELATIVE_NOISE * rng.normal(size=exact.shape), RESIDUE * rng.normal(size=exact.shape)
        changed[name] = tuple(map(tuple, (exact * factor + residue).tolist()))
    return structure.model_copy(update=changed)


def decide(plan: StudyPlan) -> Decisions:
    """Return candidates, what is dropped, terminations, structures, layers, keys and places of a study."""
    decisions: Decisions = {
        "candidates": [candidate.model_dump(mode="json") for candidate in plan.steps.candidates],
        "dropped": [(each.label, each.reason) for each in plan.steps.dropped],
        "terminations": _list_faces(plan),
    }
    for step in plan.steps.steps:
        if step.stage is Stage.STATIC:
            continue  # the same structure once more
        structure, engine = plan.previews[step.id], plan.engines.of(step)
        task = CalculationTask(label=step.label, freedom=step.freedom, structure=structure)
        decisions[step.label] = {
            "structure": structure.model_dump(mode="json"),
            "key": calculation_key(task, engine.theory(), engine.relaxation_settings()),
            "layers": group_layers(structure, find_metals(structure)),
        }
    for scan, task in preview_scans(plan.steps, plan.previews).items():
        theory = plan.engines.registry_engine.theory()
        decisions[f"registry of {scan.interface}"] = {
            "key": registry_scan_key(task, theory),
            "places": _list_places(task),
        }
    return json.loads(json.dumps(decisions))


def _list_faces(plan: StudyPlan) -> Decisions:
    candidates = plan.steps.candidates
    faces = {face for c in candidates for face in ((c.phase, c.film_plane), (c.dot, c.dot_plane))}
    found = {face: list_terminations(orient_face(plan.crystals[face[0]], face[1]).oriented) for face in sorted(faces)}
    return {
        f"{name}({plane})": [[(p.name, p.cut, p.closing, p.charge_e, p.symmetry) for p in listed.pairs], listed.reasons]
        for (name, plane), listed in found.items()
    }


def _list_places(task: RegistryScanTask) -> list[tuple[str, int]]:
    dot, film = (find_ions(slab, task.formal_charges) for slab in (task.dot, task.film))
    places = list_film_registries(dot, film, task.turns, spacing_ang=task.grid_spacing_ang)
    return [(place.name, place.displacement.multiplicity) for place in places]


def find_differences(first: Any, second: Any, where: str = "") -> list[str]:
    """Return where two sets of decisions differ by more than rounding."""
    if isinstance(first, dict) and isinstance(second, dict) and first.keys() == second.keys():
        return [found for name in first for found in find_differences(first[name], second[name], f"{where}/{name}")]
    if isinstance(first, list) and isinstance(second, list) and len(first) == len(second):
        pairs = enumerate(zip(first, second, strict=True))
        return [found for i, (one, other) in pairs for found in find_differences(one, other, f"{where}[{i}]")]
    if isinstance(first, float) and isinstance(second, float | int):
        return [] if abs(first - second) <= ROUNDING * max(1.0, abs(first)) else [f"{where}: {first} ≠ {second}"]
    return [] if first == second else [f"{where}: {str(first)[:80]} ≠ {str(second)[:80]}"]


def plan_of(path: Path) -> StudyPlan:
    """Return the plan of a study file."""
    return plan_study(read_study(str(path)))


def main() -> None:
    """Write the decisions of all ready-made studies to the file that is named first."""
    decisions = {path.stem: decide(plan_of(path)) for path in list_studies()}
    Path(sys.argv[1]).write_text(json.dumps(decisions), encoding="utf-8")


if __name__ == "__main__":
    main()

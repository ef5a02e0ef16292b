"""Measure by how much the potential misses strain and interfaces of both films of `pbs-cspbi3-size`, with CP2K.

    python scripts/measure_interface_error.py FOLDER [--only calibration gamma ...] [--sides black] [--workers 2]

`calibration` runs the study with the potential and then `qdip calibrate` in the results folder FOLDER; every other word
(`REPEATS`) repeats single points of it with other settings, which shows whether they have converged.  What is measured
goes into scripts/interface_error.json one by one; a run that was killed continues with the same command.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from measure_orbital_transformation import diagonalise

from qdip_dft import plan_study, read_study, run_study
from qdip_dft.analysis.sides import find_sides
from qdip_dft.engines.registry import engine_from_spec
from qdip_dft.execution.calibration import calibrate, make_calibrating_study
from qdip_dft.flows.steps import Part, Stage, StepId
from qdip_dft.model.calculation import CalculationRecord, EngineResult
from qdip_dft.model.engine import EngineSpec
from qdip_dft.results.calibrations import list_calibrations
from qdip_dft.storage.results_folder import ResultsFolder, open_archive

RESULTS = Path(__file__).with_name("interface_error.json")
STUDY = "pbs-cspbi3-size"
SIDES = ["black", "competitor"]
BASE = EngineSpec(name="cp2k", preset="fast", settings={"k_spacing_per_ang": 0.35})

INTERFACE_PARTS = (Part.INTERFACE, Part.DOT_SLAB, Part.STRAINED_BULK)
"""σ of both faces is E(interface) − E(dot slab) − N e(strained bulk); the film's own slab cancels."""

REPEATS: dict[str, tuple[str, float, tuple[Part, ...]]] = {
    "gamma": ("fast", 1.0, INTERFACE_PARTS),
    "gamma-tzv2p": ("balanced", 1.0, INTERFACE_PARTS),
    "dense": ("fast", 0.22, (Part.BULK, *INTERFACE_PARTS)),
}
"""Preset, k-spacing in 1/Å, and the parts that are repeated.

A spacing of 1 Å⁻¹ leaves Γ alone in an interface: what TZV2P changes there is what it changes on a mesh.  The last
has more k-points.
"""


def main() -> None:
    """Measure what is asked and not stored."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", nargs="*", default=["calibration", *REPEATS], choices=["calibration", *REPEATS])
    parser.add_argument("--sides", nargs="*", default=SIDES, choices=SIDES)
    parser.add_argument("--workers", type=int)
    arguments = parser.parse_args()
    for word in arguments.only:
        if word == "calibration":
            _calibrate(arguments.folder, arguments.workers)
        else:
            _repeat(word, arguments.folder, arguments.sides)


def _calibrate(folder: Path, workers: int | None) -> None:
    plan = plan_study(read_study(STUDY))
    run_study(plan, results=folder, workers=workers)
    (measured,) = calibrate(plan, BASE, results=folder, workers=workers)
    found = {
        "code": f"{measured.reference.code} {measured.reference.code_version}",
        "settings": measured.reference.settings,
        "black": measured.black.model_dump(),
        "competitor": measured.competitor.model_dump(),
    }
    points = [
        _describe(side, step.part, record.result, "calibration")
        for side, step, record in _find_single_points(folder)
        if record.result is not None
    ]
    kept = [point for point in _read_stored().get("points", []) if point["setting"] != "calibration"]
    RESULTS.write_text(json.dumps(found | {"points": points + kept}, indent=1) + "\n", encoding="utf-8")


def _repeat(word: str, folder: Path, sides: list[str]) -> None:
    preset, k_spacing_per_ang, parts = REPEATS[word]
    spec = EngineSpec(name="cp2k", preset=preset, settings={"k_spacing_per_ang": k_spacing_per_ang})
    engine = diagonalise(engine_from_spec(spec))  # orbital transformation oscillates in PbS with TZV2P
    for side, step, record in sorted(
        _find_single_points(folder), key=lambda point: len(point[2].task.structure.species)
    ):
        key = {"setting": word, "side": side, "part": step.part}
        is_asked = step.part in parts and side in sides
        if not is_asked or any(key.items() <= point.items() for point in _read_stored()["points"]):
            continue
        point = _describe(side, step.part, engine.static(record.task.structure), word)
        stored = _read_stored()  # again: another run may have written meanwhile
        stored["points"].append(point)
        RESULTS.write_text(json.dumps(stored, indent=1) + "\n", encoding="utf-8")
        print(point, flush=True)


def _find_single_points(folder: Path) -> list[tuple[str, StepId, CalculationRecord]]:
    """Return what the calibration has calculated with the reference engine, and for which side."""
    (measured,) = list_calibrations(ResultsFolder(folder).collection("calibrations"))
    used = set(measured.calculations.values())
    archive = open_archive(ResultsFolder(folder))
    try:
        sides = find_sides(archive.find_stabilizations(STUDY)[0])
        resolution = plan_study(make_calibrating_study(read_study(STUDY), BASE)).resolve(archive.find_record)
        steps = (step for step in resolution.states if step.stage is Stage.STATIC)
        keys = {step: key for step in steps if (key := resolution.keys[step]) in used}
        found = archive.find_calculations(keys.values())
    finally:
        archive.close()
    owners = {
        owner: name
        for name, film in zip(SIDES, sides.films, strict=True)
        for owner in (film.candidate.id, film.candidate.phase)
    }
    return [(owners.get(step.owner, "dot"), step, found[key]) for step, key in keys.items()]


def _describe(side: str, part: Part, result: EngineResult, word: str) -> dict[str, Any]:
    in_plane = np.array(result.structure.lattice_ang[:2])
    return {
        "setting": word,
        "side": side,
        "part": part.value,
        "n_atoms": len(result.structure.species),
        "area_ang2": round(float(np.linalg.norm(np.cross(*in_plane))), 4),
        "energy_ev": result.energy_ev,
        "wall_time_s": round(result.wall_time_s),
        "corrections": result.corrections,
    }


def _read_stored() -> dict[str, Any]:
    return json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}


if __name__ == "__main__":
    main()

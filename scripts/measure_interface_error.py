"""Measure by how much the potential misses strain and interfaces of both films of `pbs-cspbi3-size`, with CP2K.

    python scripts/measure_interface_error.py FOLDER [--only calibration gamma ...] [--films gamma delta] [--workers 2]

`calibration` runs the study with the potential and then `qdip calibrate` in the results folder FOLDER; every other word
(`REPEATS`) repeats single points of it with other settings, which shows whether they have converged.  What is measured
goes into scripts/interface_error.json one by one; a run that was killed continues with the same command.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from qdip_dft import plan_study, read_study, run_study
from qdip_dft.engines.registry import engine_from_spec
from qdip_dft.execution.calibration import calibrate
from qdip_dft.model.calculation import CalculationRecord
from qdip_dft.model.engine import EngineSpec
from qdip_dft.results.calibrations import list_calibrations
from qdip_dft.storage.results_folder import ResultsFolder, open_archive

RESULTS = Path(__file__).with_name("interface_error.json")
STUDY = "pbs-cspbi3-size"
BASE = EngineSpec(name="cp2k", preset="fast", settings={"k_spacing_per_ang": 0.35})

INTERFACE_PARTS = ("interface", "dot slab", "strained bulk")
"""σ of both faces is E(interface) − E(dot slab) − N e(strained bulk); the film's own slab cancels."""

REPEATS: dict[str, tuple[str, float, tuple[str, ...]]] = {
    "gamma": ("fast", 1.0, INTERFACE_PARTS),
    "gamma-tzv2p": ("balanced", 1.0, INTERFACE_PARTS),
    "dense": ("fast", 0.22, ("bulk", "strained bulk")),
}
"""Preset, k-spacing in 1/Å, and the parts that are repeated.

A spacing of 1 Å⁻¹ leaves Γ alone in an interface: what TZV2P changes there is what it changes on a mesh.  The last
repeats what the strain is made of with more k-points.
"""


def main() -> None:
    """Measure what is asked and not stored."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", nargs="*", default=["calibration", *REPEATS], choices=["calibration", *REPEATS])
    parser.add_argument("--films", nargs="*", default=["gamma", "delta"], choices=["gamma", "delta"])
    parser.add_argument("--workers", type=int)
    arguments = parser.parse_args()
    for word in arguments.only:
        if word == "calibration":
            _calibrate(arguments.folder, arguments.workers)
        else:
            _repeat(word, arguments.folder, arguments.films)


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
    energies = {record.task.label: _describe(record) for record in _find_records(folder)}
    _store("calibration", found | {"calculations": energies})


def _repeat(word: str, folder: Path, films: list[str]) -> None:
    preset, k_spacing_per_ang, parts = REPEATS[word]
    spec = EngineSpec(name="cp2k", preset=preset, settings={"k_spacing_per_ang": k_spacing_per_ang})
    engine = engine_from_spec(spec)
    wanted = [(part, film) for film in films for part in parts]
    for record in sorted(_find_records(folder), key=lambda record: len(record.task.structure.species)):
        label = record.task.label
        is_wanted = any(label.startswith(f"{part} ") and film in label for part, film in wanted)
        if not is_wanted or label in _read_stored().get(word, {}):
            continue
        result = engine.static(record.task.structure)
        own = {"energy_ev": result.energy_ev, "wall_time_s": round(result.wall_time_s), "words": result.corrections}
        _store(word, _read_stored().get(word, {}) | {label: own})
        print(word, label, own, flush=True)


def _describe(record: CalculationRecord) -> dict[str, Any]:
    assert record.result is not None  # only usable records enter a calibration
    return {
        "n_atoms": len(record.task.structure.species),
        "energy_ev": record.result.energy_ev,
        "wall_time_s": round(record.result.wall_time_s),
    }


def _find_records(folder: Path) -> list[CalculationRecord]:
    """Return the single points of the calibration; the potential's own relaxations stand beside them."""
    (measured,) = list_calibrations(ResultsFolder(folder).collection("calibrations"))
    archive = open_archive(ResultsFolder(folder))
    try:
        found = archive.find_calculations(measured.calculations.values()).values()
        return [record for record in found if record.theory.engine == BASE.name]
    finally:
        archive.close()


def _read_stored() -> dict[str, Any]:
    return json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}


def _store(word: str, value: Any) -> None:
    RESULTS.write_text(json.dumps(_read_stored() | {word: value}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

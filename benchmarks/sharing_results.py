"""Time and size of exporting and importing a study of 100 calculations with 150 atoms each.

    python benchmarks/sharing_results.py [--calculations 100] [--atoms 150]

The documents are made up: CsPbI3 supercells with random displacements, energies and forces, marked as synthetic.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from qdip_dft.library.crystals import load_crystal
from qdip_dft.model.calculation import CalculationRecord, CalculationTask, EngineResult, Freedom, Level, LevelOfTheory
from qdip_dft.model.structure import StructureRecord
from qdip_dft.results.archive import Archive
from qdip_dft.results.bundle import export_bundle
from qdip_dft.results.bundle_reading import read_bundle
from qdip_dft.results.bundle_restoring import restore_evidence
from qdip_dft.results.migrations import read_stabilization
from qdip_dft.results.optimade_folder import export_optimade
from qdip_dft.results.training_set import export_training_set
from qdip_dft.storage.results_folder import ResultsFolder, open_archive

GOLDEN = Path(__file__).resolve().parents[1] / "tests" / "data" / "golden" / "stabilization-1-toy.json"
THEORY = LevelOfTheory(
    level=Level.TEST, engine="testing", code="synthetic", code_version="0", functional="none", dispersion="none",
    weights_hash="",
)  # fmt: skip


def main() -> None:
    """Print the time of each step in s and the size of each file in MB."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calculations", type=int, default=100, help="calculations of the study")
    parser.add_argument("--atoms", type=int, default=150, help="atoms of each, rounded to whole cells")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = open_archive(ResultsFolder(folder / "source"))
        fill(source, n_calculations=given.calculations, n_atoms=given.atoms)
        target = open_archive(ResultsFolder(folder / "target"))
        bundle, frames = folder / "study.zip", folder / "study.extxyz"
        report("export --bundle", lambda: export_bundle(source, "synthetic", bundle), bundle)
        report("read and check", lambda: read_bundle(bundle))
        evidence = read_bundle(bundle).evidence
        report("restore", lambda: restore_evidence(evidence, target))
        report("restore again", lambda: restore_evidence(evidence, target))
        report("export --extxyz", lambda: export_training_set(source, "synthetic", frames), frames)
        report("export --optimade", lambda: export_optimade(source, "synthetic", folder), folder / "optimade.jsonl")


def report(name: str, action: Callable[[], object], written: Path | None = None) -> None:
    """Print the wall time of an action and the size of what it wrote."""
    start_s = time.perf_counter()
    action()
    size = "" if written is None else f"{written.stat().st_size / 1e6:8.1f} MB"
    print(f"{name:<20}{time.perf_counter() - start_s:8.2f} s{size}", flush=True)


def fill(archive: Archive, *, n_calculations: int, n_atoms: int) -> None:
    """Store a synthetic study."""
    rng = np.random.default_rng(0)
    cell = load_crystal("CsPbI3-alpha").structure
    cell.make_supercell([1, 1, max(1, round(n_atoms / len(cell)))])
    start = StructureRecord.from_pymatgen(cell)
    records = [make_record(start, number, rng) for number in range(n_calculations)]
    archive.save_records(records)
    document = read_stabilization(json.loads(GOLDEN.read_text()))
    keys = {record.task.label: record.key for record in records}
    archive.save_stabilization(document.model_copy(update={"id": "synthetic", "calculations": keys}))


def make_record(start: StructureRecord, number: int, rng: np.random.Generator) -> CalculationRecord:
    """Return a made-up relaxation."""
    moved = np.array(start.frac_coords) + rng.normal(scale=0.002, size=(start.n_atoms, 3))
    structure = start.model_copy(update={"frac_coords": tuple(map(tuple, moved.tolist()))})
    result = EngineResult(
        structure=structure, energy_ev=float(rng.normal()), forces_ev_per_ang=rng.normal(size=moved.shape).tolist(),
        stress_ev_per_ang3=np.eye(3).tolist(), is_converged=True, n_steps=1, max_force_ev_per_ang=1.0, wall_time_s=0.0,
    )  # fmt: skip
    return CalculationRecord(
        key=hashlib.sha256(str(number).encode()).hexdigest(),
        task=CalculationTask(label=f"synthetic {number}", freedom=Freedom.POSITIONS, structure=start),
        theory=THEORY,
        result=result,
        finished_at="2020-02-06T00:00:00+00:00",
    )


if __name__ == "__main__":
    main()

"""How well forces foretell what a structure would still gain: structures of one potential, energies of another.

    python benchmarks/residual_energy.py [--results DIR] [--largest 60]

Every relaxed structure of a results folder (without one: of the study `quickstart`, run with SevenNet-0) is given to
CHGNet, whose forces there are those of a study ``dft//mlip``: small errors of bonds that another method finds a little
longer or shorter.  Beside the energy that the atoms then really gain stand the two estimates from the forces: F²/(2k)
with one soft spring, and ½ Fᵀ P⁻¹ F with the model Hessian P of the relaxations.  The cell is held: what a cell would
gain is another check (`residual pressure`).
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np

from qdip_dft.analysis.uncertainty import estimate_residual_ev
from qdip_dft.engines.registry import engine_from_spec
from qdip_dft.engines.relaxation.coordinates import coordinates_of
from qdip_dft.engines.relaxation.model_hessian import model_hessian
from qdip_dft.execution.local import run_study
from qdip_dft.model.calculation import Freedom
from qdip_dft.model.engine import EngineSpec
from qdip_dft.model.structure import StructureRecord
from qdip_dft.planning.plan import plan_study
from qdip_dft.planning.study_files import read_study
from qdip_dft.storage.results_folder import ResultsFolder, open_archive


def measure(structure: StructureRecord) -> tuple[float, float, float, float]:
    """Return the largest force in eV/Å and, in meV, the gain, the estimate with one spring, and with the model."""
    engine = engine_from_spec(EngineSpec(potential="chgnet", preset="precise"))
    start = engine.static(structure)
    forces = np.array(start.forces_ev_per_ang)
    coordinates = coordinates_of(structure, Freedom.POSITIONS)
    q = coordinates.start()
    gradient = -(forces - forces.mean(axis=0))[coordinates.is_free].ravel()
    relaxed = engine.relax(structure, Freedom.POSITIONS)
    gain = start.energy_ev - relaxed.energy_ev
    model = 0.5 * float(gradient @ model_hessian(coordinates, q).solve(gradient))
    spring = estimate_residual_ev(start.forces_ev_per_ang)
    largest = float(np.linalg.norm(forces, axis=1).max())
    return largest, 1e3 * gain, 1e3 * spring, 1e3 * model


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path)
    parser.add_argument("--largest", type=int, default=60, help="leave out structures of more atoms")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        results = given.results or Path(folder)
        if given.results is None:
            run_study(plan_study(read_study("quickstart")), results=results)
        records = list(open_archive(ResultsFolder(results)).list_calculations())
    print(f"{'calculation':<44}{'atoms':>6}{'F max':>8}{'gain':>9}{'spring':>9}{'model':>9}   eV/Å, meV")
    ratios = []
    for record in records:
        if record.result is None or len(record.result.structure.species) > given.largest:
            continue
        largest, gain, spring, model = measure(record.result.structure)
        print(
            f"{record.task.label:<44}{len(record.result.structure.species):>6}{largest:>8.2f}{gain:>9.1f}{spring:>9.1f}"
            f"{model:>9.1f}",
            flush=True,
        )
        if gain > 1.0:
            ratios.append((spring / gain, model / gain))
    for name, values in zip(("spring", "model"), zip(*ratios, strict=True), strict=True):
        print(f"{name} / gain: median {np.median(values):.2f}, {min(values):.2f} to {max(values):.2f}")


if __name__ == "__main__":
    main()

"""A relaxation whose code is kept alive between steps, against one start of the code per step and pw.x's own `relax`.

    OMP_NUM_THREADS=1 python benchmarks/kept_alive.py [espresso|gpaw] [--preset fast]

A PbS(100) slab of seven layers (14 atoms), displaced by 0.05 Å, is relaxed at the cutoffs of a preset.  Wall time,
steps to self-consistency and final energy stand side by side; the energies are those of one minimum to the threshold
of the forces, the first energies agree to 1e-5 eV.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from qdip_dft.engines.code_run import Setting
from qdip_dft.engines.dft import DftEngine
from qdip_dft.engines.registry import engine_from_spec
from qdip_dft.model.calculation import Freedom
from qdip_dft.model.engine import Dispersion, EngineSpec
from qdip_dft.model.structure import StructureRecord
from qdip_dft.runtime.journal import SCRATCH_VARIABLE

EDGE_ANG = 5.94
LAYERS = 7
VACUUM_ANG = 12.0
FORCE_THRESHOLD_EV_PER_ANG = 0.03


def build_slab(seed: int = 1) -> StructureRecord:
    """Return the displaced slab."""
    side = EDGE_ANG / np.sqrt(2)
    lattice = np.diag([side, side, (LAYERS - 1) * EDGE_ANG / 2 + VACUUM_ANG])
    heights = np.arange(LAYERS) * EDGE_ANG / 2
    metals = [[0.0, 0.0, z] if k % 2 == 0 else [side / 2, side / 2, z] for k, z in enumerate(heights)]
    sulphurs = [[side / 2, side / 2, z] if k % 2 == 0 else [0.0, 0.0, z] for k, z in enumerate(heights)]
    positions = np.array(metals + sulphurs)
    positions += np.random.default_rng(seed).normal(scale=0.05, size=positions.shape)
    return StructureRecord(
        lattice_ang=lattice.tolist(),
        species=("Pb",) * LAYERS + ("S",) * LAYERS,
        frac_coords=(positions @ np.linalg.inv(lattice)).tolist(),
    )


@contextmanager
def started_per_step() -> Iterator[None]:
    """Start the code anew for each step."""
    original = DftEngine.setting_of

    def setting_of(self: DftEngine, *arguments: Any) -> Setting:
        return replace(original(self, *arguments), is_kept_alive=False)

    DftEngine.setting_of = setting_of  # type: ignore[method-assign]
    try:
        yield
    finally:
        DftEngine.setting_of = original  # type: ignore[method-assign]


def relax(engine: DftEngine, words: str) -> None:
    """Relax the slab and print how it went."""
    with tempfile.TemporaryDirectory() as scratch:
        os.environ[SCRATCH_VARIABLE] = scratch
        start_s = perf_counter()
        result = engine.relax(build_slab(), Freedom.POSITIONS)
        print_row(words, perf_counter() - start_s, result.n_steps, result.n_scf_steps, result.energy_ev)


def relax_by_pw(engine: DftEngine) -> None:
    """Let ``pw.x`` relax the slab by itself, with the same input otherwise."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        engine.write_inputs(build_slab(), Freedom.POSITIONS, folder)
        text = (folder / "pw.in").read_text(encoding="utf-8").replace("'scf'", "'relax'")
        threshold = FORCE_THRESHOLD_EV_PER_ANG / 25.7110 / 3**0.5  # Ry/bohr; pw.x judges components
        text = re.sub(r"(&CONTROL\n)", rf"\1 forc_conv_thr = {threshold:.6f}\n etot_conv_thr = 1.0\n", text, count=1)
        (folder / "pw.in").write_text(text, encoding="utf-8")
        start_s = perf_counter()
        with (folder / "pw.out").open("w", encoding="utf-8") as out:
            subprocess.run(["pw.x", "-in", "pw.in"], cwd=folder, stdout=out, stderr=subprocess.STDOUT, check=True)
        wall_s = perf_counter() - start_s
        said = (folder / "pw.out").read_text(encoding="utf-8")
        energies = re.findall(r"^!    total energy\s+=\s+(\S+) Ry", said, flags=re.MULTILINE)
        print_row("pw.x relax", wall_s, len(energies), said.count("iteration #"), float(energies[-1]) * 13.605693)


def print_row(words: str, wall_s: float, n_steps: int, n_scf_steps: int | None, energy_ev: float) -> None:
    """Print one line of the table."""
    print(
        f"{words:20} {wall_s:9.1f} s {n_steps:5} steps {n_scf_steps or 0:6} SCF steps {energy_ev:16.5f} eV", flush=True
    )


def main() -> None:
    """Run the comparison."""
    parser = argparse.ArgumentParser()
    parser.add_argument("engine", choices=("espresso", "gpaw"), nargs="?", default="espresso")
    parser.add_argument("--preset", default="fast")
    arguments = parser.parse_args()
    spec = EngineSpec(
        name=arguments.engine,
        preset=arguments.preset,
        dispersion=Dispersion.NONE,
        settings={"force_threshold_ev_per_ang": FORCE_THRESHOLD_EV_PER_ANG},
    )
    engine = engine_from_spec(spec)
    assert isinstance(engine, DftEngine)
    relax(engine, "kept alive")
    with started_per_step():
        relax(engine, "a start per step")
    if arguments.engine == "espresso":
        relax_by_pw(engine)


if __name__ == "__main__":
    main()

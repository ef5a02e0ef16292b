"""A relaxation whose code is kept alive between steps, against one start of the code per step and pw.x's own `relax`.

    OMP_NUM_THREADS=1 python benchmarks/kept_alive.py [espresso|gpaw] [--slab LiH|MgO|PbS] [--ways kept started own]

A (100) slab of rock salt with seven layers (14 atoms), displaced by 0.05 Å, is relaxed at the cutoffs of a preset.
Wall time, processor time of the code, steps to self-consistency, and the first and the last energy stand side by side:
the first energies agree to 1e-5 eV, the last ones are those of one minimum as far as the threshold of the forces tells.
LiH takes minutes, MgO an hour, PbS many.
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from ase.units import create_units

from qdip_dft.engines.code_run import Setting
from qdip_dft.engines.dft import DftEngine
from qdip_dft.engines.registry import engine_from_spec
from qdip_dft.model.calculation import Freedom
from qdip_dft.model.engine import Dispersion, EngineSpec
from qdip_dft.model.structure import StructureRecord
from qdip_dft.runtime.journal import SCRATCH_VARIABLE

EDGES_ANG = {"LiH": 4.08, "MgO": 4.21, "PbS": 5.94}
"""Lattice constants."""

LAYERS = 7
VACUUM_ANG = 10.0
WAYS = ("kept", "started", "own")
FORCE_THRESHOLD_EV_PER_ANG = 0.05


def build_slab(name: str, seed: int = 1) -> StructureRecord:
    """Return the displaced slab."""
    metal, other = re.findall("[A-Z][a-z]?", name)
    edge_ang = EDGES_ANG[name]
    side = edge_ang / np.sqrt(2)
    lattice = np.diag([side, side, (LAYERS - 1) * edge_ang / 2 + VACUUM_ANG])
    heights = np.arange(LAYERS) * edge_ang / 2
    corners, centres = ([[x, x, z] for z in heights] for x in (0.0, side / 2))
    even = [k % 2 == 0 for k in range(LAYERS)]
    metals = [corners[k] if is_even else centres[k] for k, is_even in enumerate(even)]
    others = [centres[k] if is_even else corners[k] for k, is_even in enumerate(even)]
    positions = np.array(metals + others)
    positions += np.random.default_rng(seed).normal(scale=0.05, size=positions.shape)
    return StructureRecord(
        lattice_ang=lattice.tolist(),
        species=(metal,) * LAYERS + (other,) * LAYERS,
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


def relax(engine: DftEngine, slab: StructureRecord, words: str) -> None:
    """Relax the slab and print how it went."""
    with tempfile.TemporaryDirectory() as scratch:
        os.environ[SCRATCH_VARIABLE] = scratch
        first: list[float] = []
        start_s, start_cpu_s = perf_counter(), children_cpu_s()
        result = engine.relax(slab, Freedom.POSITIONS, on_step=lambda step: first.append(step.energy_ev))
        times_s = perf_counter() - start_s, children_cpu_s() - start_cpu_s
        print_row(words, times_s, len(first), result.n_scf_steps, (first[0], result.energy_ev))


def relax_by_pw(engine: DftEngine, slab: StructureRecord) -> None:
    """Let ``pw.x`` relax the slab by itself, with the same input otherwise."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        engine.write_inputs(slab, Freedom.POSITIONS, folder)
        text = (folder / "pw.in").read_text(encoding="utf-8").replace("'scf'", "'relax'")
        threshold = FORCE_THRESHOLD_EV_PER_ANG / 25.7110 / 3**0.5  # Ry/bohr; pw.x judges components
        text = re.sub(r"(&CONTROL\n)", rf"\1 forc_conv_thr = {threshold:.6f}\n etot_conv_thr = 1.0\n", text, count=1)
        (folder / "pw.in").write_text(text, encoding="utf-8")
        start_s, start_cpu_s = perf_counter(), children_cpu_s()
        with (folder / "pw.out").open("w", encoding="utf-8") as out:
            subprocess.run(["pw.x", "-in", "pw.in"], cwd=folder, stdout=out, stderr=subprocess.STDOUT, check=True)
        times_s = perf_counter() - start_s, children_cpu_s() - start_cpu_s
        said = (folder / "pw.out").read_text(encoding="utf-8")
        energies = re.findall(r"^!    total energy\s+=\s+(\S+) Ry", said, flags=re.MULTILINE)
        rydberg_ev = float(create_units("2006")["Ry"])  # as ASE reads the outputs of the other ways
        ends_ev = float(energies[0]) * rydberg_ev, float(energies[-1]) * rydberg_ev
        print_row("pw.x relax", times_s, len(energies), said.count("iteration #"), ends_ev)


def children_cpu_s() -> float:
    """Return the processor time of all programs that were started and have ended, in s."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def print_row(
    words: str, times_s: tuple[float, float], n_evaluations: int, n_scf: int | None, energies_ev: tuple[float, float]
) -> None:
    """Print wall and processor time in s, what was evaluated, and the first and the last energy in eV."""
    wall_s, cpu_s = times_s
    first_ev, last_ev = energies_ev
    print(
        f"{words:16} {wall_s:8.1f} s {cpu_s:8.1f} s of processor {n_evaluations:4} evaluations {n_scf or 0:5} SCF steps"
        f" {first_ev:14.5f} eV {last_ev:14.5f} eV",
        flush=True,
    )


def main() -> None:
    """Run the comparison."""
    parser = argparse.ArgumentParser()
    parser.add_argument("engine", choices=("espresso", "gpaw"), nargs="?", default="espresso")
    parser.add_argument("--slab", choices=tuple(EDGES_ANG), default="LiH")
    parser.add_argument("--preset", default="fast")
    parser.add_argument("--k-spacing", type=float, default=1.1, help="in 1/Å; 1.1: 2 × 2 × 1 points, 2.2: Γ alone")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS, help="own: by the code itself, pw.x only")
    arguments = parser.parse_args()
    spec = EngineSpec(
        name=arguments.engine,
        preset=arguments.preset,
        dispersion=Dispersion.NONE,
        settings={
            "force_threshold_ev_per_ang": FORCE_THRESHOLD_EV_PER_ANG,
            "k_spacing_per_ang": arguments.k_spacing,
        },
    )
    engine = engine_from_spec(spec)
    assert isinstance(engine, DftEngine)
    slab = build_slab(arguments.slab)
    if "kept" in arguments.ways:
        relax(engine, slab, "kept alive")
    if "started" in arguments.ways:
        with started_per_step():
            relax(engine, slab, "a start per step")
    if "own" in arguments.ways and arguments.engine == "espresso":
        relax_by_pw(engine, slab)


if __name__ == "__main__":
    main()

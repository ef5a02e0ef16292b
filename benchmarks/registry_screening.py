"""Time of screening all lateral positions, gaps and orientations of a 108-atom interface on one core.

    OMP_NUM_THREADS=1 python benchmarks/registry_screening.py [--potential chgnet] [--grid 6] [--batches 1 4 8]

PbSe(100) under cubic CsPbBr3(100), a 2 × 2 supercell of their common cell, is screened as a study would do it: the
irreducible points of the grid, as cut and flipped, each at its best gap.  Loading the network is timed apart.  With
``--batches`` eight such structures are also given to CHGNet in batches: where the time per structure does not fall,
one structure at a time is as fast and needs no more memory.
"""

from __future__ import annotations

import argparse
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np

from qdip_dft.builders.faces import orient_face
from qdip_dft.builders.films import embed_matrix, in_vacuum
from qdip_dft.builders.ions import IonicCrystal, repeat_crystal
from qdip_dft.builders.registry import find_displacement_cell, join_at_gap
from qdip_dft.builders.variants import list_half_turns
from qdip_dft.engines.base import Engine
from qdip_dft.engines.registry import engine_from_spec
from qdip_dft.library.crystals import load_crystal_record
from qdip_dft.model.engine import EngineSpec
from qdip_dft.model.keys import registry_scan_key
from qdip_dft.model.registry import RegistryScan, RegistryScanTask
from qdip_dft.model.structure import StructureRecord
from qdip_dft.tasks.registry_scan import Checkpoint, screen

VACUUM_ANG = 15.0
CHARGES = {"Pb": 2, "Se": -2, "Cs": 1, "Br": -1}


def main() -> None:
    """Print what was screened and how long it took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--potential", default="chgnet", choices=["chgnet", "sevennet-0"])
    parser.add_argument("--grid", type=int, default=6, help="lateral positions along each vector")
    parser.add_argument("--batches", type=int, nargs="*", default=[], help="batch sizes to compare for CHGNet")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    use_one_core()
    dot, film = build_slabs()
    engine = engine_from_spec(EngineSpec(name="mlip", potential=given.potential))
    start_s = time.perf_counter()
    engine.static(dot.to_record())
    print(f"loading {given.potential}: {time.perf_counter() - start_s:.1f} s")
    print_screening(make_task(dot, film, n_grid=given.grid), engine)
    for size in given.batches:
        print(f"batches of {size}: {time_batches(dot, film, size):.3f} s of CPU per structure")


def use_one_core() -> None:
    """Let torch use one thread."""
    import torch

    torch.set_num_threads(1)


def build_slabs() -> tuple[IonicCrystal, IonicCrystal]:
    """Return 48 atoms of PbSe(100) and 60 of CsPbBr3(100) on one square mesh."""
    dot_face, film_face = (orient_face(load_crystal_record(name), "100") for name in ("PbSe", "CsPbBr3-cubic"))
    dot = repeat_crystal(dot_face.oriented, embed_matrix(((2, 2), (-2, 2)), 3))
    film = repeat_crystal(film_face.oriented, embed_matrix(((2, 0), (0, 2)), 3))
    lattice = film.lattice_ang.copy()
    lattice[:2, :2] = dot.lattice_ang[:2, :2]
    strained = IonicCrystal(lattice, film.ions, film.frac_centres)
    return in_vacuum(dot, VACUUM_ANG), in_vacuum(strained, VACUUM_ANG)


def make_task(dot: IonicCrystal, film: IonicCrystal, *, n_grid: int) -> RegistryScanTask:
    """Return the screening of the two slabs."""
    longest_ang = float(np.linalg.norm(find_displacement_cell(dot, film).vectors_ang, axis=1).max())
    return RegistryScanTask(
        label="PbSe(100)//CsPbBr3-cubic(100)",
        dot=dot.to_record(),
        film=film.to_record(),
        formal_charges=CHARGES,
        turns=list_half_turns(dot.lattice_ang[:2, :2]),
        grid_spacing_ang=longest_ang / n_grid,
        vacuum_ang=VACUUM_ANG,
    )


def print_screening(task: RegistryScanTask, engine: Engine) -> None:
    """Screen and print points, energies and times."""
    with tempfile.TemporaryDirectory() as folder:
        start_s = time.process_time()
        checkpoint = Checkpoint(Path(folder) / "energies.jsonl")
        found = screen(task, engine, key=registry_scan_key(task, engine.theory()), checkpoint=checkpoint)
        cpu_s = time.process_time() - start_s
    print(describe(found, n_atoms=task.dot.n_atoms + task.film.n_atoms))
    print(
        f"{cpu_s:.1f} s of CPU, {found.wall_time_s:.1f} s by the clock;"
        f" {cpu_s / found.n_evaluations:.3f} s per energy: {10 * found.n_evaluations / cpu_s:.0f} energies in 10 s"
    )


def describe(found: RegistryScan, *, n_atoms: int) -> str:
    """Return what a screening found, in words."""
    best = found.best[0]
    return (
        f"{n_atoms} atoms, {len(found.points)} irreducible points of {sum(p.multiplicity for p in found.points)},"
        f" {found.n_evaluations} energies; displacement cell {found.displacement_area_ang2:.2f} Å²\n"
        f"best: {best.turn.name}, shift {best.shift}, {best.gap_offset_ang:+.2f} Å above contact,"
        f" gap {best.gap_ang:.2f} Å\n"
        f"range {found.range_ev:.3f} eV, deviation {found.deviation_ev:.3f} eV on {found.area_ang2:.0f} Å²"
    )


def time_batches(dot: IonicCrystal, film: IonicCrystal, size: int) -> float:
    """Return the CPU time of energy, forces and stress per structure for CHGNet with one batch size, in s."""
    from chgnet.model.model import CHGNet

    model = CHGNet.load(verbose=False)
    graphs = [model.graph_converter(record.to_pymatgen()) for record in displaced(dot, film, n_structures=8)]
    model.predict_graph(graphs[:1], batch_size=1)
    start_s = time.process_time()
    model.predict_graph(graphs, batch_size=size)
    return (time.process_time() - start_s) / len(graphs)


def displaced(dot: IonicCrystal, film: IonicCrystal, *, n_structures: int) -> list[StructureRecord]:
    """Return interfaces that differ by the film's place."""
    return [
        join_at_gap(dot, film, shift_ang=(float(x_ang), 0.0), gap_offset_ang=0.0, vacuum_ang=VACUUM_ANG).to_record()
        for x_ang in np.linspace(0.0, 2.0, n_structures)
    ]


if __name__ == "__main__":
    main()

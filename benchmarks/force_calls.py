"""How long a force call of SevenNet-0 takes, with its package's convolutions and with ours, and the preconditioner.

    OMP_NUM_THREADS=1 python benchmarks/force_calls.py [REPEATS]

Both ways in turn in one process, in seconds of processor time; the factor is the median of the paired runs.
"""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

import numpy as np

from qdip_dft.engines import sevennet
from qdip_dft.engines.mlip import NETWORKS, weights_file
from qdip_dft.engines.relaxation.coordinates import Coordinates, coordinates_of
from qdip_dft.engines.relaxation.model_hessian import model_hessian
from qdip_dft.library.crystals import load_crystal
from qdip_dft.model.calculation import Freedom
from qdip_dft.model.structure import StructureRecord
from qdip_dft.runtime.threads import limit_torch

CELLS = {72: ("FAPbI3-alpha", (1, 2, 3)), 144: ("FAPbI3-alpha", (2, 2, 3)), 276: ("FAPbI3-alpha", (1, 1, 23))}
HESSIAN_CELLS = ((2, 3, 4), (3, 3, 5), (4, 5, 5), (5, 5, 7), (5, 6, 6), (7, 7, 7))


@dataclass(frozen=True, slots=True)
class Comparison:
    """Processor times of two ways, in s, run in turn."""

    before_s: list[float]
    after_s: list[float]

    def __str__(self) -> str:
        factor = median(before / after for before, after in zip(self.before_s, self.after_s, strict=True))
        return f"{median(self.before_s):8.3f} s {median(self.after_s):8.3f} s {factor:6.1f}"


def supercell(crystal_id: str, repeats: tuple[int, int, int]) -> StructureRecord:
    """Return a crystal repeated, its atoms moved at random by 0.05 Å."""
    crystal = load_crystal(crystal_id).structure.copy()
    crystal.make_supercell(repeats)
    record = StructureRecord.from_pymatgen(crystal)
    noise = np.random.default_rng(3).normal(scale=0.05, size=(record.n_atoms, 3)) @ np.linalg.inv(record.lattice_ang)
    return record.model_copy(update={"frac_coords": tuple(map(tuple, np.array(record.frac_coords) + noise))})


def processor_seconds(call: Callable[[], object]) -> float:
    """Return the processor time of a call in s."""
    start_s = time.process_time()
    call()
    return time.process_time() - start_s


def compare_force_calls(repeats: int) -> None:
    """Print times with the package's convolutions and with ours, and how far the numbers differ."""
    limit_torch()
    fast = sevennet.load_sevennet(weights_file(NETWORKS["sevennet-0"]))
    known, sevennet.is_known = sevennet.is_known, lambda _: False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        plain = sevennet.load_sevennet(weights_file(NETWORKS["sevennet-0"]))
    sevennet.is_known = known
    print("atoms     before      after factor    |dE|/eV  |dF|/(eV/Å)")
    for n_atoms, (crystal_id, cell) in CELLS.items():
        arrangement = supercell(crystal_id, cell).arrangement
        expected, found = plain(arrangement), fast(arrangement)
        pairs = [
            (processor_seconds(lambda a=arrangement: plain(a)), processor_seconds(lambda a=arrangement: fast(a)))
            for _ in range(repeats)
        ]
        energy_ev = abs(found.energy_ev - expected.energy_ev)
        force = np.abs(found.forces_ev_per_ang - expected.forces_ev_per_ang).max()
        print(
            f"{n_atoms:5d} {Comparison(*map(list, zip(*pairs, strict=True)))} {energy_ev:10.1e} {force:12.1e}",
            flush=True,
        )


def solve_once(coordinates: Coordinates, q: np.ndarray, gradient: np.ndarray) -> np.ndarray:
    """Return a first step, as in a relaxation whose model Hessian is built anew."""
    return model_hessian(coordinates, q).solve(gradient)


def measure_preconditioner(repeats: int) -> None:
    """Print times of building the model Hessian and solving once with it, by size."""
    print("atoms  build + solve  (cell relaxation)")
    sizes, times_s = [], []
    for cell in HESSIAN_CELLS:
        coordinates = coordinates_of(supercell("FAPbI3-alpha", cell), Freedom.CELL)
        q = coordinates.start()
        gradient = np.random.default_rng(1).normal(size=len(q))
        seconds = min(
            processor_seconds(lambda c=coordinates, q=q, g=gradient: model_hessian(c, q).solve(g))
            for _ in range(repeats)
        )
        sizes.append(coordinates.n_atoms)
        times_s.append(seconds)
        print(f"{coordinates.n_atoms:5d} {seconds:8.3f} s", flush=True)
    print(f"growth exponent {np.polyfit(np.log(sizes), np.log(times_s), 1)[0]:.2f}")


if __name__ == "__main__":
    n_repeats = int(sys.argv[1]) if len(sys.argv) > 1 else 7
    compare_force_calls(n_repeats)
    measure_preconditioner(n_repeats)

"""CPU time of the exhaustive matching against pymatgen's ZSLGenerator, pair by pair, in one process.

    python benchmarks/matching_vs_zsl.py [--areas 400 800] [--repeats 5]

Both get the same 1×1 surface lattices, ZSL with length and angle tolerance 0.05, ours with 5 % principal strain.
Times are CPU times of this process, the median of the repeats (ZSL's slow runs are repeated less); the tables of
Hermite normal forms that ours keeps between calls are dropped before every run.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from time import process_time

import numpy as np
from pymatgen.analysis.interfaces.zsl import ZSLGenerator

from qdip_dft.builders.matching import match_cells
from qdip_dft.builders.planes import Array, SurfaceLattice, primitive_lattice, surface_lattice
from qdip_dft.builders.sub_lattices import list_basis_changes, list_hermite_forms

REFERENCE = Path(__file__).parents[1] / "tests" / "data" / "lattice_matches.json"
TOLERANCE = 0.05
LONG_RUN_S = 1.0


def main() -> None:
    """Print one row per pair and area: milliseconds of both, the ratio, and how many cells each returns."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--areas", type=float, nargs="+", default=[400.0, 800.0], help="area limits in Å²")
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    print(f"{'dot // film':48} {'Å²':>5} {'ZSL ms':>9} {'ours ms':>8} {'1/ratio':>8} {'ZSL n':>6} {'ours n':>6}")
    for area in given.areas:
        ratios = [compare_pair(name, film, dot, area=area, repeats=given.repeats) for name, film, dot in load_pairs()]
        print(f"{area:g} Å²: slowest 1/{min(ratios):.0f}, median 1/{median(ratios):.0f}\n")


def compare_pair(name: str, film: SurfaceLattice, dot: SurfaceLattice, *, area: float, repeats: int) -> float:
    """Time both searches of one pair, print the row and return how many times faster ours is."""

    def search_zsl() -> int:
        zsl = ZSLGenerator(max_area=area, max_length_tol=TOLERANCE, max_angle_tol=TOLERANCE)
        return sum(1 for _ in zsl(film.vectors_3d, dot.vectors_3d))

    def search_ours() -> int:
        list_hermite_forms.cache_clear()
        list_basis_changes.cache_clear()
        return len(match_cells(film.vectors_2d, dot.vectors_2d, max_area_ang2=area, max_strain=TOLERANCE))

    zsl_s, n_zsl = time_search(search_zsl, repeats)
    ours_s, n_ours = time_search(search_ours, repeats)
    ratio = zsl_s / ours_s
    print(
        f"{name:48} {area:5.0f} {1e3 * zsl_s:9.1f} {1e3 * ours_s:8.2f} {ratio:8.0f} {n_zsl:6d} {n_ours:6d}", flush=True
    )
    return ratio


def time_search(search: Callable[[], int], repeats: int) -> tuple[float, int]:
    """Return the median CPU time in s and the number of cells; a long run counts alone."""
    times: list[float] = []
    n_cells = 0
    while len(times) < repeats and sum(times) < repeats * LONG_RUN_S:
        start = process_time()
        n_cells = search()
        times.append(process_time() - start)
    return median(times), n_cells


def load_pairs() -> Iterator[tuple[str, SurfaceLattice, SurfaceLattice]]:
    """Yield name, film plane and dot plane of every reference pair."""
    reference = json.loads(REFERENCE.read_text(encoding="utf-8"))
    for pair in reference["pairs"]:
        dot = cut_plane(reference["inputs"][pair["dot"]], pair["dot_hkl"])
        film = cut_plane(reference["inputs"][pair["film"]], pair["film_hkl"])
        indices = ["".join(map(str, pair[key])) for key in ("dot_hkl", "film_hkl")]
        yield f"{pair['dot']}({indices[0]}) // {pair['film']}({indices[1]})", film, dot


def cut_plane(crystal: dict[str, str | float], hkl: list[int]) -> SurfaceLattice:
    """Return the surface lattice of a crystal of the reference file."""
    kind, a = str(crystal["lattice"]), float(crystal["a"])
    lengths = [a, float(crystal.get("b", a)), float(crystal.get("c", a))]
    lattice: Array = np.diag(lengths)
    if kind.startswith("hexagonal"):
        lattice[1, :2] = -a / 2, a * np.sqrt(3) / 2
    centres = [[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]] if kind.endswith(" F") else [[0, 0, 0]]
    return surface_lattice(lattice, primitive_lattice(lattice, np.array(centres), [0] * len(centres)), hkl)


if __name__ == "__main__":
    main()

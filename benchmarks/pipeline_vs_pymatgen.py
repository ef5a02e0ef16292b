"""CPU time from two planes to all of their built interfaces, against pymatgen's CoherentInterfaceBuilder.

    python benchmarks/pipeline_vs_pymatgen.py [--area 400] [--repeats 3] [--profile]

Both get the same two crystals in memory, planes, thicknesses (dot 10 Å, film 12 Å), area limit and 5 %: ours of
principal strain, ZSLGenerator of its length and angle tolerances.  One termination is built on every common cell.

Ours, timed from the planes: ions, oriented cells, matching, terminations, the passivated dot slab, then for every
distinct cell mesh, dot, film, joining at contact and the gate (charge, handedness, distances).  pymatgen, timed from
the planes: slabs, ZSL matches, terminations, then interfaces, with neither gate nor whole molecules nor charge balance.

pymatgen builds each distinct cell many times over, and some beyond the limit; the distinct ones within it are counted.
Three times are given: for all of its matches (what its user waits for), until the last distinct cell has come, and for
one match of each distinct cell, as if somebody had told it beforehand which ones these are.  Runs of both alternate in
one process; medians of its CPU time are printed, which with one thread is the wall time on an idle machine.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from math import ceil
from statistics import median
from time import process_time

import numpy as np
from pymatgen.analysis.interfaces.coherent_interfaces import CoherentInterfaceBuilder
from pymatgen.analysis.interfaces.zsl import ZSLGenerator

from qdip_dft.builders.candidates import choose_termination
from qdip_dft.builders.dots import build_dot_slab, plan_dot_cut
from qdip_dft.builders.faces import orient_face
from qdip_dft.builders.films import build_strained_bulk, embed_matrix, in_vacuum, stack_film
from qdip_dft.builders.interfaces import check_built, join_slabs
from qdip_dft.builders.ions import IonicCrystal, repeat_crystal, transform_crystal
from qdip_dft.builders.matching import CellMatch, match_cells
from qdip_dft.builders.orientation import in_plane_vectors, orient_crystal, plane_spacing_ang
from qdip_dft.builders.planes import parse_hkl
from qdip_dft.builders.strain import InterfaceCell, interface_cell
from qdip_dft.builders.sub_lattices import list_basis_changes, list_hermite_forms
from qdip_dft.library.crystals import load_crystal_record

PAIRS = (
    ("PbS", "111", "CsPbI3-alpha", "100"),
    ("PbS", "111", "CsPbI3-alpha", "110"),
    ("PbS", "111", "CsPbI3-delta", "100"),
    ("PbS", "111", "CsPbI3-delta", "001"),
    ("PbS", "111", "FAPbI3-alpha", "100"),
    ("PbS", "111", "FAPbI3-delta", "100"),
    ("PbS", "100", "CsPbI3-gamma", "001"),
    ("PbS", "100", "CsPbI3-delta", "101"),
    ("PbS", "100", "FAPbI3-alpha", "110"),
    ("PbSe", "100", "CsPbBr3-cubic", "100"),
    ("PbTe", "100", "MAPbI3-tetragonal", "001"),
    ("PbTe", "100", "FAPbI3-delta", "110"),
)
"""Dot, its facet, film and its plane."""

DOT_ANG, FILM_ANG, VACUUM_ANG, TOLERANCE = 10.0, 12.0, 15.0, 0.05


@dataclass(frozen=True, slots=True)
class Times:
    """Median CPU times in s and what they bought."""

    ours_s: float
    n_ours: int
    all_s: float
    n_all: int
    reached_s: float
    told_s: float
    n_distinct: int


def main() -> None:
    """Print one row per pair."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--area", type=float, default=400.0, help="largest area in Å²")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--profile", action="store_true", help="print where our time goes instead")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    if given.profile:
        print_profile(given.area)
        return
    print(f"{'dot // film':36} {'ours s':>7} {'cells':>5} | pymatgen s (ratio): {'all':>14} {'n':>4}"
          f" {'reached':>14} {'told':>14} {'distinct':>8} | per cell, reached")  # fmt: skip
    times = [compare_pair(*pair, area=given.area, repeats=given.repeats) for pair in PAIRS]
    for name, ratios in (
        ("all matches", [t.all_s / t.ours_s for t in times if t.n_distinct]),
        ("until the last new cell", [t.reached_s / t.ours_s for t in times if t.n_distinct]),
        ("told which are distinct", [t.told_s / t.ours_s for t in times if t.n_distinct]),
    ):
        print(f"{name}: slowest 1/{min(ratios):.0f}, median 1/{median(ratios):.0f}")


def compare_pair(dot: str, dot_plane: str, film: str, film_plane: str, *, area: float, repeats: int) -> Times:
    """Time one pair, print its row and return the times."""
    structures = [load_crystal_record(name).structure.to_pymatgen() for name in (dot, film)]

    def start_pymatgen() -> CoherentInterfaceBuilder:
        return CoherentInterfaceBuilder(
            substrate_structure=structures[0], film_structure=structures[1],
            film_miller=tuple(parse_hkl(film_plane)), substrate_miller=tuple(parse_hkl(dot_plane)),
            zslgen=ZSLGenerator(max_area=area, max_length_tol=TOLERANCE, max_angle_tol=TOLERANCE),
        )  # fmt: skip

    firsts = find_new_matches(start_pymatgen())
    last = firsts[-1] + 1 if firsts else 0

    def run_pymatgen(n_matches: int | None = None, chosen: list[int] | None = None) -> int:
        builder = start_pymatgen()
        if chosen is not None:
            builder.zsl_matches = [builder.zsl_matches[index] for index in chosen]
        if not builder.zsl_matches:
            return 0
        interfaces = builder.get_interfaces(
            builder.terminations[0], film_thickness=FILM_ANG, substrate_thickness=DOT_ANG, in_layers=False
        )
        return sum(1 for _ in islice(interfaces, n_matches))

    runs: dict[str, Callable[[], int]] = {
        "ours": lambda: len(build_all(dot, dot_plane, film, film_plane, area=area)),
        "all": run_pymatgen,
        "reached": lambda: run_pymatgen(n_matches=last),
        "told": lambda: run_pymatgen(chosen=firsts),
    }
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    counts: dict[str, int] = {}
    for _ in range(repeats):
        for name, run in runs.items():
            start_s = process_time()
            counts[name] = run()
            seconds[name].append(process_time() - start_s)
    medians = {name: median(values) for name, values in seconds.items()}
    times = Times(medians["ours"], counts["ours"], medians["all"], counts["all"], medians["reached"],
                  medians["told"], len(firsts))  # fmt: skip
    print_row(f"{dot}({dot_plane}) // {film}({film_plane})", times)
    return times


def print_row(name: str, times: Times) -> None:
    """Print times and ratios of a pair."""
    columns = [f"{t:7.2f} (1/{t / times.ours_s:3.0f})" for t in (times.all_s, times.reached_s, times.told_s)]
    per_cell = (times.reached_s / max(times.n_distinct, 1)) / (times.ours_s / max(times.n_ours, 1))
    print(f"{name:36} {times.ours_s:7.3f} {times.n_ours:5d} | {'':19} {columns[0]:>14} {times.n_all:4d}"
          f" {columns[1]:>14} {columns[2]:>14} {times.n_distinct:8d} | 1/{per_cell:.0f}", flush=True)  # fmt: skip


def find_new_matches(builder: CoherentInterfaceBuilder) -> list[int]:
    """Return the indices of pymatgen's matches that are the first of a distinct cell within the strain limit."""
    seen: dict[tuple[float, ...], int] = {}
    for index, match in enumerate(builder.zsl_matches):
        film, dot = match.film_sl_vectors, match.substrate_sl_vectors
        stretches = np.linalg.svd(np.linalg.lstsq(film, dot, rcond=None)[0], compute_uv=False)[:2]
        if np.max(np.abs(stretches - 1.0)) <= TOLERANCE:
            seen.setdefault((*reduced_gram(film), *reduced_gram(dot)), index)
    return list(seen.values())


def reduced_gram(vectors: np.ndarray) -> tuple[float, ...]:
    """Return the Gram matrix of the two shortest vectors of a lattice, rounded to 0.01 Å²."""
    short, long = sorted(np.array(vectors), key=lambda vector: float(vector @ vector))
    while steps := round(float(short @ long / (short @ short))):
        short, long = sorted((short, long - steps * short), key=lambda vector: float(vector @ vector))
    return tuple(round(float(value), 2) for value in (short @ short, abs(short @ long), long @ long))


def build_all(dot: str, dot_plane: str, film: str, film_plane: str, *, area: float) -> list[IonicCrystal]:
    """Return a gated interface for every distinct common cell of two planes."""
    list_hermite_forms.cache_clear()
    list_basis_changes.cache_clear()
    dot_face, film_face = (orient_face(CRYSTALS[name], plane) for name, plane in ((dot, dot_plane), (film, film_plane)))
    film_2d, dot_2d = in_plane_vectors(film_face.oriented), in_plane_vectors(dot_face.oriented)
    cells = match_cells(film_2d, dot_2d, max_area_ang2=area, max_strain=TOLERANCE)
    passivation = "I"
    dot_cut = plan_dot_cut(dot_face.oriented, min_thickness_ang=DOT_ANG, passivation=passivation, facet=dot_face.name)
    slab = build_dot_slab(dot_face.oriented, dot_cut, passivation=passivation)
    cut = choose_termination(film_face, None).cut
    film_unit = orient_crystal(film_face.crystal, film_face.orientation, cut=cut)
    return [build_interface(slab, film_unit, cell, interface_cell(film_2d, dot_2d, cell)) for cell in cells]


def build_interface(slab: IonicCrystal, film_unit: IonicCrystal, match: CellMatch, mesh: InterfaceCell) -> IonicCrystal:
    """Return the gated interface on one cell."""
    n_planes = ceil(FILM_ANG / plane_spacing_ang(film_unit) - 1e-6)
    deformation = np.eye(3)
    deformation[:2, :2] = mesh.dot_deformation
    dot = transform_crystal(repeat_crystal(slab, embed_matrix(match.dot_matrix, 1)), deformation)
    reference = build_strained_bulk(film_unit, match.film_matrix, mesh, n_periods=1)
    film = stack_film(reference, n_repeats=n_planes, vacuum_ang=VACUUM_ANG)
    joined = join_slabs(in_vacuum(dot, VACUUM_ANG), film, shift_ang=np.zeros(2), vacuum_ang=VACUUM_ANG)
    return check_built(joined, name="interface")


def print_profile(area: float) -> None:
    """Print where our time goes over all pairs."""
    profile = cProfile.Profile()
    profile.enable()
    for pair in PAIRS:
        build_all(*pair, area=area)
    profile.disable()
    pstats.Stats(profile).sort_stats("cumulative").print_stats(35)


CRYSTALS = {name: load_crystal_record(name) for dot, _, film, _ in PAIRS for name in (dot, film)}

if __name__ == "__main__":
    main()

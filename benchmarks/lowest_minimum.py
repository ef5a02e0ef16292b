"""How far relaxations of one film end apart, and how far after a search for the lowest minimum.

    python benchmarks/lowest_minimum.py [--study pbs-fapbi3] [--film FAPbI3-delta(100)] [--seeds 3] [--tries 2]

The film slab of a study is cut from its crystals as filed and its ions are displaced at random by 0.2 Å, whole cations,
once per seed; each start is relaxed and searched with the engine of the study.  A search that is killed goes on
where it was, from the folder `--recordings`.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from qdip_dft.builders.films import displace_ions
from qdip_dft.builders.ions import view_ions
from qdip_dft.engines.potential import PotentialEngine
from qdip_dft.flows.steps import Part
from qdip_dft.model.calculation import Freedom
from qdip_dft.planning.plan import plan_study
from qdip_dft.planning.study_files import read_study
from qdip_dft.runtime.journal import recording_in
from qdip_dft.tasks.search import search_minimum
from qdip_dft.units import MEV_PER_EV


def main() -> None:
    """Search and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", default="pbs-fapbi3")
    parser.add_argument("--film", default="FAPbI3-delta(100)", help="the end of the candidate's name")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--tries", type=int, default=2)
    parser.add_argument("--recordings", type=Path, default=Path("qdip-scratch"))
    given = parser.parse_args()
    plan = plan_study(read_study(given.study))
    (film,) = (each for each in plan.steps.candidates if each.label.endswith(given.film))
    geometry, engine = plan.steps.geometry_of(film), plan.engines.relaxing
    assert isinstance(engine, PotentialEngine)
    searching = replace(engine, relaxation=replace(engine.relaxation, search_tries=given.tries))
    slab = view_ions(plan.previews[plan.steps.id_of(Part.FILM_SLAB, film.id)], geometry.formal_charges)
    print(f"{film.label}: {slab.n_atoms} atoms, {film.n_formula_units} f.u.; meV/f.u. against the lowest of all")
    found = []
    for seed in range(1, given.seeds + 1):
        start = displace_ions(slab, deviation_ang=0.2, seed=seed).to_record()
        with recording_in(given.recordings):
            result = search_minimum(searching, start, Freedom.POSITIONS, seed=seed)
        assert result.search is not None
        print(f"seed {seed}: {result.search}, {result.wall_time_s:.0f} s", flush=True)
        found.append(result.search)
    lowest = min(min(search.energies_ev) for search in found)
    for name, energies in (
        ("relaxed", [search.energies_ev[0] for search in found]),
        ("searched", [min(search.energies_ev) for search in found]),
    ):
        print(name, *(f"{MEV_PER_EV * (energy - lowest) / film.n_formula_units:.1f}" for energy in energies))


if __name__ == "__main__":
    main()

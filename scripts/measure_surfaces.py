"""Measure the surface energies of γ-CsPbI3 with potentials, for the slabs of tests/data/cspbi3_surface_energies.csv.

    python scripts/measure_surfaces.py [--preset balanced] [--dispersion d3bj] [POTENTIAL …]

Of the published slabs those are built that hold whole CsPbI3, CsI and PbI2 only, so that the stoichiometry tells both
faces: in the 1 × 1 cell of the plane, of the potential's own γ phase, relaxed with 15 Å of vacuum.  A face of half an
ion layer lacks every second pair of ions; all choices are evaluated unrelaxed and the lowest two relaxed.  Written are
surface energies in meV/Å² at the PbI2-rich and the CsI-rich end of the stability range of CsPbI3, with the potential's
own CsI and PbI2, into scripts/surfaces.json.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from dataclasses import dataclass
from itertools import combinations, product
from pathlib import Path

import numpy as np
from surface_energy import grand_potential_mev_per_ang2

from qdip_dft.builders.films import count_images, stack_closed_film
from qdip_dft.builders.ions import IonicCrystal, find_ions
from qdip_dft.builders.orientation import find_orientation, orient_crystal
from qdip_dft.builders.terminations import list_terminations
from qdip_dft.engines.base import Engine
from qdip_dft.engines.registry import engine_from_spec
from qdip_dft.library.crystals import load_crystal
from qdip_dft.model.calculation import Freedom
from qdip_dft.model.engine import Dispersion, EngineSpec, PresetName
from qdip_dft.model.structure import StructureRecord

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "scripts" / "surfaces.json"
VACUUM_ANG = 15.0
CHARGES = {"Cs": 1, "Pb": 2, "I": -1}


@dataclass(frozen=True, slots=True)
class Slab:
    """A published slab in the 1 × 1 cell of its plane.

    Parameters
    ----------
    plane
        Miller indices in the setting Pbnm.
    termination
        Its faces by the names of the package.
    n_planes
        Whole lattice planes.
    half
        Cation of which each face lacks every second one, with its iodides; empty: the faces are whole.
    """

    plane: tuple[int, int, int]
    termination: str
    n_planes: int
    half: str = ""


SLABS = {
    "24cspbi3-csi(001)": Slab((0, 0, 1), "CsI|CsI", 2, half="Cs"),
    "24cspbi3-pbi(001)": Slab((0, 0, 1), "PbI2|PbI2", 2, half="Pb"),
    "8pb16i24cspbi3(001)": Slab((0, 0, 1), "PbI2|PbI2", 2),
    "8pb16i-24cspbi3(110)": Slab((1, 1, 0), "PbI2|PbI2", 3),
    "32cspbi3-csi(110)": Slab((1, 1, 0), "CsI|CsI", 4, half="Cs"),
    "8cs8i-20cspbi3(100)": Slab((1, 0, 0), "Cs|Cs", 3),
    "24cspbi3beta(100)": Slab((1, 0, 0), "I|I", 3),
}

LAYER_ANG = 2.2
"""Iodides of a cation's own layer are less than this higher or lower; those of the next layer 3 Å."""

N_RELAXED = 2


def main() -> None:
    """Measure every slab with every potential and keep the numbers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("potentials", nargs="*", default=["sevennet-0"])
    parser.add_argument("--preset", default="balanced", choices=[preset.value for preset in PresetName])
    parser.add_argument("--dispersion", default="d3bj", choices=[dispersion.value for dispersion in Dispersion])
    arguments = parser.parse_args()
    for potential in arguments.potentials:
        spec = EngineSpec(
            name="mlip", preset=arguments.preset, potential=potential, dispersion=Dispersion(arguments.dispersion)
        )
        engine = engine_from_spec(spec)
        relaxed = {name: engine.relax(_record(name), Freedom.CELL) for name in ("CsPbI3-gamma", "CsI", "PbI2")}
        bulk_ev = {name: each.energy_ev / load_crystal(name).formula_units for name, each in relaxed.items()}
        host = find_ions(relaxed["CsPbI3-gamma"].structure, CHARGES)
        for label, slab in SLABS.items():
            measured = _measure(engine, slab, host, bulk_ev)
            kept = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
            kept.setdefault(f"{potential} {arguments.dispersion}", {})[label] = measured
            RESULTS.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
            print(potential, arguments.dispersion, label, measured, flush=True)


def _record(name: str) -> StructureRecord:
    return StructureRecord.from_pymatgen(load_crystal(name).structure)


def _measure(engine: Engine, slab: Slab, host: IonicCrystal, bulk_ev: dict[str, float]) -> dict[str, float]:
    whole = _build(slab, host)
    variants = [_without(whole, lost) for lost in _list_vacancies(whole, slab.half)] if slab.half else [whole]
    records = [variant.to_record() for variant in variants]
    unrelaxed = sorted(records, key=lambda record: engine.static(record).energy_ev) if len(records) > 1 else records
    energy_ev = min(engine.relax(record, Freedom.POSITIONS).energy_ev for record in unrelaxed[:N_RELAXED])
    counts = Counter(unrelaxed[0].species)
    n_units = min(counts["Cs"], counts["Pb"])
    assert not slab.half or counts["Cs"] == counts["Pb"]
    excess = {"CsI": counts["Cs"] - n_units, "PbI2": counts["Pb"] - n_units}
    assert counts["I"] == 3 * n_units + excess["CsI"] + 2 * excess["PbI2"]
    formation_ev = bulk_ev["CsPbI3-gamma"] - bulk_ev["CsI"] - bulk_ev["PbI2"]  # negative: CsPbI3 is stable
    ends = {"PbI2-rich": {"PbI2": 0.0, "CsI": formation_ev}, "CsI-rich": {"PbI2": formation_ev, "CsI": 0.0}}
    above_ev = energy_ev - n_units * bulk_ev["CsPbI3-gamma"] - sum(n * bulk_ev[name] for name, n in excess.items())
    area_ang2 = float(np.linalg.norm(np.cross(*whole.lattice_ang[:2])))
    energies = {
        end: round(
            grand_potential_mev_per_ang2(above_ev, excess=excess, potentials_ev=potentials, area_ang2=area_ang2), 3
        )
        for end, potentials in ends.items()
    }
    return {"n_atoms": unrelaxed[0].n_atoms, "area_ang2": round(area_ang2, 2), **energies}


def _build(slab: Slab, host: IonicCrystal) -> IonicCrystal:
    filed = find_ions(_record("CsPbI3-gamma"), CHARGES)  # its symmetry is exact
    recipe = find_orientation(filed, slab.plane)
    pairs = list_terminations(orient_crystal(filed, recipe)).pairs
    pair = next(each for each in pairs if each.name == slab.termination)
    oriented = orient_crystal(host, recipe, cut=pair.cut)
    images = count_images(pair.closing, n_planes=slab.n_planes, matrix=((1, 0), (0, 1)), n_periods=1)
    return stack_closed_film(oriented, n_images=images, vacuum_ang=VACUUM_ANG)


def _list_vacancies(whole: IonicCrystal, cation: str) -> list[set[int]]:
    """Return every choice of ions that both faces may lose: half of the cations of each, with their iodides."""
    heights_ang = whole.centres_ang[:, 2]
    cations = sorted((i for i, ion in enumerate(whole.ions) if ion.label == cation), key=lambda i: heights_ang[i])
    n_per_face = abs(whole.count("Cs") - whole.count("Pb"))  # of both together so many must go
    faces = (cations[:n_per_face], cations[-n_per_face:])
    choices = [list(combinations(face, n_per_face // 2)) for face in faces]
    return [_with_iodides(whole, {*bottom, *top}) for bottom, top in product(*choices)]


def _with_iodides(whole: IonicCrystal, cations: set[int]) -> set[int]:
    """Return the cations and as many of the nearest iodides of their layer as make the loss neutral."""
    lost = set(cations)
    for cation in sorted(cations):
        iodides = [
            i
            for i, ion in enumerate(whole.ions)
            if ion.label == "I"
            and i not in lost
            and abs((whole.centres_ang[i] - whole.centres_ang[cation])[2]) < LAYER_ANG
        ]
        nearest = sorted(iodides, key=lambda i: _distance_ang(whole, i, cation))
        lost |= set(nearest[: CHARGES[whole.ions[cation].label]])
    return lost


def _distance_ang(whole: IonicCrystal, one: int, other: int) -> float:
    difference = whole.frac_centres[one] - whole.frac_centres[other]
    return float(np.linalg.norm((difference - np.round(difference)) @ whole.lattice_ang))


def _without(whole: IonicCrystal, lost: set[int]) -> IonicCrystal:
    kept = [i for i in range(len(whole.ions)) if i not in lost]
    return IonicCrystal.at(whole.lattice_ang, (whole.ions[i] for i in kept), whole.centres_ang[kept])


if __name__ == "__main__":
    main()

"""Measure what CP2K's basis sets lack at the published minima: plane waves with the same pseudopotentials.

    python scripts/measure_basis_limit.py FOLDER [--k-spacing 0.51] [--cutoffs 60 80]

pw.x reads Goedecker-Teter-Hutter pseudopotentials in the format of ABINIT and BigDFT, into which those of CP2K are
written here.  PBE without dispersion, the primitive cells of tests/data/phase_minima.json, the same k-points in both
codes: Γ alone, or a mesh.  Energies per formula unit go into scripts/basis_limit.json one by one; what stands there is
not computed again.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ase.data import atomic_numbers
from ase.io import write
from measure_minima_with_codes import PHASES, ROOT, find_primitive, is_kept, keep

from qdip_dft.engines.code_run import count_k_points
from qdip_dft.engines.cp2k.data import POTENTIAL_FILE, data_folder, find_kind
from qdip_dft.engines.programs import run_command
from qdip_dft.engines.registry import engine_from_spec
from qdip_dft.model.engine import EngineSpec
from qdip_dft.model.structure import StructureRecord
from qdip_dft.units import RYDBERG_IN_EV

RESULTS = ROOT / "scripts" / "basis_limit.json"
FAMILY = "TZV2P-MOLOPT-PBE-GTH"
ABINIT_GTH, ABINIT_PBE = 10, 11
GAMMA_ALONE_PER_ANG = 3.0


def main() -> None:
    """Calculate what is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--material", default="CsPbI3", choices=["CsPbI3", "FAPbI3"])
    parser.add_argument(
        "--k-spacing", type=float, default=GAMMA_ALONE_PER_ANG, help="In 1/Å; the default leaves Γ alone."
    )
    parser.add_argument("--cutoffs", nargs="*", type=int, default=[60, 80], help="Of the plane waves, in Ry.")
    parser.add_argument("--presets", nargs="*", default=["fast", "balanced"], help="Of CP2K.")
    arguments = parser.parse_args()
    for phase in (phase for material, phase in PHASES if material == arguments.material):
        cell, n_units = find_primitive(arguments.material, phase)
        mesh = count_k_points(cell, arguments.k_spacing)
        key = {"material": arguments.material, "phase": phase, "k_spacing_per_ang": arguments.k_spacing}
        for preset in arguments.presets:
            if not is_kept(RESULTS, own := key | {"code": "cp2k", "preset": preset}):
                _keep(own, _with_cp2k(cell, preset, arguments.k_spacing) / n_units)
        for cutoff_ry in arguments.cutoffs:
            if not is_kept(RESULTS, own := key | {"code": "pw.x", "cutoff_ry": cutoff_ry}):
                folder = arguments.folder / "-".join(map(str, (phase, cutoff_ry, *mesh)))
                _keep(own, _with_plane_waves(cell, cutoff_ry, mesh, folder) / n_units)


def _keep(key: dict[str, Any], energy_ev_per_fu: float) -> None:
    keep(RESULTS, key | {"energy_ev_per_fu": round(energy_ev_per_fu, 6)})


def _with_cp2k(cell: StructureRecord, preset: str, k_spacing_per_ang: float) -> float:
    settings = {"k_spacing_per_ang": k_spacing_per_ang}
    engine = engine_from_spec(EngineSpec(name="cp2k", preset=preset, dispersion="none", settings=settings))
    return engine.static(cell).energy_ev


def _with_plane_waves(cell: StructureRecord, cutoff_ry: int, mesh: tuple[int, int, int], folder: Path) -> float:
    folder.mkdir(parents=True, exist_ok=True)
    elements = sorted(set(cell.species))
    for element in elements:
        (folder / f"{element}.gth").write_text(_write_pseudopotential(element), encoding="utf-8")
    write(
        folder / "pw.in",
        cell.to_pymatgen().to_ase_atoms(),
        format="espresso-in",
        pseudopotentials={element: f"{element}.gth" for element in elements},
        input_data={
            "control": {"calculation": "scf", "pseudo_dir": ".", "outdir": "scratch", "disk_io": "none"},
            "system": {"ecutwfc": cutoff_ry, "occupations": "fixed"},
            "electrons": {"conv_thr": 1e-7, "mixing_beta": 0.5, "diago_david_ndim": 2},
        },
        kpts=None if mesh == (1, 1, 1) else mesh,
    )
    output = folder / "pw.out"
    run_command(["pw.x", "-i", "pw.in"], folder=folder, stdin=None, stdout=output)
    (final,) = (line for line in output.read_text(encoding="utf-8").splitlines() if line.startswith("!"))
    return float(final.split()[-2]) * RYDBERG_IN_EV


def _write_pseudopotential(element: str) -> str:
    """Return a pseudopotential of CP2K's file as ABINIT writes it: without spin-orbit coefficients, which are zero."""
    folder = data_folder("cp2k")
    name = find_kind(folder, element, family=FAMILY).potential
    lines = [line.split() for line in (folder / POTENTIAL_FILE).read_text(encoding="utf-8").splitlines()]
    start = next(i for i, words in enumerate(lines) if words[:2] == [element, name])
    charge = sum(map(int, lines[start + 1]))
    n_channels = int(lines[start + 3][0])
    text = [
        f"{name} of {element}",
        f"{atomic_numbers[element]} {charge} 0",
        f"{ABINIT_GTH} {ABINIT_PBE} {n_channels - 1} {n_channels} 2001 0",
        " ".join(lines[start + 2]),
        str(n_channels),
    ]
    row = start + 4
    for angular_momentum in range(n_channels):
        n_projectors = int(lines[row][1])
        text += [" ".join(words) for words in lines[row : row + max(1, n_projectors)]]
        if angular_momentum:
            text += [" ".join(["0"] * n) for n in range(n_projectors, 0, -1)]
        row += max(1, n_projectors)
    return "\n".join(text) + "\n"


if __name__ == "__main__":
    main()

"""Input files as a person writes them: other names, units, order of sites and numerics than those of the package."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np

from qdip_dft.engines.code_run import count_k_points
from qdip_dft.engines.cp2k.data import data_folder, find_kind
from qdip_dft.engines.cp2k.engine import Cp2kEngine
from qdip_dft.engines.dft import DftEngine
from qdip_dft.engines.espresso.engine import RYDBERG_IN_EV, EspressoEngine, find_pseudopotential, pseudopotential_folder
from qdip_dft.engines.gpaw.engine import GpawEngine
from qdip_dft.model.structure import StructureRecord
from qdip_dft.units import BOHR_IN_ANG


def reverse(structure: StructureRecord) -> list[tuple[str, tuple[float, ...]]]:
    """Return elements and fractional places in the opposite order, one lattice vector away."""
    places = [tuple(x + 1.0 for x in place) for place in structure.frac_coords]
    return list(zip(structure.species, places, strict=True))[::-1]


def write_espresso(
    engine: DftEngine, structure: StructureRecord, folder: Path, *, kind: str, steps: int, freedom: str = ""
) -> list[str]:
    assert isinstance(engine, EspressoEngine)
    mesh = count_k_points(structure, engine.k_spacing_per_ang)
    pseudopotentials = pseudopotential_folder(engine.functional)
    symbols = sorted(set(structure.species))
    cell = np.array(structure.lattice_ang) / BOHR_IN_ANG
    rows = "\n".join(f" {s} {' '.join(f'{x:.12f}' for x in place)}" for s, place in reverse(structure))
    species = "\n".join(f" {s} 1.0 {find_pseudopotential(pseudopotentials, s).name}" for s in symbols)
    lattice = "\n".join(" ".join(f"{x:.12f}" for x in row) for row in cell)
    (folder / "my.in").write_text(f"""&control
  calculation = "{kind}", prefix="mine" ! my own
  outdir="./tmp", pseudo_dir = "{pseudopotentials}", tprnfor=.true., tstress=.TRUE., forc_conv_thr=2d-4
/
&SYSTEM
  ibrav=0, nat={structure.n_atoms}, ntyp={len(symbols)}
  ecutwfc = {engine.cutoff_ev / RYDBERG_IN_EV:.5f}, ecutrho = {4 * engine.cutoff_ev / RYDBERG_IN_EV:.5f}
  occupations='smearing', smearing='gauss', degauss={engine.smearing_width_ev / RYDBERG_IN_EV:.3e}
  nspin = 1, tot_charge = 0.0
/
&electrons
  conv_thr=1.0d-8, mixing_beta=0.5, electron_maxstep={steps}
/
&ions
/
&cell
  press_conv_thr = 0.2 {freedom}
/
ATOMIC_SPECIES
{species}
K_POINTS automatic
 {mesh[0]} {mesh[1]} {mesh[2]} 0 0 0
ATOMIC_POSITIONS crystal
{rows}
CELL_PARAMETERS bohr
{lattice}
""")
    return ["sh", "-c", "pw.x -in my.in > my.out"]


def write_cp2k(engine: DftEngine, structure: StructureRecord, folder: Path, *, kind: str, steps: int) -> list[str]:
    assert isinstance(engine, Cp2kEngine)
    rows = "\n".join(f"{s} {' '.join(f'{x:.12f}' for x in place)}" for s, place in reverse(structure))
    vectors = "\n".join(
        f"{name} [angstrom] {' '.join(f'{x:.12f}' for x in row)}"
        for name, row in zip("ABC", structure.lattice_ang, strict=True)
    )
    mesh = count_k_points(structure, engine.k_spacing_per_ang)
    numbers = " ".join(map(str, [*mesh, *(0.0 if n % 2 else 0.5 / n for n in mesh)]))
    k_points = "" if mesh == (1, 1, 1) else f"&KPOINTS\nSCHEME MACDONALD {numbers}\nFULL_GRID T\n&END KPOINTS"
    kinds = "\n".join(
        f"&KIND {symbol}\nBASIS_SET ORB {kind_of.basis_set}\nPOTENTIAL {kind_of.potential}\n&END KIND"
        for symbol in sorted(set(structure.species))
        for kind_of in [find_kind(data_folder("cp2k"), symbol, family=engine.basis_set)]
    )
    (folder / "my.inp").write_text(f"""@SET KIND_OF_RUN {kind}
&GLOBAL
  PROJECT mine
  RUN_TYPE ${{KIND_OF_RUN}}
  PRINT_LEVEL LOW
  PREFERRED_DIAG_LIBRARY SL
&END GLOBAL
&MOTION
  &GEO_OPT
    MAX_FORCE 4.0E-4
  &END GEO_OPT
&END MOTION
&FORCE_EVAL
  METHOD Quickstep
  STRESS_TENSOR ANALYTICAL
  &DFT
    BASIS_SET_FILE_NAME BASIS_MOLOPT
    POTENTIAL_FILE_NAME POTENTIAL_UZH
    &MGRID
      CUTOFF [eV] {engine.cutoff_ev}
      REL_CUTOFF [eV] {engine.relative_cutoff_ev}
    &END MGRID
    &XC
      &XC_FUNCTIONAL
        &PBE
        &END PBE
      &END XC_FUNCTIONAL
    &END XC
    &SCF
      EPS_SCF 1.0E-7
      MAX_SCF {steps}
      ADDED_MOS 8
      &MIXING
        METHOD BROYDEN_MIXING
        ALPHA 0.4
      &END MIXING
      &SMEAR ON
        METHOD FERMI_DIRAC
        ELECTRONIC_TEMPERATURE [K] {engine.electronic_temperature_k}
      &END SMEAR
    &END SCF
{k_points}
  &END DFT
  &SUBSYS
    &CELL
{vectors}
    &END CELL
    &COORD
      SCALED
{rows}
    &END COORD
{kinds}
  &END SUBSYS
  &PRINT
    &FORCES ON
    &END FORCES
    &STRESS_TENSOR ON
    &END STRESS_TENSOR
  &END PRINT
&END FORCE_EVAL
""")
    return ["cp2k", "-i", "my.inp", "-o", "my.out"]


def write_gpaw(engine: DftEngine, structure: StructureRecord, folder: Path, *, kind: str, steps: int) -> list[str]:
    assert isinstance(engine, GpawEngine)
    mesh = count_k_points(structure, engine.k_spacing_per_ang)
    sites = reverse(structure)
    end = (
        "from ase.optimize import BFGS\nBFGS(atoms, trajectory='my.traj').run(fmax=0.02)"
        if kind == "relax"
        else "atoms.get_potential_energy(); atoms.get_forces(); atoms.get_stress(); atoms.calc.write('my.gpw')"
    )
    (folder / "my.py").write_text(f"""
from ase import Atoms
from gpaw import GPAW, PW
atoms = Atoms({[s for s, _ in sites]!r}, scaled_positions={[place for _, place in sites]!r},
              cell={structure.lattice_ang!r}, pbc=True)
atoms.calc = GPAW(mode=PW({engine.cutoff_ev}), xc={engine.functional!r}, kpts={{'size': {mesh}, 'gamma': True}},
                  occupations={{'name': 'methfessel-paxton', 'order': 0, 'width': {engine.smearing_width_ev}}},
                  convergence={{'energy': 1e-7}}, maxiter={steps}, txt='my.txt')
{end}
""")
    return [sys.executable, "-P", "my.py"]


WRITERS = {"espresso": write_espresso, "cp2k": write_cp2k, "gpaw": write_gpaw}

RELAXATIONS = {"espresso": "relax", "cp2k": "GEO_OPT", "gpaw": "relax"}

STATICS = {"espresso": "scf", "cp2k": "ENERGY_FORCE", "gpaw": "static"}


def run_by_hand(
    engine: DftEngine,
    structure: StructureRecord,
    folder: Path,
    *,
    kind: str | None = None,
    steps: int = 60,
    **words: str,
) -> Path:
    """Write a person's input for a structure, run the real program there, and return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    write = WRITERS[engine.name]
    command = write(engine, structure, folder, kind=kind or STATICS[engine.name], steps=steps, **words)
    subprocess.run(command, cwd=folder, capture_output=True, check=False, timeout=500)
    return folder

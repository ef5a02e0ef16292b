"""Write docs/codes.md: what each engine can do, and which law was tested on which code.

Run it after a change of an engine or of its tests:  python scripts/write_codes_table.py [--output FILE]
Features come from the engines, laws from the names of the tests that start the real programs; nothing is calculated.
"""

from __future__ import annotations

import argparse
import ast
from collections.abc import Iterator, Sequence
from pathlib import Path

from qdip_dft.engines.base import Engine, Feature
from qdip_dft.engines.cp2k.engine import Cp2kEngine
from qdip_dft.engines.espresso.engine import EspressoEngine
from qdip_dft.engines.gpaw.engine import GpawEngine
from qdip_dft.engines.mlip import MlipEngine
from qdip_dft.engines.vasp.engine import VaspEngine

ROOT = Path(__file__).resolve().parents[1]

ENGINES: tuple[type[Engine], ...] = (EspressoEngine, GpawEngine, Cp2kEngine, VaspEngine, MlipEngine)

REAL = ("espresso", "gpaw", "cp2k")
"""The codes whose programs the tests start."""

INTRODUCTION = """# The codes

The same study runs with `--engine espresso`, `gpaw`, `cp2k` or `vasp`. The presets mean the same k-spacing, smearing,
force threshold and dispersion in all of them, one algorithm moves the atoms
([0016](decisions/0016-one-relaxation-for-every-code.md)), and D3(BJ) is one library. Both tables are written by
`scripts/write_codes_table.py`, the first from the engines, the second from the tests that start the real programs; a
test keeps them current.

## What an engine can do

A plan that needs what its engine lacks fails before anything runs.

"""

BETWEEN = """
One start of `pw.x` (as a client of an i-PI socket) or of GPAW serves all steps of a relaxation in a fixed cell; in a
cell that changes, and with the other codes, each step is a start that reuses what the last one left.

Restart from `full` (the default) takes whatever the code can reuse. CP2K keeps the matrix of its density. With the
dipole correction of a slab, `espresso` and `cp2k` give no stress; a slab's cell is held, so none is needed.

## What was run for real

`espresso` is pw.x 6.7, `gpaw` GPAW 26.7, `cp2k` CP2K 2023.1. VASP is licensed: its inputs are compared with golden
files, and its runs are replayed ([VASP](vasp.md)).

"""

OUTLOOK = """
## Where the codes differ

* **Pseudopotentials.** PbS with PBE: Quantum ESPRESSO and GPAW, both with 5d of lead in the valence, agree to 1 meV
  per atom (Δ gauge, Lejaeghere et al., Science 2016, 351, aad3000). CP2K's lead has four electrons and is 4 to 5 meV
  per atom away, its lattice 0.4 % wider. A larger basis set (TZV2PX, other TZV2P) changes its pressure by less than
  0.1 GPa, a grid of 600 instead of 400 Ry not at all, where 0.8 GPa separate it from the others: what is left is the
  core. Energies of different codes never meet in one difference. GPAW's packaged lead shifts the energy of CsPbI3
  against CsI + PbI2 by 10 meV per formula unit; [A study by DFT](dft-study.md#two-codes) shows the cause and the way
  around it.
* **Occupation.** CP2K 2023.1 has Fermi and Dirac's only; its temperature spreads it as wide as the Gaussian of the
  other codes. With a gap wider than the smearing all give the same energy.
* **Spin-orbit coupling.** Self-consistent in `espresso` and `vasp`. CP2K 2023.1 has none in its energies. GPAW's
  self-consistent coupling knows only LDA; what it adds to a converged density of PBE is not declared, because its
  energy depends on how many bands are kept. Per formula unit, in eV, with 4 × 4 × 4 points in PbS and PbTe and
  3 × 3 × 2 in PbI₂ (680 eV; GPAW 400 eV and its packaged data sets):

  | | PbS, 5.94 Å | PbTe | PbI₂ | PbS 5.70 − 5.94 Å | PbS 6.20 − 5.94 Å |
  |---|---|---|---|---|---|
  | pw.x, self-consistent | −0.338 | −0.481 | −0.710 | −0.033 | −0.000 |
  | pw.x, at the density without coupling | −0.341 | −0.486 | −0.711 | −0.032 | +0.002 |
  | GPAW, 20 bands | −0.295 | −0.405 | −0.316 | −0.043 | +0.037 |
  | GPAW, 80 bands | −0.586 | −0.741 | −0.665 | −0.063 | +0.060 |
  | GPAW, 160 bands | −0.675 | −0.886 | −0.832 | −0.055 | +0.050 |

  The second line is the force theorem: the sum of the occupied orbital energies with the coupling less that without,
  both in the potential of the density without it (Weinert, Watson and Davenport, Phys. Rev. B 1985, 32, 2115). It
  holds, to 5 meV and in differences of PbS to 2. So not the theorem fails but the basis, most likely that for p½ near
  the nucleus: GPAW's partial waves are those of an atom without coupling, and bands that are added one by one make up
  for it slowly, as in other codes (Kuneš et al., Phys. Rev. B 2001, 64, 153102). Where atoms are light nothing is
  left of it: −0.3 meV per cell of silicon with 160 bands, −0.1 in pw.x.
* **Orbital transformation.** At Γ alone, cells of an even number of electrons are minimised by orbital transformation,
  which knows full bands only. CP2K then prints its gap; below 12 widths of the smearing (0.6 eV) the calculation is
  repeated by diagonalisation and the record says so. Meshes of k-points and inputs that `qdip inputs` writes are
  always diagonalised. On 96 atoms of FAPbI3 (12.6 Å along each vector, preset `fast`, one core) both ways lead to one
  energy, to 1e-11 eV per atom, and to one set of forces, to 1e-4 eV/Å (`scripts/measure_orbital_transformation.py`); it
  takes 23 steps against 17 iterations and about 1.3 times as long, since at this size both spend their time on the
  grid of the density. It pays in larger cells, where diagonalisation grows with the third power, and least where the
  gap is narrow: the energy of 72 atoms of PbS(100) with TZV2P still swung by 100 eV after 26 steps, 20 iterations
  converge it. A mesh is Γ alone in cells wider than 2π/`k_spacing_per_ang`: 21 Å with `fast`, 12 Å with a spacing of
  0.53.
* **Basis sets.** CP2K's functions sit on atoms. An interface has more of them than its two slabs apart, so binding
  comes out too strong by the superposition error (BSSE). `uncertainty: {counterpoise: true}` measures it: each part of
  a compared interface once more with its own functions and once with those of the other part as ghosts (Boys and
  Bernardi, Mol. Phys. 1970, 19, 553), in the cell, k-points and dipole correction of the interface. Report and error
  budget show it, the answer keeps its own binding. A site without an atom is a `KIND` with `GHOST TRUE`: with the
  basis set of its element, or with `BASIS_SET NONE`, which leaves the energy of the other atoms as it is without the
  site. PbTe(100) and one layer of cubic CsPbI3 borrow 0.126 eV per 84 Å² of dot with `fast` (DZVP; k-spacing 0.6 Å⁻¹),
  1.5 of 19.4 meV/Å² of binding; a layer of LiH in its crystal borrows 0.211 eV with SZV, 0.031 with DZVP (both short
  range) and 0.015 with TZV2P. Compare `fast` and `balanced` as well: counterpoise says nothing about functions that
  both ways lack.
* **Vacuum.** CP2K's dipole correction stops with *needs more vacuum space* where the density nowhere falls below 1e-5
  per cubic bohr. With k-points rumpled slabs of PbS did so, since Kerker's damping of the mixed density
  adds a tail of exp(−βr) with β = 0.5 bohr⁻¹: two layers of PbS with 10 Å of vacuum, four with 15 Å, 88 atoms of
  PbS(100) in the sixth step. Slabs are mixed with β = 0.01 bohr⁻¹, which leaves no tail; those 88 atoms converge in 18
  steps. An input of your own wants the same `BETA`.
* **Forces in CP2K's polar slabs.** The potential of the dipole correction jumps in the middle of the vacuum
  (`SURF_DIP_POS`). Left to itself CP2K lets it jump where the density is smallest, in empty space another place in
  every step: the energy is the same to 1e-6 eV, but the orbital energies of one step meet the potential of another.
  Against finite differences the forces of an upright layer were then wrong by 0.02 (CO) and 0.1 eV/Å (PbS; 0.4 in a
  higher cell), and the density took up to five times as many steps. With the fixed place they agree to 0.004, the
  error of the differences, and 0.0003 eV/Å. What remains is the grid: at 600 Ry the energy of CO rises and falls as
  the layer moves through it, so that its forces add up to 0.07 eV/Å, as the differences do. Those of PbS add up to
  3e-5.
* **Hard atoms.** C, N, O and H need more than `fast`: at 700 eV the energy of a layer of CO in pw.x jumps by 14 meV
  with the height of its cell, at 1100 eV by 0.04 meV.

## After a failure

Numerics are changed and every change is recorded in the calculation: mixing, number of iterations, diagonaliser,
restart files, and in CP2K the overlaps that are neglected. Smearing, k-points, cutoff, functional, charge and spin are
never touched: the answer is a difference of energies.

In the tests diagonalisers fail for real: Davidson's of pw.x when it is asked for bands more exact than a processor's
numbers, that of GPAW when bands and residuals are more than the plane waves, the Cholesky decomposition of CP2K when
too many overlaps are neglected. The mended energies agree with undisturbed ones to 1e-5 eV. In CP2K the cure moves
energies by the error of its usual threshold: in silicon 2e-6 (DZVP of short range, `fast`), 5e-6 (TZV2P, `balanced`)
and up to 3e-5 eV per atom (diffuse DZVP).
"""


def write_page() -> str:
    """Return the page."""
    return "".join([INTRODUCTION, *feature_table(), BETWEEN, *law_table(), OUTLOOK])


def feature_table() -> Iterator[str]:
    """Return one row for each feature."""
    yield f"| feature | {' | '.join(engine.name for engine in ENGINES)} |\n"
    yield f"|---|{'---|' * len(ENGINES)}\n"
    for feature in Feature:
        marks = ["✓" if feature in engine.features else "–" for engine in ENGINES]
        yield f"| {feature.value.replace('_', ' ')} | {' | '.join(marks)} |\n"


def law_table() -> Iterator[str]:
    """Return one row for each test that starts real programs."""
    yield f"| tested with the real program | {' | '.join(REAL)} |\n"
    yield f"|---|{'---|' * len(REAL)}\n"
    for path in sorted((ROOT / "tests" / "integration").glob("test_dft_*.py")):
        for test in _tests_of(path):
            marks = ["✓" if name in _codes_of(test) else "–" for name in REAL]
            yield f"| {test.name.removeprefix('test_').replace('_', ' ')} | {' | '.join(marks)} |\n"


def _tests_of(path: Path) -> Iterator[ast.FunctionDef]:
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            yield node


def _codes_of(test: ast.FunctionDef) -> set[str]:
    """Return the codes of a test: those that its parameters name, all if it takes any, else those in its body."""
    in_parameters = _names_in(test.decorator_list)
    if in_parameters:
        return in_parameters
    takes_any = {argument.arg for argument in test.args.args} & {"engine", "name"}
    return set(REAL) if takes_any else _names_in(test.body) or set(REAL)


def _names_in(nodes: Sequence[ast.AST]) -> set[str]:
    inside = [node for root in nodes for node in ast.walk(root)]
    return {str(node.value) for node in inside if isinstance(node, ast.Constant) and node.value in REAL}


def main() -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "codes.md")
    parser.parse_args().output.write_text(write_page(), encoding="utf-8")


if __name__ == "__main__":
    main()

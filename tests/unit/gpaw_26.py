"""A small folder of GPAW 26.7: the log of a static calculation of silicon, as far as it is read, and its answer."""

from __future__ import annotations

import json
from pathlib import Path

ENERGY_EV = 6.320629

QUESTION = {
    "species": ["Si", "Si"],
    "positions_ang": [[0.0, 0.0, 0.0], [1.3575, 1.3575, 1.3575]],
    "lattice_ang": [[0.0, 2.715, 2.715], [2.715, 0.0, 2.715], [2.715, 2.715, 0.0]],
}

FORMER_HEAD = """
  ___ ___ ___ _ _ _
 |   |   |_  | | | |
 | | | | | . | | | |
 |__ |  _|___|_____|  {version}
 |___|_|

Input parameters:
  kpts: [1 1 1]
  xc: PBE

iter:   1 17:03:13     6.320629c  -7.09c -4.24c
Converged after 1 iterations.
Free energy:     +6.320629
"""
"""How a log of the former backend begins, and how it gives its energy."""


def write_log(*, energy_ev: float = ENERGY_EV, version: str = "26.7.0", cutoff_ev: float = 150.0) -> str:
    """The log.

    Parameters
    ----------
    energy_ev
        Free energy at the end.
    version, cutoff_ev
        What the run was made with.
    """
    steps = "".join(
        f"|iter:{number:4d}| 17:03:07 |{energy_ev + change:12.6f}{mark}| -6.48{mark}| -4.41{mark}|\n"
        for number, (change, mark) in enumerate([(0.9, " "), (1e-3, " "), (0.0, " "), (0.0, " "), (0.0, "c")], start=1)
    )
    return rf"""
  __  _  _
 | _ |_)|_||  |
 |__||  | ||/\| - {version}

User:   somebody
units:  Angstrom and eV
cores:  1

Input parameters:
  mode=PW(ecut={cutoff_ev}),
  convergence={{'energy': 1e-07, 'density': 0.001, 'eigenstates': 0.0001}},
  kpts=MonkhorstPack(size=(1, 1, 1), gamma=True),
  occupations=Occupations(name='methfessel-paxton', order=0, width=0.05),
  xc=XC(name='PBE')

Atoms  # Å, Bohr magnetons
|   | symbol |        x |        y |        z |    initial magnetic moments |
|---|--------|----------|----------|----------|-----------------------------|
| 0 |     Si | 0.000000 | 0.000000 | 0.000000 | ( 0.0000,  0.0000,  0.0000) |
| 1 |     Si | 1.357500 | 1.357500 | 1.357500 | ( 0.0000,  0.0000,  0.0000) |

Unit cell  # Å
| periodic |        x |        y |        z |  lengths |    angles |
|----------|----------|----------|----------|----------|-----------|
|      yes | 0.000000 | 2.715000 | 2.715000 | 3.839590 | 60.000000 |
|      yes | 2.715000 | 0.000000 | 2.715000 | 3.839590 | 60.000000 |
|      yes | 2.715000 | 2.715000 | 0.000000 | 3.839590 | 60.000000 |

BZ-sampling:
  Number of BZ points: 1
  Number of IBZ points: 1

  Monkhorst-Pack size: [1, 1, 1]
  Monkhorst-Pack shift: [0, 0, 0]

Plane wave coefficients: 85
Cutoff: {cutoff_ev} eV

Spin-components: 1 (collinear spins)

Density:
  Valence electrons: 8.0
  Charge: 0.0  # |e|

species:
  Si:
    name:    Silicon
    id:      ee77bee481871cc2cb65ac61239ccafa
    Z:       14.0

occupation numbers:
  Methfessel-Paxton:
    width: 0.0500  # eV
    order: 0

xc functional:
  name: PBE with 2 nearest neighbor stencil

SCF iterations
|iter     |     time |      energy | eigst |  dens |
|---------|----------|-------------|-------|-------|
{steps}
Converged in 5 steps

Energy contributions:
  Kinetic:          34.413050
  ----------------------------
  Free energy: {energy_ev:14.6f}
  Extrapolated: {energy_ev:13.6f}

Forces  # eV/Ang
| 0.00000 | 0.00000 | -0.00000 |  # Si   0
"""


def write_folder(folder: Path, log: str, *, energy_ev: float = ENERGY_EV) -> Path:
    """Write a folder with a log, the question and the answer with an energy."""
    folder.mkdir(exist_ok=True)
    answer = {
        "energy_ev": energy_ev,
        "forces_ev_per_ang": [[0.0, 0.0, 0.001], [0.0, 0.0, -0.001]],
        "stress_ev_per_ang3": [[0.01, 0.0, 0.0], [0.0, 0.01, 0.0], [0.0, 0.0, 0.01]],
    }
    for name, content in (("question", QUESTION), ("answer", answer)):
        (folder / f"{name}.json").write_text(json.dumps(content))
    (folder / "gpaw.txt").write_text(log, encoding="utf-8")
    return folder

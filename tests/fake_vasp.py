"""A stand-in for ``vasp_std``: reads VASP's inputs, answers with the toy potential in VASP's own formats.

No VASP runs in these tests: it is licensed.  This program writes vasprun.xml, OUTCAR, OSZICAR and CONTCAR in the
documented formats (vasp.at/wiki), with energies, forces and stress of the Morse potential of the engine ``testing``, so
that everything around VASP is run for real: its inputs, custodian with its validators, the parsers up to the `TaskDoc`
of emmet, the order of the atoms, restarts.

``FAKE_VASP`` changes its behaviour by words: ``version=6.3.2``, ``unconverged=N`` (the first N runs end at NELM),
``error=TEXT`` (the first run prints TEXT and ends without results), ``slow`` (waits for a STOPCAR).

Started with ``--ncl`` it stands for ``vasp_ncl``, without for ``vasp_std``: as the real programs do, it takes
``LSORBIT`` only in the first case, and wavefunctions only of its own kind.  Spin-orbit coupling lowers its energy by a
fixed amount for each atom of lead, which is no physics but shows that the energy with it has come back.

With NSW it relaxes the atoms, and with ISIF = 3 the cell within its crystal system, or the vectors that
LATTICE_CONSTRAINTS leaves free, until EDIFFG: the first and the last ionic step are written.
"""

from __future__ import annotations

import os
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from qdip_dft.engines.registry import engine_from_spec
from qdip_dft.engines.testing import evaluate_morse
from qdip_dft.model.calculation import Freedom
from qdip_dft.model.engine import EngineSpec
from qdip_dft.model.structure import Arrangement, StructureRecord
from qdip_dft.units import EV_PER_ANG3_IN_GPA

WORDS = dict(word.partition("=")[::2] for word in os.environ.get("FAKE_VASP", "").split(";") if word)
IS_NONCOLLINEAR = "--ncl" in sys.argv
KIND = "spinors" if IS_NONCOLLINEAR else "scalars"
SPIN_ORBIT_EV = -0.3
VERSION = WORDS.get("version", "6.3.2")
N_VALENCE = 4
"""Electrons that the potentials of the tests leave to an atom."""


def read_incar() -> dict[str, str]:
    lines = Path("INCAR").read_text().splitlines()
    return {name.strip(): value.strip() for name, _, value in (line.partition("=") for line in lines) if value}


def read_poscar() -> Arrangement:
    lines = Path("POSCAR").read_text().splitlines()
    scale = float(lines[1])
    lattice = scale * np.array([line.split()[:3] for line in lines[2:5]], dtype=float)
    counts = [int(word) for word in lines[6].split()]
    species = tuple(name for name, count in zip(lines[5].split(), counts, strict=True) for _ in range(count))
    assert lines[7].strip().lower().startswith("d"), "direct coordinates are expected"
    frac = np.array([line.split()[:3] for line in lines[8 : 8 + len(species)]], dtype=float)
    return Arrangement(species, frac @ lattice, lattice)


def rows(values: np.ndarray) -> str:
    return "\n".join(f"   <v>{''.join(f'{value:17.8f}' for value in row)} </v>" for row in np.atleast_2d(values))


def structure(arrangement: Arrangement, name: str = "") -> str:
    frac = arrangement.positions_ang @ np.linalg.inv(arrangement.lattice_ang)
    label = f' name="{name}"' if name else ""
    reciprocal = np.linalg.inv(arrangement.lattice_ang).T
    return (
        f'<structure{label} >\n <crystal>\n  <varray name="basis" >\n{rows(arrangement.lattice_ang)}\n  </varray>\n'
        f'  <i name="volume"> {arrangement.volume_ang3:15.8f} </i>\n'
        f'  <varray name="rec_basis" >\n{rows(reciprocal)}\n  </varray>\n </crystal>\n'
        f' <varray name="positions" >\n{rows(frac)}\n </varray>\n</structure>\n'
    )


def setting(name: str, text: str) -> str:
    """Return one tag in the types of vasprun.xml."""
    value = text.split(maxsplit=1)[0]
    if value.upper().strip(".") in {"TRUE", "FALSE"}:
        return f'<i type="logical" name="{name}"> {value.upper().strip(".")[0]}  </i>\n'
    if name == "LATTICE_CONSTRAINTS":
        return (
            f'<v type="logical" name="{name}"> {"  ".join(word.strip(".")[0] for word in text.upper().split())} </v>\n'
        )
    if name in {"DIPOL", "MAGMOM", "SAXIS"}:
        return f'<v name="{name}"> {text} </v>\n'
    if name in {"PREC", "GGA", "METAGGA", "ALGO", "SYSTEM"}:
        return f'<i type="string" name="{name}">{text}</i>\n'
    try:
        return f'<i type="int" name="{name}"> {int(value)}</i>\n'
    except ValueError:
        return f'<i name="{name}"> {float(value):15.8f}</i>\n'


def atoms(arrangement: Arrangement) -> str:
    elements = list(dict.fromkeys(arrangement.species))
    titles = [line.strip() for line in Path("POTCAR").read_text().splitlines() if line.strip().startswith("PAW_")]
    assert [title.split()[1].split("_")[0] for title in titles] == elements, "POTCAR and POSCAR disagree"
    each = "".join(f"<rc><c>{s:2s}</c><c>{elements.index(s) + 1:4d}</c></rc>\n" for s in arrangement.species)
    kinds = "".join(
        f"<rc><c>{arrangement.species.count(s):4d}</c><c>{s:2s}</c><c> 1.0</c><c> 4.0</c><c> {title} </c></rc>\n"
        for s, title in zip(elements, titles, strict=True)
    )
    return (
        f"<atominfo>\n<atoms> {arrangement.n_atoms} </atoms>\n<types> {len(elements)} </types>\n"
        '<array name="atoms" >\n<dimension dim="1">ion</dimension>\n<field type="string">element</field>\n'
        f'<field type="int">atomtype</field>\n<set>\n{each}</set>\n</array>\n'
        '<array name="atomtypes" >\n<dimension dim="1">type</dimension>\n<field type="int">atomspertype</field>\n'
        '<field type="string">element</field>\n<field>mass</field>\n<field>valence</field>\n'
        f'<field type="string">pseudopotential</field>\n<set>\n{kinds}</set>\n</array>\n</atominfo>\n'
    )


def energies(energy_ev: float) -> str:
    parts = (("e_fr_energy", energy_ev), ("e_wo_entrp", energy_ev + 0.02), ("e_0_energy", energy_ev + 0.01))
    return "<energy>\n" + "".join(f'<i name="{name}"> {value:18.8f} </i>\n' for name, value in parts) + "</energy>\n"


def relax(arrangement: Arrangement, incar: dict[str, str]) -> Arrangement:
    """Return where the toy potential leads, to half of the threshold."""
    force = 0.5 * abs(float(incar["EDIFFG"]))
    spec = EngineSpec(name="testing", settings={"force_threshold_ev_per_ang": force, "stress_threshold_gpa": 0.02})
    structure = StructureRecord(
        lattice_ang=arrangement.lattice_ang.tolist(),
        species=arrangement.species,
        frac_coords=(arrangement.positions_ang @ np.linalg.inv(arrangement.lattice_ang)).tolist(),
    )
    freedom = Freedom.CELL if incar["ISIF"] == "3" else Freedom.POSITIONS
    if "LATTICE_CONSTRAINTS" in incar:
        freedom = Freedom.OUT_OF_PLANE
    return engine_from_spec(spec).relax(structure, freedom).structure.arrangement


def electronic_offsets(n_electronic: int, *, is_converged: bool) -> list[float]:
    """Return how far the energy of each electronic step lies above the last: at rest, or still falling."""
    if not is_converged:
        return [0.1 * (n_electronic - 1 - step) for step in range(n_electronic)]
    return [0.1 * 10.0 ** (-3 * step) for step in range(n_electronic - 2)] + [0.0, 0.0]


def ionic_step(arrangement: Arrangement, incar: dict[str, str], n_electronic: int) -> str:
    answer = evaluate_morse(arrangement)
    assert answer.stress_ev_per_ang3 is not None
    if incar.get("LSORBIT") == "True":
        answer = replace(answer, energy_ev=answer.energy_ev + SPIN_ORBIT_EV * arrangement.species.count("Pb"))
    steps = "".join(
        f"<scstep>\n{energies(answer.energy_ev + offset)}</scstep>\n"
        for offset in electronic_offsets(n_electronic, is_converged=n_electronic < int(incar["NELM"]))
    )
    kilobar = -answer.stress_ev_per_ang3 * EV_PER_ANG3_IN_GPA * 10
    return (
        f'<calculation>\n{steps}{structure(arrangement)}<varray name="forces" >\n{rows(answer.forces_ev_per_ang)}\n'
        f'</varray>\n<varray name="stress" >\n{rows(kilobar)}\n</varray>\n{energies(answer.energy_ev)}</calculation>\n'
    )


def write_outputs(start: Arrangement, incar: dict[str, str], n_electronic: int) -> None:
    places = [start, relax(start, incar)] if int(incar["NSW"]) > 0 else [start]
    arrangement = places[-1]
    answer = evaluate_morse(arrangement)
    mesh = Path("KPOINTS").read_text().splitlines()[3]
    tags = "".join(setting(name, value) for name, value in incar.items())
    n_electrons = N_VALENCE * arrangement.n_atoms
    defaults = {"NELM": "60", "NELMDL": "-5", "IBRION": "-1", "NSW": "0", "ISPIN": "1", "ENMAX": incar["ENCUT"]}
    defaults |= {"NELECT": f"{n_electrons:.1f}", "NBANDS": str(n_electrons), "LORBIT": "0"}
    parameters = "".join(setting(name, value) for name, value in {**defaults, **incar}.items())
    Path("vasprun.xml").write_text(f"""<?xml version="1.0" encoding="ISO-8859-1"?>
<modeling>
<generator>
<i name="program" type="string">vasp </i>
<i name="version" type="string">{VERSION}  </i>
<i name="subversion" type="string">stand-in of the tests </i>
</generator>
<incar>
{tags}</incar>
<kpoints>
<generation param="Gamma">
<v type="int" name="divisions"> {mesh} </v>
<v name="usershift"> 0.0 0.0 0.0 </v>
</generation>
<varray name="kpointlist" >
<v> 0.0 0.0 0.0 </v>
</varray>
<varray name="weights" >
<v> 1.0 </v>
</varray>
</kpoints>
<parameters>
{parameters}</parameters>
{atoms(arrangement)}{structure(start, "initialpos")}{"".join(ionic_step(each, incar, n_electronic) for each in places)}
{structure(arrangement, "finalpos")}</modeling>
""")
    Path("OUTCAR").write_text(outcar(answer.energy_ev, n_electrons, ibrion=incar.get("IBRION", "-1")))
    Path("OSZICAR").write_text(f"   1 F= {answer.energy_ev:.8E} E0= {answer.energy_ev + 0.01:.8E}  d E =0.0\n")
    Path("CONTCAR").write_text(contcar(arrangement))
    for name in ("WAVECAR", "CHGCAR"):
        Path(name).write_text(f"{KIND} of the stand-in\n")


def outcar(energy_ev: float, n_electrons: int, *, ibrion: str) -> str:
    """Return the lines of an OUTCAR that parsers look for."""
    return f""" vasp.{VERSION} stand-in of the tests
 running on    1 total cores
   k-points           NKPTS =      1   k-points in BZ     NKDIM =      1   number of bands    NBANDS=   {n_electrons:4d}
 total plane-waves  NPLWV =   4096
   IBRION =     {ibrion}    ionic relax: 0-MD 1-quasi-New 2-CG
 E-fermi :   1.0000     XC(G=0):  -6.0000     alpha+bet : -1.0000
 number of electron {n_electrons:14.7f} magnetization
  FREE ENERGIE OF THE ION-ELECTRON SYSTEM (eV)
  ---------------------------------------------------
  free  energy   TOTEN  = {energy_ev:18.8f} eV

  energy  without entropy= {energy_ev + 0.02:18.8f}  energy(sigma->0) = {energy_ev + 0.01:18.8f}
    total drift:                                0.000000      0.000000      0.000000
 General timing and accounting informations for this job:
 ========================================================

                  Total CPU time used (sec):        1.000
                            User time (sec):        0.900
                          System time (sec):        0.100
                         Elapsed time (sec):        1.100

                   Maximum memory used (kb):      100000.
                   Average memory used (kb):          N/A
"""


def contcar(arrangement: Arrangement) -> str:
    """Return the last structure as a POSCAR, with sites in the order of the input."""
    elements = list(dict.fromkeys(arrangement.species))
    frac = arrangement.positions_ang @ np.linalg.inv(arrangement.lattice_ang)
    table = "\n".join(" ".join(f"{value:20.16f}" for value in row) for row in (*arrangement.lattice_ang, *frac))
    vectors, sites = "\n".join(table.split("\n")[:3]), "\n".join(table.split("\n")[3:])
    counts = " ".join(str(arrangement.species.count(element)) for element in elements)
    return f"stand-in\n1.0\n{vectors}\n{' '.join(elements)}\n{counts}\ndirect\n{sites}\n"


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def wait_for_stop() -> None:
    """Go on until a STOPCAR asks for the end, as VASP does after each electronic step."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        if Path("STOPCAR").exists() and "LABORT = .TRUE." in Path("STOPCAR").read_text():
            return
        time.sleep(0.05)


def main() -> int:
    say(f" running on    1 total cores\n vasp.{VERSION} stand-in of the tests")
    if not Path("POSCAR").exists():
        say(" ERROR: there is no POSCAR")
        return 1
    runs = Path("runs-of-the-stand-in")
    n_earlier = len(runs.read_text().splitlines()) if runs.exists() else 0
    incar = read_incar()
    arrangement = read_poscar()
    if IS_NONCOLLINEAR:
        assert incar["MAGMOM"].split() == ["0"] * 3 * len(arrangement.species), "a moment along each axis of each atom"
    with runs.open("a") as file:
        tags = {name: incar.get(name, "default") for name in ("ISTART", "ICHARG", "ALGO", "ISYM")}
        file.write(f"{' '.join(f'{name} = {value}' for name, value in tags.items())}\n")
    if incar.get("LSORBIT") == "True" and not IS_NONCOLLINEAR:
        say(" ERROR: non collinear calculations require that VASP is compiled without the flag -DNGXhalf and -DNGZhalf")
        return 1
    if incar["ISTART"] == "1" and not (Path("WAVECAR").exists() and KIND in Path("WAVECAR").read_text()):
        say(f" ERROR: there is no WAVECAR of {KIND}")
        return 1
    if incar["ICHARG"] == "1" and not Path("CHGCAR").exists():
        say(" ERROR: there is no CHGCAR")
        return 1
    if "error" in WORDS and n_earlier == 0:
        say(WORDS["error"])
        return 1
    if "slow" in WORDS:
        wait_for_stop()
    is_unconverged = n_earlier < int(WORDS.get("unconverged", 0)) or "slow" in WORDS
    write_outputs(arrangement, incar, int(incar["NELM"]) if is_unconverged else 5)
    return 0


if __name__ == "__main__":
    sys.exit(main())

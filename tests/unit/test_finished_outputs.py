"""Reading the outputs of CP2K, pw.x and GPAW: units, words of releases, appended runs, and a criterion's meaning.

The outputs are small files in the formats of the codes: CP2K before and since 2025.1, pw.x of release 6.
"""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from qdip_dft.by_hand import imports
from qdip_dft.engines.code_run import Setting
from qdip_dft.engines.cp2k import output as cp2k_output
from qdip_dft.engines.cp2k.output import read_evaluation
from qdip_dft.engines.espresso import engine as espresso_engine
from qdip_dft.engines.gpaw import engine as gpaw_engine
from qdip_dft.engines.gpaw.engine import GpawRun
from qdip_dft.engines.programs import require_known_version
from qdip_dft.engines.registry import engine_from_spec
from qdip_dft.engines.vasp import engine as vasp_engine
from qdip_dft.errors import EngineError
from qdip_dft.finished.codes import cp2k, gpaw, vasp
from qdip_dft.finished.codes.cp2k_words import Line
from qdip_dft.finished.readers import find_code, read_run
from qdip_dft.model.engine import EngineSpec
from qdip_dft.model.structure import Arrangement
from qdip_dft.results.migrations import read_calculation
from qdip_dft.units import BOHR_IN_ANG, EV_PER_ANG3_IN_GPA, HARTREE_IN_EV, RYDBERG_IN_EV
from tests.dft_codes import require_code, silicon, spec_of
from tests.unit import gpaw_26

DATA = Path(__file__).resolve().parents[1] / "data" / "golden"

ATOMS = Arrangement(("Na", "Cl"), np.array([[0.0, 0.0, 0.0], [2.8, 2.8, 2.8]]), np.eye(3) * 5.6)

ENERGY = -62.5
FORCES = ((1.5e-4, -2.5e-4, 3.5e-4), (-1.5e-4, 2.5e-4, -3.5e-4))
STRESS_GPA = ((25.0, 0.5, 0.25), (0.5, 24.0, 0.125), (0.25, 0.125, 23.0))


def cp2k_head(version: str) -> str:
    return f""" CP2K| version string:                 CP2K version {version}
 MODULE QUICKSTEP: ATOMIC COORDINATES IN ANGSTROM

   Atom Kind Element         X             Y             Z       Z(eff)     Mass
      1    1 Na   11      0.000000      0.000000      0.000000   9.0000  22.9898
      2    2 Cl   17      2.800000      2.800000      2.800000   7.0000  35.4530

 SCF PARAMETERS         Density guess:                                    ATOMIC
"""


def stress_table(unit: str, gpa_in_unit: float) -> str:
    rows = "".join(
        f" STRESS|      {axis} {' '.join(f'{value * gpa_in_unit:19.11E}' for value in row)}\n"
        for axis, row in zip("xyz", STRESS_GPA, strict=True)
    )
    return (
        f" STRESS| Analytical stress tensor [{unit}]\n STRESS|                   x              y             z\n{rows}"
        " STRESS| Eigenvectors and eigenvalues of the analytical stress tensor [GPa]\n"
        " STRESS|      x   1.0  0.0  0.0\n STRESS|      y   0.0  1.0  0.0\n STRESS|      z   0.0  0.0  1.0\n"
    )


def old_words(*, energy: float = ENERGY, unit: str = "a.u.", pressure: str = "GPa") -> str:
    """Return an output of a release before 2025.1."""
    rows = "".join(
        f"      {i}      {i}      {symbol}  {' '.join(f'{value:18.12f}' for value in force)}\n"
        for i, (symbol, force) in enumerate(zip(ATOMS.species, FORCES, strict=True), start=1)
    )
    return (
        f"{cp2k_head('2023.1')} ENERGY| Total FORCE_EVAL ( QS ) energy [{unit}]:  {energy:.12f}\n\n"
        f" ATOMIC FORCES in [{unit}]\n\n # Atom   Kind   Element          X        Y         Z\n{rows}"
        f" SUM OF ATOMIC FORCES           0.0   0.0   0.0   0.0\n\n{stress_table(pressure, 1.0)} PROGRAM ENDED AT\n"
    )


def new_words(
    *,
    energy: float = ENERGY,
    energy_unit: str = "hartree",
    force_unit: str = "hartree/bohr",
    pressure: str = "bar",
    gpa_in_unit: float = 1e4,
) -> str:
    """Return an output of a release since 2025.1."""
    rows = "".join(
        f" FORCES| {i:6d} {' '.join(f'{value:15.8E}' for value in force)} {np.linalg.norm(force):18.8E}\n"
        for i, force in enumerate(FORCES, start=1)
    )
    return (
        f"{cp2k_head('2025.2')} ENERGY| Total FORCE_EVAL ( QS ) energy [{energy_unit}]   {energy:.12f}\n\n"
        f" FORCES| Atomic forces [{force_unit}]\n FORCES|   Atom     x     y      z     |f|\n{rows}"
        f" FORCES| Sum      0.0 0.0 0.0 0.0\n FORCES| Total atomic force   0.0\n\n"
        f"{stress_table(pressure, gpa_in_unit)} PROGRAM ENDED AT\n"
    )


def write(folder: Path, text: str) -> Path:
    path = folder / "cp2k.out"
    path.write_text(text)
    return path


@pytest.mark.parametrize("text", [old_words(), new_words(), old_words(energy=-1.0) + new_words()])
def test_old_and_new_words_of_cp2k_say_the_same_and_the_last_run_counts(text: str, tmp_path: Path) -> None:
    found = read_evaluation(write(tmp_path, text), ATOMS, has_stress=True)
    assert found.energy_ev == pytest.approx(ENERGY * HARTREE_IN_EV, abs=1e-9)
    assert np.allclose(found.forces_ev_per_ang, np.array(FORCES) * HARTREE_IN_EV / BOHR_IN_ANG, atol=1e-10)
    assert np.allclose(found.stress_ev_per_ang3, -np.array(STRESS_GPA) / EV_PER_ANG3_IN_GPA, atol=1e-10)


@pytest.mark.parametrize(
    ("unit", "gpa_in_unit"), [("bar", 1e4), ("kbar", 10.0), ("MPa", 1e3), ("GPa", 1.0), ("Pa", 1e9)]
)
def test_a_stress_is_read_in_the_unit_that_it_names(unit: str, gpa_in_unit: float, tmp_path: Path) -> None:
    text = new_words(pressure=unit, gpa_in_unit=gpa_in_unit)
    found = read_evaluation(write(tmp_path, text), ATOMS, has_stress=True)
    assert np.allclose(found.stress_ev_per_ang3, -np.array(STRESS_GPA) / EV_PER_ANG3_IN_GPA, atol=1e-10)


@pytest.mark.parametrize(
    ("unit", "factor"),
    [("eV/angstrom", 1.0), ("Ry/bohr", RYDBERG_IN_EV / BOHR_IN_ANG), ("hartree/angstrom", HARTREE_IN_EV)],
)
def test_forces_are_read_in_the_unit_that_they_name(unit: str, factor: float, tmp_path: Path) -> None:
    found = read_evaluation(write(tmp_path, new_words(force_unit=unit)), ATOMS, has_stress=False)
    assert np.allclose(found.forces_ev_per_ang, np.array(FORCES) * factor, atol=1e-10)


@pytest.mark.parametrize(
    ("changes", "unit"),
    [
        ({"energy_unit": "kcalmol"}, "kcalmol"),
        ({"force_unit": "mNewton"}, "mNewton"),
        ({"force_unit": "hartree/furlong"}, "hartree/furlong"),
        ({"force_unit": "kJmol/bohr"}, "kJmol/bohr"),
        ({"pressure": "psi"}, "psi"),
        ({"pressure": "au_p"}, "au_p"),
    ],
)
def test_a_unit_that_is_not_known_is_refused(changes: dict[str, str], unit: str, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=rf"its unit \[{unit}\] is not known") as caught:
        read_evaluation(write(tmp_path, new_words(**changes)), ATOMS, has_stress=True)
    assert "run the folder again" in caught.value.remedy


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (" FORCES|      2", " FORCES?      2", "forces on 1 of 2 atoms"),
        ("   1 Na   11", "   1 K    19", "holds other atoms"),
        ("-62.500000000000", "****************", "a number in it cannot be read"),
        (" STRESS|      y", " STRESS?      y", "its stress is not complete"),
        ("Total FORCE_EVAL", "Partial FORCE_EVAL", "it has no energy"),
        ("Atomic forces", "Atomic farces", "it has no forces"),
        ("Analytical stress", "Numerical stress", "it has no stress"),
    ],
)
def test_a_spoiled_output_of_cp2k_is_refused(old: str, new: str, words: str, tmp_path: Path) -> None:
    text = new_words()
    assert old in text
    with pytest.raises(EngineError, match=words):
        read_evaluation(write(tmp_path, text.replace(old, new)), ATOMS, has_stress=True)


KNOWN = {
    "CP2K": cp2k_output.KNOWN_MAJOR_VERSIONS,
    "Quantum ESPRESSO": espresso_engine.KNOWN_MAJOR_VERSIONS,
    "VASP": vasp_engine.KNOWN_MAJOR_VERSIONS,
    "GPAW": gpaw_engine.KNOWN_MAJOR_VERSIONS,
}


@pytest.mark.parametrize(
    ("code", "version"),
    [
        ("CP2K", "2027.1"), ("CP2K", "7.1"), ("CP2K", "20250.1"), ("CP2K", "3.0"),
        ("Quantum ESPRESSO", "8.0"), ("Quantum ESPRESSO", "5.4.0"), ("Quantum ESPRESSO", "67MaX"),
        ("VASP", "7.0.0"), ("VASP", "4.6.36"), ("VASP", "66.1.0"),
        ("GPAW", "27.1.0"), ("GPAW", "1.5.2"), ("GPAW", "22.8.0"),
    ],
)  # fmt: skip
def test_a_release_whose_outputs_are_not_known_is_refused(code: str, version: str) -> None:
    with pytest.raises(EngineError, match=f"the outputs of {code} {version} are not known") as caught:
        require_known_version(version, code=code, known=KNOWN[code])
    assert "update qdip-dft" in caught.value.remedy


@pytest.mark.parametrize(
    ("code", "version"),
    [
        ("CP2K", "8.2"), ("CP2K", "9.1"), ("CP2K", "2023.1"), ("CP2K", "2024.3"), ("CP2K", "2025.1"),
        ("Quantum ESPRESSO", "6.7MaX"), ("Quantum ESPRESSO", "7.3.1"),
        ("VASP", "5.4.4"), ("VASP", "6.5.1"), ("GPAW", "24.6.0"), ("GPAW", "26.7.0"),
    ],
)  # fmt: skip
def test_known_releases_are_taken(code: str, version: str) -> None:
    assert require_known_version(version, code=code, known=KNOWN[code]) == version


@pytest.mark.parametrize("version", ["7.0.0", "8.1.2", "4.6.36"])
def test_an_engine_of_an_unknown_version_has_no_level_of_theory(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(vasp_engine.VERSION_VARIABLE, version)
    engine = engine_from_spec(EngineSpec(name="vasp"))
    with pytest.raises(EngineError, match="update qdip-dft"):
        engine.code_version()


@pytest.mark.parametrize("unit", ["keV", "joule", "wavenumber_e", "nm"])
def test_a_unit_of_an_input_that_is_not_known_is_refused(unit: str) -> None:
    with pytest.raises(EngineError, match=rf"the unit \[{unit.lower()}\] of FORCE_EVAL/DFT/MGRID/CUTOFF") as caught:
        _ = Line("FORCE_EVAL/DFT/MGRID/CUTOFF", (f"[{unit}]", "4.0")).number
    assert "one of these units" in caught.value.remedy


PW_INPUT = """&control
 calculation='scf', tprnfor=.true.
/
&system
 ibrav=0, nat=2, ntyp=1, ecutwfc=16, occupations='smearing', smearing='gaussian', degauss=0.01
/
&electrons
/
ATOMIC_SPECIES
 Si 28.0 Si.UPF
K_POINTS gamma
CELL_PARAMETERS angstrom
5.0 0 0
0 5.0 0
0 0 5.0
ATOMIC_POSITIONS crystal
Si 0 0 0
Si 0.25 0.25 {z}
"""


WORDS_OF_7 = """
     Warning: card / ignored
     R & G space division:  proc/nbgrp/npool/nimage =       1
     Estimated max dynamical RAM per process >      12.34 MB

     IMPORTANT: XC functional enforced from input :
     Exchange-correlation= PBE
                           (   1   4   3   4   0   0   0)
     Any further DFT definition will be discarded
     Please, verify this is what you really want
"""
"""Lines of release 7 that 6.7 has not, or elsewhere."""


def pw_output(*, z: float = 0.25, energy_ry: float = -15.5, end: str = "JOB DONE.", version: str = "6.7MaX") -> str:
    """Return what pw.x prints of two atoms in a cube of 5 Å, as far as it is read."""
    alat = 5.0 / BOHR_IN_ANG
    return f"""
     Program PWSCF v.{version} starts on 29Nov2026 at 20:11:22
{WORDS_OF_7 if version.startswith("7") else ""}
     bravais-lattice index     =            0
     lattice parameter (alat)  =       {alat:.4f}  a.u.
     unit-cell volume          =     843.5000 (a.u.)^3
     number of atoms/cell      =            2
     number of atomic types    =            1
     number of electrons       =         8.00
     kinetic-energy cutoff     =      16.0000  Ry
     charge density cutoff     =      64.0000  Ry
     Exchange-correlation= PBE
                           (   1   4   3   4   0   0   0)

     celldm(1)=   {alat:.6f}  celldm(2)=   0.000000  celldm(3)=   0.000000

     crystal axes: (cart. coord. in units of alat)
               a(1) = (   1.000000   0.000000   0.000000 )
               a(2) = (   0.000000   1.000000   0.000000 )
               a(3) = (   0.000000   0.000000   1.000000 )

     PseudoPot. # 1 for Si read from file:
     ./Si.UPF
     MD5 check sum: 0123456789abcdef

   Cartesian axes

     site n.     atom                  positions (alat units)
         1           Si  tau(   1) = (   0.0000000   0.0000000   0.0000000  )
         2           Si  tau(   2) = (   0.2500000   0.2500000   {z:.7f}  )

     number of k points=     1  Gaussian smearing, width (Ry)=  0.0100
                       cart. coord. in units 2pi/alat
        k(    1) = (   0.0000000   0.0000000   0.0000000), wk =   2.0000000

     the Fermi energy is     6.8971 ev

!    total energy              =     {energy_ry:.8f} Ry
     estimated scf accuracy    <          3.2E-10 Ry

     convergence has been achieved in   7 iterations

     Forces acting on atoms (cartesian axes, Ry/au):

     atom    1 type  1   force =     0.01000000    0.00000000    0.00000000
     atom    2 type  1   force =    -0.01000000    0.00000000    0.00000000

{NON_LOCAL_OF_7 if version.startswith("7") else ""}
     Total force =     0.010000     Total SCF correction =     0.000004

   {end}
"""


NON_LOCAL_OF_7 = """     The non-local contrib.  to forces
     atom    1 type  1   force =     0.50000000    0.00000000    0.00000000
     atom    2 type  1   force =    -0.50000000    0.00000000    0.00000000
"""


@pytest.mark.parametrize("version", ["6.7MaX", "7.0", "7.1", "7.3.1"])
def test_releases_6_and_7_of_pw_say_the_same(version: str, tmp_path: Path) -> None:
    run = read_run(write_pw(tmp_path / "run", pw_output(version=version)), "espresso")
    assert run.code_version == version
    assert run.evaluation.energy_ev == pytest.approx(-15.5 * RYDBERG_IN_EV, rel=1e-6)
    assert run.evaluation.forces_ev_per_ang[0, 0] == pytest.approx(0.01 * RYDBERG_IN_EV / BOHR_IN_ANG, rel=1e-6)
    assert run.settings.physics["functional"] == "PBE"
    assert run.settings.physics["k-points"] == "1 x 1 x 1 around Γ"


def write_pw(folder: Path, output: str, *, z: float = 0.25, source: str = PW_INPUT) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "pw.in").write_text(source.format(z=z))
    (folder / "pw.out").write_text(output)
    return folder


@pytest.mark.parametrize(
    "earlier",
    [
        pw_output(z=0.26, energy_ry=-14.0),
        pw_output(z=0.26, energy_ry=-14.0, end="") + pw_output(z=0.27),
        pw_output(energy_ry=-14.0, end="convergence NOT achieved after 1 iterations: stopping"),
    ],
)
def test_of_runs_that_were_appended_the_last_is_judged(earlier: str, tmp_path: Path) -> None:
    run = read_run(write_pw(tmp_path / "run", earlier + pw_output()), "espresso")
    assert run.evaluation.energy_ev == pytest.approx(-15.5 * RYDBERG_IN_EV, rel=1e-6)
    assert run.n_steps == 0
    assert run.start.positions_ang[1] == pytest.approx([1.25, 1.25, 1.25])


@pytest.mark.parametrize("last", [pw_output(end=""), pw_output()[:400]])
def test_a_last_run_that_is_cut_short_is_not_completed_by_the_one_before(last: str, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="it is missing or cut short"):
        read_run(write_pw(tmp_path / "run", pw_output() + last), "espresso")


def test_the_last_run_must_be_that_of_the_input(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="it was made by another input: its atoms are elsewhere"):
        read_run(write_pw(tmp_path / "run", pw_output() + pw_output(z=0.26)), "espresso")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("ATOMIC_POSITIONS crystal", "ATOMIC_POSITIONS crystal_sg"),
        ("ATOMIC_POSITIONS crystal", "ATOMIC_POSITIONS furlong"),
        ("Si 0.25 0.25 {z}", "Si 0.25 0.25"),
        ("CELL_PARAMETERS angstrom", "CELL_PARAMETERS alat"),
    ],
)
def test_a_structure_that_the_library_cannot_read_is_refused_by_name(old: str, new: str, tmp_path: Path) -> None:
    assert old in PW_INPUT
    with pytest.raises(EngineError, match="the structure in its input cannot be read") as caught:
        read_run(write_pw(tmp_path / "run", pw_output(), source=PW_INPUT.replace(old, new)), "espresso")
    assert "run the folder again" in caught.value.remedy


@pytest.mark.parametrize("error", [KeyError("kev"), NotImplementedError(), RecursionError("deep"), OSError("no right")])
def test_a_foreign_exception_concerns_its_folder_only(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a-strange", "b-good"):
        write_pw(tmp_path / name, pw_output())

    def read(folder: Path, engine: str) -> object:
        if folder.name == "a-strange":
            raise error
        return read_run(folder, engine)

    monkeypatch.setattr(imports, "read_run", read)
    said = list(imports.describe_finished_folders(tmp_path))
    assert said[0].startswith("a-strange: ")
    assert type(error).__name__ in said[0]
    assert said[1].startswith("b-good: Quantum ESPRESSO 6.7MaX, static, Si2")


@pytest.mark.parametrize("n_cells", [1, 4, 140])
def test_the_energy_criterion_of_gpaw_means_electronvolt_per_atom(n_cells: int, tmp_path: Path) -> None:
    """The real criterion of GPAW, asked about energies that differ by half and by twice of what is allowed."""
    require_code("gpaw")
    from gpaw.convergence_criteria import dict2criterion

    engine = engine_from_spec(spec_of("gpaw"))
    cell = silicon().arrangement
    arrangement = Arrangement(cell.species * n_cells, np.tile(cell.positions_ang, (n_cells, 1)), cell.lattice_ang)
    setting = Setting(tmp_path, (1, 1, 1), None, has_fixed_cell=True)
    asked = GpawRun(setting, engine, [])._question(arrangement, {})["parameters"]["convergence"]
    allowed_ev = engine.theory().settings["energy_convergence_ev_per_atom"] * arrangement.n_atoms
    assert not differs(dict2criterion(asked), 0.5 * allowed_ev, n_electrons=4 * arrangement.n_atoms)
    assert differs(dict2criterion(asked), 2.0 * allowed_ev, n_electrons=4 * arrangement.n_atoms)


@pytest.mark.parametrize("version", ["26.1.0", "26.7.0", "26.7.1b1"])
def test_a_log_of_gpaw_26_is_read(version: str, tmp_path: Path) -> None:
    folder = gpaw_26.write_folder(tmp_path / "run", gpaw_26.write_log(version=version))
    assert find_code(folder) == "gpaw"
    run = read_run(folder, "gpaw")
    physics = run.settings.physics
    assert (run.code_version, run.evaluation.energy_ev) == (version, gpaw_26.ENERGY_EV)
    assert (physics["functional"], physics["ecut (eV)"], physics["mode"]) == ("PBE", 150.0, "pw")
    assert physics["occupations"] == "methfessel-paxton of order 0"
    assert physics["k-points"] == "1 x 1 x 1 around Γ"
    assert physics["data set of Si (MD5)"] == "ee77bee481871cc2cb65ac61239ccafa"


@pytest.mark.parametrize(
    "earlier",
    [
        gpaw_26.write_log(energy_ev=5.0, cutoff_ev=400.0),
        gpaw_26.write_log(energy_ev=5.0, cutoff_ev=400.0)[:2000],
        gpaw_26.write_log().replace("Converged in", "Did not converge in"),
        gpaw_26.write_log(version="26.1.0") * 2,
    ],
)
def test_of_logs_of_gpaw_that_were_appended_the_last_is_judged(earlier: str, tmp_path: Path) -> None:
    run = read_run(gpaw_26.write_folder(tmp_path / "run", earlier + gpaw_26.write_log()), "gpaw")
    assert (run.code_version, run.evaluation.energy_ev) == ("26.7.0", gpaw_26.ENERGY_EV)
    assert run.settings.physics["ecut (eV)"] == 150.0


@pytest.mark.parametrize(
    ("last", "words"),
    [
        (gpaw_26.write_log(energy_ev=5.0), "it was made by another input: the energy is 6.320629"),
        (gpaw_26.write_log()[:1500], "it is missing or cut short"),
        (gpaw_26.write_log().replace("Converged in", "Did not converge in"), "not self-consistent"),
    ],
)
def test_a_last_log_of_gpaw_is_not_completed_by_the_one_before(last: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=words):
        read_run(gpaw_26.write_folder(tmp_path / "run", gpaw_26.write_log() + last), "gpaw")


@pytest.mark.parametrize("version", ["24.1.0", "24.6.0", "25.7.0", "26.7.0"])
def test_a_log_of_gpaws_former_backend_is_refused_by_name(version: str, tmp_path: Path) -> None:
    folder = gpaw_26.write_folder(tmp_path / "run", gpaw_26.FORMER_HEAD.format(version=version))
    assert find_code(folder) == "gpaw"
    with pytest.raises(EngineError, match="it is a log of GPAW's former backend"):
        read_run(folder, "gpaw")


def pack(folder: Path, ending: str) -> Path:
    """Compress every file of a folder, as clusters and workflow programs do."""
    compress = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}[ending]
    for path in list(folder.iterdir()):
        path.with_name(path.name + ending).write_bytes(compress(path.read_bytes()))
        path.unlink()
    return folder


CP2K_INPUT = """&GLOBAL
  RUN_TYPE ENERGY_FORCE
&END
&FORCE_EVAL
  &DFT
    &MGRID
      CUTOFF 400
    &END
    &XC
      &XC_FUNCTIONAL PBE
      &END
    &END
  &END
  &SUBSYS
    &CELL
      ABC 5.6 5.6 5.6
    &END
    &COORD
      Na 0.0 0.0 0.0
      Cl 2.8 2.8 2.8
    &END
  &END
&END
"""


def write_cp2k(folder: Path) -> Path:
    folder.mkdir()
    (folder / "mine.inp").write_text(CP2K_INPUT)
    (folder / "mine.out").write_text(old_words().replace("PROGRAM ENDED AT", "SCF run converged\n PROGRAM ENDED AT"))
    return folder


@pytest.mark.parametrize("ending", [".gz", ".bz2", ".xz"])
@pytest.mark.parametrize("code", ["espresso", "cp2k", "gpaw"])
def test_compressed_folders_are_read_like_plain_ones(code: str, ending: str, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    if code == "espresso":
        write_pw(folder, pw_output())
    elif code == "cp2k":
        write_cp2k(folder)
    else:
        gpaw_26.write_folder(folder, gpaw_26.write_log())
    plain = read_run(folder, code)
    assert find_code(pack(folder, ending)) == code
    packed = read_run(folder, code)
    assert packed.evaluation.energy_ev == plain.evaluation.energy_ev
    assert packed.settings == plain.settings
    assert np.array_equal(packed.start.positions_ang, plain.start.positions_ang)


@pytest.mark.parametrize("size", [0, 1, 15, 300])
def test_a_compressed_output_that_is_cut_short_concerns_its_folder_only(size: int, tmp_path: Path) -> None:
    for name in ("a-cut", "b-good"):
        pack(write_pw(tmp_path / name, pw_output()), ".gz")
    path = tmp_path / "a-cut" / "pw.out.gz"
    path.write_bytes(path.read_bytes()[:size])
    said = list(imports.describe_finished_folders(tmp_path))
    assert any(line.startswith("b-good: Quantum ESPRESSO 6.7MaX, static, Si2") for line in said)
    assert not any(line.startswith("a-cut: Quantum") for line in said)


def gpaw_table(*energies_ev: float) -> str:
    rows = "".join(
        f"iter: {i:3d}| 12:00:00 | {energy:13.6f}  | -2.1 | -3.4c |\n" for i, energy in enumerate(energies_ev)
    )
    return f" convergence:\n{rows}\nConverged in {len(energies_ev)} steps\n"


@pytest.mark.parametrize(
    ("energies_ev", "change_ev"),
    [
        ((-9.0, -10.0, -10.5, -10.5, -10.5), 0.0),
        ((-9.0, -10.0, -10.5, -10.5), 0.5),
        ((-10.5, -10.5 + 1e-5, -10.5), 1e-5),
        ((-10.5, -10.5), float("inf")),
        ((-10.5,), float("inf")),
        ((), float("inf")),
    ],
)
def test_gpaws_last_change_needs_three_energies(energies_ev: tuple[float, ...], change_ev: float) -> None:
    assert gpaw.last_change_ev(gpaw_table(*energies_ev)) == pytest.approx(change_ev, abs=1e-9)


@pytest.mark.parametrize("text", [old_words(), new_words()])
@pytest.mark.parametrize("n_steps", [0, 2, 7])
def test_a_static_output_of_cp2k_has_one_energy(text: str, n_steps: int, tmp_path: Path) -> None:
    cp2k.require_one_point(text, tmp_path / "cp2k.out")
    with pytest.raises(EngineError, match=f"it holds {n_steps} energies, a static calculation has one"):
        cp2k.require_one_point(text.split("ENERGY|", maxsplit=1)[0] + text * n_steps, tmp_path / "cp2k.out")


@pytest.mark.parametrize(
    ("moment", "words"),
    [(0.0, "zero"), ([0.0, 0.0, 0.0], "zero"), (1.0, "not zero"), ([0.0, 0.5, 0.0], "not zero"), (None, "not zero")],
)
def test_a_moment_of_zero_is_a_value(moment: object, words: str) -> None:
    parameters = {"ISYM": 0} if moment is None else {"ISYM": 0, "MAGMOM": moment}
    found = vasp._spinors(SimpleNamespace(parameters=parameters, incar={}))
    assert (found["MAGMOM"], found["ISYM"]) == (words, 0)


def differs(criterion: object, change_ev: float, *, n_electrons: int) -> bool:
    """Return whether GPAW goes on when the last of three energies differs."""
    criterion.reset()
    answers = []
    for energy_ev in (0.0, 0.0, change_ev):
        hamiltonian = SimpleNamespace(e_total_extrapolated=energy_ev / HARTREE_IN_EV)
        context = SimpleNamespace(ham=hamiltonian, wfs=SimpleNamespace(nvalence=n_electrons))
        answers.append(criterion(context)[0])
    return not answers[-1]


@pytest.mark.parametrize(("by_ev", "n_taken"), [(0.0, 2), (1e-7, 2), (0.01, 0), (-3.0, 0)])
def test_folders_that_contradict_each_other_are_named_and_none_is_taken(
    by_ev: float, n_taken: int, tmp_path: Path
) -> None:
    document = json.loads((DATA / "calculation-1-toy.json").read_text(encoding="utf-8"))
    record = read_calculation(document)
    assert record.result is not None
    result = record.result.model_copy(update={"energy_ev": record.result.energy_ev + by_ev})
    other = record.model_copy(update={"result": result})
    folders = [
        imports.ImportedFolder(tmp_path / name, "dot bulk", each, None)
        for name, each in (("first", record), ("second", other))
    ]
    found = list(imports._refuse_contradictions(folders))
    assert len(list(imports.list_records(tuple(found)))) == min(n_taken, 1)
    objections = [each.objection for each in found if each.objection is not None]
    assert len(objections) == 2 - n_taken
    assert all("eV in first" in words for words in objections)
    assert all("eV in second" in words for words in objections)

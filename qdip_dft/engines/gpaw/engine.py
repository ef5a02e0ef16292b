"""GPAW: plane waves and PAW data sets, run as ``gpaw python`` so that it may use MPI.

Mortensen et al., J. Chem. Phys. 2024, 160, 092503.

The command comes from ``QDIP_GPAW_CMD``, such as ``mpirun -n 8 gpaw python``; without it the installed package runs on
one core.  The PAW data sets are those of the package ``gpaw-data`` or of ``GPAW_SETUP_PATH``.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from qdip_dft.engines.base import Feature
from qdip_dft.engines.code_run import CodeRun, Setting
from qdip_dft.engines.dft import ENERGY_CONVERGENCE_EV_PER_ATOM, DftEngine
from qdip_dft.engines.evaluation import Evaluation
from qdip_dft.engines.gpaw.server import ANSWER, QUESTION, Server
from qdip_dft.engines.handlers import Failure, HandledRun, Handler
from qdip_dft.engines.programs import find_command, require_known_version, run_command
from qdip_dft.engines.pseudopotentials import describe_files, hash_files
from qdip_dft.errors import EngineError
from qdip_dft.model.calculation import PseudopotentialSet
from qdip_dft.model.engine import Restart
from qdip_dft.model.structure import Arrangement
from qdip_dft.runtime.installation import install_hint, package_folder

COMMAND_VARIABLE = "QDIP_GPAW_CMD"

INSTALL_LINE = f"install it with {install_hint('gpaw')} (needs libxc and a BLAS: docs/installation.md)"

WAVEFUNCTIONS = "gpaw.gpw"
"""The file with density and wavefunctions; GPAW does not start from a density alone."""

KNOWN_MAJOR_VERSIONS = ("24", "25", "26")

WORKER = Path(__file__).with_name("worker.py")
"""The script that runs inside GPAW's own processes."""

NUMERICS: dict[str, Any] = {"maxiter": 333}
"""What a handler may change; the ground state does not depend on it."""

UNCONVERGED = "KohnShamConvergenceError"

HANDLERS = (
    Handler(
        symptom=r"SymmetryBrokenError|InvalidULMFileError|read_gpw|ulm\.py",
        changes={"restart": False},
        words="wavefunctions of an earlier calculation did not fit and were left out",
    ),
    Handler(
        symptom=UNCONVERGED,
        changes={"mixer": {"backend": "pulay", "beta": 0.05, "nmaxold": 5, "weight": 50.0}, "maxiter": 333},
        words="self-consistency reached with mixing of 0.05 and a metric of 50",
    ),
    Handler(
        symptom=UNCONVERGED,
        changes={"mixer": {"backend": "pulay", "beta": 0.02, "nmaxold": 8, "weight": 100.0}, "maxiter": 500},
        words="self-consistency reached with mixing of 0.02 in up to 500 iterations",
    ),
    Handler(
        symptom=r"(?i)diagonaliz|eigensolver|linalgerror|cholesky",
        changes={"eigensolver": "rmm-diis"},
        words="bands found by RMM-DIIS",
    ),
)


DATA_SETS = {"PBE": "PBE", "PBEsol": "PBE", "r2SCAN": "PBE"}
"""The PAW data sets that a functional is used with: the package has none of its own for PBEsol and r2SCAN.

Core states and partial waves are then those of PBE; valence energies, and exchange and correlation of the frozen core
density, those of the functional.  The usual approximation: what it misses is the answer of the core to the functional.
"""


NAMES_IN_LIBXC = {"r2SCAN": "MGGA_X_R2SCAN+MGGA_C_R2SCAN"}
"""Functionals that GPAW knows by other names."""


@dataclass(frozen=True)
class GpawEngine(DftEngine):
    """GPAW in plane-wave mode."""

    name: ClassVar[str] = "gpaw"
    code: ClassVar[str] = "GPAW"
    functionals: ClassVar[frozenset[str]] = frozenset(DATA_SETS)
    default_functional: ClassVar[str] = "PBE"
    features: ClassVar[frozenset[Feature]] = DftEngine.features | {Feature.DIPOLE, Feature.RESTART_WAVEFUNCTIONS}

    def code_version(self) -> str:
        """Return the version of the installed package."""
        try:
            return require_known_version(version("gpaw"), code=self.code, known=KNOWN_MAJOR_VERSIONS)
        except PackageNotFoundError as error:
            raise _not_installed("gpaw") from error

    def weights_hash(self) -> str:
        """Return the hash of all PAW data sets of the functional."""
        return _hash_of_data_sets(data_set_folders(), DATA_SETS[self.functional])

    def describe_program(self) -> str:
        """Return the command of GPAW and its version."""
        return f"{' '.join(configured_command())}, version {self.code_version()}"

    def pseudopotentials(self, elements: Iterable[str]) -> PseudopotentialSet:
        """Return the PAW data set of each element."""
        folders = data_set_folders()
        files = {s: find_data_set(folders, s, DATA_SETS[self.functional]) for s in set(elements)}
        family, version = _name_family(folders[0])
        return describe_files(family, version, files)

    def seconds_per_force_call(self, n_atoms: int) -> float:
        """Return the rough time of one self-consistent density on two cores, in s."""
        return 5.0 + 0.2 * n_atoms**2

    def start(self, setting: Setting) -> CodeRun:
        """Return GPAW in its folder."""
        return GpawRun(setting, self, configured_command())


def configured_command() -> list[str]:
    """Return the Python that runs GPAW, as words.

    Raises
    ------
    EngineError
        If the program of ``QDIP_GPAW_CMD`` does not exist.
    """
    command = os.environ.get(COMMAND_VARIABLE)
    if command is None:
        return [sys.executable, "-P"]  # without its own folder on the path, where gpaw.py is this module
    return find_command(command, engine=GpawEngine.name, remedy=f"correct {COMMAND_VARIABLE}")


def find_data_set(folders: Sequence[Path], symbol: str, functional: str) -> Path:
    """Return the PAW data set of an element, from the first folder that has it, as GPAW does.

    Raises
    ------
    EngineError
        If none has it.
    """
    names = (f"{symbol}.{functional}.gz", f"{symbol}.{functional}")
    found = next((folder / name for folder in folders for name in names if (folder / name).is_file()), None)
    if found is not None:
        return found
    raise EngineError(
        f"engine 'gpaw' has no PAW data set {names[1]}",
        limit=f"it looked in {', '.join(map(str, folders))}",
        why="without it there is no energy",
        remedy=f"name a folder that has it in GPAW_SETUP_PATH, or install GPAW's own: {install_hint('gpaw')}",
    )


def _name_family(folder: Path) -> tuple[str, str]:
    """Return family and version of a folder of data sets; a folder of your own has its name and no version."""
    if folder == _packaged_folder():
        return "gpaw-data", version("gpaw-data")
    return folder.name, "unknown"


def _packaged_folder() -> Path | None:
    package = package_folder("gpaw_data")
    return None if package is None else package / "setups"


def data_set_folders() -> tuple[Path, ...]:
    """Return where GPAW looks for PAW data sets: ``GPAW_SETUP_PATH``, then the package ``gpaw-data``.

    Raises
    ------
    EngineError
        If there is none.
    """
    listed = [Path(part) for part in os.environ.get("GPAW_SETUP_PATH", "").split(os.pathsep) if part]
    folders = tuple(folder for folder in (*listed, _packaged_folder()) if folder is not None and folder.is_dir())
    if folders:
        return folders
    raise _not_installed("gpaw-data")


def _not_installed(package: str) -> EngineError:
    return EngineError(
        f"engine 'gpaw' needs the package {package!r}",
        limit="it is not installed",
        why="without it there is no energy",
        remedy=INSTALL_LINE,
    )


def _energy_criterion(n_atoms: int) -> dict[str, Any]:
    """The largest change of the total energy in three steps that counts as none, in eV for the cell.

    A bare number means eV per valence electron to GPAW (class ``Energy`` of its module ``convergence_criteria``), and
    would let the energy of many atoms change by their number squared.
    """
    return {"name": "energy", "tol": ENERGY_CONVERGENCE_EV_PER_ATOM * n_atoms, "relative": False}


@cache
def _hash_of_data_sets(folders: tuple[Path, ...], functional: str) -> str:
    return hash_files(sorted(path for folder in folders for path in folder.glob(f"*.{functional}*")))


@dataclass
class GpawRun(HandledRun):
    """GPAW in one folder.

    Parameters
    ----------
    engine
        The settings.
    command
        The Python that runs it, as words.
    server
        The process that is kept alive between the steps of a relaxation; None: there is none.
    """

    engine: GpawEngine
    command: list[str]
    server: Server | None = field(default=None, kw_only=True)

    restart_files: ClassVar[tuple[str, ...]] = (WAVEFUNCTIONS,)
    code: ClassVar[str] = "GPAW"
    handlers: ClassVar[Sequence[Handler]] = HANDLERS

    @property
    def by_hand(self) -> str:
        """Return what a person types."""
        return f"gpaw python {WORKER.name} question.json answer.json"

    def attempt(self, arrangement: Arrangement, numerics: Mapping[str, Any]) -> Evaluation | Failure:
        """Return what GPAW says, started for this step or kept alive since an earlier one."""
        self.write_inputs(arrangement, numerics)
        ask = self._ask_server if self.setting.is_kept_alive else self._run_once
        content, code = ask(numerics)
        self.n_iterations += content.get("n_iterations", 0)
        log = self.log
        if content.get("is_out_of_time"):
            raise self.out_of_time()
        if "energy_ev" in content:
            return Evaluation(
                energy_ev=content["energy_ev"],
                forces_ev_per_ang=np.array(content["forces_ev_per_ang"]),
                stress_ev_per_ang3=np.array(content["stress_ev_per_ang3"]),
            )
        said = content.get("failure") or log.read_text(encoding="utf-8", errors="replace")
        return Failure(said=said, summary=f"exit code {code}: {' '.join(said[-300:].split())}", output=log)

    @property
    def log(self) -> Path:
        """What the process prints."""
        return self.setting.folder / "run.out"

    def _run_once(self, _: Mapping[str, Any]) -> tuple[dict[str, Any], int]:
        answer = self.setting.folder / ANSWER
        answer.unlink(missing_ok=True)
        words = [*self.command, WORKER.name, QUESTION, answer.name]
        code = run_command(words, folder=self.setting.folder, stdin=None, stdout=self.log)
        content = json.loads(answer.read_text(encoding="utf-8")) if answer.exists() else {}
        self.has_restart = self.setting.has_fixed_cell and "n_iterations" in content
        return content, code

    def _ask_server(self, numerics: Mapping[str, Any]) -> tuple[dict[str, Any], int]:
        """Return the answer of the running process of these numerics; it is started with the first question."""
        if self.server is None or self.server.numerics != dict(numerics):
            if self.server is not None:
                self.server.close(None)
            words = [*self.command, WORKER.name]
            self.server = Server(words, self.setting.folder, self.log, dict(numerics))
        content = self.server.ask()
        if "energy_ev" in content:
            return content, 0
        is_saved = bool(content.get("is_out_of_time")) and self.setting.restart is not Restart.NONE
        self.has_restart = self.setting.has_fixed_cell and is_saved
        server, self.server = self.server, None
        server.close(None)
        return content, server.exit_code()

    def close(self) -> None:
        """End a process that is kept alive; its wavefunctions stay for the next run."""
        if self.server is not None:
            save_to = WAVEFUNCTIONS if self.setting.restart is not Restart.NONE else None
            self.has_restart = self.server.close(save_to)
            self.server = None

    def write_inputs(self, arrangement: Arrangement, numerics: Mapping[str, Any]) -> None:
        """Write the question and the script that answers it."""
        folder = self.setting.folder
        question = json.dumps(self._question(arrangement, numerics))
        (folder / QUESTION).write_text(question, encoding="utf-8")
        shutil.copyfile(WORKER, folder / WORKER.name)

    def _question(self, arrangement: Arrangement, numerics: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "species": arrangement.species,
            "positions_ang": arrangement.positions_ang.tolist(),
            "lattice_ang": arrangement.lattice_ang.tolist(),
            "data_sets": DATA_SETS[self.engine.functional],
            "vacuum_centre": None if self.setting.vacuum is None else self.setting.vacuum.centre,
            "restart_from": WAVEFUNCTIONS if self.is_restarted and not numerics else None,
            "save_to": WAVEFUNCTIONS if self.setting.restart is not Restart.NONE else None,
            "is_kept": self.setting.is_kept_alive,
            "usable_s": self.usable_s,
            "parameters": {
                "mode": {"name": "pw", "ecut": self.engine.cutoff_ev},
                "xc": NAMES_IN_LIBXC.get(self.engine.functional, self.engine.functional),
                "kpts": {"size": self.setting.k_mesh, "gamma": True},
                # Methfessel-Paxton of order 0 is the Gaussian occupation.
                "occupations": {"name": "methfessel-paxton", "order": 0, "width": self.engine.smearing_width_ev},
                "convergence": {"energy": _energy_criterion(arrangement.n_atoms)},
                **NUMERICS,
                **{name: value for name, value in numerics.items() if name != "restart"},
            },
        }

"""Custodian for VASP: it may mend the numerics of a run, never what is calculated.

Of custodian's handlers those are used whose corrections leave the converged energy as it is: symmetry tolerances, the
diagonaliser after a failed diagonalisation, mixing, the number of bands, memory.  The handlers that change the
smearing, the k-points or the projectors, and those that climb a ladder of algorithms when a density does not converge,
are left out; the engine has its own short ladder, as the other codes do.  Before every start the inputs are compared
with those that the engine wrote, and a correction of anything else is refused: the answer of a study is a difference.

Ong et al., Comput. Mater. Sci. 2013, 68, 314 (custodian).
"""

from __future__ import annotations

import subprocess
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from custodian.custodian import Custodian, CustodianError, ErrorHandler
from custodian.vasp.handlers import FrozenJobErrorHandler, StdErrHandler, VaspErrorHandler
from custodian.vasp.jobs import VaspJob
from custodian.vasp.validators import VaspFilesValidator
from pymatgen.io.vasp.inputs import Incar

from qdip_dft.engines.programs import start_command
from qdip_dft.errors import EngineError, OutOfTime
from qdip_dft.runtime.deadline import current_deadline

NUMERICAL_TAGS = frozenset({
    "ALGO", "AMIN", "AMIX", "AMIX_MAG", "BMIX", "BMIX_MAG", "ICHARG", "IMIX", "ISEARCH", "ISTART", "ISYM", "KPAR",
    "LPLANE", "LSCALAPACK", "NBANDS", "NCORE", "NELM", "NELMDL", "NELMIN", "NPAR", "NSIM", "SYMPREC", "TIME",
})  # fmt: skip
"""What a correction may change: ways to the ground state, not the ground state."""

MENDABLE_ERRORS = (
    "algo_tet", "amin", "bravais", "brmix", "coef", "edddav", "eddiag", "eddrmm", "grad_not_orth", "hnform", "ibzkpt",
    "inv_rot_mat", "nbands_not_sufficient", "pdsyevx", "point_group", "posmap", "pricel", "pricelv", "pssyevx",
    "rhosyg", "rot_matrix", "subspacematrix", "symprec_noise", "too_few_bands", "zheev", "zpotrf",
)  # fmt: skip
"""Errors of VASP, in custodian's words, for which a numerical correction exists."""

KEPT_FILES = ("KPOINTS", "POSCAR", "POTCAR")
"""Inputs that no correction may touch."""

OUTPUT = "vasp.out"
"""File with what VASP prints."""

POLLING_S = 0.2
"""How often custodian looks whether VASP has ended."""

MONITORING_S = 20.0
"""How often it looks for errors, and at the clock, while VASP runs."""

LEFT_FOR_STOPPING_S = 120.0
"""VASP stops after an electronic step and writes its wavefunctions; so much is kept for that."""


class DeadlineHandler(ErrorHandler):
    """Asks VASP to stop after the next electronic step when the allocation ends; it then writes its wavefunctions."""

    is_monitor = True
    is_terminating = False
    raises_runtime_error = False
    has_stopped = False

    def check(self, directory: str = "./") -> bool:
        """Return whether time is up while VASP runs."""
        is_running = not (Path(directory) / "STOPCAR").exists()
        return is_running and current_deadline().usable_s < LEFT_FOR_STOPPING_S

    def correct(self, directory: str = "./") -> dict[str, Any]:
        """Write the file that VASP looks for."""
        (Path(directory) / "STOPCAR").write_text("LABORT = .TRUE.\n", encoding="utf-8")
        self.has_stopped = True
        return {"errors": ["out of time"], "actions": None}


class GuardedJob(VaspJob):
    """A run of VASP that starts with the inputs of the engine, or with numerical corrections of them, or not at all."""

    def setup(self, directory: str = "./") -> None:
        """Remember the inputs."""
        self.kept = _read_inputs(Path(directory))

    def run(self, directory: str = "./") -> subprocess.Popen[bytes]:
        """Start VASP; it ends when this process does, however it ends."""
        folder = Path(directory)
        require_same_physics(self.kept, _read_inputs(folder))
        (folder / self.stderr_file).touch()
        self._vasp_process = start_command(self.vasp_cmd, folder=folder, stdin=None, stdout=folder / OUTPUT)
        return self._vasp_process

    def end(self) -> None:
        """End VASP if it still runs, because this process was interrupted."""
        process = getattr(self, "_vasp_process", None)
        if process is not None and process.poll() is None:
            process.end()


def mending_handlers() -> list[ErrorHandler]:
    """The handlers of custodian whose corrections leave the converged energy as it is."""
    return [VaspErrorHandler(errors_subset_to_catch=list(MENDABLE_ERRORS)), StdErrHandler(), FrozenJobErrorHandler()]


def run_guarded(command: Sequence[str], folder: Path, *, max_errors: int) -> list[str]:
    """Run VASP in a folder until it ends without an error, and return the corrections on the way in words.

    Parameters
    ----------
    command
        The command as words.
    folder
        Where the inputs lie.
    max_errors
        Number of corrections after which the run is given up.

    Raises
    ------
    EngineError
        If an error cannot be mended, or only by changing what is calculated.
    OutOfTime
        If the allocation ends before the density converges.
    """
    deadline = DeadlineHandler()
    job = GuardedJob(command, output_file=OUTPUT, auto_gamma=False, backup=False)
    manager = Custodian(
        [*mending_handlers(), deadline],
        [job],
        validators=[VaspFilesValidator()],  # whether vasprun.xml is complete is found when it is read
        max_errors=max_errors,
        polling_time_step=POLLING_S,
        monitor_freq=round(MONITORING_S / POLLING_S),
        directory=str(folder),
    )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # advice of custodian and pymatgen; what was done is in the run's log
            manager.run()  # type: ignore[no-untyped-call]
    except CustodianError as error:
        if deadline.has_stopped:
            raise _stopped(folder) from error
        raise _failed(error, manager.run_log, folder) from error
    finally:
        job.end()
    if deadline.has_stopped:
        raise _stopped(folder)
    return describe_corrections(manager.run_log)


def require_same_physics(before: dict[str, Any], after: dict[str, Any]) -> None:
    """Refuse inputs that differ from those of the engine in more than numerics.

    Parameters
    ----------
    before, after
        Parsed INCAR and texts of the other inputs.

    Raises
    ------
    EngineError
        If a correction changed what is calculated.
    """
    tags = before["INCAR"].keys() | after["INCAR"].keys()
    changed = sorted(tag for tag in tags if before["INCAR"].get(tag) != after["INCAR"].get(tag))
    refused = [tag for tag in changed if tag not in NUMERICAL_TAGS]
    refused += [name for name in KEPT_FILES if before[name] != after[name]]
    if not refused:
        return
    raise EngineError(
        f"a correction of VASP would change {', '.join(refused)}",
        limit="corrections may change numerics only: mixing, diagonaliser, symmetry, bands, restart",
        why="the answer is a difference of energies, and this one would be at another level of theory than the others",
        remedy="look at the error in the folder of the run, and choose settings that work for every structure",
    )


def _read_inputs(folder: Path) -> dict[str, Any]:
    texts = {name: (folder / name).read_text(encoding="utf-8", errors="replace") for name in KEPT_FILES}
    return {"INCAR": dict(Incar.from_file(folder / "INCAR")), **texts}


def describe_corrections(log: list[dict[str, Any]]) -> list[str]:
    """What custodian did, in words, from its log."""
    corrections = [correction for entry in log for correction in entry["corrections"]]
    return [f"VASP error {', '.join(sorted(c['errors']))} mended by {_describe(c['actions'])}" for c in corrections]


def _describe(actions: list[dict[str, Any]] | None) -> str:
    """Return the actions of custodian in words, such as ``INCAR set ISYM = 0``."""
    words = []
    for action in actions or []:
        where = action.get("dict") or action.get("file")
        for verb, values in action["action"].items():
            words += [f"{where} {verb.strip('_')} {name} = {value}" for name, value in values.items()]
    return "; ".join(words) or "nothing"


def _stopped(folder: Path) -> OutOfTime:
    return OutOfTime(
        "VASP was stopped because its allocation ends",
        limit=f"{LEFT_FOR_STOPPING_S:.0f} s are kept for the last electronic step",
        why="it would be killed in the middle",
        remedy=f"run the same again with more time: it goes on from the wavefunctions in {folder}",
    )


def _failed(error: CustodianError, log: list[dict[str, Any]], folder: Path) -> EngineError:
    output = folder / OUTPUT
    said = output.read_text(encoding="utf-8", errors="replace").split()[-40:] if output.exists() else []
    tried = "; ".join(describe_corrections(log)) or "no correction applied"
    return EngineError(
        f"VASP failed ({error}): {' '.join(said)[-300:]}",
        limit=f"a run must end without an error; {tried}",
        why="there is no energy",
        remedy=f"read {output} and {folder / 'OUTCAR'}",
    )

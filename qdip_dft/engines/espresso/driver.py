"""``pw.x`` kept alive between the steps of a relaxation, as a client of an i-PI socket.

Kapil et al., Comput. Phys. Commun. 2019, 236, 214.  One start of ``pw.x`` serves all steps: it keeps its wavefunctions
in memory and moves the superposed atomic densities with the atoms.  The socket carries positions and forces; whether a
step is self-consistent, and its energy, stand in the output file, which is read for both.  The energy of the socket is
held against that of the file: they are one number, or the step fails.

Only relaxations in a fixed cell are kept alive.  In a cell that changes, a running ``pw.x`` keeps the plane waves of
the cell it began with, which is another energy than that of a fresh start.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any

import numpy as np

from qdip_dft.engines.evaluation import Evaluation
from qdip_dft.engines.programs import end_command, start_command
from qdip_dft.model.structure import Arrangement
from qdip_dft.runtime.watched import WatchedProgram

if TYPE_CHECKING:
    from ase.calculators.socketio import SocketServer

CONVERGED = "convergence has been achieved"

OUTPUT_DELAY_S = 10.0
"""The output file may lag behind the socket by this much."""

LARGEST_DISAGREEMENT = 1e-7
"""Between the energies of socket and file, as a fraction: their units differ by the year of the constants (8e-8)."""


class DriverError(Exception):
    """A step that gave no energy one may believe; the message says why."""


@dataclass
class Driver:
    """A running ``pw.x``.

    Parameters
    ----------
    command
        The command as words, without input.
    folder
        Where ``pw.in`` lies.
    numerics
        The numerical settings that the input was written with.
    """

    command: Sequence[str]
    folder: Path
    numerics: dict[str, Any]
    _server: SocketServer = field(init=False)
    _process: WatchedProgram = field(init=False)
    _n_read: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        from ase.calculators.socketio import SocketServer

        # ``pw.x`` puts its socket at a fixed place below /tmp: the name is one that nobody can guess.
        name = f"qdip-{secrets.token_hex(12)}"
        self._server = SocketServer(unixsocket=name)
        words = [*self.command, "-ipi", f"{name}:UNIX", "-in", "pw.in"]
        self._process = start_command(words, folder=self.folder, stdin=None, stdout=self.output)
        self._server.proc = self._process  # so that nobody waits for a program that has ended

    @property
    def output(self) -> Path:
        """The output file of all steps."""
        return self.folder / "pw.out"

    def evaluate(self, arrangement: Arrangement) -> tuple[Evaluation, int]:
        """Return energy, forces and stress of an arrangement, and the steps to self-consistency that it took.

        Raises
        ------
        DriverError
            If the program ended, did not reach self-consistency, or contradicts its own output.
        """
        from ase.calculators.socketio import SocketClosed

        atoms = arrangement.to_ase()
        try:
            answer = self._server.calculate(atoms)
        except (SocketClosed, OSError) as error:
            raise DriverError(f"exit code {self._process.wait()}") from error
        step = self._read_step()
        energy_ev = read_energy_ev(step)
        if abs(energy_ev - answer["energy"]) > LARGEST_DISAGREEMENT * max(1.0, abs(energy_ev)):
            raise DriverError(f"pw.x sent {answer['energy']:.6f} eV and wrote {energy_ev:.6f} eV")
        evaluation = Evaluation(
            energy_ev=energy_ev,
            forces_ev_per_ang=np.asarray(answer["forces"], dtype=np.float64),
            stress_ev_per_ang3=-np.asarray(answer["virial"], dtype=np.float64) / arrangement.volume_ang3,
        )
        return evaluation, step.count("iteration #")

    def close(self) -> None:
        """End the program, which left its density when the last step was done."""
        self._server.proc = None  # ASE would warn of the exit code, which is never 0 here
        self._server.close()
        end_command(self._process, patience_s=OUTPUT_DELAY_S)

    def _read_step(self) -> str:
        """Return what the program wrote since the last step, once it says how its self-consistency ended."""
        end_s = monotonic() + OUTPUT_DELAY_S
        while True:
            text = self.output.read_text(encoding="utf-8", errors="replace")[self._n_read :]
            if CONVERGED in text and "!    total energy" in text:
                self._n_read += len(text)
                return text
            if "convergence NOT achieved" in text or monotonic() > end_s:
                raise DriverError("convergence NOT achieved" if "NOT achieved" in text else "no energy in its output")
            sleep(0.05)


def read_energy_ev(step: str) -> float:
    """Return the total energy of one step of an output, in eV, with the constants of ASE's reader of whole outputs."""
    from ase.units import create_units

    (energy_ry,) = re.findall(r"^!    total energy\s+=\s+(\S+) Ry", step, flags=re.MULTILINE)
    return float(energy_ry) * float(create_units("2006")["Ry"])

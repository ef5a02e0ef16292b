"""Evaluates one arrangement with GPAW; started as a script by `qdip_dft.engines.gpaw`, perhaps on many processes."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any


def answer_question(question: dict[str, Any]) -> dict[str, Any]:
    """Return energy in eV, forces in eV/Å and stress in eV/Å³, or why there are none.

    Parameters
    ----------
    question
        Species, positions, lattice and GPAW's parameters.
    """
    from ase import Atoms
    from gpaw import GPAW, KohnShamConvergenceError
    from gpaw.xc import XC

    atoms = Atoms(question["species"], positions=question["positions_ang"], cell=question["lattice_ang"], pbc=True)
    parameters = dict(question["parameters"])
    functional: Any = XC(parameters["xc"])
    functional.get_setup_name = lambda: question["data_sets"]  # a functional asks for data sets of its own name
    parameters["xc"] = functional
    if question["vacuum_centre"] is not None:
        # The dipole layer lies at the cell's edge: the slab is moved so that its vacuum is there.
        atoms.positions -= question["vacuum_centre"] * atoms.cell[2]
        atoms.wrap()
        atoms.pbc = (True, True, False)
        parameters["poissonsolver"] = {"dipolelayer": "xy"}
    atoms.calc = GPAW(**parameters, txt="gpaw.txt")
    try:
        energy_ev = atoms.get_potential_energy(force_consistent=True)
    except KohnShamConvergenceError as error:
        return {"failure": str(error)}
    return {
        "energy_ev": float(energy_ev),
        "forces_ev_per_ang": atoms.get_forces().tolist(),
        "stress_ev_per_ang3": atoms.get_stress(voigt=False).tolist(),
    }


def main(question_path: str, answer_path: str) -> None:
    """Read the question, write the answer; only the first process writes, in one piece."""
    import gpaw.mpi

    answer = answer_question(json.loads(Path(question_path).read_text(encoding="utf-8")))
    if gpaw.mpi.world.rank == 0:
        unfinished = Path(f"{answer_path}.part")
        unfinished.write_text(json.dumps(answer), encoding="utf-8")
        unfinished.replace(answer_path)


if __name__ == "__main__":
    main(*sys.argv[1:])

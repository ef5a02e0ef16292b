"""Evaluates one arrangement with GPAW; `qdip_dft.engines.gpaw.engine` starts it as a script, perhaps in parallel."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from math import inf
from pathlib import Path
from typing import Any

SYMMETRY_TOLERANCE_ANG = 1e-4
"""Atoms that are this near to the image of another one are symmetric."""


def answer_question(question: dict[str, Any]) -> dict[str, Any]:
    """Return energy in eV, forces in eV/Å and stress in eV/Å³, or why there are none.

    Parameters
    ----------
    question
        Species, positions, lattice and GPAW's parameters.
    """
    from ase import Atoms
    from gpaw import GPAW, KohnShamConvergenceError

    atoms = Atoms(question["species"], positions=question["positions_ang"], cell=question["lattice_ang"], pbc=True)
    parameters = dict(question["parameters"])
    functional = _functional_on(question["data_sets"])
    parameters["xc"] = functional(parameters["xc"])
    if question["vacuum_centre"] is not None:
        # The dipole layer lies at the cell's edge: the slab is moved so that its vacuum is there.
        atoms.positions -= question["vacuum_centre"] * atoms.cell[2]
        atoms.wrap()
        atoms.pbc = (True, True, False)
        parameters["poissonsolver"] = {"dipolelayer": "xy"}
    parameters["symmetry"] = choose_symmetry(atoms)
    if question["restart_from"] is not None:
        hooks = {"xc": lambda content: functional(**content)}
        atoms.calc = GPAW(question["restart_from"], txt="gpaw.txt", legacy_gpaw=False, object_hooks=hooks)
    else:
        atoms.calc = GPAW(**parameters, txt="gpaw.txt", legacy_gpaw=False)
    atoms.calc.hooks["scf_step"] = _stop_after(question["usable_s"])
    try:
        energy_ev = atoms.get_potential_energy(force_consistent=True)
    except KohnShamConvergenceError as error:
        return {"failure": f"{type(error).__name__}: {error}", "n_iterations": _iterations_of(atoms.calc)}
    except _OutOfTimeError:
        _save(atoms.calc, question["save_to"])
        return {"is_out_of_time": True, "n_iterations": _iterations_of(atoms.calc)}
    _save(atoms.calc, question["save_to"])
    return {
        "n_iterations": _iterations_of(atoms.calc),
        "energy_ev": float(energy_ev),
        "forces_ev_per_ang": atoms.get_forces().tolist(),
        "stress_ev_per_ang3": atoms.get_stress(voigt=False).tolist(),
    }


def choose_symmetry(atoms: Any) -> dict[str, Any]:
    """Return GPAW's words for the symmetry of a structure.

    Relaxed atoms are symmetric to some 1e-5 Å, near GPAW's own tolerance: operations that it half finds are no group,
    and it gives up.  At the rounding of the keys it finds all of them; where even that is ambiguous, none is used.

    Parameters
    ----------
    atoms
        The structure as GPAW gets it.
    """
    from gpaw.new.symmetry import SymmetryAnalysisBug, create_symmetries_object

    try:
        create_symmetries_object(atoms, tolerance=SYMMETRY_TOLERANCE_ANG)
    except SymmetryAnalysisBug:
        return {"point_group": False}
    return {"tolerance": SYMMETRY_TOLERANCE_ANG}


def _functional_on(data_sets: str) -> type:
    """Return GPAW's functionals, except that they take data sets of one name: else each asks for those of its own."""
    from gpaw.dft import XC

    class Functional(XC):
        def functional(self, **keywords: Any) -> Any:
            functional = super().functional(**keywords)
            functional.get_setup_name = lambda: data_sets
            return functional

    return Functional


class _OutOfTimeError(Exception):
    """The allocation ends."""


def _stop_after(usable_s: float | None) -> Callable[[Any], None]:
    """Return what GPAW calls after each step to self-consistency."""
    from gpaw.mpi import world

    end_s = inf if usable_s is None else time.monotonic() + usable_s

    def stop(_: Any) -> None:
        if usable_s is not None and world.sum_scalar(float(time.monotonic() > end_s)) > 0:  # type: ignore[no-untyped-call]
            raise _OutOfTimeError

    return stop


def _iterations_of(calculator: Any) -> int:
    """Return the steps to self-consistency; none if the saved state was that of these very atoms."""
    return int(getattr(calculator.dft.scf_loop, "niter", 0))


def _save(calculator: Any, path: str | None) -> None:
    """Write density and wavefunctions, in one piece."""
    if path is not None:
        calculator.write(f"part-{path}", mode="all")
        Path(f"part-{path}").replace(path)


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

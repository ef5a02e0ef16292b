"""Evaluates arrangements with GPAW; `qdip_dft.engines.gpaw.engine` starts it as a script, perhaps in parallel.

With the names of two files it answers one question and ends.  Without, it reads such pairs of names from its standard
input, a line each, and keeps density and wavefunctions in memory from one question to the next: the steps of a
relaxation in a fixed cell.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from math import inf
from pathlib import Path
from typing import Any

SYMMETRY_TOLERANCE_ANG = 1e-4
"""Atoms that are this near to the image of another one are symmetric."""


def answer_question(question: dict[str, Any], kept: Any = None) -> tuple[dict[str, Any], Any]:
    """Return energy in eV, forces in eV/Å and stress in eV/Å³, or why there are none; and the calculator to keep.

    Parameters
    ----------
    question
        Species, positions, lattice and GPAW's parameters.
    kept
        The calculator of the step before, which has the same atoms, cell and parameters; None: there is none.
    """
    from gpaw.new.symmetry import SymmetryBrokenError

    atoms = _arrange(question)
    try:
        atoms.calc = kept or _begin(question, atoms)
        answer = _evaluate(question, atoms)
    except SymmetryBrokenError:
        if kept is None:
            raise
        return answer_question(question)  # the atoms have left the symmetry that the step before had
    return answer, atoms.calc if "energy_ev" in answer else None


def _arrange(question: dict[str, Any]) -> Any:
    """Return the atoms as GPAW gets them."""
    from ase import Atoms

    atoms = Atoms(question["species"], positions=question["positions_ang"], cell=question["lattice_ang"], pbc=True)
    if question["vacuum_centre"] is not None:
        # The dipole layer lies at the cell's edge: the slab is moved so that its vacuum is there.
        atoms.positions -= question["vacuum_centre"] * atoms.cell[2]
        atoms.wrap()
        atoms.pbc = (True, True, False)
    return atoms


def _begin(question: dict[str, Any], atoms: Any) -> Any:
    """Return a calculator that begins anew, or with the wavefunctions of a file."""
    from gpaw import GPAW

    functional = _functional_on(question["data_sets"])
    if question["restart_from"] is not None:
        hooks = {"xc": lambda content: functional(**content)}
        return GPAW(question["restart_from"], txt="gpaw.txt", legacy_gpaw=False, object_hooks=hooks)
    parameters = question["parameters"] | {"xc": functional(question["parameters"]["xc"])}
    if question["vacuum_centre"] is not None:
        parameters["poissonsolver"] = {"dipolelayer": "xy"}
    return GPAW(**parameters, symmetry=choose_symmetry(atoms), txt="gpaw.txt", legacy_gpaw=False)


def _evaluate(question: dict[str, Any], atoms: Any) -> dict[str, Any]:
    from gpaw import KohnShamConvergenceError

    atoms.calc.hooks["scf_step"] = _stop_after(question["usable_s"])
    try:
        energy_ev = atoms.get_potential_energy(force_consistent=True)
    except KohnShamConvergenceError as error:
        return {"failure": f"{type(error).__name__}: {error}", "n_iterations": _iterations_of(atoms.calc)}
    except _OutOfTimeError:
        _save(atoms.calc, question["save_to"])
        return {"is_out_of_time": True, "n_iterations": _iterations_of(atoms.calc)}
    if not question["is_kept"]:
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
        if usable_s is not None and world.sum_scalar(float(time.monotonic() > end_s)) > 0:
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
    """Read the question, write the answer."""
    answer, _ = answer_question(_read(question_path))
    _write(answer, answer_path)


def serve() -> None:
    """Answer one question after the other until the standard input ends."""
    kept = None
    for question_path, answer_path in _list_asked():
        question = _read(question_path)
        if "species" in question:
            answer, kept = answer_question(question, kept)
        else:
            answer = {"is_saved": kept is not None}
            _save(kept, question["save_to"] if kept is not None else None)
        _write(answer, answer_path)


def _list_asked() -> Iterator[tuple[str, str]]:
    """Yield the names of question and answer on every process; the first one reads them."""
    from gpaw.mpi import broadcast, world

    while True:
        line = broadcast(sys.stdin.readline() if world.rank == 0 else None)
        if not line:
            return
        question_path, answer_path = line.split()
        yield question_path, answer_path


def _read(path: str) -> dict[str, Any]:
    return dict(json.loads(Path(path).read_text(encoding="utf-8")))


def _write(answer: dict[str, Any], path: str) -> None:
    """Write the answer, in one piece; only the first process does."""
    import gpaw.mpi

    if gpaw.mpi.world.rank == 0:
        unfinished = Path(f"{path}.part")
        unfinished.write_text(json.dumps(answer), encoding="utf-8")
        unfinished.replace(path)


if __name__ == "__main__":
    main(*sys.argv[1:]) if sys.argv[1:] else serve()

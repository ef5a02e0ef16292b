"""Whether a stored calculation is what it claims to be, before its energy may enter a difference.

A number can be wrong without anything having failed: an atom left the slab, a file was edited, an engine reports
convergence that its own forces deny.  Each of these is a sentence, and the energy is then missing instead of wrong.
"""

from __future__ import annotations

from collections import Counter

import numpy as np

from qdip_dft.analysis.comparability import list_theory_differences
from qdip_dft.model.calculation import CalculationRecord, CalculationTask, EngineResult, Freedom, LevelOfTheory
from qdip_dft.model.structure import StructureRecord

HELD_TOLERANCE_ANG = 1e-4
"""A vector or an atom that is held may differ by the rounding of a code's output."""

FORCE_ALLOWANCE = 1.1
"""Forces of a converged relaxation may exceed the threshold by the rounding and drift of a code's output."""

STATIC_TOLERANCE_EV_PER_ATOM = {Freedom.POSITIONS: 0.001, Freedom.OUT_OF_PLANE: 0.02, Freedom.CELL: 0.02}
"""By how much a static energy may differ from the last one of its relaxation.

In a cell that stays both have one basis and one mesh and agree to the self-consistency.  Where the cell has changed,
plane waves and k-points are counted anew: 0.02 eV per atom is beyond that and within any energy that is simply wrong.
"""


def find_defect(
    record: CalculationRecord, theory: LevelOfTheory, *, force_threshold_ev_per_ang: float | None = None
) -> str | None:
    """Return in one clause why the energy of a record may not be used, or None.

    A record without a result, or one that says itself that it is not converged, has no defect: it claims nothing.

    Parameters
    ----------
    record
        A stored calculation.
    theory
        Level of theory of the study.
    force_threshold_ev_per_ang
        Largest force of a relaxed structure; None: not checked.
    """
    differences = list_theory_differences(record.theory, theory)
    if differences:
        return f"is at another level of theory than the study ({'; '.join(differences)})"
    if not record.is_usable or record.result is None:
        return None
    return _find_defect_of_result(record.task, record.result, force_threshold_ev_per_ang)


def find_mismatch(record: CalculationRecord, task: CalculationTask) -> str | None:
    """Return in one clause why a record cannot be the answer to a question, or None.

    Parameters
    ----------
    record
        What is stored under the key of the question.
    task
        The question.
    """
    if record.task.freedom is not task.freedom:
        return f"is stored as a relaxation of other freedom ({record.task.freedom}, asked for {task.freedom})"
    change = describe_change(task.structure, record.task.structure)
    return None if change is None else f"is stored for another structure ({change})"


def find_energy_jump(static: CalculationRecord, relaxation: CalculationRecord) -> str | None:
    """Return in one clause how far a static energy lies from that of the relaxation before it, if too far.

    A part of a relaxed interface has an energy of its own, which misses nothing.
    """
    if static.result is None or relaxation.result is None or static.task.structure.presence:
        return None
    limit = STATIC_TOLERANCE_EV_PER_ATOM[relaxation.task.freedom]
    jump = (static.result.energy_ev - relaxation.result.energy_ev) / static.task.structure.n_atoms
    if abs(jump) <= limit:
        return None
    return f"misses the energy of its relaxation by {jump:+.4f} eV per atom, {limit} are allowed"


def describe_change(asked: StructureRecord, found: StructureRecord) -> str | None:
    """Return what was lost or gained, such as ``1 Cs lost``; None for the same atoms."""
    before, after = Counter(asked.species), Counter(found.species)
    lost, gained = before - after, after - before
    words = [f"{number} {symbol} lost" for symbol, number in sorted(lost.items())]
    words += [f"{number} {symbol} gained" for symbol, number in sorted(gained.items())]
    return ", ".join(words) or None


def _find_defect_of_result(task: CalculationTask, result: EngineResult, threshold: float | None) -> str | None:
    change = describe_change(task.structure, result.structure)
    if change is not None:
        return f"ended with other atoms than it began with ({change})"
    if result.structure.species != task.structure.species:
        return "ended with its atoms in another order"
    if len(result.forces_ev_per_ang) != result.structure.n_atoms:
        return f"has {len(result.forces_ev_per_ang)} forces for {result.structure.n_atoms} atoms"
    moved = _find_movement(task, result.structure)
    return moved if moved is not None else _find_force(task, result, threshold)


def _find_movement(task: CalculationTask, found: StructureRecord) -> str | None:
    """Return what moved although it was held: lattice vectors, or the atoms of a static calculation."""
    n_held = task.freedom.n_held_vectors
    change = np.array(found.lattice_ang)[:n_held] - np.array(task.structure.lattice_ang)[:n_held]
    stretched = float(np.abs(change).max(initial=0.0))
    if stretched > HELD_TOLERANCE_ANG:
        return f"changed lattice vectors that are held by {stretched:.3f} Å"
    if task.freedom is not Freedom.NONE:
        return None
    moved = float(np.abs(found.arrangement.positions_ang - task.structure.arrangement.positions_ang).max(initial=0.0))
    return f"is static, yet atoms moved by {moved:.3f} Å" if moved > HELD_TOLERANCE_ANG else None


def _find_force(task: CalculationTask, result: EngineResult, threshold: float | None) -> str | None:
    """Return the largest force on a free atom where a relaxation that says it is converged leaves too much."""
    if threshold is None or task.freedom is Freedom.NONE:
        return None
    is_fixed = np.array(task.structure.is_fixed or (False,) * task.structure.n_atoms)
    free = np.array(result.forces_ev_per_ang)[~is_fixed]
    largest = float(np.linalg.norm(free, axis=1).max(initial=0.0))
    if largest <= FORCE_ALLOWANCE * threshold:
        return None
    return f"says it is converged, yet {largest:.3f} eV/Å are left on an atom and {threshold:g} are allowed"

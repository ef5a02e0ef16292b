"""What a potential or a code says about one arrangement of atoms."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from qdip_dft.errors import EngineError, OverlapError
from qdip_dft.model.calculation import EngineResult
from qdip_dft.model.neighbours import find_pairs
from qdip_dft.model.structure import Arrangement, StructureRecord
from qdip_dft.runtime.deadline import current_deadline

FloatArray = NDArray[np.float64]

SHORTEST_DISTANCE_ANG = 0.4
"""Nearer than this two atoms lie on top of each other (H-H has 0.74 Å): no potential knows such an arrangement."""


REPEATED_ONCE = "gave no finite energy, forces or stress at first; repeated, it gave finite ones"


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What a potential says about one arrangement of atoms.

    Parameters
    ----------
    energy_ev
        Potential energy of the cell in eV.
    forces_ev_per_ang
        Forces −dE/dx in eV/Å, shape (atoms, 3).
    stress_ev_per_ang3
        Stress dE/dε / V in eV/Å³, shape (3, 3), positive in tension; None where the code gives none.
    is_repeated
        Whether numbers that were not finite came first, although the atoms were apart.
    """

    energy_ev: float
    forces_ev_per_ang: FloatArray
    stress_ev_per_ang3: FloatArray | None
    is_repeated: bool = False

    def __add__(self, other: Evaluation) -> Evaluation:
        """Return the sum of two contributions to the same arrangement."""
        stresses = (self.stress_ev_per_ang3, other.stress_ev_per_ang3)
        return Evaluation(
            energy_ev=self.energy_ev + other.energy_ev,
            forces_ev_per_ang=self.forces_ev_per_ang + other.forces_ev_per_ang,
            stress_ev_per_ang3=None if stresses[0] is None or stresses[1] is None else stresses[0] + stresses[1],
        )

    @property
    def is_finite(self) -> bool:
        """Return whether every number is finite."""
        return bool(
            np.isfinite(self.energy_ev)
            and np.isfinite(self.forces_ev_per_ang).all()
            and (self.stress_ev_per_ang3 is None or np.isfinite(self.stress_ev_per_ang3).all())
        )


def as_stress_matrix(stress: FloatArray) -> FloatArray:
    """Return a stress as a 3 × 3 matrix, also when it comes as xx, yy, zz, yz, xz, xy."""
    return stress if stress.shape == (3, 3) else stress[[[0, 5, 4], [5, 1, 3], [4, 3, 2]]]


Potential = Callable[[Arrangement], Evaluation]
"""A function of the atoms' places and nothing else: the same structure always has the same energy."""


@runtime_checkable
class BatchPotential(Protocol):
    """A potential that can evaluate several structures at once, which fills a graphics processor."""

    def __call__(self, arrangement: Arrangement) -> Evaluation:
        """Evaluate one structure."""

    def evaluate_many(self, arrangements: Sequence[Arrangement]) -> list[Evaluation]:
        """Evaluate structures that do not see each other, in their order."""


def evaluate_many(potential: Potential, arrangements: Sequence[Arrangement]) -> list[Evaluation]:
    """What the potential says about several structures, at once if it can."""
    if isinstance(potential, BatchPotential):
        return potential.evaluate_many(arrangements)
    return [potential(arrangement) for arrangement in arrangements]


def evaluate_many_apart(potential: Potential, arrangements: Sequence[Arrangement]) -> list[Evaluation]:
    """What the potential says, with nothing finite where atoms lie on top of each other.

    A potential is a function: where atoms are apart, numbers that are not finite are a fault of the processor, more
    often than not gone when it is asked again.  It is asked twice: one fault must not lead a relaxation elsewhere.

    Raises
    ------
    OutOfTime
        If the evaluation may not end before the job must.
    """
    apart = [index for index, arrangement in enumerate(arrangements) if _are_apart(arrangement)]
    evaluations = [_nothing_finite(arrangement.n_atoms) for arrangement in arrangements]
    for is_repeated in (False, True):
        asked = [index for index in apart if not evaluations[index].is_finite]
        if not asked:
            break
        with current_deadline().evaluation():
            found = evaluate_many(potential, [arrangements[index] for index in asked])
        for index, evaluation in zip(asked, found, strict=True):
            evaluations[index] = replace(evaluation, is_repeated=is_repeated)
    return evaluations


def evaluate_apart(potential: Potential, arrangement: Arrangement) -> Evaluation:
    """The same for one structure."""
    return evaluate_many_apart(potential, [arrangement])[0]


def _are_apart(arrangement: Arrangement) -> bool:
    pairs = find_pairs(arrangement.positions_ang, arrangement.lattice_ang, cutoff_ang=SHORTEST_DISTANCE_ANG)
    return len(pairs.first) == 0


def _nothing_finite(n_atoms: int) -> Evaluation:
    return Evaluation(np.nan, np.full((n_atoms, 3), np.nan), np.full((3, 3), np.nan))


def require_finite(evaluation: Evaluation, arrangement: Arrangement) -> Evaluation:
    """Return the evaluation unchanged, or refuse numbers that are not finite.

    Raises
    ------
    OverlapError
        If atoms lie on top of each other.
    EngineError
        If they do not.
    """
    if evaluation.is_finite:
        return evaluation
    if _are_apart(arrangement):
        raise EngineError(
            "the potential gives no finite energy for this structure, although its atoms are apart",
            limit="energy, forces and stress must be numbers",
            why="the potential or the processor that it ran on has failed",
            remedy="try again, on another device or with another potential",
        )
    raise OverlapError(
        "the potential gives no finite energy for this structure",
        limit=f"no two atoms may be nearer than {SHORTEST_DISTANCE_ANG} Å",
        why="no potential is defined where atoms lie on top of each other",
        remedy="check the shortest distances of the structure",
    )


def free_sites(structure: StructureRecord) -> NDArray[np.bool_]:
    """Return for each site whether a relaxation may move it."""
    if not structure.is_fixed:
        return np.ones(structure.n_atoms, dtype=bool)
    return ~np.array(structure.is_fixed)


def largest_force_ev_per_ang(evaluation: Evaluation, is_free: NDArray[np.bool_]) -> float:
    """Return the length of the largest force on a free atom, 0 when none is free."""
    forces = evaluation.forces_ev_per_ang[is_free]
    return float(np.linalg.norm(forces, axis=1).max(initial=0.0))


def result_of(
    structure: StructureRecord,
    evaluation: Evaluation,
    *,
    is_converged: bool,
    n_steps: int,
    start_s: float,
    **notes: Any,
) -> EngineResult:
    """Return the record of an evaluated structure; without notes of the caller, with one if it was asked for twice."""
    notes.setdefault("warnings", (REPEATED_ONCE,) if evaluation.is_repeated else ())
    return EngineResult(
        structure=structure,
        energy_ev=evaluation.energy_ev,
        forces_ev_per_ang=evaluation.forces_ev_per_ang.tolist(),
        stress_ev_per_ang3=None if evaluation.stress_ev_per_ang3 is None else evaluation.stress_ev_per_ang3.tolist(),
        is_converged=is_converged,
        n_steps=n_steps,
        max_force_ev_per_ang=largest_force_ev_per_ang(evaluation, free_sites(structure)),
        wall_time_s=perf_counter() - start_s,
        **notes,
    )

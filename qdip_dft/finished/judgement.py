"""Whether a finished calculation may stand for a step of a study, and the record that it becomes.

A static energy is taken if structure, code, version and every setting of physics are those of the step.  A relaxation
is taken if, besides, its start is that of the step, what had to stay has stayed, the forces and the stress at its end
are below the thresholds of the study, and the structure is still the one that the study asks about.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from time import perf_counter

import numpy as np

from qdip_dft.analysis.integrity import find_defect
from qdip_dft.engines.dft import DftEngine
from qdip_dft.engines.evaluation import Evaluation, FloatArray, largest_force_ev_per_ang, require_finite, result_of
from qdip_dft.engines.relaxation.coordinates import Coordinates, coordinates_of
from qdip_dft.finished.finished_run import (
    D3BJ_IN_CODE,
    DISPERSION,
    FinishedRun,
    list_differences,
    list_numerics,
)
from qdip_dft.finished.matching_steps import SiteMatch
from qdip_dft.finished.readers import expected_settings
from qdip_dft.model.calculation import CalculationRecord, CalculationTask, EngineResult, Freedom
from qdip_dft.model.engine import Dispersion
from qdip_dft.model.structure import StructureRecord
from qdip_dft.units import EV_PER_ANG3_IN_GPA

HELD_RELATIVE = 1e-8
"""Lattice vectors that are held may change by this, in parts of their length."""

HELD_SITE_ANG = 1e-4
"""Fixed sites may move by the rounding of an output, in Å."""

SYMMETRY_STRAIN = 1e-4
"""So far may a relaxed cell leave the crystal system that it must keep: the energy is quadratic in it."""

SMALLEST_OFFSET_ANG = 1e-4


@dataclass(frozen=True, slots=True)
class Answer:
    """A finished calculation beside the step whose structure it has.

    Parameters
    ----------
    run
        The finished calculation.
    task
        The task of the step.
    engine
        The engine of the step.
    match
        How the sites correspond.
    origin
        Who ran it, in words for the record.
    corrections
        What was mended on the way, in words.
    """

    run: FinishedRun
    task: CalculationTask
    engine: DftEngine
    match: SiteMatch
    origin: str = "run by hand and imported"
    corrections: tuple[str, ...] = ()

    @property
    def has_own_dispersion(self) -> bool:
        """Whether the code itself added the dispersion that the study asks for; relaxations only."""
        return (
            self.task.freedom is not Freedom.NONE
            and self.engine.dispersion == Dispersion.D3BJ.value
            and self.run.settings.physics.get(DISPERSION) == D3BJ_IN_CODE
        )

    def find_differences(self) -> tuple[str, ...]:
        """Return every setting of physics in which the calculation differs from the step, with both values."""
        ours = dict(expected_settings(self.engine, self.task).physics)
        if self.has_own_dispersion:
            ours[DISPERSION] = D3BJ_IN_CODE
        version = {"version": self.engine.code_version()}
        theirs = {"version": self.run.code_version, **self.run.settings.physics}
        return tuple(list_differences(theirs, {**version, **ours}))

    def final_structure(self) -> StructureRecord:
        """Return where the calculation ended, with the sites and images of the step; what is held keeps its numbers."""
        task, run = self.task, self.run
        if task.freedom is Freedom.NONE:
            return task.structure
        n_held = task.freedom.n_held_vectors
        lattice_ang = np.vstack([np.array(task.structure.lattice_ang)[:n_held], run.final.lattice_ang[n_held:]])
        places = np.array(task.structure.frac_coords) + self.match.offsets + self.moves()
        is_fixed = np.array(task.structure.is_fixed or (False,) * task.structure.n_atoms)
        places[is_fixed] = np.array(task.structure.frac_coords)[is_fixed]
        return task.structure.model_copy(
            update={
                "lattice_ang": tuple(map(tuple, lattice_ang.tolist())),
                "frac_coords": tuple(map(tuple, places.tolist())),
            }
        )

    def moves(self) -> FloatArray:
        """Return by what each site of the step moved, in fractions of the lattice, shape (atoms, 3)."""
        first, last = self.run.start, self.run.final
        moved = _fractions(last.positions_ang, last.lattice_ang) - _fractions(first.positions_ang, first.lattice_ang)
        return np.asarray((moved - np.round(moved))[self.match.order])

    def evaluation(self) -> Evaluation:
        """Return energy, forces and stress at the end, in the order of the step, with the dispersion of the study."""
        said = self.run.evaluation
        ordered = Evaluation(said.energy_ev, said.forces_ev_per_ang[self.match.order], said.stress_ev_per_ang3)
        if self.has_own_dispersion:
            return require_finite(ordered, self.final_structure().arrangement)
        arrangement = self.final_structure().arrangement
        return require_finite(self.engine.add_dispersion(arrangement, ordered), arrangement)

    def find_objection(self) -> str | None:
        """Return why the end of a relaxation may not be used, or None; nothing to say about a static calculation."""
        if self.task.freedom is Freedom.NONE:
            return None
        coordinates = coordinates_of(self.task.structure, self.task.freedom)
        return self._find_movement(coordinates) or self._find_rest(coordinates)

    def _find_movement(self, coordinates: Coordinates) -> str | None:
        """Return what moved that had to stay, or stayed that had to move."""
        free = np.flatnonzero(coordinates.is_free)
        held = [int(site) for site in free if int(self.match.order[site]) in self.run.held]
        if held:
            return f"it held {len(held)} atoms that the study lets move, their forces say nothing"
        first, last = self.run.start.lattice_ang, self.run.final.lattice_ang
        lengths = np.linalg.norm(first, axis=1)[:, None]
        n_held = self.task.freedom.n_held_vectors
        change = float((np.abs(last - first) / lengths)[:n_held].max(initial=0.0))
        if change > HELD_RELATIVE:
            return f"lattice vectors that the study holds changed by {change:.1e} of their length"
        moved_ang = np.linalg.norm(self.moves() @ last, axis=1)[~coordinates.is_free].max(initial=0.0)
        if moved_ang > HELD_SITE_ANG:
            return f"a fixed atom moved by {moved_ang:.4f} Å"
        strain = _leaves_system(first, last, coordinates) if self.task.freedom is Freedom.CELL else 0.0
        if strain > SYMMETRY_STRAIN:
            return f"the cell left its crystal system by a strain of {strain:.1e}; the study keeps it"
        return None

    def _find_rest(self, coordinates: Coordinates) -> str | None:
        """Return the force or stress that is left above its threshold."""
        evaluation, limits = self.evaluation(), self.engine.relaxation
        force = largest_force_ev_per_ang(evaluation, coordinates.is_free)
        if force > limits.force_threshold_ev_per_ang:
            return f"not converged: {force:.4f} eV/Å are left, the study allows {limits.force_threshold_ev_per_ang:g}"
        if len(coordinates.strains) and evaluation.stress_ev_per_ang3 is None:
            return "not shown to be converged: the output has no stress"
        stress = coordinates.largest_free_stress_ev_per_ang3(evaluation) * EV_PER_ANG3_IN_GPA
        limit = limits.stress_threshold_ev_per_ang3 * EV_PER_ANG3_IN_GPA
        return f"not converged: {stress:.3f} GPa are left, the study allows {limit:g}" if stress > limit else None

    def make_record(self, key: str, *, attempt: int) -> CalculationRecord:
        """Return the record that is stored.

        Parameters
        ----------
        key
            Calculation key of the step.
        attempt
            Number of the attempt.
        """
        return CalculationRecord(
            key=key,
            attempt=attempt,
            task=self.task,
            theory=self.engine.theory(),
            result=self._result(),
            pseudopotentials=self.engine.pseudopotentials(self.task.structure.species),
            finished_at=datetime.now(UTC).isoformat(timespec="seconds"),
        )

    def find_defect(self, record: CalculationRecord) -> str | None:
        """Return why the energy of a record could not be used, by the check of every stored record."""
        threshold = self.engine.relaxation.force_threshold_ev_per_ang
        return find_defect(record, self.engine.theory(), force_threshold_ev_per_ang=threshold)

    def _result(self) -> EngineResult:
        return result_of(
            self.final_structure(),
            self.evaluation(),
            is_converged=True,
            n_steps=self.run.n_steps,
            start_s=perf_counter(),
            warnings=tuple(self._warnings()),
            corrections=self.corrections,
        )

    def _warnings(self) -> list[str]:
        words = [f"{self.origin}; its wall time is not known"]
        numerics = list(list_numerics(self.run.settings.numerics, expected_settings(self.engine, self.task).numerics))
        if numerics:
            words.append(f"its numerics are not those of the package: {', '.join(numerics)}")
        if self.task.freedom is not Freedom.NONE:
            words.append("relaxed by the code's own algorithm, which may end in another minimum than the package's")
        if self.has_own_dispersion:
            words.append("its D3(BJ) is the code's own, which differs from that of the package by less than 1 meV")
        if self.match.largest_ang > SMALLEST_OFFSET_ANG:
            words.append(f"started up to {self.match.largest_ang:.3f} Å from the structure of the step, as declared")
        return words


def _fractions(positions_ang: FloatArray, lattice_ang: FloatArray) -> FloatArray:
    return np.asarray(np.linalg.solve(lattice_ang.T, positions_ang.T).T)


def _leaves_system(first: FloatArray, last: FloatArray, coordinates: Coordinates) -> float:
    """Return the largest component of the strain, without rotation, that would break the crystal system."""
    from scipy.linalg import polar

    _, stretch = polar(np.linalg.solve(first, last).T)
    strain = stretch - np.eye(3)
    return float(np.abs(strain - coordinates.free_part(strain)).max())

"""Relaxation of atoms and lattice along their forces, shared by all interatomic potentials.

The algorithm is a limited-memory BFGS whose first guess of the Hessian is a model of stiff and soft pair springs
(`qdip_dft.engines.relaxation.model_hessian`).  The cost of a relaxation is its force evaluations; the model tells
stiff N-H bonds from soft octahedral tilts at once, where a plain BFGS must learn the difference step by step.

Preconditioned geometry optimisation: Packwood et al., J. Chem. Phys. 2016, 144, 164109.
Model Hessians: Lindh et al., Chem. Phys. Lett. 1995, 241, 423.
L-BFGS: Nocedal and Wright, Numerical Optimization, 2nd ed., algorithm 7.4.

The energies of a code on a grid are rougher than its forces: they change when atoms pass between the points of the grid
and when the number of plane waves jumps with the cell.  Where two energies differ by less than that noise, the slopes
at both ends of the step say whether it led downwards: Hager and Zhang, SIAM J. Optim. 2005, 16, 170.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from math import inf
from time import perf_counter
from typing import cast

import numpy as np

from qdip_dft.engines.base import OnStep, RelaxationSettings, RelaxationStep
from qdip_dft.engines.evaluation import (
    Evaluation,
    FloatArray,
    Potential,
    evaluate_apart,
    largest_force_ev_per_ang,
    require_finite,
    result_of,
)
from qdip_dft.engines.relaxation.coordinates import Coordinates, coordinates_of
from qdip_dft.engines.relaxation.model_hessian import ModelHessian, model_hessian
from qdip_dft.model.calculation import EngineResult, Freedom
from qdip_dft.model.structure import Arrangement, StructureRecord

OPTIMISER = "model-hessian-lbfgs-1"
"""Name and version of the algorithm: another version may end in another minimum."""

OPTIMISER_ON_A_GRID = "model-hessian-lbfgs-slopes-1"
"""The same for codes whose energies are noisy."""

MEMORY = 100
"""Number of past steps from which the curvature is learned."""

LONGEST_STEP_ANG = 0.2
"""No atom moves further in one step: bad contacts part without an explosion."""

LARGEST_STRAIN_STEP = 0.02
"""No component of the strain changes more in one step."""

SHORTEST_STEP_ANG = 1e-8
"""A shorter step is no progress."""

SUFFICIENT_DECREASE = 1e-4
"""A step must gain this share of what the slope promises (Armijo's rule)."""

ENERGY_NOISE_EV_PER_ATOM = 2e-7
"""Rounding of single-precision networks; a smaller rise of the energy is no rise."""

STEP_REDUCTION = 0.4
"""A refused step is shortened by this factor, an accepted one lets the next grow again."""

MOST_REFUSED_STEPS = 8
"""After so many refused steps in a row the forces and the energy contradict each other."""

REFUSED = (
    "gave no finite energy, forces or stress, or had atoms on top of each other"
    " (step {}; these steps were refused and shortened)"
)
REPEATED = "gave no finite energy, forces or stress at first (step {}; repeated, they gave finite ones)"

MOST_NAMED_STEPS = 5
"""A note on evaluations that were not finite names so many of them."""

MOST_NOISE_CLIMBED = 3.0
"""An energy that lies above the lowest one by this many times the noise is no noise."""

STUCK = "no step lowers the energy further although forces remain"

PULAY_STRESS = (
    "the stress contradicts the energies, as it does where plane waves are too few for the pseudopotentials:"
    " raise cutoff_ev"
)
"""Francis and Payne, J. Phys.: Condens. Matter 1990, 2, 4395; PbS with pw.x: 8 GPa at 40 Ry, below 0.1 GPa at 80 Ry."""

REBUILD_AFTER_ANG = 0.05
"""The model Hessian follows the atoms when one of them has moved this far."""


@dataclass(frozen=True, slots=True)
class Point:
    """One arrangement of atoms, what the potential says about it and dE/dq."""

    q: FloatArray
    evaluation: Evaluation
    gradient: FloatArray

    @property
    def energy_ev(self) -> float:
        """Return the energy of the cell in eV."""
        return self.evaluation.energy_ev


Steps = Generator[Arrangement, Evaluation, EngineResult]
"""A relaxation that yields what it wants evaluated, is sent what the potential says, and returns its result."""


def relax_structure(
    structure: StructureRecord,
    freedom: Freedom,
    *,
    potential: Potential,
    settings: RelaxationSettings,
    on_step: OnStep | None = None,
    noise_ev_per_atom: float = 0.0,
) -> EngineResult:
    """Return the relaxed structure, converged or not.

    Parameters
    ----------
    structure
        Where the relaxation starts; fixed sites keep their fractional coordinates.
    freedom
        What may move.
    potential
        Energy, forces and stress.
    settings
        When the relaxation is done.
    on_step
        Called after each force evaluation.
    noise_ev_per_atom
        Energies that differ by less are compared by their slopes; 0 for a smooth potential.

    Raises
    ------
    EngineError
        If the potential has no finite energy for the starting structure, or the cell does not suit the freedom.
    """
    steps = relaxation_steps(
        structure, freedom, settings=settings, on_step=on_step, noise_ev_per_atom=noise_ev_per_atom
    )
    asked = next(steps)
    while True:
        try:
            asked = steps.send(evaluate_apart(potential, asked))
        except StopIteration as end:
            return cast("EngineResult", end.value)


def relaxation_steps(
    structure: StructureRecord,
    freedom: Freedom,
    *,
    settings: RelaxationSettings,
    on_step: OnStep | None = None,
    noise_ev_per_atom: float = 0.0,
) -> Steps:
    """Relax a structure whose evaluations somebody else makes: alone, or together with those of other relaxations.

    The parameters and errors are those of `relax_structure`.
    """
    start_s = perf_counter()
    descent = _Descent(coordinates_of(structure, freedom), settings, on_step, start_s, noise_ev_per_atom)
    final = yield from descent.run()
    return result_of(
        descent.coordinates.record(final.q),
        final.evaluation,
        is_converged=descent.is_converged(final),
        n_steps=descent.n_evaluations - 1,
        start_s=start_s,
        warnings=(*descent.warnings, *descent.not_finite),
    )


@dataclass(slots=True)
class _Descent:
    """The state of one relaxation."""

    coordinates: Coordinates
    settings: RelaxationSettings
    on_step: OnStep | None
    start_s: float
    noise_ev_per_atom: float
    n_evaluations: int = 0
    n_refused: int = 0
    steps_not_finite: list[int] = field(default_factory=list)
    steps_repeated: list[int] = field(default_factory=list)
    step_scale: float = 1.0
    lowest_ev: float = inf
    warnings: list[str] = field(default_factory=list)
    past: deque[tuple[FloatArray, FloatArray]] = field(default_factory=lambda: deque(maxlen=MEMORY))

    def run(self) -> Generator[Arrangement, Evaluation, Point]:
        """Return the lowest point that is reached."""
        here = yield from self.evaluate(self.coordinates.start())
        require_finite(here.evaluation, self.coordinates.arrangement(here.q))
        self.lowest_ev = here.energy_ev
        model = None
        while not self.is_converged(here) and self.n_evaluations <= self.settings.max_steps:
            model = self.follow(model, here)
            step = self.limited(-self.inverse_hessian_times(here.gradient, model)) * self.step_scale
            trial = yield from self.evaluate(here.q + step)
            self.learn(here, trial)
            here = self.choose(here, trial)
            self.lowest_ev = min(self.lowest_ev, here.energy_ev)
            if self.n_refused > MOST_REFUSED_STEPS or self.has_climbed(here):
                self.warnings.append(self.why_stuck)
                break
        return here

    def evaluate(self, q: FloatArray) -> Generator[Arrangement, Evaluation, Point]:
        """Return the point at q and report it."""
        evaluation = yield self.coordinates.arrangement(q)
        point = Point(q, evaluation, self.coordinates.gradient(q, evaluation))
        self.report(point)
        if not evaluation.is_finite:
            self.steps_not_finite.append(self.n_evaluations)
        elif evaluation.is_repeated:
            self.steps_repeated.append(self.n_evaluations)
        self.n_evaluations += 1
        return point

    @property
    def not_finite(self) -> tuple[str, ...]:
        """The notes on evaluations that gave no finite numbers, for good or at first; none where all did."""
        told = ((self.steps_not_finite, REFUSED), (self.steps_repeated, REPEATED))
        return tuple(self._tell(steps, what) for steps, what in told if steps)

    def _tell(self, steps: Sequence[int], what: str) -> str:
        first = ", ".join(map(str, steps[:MOST_NAMED_STEPS])) + (", …" if len(steps) > MOST_NAMED_STEPS else "")
        return f"{len(steps)} of {self.n_evaluations} evaluations {what.format(first)}"

    def has_climbed(self, here: Point) -> bool:
        """Whether steps that led downwards by their slopes have led up, more than the noise of the energy explains."""
        noise_ev = self.noise_ev_per_atom * self.coordinates.n_atoms
        return noise_ev > 0 and here.energy_ev > self.lowest_ev + MOST_NOISE_CLIMBED * noise_ev

    @property
    def why_stuck(self) -> str:
        """Why there is no step downwards; in a cell that moves against a grid it is most often the Pulay stress."""
        is_cell_on_grid = self.noise_ev_per_atom > 0 and len(self.coordinates.strains) > 0
        return f"{STUCK}; {PULAY_STRESS}" if is_cell_on_grid else STUCK

    def report(self, point: Point) -> None:
        """Tell the caller about a point."""
        if self.on_step is None or not point.evaluation.is_finite:
            return
        self.on_step(
            RelaxationStep(
                step=self.n_evaluations,
                energy_ev=point.energy_ev,
                max_force_ev_per_ang=largest_force_ev_per_ang(point.evaluation, self.coordinates.is_free),
                elapsed_s=perf_counter() - self.start_s,
            )
        )

    def is_converged(self, point: Point) -> bool:
        """Return whether every free atom and every stress that may relax is below its threshold."""
        force = largest_force_ev_per_ang(point.evaluation, self.coordinates.is_free)
        stress = self.coordinates.largest_free_stress_ev_per_ang3(point.evaluation)
        return (
            force <= self.settings.force_threshold_ev_per_ang and stress <= self.settings.stress_threshold_ev_per_ang3
        )

    def follow(self, model: ModelHessian | None, here: Point) -> ModelHessian:
        """Return the model Hessian, built anew when the atoms have moved away from where it was built."""
        if model is not None and np.abs(here.q - model.q).max(initial=0.0) < REBUILD_AFTER_ANG:
            return model
        return model_hessian(self.coordinates, here.q)

    def inverse_hessian_times(self, gradient: FloatArray, model: ModelHessian) -> FloatArray:
        """Return the L-BFGS estimate of H⁻¹ g (two-loop recursion)."""
        rest = gradient.copy()
        weights = []
        for step, change in reversed(self.past):
            weight = (step @ rest) / (step @ change)
            rest -= weight * change
            weights.append(weight)
        answer = model.solve(rest)
        for (step, change), weight in zip(self.past, reversed(weights), strict=True):
            answer += (weight - (change @ answer) / (step @ change)) * step
        return answer

    def limited(self, step: FloatArray) -> FloatArray:
        """Return the step, shortened so that no atom moves and no strain changes too far."""
        n_atomic = self.coordinates.n_atomic
        moves_ang = np.linalg.norm(step[:n_atomic].reshape(-1, 3), axis=1)
        excess = max(
            moves_ang.max(initial=0.0) / LONGEST_STEP_ANG,
            np.abs(step[n_atomic:]).max(initial=0.0) / LARGEST_STRAIN_STEP,
        )
        return step / float(max(1.0, excess))

    def learn(self, here: Point, trial: Point) -> None:
        """Remember how the gradient changed along the step where the energy curves upwards."""
        step, change = trial.q - here.q, trial.gradient - here.gradient
        if trial.evaluation.is_finite and step @ change > 1e-8 * np.linalg.norm(step) * np.linalg.norm(change):
            self.past.append((step, change))

    def choose(self, here: Point, trial: Point) -> Point:
        """Return the trial if it gains enough, else stay and shorten the next step."""
        is_lower = trial.evaluation.is_finite and self.gained_ev(here, trial) >= 0.0
        is_progress = is_lower and np.abs(trial.q - here.q).max() > SHORTEST_STEP_ANG
        self.n_refused = 0 if is_progress else self.n_refused + 1
        self.step_scale = min(1.0, self.step_scale / STEP_REDUCTION) if is_lower else self.step_scale * STEP_REDUCTION
        return trial if is_lower else here

    def gained_ev(self, here: Point, trial: Point) -> float:
        """Return by how much the energy fell below what a step must gain, in eV."""
        step = trial.q - here.q
        promised_ev = SUFFICIENT_DECREASE * (here.gradient @ step)
        rise_ev = trial.energy_ev - here.energy_ev
        if abs(rise_ev) < self.noise_ev_per_atom * self.coordinates.n_atoms:
            rise_ev = 0.5 * float((here.gradient + trial.gradient) @ step)
        return float(promised_ev + ENERGY_NOISE_EV_PER_ATOM * self.coordinates.n_atoms - rise_ev)

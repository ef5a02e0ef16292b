"""Running the trajectories behind sampled free energies here: each once, continued after any interruption."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from qdip_dft.engines.dynamics import STEPS_PER_SEGMENT as CELL_STEPS
from qdip_dft.engines.dynamics import MolecularState, sample_segments
from qdip_dft.engines.integration import STEPS_PER_SEGMENT as COUPLING_STEPS
from qdip_dft.engines.integration import CouplingState, plain_state, sample_coupling
from qdip_dft.engines.potential import PotentialEngine
from qdip_dft.errors import EngineError
from qdip_dft.flows.sampled_crystals import SampledCrystal, describe_sampled, explain_lost_phase
from qdip_dft.flows.vibrations import VibratingCrystal
from qdip_dft.model.calculation import Freedom
from qdip_dft.model.keys import trajectory_key
from qdip_dft.model.progress import ProgressEvent, ProgressKind
from qdip_dft.model.sampling import CouplingTask, SampledSegment, SamplingTask
from qdip_dft.model.temperature import SampledFreeEnergy

if TYPE_CHECKING:
    from qdip_dft.analysis.reference_crystal import ReferenceCrystal
    from qdip_dft.engines.base import Engine
    from qdip_dft.flows.vibrations import VibrationSurvey
    from qdip_dft.results.trajectories import TrajectoryStore

logger = logging.getLogger("qdip_dft.progress")

Survey = Callable[[VibratingCrystal, float], "VibrationSurvey"]
"""Makes the calculations of a crystal with supercells of some thickness in Å and returns them."""


def require_potential(engine: Engine) -> PotentialEngine:
    """Return the engine if it is an interatomic potential.

    Raises
    ------
    EngineError
        If it is not.
    """
    if isinstance(engine, PotentialEngine):
        return engine
    raise EngineError(
        f"engine {engine.name!r} cannot sample",
        limit="sampling needs an interatomic potential",
        why="thousands of evaluations of a crystal in motion would take a density-functional code months",
        remedy="leave --sample out, or ask a result whose study relaxes with a potential",
    )


@dataclass(frozen=True)
class Sampler:
    """What a sampled free energy needs.

    Parameters
    ----------
    engine
        The potential.
    trajectories
        Where the segments are kept.
    survey
        Makes calculations.
    """

    engine: PotentialEngine
    trajectories: TrajectoryStore
    survey: Survey

    def sample(self, crystal: SampledCrystal) -> SampledFreeEnergy:
        """Return the free energy of a crystal, or why it is missing."""
        keys: dict[str, str] = {}
        try:
            found = self._sample(crystal, keys)
        except EngineError as error:
            found = _missing(crystal, f"{crystal.name}: {error}")
        return found.model_copy(update={"trajectories": keys})

    def _sample(self, crystal: SampledCrystal, keys: dict[str, str]) -> SampledFreeEnergy:
        segments = self._run_cell(crystal.cell_task(), keys)
        lost = next(filter(None, (explain_lost_phase(crystal, segment.mean_structure) for segment in segments)), None)
        if lost is not None:
            return _missing(crystal, lost)
        expanded = crystal.expand(segments)
        frozen = VibratingCrystal(crystal.name, Freedom.POSITIONS, expanded, crystal.formula_units)
        survey = self.survey(frozen, crystal.min_length_ang)
        if survey.displaced is None or not survey.is_complete:
            return _missing(crystal, survey.failure or f"the calculations of {crystal.name} are not finished")
        reference = survey.displaced.reference(survey.forces_ev_per_ang())
        runs = [self._run_coupling(task, reference, keys) for task in crystal.coupling_tasks(reference)]
        return describe_sampled(crystal, expanded, survey, reference, runs)

    def _run_cell(self, task: SamplingTask, keys: dict[str, str]) -> list[SampledSegment]:
        key = keys[task.label] = trajectory_key(task, self.engine.theory())
        states = self.trajectories.read(key)
        last = MolecularState(**states[-1]) if states else None
        following = sample_segments(task, self.engine.load_potential(), last=last, n_done=len(states))
        states += self._keep(key, task, len(states), CELL_STEPS, (asdict(state) for state in following))
        return [SampledSegment.model_validate(state["segment"]) for state in states]

    def _run_coupling(
        self, task: CouplingTask, reference: ReferenceCrystal, keys: dict[str, str]
    ) -> list[tuple[list[float], list[list[float]]]]:
        key = keys[task.label] = trajectory_key(task, self.engine.theory())
        states = self.trajectories.read(key)
        last = CouplingState(**states[-1]) if states else None
        following = sample_coupling(task, reference, self.engine.load_potential(), last=last, n_done=len(states))
        states += self._keep(key, task, len(states), COUPLING_STEPS, map(plain_state, following))
        return [(state["differences_ev"], state["mean_displacements_ang"]) for state in states]

    def _keep(
        self, key: str, task: SamplingTask | CouplingTask, n_done: int, steps: int, following: Iterator[dict[str, Any]]
    ) -> list[dict[str, Any]]:
        """Return the states that follow, each kept as soon as it is known."""
        if n_done * steps >= task.n_steps:
            return []
        kept, start_s = [], time.monotonic()
        _report(task, ProgressKind.STARTED, n_done * steps, start_s)
        for index, state in enumerate(following, start=n_done):
            self.trajectories.keep(key, index, state)
            kept.append(state)
            _report(task, ProgressKind.STEP, (index + 1) * steps, start_s)
        _report(task, ProgressKind.FINISHED, task.n_steps, start_s)
        return kept


def _report(task: SamplingTask | CouplingTask, kind: ProgressKind, step: int, start_s: float) -> None:
    event = ProgressEvent(
        kind=kind,
        label=task.label,
        n_atoms=task.structure.n_atoms,
        step=min(step, task.n_steps),
        max_steps=task.n_steps,
        elapsed_s=time.monotonic() - start_s,
    )
    logger.info("%s: %s", kind.value, task.label, extra={"progress": event})


def _missing(crystal: SampledCrystal, why: str) -> SampledFreeEnergy:
    return SampledFreeEnergy(temperature_k=crystal.temperature_k, n_atoms=crystal.n_atoms, missing=why)

"""What can be calculated now, most urgent first: the queue that the workers of a run take from.

The steps of a study are a graph.  A step is ready as soon as its own parents are stored, whatever the rest of the study
is doing, and the start of the longest remaining branch goes first, so that no branch waits for another one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qdip_dft.planning.plan import StudyPlan, estimate_seconds
from qdip_dft.runtime.journal import recording_in
from qdip_dft.tasks.calculation import calculate_task
from qdip_dft.tasks.registry_scan import name_registry_scan, scan_task

if TYPE_CHECKING:
    from pathlib import Path

    from qdip_dft.engines.base import Engine
    from qdip_dft.flows.resolution import Resolution


@dataclass(frozen=True, slots=True)
class Assignment:
    """One calculation or registry scan, with everything that a worker needs for it.

    Parameters
    ----------
    key, attempt
        What identifies its record.
    label
        Its name for people.
    task
        A `CalculationTask` or `RegistryScanTask` as plain data.
    engine
        The engine that calculates.
    is_registry_scan
        Which of the two it is.
    """

    key: str
    attempt: int
    label: str
    task: dict[str, Any]
    engine: Engine
    is_registry_scan: bool = False

    def carry_out(self, checkpoints: Path) -> dict[str, Any]:
        """Calculate it and return the record as plain data; unfinished work is kept in the folder of checkpoints."""
        with recording_in(checkpoints):
            if self.is_registry_scan:
                return scan_task(self.task, self.engine, self.key, str(checkpoints), self.attempt)
            return calculate_task(self.task, self.engine, self.key, self.attempt)


def list_assignments(plan: StudyPlan, resolution: Resolution, attempts: Mapping[str, int]) -> list[Assignment]:
    """Return what can be calculated now, each question once, the start of the longest remaining branch first.

    Parameters
    ----------
    plan
        The study.
    resolution
        What is stored of it.
    attempts
        Number of the attempt by key; all others make their first.
    """
    found: dict[str, tuple[float, Assignment]] = {}
    rest_s = _measure_branches(plan, resolution)
    for step, task in resolution.ready.items():
        key, engine = resolution.keys[step], plan.engines.of(resolution.steps[step])
        assignment = Assignment(key, attempts.get(key, 0), task.label, task.model_dump(mode="json"), engine)
        found.setdefault(key, (rest_s.get(step, 0.0), assignment))
    for scan, asked in resolution.ready_registry_scans.items():
        key, engine = resolution.keys[scan], plan.engines.registry_engine
        label = name_registry_scan(asked.label)
        assignment = Assignment(key, attempts.get(key, 0), label, asked.model_dump(mode="json"), engine, True)
        found[key] = (float("inf"), assignment)  # interfaces, the largest calculations, wait for it
    return [assignment for _, assignment in sorted(found.values(), key=lambda pair: -pair[0])]


def _measure_branches(plan: StudyPlan, resolution: Resolution) -> dict[Any, float]:
    """Return by step how long it and the longest chain of steps behind it take, in s."""
    rest_s: dict[Any, float] = {}
    for name, step in reversed(list(resolution.steps.items())):
        own_s = 0.0
        if name not in resolution.records and name in plan.previews:
            own_s = estimate_seconds(plan.engines.of(step), step.freedom, plan.previews[name].n_atoms)
        rest_s[name] = rest_s.get(name, 0.0) + own_s
        for parent in step.parents:
            rest_s[parent] = max(rest_s.get(parent, 0.0), rest_s[name])
    return rest_s

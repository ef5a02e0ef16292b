"""How far a study is, term by term: what is done, what runs, how long the rest takes, what failed and what to try.

Times: the estimate of a plan, from the number of atoms and what may move, is multiplied by the median ratio of measured
to estimated wall time of stored calculations with the same potential and the same freedom; those of the study itself
count first, others of the folder are asked where it has fewer than three.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import TYPE_CHECKING

from qdip_dft.execution.failures import Failure, list_failures
from qdip_dft.execution.run_notes import RunningCalculation, RunNotes
from qdip_dft.flows.resolution import Resolution
from qdip_dft.model.calculation import Freedom
from qdip_dft.planning.plan import PlannedCalculation, StudyPlan, estimate_seconds

if TYPE_CHECKING:
    from qdip_dft.engines.base import Engine
    from qdip_dft.results.archive import Archive

MIN_MEASURED = 3
"""How many measured calculations of the study itself make those of the folder needless."""

MAX_ASKED = 100
"""How many calculations of the folder are asked for their times."""


@dataclass(frozen=True, slots=True)
class TermStatus:
    """The calculations of one term of one film.

    Parameters
    ----------
    title
        Such as ``binding of FAPbI3-delta(001)``.
    counts
        Number of calculations by state: ``stored``, ``running``, ``ready``, ``waiting``, ``failed``, ``blocked``.
    remaining_s
        Estimated time until all that can be calculated is done, in s.
    running
        What is being calculated, such as ``interface, step 34, force 0.081 eV/Å``.
    """

    title: str
    counts: Mapping[str, int]
    remaining_s: float
    running: tuple[str, ...]

    @property
    def n_calculations(self) -> int:
        """Return how many calculations the term needs."""
        return sum(self.counts.values())


@dataclass(frozen=True, slots=True)
class StudyStatus:
    """How far a study is.

    Parameters
    ----------
    study_id
        Name and variant of the study.
    calculations
        Its calculations with their state and the time that each still takes.
    terms
        The same by term.
    failures
        What failed or could not be built.
    n_measured
        How many measured calculations the times rest on; 0: they are guessed from the number of atoms.
    is_running
        Whether a process is at it.
    """

    study_id: str
    calculations: tuple[PlannedCalculation, ...]
    terms: tuple[TermStatus, ...]
    failures: tuple[Failure, ...]
    n_measured: int
    is_running: bool

    @property
    def remaining_s(self) -> float:
        """Return the estimated time that is still needed, in s."""
        return sum(term.remaining_s for term in self.terms)

    @property
    def counts(self) -> dict[str, int]:
        """Return the number of calculations by state."""
        states = ("stored", "running", "failed", "ready", "waiting", "blocked")
        return {state: sum(term.counts.get(state, 0) for term in self.terms) for state in states}

    @property
    def is_finished(self) -> bool:
        """Return whether nothing is left that could be calculated."""
        return not any(self.counts[state] for state in ("running", "ready", "waiting"))


@dataclass(frozen=True, slots=True)
class Speed:
    """Measured over estimated wall time.

    Parameters
    ----------
    ratios
        Median by freedom.
    overall
        Median of all, for a freedom that was not measured; 1 where nothing was.
    n_measured
        How many calculations were measured.
    """

    ratios: Mapping[Freedom, float]
    overall: float
    n_measured: int

    def correct(self, calculation: PlannedCalculation) -> float:
        """Return the time of a calculation in s as this machine takes it."""
        return calculation.estimated_s * self.ratios.get(calculation.freedom, self.overall)


def measure_status(
    plan: StudyPlan, resolution: Resolution, *, speed: Speed, notes: RunNotes | None, where: str
) -> StudyStatus:
    """Return how far a study is.

    Parameters
    ----------
    plan, resolution
        The study and what is stored of it.
    speed
        How fast this machine is.
    notes
        What the running process says; None: nobody is at this study.
    where
        The results folder as the user calls it.
    """
    is_running = notes is not None and notes.study.id == plan.study.id and notes.is_alive
    running = {c.label: c for c in notes.running} if notes is not None and is_running else {}
    planned = plan.describe_calculations(resolution)
    timed = [_with_time(calculation, speed, running.get(calculation.name)) for calculation in planned]
    return StudyStatus(
        study_id=plan.study.id,
        calculations=tuple(timed),
        terms=_group_terms(_once_per_key(timed), running),
        failures=list_failures(plan, resolution, where=where),
        n_measured=speed.n_measured,
        is_running=is_running,
    )


def measure_speed(plan: StudyPlan, resolution: Resolution, archive: Archive | None) -> Speed:
    """Return how long calculations took here against their estimates.

    Parameters
    ----------
    plan, resolution
        The study and what is stored of it.
    archive
        Where other calculations with the same potential are looked for; None: nowhere.
    """
    own = list(_list_own_times(plan, resolution))
    engines = {True: plan.engine, False: plan.engines.relaxing}
    others = _ask_archive(engines, archive) if archive is not None and len(own) < MIN_MEASURED else []
    ratios: dict[Freedom, list[float]] = {}
    for engine, freedom, n_atoms, wall_time_s in (*own, *others):
        estimated_s = estimate_seconds(engine, freedom, n_atoms)
        if estimated_s > 0 and wall_time_s > 0:
            ratios.setdefault(freedom, []).append(wall_time_s / estimated_s)
    all_ratios = [ratio for found in ratios.values() for ratio in found]
    return Speed(
        ratios={freedom: median(found) for freedom, found in ratios.items()},
        overall=median(all_ratios) if all_ratios else 1.0,
        n_measured=len(all_ratios),
    )


def _list_own_times(plan: StudyPlan, resolution: Resolution) -> Iterator[tuple[Engine, Freedom, int, float]]:
    for step in plan.steps.steps:
        record = resolution.usable(step.id)
        if record is not None and record.result is not None:
            n_atoms = record.task.structure.n_atoms
            yield plan.engines.of(step), step.freedom, n_atoms, record.result.wall_time_s


def _ask_archive(engines: Mapping[bool, Engine], archive: Archive) -> list[tuple[Engine, Freedom, int, float]]:
    """Return engine, freedom, atoms and wall time of stored calculations with the engines of a study.

    Parameters
    ----------
    engines
        The engine of static calculations (True) and that of relaxations.
    archive
        Where to look.
    """
    found = []
    for is_static, engine in engines.items():
        times = _ask_times(engine, archive)
        found += [(engine, *entry) for entry in times if (entry[0] is Freedom.NONE) is is_static]
    return found


def _ask_times(engine: Engine, archive: Archive) -> list[tuple[Freedom, int, float]]:
    theory = engine.theory()
    fields = ("task.freedom", "task.structure.species", "result.wall_time_s")
    found = archive.calculations.query(
        {"output.theory.code": theory.code, "output.theory.engine": theory.engine, "output.result.is_converged": True},
        properties=[f"output.{field}" for field in fields],
        limit=MAX_ASKED,
    )
    outputs = (document["output"] for document in found)
    return [
        (Freedom(o["task"]["freedom"]), len(o["task"]["structure"]["species"]), o["result"]["wall_time_s"])
        for o in outputs
    ]


def _with_time(calculation: PlannedCalculation, speed: Speed, running: RunningCalculation | None) -> PlannedCalculation:
    """Return a calculation with its measured pace; where it runs, with what is left of it by its own steps."""
    if calculation.state == "blocked":
        return replace(calculation, estimated_s=0.0)
    remaining_s = speed.correct(calculation)
    if running is None:
        return replace(calculation, estimated_s=remaining_s)
    elapsed_s = max(time.time() - running.started_at_s, 0.0)
    left_s = remaining_s - elapsed_s if running.rest_s is None else running.rest_s
    return replace(calculation, state="running", estimated_s=max(left_s, 0.0))


def _once_per_key(calculations: Iterable[PlannedCalculation]) -> list[PlannedCalculation]:
    """Return each calculation once: two candidates on the same cell share their dot slab."""
    seen: set[str] = set()
    kept = []
    for calculation in calculations:
        if calculation.key is None or calculation.key not in seen:
            kept.append(calculation)
        if calculation.key is not None:
            seen.add(calculation.key)
    return kept


def _group_terms(
    calculations: Sequence[PlannedCalculation], running: Mapping[str, RunningCalculation]
) -> tuple[TermStatus, ...]:
    facets = {calculation.title.facet for calculation in calculations if calculation.title is not None}
    groups: dict[str, list[PlannedCalculation]] = {}
    for calculation in calculations:
        groups.setdefault(_name_term(calculation, has_facets=len(facets) > 1), []).append(calculation)
    return tuple(_describe_term(title, group, running) for title, group in groups.items())


def _name_term(calculation: PlannedCalculation, *, has_facets: bool) -> str:
    is_scan = calculation.n_positions is not None
    name = f"{calculation.part if is_scan else calculation.term} of {calculation.owner}"
    return f"{name} on {calculation.title.facet}" if has_facets and calculation.title is not None else name


def _describe_term(
    title: str, group: Sequence[PlannedCalculation], running: Mapping[str, RunningCalculation]
) -> TermStatus:
    states = [calculation.state for calculation in group]
    return TermStatus(
        title=title,
        counts={state: states.count(state) for state in dict.fromkeys(states)},
        remaining_s=sum(calculation.estimated_s for calculation in group),
        running=tuple(_describe_running(c, running[c.name]) for c in group if c.name in running),
    )


def _describe_running(calculation: PlannedCalculation, running: RunningCalculation) -> str:
    if not running.max_steps:
        return f"{calculation.part}, static"
    words = [calculation.part, f"step {running.step}"]
    if running.max_force_ev_per_ang is not None:
        words.append(f"force {running.max_force_ev_per_ang:.3f} eV/Å")
    return ", ".join(words)

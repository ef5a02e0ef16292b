"""Comparing lateral positions, gaps and orientations of one interface, atoms not relaxed, without a workflow manager.

Every energy goes to a checkpoint file as soon as it is known.  The search is deterministic, so a job that was killed
starts again, finds the energies of its first life and resumes where it stopped.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np

from qdip_dft.builders.candidate_registries import FilmRegistry, are_one_basin, list_film_registries
from qdip_dft.builders.ions import IonicCrystal, view_ions
from qdip_dft.builders.registry import (
    GAP_ENERGY_TOLERANCE_EV_PER_ANG2,
    TYPICAL_STIFFNESS_EV_PER_ANG4,
    GapMinimum,
    GapPoint,
    GapSearch,
    join_at_gap,
    measure_gap_ang,
    search_gap,
)
from qdip_dft.builders.variants import turn_film
from qdip_dft.errors import OutOfTime, OverlapError, StructureError
from qdip_dft.model.orientation import AS_CUT
from qdip_dft.model.progress import ProgressEvent, ProgressKind
from qdip_dft.model.registry import OuterRegistry, RegistryScan, RegistryScanTask, ScannedRegistry
from qdip_dft.model.seals import seal
from qdip_dft.model.snapping import least_first
from qdip_dft.runtime.deadline import Deadline, working_until
from qdip_dft.runtime.faults import explain_machine_fault
from qdip_dft.runtime.journal import append_entry, read_entries, recordings

if TYPE_CHECKING:
    from qdip_dft.engines.base import Engine
    from qdip_dft.model.calculation import EngineResult

logger = logging.getLogger("qdip_dft.progress")

EQUAL_ENERGY_EV = 1e-4
"""Registries whose energies are closer than this are equally good: single precision scatters by 3·10⁻⁵ eV."""


MOST_SIDE_BY_SIDE = 16
"""Registries of a scan that are searched at once; more would begin with worse guesses."""


def name_registry_scan(label: str) -> str:
    """Return what a scan is called in plans and messages."""
    return f"registry scan {label}"


def checkpoint_file(folder: str | Path, key: str) -> Path:
    """Return where a scan keeps its energies; once the scan is stored the file may go."""
    return Path(folder) / f"screening-{key}.jsonl"


def scan_task(task: dict[str, Any], engine: Engine, key: str, checkpoint_folder: str, attempt: int) -> dict[str, Any]:
    """Return a `RegistryScan` as plain data, with its checksum.

    Parameters
    ----------
    task
        A `RegistryScanTask` as plain data.
    engine
        The engine that calculates.
    key
        The scan's key.
    checkpoint_folder
        Where the energies are kept; relative to the folder of recordings, else to the working directory.  The file
        stays: a kill before the record is stored must not lose them.
    attempt
        Number of the attempt.

    Raises
    ------
    OutOfTime
        If the allocation ends before the scan would; the next run of the job goes on from there.
    MachineError
        If memory, disk or processor failed: that is no fact about a registry.
    """
    folder = (recordings() or Path()) / checkpoint_folder
    with working_until(Deadline.from_environment()):
        record = scan_registries(
            RegistryScanTask.model_validate(task), engine, key=key, checkpoint=Checkpoint(checkpoint_file(folder, key))
        )
    return seal(record.model_copy(update={"attempt": attempt}).model_dump(mode="json"))


@dataclass
class Checkpoint:
    """The energies of a scan in a file, one line each; a line cut short or changed is calculated again.

    Parameters
    ----------
    path
        The file; created with the first energy.  None: nothing is written.
    """

    path: Path | None
    known: dict[str, GapPoint] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        if self.path is not None:
            self.known = {name: GapPoint(*numbers) for name, *numbers in read_entries(self.path)}

    def add(self, name: str, point: GapPoint) -> None:
        """Keep an energy."""
        self.known[name] = point
        if self.path is None:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        append_entry(self.path, [name, point.offset_ang, point.energy_ev, point.slope_ev_per_ang])


def scan_registries(task: RegistryScanTask, engine: Engine, *, key: str, checkpoint: Checkpoint) -> RegistryScan:
    """Compare all registries of a task: each at its best gap, the best of them calculated at that gap.

    Parameters
    ----------
    task
        What is compared.
    engine
        The engine that calculates.
    key
        The scan's key.
    checkpoint
        Energies that are known already; new ones are added.
    """
    started = time.monotonic()
    scan = _Scan(task, engine, checkpoint)
    minima = scan.find_minima()
    best = [scan.add_outer(point) for point in scan.calculate_best(minima)]
    points = [scan.describe(registry, minimum) for registry, minimum in minima]
    is_usable = bool(best) and not scan.failures
    scan.report(ProgressKind.FINISHED if is_usable else ProgressKind.FAILED, step=len(scan.registries))
    energies = np.array([point.energy_ev for point in points])
    cell = scan.registries[0].cell
    return RegistryScan(
        key=key,
        task=task,
        theory=engine.theory(),
        displacement_vectors_ang=cell.vectors_ang.tolist(),
        displacement_area_ang2=cell.area_ang2,
        best=tuple(best),
        points=tuple(points),
        range_ev=float(np.ptp(energies)) if points else None,
        deviation_ev=_deviation(energies, [point.multiplicity for point in points]) if points else None,
        area_ang2=scan.area_ang2,
        failures=tuple(scan.failures),
        impossible=tuple(scan.impossible),
        n_evaluations=len(checkpoint.known),
        wall_time_s=time.monotonic() - started,
        finished_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _deviation(energies: np.ndarray, multiplicities: list[int]) -> float:
    """Return the standard deviation over all points of the grid."""
    mean = np.average(energies, weights=multiplicities)
    return float(np.sqrt(np.average((energies - mean) ** 2, weights=multiplicities)))


_Minima = list[tuple[FilmRegistry, GapMinimum]]
_Found = TypeVar("_Found")


def _describe_outer(best: ScannedRegistry, minima: _Minima) -> OuterRegistry:
    return OuterRegistry(
        shift_ang=best.shift_ang,
        gap_offset_ang=best.gap_offset_ang,
        gap_ang=best.gap_ang,
        energy_ev=best.energy_ev,
        n_positions=len(minima),
        range_ev=float(np.ptp([minimum.energy_ev for _, minimum in minima])),
        is_minimum=best.is_minimum,
        energies_ev=tuple(minimum.energy_ev for _, minimum in minima),
        multiplicities=tuple(registry.displacement.multiplicity for registry, _ in minima),
    )


class _Guess(NamedTuple):
    """What a round knows of the rounds before: the gap in Å, d²E/dgap² in eV/Å² and the lowest energy in eV."""

    offset_ang: float
    stiffness_ev_per_ang2: float
    lowest_ev: float


def list_rounds(registries: Sequence[FilmRegistry]) -> Iterator[Sequence[FilmRegistry]]:
    """Yield registries to be searched side by side: one, then twice as many each time up to `MOST_SIDE_BY_SIDE`."""
    start, size = 0, 1
    while start < len(registries):
        yield registries[start : start + size]
        start, size = start + size, min(2 * size, MOST_SIDE_BY_SIDE)


@dataclass
class _Scan:
    """The state of a running scan."""

    task: RegistryScanTask
    engine: Engine
    checkpoint: Checkpoint
    face: str = ""
    failures: list[str] = field(init=False, default_factory=list)
    impossible: list[str] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        self.started = time.monotonic()
        self.dot = view_ions(self.task.dot, self.task.formal_charges)
        self.film = view_ions(self.task.film, self.task.formal_charges)
        self.area_ang2 = float(np.linalg.det(self.dot.lattice_ang[:2, :2]))
        self.registries = list_film_registries(
            self.dot, self.film, self.task.turns, spacing_ang=self.task.grid_spacing_ang
        )

    def find_minima(self) -> _Minima:
        """Return the best gap of every registry.

        The registries of a round are searched side by side, each step of all of them in one evaluation where the engine
        can do that, and begin with what the round before found.  Rounds are the same for every engine, and so are the
        numbers.
        """
        guess = _Guess(0.0, TYPICAL_STIFFNESS_EV_PER_ANG4 * self.area_ang2, inf)
        minima: _Minima = []
        self.report(ProgressKind.STARTED, step=0)
        for round_ in list_rounds(self.registries):
            found = self._search_gaps(round_, guess)
            minima += found
            if found:
                last = found[-1][1]
                lowest_ev = min(guess.lowest_ev, *(minimum.energy_ev for _, minimum in found))
                guess = _Guess(last.offset_ang, last.stiffness_ev_per_ang2, lowest_ev)
                self.report(ProgressKind.STEP, step=len(minima), energy_ev=last.energy_ev)
        return minima

    def _search_gaps(self, registries: Sequence[FilmRegistry], guess: _Guess) -> _Minima:
        """Return the best gap of registries searched side by side, in their order; failed ones are left out."""
        searches = {registry.name: self._search_gap(guess) for registry in registries}
        asked = [(registry, next(searches[registry.name])) for registry in registries]
        found: dict[str, GapMinimum] = {}
        while asked:
            waiting, asked = asked, []
            for (registry, _), point in zip(waiting, self._evaluate_all(waiting), strict=True):
                if point is None:
                    continue
                try:
                    asked.append((registry, searches[registry.name].send(point)))
                except StopIteration as end:
                    found[registry.name] = end.value
        return [(registry, found[registry.name]) for registry in registries if registry.name in found]

    def _search_gap(self, guess: _Guess) -> GapSearch:
        return search_gap(
            start_ang=guess.offset_ang,
            stiffness_ev_per_ang2=guess.stiffness_ev_per_ang2,
            range_ang=self.task.gap_range_ang,
            tolerance_ev=GAP_ENERGY_TOLERANCE_EV_PER_ANG2 * self.area_ang2,
            lowest_ev=guess.lowest_ev,
        )

    def _evaluate_all(self, asked: Sequence[tuple[FilmRegistry, float]]) -> list[GapPoint | None]:
        """Return energy and slope of each registry and height; None, with the reason kept, where there is none."""
        self._evaluate_together([one for one in asked if self._name(*one) not in self.checkpoint.known])
        return [
            self._attempt(registry, partial(self._evaluate, registry, offset_ang)) for registry, offset_ang in asked
        ]

    def _evaluate_together(self, asked: Sequence[tuple[FilmRegistry, float]]) -> None:
        """Keep what the engine says about registries and heights at once; where it cannot, each is left to be alone."""
        if len(asked) < 2:
            return
        try:
            results = self.engine.static_many([self._build(*one).to_record() for one in asked])
        except OutOfTime:
            raise
        except Exception as error:
            fault = explain_machine_fault(error)
            if fault is not None:
                raise fault from error
            return  # evaluated alone, each registry says what is wrong with it
        for one, result in zip(asked, results or (), strict=False):
            self._keep(*one, result)

    def _attempt(self, registry: FilmRegistry, find: Callable[[], _Found]) -> _Found | None:
        """Return what is found at a registry; None, with the reason kept, where there is nothing."""
        try:
            return find()
        except OutOfTime:
            raise
        except (OverlapError, StructureError) as error:
            self.impossible.append(f"{registry.name}: {error}")
            return None
        except Exception as error:
            fault = explain_machine_fault(error)
            if fault is not None:
                raise fault from error
            # The boundary to foreign codes: what goes wrong there is recorded, and keeps the scan from being used.
            logger.exception("%s failed", registry.name)
            self.failures.append(f"{registry.name}: {type(error).__name__}: {error}")
            return None

    def _evaluate(self, registry: FilmRegistry, offset_ang: float) -> GapPoint:
        known = self.checkpoint.known.get(self._name(registry, offset_ang))
        if known is not None:
            return known
        result = self.engine.static(self._build(registry, offset_ang).to_record())
        return self._keep(registry, offset_ang, result)

    def _name(self, registry: FilmRegistry, offset_ang: float) -> str:
        return f"{self.face}{registry.name} +{offset_ang:.6f} Å"

    def _keep(self, registry: FilmRegistry, offset_ang: float, result: EngineResult) -> GapPoint:
        film_forces = np.array(result.forces_ev_per_ang)[self.dot.n_atoms :]
        point = GapPoint(offset_ang, result.energy_ev, -float(film_forces[:, 2].sum()))
        self.checkpoint.add(self._name(registry, offset_ang), point)
        return point

    def _build(self, registry: FilmRegistry, offset_ang: float) -> IonicCrystal:
        return join_at_gap(
            self.dot,
            registry.variant.film,
            shift_ang=registry.displacement.shift_ang,
            gap_offset_ang=offset_ang,
            vacuum_ang=self.task.vacuum_ang,
        )

    def calculate_best(self, minima: _Minima) -> list[ScannedRegistry]:
        """Return the best points with their energies calculated at their own gap, lowest first."""
        chosen = self._choose_distinct(minima)
        points = self._evaluate_all([(registry, minimum.offset_ang) for registry, minimum in chosen])
        best = [
            self.describe(registry, minimum).model_copy(update={"energy_ev": point.energy_ev, "is_calculated": True})
            for (registry, minimum), point in zip(chosen, points, strict=True)
            if point is not None
        ]
        return [best[index] for index in least_first([p.energy_ev for p in best], tolerance=EQUAL_ENERGY_EV)]

    def _choose_distinct(self, minima: _Minima) -> _Minima:
        """Return the lowest registries of which no two would relax into one; of equally good ones the first listed."""
        energies_ev = [minimum.energy_ev for _, minimum in minima]
        chosen: _Minima = []
        for found in (minima[index] for index in least_first(energies_ev, tolerance=EQUAL_ENERGY_EV)):
            if len(chosen) < self.task.n_kept and not any(are_one_basin(found[0], kept) for kept, _ in chosen):
                chosen.append(found)
        return chosen

    def add_outer(self, point: ScannedRegistry) -> ScannedRegistry:
        """Return a point with the registry of the dot on the film's upper face, where the film is embedded.

        The dot that comes next is laid on the film, turned as at this point: the two interfaces do not feel each other
        through the film, so the registry of each is found on its own.
        """
        if self.task.outer_dot is None:
            return point
        turned = turn_film(self.film, point.turn)
        task = self.task.model_copy(
            update={"dot": turned.to_record(), "film": self.task.outer_dot, "turns": (AS_CUT,), "outer_dot": None}
        )
        upper = _Scan(task, self.engine, self.checkpoint, face=f"upper face, {point.turn.name}: ")
        minima = upper.find_minima()
        best = upper.calculate_best(minima)
        self.failures += [f"upper face, {failure}" for failure in upper.failures]
        self.impossible += [f"upper face, {reason}" for reason in upper.impossible]
        return point.model_copy(update={"outer": _describe_outer(best[0], minima)}) if best else point

    def describe(self, registry: FilmRegistry, minimum: GapMinimum) -> ScannedRegistry:
        """Return the record of a point."""
        interface = self._build(registry, minimum.offset_ang)
        return ScannedRegistry(
            turn=registry.variant.turn,
            shift=registry.displacement.fractions,
            shift_ang=registry.displacement.shift_ang,
            multiplicity=registry.displacement.multiplicity,
            gap_offset_ang=minimum.offset_ang,
            gap_ang=measure_gap_ang(interface, n_dot_atoms=self.dot.n_atoms),
            energy_ev=minimum.energy_ev,
            is_calculated=False,
            is_minimum=minimum.is_minimum,
        )

    def report(self, kind: ProgressKind, *, step: int, energy_ev: float | None = None) -> None:
        """Tell the log how many registries are done."""
        label = name_registry_scan(self.task.label)
        event = ProgressEvent(
            kind=kind,
            label=label,
            n_atoms=self.task.n_atoms,
            step=step,
            max_steps=len(self.registries),
            step_word="position",
            energy_ev=energy_ev,
            elapsed_s=time.monotonic() - self.started,
        )
        logger.info("%s: %s", kind.value, label, extra={"progress": event})

"""Evaluations kept in a file, so that a run that was killed or had to stop repeats none of them.

The relaxation is deterministic: a second run of the same question meets the same arrangements in the same order, takes
their energies from the file and goes on at the arrangement where the first one ended.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from qdip_dft.engines.base import Engine
from qdip_dft.engines.evaluation import Evaluation, Potential
from qdip_dft.errors import OutOfTime
from qdip_dft.model.calculation import Freedom
from qdip_dft.model.structure import Arrangement, StructureRecord
from qdip_dft.runtime.deadline import current_deadline
from qdip_dft.runtime.faults import explain_machine_fault
from qdip_dft.runtime.journal import SCRATCH_VARIABLE, append_entry, explain_scratch, read_entries, recordings


def recording_folder(engine: Engine, structure: StructureRecord, freedom: Freedom) -> Path | None:
    """Return where a relaxation with a potential is recorded; None if nobody has said where."""
    chosen = recordings() or os.environ.get(SCRATCH_VARIABLE)
    return None if chosen is None else Path(chosen).absolute() / _name_run(engine, structure, freedom)


def scratch_folder(engine: Engine, structure: StructureRecord, freedom: Freedom) -> Path:
    """Return the folder where a code runs: the same question always in the same, so that it can go on there."""
    chosen = os.environ.get(SCRATCH_VARIABLE, "qdip-scratch")
    return Path(chosen).absolute() / _name_run(engine, structure, freedom)


def _name_run(engine: Engine, structure: StructureRecord, freedom: Freedom) -> str:
    content = [structure.model_dump(mode="json"), freedom.value, engine.theory().model_dump(mode="json")]
    text = json.dumps([*content, engine.relaxation_settings()], sort_keys=True)
    return f"{engine.name}-{hashlib.sha256(text.encode()).hexdigest()[:20]}"


@dataclass
class RecordedPotential:
    """A potential whose evaluations are kept in a file.

    Used as a context it keeps what is not yet in the file when the run must stop or is interrupted, and removes the
    folder, which holds nothing else, when the run has ended.

    Parameters
    ----------
    potential
        What evaluates.
    folder
        Where ``evaluations.jsonl`` lies; a line cut short or changed is evaluated again.  None: nothing is kept.
    every_s
        Evaluations are written once they have taken so long together, in s; 0: each at once.
    """

    potential: Potential
    folder: Path | None
    every_s: float = 0.0
    known: dict[str, Evaluation] = field(init=False, default_factory=dict)
    unwritten: list[tuple[str, Evaluation, float]] = field(init=False, default_factory=list)
    unwritten_s: float = field(init=False, default=0.0)

    def __post_init__(self) -> None:
        if self.path is None:
            return
        for name, evaluation, duration_s in _read_evaluations(self.path):
            self.known[name] = evaluation
            current_deadline().note(duration_s)

    @property
    def path(self) -> Path | None:
        """Return the file with the evaluations."""
        return None if self.folder is None else self.folder / "evaluations.jsonl"

    def __call__(self, arrangement: Arrangement) -> Evaluation:
        """Return the evaluation, from the file if this arrangement was met before."""
        known = self.recall(arrangement)
        if known is not None:
            return known
        start_s = time.perf_counter()
        evaluation = self.potential(arrangement)
        if evaluation.is_finite:
            self.keep(arrangement, evaluation, time.perf_counter() - start_s)
        return evaluation

    def recall(self, arrangement: Arrangement) -> Evaluation | None:
        """Return what was evaluated before, None where nothing was."""
        return None if self.path is None else self.known.get(_arrangement_key(arrangement))

    def keep(self, arrangement: Arrangement, evaluation: Evaluation, duration_s: float) -> None:
        """Remember an evaluation, and write it with those before it once they have taken long enough together."""
        if self.path is None:
            return
        name = _arrangement_key(arrangement)
        self.known[name] = evaluation
        self.unwritten.append((name, evaluation, duration_s))
        self.unwritten_s += duration_s
        if self.unwritten_s >= self.every_s:
            self.write()

    def write(self) -> None:
        """Write what is not in the file yet."""
        if self.path is None or not self.unwritten:
            return
        with explain_scratch(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
        for name, evaluation, duration_s in self.unwritten:
            append_entry(self.path, [name, *_numbers_of(evaluation), duration_s])
        self.unwritten, self.unwritten_s = [], 0.0

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None) -> None:
        """Keep what was evaluated if the run will go on another time; else forget it."""
        if error is not None and not _is_failure(error):
            self.write()
            return
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)


def _is_failure(error: BaseException) -> bool:
    """Whether the relaxation itself has failed, so that it will not go on another time."""
    if not isinstance(error, Exception) or isinstance(error, OutOfTime):
        return False
    return explain_machine_fault(error) is None


def _numbers_of(evaluation: Evaluation) -> list[Any]:
    stress = evaluation.stress_ev_per_ang3
    return [evaluation.energy_ev, evaluation.forces_ev_per_ang.tolist(), None if stress is None else stress.tolist()]


def _read_evaluations(path: Path) -> Iterable[tuple[str, Evaluation, float]]:
    for name, energy_ev, forces, stress, *durations_s in read_entries(path):
        evaluation = Evaluation(energy_ev, np.array(forces), None if stress is None else np.array(stress))
        yield name, evaluation, sum(durations_s)


def _arrangement_key(arrangement: Arrangement) -> str:
    digest = hashlib.sha256(" ".join(arrangement.kinds).encode())
    for part in (arrangement.lattice_ang, arrangement.positions_ang):
        digest.update((np.round(part, 9) + 0.0).tobytes())  # no negative zero
    return digest.hexdigest()

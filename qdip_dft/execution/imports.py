"""Energies of folders that were run by hand, taken as the answers to steps of a study.

A folder answers a static step if its input files are, byte for byte, those that the step would be run with (they are
written by `qdip inputs`): structure, k-points, cutoff, potentials and every other setting are then the study's, and the
energy may enter its differences.  The output must be complete, converged, and of the version that the level of theory
names.  D3(BJ) is added here as in a run.  Anything else is refused with the reason; nothing stored is ever replaced.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter

from qdip_dft.engines.dft import DftEngine
from qdip_dft.engines.potential import require_finite, result_of
from qdip_dft.errors import QdipError, ResultsError
from qdip_dft.flows.resolution import Resolution
from qdip_dft.model.calculation import CalculationRecord, CalculationTask, EngineResult, Freedom
from qdip_dft.plan import LookUp, StudyPlan


@dataclass(frozen=True, slots=True)
class ImportedFolder:
    """What became of one folder.

    Parameters
    ----------
    folder
        The folder.
    step
        Name of the step that it answers; None if it answers none.
    record
        The calculation; None if the folder was refused.
    objection
        Why it was refused; None if it was taken.
    """

    folder: Path
    step: str | None
    record: CalculationRecord | None
    objection: str | None


def read_finished_folders(plan: StudyPlan, root: Path, look_up: LookUp) -> tuple[ImportedFolder, ...]:
    """Return what the folders below a folder answer; stores nothing.

    Parameters
    ----------
    plan
        The study.
    root
        One finished folder, or a folder of them.
    look_up
        Finds stored calculations: the structures of the static steps follow from them, and what is stored stays.

    Raises
    ------
    ResultsError
        If nothing in the study waits for a static energy of a code, or no folder holds its inputs.
    """
    resolution = plan.resolve(look_up)
    ready = {name: task for name, task in resolution.tasks.items()
             if task.freedom is Freedom.NONE and resolution.usable(name) is None}  # fmt: skip
    engine = plan.engine
    if not isinstance(engine, DftEngine) or not ready:
        raise _nothing_waits(plan)
    with tempfile.TemporaryDirectory() as scratch:
        expected = {name: _expected_inputs(engine, task, Path(scratch) / str(i)) for i, (name, task) in
                    enumerate(ready.items())}  # fmt: skip
    names = set(next(iter(expected.values())))
    folders = [path for path in (root, *sorted(root.glob("*/"))) if all((path / name).is_file() for name in names)]
    if not folders:
        raise _no_inputs(root, names)
    found = []
    for folder in folders:
        step = next((name for name, files in expected.items() if _holds(folder, files)), None)
        found.append(_read_folder(engine, folder, step, resolution))
    return tuple(found)


def _expected_inputs(engine: DftEngine, task: CalculationTask, folder: Path) -> dict[str, bytes]:
    engine.write_inputs(task.structure, task.freedom, folder)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def _holds(folder: Path, files: dict[str, bytes]) -> bool:
    return all((folder / name).read_bytes() == content for name, content in files.items())


def _read_folder(engine: DftEngine, folder: Path, step: str | None, resolution: Resolution) -> ImportedFolder:
    if step is None:
        objection = "its inputs are those of no static calculation that the study waits for"
        return ImportedFolder(folder, None, None, objection)
    try:
        result = _read_result(engine, resolution.tasks[step], folder)
    except QdipError as error:
        return ImportedFolder(folder, step, None, f"{error.what}: {error.limit}")
    failed = resolution.records.get(step)
    record = CalculationRecord(
        key=resolution.keys[step],
        attempt=0 if failed is None else failed.attempt + 1,
        task=resolution.tasks[step],
        theory=engine.theory(),
        result=result,
        finished_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    return ImportedFolder(folder, step, record, None)


def _read_result(engine: DftEngine, task: CalculationTask, folder: Path) -> EngineResult:
    evaluation = require_finite(engine.read_finished(task.structure, task.freedom, folder))
    warning = "run by hand and imported; its inputs are those of the package, its wall time is not known"
    return result_of(
        task.structure, evaluation, is_converged=True, n_steps=0, start_s=perf_counter(), warnings=(warning,)
    )


def list_records(found: tuple[ImportedFolder, ...]) -> Iterator[CalculationRecord]:
    """Yield the calculations to store; of several folders that answer one step the first counts."""
    seen: set[str] = set()
    for each in found:
        if each.record is not None and each.record.key not in seen:
            seen.add(each.record.key)
            yield each.record


def _nothing_waits(plan: StudyPlan) -> ResultsError:
    return ResultsError(
        f"no static energy of {plan.study.name} can be imported now",
        limit="a study takes energies of a density-functional code at structures that are known already",
        why="an energy at another structure is the answer to another question",
        remedy="qdip plan says what is ready; relax first, or let a potential do it: `geometry: {name: mlip}`",
    )


def _no_inputs(root: Path, names: set[str]) -> ResultsError:
    return ResultsError(
        f"{root} holds no folder with {', '.join(sorted(names))}",
        limit="a finished folder holds its inputs beside its outputs",
        why="without the inputs nobody knows with which settings an energy was made",
        remedy="name the folder that qdip inputs wrote and the code ran in, with the engine and preset of the study",
    )

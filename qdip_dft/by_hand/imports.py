"""Calculations that were run by hand, taken as the answers to steps of a study.

A folder answers a step if it holds the same question: the same atoms at the same places, and equal settings wherever
the energy depends on them.  They are compared by meaning, so that a person's own input files count as well as those of
`qdip inputs`; numerics may differ and are recorded.  What differs in physics is refused with the names of the settings,
what is incomplete or not converged with the reason.  Nothing unconverged is stored: a stored calculation that is not
usable would keep the step from being run.  Nothing stored is ever replaced.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from qdip_dft.analysis.integrity import find_energy_jump
from qdip_dft.engines.dft import DftEngine
from qdip_dft.errors import EngineError, QdipError, ResultsError
from qdip_dft.finished.finished_run import DAMAGED, LOOSEST_CONVERGENCE_EV_PER_ATOM, FinishedRun
from qdip_dft.finished.judgement import Answer
from qdip_dft.finished.matching_steps import LARGEST_START_OFFSET_ANG, SiteMatch, describe_composition, match_sites
from qdip_dft.finished.readers import NAMES, find_code, read_run
from qdip_dft.flows.prerelaxation import find_objection
from qdip_dft.flows.resolution import Resolution
from qdip_dft.flows.steps import Part, Stage, Step, StepId, StudySteps
from qdip_dft.model.calculation import CalculationRecord, Freedom
from qdip_dft.model.keys import POSITION_ROUNDING_ANG
from qdip_dft.model.stored import LookUp, StoredRecord
from qdip_dft.planning.plan import StudyPlan

RELAXED_ALIKE_EV_PER_ATOM = 1e-3
"""Two relaxations of one minimum to 0.05 eV/Å, the loosest preset, differ by less: F²/2k with k from 1 eV/Å² on."""


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
        The calculation; None if the folder was refused, or its step is stored already.
    objection
        Why it was refused, or how it contradicts what is stored; None if neither.
    """

    folder: Path
    step: str | None
    record: CalculationRecord | None
    objection: str | None


def read_finished_folders(
    plan: StudyPlan, root: Path, look_up: LookUp, *, declared: str | None = None
) -> tuple[ImportedFolder, ...]:
    """Return what the folders below a folder answer; stores nothing.

    A relaxation that is taken makes the structures of further steps known: the folders are gone through until no more
    are taken.

    Parameters
    ----------
    plan
        The study.
    root
        One finished folder, or a folder of them.
    look_up
        Finds stored calculations.
    declared
        Name of the relaxation that the folder answers although it started elsewhere; None: the structures decide.

    Raises
    ------
    ResultsError
        If nothing in the study waits for a density-functional code, or no folder holds an output of one.
    """
    taken: dict[str, CalculationRecord] = {}

    def known(key: str) -> StoredRecord | None:
        return taken.get(key) or look_up(key)

    first = plan.resolve(look_up)
    if not list(_waiting_steps(plan, first)):
        raise _nothing_waits(plan)
    step = None if declared is None else _find_step(declared, first)
    runs = {folder: _read(folder) for folder in find_finished_folders(root)}
    found: dict[Path, ImportedFolder] = {}
    resolution, n_taken = first, -1
    while len(taken) > n_taken:
        n_taken = len(taken)
        for folder, run in runs.items():
            if folder not in found or found[folder].objection is not None:
                found[folder] = _judge(plan, resolution, folder, run, step)
        taken |= {record.key: record for record in list_records(tuple(found.values()))}
        resolution = plan.resolve(known)
    return tuple(_refuse_contradictions(list(found.values())))


def _refuse_contradictions(found: list[ImportedFolder]) -> Iterator[ImportedFolder]:
    """Refuse the folders that answer one step with energies that differ: none is better than another."""
    tolerance = 2 * LOOSEST_CONVERGENCE_EV_PER_ATOM
    for each in found:
        mine = each.record
        others = [other for other in found if mine is not None and _contradicts(mine, other.record, tolerance)]
        if not others:
            yield each
            continue
        energies = " and ".join(f"{_energy_ev(other):.6f} eV in {other.folder.name}" for other in (each, *others))
        objection = f"it contradicts another folder for {each.step!r}: {energies}; keep the one that is meant"
        yield ImportedFolder(each.folder, each.step, None, objection)


def _contradicts(record: CalculationRecord, other: CalculationRecord | None, tolerance_ev_per_atom: float) -> bool:
    if other is None or other.key != record.key or record.result is None or other.result is None:
        return False
    difference_ev = abs(record.result.energy_ev - other.result.energy_ev)
    return difference_ev > tolerance_ev_per_atom * record.task.structure.n_atoms


def _energy_ev(folder: ImportedFolder) -> float:
    return float("nan") if folder.record is None or folder.record.result is None else folder.record.result.energy_ev


def find_finished_folders(root: Path) -> list[Path]:
    """Return a folder and those directly in it that hold the output of a code.

    Raises
    ------
    ResultsError
        If there is none.
    """
    places = [root, *sorted(root.glob("*/"))] if root.is_dir() else []
    folders = [place for place in places if _holds_output(place)]
    if folders:
        return folders
    raise ResultsError(
        f"{root} holds no finished calculation",
        limit=f"known are outputs of {', '.join(NAMES.values())}",
        why="without an output there is no energy",
        remedy="name the folder in which the code ran, or a folder of such folders (docs/by-hand.md)",
    )


def _holds_output(place: Path) -> bool:
    try:
        return find_code(place) is not None
    except (EngineError, *DAMAGED):  # several outputs, or no right to read: refused later with the reason
        return True


def _read(folder: Path) -> FinishedRun | str:
    """Return what a folder holds, or why it cannot be used."""
    try:
        return read_run(folder, find_code(folder) or "")
    except Exception as error:  # noqa: BLE001 (a strange folder must not end the import of the others)
        return _refusal(error, folder)


def _refusal(error: Exception, folder: Path) -> str:
    """Why a folder cannot be used; an exception of a library is named, for it says what the library met."""
    if isinstance(error, QdipError):
        return f"{error.what}: {error.limit}"
    said = " ".join(str(error).split())[:300]
    return f"{folder} cannot be read: {type(error).__name__}{f', {said}' if said else ''}"


def describe_finished_folders(root: Path) -> Iterator[str]:
    """Yield in words what finished folders hold: code, version, atoms, energy, and the settings of the physics.

    Parameters
    ----------
    root
        One finished folder, or a folder of them.

    Raises
    ------
    ResultsError
        If there is none.
    """
    for folder in find_finished_folders(root):
        run, name = _read(folder), folder.resolve().name
        if isinstance(run, str):
            yield f"{name}: {run}"
            continue
        kind = f"relaxation in {run.n_steps} steps" if run.is_relaxation else "static"
        atoms = " ".join(f"{symbol}{number}" for symbol, number in sorted(Counter(run.start.species).items()))
        force = float(np.linalg.norm(run.evaluation.forces_ev_per_ang, axis=1).max())
        yield f"{name}: {NAMES[run.engine]} {run.code_version}, {kind}, {atoms}"
        yield f"  energy {run.evaluation.energy_ev:.6f} eV per cell, largest force {force:.4f} eV/Å"
        yield from (f"  {name}: {value}" for name, value in run.settings.physics.items())


def list_records(found: tuple[ImportedFolder, ...]) -> Iterator[CalculationRecord]:
    """Yield the calculations to store; of several folders that answer one step the first counts."""
    seen: set[str] = set()
    for each in found:
        if each.record is not None and each.record.key not in seen:
            seen.add(each.record.key)
            yield each.record


def _waiting_steps(plan: StudyPlan, resolution: Resolution) -> Iterator[StepId]:
    """Yield the steps of density-functional codes whose structure is known and whose energy is not."""
    for step in resolution.tasks:
        if isinstance(plan.engines.of(resolution.steps[step]), DftEngine) and resolution.usable(step) is None:
            yield step


def _judge(
    plan: StudyPlan, resolution: Resolution, folder: Path, run: FinishedRun | str, declared: StepId | None
) -> ImportedFolder:
    if isinstance(run, str):
        return ImportedFolder(folder, None, None, run)
    try:
        return _judge_run(plan, resolution, run, declared)
    except Exception as error:  # noqa: BLE001 (as in _read)
        return ImportedFolder(folder, None, None, _refusal(error, folder))


def _judge_run(plan: StudyPlan, resolution: Resolution, run: FinishedRun, declared: StepId | None) -> ImportedFolder:
    answers = _find_answers(plan, resolution, run, declared)
    if isinstance(answers, str):
        return ImportedFolder(run.folder, None, None, answers)
    objection = ""
    for step, answer in answers.items():
        differences, name = answer.find_differences(), resolution.label(step)
        if differences:
            objection = objection or f"it is not at the level of theory of {name!r}: {'; '.join(differences)}"
        elif resolution.usable(step) is not None:
            return ImportedFolder(run.folder, name, None, _contradict_stored(resolution, step, answer))
        else:
            return _take(plan, resolution, step, answer)
    return ImportedFolder(run.folder, None, None, objection)


def _contradict_stored(resolution: Resolution, step: StepId, answer: Answer) -> str | None:
    """What a folder says otherwise than the stored calculation of its step; None where it says the same."""
    stored = resolution.records[step]
    record = answer.make_record(resolution.keys[step], attempt=stored.attempt)
    is_static = answer.task.freedom is Freedom.NONE
    tolerance = 2 * LOOSEST_CONVERGENCE_EV_PER_ATOM if is_static else RELAXED_ALIKE_EV_PER_ATOM
    if stored.result is None or answer.find_objection() or not _contradicts(stored, record, tolerance):
        return None
    energies = f"{answer.evaluation().energy_ev:.6f} eV, stored are {stored.result.energy_ev:.6f} eV"
    return (
        f"it contradicts what is stored for {resolution.label(step)!r}: {energies};"
        " find out which is right before the study is reported, for nothing stored is replaced"
    )


def _find_answers(
    plan: StudyPlan, resolution: Resolution, run: FinishedRun, declared: StepId | None
) -> dict[StepId, Answer] | str:
    """Return the steps whose question has these atoms, those that still wait first; or why there is none."""
    engines = _find_engines(plan, resolution, run)
    kind = "relaxation" if run.is_relaxation else "static calculation"
    if run.engine not in {engine.name for engine in engines.values()}:
        asked = ", ".join(sorted({NAMES[engine.name] for engine in engines.values()})) or "no other code"
        return f"it is a {kind} of {NAMES[run.engine]}; the study has those of {asked}"
    found: dict[StepId, Answer] = {}
    objections: list[tuple[bool, str]] = []
    for step, engine in engines.items():
        name = resolution.label(step)
        if engine.name != run.engine or declared not in (None, step):
            continue
        task = resolution.tasks[step]
        tolerance_ang = LARGEST_START_OFFSET_ANG if step == declared else POSITION_ROUNDING_ANG
        match = match_sites(task.structure, run.start, tolerance_ang=tolerance_ang)
        if isinstance(match, SiteMatch):
            found[step] = Answer(run, task, engine, match)
        else:
            is_other = describe_composition(task.structure.species, run.start.species) is not None
            objections.append((is_other, f"{name!r}: {match}"))
    if found:
        return dict(sorted(found.items(), key=lambda item: resolution.usable(item[0]) is not None))
    nearest = min(objections, default=(True, "the one that was named, which is none"), key=lambda each: each[0])[1]
    return f"its structure is that of no {kind} of the study; nearest is {nearest}"


def _find_engines(plan: StudyPlan, resolution: Resolution, run: FinishedRun) -> dict[StepId, DftEngine]:
    """Return the engine of every step of the kind of a finished calculation, static or not, that a code calculates."""
    found = {}
    for step, task in resolution.tasks.items():
        engine = plan.engines.of(resolution.steps[step])
        if isinstance(engine, DftEngine) and (task.freedom is not Freedom.NONE) == run.is_relaxation:
            found[step] = engine
    return found


def _take(plan: StudyPlan, resolution: Resolution, step: StepId, answer: Answer) -> ImportedFolder:
    """Return the record of a step whose level of theory a folder has, or what else speaks against it."""
    folder, name = answer.run.folder, resolution.label(step)
    objection = answer.find_objection()
    if objection is not None:
        return ImportedFolder(folder, name, None, f"it does not answer {name!r}: {objection}")
    failed = resolution.records.get(step)
    record = answer.make_record(resolution.keys[step], attempt=0 if failed is None else failed.attempt + 1)
    objection = answer.find_defect(record) or _find_unsoundness(plan, resolution, step, record)
    if objection is not None:
        return ImportedFolder(folder, name, None, f"it does not answer {name!r}: {objection}")
    return ImportedFolder(folder, name, record, None)


def _find_unsoundness(plan: StudyPlan, resolution: Resolution, id_: StepId, record: CalculationRecord) -> str | None:
    """Return what the study itself would find wrong: molecules, contacts, phase, or a jump of the energy."""
    step = resolution.steps[id_]
    if step.stage is Stage.STATIC:
        relaxation = resolution.records[step.parents[0]]
        return find_energy_jump(record, relaxation) if record.theory == relaxation.theory else None
    steps = _steps_of(plan, resolution, id_)
    return find_objection(steps, step, record, n_dot_atoms=_count_dot_atoms(step, resolution))


def _count_dot_atoms(step: Step, resolution: Resolution) -> int:
    """Return the atoms of the dot in an interface, which come first; zero elsewhere."""
    if step.part is not Part.INTERFACE:
        return 0
    parents = [resolution.steps[parent] for parent in step.parents]
    if parents[0].stage is Stage.PRERELAXATION and parents[0].part is Part.INTERFACE:
        return _count_dot_atoms(parents[0], resolution)
    (dot,) = (each for each in parents if each.part is Part.DOT_SLAB)
    return resolution.tasks[dot.id].structure.n_atoms


def _steps_of(plan: StudyPlan, resolution: Resolution, id_: StepId) -> StudySteps:
    """Return the list of steps that a step is in: that of the study, or of a variation around it."""
    lists = (plan.steps, *(variation.steps for variation in resolution.variations))
    return next(each for each in lists if any(step.id == id_ for step in each.steps))


def _find_step(declared: str, resolution: Resolution) -> StepId:
    """Return the step that a user names."""
    found = next((step for step in resolution.tasks if resolution.label(step) == declared), None)
    if found is None:
        raise _unknown_step(declared, resolution)
    return found


def _nothing_waits(plan: StudyPlan) -> ResultsError:
    return ResultsError(
        f"no calculation of {plan.study.name} can be imported now",
        limit="a study takes calculations of a density-functional code at structures that are known already",
        why="an energy at another structure is the answer to another question",
        remedy="qdip plan says what is ready; name the code with --engine, or let a potential relax first",
    )


def _unknown_step(name: str, resolution: Resolution) -> ResultsError:
    return ResultsError(
        f"no step {name!r} has a known structure",
        limit=f"known are {', '.join(repr(resolution.label(step)) for step in resolution.tasks)}",
        why="the relaxation would be the answer to another question",
        remedy="write the name as `qdip inputs` writes it into README.md",
    )

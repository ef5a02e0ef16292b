"""The input files of a whole study, for people who run a code by hand or want to look before anything runs.

    DIR/README.md              what lies where, and what waits for what
    DIR/manifest.json          the same for programs
    DIR/03-bulk-CsPbI3-delta/  one folder per calculation: inputs of the code, and structure.cif

The files are written by what writes them in a run.  A calculation whose structure follows from relaxed ones that do
not exist yet is a *preview*: it is built from unrelaxed ones, shows what the input will look like, and is not what the
study will calculate.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from pydantic import Field, JsonValue

from qdip_dft.engines.base import Engine
from qdip_dft.engines.dft import DftEngine
from qdip_dft.errors import EngineError, ResultsError
from qdip_dft.flows.resolution import Resolution
from qdip_dft.flows.steps import Step, StepId
from qdip_dft.model.base import Record, is_missing
from qdip_dft.model.calculation import Freedom, LevelOfTheory
from qdip_dft.model.stored import LookUp
from qdip_dft.model.structure import StructureRecord
from qdip_dft.planning.plan import StudyPlan
from qdip_dft.results.structure_export import label_structure, write_structure

EXPLANATION = """Every folder holds the inputs of **one energy** at the structure in `structure.cif`. The package moves
atoms and cell itself, by the same relaxation for every code, and starts the code once per step; whoever relaxes by hand
adds the relaxation of the code and holds what the column *moves* does not name. D3(BJ) is added by the package to the
energies of every code and stands in no input.

A *preview* is built from unrelaxed structures: it shows what the input will look like, and its energy is of no use.
Write the inputs again with `--results DIR` once what it waits for is calculated.
"""


class InputFolder(Record):
    """One calculation of a manifest.

    Parameters
    ----------
    folder
        Its folder.
    name
        Name of the step, such as ``film slab PbS(111)//FAPbI3-alpha(100)``.
    freedom
        What may move.
    n_atoms
        Number of atoms.
    engine
        Name of the engine.
    key
        Calculation key; None for a preview, and in a draft.
    is_stored
        Whether its result exists already and may be used.
    failure
        Why what is stored of it may not be used; None where it may, or nothing is stored.
    is_preview
        Whether the structure is built from unrelaxed ones.
    waits_for
        What is to be calculated before the structure is known.
    run_by_hand
        What a person types in the folder; None where the engine is part of this package.
    files
        What lies there.
    """

    folder: str
    name: str
    freedom: Freedom
    n_atoms: int
    engine: str
    key: str | None
    is_stored: bool
    failure: str | None = Field(default=None, exclude_if=is_missing)
    is_preview: bool
    waits_for: tuple[str, ...]
    run_by_hand: str | None
    files: tuple[str, ...]


class InputManifest(Record):
    """What was written for a study.

    Parameters
    ----------
    study
        Name of the study.
    theory
        Level of theory of the energies; None in a draft.
    relaxation_settings
        When a relaxation is done.
    calculations
        The folders, parents before children.
    """

    schema_version: Literal[1] = 1
    study: str
    theory: LevelOfTheory | None
    relaxation_settings: dict[str, JsonValue]
    calculations: tuple[InputFolder, ...]


def write_study_inputs(plan: StudyPlan, folder: Path, look_up: LookUp) -> InputManifest:
    """Write the inputs of every calculation of a study; starts nothing.

    Parameters
    ----------
    plan
        The study.
    folder
        Where they go; made if missing, and empty.
    look_up
        Finds stored calculations: what follows from them is no preview.

    Raises
    ------
    ResultsError
        If the folder holds anything.
    EngineError
        If the code or its potentials are not found.
    """
    return _write(plan, folder, plan.resolve(look_up), theory=plan.engine.theory())


def write_study_drafts(plan: StudyPlan, folder: Path) -> InputManifest:
    """Write the same where the code or its potentials are not; without keys, and nothing stored is looked up."""
    return _write(plan, folder, Resolution(), theory=None)


def _write(plan: StudyPlan, folder: Path, resolution: Resolution, *, theory: LevelOfTheory | None) -> InputManifest:
    previews = plan.previews  # a study that cannot be built leaves no folder behind
    _require_empty(folder)
    folder.mkdir(parents=True, exist_ok=True)
    written = [
        _write_step(plan, step, folder / _name_folder(number, step), resolution, previews, is_draft=theory is None)
        for number, step in enumerate(plan.steps.steps, start=1)
    ]
    manifest = InputManifest(
        study=plan.study.name,
        theory=theory,
        relaxation_settings=plan.engines.relaxing.relaxation_settings(),
        calculations=tuple(written),
    )
    content = json.dumps(manifest.model_dump(mode="json"), indent=2, ensure_ascii=False)
    (folder / "manifest.json").write_text(f"{content}\n", encoding="utf-8")
    (folder / "README.md").write_text(_describe(manifest), encoding="utf-8")
    return manifest


def _require_empty(folder: Path) -> None:
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    raise ResultsError(
        f"{folder} is not empty",
        limit="inputs are written to a new folder",
        why="files of two studies, or inputs and outputs of different settings, would lie in one folder",
        remedy="name another folder with --write DIR",
    )


def _name_folder(number: int, step: Step) -> str:
    words = re.sub(r"[^A-Za-z0-9.]+", "-", step.label).strip("-")
    return f"{number:02d}-{words}"


def _write_step(
    plan: StudyPlan,
    step: Step,
    folder: Path,
    resolution: Resolution,
    previews: dict[StepId, StructureRecord],
    *,
    is_draft: bool,
) -> InputFolder:
    task = resolution.tasks.get(step.id)
    structure = previews[step.id] if task is None else task.structure
    engine = plan.engines.of(step)
    folder.mkdir()
    write_structure(label_structure(structure), folder / "structure.cif", title=step.label)
    return InputFolder(
        folder=folder.name,
        name=step.label,
        freedom=step.freedom,
        n_atoms=structure.n_atoms,
        engine=engine.name,
        key=resolution.keys.get(step.id),
        is_stored=resolution.usable(step.id) is not None,
        failure=_find_failure(step, resolution),
        is_preview=task is None and bool(step.parents),
        waits_for=tuple(_list_missing(plan, step, resolution)),
        run_by_hand=_write_engine_files(engine, structure, step.freedom, folder, is_draft=is_draft),
        files=tuple(sorted(path.name for path in folder.iterdir())),
    )


def _find_failure(step: Step, resolution: Resolution) -> str | None:
    if step.id not in resolution.records or resolution.usable(step.id) is not None:
        return None
    return resolution.explain_failure(step.id).removeprefix(f"{step.label} ").removeprefix("failed: ")


def _list_missing(plan: StudyPlan, step: Step, resolution: Resolution) -> Iterator[str]:
    """Yield what has to be calculated before the structure of a step is known."""
    if step.id in resolution.tasks:
        return
    labels = {each.id: each.label for each in plan.steps.steps}
    yield from (labels[parent] for parent in step.parents if resolution.usable(parent) is None)
    if step.scan is not None and not resolution.is_scanned(step.scan):
        yield plan.steps.scans[step.scan].label


def _write_engine_files(
    engine: Engine, structure: StructureRecord, freedom: Freedom, folder: Path, *, is_draft: bool
) -> str | None:
    """Write what the engine reads, and return the command that a person types."""
    if isinstance(engine, DftEngine):
        write = engine.write_draft if is_draft else engine.write_inputs
        return write(structure, freedom, folder).by_hand
    settings = {"theory": engine.theory().model_dump(mode="json"), "relaxation": engine.relaxation_settings()}
    (folder / "settings.json").write_text(f"{json.dumps(settings, indent=2)}\n", encoding="utf-8")
    return None


def explain_missing_code(error: EngineError) -> EngineError:
    """Return the error of a missing code or potential with the way out that only inputs have."""
    return EngineError(
        error.what,
        limit=error.limit,
        why=error.why,
        remedy=f"{error.remedy}; or write the inputs --without-potentials",
    )


def _describe(manifest: InputManifest) -> str:
    lines = [
        f"# Inputs of {manifest.study}",
        "",
        _describe_theory(manifest.theory),
        "",
        EXPLANATION,
        "| folder | calculation | atoms | moves | key | state |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| `{c.folder}` | {c.name} | {c.n_atoms} | {_moves(c.freedom)} | {(c.key or '')[:12]} | {_state(c)} |"
        for c in manifest.calculations
    ]
    commands = sorted({(c.engine, c.run_by_hand) for c in manifest.calculations if c.run_by_hand})
    lines += ["", *(f"Command of {engine}: `{command}`" for engine, command in commands)]
    return "\n".join(lines).rstrip() + "\n"


def _describe_theory(theory: LevelOfTheory | None) -> str:
    if theory is None:
        return "A draft: written without the potentials, so the calculations have no keys yet."
    words = f"{theory.code} {theory.code_version}, {theory.functional} + {theory.dispersion}"
    return f"{words}, potentials {theory.weights_hash[:12]}."


def _moves(freedom: Freedom) -> str:
    return "nothing" if freedom is Freedom.NONE else freedom.replace("_", " ")


def _state(calculation: InputFolder) -> str:
    if calculation.is_stored:
        return "stored"
    if calculation.failure is not None:
        return f"failed: {calculation.failure}"
    if calculation.is_preview:
        return f"preview, waits for {', '.join(calculation.waits_for)}"
    return "ready"

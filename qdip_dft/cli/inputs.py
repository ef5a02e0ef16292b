"""`qdip inputs`: every input file of a study, without running anything."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qdip_dft.cli.options import DEFAULT_RESULTS, AsJson, Results, StudyName
from qdip_dft.cli.output import write_json, write_line
from qdip_dft.cli.stored import make_look_up
from qdip_dft.cli.studies import EngineName, PresetWord, make_plan

if TYPE_CHECKING:
    from qdip_dft.by_hand.inputs import InputManifest
    from qdip_dft.planning.plan import StudyPlan


def inputs(
    study: StudyName,
    write: Annotated[Path, typer.Option("--write", metavar="DIR", help="New folder for the files.")],
    results: Results = DEFAULT_RESULTS,
    engine: EngineName = None,
    preset: PresetWord = None,
    is_draft: Annotated[
        bool,
        typer.Option("--without-potentials", help="Also where the code or its potentials are not; names them only."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Write every input file of a study, one folder per calculation; runs nothing.

    Structures that follow from relaxed ones not calculated yet are previews, built from unrelaxed ones; lengths in Å,
    energies in eV.

    Example: qdip inputs pbs-fapbi3 --engine espresso --write ./inputs
    """
    manifest = _write(make_plan(study, engine, preset), write, results, is_draft=is_draft)
    if as_json:
        write_json(manifest.model_dump(mode="json"))
        return
    n_previews = sum(calculation.is_preview for calculation in manifest.calculations)
    words = f"{len(manifest.calculations)} calculations written, {n_previews} of them previews"
    write_line(f"{words}: {write / 'README.md'}")


def _write(plan: StudyPlan, folder: Path, results: Path, *, is_draft: bool) -> InputManifest:
    from qdip_dft.by_hand.inputs import explain_missing_code, write_study_drafts, write_study_inputs
    from qdip_dft.errors import EngineError

    if is_draft:
        return write_study_drafts(plan, folder)
    try:
        plan.engine.theory()
    except EngineError as error:
        raise explain_missing_code(error) from error
    return write_study_inputs(plan, folder, make_look_up(results))

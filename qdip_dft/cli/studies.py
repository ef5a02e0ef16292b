"""`qdip plan | run | report`: from a study file to its result."""

from __future__ import annotations

from enum import StrEnum
from itertools import groupby
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qdip_dft.cli.campaigns import plan_campaign, print_left_out
from qdip_dft.cli.options import DEFAULT_RESULTS, AsJson, Results, Retry, StudyName
from qdip_dft.cli.output import console, progress_console, write_json, write_line, write_table
from qdip_dft.cli.stored import find_results, make_look_up, open_archive_of, open_folder

if TYPE_CHECKING:
    from qdip_dft.engines.base import Engine
    from qdip_dft.model.stabilization import StabilizationDoc
    from qdip_dft.planning.campaign import Planned
    from qdip_dft.planning.plan import PlannedCalculation, StudyPlan
    from qdip_dft.storage.results_folder import ResultsFolder


class Medium(StrEnum):
    """What a report is made for."""

    SCREEN = "screen"
    """A page, tables and figures with headings."""
    PRINT = "print"
    """Beside them the figures at 3.25 and 6.75 inches, without headings."""


NO_ANSWER = 1
"""Exit code of a run that has finished without an answer."""

EngineName = Annotated[str | None, typer.Option("--engine", help="Engine instead of the study's own, such as testing.")]
Workers = Annotated[
    int | None,
    typer.Option(
        "--workers",
        min=1,
        envvar="QDIP_WORKERS",
        help="Calculations side by side, one thread each; from cores and memory if not given.",
    ),
]
PresetWord = Annotated[str | None, typer.Option("--preset", help="fast, balanced or precise, instead of the study's.")]


def plan(
    study: StudyName,
    results: Results = DEFAULT_RESULTS,
    engine: EngineName = None,
    preset: PresetWord = None,
    as_json: AsJson = False,
) -> None:
    """List every interface and every calculation of a study with its estimated time; runs nothing.

    Of a campaign: every study, and how many calculations they share.

    Example: qdip plan pbs-fapbi3
    """
    found = make_plans(study, engine, preset)
    if len(found.plans) > 1 or found.left_out:
        plan_campaign(found, results, as_json=as_json)
        return
    planned = found.plans[0]
    calculations = planned.list_calculations(make_look_up(results))
    if as_json:
        write_json(_plan_as_json(planned, calculations))
    else:
        _print_plan(planned, calculations)


def run(
    study: StudyName,
    results: Results = DEFAULT_RESULTS,
    engine: EngineName = None,
    preset: PresetWord = None,
    is_retry: Retry = False,
    workers: Workers = None,
    is_quiet: Annotated[bool, typer.Option("--quiet", help="No progress, only the result.")] = False,
    as_json: AsJson = False,
) -> None:
    """Run a study and report it; what is stored already is not calculated again.

    Terms in eV per formula unit of the host; stabilization = black - competitor, negative: black favoured.
    Independent calculations run side by side, each stored as soon as it is finished; an interrupted run continues with
    the same command.  The studies of a campaign are carried out one after the other.

    Exit codes: 0 every study has an answer, 1 finished but a study has none, 2 something asked is wrong, 3 stopped: the
    same command resumes.

    Example: qdip run pbs-fapbi3 --results ./qdip-results
    """
    from qdip_dft.execution.local import run_study

    progress = None if is_quiet else progress_console()
    found = make_plans(study, engine, preset)
    summaries = [
        run_study(planned, results=results, console=progress, is_retry=is_retry, workers=workers)
        for planned in found.plans
    ]
    documents = [document for summary in summaries for document in summary.documents]
    if as_json:
        _write_documents(documents)
    else:
        for planned in found.plans:
            print_remarks(planned)
        folder = open_folder(results)
        print_documents(documents, folder)
        folder.require_in_place()  # the report takes seconds, in which a folder may go as well
        print_left_out(found)
        for revision in (revision for summary in summaries for revision in summary.kept):
            console().print(f"The study has changed; its earlier result is kept as {revision}.", markup=False)
        n_calculated = sum(summary.n_calculated for summary in summaries)
        n_reused = sum(summary.n_reused for summary in summaries)
        console().print(f"{n_calculated} calculations made, {n_reused} found in {results}.", markup=False)
    if not all(summary.has_answer for summary in summaries):
        raise typer.Exit(NO_ANSWER)


def report(
    result_id: Annotated[
        str, typer.Argument(metavar="ID", help="Id of a result or study, or a study file; ID~1: its first revision.")
    ],
    results: Results = DEFAULT_RESULTS,
    medium: Annotated[
        Medium, typer.Option("--for", help="print: also figures of 3.25 and 6.75 inches without headings.")
    ] = Medium.SCREEN,
    as_json: AsJson = False,
) -> None:
    """Show a stored result: phases x four terms, in eV/f.u., meV/Å² and J/m², and the answer in one sentence.

    Example: qdip report pbs-fapbi3 --for print
    """
    folder = open_folder(results)
    documents = find_results(folder, _name_study(result_id))
    if as_json:
        _write_documents(documents)
    else:
        print_documents(documents, folder, medium)
        _print_revisions(documents, folder)


def _name_study(id_or_file: str) -> str:
    """Return the id that was given, or that of the study in a file."""
    if not id_or_file.endswith((".yaml", ".yml")):
        return id_or_file
    from qdip_dft.planning.study_files import read_study

    return read_study(id_or_file).name


def _print_revisions(documents: list[StabilizationDoc], folder: ResultsFolder) -> None:
    """Print the earlier revisions of results, whose studies have changed since."""
    archive = open_archive_of(folder)
    for revision in (revision for document in documents for revision in archive.list_revisions(document)):
        words = f"earlier revision of {revision.created_at[:10]}: {revision.stabilization.sentence}"
        write_line(f"{revision.id}: {words}")


def make_plans(name: str, engine: str | None, preset: str | None) -> Planned:
    """Return the plan of a study, or those of a campaign, with another engine or preset if one is given."""
    from qdip_dft.planning.campaign import plan_all

    return plan_all([name], engine=engine, preset=preset)


def make_plan(name: str, engine: str | None, preset: str | None) -> StudyPlan:
    """Return the plan of a study, with another engine or preset if one is given."""
    from qdip_dft.planning.plan import plan_study
    from qdip_dft.planning.study_files import read_study, use_engine

    return plan_study(use_engine(read_study(name), engine=engine, preset=preset))


def _write_documents(documents: list[StabilizationDoc]) -> None:
    from qdip_dft.report.summary import summarise

    summaries = [summarise(document) for document in documents]
    write_json(summaries[0] if len(summaries) == 1 else {"results": summaries})


def print_documents(documents: list[StabilizationDoc], folder: ResultsFolder, medium: Medium = Medium.SCREEN) -> None:
    """Print the reports of results and write their files."""
    from qdip_dft.report.files import write_print_figures, write_report
    from qdip_dft.report.summary import list_calculation_keys
    from qdip_dft.report.terminal import print_report

    archive = open_archive_of(folder)
    for document in documents:
        print_report(document, console())
        if not folder.is_writable:
            write_line(f"No files were written: {folder.path} is read-only.")
            continue
        calculations = archive.find_calculations(list_calculation_keys(document))
        files = write_report(document, folder.reports_folder(document.id), calculations=calculations)
        write_line(f"Report: {files.html}")
        if medium is Medium.PRINT:
            write_print_figures(document, files.folder / "print", calculations=calculations)
            write_line(f"Figures for print: {files.folder / 'print'}")


def _plan_as_json(planned: StudyPlan, calculations: list[PlannedCalculation]) -> dict[str, Any]:
    return {
        "study": planned.study.name,
        "theory": planned.engine.theory().model_dump(mode="json"),
        "level": planned.engines.level.value,
        "other_engines": {
            name: engine.theory().model_dump(mode="json") for name, engine in planned.engines.by_purpose()
        },
        "relaxation": planned.engines.relaxing.relaxation_settings(),
        "candidates": [candidate.model_dump(mode="json") for candidate in planned.steps.candidates],
        "remarks": list(planned.remarks),
        "dropped": [dropped.model_dump(mode="json") for dropped in planned.steps.dropped],
        "calculations": [describe_calculation(calculation) for calculation in calculations],
        "estimated_s": sum(calculation.estimated_s for calculation in calculations),
    }


def describe_calculation(calculation: PlannedCalculation) -> dict[str, Any]:
    """Return a planned calculation for ``--json``."""
    return {
        "name": calculation.name,
        "part": calculation.part,
        "subject": calculation.subject,
        "n_atoms": calculation.n_atoms,
        "freedom": calculation.freedom.value,
        "stage": calculation.stage,
        "n_positions": calculation.n_positions,
        "key": calculation.key,
        "is_stored": calculation.is_stored,
        "state": calculation.state,
        "estimated_s": calculation.estimated_s,
    }


def print_remarks(planned: StudyPlan) -> None:
    """Print what was chosen or converted on reading the crystals."""
    for remark in planned.remarks:
        write_line(f"Note: {remark}")


def _print_candidates(planned: StudyPlan) -> None:
    """Print cell, strain and faces of every interface."""
    from qdip_dft.model.orientation import count_surface_cells
    from qdip_dft.report.words import write_strains

    rows = [
        (
            candidate.label,
            f"{count_surface_cells(candidate.film_matrix)}:{count_surface_cells(candidate.dot_matrix)}",
            write_strains(candidate.search_strains).replace("−", "-"),
            "|".join(candidate.faces),
        )
        for candidate in planned.steps.candidates
    ]
    caption = "strain of the film on the dot, crystals as filed; formal charges balance in each"
    headings = ("interface", "film:dot", "strain (%)", "faces")
    write_table(headings, rows, numbers=headings[1:3], caption=f"{caption}\n")


def _print_plan(planned: StudyPlan, calculations: list[PlannedCalculation]) -> None:
    from qdip_dft.execution.progress import format_duration

    console().print(f"{planned.study.name}: {planned.study.question}", markup=False)
    preset = f"preset {planned.study.engine.preset}, level: {planned.engines.level}"
    console().print(f"{_describe_method(planned.engine)}, {preset}", markup=False)
    for purpose, engine in planned.engines.by_purpose():
        console().print(f"{purpose}: {_describe_method(engine)}", markup=False)
    for name, value in planned.engines.relaxing.relaxation_settings().items():
        words = f"{value:.4g}" if isinstance(value, float) else str(value)
        console().print(f"  {name} = {words}", markup=False)
    print_remarks(planned)
    _print_candidates(planned)
    rows: list[tuple[str, ...]] = []
    for subject, group in groupby(calculations, key=lambda calculation: calculation.subject):
        rows.append((subject, "", "", "", ""))
        for c in group:
            time = "" if c.is_stored else format_duration(c.estimated_s)
            rows.append((f"  {c.part}", str(c.n_atoms), _describe_moves(c), c.state, time))
    write_table(("calculation", "atoms", "moves", "state", "time"), rows, numbers=("atoms", "time"))
    for dropped in planned.steps.dropped:
        console().print(f"dropped: {dropped.label}: {dropped.reason}", markup=False)
    n_left = sum(not c.is_stored for c in calculations)
    total = format_duration(sum(c.estimated_s for c in calculations))
    console().print(f"{n_left} of {len(calculations)} calculations to do, about {total}.", markup=False)


def _describe_method(engine: Engine) -> str:
    theory = engine.theory()
    spin_orbit = " + spin-orbit" if theory.settings.get("spin_orbit") else ""
    words = f"{theory.functional} + {theory.dispersion}{spin_orbit}"
    return f"{theory.engine}: {theory.code} ({theory.code_version}), {words}"


def _describe_moves(calculation: PlannedCalculation) -> str:
    if calculation.n_positions is not None:
        return f"{calculation.n_positions} registries"
    words = "static" if calculation.freedom == "none" else calculation.freedom.replace("_", " ")
    return f"{words}, first" if calculation.stage == "pre-relaxation" else words

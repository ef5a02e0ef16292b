"""`qdip calibrate`: how far the potential of a study is off, by single points of another engine."""

from __future__ import annotations

from typing import Annotated

import typer

from qdip_dft.cli.options import DEFAULT_RESULTS, AsJson, Results, Retry, StudyName
from qdip_dft.cli.output import console, progress_console, write_json, write_table
from qdip_dft.cli.stored import open_archive_of, open_folder
from qdip_dft.cli.studies import Workers, make_plan, print_documents


def calibrate(
    study: StudyName,
    engine: Annotated[
        str, typer.Option("--engine", help="Reference engine: a name, or all of it as {name: cp2k, settings: {...}}.")
    ],
    results: Results = DEFAULT_RESULTS,
    is_retry: Retry = False,
    workers: Workers = None,
    is_quiet: Annotated[bool, typer.Option("--quiet", help="No progress, only the result.")] = False,
    as_json: AsJson = False,
) -> None:
    """Measure the error of a study's potential in strain and interfaces with another engine.

    Single points at the study's relaxed structures, for every part of the two compared films.  The error, in eV per
    formula unit and meV/Å², is stored and enters the ± of every study with the same potential, elements and facet; the
    answer is reported anew with it.

    Example: qdip calibrate pbs-cspbi3-size --engine cp2k
    """
    from qdip_dft.execution.calibration import calibrate as measure
    from qdip_dft.planning.study_files import read_engine

    progress = None if is_quiet else progress_console()
    plan = make_plan(study, None, None)
    found = measure(plan, read_engine(engine), results=results, console=progress, is_retry=is_retry, workers=workers)
    if as_json:
        write_json({"calibrations": [calibration.model_dump(mode="json") for calibration in found]})
        return
    folder = open_folder(results)
    print_documents(list(open_archive_of(folder).find_stabilizations(plan.study.id)), folder)
    for calibration in found:
        console().print(
            f"{calibration.id}, {calibration.facet}: {calibration.reference.code} - potential", markup=False
        )
        sides = (("black", calibration.black), ("competitor", calibration.competitor))
        rows = [
            (f"{name} {film.name}", f"{film.strain_correction_ev_per_fu:+.4f}",
             f"{film.interface_correction_mev_per_ang2:+.2f}")
            for name, film in sides
        ]  # fmt: skip
        difference = f"{calibration.strain_ev_per_fu:+.4f}", f"{calibration.interface_mev_per_ang2:+.2f}"
        headings = ("side", "strain (eV/f.u.)", "sigma (meV/Å²)")
        write_table(headings, [*rows, ("black - competitor", *difference)], numbers=headings[1:])

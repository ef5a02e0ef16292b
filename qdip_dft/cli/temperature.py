"""`qdip temperature`: a stored result against temperature, on the dot and off it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from qdip_dft.cli.options import DEFAULT_RESULTS, AsJson, Results
from qdip_dft.cli.output import progress_console, write_json, write_line, write_table
from qdip_dft.cli.stored import find_results, open_folder

if TYPE_CHECKING:
    from qdip_dft.model.temperature import TemperatureCurve, TemperatureDoc

MOST_TEMPERATURES = 200


def temperature(
    result_id: Annotated[str, typer.Argument(metavar="ID", help="Id of a stored result, or name of a study.")],
    results: Results = DEFAULT_RESULTS,
    highest_k: Annotated[float, typer.Option("--to", min=1, help="Highest temperature in K.")] = 600.0,
    step_k: Annotated[float, typer.Option("--step", min=1, help="Step of the temperatures in K.")] = 50.0,
    min_length_ang: Annotated[
        float, typer.Option("--min-length", min=4, help="Least thickness of the phonons' supercells in Å.")
    ] = 12.0,
    is_quiet: Annotated[bool, typer.Option("--quiet", help="No progress, only the result.")] = False,
    as_json: AsJson = False,
) -> None:
    """Add harmonic free energies (phonons by finite displacements) to a result, on the dot and off it.

    Free energies in meV per formula unit; difference = black - competitor, negative: black favoured.
    Imaginary modes are reported, and the free energy is then missing.

    Example: qdip temperature pbs-cspbi3 --to 600
    """
    from qdip_dft.execution.temperature import TemperatureRun, run_temperature
    from qdip_dft.planning.plan import plan_study
    from qdip_dft.report.temperature_figure import draw_temperature

    folder = open_folder(results)
    progress = None if is_quiet else progress_console()
    asked = TemperatureRun(list_temperatures(highest_k, step_k), min_length_ang)
    documents = [
        run_temperature(plan_study(result.study), result, asked, folder=folder, console=progress)
        for result in find_results(folder, result_id)
    ]
    for document in documents:
        figure = draw_temperature(document, folder.reports_folder(document.id) / "temperature.svg")
        if not as_json:
            _print(document)
            write_line(f"Figure: {figure}")
    if as_json:
        dumped = [document.model_dump(mode="json") for document in documents]
        write_json(dumped[0] if len(dumped) == 1 else {"results": dumped})


def list_temperatures(highest_k: float, step_k: float) -> tuple[float, ...]:
    """Return 0 K and every step up to the highest temperature."""
    n = min(MOST_TEMPERATURES, int(highest_k / step_k + 1e-9))
    return tuple(step_k * index for index in range(n + 1))


def _print(document: TemperatureDoc) -> None:
    theory = document.theory
    write_line(
        f"{document.id}: black - competitor against temperature, level {document.level} "
        f"({theory.code}, {theory.functional} + {theory.dispersion}); negative: black favoured"
    )
    for phase in document.phases:
        write_line(f"  {_describe_phase(phase.model_dump())}")
    headings = ("T (K)", "off the dot (meV/f.u.)", "on the dot (meV/f.u.)")
    curves = (document.off_dot, document.on_dot)
    rows = [(f"{kelvin:g}", *(_show(curve, i) for curve in curves)) for i, kelvin in enumerate(document.temperatures_k)]
    write_table(headings, rows, numbers=headings)
    for name, curve in zip(("off the dot", "on the dot"), curves, strict=True):
        write_line(f"{name}: {describe_curve(curve, document.temperatures_k[-1])}")
    for assumption in document.assumptions:
        write_line(f"  assumed: {assumption}")


def _describe_phase(phase: dict[str, object]) -> str:
    name = f"{'strained ' if phase['is_strained'] else ''}{phase['subject']}"
    if phase["missing"]:
        return f"{name}: missing because {phase['missing']}"
    size = " x ".join(str(n) for n in phase["supercell"])  # type: ignore[attr-defined]
    return f"{name}: {phase['space_group']}, supercell {size}, {phase['n_displacements']} displacements"


def _show(curve: TemperatureCurve, index: int) -> str:
    lower, upper = curve.lower_ev_per_fu[index], curve.upper_ev_per_fu[index]
    if lower is None or upper is None:
        return "missing"
    low, high = f"{1000 * lower:+.1f}", f"{1000 * upper:+.1f}"
    return low if low == high else f"{low} to {high}"


def describe_curve(curve: TemperatureCurve, highest_k: float) -> str:
    """Return in words where the sign of a difference changes, or why it is not known."""
    if curve.missing:
        return f"no free energy because {'; '.join(curve.missing)}"
    if curve.transition_k is None:
        return f"no certain change of sign up to {highest_k:g} K"
    first, last = curve.transition_k
    return f"the sign changes at {first:.0f} K" + ("" if first == last else f" to {last:.0f} K")

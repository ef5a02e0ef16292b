"""`qdip size`: which dots, at which loading, keep the black phase, from a stored result."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from qdip_dft.cli.options import DEFAULT_RESULTS, AsJson, Results
from qdip_dft.cli.output import console, write_json
from qdip_dft.cli.stored import find_results, open_folder
from qdip_dft.errors import ResultsError

if TYPE_CHECKING:
    from qdip_dft.analysis.dot_size import Dots, DotsInHost
    from qdip_dft.model.stabilization import StabilizationDoc


def size(
    result_id: Annotated[str, typer.Argument(metavar="RESULT", help="Id of a stored result, or of a study.")],
    radius: Annotated[float, typer.Option("--radius", help="Radius of a sphere of the dot's volume in Å.")] = 20.0,
    loading: Annotated[float, typer.Option("--loading", help="Volume fraction of the dots, 0 to 1.")] = 0.1,
    ratio: Annotated[
        float | None,
        typer.Option("--ratio", help="Wulff shape of a rock-salt dot: γ(111)/γ(100); a sphere if not given."),
    ] = None,
    strain_range: Annotated[
        float | None,
        typer.Option(
            "--strain-range",
            min=0.0,
            help="How far the strain reaches into the host in Å (qdip show FILE --strain-from HOST); the study's, "
            "else isotropic elasticity, if not given.",
        ),
    ] = None,
    results: Results = DEFAULT_RESULTS,
    as_json: AsJson = False,
) -> None:
    """Convert a film's result to dots in a host: black - competitor, critical radius and critical loading.

    In eV per formula unit of the host, negative: black favoured. Every facet is assumed to bind like the computed one;
    the host is strained as the film within the range of the strain, and relaxed beyond it.

    Example: qdip size pbs-fapbi3 --radius 20 --loading 0.1 --ratio 1.0
    """
    from qdip_dft.analysis.dot_size import Dots, measure_wulff_shape

    dots = Dots(radius, loading, 1.0 if ratio is None else measure_wulff_shape(ratio))
    documents = find_results(open_folder(results), result_id)
    answers = [_answer(document, dots, strain_range_ang=strain_range) for document in documents]
    if as_json:
        write_json(answers)
        return
    for answer in answers:
        for line in _describe(answer):
            console().print(line, markup=False)


def _answer(document: StabilizationDoc, dots: Dots, *, strain_range_ang: float | None) -> dict[str, object]:
    from qdip_dft.report.error_tables import say_strain_range

    line = _require_line(document, strain_range_ang)
    stated = document.uncertainty
    has_defaults = stated is not None and stated.model_error is not None
    return {
        "id": document.id,
        "radius_ang": dots.radius_ang,
        "loading": dots.loading,
        "shape": dots.shape,
        "coverage_fu_per_ang2": line.count_host(dots),
        "strained_share": line.share_strained(dots),
        "difference_ev_per_fu": line.difference_ev_per_fu(dots),
        "uncertainty_ev_per_fu": line.uncertainty_ev_per_fu(dots) if has_defaults or not line.not_estimated else None,
        "not_estimated": list(line.not_estimated),
        "critical_radius_ang": line.find_critical_radius_ang(dots),
        "critical_loading": line.find_critical_loading(dots),
        "assumptions": [say_strain_range(line), stated.embedded.finding if stated and stated.embedded else ""],
    }


def _require_line(document: StabilizationDoc, strain_range_ang: float | None) -> DotsInHost:
    from qdip_dft.analysis.dot_size import survey_dots

    line = survey_dots(document, strain_range_ang=strain_range_ang)
    if line is not None:
        return line
    raise ResultsError(
        f"{document.id} has no line against the coverage",
        limit="both sides of the comparison must be complete, in a result of formula version 2",
        why="without them there is nothing to convert",
        remedy=f"qdip db upgrade, or qdip run {document.study.name}; what is stored is not calculated again",
    )


def _describe(answer: dict[str, object]) -> list[str]:
    radius, loading = f"{answer['radius_ang']:g} Å", f"{100 * float(str(answer['loading'])):g} %"
    limits = answer["critical_radius_ang"], answer["critical_loading"]
    error, lacking = answer["uncertainty_ev_per_fu"], answer["not_estimated"]
    sure = f" ± {error:.3f} eV/f.u." if error is not None else " eV/f.u."
    if isinstance(lacking, list) and lacking:
        sure += f" (not sampled: {', '.join(lacking)})"
    place = f"n = {answer['coverage_fu_per_ang2']:.4f} f.u./Å²"
    lead = f"{answer['id']}: dots of {radius} at {loading} of the volume ({place})"
    lines = [f"{lead}: black − competitor {answer['difference_ev_per_fu']:+.3f}{sure}"]
    lines.append(
        "  no radius changes the sign" if limits[0] is None else f"  critical radius at {loading}: {limits[0]:.1f} Å"
    )
    lines.append(
        "  no loading changes the sign"
        if limits[1] is None
        else f"  critical loading for {radius}: {100 * float(str(limits[1])):.1f} %"
    )
    assumptions = answer["assumptions"]
    return [*lines, *(f"  {text}" for text in (assumptions if isinstance(assumptions, list) else ()) if text)]

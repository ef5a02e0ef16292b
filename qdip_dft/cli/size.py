"""`qdip size`: which dots, at which loading, keep the black phase, from a stored result."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from qdip_dft.cli.options import DEFAULT_RESULTS, AsJson, Results
from qdip_dft.cli.output import console, write_json
from qdip_dft.cli.stored import find_results, open_folder
from qdip_dft.errors import ResultsError

if TYPE_CHECKING:
    from qdip_dft.model.stabilization import StabilizationDoc
    from qdip_dft.report.size_map import SizeMap


def size(
    result_id: Annotated[str, typer.Argument(metavar="RESULT", help="Id of a stored result, or of a study.")],
    radius: Annotated[float, typer.Option("--radius", help="Radius of a sphere of the dot's volume in Å.")] = 20.0,
    loading: Annotated[float, typer.Option("--loading", help="Volume fraction of the dots, 0 to 1.")] = 0.1,
    ratio: Annotated[
        float | None,
        typer.Option("--ratio", help="Wulff shape of a rock-salt dot: γ(111)/γ(100); a sphere if not given."),
    ] = None,
    results: Results = DEFAULT_RESULTS,
    as_json: AsJson = False,
) -> None:
    """Convert a film's result to dots in a host: black - competitor, critical radius and critical loading.

    In eV per formula unit of the host, negative: black favoured. All of the host is assumed to be strained as the film
    is, and every facet to bind like the computed one; the free face of the film is taken off.

    Example: qdip size pbs-fapbi3 --radius 20 --loading 0.1 --ratio 1.0
    """
    from qdip_dft.analysis.dot_size import measure_wulff_shape

    shape = 1.0 if ratio is None else measure_wulff_shape(ratio)
    documents = find_results(open_folder(results), result_id)
    answers = [_answer(document, radius_ang=radius, loading=loading, shape=shape) for document in documents]
    if as_json:
        write_json(answers)
        return
    for answer in answers:
        for line in _describe(answer):
            console().print(line, markup=False)


def _answer(document: StabilizationDoc, *, radius_ang: float, loading: float, shape: float) -> dict[str, object]:
    from qdip_dft.report.error_tables import evaluate_dots, find_critical_dots

    view = _require_map(document)
    critical, embedded = view.critical, view.embedded
    difference, error = evaluate_dots(critical, embedded, radius_ang=radius_ang, loading=loading, shape=shape)
    critical_radius_ang, critical_loading = find_critical_dots(
        critical, embedded, radius_ang=radius_ang, loading=loading, shape=shape
    )
    return {
        "id": document.id,
        "radius_ang": radius_ang,
        "loading": loading,
        "shape": shape,
        "difference_ev_per_fu": difference,
        "uncertainty_ev_per_fu": error,
        "critical_radius_ang": critical_radius_ang,
        "critical_loading": critical_loading,
        "assumption": embedded.finding,
    }


def _require_map(document: StabilizationDoc) -> SizeMap:
    from qdip_dft.report.size_map import SizeMap

    stated = document.uncertainty
    if stated is not None and stated.critical is not None and stated.embedded is not None:
        return SizeMap(stated.critical, stated.embedded, "", "")
    raise ResultsError(
        f"{document.id} has no line against the thickness",
        limit="both sides of the comparison must be complete, in a result of version 3",
        why="without them there is nothing to convert",
        remedy=f"qdip run {document.study.name}; what is stored is not calculated again",
    )


def _describe(answer: dict[str, object]) -> list[str]:
    radius, loading = f"{answer['radius_ang']:g} Å", f"{100 * float(str(answer['loading'])):g} %"
    limits = answer["critical_radius_ang"], answer["critical_loading"]
    lead = f"{answer['id']}: dots of {radius} at {loading} of the volume: black − competitor "
    lines = [f"{lead}{answer['difference_ev_per_fu']:+.3f} ± {answer['uncertainty_ev_per_fu']:.3f} eV/f.u."]
    if limits[0] is None:
        lines.append("  no radius and no loading changes the sign")
    else:
        lines.append(f"  critical radius at {loading}: {limits[0]:.1f} Å")
        lines.append(f"  critical loading for {radius}: {100 * float(str(limits[1])):.1f} %")
    return [*lines, f"  {answer['assumption']}"]

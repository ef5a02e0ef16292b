"""The error of a potential in strain and interfaces, from what another engine says of the same structures.

A calibration of the very films of an answer is that error itself, known as well as the reference engine is:
u² = c² + u_ref², c the correction at n*.  For other films of the same elements on the same facet the corrections
c_1 … c_N are a sample of it, too small for a standard deviation; the default u_0 of the level counts as one more value,

    u² = (u_0² + Σ c_i²)/(N + 1) + u_ref².

The answer itself is not moved: it stays what the potential gives, and the correction is shown.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from math import sqrt

from qdip_dft.analysis.comparability import list_theory_differences
from qdip_dft.analysis.coverage import Side, find_bulk, split_line
from qdip_dft.analysis.numbers import write_signed
from qdip_dft.analysis.sides import find_sides, name_side
from qdip_dft.errors import ResultsError
from qdip_dft.model.calibration import CalibratedFilm, Calibration
from qdip_dft.model.resolution import MODEL_ERROR_EV_PER_FU
from qdip_dft.model.stabilization import CandidateResult, StabilizationDoc
from qdip_dft.units import MEV_PER_EV


@dataclass(frozen=True, slots=True)
class StrainAndInterfaceError:
    """Standard uncertainty of strain + surface + binding of black − competitor at n*.

    Parameters
    ----------
    strain_ev_per_fu, interface_ev_per_fu
        Its shares, in eV per formula unit at n*.
    used
        Calibrations that it rests on; none for a default.
    finding
        Where it comes from.
    """

    strain_ev_per_fu: float
    interface_ev_per_fu: float
    used: tuple[Calibration, ...]
    finding: str


def measure_calibration(
    document: StabilizationDoc, reference: StabilizationDoc, *, elements: Iterable[str]
) -> Calibration:
    """Compare strain and σ of the films of a result with those of another engine at the same geometries.

    Parameters
    ----------
    document
        The result with the potential.
    reference
        The same films with the energies of the reference engine.
    elements
        Elements of dot and host.

    Raises
    ------
    ResultsError
        If a side or a term of either is missing, or they are at one level of theory.
    """
    sides, films = find_sides(document), {r.candidate.id: r for r in reference.candidates}
    pairs: list[tuple[Side | None, Side | None]] = [
        (side, films.get(side.candidate.id) if isinstance(side, CandidateResult) else reference.decomposition)
        for side in (sides.black, sides.competitor)
    ]
    black, competitor = (_compare(one, other) for one, other in pairs)
    if black is None or competitor is None or document.theory is None or reference.theory is None:
        raise _incomplete(reference.id)
    if document.theory == reference.theory:
        raise _same_theory(document.id)
    return Calibration(
        id=f"{document.id}+{reference.theory.code}".lower().replace(" ", "-"),
        result_id=document.id,
        potential=document.theory,
        reference=reference.theory,
        elements=tuple(sorted(set(elements))),
        facet=document.facet,
        black=black,
        competitor=competitor,
        calculations=reference.calculations,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _compare(own: Side | None, reference: Side | None) -> CalibratedFilm | None:
    found = _read_terms(own), _read_terms(reference)
    name = name_side(own)
    if name is None or found[0] is None or found[1] is None:
        return None
    return CalibratedFilm(
        name=name,
        strain_ev_per_fu=found[0][0],
        reference_strain_ev_per_fu=found[1][0],
        interface_mev_per_ang2=MEV_PER_EV * found[0][1],
        reference_interface_mev_per_ang2=MEV_PER_EV * found[1][1],
    )


def _read_terms(side: Side | None) -> tuple[float, float] | None:
    """Strain of the film in eV/f.u. and what belongs to the area in eV/Å²; None where a term is missing."""
    line = None if side is None else split_line(side)
    bulk = None if side is None else find_bulk(side)
    return None if line is None or bulk is None else (line[0] - bulk, line[1])


def _incomplete(name: str) -> ResultsError:
    return ResultsError(
        f"the calibration {name} is not complete",
        limit="both compared films need all their terms with both engines",
        why="a correction of one side alone would be as large as the terms",
        remedy="qdip status names what failed; run the command again, with --retry if a calculation failed",
    )


def _same_theory(name: str) -> ResultsError:
    return ResultsError(
        f"the result {name} is at the level of theory of the reference engine",
        limit="a calibration needs another engine than that of the result",
        why="an engine cannot tell its own error",
        remedy="name a density-functional engine with --engine, such as --engine cp2k",
    )


def estimate_model_error(
    document: StabilizationDoc, calibrations: Sequence[Calibration], *, elements: Iterable[str]
) -> StrainAndInterfaceError:
    """The error of the model in strain and interfaces of an answer: measured where that was done, else the default.

    Parameters
    ----------
    document
        The answer, with both sides.
    calibrations
        What is known of any engine; those of other engines, elements or facets are passed over.
    elements
        Elements of dot and host.
    """
    level, coverage = document.level, document.stabilization.coverage_fu_per_ang2
    default = MODEL_ERROR_EV_PER_FU[level]
    same_engine = [each for each in calibrations if _is_of(each, document)]
    valid = [c for c in same_engine if set(elements) <= set(c.elements) and c.facet == document.facet]
    if not valid or coverage is None:
        ranges = "; ".join(f"{c.facet} with {', '.join(c.elements)}" for c in same_engine)
        why = f"calibrated for {ranges} only" if same_engine else "not calibrated (qdip calibrate)"
        return StrainAndInterfaceError(0.0, default, (), f"default of the level {level.value}: {why}")
    own = [each for each in valid if each.result_id == document.id]
    used, prior, n = (own, 0.0, len(own)) if own else (valid, default**2, len(valid) + 1)
    strain = sum(each.strain_ev_per_fu**2 for each in used) / n
    sigma = sum((each.correction_ev_per_fu(coverage) - each.strain_ev_per_fu) ** 2 for each in used) / n
    total = (prior + sum(each.correction_ev_per_fu(coverage) ** 2 for each in used)) / n
    limit = max(MODEL_ERROR_EV_PER_FU[each.reference.level] for each in used) ** 2
    scale = (total + limit) / (strain + sigma) if strain + sigma else 0.0
    shares = (sqrt(scale * strain), sqrt(scale * sigma)) if scale else (0.0, sqrt(total + limit))
    said = "; ".join(f"{each.id} {write_signed(each.correction_ev_per_fu(coverage))} eV/f.u." for each in used)
    return StrainAndInterfaceError(*shares, tuple(used), f"calibrated: reference − potential at n*, {said}")


def _is_of(calibration: Calibration, document: StabilizationDoc) -> bool:
    """Whether a calibration is of the engine of a result, whatever its versions."""
    if document.theory is None:
        return False
    differences = list_theory_differences(calibration.potential, document.theory)
    return all(words.startswith("code_version") for words in differences)

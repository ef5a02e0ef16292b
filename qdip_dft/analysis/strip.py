"""Films over the whole strip of chemical potentials: which one wins where, and where the winner changes.

Between the bounds of `qdip_dft.analysis.surfaces` the energy of a film is a straight line in the chemical potential
of AX:

    g(Δμ) = n* e_strained + σ(Δμ),     Δμ = μ_AX − e(AX),     from −ΔH_window / a (BX2-rich) to 0 (AX-rich),

with slope −Δn_AX/A for a film with an excess of AX, a/b Δn_BX2/A for one of BX2, and 0 for a stoichiometric one.  All
films are taken at the coverage n* of the answer (`qdip_dft.analysis.sides`), so that g counts faces and strain only.
The lower envelope of the lines is what grows.

The dot's compound sets no further bound here.  A film holds no atoms of the dot, and the dot slab is the same with and
without film, so its atoms cancel; only the exchange of elements between dot and host could narrow the strip.  With a
shared metal (PbS in CsPbI3) that needs μ(Pb) and μ(S) apart: PbS in equilibrium fixes μ(Pb) + μ(S), and its limits
against elemental Pb and S leave μ(BX2) free, because μ(I) takes up the difference until an element precipitates, far
outside of the strip that AX and BX2 allow.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations, pairwise

from qdip_dft.analysis.coverage import evaluate_total, find_bulk
from qdip_dft.analysis.sides import find_coverage
from qdip_dft.model.stabilization import CandidateResult, StabilizationDoc
from qdip_dft.model.study import PhaseRole, PhaseSpec
from qdip_dft.units import MEV_PER_EV

SAME_POTENTIAL_EV = 1e-9
"""Two crossings closer than this are one."""


@dataclass(frozen=True, slots=True)
class FilmLine:
    """The energy of a film over the strip.

    Parameters
    ----------
    result
        The candidate, with its terms at the AX-rich bound.
    bx2_rich_mev_per_ang2, ax_rich_mev_per_ang2
        g above n* times the most stable bulk, at both ends, in meV/Å².
    """

    result: CandidateResult
    bx2_rich_mev_per_ang2: float
    ax_rich_mev_per_ang2: float

    def at(self, fraction: float) -> float:
        """Return the energy at a fraction of the strip: 0 is BX2-rich, 1 AX-rich."""
        return (1.0 - fraction) * self.bx2_rich_mev_per_ang2 + fraction * self.ax_rich_mev_per_ang2


@dataclass(frozen=True, slots=True)
class Reign:
    """Where one film of a phase is the lowest.

    Parameters
    ----------
    line
        The film.
    start_ev, end_ev
        Δμ of AX in eV.
    """

    line: FilmLine
    start_ev: float
    end_ev: float


@dataclass(frozen=True, slots=True)
class PhaseStrip:
    """The films of one phase over the strip.

    Parameters
    ----------
    phase, role
        The phase.
    lines
        All valid films.
    reigns
        The lowest of them, from BX2-rich to AX-rich.
    """

    phase: str
    role: PhaseRole
    lines: tuple[FilmLine, ...]
    reigns: tuple[Reign, ...]


@dataclass(frozen=True, slots=True)
class Strip:
    """All phases of a result over the strip.

    Parameters
    ----------
    ax, bx2
        The compounds.
    width_ev
        Width of the strip in eV per formula unit of AX.
    phases
        One entry per phase that a candidate stands for.
    """

    ax: str
    bx2: str
    width_ev: float
    phases: tuple[PhaseStrip, ...]


def survey_strip(doc: StabilizationDoc) -> Strip | None:
    """Return the films of a result over the strip; None where none depends on it, or the strip is empty."""
    potentials = doc.chemical_potentials
    if potentials is None or potentials.window_ev <= 0:
        return None
    width_ev = potentials.ax_rich_ev[potentials.ax] - potentials.bx2_rich_ev[potentials.ax]
    phases = [_survey_phase(doc, spec, width_ev) for spec in doc.study.phases]
    known = tuple(phase for phase in phases if phase is not None)
    return Strip(potentials.ax, potentials.bx2, width_ev, known) if known else None


def _survey_phase(doc: StabilizationDoc, spec: PhaseSpec, width_ev: float) -> PhaseStrip | None:
    coverage = find_coverage(doc)
    films = [result for result in doc.candidates if result.candidate.phase == spec.phase and result.is_valid]
    if coverage is None or not any(film.is_selected for film in films):
        return None
    lines = tuple(_draw_line(film, coverage) for film in films)
    return PhaseStrip(spec.phase, spec.role, lines, _find_reigns(lines, width_ev))


def _draw_line(film: CandidateResult, coverage_fu_per_ang2: float) -> FilmLine:
    zero = (find_bulk(film) or 0.0) - (film.bulk_above_lowest_ev_per_fu or 0.0)
    ends = [
        MEV_PER_EV * coverage_fu_per_ang2 * (evaluate_total(f, coverage_fu_per_ang2) - zero)
        for f in (film.at_bx2_rich, film)
    ]
    return FilmLine(film, *ends)


def _find_reigns(lines: tuple[FilmLine, ...], width_ev: float) -> tuple[Reign, ...]:
    """Return the lower envelope, left to right: between two crossings one line is the lowest."""
    crossings = (_cross(one, other) for one, other in combinations(lines, 2))
    inner = sorted(fraction for fraction in crossings if fraction is not None and 0.0 < fraction < 1.0)
    reigns: list[Reign] = []
    for start, end in pairwise((0.0, *inner, 1.0)):
        if (end - start) * width_ev < SAME_POTENTIAL_EV:
            continue
        lowest = _find_lowest(lines, 0.5 * (start + end))
        first_ev, last_ev = (start - 1.0) * width_ev, (end - 1.0) * width_ev
        if reigns and reigns[-1].line is lowest:
            first_ev = reigns.pop().start_ev
        reigns.append(Reign(lowest, first_ev, last_ev))
    return tuple(reigns)


def _find_lowest(lines: tuple[FilmLine, ...], fraction: float) -> FilmLine:
    return min(lines, key=lambda line: line.at(fraction))


def _cross(one: FilmLine, other: FilmLine) -> float | None:
    """Return the fraction of the strip at which two lines cross; None for parallels."""
    left = one.bx2_rich_mev_per_ang2 - other.bx2_rich_mev_per_ang2
    right = one.ax_rich_mev_per_ang2 - other.ax_rich_mev_per_ang2
    return None if left == right else left / (left - right)

"""The answer of a study in one sentence: which phase wins, by how much, on which facet, and which term decides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from qdip_dft.analysis.numbers import write_signed
from qdip_dft.model.calculation import Level
from qdip_dft.model.reference import BulkBasis
from qdip_dft.model.resolution import COVERAGE_FACTOR, default_model_error_ev_per_fu, find_limit_ev_per_fu
from qdip_dft.model.stabilization import Stabilization
from qdip_dft.model.study import Environment, StudySpec
from qdip_dft.model.term_names import TERM_NAMES
from qdip_dft.model.terms import Terms
from qdip_dft.model.uncertainty import Uncertainty

CANCELLATION_SHARE = 0.75
"""From this share on, the terms that disfavour the winner are said to cancel nearly what favours it."""

_LEVEL_WORDS = {
    Level.TEST: "toy potential: no physical meaning",
    Level.SCREENING: "screening",
    Level.COMPOSITE: "DFT energies at machine-learned geometries",
    Level.DFT: "DFT",
}


@dataclass(frozen=True, slots=True)
class _Wording:
    """What every form of the answer says besides the difference."""

    answer: Stabilization
    films: tuple[str, str]
    facet: str
    environment: str
    level: Level
    stated: Uncertainty | None
    basis_of_bulk: BulkBasis | None
    is_upper_bound: bool
    saddles: Sequence[str]
    uncompared: Sequence[str]

    @property
    def place(self) -> str:
        """The coverage and what does not depend on it."""
        interface, coverage = self.answer.interface, self.answer.coverage_fu_per_ang2
        if coverage is None:
            return ""
        sigma = (
            "" if interface is None else f", Δσ = {write_signed(interface.interface_mev_per_ang2, decimals=1)} meV/Å²"
        )
        return f" at n* = {coverage:.4f} f.u./Å²{sigma}"

    @property
    def basis(self) -> str:
        """Environment, level, bulk, parts of the error bar, what was not sampled or compared, what is left out."""
        parts = [self.environment, _LEVEL_WORDS[self.level]]
        if self.level is not Level.TEST and self.basis_of_bulk is not None:
            parts.append(_name_bulk(self.basis_of_bulk))
        parts.append(self.say_error_parts())
        if self.stated is not None and self.stated.not_estimated:
            parts.append(f"not sampled: {', '.join(self.stated.not_estimated)}")
        if self.uncompared:
            parts.append(f"not compared: {', '.join(self.uncompared)}")
        if self.is_upper_bound:
            parts.append("upper bound of what the dot gains: the products lie off the dot")
        if self.saddles:
            parts.append(f"no minimum: {' and '.join(self.saddles)}")
        return "; ".join(filter(None, parts))

    def say_error_parts(self) -> str:
        """Both parts of the error bar, or what the level leaves open where none is stated."""
        if self.stated is not None and self.stated.model_error is not None:
            numerical, model = self.stated.difference.total_ev_per_fu, self.stated.model_error.total_ev_per_fu
            return f"numerical part {numerical:.3f}, model {model:.3f}"
        assumed = default_model_error_ev_per_fu(self.level)
        return f"model error {assumed:.2f} assumed" if assumed else ""

    @property
    def limit_ev_per_fu(self) -> float:
        """How large the difference must be to be decided."""
        model = None if self.stated is None else self.stated.model_error
        return find_limit_ev_per_fu(
            self.level,
            numerical_ev_per_fu=None if self.stated is None else self.stated.difference.total_ev_per_fu,
            model_ev_per_fu=None if model is None else model.total_ev_per_fu,
        )


def answer_in_words(
    answer: Stabilization,
    *,
    black: str | None,
    competitor: str | None,
    facet: str,
    environment: str,
    level: Level,
    missing: Sequence[str] = (),
    has_competitor: bool = True,
    stated: Uncertainty | None = None,
    bulk_basis: BulkBasis | None = None,
    is_upper_bound: bool = False,
    saddles: Sequence[str] = (),
    uncompared: Sequence[str] = (),
) -> str:
    """The answer in one sentence, with its coverage, its environment, one ± with its parts, and what was not sampled.

    The winner is the phase with the lower total at n*.  A difference within twice its standard uncertainty, of the
    numbers and of the model, is undecided.
    The deciding term is the largest one that has the sign of the total.

    Parameters
    ----------
    answer
        Black − competitor, term by term, in eV per formula unit; negative: the black phase is favoured.
    black, competitor
        The two sides as `analysis.sides` names them, such as ``FAPbI3-alpha(100)`` and ``yellow FAPbI3-delta(001)``;
        None where a side has nothing valid.
    facet
        Dot and plane, such as ``PbS(111)``.
    environment
        What surrounds the film, such as ``capped film``.
    level
        How far the energies may be trusted.
    missing
        Why a side or a term is missing, one reason each.
    has_competitor
        Whether the study compares the black phase with anything.
    stated
        How sure the answer is; None where that is not known.
    bulk_basis
        Where the bulk term comes from; None where that is not known.
    is_upper_bound
        Whether the competitor lies off the dot, where it gains nothing by binding.
    saddles
        Bulks that are no minima, with their tilt gain.
    uncompared
        Film planes that the study asks for and that no valid film represents.

    Returns
    -------
    str
        One sentence with its full stop.
    """
    total_ev_per_fu = answer.total_ev_per_fu
    if not has_competitor and black is not None:
        return (
            f"On {facet} the film {black} stands alone: the study names no competitor "
            f"({environment}; {_LEVEL_WORDS[level]})."
        )
    if black is None or competitor is None or total_ev_per_fu is None:
        return _say_incomplete(facet=facet, black=black, competitor=competitor, missing=missing)
    films = (f"black {black}", competitor)
    known = stated if stated is not None and stated.is_stated else None
    wording = _Wording(answer, films, facet, environment, level, known, bulk_basis, is_upper_bound, saddles, uncompared)
    error_ev_per_fu = find_error_ev_per_fu(stated)
    if abs(total_ev_per_fu) <= wording.limit_ev_per_fu:
        return _say_undecided(wording, total_ev_per_fu, error_ev_per_fu)
    winner, loser = wording.films if total_ev_per_fu < 0 else wording.films[::-1]
    return (
        f"On {facet} the {winner} lies {write_with_error(abs(total_ev_per_fu), error_ev_per_fu)} eV/f.u. below the "
        f"{loser}{wording.place} ({wording.basis}); {_say_what_decides(answer, total_ev_per_fu)}."
    )


def name_environment(study: StudySpec) -> str:
    """What surrounds the film, in words."""
    return "film between two dots" if study.environment is Environment.EMBEDDED else "capped film"


def find_error_ev_per_fu(stated: Uncertainty | None) -> float | None:
    """The one ± of the answer, its standard uncertainty at n*; None where there is none."""
    return stated.total_ev_per_fu if stated is not None and stated.is_stated else None


def _name_bulk(basis: BulkBasis) -> str:
    """Where the bulk term comes from, such as ``bulk anchored to PBE-D3(BJ)``."""
    levels = dict.fromkeys(pair.reference.level for pair in basis.pairs)
    return f"bulk anchored to {' and '.join(levels)}" if levels else "bulk of the engine"


def join_bounds(ax_rich: str, bx2_rich: str, *, ax: str, bx2: str) -> str:
    """Return the answers at both bounds of the chemical potentials; one sentence where they are the same.

    Parameters
    ----------
    ax_rich, bx2_rich
        The sentences at both bounds.
    ax, bx2
        The compounds that are about to precipitate there.
    """
    return ax_rich if ax_rich == bx2_rich else f"{ax}-rich: {ax_rich} {bx2}-rich: {bx2_rich}"


def find_deciding_term(difference: Terms) -> str | None:
    """Return the name of the largest term that has the sign of the total; None where one is missing or all are zero."""
    contributions = difference.known()
    total_ev_per_fu = difference.total_ev_per_fu
    if total_ev_per_fu is None or total_ev_per_fu == 0 or len(contributions) < len(TERM_NAMES):
        return None
    direction = 1 if total_ev_per_fu > 0 else -1
    return max(contributions, key=lambda name: direction * contributions[name])


def _say_incomplete(*, facet: str, black: str | None, competitor: str | None, missing: Sequence[str]) -> str:
    sides = [role for role, label in (("black phase", black), ("competitor", competitor)) if label is None]
    lacking = f"no valid candidate of the {' and the '.join(sides)}" if sides else "a term is missing"
    reasons = "; ".join(reason.rstrip(".") for reason in missing)
    return f"Undecided on {facet}: {lacking}{f' ({reasons})' if reasons else ''}."


def write_with_error(value: float, uncertainty_ev_per_fu: float | None, *, is_signed: bool = False) -> str:
    """Return a number with its standard uncertainty, where there is one."""
    number = write_signed(value) if is_signed else f"{value:.3f}"
    return number if uncertainty_ev_per_fu is None else f"{number} ± {uncertainty_ev_per_fu:.3f}"


def _say_undecided(wording: _Wording, total_ev_per_fu: float, error_ev_per_fu: float | None) -> str:
    return (
        f"Undecided on {wording.facet}: the {wording.films[0]} and the {wording.films[1]} differ by "
        f"{write_with_error(total_ev_per_fu, error_ev_per_fu, is_signed=True)} eV/f.u. (black − competitor)"
        f"{wording.place} ({wording.basis}), less than {COVERAGE_FACTOR:g} standard uncertainties "
        f"({wording.limit_ev_per_fu:.3f})."
    )


def _say_what_decides(difference: Terms, total_ev_per_fu: float) -> str:
    """Name the deciding term, and the balance when gains and costs nearly cancel."""
    term = find_deciding_term(difference)
    if term is None:
        return "its terms are not complete"
    contributions = difference.known()
    direction = 1 if total_ev_per_fu > 0 else -1
    gain = sum(value for value in contributions.values() if value * direction > 0)
    cost = sum(value for value in contributions.values() if value * direction < 0)
    decision = f"{term} decides ({write_signed(contributions[term])} eV/f.u.)"
    if abs(cost) < CANCELLATION_SHARE * abs(gain):
        return decision
    return f"{decision}, but the terms nearly cancel ({write_signed(gain)} against {write_signed(cost)} eV/f.u.)"

"""How sure a stabilization is: every source of error as a standard uncertainty, and their combination.

Definitions follow the Guide to the Expression of Uncertainty in Measurement (JCGM 100:2008).  Repeated choices (type
A) give the sample standard deviation of what they change, because a study makes one of the choices at random.  A series
that leads somewhere, such as ever thicker films, begins with the study's own value, which is no mean of it: it gives
the root mean square of the changes from that value.  Independent components add in quadrature.

Errors of black and competitor are *correlated* where one change is made to both (one more layer, a finer preset,
another model): the change of the *difference* is taken, so that what is common cancels.  Where the choices are made
separately for each phase (orientation of its cations, its termination, its place on the dot) they are independent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import hypot, sqrt

import numpy as np

from qdip_dft.model.stabilization import CandidateResult, DecompositionResult
from qdip_dft.model.study import PhaseRole
from qdip_dft.model.term_names import TERM_FIELDS, TOTAL_FIELD
from qdip_dft.model.uncertainty import ErrorComponent, TermErrors, VariationKind, VariedFilm
from qdip_dft.units import MEV_PER_EV

QUANTITIES = (*TERM_FIELDS, TOTAL_FIELD, "strained_ev_per_fu", "interface_mev_per_ang2")
"""What is evaluated for every change: the four terms, their sum, bulk + strain, and surface + binding per area."""

TOTAL = QUANTITIES.index(TOTAL_FIELD)

SOFT_SPRING_EV_PER_ANG2 = 0.5
"""Force constant k of the estimate F²/(2k) of what a relaxation that ended with forces F leaves: soft for these solids,
whose Pb–I bonds have 1 to 3 eV/Å² and whose tilts some tenths."""

Side = CandidateResult | DecompositionResult
Vector = np.ndarray[tuple[int], np.dtype[np.float64]]


@dataclass(frozen=True, slots=True)
class Compared:
    """The two films of an answer with everything that was computed around them.

    Parameters
    ----------
    black, competitor
        The study's own results; the competitor may be made of bulk compounds, or be missing.
    samples
        The samples that count.
    """

    black: CandidateResult
    competitor: Side | None
    samples: tuple[VariedFilm, ...]

    def base(self, role: PhaseRole) -> Vector:
        """Return the terms of one side as the study has them."""
        side = self.black if role is PhaseRole.BLACK else self.competitor
        return np.zeros(len(QUANTITIES)) if side is None else read_quantities(side)

    def changed(self, role: PhaseRole, kind: VariationKind) -> dict[int, Vector]:
        """Return the terms of one side with each change of a kind, by number, at the thickness of the study."""
        side = self.black if role is PhaseRole.BLACK else self.competitor
        found = [sample for sample in self.samples if sample.role is role and sample.kind is kind]
        return {s.index: scale_to(side, s) for s in found if isinstance(side, CandidateResult)}

    def differences(self, kind: VariationKind) -> list[Vector]:
        """Return black − competitor for each change that was made to both sides, the study's own first."""
        black, other = (self.changed(role, kind) for role in PhaseRole)
        base = [self.base(role) for role in PhaseRole]
        if not isinstance(self.competitor, CandidateResult):
            return [base[0] - base[1], *(terms - base[1] for terms in black.values())]
        both = sorted(set(black) & set(other))
        return [base[0] - base[1], *(black[index] - other[index] for index in both)]


def read_quantities(side: Side) -> Vector:
    """Return the quantities of a side; bulk compounds have no interface."""
    return _complete([getattr(side, name) or 0.0 for name in TERM_FIELDS], density=measure_density(side))


def scale_to(side: CandidateResult, sample: VariedFilm) -> Vector:
    """Return the quantities of a sample as a film of the study's own thickness would have them.

    Surface and binding belong to the area: per formula unit they are shared among the study's own number n of them.
    """
    bulk, strain, surface, binding = (getattr(sample, name) for name in TERM_FIELDS)
    ratio = measure_density(sample) / measure_density(side)
    return _complete([bulk, strain, ratio * surface, ratio * binding], density=measure_density(side))


def measure_density(side: Side | VariedFilm) -> float:
    """Return n, the formula units per Å² of interface; zero for bulk compounds."""
    if isinstance(side, DecompositionResult) or side.area_ang2 is None:
        return 0.0
    return side.n_formula_units / side.area_ang2


def _complete(terms: Sequence[float], *, density: float) -> Vector:
    bulk, strain, surface, binding = terms
    return np.array([*terms, sum(terms), bulk + strain, MEV_PER_EV * density * (surface + binding)])


def change_together(compared: Compared, kind: VariationKind, *, name: str, words: str) -> ErrorComponent:
    """Return the error from changes that are made to both films at once: what they do to the difference.

    Parameters
    ----------
    compared
        The two films.
    kind
        What was changed.
    name
        Name of the component.
    words
        What one change is, for the finding.
    """
    differences = compared.differences(kind)
    if len(differences) < 2:
        return not_sampled(name, _say_why(kind))
    sides = {role: [compared.base(role), *compared.changed(role, kind).values()] for role in PhaseRole}
    return ErrorComponent(
        name=name,
        is_sampled=True,
        n_values=len(differences),
        black=measure_changes(sides[PhaseRole.BLACK]),
        competitor=measure_changes(sides[PhaseRole.COMPETITOR]),
        difference=measure_changes(differences),
        finding=f"root mean square of {len(differences) - 1} changes: {words}",
    )


def spread_apart(compared: Compared, kind: VariationKind, *, name: str, words: str) -> ErrorComponent:
    """Return the error from choices that each film makes for itself: the scatters add in quadrature."""
    sides = {role: [compared.base(role), *compared.changed(role, kind).values()] for role in PhaseRole}
    counts = [len(values) for values in sides.values()]
    if max(counts) < 2:
        return not_sampled(name, _say_why(kind))
    black, competitor = (deviate(values) for values in sides.values())
    return ErrorComponent(
        name=name,
        is_sampled=True,
        n_values=max(counts),
        black=black,
        competitor=competitor,
        difference=combine((black, competitor)),
        finding=f"standard deviation of {counts[0]} and {counts[1]} values, black and competitor independent: {words}",
    )


def lower_choice(compared: Compared, kind: VariationKind, *, name: str, words: str) -> ErrorComponent:
    """Return the error of a choice that nature makes by energy: how far another one lies below the study's.

    A choice of higher total would not form and costs nothing.
    """
    changed = {role: list(compared.changed(role, kind).values()) for role in PhaseRole}
    if not any(changed.values()):
        return not_sampled(name, _say_why(kind))
    black, competitor = (_excess_over(compared.base(role), changed[role]) for role in PhaseRole)
    return ErrorComponent(
        name=name,
        is_sampled=True,
        n_values=1 + max(map(len, changed.values())),
        black=black,
        competitor=competitor,
        difference=combine((black, competitor)),
        finding=f"how far the lowest other choice lies below the study's, zero where none does: {words}",
    )


def _excess_over(base: Vector, others: Sequence[Vector]) -> TermErrors:
    lowest = min((base, *others), key=lambda terms: float(terms[TOTAL]))
    return _errors(np.abs(base - lowest))


def _say_why(kind: VariationKind) -> str:
    return f"not sampled: the study asks for one value of {kind.value}, or no other counts"


def not_sampled(name: str, why: str, *, is_applicable: bool = True) -> ErrorComponent:
    """Return a source of error that nobody looked at, which is no zero; or one that does not exist here."""
    return ErrorComponent(name=name, is_sampled=False, is_applicable=is_applicable, finding=why)


def bound_component(name: str, *, black: TermErrors, competitor: TermErrors, finding: str) -> ErrorComponent:
    """Return an error that was estimated for each side, without further calculations."""
    return ErrorComponent(
        name=name,
        is_sampled=True,
        n_values=1,
        black=black,
        competitor=competitor,
        difference=combine((black, competitor)),
        finding=finding,
    )


def estimate_residual_ev(forces_ev_per_ang: Iterable[Sequence[float]]) -> float:
    """Return Σ F²/(2k) in eV: about how far a structure with these forces lies above its minimum.

    Exact for independent springs of force constant k = ``SOFT_SPRING_EV_PER_ANG2``; stiffer ones leave less.
    Structures of SevenNet-0 (slabs, interfaces and bulks of 5 to 36 atoms) with the forces of CHGNet gain 0.4 to 1.1 of
    it, a bulk whose octahedra are about to tilt much more (`benchmarks/residual_energy.py`).
    """
    squared = sum(component**2 for force in forces_ev_per_ang for component in force)
    return squared / (2.0 * SOFT_SPRING_EV_PER_ANG2)


def residual_errors(residuals_ev: Mapping[str, float], *, counts: Mapping[str, int], area_ang2: float) -> TermErrors:
    """Return the errors of the terms from what each relaxation left, by the formulae of the terms.

    Parameters
    ----------
    residuals_ev
        Of ``bulk``, ``strained bulk``, ``film slab``, ``dot slab`` and ``interface``.
    counts
        Formula units of ``bulk``, ``strained bulk`` and ``film``.
    area_ang2
        Area of the interface cell.
    """
    bulk = residuals_ev["bulk"] / counts["bulk"]
    strained = residuals_ev["strained bulk"] / counts["strained bulk"]
    film, dot, interface = (residuals_ev[part] / counts["film"] for part in ("film slab", "dot slab", "interface"))
    return TermErrors(
        bulk_ev_per_fu=bulk,
        strain_ev_per_fu=hypot(strained, bulk),
        surface_ev_per_fu=hypot(film, strained),
        binding_ev_per_fu=sqrt(interface**2 + film**2 + dot**2),
        total_ev_per_fu=hypot(interface, dot),
        strained_ev_per_fu=strained,
        interface_mev_per_ang2=MEV_PER_EV * counts["film"] / area_ang2 * sqrt(interface**2 + dot**2 + strained**2),
    )


def measure_changes(values: Sequence[Vector]) -> TermErrors:
    """Return the root mean square of the changes from the first value; zero for one value."""
    if len(values) < 2:
        return TermErrors()
    changes = np.array(values[1:]) - values[0]
    return _errors(np.sqrt((changes**2).mean(axis=0)))


def deviate(values: Sequence[Vector]) -> TermErrors:
    """Return the sample standard deviation (n − 1) of each term; zero for one value."""
    return _errors(np.std(np.array(values), axis=0, ddof=1) if len(values) > 1 else np.zeros(len(QUANTITIES)))


def combine(errors: Iterable[TermErrors]) -> TermErrors:
    """Return independent errors added in quadrature, term by term."""
    stacked = np.array([[getattr(error, name) for name in QUANTITIES] for error in errors]).reshape(-1, len(QUANTITIES))
    return _errors(np.sqrt((stacked**2).sum(axis=0)))


def combine_components(components: Iterable[ErrorComponent], side: str) -> TermErrors:
    """Return the combined error of ``black``, ``competitor`` or ``difference`` from the components that count."""
    found = (getattr(c, side) for c in components if c.is_sampled and c.is_combined)
    return combine(error for error in found if error is not None)


def _errors(values: Vector) -> TermErrors:
    return TermErrors(**dict(zip(QUANTITIES, map(float, values), strict=True)))

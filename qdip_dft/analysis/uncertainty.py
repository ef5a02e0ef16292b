"""How sure a stabilization is: every source of error as a standard uncertainty, and their combination.

Definitions follow the Guide to the Expression of Uncertainty in Measurement (JCGM 100:2008).  A series that leads
somewhere, such as ever thicker films, begins with the study's own value, which is no mean of it: it gives the root mean
square of the changes from that value.  Independent components add in quadrature.

Errors of black and competitor are *correlated* where one change is made to both (one more layer, a finer preset,
another model): the change of the *difference* is taken, so that what is common cancels.  Where the choices are made
separately for each phase (orientation of its cations, its termination, its registry on the dot) they are independent.
What nature chooses by energy is one-sided: the lowest value that was computed stands for the film.

Every film is evaluated at the coverage n* of the answer.  The terms of one change move together: the covariances of
bulk, strain and σ are kept, and with them the uncertainty at any other coverage follows,

    u²(n) = u²(e) + u²(σ)/n² + 2 u(e, σ)/n,     e = bulk + strain of the film;

σ stands for all that belongs to the area, the strain of the dot included.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import hypot, sqrt
from typing import Final

import numpy as np

from qdip_dft.analysis.coverage import Film, Side, evaluate_terms, find_dot_strain, find_own_coverage
from qdip_dft.model.stabilization import CandidateResult
from qdip_dft.model.study import PhaseRole
from qdip_dft.model.term_names import TERM_FIELDS, TOTAL_FIELD
from qdip_dft.model.uncertainty import ErrorComponent, ErrorPart, TermErrors, VariationKind, VariedFilm
from qdip_dft.units import MEV_PER_EV

QUANTITIES = (*TERM_FIELDS, TOTAL_FIELD, "strained_ev_per_fu", "interface_mev_per_ang2")
"""What is evaluated for every change: the four terms, their sum, bulk + strain, and surface + binding per area."""

_BULK, _STRAINED, _INTERFACE, _FILM_STRAIN = 0, 5, 6, 7
"""Places in a vector of quantities, which ends with the strain of the film alone."""

COVARIANCES = {
    "bulk_strain_covariance_ev2": (_BULK, _FILM_STRAIN),
    "bulk_interface_covariance_ev2_per_ang2": (_BULK, _INTERFACE),
    "strain_interface_covariance_ev2_per_ang2": (_FILM_STRAIN, _INTERFACE),
}
"""Which of the quantities are kept together, σ in meV/Å² here and in eV/Å² in the covariance."""

TOTAL = QUANTITIES.index(TOTAL_FIELD)

DEFAULT_ERRORS: Final = {
    "film thickness": (0.0, 0.2),
    "dot thickness": (0.0, 0.5),
    "registry": (0.0, 0.5),
    "termination": (0.0, 1.0),
    "cation orientation": (0.02, 1.0),
    "lowest minimum": (0.02, 1.0),
    "k-points and cutoff": (0.01, 0.2),
    "basis-set superposition": (0.0, 1.5),
}
"""What stands for a source of error that was not sampled: standard uncertainties of bulk + strain in eV/f.u. and of σ
in meV/Å², black − competitor.  Of the size found where they were sampled (docs/critical-sizes.md, PbS in CsPbI3 and
FAPbI3): one more layer 0.0 to 0.1, one more plane of the dot 0.2 to 0.6, registry 0.3 to 0.5, cations 0.4 to 1.4
meV/Å² and 0.02 eV/f.u. in bulk + strain.  Terminations differ by several meV/Å² (docs/validation.md), of which the
search for the lowest leaves 1.  Lowest minima are those of the cations, and count as much.  k-points and cutoff: 1 meV
per atom of two formula units of five atoms.  Basis-set superposition, where counterpoise was asked for and failed: that
of PbTe with CsPbI3 (docs/codes.md), as if the other film had none."""

DISPERSION: Final = "dispersion"
"""Name of the component of the dispersion correction."""

SUPERPOSITION: Final = "basis-set superposition"
"""Name of the component of what dot and film borrow of each other's basis functions."""

LOWEST_MINIMUM: Final = "lowest minimum"
"""Name of the component of what a search for the lowest minimum leaves."""

CALIBRATED: Final = "strain and interfaces"
"""Name of the component of the model's error that calibrations measure; its number of values is theirs."""

SOFT_SPRING_EV_PER_ANG2 = 0.5
"""Force constant k of the estimate F²/(2k) of what a relaxation that ended with forces F leaves: soft for these solids,
whose Pb–I bonds have 1 to 3 eV/Å² and whose tilts some tenths."""

Vector = np.ndarray[tuple[int], np.dtype[np.float64]]
Matrix = np.ndarray[tuple[int, int], np.dtype[np.float64]]


@dataclass(frozen=True, slots=True)
class Compared:
    """The two films of an answer with everything that was computed around them.

    Parameters
    ----------
    black, competitor
        The study's own results; the competitor may be made of bulk compounds, or be missing.
    variations
        The variations that count.
    coverage_fu_per_ang2
        n*.
    """

    black: CandidateResult
    competitor: Side | None
    variations: tuple[VariedFilm, ...]
    coverage_fu_per_ang2: float

    def base(self, role: PhaseRole) -> Vector:
        """Return the terms of one side as the study has them."""
        side = self.black if role is PhaseRole.BLACK else self.competitor
        return np.zeros(len(QUANTITIES) + 1) if side is None else read_quantities(side, self.coverage_fu_per_ang2)

    def changed(self, role: PhaseRole, kind: VariationKind) -> dict[int, Vector]:
        """Return the terms of one side with each change of a kind, by number."""
        found = [film for film in self.variations if film.role is role and film.kind is kind]
        return {film.index: read_quantities(film, self.coverage_fu_per_ang2) for film in found}

    def differences(self, kind: VariationKind) -> list[Vector]:
        """Return black − competitor for each change that was made to both sides, the study's own first."""
        black, other = (self.changed(role, kind) for role in PhaseRole)
        base = [self.base(role) for role in PhaseRole]
        if not isinstance(self.competitor, CandidateResult):
            return [base[0] - base[1], *(terms - base[1] for terms in black.values())]
        both = sorted(set(black) & set(other))
        return [base[0] - base[1], *(black[index] - other[index] for index in both)]


def read_quantities(film: Film, coverage_fu_per_ang2: float) -> Vector:
    """Return the quantities of a film at n*; bulk compounds off the dot have no interface."""
    terms = evaluate_terms(film, coverage_fu_per_ang2)
    of_dot = find_dot_strain(film) * (find_own_coverage(film) or 0.0) / coverage_fu_per_ang2
    known = np.array([getattr(terms, name) or 0.0 for name in TERM_FIELDS])
    return _complete(known, coverage_fu_per_ang2, of_dot=of_dot)


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
        return not_estimated(name, _say_why(kind))
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


def lowest_choice(compared: Compared, kind: VariationKind, *, name: str, words: str) -> ErrorComponent:
    """Return the error of a choice that nature makes by energy, of which the lowest value computed is taken.

    Terminations are few and known: the lowest of them has no error of choice.  Orientations are drawn at random from
    very many: with energies spread evenly above the lowest one of all, that lies below the lowest one drawn by as much,
    on average, as the second one drawn lies above it; so much is its error, with what a bulk lies below the own one.

    Parameters
    ----------
    compared, kind, name, words
        As in `change_together`.
    """
    changed = {role: list(compared.changed(role, kind).values()) for role in PhaseRole}
    if not any(changed.values()):
        return not_estimated(name, _say_why(kind))
    is_drawn = kind is VariationKind.ORIENTATION
    black, competitor = (
        _gap_errors(compared.base(role), changed[role]) if is_drawn else NO_ERRORS for role in PhaseRole
    )
    numbers = " and ".join(str(1 + len(each)) for each in changed.values())
    error = "the gap to the second lowest is its error" if is_drawn else "none is left out that was asked for"
    return ErrorComponent(
        name=name,
        is_sampled=True,
        n_values=1 + max(map(len, changed.values())),
        black=black,
        competitor=competitor,
        difference=combine((black, competitor)),
        finding=f"the lowest of {numbers} is taken, {error}: {words}",
    )


def _gap_errors(base: Vector, others: Sequence[Vector]) -> TermErrors:
    if not others:
        return NO_ERRORS
    lowest, second = sorted((base, *others), key=lambda terms: float(terms[TOTAL]))[:2]
    below = min(float(terms[_BULK] - base[_BULK]) for terms in (base, *others))
    of_bulk = _complete(np.array([below, 0.0, 0.0, 0.0]), 1.0)
    return combine((measure_changes([lowest, second]), _errors(np.outer(of_bulk, of_bulk))))


def _say_why(kind: VariationKind) -> str:
    return f"not estimated: the study asks for one value of {kind.value}, or no other counts"


def not_estimated(name: str, why: str, *, is_applicable: bool = True) -> ErrorComponent:
    """Return a source of error that nobody looked at, which is no zero; or one that does not exist here."""
    return ErrorComponent(name=name, is_sampled=False, is_applicable=is_applicable, finding=why)


def default_component(component: ErrorComponent, coverage_fu_per_ang2: float) -> ErrorComponent:
    """Return a source of error with its default size where it exists and nobody looked at it; any other as it is."""
    if component.is_sampled or not component.is_applicable or component.name not in DEFAULT_ERRORS:
        return component
    strained, interface_mev = DEFAULT_ERRORS[component.name]
    shared = strained * sqrt(0.5)
    errors = assume_errors(
        coverage_fu_per_ang2,
        bulk_ev_per_fu=shared,
        strain_ev_per_fu=shared,
        interface_ev_per_ang2=interface_mev / MEV_PER_EV,
    )
    words = f"counted as {strained:g} eV/f.u. of bulk and strain and {interface_mev:g} meV/Å² of σ"
    return component.model_copy(update={"difference": errors, "finding": f"{component.finding}; {words}"})


def assume_errors(
    coverage_fu_per_ang2: float,
    *,
    bulk_ev_per_fu: float = 0.0,
    strain_ev_per_fu: float = 0.0,
    interface_ev_per_ang2: float = 0.0,
) -> TermErrors:
    """Return errors at n* of bulk, strain and σ, independent of each other; surface and binding share that of σ."""
    sigma = interface_ev_per_ang2 / coverage_fu_per_ang2 * sqrt(0.5)
    rows = np.diag([bulk_ev_per_fu, strain_ev_per_fu, sigma, sigma])
    changes = np.array([_complete(row, coverage_fu_per_ang2) for row in rows])
    return _errors(changes.T @ changes)


def model_component(name: str, errors: TermErrors, *, n_values: int, finding: str) -> ErrorComponent:
    """Return an error of the energies themselves, which more calculations with the same engine would not reduce."""
    return ErrorComponent(
        name=name, is_sampled=True, part=ErrorPart.MODEL, n_values=n_values, difference=errors, finding=finding
    )


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


def residual_errors(
    residuals_ev: Mapping[str, float],
    *,
    counts: Mapping[str, int],
    own_coverage_fu_per_ang2: float,
    coverage_fu_per_ang2: float,
) -> TermErrors:
    """Return the errors of the terms at n* from what each relaxation left, by the formulae of the terms.

    Parameters
    ----------
    residuals_ev
        Of ``bulk``, ``strained bulk``, ``film slab``, ``dot slab`` and ``interface``.
    counts
        Formula units of ``bulk``, ``strained bulk`` and ``film``.
    own_coverage_fu_per_ang2, coverage_fu_per_ang2
        n of the film, and n*.
    """
    weights = _weigh_parts(counts, own_coverage_fu_per_ang2 / coverage_fu_per_ang2)
    rows = [_complete(residuals_ev[part] * weight, coverage_fu_per_ang2) for part, weight in weights.items()]
    changes = np.array(rows)
    return _errors(changes.T @ changes)


def change_parts(
    changes_ev: Mapping[str, float],
    *,
    counts: Mapping[str, int],
    own_coverage_fu_per_ang2: float,
    coverage_fu_per_ang2: float,
) -> Vector:
    """Return what changes of the energies of the parts do to the quantities of a film at n*; see `residual_errors`."""
    weights = _weigh_parts(counts, own_coverage_fu_per_ang2 / coverage_fu_per_ang2)
    terms = np.sum([changes_ev[part] * weight for part, weight in weights.items()], axis=0)
    return _complete(terms, coverage_fu_per_ang2)


def _weigh_parts(counts: Mapping[str, int], ratio: float) -> dict[str, Vector]:
    """What an energy of each part adds to bulk, strain, surface and binding at n*, which is n over the ratio."""
    return {
        "bulk": np.array([1, -1, 0, 0]) / counts["bulk"],
        "strained bulk": np.array([0, 1, -ratio, 0]) / counts["strained bulk"],
        "film slab": np.array([0, 0, ratio, -ratio]) / counts["film"],
        "dot slab": np.array([0, 0, 0, -ratio]) / counts["film"],
        "interface": np.array([0, 0, 0, ratio]) / counts["film"],
    }


def flavour_component(changes: Mapping[PhaseRole, Sequence[Vector]], *, is_anchored: bool) -> ErrorComponent:
    """Return the error from the flavour of the dispersion correction.

    Parameters
    ----------
    changes
        What each other flavour changes in the quantities of either side, in one order of flavours.
    is_anchored
        Whether the bulk of the difference is a reference, which no flavour moves.
    """
    sides = {role: list(values) for role, values in changes.items()}
    differences = [one - other for one, other in zip(*sides.values(), strict=True)]
    if is_anchored:
        differences = [_leave_bulk_out(values) for values in differences]
    zero = np.zeros(len(QUANTITIES) + 1)
    black, competitor, difference = (measure_changes([zero, *each]) for each in (*sides.values(), differences))
    return ErrorComponent(
        name=DISPERSION,
        is_sampled=True,
        n_values=1 + len(differences),
        black=black,
        competitor=competitor,
        difference=difference,
        finding=f"root mean square of {len(differences)} changes: other flavours of D3 at the relaxed structures",
    )


def _leave_bulk_out(values: Vector) -> Vector:
    left = values.copy()
    for place in (_BULK, TOTAL, _STRAINED):
        left[place] -= values[_BULK]
    return left


def registry_errors(
    errors_ev: Sequence[float], *, is_same_surface: bool, dot_area_ang2: float, coverage_fu_per_ang2: float
) -> TermErrors:
    """Return the errors of the terms at n* from what the registry of each interface leaves open.

    The binding of a cell is the sum over its interfaces, which do not feel each other through film and dot.  An
    embedded film has two, on the dot area A of two cells.  Each was laid at the best registry of unrelaxed slabs; what
    relaxation would change of that is its error u_i.  Where the film ends alike, both interfaces are one and the same
    surface, found by one and the same search: a mistake is made twice, u = u_1 + u_2, and per area it is that of one
    interface alone, 2 u_1/A.  Where it ends differently, the two mistakes know nothing of each other,
    u = √(u_1² + u_2²), and per area they are smaller by √2.

    Parameters
    ----------
    errors_ev
        u_i, one for each interface, in eV per cell.
    is_same_surface
        Whether both faces of the film end alike.
    dot_area_ang2
        A in Å²: one cell for each interface.
    coverage_fu_per_ang2
        n*.
    """
    error_ev = sum(errors_ev) if is_same_surface else hypot(*errors_ev)
    terms = np.array([0.0, 0.0, 0.0, error_ev / dot_area_ang2 / coverage_fu_per_ang2])
    change = _complete(terms, coverage_fu_per_ang2)
    return _errors(np.outer(change, change))


def measure_changes(values: Sequence[Vector]) -> TermErrors:
    """Return the root mean square of the changes from the first value; zero for one value."""
    changes = np.array(values[1:]).reshape(-1, len(values[0])) - values[0]
    return _errors(changes.T @ changes / max(len(changes), 1))


def combine(errors: Iterable[TermErrors]) -> TermErrors:
    """Return independent errors added in quadrature, term by term, and their covariances added up."""
    found = list(errors)
    squares = {name: sum(getattr(error, name) ** 2 for error in found) for name in QUANTITIES}
    together = {name: [getattr(error, name) for error in found] for name in COVARIANCES}
    return TermErrors(
        **{name: sqrt(square) for name, square in squares.items()},
        **{name: None if None in values else float(sum(values)) for name, values in together.items()},
    )


def combine_components(
    components: Iterable[ErrorComponent], side: str, *, part: ErrorPart = ErrorPart.NUMERICAL
) -> TermErrors:
    """Return the combined error of ``black``, ``competitor`` or ``difference`` from the components of a part."""
    found = (getattr(c, side) for c in components if c.part is part and c.is_combined)
    return combine(error for error in found if error is not None)


def _complete(terms: Vector, coverage_fu_per_ang2: float, *, of_dot: float = 0.0) -> Vector:
    """Return the quantities that follow from bulk, strain, surface and binding at n*.

    The dot's share of the strain belongs to the area, as surface and binding do.
    """
    interface = MEV_PER_EV * coverage_fu_per_ang2 * (terms[2] + terms[3] + of_dot)
    return np.array([*terms, terms.sum(), terms[0] + terms[1] - of_dot, interface, terms[1] - of_dot])


def _errors(covariance: Matrix) -> TermErrors:
    """Return standard deviations and covariances from the matrix of the quantities."""
    deviations = np.sqrt(np.diag(covariance))
    together = {
        name: float(covariance[i, j]) / (MEV_PER_EV if j == _INTERFACE else 1.0) for name, (i, j) in COVARIANCES.items()
    }
    return TermErrors(**dict(zip(QUANTITIES, map(float, deviations), strict=False)), **together)


NO_ERRORS = _errors(np.zeros((len(QUANTITIES) + 1, len(QUANTITIES) + 1)))
"""Of a side that takes no part in a choice, such as bulk compounds in the registry of a film."""

"""The cheapest cut of a periodic bond network for a prescribed shift of charge, found exactly.

Every ion j is shifted by a whole number k_j of lattice planes.  The cost of these shifts is

    Σ_bonds w |n − k_j + k_i|  +  ε Σ_j |z_j + k_j − c|     with  Σ q_j k_j = Q,

all heights in units of the plane spacing; a further Σ_j τ_j k_j is too small to matter except between equal cuts.
Without the condition this is the dual of a minimum-cost flow through the bond network, so its linear relaxation has
whole-numbered solutions as long as |z + k − c| is drawn straight between neighbouring whole k.  The condition on the
charge is one more row: most relaxations stay whole, others are branched.  The flow problem has one row per ion only;
its shadow prices are the shifts.  All relaxations of one round are solved in one call.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from qdip_dft.errors import SlabError
from qdip_dft.model.snapping import first_least, floor_whole, nearest_whole

if TYPE_CHECKING:
    from scipy.sparse import csr_array

Array = NDArray[np.float64]
Shifts = tuple[int, ...]

MOST_SHIFTS = 2
"""An ion moves at most this many lattice planes from where a planar cut would put it."""

WHOLE_NUMBER_TOLERANCE = 1e-6
TIE_BREAKER = 1e-4
"""Largest cost, in valence units, that decides between equally good cuts; a tenth of what `cleavage` calls equal and
a thousand times what the linear solver neglects."""

COST_TOLERANCE = 1e-9
"""Costs closer than this are equal."""


@dataclass(frozen=True, slots=True, eq=False)
class BondNetwork:
    """The bonds of one oriented cell.

    Parameters
    ----------
    heights
        Height z_j of each ion in plane spacings, shape (n_ions,).
    charges
        Formal charge of each ion in e, shape (n_ions,).
    first, second
        The ions that each bond joins, shape (n_bonds,).
    planes
        Number n of lattice planes that a bond goes up from its first to its second ion, shape (n_bonds,).
    costs
        Cost w of each crossing of a cleavage plane, shape (n_bonds,).
    """

    heights: Array
    charges: Array
    first: NDArray[np.int_]
    second: NDArray[np.int_]
    planes: Array
    costs: Array

    def count_crossings(self, shifts: Array) -> Array:
        """Return how many cleavage planes each bond crosses, for each set of shifts of shape (..., n_ions)."""
        return np.asarray(np.abs(self.planes - shifts[..., self.second] + shifts[..., self.first]))


@dataclass(frozen=True, slots=True)
class Aim:
    """Where a cut should lie and how flat it should be.

    Parameters
    ----------
    centre
        Height c that the film is centred on, in plane spacings.
    corrugation_weight
        ε, per ion and plane spacing.
    """

    centre: float
    corrugation_weight: float


@dataclass(frozen=True, slots=True, eq=False)
class _Branch:
    """A part of the solutions of one aim: shifts between two bounds."""

    aim: int
    lower: Array
    upper: Array

    def split(self, ion: int, shift: float) -> tuple[_Branch, _Branch]:
        """Return the two halves whose shifts of one ion lie below and above a broken number."""
        upper, lower = self.upper.copy(), self.lower.copy()
        upper[ion], lower[ion] = np.floor(shift), np.ceil(shift)
        return replace(self, upper=upper), replace(self, lower=lower)

    def may_shift(self, charges: Array, charge_shift: int) -> bool:
        """Return whether the charge can be shifted as asked within the bounds."""
        ends = np.sort([charges * self.lower, charges * self.upper], axis=0).sum(axis=1)
        return bool(ends[0] <= charge_shift <= ends[1])


def find_cheapest_cuts(network: BondNetwork, aims: Sequence[Aim], *, charge_shift: int) -> list[Shifts | None]:
    """Return the cheapest shifts of every aim; None where whole ions cannot shift the charge as asked.

    Parameters
    ----------
    network
        The bonds of one oriented cell.
    aims
        Where to cut, and how flat.
    charge_shift
        Q = Σ q_j k_j in e.

    Raises
    ------
    SlabError
        If the linear solver gives up.
    """
    best: list[Shifts | None] = [None] * len(aims)
    costs = np.full(len(aims), np.inf)
    branches = [_everything(network, index, aim) for index, aim in enumerate(aims)]
    while branches := [b for b in branches if b.may_shift(network.charges, charge_shift)]:
        relaxed = _solve_relaxations(network, aims, branches, charge_shift)
        open_branches: list[_Branch] = []
        for branch, shifts in zip(branches, relaxed, strict=True):
            cost = _relaxed_cost(network, aims[branch.aim], shifts)
            if cost > costs[branch.aim] - COST_TOLERANCE:
                continue
            ion = first_least(-np.abs(shifts - np.round(shifts)), tolerance=WHOLE_NUMBER_TOLERANCE)
            if abs(shifts[ion] - round(shifts[ion])) > WHOLE_NUMBER_TOLERANCE:
                open_branches += branch.split(ion, shifts[ion])
                continue
            best[branch.aim], costs[branch.aim] = tuple(round(k) for k in shifts), cost
        branches = open_branches
    return best


def _everything(network: BondNetwork, index: int, aim: Aim) -> _Branch:
    planar = nearest_whole(aim.centre - network.heights)
    return _Branch(index, planar - MOST_SHIFTS, planar + MOST_SHIFTS)


def _relaxed_cost(network: BondNetwork, aim: Aim, shifts: Array) -> float:
    """Return the cost of shifts that need not be whole; |z + k − c| is straight between whole k."""
    below, fraction = np.floor(shifts), shifts - np.floor(shifts)
    ends = [np.abs(network.heights + k - aim.centre) for k in (below, below + 1)]
    corrugation = float(np.sum((1 - fraction) * ends[0] + fraction * ends[1]))
    crossings = float(network.count_crossings(shifts) @ network.costs)
    return crossings + aim.corrugation_weight * corrugation + float(_tie_breakers(len(shifts)) @ shifts)


def _tie_breakers(n_ions: int) -> Array:
    """Return what a lattice plane more of each ion costs so that equally good cuts have different costs.

    Symmetry makes cuts equal that move one ion or its image; which of them the solver meets first depends on the last
    bits of the bond lengths.  Multiples of the golden ratio, wrapped, keep any two sums of them apart.
    """
    golden = 0.5 * (np.sqrt(5.0) - 1.0)
    return np.asarray(TIE_BREAKER * (np.arange(1, n_ions + 1) * golden % 1.0))


def _solve_relaxations(
    network: BondNetwork, aims: Sequence[Aim], branches: Sequence[_Branch], charge_shift: int
) -> Array:
    """Return the shifts that solve each branch's relaxation, shape (n_branches, n_ions)."""
    from scipy.optimize import linprog

    weights = [aims[branch.aim].corrugation_weight for branch in branches]
    solution = linprog(
        _flow_costs(network, aims, branches, charge_shift).ravel(),
        A_eq=_repeat_block(_flow_balance(network), len(branches)),
        b_eq=(np.array(weights)[:, None] - _tie_breakers(len(network.heights))).ravel(),
        bounds=_flow_bounds(network, aims, branches).reshape(-1, 2),
        method="highs-ds",
    )
    if not solution.success:
        raise _cut_not_found(solution.message)
    return np.asarray(solution.eqlin.marginals).reshape(len(branches), -1)


def _flow_balance(network: BondNetwork) -> csr_array:
    """Return the flow balance, one row per ion; columns: bonds, two arcs for heights, two for bounds, the charge."""
    from scipy.sparse import csr_array

    n_ions, n_bonds = len(network.heights), len(network.costs)
    bonds = np.zeros((n_ions, n_bonds))
    bonds[network.first, np.arange(n_bonds)] = 1.0
    bonds[network.second, np.arange(n_bonds)] = -1.0
    identity = np.eye(n_ions)
    return csr_array(np.hstack([bonds, identity, identity, -identity, identity, network.charges[:, None]]))


def _repeat_block(block: csr_array, times: int) -> csr_array:
    """Return the block-diagonal matrix of equal blocks; scipy's own takes longer than solving most of them."""
    from scipy.sparse import csr_array

    n_rows, n_columns = block.shape
    columns = np.add.outer(n_columns * np.arange(times), block.indices)
    ends = np.add.outer(block.nnz * np.arange(times), block.indptr[1:])
    parts = (np.tile(block.data, times), columns.ravel(), np.concatenate([[0], ends.ravel()]))
    return csr_array(parts, shape=(times * n_rows, times * n_columns))


def _flow_costs(network: BondNetwork, aims: Sequence[Aim], branches: Sequence[_Branch], charge_shift: int) -> Array:
    """Return the cost of each column in each branch, shape (n_branches, n_columns)."""
    below = _whole_below(network, aims, branches)
    lower, upper = (np.array(ends) for ends in zip(*((b.lower, b.upper) for b in branches), strict=True))
    planes = np.broadcast_to(-network.planes, (len(branches), len(network.planes)))
    charge = np.full((len(branches), 1), charge_shift)
    return np.hstack([planes, below, below + 1, -lower, upper, charge])


def _flow_bounds(network: BondNetwork, aims: Sequence[Aim], branches: Sequence[_Branch]) -> Array:
    """Return the least and largest flow of each column in each branch, shape (n_branches, n_columns, 2).

    The cost ε|z + k − c| has slope −ε below the whole number k0 next to c − z, +ε above k0 + 1 and a slope between; an
    arc of cost k0 and one of cost k0 + 1 carry the differences of these slopes.
    """
    below = _whole_below(network, aims, branches)
    centres, weights = _centres(aims, branches), np.array([[aims[b.aim].corrugation_weight] for b in branches])
    slope = weights * (np.abs(network.heights + below + 1 - centres) - np.abs(network.heights + below - centres))
    bonds = np.broadcast_to(network.costs, (len(branches), len(network.costs)))
    n_ions = len(network.heights)
    free, unlimited = np.full((len(branches), 1), -np.inf), np.full((len(branches), 2 * n_ions + 1), np.inf)
    least = np.hstack([-bonds, np.zeros((len(branches), 4 * n_ions)), free])
    largest = np.hstack([bonds, slope + weights, weights - slope, unlimited])
    return np.stack([least, largest], axis=2)


def _whole_below(network: BondNetwork, aims: Sequence[Aim], branches: Sequence[_Branch]) -> Array:
    """Return for each branch the whole number k0 below c − z of each ion."""
    return floor_whole(_centres(aims, branches) - network.heights)


def _centres(aims: Sequence[Aim], branches: Sequence[_Branch]) -> Array:
    return np.array([[aims[branch.aim].centre] for branch in branches])


def _cut_not_found(message: str) -> SlabError:
    return SlabError(
        f"the search for a cleavage plane stopped ({message})",
        limit="the costs of the bonds must be finite numbers",
        why="the termination would be arbitrary",
        remedy="look for overlapping atoms in the structure: `qdip structures check`",
    )

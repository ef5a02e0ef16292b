"""Mixed crystals: cells whose sites are filled as a random alloy would be, on a lattice by Vegard's rule.

A special quasirandom cell (Zunger et al., Phys. Rev. Lett. 65, 353 (1990)) is the arrangement whose pair correlations
are nearest to those of the random alloy.  For two species α and β and a shell of neighbours at the distance r the
deviation is P(α, β; r) − x(α) x(β), with P the share of ordered pairs and x the composition; the arrangement minimizes

    Σ_r w(r) Σ_αβ [P(α, β; r) − x(α) x(β)]²   with w(r) falling with the distance.

The shells are Gaussians around √n times the nearest distance (n = 1 to 4), which are the shells of the halides and of
the cations of a cubic perovskite; they stay meaningful in tilted and yellow phases, where the distances spread.

The search is our own: the cells have at most a dozen mixed sites, so that usually every arrangement can be compared,
and the crystal library must come out the same on every machine.  icet comes as source that needs a C++ compiler, and a
compiled search package for 900 arrangements would be a dependency without a gain.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from math import comb, prod

import numpy as np
from numpy.typing import NDArray

from qdip_dft.errors import StructureError

Array = NDArray[np.float64]
Labels = NDArray[np.int_]

MAX_COMPARED = 20_000
"""Up to this many arrangements all are compared; beyond, as many swaps of a random walk."""

N_SHELLS = 4
"""Shells of neighbours."""

SHELL_WIDTH = 0.12
"""Standard deviation of a shell in units of the nearest distance."""

EQUAL_DEVIATION = 1e-9
"""Arrangements closer than this in their deviation count as equally good."""


@dataclass(frozen=True, slots=True)
class Mixture:
    """A filling of the mixed sites.

    Parameters
    ----------
    labels
        The species of each site.
    deviation
        Weighted sum of the squared deviations of the pair correlations; 0 for the random alloy.
    n_compared
        Arrangements that were compared.
    is_best
        Whether these were all that exist.
    """

    labels: tuple[str, ...]
    deviation: float
    n_compared: int
    is_best: bool


def mix_lattices(members: Sequence[tuple[float, Sequence[float]]]) -> tuple[float, ...]:
    """Return lengths (Å) and angles (°) of a mixed cell by Vegard's rule, the mean weighted by the shares.

    Parameters
    ----------
    members
        Share and cell (a, b, c, α, β, γ) of each end member, all in the same setting; the shares sum to one.

    Raises
    ------
    StructureError
        If the shares do not sum to one.
    """
    total = sum(share for share, _ in members)
    if abs(total - 1.0) > 1e-9 or any(share < 0 for share, _ in members):
        raise StructureError(
            f"the shares of the end members sum to {total:g}",
            limit="they are not negative and sum to 1",
            why="the lattice would not lie between those of the end members",
            remedy="give the mole fractions of the end members",
        )
    return tuple(float(sum(share * cell[i] for share, cell in members)) for i in range(6))


def arrange_quasirandom(lattice_ang: Array, frac_centres: Array, amounts: Mapping[str, int], *, seed: int) -> Mixture:
    """Return the arrangement of a composition whose pair correlations are nearest to a random alloy.

    Parameters
    ----------
    lattice_ang
        Lattice vectors as rows in Å, shape (3, 3).
    frac_centres
        Fractional coordinates of the mixed sites, shape (n, 3).
    amounts
        Number of sites of each species; they sum to n.
    seed
        Picks one of equally good arrangements, and steers the walk where there are too many to compare all.

    Raises
    ------
    StructureError
        If the amounts do not fill the sites.
    """
    names = sorted(name for name, amount in amounts.items() if amount)
    counts = [amounts[name] for name in names]
    if sum(counts) != len(frac_centres) or min(amounts.values()) < 0:
        raise _wrong_amounts(amounts, len(frac_centres))
    shells = _shell_weights(lattice_ang, frac_centres)
    is_small = _count_arrangements(counts) <= MAX_COMPARED
    arrangements = _list_arrangements(counts) if is_small else _walk(shells, counts, seed)
    deviations = measure_deviations(shells, arrangements, counts)
    equal = np.nonzero(deviations <= deviations.min() + EQUAL_DEVIATION)[0]
    chosen = int(np.random.default_rng(seed).choice(equal))
    return Mixture(
        labels=tuple(names[k] for k in arrangements[chosen]),
        deviation=float(deviations[chosen]),
        n_compared=len(arrangements),
        is_best=is_small,
    )


def _wrong_amounts(amounts: Mapping[str, int], n_sites: int) -> StructureError:
    wanted = ", ".join(f"{amount} {name}" for name, amount in amounts.items())
    return StructureError(
        f"{wanted} do not fill {n_sites} sites",
        limit=f"the amounts are not negative and sum to {n_sites}",
        why="empty or doubled sites would change the composition",
        remedy="correct the amounts or take another supercell",
    )


def _shell_weights(lattice_ang: Array, frac_centres: Array) -> Array:
    """Return the share of each ordered pair of sites in each shell, shape (shells, n, n); each shell sums to one."""
    difference = frac_centres[None, :, :] - frac_centres[:, None, :]
    images = np.array(list(product((-2, -1, 0, 1, 2), repeat=3)), dtype=float)
    vectors = (difference - np.round(difference))[:, :, None, :] + images
    distances = np.linalg.norm(vectors @ lattice_ang, axis=3)
    nearest = float(distances[distances > 1e-6].min())
    radii = nearest * np.sqrt(np.arange(1, N_SHELLS + 1))
    width = SHELL_WIDTH * nearest
    shells = np.exp(-0.5 * ((distances[None] - radii[:, None, None, None]) / width) ** 2)
    shells = np.where(distances[None] > 1e-6, shells, 0.0).sum(axis=3)
    return np.asarray(shells / shells.sum(axis=(1, 2), keepdims=True))


def measure_deviations(shells: Array, arrangements: Labels, counts: Sequence[int]) -> Array:
    """Return Σ_r w(r) Σ_αβ [P(α, β; r) − x(α) x(β)]² of each arrangement, w(r) = 1/n for the shell n.

    Parameters
    ----------
    shells
        Shape (shells, sites, sites), share of each pair in each shell.
    arrangements
        Shape (arrangements, sites), index of the species of each site.
    counts
        Number of sites of each species.
    """
    shares = np.array(counts) / sum(counts)
    occupation = np.stack([arrangements == k for k in range(len(counts))]).astype(float)
    pairs = np.einsum("acs,rst,bct->crab", occupation, shells, occupation, optimize=True)
    squares = ((pairs - np.outer(shares, shares)) ** 2).sum(axis=(2, 3))
    return np.asarray((squares / np.arange(1, len(shells) + 1)).sum(axis=1))


def _count_arrangements(counts: Sequence[int]) -> int:
    """Return the multinomial coefficient."""
    return prod(comb(sum(counts[: k + 1]), count) for k, count in enumerate(counts))


def _list_arrangements(counts: Sequence[int]) -> Labels:
    """Return every arrangement, shape (arrangements, sites)."""
    n_sites = sum(counts)
    partial = [np.full(n_sites, -1)]
    for species, count in enumerate(counts):
        partial = [
            _fill(arrangement, places, species)
            for arrangement in partial
            for places in combinations(np.nonzero(arrangement < 0)[0].tolist(), count)
        ]
    return np.array(partial)


def _fill(arrangement: Labels, places: Sequence[int], species: int) -> Labels:
    filled = arrangement.copy()
    filled[list(places)] = species
    return filled


def _walk(shells: Array, counts: Sequence[int], seed: int) -> Labels:
    """Return the states of a walk by swaps that accepts what is not worse, with a new start now and then."""
    generator = np.random.default_rng(seed)
    start = np.repeat(np.arange(len(counts)), counts)
    states: list[Labels] = []
    current, lowest = start, np.inf
    for step in range(MAX_COMPARED // 10):
        if step % 200 == 0:
            current, lowest = generator.permutation(start), np.inf
        swapped = current.copy()
        first, second = generator.choice(len(start), size=2, replace=False)
        swapped[[first, second]] = swapped[[second, first]]
        deviation = float(measure_deviations(shells, swapped[None], counts)[0])
        if deviation <= lowest + EQUAL_DEVIATION:
            current, lowest = swapped, deviation
            states.append(current)
    return np.array(states)

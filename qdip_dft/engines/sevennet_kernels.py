"""The two loops of SevenNet's convolution over neighbours, compiled by numba on first use and then kept on disk.

The equations stand in `qdip_dft.engines.sevennet_convolution`.  Each loop goes through the atoms that receive, so that
what it adds up stays in the cache, and uses of M only what the coupling coefficients leave of it: 46 of 60 elements for
l₁ = 1, with one or two terms each.  Sums may be taken in another order (``reassoc``) and products fused into them
(``contract``); infinite numbers stay infinite.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numba import njit

Array = Any
"""An array of NumPy outside of the loops and of numba inside."""

Loop = TypeVar("Loop", bound=Callable[..., Any])
compiled: Callable[[Loop], Loop] = njit(cache=True, error_model="numpy", fastmath={"contract", "reassoc"})


class Neighbours(NamedTuple):
    """Directed pairs in the order of the receiving atom.

    Parameters
    ----------
    start
        First pair of each atom, and the end of the last, shape (atoms + 1,).
    sender
        The other atom of each pair.
    pair
        Row of its harmonics and weights.
    sign
        Y along the pair as multiple of that row, shape (pairs, components of Y).
    """

    start: Array
    sender: Array
    pair: Array
    sign: Array


class Coupling(NamedTuple):
    """The elements of M that are not zero, row by row, and the terms of each.

    Parameters
    ----------
    start
        First element of each row, and the end of the last.
    component
        Component m₁ of each element.
    term_start
        First term of each element, and the end of the last.
    harmonic, value
        Component of Y and coefficient C of each term.
    weight
        Where the weights of each row's path begin.
    """

    start: Array
    component: Array
    term_start: Array
    harmonic: Array
    value: Array
    weight: Array


def list_coupling(coefficients: Array, weight_of_row: Array) -> Coupling:
    """The elements of coefficients of shape (components of Y, rows, components m₁)."""
    used = np.abs(coefficients) > 1e-7
    rows, components = np.nonzero(used.any(axis=0))
    terms = [np.flatnonzero(used[:, row, component]) for row, component in zip(rows, components, strict=True)]
    columns = [np.full(len(some), index) for index, some in enumerate(terms)]
    harmonic, element = np.concatenate(terms), np.concatenate(columns)
    return Coupling(
        start=np.searchsorted(rows, np.arange(coefficients.shape[1] + 1)),
        component=components,
        term_start=np.searchsorted(element, np.arange(len(rows) + 1)),
        harmonic=harmonic,
        value=coefficients[harmonic, rows[element], components[element]].astype(np.float32),
        weight=np.asarray(weight_of_row),
    )


def sort_neighbours(pairs: Array, parity: Array, *, n_atoms: int) -> Neighbours:
    """Both directions of pairs of shape (2, pairs)."""
    receivers, senders = np.concatenate([pairs, pairs[::-1]], axis=1)
    order = np.argsort(receivers, kind="stable")
    pair = np.tile(np.arange(pairs.shape[1]), 2)[order]
    sign = np.where((order < pairs.shape[1])[:, None], np.float32(1), parity[None, :])
    start = np.searchsorted(receivers[order], np.arange(n_atoms + 1))
    return Neighbours(start, np.ascontiguousarray(senders[order]), pair, np.ascontiguousarray(sign, dtype=np.float32))


@compiled
def collect(  # noqa: C901, PLR0917 (one loop: a call inside would cost half of the speed)
    features: Array, harmonics: Array, weights: Array, neighbours: Neighbours, coupling: Coupling, collected: Array
) -> None:
    """Add to each atom what arrives from its neighbours, shape (atoms, rows, channels)."""
    n_channels = features.shape[2]
    moved = np.empty(n_channels, np.float32)
    along = np.empty(harmonics.shape[1], np.float32)
    for atom in range(len(neighbours.start) - 1):
        for edge in range(neighbours.start[atom], neighbours.start[atom + 1]):
            sent, pair = features[neighbours.sender[edge]], neighbours.pair[edge]
            for harmonic in range(len(along)):
                along[harmonic] = harmonics[pair, harmonic] * neighbours.sign[edge, harmonic]
            for row in range(len(coupling.start) - 1):
                weight = weights[pair, coupling.weight[row] : coupling.weight[row] + n_channels]
                arrived = collected[atom, row]
                for u in range(n_channels):
                    moved[u] = 0.0
                for element in range(coupling.start[row], coupling.start[row + 1]):
                    matrix = np.float32(0.0)
                    for term in range(coupling.term_start[element], coupling.term_start[element + 1]):
                        matrix += coupling.value[term] * along[coupling.harmonic[term]]
                    part = sent[coupling.component[element]]
                    for u in range(n_channels):
                        moved[u] += matrix * part[u]
                for u in range(n_channels):
                    arrived[u] += weight[u] * moved[u]


@compiled
def distribute(  # noqa: C901, PLR0917 (as above)
    features: Array,
    harmonics: Array,
    weights: Array,
    neighbours: Neighbours,
    coupling: Coupling,
    gradient: Array,
    by_features: Array,
    by_harmonics: Array,
    by_weights: Array,
) -> None:
    """Add the derivatives by features, harmonics and weights to what is there."""
    n_channels = features.shape[2]
    moved, weighted = np.empty(n_channels, np.float32), np.empty(n_channels, np.float32)
    along, by_along = np.empty(harmonics.shape[1], np.float32), np.empty(harmonics.shape[1], np.float32)
    for atom in range(len(neighbours.start) - 1):
        for edge in range(neighbours.start[atom], neighbours.start[atom + 1]):
            sender, pair = neighbours.sender[edge], neighbours.pair[edge]
            sent, by_sent = features[sender], by_features[sender]
            for harmonic in range(len(along)):
                along[harmonic] = harmonics[pair, harmonic] * neighbours.sign[edge, harmonic]
                by_along[harmonic] = 0.0
            for row in range(len(coupling.start) - 1):
                begin, end = coupling.weight[row], coupling.weight[row] + n_channels
                weight, by_weight, arrived = weights[pair, begin:end], by_weights[pair, begin:end], gradient[atom, row]
                for u in range(n_channels):
                    weighted[u] = weight[u] * arrived[u]
                for u in range(n_channels):
                    moved[u] = 0.0
                for element in range(coupling.start[row], coupling.start[row + 1]):
                    matrix, by_matrix = np.float32(0.0), np.float32(0.0)
                    for term in range(coupling.term_start[element], coupling.term_start[element + 1]):
                        matrix += coupling.value[term] * along[coupling.harmonic[term]]
                    part, by_part = sent[coupling.component[element]], by_sent[coupling.component[element]]
                    for u in range(n_channels):
                        moved[u] += matrix * part[u]
                        by_part[u] += matrix * weighted[u]
                        by_matrix += weighted[u] * part[u]
                    for term in range(coupling.term_start[element], coupling.term_start[element + 1]):
                        by_along[coupling.harmonic[term]] += by_matrix * coupling.value[term]
                for u in range(n_channels):
                    by_weight[u] += arrived[u] * moved[u]
            for harmonic in range(len(along)):
                by_harmonics[pair, harmonic] += by_along[harmonic] * neighbours.sign[edge, harmonic]

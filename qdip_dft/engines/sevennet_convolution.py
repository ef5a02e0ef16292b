r"""SevenNet's convolution in one step: gather, tensor product and sum over neighbours, forwards and backwards.

Atom i collects from its neighbours j, for each path (l₁, l₂ → l₃) of an equivariant network and each channel u,

.. math:: o_i^{u,l_3 m_3} = \sum_j w_{ij}^u \sum_{m_1} M_{ij}^{m_3 m_1} x_j^{u,l_1 m_1}, \qquad
          M_{ij}^{m_3 m_1} = \sum_{m_2} C^{m_1 m_2 m_3} Y_{l_2 m_2}(\mathbf r_{ij})

with Wigner's 3j coefficients C (times the constant of the path), spherical harmonics Y and radial weights w (Batzner et
al., Nat. Commun. 2022, 13, 2453; Park et al., J. Chem. Theory Comput. 2024, 20, 4857).  e3nn evaluates every path of
every pair on its own and stores each intermediate for the gradient.  Here all paths that start from one l₁ are one
small matrix M per pair, and channels lie side by side in memory.  With
:math:`g = \partial E/\partial o` the gradients are

.. math:: \frac{\partial E}{\partial x_j} = \sum_i M^T (w g_i), \quad
          \frac{\partial E}{\partial w_{ij}} = \sum_{m_3} g_i (M x_j), \quad
          \frac{\partial E}{\partial M_{ij}} = \sum_u (w g_i) x_j^T

and :math:`\partial E/\partial Y` follows from the last one with C.  That is all that forces and stress need; there is
no second derivative, so such a network cannot be trained.

Each pair of atoms stands once in the graph and is used in both directions, with the same w and
:math:`Y_l(-\mathbf r) = (-1)^l Y_l(\mathbf r)`: the radial network runs over half of the directed pairs.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from e3nn.o3 import wigner_3j
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class Path:
    """One product l₁ × l₂ → l₃: its first radial weight, its rows of M and where its result belongs."""

    first_weight: int
    rows: slice
    output: slice


@dataclass(frozen=True)
class InputGroup:
    """All paths that start from the same block of features.

    Parameters
    ----------
    features
        Columns of the block in the node features.
    n_channels
        Number of channels u.
    n_components
        Number of components m₁.
    coupling
        C of all paths, shape (components of Y, rows of M × components m₁).
    paths
        The paths.
    """

    features: slice
    n_channels: int
    n_components: int
    coupling: Tensor
    paths: tuple[Path, ...]

    @cached_property
    def elements(self) -> Any:
        """The same couplings as the compiled loops want them."""
        from qdip_dft.engines.sevennet_kernels import list_coupling

        weight_of_row = np.zeros(self.n_rows, dtype=np.int64)
        for path in self.paths:
            weight_of_row[path.rows] = path.first_weight
        return list_coupling(self.coupling.view(-1, self.n_rows, self.n_components).numpy(), weight_of_row)

    @property
    def n_rows(self) -> int:
        """Number of rows of M."""
        return int(self.paths[-1].rows.stop)

    def channels_last(self, features: Tensor) -> Tensor:
        """Features of the block, shape (atoms, components, channels)."""
        block = features[:, self.features].reshape(len(features), self.n_channels, self.n_components)
        return block.transpose(1, 2).contiguous()

    def rows_of_output(self, output: Tensor) -> Tensor:
        """The part of an output that the block feeds, shape (atoms, rows, channels)."""
        shape = (len(output), self.n_channels, -1)
        return torch.cat([output[:, path.output].reshape(shape).transpose(1, 2) for path in self.paths], dim=1)


@dataclass(frozen=True, slots=True)
class Paths:
    """The tensor product of a convolution: its paths by input, and the parity (−1)^l of each component of Y."""

    groups: tuple[InputGroup, ...]
    parity: Tensor
    n_outputs: int


def paths_of(product: Any) -> Paths:
    """The paths of an e3nn tensor product whose weights lie in the order of its instructions."""
    first_weight = 0
    by_input: dict[int, list[tuple[Any, int]]] = {}
    for instruction in product.instructions:
        by_input.setdefault(instruction.i_in1, []).append((instruction, first_weight))
        first_weight += product.irreps_in1[instruction.i_in1].mul
    parity = [(-1.0) ** irrep.l for _, irrep in product.irreps_in2 for _ in range(irrep.dim)]
    return Paths(
        groups=tuple(_group(product, block, instructions) for block, instructions in by_input.items()),
        parity=torch.tensor(parity),
        n_outputs=product.irreps_out.dim,
    )


def _group(product: Any, block: int, instructions: list[tuple[Any, int]]) -> InputGroup:
    n_channels, irrep = product.irreps_in1[block]
    couplings, paths, row = [], [], 0
    for instruction, first_weight in instructions:
        coupling = _coupling(product, instruction)
        couplings.append(coupling)
        paths.append(
            Path(
                first_weight=first_weight,
                rows=slice(row, row + coupling.shape[1]),
                output=product.irreps_out.slices()[instruction.i_out],
            )
        )
        row += coupling.shape[1]
    return InputGroup(
        features=product.irreps_in1.slices()[block],
        n_channels=n_channels,
        n_components=irrep.dim,
        coupling=torch.cat(couplings, dim=1).flatten(1),
        paths=tuple(paths),
    )


def _coupling(product: Any, instruction: Any) -> Tensor:
    """C of one path, shape (components of Y, components m₃, components m₁)."""
    irreps = product.irreps_in1[instruction.i_in1].ir, product.irreps_in2[instruction.i_in2].ir
    l_out = product.irreps_out[instruction.i_out].ir.l
    coupling = torch.zeros(product.irreps_in2.dim, 2 * l_out + 1, irreps[0].dim)
    wigner = wigner_3j(irreps[0].l, irreps[1].l, l_out).permute(1, 2, 0)
    coupling[product.irreps_in2.slices()[instruction.i_in2]] = wigner * instruction.path_weight
    return coupling


class _Convolve(torch.autograd.Function):
    """The sum over neighbours of every path, in both directions of each pair."""

    @staticmethod
    def forward(  # noqa: PLR0917 (autograd hands its arguments over by position)
        context: Any, features: Tensor, harmonics: Tensor, weights: Tensor, pairs: Tensor, paths: Paths
    ) -> Tensor:
        """The convolved features, shape (atoms, outputs)."""
        from qdip_dft.engines.sevennet_kernels import collect, sort_neighbours

        neighbours = sort_neighbours(pairs.numpy(), paths.parity.numpy(), n_atoms=len(features))
        context.save_for_backward(features, harmonics, weights)
        context.paths, context.neighbours = paths, neighbours
        output = features.new_empty(len(features), paths.n_outputs)
        for group in paths.groups:
            incoming = group.channels_last(features)
            collected = features.new_zeros(len(features), group.n_rows, group.n_channels)
            arrays = (incoming.numpy(), harmonics.numpy(), weights.numpy())
            collect(*arrays, neighbours, group.elements, collected.numpy())
            for path in group.paths:
                output[:, path.output] = collected[:, path.rows].transpose(1, 2).flatten(1)
        return output

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """The derivatives by features, harmonics and weights."""
        from qdip_dft.engines.sevennet_kernels import distribute

        features, harmonics, weights = context.saved_tensors
        by_features, by_harmonics, by_weights = map(torch.zeros_like, (features, harmonics, weights))
        for group in context.paths.groups:
            incoming, outgoing = group.channels_last(features), group.rows_of_output(gradient)
            by_incoming = torch.zeros_like(incoming)
            arrays = (incoming.numpy(), harmonics.numpy(), weights.numpy())
            derivatives = (by_incoming.numpy(), by_harmonics.numpy(), by_weights.numpy())
            distribute(*arrays, context.neighbours, group.elements, outgoing.numpy(), *derivatives)
            by_features[:, group.features] = by_incoming.transpose(1, 2).flatten(1)
        return by_features, by_harmonics, by_weights, None, None


def can_compile() -> bool:
    """Whether the loops can be compiled: numba is there and may keep what it compiles."""
    try:
        import qdip_dft.engines.sevennet_kernels  # noqa: F401
    except (ImportError, RuntimeError):
        return False
    return True


class PairConvolution(nn.Module):
    """A convolution of SevenNet over pairs that stand once in the graph, with the weights of the original."""

    def __init__(self, original: Any) -> None:
        super().__init__()
        self.original = original
        self.paths = paths_of(original.convolution)

    def forward(self, data: dict[str, Tensor]) -> dict[str, Tensor]:
        """Replace the node features by those that arrive from the neighbours."""
        original = self.original
        weights = original.weight_nn(data[original.key_weight_input])
        arguments = data[original.key_x], data[original.key_filter], weights, data[original.key_edge_idx], self.paths
        convolve: Any = _Convolve.apply
        data[original.key_x] = convolve(*arguments) / original.denominator
        return data


def is_known(module: Any) -> bool:
    """Whether a module is the convolution that is described here, with the parts that are used of it."""
    product: Any = getattr(module, "convolution", None)
    instructions = getattr(product, "instructions", ())
    return (
        type(module).__name__ == "IrrepsConvolution"
        and not getattr(module, "is_parallel", True)
        and all(hasattr(module, name) for name in PARTS)
        and len(instructions) > 0
        and all(step.connection_mode == "uvu" and step.has_weight for step in instructions)
        and all(multiplicity == 1 for multiplicity, _ in product.irreps_in2)
    )


PARTS = ("weight_nn", "denominator", "key_x", "key_filter", "key_weight_input", "key_edge_idx")

"""SevenNet on a processor: its graph, its fast convolutions, several structures in one evaluation."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sevenn import _keys as keys
from sevenn.calculator import SevenNetCalculator
from sevenn.train.dataload import unlabeled_atoms_to_graph

from qdip_dft.engines.evaluation import Evaluation, FloatArray
from qdip_dft.engines.repeatable import repeatable
from qdip_dft.engines.sevennet_convolution import PairConvolution, can_compile, is_known
from qdip_dft.model.structure import Arrangement
from qdip_dft.runtime.quiet import third_parties_silent

ENERGY_AGREEMENT_EV = 1e-5
FORCE_AGREEMENT_EV_PER_ANG = 1e-4
"""The fast convolutions are used only where they agree with the package's own to rounding on a test structure."""

MOST_ATOMS_PER_GRAPH = 2000
"""So many atoms need some 3 GB with the package's own convolutions."""

PROBE = Arrangement(
    species=("Cs", "Pb", "I", "I", "I", "N", "H"),
    positions_ang=6.3
    * np.array(
        [
            [0.02, 0.01, 0.05],
            [0.48, 0.52, 0.50],
            [0.51, 0.46, 0.03],
            [0.03, 0.50, 0.47],
            [0.55, 0.02, 0.52],
            [0.24, 0.27, 0.22],
            [0.38, 0.21, 0.25],
        ]
    ),
    lattice_ang=np.array([[6.3, 0.0, 0.0], [0.2, 6.4, 0.0], [-0.1, 0.3, 6.2]]),
)
"""A low-symmetry cell with long and short bonds, in which every path of the network carries something."""


@dataclass(frozen=True, slots=True)
class SevenNet:
    """A potential that evaluates several structures at once.

    Parameters
    ----------
    model
        The network.
    cutoff_ang
        Longest distance of two neighbours in Å.
    known
        Atomic numbers of the elements on which it was trained.
    takes_pairs_once
        Whether its convolutions use each pair of atoms in both directions.
    device
        Where it runs.
    modal
        Number of the functional that a network for several shall speak for.
    """

    model: Any
    cutoff_ang: float
    known: frozenset[int]
    takes_pairs_once: bool
    device: str = "cpu"
    modal: int | None = None

    def __call__(self, arrangement: Arrangement) -> Evaluation:
        """Evaluate one structure."""
        return self.evaluate_many([arrangement])[0]

    def evaluate_many(self, arrangements: Sequence[Arrangement]) -> list[Evaluation]:
        """Evaluate structures as one graph without edges between them, or as several when they are too large for it."""
        return [evaluation for some in _portions(arrangements) for evaluation in self._evaluate_graph(some)]

    def _evaluate_graph(self, arrangements: Sequence[Arrangement]) -> list[Evaluation]:
        graphs = [_graph_of(arrangement, self.cutoff_ang, once=self.takes_pairs_once) for arrangement in arrangements]
        joined = {name: tensor.to(self.device) for name, tensor in _joined(graphs).items()}
        if self.modal is not None:
            joined[keys.MODAL_TYPE] = torch.full((len(graphs),), self.modal, device=self.device)
        with third_parties_silent(), repeatable():
            output = self.model(joined)
        return _evaluations(output, [arrangement.n_atoms for arrangement in arrangements])


def _portions(arrangements: Sequence[Arrangement]) -> Iterator[list[Arrangement]]:
    """Arrangements in their order, as many at a time as fit into one graph."""
    portion: list[Arrangement] = []
    for arrangement in arrangements:
        if portion and sum(each.n_atoms for each in [*portion, arrangement]) > MOST_ATOMS_PER_GRAPH:
            yield portion
            portion = []
        portion.append(arrangement)
    if portion:
        yield portion


def load_sevennet(weights: Path, *, device: str = "cpu", modal: str | None = None) -> SevenNet:
    """The network of a weights file, on a processor with fast convolutions where they fit its package."""
    with third_parties_silent():
        calculator = SevenNetCalculator(model=str(weights), device=device, modal=modal)
    model = calculator.model
    model.set_is_batch_data(True)
    model.eval_modal_map = False
    model.requires_grad_(False)
    index = None if modal is None else (model.modal_map or {})[modal]
    original = SevenNet(
        model, calculator.cutoff, frozenset(calculator.type_map), takes_pairs_once=False, device=device, modal=index
    )
    return original if device != "cpu" else _hasten(original)


def _hasten(original: SevenNet) -> SevenNet:
    """Replace the convolutions of a network if they are known and the numbers stay."""
    model, expected = original.model, original(PROBE)
    convolutions = {name: module for name, module in model.named_children() if name.endswith("_convolution")}
    if convolutions and all(map(is_known, convolutions.values())) and can_compile():
        _replace(model, {name: PairConvolution(module) for name, module in convolutions.items()})
        fast = replace(original, takes_pairs_once=True)
        if _agree(fast(PROBE), expected):
            return fast
        _replace(model, convolutions)
    warnings.warn(NOT_FAST, RuntimeWarning, stacklevel=2)
    return original


NOT_FAST = (
    "SevenNet runs several times slower than it could: numba is missing or may keep nothing on disk, or the installed "
    "sevenn or e3nn is not one whose convolution is known here; the numbers are the same"
)


def _replace(model: Any, modules: dict[str, Any]) -> None:
    for name, module in modules.items():
        setattr(model, name, module)


def _agree(fast: Evaluation, expected: Evaluation) -> bool:
    energy_ev = abs(fast.energy_ev - expected.energy_ev)
    force = np.abs(fast.forces_ev_per_ang - expected.forces_ev_per_ang).max()
    return bool(energy_ev <= ENERGY_AGREEMENT_EV and force <= FORCE_AGREEMENT_EV_PER_ANG)


def _graph_of(arrangement: Arrangement, cutoff_ang: float, *, once: bool) -> dict[str, Any]:

    atoms = arrangement.to_ase()
    graph: dict[str, Any] = unlabeled_atoms_to_graph(atoms, cutoff_ang)
    if once:
        kept = _appears_once(graph[keys.EDGE_IDX], graph[keys.EDGE_VEC])
        graph |= {keys.EDGE_IDX: graph[keys.EDGE_IDX][:, kept], keys.EDGE_VEC: graph[keys.EDGE_VEC][kept]}
    return graph


def _appears_once(pairs: Any, vectors_ang: FloatArray) -> Any:
    """Keep of (i, j, r) and (j, i, −r) the one with i < j; of an atom and its image the one with r upwards."""
    first, second = pairs
    x, y, z = vectors_ang.T
    upwards = np.where(x != 0, x, np.where(y != 0, y, z)) > 0
    return (first < second) | ((first == second) & upwards)


def _joined(graphs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Several graphs as one, with the number of the structure of each atom."""
    sizes = [len(graph[keys.ATOMIC_NUMBERS]) for graph in graphs]
    starts = np.cumsum([0, *sizes[:-1]])
    pairs = [graph[keys.EDGE_IDX] + start for graph, start in zip(graphs, starts, strict=True)]
    single = torch.get_default_dtype()
    return {
        keys.ATOMIC_NUMBERS: torch.as_tensor(np.concatenate([graph[keys.ATOMIC_NUMBERS] for graph in graphs])),
        keys.EDGE_IDX: torch.as_tensor(np.concatenate(pairs, axis=1)),
        keys.EDGE_VEC: torch.as_tensor(np.concatenate([graph[keys.EDGE_VEC] for graph in graphs])).to(single),
        keys.CELL_VOLUME: torch.tensor([float(graph[keys.CELL_VOLUME]) for graph in graphs]),
        keys.NUM_ATOMS: torch.tensor(sizes),
        keys.BATCH: torch.arange(len(graphs)).repeat_interleave(torch.tensor(sizes)),
    }


def _evaluations(output: dict[str, Any], sizes: list[int]) -> list[Evaluation]:
    """Energies summed in double precision, forces and stresses by structure."""
    energies = np.split(output[keys.ATOMIC_ENERGY].detach().cpu().numpy().ravel(), np.cumsum(sizes)[:-1])
    forces = np.split(output[keys.PRED_FORCE].detach().cpu().numpy(), np.cumsum(sizes)[:-1])
    stresses = -output[keys.PRED_STRESS].detach().cpu().numpy()[:, [[0, 3, 5], [3, 1, 4], [5, 4, 2]]]
    return [
        Evaluation(float(np.sum(energy, dtype=np.float64)), force.astype(np.float64), stress.astype(np.float64))
        for energy, force, stress in zip(energies, forces, stresses, strict=True)
    ]

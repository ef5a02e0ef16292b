r"""A toy potential for trying flows in seconds; its numbers mean nothing.

Every pair of atoms feels a Morse potential that is switched off smoothly:

.. math:: E = \sum_{i<j} D \left[ (1 - e^{-a (r - r_0)})^2 - 1 \right] s(r)

with the switch :math:`s = 1 - 10x^3 + 15x^4 - 6x^5`, :math:`x = (r - r_{on}) / (r_{off} - r_{on})`.  Depth, steepness
and distance follow from what the two elements are: the bonds of organic cations are deep and narrow wells, a metal and
a non-metal attract at about the sum of their ionic radii, atoms of the same kind keep apart.  The energy is a smooth,
extensive function of the positions alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from qdip_dft.engines.base import RELAXATIONS, Feature
from qdip_dft.engines.evaluation import Evaluation, FloatArray, Potential
from qdip_dft.engines.potential import PotentialEngine
from qdip_dft.engines.preset import POTENTIAL_SETTINGS, load_preset, override_preset, relaxation_settings_of
from qdip_dft.engines.relaxation.descent import OPTIMISER
from qdip_dft.errors import EngineError
from qdip_dft.model.calculation import Level, LevelOfTheory
from qdip_dft.model.elements import ANIONS, ORGANIC_ELEMENTS, covalent_radii_ang
from qdip_dft.model.engine import Dispersion, EngineSpec
from qdip_dft.model.neighbours import Pairs, find_pairs
from qdip_dft.model.structure import Arrangement

MODEL_VERSION = "2"
"""Raised whenever an energy of this potential changes."""

SWITCH_ON_ANG = 5.0
SWITCH_OFF_ANG = 6.0

BOND_LENGTHS_ANG: dict[frozenset[str], float] = {
    frozenset({"C", "N"}): 1.35,
    frozenset({"C", "H"}): 1.09,
    frozenset({"N", "H"}): 1.02,
    frozenset({"C"}): 1.45,
    frozenset({"C", "O"}): 1.30,
    frozenset({"O", "H"}): 0.98,
    frozenset({"P"}): 2.24,
}
"""Covalent bonds that hold."""

CONTACTS_ANG: dict[frozenset[str], float] = {
    frozenset({"H"}): 1.85,
    frozenset({"N"}): 2.40,
}
"""Distances of atoms that are bonded to the same atom of an organic cation."""


LONGEST_CONTACT_ANG = 4.6
"""Atoms that do not attract rest at most this far apart, well inside the cutoff."""


@dataclass(frozen=True, slots=True)
class Morse:
    """One well: its depth in eV, its steepness in 1/Å and where it lies in Å."""

    depth_ev: float
    steepness_per_ang: float
    distance_ang: float


@dataclass(frozen=True)
class TestingEngine(PotentialEngine):
    """The toy potential behind the engine contract, some milliseconds for a hundred atoms."""

    __test__ = False  # not a test case, whatever its name suggests to pytest

    name: ClassVar[str] = "testing"
    features: ClassVar[frozenset[Feature]] = RELAXATIONS

    @classmethod
    def from_spec(cls, spec: EngineSpec) -> TestingEngine:
        """Return the engine that a study asks for; the preset's dispersion has no meaning here."""
        preset = override_preset(load_preset(spec.preset), spec.settings, allowed=POTENTIAL_SETTINGS)
        engine = cls(relaxation=relaxation_settings_of(preset, optimiser=OPTIMISER))
        if spec.dispersion not in (None, Dispersion.NONE):
            engine.require(Feature.D3BJ)
        if spec.potential not in (None, "morse"):
            raise _unknown_potential(str(spec.potential))
        return engine

    def theory(self) -> LevelOfTheory:
        """Return the level of theory: none."""
        return LevelOfTheory(
            level=Level.TEST,
            engine=self.name,
            code="morse",
            code_version=MODEL_VERSION,
            functional="none",
            dispersion=Dispersion.NONE.value,
            weights_hash="",
        )

    def load_potential(self) -> Potential:
        """Return the potential."""
        return evaluate_morse

    def seconds_per_force_call(self, n_atoms: int) -> float:
        """Return the rough time of one force evaluation in s."""
        return 0.001 + 5e-5 * n_atoms


def evaluate_morse(arrangement: Arrangement) -> Evaluation:
    """Return the toy energy of a periodic structure with its forces and stress."""
    pairs = find_pairs(arrangement.positions_ang, arrangement.lattice_ang, cutoff_ang=SWITCH_OFF_ANG)
    energies_ev, slopes_ev_per_ang = _pair_energies(pairs, arrangement.species)
    pull = (slopes_ev_per_ang / pairs.distances_ang)[:, None] * pairs.vectors_ang
    forces = np.zeros((arrangement.n_atoms, 3))
    np.add.at(forces, pairs.first, pull)
    np.add.at(forces, pairs.second, -pull)
    return Evaluation(
        energy_ev=float(energies_ev.sum()),
        forces_ev_per_ang=forces,
        stress_ev_per_ang3=pairs.vectors_ang.T @ pull / arrangement.volume_ang3,
    )


def _pair_energies(pairs: Pairs, species: tuple[str, ...]) -> tuple[FloatArray, FloatArray]:
    """Return energy in eV and its derivative by the distance in eV/Å of each pair."""
    depth, steepness, distance = _parameters_of_pairs(pairs, species)
    decay = np.exp(-steepness * (pairs.distances_ang - distance))
    well = depth * ((1 - decay) ** 2 - 1)
    well_slope = 2 * depth * steepness * (1 - decay) * decay
    switch, switch_slope = _switch_off(pairs.distances_ang)
    return well * switch, well_slope * switch + well * switch_slope


def _switch_off(distances_ang: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the switch, 1 inside and 0 outside with two continuous derivatives, and its slope in 1/Å."""
    width_ang = SWITCH_OFF_ANG - SWITCH_ON_ANG
    x = np.clip((distances_ang - SWITCH_ON_ANG) / width_ang, 0.0, 1.0)
    return 1 - x**3 * (10 - 15 * x + 6 * x**2), -30 * x**2 * (1 - x) ** 2 / width_ang


def _parameters_of_pairs(pairs: Pairs, species: tuple[str, ...]) -> tuple[FloatArray, FloatArray, FloatArray]:
    elements = sorted(set(species))
    kind: NDArray[np.int64] = np.array([elements.index(symbol) for symbol in species])
    table = _parameter_table(tuple(elements))[kind[pairs.first], kind[pairs.second]]
    return table[:, 0], table[:, 1], table[:, 2]


@cache
def _parameter_table(elements: tuple[str, ...]) -> FloatArray:
    """Return depth, steepness and distance for each pair of elements, shape (elements, elements, 3)."""
    wells = [[morse_of(one, other) for other in elements] for one in elements]
    return np.array([[(w.depth_ev, w.steepness_per_ang, w.distance_ang) for w in row] for row in wells])


def morse_of(one: str, other: str) -> Morse:
    """Return the well of two elements."""
    pair = frozenset({one, other})
    radii_ang = float(covalent_radii_ang((one, other)).sum())
    if pair in BOND_LENGTHS_ANG:
        return Morse(depth_ev=4.0, steepness_per_ang=3.5, distance_ang=BOND_LENGTHS_ANG[pair])
    if pair in CONTACTS_ANG:
        return Morse(depth_ev=0.1, steepness_per_ang=2.0, distance_ang=CONTACTS_ANG[pair])
    if _is_metal(one) != _is_metal(other) and pair & ANIONS:
        return Morse(depth_ev=1.0, steepness_per_ang=1.3, distance_ang=1.14 * radii_ang)
    if "H" in pair and pair & ANIONS:
        return Morse(depth_ev=0.2, steepness_per_ang=1.5, distance_ang=1.55 * radii_ang)
    return Morse(depth_ev=0.05, steepness_per_ang=1.2, distance_ang=min(1.55 * radii_ang, LONGEST_CONTACT_ANG))


def _is_metal(symbol: str) -> bool:
    return symbol not in ANIONS | ORGANIC_ELEMENTS | {"P"}


def _unknown_potential(name: str) -> EngineError:
    return EngineError(
        f"engine 'testing' has no potential {name!r}",
        limit="it has morse",
        why="without a potential there are no energies",
        remedy="leave `potential` out or set it to `morse`",
    )

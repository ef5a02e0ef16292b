"""Bulk energies that are known from elsewhere, and how a result is anchored to them.

A machine-learned potential gets the difference of two bulk energies most wrong, and the literature knows it best.
Where a reference ΔE_ref = E(p) − E(q) exists for two phases of a study, every comparison of them uses

    e_bulk(q) + shift(q),     shift(q) = [e_bulk(p) − e_bulk(q)]_engine − ΔE_ref,

in eV per formula unit, so that black − competitor has the reference for its bulk term.  Strain, surface and binding
stay those of the engine; the shift is zero for the first phase of the study, and the engine's own terms are kept.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from pydantic import Field, model_validator

from qdip_dft.model.base import Record
from qdip_dft.units import MEV_PER_EV


class BulkChoice(StrEnum):
    """Where the difference of the bulk energies comes from."""

    ANCHORED = "anchored"
    """From the references of the crystal library, where these link all phases of the study; else from the engine."""
    ENGINE = "engine"
    """From the engine, like the other terms."""


class PhaseReference(Record):
    """By how much one phase of a material lies above another as bulk.

    Parameters
    ----------
    phase, relative_to
        The phases, as ids of the crystal library.
    value_mev_per_fu
        E(phase) − E(relative_to) in meV per formula unit; at 0 K without zero-point energy.
    uncertainty_mev_per_fu
        Its standard uncertainty.
    level
        How it was found, such as ``PBE-D3(BJ)``.
    temperature_k
        0: difference of two minima of the energy; above: difference of two free energies.
    volumes_ang3_per_fu
        Volume of a formula unit of both phases in Å³ in the source; None: not given.
    source, note
        Where it was read, and what its uncertainty is made of.
    """

    phase: str
    relative_to: str
    value_mev_per_fu: float
    uncertainty_mev_per_fu: float = Field(gt=0)
    level: str = Field(min_length=1)
    temperature_k: float = Field(ge=0)
    volumes_ang3_per_fu: tuple[float, float] | None = None
    source: str = Field(min_length=1)
    note: str = ""

    @model_validator(mode="after")
    def _is_a_pair(self) -> PhaseReference:
        if self.phase == self.relative_to:
            raise ValueError(f"{self.phase} is compared with itself")
        return self

    @property
    def value_ev_per_fu(self) -> float:
        """E(phase) − E(relative_to) in eV per formula unit."""
        return self.value_mev_per_fu / MEV_PER_EV

    @property
    def uncertainty_ev_per_fu(self) -> float:
        """Its standard uncertainty in eV per formula unit."""
        return self.uncertainty_mev_per_fu / MEV_PER_EV


class References(Record):
    """The references of the crystal library."""

    schema_version: Literal[1] = 1
    references: tuple[PhaseReference, ...]

    @model_validator(mode="after")
    def _pairs_are_unique(self) -> References:
        pairs = [(frozenset((each.phase, each.relative_to)), each.temperature_k) for each in self.references]
        repeated = next((sorted(pair) for pair, at in pairs if pairs.count((pair, at)) > 1), None)
        if repeated is not None:
            raise ValueError(f"two references for one pair, {' and '.join(repeated)}")
        return self


class AnchoredPair(Record):
    """Two phases of a study whose difference is taken from a reference.

    Parameters
    ----------
    phase, relative_to
        The phases as the study names them.
    reference
        What is known of them.
    engine_ev_per_fu
        The engine's own E(phase) − E(relative_to) in eV per formula unit.
    volumes_ang3_per_fu
        Volume of a formula unit of both, as relaxed by the engine, in Å³; None where one is not known.
    """

    phase: str
    relative_to: str
    reference: PhaseReference
    engine_ev_per_fu: float
    volumes_ang3_per_fu: tuple[float, float] | None = None


class BulkBasis(Record):
    """Where the bulk term of a result comes from.

    Parameters
    ----------
    pairs
        The references that were used; none: the bulk is that of the engine.
    finding
        The same in words, or why there is no reference.
    """

    pairs: tuple[AnchoredPair, ...] = ()
    finding: str

    @property
    def is_anchored(self) -> bool:
        """Whether references stand for the bulk term."""
        return bool(self.pairs)

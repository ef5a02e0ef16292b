"""Which engine does which step of a study."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from monty.json import MSONable

from qdip_dft.flows.steps import Stage, Step
from qdip_dft.model.calculation import Level, combine_levels

if TYPE_CHECKING:
    from qdip_dft.engines.base import Engine


@dataclass(frozen=True)
class StudyEngines(MSONable):
    """The engines of a study.

    Parameters
    ----------
    energy
        Gives the energies that enter the terms.
    geometry
        Relaxes; None: the same, without spin-orbit coupling.
    prerelaxation
        Relaxes before; None: nothing does.
    registry
        Does the registry scans; None: the engine of the energies.
    by_tag
        Engines that take the place of the first in the steps of a tag (`StudySteps.tag`): finer presets, other models.
    """

    energy: Engine
    geometry: Engine | None = None
    prerelaxation: Engine | None = None
    registry: Engine | None = None
    by_tag: dict[str, Engine] = field(default_factory=dict)

    @property
    def relaxing(self) -> Engine:
        """Return the engine of the relaxations."""
        return self.geometry or self.energy.for_relaxations()

    @property
    def registry_engine(self) -> Engine:
        """The engine of the registry scans."""
        return self.registry or self.energy

    @property
    def can_check_minima(self) -> bool:
        """Whether relaxations are cheap enough to see whether each bulk is a minimum: those of a potential."""
        from qdip_dft.engines.potential import PotentialEngine

        return isinstance(self.relaxing, PotentialEngine)

    @property
    def level(self) -> Level:
        """Return how far the study's numbers may be trusted."""
        return combine_levels(self.energy.theory().level, self.relaxing.theory().level)

    def of(self, step: Step) -> Engine:
        """Return the engine of a step."""
        if step.stage is Stage.PRERELAXATION and self.prerelaxation is not None:
            return self.prerelaxation
        energy = self.by_tag.get(step.id.variation, self.energy)
        return energy if step.stage is Stage.STATIC else self.geometry or energy.for_relaxations()

    def by_purpose(self) -> Iterator[tuple[str, Engine]]:
        """Yield the engines that differ from that of the energies, with what they are for."""
        if self.prerelaxation is not None:
            yield "pre-relaxation", self.prerelaxation
        if self.relaxing is not self.energy:
            yield "geometry", self.relaxing

"""Which engine does which step of a study."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from monty.json import MSONable

from qdip_dft.engines.base import run_elsewhere
from qdip_dft.flows.steps import BULKS, Stage, Step
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
        """Return the engine of a step; bulks stay the crystals that they are and are not searched for lower minima."""
        energy = self.by_tag.get(step.id.variation, self.energy)
        if step.stage is Stage.STATIC:
            return energy
        engine = self.geometry or energy.for_relaxations()
        if step.stage is Stage.PRERELAXATION and self.prerelaxation is not None:
            engine = self.prerelaxation
        if step.part not in BULKS or not engine.relaxation.search_tries:
            return engine
        return replace(engine, relaxation=replace(engine.relaxation, search_tries=0))

    @property
    def all(self) -> tuple[Engine, ...]:
        """Every engine that may do a step, some of them perhaps more than once."""
        named = (self.energy, self.relaxing, self.prerelaxation, self.registry, *self.by_tag.values())
        return tuple(engine for engine in named if engine is not None)

    def require_own_runner(self) -> None:
        """Refuse to run or submit what a study leaves to atomate2.

        Raises
        ------
        EngineError
            If it leaves one of its codes to it.
        """
        for engine in self.all:
            if engine.is_run_by_atomate2:
                raise run_elsewhere(engine)

    def by_purpose(self) -> Iterator[tuple[str, Engine]]:
        """Yield the engines that differ from that of the energies, with what they are for."""
        if self.prerelaxation is not None:
            yield "pre-relaxation", self.prerelaxation
        if self.relaxing is not self.energy:
            yield "geometry", self.relaxing

"""Engines that are interatomic potentials: one function gives energy, forces and stress."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from time import perf_counter

from qdip_dft.engines.base import Engine, OnStep
from qdip_dft.engines.evaluation import (
    BatchPotential,
    Potential,
    evaluate_apart,
    evaluate_many_apart,
    require_finite,
    result_of,
)
from qdip_dft.engines.relaxation.descent import relax_structure, relaxation_steps
from qdip_dft.engines.relaxation.recorded import RecordedPotential, recording_folder
from qdip_dft.engines.relaxation.together import Relaxation, relax_together
from qdip_dft.errors import EngineError
from qdip_dft.model.calculation import EngineResult, Freedom
from qdip_dft.model.structure import StructureRecord

UNRECORDED_S = 5.0
"""So much work may be lost when a relaxation with a potential is killed; shorter ones write nothing."""


@dataclass(frozen=True)
class PotentialEngine(Engine):
    """An engine whose only part of its own is the potential; relaxation is shared."""

    @abstractmethod
    def load_potential(self) -> Potential:
        """Return the potential, loaded at most once per process."""

    def static(self, structure: StructureRecord) -> EngineResult:
        """Return energy, forces and stress of a structure as it stands."""
        self.require_sites(structure)
        start_s = perf_counter()
        arrangement = structure.arrangement
        evaluation = require_finite(evaluate_apart(self.load_potential(), arrangement), arrangement)
        return result_of(structure, evaluation, is_converged=True, n_steps=0, start_s=start_s)

    def static_many(self, structures: Sequence[StructureRecord]) -> list[EngineResult] | None:
        """Return energies, forces and stresses of structures evaluated at once; None where that brings nothing."""
        potential = self.load_potential()
        if not isinstance(potential, BatchPotential):
            return None
        start_s = perf_counter()
        arrangements = [structure.arrangement for structure in structures]
        evaluations = evaluate_many_apart(potential, arrangements)
        return [
            result_of(structure, require_finite(found, arrangement), is_converged=True, n_steps=0, start_s=start_s)
            for structure, arrangement, found in zip(structures, arrangements, evaluations, strict=True)
        ]

    def relax(self, structure: StructureRecord, freedom: Freedom, *, on_step: OnStep | None = None) -> EngineResult:
        """Return the relaxed structure with its energy."""
        self.require_freedom(freedom)
        self.require_sites(structure)
        folder = recording_folder(self, structure, freedom)
        with RecordedPotential(self.load_potential(), folder, every_s=UNRECORDED_S) as potential:
            return relax_structure(structure, freedom, potential=potential, settings=self.relaxation, on_step=on_step)

    def relax_many(self, structures: Sequence[StructureRecord], freedom: Freedom) -> list[EngineResult | EngineError]:
        """Return the relaxed structures in their order, or why there is none, all steps evaluated together."""
        self.require_freedom(freedom)
        potential = self.load_potential()
        with ExitStack() as stack:
            relaxations = [
                Relaxation(
                    steps=relaxation_steps(structure, freedom, settings=self.relaxation),
                    recorded=stack.enter_context(
                        RecordedPotential(potential, recording_folder(self, structure, freedom), every_s=UNRECORDED_S)
                    ),
                )
                for structure in structures
            ]
            return relax_together(relaxations, potential)

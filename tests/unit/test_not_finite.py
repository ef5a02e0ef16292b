"""Evaluations that are not finite in the middle of a relaxation are told of."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest

from qdip_dft.engines.evaluation import Evaluation
from qdip_dft.engines.registry import engine_from_spec
from qdip_dft.engines.relaxation.descent import relax_structure
from qdip_dft.engines.testing import TestingEngine
from qdip_dft.model.calculation import EngineResult, Freedom
from qdip_dft.model.engine import EngineSpec
from qdip_dft.model.structure import Arrangement
from tests.unit.test_dft import cubic

ENGINE = engine_from_spec(EngineSpec(name="testing"))


@dataclass
class Glitching:
    """The toy potential, not finite at some of its evaluations."""

    bad_calls: tuple[int, ...]
    what: str = "energy_ev"
    n_calls: int = 0

    def __call__(self, arrangement: Arrangement) -> Evaluation:
        """Evaluate, or fail to."""
        assert isinstance(ENGINE, TestingEngine)
        evaluation = ENGINE.load_potential()(arrangement)
        self.n_calls += 1
        if self.n_calls - 1 not in self.bad_calls:
            return evaluation
        value = np.nan if self.what == "energy_ev" else np.full(np.shape(getattr(evaluation, self.what)), np.inf)
        return replace(evaluation, **{self.what: value})


def relax(*bad_calls: int, what: str = "energy_ev") -> EngineResult:
    potential = Glitching(bad_calls, what)
    return relax_structure(cubic(6.0), Freedom.CELL, potential=potential, settings=ENGINE.relaxation)


@pytest.mark.parametrize("what", ["energy_ev", "forces_ev_per_ang", "stress_ev_per_ang3"])
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_an_evaluation_that_is_not_finite_leaves_a_note(what: str) -> None:
    found = relax(2, what=what)
    (note,) = (warning for warning in found.warnings if "no finite" in warning)
    assert note.startswith("1 of ")
    assert "(step 2;" in note
    assert found.energy_ev == pytest.approx(relax().energy_ev, abs=1e-3)


def test_every_such_step_is_counted_and_a_sound_relaxation_leaves_no_note() -> None:
    assert any("2 of " in warning and "step 1, 3" in warning for warning in relax(1, 3).warnings)
    assert not any("finite" in warning for warning in relax().warnings)

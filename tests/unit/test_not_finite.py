"""Evaluations that are not finite in the middle of a relaxation are told of."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from qdip_dft.engines.evaluation import Evaluation, evaluate_many_apart, result_of
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
    """The toy potential, not finite at some of the places that it is asked about; at first only, or for good."""

    bad_places: tuple[int, ...]
    what: str = "energy_ev"
    is_lasting: bool = True
    places: list[bytes] = field(default_factory=list)

    def __call__(self, arrangement: Arrangement) -> Evaluation:
        """Evaluate, or fail to."""
        assert isinstance(ENGINE, TestingEngine)
        evaluation = ENGINE.load_potential()(arrangement)
        place = arrangement.positions_ang.tobytes()
        is_new = place not in self.places
        self.places += [place] if is_new else []
        if self.places.index(place) not in self.bad_places or not (is_new or self.is_lasting):
            return evaluation
        value = np.nan if self.what == "energy_ev" else np.full(np.shape(getattr(evaluation, self.what)), np.inf)
        return replace(evaluation, **{self.what: value})


def relax(*bad_places: int, what: str = "energy_ev", is_lasting: bool = True) -> EngineResult:
    potential = Glitching(bad_places, what, is_lasting)
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


@pytest.mark.parametrize("bad_places", [(0,), (2,), (1, 3)])
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_a_fault_that_passes_changes_no_number_and_leaves_a_note(bad_places: tuple[int, ...]) -> None:
    found, sound = relax(*bad_places, what="forces_ev_per_ang", is_lasting=False), relax()
    assert found.energy_ev == sound.energy_ev
    assert found.structure == sound.structure
    (note,) = (warning for warning in found.warnings if "at first" in warning)
    assert note.startswith(f"{len(bad_places)} of ")


def test_a_single_energy_is_asked_for_again_and_says_so() -> None:
    potential = Glitching((0,), is_lasting=False)
    (found,) = evaluate_many_apart(potential, [cubic(6.0).arrangement])
    assert found.is_finite
    assert found.is_repeated
    result = result_of(cubic(6.0), found, is_converged=True, n_steps=0, start_s=0.0)
    assert [warning for warning in result.warnings if "at first" in warning]
    lasting = Glitching((0,))
    (found,) = evaluate_many_apart(lasting, [cubic(6.0).arrangement])
    assert not found.is_finite

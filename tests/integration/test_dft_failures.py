"""What the real codes do when they fail: numerics are changed and recorded, or the failure is reported."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from qdip_dft.engines.cp2k import engine as cp2k
from qdip_dft.engines.espresso import engine as espresso
from qdip_dft.engines.gpaw import engine as gpaw
from qdip_dft.engines.handlers import HandledRun
from qdip_dft.errors import EngineError
from qdip_dft.runtime.journal import SCRATCH_VARIABLE
from tests.dft_codes import CODES, coarse_engine, require_code, silicon

TOO_FEW: dict[str, tuple[Any, dict[str, Any]]] = {
    "espresso": (espresso, {"electron_maxstep": 3}),
    "gpaw": (gpaw, {"maxiter": 3}),
    "cp2k": (cp2k, {"max_scf": 3}),
}
"""Fewer steps than any density needs."""

RUNS: dict[str, type[HandledRun]] = {"espresso": espresso.EspressoRun, "gpaw": gpaw.GpawRun, "cp2k": cp2k.Cp2kRun}


@pytest.fixture(params=CODES)
def name(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv(SCRATCH_VARIABLE, str(tmp_path / "scratch"))
    require_code(request.param)
    module, few = TOO_FEW[request.param]
    monkeypatch.setattr(module, "NUMERICS", {**module.NUMERICS, **few})
    return str(request.param)


def test_a_density_that_does_not_converge_is_tried_again_with_other_numerics_and_the_record_says_so(name: str) -> None:
    result = coarse_engine(name).static(silicon())
    assert result.corrections
    assert all("mixing" in words for words in result.corrections)
    assert result.n_scf_steps is not None
    assert result.n_scf_steps > 3


def test_an_unconverged_density_is_reported_and_gives_no_energy(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RUNS[name], "handlers", ())
    with pytest.raises(EngineError, match="read ") as caught:
        coarse_engine(name).static(silicon())
    assert "not that of the ground state" in caught.value.why


@dataclass(frozen=True)
class Breakdown:
    """A setting with which a diagonaliser fails for real, and what is done then."""

    numerics: dict[str, float]
    said: str
    words: str
    edge_ang: float = 5.45
    changes: dict[str, float] = field(default_factory=dict)


BREAKDOWNS = {
    # Davidson's method is asked for bands that are more exact than a processor's numbers.
    "espresso": Breakdown(
        {"diago_thr_init": 1e-40}, "too many bands are not converged", "bands found by conjugate gradients"
    ),
    # The bands and their residuals are more than there are plane waves.
    "gpaw": Breakdown(
        {"nbands": 24}, "LinAlgError", "bands found by RMM-DIIS", changes={"cutoff_ev": 60, "k_spacing_per_ang": 3.0}
    ),
    # So many overlaps of basis functions are neglected that the rest is the matrix of no overlaps.
    "cp2k": Breakdown(
        {"eps_default": 1e-3},
        "ill-conditioned",
        "overlaps of basis functions neglected below 1e-14 instead of 1e-10",
        edge_ang=4.4,
        changes={"cutoff_ev": 1360},
    ),
}


@pytest.mark.parametrize("name", ["espresso", "gpaw", "cp2k"])
def test_a_failed_diagonaliser_is_mended_by_numerics_and_the_energy_is_that_of_a_run_without_failure(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    breakdown = BREAKDOWNS[name]
    engine, structure = coarse_engine(name, restart="none", **breakdown.changes), silicon(breakdown.edge_ang)
    monkeypatch.setenv(SCRATCH_VARIABLE, str(tmp_path / "undisturbed"))
    undisturbed = engine.static(structure)
    module, _ = TOO_FEW[name]
    monkeypatch.setattr(module, "NUMERICS", {**module.NUMERICS, **breakdown.numerics})
    monkeypatch.setenv(SCRATCH_VARIABLE, str(tmp_path / "mended"))
    mended = engine.static(structure)
    assert (undisturbed.corrections, mended.corrections) == ((), (breakdown.words,))
    assert mended.energy_ev == pytest.approx(undisturbed.energy_ev, abs=1e-5)
    monkeypatch.setattr(RUNS[name], "handlers", ())
    monkeypatch.setenv(SCRATCH_VARIABLE, str(tmp_path / "unmended"))
    with pytest.raises(EngineError, match="read ") as caught:
        engine.static(structure)
    assert breakdown.said in caught.value.what

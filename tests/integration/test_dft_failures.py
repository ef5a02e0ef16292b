"""What the real codes do when they fail: numerics are changed and recorded, or the failure is reported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from qdip_dft.engines import cp2k, espresso, gpaw
from qdip_dft.errors import EngineError
from qdip_dft.journal import SCRATCH_VARIABLE
from tests.dft_codes import CODES, coarse_engine, require_code, silicon

TOO_FEW: dict[str, tuple[Any, dict[str, Any]]] = {
    "espresso": (espresso, {"electron_maxstep": 3}),
    "gpaw": (gpaw, {"maxiter": 3}),
    "cp2k": (cp2k, {"max_scf": 3}),
}
"""Fewer steps than any density needs."""


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
    run = {"espresso": espresso.EspressoRun, "gpaw": gpaw.GpawRun, "cp2k": cp2k.Cp2kRun}[name]
    monkeypatch.setattr(run, "handlers", ())
    with pytest.raises(EngineError, match="read ") as caught:
        coarse_engine(name).static(silicon())
    assert "not that of the ground state" in caught.value.why

"""The flavours of D3: what each says of two published minima, and what their spread leaves open."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from qdip_dft.analysis.uncertainty import flavour_component
from qdip_dft.engines.dispersion import evaluate_d3, find_d3, list_other_flavours
from qdip_dft.engines.registry import engine_from_spec
from qdip_dft.errors import EngineError
from qdip_dft.model.engine import Dispersion, EngineSpec
from qdip_dft.model.structure import Arrangement
from qdip_dft.model.study import PhaseRole

MINIMA = json.loads((Path(__file__).parents[1] / "data" / "phase_minima.json").read_text("utf-8"))["minima"]["CsPbI3"]


@cache
def share_mev_per_fu(flavour: str) -> float:
    """The correction's share of γ − δ of CsPbI3 at the published minima."""
    parameters = find_d3(flavour, "PBE")
    assert parameters is not None
    energies = []
    for phase in ("gamma", "Csdelta"):
        minimum = MINIMA[phase]
        lattice = np.array(minimum["lattice_ang"])
        arrangement = Arrangement(
            species=tuple(minimum["species"]),
            positions_ang=np.array(minimum["frac"]) @ lattice,
            lattice_ang=lattice,
        )
        energies.append(evaluate_d3(arrangement, parameters).energy_ev / minimum["formula_units"])
    return 1000.0 * (energies[0] - energies[1])


@pytest.mark.parametrize(("flavour", "share"), [("d3bj", 111), ("d3bj-atm", 104), ("d3zero", 57)])
def test_each_flavour_has_its_share_of_gamma_above_delta(flavour: str, share: int) -> None:
    """The three-body share depends on its cutoff: 104.7 at 20 bohr, 103.5 at 25, 103.4 at the 40 that are used."""
    assert share_mev_per_fu(flavour) == pytest.approx(share, abs=0.6)


def test_a_flavour_without_parameters_for_the_functional_is_refused() -> None:
    with pytest.raises(EngineError, match="dispersion: none"):
        find_d3("d3zero", "r2SCAN")
    assert find_d3("none", "r2SCAN") is None


def test_every_flavour_is_a_level_of_theory_of_its_own() -> None:
    theories = [engine_from_spec(EngineSpec(name="mlip", dispersion=flavour)).theory() for flavour in Dispersion]
    assert len({theory.model_dump_json() for theory in theories}) == len(Dispersion)
    settings = theories[0].settings
    assert (settings["d3_s9"], settings["d3_a1"]) == (0.0, 0.4289)  # as in the keys of calculations of before


def test_the_other_flavours_are_those_of_the_functional() -> None:
    assert len(list_other_flavours("d3bj", "PBE")) == 2
    assert len(list_other_flavours("d3bj", "r2SCAN")) == 1
    assert list_other_flavours("none", "PBE") == list_other_flavours("included", "PBE") == ()


def test_flavours_count_by_what_they_change_of_the_difference_and_a_reference_takes_the_bulk_out() -> None:
    black, yellow = np.zeros(8), np.zeros(8)
    black[[0, 4, 5]] = -0.05
    black[[1, 7]] += 0.01
    black[[4, 5]] += 0.01
    changes = {PhaseRole.BLACK: [black], PhaseRole.COMPETITOR: [yellow]}
    raw, anchored = (flavour_component(changes, is_anchored=is_it).difference for is_it in (False, True))
    assert raw is not None
    assert anchored is not None
    assert raw.total_ev_per_fu == pytest.approx(0.04)
    assert anchored.bulk_ev_per_fu == 0.0
    assert anchored.total_ev_per_fu == anchored.strained_ev_per_fu == pytest.approx(0.01)

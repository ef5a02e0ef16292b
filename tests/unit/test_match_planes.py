"""`qdip match DOT HOST --planes N`: every facet and every plane of every phase of the host, best first."""

from __future__ import annotations

import json

import pytest

from qdip_dft.planning.matching import list_phases, rank_planes
from tests.command_line import qdip


def test_a_host_stands_for_all_its_phases() -> None:
    assert {"CsPbI3-alpha", "CsPbI3-gamma", "CsPbI3-delta"} <= set(list_phases("CsPbI3"))
    assert list_phases("CsPbI3-gamma") == ("CsPbI3-gamma",)


def test_the_least_strained_pair_comes_first_and_of_equals_the_smallest_cell() -> None:
    pairs = rank_planes("PbS", "CsPbI3-alpha", max_index=1, max_area_ang2=250, max_strain=0.05)
    ranks = [pair.rank for pair in pairs]
    assert ranks == sorted(ranks)
    best = pairs[0]
    assert (best.facet, best.plane, best.n_film, best.n_dot) == ("100", "100", 4, 9)  # 2 × 6.2890 against 3/√2 × 5.9315
    assert best.principal_strains == pytest.approx((3 * 5.9315 / 2**0.5 / (2 * 6.2890) - 1,) * 2, abs=5e-4)


def test_a_scan_agrees_with_the_search_of_one_pair() -> None:
    scan = json.loads(qdip("match", "PbS", "CsPbI3-alpha", "--planes", "1", "--limit", "0", "--json").stdout)
    pair = next(found for found in scan["pairs"] if (found["facet"], found["plane"]) == ("111", "100"))
    single = json.loads(qdip("match", "PbS", "111", "CsPbI3-alpha", "100", "--json").stdout)
    assert pair["n_cells"] == len(single["cells"])
    assert pair["area_ang2"] in [pytest.approx(cell["area_ang2"]) for cell in single["cells"]]


@pytest.mark.parametrize(
    ("arguments", "remedy"),
    [(("PbS", "111"), "DOT HOST --planes N"), (("PbS", "CsPbI3", "x", "--planes", "2"), "qdip match PbS CsPbI3")],
)
def test_a_mixture_of_both_forms_is_refused(arguments: tuple[str, ...], remedy: str) -> None:
    refused = qdip("match", *arguments, check=False)
    assert refused.returncode == 2
    assert remedy in " ".join(refused.stderr.split())

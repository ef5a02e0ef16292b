"""Mixed crystals: Vegard's rule, the composition, and pair correlations near those of the random alloy."""

from __future__ import annotations

from collections import Counter
from itertools import product

import numpy as np
import pytest
from crystal_builders.mixed import (
    MAX_COMPARED,
    _list_arrangements,
    _shell_weights,
    arrange_quasirandom,
    measure_deviations,
    mix_lattices,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from qdip_dft.analysis.phases import is_same_phase, measure_connectivity
from qdip_dft.errors import StructureError
from qdip_dft.library.collections import load_catalogue
from qdip_dft.library.crystals import load_crystal
from tests.unit.crystals import load

CUBIC = (6.0, 6.0, 6.0, 90.0, 90.0, 90.0)
HEXAGONAL = (4.0, 5.0, 7.0, 90.0, 90.0, 120.0)
MIXED = [entry.id for entry in load_catalogue().phases if "quasirandom" in entry.source]
HALIDES = ("I", "Br")


def cubic_sites(n: int) -> np.ndarray:
    """Return the sites of a simple cubic n × n × n supercell."""
    return np.array(list(product(range(n), repeat=3))) / n


def halide_sites(n: int) -> np.ndarray:
    """Return the halide sites of a cubic perovskite in an n × n × n supercell."""
    corners = np.array(list(product(range(n), repeat=3)), dtype=float)
    return np.concatenate([corners + offset for offset in 0.5 * np.eye(3)]) / n


# ── Vegard's rule ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_pure_end_member_keeps_its_cell():
    assert mix_lattices([(1.0, CUBIC), (0.0, HEXAGONAL)]) == CUBIC


def test_halfway_the_cell_is_the_mean():
    assert mix_lattices([(0.5, CUBIC), (0.5, HEXAGONAL)]) == pytest.approx((5.0, 5.5, 6.5, 90.0, 90.0, 105.0))


@pytest.mark.parametrize("shares", [(0.5, 0.6), (1.5, -0.5)])
def test_shares_that_are_no_mole_fractions_are_refused(shares):
    with pytest.raises(StructureError, match="give the mole fractions"):
        mix_lattices(list(zip(shares, (CUBIC, HEXAGONAL), strict=True)))


# ── arrangements ─────────────────────────────────────────────────────────────────────────────────────────────────────


@settings(max_examples=25)
@given(data=st.data())
def test_every_arrangement_has_the_composition_asked_for(data):
    n_first = data.draw(st.integers(0, 8))
    n_second = data.draw(st.integers(0, 8 - n_first))
    amounts = {"Cs": n_first, "FA": n_second, "MA": 8 - n_first - n_second}
    found = arrange_quasirandom(12.0 * np.eye(3), cubic_sites(2), amounts, seed=data.draw(st.integers(0, 99)))
    assert Counter(found.labels) == {name: amount for name, amount in amounts.items() if amount}


def test_the_same_seed_gives_the_same_arrangement():
    cells = [arrange_quasirandom(np.eye(3), halide_sites(2), {"I": 20, "Br": 4}, seed=3).labels for _ in range(2)]
    assert cells[0] == cells[1]


def test_another_seed_gives_another_arrangement_that_is_as_good():
    found = [arrange_quasirandom(12 * np.eye(3), cubic_sites(2), {"Cs": 4, "Rb": 4}, seed=seed) for seed in range(6)]
    assert len({arrangement.labels for arrangement in found}) > 1
    assert np.ptp([arrangement.deviation for arrangement in found]) < 1e-8


def test_species_are_treated_alike():
    first, second = (
        arrange_quasirandom(12 * np.eye(3), cubic_sites(2), amounts, seed=0)
        for amounts in ({"Cs": 3, "Rb": 5}, {"Cs": 5, "Rb": 3})
    )
    assert first.deviation == pytest.approx(second.deviation, abs=1e-12)


def test_the_deviation_does_not_depend_on_the_scale_of_the_lattice():
    first, second = (
        arrange_quasirandom(scale * np.eye(3), cubic_sites(2), {"Cs": 3, "Rb": 5}, seed=0) for scale in (6.0, 12.0)
    )
    assert first.deviation == pytest.approx(second.deviation, abs=1e-12)


def test_one_species_alone_is_a_random_alloy_of_itself():
    assert arrange_quasirandom(np.eye(3), cubic_sites(2), {"Cs": 8}, seed=0).deviation == pytest.approx(0.0, abs=1e-12)


def test_the_deviation_of_the_rocksalt_order_is_the_one_counted_by_hand():
    """All neighbours of the 1st and 3rd shell are unlike, all of the 2nd and 4th are like: P − x² = ±1/4 throughout."""
    sites = cubic_sites(4)
    labels = (4 * sites).sum(axis=1).astype(int) % 2
    shells = _shell_weights(4.0 * np.eye(3), sites)
    deviation = measure_deviations(shells, labels[None], [32, 32])[0]
    by_hand = sum(4 * 0.25**2 / n for n in (1, 2, 3, 4))
    assert deviation == pytest.approx(by_hand, rel=0.25)  # the Gaussian shells overlap a little
    assert deviation < by_hand


def test_all_arrangements_are_listed_once():
    arrangements = _list_arrangements([2, 1, 3])
    assert len(np.unique(arrangements, axis=0)) == len(arrangements) == 60
    assert {tuple(np.bincount(row)) for row in arrangements} == {(2, 1, 3)}


def test_the_best_arrangement_is_better_than_random_ones():
    sites, counts = halide_sites(2), [12, 12]
    shells = _shell_weights(12.0 * np.eye(3), sites)
    generator = np.random.default_rng(0)
    random = np.array([generator.permutation(np.repeat([0, 1], counts)) for _ in range(200)])
    found = arrange_quasirandom(12.0 * np.eye(3), sites, {"I": 12, "Br": 12}, seed=0)
    assert not found.is_best  # 2.7 million arrangements are too many to compare all
    assert found.deviation < 0.5 * measure_deviations(shells, random, counts).min()


def test_few_arrangements_are_all_compared():
    found = arrange_quasirandom(12.0 * np.eye(3), cubic_sites(2), {"Cs": 1, "FA": 6, "MA": 1}, seed=0)
    assert (found.is_best, found.n_compared) == (True, 56)
    assert found.n_compared < MAX_COMPARED


@pytest.mark.parametrize("amounts", [{"I": 3, "Br": 4}, {"I": 9, "Br": -1}])
def test_amounts_that_do_not_fill_the_sites_are_refused(amounts):
    with pytest.raises(StructureError, match="correct the amounts"):
        arrange_quasirandom(np.eye(3), cubic_sites(2), amounts, seed=0)


# ── the mixed crystals of the library ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", MIXED)
def test_a_mixed_crystal_says_what_it_is_made_of(name):
    entry = load_catalogue().find_entry(name)
    assert (entry.provenance.value, entry.is_verified) == ("derived", True)
    assert "Vegard" in entry.source
    assert sum(known in entry.source for known in load_catalogue().ids) >= 2


@pytest.mark.parametrize(("material", "share"), [("CsPbI2Br", 1 / 3), ("CsPbI1.5Br1.5", 1 / 2), ("CsPbBr2I", 2 / 3)])
def test_the_cubic_cell_follows_vegard_between_its_end_members(material, share):
    iodide, bromide = (load_crystal(name).structure.lattice.a for name in ("CsPbI3-alpha", "CsPbBr3-cubic"))
    lattice = load_crystal(f"{material}-cubic").structure.lattice
    expected = (1 - share) * iodide + share * bromide
    assert (lattice.a / 2**0.5, lattice.c / 2) == pytest.approx((expected, expected), abs=1e-6)


@pytest.mark.parametrize("material", ["CsPbI2Br", "CsPbI1.5Br1.5", "CsPbBr2I"])
@pytest.mark.parametrize(("phase", "parent"), [("cubic", "alpha"), ("gamma", "gamma"), ("delta", "delta")])
def test_a_mixed_phase_keeps_the_network_of_its_parent(material, phase, parent):
    mixed, pure = load(f"{material}-{phase}").structure, load(f"CsPbI3-{parent}").structure
    assert is_same_phase(measure_connectivity(mixed), measure_connectivity(pure))


@pytest.mark.parametrize("name", [name for name in MIXED if "Br" in name])
def test_the_halides_of_a_mixed_crystal_are_neither_ordered_nor_separated(name):
    """With the shell weights Σ 1/n = 2.08 a fully separated or ordered 1:1 crystal deviates by about 0.5."""
    structure = load_crystal(name).structure
    sites = [site for site in structure if site.specie.symbol in HALIDES]
    labels = np.array([HALIDES.index(site.specie.symbol) for site in sites])
    shells = _shell_weights(structure.lattice.matrix, np.array([site.frac_coords for site in sites]))
    assert measure_deviations(shells, labels[None], np.bincount(labels).tolist())[0] < 0.01

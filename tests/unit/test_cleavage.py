"""Terminations: neutral, without a dipole, and never dearer than the best planar cut."""

from __future__ import annotations

import time
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qdip_dft.builders.bonds import find_bonds
from qdip_dft.builders.cleavage import (
    FRAMEWORK_WEIGHT,
    POLARITY_TOLERANCE_E,
    Termination,
    _bond_network,
    _compensating_shift,
    find_terminations,
    name_layer,
)
from qdip_dft.builders.films import in_vacuum, stack_film
from qdip_dft.builders.interfaces import check_built
from qdip_dft.builders.ions import IonicCrystal, find_ions
from qdip_dft.builders.minimum_cut import MOST_SHIFTS, Aim, BondNetwork, _tie_breakers, find_cheapest_cuts
from qdip_dft.builders.orientation import orient_crystal
from qdip_dft.model.snapping import nearest_whole
from tests.unit.crystals import count_cut_contacts, distances_of, load_face

LEAD_IODIDE = frozenset({"Pb", "I"})
LONGEST_LEAD_IODIDE_ANG = 3.9
"""Octahedral Pb–I bonds are 3.0 to 3.6 Å long, the next shell begins beyond 4.5 Å."""

DELTA_PLANES = [
    *[("CsPbI3-delta", plane) for plane in ("100", "101", "001", "102")],
    *[("FAPbI3-delta", plane) for plane in ("100", "110")],
]
LOW_INDEX_PLANES = ["100", "010", "001", "110", "101", "011", "1-10", "10-1", "01-1", "111", "210", "211"]
HYBRIDS = ["FAPbI3-alpha", "FAPbI3-delta", "MAPbI3-cubic"]
MANY = [
    *DELTA_PLANES,
    ("CsPbI3-alpha", "100"),
    ("CsPbI3-alpha", "110"),
    ("CsPbI3-gamma", "110"),
    ("CsPbI3-gamma", "001"),
    ("FAPbI3-alpha", "100"),
    ("FAPbI3-alpha", "111"),
    ("FAPbI3-delta", "001"),
    ("MAPbI3-cubic", "110"),
    ("PbS", "100"),
    ("PbS", "110"),
    ("SnS", "100"),
    ("CdSe-wurtzite", "100"),
]


def stacked_height(oriented: IonicCrystal, termination: Termination) -> np.ndarray:
    return oriented.frac_centres[:, 2] + np.array(termination.cut)


def broken_valence(oriented: IonicCrystal, cut: np.ndarray, *, framework_weight: float = 1.0) -> float:
    """Count the broken bonds by the definition, bond by bond; bonds of lead, sulfur and the like may count more."""
    total = 0.0
    for bond in find_bonds(oriented):
        is_framework = max(abs(oriented.ions[i].charge) for i in (bond.first, bond.second)) >= 2
        crossings = abs(bond.translation[2] - int(cut[bond.second]) + int(cut[bond.first]))
        total += bond.valence * crossings * (framework_weight if is_framework else 1.0)
    return total


def planar_cuts(oriented: IonicCrystal) -> list[np.ndarray]:
    """Return every planar cut: one just below each ion."""
    heights = oriented.frac_centres[:, 2]
    return [np.ceil(h - 1e-9 - heights).astype(int) for h in heights % 1.0]


@pytest.mark.parametrize(("name", "plane"), MANY)
def test_every_termination_is_neutral_and_without_a_dipole(name, plane):
    oriented = load_face(name, plane).oriented
    terminations = find_terminations(oriented)
    assert terminations
    for termination in terminations:
        dipole = abs(float(oriented.charges @ stacked_height(oriented, termination)))
        assert oriented.formal_charge == 0
        assert dipole == pytest.approx(termination.polarity_e, abs=1e-9)
        assert dipole <= POLARITY_TOLERANCE_E


@pytest.mark.parametrize(("name", "plane"), MANY)
def test_the_dipole_of_a_film_grows_with_its_thickness_as_the_polarity_says(name, plane):
    face = load_face(name, plane)
    termination = find_terminations(face.oriented)[0]
    oriented = orient_crystal(face.crystal, face.orientation, cut=termination.cut)
    for n_planes in (1, 3):
        film = stack_film(oriented, n_repeats=n_planes, vacuum_ang=10.0)
        dipole = abs(float(film.charges @ film.centres_ang[:, 2]))
        assert dipole == pytest.approx(n_planes * termination.polarity_e * oriented.lattice_ang[2, 2], abs=1e-8)


@pytest.mark.parametrize(("name", "plane"), MANY)
def test_the_broken_valence_is_that_of_the_bonds_that_cross(name, plane):
    oriented = load_face(name, plane).oriented
    for termination in find_terminations(oriented):
        counted = broken_valence(oriented, np.array(termination.cut))
        assert termination.broken_valence == pytest.approx(counted, abs=1e-6)


@pytest.mark.parametrize(("name", "plane"), MANY)
def test_the_best_termination_is_never_dearer_than_a_planar_cut_without_dipole(name, plane):
    oriented = load_face(name, plane).oriented
    best = np.array(find_terminations(oriented)[0].cut)
    cost = broken_valence(oriented, best, framework_weight=FRAMEWORK_WEIGHT)
    heights = oriented.frac_centres[:, 2]
    nonpolar = [cut for cut in planar_cuts(oriented) if abs(oriented.charges @ (heights + cut)) <= POLARITY_TOLERANCE_E]
    for cut in nonpolar:
        # flat cuts are preferred among nearly equal ones: half a hundredth of a unit per ion and plane spacing
        allowance = 0.005 * float(np.abs(heights + cut - np.median(heights + cut)).sum())
        assert cost <= broken_valence(oriented, cut, framework_weight=FRAMEWORK_WEIGHT) + allowance


@pytest.mark.parametrize(("name", "plane"), DELTA_PLANES)
def test_cleaving_a_yellow_phase_between_its_chains_cuts_no_lead_iodide_bond(name, plane):
    oriented = load_face(name, plane).oriented
    best = find_terminations(oriented)[0]
    assert count_cut_contacts(oriented, best.cut, LEAD_IODIDE, LONGEST_LEAD_IODIDE_ANG) == 0


def test_no_cut_of_delta_cspbi3_102_is_both_free_of_cut_chains_and_as_cheap_as_the_best_planar_cut():
    """The planar cut breaks two Pb–I bonds and 1.38 valence units; every cut that spares the chains breaks more.

    A cut that breaks no Pb–I bond shifts each chain as a whole, so the ions fall into rigid groups: the two double
    chains and four Cs⁺ of the cell.  All shifts of these groups are tried, up to three planes apart.
    """
    oriented = load_face("CsPbI3-delta", "102").oriented
    groups = rigid_groups(oriented)
    assert sorted(len(group) for group in groups) == [1, 1, 1, 1, 8, 8]
    costs = []
    for shifts in product(range(-3, 4), repeat=len(groups) - 1):
        cut = np.zeros(len(oriented.ions), dtype=int)
        for group, shift in zip(groups, (0, *shifts), strict=True):
            cut[list(group)] = [shift + offset for offset in group.values()]
        if abs(oriented.charges @ (oriented.frac_centres[:, 2] + cut)) <= POLARITY_TOLERANCE_E:
            costs.append((cut, shifts))
    first, second, planes, valences = (
        np.array(column)
        for column in zip(
            *((b.first, b.second, b.translation[2], b.valence) for b in find_bonds(oriented)), strict=True
        )
    )
    cuts = np.array([cut for cut, _ in costs])
    broken = np.abs(planes - cuts[:, second] + cuts[:, first]) @ valences
    best = find_terminations(oriented)[0]
    assert broken.min() == pytest.approx(best.broken_valence, abs=1e-6)
    assert broken.min() > min(broken_valence(oriented, cut) for cut in planar_cuts(oriented)) + 0.1


def rigid_groups(oriented: IonicCrystal) -> list[dict[int, int]]:
    """Return the ions that Pb–I bonds tie together, with the planes that each lies above the first of its group."""
    ties: dict[int, list[tuple[int, int]]] = {index: [] for index in range(len(oriented.ions))}
    for bond in find_bonds(oriented, cutoff_ang=LONGEST_LEAD_IODIDE_ANG):
        if {oriented.ions[bond.first].label, oriented.ions[bond.second].label} == LEAD_IODIDE:
            ties[bond.first].append((bond.second, bond.translation[2]))
            ties[bond.second].append((bond.first, -bond.translation[2]))
    groups: list[dict[int, int]] = []
    for start in ties:
        if any(start in group for group in groups):
            continue
        group, pending = {start: 0}, [start]
        while pending:
            current = pending.pop()
            for other, planes in ties[current]:
                if other not in group:
                    group[other] = group[current] + planes
                    pending.append(other)
        groups.append(group)
    return groups


def test_cs4pbbr6_keeps_its_octahedra_whole():
    oriented = load_face("Cs4PbBr6", "001").oriented
    best = find_terminations(oriented)[0]
    assert count_cut_contacts(oriented, best.cut, frozenset({"Pb", "Br"}), 3.6) == 0


@pytest.mark.parametrize(
    ("name", "plane", "n_bonds"),
    # cubic (100): the apical bond of the one octahedron; delta (010): the chain along b, four Pb with two bonds each
    [("CsPbI3-alpha", "100", 1), ("CsPbI3-delta", "010", 8)],
)
def test_counting_cut_bonds_sees_the_bonds_that_must_break(name, plane, n_bonds):
    oriented = load_face(name, plane).oriented
    best = find_terminations(oriented)[0]
    assert count_cut_contacts(oriented, best.cut, LEAD_IODIDE, LONGEST_LEAD_IODIDE_ANG) == n_bonds


def test_cutting_the_face_sharing_chains_moves_one_iodide_to_the_other_face():
    # Planar cuts of delta-FAPbI3(001) are polar (Tasker type III): Pb, FA I3 and I3 FA layers carry +2, -2 e.
    oriented = load_face("FAPbI3-delta", "001").oriented
    best = find_terminations(oriented)[0]
    assert (best.bottom, best.top) == ("I", "FAI2")
    assert best.polarity_e < 0.05
    iodides = [
        heights for ion, heights in zip(oriented.ions, stacked_height(oriented, best), strict=True) if ion.label == "I"
    ]
    assert len(iodides) == 6
    bottom_layer = [h for h in iodides if h < min(iodides) + 0.1]
    top_layer = [h for h in iodides if h > max(iodides) - 0.1]
    assert (len(bottom_layer), len(top_layer)) == (1, 2)


@pytest.mark.parametrize(("name", "plane"), [("PbS", "111"), ("CdSe-zincblende", "111"), ("CdSe-wurtzite", "001")])
def test_a_facet_that_is_polar_for_all_whole_ions_has_no_termination(name, plane):
    assert find_terminations(load_face(name, plane).oriented) == ()


@pytest.mark.parametrize(
    ("name", "plane", "names"),
    [
        ("CsPbI3-alpha", "100", {"CsI|PbI2", "PbI2|CsI"}),
        ("FAPbI3-alpha", "100", {"FAI|PbI2", "PbI2|FAI"}),
        ("CsPbI3-gamma", "001", {"CsI|PbI2", "PbI2|CsI"}),
        ("PbS", "100", {"PbS|PbS"}),
    ],
)
def test_the_textbook_terminations_are_found(name, plane, names):
    assert {termination.name for termination in find_terminations(load_face(name, plane).oriented)} == names


@pytest.mark.parametrize("plane", LOW_INDEX_PLANES)
@pytest.mark.parametrize("name", HYBRIDS)
def test_every_termination_of_every_low_plane_keeps_the_molecules(name, plane):
    face = load_face(name, plane)
    expected = [distances_of(ion.offsets_ang) for ion in face.crystal.ions if len(ion.species) > 1]
    terminations = find_terminations(face.oriented)
    assert terminations
    for termination in terminations:
        cut = orient_crystal(face.crystal, face.orientation, cut=termination.cut)
        slab = check_built(in_vacuum(cut, 12.0), name=face.name)
        found = find_ions(slab.to_record(), {ion.label: ion.charge for ion in face.crystal.ions})
        assert sorted(ion.label for ion in found.ions) == sorted(ion.label for ion in face.crystal.ions)
        molecules = [ion for ion in found.ions if len(ion.species) > 1]
        for molecule, distances in zip(molecules, expected, strict=True):
            assert distances_of(molecule.offsets_ang) == pytest.approx(distances, abs=1e-6)


@pytest.mark.parametrize(("name", "plane"), [("CsPbI3-delta", "100"), ("FAPbI3-delta", "001"), ("CsPbI3-gamma", "001")])
def test_the_terminations_do_not_depend_on_which_cell_an_ion_is_listed_in(name, plane, rng):
    oriented = load_face(name, plane).oriented
    shifts = rng.integers(-2, 3, size=oriented.frac_centres.shape)
    moved = IonicCrystal(oriented.lattice_ang, oriented.ions, oriented.frac_centres + shifts)
    before, after = find_terminations(oriented), find_terminations(moved)
    assert [t.broken_valence for t in after] == pytest.approx([t.broken_valence for t in before], abs=1e-6)
    assert {t.name for t in after} == {t.name for t in before}


@pytest.mark.parametrize(("name", "plane"), DELTA_PLANES)
def test_cleaving_a_yellow_phase_takes_no_longer_than_a_million_multiplications(name, plane):
    """Some 20 and 50 ms on a quiet machine; measured in turn, because a busy one slows both."""
    oriented = load_face(name, plane).oriented
    find_terminations(oriented)
    pairs = [
        (measure_cpu_s(lambda: find_terminations(oriented)), measure_cpu_s(lambda: [i * i for i in range(1_000_000)]))
        for _ in range(5)
    ]
    cleaving_s, multiplying_s = np.median(pairs, axis=0)
    assert cleaving_s < multiplying_s


def measure_cpu_s(work):
    start = time.thread_time()
    work()
    return time.thread_time() - start


@pytest.mark.parametrize(
    ("heights", "is_bottom", "name"),
    [((0.0, 0.0, 0.5), True, "PbI"), ((0.0, 0.0, 0.5), False, "S"), ((0.0, 0.5, 0.9), False, "S")],
)
def test_a_layer_is_named_cations_first(heights, is_bottom, name):
    crystal = load_face("PbS", "100").oriented
    lead, sulfide = crystal.ions
    iodide = type(lead)("I", -1, ("I",), np.zeros((1, 3)), ())
    lattice = np.diag([5.0, 5.0, 10.0])
    cell = IonicCrystal(lattice, (lead, iodide, sulfide), np.array([[0, 0, h] for h in heights]))
    assert name_layer(cell, np.array(heights), is_bottom=is_bottom) == name


@st.composite
def networks(draw: st.DrawFn) -> BondNetwork:
    """Draw up to five ions of charge ±1 or ±2, neutral together, with random bonds."""
    n_pairs = draw(st.integers(1, 2))
    charges = [q for _ in range(n_pairs) for q in draw(st.sampled_from([(1, -1), (2, -2)]))]
    charges += draw(st.sampled_from([[], [0]]))
    n_ions = len(charges)
    heights = [draw(st.integers(0, 99)) / 100 for _ in range(n_ions)]
    ions = st.integers(0, n_ions - 1)
    bonds = draw(st.lists(st.tuples(ions, ions, st.integers(-1, 1), st.integers(1, 100)), max_size=8))
    bonds = [bond for bond in bonds if bond[0] != bond[1]]
    return BondNetwork(
        heights=np.array(heights),
        charges=np.array(charges, dtype=float),
        first=np.array([b[0] for b in bonds], dtype=int),
        second=np.array([b[1] for b in bonds], dtype=int),
        planes=np.array([b[2] for b in bonds], dtype=float),
        costs=np.array([b[3] / 100 for b in bonds]),
    )


def cost_of(network: BondNetwork, aim: Aim, shifts: np.ndarray) -> np.ndarray:
    """The whole cost of shifts, with what decides between equal cuts."""
    corrugation = np.abs(network.heights + shifts - aim.centre).sum(axis=-1)
    crossings = network.count_crossings(shifts) @ network.costs
    return crossings + aim.corrugation_weight * corrugation + shifts @ _tie_breakers(len(network.heights))


def cheapest_by_trying_all(network: BondNetwork, aim: Aim, charge_shift: int) -> float | None:
    planar = nearest_whole(aim.centre - network.heights)
    steps = range(-MOST_SHIFTS, MOST_SHIFTS + 1)
    shifts = planar + np.array(list(product(steps, repeat=len(planar))))
    allowed = shifts[np.round(shifts @ network.charges).astype(int) == charge_shift]
    return float(cost_of(network, aim, allowed).min()) if len(allowed) else None


@settings(max_examples=60)
@given(
    network=networks(),
    charge_shift=st.integers(-3, 3),
    centre=st.integers(0, 150),
    weight=st.sampled_from([0.005, 0.3, 1.0]),
)
def test_the_cheapest_cut_is_as_cheap_as_the_best_of_all_cuts(network, charge_shift, centre, weight):
    aims = [Aim(centre / 100, weight), Aim(0.5, 0.01)]
    found = find_cheapest_cuts(network, aims, charge_shift=charge_shift)
    for aim, cut in zip(aims, found, strict=True):
        expected = cheapest_by_trying_all(network, aim, charge_shift)
        if expected is None:
            assert cut is None
            continue
        shifts = np.array(cut, dtype=float)
        assert round(float(shifts @ network.charges)) == charge_shift
        assert float(cost_of(network, aim, shifts)) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("name", "plane"), [("FAPbI3-delta", "001"), ("CsPbI3-delta", "102"), ("Cs4PbBr6", "001")])
def test_the_flow_gives_the_optimum_of_the_integer_program(name, plane):
    oriented = load_face(name, plane).oriented
    network, charge_shift = _bond_network(oriented), _compensating_shift(oriented)
    aims = [Aim(0.75, 0.005), Aim(0.75, 1.0)]
    for aim, cut in zip(aims, find_cheapest_cuts(network, aims, charge_shift=charge_shift), strict=True):
        expected = solve_integer_program(network, aim, charge_shift)
        assert float(cost_of(network, aim, np.array(cut, dtype=float))) == pytest.approx(expected, abs=1e-6)


def solve_integer_program(network: BondNetwork, aim: Aim, charge_shift: int) -> float:
    """Solve the program in its plain form with a general solver; unknowns are k, the crossings and the distances."""
    from scipy.optimize import Bounds, LinearConstraint, milp

    n, m = len(network.heights), len(network.costs)
    bonds = np.zeros((m, n))
    bonds[np.arange(m), network.second] += 1
    bonds[np.arange(m), network.first] -= 1
    rows, limits = [], []
    for sign in (1, -1):
        rows.append(np.hstack([sign * bonds, np.eye(m), np.zeros((m, n))]))
        limits.append(sign * network.planes)
        rows.append(np.hstack([-sign * np.eye(n), np.zeros((n, m)), np.eye(n)]))
        limits.append(sign * (network.heights - aim.centre))
    charge = np.concatenate([network.charges, np.zeros(m + n)])
    planar = nearest_whole(aim.centre - network.heights)
    solution = milp(
        np.concatenate([_tie_breakers(n), network.costs, np.full(n, aim.corrugation_weight)]),
        constraints=[
            LinearConstraint(np.vstack(rows), lb=np.concatenate(limits)),
            LinearConstraint(charge, charge_shift, charge_shift),
        ],
        bounds=Bounds(
            np.concatenate([planar - MOST_SHIFTS, np.zeros(m + n)]),
            np.concatenate([planar + MOST_SHIFTS, np.full(m + n, np.inf)]),
        ),
        integrality=np.concatenate([np.ones(n), np.zeros(m + n)]),
        options={"mip_rel_gap": 0.0},
    )
    return float(solution.fun)

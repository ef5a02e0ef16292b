"""The engine contract, kept by every engine, and what is particular to each."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from monty.json import MontyDecoder

from qdip_dft.engines.base import Engine, Feature, RelaxationSettings, RelaxationStep
from qdip_dft.engines.dispersion import PBE_D3BJ, evaluate_d3
from qdip_dft.engines.evaluation import SHORTEST_DISTANCE_ANG, Evaluation
from qdip_dft.engines.mlip import MlipEngine, load_network, weights_file
from qdip_dft.engines.preset import load_preset
from qdip_dft.engines.registry import engine_from_spec
from qdip_dft.engines.relaxation.coordinates import coordinates_of
from qdip_dft.engines.relaxation.descent import relax_structure
from qdip_dft.engines.relaxation.model_hessian import model_hessian
from qdip_dft.engines.testing import SWITCH_OFF_ANG
from qdip_dft.errors import EngineError
from qdip_dft.library.crystals import load_crystal
from qdip_dft.model.calculation import Freedom, Level
from qdip_dft.model.engine import Dispersion, EngineSpec, PresetName
from qdip_dft.model.neighbours import find_pairs
from qdip_dft.model.structure import Arrangement, StructureRecord
from qdip_dft.units import BOHR_IN_ANG, HARTREE_IN_EV


@dataclass(frozen=True)
class Candidate:
    """An engine under test and the finest differences that its precision resolves.

    The networks work in single precision: an energy of -20 eV is uncertain by about 1e-6 eV, so a derivative from two
    energies 2h apart is uncertain by about 1e-6/h; the toy potential works in double precision.
    """

    spec: EngineSpec
    step: float
    force_tolerance_ev_per_ang: float
    stress_tolerance_ev_per_ang3: float
    energy_tolerance_ev_per_atom: float


CANDIDATES = {
    "testing": Candidate(EngineSpec(name="testing"), 1e-4, 1e-6, 1e-8, 1e-10),
    "sevennet-0": Candidate(EngineSpec(potential="sevennet-0"), 1e-2, 2e-3, 5e-5, 2e-6),
    "chgnet": Candidate(EngineSpec(potential="chgnet"), 1e-2, 2e-3, 5e-5, 2e-6),
}


@pytest.fixture(params=list(CANDIDATES))
def candidate(request: pytest.FixtureRequest) -> Candidate:
    return CANDIDATES[request.param]


@pytest.fixture
def engine(candidate: Candidate) -> Engine:
    return engine_from_spec(candidate.spec)


def cubic_cspbi3(*, rattle_ang: float = 0.1, scale: float = 1.0) -> StructureRecord:
    """Return one cubic cell with its atoms displaced at random, some of them outside the cell."""
    ideal = np.array([[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [1.5, 0, 0.5], [0, -0.5, 0.5]])
    noise = np.random.default_rng(7).normal(scale=rattle_ang / 6.3, size=ideal.shape)
    return StructureRecord(
        lattice_ang=(np.eye(3) * 6.3 * scale).tolist(),
        species=("Cs", "Pb", "I", "I", "I"),
        frac_coords=(ideal + noise).tolist(),
    )


def displaced(structure: StructureRecord, *, atom: int, axis: int, by_ang: float) -> StructureRecord:
    positions = np.array(structure.frac_coords) @ np.array(structure.lattice_ang)
    positions[atom, axis] += by_ang
    frac_coords = positions @ np.linalg.inv(structure.lattice_ang)
    return structure.model_copy(update={"frac_coords": tuple(map(tuple, frac_coords))})


def strained(structure: StructureRecord, strain: np.ndarray) -> StructureRecord:
    lattice = np.array(structure.lattice_ang) @ (np.eye(3) + strain)
    return structure.model_copy(update={"lattice_ang": tuple(map(tuple, lattice))})


def doubled(structure: StructureRecord) -> StructureRecord:
    lattice = np.array(structure.lattice_ang) * [[2], [1], [1]]
    coords = np.array(structure.frac_coords)
    both = np.vstack([coords, coords + np.array([1, 0, 0])]) / [2, 1, 1]
    return StructureRecord(lattice_ang=lattice.tolist(), species=structure.species * 2, frac_coords=both.tolist())


# --- the contract ---------------------------------------------------------------------------------------------------


def test_forces_are_the_slope_of_the_energy(engine: Engine, candidate: Candidate) -> None:
    structure = cubic_cspbi3()
    forces = engine.static(structure).forces_ev_per_ang
    for atom, axis in [(1, 2), (3, 1)]:
        up, down = (
            engine.static(displaced(structure, atom=atom, axis=axis, by_ang=sign * candidate.step)).energy_ev
            for sign in (1, -1)
        )
        slope = (up - down) / (2 * candidate.step)
        assert forces[atom][axis] == pytest.approx(-slope, abs=candidate.force_tolerance_ev_per_ang)


@pytest.mark.parametrize(("row", "column"), [(0, 0), (1, 2)])
def test_stress_is_the_slope_by_strain_and_positive_in_tension(
    engine: Engine, candidate: Candidate, row: int, column: int
) -> None:
    structure = cubic_cspbi3(scale=1.05)
    stress = engine.static(structure).stress_ev_per_ang3
    strain = np.zeros((3, 3))
    strain[row, column] += candidate.step / 4
    strain[column, row] += candidate.step / 4
    up, down = (engine.static(strained(structure, sign * strain)).energy_ev for sign in (1, -1))
    slope = (up - down) / candidate.step / (6.3 * 1.05) ** 3
    assert stress is not None
    assert stress[row][column] == pytest.approx(slope, abs=candidate.stress_tolerance_ev_per_ang3)
    assert np.trace(stress) > 0


def test_energy_is_extensive(engine: Engine, candidate: Candidate) -> None:
    structure = cubic_cspbi3()
    once, twice = engine.static(structure), engine.static(doubled(structure))
    tolerance = candidate.energy_tolerance_ev_per_atom * 10
    assert twice.energy_ev == pytest.approx(2 * once.energy_ev, abs=tolerance)
    assert np.allclose(twice.stress_ev_per_ang3, once.stress_ev_per_ang3, atol=1e-6)


def test_energy_does_not_care_in_which_cell_an_atom_is_written(engine: Engine, candidate: Candidate) -> None:
    structure = cubic_cspbi3()
    coords = np.array(structure.frac_coords) + np.array([[0, 0, 0], [0, 0, 3], [-2, 0, 0], [0, 1, 0], [0, 0, 0]])
    elsewhere = structure.model_copy(update={"frac_coords": tuple(map(tuple, coords))})
    tolerance = candidate.energy_tolerance_ev_per_atom * 5
    assert engine.static(elsewhere).energy_ev == pytest.approx(engine.static(structure).energy_ev, abs=tolerance)


def test_same_structure_gives_the_same_numbers_whatever_came_before(engine: Engine) -> None:
    structure = cubic_cspbi3()
    first = engine.static(structure)
    engine.static(doubled(structure))
    engine.static(cubic_cspbi3(scale=1.1))
    again = engine.static(structure)
    assert again.energy_ev == first.energy_ev
    assert again.forces_ev_per_ang == first.forces_ev_per_ang
    assert again.stress_ev_per_ang3 == first.stress_ev_per_ang3


def test_relaxing_twice_gives_the_same_structure(engine: Engine) -> None:
    first = engine.relax(cubic_cspbi3(), Freedom.CELL)
    engine.static(doubled(cubic_cspbi3()))
    again = engine.relax(cubic_cspbi3(), Freedom.CELL)
    assert again.structure == first.structure
    assert again.energy_ev == first.energy_ev


def test_static_calculation_moves_nothing(engine: Engine) -> None:
    structure = cubic_cspbi3()
    result = engine.static(structure)
    assert result.structure == structure
    assert (result.is_converged, result.n_steps) == (True, 0)


def test_relaxed_positions_are_converged_lower_and_in_the_same_cell(engine: Engine) -> None:
    structure = cubic_cspbi3()
    result = engine.relax(structure, Freedom.POSITIONS)
    assert result.is_converged
    assert result.max_force_ev_per_ang <= engine.relaxation.force_threshold_ev_per_ang
    assert result.energy_ev < engine.static(structure).energy_ev
    assert result.structure.lattice_ang == structure.lattice_ang


def test_relaxed_structure_has_the_energy_that_is_reported_with_it(engine: Engine, candidate: Candidate) -> None:
    result = engine.relax(cubic_cspbi3(), Freedom.CELL)
    tolerance = candidate.energy_tolerance_ev_per_atom * 5
    assert engine.static(result.structure).energy_ev == pytest.approx(result.energy_ev, abs=tolerance)


def test_sites_keep_their_order_and_stay_where_they_were_written(engine: Engine) -> None:
    structure = cubic_cspbi3()
    result = engine.relax(structure, Freedom.POSITIONS)
    moves = (np.array(result.structure.frac_coords) - structure.frac_coords) @ np.array(structure.lattice_ang)
    assert result.structure.species == structure.species
    assert np.abs(moves).max() < 1.0


def test_out_of_plane_relaxation_keeps_the_interface_plane(engine: Engine) -> None:
    structure = strained(cubic_cspbi3(), np.array([[0.02, 0.01, 0], [0, -0.01, 0], [0.03, 0, 0.05]]))
    result = engine.relax(structure, Freedom.OUT_OF_PLANE)
    before, after = np.array(structure.lattice_ang), np.array(result.structure.lattice_ang)
    assert result.is_converged
    assert np.abs(after[:2] - before[:2]).max() <= 1e-8
    assert np.abs(after[2] - before[2]).max() > 1e-3
    assert np.abs(result.stress_ev_per_ang3)[:, 2].max() <= engine.relaxation.stress_threshold_ev_per_ang3


def test_out_of_plane_relaxation_refuses_a_plane_that_is_tilted(engine: Engine) -> None:
    tilted = strained(cubic_cspbi3(), np.array([[0, 0, 0.1], [0, 0, 0], [0, 0, 0]]))
    with pytest.raises(EngineError, match="turn the structure so that the interface lies in the xy-plane"):
        engine.relax(tilted, Freedom.OUT_OF_PLANE)


def test_cell_relaxation_ends_without_stress_and_without_rotation(engine: Engine) -> None:
    triclinic = strained(cubic_cspbi3(), np.array([[0.03, 0.02, 0], [0.01, 0.02, -0.02], [0.01, 0.03, 0.01]]))
    result = engine.relax(triclinic, Freedom.CELL)
    deformation = np.linalg.solve(np.array(triclinic.lattice_ang), np.array(result.structure.lattice_ang))
    assert result.is_converged
    assert np.abs(result.stress_ev_per_ang3).max() <= engine.relaxation.stress_threshold_ev_per_ang3
    assert np.allclose(deformation, deformation.T, atol=1e-12)


def test_cubic_lattice_stays_cubic_whatever_its_atoms_do(engine: Engine) -> None:
    lattice = np.array(engine.relax(cubic_cspbi3(scale=1.03), Freedom.CELL).structure.lattice_ang)
    assert np.allclose(lattice, np.eye(3) * lattice[0, 0], atol=1e-10)
    assert lattice[0, 0] < 6.3 * 1.03 - 0.01


@pytest.mark.parametrize("freedom", [Freedom.POSITIONS, Freedom.CELL])
def test_fixed_atoms_stay(engine: Engine, freedom: Freedom) -> None:
    structure = cubic_cspbi3().model_copy(update={"is_fixed": (False, True, False, False, True)})
    result = engine.relax(structure, freedom)
    assert [result.structure.frac_coords[site] for site in (1, 4)] == [structure.frac_coords[site] for site in (1, 4)]
    assert result.structure.frac_coords[0] != structure.frac_coords[0]
    assert result.structure.is_fixed == structure.is_fixed
    assert result.is_converged
    forces = np.linalg.norm(result.forces_ev_per_ang, axis=1)
    assert result.max_force_ev_per_ang == pytest.approx(forces[[0, 2, 3]].max())


def test_free_atoms_do_not_drift(engine: Engine) -> None:
    structure = cubic_cspbi3()
    result = engine.relax(structure, Freedom.POSITIONS)
    moves = np.array(result.structure.frac_coords) - structure.frac_coords
    assert np.abs(moves.mean(axis=0)).max() < 1e-9


def test_relaxation_that_runs_out_of_steps_says_so(engine: Engine) -> None:
    impatient = replace(engine, relaxation=replace(engine.relaxation, max_steps=1, force_threshold_ev_per_ang=0.01))
    result = impatient.relax(cubic_cspbi3(), Freedom.POSITIONS)
    assert not result.is_converged
    assert result.n_steps == 1
    assert result.max_force_ev_per_ang > 0.01


def test_every_step_is_reported(engine: Engine) -> None:
    steps: list[RelaxationStep] = []
    result = engine.relax(cubic_cspbi3(), Freedom.POSITIONS, on_step=steps.append)
    assert [step.step for step in steps] == list(range(result.n_steps + 1))
    assert min(step.energy_ev for step in steps) == result.energy_ev
    assert all(later.elapsed_s >= earlier.elapsed_s for earlier, later in pairwise(steps))


def test_engine_survives_storage(engine: Engine) -> None:
    assert MontyDecoder().process_decoded(engine.as_dict()) == engine


def test_time_estimate_grows_with_the_cell(engine: Engine) -> None:
    assert 0 < engine.seconds_per_force_call(10) < engine.seconds_per_force_call(100)


def test_missing_feature_is_refused_before_anything_runs(engine: Engine) -> None:
    engine.require(Feature.RELAX_CELL)
    with pytest.raises(EngineError, match="choose another engine"):
        engine.require(Feature.SOC)


@pytest.mark.parametrize("name", ["testing", "cp2k", "gpaw"])
def test_spin_orbit_coupling_is_refused_by_engines_without_it(name: str) -> None:
    with pytest.raises(EngineError, match="choose another engine"):
        engine_from_spec(EngineSpec(name=name, spin_orbit=True))


def test_atoms_on_top_of_each_other_are_refused(engine: Engine) -> None:
    structure = cubic_cspbi3(rattle_ang=0.0)
    coords = (structure.frac_coords[1], *structure.frac_coords[1:])
    with pytest.raises(EngineError, match="check the shortest distances"):
        engine.static(structure.model_copy(update={"frac_coords": coords}))


# --- the level of theory --------------------------------------------------------------------------------------------


def test_level_of_theory_does_not_depend_on_where_a_relaxation_stops() -> None:
    fast, precise = (engine_from_spec(EngineSpec(preset=preset)) for preset in (PresetName.FAST, PresetName.PRECISE))
    assert fast.theory() == precise.theory()
    assert fast.relaxation_settings() != precise.relaxation_settings()


def test_one_network_for_two_functionals_has_two_levels_of_theory() -> None:
    pbe, r2scan = (
        engine_from_spec(EngineSpec(potential=name)).theory() for name in ("sevennet-mf-0", "sevennet-mf-0-r2scan")
    )
    assert pbe.weights_hash == r2scan.weights_hash
    assert (pbe.functional, r2scan.functional) == ("PBE", "r2SCAN")
    assert (pbe.settings["d3_s8"], r2scan.settings["d3_s8"]) == (0.7875, 0.78981345)
    assert pbe.settings["modal"] != r2scan.settings["modal"]


@pytest.mark.parametrize(
    "other",
    [
        EngineSpec(potential="chgnet"),
        EngineSpec(potential="sevennet-l3i5"),
        EngineSpec(dispersion=Dispersion.NONE),
        EngineSpec(name="testing"),
    ],
)
def test_level_of_theory_differs_when_an_energy_would(other: EngineSpec) -> None:
    assert engine_from_spec(other).theory() != engine_from_spec(EngineSpec()).theory()


def test_level_of_theory_names_the_weights_by_their_hash() -> None:
    theory = engine_from_spec(EngineSpec()).theory()
    assert theory.level is Level.SCREENING
    assert (theory.code, theory.functional, theory.dispersion) == ("SevenNet-0", "PBE", "d3bj")
    # SHA-256 of the checkpoint of 11 July 2024 in the sevenn wheel
    assert theory.weights_hash == "7052cb42b7b3be42b40b97fa0d21077a48c54b5548948fc4dcf346629f813c36"


def test_level_of_theory_needs_no_network() -> None:
    code = (
        "import sys; from qdip_dft.engines.registry import engine_from_spec; from qdip_dft.model.engine import "
        "EngineSpec; engine_from_spec(EngineSpec()).theory(); print([m for m in ('torch', 'ase') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


# --- from the study to the engine -----------------------------------------------------------------------------------


def test_unknown_engine_names_the_nearest() -> None:
    with pytest.raises(EngineError, match="write `name: mlip`"):
        engine_from_spec(EngineSpec(name="milp"))


@pytest.mark.parametrize("name", ["mlip", "testing"])
def test_unknown_potential_is_refused(name: str) -> None:
    with pytest.raises(EngineError, match="potential"):
        engine_from_spec(EngineSpec(name=name, potential="nonsense"))


@pytest.mark.parametrize("settings", [{"ecut": 500}, {"max_steps": -1}, {"force_threshold_ev_per_ang": "small"}])
def test_impossible_settings_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(EngineError, match=r"correct the `settings` of the engine|leave it out for that of the preset"):
        engine_from_spec(EngineSpec(settings=settings))


def test_settings_override_the_preset() -> None:
    engine = engine_from_spec(EngineSpec(settings={"max_steps": 7}))
    assert engine.relaxation.max_steps == 7
    assert engine.relaxation.force_threshold_ev_per_ang == 0.05


def test_missing_extra_gives_its_install_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qdip_dft.engines.mlip.find_spec", lambda _: None)
    with pytest.raises(EngineError, match=r'pip install .*\[mlip\]"'):
        engine_from_spec(EngineSpec())


def test_toy_potential_has_no_dispersion() -> None:
    with pytest.raises(EngineError, match="choose another engine"):
        engine_from_spec(EngineSpec(name="testing", dispersion=Dispersion.D3BJ))


def test_presets_become_finer_in_their_order() -> None:
    fast, balanced, precise = (load_preset(name) for name in PresetName)
    for finer, coarser in [(precise, balanced), (balanced, fast)]:
        assert finer.force_threshold_ev_per_ang < coarser.force_threshold_ev_per_ang
        assert finer.stress_threshold_gpa < coarser.stress_threshold_gpa
        assert finer.k_spacing_per_ang < coarser.k_spacing_per_ang
        assert finer.dispersion is coarser.dispersion is Dispersion.D3BJ


# --- mlip -----------------------------------------------------------------------------------------------------------


def test_potential_does_not_guess_unknown_elements() -> None:
    actinide = StructureRecord(lattice_ang=(np.eye(3) * 4).tolist(), species=("Lr",), frac_coords=((0, 0, 0),))
    with pytest.raises(EngineError, match="choose another potential"):
        engine_from_spec(EngineSpec()).static(actinide)


def test_network_is_loaded_once_and_from_the_hashed_file() -> None:
    engine = engine_from_spec(EngineSpec())
    assert isinstance(engine, MlipEngine)
    assert load_network(engine.potential) is load_network(engine.potential)


def test_energy_is_summed_more_finely_than_single_precision() -> None:
    from ase import Atoms
    from sevenn.calculator import SevenNetCalculator

    from qdip_dft.engines.mlip import NETWORKS

    arrangement = cubic_cspbi3().arrangement
    atoms = Atoms(arrangement.species, positions=arrangement.positions_ang, cell=arrangement.lattice_ang, pbc=True)
    atoms.calc = SevenNetCalculator(str(weights_file(NETWORKS["sevennet-0"])), device="cpu")
    energy_ev = load_network("sevennet-0")(arrangement).energy_ev
    assert energy_ev == pytest.approx(atoms.get_potential_energy(), abs=1e-5)
    # One sum in four happens to be a number of single precision.
    cells = (strained(cubic_cspbi3(), 0.001 * n * np.eye(3)).arrangement for n in range(12))
    energies_ev = [load_network("sevennet-0")(cell).energy_ev for cell in cells]
    assert any(each != float(np.float32(each)) for each in energies_ev)


def test_dispersion_is_what_the_library_of_its_authors_gives() -> None:
    from dftd3.interface import DispersionModel, RationalDampingParam

    slab = strained(doubled(cubic_cspbi3()), np.diag([0.0, 0.0, 2.0]))
    arrangement = slab.arrangement
    plain = DispersionModel(
        arrangement.numbers,
        arrangement.positions_ang / BOHR_IN_ANG,
        arrangement.lattice_ang / BOHR_IN_ANG,
        np.ones(3, dtype=bool),
    ).get_dispersion(RationalDampingParam(method="PBE"), grad=False)
    expected_ev = plain["energy"] * HARTREE_IN_EV
    assert evaluate_d3(arrangement, PBE_D3BJ).energy_ev == pytest.approx(expected_ev, abs=1e-10)
    kinds = Dispersion.D3BJ, Dispersion.NONE
    with_d3, without = (engine_from_spec(EngineSpec(dispersion=kind)).static(slab) for kind in kinds)
    assert with_d3.energy_ev - without.energy_ev == pytest.approx(expected_ev, abs=1e-9)


# --- the toy potential ----------------------------------------------------------------------------------------------


def formamidinium_in_a_box() -> StructureRecord:
    """Return one planar formamidinium: C-N 1.31, C-H 1.10, N-H 1.02 Å, N-C-N 126°."""
    half = np.deg2rad(63)
    nitrogen = 1.31 * np.array([np.sin(half), -np.cos(half), 0])
    inner, outer = np.deg2rad(63 - 120 + 90), np.deg2rad(63 + 120 - 180)
    hydrogens = [nitrogen + 1.02 * np.array([np.cos(angle), np.sin(angle), 0]) for angle in (-inner - np.pi / 2, outer)]
    right = [nitrogen, *hydrogens]
    left = [atom * [-1, 1, 1] for atom in right]
    positions = np.array([[0, 0, 0], [0, 1.10, 0], *right, *left]) + 5
    return StructureRecord(
        lattice_ang=(np.eye(3) * 12).tolist(),
        species=("C", "H", "N", "H", "H", "N", "H", "H"),
        frac_coords=(positions / 12).tolist(),
    )


def test_molecule_stays_whole_in_the_toy_potential() -> None:
    result = engine_from_spec(EngineSpec(name="testing")).relax(formamidinium_in_a_box(), Freedom.POSITIONS)
    positions = np.array(result.structure.frac_coords) * 12
    bonds = [(0, 1), (0, 2), (0, 5), (2, 3), (2, 4), (5, 6), (5, 7)]
    lengths = [np.linalg.norm(positions[one] - positions[other]) for one, other in bonds]
    assert result.is_converged
    assert lengths == pytest.approx([1.09, 1.35, 1.35, 1.02, 1.02, 1.02, 1.02], abs=0.1)


def test_toy_potential_is_smooth_where_it_ends() -> None:
    engine = engine_from_spec(EngineSpec(name="testing"))
    pair = StructureRecord(
        lattice_ang=(np.eye(3) * 20).tolist(), species=("Pb", "S"), frac_coords=((0, 0, 0), (SWITCH_OFF_ANG / 20, 0, 0))
    )
    nearer = engine.static(displaced(pair, atom=1, axis=0, by_ang=-1e-3))
    assert engine.static(pair).energy_ev == 0
    assert abs(nearer.energy_ev) < 1e-9
    assert nearer.max_force_ev_per_ang < 1e-5


def test_pairs_are_each_found_once_and_across_the_cell() -> None:
    simple_cubic = find_pairs(np.zeros((1, 3)), np.eye(3) * 3.0, cutoff_ang=3.1)
    assert len(simple_cubic.first) == 3
    assert np.allclose(simple_cubic.distances_ang, 3.0)
    positions = np.random.default_rng(1).uniform(-9, 9, size=(12, 3))
    lattice = np.array([[7.0, 0, 0], [2, 6, 0], [-1, 1, 8]])
    pairs = find_pairs(positions, lattice, cutoff_ang=6.0)
    images = np.array([[i, j, k] for i in range(-7, 8) for j in range(-7, 8) for k in range(-7, 8)]) @ lattice
    distances = np.linalg.norm(positions[:, None, None] - positions[None, :, None] + images, axis=-1)
    assert len(pairs.first) == ((distances < 6.0) & (distances > 1e-6)).sum() / 2


# --- relaxation -----------------------------------------------------------------------------------------------------

STRICT = RelaxationSettings(
    force_threshold_ev_per_ang=1e-6, stress_threshold_ev_per_ang3=1e-8, max_steps=200, optimiser="any"
)


def test_gradient_by_free_numbers_is_the_slope_of_the_energy() -> None:
    potential = engine_from_spec(EngineSpec(name="testing")).load_potential()
    triclinic = strained(cubic_cspbi3(), np.array([[0.03, 0.02, 0], [0.01, 0.02, 0], [0.01, 0.03, 0.01]]))
    structure = triclinic.model_copy(update={"is_fixed": (True, False, False, False, False)})
    for freedom in (Freedom.POSITIONS, Freedom.OUT_OF_PLANE, Freedom.CELL):
        coordinates = coordinates_of(structure, freedom)
        q = coordinates.start() + np.random.default_rng(3).normal(scale=0.01, size=len(coordinates.start()))
        gradient = coordinates.gradient(q, potential(coordinates.arrangement(q)))
        for number, slope in enumerate(gradient):
            change = 1e-5 * np.eye(len(q))[number]
            up, down = (potential(coordinates.arrangement(q + sign * change)).energy_ev for sign in (1, -1))
            assert slope == pytest.approx((up - down) / 2e-5, abs=1e-6)


@pytest.mark.parametrize(
    ("shear", "n_strains"), [(0.0, 1), (1e-5, 1), (0.02, 4)], ids=["cubic", "cubic but for rounding", "monoclinic"]
)
def test_cell_keeps_its_crystal_system_and_no_more(shear: float, n_strains: int) -> None:
    sheared = strained(cubic_cspbi3(), np.array([[0, 0, 0], [0, 0, 0], [shear, 0.0, 3 * shear]]))
    assert len(coordinates_of(sheared, Freedom.CELL).strains) == n_strains


def test_model_hessian_is_positive_and_stiff_along_bonds() -> None:
    coordinates = coordinates_of(formamidinium_in_a_box(), Freedom.CELL)
    model = model_hessian(coordinates, coordinates.start())
    stretch, slide = np.zeros(len(model.q)), np.zeros(len(model.q))
    stretch[[1, 4]] = -1.0, 1.0  # hydrogen leaves carbon along the bond
    slide[:24] = np.tile([0.0, 0.0, 1.0], 8)
    assert stretch @ model.solve(stretch) > 0
    assert stretch @ model.solve(stretch) < 0.1 * slide @ model.solve(slide) / 8


def many_formamidinium(repeats: int) -> StructureRecord:
    crystal = load_crystal("FAPbI3-alpha").structure.copy()
    crystal.make_supercell([repeats, 2, 2])
    crystal.perturb(0.05)
    fixed = tuple(site % 5 == 0 for site in range(len(crystal)))
    return StructureRecord.from_pymatgen(crystal).model_copy(update={"is_fixed": fixed})


def test_model_hessian_gives_the_step_of_its_matrix() -> None:
    coordinates = coordinates_of(many_formamidinium(1), Freedom.OUT_OF_PLANE)
    model = model_hessian(coordinates, coordinates.start())
    matrix = model.matrix.toarray()
    assert matrix == pytest.approx(matrix.T, abs=1e-10)
    assert np.linalg.eigvalsh(matrix)[0] > 0
    gradient = np.random.default_rng(2).normal(size=len(matrix))
    exact = np.linalg.solve(matrix, gradient)
    assert model.solve(gradient) == pytest.approx(exact, abs=1e-7 * np.abs(exact).max())


def test_model_hessian_grows_with_the_number_of_atoms() -> None:
    few, many = (
        model_hessian(coordinates, coordinates.start())
        for coordinates in (coordinates_of(many_formamidinium(repeats), Freedom.POSITIONS) for repeats in (2, 8))
    )
    longer = len(many.q) / len(few.q)
    assert longer > 4.0
    assert many.matrix.nnz < 1.05 * longer * few.matrix.nnz
    assert many.blocks.L.nnz < 1.05 * longer * few.blocks.L.nnz


def test_strict_threshold_is_reached() -> None:
    potential = engine_from_spec(EngineSpec(name="testing")).load_potential()
    result = relax_structure(cubic_cspbi3(), Freedom.CELL, potential=potential, settings=STRICT)
    assert result.is_converged
    assert result.max_force_ev_per_ang <= 1e-6


def test_bad_contact_parts_without_an_explosion() -> None:
    engine = engine_from_spec(EngineSpec(name="testing"))
    structure = cubic_cspbi3(rattle_ang=0.0)
    coords = np.array(structure.frac_coords)
    coords[2] = coords[1] + [0, 0, 0.6 / 6.3]
    steps: list[RelaxationStep] = []
    squeezed = structure.model_copy(update={"frac_coords": tuple(map(tuple, coords))})
    result = engine.relax(squeezed, Freedom.POSITIONS, on_step=steps.append)
    moves = np.array(result.structure.frac_coords) - coords
    assert result.is_converged
    assert np.abs(moves).max() * 6.3 < 4.0


def test_energy_without_bottom_ends_as_not_converged() -> None:
    result = relax_structure(cubic_cspbi3(), Freedom.POSITIONS, potential=slope_without_end, settings=STRICT)
    assert not result.is_converged
    assert result.n_steps <= STRICT.max_steps


def test_atoms_that_attract_without_end_do_not_merge() -> None:
    result = relax_structure(cubic_cspbi3(), Freedom.POSITIONS, potential=collapse, settings=STRICT)
    arrangement = result.structure.arrangement
    pairs = find_pairs(arrangement.positions_ang, arrangement.lattice_ang, cutoff_ang=3.0)
    assert not result.is_converged
    assert pairs.distances_ang.min() >= SHORTEST_DISTANCE_ANG
    stuck, overlapping = result.warnings
    assert stuck == "no step lowers the energy further although forces remain"
    assert "had atoms on top of each other" in overlapping


def test_forces_that_contradict_the_energy_end_as_not_converged() -> None:
    result = relax_structure(cubic_cspbi3(), Freedom.POSITIONS, potential=forces_uphill, settings=STRICT)
    assert not result.is_converged
    assert result.warnings == ("no step lowers the energy further although forces remain",)


def rough(arrangement: Arrangement) -> Evaluation:
    """Return the toy energy as on a grid: 0.2 meV per atom of ripples that the forces know nothing of."""
    evaluation = engine_from_spec(EngineSpec(name="testing")).load_potential()(arrangement)
    ripples = np.sin(2 * np.pi * arrangement.positions_ang / 0.011).sum() / arrangement.n_atoms
    return replace(evaluation, energy_ev=evaluation.energy_ev + 2e-4 * arrangement.n_atoms * float(ripples))


def test_ripples_of_a_grid_in_the_energy_do_not_end_a_relaxation() -> None:
    rippled = relax_structure(cubic_cspbi3(), Freedom.CELL, potential=rough, settings=STRICT, noise_ev_per_atom=1e-3)
    smooth = relax_structure(
        cubic_cspbi3(),
        Freedom.CELL,
        potential=engine_from_spec(EngineSpec(name="testing")).load_potential(),
        settings=STRICT,
    )
    assert rippled.is_converged
    assert np.allclose(rippled.structure.lattice_ang, smooth.structure.lattice_ang, atol=1e-4)
    trusting = relax_structure(cubic_cspbi3(), Freedom.CELL, potential=rough, settings=STRICT)
    assert not trusting.is_converged


def squeezed(arrangement: Arrangement) -> Evaluation:
    """Return the toy energy with 8 GPa of stress that the energy knows nothing of, as of too few plane waves."""
    evaluation = engine_from_spec(EngineSpec(name="testing")).load_potential()(arrangement)
    assert evaluation.stress_ev_per_ang3 is not None
    return replace(evaluation, stress_ev_per_ang3=evaluation.stress_ev_per_ang3 + 0.05 * np.eye(3))


def test_a_cell_whose_stress_contradicts_the_energy_asks_for_more_plane_waves() -> None:
    result = relax_structure(cubic_cspbi3(), Freedom.CELL, potential=squeezed, settings=STRICT, noise_ev_per_atom=1e-3)
    assert not result.is_converged
    assert any("raise cutoff_ev" in warning for warning in result.warnings)
    atoms = relax_structure(
        cubic_cspbi3(), Freedom.POSITIONS, potential=squeezed, settings=STRICT, noise_ev_per_atom=1e-3
    )
    assert atoms.is_converged


def test_infinite_energy_on_the_way_is_stepped_back_from() -> None:
    potential = engine_from_spec(EngineSpec(name="testing")).load_potential()
    calls: list[int] = []

    def fails_once(arrangement: Arrangement) -> Evaluation:
        calls.append(1)
        evaluation = potential(arrangement)
        return replace(evaluation, energy_ev=float("nan")) if len(calls) == 2 else evaluation

    result = relax_structure(cubic_cspbi3(), Freedom.POSITIONS, potential=fails_once, settings=STRICT)
    assert result.is_converged
    assert len(calls) > 2


def slope_without_end(arrangement: Arrangement) -> Evaluation:
    """Return an energy that falls for ever along one atom's x: 100 eV/Å."""
    forces = np.zeros((arrangement.n_atoms, 3))
    forces[0, 0], forces[1:, 0] = 100.0, -100.0 / (arrangement.n_atoms - 1)
    return Evaluation(-float((forces * arrangement.positions_ang).sum()), forces, np.zeros((3, 3)))


def collapse(arrangement: Arrangement) -> Evaluation:
    """Return an energy that falls as two atoms approach, down to where they merge: 10 eV/Å."""
    vector = arrangement.positions_ang[2] - arrangement.positions_ang[1]
    forces = np.zeros((arrangement.n_atoms, 3))
    forces[1], forces[2] = 10 * vector / np.linalg.norm(vector), -10 * vector / np.linalg.norm(vector)
    return Evaluation(10 * float(np.linalg.norm(vector)), forces, np.zeros((3, 3)))


def forces_uphill(arrangement: Arrangement) -> Evaluation:
    """Return the toy potential with forces of the wrong sign."""
    evaluation = engine_from_spec(EngineSpec(name="testing")).load_potential()(arrangement)
    return replace(evaluation, forces_ev_per_ang=-evaluation.forces_ev_per_ang)


def test_presets_lie_beside_the_code() -> None:
    folder = Path(__file__).parents[2] / "qdip_dft" / "engines" / "presets"
    assert sorted(path.stem for path in folder.glob("*.yaml")) == sorted(PresetName)

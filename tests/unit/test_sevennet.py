"""The fast evaluation of SevenNet against the package's own."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from qdip_dft.engines import sevennet
from qdip_dft.engines.evaluation import Evaluation
from qdip_dft.engines.mlip import NETWORKS, choose_device, weights_file
from qdip_dft.engines.registry import engine_from_spec
from qdip_dft.engines.sevennet import SevenNet, load_sevennet
from qdip_dft.errors import EngineError
from qdip_dft.library.crystals import load_crystal
from qdip_dft.model.calculation import Freedom
from qdip_dft.model.engine import EngineSpec
from qdip_dft.model.structure import Arrangement, StructureRecord

ENERGY_EV = 1e-5
FORCE_EV_PER_ANG = 2e-5
"""Single precision: 1e-7 of the largest energy of an atom (-10 eV) and of the largest force (some 100 eV/Å)."""
STRESS_EV_PER_ANG3 = 1e-6


@cache
def fast() -> SevenNet:
    return load_sevennet(weights_file(NETWORKS["sevennet-0"]))


@cache
def calculator() -> Any:
    from sevenn.calculator import SevenNetCalculator

    return SevenNetCalculator(model=str(weights_file(NETWORKS["sevennet-0"])), device="cpu")


def evaluate_as_the_package_does(arrangement: Arrangement) -> Evaluation:
    from ase import Atoms

    atoms = Atoms(arrangement.species, arrangement.positions_ang, cell=arrangement.lattice_ang, pbc=True)
    calculator().calculate(atoms)
    results = calculator().results
    return Evaluation(
        energy_ev=float(np.sum(results["energies"], dtype=np.float64)),
        forces_ev_per_ang=results["forces"],
        stress_ev_per_ang3=results["stress"][[[0, 5, 4], [5, 1, 3], [4, 3, 2]]],
    )


def rattled(crystal_id: str, *, repeats: tuple[int, int, int] = (1, 1, 1)) -> Arrangement:
    """Atoms of a library crystal, moved at random by 0.1 Å and not wrapped."""
    cell = load_crystal(crystal_id).record.structure.arrangement
    shifts = np.array([[i, j, k] for i in range(repeats[0]) for j in range(repeats[1]) for k in range(repeats[2])])
    positions = (cell.positions_ang[None] + (shifts @ cell.lattice_ang)[:, None]).reshape(-1, 3)
    noise = np.random.default_rng(5).normal(scale=0.1, size=positions.shape)
    return Arrangement(cell.species * len(shifts), positions + noise, cell.lattice_ang * np.array(repeats)[:, None])


def in_vacuum() -> Arrangement:
    cell = rattled("PbS", repeats=(2, 1, 1))
    return Arrangement(cell.species, cell.positions_ang, cell.lattice_ang + np.diag([0.0, 0.0, 15.0]))


STRUCTURES: dict[str, Callable[[], Arrangement]] = {
    "formamidinium": lambda: rattled("FAPbI3-alpha", repeats=(2, 1, 1)),
    "methylammonium": lambda: rattled("MAPbI3-cubic"),
    "yellow": lambda: rattled("CsPbI3-delta"),
    "dot": lambda: rattled("CdSe-zincblende"),
    "slab": in_vacuum,
}


@pytest.mark.parametrize("name", STRUCTURES)
def test_fast_evaluation_differs_from_the_package_by_rounding_only(name: str) -> None:
    arrangement = STRUCTURES[name]()
    expected, found = evaluate_as_the_package_does(arrangement), fast()(arrangement)
    assert found.energy_ev == pytest.approx(expected.energy_ev, abs=ENERGY_EV)
    assert found.forces_ev_per_ang == pytest.approx(expected.forces_ev_per_ang, abs=FORCE_EV_PER_ANG)
    assert found.stress_ev_per_ang3 == pytest.approx(expected.stress_ev_per_ang3, abs=STRESS_EV_PER_ANG3)


def test_without_numba_the_convolution_of_the_package_is_taken_with_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sevennet, "can_compile", lambda: False)
    with pytest.warns(RuntimeWarning, match="numba is missing"):
        slow = load_sevennet(weights_file(NETWORKS["sevennet-0"]))
    assert not slow.takes_pairs_once


def test_lone_atom_has_an_energy_and_no_force() -> None:
    lone = Arrangement(("I",), np.zeros((1, 3)), np.eye(3) * 20.0)
    evaluation = fast()(lone)
    assert evaluation.energy_ev == pytest.approx(evaluate_as_the_package_does(lone).energy_ev, abs=ENERGY_EV)
    assert evaluation.forces_ev_per_ang == pytest.approx(np.zeros((1, 3)), abs=1e-9)


def test_structures_in_one_graph_have_the_numbers_that_they_have_alone() -> None:
    arrangements = [make() for make in STRUCTURES.values()]
    for alone, together in zip(map(fast(), arrangements), fast().evaluate_many(arrangements), strict=True):
        assert together.energy_ev == pytest.approx(alone.energy_ev, abs=ENERGY_EV)
        assert together.forces_ev_per_ang == pytest.approx(alone.forces_ev_per_ang, abs=FORCE_EV_PER_ANG)
        assert together.stress_ev_per_ang3 == pytest.approx(alone.stress_ev_per_ang3, abs=STRESS_EV_PER_ANG3)


@pytest.mark.parametrize("name", ["sevennet-l3i5", "sevennet-mf-0", "sevennet-mf-0-r2scan"])
def test_other_networks_of_the_package_have_its_numbers_alone_and_together(name: str) -> None:
    from sevenn.calculator import SevenNetCalculator

    network = NETWORKS[name]
    ours = load_sevennet(weights_file(network), modal=network.modal)
    theirs = SevenNetCalculator(str(weights_file(network)), device="cpu", modal=network.modal)
    arrangements = [STRUCTURES[each]() for each in ("dot", "methylammonium")]
    for arrangement, found in zip(arrangements, ours.evaluate_many(arrangements), strict=True):
        atoms = arrangement.to_ase()
        atoms.calc = theirs
        assert found.energy_ev == pytest.approx(atoms.get_potential_energy(), abs=ENERGY_EV)
        assert found.forces_ev_per_ang == pytest.approx(atoms.get_forces(), abs=FORCE_EV_PER_ANG)


def test_unknown_convolution_is_left_as_it_is_with_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sevennet, "is_known", lambda _: False)
    with pytest.warns(RuntimeWarning, match="not one whose convolution is known here; the numbers are the same"):
        slow = load_sevennet(weights_file(NETWORKS["sevennet-0"]))
    assert not slow.takes_pairs_once
    arrangement = STRUCTURES["dot"]()
    expected = evaluate_as_the_package_does(arrangement)
    assert slow(arrangement).energy_ev == pytest.approx(expected.energy_ev, abs=ENERGY_EV)


def test_convolution_that_gives_other_numbers_is_taken_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qdip_dft.engines.sevennet_convolution.wigner_3j", lambda *_: 1.001 * _wigner(*_))
    with pytest.warns(RuntimeWarning, match="the numbers are the same"):
        slow = load_sevennet(weights_file(NETWORKS["sevennet-0"]))
    arrangement = STRUCTURES["dot"]()
    expected = evaluate_as_the_package_does(arrangement)
    assert slow(arrangement).energy_ev == pytest.approx(expected.energy_ev, abs=ENERGY_EV)


def _wigner(*angular_momenta: int) -> Any:
    from e3nn.o3 import wigner_3j

    return wigner_3j(*angular_momenta)


# --- several relaxations at once ------------------------------------------------------------------------------------


def displaced(crystal_id: str, seed: int) -> StructureRecord:
    record = load_crystal(crystal_id).record.structure
    noise = np.random.default_rng(seed).normal(scale=0.01, size=(record.n_atoms, 3))
    coordinates = np.array(record.frac_coords) + noise
    return record.model_copy(update={"frac_coords": tuple(map(tuple, coordinates.tolist()))})


def crushed() -> StructureRecord:
    record = displaced("PbS", 1)
    return record.model_copy(update={"frac_coords": (record.frac_coords[0],) * record.n_atoms})


def test_relaxations_side_by_side_are_those_one_by_one() -> None:
    engine = engine_from_spec(EngineSpec(dispersion="none"))
    structures = [displaced("CsPbI3-alpha", 1), displaced("PbS", 2), crushed(), displaced("CsPbI3-alpha", 3)]
    together = engine.relax_many(structures, Freedom.POSITIONS)
    for structure, found in zip(structures, together, strict=True):
        if isinstance(found, EngineError):
            assert structure == crushed()
            assert "check the shortest distances of the structure" in found.remedy
            continue
        alone = engine.relax(structure, Freedom.POSITIONS)
        assert (found.n_steps, found.is_converged) == (alone.n_steps, alone.is_converged)
        assert found.energy_ev == pytest.approx(alone.energy_ev, abs=ENERGY_EV)
    assert sum(isinstance(found, EngineError) for found in together) == 1


def test_relaxations_side_by_side_repeat_nothing_after_a_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QDIP_SCRATCH", str(tmp_path))
    structures = [displaced("CsPbI3-alpha", 1), displaced("PbS", 2)]
    engine = engine_from_spec(EngineSpec(name="testing"))
    undisturbed = engine.relax_many(structures, Freedom.POSITIONS)
    potential, evaluated = engine.load_potential(), []

    def dies_once(arrangement: Arrangement) -> Evaluation:
        evaluated.append(arrangement)
        if len(evaluated) == 8:
            raise KeyboardInterrupt
        return potential(arrangement)

    monkeypatch.setattr(type(engine), "load_potential", lambda _: dies_once)
    with pytest.raises(KeyboardInterrupt):
        engine.relax_many(structures, Freedom.POSITIONS)
    resumed = engine.relax_many(structures, Freedom.POSITIONS)
    assert [found.energy_ev for found in resumed] == [found.energy_ev for found in undisturbed]
    n_points = sum(found.n_steps + 1 for found in undisturbed)
    assert len(evaluated) <= n_points + len(structures)
    assert not list(tmp_path.iterdir())


# --- the device -----------------------------------------------------------------------------------------------------


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a graphics processor")
def test_missing_graphics_processor_is_refused_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(EngineError, match="write `device: auto`"):
        engine_from_spec(EngineSpec(device="cuda")).load_potential()
    monkeypatch.setenv("QDIP_DEVICE", "gpu")
    with pytest.raises(EngineError, match="set QDIP_DEVICE to one of them"):
        engine_from_spec(EngineSpec()).load_potential()
    monkeypatch.setenv("QDIP_DEVICE", "cpu")
    assert choose_device("cuda") == "cpu"


def test_device_is_no_part_of_what_is_calculated() -> None:
    specs = EngineSpec(device="cpu"), EngineSpec(device="auto")
    engines = [engine_from_spec(spec) for spec in specs]
    assert engines[0].theory() == engines[1].theory()
    assert engines[0].relaxation_settings() == engines[1].relaxation_settings()
    assert "device" not in specs[1].model_dump()
    assert EngineSpec.model_validate(specs[0].model_dump()) == specs[0]

"""What all DFT engines share: k-points, vacuum, presets, and a run that goes on after a kill."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qdip_dft.engines.code_run import CodeRun, RecordedRun, Setting, count_k_points, find_vacuum
from qdip_dft.engines.cp2k.data import data_folder, find_kind
from qdip_dft.engines.cp2k.engine import BOLTZMANN_EV_PER_K, Cp2kEngine
from qdip_dft.engines.cp2k.input import k_points
from qdip_dft.engines.dispersion import D3BJ_OF_FUNCTIONAL
from qdip_dft.engines.espresso.engine import EspressoEngine, find_pseudopotential
from qdip_dft.engines.evaluation import Evaluation
from qdip_dft.engines.gpaw.engine import GpawEngine
from qdip_dft.engines.handlers import Failure, HandledRun, Handler
from qdip_dft.engines.preset import load_preset
from qdip_dft.engines.programs import find_command, run_command
from qdip_dft.engines.registry import engine_from_spec
from qdip_dft.engines.relaxation.descent import relax_structure
from qdip_dft.engines.relaxation.recorded import scratch_folder
from qdip_dft.engines.restart import Shelf
from qdip_dft.engines.testing import evaluate_morse
from qdip_dft.errors import EngineError
from qdip_dft.model.calculation import Freedom
from qdip_dft.model.engine import EngineSpec, PresetName
from qdip_dft.model.structure import Arrangement, StructureRecord
from qdip_dft.runtime.journal import SCRATCH_VARIABLE
from tests.conftest import require_binary


def cubic(edge_ang: float, *, height_ang: float | None = None) -> StructureRecord:
    """Return CsPbI3 in a cell that may be higher than the atoms need."""
    frac = np.array([[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]) + 0.01
    height = height_ang or edge_ang
    frac[:, 2] *= edge_ang / height
    return StructureRecord(
        lattice_ang=np.diag([edge_ang, edge_ang, height]).tolist(),
        species=("Cs", "Pb", "I", "I", "I"),
        frac_coords=frac.tolist(),
    )


@pytest.mark.parametrize(("preset", "points"), [("fast", 4), ("balanced", 5), ("precise", 7)])
def test_k_points_of_cubic_cspbi3_follow_the_preset(preset: str, points: int) -> None:
    spacing = load_preset(PresetName(preset)).k_spacing_per_ang
    assert count_k_points(cubic(6.29), spacing) == (points, points, points)


def test_a_doubled_cell_has_half_the_k_points_of_an_even_mesh() -> None:
    single = cubic(6.0)
    doubled = StructureRecord(
        lattice_ang=(2 * np.array(single.lattice_ang)).tolist(),
        species=single.species * 2,
        frac_coords=np.vstack([single.frac_coords, np.array(single.frac_coords) + 1]).tolist(),
    )
    doubled = doubled.model_copy(update={"frac_coords": tuple(map(tuple, np.array(doubled.frac_coords) / 2))})
    assert count_k_points(single, 2 * np.pi / 6.0 / 4) == (4, 4, 4)
    assert count_k_points(doubled, 2 * np.pi / 6.0 / 4) == (2, 2, 2)


def test_a_slab_has_one_k_point_across_its_vacuum_and_those_of_the_crystal_in_its_plane() -> None:
    crystal, slab = cubic(6.29), cubic(6.29, height_ang=18.0)
    assert count_k_points(slab, 0.15)[:2] == count_k_points(crystal, 0.15)[:2]
    assert count_k_points(slab, 0.15)[2] == 1


def test_the_vacuum_is_found_wherever_the_slab_lies() -> None:
    slab = cubic(6.29, height_ang=20.0)
    raised = np.array(slab.frac_coords) + np.array([0, 0, 0.6])
    moved = slab.model_copy(update={"frac_coords": tuple(map(tuple, raised))})
    here, there = find_vacuum(slab), find_vacuum(moved)
    assert here is not None
    assert there is not None
    assert there.centre == pytest.approx((here.centre + 0.6) % 1.0)
    assert find_vacuum(cubic(6.29)) is None


def test_every_functional_has_the_damping_parameters_of_the_reference_library() -> None:
    from dftd3.parameters import get_damping_param

    for functional, ours in D3BJ_OF_FUNCTIONAL.items():
        theirs = get_damping_param(functional.lower(), defaults=["bj"])
        assert (ours.s6, ours.s8, ours.a1, ours.a2_bohr) == tuple(theirs[k] for k in ("s6", "s8", "a1", "a2"))


def test_a_cutoff_of_the_study_replaces_that_of_the_preset() -> None:
    engine = engine_from_spec(EngineSpec(name="gpaw", settings={"cutoff_ev": 350}))
    assert isinstance(engine, GpawEngine)
    assert engine.cutoff_ev == 350
    assert engine.k_spacing_per_ang == load_preset(PresetName.FAST).k_spacing_per_ang


def test_a_functional_without_pseudopotentials_is_refused() -> None:
    with pytest.raises(EngineError, match=r"set `engine\.functional` to one of them") as caught:
        engine_from_spec(EngineSpec(name="gpaw", functional="BLYP"))
    assert "PBE" in caught.value.limit


def test_an_unknown_setting_of_a_dft_engine_is_refused() -> None:
    with pytest.raises(EngineError, match="correct the `settings`"):
        engine_from_spec(EngineSpec(name="espresso", settings={"ecutwfc": 40}))


def test_an_absent_program_is_named_with_its_cure() -> None:
    with pytest.raises(EngineError, match="install it") as caught:
        find_command("no-such-code-4711 -in", engine="espresso", remedy="install it")
    assert "no-such-code-4711" in caught.value.what


def test_a_pseudopotential_is_found_by_its_element(tmp_path: Path) -> None:
    for name in ("Pb.upf", "S_ONCV_PBE.UPF", "Sn-dn.upf", "README"):
        (tmp_path / name).write_text("")
    assert find_pseudopotential(tmp_path, "S").name == "S_ONCV_PBE.UPF"
    assert find_pseudopotential(tmp_path, "Sn").name == "Sn-dn.upf"
    with pytest.raises(EngineError, match="one UPF file per element"):
        find_pseudopotential(tmp_path, "Cs")


def test_two_pseudopotentials_of_one_element_are_refused(tmp_path: Path) -> None:
    for name in ("Pb.upf", "pb_old.UPF"):
        (tmp_path / name).write_text("")
    with pytest.raises(EngineError, match="one UPF file per element") as caught:
        find_pseudopotential(tmp_path, "Pb")
    assert "2 pseudopotentials of Pb" in caught.value.what


def test_another_pseudopotential_is_another_level_of_theory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hashes = []
    for content in ("one", "two"):
        folder = tmp_path / content
        folder.mkdir()
        (folder / "Pb.upf").write_text(content)
        monkeypatch.setenv("ESPRESSO_PSEUDO", str(folder))
        hashes.append(EspressoEngine.from_spec(EngineSpec(name="espresso")).weights_hash())
    assert hashes[0] != hashes[1]


def test_the_same_question_runs_in_the_same_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SCRATCH_VARIABLE, str(tmp_path))
    engine = engine_from_spec(EngineSpec(name="testing"))
    folder = scratch_folder(engine, cubic(6.0), Freedom.CELL)
    assert folder == scratch_folder(engine, cubic(6.0), Freedom.CELL)
    assert folder.parent == tmp_path
    others = {scratch_folder(engine, cubic(6.1), Freedom.CELL), scratch_folder(engine, cubic(6.0), Freedom.POSITIONS)}
    assert len({folder, *others}) == 3


class Dying(CodeRun):
    """A code that works a number of times and then is killed."""

    def __init__(self, lives: int) -> None:
        self.corrections = []
        self.lives = lives
        self.n_evaluations = 0

    def evaluate(self, arrangement: Arrangement) -> Evaluation:
        if self.n_evaluations == self.lives:
            raise KeyboardInterrupt
        self.n_evaluations += 1
        return evaluate_morse(arrangement)

    def clean(self) -> None:
        """Keep everything."""


def recorded(run: CodeRun, folder: Path) -> RecordedRun:
    setting = Setting(folder=folder, k_mesh=(1, 1, 1), vacuum=None, has_fixed_cell=True)
    return RecordedRun(
        run, setting, lambda _, evaluation: evaluation, lambda _, __: Shelf(folder / "shelf"), lambda *_: None
    )


def test_a_killed_relaxation_goes_on_where_it_stopped_and_ends_at_the_same_place(tmp_path: Path) -> None:
    structure = cubic(6.0)
    settings = engine_from_spec(EngineSpec(name="testing")).relaxation
    whole = Dying(lives=1000)
    (tmp_path / "whole").mkdir()
    straight = relax_structure(
        structure, Freedom.CELL, potential=recorded(whole, tmp_path / "whole"), settings=settings
    )
    assert whole.n_evaluations > 4
    with pytest.raises(KeyboardInterrupt):
        relax_structure(structure, Freedom.CELL, potential=recorded(Dying(lives=3), tmp_path), settings=settings)
    with (tmp_path / "evaluations.jsonl").open("a") as file:
        file.write('\n["cut short by the ki')
    second = Dying(lives=1000)
    resumed = relax_structure(structure, Freedom.CELL, potential=recorded(second, tmp_path), settings=settings)
    assert second.n_evaluations == whole.n_evaluations - 3
    assert resumed.structure == straight.structure
    assert resumed.energy_ev == straight.energy_ev


def test_an_arrangement_met_before_costs_nothing(tmp_path: Path) -> None:
    arrangement = cubic(6.0).arrangement
    run = Dying(lives=1)
    potential = recorded(run, tmp_path)
    assert potential(arrangement).energy_ev == potential(arrangement).energy_ev
    assert recorded(Dying(lives=0), tmp_path)(arrangement).energy_ev == potential(arrangement).energy_ev


def test_a_command_reads_and_writes_in_its_folder(tmp_path: Path) -> None:
    (tmp_path / "in").write_text("hello")
    code = run_command(["cat"], folder=tmp_path, stdin=tmp_path / "in", stdout=tmp_path / "out")
    assert code == 0
    assert (tmp_path / "out").read_text() == "hello"


def test_a_correction_after_a_failure_never_changes_the_physics() -> None:
    for setting in ("degauss", "smearing", "kpts", "ecutwfc", "xc", "electronic_temperature", "nbands", "tot_charge"):
        with pytest.raises(EngineError, match="change it in the study"):
            Handler(symptom="not converged", changes={setting: 1}, words="changed")


class Stubborn(HandledRun):
    """A code that fails until its mixing is slow."""

    code = "Stubborn"
    handlers = (
        Handler(symptom="oscillates", changes={"mixing_beta": 0.3}, words="mixing of 0.3"),
        Handler(symptom="oscillates", changes={"mixing_beta": 0.1}, words="mixing of 0.1"),
    )
    needed_beta = 0.1

    def attempt(self, arrangement: Arrangement, numerics: Mapping[str, Any]) -> Evaluation | Failure:
        if numerics.get("mixing_beta", 0.7) > self.needed_beta:
            return Failure(said="the density oscillates", summary="the density oscillates", output=Path("pw.out"))
        return evaluate_morse(arrangement)

    def clean(self) -> None:
        """Keep everything."""


def stubborn(folder: Path) -> Stubborn:
    return Stubborn(Setting(folder=folder, k_mesh=(1, 1, 1), vacuum=None, has_fixed_cell=True))


def test_every_correction_that_was_needed_is_recorded(tmp_path: Path) -> None:
    run = stubborn(tmp_path)
    assert run.evaluate(cubic(6.0).arrangement).is_finite
    assert run.corrections == ["mixing of 0.3", "mixing of 0.1"]


def test_a_code_that_no_handler_cures_is_given_up_with_its_own_words(tmp_path: Path) -> None:
    run = stubborn(tmp_path)
    run.needed_beta = 0.01
    with pytest.raises(EngineError, match=r"read pw\.out") as caught:
        run.evaluate(cubic(6.0).arrangement)
    assert "the density oscillates" in caught.value.what
    assert "mixing of 0.1" in caught.value.limit


K_MESHES = ((2, 2, 2), (3, 2, 1), (4, 4, 1), (5, 3, 2))


@pytest.mark.parametrize("mesh", K_MESHES)
def test_the_k_points_of_cp2k_are_half_of_the_mesh_around_gamma_with_all_of_its_weight(
    mesh: tuple[int, int, int],
) -> None:
    points = np.array([line[1:] for line in k_points(mesh)["KPOINT"]], dtype=float)
    assert points[:, 3].sum() == pytest.approx(1.0)
    assert np.allclose(points[0, :3], 0.0)
    on_mesh = points[:, :3] * mesh
    assert np.allclose(on_mesh, np.round(on_mesh))
    assert len(points) <= np.prod(mesh) / 2 + 4


def test_lead_and_its_basis_set_in_cp2k_have_the_same_number_of_electrons() -> None:
    require_binary("cp2k")
    kind = find_kind(data_folder("cp2k"), "Pb", family="TZV2P-MOLOPT-PBE-GTH")
    assert (kind.potential, kind.basis_set, kind.n_electrons) == ("GTH-PBE-q4", "TZV2P-MOLOPT-PBE-GTH-q4", 4)
    with pytest.raises(EngineError, match="choose another preset or another engine"):
        find_kind(data_folder("cp2k"), "Og", family="TZV2P-MOLOPT-PBE-GTH")


def test_the_temperature_of_cp2k_spreads_the_occupation_as_the_gaussian_does() -> None:
    engine = engine_from_spec(EngineSpec(name="cp2k"))
    assert isinstance(engine, Cp2kEngine)
    width_ev = BOLTZMANN_EV_PER_K * engine.electronic_temperature_k
    # Variances of -df/dE: (pi kT)^2 / 3 of Fermi and Dirac, sigma^2 / 2 of the Gaussian.
    assert (np.pi * width_ev) ** 2 / 3 == pytest.approx(engine.smearing_width_ev**2 / 2, rel=1e-6)

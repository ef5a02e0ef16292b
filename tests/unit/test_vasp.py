"""The engine `vasp`, driven with a stand-in for the program: inputs, custodian, parsers, order of atoms, restarts."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qdip_dft.engines.base import Feature
from qdip_dft.engines.code_run import Setting, Vacuum
from qdip_dft.engines.dispersion import PBE_D3BJ, evaluate_d3
from qdip_dft.engines.registry import engine_from_spec
from qdip_dft.engines.testing import evaluate_morse
from qdip_dft.engines.vasp.custodian import require_same_physics
from qdip_dft.engines.vasp.engine import VERSION_VARIABLE, VaspEngine, VaspRun
from qdip_dft.engines.vasp.files import file_order, read_evaluation, read_output
from qdip_dft.engines.vasp.potentials import hash_of_release
from qdip_dft.errors import EngineError, OutOfTime
from qdip_dft.flows.engines import StudyEngines
from qdip_dft.model.calculation import Freedom, Level
from qdip_dft.model.engine import Dispersion, EngineSpec, Restart
from qdip_dft.model.structure import Arrangement, StructureRecord
from qdip_dft.runtime.deadline import MARGIN_S, Deadline, working_until
from qdip_dft.runtime.journal import SCRATCH_VARIABLE
from tests.dft_codes import scratch_files
from tests.fake_vasp import SPIN_ORBIT_EV

GOLDEN = Path(__file__).resolve().parents[1] / "data" / "golden" / "vasp"
STAND_IN = Path(__file__).resolve().parents[1] / "fake_vasp.py"


def fake_potential(symbol: str) -> str:
    """Return a file with the head of a POTCAR and nothing of its content, which is licensed."""
    element = symbol.split("_", maxsplit=1)[0]
    title = f"PAW_PBE {symbol} 01Jan2000"
    return f"""  {title}
   4.00000000000000000
 parameters from PSCTR are:
   VRHFIN ={element}: none
   TITEL  = {title}
   LEXCH  = PE
   ENMAX  =  200.000; ENMIN  =  150.000 eV
   ZVAL   =    4.000
  END of PSCTR-controll parameters
 no potential: a stand-in of the tests
   1.0  2.0
 End of Dataset
"""


def write_potentials(root: Path, *symbols: str) -> Path:
    folder = root / "POT_GGA_PAW_PBE_54"
    folder.mkdir(parents=True, exist_ok=True)
    for symbol in symbols:
        (folder / f"POTCAR.{symbol}").write_text(fake_potential(symbol))
    return folder


@pytest.fixture
def potentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of stand-in potentials, known to pymatgen."""
    from pymatgen.core import SETTINGS

    monkeypatch.setitem(SETTINGS, "PMG_VASP_PSP_DIR", str(tmp_path / "potentials"))
    return write_potentials(tmp_path / "potentials", "Cs_sv", "I", "Pb_d", "S", "C")


@pytest.fixture
def engine(potentials: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> VaspEngine:
    """The engine with the stand-in as its program."""
    assert potentials.is_dir()
    monkeypatch.setenv("ATOMATE2_VASP_CMD", f"{sys.executable} -P {STAND_IN}")
    monkeypatch.setenv("ATOMATE2_VASP_NCL_CMD", f"{sys.executable} -P {STAND_IN} --ncl")
    monkeypatch.setenv("PYTHONPATH", str(STAND_IN.parents[1]))
    monkeypatch.setenv(VERSION_VARIABLE, "6.3.2")
    monkeypatch.setenv(SCRATCH_VARIABLE, str(tmp_path / "scratch"))
    made = engine_from_spec(EngineSpec(name="vasp", dispersion=Dispersion.NONE))
    assert isinstance(made, VaspEngine)
    return made


def cubic(*, rattle_ang: float = 0.1, height_ang: float = 6.3) -> StructureRecord:
    """Return CsPbI3 with its elements mixed, an atom outside the cell, and perhaps vacuum above."""
    ideal = np.array([[0.5, 0.5, 0], [0, 0, 0], [1.5, 0, 0.5], [0.5, 0.5, 0.5], [0, 0.5, 0.5]])
    noise = np.random.default_rng(5).normal(scale=rattle_ang / 6.3, size=ideal.shape)
    frac = (ideal + noise + 0.1) * [1, 1, 6.3 / height_ang]
    return StructureRecord(
        lattice_ang=np.diag([6.3, 6.3, height_ang]).tolist(),
        species=("I", "Cs", "I", "Pb", "I"),
        frac_coords=frac.tolist(),
    )


def runs(tmp_path: Path) -> list[str]:
    """Return what each start of the stand-in was asked."""
    (path,) = (tmp_path / "scratch").glob("*/runs-of-the-stand-in")
    return path.read_text().splitlines()


def test_energy_forces_and_stress_come_back_in_the_callers_order_and_units(engine: VaspEngine) -> None:
    structure = cubic()
    result, expected = engine.static(structure), evaluate_morse(structure.arrangement)
    assert result.energy_ev == pytest.approx(expected.energy_ev, abs=1e-7)
    assert np.allclose(result.forces_ev_per_ang, expected.forces_ev_per_ang, atol=1e-7)
    assert np.allclose(result.stress_ev_per_ang3, expected.stress_ev_per_ang3, atol=1e-7)
    assert result.corrections == ()


@given(order=st.permutations(range(5)))
@settings(max_examples=30)
def test_any_order_of_sites_is_grouped_by_element_and_taken_back(order: list[int]) -> None:
    species = [("Cs", "Pb", "I", "I", "I")[i] for i in order]
    there = file_order(species)
    back = np.empty(5, dtype=int)
    back[there] = range(5)
    grouped = [species[i] for i in there]
    assert grouped == sorted(grouped)
    assert [grouped[i] for i in back] == species


def test_a_relaxation_goes_on_from_the_wavefunctions_and_ends_where_the_toy_potential_does(
    engine: VaspEngine, tmp_path: Path
) -> None:
    structure = cubic()
    result = replace(engine, relaxation=replace(engine.relaxation, max_steps=3)).relax(structure, Freedom.POSITIONS)
    toy = engine_from_spec(EngineSpec(name="testing", settings={"max_steps": 3}))
    expected = toy.relax(structure, Freedom.POSITIONS)
    assert result.energy_ev == pytest.approx(expected.energy_ev, abs=1e-5)
    starts = [line.split()[2] for line in runs(tmp_path)]
    assert starts == ["0"] + ["1"] * (len(starts) - 1)
    assert len(starts) == 4
    assert not list((tmp_path / "scratch").glob("*/WAVECAR"))


@pytest.mark.parametrize(
    ("restart", "istart", "icharg"),
    [(Restart.NONE, 1, 0), (Restart.DENSITY, 0, 1), (Restart.WAVEFUNCTIONS, 1, 0), (Restart.FULL, 1, 1)],
)
def test_what_is_reused_is_what_was_asked(
    engine: VaspEngine, tmp_path: Path, restart: Restart, istart: int, icharg: int
) -> None:
    setting = Setting(tmp_path, (2, 2, 2), None, has_fixed_cell=True, restart=restart)
    assert VaspRun(setting, engine).start_tags() == {"ISTART": 0, "ICHARG": 2}
    for name in ("WAVECAR", "CHGCAR"):
        (tmp_path / name).write_text("something")
    assert VaspRun(setting, engine).start_tags() == {"ISTART": istart, "ICHARG": icharg}
    moving = replace(setting, has_fixed_cell=False)
    assert VaspRun(moving, engine).start_tags() == {"ISTART": 0, "ICHARG": 2}


def test_a_cell_that_moves_starts_every_density_anew(engine: VaspEngine, tmp_path: Path) -> None:
    replace(engine, relaxation=replace(engine.relaxation, max_steps=1)).relax(cubic(), Freedom.CELL)
    assert [line.split()[2] for line in runs(tmp_path)] == ["0", "0"]


def test_dispersion_is_added_by_the_library_of_all_codes(engine: VaspEngine) -> None:
    structure = cubic()
    with_d3 = replace(engine, dispersion="d3bj").static(structure)
    expected = evaluate_d3(structure.arrangement, PBE_D3BJ).energy_ev
    assert with_d3.energy_ev - engine.static(structure).energy_ev == pytest.approx(expected, abs=1e-6)


def test_a_density_that_does_not_converge_is_mixed_more_slowly_and_said_so(
    engine: VaspEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_VASP", "unconverged=1")
    result = engine.static(cubic())
    assert result.corrections == ("self-consistency reached with mixing of 0.1 in up to 300 iterations",)


def test_a_density_that_never_converges_gives_no_energy(engine: VaspEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_VASP", "unconverged=99")
    with pytest.raises(EngineError, match=r"read .*OUTCAR"):
        engine.static(cubic())


def test_a_numerical_correction_of_custodian_is_recorded(
    engine: VaspEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_VASP", "error=internal error in subroutine PRICEL")
    result = engine.static(cubic())
    assert result.corrections == ("VASP error pricel mended by INCAR set SYMPREC = 1e-08; INCAR set ISYM = 0",)
    assert runs(tmp_path)[-1].endswith("ISYM = 0")
    assert result.energy_ev == pytest.approx(evaluate_morse(cubic().arrangement).energy_ev, abs=1e-7)


def test_a_density_is_stopped_before_the_allocation_ends_and_goes_on_from_its_wavefunctions(
    engine: VaspEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from qdip_dft.engines.vasp import custodian as vasp_custodian

    monkeypatch.setattr(vasp_custodian, "MONITORING_S", 0.2)
    monkeypatch.setenv("FAKE_VASP", "slow")
    soon = Deadline(end_s=time.time() + MARGIN_S + vasp_custodian.LEFT_FOR_STOPPING_S - 1)
    with working_until(soon), pytest.raises(OutOfTime, match="goes on from the wavefunctions"):
        engine.static(cubic())
    monkeypatch.delenv("FAKE_VASP")
    again = engine.static(cubic())
    assert [line.split()[2] for line in runs(tmp_path)] == ["0", "1"]
    assert again.energy_ev == pytest.approx(evaluate_morse(cubic().arrangement).energy_ev, abs=1e-7)


@pytest.mark.parametrize(
    ("message", "remedy"),
    [
        # custodian would change smearing and k-points, or take another lattice for the crystal.
        ("Tetrahedron method fails", r"read .*vasp\.out"),
        ("DENTET", r"read .*vasp\.out"),
        ("ERROR: the triple product of the basis vectors", r"read .*vasp\.out"),
    ],
)
def test_errors_whose_mending_would_change_the_physics_end_the_run(
    engine: VaspEngine, message: str, remedy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_VASP", f"error={message}")
    with pytest.raises(EngineError, match=remedy) as caught:
        engine.static(cubic())
    assert message in caught.value.what


def test_inputs_that_a_correction_changed_in_their_physics_are_refused() -> None:
    before = {"INCAR": {"SIGMA": 0.05, "ALGO": "Normal"}, "KPOINTS": "k", "POSCAR": "p", "POTCAR": "v"}
    require_same_physics(before, {**before, "INCAR": {"SIGMA": 0.05, "ALGO": "All", "ISYM": 0}})
    for changed in ({"INCAR": {"SIGMA": 0.2, "ALGO": "Normal"}}, {"KPOINTS": "other"}, {"POSCAR": "strained"}):
        with pytest.raises(EngineError, match="choose settings that work for every structure"):
            require_same_physics(before, {**before, **changed})


def test_another_version_than_declared_is_refused(engine: VaspEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_VASP", "version=6.4.1")
    with pytest.raises(EngineError, match=r"set QDIP_VASP_VERSION=6\.4\.1"):
        engine.static(cubic())


def test_the_version_is_read_from_the_banner_where_none_is_declared(
    engine: VaspEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(VERSION_VARIABLE)
    program = tmp_path / "vasp_std"
    program.write_text("#!/bin/sh\necho ' vasp.5.4.4.18Apr17-6-g9f103f2a35 (build Mar 26 2018) complex'\n")
    program.chmod(0o755)
    monkeypatch.setenv("ATOMATE2_VASP_CMD", str(program))
    assert engine.code_version() == "5.4.4"
    silent = tmp_path / "silent"
    silent.write_text("#!/bin/sh\nexit 0\n")
    silent.chmod(0o755)
    monkeypatch.setenv("ATOMATE2_VASP_CMD", str(silent))
    with pytest.raises(EngineError, match=r"set QDIP_VASP_VERSION, such as 6\.4\.2"):
        engine.code_version()


def test_a_missing_program_and_a_missing_folder_of_potentials_are_named_with_their_cure(
    engine: VaspEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pymatgen.core import SETTINGS

    monkeypatch.setenv("ATOMATE2_VASP_CMD", "no-such-vasp")
    with pytest.raises(EngineError, match="set ATOMATE2_VASP_CMD"):
        engine.static(cubic())
    monkeypatch.setitem(SETTINGS, "PMG_VASP_PSP_DIR", None)
    with pytest.raises(EngineError, match="set PMG_VASP_PSP_DIR"):
        engine.theory()


def test_a_missing_potential_is_named(engine: VaspEngine, potentials: Path) -> None:
    (potentials / "POTCAR.Pb_d").unlink()
    with pytest.raises(EngineError, match="add the file of your licence") as caught:
        engine.static(cubic())
    assert "Pb_d" in caught.value.what


def test_an_unknown_release_of_potentials_is_refused() -> None:
    with pytest.raises(EngineError, match=r"leave `engine\.potential` out"):
        engine_from_spec(EngineSpec(name="vasp", potential="LDA"))


def test_the_level_of_theory_names_every_tag_that_changes_an_energy(engine: VaspEngine) -> None:
    theory = replace(engine, dispersion="d3bj").theory()
    assert theory.level is Level.DFT
    assert (theory.code, theory.code_version, theory.functional) == ("VASP", "6.3.2", "PBE")
    assert theory.settings["vasp_gga"] == "PE"
    assert theory.settings["potentials"] == "PBE_54"
    assert theory.settings["d3_a1"] == PBE_D3BJ.a1
    assert {"cutoff_ev", "vasp_prec", "vasp_lasph", "vasp_lreal", "vasp_ismear"} <= theory.settings.keys()


def test_another_potential_is_another_level_of_theory(tmp_path: Path) -> None:
    one = write_potentials(tmp_path / "one", "Pb_d", "S")
    same = write_potentials(tmp_path / "same", "Pb_d", "S")
    other = write_potentials(tmp_path / "other", "Pb_d", "S")
    (other / "POTCAR.S").write_text(fake_potential("S").replace("2000", "2001"))
    assert hash_of_release(one) == hash_of_release(same)
    assert hash_of_release(one) != hash_of_release(other)


def test_a_machine_may_set_parallel_tags_and_nothing_else(
    engine: VaspEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = VaspRun(Setting(tmp_path, (2, 2, 2), None, has_fixed_cell=True), engine)
    monkeypatch.setenv("ATOMATE2_VASP_INCAR_UPDATES", '{"KPAR": 4}')
    assert run.tags(cubic().arrangement, {})["KPAR"] == 4
    monkeypatch.setenv("ATOMATE2_VASP_INCAR_UPDATES", '{"ENCUT": 300}')
    with pytest.raises(EngineError, match="take it out"):
        run.tags(cubic().arrangement, {})


@pytest.mark.parametrize("name", ["bulk-PBE", "slab-PBEsol", "bulk-r2SCAN", "bulk-PBE-soc"])
def test_inputs_are_those_of_the_golden_files(
    engine: VaspEngine, name: str, tmp_path: Path, golden: Callable[[Path, Path], None]
) -> None:
    kind, functional, *coupling = name.split("-")
    vacuum = Vacuum(start=0.45, end=1.05) if kind == "slab" else None
    mesh = (4, 4, 1) if kind == "slab" else (4, 4, 4)
    chosen = replace(engine, functional=functional, spin_orbit=bool(coupling))
    run = VaspRun(Setting(tmp_path, mesh, vacuum, has_fixed_cell=True), chosen)
    run.write_inputs(cubic(rattle_ang=0.0, height_ang=15.0 if vacuum else 6.3).arrangement, {})
    for file in ("INCAR", "KPOINTS", "POSCAR"):
        golden(tmp_path / file, GOLDEN / name / file)
    titles = [line.strip() for line in (tmp_path / "POTCAR").read_text().splitlines() if line.startswith("  PAW_PBE")]
    assert titles == ["PAW_PBE Cs_sv 01Jan2000", "PAW_PBE I 01Jan2000", "PAW_PBE Pb_d 01Jan2000"]


@pytest.fixture
def golden() -> Callable[[Path, Path], None]:
    def compare(written: Path, expected: Path) -> None:
        assert written.read_text() == expected.read_text(), f"{expected} differs"

    return compare


def test_a_slab_has_its_dipole_layer_in_the_middle_of_its_vacuum_and_no_stress(engine: VaspEngine) -> None:
    result = engine.static(cubic(height_ang=15.0))
    assert result.stress_ev_per_ang3 is None
    run = VaspRun(Setting(Path(), (4, 4, 1), Vacuum(start=0.6, end=1.2), has_fixed_cell=True), engine)
    tags = run.tags(cubic().arrangement, {})
    assert (tags["LDIPOL"], tags["IDIPOL"]) == (True, 3)
    assert tags["DIPOL"][2] == pytest.approx(0.4)  # the slab's centre; the vacuum's is 0.9


def test_the_engine_declares_what_it_can_do() -> None:
    needed = {Feature.RELAX_OUT_OF_PLANE, Feature.DIPOLE, Feature.D3BJ, Feature.RESTART_WAVEFUNCTIONS}
    assert needed <= VaspEngine.features


# --- spin-orbit coupling ----------------------------------------------------------------------------------------------


def with_spin_orbit(engine: VaspEngine) -> VaspEngine:
    return replace(engine, spin_orbit=True)


def test_spin_orbit_coupling_runs_the_program_for_spinors_and_brings_its_energy_back(engine: VaspEngine) -> None:
    scalar, spinors = engine.static(cubic()), with_spin_orbit(engine).static(cubic())
    assert spinors.energy_ev - scalar.energy_ev == pytest.approx(SPIN_ORBIT_EV, abs=1e-7)
    assert np.allclose(spinors.forces_ev_per_ang, scalar.forces_ev_per_ang, atol=1e-7)
    assert spinors.corrections == ()


@pytest.mark.parametrize(
    ("restart", "start"),
    [("full", ["0", "1"]), ("density", ["0", "1"]), ("wavefunctions", ["0", "2"]), ("none", ["0", "2"])],
)
def test_spinors_start_from_the_density_of_the_scalar_program_never_from_its_wavefunctions(
    engine: VaspEngine, tmp_path: Path, restart: str, start: list[str]
) -> None:
    scalar = replace(engine, restart=restart)
    scalar.static(cubic())
    with_spin_orbit(scalar).static(cubic())
    _, run = scratch_files(tmp_path / "scratch", "runs-of-the-stand-in")
    assert run.read_text().split()[2:6:3] == start


def test_relaxations_are_those_of_the_scalar_program(engine: VaspEngine) -> None:
    made = engine_from_spec(EngineSpec(name="vasp", dispersion=Dispersion.NONE, spin_orbit=True))
    assert made == with_spin_orbit(engine)
    assert StudyEngines(made).relaxing == engine


def test_the_level_of_theory_names_the_tags_of_the_coupling_only_where_it_is(engine: VaspEngine) -> None:
    scalar, spinors = engine.theory().settings, with_spin_orbit(engine).theory().settings
    assert spinors.keys() - scalar.keys() == {
        "spin_orbit",
        "vasp_lsorbit",
        "vasp_saxis",
        "vasp_gga_compat",
        "vasp_isym",
    }


def test_a_missing_program_for_spinors_is_named_with_its_cure(
    engine: VaspEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ATOMATE2_VASP_NCL_CMD", "no-such-vasp")
    with pytest.raises(EngineError, match="set ATOMATE2_VASP_NCL_CMD"):
        with_spin_orbit(engine).static(cubic())


def test_the_program_for_scalars_with_inputs_for_spinors_gives_no_energy(
    engine: VaspEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ATOMATE2_VASP_NCL_CMD", f"{sys.executable} -P {STAND_IN}")
    with pytest.raises(EngineError, match=r"read .*vasp\.out") as caught:
        with_spin_orbit(engine).static(cubic())
    assert "non collinear" in caught.value.what


def test_what_spinors_left_starts_the_next_of_them(engine: VaspEngine, tmp_path: Path) -> None:
    engine.static(cubic())
    for rattle_ang in (0.10, 0.11):
        with_spin_orbit(engine).static(cubic(rattle_ang=rattle_ang))
    starts = [path.read_text().split()[2:6:3] for path in scratch_files(tmp_path / "scratch", "runs-of-the-stand-in")]
    assert starts == [["0", "2"], ["0", "1"], ["1", "1"]]


@pytest.mark.parametrize("has_spin_orbit", [False, True])
def test_the_command_by_hand_names_the_program(engine: VaspEngine, tmp_path: Path, has_spin_orbit: bool) -> None:
    run = VaspRun(Setting(tmp_path, (2, 2, 2), None, has_fixed_cell=True), replace(engine, spin_orbit=has_spin_orbit))
    assert run.by_hand.split()[0] == ("vasp_ncl" if has_spin_orbit else "vasp_std")


# --- a recorded run of the real VASP ----------------------------------------------------------------------------------


def recorded(name: str) -> Path:
    """Return an output of VASP 6.3 that ASE carries among its own test data."""
    import ase.test

    return Path(ase.test.__file__).parent / "testdata" / "vasp" / name


def test_a_recorded_run_of_diamond_is_read_with_its_free_energy_and_its_stress() -> None:
    output = read_output(recorded("vasprun_pstress.xml"))
    evaluation = read_evaluation(output, diamond().arrangement, is_slab=False)
    from ase.io import read

    theirs = read(recorded("vasprun_pstress.xml"), format="vasp-xml", index=-1)
    assert output.vasp_version.startswith("6.3.0")
    assert evaluation.energy_ev == pytest.approx(-20.23985977)
    assert np.allclose(evaluation.forces_ev_per_ang, theirs.get_forces())
    assert np.allclose(evaluation.stress_ev_per_ang3, theirs.get_stress(voigt=False), atol=1e-6)


REPLAY = """#!{python} -P
from pathlib import Path
from atomate2.utils.testing.vasp import fake_run_vasp
fake_run_vasp(Path({reference!r}))
"""


def test_a_recorded_run_is_replayed_by_atomate2s_testing_tool_which_checks_the_inputs_first(
    engine: VaspEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reference, program = tmp_path / "reference", tmp_path / "vasp_std"
    shutil.copytree(GOLDEN / "diamond-PBE", reference / "inputs")
    outputs = shutil.copytree(
        reference / "inputs", reference / "outputs"
    )  # the tool clears inputs, as it does for atomate2
    shutil.copy(recorded("vasprun_pstress.xml"), outputs / "vasprun.xml")
    for name in ("CONTCAR", "OSZICAR", "OUTCAR"):  # not among the recorded files; nothing is read from them
        (outputs / name).write_text("")
    program.write_text(REPLAY.format(python=sys.executable, reference=str(reference)))
    program.chmod(0o755)
    monkeypatch.setenv("ATOMATE2_VASP_CMD", str(program))
    monkeypatch.setenv(VERSION_VARIABLE, "6.3.0")
    assert engine.static(diamond()).energy_ev == pytest.approx(-20.23985977)


def diamond() -> StructureRecord:
    """Return the cell of the recorded run."""
    half = 1.785
    return StructureRecord(
        lattice_ang=((0, half, half), (half, 0, half), (half, half, 0)),
        species=("C", "C"),
        frac_coords=((0, 0, 0), (0.25, 0.25, 0.25)),
    )


def test_an_output_cut_short_is_refused(tmp_path: Path) -> None:
    whole = recorded("vasprun_pstress.xml").read_text()
    (tmp_path / "vasprun.xml").write_text(whole[: len(whole) // 2])
    with pytest.raises(EngineError, match="run again"):
        read_output(tmp_path / "vasprun.xml")


def test_an_output_of_other_atoms_is_refused() -> None:
    output = read_output(recorded("vasprun_pstress.xml"))
    arrangement = Arrangement(("C", "C"), np.zeros((2, 3)), np.eye(3) * 3.57)
    with pytest.raises(EngineError, match="delete the folder and run again"):
        read_evaluation(output, arrangement, is_slab=False)

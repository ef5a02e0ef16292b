"""Reading a folder of the real VASP: a vasprun.xml of rock salt by VASP 6.3.2, which ships with ASE's tests."""

from __future__ import annotations

import gzip
import re
import shutil
from importlib.resources import files
from pathlib import Path

import pytest

from qdip_dft.engines.vasp.files import last_change_ev
from qdip_dft.errors import EngineError
from qdip_dft.finished.readers import find_code, read_run
from qdip_dft.units import KILOBAR_IN_EV_PER_ANG3
from tests.unit import vasp_5

TITLES = {"PAW_PBE Na 08Apr2002": ("Na", 1.0), "PAW_PBE Cl 06Sep2000": ("Cl", 7.0)}


def write_potcar(folder: Path, *, without: str = "") -> None:
    """Write the heads of POTCAR files with the titles that stand in the output."""
    heads = [
        f"  {title}\n {valence}\n VRHFIN ={symbol}: none\n LEXCH = PE\n ZVAL = {valence}\n End of Dataset\n"
        for title, (symbol, valence) in TITLES.items()
        if symbol != without
    ]
    (folder / "POTCAR").write_text("".join(heads))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    source = files("ase") / "test" / "testdata" / "vasp" / "vasprun_dfpt.xml"
    shutil.copy(str(source), tmp_path / "vasprun.xml")
    write_potcar(tmp_path)
    return tmp_path


def test_the_settings_are_those_that_vasp_resolved(folder: Path) -> None:
    assert find_code(folder) == "vasp"
    run = read_run(folder, "vasp")
    physics = run.settings.physics
    assert (run.code_version, run.is_relaxation, run.n_steps) == ("6.3.2", False, 0)
    assert run.start.species == ("Na", "Cl")
    assert physics["k-points"] == "3 x 3 x 3 around Γ"
    assert (physics["ENCUT (eV)"], physics["charge"]) == (400.0, 0.0)
    assert (physics["GGA"], physics["PREC"], physics["ISMEAR"]) == ("pe", "a", 0)
    assert physics["dispersion in the code"] == "none"
    assert physics["LASPH"] is False, "a tag that the INCAR leaves out counts with its default"
    assert physics["LEPSILON"] is True, "a tag that nobody knows counts as physics"
    assert run.settings.numerics["NELMIN"] == 4
    assert abs(run.evaluation.forces_ev_per_ang).max() < 1e-6


@pytest.mark.parametrize(
    ("version", "read"), [("5.4.4.18Apr17-6-g9f103f2a35", "5.4.4"), ("5.4.1", "5.4.1"), ("5.3.5", "5.3.5")]
)
def test_the_words_of_vasp_5_are_read(version: str, read: str, tmp_path: Path) -> None:
    (tmp_path / "vasprun.xml").write_text(vasp_5.write_vasprun(version=version))
    write_potcar(tmp_path)
    run = read_run(tmp_path, "vasp")
    physics = run.settings.physics
    assert (run.code_version, run.is_relaxation, run.n_steps) == (read, False, 0)
    assert run.evaluation.energy_ev == pytest.approx(vasp_5.ENERGIES_EV[-1], abs=1e-8)
    assert run.evaluation.forces_ev_per_ang[0] == pytest.approx([0.001, 0, 0])
    assert run.evaluation.stress_ev_per_ang3[0, 0] == pytest.approx(-KILOBAR_IN_EV_PER_ANG3)
    assert (physics["GGA"], physics["METAGGA"], physics["PREC"]) == ("pe", "--", "a")
    assert (physics["ENCUT (eV)"], physics["charge"], physics["LREAL"]) == (450.0, 0.0, False)
    assert physics["k-points"] == "2 x 2 x 2 around Γ"
    assert physics["dispersion in the code"] == "none"


def test_vasp_5_that_was_stopped_is_refused(tmp_path: Path) -> None:
    (tmp_path / "vasprun.xml").write_text(vasp_5.write_vasprun(energies_ev=(-20.5, -26.8, -27.1)))
    write_potcar(tmp_path)
    with pytest.raises(EngineError, match=r"the energy changed by 3\.0e-01 eV in the last electronic step"):
        read_run(tmp_path, "vasp")


def test_without_its_potentials_a_folder_is_refused(folder: Path) -> None:
    (folder / "POTCAR").unlink()
    with pytest.raises(EngineError, match="POTCAR it was made with is not there"):
        read_run(folder, "vasp")


def test_potentials_of_other_titles_are_refused(folder: Path) -> None:
    write_potcar(folder, without="Cl")
    with pytest.raises(EngineError, match="another one than that of the output"):
        read_run(folder, "vasp")


def set_tag(folder: Path, name: str, value: str) -> None:
    """Write a tag of the output anew, wherever it stands."""
    path = folder / "vasprun.xml"
    text, n = re.subn(rf'(name="{name}">)[^<]*(</i>)', rf"\g<1> {value}\g<2>", path.read_text())
    assert n > 0, name
    path.write_text(text)


def energies_of_steps(folder: Path) -> list[re.Match[str]]:
    text = (folder / "vasprun.xml").read_text()
    return list(re.finditer(r'(?<=<i name="e_fr_energy">)\s*(-?[\d.]+)', text))


def shift_energies(folder: Path, *, by_ev: float, start: int, stop: int) -> None:
    """Move the energies of electronic steps, counted from the first of the density."""
    path = folder / "vasprun.xml"
    text = path.read_text()
    for found in reversed(energies_of_steps(folder)[start:stop]):
        text = f"{text[: found.start()]} {float(found[1]) + by_ev:.8f} {text[found.end() :]}"
    path.write_text(text)


@pytest.mark.parametrize("ibrion", [0, 5, 6, 7, 8, 11, 40, 44])
def test_what_moves_atoms_and_is_no_relaxation_is_refused(folder: Path, ibrion: int) -> None:
    set_tag(folder, "NSW", "3")
    set_tag(folder, "IBRION", str(ibrion))
    with pytest.raises(EngineError, match=f"IBRION = {ibrion} has no energy that a study asks for") as caught:
        read_run(folder, "vasp")
    assert "run the folder again" in caught.value.remedy


def test_molecular_dynamics_without_steps_is_a_static_energy(folder: Path) -> None:
    set_tag(folder, "IBRION", "0")
    assert not read_run(folder, "vasp").is_relaxation


def test_several_steps_that_move_nothing_are_no_single_point(folder: Path) -> None:
    path = folder / "vasprun.xml"
    text = path.read_text()
    step = text[text.index("<calculation>") : text.index("</calculation>") + len("</calculation>")]
    path.write_text(text.replace(step, f"{step}\n{step}\n{step}"))
    with pytest.raises(EngineError, match="it has 3 ionic steps, a static calculation has one"):
        read_run(folder, "vasp")


@pytest.mark.parametrize("what", ["positions", "cell"])
def test_a_static_energy_elsewhere_than_at_its_start_is_refused(folder: Path, what: str) -> None:
    path = folder / "vasprun.xml"
    head, mark, rest = path.read_text().partition("<calculation>")
    pattern = r'(name="positions".*?<v>\s*)(\S+)' if what == "positions" else r'(name="basis".*?<v>\s*)(\S+)'
    moved, n = re.subn(pattern, lambda m: f"{m[1]}{float(m[2]) + 0.01:.8f}", rest, count=1, flags=re.DOTALL)
    assert n == 1
    path.write_text(head + mark + moved)
    with pytest.raises(EngineError, match=r"it is static, but its structure moved by 0\.0"):
        read_run(folder, "vasp")


@pytest.mark.parametrize("icharg", [4, 5, 10, 11, 12, 14])
def test_a_density_that_was_held_is_refused(folder: Path, icharg: int) -> None:
    set_tag(folder, "ICHARG", str(icharg))
    with pytest.raises(EngineError, match=f"ICHARG = {icharg} holds its density or its potential fixed"):
        read_run(folder, "vasp")


@pytest.mark.parametrize("icharg", [0, 1])
def test_a_density_that_was_read_and_made_self_consistent_is_taken(folder: Path, icharg: int) -> None:
    set_tag(folder, "ICHARG", str(icharg))
    assert read_run(folder, "vasp").evaluation.energy_ev == pytest.approx(-6.74587304)


@pytest.mark.parametrize("algorithm", [-1, 2, 3, 4, 90])
def test_an_algorithm_that_seeks_no_ground_state_is_refused(folder: Path, algorithm: int) -> None:
    set_tag(folder, "IALGO", str(algorithm))
    with pytest.raises(EngineError, match=f"IALGO = {algorithm} does not minimise the energy"):
        read_run(folder, "vasp")


@pytest.mark.parametrize("by_ev", [0.7, -0.025, 1e-4, -3e-7])
def test_a_density_is_judged_by_the_last_change_of_its_energy(folder: Path, by_ev: float) -> None:
    n_steps = 13  # with those of the density; the others belong to the linear response
    shift_energies(folder, by_ev=by_ev, start=0, stop=n_steps - 1)
    with pytest.raises(EngineError, match=rf"changed by {abs(by_ev):.1e} eV.*EDIFF is 1.0e-08"):
        read_run(folder, "vasp")


def step_of(energies_ev: list[float], *, reported_ev: float) -> dict[str, object]:
    return {"electronic_steps": [{"e_fr_energy": each} for each in energies_ev], "e_fr_energy": reported_ev}


@pytest.mark.parametrize(
    ("energies_ev", "reported_ev", "change_ev"),
    [
        ([-3.0, -4.0, -4.5], -4.5, 0.5),
        ([-3.0, -4.0, -4.0 - 1e-8], -4.0 - 1e-8, 1e-8),
        ([-3.0, -4.0, -4.5], -4.4, 0.5),  # pressure times volume was added at the end
        ([-3.0, -4.0, -4.1, -9.0, -9.0], -4.1, 0.1),  # a response behind the ground state
        ([-4.5], -4.5, float("inf")),
        ([], -4.5, float("inf")),
        ([-4.5, float("nan")], -4.5, float("inf")),
        ([float("nan"), -4.5], -4.5, float("inf")),
    ],
)
def test_the_last_change_is_that_of_the_energy_which_is_reported(
    energies_ev: list[float], reported_ev: float, change_ev: float
) -> None:
    assert last_change_ev(step_of(energies_ev, reported_ev=reported_ev)) == pytest.approx(change_ev, abs=1e-12)


def test_one_electronic_step_shows_no_convergence(folder: Path) -> None:
    set_tag(folder, "LEPSILON", "F")
    path = folder / "vasprun.xml"
    head, *steps = re.split(r"(?=<scstep>)", path.read_text())
    others = (step.partition("</scstep>")[2] for step in steps[1:])
    path.write_text(head + steps[0] + "".join(others))
    with pytest.raises(EngineError, match="one electronic step does not show that its density is self-consistent"):
        read_run(folder, "vasp")


@pytest.mark.parametrize("limit", ["13", "200", "1"])
def test_the_limit_of_the_steps_says_nothing_about_convergence(folder: Path, limit: str) -> None:
    set_tag(folder, "NELM", limit)
    assert read_run(folder, "vasp").n_steps == 0


@pytest.mark.parametrize("printed", ["0.00000000", "0.00000002", "0.00000100"])
def test_a_strict_criterion_is_taken_however_it_is_printed(folder: Path, printed: str) -> None:
    set_tag(folder, "EDIFF", printed)
    assert read_run(folder, "vasp").n_steps == 0


def test_a_strict_criterion_that_the_energies_do_not_show_is_refused(folder: Path) -> None:
    set_tag(folder, "EDIFF", "0.00000000")
    shift_energies(folder, by_ev=1e-5, start=0, stop=12)
    with pytest.raises(EngineError, match=r"changed by 1.0e-05 eV.*EDIFF is 0.0e\+00"):
        read_run(folder, "vasp")


@pytest.mark.parametrize("printed", ["0.00010000", "0.00001000"])
def test_a_loose_criterion_is_refused(folder: Path, printed: str) -> None:
    set_tag(folder, "EDIFF", printed)
    with pytest.raises(EngineError, match="eV per atom only"):
        read_run(folder, "vasp")


def write_blocks(folder: Path, *blocks: tuple[str, str, str]) -> None:
    """Write a POTCAR of blocks (element, title, content) and name them in the output."""
    text = "".join(
        f"  {title}\n 1.0\n VRHFIN ={symbol}: none\n LEXCH = PE\n ZVAL = 4.0\n {content}\n End of Dataset\n"
        for symbol, title, content in blocks
    )
    (folder / "POTCAR").write_text(text)
    path = folder / "vasprun.xml"
    rows = "".join(f"<rc><c>1</c><c>{s}</c><c>1.0</c><c>4.0</c><c> {title} </c></rc>" for s, title, _ in blocks)
    whole = re.sub(r'(name="atomtypes".*?<set>).*?(</set>)', rf"\g<1>{rows}\g<2>", path.read_text(), flags=re.DOTALL)
    path.write_text(whole)


@pytest.mark.parametrize(
    "blocks",
    [
        [("Na", "PAW_PBE Na_pv 01", "a"), ("Na", "PAW_PBE Na 02", "b"), ("Cl", "PAW_PBE Cl 03", "c")],
        [("Na", "PAW_PBE Na 02", "a"), ("Cl", "PAW_PBE Cl 03", "c"), ("Na", "PAW_PBE Na 02", "b")],
        [("Na", "PAW_PBE Na 02", "a"), ("Na", "PAW_PBE Na 02", "a"), ("Na", "PAW_PBE Na_sv 02", "b")],
    ],
)
def test_an_element_with_potentials_that_differ_is_refused(folder: Path, blocks: list[tuple[str, str, str]]) -> None:
    write_blocks(folder, *blocks)
    with pytest.raises(EngineError, match="Na has two potentials that differ, PAW_PBE Na"):
        read_run(folder, "vasp")


def test_an_element_whose_one_potential_stands_twice_is_taken(folder: Path) -> None:
    write_blocks(folder, ("Na", "PAW_PBE Na 02", "a"), ("Cl", "PAW_PBE Cl 03", "c"), ("Na", "PAW_PBE Na 02", "a"))
    physics = read_run(folder, "vasp").settings.physics
    assert [name for name in physics if name.startswith("POTCAR of")] == [
        "POTCAR of Na (SHA-256)",
        "POTCAR of Cl (SHA-256)",
    ]


def test_compressed_files_say_the_same(folder: Path) -> None:
    plain = read_run(folder, "vasp")
    for name in ("vasprun.xml", "POTCAR"):
        path = folder / name
        (folder / f"{name}.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    assert read_run(folder, "vasp").settings == plain.settings

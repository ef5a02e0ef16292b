"""Reading a folder of the real VASP: a vasprun.xml of rock salt by VASP 6.3.2, which ships with ASE's tests."""

from __future__ import annotations

import shutil
from importlib.resources import files
from pathlib import Path

import pytest

from qdip_dft.by_hand.readers import find_code, read_run
from qdip_dft.errors import EngineError

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


def test_without_its_potentials_a_folder_is_refused(folder: Path) -> None:
    (folder / "POTCAR").unlink()
    with pytest.raises(EngineError, match="POTCAR it was made with is not there"):
        read_run(folder, "vasp")


def test_potentials_of_other_titles_are_refused(folder: Path) -> None:
    write_potcar(folder, without="Cl")
    with pytest.raises(EngineError, match="another one than that of the output"):
        read_run(folder, "vasp")

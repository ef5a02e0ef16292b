"""What stood for the cores is recorded, and what a machine lacks is named."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from qdip_dft.engines.base import Engine
from qdip_dft.engines.dft import DftEngine
from qdip_dft.engines.pseudopotentials import diagnose
from qdip_dft.engines.registry import engine_from_spec
from qdip_dft.errors import EngineError
from qdip_dft.jobs.calculate import calculate
from qdip_dft.model.calculation import (
    CalculationTask,
    Freedom,
    PseudopotentialFile,
    PseudopotentialSet,
)
from qdip_dft.model.engine import EngineSpec
from qdip_dft.results.migrations import read_calculation
from tests.command_line import qdip
from tests.unit.studies import StiffEngine, stiff_engine, toy_engine


def dft_engine(name: str, functional: str = "PBE") -> DftEngine:
    engine = engine_from_spec(EngineSpec(name=name, functional=functional))
    assert isinstance(engine, DftEngine)
    return engine


@pytest.fixture
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with pseudopotentials of lead and sulphur, for both codes."""
    folder = tmp_path / "my-family"
    folder.mkdir()
    for name in ("Pb.upf", "S.upf", "Pb.PBE", "S.PBE"):
        (folder / name).write_text(f"content of {name}")
    monkeypatch.setenv("ESPRESSO_PSEUDO", str(folder))
    monkeypatch.setenv("GPAW_SETUP_PATH", str(folder))
    return folder


@pytest.mark.parametrize(("name", "file"), [("espresso", "Pb.upf"), ("gpaw", "Pb.PBE")])
def test_every_file_is_recorded_with_family_version_and_hash(own_folder: Path, name: str, file: str) -> None:
    found = dft_engine(name).pseudopotentials(["Pb", "S", "Pb"])
    assert found is not None
    assert (found.family, found.version) == ("my-family", "unknown")
    assert list(found.files) == ["Pb", "S"]
    assert found.files["Pb"].name == file
    assert found.files["Pb"].sha256 == hashlib.sha256((own_folder / file).read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("name", "remedy"), [("espresso", "one UPF file per element"), ("gpaw", "name a folder that has it")]
)
def test_a_missing_pseudopotential_is_named_with_where_it_was_looked_for(
    own_folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, remedy: str
) -> None:
    monkeypatch.setattr("qdip_dft.runtime.installation.find_spec", lambda _: None)
    with pytest.raises(EngineError, match=remedy) as caught:
        dft_engine(name).pseudopotentials(["Cs"])
    assert "Cs" in caught.value.what
    assert str(own_folder) in f"{caught.value.what} {caught.value.limit}"


def test_a_diagnosis_names_the_program_its_remedy_and_the_elements_that_lack(
    own_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(own_folder))
    program, pbe, _ = diagnose(dft_engine("espresso"), ["Cs", "Pb"])
    assert not program.is_ok
    assert "'pw.x'" in program.finding
    assert "apt install quantum-espresso" in program.finding
    assert not pbe.is_ok
    assert pbe.finding.startswith("my-family unknown, hash ")
    assert "without Cs: set ESPRESSO_PSEUDO" in pbe.finding
    assert diagnose(dft_engine("espresso"), ["Pb"])[1].is_ok


def test_a_missing_code_is_named_but_is_no_fault_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QDIP_GPAW_CMD", "no-such-launcher gpaw python")
    findings = {finding["what"]: finding for finding in json.loads(qdip("doctor", "--json").stdout)}
    assert not findings["engine gpaw"]["is_ok"]
    assert not findings["engine gpaw"]["is_needed"]
    assert "no-such-launcher" in findings["engine gpaw"]["finding"]
    assert {"engine espresso PBEsol", "engine gpaw PBE", "engine vasp"} <= set(findings)


class CoredEngine(StiffEngine):
    """A toy potential that claims to have pseudopotentials."""

    def pseudopotentials(self, elements) -> PseudopotentialSet:
        core = PseudopotentialFile(name="a", sha256="b")
        return PseudopotentialSet(family="toy", version="1", files=dict.fromkeys(elements, core))


@pytest.mark.parametrize(
    ("engine", "family"), [(CoredEngine(relaxation=stiff_engine().relaxation), "toy"), (toy_engine(), None)]
)
def test_a_record_says_what_stood_for_the_cores(engine: Engine, family: str | None) -> None:
    silicon = {"lattice_ang": [[4, 0, 0], [0, 4, 0], [0, 0, 4]], "species": ["Si"], "frac_coords": [[0, 0, 0]]}
    task = CalculationTask.model_validate({"label": "silicon", "freedom": Freedom.NONE, "structure": silicon})
    made = calculate.original(task.model_dump(mode="json"), engine, "k" * 64, 0)
    record = read_calculation(made)
    assert (record.pseudopotentials.family if record.pseudopotentials else None) == family

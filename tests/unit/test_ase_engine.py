"""Calculators of ASE as potentials: the same numbers as ASE alone, known by their content, and nothing fetched."""

from __future__ import annotations

import hashlib
import textwrap
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk

from qdip_dft.engines.ase import AseEngine
from qdip_dft.engines.mlip import NETWORKS, sha256_of, weights_file
from qdip_dft.engines.registry import engine_from_spec
from qdip_dft.errors import EngineError
from qdip_dft.flows.variations import name_engine
from qdip_dft.model.calculation import Freedom
from qdip_dft.model.engine import CalculatorSpec, Device, Dispersion, EngineSpec
from qdip_dft.model.structure import StructureRecord
from qdip_dft.planning.study_files import make_engine, read_study, write_study
from tests.unit.crystals import load

EMT = "ase.calculators.emt.EMT"
SPRINGS = textwrap.dedent(
    """
    from ase.calculators.calculator import Calculator, all_changes
    from qdip_dft.engines.testing import evaluate_morse
    from qdip_dft.model.structure import Arrangement

    class Springs(Calculator):
        implemented_properties = ["energy", "forces", "stress"]

        def calculate(self, atoms=None, properties=None, system_changes=all_changes):
            super().calculate(atoms, properties, system_changes)
            found = evaluate_morse(Arrangement(tuple(atoms.symbols), atoms.positions, atoms.cell.array))
            self.results = {
                "energy": found.energy_ev, "forces": found.forces_ev_per_ang, "stress": found.stress_ev_per_ang3,
            }
    """
)
FETCHING = textwrap.dedent(
    """
    from urllib.request import urlopen

    class Fetching:
        implemented_properties = ["energy", "forces"]

        def __init__(self):
            try:
                urlopen("http://127.0.0.1:9/model.pt")
            except OSError as failure:
                raise RuntimeError("no model") from failure
    """
)


def copper(*, strain: float = 0.0) -> StructureRecord:
    atoms = bulk("Cu", cubic=True)
    atoms.set_cell(atoms.cell * (1 + strain), scale_atoms=True)
    atoms.rattle(0.05, seed=1)
    return StructureRecord(
        lattice_ang=tuple(map(tuple, atoms.cell.tolist())),
        species=tuple(atoms.symbols),
        frac_coords=tuple(map(tuple, atoms.get_scaled_positions().tolist())),
    )


def engine(calculator: str, *, functional: str = "none", dispersion: str = "none", **rest: object) -> AseEngine:
    asked = CalculatorSpec.model_validate(
        {"calculator": calculator, "functional": functional, "dispersion": dispersion, **rest}
    )
    made = engine_from_spec(EngineSpec(name="mlip", potential=asked))
    assert isinstance(made, AseEngine)
    return made


def write(folder: Path, name: str, text: str) -> str:
    (folder / name).write_text(text, encoding="utf-8")
    return str(folder / name)


def test_energy_forces_and_stress_are_those_of_ase_alone() -> None:
    from ase import Atoms
    from ase.calculators import emt

    structure = copper(strain=0.01)
    found = engine(EMT).static(structure)
    atoms = Atoms(structure.species, scaled_positions=structure.frac_coords, cell=structure.lattice_ang, pbc=True)
    atoms.calc = emt.EMT()
    assert found.energy_ev == pytest.approx(atoms.get_potential_energy(), abs=1e-10)
    assert np.array(found.forces_ev_per_ang) == pytest.approx(atoms.get_forces(), abs=1e-10)
    assert np.array(found.stress_ev_per_ang3) == pytest.approx(atoms.get_stress(voigt=False), abs=1e-10)


def test_a_cell_relaxes_to_the_lattice_of_the_calculator() -> None:
    found = engine(EMT).relax(copper(strain=0.02), Freedom.CELL)
    assert found.is_converged
    assert np.linalg.norm(found.structure.lattice_ang[0]) == pytest.approx(3.59, abs=0.01)  # Cu in EMT


def test_a_calculator_of_ones_own_is_known_by_its_content(tmp_path: Path) -> None:
    file = write(tmp_path, "mine.py", SPRINGS)
    theory = engine(f"{file}:Springs").theory()
    assert (theory.code, theory.code_version) == ("Springs", "own file")
    assert theory.weights_hash == hashlib.sha256(SPRINGS.encode()).hexdigest()
    other = write(tmp_path, "other.py", SPRINGS + "\n# changed\n")
    assert engine(f"{other}:Springs").theory() != theory


def test_ten_lines_of_ones_own_give_the_numbers_of_the_engine_that_they_call(tmp_path: Path) -> None:
    crystal = load("CsPbI3-gamma").structure
    own = engine(f"{write(tmp_path, 'mine.py', SPRINGS)}:Springs").relax(crystal, Freedom.CELL)
    toy = engine_from_spec(EngineSpec(name="testing")).relax(crystal, Freedom.CELL)
    assert own.energy_ev == pytest.approx(toy.energy_ev, abs=1e-9)
    assert own.n_steps == toy.n_steps


@pytest.mark.parametrize(
    ("name", "calculator", "argument"),
    [
        ("sevennet-0", "sevenn.sevennet_calculator.SevenNetCalculator", "model"),
        ("chgnet", "chgnet.model.dynamics.CHGNetCalculator", None),
    ],
)
def test_a_network_gives_the_numbers_of_its_short_name(name: str, calculator: str, argument: str | None) -> None:
    """To single precision, in which these calculators sum a cell's energy."""
    weights = {} if argument is None else {argument: str(weights_file(NETWORKS[name]))}
    long = engine(calculator, functional="PBE", dispersion="d3bj", weights=weights)
    short = engine_from_spec(EngineSpec(name="mlip", potential=name))
    if weights:
        assert long.theory().weights_hash == short.theory().weights_hash
    crystal = load("CsPbI3-delta").structure
    found, expected = long.static(crystal), short.static(crystal)
    assert found.energy_ev == pytest.approx(expected.energy_ev, abs=2e-4)
    assert np.array(found.forces_ev_per_ang) == pytest.approx(np.array(expected.forces_ev_per_ang), abs=2e-5)


def test_dispersion_is_added_left_out_or_known_to_be_included() -> None:
    crystal = load("PbS").structure
    bare, added, included = (
        engine("ase.calculators.lj.LennardJones", functional="PBE", dispersion=each).static(crystal).energy_ev
        for each in ("none", "d3bj", "included")
    )
    assert added < bare - 1.0
    assert included == bare


def test_a_model_that_would_be_fetched_is_refused_before_a_connection_is_made(tmp_path: Path) -> None:
    calculator = f"{write(tmp_path, 'fetching.py', FETCHING)}:Fetching"
    with pytest.raises(EngineError, match="wants to fetch its model"):
        engine(calculator).load_potential()
    with pytest.raises(EngineError, match="cannot be made: RuntimeError: no model"):
        engine(calculator, sha256="0" * 64).load_potential()


def test_a_force_field_of_atomate2_needs_its_file_or_its_hash(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="declare its hash as `sha256`"):
        engine_from_spec(EngineSpec(name="mlip", potential="MACE-MP-0"))
    file = write(tmp_path, "mace.model", "weights")
    theory = engine("MACE-MP-0", functional="PBE", dispersion="d3bj", weights={"model": file}).theory()
    assert theory.weights_hash == hashlib.sha256(b"weights").hexdigest()
    assert theory.code_version.startswith("atomate2 ")


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"calculator": "ase.calculators.emt.Nothing"}, "cannot be imported: AttributeError"),
        ({"calculator": "no_such_package.Calculator"}, "cannot be imported: ModuleNotFoundError"),
        ({"calculator": "no-such-file.py:Mine"}, "file no-such-file.py is not there"),
        ({"calculator": EMT, "weights": {"model": "no-such-file.pt"}}, "file no-such-file.pt is not there"),
        ({"calculator": EMT, "arguments": {"colour": "blue"}}, "cannot be made|gives no energy"),
        ({"calculator": EMT, "functional": "B3LYP", "dispersion": "d3bj"}, "no parameters of D3.BJ. for 'B3LYP'"),
    ],
)
def test_what_cannot_be_used_is_refused_with_its_reason(asked: dict[str, object], words: str) -> None:
    with pytest.raises(EngineError, match=words):
        use(asked)


def use(asked: dict[str, object]) -> None:
    made = engine(**asked)
    made.theory()
    made.static(load("PbS").structure)


def test_an_argument_that_is_a_file_is_asked_for_as_weights(tmp_path: Path) -> None:
    file = write(tmp_path, "model.pt", "weights")
    with pytest.raises(EngineError, match="from `arguments` to `weights`"):
        engine(EMT, arguments={"model": file})


def test_elements_that_the_calculator_does_not_know_are_a_clear_failure() -> None:
    with pytest.raises(EngineError, match="the calculator EMT gives no energy and forces"):
        engine(EMT).static(load("PbS").structure)


@pytest.mark.parametrize("engine_name", ["testing", "espresso", "vasp"])
def test_other_engines_take_no_calculator(engine_name: str) -> None:
    asked = CalculatorSpec.model_validate({"calculator": EMT, "functional": "none", "dispersion": "none"})
    with pytest.raises(EngineError, match="takes no calculator"):
        engine_from_spec(EngineSpec(name=engine_name, potential=asked))


def test_a_bare_name_needs_its_functional_and_takes_the_dispersion_of_the_study() -> None:
    with pytest.raises(EngineError, match="not stated which functional"):
        engine_from_spec(EngineSpec(potential=EMT))
    made = engine_from_spec(EngineSpec(potential=EMT, functional="PBE"))
    assert made.theory().dispersion == "d3bj"
    assert name_engine(EngineSpec(potential=EMT, functional="PBE")) == f"mlip {EMT} PBE fast"


def test_the_device_is_no_part_of_the_level_of_theory() -> None:
    asked = CalculatorSpec.model_validate({"calculator": EMT, "functional": "none", "dispersion": "none"})
    on_auto, on_cpu = (engine_from_spec(EngineSpec(potential=asked, device=each)) for each in (Device.AUTO, Device.CPU))
    assert on_auto.theory() == on_cpu.theory()


def test_the_files_of_a_calculator_start_from_the_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "study"
    folder.mkdir()
    write(folder, "mine.py", SPRINGS)
    write(folder, "model.pt", "weights")
    study = textwrap.dedent(
        """
        schema_version: 2
        name: own
        question: Does it run?
        dot: {material: PbTe, facets: ["100"]}
        host: CsPbI3
        terms_only: true
        phases: [{phase: CsPbI3-gamma, role: black, planes: ["110"]}]
        engine:
          potential:
            {calculator: "mine.py:Springs", weights: {model: model.pt}, functional: none, dispersion: none}
        """
    )
    monkeypatch.chdir(tmp_path)
    read = read_study(Path(write(folder, "own.yaml", study)))
    assert isinstance(read.engine.potential, CalculatorSpec)
    assert read.engine.potential.calculator == "mine.py:Springs"
    assert read.engine.potential.weights == {"model": "model.pt"}
    assert "calculator: mine.py:Springs" in write_study(read, folder=folder)
    assert make_engine(read.engine, read).calculator == f"{folder}/mine.py:Springs"  # type: ignore[attr-defined]
    with pytest.raises(EngineError, match="it starts from the study's folder"):
        engine_from_spec(read.engine)


def test_a_force_field_by_atomate2s_name_has_the_energy_of_the_same_network_by_ours() -> None:
    """CHGNet ships its weights in its wheel, so that atomate2's factory makes it for real."""
    declared = sha256_of(weights_file(NETWORKS["chgnet"]))
    named = CalculatorSpec(calculator="CHGNet", functional="PBE", dispersion="none", sha256=declared)
    ours = engine_from_spec(EngineSpec(name="mlip", potential="chgnet", dispersion=Dispersion.NONE))
    theirs = engine_from_spec(EngineSpec(name="mlip", potential=named))
    structure = load("PbS").structure
    assert theirs.static(structure).energy_ev == pytest.approx(ours.static(structure).energy_ev, abs=1e-5)
    assert theirs.theory().weights_hash == declared

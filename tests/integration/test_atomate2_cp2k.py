"""The real CP2K run by atomate2: hydrogen in a small box, in seconds; what powerups may change, and what not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from atomate2.cp2k.powerups import update_user_input_settings, update_user_kpoints_settings
from jobflow import Flow

from qdip_dft.engines.cp2k.engine import Cp2kEngine
from qdip_dft.engines.registry import engine_from_spec
from qdip_dft.finished.readers import expected_settings
from qdip_dft.jobs.by_atomate2 import atomate2_jobs, list_makers
from qdip_dft.jobs.cp2k_maker import find_system, list_moving_sections
from qdip_dft.model.calculation import CalculationTask, Freedom
from qdip_dft.model.engine import Dispersion, EngineSpec, Runner
from qdip_dft.model.keys import calculation_key
from qdip_dft.model.structure import StructureRecord
from tests.dft_codes import require_code
from tests.integration.test_atomate2 import carry, record_of

pytestmark = [
    pytest.mark.filterwarnings("ignore:cd is deprecated"),
    pytest.mark.filterwarnings("ignore:The `(dict|copy)` method is deprecated"),  # of pydantic, which atomate2 calls
    pytest.mark.filterwarnings("ignore:Response.stored_data is not supported"),
]

LOOSE = {"force_threshold_ev_per_ang": 0.5, "stress_threshold_gpa": 2.0}


def hydrogen(*, is_fixed: tuple[bool, ...] = ()) -> StructureRecord:
    """One molecule along the third vector, a little too long."""
    places = ((0.1, 0.2, 0.3), (0.1, 0.2, 0.3 + 0.75 / 5.0))
    lattice = np.diag([4.5, 4.5, 5.0]).tolist()
    return StructureRecord(lattice_ang=lattice, species=("H", "H"), frac_coords=places, is_fixed=is_fixed)


def engine_of(
    runner: Runner = Runner.ATOMATE2, dispersion: Dispersion = Dispersion.NONE, **settings: Any
) -> Cp2kEngine:
    require_code("cp2k")
    coarse = {"k_spacing_per_ang": 3.0, "cutoff_ev": 3400, "relative_cutoff_ev": 680, **settings}
    engine = engine_from_spec(EngineSpec(name="cp2k", runner=runner, dispersion=dispersion, settings=coarse))
    assert isinstance(engine, Cp2kEngine)
    return engine


def as_flow(freedom: Freedom = Freedom.NONE, **changes: Any) -> Flow:
    engine = engine_of(**changes)
    task = CalculationTask(label="a molecule", freedom=freedom, structure=hydrogen())
    key = calculation_key(task, engine.theory(), engine.relaxation_settings())
    jobs = atomate2_jobs(task, engine, list_makers([engine])[engine.name], key=key)
    return Flow(list(jobs), output=jobs[-1].output)


def test_an_energy_is_that_of_our_own_runner_and_has_its_key(tmp_path: Path) -> None:
    flow = as_flow()
    store = carry(flow, tmp_path)
    record, own = record_of(flow, store), engine_of(Runner.QDIP)
    expected = own.static(hydrogen())
    assert record.failure is None
    assert record.result is not None
    assert record.result.energy_ev == pytest.approx(expected.energy_ev, abs=1e-5)  # orbital transformation
    assert np.allclose(record.result.forces_ev_per_ang, expected.forces_ev_per_ang, atol=1e-3)
    assert record.key == calculation_key(record.task, own.theory(), own.relaxation_settings())
    document = store.query_one({"name": "a molecule"})
    assert document is not None
    assert document["output"]["task_label"] == "a molecule"
    assert document["output"]["state"] == "successful"
    assert document["output"]["output"]["energy"] == pytest.approx(expected.energy_ev, abs=1e-4)


def test_a_powerup_that_changes_the_physics_is_a_failure_that_names_it(tmp_path: Path) -> None:
    cutoff = {"FORCE_EVAL": {"DFT": {"MGRID": {"CUTOFF": 150}}}}
    changed = {
        "CUTOFF (Ry)": update_user_input_settings(as_flow(), cutoff),
        "k-points": update_user_kpoints_settings(as_flow(), {"reciprocal_density": 60}),
    }
    for name, flow in changed.items():
        record = record_of(flow, carry(flow, tmp_path / name.split()[0]))
        assert record.result is None
        assert record.failure is not None
        assert name in record.failure


def test_numerics_of_a_powerup_are_noted(tmp_path: Path) -> None:
    flow = update_user_input_settings(as_flow(), {"FORCE_EVAL": {"DFT": {"SCF": {"MIXING": {"ALPHA": 0.2}}}}})
    record = record_of(flow, carry(flow, tmp_path))
    assert record.result is not None
    assert any("MIXING/ALPHA = 0.2" in words for words in record.result.warnings)


@pytest.mark.slow
@pytest.mark.parametrize("freedom", [Freedom.POSITIONS, Freedom.CELL, Freedom.OUT_OF_PLANE])
def test_cp2k_itself_relaxes_what_may_move(tmp_path: Path, freedom: Freedom) -> None:
    flow = as_flow(freedom, **LOOSE)
    store = carry(flow, tmp_path)
    record = record_of(flow, store)
    assert record.failure is None
    assert record.result is not None
    assert record.result.max_force_ev_per_ang <= LOOSE["force_threshold_ev_per_ang"]
    before = hydrogen().lattice_ang
    moved = [one != other for one, other in zip(record.result.structure.lattice_ang, before, strict=True)]
    assert moved == {"positions": [False] * 3, "cell": [True] * 3, "out_of_plane": [False, False, True]}[freedom.value]
    document = store.query_one({"name": "a molecule"})
    assert document is not None
    assert document["output"]["calcs_reversed"][0]["task_type"] == "Structure Optimization"


def test_what_moves_changes_no_setting_of_the_physics() -> None:
    engine = engine_of()
    sections = list_moving_sections(engine, hydrogen(is_fixed=(True, False)), Freedom.OUT_OF_PLANE)
    assert sections["MOTION"]["CELL_OPT"]["CONSTRAINT"] == "XY"
    assert sections["MOTION"]["CELL_OPT"]["EXTERNAL_PRESSURE"] == 0.0  # CP2K's own default is 100 bar
    assert sections["MOTION"]["CONSTRAINT"] == {"FIXED_ATOMS": {"LIST": "1"}}
    task = CalculationTask(label="a molecule", freedom=Freedom.CELL, structure=hydrogen())
    assert expected_settings(engine, task).physics["dispersion in the code"] == "none"
    with_d3 = engine_of(dispersion=Dispersion.D3BJ)
    found = list_moving_sections(with_d3, hydrogen(), Freedom.CELL)["FORCE_EVAL"]
    assert found["DFT"]["XC"]["VDW_POTENTIAL"]["PAIR_POTENTIAL"]["TYPE"] == "DFTD3(BJ)"
    assert found["SUBSYS"] == {"CELL": {"SYMMETRY": "TETRAGONAL_AB"}}


@pytest.mark.parametrize(
    ("edges_ang", "system"),
    [
        ((5.0, 5.0, 5.0), "CUBIC"),
        ((5.0, 5.0, 6.0), "TETRAGONAL_AB"),
        ((5.0, 6.0, 5.0), "TETRAGONAL_AC"),
        ((6.0, 5.0, 5.0), "TETRAGONAL_BC"),
        ((4.0, 5.0, 6.0), "ORTHORHOMBIC"),
    ],
)
def test_the_crystal_system_of_a_rectangular_cell_is_kept(edges_ang: tuple[float, ...], system: str) -> None:
    assert find_system(np.diag(edges_ang)) == system
    assert find_system(np.diag(edges_ang) + np.diag([0.1, 0.0], k=-1)) is None

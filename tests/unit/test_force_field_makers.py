"""atomate2's force-field Makers with our potentials: a flow of theirs takes them, with the numbers of our engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from atomate2.forcefields import jobs as theirs
from atomate2.forcefields.flows.eos import ForceFieldEosMaker
from jobflow import JobStore, run_locally
from maggma.stores import MemoryStore
from pymatgen.core import Lattice, Molecule, Structure

from qdip_dft.engines.registry import engine_from_spec
from qdip_dft.errors import EngineError
from qdip_dft.jobs.force_fields import ForceFieldRelaxMaker, ForceFieldStaticMaker
from qdip_dft.model.calculation import Freedom
from qdip_dft.model.engine import EngineSpec
from qdip_dft.model.structure import StructureRecord

pytestmark = [
    pytest.mark.filterwarnings("ignore:cd is deprecated"),
    pytest.mark.filterwarnings("ignore:`task_document_kwargs` is now deprecated"),  # which atomate2 sets itself
]

EMT: dict[str, Any] = {
    "name": "mlip",
    "potential": {"calculator": "ase.calculators.emt.EMT", "functional": "none", "dispersion": "none"},
}


def copper(edge_ang: float = 3.7) -> Structure:
    """Four atoms, of which one is displaced."""
    crystal = Structure.from_spacegroup("Fm-3m", Lattice.cubic(edge_ang), ["Cu"], [[0, 0, 0]])
    crystal.translate_sites([1], [0.02, 0.01, -0.01])
    return crystal


def carry(job: Any, folder: Path) -> Any:
    store = JobStore(MemoryStore(), additional_stores={"data": MemoryStore()})
    run_locally(job, store=store, log=False, root_dir=folder, create_folders=True, ensure_success=True)
    output = store.get_output(job.uuid, load=True)
    return {**output, "structure": Structure.from_dict(output["structure"])}


def test_a_relaxation_is_that_of_the_engine(tmp_path: Path) -> None:
    output = carry(ForceFieldRelaxMaker(engine=EMT, relax_kwargs={"fmax": 0.005}).make(copper()), tmp_path)
    engine = engine_from_spec(EngineSpec(**EMT, settings={"force_threshold_ev_per_ang": 0.005, "max_steps": 500}))
    expected = engine.relax(StructureRecord.from_pymatgen(copper()), Freedom.CELL)
    assert output["output"]["energy"] == pytest.approx(expected.energy_ev, abs=1e-9)
    assert np.allclose(output["structure"].lattice.matrix, expected.structure.lattice_ang, atol=1e-9)
    assert output["output"]["stress"] is not None
    assert output["is_force_converged"]
    assert len(output["output"]["ionic_steps"]) == 2
    assert output["output"]["ionic_steps"][0]["energy"] > output["output"]["energy"]
    assert output["structure"].lattice.a == pytest.approx(3.59, abs=0.02)  # EMT: Jacobsen, Surf. Sci. 1996, 366, 394


def test_a_static_energy_moves_nothing(tmp_path: Path) -> None:
    output = carry(ForceFieldStaticMaker(engine=EMT).make(copper()), tmp_path)
    expected = engine_from_spec(EngineSpec(**EMT)).static(StructureRecord.from_pymatgen(copper()))
    assert output["output"]["energy"] == pytest.approx(expected.energy_ev, abs=1e-9)
    assert np.allclose(output["output"]["forces"], expected.forces_ev_per_ang, atol=1e-9)
    assert np.allclose(output["structure"].frac_coords, copper().frac_coords, atol=1e-12)


def test_atoms_alone_move_where_the_cell_is_held(tmp_path: Path) -> None:
    output = carry(ForceFieldRelaxMaker(engine={"name": "testing"}, relax_cell=False).make(caesium_iodide()), tmp_path)
    assert np.allclose(output["structure"].lattice.matrix, caesium_iodide().lattice.matrix, atol=1e-12)
    assert not np.allclose(output["structure"].frac_coords, caesium_iodide().frac_coords, atol=1e-3)


def caesium_iodide() -> Structure:
    return Structure(Lattice.cubic(4.6), ["Cs", "I"], [[0, 0, 0], [0.53, 0.5, 0.48]])


def test_what_is_not_relaxed_here_is_refused_with_another_way() -> None:
    with pytest.raises(EngineError, match=r"take atomate2's own maker"):
        ForceFieldRelaxMaker(engine=EMT, relax_cell=False, relax_shape=True).run_ase(copper())
    with pytest.raises(EngineError, match="a molecule without a cell"):
        ForceFieldStaticMaker(engine=EMT).run_ase(Molecule(["Cu", "Cu"], [[0, 0, 0], [0, 0, 2.3]]))
    with pytest.raises(EngineError, match="engine 'cp2k' is not relaxed here"):
        ForceFieldStaticMaker(engine={"name": "cp2k", "functional": "PBE"}).run_ase(copper())


def test_they_are_makers_of_atomate2_that_its_flows_take(tmp_path: Path) -> None:
    relax, static = ForceFieldRelaxMaker(engine=EMT), ForceFieldStaticMaker(engine=EMT)
    assert isinstance(relax, theirs.ForceFieldRelaxMaker)
    flow = ForceFieldEosMaker(
        initial_relax_maker=relax,
        eos_relax_maker=ForceFieldRelaxMaker(engine=EMT, freedom="positions"),
        static_maker=static,
        number_of_frames=5,
    ).make(copper())
    store = JobStore(MemoryStore(), additional_stores={"data": MemoryStore()})
    run_locally(flow, store=store, log=False, root_dir=tmp_path, create_folders=True, ensure_success=True)
    fitted = store.get_output(flow.jobs[-1].uuid, load=True)
    assert fitted["relax"]["EOS"]["birch_murnaghan"]["b0 GPa"] == pytest.approx(134, abs=12)  # EMT's copper

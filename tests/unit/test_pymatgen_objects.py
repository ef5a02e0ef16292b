"""Interfaces, slabs and cells of a study as objects of pymatgen and ASE: nothing is lost on the way and back."""

from __future__ import annotations

import numpy as np
import pytest
from ase.constraints import FixAtoms
from pymatgen.core.interface import Interface
from pymatgen.core.surface import Slab

from qdip_dft.flows.steps import Part
from qdip_dft.planning.plan import StudyPlan, plan_study
from qdip_dft.planning.pymatgen_objects import list_interfaces, make_slab, make_zsl_match, read_interface
from qdip_dft.planning.study_files import read_study
from tests.unit.crystals import load


@pytest.fixture(scope="module", params=["quickstart", "pbs-fapbi3"])
def plan(request: pytest.FixtureRequest) -> StudyPlan:
    return plan_study(read_study(request.param))


def test_an_interface_has_its_sites_labels_and_matrices_after_coming_back(plan: StudyPlan) -> None:
    for label, interface in list_interfaces(plan).items():
        candidate = next(each for each in plan.steps.candidates if each.label == label)
        record = plan.previews[plan.steps.relaxations_of(candidate)[Part.INTERFACE]]
        back = read_interface(Interface.from_dict(interface.as_dict()))
        assert back.species == record.species
        assert np.array(back.frac_coords) == pytest.approx(np.array(record.frac_coords), abs=1e-12)
        assert np.array(back.lattice_ang) == pytest.approx(np.array(record.lattice_ang), abs=1e-12)
        assert set(back.part) - {"passivation"} == {"dot", "film"}
        assert interface.interface_properties["film_transformation"] == candidate.film_matrix
        assert interface.interface_properties["substrate_transformation"] == candidate.dot_matrix


def test_dot_and_film_of_an_interface_are_those_of_pymatgen(plan: StudyPlan) -> None:
    for interface in list_interfaces(plan).values():
        dot, film = interface.substrate, interface.film
        assert {site.specie.symbol for site in dot} <= {"Pb", "S", "Te", "I"}
        assert len(dot) + len(film) == len(interface)
        assert 1.0 < interface.gap < 4.5
        assert interface.interface_properties["area_ang2"] == pytest.approx(
            np.linalg.norm(np.cross(*interface.lattice.matrix[:2])), rel=1e-9
        )


def test_a_film_is_a_slab_whose_oriented_cell_is_the_strained_bulk(plan: StudyPlan) -> None:
    for candidate in plan.steps.candidates:
        slab = make_slab(plan, candidate, plan.previews)
        assert isinstance(slab, Slab)
        assert slab.oriented_unit_cell.composition.reduced_formula == slab.composition.reduced_formula
        assert slab.lattice.matrix[:2] == pytest.approx(slab.oriented_unit_cell.lattice.matrix[:2], abs=1e-9)


def test_the_deformation_of_a_cell_match_has_the_strains_of_the_candidate(plan: StudyPlan) -> None:
    for candidate in plan.steps.candidates:
        match = make_zsl_match(plan, candidate, plan.previews)
        stretches = np.linalg.svd(match.match_transformation, compute_uv=False)
        expected = 1 + np.array(candidate.search_strains)
        assert min(np.abs(stretches - expected[0])) < 1e-9
        assert min(np.abs(stretches - expected[1])) < 1e-9


def test_atoms_of_ase_keep_order_and_what_is_fixed() -> None:
    crystal = load("FAPbI3-delta").structure
    fixed = crystal.model_copy(update={"is_fixed": tuple(index < 2 for index in range(crystal.n_atoms))})
    atoms = fixed.to_ase()
    assert tuple(atoms.symbols) == crystal.species
    assert atoms.positions == pytest.approx(crystal.arrangement.positions_ang, abs=1e-12)
    (constraint,) = atoms.constraints
    assert isinstance(constraint, FixAtoms)
    assert constraint.get_indices().tolist() == [0, 1]
    assert crystal.to_ase().constraints == []

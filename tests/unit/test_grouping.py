"""A structure knows its ions: planning groups, orients and matches each unchanged structure once."""

from __future__ import annotations

import sys
from collections import Counter

import numpy as np
import pytest

from qdip_dft.builders.ions import find_ions, group_ions, name_ions, view_ions
from qdip_dft.model.calculation import CalculationTask, Freedom
from qdip_dft.model.keys import calculation_key
from qdip_dft.model.structure import StructureRecord
from qdip_dft.planning.plan import plan_study
from qdip_dft.planning.study_files import read_study
from tests.unit.crystals import load
from tests.unit.test_cache import THEORY

COUNTED = ("find_molecules", "group_ions", "find_ions", "interface_cell", "orient_crystal", "find_candidates")


@pytest.fixture
def calls(monkeypatch) -> Counter[str]:
    """Count the calls of some functions, under whatever name a module holds them."""
    made: Counter[str] = Counter()

    def counting(function, name):
        def call(*arguments, **keywords):
            made[name] += 1
            return function(*arguments, **keywords)

        return call

    modules = [module for name, module in list(sys.modules.items()) if name.startswith("qdip_dft.")]
    for name in COUNTED:
        for module in modules:
            function = vars(module).get(name)
            if callable(function):
                monkeypatch.setattr(module, name, counting(function, f"{function.__module__}.{name}"))
    return made


def test_planning_groups_each_structure_once(calls):
    plan = plan_study(read_study("quickstart"))
    assert len(plan.list_calculations(lambda _: {})) >= 24
    assert 0 < calls["qdip_dft.builders.ions.find_ions"] <= 12
    assert 0 < calls["qdip_dft.model.molecules.find_molecules"] <= 12
    assert calls["qdip_dft.builders.strain.interface_cell"] == 2  # one for each phase
    assert calls["qdip_dft.builders.orientation.orient_crystal"] <= 6
    assert calls["qdip_dft.builders.candidates.find_candidates"] == 1


@pytest.mark.parametrize("name", ["FAPbI3-alpha", "MAPbI3-cubic", "CsPbI3-delta"])
def test_named_ions_are_those_that_are_found(name):
    crystal = load(name)
    built = find_ions(crystal.structure, crystal.formal_charges).as_part("film").to_record()
    named = view_ions(built, crystal.formal_charges)
    found = find_ions(built.without_labels(), crystal.formal_charges)
    assert [ion.site_indices for ion in named.ions] == [ion.site_indices for ion in found.ions]
    assert np.array_equal(named.frac_centres, found.frac_centres)
    assert {ion.part for ion in named.ions} == {"film"}
    assert name_ions(built) == tuple(ion.label for ion in found.ions)


def test_a_changed_copy_does_not_keep_what_was_derived():
    crystal = load("FAPbI3-alpha")
    before = view_ions(crystal.structure, crystal.formal_charges)
    assert view_ions(crystal.structure, crystal.formal_charges) is before
    moved = crystal.structure.model_copy(
        update={"frac_coords": tuple((x + 0.25, y, z) for x, y, z in crystal.structure.frac_coords)}
    )
    after = view_ions(moved, crystal.formal_charges)
    assert after.frac_centres[:, 0] == pytest.approx(before.frac_centres[:, 0] + 0.25)
    assert moved.arrangement.positions_ang != pytest.approx(crystal.structure.arrangement.positions_ang)


def test_ions_and_parts_do_not_enter_keys_or_documents():
    bare = load("FAPbI3-alpha").structure
    named = group_ions(bare).model_copy(update={"part": ("film",) * bare.n_atoms})
    tasks = [CalculationTask(label="one", freedom=Freedom.CELL, structure=record) for record in (bare, named)]
    keys = {calculation_key(task, THEORY, {}) for task in tasks}
    assert len(keys) == 1
    assert set(tasks[1].structure.model_dump()) == {"lattice_ang", "species", "frac_coords", "is_fixed"}


def test_labels_are_kept_where_a_structure_is_written():
    named = group_ions(load("FAPbI3-alpha").structure)
    again = StructureRecord.model_validate_json(named.model_dump_json())
    assert again == named
    assert again.ion == named.ion


def test_a_label_for_some_sites_only_is_refused():
    bare = load("PbS").structure
    with pytest.raises(ValueError, match="one entry per site"):
        StructureRecord(**bare.model_dump() | {"part": ("dot",)})

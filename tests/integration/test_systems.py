"""The field's seventeen systems: each has a study that builds sound, neutral interfaces for every phase it needs."""

from __future__ import annotations

import runpy
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from qdip_dft.builders.interfaces import check_built
from qdip_dft.builders.ions import IonicCrystal, find_ions
from qdip_dft.flows.building import preview_structures
from qdip_dft.flows.steps import Part, StepId, StudySteps
from qdip_dft.library.collections import load_catalogue
from qdip_dft.model.interface import Candidate
from qdip_dft.model.structure import StructureRecord
from qdip_dft.planning.plan import plan_study
from qdip_dft.planning.study_files import read_study
from tests.unit.crystals import distances_of

ROOT = Path(__file__).resolve().parents[2]
TABLE = runpy.run_path(str(ROOT / "scripts" / "write_systems_table.py"))
SYSTEMS: dict[str, tuple[str, ...]] = TABLE["SYSTEMS"]

PHASES = {
    "PbS in FAPbI3": {"FAPbI3-alpha", "FAPbI3-beta", "FAPbI3-gamma", "FAPbI3-delta"},
    "PbS in CsPbI3": {"CsPbI3-alpha", "CsPbI3-beta", "CsPbI3-gamma", "CsPbI3-delta"},
    "PbS in MAPbI3": {"MAPbI3-cubic", "MAPbI3-tetragonal", "MAPbI3-orthorhombic"},
    "PbS in MAPbBr3": {"MAPbBr3-cubic"},
    "PbS in MAPb(I,Br)3": {"MAPbI2.5Br0.5-cubic"},
    "PbS in CsPbBr2I": {"CsPbBr2I-gamma", "CsPbBr2I-cubic", "CsPbBr2I-delta"},
    "PbS in CsPb(I,Br)3": {"CsPbI1.5Br1.5-gamma", "CsPbI1.5Br1.5-cubic", "CsPbI1.5Br1.5-delta"},
    "PbSe in CsPbBr3": {"CsPbBr3-gamma", "CsPbBr3-cubic", "CsPbBr3-yellow"},
    "CsPbBr3 in Cs4PbBr6": {"Cs4PbBr6"},
    "SnS in MAPbI3": {"MAPbI3-cubic", "MAPbI3-tetragonal"},
    "CuInSe2 in MAPbI3": {"MAPbI3-cubic", "MAPbI3-tetragonal"},
    "Ag2S in (Cs,FA,MA)PbI3": {"CsFAMAPbI3-cubic"},
    "PbS in (PEA)2Cs(n-1)PbnBr(3n+1)": {"PEA2PbBr4", "PEA2CsPb2Br7"},
    "black P in CsPbI2Br": {"CsPbI2Br-cubic", "CsPbI2Br-gamma", "CsPbI2Br-delta"},
    "carbon in MAPbI3": {"MAPbI3-cubic", "MAPbI3-tetragonal"},
    "PbS in NaI": {"NaI"},
    "InP in CsPbI3": {"CsPbI3-gamma", "CsPbI3-delta"},
}
"""The phases that each system is asked about: the black ones and, where it has one, the yellow competitor."""

DECOMPOSED = {
    "PbS in MAPbI3",
    "PbS in MAPbBr3",
    "PbS in MAPb(I,Br)3",
    "SnS in MAPbI3",
    "CuInSe2 in MAPbI3",
    "Ag2S in (Cs,FA,MA)PbI3",
    "carbon in MAPbI3",
}
"""Systems whose competitor is a mixture of decomposition products."""

WITHOUT_COMPETITOR = {"CsPbBr3 in Cs4PbBr6", "PbS in (PEA)2Cs(n-1)PbnBr(3n+1)", "PbS in NaI"}

each_system = pytest.mark.parametrize("system", SYSTEMS)


@cache
def steps_of(study: str) -> StudySteps:
    return plan_study(read_study(study)).steps


@cache
def structures_of(study: str) -> dict[StepId, StructureRecord]:
    return preview_structures(steps_of(study))


def candidates_of(system: str) -> list[tuple[StudySteps, Candidate, StructureRecord]]:
    """Return every candidate of a system with its interface."""
    return [
        (steps_of(study), candidate, structures_of(study)[steps_of(study).relaxations_of(candidate)[Part.INTERFACE]])
        for study in SYSTEMS[system]
        for candidate in steps_of(study).candidates
    ]


def read_ions(steps: StudySteps, candidate: Candidate, structure: StructureRecord) -> IonicCrystal:
    names = (candidate.dot, candidate.phase)
    charges = {ion: charge for name in names for ion, charge in steps.crystals[name].formal_charges.items()}
    return find_ions(structure, charges | ({candidate.passivation: -1} if candidate.passivation else {}))


def list_molecules(crystal: IonicCrystal) -> list[tuple[str, np.ndarray]]:
    return [(ion.label, distances_of(ion.offsets_ang)) for ion in crystal.ions if len(ion.species) > 1]


def test_there_are_seventeen_systems():
    assert len(SYSTEMS) == 17
    assert SYSTEMS.keys() == PHASES.keys()


@each_system
def test_every_phase_of_a_system_has_an_interface(system):
    films = {candidate.phase for _, candidate, _ in candidates_of(system) if not candidate.apart}
    assert films >= PHASES[system]


@each_system
def test_every_interface_of_a_system_passes_the_gate_and_is_neutral(system):
    for steps, candidate, interface in candidates_of(system):
        crystal = read_ions(steps, candidate, interface)
        assert crystal.formal_charge == 0, candidate.label
        assert check_built(crystal, name=candidate.label) is crystal


@each_system
def test_every_interface_of_a_system_holds_whole_molecules(system):
    for steps, candidate, interface in candidates_of(system):
        host = steps.crystals[candidate.phase]
        known = list_molecules(find_ions(host.structure, host.formal_charges))
        found = list_molecules(read_ions(steps, candidate, interface))
        n_expected = len(known) * candidate.n_formula_units / host.formula_units
        assert len(found) == n_expected, candidate.label
        for label, distances in found:
            errors = [np.abs(distances - expected).max() for name, expected in known if name == label]
            assert min(errors) < 1e-6, candidate.label


@each_system
def test_the_strain_of_a_system_stays_within_its_limit(system):
    for steps, candidate, _ in candidates_of(system):
        limit = steps.study.matching.max_strain  # lead iodide, as a product on the dot, needs up to 6.3 %
        assert max(map(abs, candidate.search_strains)) <= (limit if candidate.apart else min(limit, 0.06))
        assert candidate.search_area_ang2 <= steps.study.matching.max_area_ang2


@each_system
def test_a_system_is_compared_with_what_it_competes_with(system):
    studies = [steps_of(study).study for study in SYSTEMS[system]]
    assert any(study.decomposition is not None for study in studies) == (system in DECOMPOSED | {"PbS in CsPbBr2I"})
    assert all(study.has_competitor for study in studies) == (system not in WITHOUT_COMPETITOR)


def test_the_more_dots_and_hosts_are_in_the_library():
    ids = set(load_catalogue().ids)
    assert ids >= {"PbTe", "CdSe-zincblende", "CdSe-wurtzite", "ZnS-sphalerite", "ZnS-wurtzite"}
    assert ids >= {"CsSnI3-alpha", "CsSnI3-gamma", "CsSnI3-delta", "FAPbBr3-cubic", "CsPbCl3-cubic"}


def test_the_page_of_the_systems_is_current():
    page = (ROOT / "docs" / "systems.md").read_text(encoding="utf-8")
    assert page == TABLE["write_page"](), "run python scripts/write_systems_table.py"

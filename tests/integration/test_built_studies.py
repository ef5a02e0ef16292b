"""Every structure that the ready-made studies build: sound, neutral, with whole and undistorted molecules."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest

from qdip_dft.analysis.phases import is_same_phase, measure_connectivity
from qdip_dft.builders.interfaces import check_built
from qdip_dft.builders.ions import IonicCrystal, find_ions
from qdip_dft.flows.building import preview_structures
from qdip_dft.flows.steps import Part, Step, StepId, StudySteps
from qdip_dft.model.calculation import Freedom
from qdip_dft.model.interface import Candidate
from qdip_dft.model.structure import StructureRecord
from qdip_dft.planning.plan import plan_study
from qdip_dft.planning.study_files import read_study
from tests.unit.crystals import distances_of

STUDIES = sorted((Path(__file__).parents[2] / "workflows").glob("*.yaml"))
POLAR_STUDIES = [path for path in STUDIES if path.stem in ("pbs-cspbi3", "pbs-fapbi3")]
SLABS = (Part.DOT_SLAB, Part.FILM_SLAB, Part.INTERFACE)
FILMS = (Part.STRAINED_BULK, Part.FILM_SLAB)

each_study = pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)


@cache
def steps_of(path: Path) -> StudySteps:
    return plan_study(read_study(str(path))).steps


@cache
def structures_of(path: Path) -> dict[StepId, StructureRecord]:
    return preview_structures(steps_of(path))


def relaxations(path: Path, parts: tuple[Part, ...]) -> list[tuple[Step, StructureRecord]]:
    """Return the steps of some parts that start from a built structure, with that structure."""
    steps = [s for s in steps_of(path).steps if s.part in parts and s.freedom is not Freedom.NONE]
    assert steps
    return [(step, structures_of(path)[step.id]) for step in steps]


def charges_of(path: Path) -> dict[str, int]:
    steps = steps_of(path)
    charges = {ion: charge for crystal in steps.crystals.values() for ion, charge in crystal.formal_charges.items()}
    anion = steps.study.dot.passivation
    return charges if anion is None else {**charges, anion: -1}


def ions_of(path: Path, structure: StructureRecord) -> IonicCrystal:
    return find_ions(structure, charges_of(path))


def molecules_of(crystal: IonicCrystal) -> list[tuple[str, tuple[str, ...], np.ndarray]]:
    """Return label, elements and internal distances of each molecule."""
    return [(ion.label, ion.species, distances_of(ion.offsets_ang)) for ion in crystal.ions if len(ion.species) > 1]


def test_the_ready_made_studies_are_found():
    assert {path.stem for path in STUDIES} >= {"pbs-fapbi3", "pbs-cspbi3", "quickstart"}


@each_study
def test_every_slab_and_interface_is_neutral_and_passes_the_gate(path):
    for step, structure in relaxations(path, SLABS):
        crystal = ions_of(path, structure)
        assert crystal.formal_charge == 0, step.label
        assert check_built(crystal, name=step.label) is crystal


@each_study
def test_every_molecule_is_whole_and_undistorted(path):
    steps = steps_of(path)
    known = [
        molecule for crystal in steps.crystals.values() for molecule in molecules_of(ions_of(path, crystal.structure))
    ]
    for step, structure in relaxations(path, (*SLABS, Part.STRAINED_BULK)):
        crystal = ions_of(path, structure)
        loose = {ion.label for ion in crystal.ions if len(ion.species) == 1} & {"C", "N", "H"} - charges_of(path).keys()
        assert not loose, step.label
        for label, species, distances in molecules_of(crystal):
            expected = [d for name, symbols, d in known if (name, symbols) == (label, species)]
            assert min(float(np.abs(distances - d).max()) for d in expected) < 1e-6, step.label


@each_study
def test_hybrid_films_hold_one_molecule_per_formula_unit(path):
    steps = steps_of(path)
    for candidate in steps.candidates:
        film = structures_of(path)[steps.relaxations_of(candidate)[Part.FILM_SLAB]]
        crystal, host = ions_of(path, film), steps.crystals[candidate.phase]
        per_unit = {
            label: ions_of(path, host.structure).count(label) // host.formula_units for label in host.formal_charges
        }
        counts = {label: crystal.count(label) for label in host.formal_charges}
        assert counts == {label: n * candidate.n_formula_units for label, n in per_unit.items()}


@each_study
def test_dot_film_and_interface_share_their_mesh(path):
    steps = steps_of(path)
    for candidate in steps.candidates:
        names = steps.relaxations_of(candidate)
        cells = [np.array(structures_of(path)[names[part]].lattice_ang)[:2] for part in (*SLABS, Part.STRAINED_BULK)]
        for cell in cells[1:]:
            assert cell == pytest.approx(cells[0], abs=1e-9), candidate.label


@each_study
def test_no_film_carries_a_dipole_beyond_its_own_buckling(path):
    for step, structure in relaxations(path, (Part.DOT_SLAB, Part.FILM_SLAB)):
        crystal = ions_of(path, structure)
        heights = crystal.centres_ang[:, 2]
        area = abs(float(np.linalg.det(crystal.lattice_ang[:2, :2])))
        # 0.01 e/Å is a field of 0.18 V/Å · 1 Å: a polar (111) film of 10 Å would have 0.13 e/Å per formal layer charge
        assert abs(float(crystal.charges @ heights)) / area < 0.01, step.label


@each_study
def test_every_film_is_built_of_its_phase(path):
    steps = steps_of(path)
    for candidate in steps.candidates:
        expected = measure_connectivity(steps.crystals[candidate.phase].structure)
        for part in FILMS:
            found = measure_connectivity(structures_of(path)[steps.relaxations_of(candidate)[part]])
            assert is_same_phase(found, expected), (candidate.label, part, found.describe())


def polar_candidates(path: Path) -> list[tuple[Candidate, StructureRecord]]:
    steps = steps_of(path)
    polar = [c for c in steps.candidates if c.dot_cut.is_polar]
    return [(c, structures_of(path)[steps.relaxations_of(c)[Part.DOT_SLAB]]) for c in polar]


@pytest.mark.parametrize("path", POLAR_STUDIES, ids=lambda path: path.stem)
def test_every_lead_sulfide_111_slab_is_lead_ended_and_passivated_one_to_one(path):
    assert polar_candidates(path)
    for candidate, slab in polar_candidates(path):
        heights = (np.array(slab.frac_coords) @ np.array(slab.lattice_ang))[:, 2]
        layers = group_layers(heights, slab.species)
        n_surface = round(float(np.linalg.det(candidate.dot_matrix)))
        expected = [("I", n_surface), ("Pb", n_surface), ("S", n_surface)]
        assert layers[:3] == expected
        assert layers[:-4:-1] == expected


def group_layers(heights: np.ndarray, species: tuple[str, ...]) -> list[tuple[str, int]]:
    """Return element and number of atoms of each layer, lowest first."""
    order = np.argsort(heights)
    layers: list[tuple[str, int]] = []
    for before, index in zip([None, *order], order, strict=False):
        is_same = before is not None and heights[index] - heights[before] < 0.2
        count = layers.pop()[1] + 1 if is_same else 1
        layers.append((species[index], count))
    return layers


@pytest.mark.parametrize("path", POLAR_STUDIES, ids=lambda path: path.stem)
def test_every_lead_sulfide_111_slab_has_its_threefold_axis(path):
    import spglib

    for candidate, slab in polar_candidates(path):
        elements = sorted(set(slab.species))
        numbers = [elements.index(symbol) for symbol in slab.species]
        found = spglib.get_spacegroup((slab.lattice_ang, slab.frac_coords, numbers), symprec=1e-3)
        assert found.split()[0] == "P-3m1", candidate.label

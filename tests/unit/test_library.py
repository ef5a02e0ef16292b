"""The crystal library: every file is sound and as its source says, and a bad file is refused with its remedy."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from ase.neighborlist import neighbor_list
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Lattice, Structure
from pymatgen.io.ase import AseAtomsAdaptor

from qdip_dft import library
from qdip_dft.errors import StructureError, StudyError
from qdip_dft.library.checks import check_crystal
from qdip_dft.library.collections import find_study, list_studies, load_catalogue, load_molecule
from qdip_dft.library.crystals import load_crystal
from qdip_dft.model.material import Catalogue, CatalogueEntry, Crystal, count_formula
from qdip_dft.model.structure import StructureRecord

ROOT = Path(__file__).resolve().parents[2]
DATA = json.loads((ROOT / "scripts" / "crystal_data.json").read_text(encoding="utf-8"))
PHASES = {phase["id"]: phase for phase in DATA["phases"]}
MOLECULES = {"FA": {"C": 1, "H": 5, "N": 2}, "MA": {"C": 1, "H": 6, "N": 1}, "PEA": {"C": 8, "H": 12, "N": 1}}
HYBRIDS = [name for name, phase in PHASES.items() if MOLECULES.keys() & phase["formal_charges"].keys()]
IONIC = [
    name for name, phase in PHASES.items() if any(phase["formal_charges"].values()) or len(phase["formal_charges"]) == 1
]
BONDS_ANG = {
    "FA": {("C", "N"): 1.31, ("H", "N"): 1.02, ("C", "H"): 1.10},
    "MA": {("C", "N"): 1.49, ("H", "N"): 1.04, ("C", "H"): 1.09},
}

every_phase = pytest.mark.parametrize("name", PHASES)
every_hybrid = pytest.mark.parametrize("name", HYBRIDS)


def pairs_within(structure: Structure, cutoff_ang: float) -> list[tuple[tuple[str, str], float]]:
    atoms = AseAtomsAdaptor.get_atoms(structure)
    first, second, distances = neighbor_list("ijd", atoms, cutoff_ang)
    symbols = atoms.get_chemical_symbols()
    return [
        (tuple(sorted((symbols[i], symbols[j]))), d) for i, j, d in zip(first, second, distances, strict=True) if i <= j
    ]


def write_cif(folder: Path, structure: Structure, name: str = "mine.cif") -> Path:
    path = folder / name
    structure.to(filename=str(path))
    return path


def rocksalt(cation: str = "Pb", anion: str = "S", a_ang: float = 5.93) -> Structure:
    return Structure.from_spacegroup("Fm-3m", Lattice.cubic(a_ang), [cation, anion], [[0, 0, 0], [0.5, 0.5, 0.5]])


# ── every file of structures/ ────────────────────────────────────────────────────────────────────────────────────────


def test_the_folder_and_the_catalogue_list_the_same_files():
    catalogue = load_catalogue()
    listed = {entry.file for entry in catalogue.phases} | {molecule.file for molecule in catalogue.molecules}
    present = {path.name for path in (ROOT / "structures").iterdir()}
    assert present == listed | {"catalogue.yaml", "references.yaml", "README.md"}
    assert set(catalogue.ids) == set(PHASES)


@every_phase
def test_a_phase_passes_every_check(name):
    failed = [finding for finding in check_crystal(load_crystal(name)) if not finding.is_passed]
    assert failed == []


@every_phase
def test_a_phase_is_neutral(name):
    crystal = load_crystal(name)
    amounts = count_formula(crystal.entry.formula, tuple(crystal.formal_charges))
    assert sum(amount * crystal.formal_charges[ion] for ion, amount in amounts.items()) == 0


@every_phase
def test_a_phase_has_the_volume_per_formula_unit_of_its_source(name):
    crystal = load_crystal(name)
    assert crystal.structure.volume / crystal.formula_units == pytest.approx(PHASES[name]["vol_per_fu"], rel=1e-3)


@every_phase
def test_a_phase_holds_whole_formula_units(name):
    crystal = load_crystal(name)
    amounts = count_formula(crystal.entry.formula, tuple(crystal.formal_charges))
    expected: Counter[str] = Counter()
    for ion, amount in amounts.items():
        for element, count in MOLECULES.get(ion, {ion: 1}).items():
            expected[element] += crystal.formula_units * amount * count
    assert crystal.structure.composition.as_dict() == expected


@every_phase
def test_a_phase_keeps_the_axes_of_its_source(name):
    assert load_crystal(name).structure.lattice.parameters == pytest.approx(PHASES[name]["lattice"], abs=1e-6)


@every_phase
def test_a_phase_says_where_it_comes_from(name):
    entry = load_catalogue().find_entry(name)
    assert len(entry.source) > 10
    assert entry.licence
    assert entry.is_verified == (PHASES[name]["provenance"] != "memory")


def test_what_was_not_compared_with_its_source_is_marked():
    unverified = {entry.id for entry in load_catalogue().phases if not entry.is_verified}
    assert unverified == {
        "CsPbCl3-cubic",
        "FAPbI3-beta",
        "FAPbI3-gamma",
        "MABr",
        "MAI",
        "MAPbI3-cubic",
        "MAPbI3-tetragonal",
    }


def list_bonds(pairs: list[tuple[tuple[str, str], float]]) -> Counter[tuple[tuple[str, str], float]]:
    """Return how often each bond of a molecule occurs, its length rounded to 1e-6 Å."""
    return Counter(
        (pair, round(d, 6)) for pair, d in pairs if set(pair) <= {"C", "H", "N"} and d < bond_limit_ang(pair)
    )


def bond_limit_ang(pair: tuple[str, str]) -> float:
    return 1.25 if "H" in pair else 1.6


def pairs_of_molecule(name: str) -> list[tuple[tuple[str, str], float]]:
    molecule = load_molecule(name)
    symbols, apart = [site.specie.symbol for site in molecule], molecule.distance_matrix
    pairs = zip(*np.nonzero(np.triu(apart)), strict=True)
    return [(tuple(sorted((symbols[i], symbols[j]))), apart[i, j]) for i, j in pairs]


@every_hybrid
def test_every_cation_in_a_crystal_is_whole_with_exact_bonds(name):
    crystal = load_crystal(name)
    amounts = count_formula(crystal.entry.formula, tuple(crystal.formal_charges))
    expected: Counter[tuple[tuple[str, str], float]] = Counter()
    for molecule in MOLECULES.keys() & amounts.keys():
        for bond, count in list_bonds(pairs_of_molecule(molecule)).items():
            expected[bond] += count * amounts[molecule] * crystal.formula_units
    found = list_bonds(pairs_within(crystal.structure, 1.6))
    assert Counter(pair for pair, _ in found.elements()) == Counter(pair for pair, _ in expected.elements())
    for pair, length_ang in found:
        assert min(abs(length_ang - d) for other, d in expected if other == pair) <= 2e-6


@every_hybrid
def test_no_hydrogen_touches_a_halide(name):
    pairs = pairs_within(load_crystal(name).structure, 3.5)
    contacts_ang = [d for pair, d in pairs if pair in {("H", "I"), ("Br", "H")}]
    assert contacts_ang
    assert min(contacts_ang) >= 2.5


@pytest.mark.parametrize("name", list(BONDS_ANG))
def test_a_molecule_file_has_the_stated_bonds(name):
    molecule = load_molecule(name)
    apart = molecule.distance_matrix
    close = [(i, j) for i, j in zip(*np.nonzero(np.triu(apart)), strict=True) if apart[i, j] < 1.6]
    for i, j in close:
        pair = tuple(sorted((molecule[i].specie.symbol, molecule[j].specie.symbol)))
        assert apart[i, j] == pytest.approx(BONDS_ANG[name][pair], abs=1e-6)
    assert (len(close), molecule.charge) == (7, 1)


def test_alpha_and_delta_fapbi3_take_the_same_room_per_formula_unit():
    volumes_ang3 = {
        phase: (crystal := load_crystal(f"FAPbI3-{phase}")).structure.volume / crystal.formula_units
        for phase in ("alpha", "delta")
    }
    # Stoumpos 2013 and Weller 2015: equal within 0.4 %, so a wrong Z would show as a factor of two
    assert volumes_ang3 == pytest.approx({"alpha": 257.5, "delta": 256.6}, abs=0.05)


def test_cspbi3_expands_from_delta_to_alpha():
    crystals = [load_crystal(f"CsPbI3-{phase}") for phase in ("delta", "gamma", "beta", "alpha")]
    volumes_ang3 = [crystal.structure.volume / crystal.formula_units for crystal in crystals]
    assert volumes_ang3 == sorted(volumes_ang3)


def test_gamma_cspbi3_in_pbnm_is_the_filed_crystal_in_other_axes():
    pbnm, pnam = (load_crystal(name).structure for name in ("CsPbI3-gamma", "CsPbI3-gamma-Pnam"))
    exact = StructureMatcher(ltol=1e-4, stol=1e-4, angle_tol=0.01, primitive_cell=False, scale=False)
    assert exact.fit(pbnm, pnam)
    turned = pbnm.copy()
    turned.translate_sites([0], [0.01, 0, 0])
    assert not exact.fit(turned, pnam)


def test_every_yellow_phase_has_a_black_rival():
    catalogue = load_catalogue()
    yellow = {entry.material for entry in catalogue.phases if entry.color == "yellow"}
    for material in yellow:
        assert any(entry.color == "black" for entry in catalogue.list_phases(material))
    mixed = {"CsPbI2Br", "CsPbI1.5Br1.5", "CsPbBr2I"}
    assert yellow == {"CsPbI3", "CsPbBr3", "CsSnI3", "FAPbI3"} | mixed


def test_the_files_are_what_the_script_writes(tmp_path):
    script = ROOT / "scripts" / "build_structures.py"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, str(script), "--output", str(tmp_path)], check=True, env=environment)
    for path in tmp_path.iterdir():
        assert path.read_text(encoding="utf-8") == (ROOT / "structures" / path.name).read_text(encoding="utf-8")
    assert (
        len(list(tmp_path.iterdir())) == len(list((ROOT / "structures").iterdir())) - 2
    )  # README, references: by hand


# ── the user's own files ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", IONIC)  # the charges of a compound of neutral atoms must be given by the user
def test_a_users_copy_gets_the_same_formula_units_and_charges(name, tmp_path):
    known = load_crystal(name)
    shutil.copy(ROOT / "structures" / known.entry.file, tmp_path / "mine.cif")
    mine = load_crystal(tmp_path / "mine.cif")
    assert (mine.id, mine.entry) == ("mine", None)
    n_cells = len(mine.structure) / len(known.structure)  # layered crystals are filed in a primitive cell
    assert (mine.formula_units, mine.formal_charges) == (n_cells * known.formula_units, known.formal_charges)
    assert (n_cells > 1) == any("conventional cell" in remark for remark in mine.remarks)


@pytest.mark.parametrize("file_name", ["POSCAR", "gamma.vasp", "gamma.extxyz", "gamma.cif"])
def test_every_kind_of_file_gives_the_same_crystal(file_name, tmp_path):
    known = load_crystal("CsPbI3-gamma").structure
    path = tmp_path / file_name
    if path.suffix == ".extxyz":
        AseAtomsAdaptor.get_atoms(known).write(path, format="extxyz")
    else:
        known.to(filename=str(path), fmt="cif" if path.suffix == ".cif" else "poscar")
    mine = load_crystal(str(path)).structure
    assert mine.lattice.matrix == pytest.approx(known.lattice.matrix, abs=1e-5)
    exact = StructureMatcher(ltol=1e-4, stol=1e-4, angle_tol=0.01, primitive_cell=False, scale=False)
    assert exact.fit(mine, known)


def test_a_users_file_goes_before_the_library(tmp_path, monkeypatch):
    write_cif(tmp_path, rocksalt(a_ang=6.1), "PbS.cif")
    monkeypatch.chdir(tmp_path)
    assert load_crystal("PbS.cif").structure.lattice.a == pytest.approx(6.1)
    assert load_crystal("PbS").structure.lattice.a == pytest.approx(5.9315)


def test_the_packaged_copy_goes_before_the_checkout(tmp_path):
    package = tmp_path / "site" / "qdip_dft"
    ignored = shutil.ignore_patterns("__pycache__", "_collections")
    shutil.copytree(Path(library.__file__).parents[1], package, ignore=ignored)
    shutil.copytree(ROOT / "structures", package / "_collections" / "structures")
    (tmp_path / "site" / "structures").mkdir()  # another distribution's package of that name
    answer = subprocess.run(
        [sys.executable, "-c", "from qdip_dft.library.collections import find_structure; print(find_structure('PbS'))"],
        check=True,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(tmp_path / "site")},
        cwd=tmp_path,
    )
    assert Path(answer.stdout.strip()) == package / "_collections" / "structures" / "PbS.cif"


def test_charges_can_be_given(tmp_path):
    path = write_cif(tmp_path, rocksalt("Fe", "O", 4.3))
    assert load_crystal(path, formal_charges={"Fe": 2}).formal_charges == {"Fe": 2, "O": -2}


def test_an_element_is_neutral(tmp_path):
    silicon = Structure.from_spacegroup("Fd-3m", Lattice.cubic(5.43), ["Si"], [[0, 0, 0]])
    crystal = load_crystal(write_cif(tmp_path, silicon))
    assert (crystal.formal_charges, crystal.formula_units) == ({"Si": 0}, 8)


def test_oxidation_states_in_a_file_do_not_stay(tmp_path):
    decorated = rocksalt()
    decorated.add_oxidation_state_by_element({"Pb": 2, "S": -2})
    crystal = load_crystal(write_cif(tmp_path, decorated))
    assert {str(site.specie) for site in crystal.structure} == {"Pb", "S"}


def test_a_space_group_symbol_without_operations_is_understood_in_silence(tmp_path):
    path = tmp_path / "symbol.cif"
    path.write_text(CIF_HEAD.format(symbol="F m -3 m", a=5.93) + "Pb Pb 0 0 0\nS S 0.5 0.5 0.5\n")
    assert len(load_crystal(path).structure) == 8


CIF_HEAD = """data_x
_symmetry_space_group_name_H-M '{symbol}'
_cell_length_a {a}
_cell_length_b {a}
_cell_length_c {a}
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
"""


# ── what is refused ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_unknown_phase_is_refused_with_its_nearest_names():
    with pytest.raises(StructureError, match=r"FAPbI3-delta.*take an id of `qdip structures list`"):
        load_crystal("FAPbI3-delt")


def test_a_missing_file_is_refused():
    with pytest.raises(StructureError, match=r"neither a structure file.*the path of a CIF"):
        load_crystal("nowhere/mine.cif")


def test_an_unknown_molecule_is_refused():
    with pytest.raises(StructureError, match=r"known are FA, MA, PEA.*use one of these"):
        load_molecule("GA")


def test_partial_occupancy_is_refused_with_its_site(tmp_path):
    mixed = Structure(Lattice.cubic(6.0), [{"Cs": 0.5, "Rb": 0.5}, "Pb", "I", "I", "I"], PEROVSKITE)
    with pytest.raises(StructureError, match=r"Cs with occupancy 0.5.*choose an ordered cell"):
        load_crystal(write_cif(tmp_path, mixed))


def test_a_vacant_site_is_refused_with_its_site(tmp_path):
    vacant = Structure(Lattice.cubic(6.0), ["Cs", "Pb", {"I": 0.9}, "I", "I"], PEROVSKITE)
    with pytest.raises(StructureError, match=r"I with occupancy 0.9.*partial occupancy.*choose an ordered cell"):
        load_crystal(write_cif(tmp_path, vacant))


PEROVSKITE = [[0.5, 0.5, 0.5], [0, 0, 0], [0.5, 0, 0], [0, 0.5, 0], [0, 0, 0.5]]


def test_atoms_on_top_of_each_other_are_refused(tmp_path):
    crowded = Structure(Lattice.cubic(6.0), ["Pb", "S"], [[0, 0, 0], [0.25, 0, 0]])
    with pytest.raises(StructureError, match=r"1\.500 Å apart.*look for a doubled site"):
        load_crystal(write_cif(tmp_path, crowded))


def test_a_cell_in_the_wrong_unit_is_refused(tmp_path):
    with pytest.raises(StructureError, match=r"0\.593 Å high.*a wrong unit in the file"):
        load_crystal(write_cif(tmp_path, rocksalt(a_ang=0.593)))


def test_a_cell_too_small_for_its_atoms_is_refused(tmp_path):
    with pytest.raises(StructureError, match=r"1 Å³ per atom.*a wrong unit in the file"):
        load_crystal(write_cif(tmp_path, rocksalt(a_ang=2.0)))


def test_an_atom_too_close_to_its_own_image_is_refused(tmp_path):
    flat = Structure(Lattice.orthorhombic(1.5, 10, 10), ["Pb", "S"], [[0, 0, 0], [0, 0.5, 0.5]])
    with pytest.raises(StructureError, match=r"its image are 1\.500 Å apart.*look for a doubled site"):
        load_crystal(write_cif(tmp_path, flat))


def test_a_charged_cell_is_refused(tmp_path):
    cage = Structure(Lattice.cubic(6.36), ["Pb", "I", "I", "I"], PEROVSKITE[1:])
    with pytest.raises(StructureError, match=r"sum to -1 e.*look for missing atoms"):
        load_crystal(write_cif(tmp_path, cage))


def test_an_element_without_a_charge_is_refused(tmp_path):
    with pytest.raises(StructureError, match=r"combinations of common charges: none.*`formal_charges: {mine.cif: {Y"):
        load_crystal(write_cif(tmp_path, rocksalt("Y", "O", 4.9)))


def test_missing_hydrogens_are_refused(tmp_path):
    crystal = load_crystal("FAPbI3-alpha").structure
    crystal.remove_sites([next(i for i, site in enumerate(crystal) if site.specie.symbol == "H")])
    with pytest.raises(StructureError, match=r"a molecule C1 H4 N2.*add the missing hydrogens"):
        load_crystal(write_cif(tmp_path, crystal))


def test_a_formula_that_the_sites_do_not_have_is_refused(tmp_path):
    path = tmp_path / "mine.cif"
    text = (ROOT / "structures" / "FAPbI3-alpha.cif").read_text()
    path.write_text("".join(line for line in text.splitlines(keepends=True) if not line.startswith("H")))
    with pytest.raises(StructureError, match=r"atoms and formula of the file disagree.*repair the file"):
        load_crystal(path)


def test_an_unknown_space_group_is_not_taken_for_p1(tmp_path):
    path = tmp_path / "mine.cif"
    path.write_text(CIF_HEAD.format(symbol="X 4/q", a=5.93) + "Pb Pb 0 0 0\nS S 0.5 0.5 0.5\n")
    with pytest.raises(StructureError, match=r"space group is not understood.*export it again as CIF"):
        load_crystal(path)


def test_a_poscar_without_elements_is_refused(tmp_path):
    path = tmp_path / "POSCAR"
    path.write_text("no elements\n1.0\n6 0 0\n0 6 0\n0 0 6\n1 1\nDirect\n0 0 0\n0.5 0.5 0.5\n")
    with pytest.raises(StructureError, match=r"Elements in POSCAR cannot be determined.*repair the file"):
        load_crystal(path)


@pytest.mark.parametrize(
    ("number", "complaint"), [("nan", "not a finite number"), ("8e11", "more than 1000 cells away")]
)
def test_a_coordinate_that_no_crystal_has_is_refused(number, complaint, tmp_path):
    path = tmp_path / "POSCAR"
    path.write_text(f"Pb S\n1.0\n6 0 0\n0 6 0\n0 0 6\nPb S\n1 1\nDirect\n0 0 {number}\n0.5 0.5 0.5\n")
    with pytest.raises(StructureError, match=f"{complaint}.*repair the file"):
        load_crystal(path)


def test_a_flat_cell_is_refused(tmp_path):
    path = tmp_path / "POSCAR"
    path.write_text("Pb S\n1.0\n6 0 0\n0 6 0\n6 6 0\nPb S\n1 1\nDirect\n0 0 0\n0.5 0.5 0.5\n")
    with pytest.raises(StructureError, match=r"POSCAR cannot be read.*repair the file"):
        load_crystal(path)


def test_a_molecule_without_a_cell_is_refused():
    with pytest.raises(StructureError, match=r"not periodic in three dimensions.*repair the file"):
        load_crystal(ROOT / "structures" / "FA.xyz")


@pytest.mark.parametrize("text", ["", "data_x\n", "not a crystal at all", "data_x\nloop_\n_atom_site_label\nPb\n"])
def test_a_file_without_a_crystal_is_refused(text, tmp_path):
    path = tmp_path / "mine.cif"
    path.write_text(text)
    with pytest.raises(StructureError, match=r"mine.cif cannot be read.*repair the file"):
        load_crystal(path)


def test_a_file_of_unknown_kind_is_refused():
    with pytest.raises(StructureError, match=r"README.md cannot be read.*export it again as CIF"):
        load_crystal(ROOT / "structures" / "README.md")


@settings(max_examples=60)
@given(data=st.data())
def test_a_damaged_file_ends_in_a_crystal_or_a_clear_error(tmp_path_factory, data):
    lines = (ROOT / "structures" / "SnS.cif").read_text().splitlines()
    for _ in range(data.draw(st.integers(1, 3))):
        row = data.draw(st.integers(0, len(lines) - 1))
        column = data.draw(st.integers(0, len(lines[row])))
        lines[row] = lines[row][:column] + data.draw(st.sampled_from(["", "?", "7", "-", "'", "Pb", "loop_"]))
    path = tmp_path_factory.mktemp("damaged") / "mine.cif"
    path.write_text("\n".join(lines))
    with suppress(StructureError):
        findings = {finding.check: finding for finding in check_crystal(load_crystal(path))}
        assert findings["formal charge"].is_passed
        assert findings["shortest contact"].is_passed


# ── what the checks see ──────────────────────────────────────────────────────────────────────────────────────────────


def failed_checks(crystal: Crystal, **changes: object) -> set[str]:
    changed = replace(crystal, record=crystal.record.model_copy(update=changes))
    return {finding.check for finding in check_crystal(changed) if not finding.is_passed}


def test_the_checks_see_a_wrong_formula_unit():
    assert failed_checks(load_crystal("PbS"), formula_units=2) == {"formula units", "volume"}


def test_the_checks_see_a_wrong_charge():
    assert failed_checks(load_crystal("PbI2"), formal_charges={"Pb": 4, "I": -1}) == {"formal charge"}


def test_the_checks_see_a_distortion():
    crystal = load_crystal("PbS")
    strained = StructureRecord.from_pymatgen(crystal.structure.apply_strain([0.02, 0, 0], inplace=False))
    assert failed_checks(crystal, structure=strained) == {
        "space group",
        "volume",
    }


def test_the_checks_see_a_stretched_bond():
    crystal = load_crystal("FAPbI3-alpha")
    structure = crystal.structure.copy()
    carbon = next(i for i, site in enumerate(structure) if site.specie.symbol == "C")
    structure.translate_sites([carbon], [0, 0, 0.1], frac_coords=False)
    assert failed_checks(crystal, structure=StructureRecord.from_pymatgen(structure)) == {"molecules"}


def test_the_checks_see_a_hydrogen_on_a_halide():
    crystal = load_crystal("FAPbI3-alpha")
    structure = crystal.structure.copy()
    organic = [i for i, site in enumerate(structure) if site.specie.symbol in "CHN"]
    structure.translate_sites(organic, [0.12, 0.12, 0])
    assert "H···X" in failed_checks(crystal, structure=StructureRecord.from_pymatgen(structure))


# ── the catalogue's own rules ────────────────────────────────────────────────────────────────────────────────────────


def entry_fields(**changes: object) -> dict[str, object]:
    return load_catalogue().find_entry("FAPbI3-delta").model_dump() | changes


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"formal_charges": {"FA": 1, "Pb": 2, "I": -2}}, "do not sum to zero"),
        ({"formula": "FAPbI3Br"}, "does not consist of"),
        ({"formal_charges": {"FA": 1, "Pb": 2, "I": -1, "Br": 0}}, "does not consist of"),
        ({"provenance": "memory"}, "cannot be verified"),
        ({"cation": "MA"}, "has no formal charge"),
        ({"spacegroup": "P1"}, "Extra inputs are not permitted"),
    ],
)
def test_an_inconsistent_entry_is_refused(changes, complaint):
    with pytest.raises(ValidationError, match=complaint):
        CatalogueEntry(**entry_fields(**changes))


def test_two_entries_of_one_name_are_refused():
    entry = CatalogueEntry(**entry_fields())
    with pytest.raises(ValidationError, match="ids must be unique, repeated: FAPbI3-delta"):
        Catalogue(phases=(entry, entry))


@pytest.mark.parametrize(
    ("formula", "ions", "amounts"),
    [
        ("FAPbI3", ("FA", "Pb", "I"), {"FA": 1, "Pb": 1, "I": 3}),
        ("Cs4PbBr6", ("Cs", "Pb", "Br"), {"Cs": 4, "Pb": 1, "Br": 6}),
        ("PEA2PbBr4", ("PEA", "Pb", "Br"), {"PEA": 2, "Pb": 1, "Br": 4}),
    ],
)
def test_a_formula_counts_molecules_as_ions(formula, ions, amounts):
    assert count_formula(formula, ions) == amounts


def test_a_damaged_catalogue_is_refused(tmp_path):
    path = tmp_path / "catalogue.yaml"
    path.write_text(yaml.safe_dump({"phases": [{"id": "PbS"}]}))
    with pytest.raises(StructureError, match=r"cannot be read.*repair the file"):
        library.collections._read_catalogue(path)


# ── studies ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_every_ready_made_study_is_found_by_its_name():
    studies = list_studies()
    assert {path.name for path in studies} == {path.name for path in (ROOT / "workflows").glob("*.yaml")}
    for path in studies:
        assert find_study(path.stem) == find_study(path.name) == path


def test_a_users_study_is_found_by_its_path(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("dot: PbS\n")
    assert find_study(str(path)) == path


def test_an_unknown_study_is_refused():
    with pytest.raises(StudyError, match=r"neither a study file.*give the path of a YAML file"):
        find_study("pbs-fapbi")

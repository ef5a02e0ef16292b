"""Structure files as people have them: read by two readers, in conventional cells, or refused with the true reason."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure
from pymatgen.io.ase import AseAtomsAdaptor

from qdip_dft.errors import StructureError, StudyError
from qdip_dft.library import second_reader as second
from qdip_dft.library.checks import check_crystal
from qdip_dft.library.collections import load_catalogue, load_molecule
from qdip_dft.library.crystals import load_crystal
from qdip_dft.library.reading import read_filed, read_structure
from qdip_dft.planning.plan import plan_study
from qdip_dft.planning.study_files import validate_study
from tests.unit.studies import TINY_STUDY

ROOT = Path(__file__).resolve().parents[2]
ROCK_SALT = [[0, 0, 0], [0.5, 0.5, 0.5]]
ZINC_BLENDE = [[0, 0, 0], [0.25, 0.25, 0.25]]


def write(folder: Path, text: str, name: str = "mine.cif") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def read_reason(path: Path) -> str:
    with pytest.raises(StructureError) as caught:
        load_crystal(path)
    return str(caught.value)


def list_filed() -> list[str]:
    return [entry.file for entry in load_catalogue().phases]


# ── blocks and frames ────────────────────────────────────────────────────────────────────────────────────────────────

GAMMA = (ROOT / "structures" / "CsPbI3-gamma.cif").read_text(encoding="utf-8")
DELTA = (ROOT / "structures" / "CsPbI3-delta.cif").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "text",
    [
        f"data_global\n_journal_name_full 'ACS Energy Lett.'\n_space_group_name_x ?\n\n{GAMMA}",
        f"{GAMMA}\ndata_reflections\nloop_\n_refln_index_h\n_refln_index_k\n1 2\n3 4\n",
        f"# coordinates x, y, z; and -x, y+1/2, q of every atom\n{GAMMA}",
        GAMMA.replace(
            "_cell_length_a", "_publ_section_comment\n;\n'x, y, -z'\ndata_inside\n_cell_length_a 3\n;\n_cell_length_a"
        ),
        f"\ufeff{GAMMA}",
    ],
    ids=["global first", "reflections last", "comment", "text field", "byte order mark"],
)
def test_only_the_block_with_atoms_counts(text: str, tmp_path: Path) -> None:
    assert load_crystal(write(tmp_path, text)).structure == load_crystal("CsPbI3-gamma").structure


@pytest.mark.parametrize("texts", [(GAMMA, DELTA), (DELTA, GAMMA), (GAMMA, GAMMA)])
def test_a_file_of_several_crystals_asks_which_is_meant(texts: Sequence[str], tmp_path: Path) -> None:
    reason = read_reason(write(tmp_path, "\n".join(texts)))
    assert "holds 2 crystals" in reason
    assert "such as `mine.cif#1`" in reason


@pytest.mark.parametrize(
    ("choice", "phase"),
    [("1", "CsPbI3-gamma"), ("2", "CsPbI3-delta"), ("CsPbI3-gamma", "CsPbI3-gamma"), ("CsPbI3-delta", "CsPbI3-delta")],
)
def test_of_several_crystals_one_is_chosen_by_name_or_number(choice: str, phase: str, tmp_path: Path) -> None:
    write(tmp_path, f"data_global\n_journal_name_full x\n{GAMMA}\n{DELTA}")
    crystal = load_crystal(f"{tmp_path}/mine.cif#{choice}")
    assert crystal.structure == load_crystal(phase).structure
    assert crystal.id == f"mine#{choice}"


@pytest.mark.parametrize(
    ("name", "texts", "choice", "words"),
    [
        (
            "mine.cif",
            (GAMMA, DELTA),
            "3",
            "`3` is no one crystal of mine.cif: its crystals are CsPbI3-gamma",
        ),
        ("mine.cif", (GAMMA, GAMMA), "CsPbI3-gamma", "`CsPbI3-gamma` is no one crystal"),
        ("mine.cif", (GAMMA,), "CsPbI3-alpha", "its crystals are CsPbI3-gamma"),
        ("POSCAR", ("x\n1\n",), "1", "a POSCAR holds one crystal"),
        ("a.extxyz", ('1\nLattice="4 0 0 0 4 0 0 0 4"\nPb 0 0 0\n',), "2", "numbered from 1 to 1"),
        ("a.extxyz", ('1\nLattice="4 0 0 0 4 0 0 0 4"\nPb 0 0 0\n',), "first", "numbered from 1 to 1"),
        ("a.extxyz", ('1\nLattice="4 0 0 0 4 0 0 0 4"\nPb 0 0 0\n',), "-1", "numbered from 1 to 1"),
    ],
)
def test_a_choice_that_a_file_does_not_hold_is_refused(
    name: str, texts: Sequence[str], choice: str, words: str, tmp_path: Path
) -> None:
    write(tmp_path, "\n".join(texts), name)
    with pytest.raises(StructureError, match="write behind `#`") as caught:
        load_crystal(f"{tmp_path}/{name}#{choice}")
    assert words in str(caught.value)


def test_a_mark_in_the_name_of_a_file_belongs_to_it(tmp_path: Path) -> None:
    assert load_crystal(write(tmp_path, GAMMA, "try#2.cif")).id == "try#2"


def test_two_crystals_of_one_file_are_two_phases_of_a_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "study").mkdir()
    write(tmp_path / "study", f"{GAMMA}\n{DELTA}")
    phases = [{"phase": "mine.cif#1", "role": "black", "planes": ["001"]}]
    phases += [{"phase": "mine.cif#CsPbI3-delta", "role": "competitor", "planes": ["100"]}]
    monkeypatch.chdir(tmp_path)
    content = {**TINY_STUDY, "phases": phases, "formal_charges": {"mine.cif#1": {"Cs": 1, "Pb": 2, "I": -1}}}
    plan = plan_study(validate_study(content, source="two", folder=Path("study")))
    assert [plan.crystals[each["phase"]].id for each in phases] == ["mine#1", "mine#CsPbI3-delta"]
    assert plan.crystals["mine.cif#1"].structure != plan.crystals["mine.cif#CsPbI3-delta"].structure


@pytest.mark.parametrize("phases", [("CsPbI3-alpha", "CsPbI3-gamma"), ("PbS", "PbSe", "PbTe"), ("CsPbI3-gamma",) * 4])
def test_of_a_trajectory_the_last_frame_is_taken_with_a_word(phases: Sequence[str], tmp_path: Path) -> None:
    path = tmp_path / "run.extxyz"
    for phase in phases:
        AseAtomsAdaptor.get_atoms(load_crystal(phase).structure).write(path, format="extxyz", append=True)
    crystal = load_crystal(path)
    assert crystal.structure.matches(load_crystal(phases[-1]).structure, scale=False)
    assert crystal.remarks == (f"the last of its {len(phases)} frames",)
    first = load_crystal(f"{path}#1")
    assert first.structure.matches(load_crystal(phases[0]).structure, scale=False)
    assert first.remarks == (f"frame 1 of its {len(phases)} frames",)


@pytest.mark.parametrize("number", ["-2", "0", "-1", "99999999"])
def test_a_frame_of_no_atoms_ends_the_reading(number: str, tmp_path: Path) -> None:
    path = write(tmp_path, f'{number}\nLattice="4 0 0 0 4 0 0 0 4"\nPb 0 0 0\n', "run.extxyz")
    assert "cannot be read" in read_reason(path)


def test_a_frame_that_is_cut_short_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "run.extxyz"
    AseAtomsAdaptor.get_atoms(load_crystal("PbS").structure).write(path, format="extxyz")
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-2]))
    assert "7 atoms" in read_reason(path) or "of 8 atoms" in read_reason(path)


# ── two readers ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("file", list_filed())
def test_two_readers_find_the_same_crystal_in_every_file_of_the_library(file: str) -> None:
    text = (ROOT / "structures" / file).read_text(encoding="utf-8")
    listed = second.read_cif_again(text)
    assert listed.operations is not None
    assert read_filed(ROOT / "structures" / file).structure == read_structure(ROOT / "structures" / file)
    second.require_same(
        read_structure(ROOT / "structures" / file),
        second.expand_sites(listed, *listed.operations),
        file,
        readers=("pymatgen", "ASE"),
    )


def shift(listed: second.Listed, *, by_ang: float) -> second.Listed:
    moved = listed.frac_coords.copy()
    moved[0, 0] += by_ang / listed.lengths_angles[0]
    return second.Listed(listed.lengths_angles, listed.species, moved)


def stretch(listed: second.Listed, *, by_ang: float) -> second.Listed:
    return second.Listed(listed.lengths_angles + np.array([by_ang, 0, 0, 0, 0, 0]), listed.species, listed.frac_coords)


def lose(listed: second.Listed) -> second.Listed:
    return second.Listed(listed.lengths_angles, listed.species[1:], listed.frac_coords[1:])


def swap(listed: second.Listed) -> second.Listed:
    return second.Listed(listed.lengths_angles, listed.species[::-1], listed.frac_coords)


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (lambda listed: shift(listed, by_ang=0.05), "0.05 Å from the nearest"),
        (lambda listed: stretch(listed, by_ang=0.05), "a cell of"),
        (lose, "Pb4 S4 or Pb3 S4"),
        (swap, "from the nearest"),
    ],
)
def test_readers_that_differ_are_told_apart(other, words: str) -> None:  # type: ignore[no-untyped-def]
    structure = load_crystal("PbS").structure
    same = second.Listed(
        np.array(structure.lattice.parameters), tuple(s.specie.symbol for s in structure), structure.frac_coords
    )
    second.require_same(structure, same, "mine.cif", readers=("one", "another"))
    with pytest.raises(StructureError, match=f"read differently by one and another: .*{words}.*export it again"):
        second.require_same(structure, other(same), "mine.cif", readers=("one", "another"))


POSCAR = """PbS
{scale}
 1.0 0.0 0.0
 {skew} 1.0 0.0
 0.0 0.0 {c}
Pb S
4 4
{kind}
 0.0 0.0 0.0
 0.0 0.5 0.5
 0.5 0.0 0.5
 0.5 0.5 0.0
 0.0 0.0 0.5
 0.0 0.5 0.0
 0.5 0.0 0.0
 0.5 0.5 0.5
"""


@pytest.mark.parametrize("kind", ["Cartesian", "Direct", "K", "C"])
@pytest.mark.parametrize("scale", ["5.9315", "-208.686139", "-2.08686139E+02"])
def test_a_scale_that_is_a_volume_counts_for_the_atoms_too(scale: str, kind: str, tmp_path: Path) -> None:
    crystal = load_crystal(write(tmp_path, POSCAR.format(scale=scale, kind=kind, skew="0.0", c="1.0"), "POSCAR"))
    assert crystal.structure.get_space_group_info() == ("Fm-3m", 225)
    assert crystal.structure.get_distance(0, 4) == pytest.approx(2.96575, abs=1e-4)


# ── symmetry of a CIF ────────────────────────────────────────────────────────────────────────────────────────────────

CIF = """data_x
{symmetry}
_cell_length_a {a}
_cell_length_b {b}
_cell_length_c {c}
_cell_angle_alpha {alpha}
_cell_angle_beta {alpha}
_cell_angle_gamma {gamma}
loop_
_atom_site_label
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
{sites}
"""
HEXAGONAL = {"a": 4.299, "b": 4.299, "c": 7.010, "alpha": 90, "gamma": 120}
CUBIC = {"a": 5.43, "b": 5.43, "c": 5.43, "alpha": 90, "gamma": 90}
LOOP = "loop_\n_symmetry_equiv_pos_as_xyz"
LAYERS = {**HEXAGONAL, "a": 7.516, "b": 7.516, "c": 20.718}
HM = "_symmetry_space_group_name_H-M '{}'"


@pytest.mark.parametrize(
    ("symbol", "cell", "sites", "found"),
    [
        ("P 63 m c", HEXAGONAL, "Cd1 0.333 0.667 0\nSe1 0.333 0.667 0.377", (186, 4)),
        ("P63mc", HEXAGONAL, "Cd1 0.3333 0.6667 0\nSe1 0.3333 0.6667 0.377", (186, 4)),
        ("P 6_3 m c", HEXAGONAL, "Cd1 0.333333(3) 0.66667 0\nSe1 0.33333 0.66666 0.377", (186, 4)),
        ("R -3 :H", LAYERS, "Bi1 0 0 0.1667\nI1 0.3415 0.3395 0.0805", (148, 24)),
        ("R -3", LAYERS, "Bi1 0 0 0.1667\nI1 0.3415 0.3395 0.0805", (148, 24)),
        ("F d -3 m :1", CUBIC, "Si1 0 0 0", (227, 8)),
        ("F d -3 m :2", CUBIC, "Si1 0.125 0.125 0.125", (227, 8)),
        ("F d -3 m:2", CUBIC, "Si1 0.125 0.125 0.125", (227, 8)),
        ("F m -3 m", CUBIC, "Na1 0 0 0\nCl1 0.5 0 0", (225, 8)),
    ],
)  # fmt: skip
def test_a_space_group_that_is_only_named_is_read(
    symbol: str, cell: dict[str, float], sites: str, found: tuple[int, int], tmp_path: Path
) -> None:
    structure = load_crystal(write(tmp_path, CIF.format(symmetry=HM.format(symbol), sites=sites, **cell))).structure
    assert (structure.get_space_group_info()[1], len(structure)) == found


@pytest.mark.parametrize(
    ("symmetry", "changes", "words"),
    [
        (HM.format("F d -3 m"), {}, "origins; list the operations or name one: 'Fd-3m:1', 'Fd-3m:2'"),
        ("_space_group_IT_number 227", {}, "several settings or origins"),
        (HM.format("X 4/q"), {}, "space group is not understood"),
        (HM.format("F m -3 m") + "\n_space_group_IT_number 227", {}, "has two names"),
        (HM.format("F m -3 m"), {"b": 5.6}, "does not have the symmetry of its space group"),
        (HM.format("F m -3 m"), {"gamma": 91}, "does not have the symmetry of its space group"),
        ("", {}, "states no symmetry: list the operations, or name P 1"),
        ("_journal_year 2020", {}, "states no symmetry"),
        ("_space_group_IT_number 231", {}, "its space group number is '231'"),
        (f"{LOOP}\n'x,y,z'\n'-x,-y,-z'\n'y,x,z'\n'-y,-x,-z'", {"b": 5.6}, "one of them is wrong"),
        ("_space_group_IT_number 2\nloop_\n_symmetry_equiv_pos_as_xyz\n'x,y,z'", {}, "lists 1 symmetry operations"),
        ("loop_\n_symmetry_equiv_pos_as_xyz\n'x,y,z'\n'-x,-y'", {}, "'-x,-y' is not understood"),
        ("loop_\n_symmetry_equiv_pos_as_xyz\n'x,y,z'\n'-x,-y,-zz'", {}, "is not understood"),
        ("loop_\n_space_group_symop_magn_operation.xyz\n'x,y,z,+1'", {}, "magnetic symmetry operations"),
        ("_cell_length_a 6.0\n" + HM.format("F m -3 m"), {}, "_cell_length_a stands twice"),
    ],
)  # fmt: skip
def test_a_symmetry_that_would_be_a_guess_is_refused(
    symmetry: str, changes: dict[str, float], words: str, tmp_path: Path
) -> None:
    text = CIF.format(symmetry=symmetry, sites="Na1 0 0 0\nCl1 0.5 0 0", **{**CUBIC, **changes})
    assert words in read_reason(write(tmp_path, text))


@pytest.mark.parametrize(
    ("occupancy", "remedy"),
    [("1.02(1)", "write 1 if"), ("0.98", "ordered cell"), ("0", "ordered cell"), ("1.5", "write 1 if")],
)
def test_an_occupancy_is_named_as_the_reason(occupancy: str, remedy: str, tmp_path: Path) -> None:
    text = CIF.format(symmetry=HM.format("F m -3 m"), sites=f"Pb1 0 0 0 {occupancy}\nS1 0.5 0 0 1", **CUBIC)
    text = text.replace("_atom_site_fract_z\n", "_atom_site_fract_z\n_atom_site_occupancy\n")
    reason = read_reason(write(tmp_path, text))
    assert "site Pb1 of mine.cif" in reason
    assert remedy in reason


# ── size ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_file_of_many_megabytes_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = write(tmp_path, GAMMA + "#\n" * 11_000_000)
    started = time.process_time()
    assert "has 22 MB" in read_reason(path)
    assert time.process_time() - started < 1


@pytest.mark.parametrize(
    ("symmetry", "n_sites"),
    [
        (HM.format("F m -3 m"), 600),
        (HM.format("P 1"), 6000),
        (HM.format("P 1"), 4000),
        (f"{LOOP}\n" + "'x,y,z'\n" * 6000, 1),
        (HM.format("P 1") + "\n_note '" + "x,y+" * 400_000 + "'", 2),
        (f"{LOOP}\n'" + "x+" * 400_000 + "'", 2),
    ],
)
def test_a_large_file_is_judged_within_seconds(symmetry: str, n_sites: int, tmp_path: Path) -> None:
    sites = "\n".join(f"Na{k} 0.1 0.2 0.0{k:04}" for k in range(n_sites))
    text = CIF.format(symmetry=symmetry, sites=sites, **CUBIC)
    path = write(tmp_path, text)
    started = time.process_time()
    with suppress(StructureError):
        load_crystal(path)
    assert time.process_time() - started < 5


@pytest.mark.parametrize("count", ["6000", "3000 3000", "999999999 1"])
def test_the_atoms_of_a_poscar_are_counted_before_they_are_read(count: str, tmp_path: Path) -> None:
    species = " ".join(["Pb", "S"][: len(count.split())])
    assert "at most 5000" in read_reason(
        write(tmp_path, f"x\n1\n9 0 0\n0 9 0\n0 0 9\n{species}\n{count}\nDirect\n", "POSCAR")
    )


# ── planes refer to the conventional cell ────────────────────────────────────────────────────────────────────────────


def rewrite(structure: Structure, matrix: list[list[float]], folder: Path) -> Path:
    """The same crystal in other axes."""
    lattice = Lattice(np.array(matrix) @ structure.lattice.matrix)
    volume = abs(np.linalg.det(np.array(matrix)))
    repeated = structure * ([1, 1, 1] if volume < 1.5 else [2, 2, 2])
    places = repeated.cart_coords @ np.linalg.inv(lattice.matrix)
    kept: list[int] = []
    for index, place in enumerate(places):
        difference = places[kept] - place if kept else np.ones((1, 3)) * 0.5
        if np.abs(difference - np.round(difference)).max(axis=1).min() > 1e-4:
            kept.append(index)
    other = Structure(lattice, [repeated[index].specie for index in kept], places[kept] % 1.0)
    path = folder / "other.vasp"
    other.sort()
    other.to(filename=str(path), fmt="poscar")
    return path


FACE_CENTRED = [[0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]]


@pytest.mark.parametrize(
    ("phase", "matrix", "kind"),
    [
        ("PbS", FACE_CENTRED, "primitive"),
        ("CdSe-zincblende", FACE_CENTRED, "primitive"),
        ("PbTe", [[0, 0.5, 0.5], [0, -0.5, 0.5], [1, 0, 0]], "primitive"),
        ("CsPbI3-alpha", [[1, 0, 0], [3, 1, 0], [-2, 4, 1]], "skewed"),
        ("CsPbI3-alpha", [[2, 0, 0], [0, 1, 0], [0, 0, 1]], "multiplied"),
        ("PbS", [[1, 1, 0], [-1, 1, 0], [0, 0, 1]], "multiplied"),
        ("CsPbI3-gamma", [[1, 0, 0], [1, 1, 0], [0, 0, 1]], "skewed"),
        ("CdSe-wurtzite", [[1, 0, 0], [1, 1, 0], [0, 0, 1]], "skewed"),
        ("CdSe-wurtzite", [[1, 0, 0], [1, 2, 0], [0, 0, 1]], "multiplied"),
    ],
)
def test_other_cells_are_converted_with_a_word(
    phase: str, matrix: list[list[float]], kind: str, tmp_path: Path
) -> None:
    known = load_crystal(phase).structure
    crystal = load_crystal(rewrite(known, matrix, tmp_path))
    assert kind in crystal.remarks[0]
    assert "planes refer to the " in crystal.remarks[0]
    assert len(crystal.structure) == len(known)
    assert sorted(crystal.structure.lattice.abc) == pytest.approx(sorted(known.lattice.abc), abs=1e-4)
    assert crystal.structure.matches(known, scale=False, primitive_cell=False)


@pytest.mark.parametrize(
    ("phase", "matrix"),
    [
        ("PbS", [[0, 1, 0], [0, 0, 1], [1, 0, 0]]),
        ("CsPbI3-gamma", [[0, 1, 0], [0, 0, 1], [1, 0, 0]]),
        ("CsPbI3-delta", [[0, 0, 1], [1, 0, 0], [0, 1, 0]]),
        ("CsPbI3-beta", [[0, 0, 1], [1, 0, 0], [0, 1, 0]]),
    ],
)
def test_a_conventional_cell_of_another_setting_keeps_its_axes(
    phase: str, matrix: list[list[float]], tmp_path: Path
) -> None:
    known = load_crystal(phase).structure
    crystal = load_crystal(rewrite(known, matrix, tmp_path))
    assert crystal.remarks == ()
    assert crystal.structure.lattice.abc == pytest.approx(np.array(matrix) @ np.array(known.lattice.abc), abs=1e-6)


@pytest.mark.parametrize(
    "rows",
    [((1, 0, 0), (3, 1, 0), (-2, 4, 1)), ((1, 0, 0), (7, 1, 0), (0, 0, 1)), ((1, 0, 0), (0, 1, 0), (9, 9, 1))],
)
def test_a_cell_as_flat_as_paper_is_reduced(rows: tuple[tuple[int, ...], ...], tmp_path: Path) -> None:
    known = load_crystal("FAPbI3-alpha").structure
    crystal = load_crystal(rewrite(known, [list(row) for row in rows], tmp_path))
    assert any("skewed" in remark for remark in crystal.remarks)
    assert crystal.structure.lattice.abc == pytest.approx(known.lattice.abc, abs=1e-4)
    assert crystal.structure.lattice.angles == pytest.approx((90, 90, 90), abs=1e-3)


# ── formal charges ───────────────────────────────────────────────────────────────────────────────────────────────────


def binary(cation: str, anion: str, a_ang: float, places: list[list[float]] = ZINC_BLENDE) -> Structure:
    group = "F-43m" if places is ZINC_BLENDE else "Fm-3m"
    return Structure.from_spacegroup(group, Lattice.cubic(a_ang), [cation, anion], places)


def antifluorite(metal: str, a_ang: float, x: float) -> Structure:
    places = [[0.25, 0.25, 0.25], [0, 0, 0], [x, 0, 0]]
    return Structure.from_spacegroup("Fm-3m", Lattice.cubic(a_ang), ["Cs", metal, "I"], places)


def rutile(metal: str, a_ang: float, c_ang: float, u: float) -> Structure:
    return Structure.from_spacegroup("P4_2/mnm", Lattice.tetragonal(a_ang, c_ang), [metal, "O"], [[0, 0, 0], [u, u, 0]])


def elpasolite() -> Structure:
    places = [[0.25, 0.25, 0.25], [0, 0, 0], [0.5, 0.5, 0.5], [0.25, 0, 0]]
    return Structure.from_spacegroup("Fm-3m", Lattice.cubic(11.27), ["Cs", "Ag", "Bi", "Br"], places)


@pytest.mark.parametrize(
    ("structure", "charges"),
    [
        (binary("In", "P", 5.8687), {"In": 3, "P": -3}),
        (binary("In", "As", 6.0583), {"In": 3, "As": -3}),
        (binary("In", "Sb", 6.4794), {"In": 3, "Sb": -3}),
        (binary("Ga", "As", 5.6533), {"Ga": 3, "As": -3}),
        (binary("Al", "Sb", 6.1355), {"Al": 3, "Sb": -3}),
        (antifluorite("Sn", 11.65, 0.245), {"Cs": 1, "Sn": 4, "I": -1}),
        (rutile("Sn", 4.737, 3.186, 0.307), {"Sn": 4, "O": -2}),
        (rutile("Ti", 4.594, 2.959, 0.305), {"Ti": 4, "O": -2}),
        (elpasolite(), {"Cs": 1, "Ag": 1, "Bi": 3, "Br": -1}),
        (binary("Fe", "O", 4.33, ROCK_SALT), {"Fe": 2, "O": -2}),
        (binary("Sn", "S", 5.8, ROCK_SALT), {"Sn": 2, "S": -2}),
    ],
    ids=lambda value: value.composition.reduced_formula if isinstance(value, Structure) else "",
)
def test_the_neutral_combination_is_found(structure: Structure, charges: dict[str, int], tmp_path: Path) -> None:
    structure.to(filename=str(tmp_path / "mine.cif"))
    assert load_crystal(tmp_path / "mine.cif").formal_charges == charges


@pytest.mark.parametrize(
    ("structure", "words"),
    [
        (binary("Y", "O", 4.9, ROCK_SALT), "combinations of common charges: none"),
        (binary("In", "S", 5.6, ROCK_SALT), "sum to +4 e: 4 In (+3), 4 S (-2)"),
        (binary("C", "Si", 4.36), "C stand alone, so atoms of a molecule may be missing"),
        (rutile("Pb", 4.95, 3.38, 0.306), ""),
    ],
)
def test_charges_that_cannot_be_found_are_asked_for_by_their_key(
    structure: Structure, words: str, tmp_path: Path
) -> None:
    structure.to(filename=str(tmp_path / "mine.cif"))
    if not words:
        assert load_crystal(tmp_path / "mine.cif").formal_charges == {"Pb": 4, "O": -2}
        return
    reason = read_reason(tmp_path / "mine.cif")
    assert words in reason
    assert "`formal_charges: {mine.cif: {" in reason


def test_charges_of_the_file_are_used(tmp_path: Path) -> None:
    oxide = binary("Mn", "S", 5.22, ROCK_SALT)
    oxide.add_oxidation_state_by_element({"Mn": 3, "S": -3})
    oxide.to(filename=str(tmp_path / "mine.cif"))
    crystal = load_crystal(tmp_path / "mine.cif")
    assert crystal.formal_charges == {"Mn": 3, "S": -3}
    assert crystal.remarks == ("formal charges as the file gives them",)


def study_of(folder: Path, **changes: object) -> dict[str, object]:
    binary("In", "P", 5.8687).to(filename=str(folder / "InP.cif"))
    dot = {"material": str(folder / "InP.cif"), "facets": ["110"], "min_thickness_ang": 6}
    return {**TINY_STUDY, "dot": dot, "matching": {"max_area_ang2": 200, "max_strain": 0.08}, **changes}


def test_a_study_gives_charges_by_material(tmp_path: Path) -> None:
    path = str(tmp_path / "InP.cif")
    plan = plan_study(validate_study(study_of(tmp_path, formal_charges={path: {"In": 1, "P": -1}}), source="InP"))
    assert plan.crystals[path].formal_charges == {"In": 1, "P": -1}
    assert plan_study(validate_study(study_of(tmp_path), source="InP")).remarks == (
        f"{path}: formal charges In +3, P -3: the one neutral combination of common charges",
    )


@pytest.mark.parametrize(
    ("charges", "words"),
    [
        ({"In": 3}, "P -3"),
        ({"In": 3, "P": -2}, r"sum to \+4 e.*`formal_charges: {InP.cif: {In: 3, P: -2}}`"),
        ({"Ga": 3}, "InP.cif holds no Ga.*correct the ions"),
    ],
)
def test_given_charges_are_checked(charges: dict[str, int], words: str, tmp_path: Path) -> None:
    study = validate_study(study_of(tmp_path, formal_charges={str(tmp_path / "InP.cif"): charges}), source="InP")
    if words == "P -3":
        assert plan_study(study).crystals[str(tmp_path / "InP.cif")].formal_charges == {"In": 3, "P": -3}
        return
    with pytest.raises(StructureError, match=words):
        plan_study(study)


@pytest.mark.parametrize("charges", [{"InP": {"In": 3}}, {"InP.cif": {"In": 3.5}}, {"CsPbI3-alpha": {"Cs": 9}}])
def test_charges_of_nothing_or_of_fractions_are_refused(charges: object, tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="correct the named keys"):
        validate_study(study_of(tmp_path, formal_charges=charges), source="InP")


# ── molecules ────────────────────────────────────────────────────────────────────────────────────────────────────────


Atoms = Sequence[tuple[str, Sequence[float]]]
"""Elements with places in Å."""


def cage(centre: Atoms, folder: Path, *, a_ang: float = 6.6) -> Path:
    """A cubic PbI3 cage with something in its middle, places in Å from there."""
    symbols = ["Pb", "I", "I", "I", *(symbol for symbol, _ in centre)]
    half = a_ang / 2
    places = [[0, 0, 0], [half, 0, 0], [0, half, 0], [0, 0, half]]
    places += [[half + x for x in place] for _, place in centre]
    structure = Structure(Lattice.cubic(a_ang), symbols, places, coords_are_cartesian=True)
    structure.sort()
    structure.to(filename=str(folder / "cage.vasp"), fmt="poscar")
    return folder / "cage.vasp"


def guanidinium() -> list[tuple[str, Sequence[float]]]:
    """C(NH2)3+, planar, C–N 1.33 Å and N–H 1.01 Å."""
    atoms: list[tuple[str, Sequence[float]]] = [("C", (0, 0, 0))]
    for turn in (0, 120, 240):
        nitrogen = 1.33 * np.array([np.cos(np.radians(turn)), np.sin(np.radians(turn)), 0])
        atoms.append(("N", nitrogen.tolist()))
        for side in (-60, 60):
            way = np.radians(turn + side)
            atoms.append(("H", (nitrogen + 1.01 * np.array([np.cos(way), np.sin(way), 0])).tolist()))
    return atoms


def from_library(name: str, *, hydrogens: bool) -> list[tuple[str, Sequence[float]]]:
    return [(s.specie.symbol, s.coords.tolist()) for s in load_molecule(name) if hydrogens or s.specie.symbol != "H"]


CORNERS = ((1, 1, 1), (-1, -1, 1), (-1, 1, -1), (1, -1, -1))
WATER = [("O", (0, 0, 0)), ("H", (0.76, 0.59, 0)), ("H", (-0.76, 0.59, 0))]
THIOCYANATE = [("S", (0, 0, -1.6)), ("C", (0, 0, 0)), ("N", (0, 0, 1.17))]


@pytest.mark.parametrize(
    ("centre", "words"),
    [
        (from_library("FA", hydrogens=False), "FA with 0 of 5 hydrogens: hydrogens are missing"),
        (from_library("MA", hydrogens=False), "MA with 0 of 6 hydrogens: hydrogens are missing"),
        (from_library("FA", hydrogens=True)[:-1], "FA with 4 of 5 hydrogens"),
        (WATER, "a molecule of water"),
        (guanidinium(), r"C1 H6 N3, which is not known.*`molecules: \[{file: molecule.xyz, charge: 1}\]`"),
        (THIOCYANATE, "C1 N1 S1, which is not known"),
        ([("N", (0, 0, 0))], r"not known.*stand alone, so atoms of a molecule may be missing"),
    ],
    ids=["FA bare", "MA bare", "FA", "water", "guanidinium", "thiocyanate", "nitrogen"],
)
def test_what_is_wrong_with_a_molecule_is_said(centre: Atoms, words: str, tmp_path: Path) -> None:
    with pytest.raises(StructureError, match=words):
        load_crystal(cage(centre, tmp_path))


def write_xyz(atoms: Atoms, path: Path) -> None:
    rows = "".join(f"{symbol} {x:.5f} {y:.5f} {z:.5f}\n" for symbol, (x, y, z) in atoms)
    path.write_text(f"{len(atoms)}\nan ion\n{rows}", encoding="utf-8")


AMMONIUM = [("N", (0, 0, 0)), *(("H", [0.58 * x for x in way]) for way in CORNERS)]


@pytest.mark.parametrize(
    ("centre", "label", "host"),
    [(guanidinium(), "CH6N3", "CH6N3PbI3"), (AMMONIUM, "H4N", "NH4PbI3")],
    ids=["guanidinium", "ammonium"],
)
def test_any_cation_can_be_given_with_its_charge(centre: Atoms, label: str, host: str, tmp_path: Path) -> None:
    path = cage(centre, tmp_path, a_ang=7.0)
    write_xyz(centre, tmp_path / "ion.xyz")
    changes = {
        "host": host,
        "phases": [{"phase": str(path), "role": "black", "planes": ["100"]}],
        "molecules": [{"file": str(tmp_path / "ion.xyz"), "charge": 1}],
    }
    plan = plan_study(validate_study({**TINY_STUDY, **changes}, source="given"))
    assert plan.crystals[str(path)].formal_charges == {"Pb": 2, "I": -1, label: 1}


def test_a_file_of_two_molecules_is_no_ion(tmp_path: Path) -> None:
    write_xyz([*WATER, *((symbol, (x + 9, y, z)) for symbol, (x, y, z) in WATER)], tmp_path / "ion.xyz")
    changes = {"molecules": [{"file": str(tmp_path / "ion.xyz"), "charge": 0}]}
    with pytest.raises(StructureError, match=r"its 6 atoms form 2 molecules.*correct the file"):
        plan_study(validate_study({**TINY_STUDY, **changes}, source="two"))


@pytest.mark.parametrize(
    ("atoms", "n_spaces", "words"),
    [
        ([("N", (0, 0, 0)), ("H", (0, 4.8e16, 0))], 0, r"its atoms lie up to 4.8e\+16 Å apart.*correct the file"),
        ([("N", (0, 0, 0)), ("H", (0, 0, 2000))], 0, r"its atoms lie up to 2e\+03 Å apart"),
        ([("H", (x % 20, x // 20 % 20, x // 400)) for x in range(6000)], 0, "holds up to 6000 atoms"),
        ([("N", (0, 0, 0))], 30_000_000, "has 30 MB"),
    ],
    ids=["huge", "far", "many", "long"],
)
def test_a_molecule_of_impossible_size_is_refused_before_its_bonds_are_looked_for(
    atoms: Atoms, n_spaces: int, words: str, tmp_path: Path
) -> None:
    write_xyz(atoms, tmp_path / "ion.xyz")
    with (tmp_path / "ion.xyz").open("a") as file:
        file.write(" " * n_spaces)
    changes = {"molecules": [{"file": str(tmp_path / "ion.xyz"), "charge": 1}]}
    with pytest.raises(StructureError, match=words):
        plan_study(validate_study({**TINY_STUDY, **changes}, source="large"))


# ── contacts ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("halide", "distance_ang", "is_sound"),
    [
        *(("I", 2.55, True), ("I", 2.45, False)),
        *(("Br", 2.357, True), ("Br", 2.2, False)),
        *(("Cl", 2.224, True), ("Cl", 2.05, False)),
    ],
)
def test_the_limit_of_a_hydrogen_bond_depends_on_the_halide(
    halide: str, distance_ang: float, is_sound: bool, tmp_path: Path
) -> None:
    structure = Structure(
        Lattice.cubic(12.0),
        [halide, *(symbol for symbol, _ in from_library("MA", hydrogens=True))],
        [[0, 0, 0], *(place for _, place in from_library("MA", hydrogens=True))],
        coords_are_cartesian=True,
    )
    hydrogen = max(
        (i for i, s in enumerate(structure) if s.specie.symbol == "H"), key=lambda i: structure.cart_coords[i][2]
    )
    structure[0] = (
        halide,
        structure.lattice.get_fractional_coords(structure.cart_coords[hydrogen] + [0, 0, distance_ang]),
    )
    structure.to(filename=str(tmp_path / "POSCAR"), fmt="poscar")
    findings = {finding.check: finding for finding in check_crystal(load_crystal(tmp_path / "POSCAR"))}
    assert findings["H···X"].is_passed == is_sound


@pytest.mark.parametrize(
    ("metal", "distance_ang", "is_read"),
    [("U", 1.94, True), ("U", 1.6, False), ("Mo", 1.69, True), ("Pb", 1.5, False)],
)
def test_short_bonds_of_oxygen_to_transition_metals_are_no_overlap(
    metal: str, distance_ang: float, is_read: bool, tmp_path: Path
) -> None:
    structure = Structure(Lattice.cubic(6), [metal, "O"], [[0, 0, 0], [distance_ang / 6, 0, 0]])
    structure.to(filename=str(tmp_path / "POSCAR"), fmt="poscar")
    if is_read:
        assert len(read_structure(tmp_path / "POSCAR")) == 2
    else:
        with pytest.raises(StructureError, match="look for a doubled site"):
            read_structure(tmp_path / "POSCAR")


# ── names ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["PbS.cif", "CsPbI3-gamma.cif", "CdSe-zincblende.cif"])
def test_a_file_named_like_a_crystal_of_the_library_is_never_called_so(name: str, tmp_path: Path) -> None:
    binary("Pb", "S", 6.1, ROCK_SALT).to(filename=str(tmp_path / name))
    assert load_crystal(tmp_path / name).id == name


@pytest.mark.parametrize("centre", [guanidinium(), AMMONIUM], ids=["guanidinium", "ammonium"])
def test_the_name_of_a_host_that_is_proposed_is_taken(centre: Atoms, tmp_path: Path) -> None:
    path = str(cage(centre, tmp_path, a_ang=7.0))
    write_xyz(centre, tmp_path / "ion.xyz")
    changes = {
        "host": "X",
        "phases": [{"phase": path, "role": "black", "planes": ["100"]}],
        "molecules": [{"file": str(tmp_path / "ion.xyz"), "charge": 1}],
    }
    with pytest.raises(StudyError, match="set host:") as caught:
        plan_study(validate_study({**TINY_STUDY, **changes}, source="named"))
    proposed = str(caught.value.remedy).removeprefix("set host: ").split(", or name")[0]
    assert plan_study(validate_study({**TINY_STUDY, **changes, "host": proposed}, source="named"))


@pytest.mark.parametrize("host", ["X", "FAPbI3", "CsPbBr3", "CsPbI"])
def test_a_host_that_is_not_what_is_built_is_refused(host: str) -> None:
    with pytest.raises(StudyError, match=f"called {host}, but CsPbI3-alpha is CsPbI3.*set host: CsPbI3"):
        plan_study(validate_study({**TINY_STUDY, "host": host}, source="tiny"))

"""Damaged crystal files end in a clear error or in exactly the crystal that they still describe.

What a damaged file describes is read here a second time, by a plain reader that knows nothing of the library's: the
cell, the rows of the site table and the symmetry operations as written.
"""

from __future__ import annotations

import re
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pymatgen.core import Element

from qdip_dft.errors import StructureError
from qdip_dft.library.checks import check_crystal
from qdip_dft.library.crystals import load_crystal
from qdip_dft.model.material import Crystal

STRUCTURES = Path(__file__).resolve().parents[2] / "structures"
LISTED = [(STRUCTURES / f"{name}.cif").read_text() for name in ("SnS", "PbI2", "CsPbI3-delta", "FAPbI3-alpha")]
SYMMETRIC = """data_CsPbI3
_cell_length_a 10.4342(7)
_cell_length_b 4.7905
_cell_length_c 17.761
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_cell_formula_units_Z 4
_chemical_formula_sum 'Cs I3 Pb'
_space_group_name_H-M_alt 'P n m a'
loop_
_space_group_symop_operation_xyz
'x, y, z'
'-x+1/2, -y, z+1/2'
'-x, y+1/2, -z'
'x+1/2, -y+1/2, -z+1/2'
'-x, -y, -z'
'x+1/2, y, -z+1/2'
'x, -y+1/2, z'
'-x+1/2, y+1/2, z+1/2'
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_occupancy
Pb1 Pb 0.16039 0.25 0.43797 1
I1 I 0.16322 0.25 0.0016 1
I2 I 0.2991 0.25 0.28729 1
I3 I 0.03191 0.25 0.61449 1
Cs1 Cs 0.41564 0.25 0.6709 1
"""
"""The yellow phase as a crystallographer files it: one site of each orbit, formula of one unit, Z of the cell."""

NUMBER = re.compile(r"-?\d+\.?\d*")
REPLACEMENTS = [
    "?",
    ".",
    "-",
    "",
    "0",
    "1e3",
    "1,5",
    "0.5(",
    "nan",
    "inf",
    "Pb",
    "loop_",
    "'",
    ";",
    "#",
    "data_y",
    "é",
    "\x00",
]
SYMBOLS = ["Pb2+", "pb", "PB", "D", "X", "Xx", "Cs", "I", "H", "S", "Wat", "?"]


@st.composite
def damaged_texts(draw: st.DrawFn) -> bytes:
    """Draw a CIF and damage it in one to three ways."""
    text = draw(st.sampled_from([*LISTED, SYMMETRIC, SYMMETRIC]))
    for _ in range(draw(st.integers(1, 3))):
        text = draw(st.sampled_from(DAMAGES))(draw, text)
    encoding = draw(st.sampled_from(["utf-8"] * 8 + ["utf-16", "latin-1", "utf-8-sig"]))
    return text.encode(encoding, errors="replace")


def damage_lines(draw: st.DrawFn, text: str) -> str:
    lines = text.splitlines()
    row = draw(st.integers(0, len(lines) - 1))
    kind = draw(st.sampled_from(["drop", "double", "move", "cut"]))
    if kind == "cut":
        return "\n".join(lines[: row + 1])
    line = lines[row]
    if kind != "double":
        del lines[row]
    if kind != "drop":
        lines.insert(draw(st.integers(0, len(lines))), line)
    return "\n".join(lines) + "\n"


def damage_number(draw: st.DrawFn, text: str) -> str:
    found = list(NUMBER.finditer(text))
    if not found:
        return text
    number = draw(st.sampled_from(found))
    changed = draw(st.sampled_from(["0.5", "0.25", "-0.3", "2", "90", "0", "1.0000001", "7.5", "1/3", "120"]))
    return text[: number.start()] + changed + text[number.end() :]


def damage_word(draw: st.DrawFn, text: str) -> str:
    words = list(re.finditer(r"\S+", text))
    if not words:
        return text
    word = draw(st.sampled_from(words))
    return text[: word.start()] + draw(st.sampled_from(REPLACEMENTS + SYMBOLS)) + text[word.end() :]


def damage_operations(draw: st.DrawFn, text: str) -> str:
    operation = draw(st.sampled_from(["-x,-y,-z", "x+1/2,y+1/2,z", "x,y", "y,x,z", "x,y,q", "x+0.5,y,z", "2x,y,z", ""]))
    return text.replace("'x, y, z'\n", f"'x, y, z'\n'{operation}'\n", 1)


def damage_occupancy(draw: st.DrawFn, text: str) -> str:
    return re.sub(
        r" 1$", " " + draw(st.sampled_from(["0", "0.5", "1.5", "?", "-1", "0.999"])), text, count=1, flags=re.M
    )


DAMAGES: list[Any] = [damage_lines, damage_lines, damage_number, damage_word, damage_operations, damage_occupancy]


@dataclass(frozen=True)
class Described:
    """What a file says in plain words: cell parameters, and element and place of every generated site."""

    cell: list[float]
    elements: list[str]
    places: np.ndarray


def read_plainly(text: str) -> Described | None:
    """Return what a file describes; None where nothing plain can be said."""
    if len(re.findall(r"^\s*data_", text, flags=re.M)) != 1 or "\n;" in text:
        return None
    blocks = [block for block in text.split("loop_") if "_atom_site_fract_x" in block]
    cell = [re.findall(rf"^_cell_{tag}\s+(\S+)\s*$", text, flags=re.M) for tag in CELL_TAGS]
    written = re.findall(r"^\s*'([^'\n]*,[^'\n]*)'\s*$", text, flags=re.M)
    if len(blocks) != 1 or any(len(values) != 1 for values in cell) or not written:
        return None
    try:
        operations = [read_operation(operation) for operation in written]
        sites = read_sites(blocks[0])
        parameters = [float(values[0].split("(")[0]) for values in cell]
    except (ValueError, AttributeError, IndexError, ZeroDivisionError):
        return None
    found: list[tuple[str, np.ndarray]] = []
    for symbol, place in sites:
        for image in (rotation @ place + translation for rotation, translation in operations):
            if not any(s == symbol and np.abs((d := image - p) - np.round(d)).max() < 1e-3 for s, p in found):
                found.append((symbol, image))
    return Described(parameters, [symbol for symbol, _ in found], np.array([place for _, place in found]))


def read_sites(block: str) -> list[tuple[str, np.ndarray]]:
    """Return element and place of each row of a site table; a row of another length is a ValueError."""
    lines = [line.strip() for line in block.splitlines() if line.strip() and not line.strip().startswith("#")]
    tags = [line for line in lines if line.startswith("_atom_site_")]
    columns = [tags.index(f"_atom_site_fract_{axis}") for axis in "xyz"]
    element = tags.index("_atom_site_type_symbol" if "_atom_site_type_symbol" in tags else "_atom_site_label")
    sites = []
    for row in (line.split() for line in lines[len(tags) :]):
        if len(row) != len(tags):
            raise ValueError(row)
        symbol = Element(re.match(r"[A-Z][a-z]?", row[element]).group()).symbol
        sites.append((symbol, np.array([float(row[column]) for column in columns])))
    return sites


CELL_TAGS = ("length_a", "length_b", "length_c", "angle_alpha", "angle_beta", "angle_gamma")


def read_operation(text: str) -> tuple[np.ndarray, np.ndarray]:
    """Return rotation and translation of an operation such as ``-x+1/2, y, z``."""
    rows, shifts = [], []
    parts = text.replace(" ", "").split(",")
    if len(parts) != 3:
        raise ValueError(text)
    for part in parts:
        if not re.fullmatch(r"[+-]?TERM([+-]TERM)*".replace("TERM", r"(\d+(/\d+|\.\d+)?|[xyz])"), part):
            raise ValueError(text)
        terms = re.findall(r"[+-]?(?:\d+/\d+|\d+\.\d+|\d+|[xyz])", part)
        rows.append([sum((-1 if t[0] == "-" else 1) for t in terms if t.endswith(axis)) for axis in "xyz"])
        shifts.append(sum(fraction(t) for t in terms if t[-1] not in "xyz"))
    return np.array(rows, dtype=float), np.array(shifts)


def fraction(text: str) -> float:
    numerator, _, denominator = text.partition("/")
    return float(numerator) / float(denominator or 1)


def assert_as_described(crystal: Crystal, text: str) -> None:
    described = read_plainly(text)
    if described is None:
        return
    structure = crystal.structure
    assert Counter(site.specie.symbol for site in structure) == Counter(described.elements)
    assert structure.lattice.parameters == pytest.approx(described.cell, abs=1e-3)
    for site in structure:
        difference = described.places - site.frac_coords
        assert np.abs(difference - np.round(difference)).max(axis=1).min() < 2e-3


def load(content: bytes, folder: Path) -> Crystal:
    path = folder / "mine.cif"
    path.write_bytes(content)
    return load_crystal(path)


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(content=damaged_texts())
def test_a_damaged_file_ends_in_the_crystal_it_describes_or_in_a_clear_error(tmp_path_factory, content):
    with suppress(StructureError):
        crystal = load(content, tmp_path_factory.mktemp("damaged"))
        findings = {finding.check: finding for finding in check_crystal(crystal)}
        assert findings["formal charge"].is_passed
        assert findings["shortest contact"].is_passed
        assert_as_described(crystal, content.decode("utf-8", errors="replace"))


def test_the_undamaged_files_are_the_crystals_they_describe(tmp_path):
    for text in [*LISTED, SYMMETRIC]:
        assert read_plainly(text) is not None
        assert_as_described(load(text.encode(), tmp_path), text)


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("'-x, -y, -z'\n", "", "form no group"),
        ("'-x, -y, -z'", "'-x, -y, q'", "not all of them are understood|form no group|cannot be read"),
        ("loop_\n_space_group_symop_operation_xyz", "_space_group_symop_operation_xyz", "cannot be read"),
        ("Cs1 Cs 0.41564 0.25 0.6709 1", "Cs1 Cs 0.41564 0.25 0.6709 0.5", "partial occupancy"),
        ("_cell_formula_units_Z 4", "_cell_formula_units_Z 8", "8 formula units of Cs I3 Pb are declared"),
    ],
)
def test_what_would_lose_atoms_silently_is_refused(old, new, complaint, tmp_path):
    assert SYMMETRIC.count(old) == 1
    with pytest.raises(StructureError, match=complaint):
        load(SYMMETRIC.replace(old, new).encode(), tmp_path)

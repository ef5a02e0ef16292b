"""Mutated CIF and POSCAR files: never another crystal than the one they describe, never a foreign error, never long.

``QDIP_MUTATIONS=2000`` tries more of them; the seeds are fixed, so that a failure can be repeated by its number.
"""

from __future__ import annotations

import os
import random
import re
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from pymatgen.core import Element, Structure

from qdip_dft.errors import StructureError
from qdip_dft.library.crystals import load_crystal
from qdip_dft.library.reading import read_structure
from qdip_dft.library.second_reader import MAX_ATOMS
from tests.unit.test_fuzzed_files import LISTED, NUMBER, REPLACEMENTS, SYMBOLS, SYMMETRIC, read_plainly

N_MUTATIONS = int(os.environ.get("QDIP_MUTATIONS", "160"))
"""Of each kind of file."""

LONGEST_S = 5.0

STRUCTURES = Path(__file__).resolve().parents[2] / "structures"


def write_poscars() -> list[str]:
    """The same crystals as POSCAR files of several styles: scales, volumes, Cartesian places, selective dynamics."""
    texts = []
    for name in ("PbS", "SnS", "CsPbI3-delta", "FAPbI3-alpha"):
        structure = read_structure(STRUCTURES / f"{name}.cif")
        lattice, species = structure.lattice.matrix, [site.specie.symbol for site in structure]
        symbols = list(dict.fromkeys(species))
        order = [index for symbol in symbols for index, other in enumerate(species) if other == symbol]
        for scale, kind, tail in (
            (1.0, "Direct", ""),
            (2.0, "Cartesian", ""),
            (-structure.volume, "Cartesian", ""),
            (1.0, "Selective dynamics\nDirect", " T T F"),
        ):
            factor = scale if scale > 0 else 1.0
            places = structure.frac_coords if "Direct" in kind else structure.cart_coords / factor
            rows = [f"{x:.10f} {y:.10f} {z:.10f}{tail}" for x, y, z in places[order]]
            vectors = [" ".join(f"{x:.10f}" for x in row) for row in lattice / factor]
            counts = " ".join(str(species.count(symbol)) for symbol in symbols)
            texts.append("\n".join([name, f"{scale}", *vectors, " ".join(symbols), counts, kind, *rows, ""]))
    return texts


def mutate(text: str, chance: random.Random) -> str:
    """Damage a text in one to three ways."""
    for _ in range(chance.randint(1, 3)):
        text = chance.choice(KINDS)(text, chance)
    return text


def move_lines(text: str, chance: random.Random) -> str:
    lines = text.splitlines()
    row = chance.randrange(len(lines))
    kind = chance.choice(["drop", "double", "move", "cut", "blank"])
    if kind == "cut":
        return "\n".join(lines[: row + 1]) + "\n"
    line = lines[row]
    if kind != "double":
        del lines[row]
    if kind not in ("drop",):
        lines.insert(chance.randint(0, len(lines)), "" if kind == "blank" else line)
    return "\n".join(lines) + "\n"


def change_number(text: str, chance: random.Random) -> str:
    found = list(NUMBER.finditer(text))
    if not found:
        return text
    number = chance.choice(found)
    values = [
        "0.5",
        "0.25",
        "-0.3",
        "2",
        "90",
        "0",
        "7.5",
        "1/3",
        "120",
        "1e3",
        "-1",
        "8.5(3)",
        "99999999",
        "0.333",
        "1e999",
    ]
    return text[: number.start()] + chance.choice(values) + text[number.end() :]


def change_word(text: str, chance: random.Random) -> str:
    words = list(re.finditer(r"\S+", text))
    if not words:
        return text
    word = chance.choice(words)
    return text[: word.start()] + chance.choice([*REPLACEMENTS, *SYMBOLS]) + text[word.end() :]


def change_sign(text: str, chance: random.Random) -> str:
    places = [match.start() for match in re.finditer(r"[-+.,' ]", text)]
    if not places:
        return text
    place = chance.choice(places)
    return text[:place] + chance.choice("-+., '\t") + text[place + 1 :]


def append_itself(text: str, chance: random.Random) -> str:
    return text + text if chance.random() < 0.3 else text


KINDS = (move_lines, move_lines, change_number, change_number, change_word, change_sign, append_itself)


def describe_poscar(text: str) -> tuple[np.ndarray, list[str], np.ndarray] | None:
    """Lattice, elements and Cartesian places that a POSCAR says in plain words; None where these are not plain.

    VASP takes every word for direct coordinates that does not begin with C or K.
    """
    lines = text.splitlines()
    try:
        (scale,) = map(float, lines[1].split())
        lattice = np.array([[float(word) for word in line.split()] for line in lines[2:5]])
        symbols, counts = lines[5].split(), [int(word) for word in lines[6].split()]
        if lattice.shape != (3, 3) or len(symbols) != len(counts) or min(counts) < 1 or sum(counts) > MAX_ATOMS:
            return None
        at = 7 + (lines[7].strip()[:1] in "Ss")
        kind = lines[at].strip()[:1]
        rows = [line.split() for line in lines[at + 1 : at + 1 + sum(counts)]]
        places = np.array([[float(word) for word in row[:3]] for row in rows])
        species = [Element(symbol).symbol for symbol, count in zip(symbols, counts, strict=True) for _ in range(count)]
    except (ValueError, IndexError):
        return None
    if places.shape != (len(species), 3) or not np.isfinite(places).all() or not kind:
        return None
    factor = scale if scale > 0 else (-scale / abs(np.linalg.det(lattice))) ** (1 / 3)
    lattice = factor * lattice
    return lattice, species, factor * places if kind in "CcKk" else places @ lattice


def require_described(structure: Structure, lattice: np.ndarray, species: list[str], places: np.ndarray) -> None:
    """Hold a crystal against what its file says; cells as flat as paper are reduced, so volumes are compared."""
    assert Counter(site.specie.symbol for site in structure) == Counter(species)
    assert structure.volume == pytest.approx(abs(np.linalg.det(lattice)), rel=1e-4)
    if np.allclose(structure.lattice.matrix, lattice, atol=1e-4):
        frac = np.linalg.solve(lattice.T, places.T).T
        for site in structure:
            difference = frac[[s == site.specie.symbol for s in species]] - site.frac_coords
            assert np.linalg.norm((difference - np.round(difference)) @ lattice, axis=1).min() < 0.02


def try_file(path: Path) -> Structure | None:
    """Read a file; what is refused is refused by an error of this package, and soon."""
    started = time.process_time()
    try:
        load_crystal(path)
        structure = read_structure(path)
    except StructureError:
        structure = None
    assert time.process_time() - started < LONGEST_S
    return structure


def test_mutated_cif_files_are_never_another_crystal(tmp_path: Path) -> None:
    n_read = 0
    for seed in range(N_MUTATIONS):
        chance = random.Random(seed)
        text = mutate(chance.choice([*LISTED, SYMMETRIC, SYMMETRIC]), chance)
        path = tmp_path / "mutated.cif"
        path.write_text(text, encoding="utf-8")
        structure = try_file(path)
        with np.errstate(all="ignore"):
            described = read_plainly(text)
        n_read += structure is not None
        if structure is not None and described is not None:
            assert Counter(s.specie.symbol for s in structure) == Counter(described.elements), seed
            for site in structure:
                difference = described.places - site.frac_coords
                assert np.abs(difference - np.round(difference)).max(axis=1).min() < 2e-3, seed
    assert 0.05 * N_MUTATIONS < n_read < 0.95 * N_MUTATIONS


def test_mutated_poscar_files_are_never_another_crystal(tmp_path: Path) -> None:
    n_read, texts = 0, write_poscars()
    for seed in range(N_MUTATIONS):
        chance = random.Random(seed)
        text = mutate(chance.choice(texts), chance)
        path = tmp_path / "POSCAR"
        path.write_text(text, encoding="utf-8")
        structure = try_file(path)
        with np.errstate(all="ignore"):
            described = describe_poscar(text)
        n_read += structure is not None
        if structure is not None:
            assert described is not None, f"seed {seed}: {text[:300]}"
            require_described(structure, *described)
    assert 0.05 * N_MUTATIONS < n_read < 0.95 * N_MUTATIONS


def test_the_undamaged_files_are_read_as_they_describe_themselves(tmp_path: Path) -> None:
    for text in write_poscars():
        path = tmp_path / "POSCAR"
        path.write_text(text, encoding="utf-8")
        described = describe_poscar(text)
        assert described is not None
        require_described(read_structure(path), *described)

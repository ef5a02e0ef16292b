"""Each fact of nature stands in one place: no second definition of a unit, a radius or a class of elements."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import qdip_dft
from qdip_dft import units
from qdip_dft.model import elements
from qdip_dft.model.term_names import TERM_COLUMNS, TERM_FIELDS, TERM_NAMES, TERM_OF_PART

PACKAGE = Path(qdip_dft.__file__).parent
UNIT_TABLE = {name: value for name, value in vars(units).items() if isinstance(value, float)}
EVERYDAY_NUMBERS = {10.0, 1000.0}
"""Factors that also occur as plain numbers, such as 10 Å; their names are looked for instead."""

ELEMENT_SETS = {
    "ORGANIC_ELEMENTS": set(elements.ORGANIC_ELEMENTS),
    "HALIDES": set(elements.HALIDES),
    "CHALCOGENIDES": set(elements.CHALCOGENIDES),
    "ANIONS": set(elements.ANIONS),
    "ALKALI_METALS": set(elements.ALKALI_METALS),
    "ORGANIC_ELEMENTS without O": {"H", "C", "N"},
    "BRIDGING_HALIDES": {"Cl", "Br", "I"},
}
ONE_DEFINITION = (
    "BOND_RATIO",
    "CLOSEST_COVALENT_RATIO",
    "MIN_HYDROGEN_HALIDE_ANG",
    "LAYER_GAP_ANG",
    "TERM_OF_PART",
    "TERM_NAMES",
    "HALIDES",
    "ORGANIC_ELEMENTS",
    "CONTACT_RADII_ANG",
    "covalent_radii_ang",
    "find_molecules",
    *(name for name in vars(units) if name.isupper()),
)
DOORS = {"find_molecules": {"library/contacts.py"}}
"""Where a function of the same name hands a pymatgen structure to the one that does the work."""


@cache
def sources() -> dict[str, ast.Module]:
    files = sorted(PACKAGE.rglob("*.py"))
    return {str(file.relative_to(PACKAGE)): ast.parse(file.read_text(encoding="utf-8")) for file in files}


@cache
def defined_names(tree: ast.Module) -> frozenset[str]:
    return frozenset(_walk_names(tree))


def _walk_names(tree: ast.Module) -> Iterator[str]:
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            yield node.name
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        yield from (target.id for target in targets if isinstance(target, ast.Name))


@cache
def collections_of_words(tree: ast.Module) -> tuple[tuple[int, tuple[str, ...]], ...]:
    return tuple(_walk_words(tree))


def _walk_words(tree: ast.Module) -> Iterator[tuple[int, tuple[str, ...]]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Tuple | ast.List | ast.Set) and node.elts:
            words = [element.value for element in node.elts if isinstance(element, ast.Constant)]
            if len(words) == len(node.elts) and all(isinstance(word, str) for word in words):
                yield node.lineno, tuple(words)


@pytest.mark.parametrize("name", ONE_DEFINITION)
def test_a_fact_is_defined_once(name):
    places = {file for file, tree in sources().items() if name in {n.lstrip("_") for n in defined_names(tree)}}
    assert len(places - DOORS.get(name, set())) == 1, f"{name} is defined in {sorted(places)}; import it from there"


def test_numbers_of_the_unit_table_stand_there_only():
    wanted = {name: value for name, value in UNIT_TABLE.items() if value not in EVERYDAY_NUMBERS}
    again = [
        f"{file}:{node.lineno} {node.value} is {name}"
        for file, tree in sources().items()
        if file != "units.py"
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, float)
        for name, value in wanted.items()
        if abs(node.value / value - 1) < 1e-4
    ]
    assert not again


READERS_OF_ASE = {"engines/espresso/driver.py"}
"""Where ASE's reader of a code's whole output must be met to the last digit: it converts with constants of 2006."""


def test_no_other_library_gives_units():
    again = [
        f"{file}:{node.lineno}"
        for file, tree in sources().items()
        if file not in READERS_OF_ASE
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module in {"ase.units", "scipy.constants", "pymatgen.core.units"}
    ]
    assert not again


@pytest.mark.parametrize("name", ELEMENT_SETS)
def test_a_class_of_elements_is_listed_once(name):
    places = [
        f"{file}:{line}"
        for file, tree in sources().items()
        if file != "model/elements.py"
        for line, words in collections_of_words(tree)
        if set(words) == ELEMENT_SETS[name]
    ]
    assert not places


def test_the_terms_are_listed_once():
    again = [
        f"{file}:{line}"
        for file, tree in sources().items()
        if file != "model/term_names.py"
        for line, words in collections_of_words(tree)
        if words in {TERM_NAMES, TERM_COLUMNS, TERM_FIELDS, (*TERM_FIELDS, "total_ev_per_fu")}
    ]
    assert not again
    assert set(TERM_OF_PART.values()) == set(TERM_NAMES)


def test_radii_come_from_one_place():
    again = [
        file
        for file, tree in sources().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and "covalent_radii" in {alias.name for alias in node.names}
    ]
    assert again == ["model/elements.py"]

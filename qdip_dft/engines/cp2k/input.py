"""Input files of CP2K, written with pymatgen's sections and keywords."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from itertools import product
from math import prod
from typing import TYPE_CHECKING, Any

from qdip_dft.engines.cp2k.data import Kind
from qdip_dft.model.structure import Arrangement, Presence

if TYPE_CHECKING:
    from pymatgen.io.cp2k.inputs import Cp2kInput, Section

Content = dict[str, Any]
"""A section: a dictionary is a subsection, a list stands for lines of any words, anything else is a keyword."""


def assemble_input(content: Content) -> Cp2kInput:
    """Return the sections of an input file, whose text is its string."""
    from pymatgen.io.cp2k.inputs import Cp2kInput

    return Cp2kInput(subsections={name: _section(name, value) for name, value in content.items()})


def _section(name: str, content: Content) -> Section:
    from pymatgen.io.cp2k.inputs import Keyword, Section

    word, *parameters = name.split()
    section = Section(word, section_parameters=parameters, alias=name)
    for key, value in content.items():
        if isinstance(value, dict):
            section.insert(_section(key, value))
        elif isinstance(value, list):
            section.keywords |= {f"{key}{i}": Keyword(*line) for i, line in enumerate(value)}
        else:
            section.keywords[key] = Keyword(key, value)
    return section


def k_points(mesh: tuple[int, int, int]) -> Content:
    """Return the mesh centred on Γ, one of k and −k: CP2K's own Monkhorst-Pack meshes leave Γ out when even."""
    lines = [
        ("KPOINT", *(f"{i / n:.14f}" for i, n in zip(point, mesh, strict=True)), f"{weight / prod(mesh):.14f}")
        for point, weight in sorted(fold_mesh(mesh).items())
    ]
    return {"SCHEME": "GENERAL", "SYMMETRY": "F", "FULL_GRID": "T", "KPOINT": lines}


def fold_mesh(mesh: tuple[int, int, int]) -> Counter[tuple[int, ...]]:
    """Return how many points of a mesh centred on Γ each of k and −k stands for, by its place in steps."""
    weights: Counter[tuple[int, ...]] = Counter()
    for point in product(*(range(n) for n in mesh)):
        opposite = tuple(-i % n for i, n in zip(point, mesh, strict=True))
        weights[min(point, opposite)] += 1
    return weights


def subsystem(arrangement: Arrangement, kinds: Mapping[str, Kind]) -> Content:
    """Return cell, sites in their order, and what belongs to each kind: a ghost has functions, a missing atom none."""
    content: Content = {
        "CELL": {name: _numbers(vector) for name, vector in zip("ABC", arrangement.lattice_ang.tolist(), strict=True)},
        "COORD": {
            "": [
                (symbol, _numbers(place))
                for symbol, place in zip(arrangement.kinds, arrangement.positions_ang.tolist(), strict=True)
            ]
        },
    }
    for name, symbol in sorted(set(zip(arrangement.kinds, arrangement.species, strict=True))):
        basis_set = "NONE" if name.endswith(Presence.ABSENT) else kinds[symbol].basis_set
        core = {"POTENTIAL": kinds[symbol].potential} if name == symbol else {"ELEMENT": symbol, "GHOST": "TRUE"}
        content[f"KIND {name}"] = {"BASIS_SET": basis_set, **core}
    return content


def _numbers(values: list[float]) -> str:
    return " ".join(f"{value:.12f}" for value in values)

"""Symmetry operations of a CIF, and those of a space group that it names only."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

METRIC_TOLERANCE = 5e-3
"""Largest relative misfit of a cell with the symmetry that its file states; parameters are written with few digits."""

OLD_NAMES = {"Abm2": "Aem2", "Aba2": "Aea2", "Cmca": "Cmce", "Cmma": "Cmme", "Ccca": "Ccce"}
"""Names before the double glide plane e (de Wolff et al., Acta Cryst. A 48, 727 (1992))."""


@dataclass(frozen=True, slots=True, eq=False)
class Operations:
    """Operations x → R x + t in fractional coordinates.

    Parameters
    ----------
    rotations
        R, shape (n, 3, 3), whole numbers.
    translations
        t, shape (n, 3).
    """

    rotations: NDArray[np.int64]
    translations: NDArray[np.float64]

    @classmethod
    def parse(cls, written: Sequence[str]) -> Operations:
        """Read operations such as ``-x+1/2,y,z``, without blanks."""
        from pymatgen.core import SymmOp

        matrices = np.array([SymmOp.from_xyz_str(operation).affine_matrix for operation in written])
        return cls(np.rint(matrices[:, :3, :3]).astype(np.int64), matrices[:, :3, 3])

    def write(self) -> list[str]:
        """The operations as a CIF lists them."""
        from pymatgen.core import SymmOp

        pairs = zip(self.rotations, self.translations, strict=True)
        return [SymmOp.from_rotation_and_translation(turn, shift).as_xyz_str() for turn, shift in pairs]

    def count_rotations(self) -> int:
        """How many operations differ in more than a translation."""
        return len({tuple(rotation.ravel().tolist()) for rotation in self.rotations})

    def is_group(self) -> bool:
        """Whether the product of any two is one of them, but for lattice translations."""
        known = set(self._rows(self.rotations, self.translations))
        return len(known) == len(self.rotations) and all(
            known.issuperset(self._rows(turn @ self.rotations, self.translations @ turn.T + shift))
            for turn, shift in zip(self.rotations, self.translations, strict=True)
        )

    def is_same(self, other: Operations) -> bool:
        """Whether two lists hold the same operations, in any order."""
        others = set(self._rows(other.rotations, other.translations))
        return set(self._rows(self.rotations, self.translations)) == others

    @staticmethod
    def _rows(rotations: NDArray[np.int64], translations: NDArray[np.float64]) -> list[tuple[int, ...]]:
        """Rotations and translations as whole numbers, the latter as 1/24 of the cell's axes."""
        shifts = np.rint(translations * 24).astype(np.int64) % 24
        return [tuple(row) for row in np.hstack([rotations.reshape(-1, 9), shifts]).tolist()]


def keeps_metric(operations: Operations, lattice_ang: NDArray[np.float64]) -> bool:
    """Whether every operation turns the cell (vectors as rows, Å) onto a cell of the same lengths and angles."""
    metric = lattice_ang @ lattice_ang.T
    lengths = np.sqrt(np.diag(metric))
    turned = np.einsum("nij,ik,nkl->njl", operations.rotations, metric, operations.rotations)
    return bool((np.abs(turned - metric) <= METRIC_TOLERANCE * np.outer(lengths, lengths)).all())


def find_operations(symbols: Sequence[str], number: int | None, lattice_ang: NDArray[np.float64]) -> Operations:
    """The operations of a space group that is named only, in the setting that fits the cell.

    Parameters
    ----------
    symbols
        Names as written, of Hall or Hermann and Mauguin, with or without blanks and setting (``R -3 :H``).
    number
        Its number in the International Tables; None: not given.
    lattice_ang
        Vectors as rows in Å.

    Raises
    ------
    ValueError
        If no group is named, none is known of that name, or it is not clear which of its settings is meant.
    """
    if not symbols and number is None:
        raise ValueError("it states no symmetry: list the operations, or name P 1 if all sites are listed")
    named = next((found for symbol in symbols if (found := list(_find_settings(symbol)))), None)
    if named is None and symbols:
        raise ValueError(
            f"its space group is not understood ({symbols[0]}); list the symmetry operations or all sites as P 1"
        )
    settings = named if named is not None else [each for each in _list_types() if each.number == number]
    if named is None:
        settings = [each for each in settings if each.choice in ("", "b", "b1", "H", "1", "2")]
    if number is not None and all(each.number != number for each in settings):
        raise ValueError(f"its space group has two names: {symbols[0]} and number {number}")
    return _choose_setting(settings, lattice_ang)


def _choose_setting(settings: Sequence[Any], lattice_ang: NDArray[np.float64]) -> Operations:
    found: list[tuple[Any, Operations]] = []
    for each in settings:
        operations = _read_database(each.hall_number)
        if keeps_metric(operations, lattice_ang) and not any(operations.is_same(other) for _, other in found):
            found.append((each, operations))
    name = settings[0].international_short
    if not found:
        raise ValueError(f"its cell does not have the symmetry of its space group {name}")
    if len(found) > 1:
        choices = ", ".join(f"'{name}:{each.choice}'" for each, _ in found)
        raise ValueError(
            f"its space group {name} has several settings or origins; list the operations or name one: {choices}"
        )
    return found[0][1]


def _find_settings(symbol: str) -> Iterator[Any]:
    """The settings of a name; Hall's names one."""
    bare, _, choice = symbol.strip(" '\"").partition(":")
    word = _squeeze(bare)
    word = OLD_NAMES.get(word, word)
    for each in _list_types():
        if symbol.strip(" '\"") == each.hall_symbol:
            yield each
            return
    for each in _list_types():
        if word in _list_names(each) and choice.strip().lower() in ("", each.choice.lower()):
            yield each


@cache
def _list_types() -> tuple[Any, ...]:
    import spglib

    return tuple(spglib.get_spacegroup_type(number) for number in range(1, 531))


def _list_names(setting: Any) -> set[str]:
    """What a setting is called, without blanks; the short names of a monoclinic group leave out the axes 1."""
    full = _squeeze(setting.international_full)
    names = {full, _squeeze(setting.international.rpartition("=")[2])}
    axes = setting.international_full.split()
    if len(axes) == 4 and axes.count("1") == 2:
        names.add(_squeeze("".join(axis for axis in axes if axis != "1")))
    elif setting.choice in ("", "1", "2", "H", "R"):
        names.add(_squeeze(setting.international_short))
    return names


def _squeeze(name: str) -> str:
    return re.sub(r"[\s_]", "", name)


@cache
def _read_database(hall_number: int) -> Operations:
    import spglib

    found: Any = spglib.get_symmetry_from_database(hall_number)
    return Operations(np.asarray(found["rotations"], dtype=np.int64), np.asarray(found["translations"]))


@cache
def count_rotations(number: int) -> int:
    """The order of the point group of a space group, which is the same in every setting."""
    hall = next(each.hall_number for each in _list_types() if each.number == number)
    return _read_database(hall).count_rotations()

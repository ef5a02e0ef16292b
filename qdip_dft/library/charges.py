"""Formal charges of ions: given, of the library, of the file, or the one neutral combination of common charges."""

from __future__ import annotations

from itertools import islice, product
from math import prod
from typing import TYPE_CHECKING

from qdip_dft.errors import StructureError
from qdip_dft.model.elements import CHALCOGENIDES, HALIDES, ORGANIC_ELEMENTS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

COMMON_CHARGES: dict[str, int] = (
    dict.fromkeys(("Li", "Na", "K", "Rb", "Cs", "Ag", "Cu"), 1)
    | dict.fromkeys(("Mg", "Ca", "Sr", "Ba", "Zn", "Cd", "Hg", "Ge", "Sn", "Pb"), 2)
    | dict.fromkeys(("Al", "Ga", "In", "Sb", "Bi"), 3)
    | dict.fromkeys(HALIDES, -1)
    | dict.fromkeys(CHALCOGENIDES, -2)
)
"""Formal charge in e that an element of a user's file is given when nothing else is said."""

MAX_COMBINATIONS = 100_000
"""Combinations of charges that are tried; six elements of four charges each have 4096."""


def choose_charges(
    ions: Mapping[str, int], *, name: str, given: Mapping[str, int], known: Mapping[str, int], states: Mapping[str, int]
) -> tuple[dict[str, int], str]:
    """Return the formal charge of each ion in e, and in words how it was found; empty where nothing was chosen.

    Parameters
    ----------
    ions
        Number of each ion in the cell.
    name
        What errors call the crystal.
    given
        Charges that the user gives.
    known
        Charges of the library for this crystal, or of molecules.
    states
        Charges that the file gives.

    Raises
    ------
    StructureError
        If a given ion is not there, the charges are not neutral, or several or no combinations are.
    """
    _require_there(given, ions, name)
    fixed = {ion: charge for ion, charge in {**known, **given}.items() if ion in ions}
    for usual in ({}, states, COMMON_CHARGES):
        charges = {**usual, **fixed}
        if set(ions) <= set(charges) and (_sum(ions, charges) == 0 or len(fixed) == len(ions)):
            found = {ion: charges[ion] for ion in ions}
            _require_neutral(ions, found, name)
            return found, "as the file gives them" if usual is states and states else ""
    if len(ions) == 1 and not fixed:
        return dict.fromkeys(ions, 0), ""
    return _find_neutral(ions, fixed, name)


def _find_neutral(ions: Mapping[str, int], fixed: Mapping[str, int], name: str) -> tuple[dict[str, int], str]:
    found = list(islice(_list_neutral(ions, fixed), 4))
    if len(found) == 1:
        return found[0], f"{_write(found[0])}: the one neutral combination of common charges"
    if not found and all(ion in COMMON_CHARGES or ion in fixed for ion in ions):
        usual = {**COMMON_CHARGES, **fixed}
        _require_neutral(ions, {ion: usual[ion] for ion in ions}, name)
    listed = "; ".join(_write(charges) for charges in found) or "none"
    lone = sorted((ORGANIC_ELEMENTS - {"O"}) & set(ions))
    example = found[0] if found else {ion: fixed.get(ion, COMMON_CHARGES.get(ion, 0)) for ion in ions}
    raise StructureError(
        f"the formal charges of {name} ({_count(ions)}) are not known",
        limit=f"neutral combinations of common charges: {listed}",
        why="slabs and interfaces are balanced by formal charges"
        + (f"; {', '.join(lone)} stand alone, so atoms of a molecule may be missing" if lone else ""),
        remedy=f"give them in the study, such as `formal_charges: {{{name}: {{{_write(example, key=True)}}}}}`",
    )


def _list_neutral(ions: Mapping[str, int], fixed: Mapping[str, int]) -> Iterator[dict[str, int]]:
    """Yield the neutral combinations whose negative ions attract electrons more than the positive ones."""
    from pymatgen.core import Element

    choices: list[tuple[int, ...]] = []
    for ion in ions:
        if ion in fixed:
            choices.append((fixed[ion],))
        elif ion in ("C", "H"):
            return
        else:
            common = set(Element(ion).common_oxidation_states) | {COMMON_CHARGES.get(ion, 0)}
            choices.append(tuple(sorted(common - {0})))
    if prod(map(len, choices)) > MAX_COMBINATIONS:
        return
    attraction = {ion: Element(ion).X for ion in ions if ion not in fixed or Element.is_valid_symbol(ion)}
    for charges in product(*choices):
        combination = dict(zip(ions, charges, strict=True))
        positive = [attraction[ion] for ion in attraction if combination[ion] > 0]
        negative = [attraction[ion] for ion in attraction if combination[ion] < 0]
        if _sum(ions, combination) == 0 and max(positive, default=0.0) < min(negative, default=9.0):
            yield combination


def _require_there(given: Mapping[str, int], ions: Mapping[str, int], name: str) -> None:
    foreign = [ion for ion in given if ion not in ions]
    if foreign:
        raise StructureError(
            f"{name} holds no {', '.join(foreign)}",
            limit=f"its ions are {', '.join(ions)}",
            why="the charge would be given to nothing, and another ion would keep a wrong one",
            remedy="correct the ions in `formal_charges`",
        )


def _require_neutral(ions: Mapping[str, int], charges: Mapping[str, int], name: str) -> None:
    total = _sum(ions, charges)
    if total != 0:
        listed = ", ".join(f"{amount} {ion} ({charges[ion]:+d})" for ion, amount in ions.items())
        raise StructureError(
            f"the formal charges of {name} sum to {total:+d} e: {listed}",
            limit="a crystal is neutral, 0 e per cell",
            why="slabs and interfaces are balanced by formal charges, which must start from zero",
            remedy="look for missing atoms in the file, or give the right charges in the study, such as"
            f" `formal_charges: {{{name}: {{{_write(charges, key=True)}}}}}`",
        )


def _sum(ions: Mapping[str, int], charges: Mapping[str, int]) -> int:
    return sum(amount * charges[ion] for ion, amount in ions.items())


def _write(charges: Mapping[str, int], *, key: bool = False) -> str:
    return ", ".join(f"{ion}: {charge}" if key else f"{ion} {charge:+d}" for ion, charge in charges.items())


def _count(ions: Mapping[str, int]) -> str:
    return " ".join(f"{ion}{amount}" for ion, amount in ions.items())

"""Reads a CIF: only its block with atoms counts, its symmetry is stated and whole, and two programs read the same.

What the readers of pymatgen and ASE would guess or drop without a word is refused: a space group that is not stated or
has two origins, operations that are damaged or missing, a cell that has not their symmetry, amounts that disagree.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

from qdip_dft.errors import StructureError
from qdip_dft.library.second_reader import (
    MAX_ATOMS,
    Listed,
    expand_sites,
    read_cif_again,
    require_same,
    require_size,
)
from qdip_dft.library.space_groups import Operations, count_rotations, find_operations, keeps_metric

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pymatgen.core import Lattice, Structure

Values = dict[str, "str | list[str]"]
"""The values of a block by tag, in small letters."""

OPERATION_TAGS = (
    "_space_group_symop_operation_xyz",
    "_space_group_symop.operation_xyz",
    "_symmetry_equiv_pos_as_xyz",
    "_symmetry_equiv.pos_as_xyz",
)

CELL_TAGS = tuple(f"_cell_{tag}" for tag in ("length_a", "length_b", "length_c"))
CELL_TAGS += tuple(f"_cell_{tag}" for tag in ("angle_alpha", "angle_beta", "angle_gamma"))

SITE_TAGS = tuple(f"_atom_site_{tag}" for tag in ("label", "type_symbol", "fract_x", "fract_y", "fract_z", "occupancy"))

OTHER_TAGS = ("_chemical_formula_sum", "_cell_formula_units_z")

_TERM = r"(?:\d+/\d+|\d*\.\d+|\d+|[xyz])"
_OPERATION = re.compile(rf"[-+]?{_TERM}(?:[-+]{_TERM})*(?:,[-+]?{_TERM}(?:[-+]{_TERM})*){{2}}")
"""A symmetry operation without blanks, such as ``-x+1/2,y,z``; each term may be read in one way only."""

_TEXT_FIELD = re.compile(r"^;.*?^;", flags=re.MULTILINE | re.DOTALL)
"""A text over several lines, which may hold another program's input."""

_SITES = re.compile(r"^\s*_atom_site_(?:fract|cartn)_x\b", flags=re.MULTILINE | re.IGNORECASE)


def read_cif(text: str, name: str, choice: str = "") -> Structure:
    """Read the crystal of a CIF by two readers.

    Parameters
    ----------
    text
        The file.
    name
        What errors call it.
    choice
        Name or number, from 1, of the block that is meant among those with atoms; empty: there is one.

    Raises
    ------
    StructureError
        If several blocks hold atoms and none is chosen, a site is not fully occupied, the crystal is too large, or two
        readers differ.
    ValueError, LookupError
        If it is damaged or says too little.
    """
    block = _choose_block(text, name, choice)
    structure, operations = _read_block(block, name)
    require_same(structure, _read_again(block, operations), name, readers=("pymatgen", "ASE"))
    return structure


def read_filed_cif(text: str, name: str) -> Structure:
    """Read a CIF of the library by one reader: that two read the same is tested, and ASE's takes half a second."""
    return _read_block(_choose_block(text, name), name)[0]


def _read_block(block: str, name: str) -> tuple[Structure, Operations]:
    from pymatgen.core import Lattice
    from pymatgen.io.cif import CifBlock, CifParser

    _require_tags_once(block)
    found = CifBlock.from_str(f"data_{block}").data
    values: Values = {tag.lower(): value for tag, value in found.items()}
    lattice = Lattice.from_parameters(*(_number(_single(values, tag)) for tag in CELL_TAGS))
    operations = _read_operations(values, lattice)
    require_size(_count_sites(values) * len(operations.rotations), name)
    _require_full_occupancy(values, name)
    parser = CifParser.from_str(_write_plain(values, operations))
    (structure,) = parser.parse_structures(primitive=False, on_error="raise")
    complaint = parser.check(structure)
    if complaint is not None and "Cannot determine" not in complaint:
        raise ValueError(f"atoms and formula of the file disagree: {complaint}")
    _require_declared_amount(structure, values)
    return structure, operations


def _choose_block(text: str, name: str, choice: str = "") -> str:
    """The block with atoms that is meant, without texts over several lines and without comments."""
    plain = _TEXT_FIELD.sub("'.'", text.removeprefix("\ufeff"))
    plain = re.sub(r"^[ \t]*#.*$", "", plain, flags=re.MULTILINE)
    blocks = re.split(r"^[ \t]*data_", plain, flags=re.MULTILINE | re.IGNORECASE)[1:]
    with_atoms = [block for block in blocks if _SITES.search(block)]
    if not with_atoms:
        raise ValueError("no block of it holds atoms")
    names = [(block.split() or ["?"])[0] for block in with_atoms]
    listed = ", ".join(names[:5])
    if choice:
        labels = names if choice in names else [str(number) for number in range(1, len(names) + 1)]
        if labels.count(choice) != 1:
            raise not_chosen(name, choice, f"its crystals are {listed}")
        return with_atoms[labels.index(choice)]
    if len(with_atoms) > 1:
        raise StructureError(
            f"{name} holds {len(with_atoms)} crystals: {listed}",
            limit="of several crystals in a file one is chosen",
            why="which of them is meant would be a guess",
            remedy=f"name the one that is meant behind the file, by its number, such as `{name}#1`, or by its name",
        )
    return with_atoms[0]


def not_chosen(name: str, choice: str, limit: str) -> StructureError:
    """The error of a crystal that a file does not hold, or not once."""
    return StructureError(
        f"`{choice}` is no one crystal of {name}",
        limit=limit,
        why="which of them is meant would be a guess",
        remedy=f"write behind `#` one of its names or numbers, such as `{name}#1`, or leave it out where there is one",
    )


def _require_tags_once(block: str) -> None:
    tags = [tag.lower() for tag in re.findall(r"^\s*(_\S+)", block, flags=re.MULTILINE)]
    vital = (*CELL_TAGS, *SITE_TAGS, *OPERATION_TAGS)
    doubled = [tag for tag in vital if tags.count(tag) > 1]
    if doubled:
        raise ValueError(f"its tag {doubled[0]} stands twice, and the first value would be lost")
    if any(tag.startswith(("_space_group_symop_magn", "_space_group_symop.magn")) for tag in tags):
        raise ValueError("it lists magnetic symmetry operations, which are not read; list all sites as P 1")


def _single(values: Values, tag: str) -> str:
    value = values[tag]
    if not isinstance(value, str):
        raise ValueError(f"its {tag} has several values")  # noqa: TRY004 (a fault of the file, not of a type)
    return value


def _column(values: Values, tag: str) -> list[str]:
    value = values.get(tag, [])
    return [value] if isinstance(value, str) else value


def _number(text: str) -> float:
    """A number with or without its standard uncertainty: ``8.576(2)``."""
    found = re.fullmatch(r"([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)(?:\(\d*\)?)?", text.strip())
    if found is None or not math.isfinite(float(found[1])):
        raise ValueError(f"{text!r} stands where a number is needed")
    return float(found[1])


def _count_sites(values: Values) -> int:
    return len(_column(values, "_atom_site_fract_x"))


def _read_operations(values: Values, lattice: Lattice) -> Operations:
    """The operations that the file lists, or those of the space group that it names; never P 1 by default."""
    written = next((_column(values, tag) for tag in OPERATION_TAGS if values.get(tag)), [])
    listed = ["".join(operation.lower().split()) for operation in written]
    for operation in listed:
        if len(operation) > 100 or not _OPERATION.fullmatch(operation):
            raise ValueError(f"its table of symmetry operations is damaged: {operation[:40]!r} is not understood")
    if len(listed) > MAX_ATOMS:
        raise ValueError(f"it lists {len(listed)} symmetry operations")
    number = _read_group_number(values)
    if not listed:
        return find_operations(_list_symbols(values), number, lattice.matrix)
    operations = Operations.parse(listed)
    if not operations.is_group():
        raise ValueError("its symmetry operations form no group: some are missing or wrong")
    if not keeps_metric(operations, lattice.matrix):
        raise ValueError("its cell does not have the symmetry of its operations: one of them is wrong")
    order = None if number is None else count_rotations(number)
    if order is not None and order != operations.count_rotations():
        raise ValueError(
            f"it lists {operations.count_rotations()} symmetry operations, translations apart, but its space group,"
            f" number {number}, has {order}"
        )
    return operations


def _read_group_number(values: Values) -> int | None:
    tags = ("_space_group_it_number", "_symmetry_int_tables_number", "_space_group.it_number")
    text = next((value for tag in tags if isinstance(value := values.get(tag), str)), "")
    if text.strip(" ?.") == "":
        return None
    if not text.strip().isdigit() or not 1 <= int(text) <= 230:
        raise ValueError(f"its space group number is {text!r}")
    return int(text)


def _list_symbols(values: Values) -> list[str]:
    """The names of the space group, that of Hall first, for it leaves no choice."""
    tags = [tag for tag in values if "space_group" in tag and ("hall" in tag or "h-m" in tag or "h_m" in tag)]
    words = [value for tag in sorted(tags, key=lambda tag: "hall" not in tag) if isinstance(value := values[tag], str)]
    return [word for word in words if word.strip(" ?.'\"")]


def _require_full_occupancy(values: Values, name: str) -> None:
    occupancies, kinds = _column(values, "_atom_site_occupancy"), _column(values, "_atom_site_type_symbol")
    labels = _column(values, "_atom_site_label") or kinds
    for label, kind, text in zip(labels, kinds or labels, occupancies, strict=False):
        if text in ("?", "."):
            continue
        if abs(_number(text) - 1) > 1e-6:
            is_more = _number(text) > 1
            raise StructureError(
                f"site {label} of {name} holds {kind} with occupancy {_number(text):.3g}",
                limit="every site must be fully occupied by one element, occupancy 1"
                + ("" if is_more else "; this is a file with partial occupancy"),
                why="an energy needs definite atoms, and the average structure has none",
                remedy="write 1 if the site is simply full, and a refinement gave more"
                if is_more
                else "choose an ordered cell: a supercell, a refinement of lower symmetry or a phase of the library",
            )


def _write_plain(values: Values, operations: Operations) -> str:
    """A CIF with nothing but what makes the crystal."""
    head = ["data_x", *(f"{tag} {_single(values, tag)}" for tag in CELL_TAGS)]
    # pymatgen knows this tag in one spelling only
    spelled = {tag: tag.replace("_z", "_Z") for tag in OTHER_TAGS}
    head += [f"{spelled[tag]} '{value}'" for tag in OTHER_TAGS if isinstance(value := values.get(tag), str)]
    head += ["loop_", OPERATION_TAGS[0], *(f"'{operation}'" for operation in operations.write())]
    tags = [tag for tag in SITE_TAGS if tag in values]
    columns = [_column(values, tag) for tag in tags]
    if "_atom_site_fract_x" not in tags or len({len(column) for column in columns}) != 1:
        raise ValueError("its table of sites is damaged: the columns are not equally long")
    rows = [
        [_plain_value(tag, value) for tag, value in zip(tags, row, strict=True)] for row in zip(*columns, strict=True)
    ]
    return "\n".join([*head, "loop_", *tags, *(" ".join(row) for row in rows), *_write_oxidation(values), ""])


def _write_oxidation(values: Values) -> list[str]:
    kinds, numbers = _column(values, "_atom_type_symbol"), _column(values, "_atom_type_oxidation_number")
    if not kinds or len(kinds) != len(numbers):
        return []
    rows = [f"'{kind}' {number}" for kind, number in zip(kinds, numbers, strict=True)]
    return ["loop_", "_atom_type_symbol", "_atom_type_oxidation_number", *rows]


def _plain_value(tag: str, value: str) -> str:
    if "fract" in tag:
        return repr(_complete_third(value))
    if "occupancy" in tag:
        return "1"
    if not re.fullmatch(r"[\w+\-*.()']+", value):
        raise ValueError(f"its {tag} {value!r} is not understood")
    return f'"{value}"' if "'" in value else value


def _complete_third(text: str) -> float:
    """A coordinate; a third or sixth of a cell that is written with three digits or more is meant exactly."""
    value = _number(text)
    digits = len(re.sub(r"\(.*|[eE].*", "", text).partition(".")[2].strip())
    sixth = round(value * 6) / 6
    return sixth if digits >= 3 and 0 < abs(value - sixth) < 10.0**-digits else value


def _read_again(block: str, operations: Operations) -> Listed:
    """What ASE reads; its own reading of the operations counts where the file lists them."""
    listed = read_cif_again(f"data_{block}")
    rotations, translations = listed.operations or (operations.rotations, operations.translations)
    return expand_sites(listed, rotations, translations)


def _require_declared_amount(structure: Structure, values: Mapping[str, str | Sequence[str]]) -> None:
    """Refuse a cell that does not hold Z times the file's formula, or the formula where that is of the whole cell."""
    from pymatgen.core import Composition

    formula, units = values.get("_chemical_formula_sum"), values.get("_cell_formula_units_z")
    if not isinstance(formula, str) or not isinstance(units, str) or not units.isdigit():
        return
    declared, n_units = Composition(formula), int(units)
    allowed = [declared * n_units] + [declared] * all(amount % max(n_units, 1) == 0 for amount in declared.values())
    if not any(structure.composition.element_composition.almost_equals(composition) for composition in allowed):
        raise ValueError(f"its cell holds {structure.formula}, but {n_units} formula units of {formula} are declared")

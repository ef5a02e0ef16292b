"""Miller indices as people write them: one reader for study files and the command line."""

from __future__ import annotations

import re
from collections.abc import Sequence
from math import gcd

from qdip_dft.errors import SlabError

Miller = tuple[int, int, int]

_MINUS_SIGNS = str.maketrans({"−": "-", "–": "-"})


def parse_hkl(indices: str | Sequence[int]) -> Miller:
    """Return Miller indices as three coprime integers.

    Text may be compact with one digit an index (``"111"``, ``"1-10"``), or spaced or with commas (``"1 -1 0"``,
    ``"11 0 0"``), in any brackets.  A common factor is divided out, because (222) and (111) are the same lattice plane;
    the sign stays, because (111) and (-1-1-1) are opposite faces.

    Parameters
    ----------
    indices
        Three indices with respect to the conventional cell.

    Raises
    ------
    SlabError
        If these are not three integers, or all are zero, or four-index hexagonal notation is used.
    """
    h, k, m = _read_three(indices)
    divisor = gcd(h, k, m)
    return h // divisor, k // divisor, m // divisor


def write_plane(indices: str | Sequence[int]) -> str:
    """The text of a plane that is the same however it is written: ``111``, ``1-10``; with commas from two digits on.

    A common factor stays as it is written, since results are filed under this text.  Errors as of `parse_hkl`.
    """
    return _join(_read_three(indices))


def _read_three(indices: str | Sequence[int]) -> Miller:
    found = _read_text(indices) if isinstance(indices, str) else _read_integers(indices)
    if len(found) == 4:
        raise _four_indices(indices, found)
    if len(found) != 3:
        raise _unreadable(indices)
    if not any(found):
        raise SlabError(
            "plane (0 0 0)",
            limit="at least one Miller index differs from zero",
            why="it has no normal and names no plane",
            remedy="give three indices such as 111 or 1-10",
        )
    return found[0], found[1], found[2]


def _read_text(text: str) -> list[int]:
    """Indices that stand apart may have several digits; a sign parts them, too.  Elsewhere each digit is one."""
    bare = re.sub(r"[()\[\]{}]", " ", text.translate(_MINUS_SIGNS)).strip()
    if not re.search(r"[\s,]", bare):
        if not re.fullmatch(r"([-+]?[0-9])+", bare):
            raise _unreadable(text)
        return [int(token) for token in re.findall(r"[-+]?[0-9]", bare)]
    tokens = re.sub(r"(?<=[0-9])(?=[-+])", " ", bare).replace(",", " ").split()
    if not all(re.fullmatch(r"[-+]?[0-9]{1,3}", token) for token in tokens):
        raise _unreadable(text)
    return [int(token) for token in tokens]


def _read_integers(indices: Sequence[int]) -> list[int]:
    if not all(_is_index(index) for index in indices):
        raise _unreadable(indices)
    return [int(index) for index in indices]


def _is_index(index: object) -> bool:
    is_number = isinstance(index, (int, float)) and not isinstance(index, bool)
    return is_number and index in range(-999, 1000)


def _unreadable(indices: object) -> SlabError:
    return SlabError(
        f"plane {indices!r}",
        limit="three integers are needed",
        why="the plane would be a guess",
        remedy="write it as 111, 1-10 or '1 -1 0'; indices of two digits stand apart, such as '11 0 0'",
    )


def _four_indices(indices: object, found: Sequence[int]) -> SlabError:
    h, k, i, m = found
    is_right = i == -(h + k)
    return SlabError(
        f"plane {indices!r} in four-index notation" + ("" if is_right else f" with {i} where {-h - k} belongs"),
        limit="planes have three indices (h k l)",
        why="the third of (h k i l) is redundant, i = -(h + k)",
        remedy=f"leave it out: ({h} {k} {i} {m}) is written {_join((h, k, m))}"
        if is_right
        else "correct the indices, then leave the third out: (1 0 -1 0) is written 100",
    )


def _join(indices: Sequence[int]) -> str:
    return ("" if all(abs(index) < 10 for index in indices) else ",").join(map(str, indices))

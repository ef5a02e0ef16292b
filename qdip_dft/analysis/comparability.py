"""Whether two results may be subtracted from each other, and if not, exactly why.

They may if both are at one level of theory, by one definition of the terms, and per formula unit of one compound.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from qdip_dft.analysis.numbers import write_signed
from qdip_dft.errors import LevelOfTheoryError, QdipError, ResultsError
from qdip_dft.model.calculation import LevelOfTheory
from qdip_dft.model.stabilization import StabilizationDoc

HASH_DIGITS = 12
"""How many digits of a hash are shown."""


def find_obstacle(
    first: StabilizationDoc, other: StabilizationDoc, *, names: tuple[str, str] = ("A", "B")
) -> QdipError | None:
    """Return why two results may not be subtracted from each other, or None if they may.

    Parameters
    ----------
    first, other
        The results.
    names
        How they are called in the message.
    """
    if first.theory is None or other.theory is None:
        return _nothing_computed(names[0] if first.theory is None else names[1])
    if first.study.host != other.study.host:
        return _different_hosts(first.study.host, other.study.host, names)
    if first.formula_version != other.formula_version:
        return _different_formulae(first.formula_version, other.formula_version, names)
    if first.theory != other.theory:
        return _different_theories(list_theory_differences(first.theory, other.theory), names)
    geometries = first.geometry_theory or first.theory, other.geometry_theory or other.theory
    if geometries[0] != geometries[1]:
        return _different_theories([f"geometry {words}" for words in list_theory_differences(*geometries)], names)
    bulks = name_bulk(first), name_bulk(other)
    return None if bulks[0] == bulks[1] else _different_bulks(bulks, names)


def name_bulk(document: StabilizationDoc) -> str:
    """Return where the bulk term of a result comes from: the engine, or each reference with its value."""
    basis = document.bulk_basis
    pairs = () if basis is None else basis.pairs
    values = (
        f"{p.reference.phase} − {p.reference.relative_to} {write_signed(p.reference.value_ev_per_fu, decimals=4)} "
        f"({p.reference.level})"
        for p in pairs
    )
    return "; ".join(sorted(values)) or "engine"


def list_theory_differences(first: LevelOfTheory, other: LevelOfTheory) -> tuple[str, ...]:
    """Return in which settings two levels of theory differ, with both values."""
    left, right = _describe_theory(first), _describe_theory(other)
    names = [*left, *(name for name in right if name not in left)]
    values = {name: (left.get(name, "not set"), right.get(name, "not set")) for name in names}
    return tuple(f"{name}: {a} and {b}" for name, (a, b) in values.items() if a != b)


def flatten(content: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield every value of a nested mapping as text, by its path."""
    for name, value in content.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", str(value)


def _nothing_computed(name: str) -> ResultsError:
    return ResultsError(
        f"{name} holds no computed energy",
        limit="both results need energies of a known level of theory",
        why="there is nothing to subtract",
        remedy="qdip status says what failed; run the study again with --retry",
    )


def _different_hosts(first: str, other: str, names: tuple[str, str]) -> ResultsError:
    return ResultsError(
        f"{names[0]} is per formula unit of {first}, {names[1]} of {other}",
        limit="differences are taken between results on one compound",
        why="formula units of two compounds hold different atoms, and the difference would be that of the atoms",
        remedy="read them side by side: stabilizations and energies per area are differences within their own host",
    )


def _different_formulae(first: int, other: int, names: tuple[str, str]) -> ResultsError:
    return ResultsError(
        f"{names[0]} follows version {first} of the definitions of the terms, {names[1]} version {other}",
        limit="differences are taken within one version",
        why="the same word would mean two quantities",
        remedy="qdip db upgrade, or run the older study again: stored calculations are reused",
    )


def _different_bulks(bulks: tuple[str, str], names: tuple[str, str]) -> ResultsError:
    return ResultsError(
        f"the bulk term of {names[0]} is from {bulks[0]}, that of {names[1]} from {bulks[1]}",
        limit="differences are taken between results whose bulk terms come from the same place",
        why="the difference would be that of a reference and an engine, not of two films",
        remedy="set `bulk: engine` in both studies and run them again: stored calculations are reused",
    )


def _different_theories(differences: Sequence[str], names: tuple[str, str]) -> LevelOfTheoryError:
    differing = "; ".join(differences)
    return LevelOfTheoryError(
        f"{names[0]} and {names[1]} are at different levels of theory ({differing})",
        limit="energies are subtracted within one level of theory only",
        why="two levels count energies from different zero points: the difference would be that of the methods",
        remedy="compare the stabilizations side by side, each a difference within its own level, "
        "or run both studies at one level with --engine and --preset",
    )


def _describe_theory(theory: LevelOfTheory) -> dict[str, str]:
    fields = theory.model_dump(mode="json", exclude={"settings"})
    fields["weights_hash"] = theory.weights_hash[:HASH_DIGITS]
    return {name: str(value) for name, value in {**fields, **dict(flatten(theory.settings))}.items()}

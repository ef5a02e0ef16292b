"""Why a phase wins: what would reverse the answer, how the octahedra gave way, and what binds film and dot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from pydantic import JsonValue

from qdip_dft.analysis.margins import Margin, find_margins
from qdip_dft.analysis.numbers import write_signed
from qdip_dft.analysis.octahedra import CrossBond, Shape, find_cross_bonds, measure_layers, measure_shape
from qdip_dft.analysis.sentence import find_deciding_term
from qdip_dft.analysis.signs import Sign, compare_signs
from qdip_dft.analysis.verdict import Verdict, judge
from qdip_dft.builders.ions import view_ions
from qdip_dft.errors import QdipError
from qdip_dft.library.collections import load_catalogue
from qdip_dft.model.calculation import CalculationRecord
from qdip_dft.model.stabilization import CandidateResult, StabilizationDoc
from qdip_dft.model.structure import StructureRecord
from qdip_dft.planning.study_files import load_crystals
from qdip_dft.report.cells import Cell, write_numbers
from qdip_dft.report.summary import find_structure
from qdip_dft.report.tables import Column, Row, Table
from qdip_dft.report.words import find_compared, name_film
from qdip_dft.units import ANG_PER_NM, MEV_PER_EV

BULK, STRAINED_BULK, DOT_SLAB, FILM_SLAB, INTERFACE = "bulk", "strained bulk", "dot slab", "film slab", "interface"
"""Names under which a candidate lists its calculations."""


@dataclass(frozen=True, slots=True)
class FilmModes:
    """What became of one film on the dot.

    Parameters
    ----------
    label, film
        The candidate, and its film.
    bulk, strained_bulk
        The octahedra of the relaxed and of the strained bulk.
    free, bound
        Those of the film slab and of the film on the dot, layer by layer, the one that touches the dot first.
    bonds
        Bonds between film and dot.
    area_ang2
        Area of the interface cell.
    charges_e
        Formal charges of dot slab, film and interface in e; empty where a crystal file is not at hand.
    """

    label: str
    film: str
    bulk: Shape
    strained_bulk: Shape
    free: tuple[Shape, ...]
    bound: tuple[Shape, ...]
    bonds: tuple[CrossBond, ...]
    area_ang2: float
    charges_e: dict[str, int]


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a phase wins.

    Parameters
    ----------
    decision
        The deciding term and its margin in words.
    margins
        By how much each term would have to be wrong.
    films
        The compared films whose structures are at hand.
    signs
        Which signs of Masi 2020 the result has; empty where a term is missing.
    """

    decision: str
    margins: tuple[Margin, ...]
    films: tuple[FilmModes, ...]
    signs: tuple[Sign, ...] = ()


def explain(doc: StabilizationDoc, calculations: Mapping[str, CalculationRecord]) -> Explanation:
    """Return why a phase wins.

    Parameters
    ----------
    doc
        The result of a study on one dot facet.
    calculations
        Stored calculations by key; films without theirs are left out.
    """
    margins = find_margins(doc.stabilization)
    surveyed = (survey_film(doc, result, calculations) for result in find_compared(doc))
    films = tuple(film for film in surveyed if film is not None)
    return Explanation(_say_decision(doc, margins), margins, films, compare_signs(doc.stabilization))


def survey_film(
    doc: StabilizationDoc, result: CandidateResult, calculations: Mapping[str, CalculationRecord]
) -> FilmModes | None:
    """Return what became of one film; None where a structure of it is missing."""
    names = (BULK, STRAINED_BULK, DOT_SLAB, FILM_SLAB, INTERFACE)
    structures = {name: find_structure(result, name, calculations) for name in names}
    found = {name: structure for name, structure in structures.items() if structure is not None}
    if len(found) < len(structures) or result.area_ang2 is None:
        return None
    n_dot, interface = found[DOT_SLAB].n_atoms, found[INTERFACE]
    free = measure_layers(found[FILM_SLAB])
    return FilmModes(
        label=result.candidate.label,
        film=name_film(result),
        bulk=measure_shape(found[BULK]),
        strained_bulk=measure_shape(found[STRAINED_BULK]),
        free=free[::-1] if result.candidate.turn.is_flipped else free,
        bound=measure_layers(interface, sites=range(n_dot, interface.n_atoms)),
        bonds=find_cross_bonds(interface, n_dot=n_dot),
        area_ang2=result.area_ang2,
        charges_e=_count_charges(doc, result, {name: found[name] for name in (DOT_SLAB, FILM_SLAB, INTERFACE)}),
    )


def _count_charges(
    doc: StabilizationDoc, result: CandidateResult, structures: Mapping[str, StructureRecord]
) -> dict[str, int]:
    """Return the sum of the formal charges of each part; nothing where one is a user's file, which is not stored."""
    candidate = result.candidate
    if not {doc.study.dot.material, candidate.phase} <= set(load_catalogue().ids):
        return {}
    try:
        named = load_crystals(doc.study)
        crystals = (named[doc.study.dot.material], named[candidate.phase])
        charges = {label: charge for crystal in crystals for label, charge in crystal.formal_charges.items()}
        charges |= {candidate.passivation: -1} if candidate.passivation else {}
        return {name: round(view_ions(part, charges).charges.sum()) for name, part in structures.items()}
    except QdipError:
        return {}


def _say_decision(doc: StabilizationDoc, margins: Sequence[Margin]) -> str:
    total, deciding = doc.stabilization.total_ev_per_fu, find_deciding_term(doc.stabilization)
    if total is None or deciding is None or not margins:
        return "Nothing decides: a term is missing, or there is no competitor."
    margin = next(margin for margin in margins if margin.term == deciding)
    loser = "competitor" if total < 0 else "black phase"
    share = "" if margin.share is None else f", {100 * margin.share:.0f} % of it"
    value, limit = write_signed(margin.value_ev_per_fu), write_signed(margin.flips_at_ev_per_fu)
    lead = "Undecided, within twice its error. " if judge(doc) is Verdict.UNDECIDED else ""
    basis = "" if doc.bulk_basis is None else f"\nThe {doc.bulk_basis.finding}."
    return (
        f"{lead}{deciding.capitalize()} decides with {value} eV/f.u. "
        f"The {loser} would win if it passed {limit} eV/f.u.: "
        f"a change of {write_signed(-total)} eV/f.u.{share}.{basis}"
    )


def list_explanation_tables(explanation: Explanation) -> tuple[Table, ...]:
    """Return the margins, the signs of Masi 2020, and for every film its layers and its bonds to the dot."""
    margins = (tabulate_margins(explanation.margins),) if explanation.margins else ()
    signs = (tabulate_signs(explanation.signs),) if explanation.signs else ()
    films = [table for film in explanation.films for table in (tabulate_layers(film), tabulate_bonds(film))]
    return (*margins, *signs, *films)


def tabulate_margins(margins: Sequence[Margin]) -> Table:
    """Return by how much each term would have to be wrong for the other phase to win."""
    rows = [
        Row(
            margin.term,
            (
                *write_numbers((margin.value_ev_per_fu, margin.flips_at_ev_per_fu)),
                Cell("—" if margin.share is None else f"{100 * margin.share:.0f}", margin.share),
            ),
        )
        for margin in margins
    ]
    return Table(
        title="What would reverse the answer",
        heading="term",
        columns=(Column("black − competitor", "eV/f.u."), Column("equal at", "eV/f.u."), Column("change", "%")),
        rows=tuple(rows),
        note="equal at: the value at which both phases are equal, all other terms kept; change: up to there.",
    )


def tabulate_signs(signs: Sequence[Sign]) -> Table:
    """Return which of the signs of Masi 2020 a result has."""
    rows = [
        Row(
            f"{sign.term}: {sign.claim}",
            (
                *write_numbers((sign.black_ev_per_fu, sign.competitor_ev_per_fu, sign.difference_ev_per_fu)),
                Cell("yes" if sign.is_held else "no", float(sign.is_held)),
            ),
        )
        for sign in signs
    ]
    return Table(
        title="Signs of Masi 2020 at n*",
        heading="sign",
        columns=(
            Column("black", "eV/f.u."), Column("competitor", "eV/f.u."), Column("difference", "eV/f.u."),
            Column("holds", ""),
        ),
        rows=tuple(rows),
        note="The signs are those of its materials and facets (ACS Energy Lett. 2020, 5, 418); others are as valid.",
    )  # fmt: skip


def tabulate_layers(film: FilmModes) -> Table:
    """Return bonds, tilts and valences of bulk, strained bulk and every layer of the film on the dot."""
    rows = [_describe_shape("bulk", film.bulk), _describe_shape("strained bulk", film.strained_bulk, film.bulk)]
    is_matched = len(film.free) == len(film.bound)
    for number, shape in enumerate(film.bound):
        name = f"layer {number + 1}{', at the dot' if number == 0 else ''}"
        free = film.free[number] if is_matched else None
        rows.append(_describe_shape(name, shape, film.bulk, free))
    return Table(
        title=f"Octahedra of {film.film} on the dot",
        heading="metals",
        columns=(
            Column("bond", "Å"), Column("− bulk", "Å"), Column("− free", "Å"), Column("B-X-B", "°"),
            Column("tilt", "°"), Column("− bulk", "°"), Column("− free", "°"), Column("valence", ""),
        ),
        rows=tuple(rows),
        note="bond: mean metal–halide distance; B-X-B: mean angle over shared corners, tilt: (180° − B-X-B)/2; "
        "− bulk, − free: against the relaxed bulk and the same layer of the film without dot; "
        "valence: bond-valence sum of a metal, all anions counted.",
    )  # fmt: skip


def _describe_shape(name: str, shape: Shape, bulk: Shape | None = None, free: Shape | None = None) -> Row:
    bonds_ang = [_subtract(shape, other, "bond_ang") for other in (bulk, free)]
    tilts_deg = [_subtract(shape, other, "tilt_deg") for other in (bulk, free)]
    return Row(
        name,
        (
            _write_plain(shape.bond_ang, 3),
            *write_numbers(bonds_ang),
            _write_plain(shape.bridge_deg, 1),
            _write_plain(shape.tilt_deg, 1),
            *write_numbers(tilts_deg, decimals=1),
            _write_plain(shape.valence, 2),
        ),
    )


def _subtract(shape: Shape, other: Shape | None, name: str) -> float | None:
    """Return by how much a measure of one shape exceeds that of another; None where either lacks it."""
    one, another = getattr(shape, name), None if other is None else getattr(other, name)
    return None if one is None or another is None else float(one - another)


def _write_plain(value: float | None, decimals: int) -> Cell:
    return Cell("—" if value is None else f"{value:.{decimals}f}", value)


def tabulate_bonds(film: FilmModes) -> Table:
    """Return the bonds between film and dot by kind, with the charge balance."""
    rows = [
        Row(
            bond.pair,
            (
                Cell(str(bond.count), bond.count),
                _write_plain(ANG_PER_NM**2 * bond.count / film.area_ang2, 2),
                _write_plain(bond.shortest_ang, 2),
                _write_plain(bond.mean_ang, 2),
                _write_plain(bond.valence, 2),
                _write_plain(MEV_PER_EV * bond.valence / film.area_ang2, 1),
            ),
        )
        for bond in film.bonds
    ]
    return Table(
        title=f"Bonds between {film.film} and the dot",
        heading="bond",
        columns=(
            Column("in the cell", ""), Column("per area", "1/nm²"), Column("shortest", "Å"), Column("mean", "Å"),
            Column("valence", ""), Column("per area", "10⁻³/Å²"),
        ),
        rows=tuple(rows),
        note=say_charges(film) if rows else f"No contact is as strong as a bond. {say_charges(film)}",
    )  # fmt: skip


def say_charges(film: FilmModes) -> str:
    """Return the charge balance in words."""
    if not film.charges_e:
        return "Formal charges: the crystal files are not at hand."
    parts = ", ".join(f"{name} {write_signed(charge, decimals=0)} e" for name, charge in film.charges_e.items())
    balance = "balanced" if not any(film.charges_e.values()) else "not balanced"
    return f"Formal charges: {parts}: {balance}."


def summarise_explanation(explanation: Explanation) -> dict[str, JsonValue]:
    """Return an explanation as one plain mapping: what ``qdip explain --json`` prints."""
    films: list[JsonValue] = [_summarise_film(film) for film in explanation.films]
    margins: list[JsonValue] = [asdict(margin) for margin in explanation.margins]
    signs: list[JsonValue] = [asdict(sign) for sign in explanation.signs]
    return {"decision": explanation.decision, "margins": margins, "signs": signs, "films": films}


def _summarise_film(film: FilmModes) -> dict[str, JsonValue]:
    shapes = {name: _summarise_shape(shape) for name, shape in (("bulk", film.bulk), ("strained", film.strained_bulk))}
    return {
        "candidate": film.label,
        "bulk": shapes["bulk"],
        "strained_bulk": shapes["strained"],
        "free_layers": [_summarise_shape(shape) for shape in film.free],
        "bound_layers": [_summarise_shape(shape) for shape in film.bound],
        "bonds": [asdict(bond) for bond in film.bonds],
        "area_ang2": film.area_ang2,
        "charges_e": dict(film.charges_e),
    }


def _summarise_shape(shape: Shape) -> dict[str, JsonValue]:
    return {**asdict(shape), "tilt_deg": shape.tilt_deg}

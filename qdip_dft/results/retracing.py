"""Results against themselves and against their calculations: a total that was altered contradicts one or the other.

Of a document alone: the four terms of every film add up and agree with the energies per area, black − competitor at n*
follows from the two films, and the sentences say the same number.  Of its calculations: every term follows from the
stored energies with the counts of atoms,

    bulk = E(bulk)/Z,  strain = E(strained bulk)/N_ref − bulk + [E(dot slab) − E(unstrained dot slab)]/N,
    surface = [E(film) − N·E(strained bulk)/N_ref − Σ Δn μ]/N,  binding = [E(interface) − E(film) − E(dot slab)]/N,

as in `analysis.stability`.  The error bar, the hull and the registry are not recomputed.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import reduce
from math import gcd, isclose

from qdip_dft.analysis.coverage import find_bulk
from qdip_dft.analysis.sentence import find_error_ev_per_fu, write_with_error
from qdip_dft.analysis.sides import find_sides, subtract_sides
from qdip_dft.analysis.stability import CandidateEnergies, compute_terms, per_area
from qdip_dft.model.calculation import CalculationRecord
from qdip_dft.model.stabilization import CandidateResult, Stabilization, StabilizationDoc
from qdip_dft.model.stored import LookUp
from qdip_dft.model.term_names import TERM_COLUMNS
from qdip_dft.model.terms import Terms

TOLERANCE_EV_PER_FU = 1e-8
"""Sums of the same energies in another order differ by rounding alone."""

_ENERGY = re.compile(r"\d eV/f\.u\.")


def list_contradictions(document: StabilizationDoc) -> tuple[str, ...]:
    """What a result says that does not follow from the rest of it, one clause each; empty: nothing.

    Parameters
    ----------
    document
        The result; of formula version 1 only the films are looked at, because it compared otherwise.
    """
    found = [words for result in document.candidates for words in _check_film(result)]
    if document.formula_version > 1:
        found += _check_answer(document, document.stabilization, document)
        if document.bx2_rich is not None:
            at_bx2 = tuple(result.at_bx2_rich for result in document.candidates)
            found += _check_answer(document, document.bx2_rich, document.model_copy(update={"candidates": at_bx2}))
    return (*found, *_check_bulks(document))


def _check_bulks(document: StabilizationDoc) -> Iterator[str]:
    """Yield every pair of phases whose anchored bulks do not differ by their reference."""
    bulks = {result.candidate.phase: find_bulk(result) for result in document.candidates}
    for pair in () if document.bulk_basis is None else document.bulk_basis.pairs:
        one, other, stated = bulks.get(pair.phase), bulks.get(pair.relative_to), pair.reference.value_ev_per_fu
        if one is not None and other is not None and not isclose(one - other, stated, abs_tol=TOLERANCE_EV_PER_FU):
            names = f"{pair.phase} and {pair.relative_to}"
            yield f"the bulks of {names} differ by {one - other:+.6f} eV/f.u., their reference is {stated:+.6f}"


def retrace(document: StabilizationDoc, look_up: LookUp) -> tuple[str, ...]:
    """What a result says that does not follow from its stored calculations, one clause each; empty: nothing.

    Films of which a calculation is not stored are passed over.

    Parameters
    ----------
    document
        The result.
    look_up
        Finds stored records by their keys.
    """
    found: list[str] = []
    for result in document.candidates:
        energies = _collect_energies(document, result, look_up)
        for name, stored, bound in () if energies is None else _list_bounds(document, result):
            assert energies is not None
            remade = compute_terms(replace(energies, excess_ev=bound))
            found += _compare(f"{name} of {result.candidate.label}", stored, remade, "its calculations give")
    return tuple(found)


def _check_film(result: CandidateResult) -> Iterator[str]:
    label, n, area = result.candidate.label, result.n_formula_units, result.area_ang2
    parts = [result[name] for name in TERM_COLUMNS[:-1]]
    yield from _compare(f"the total of {label}", result, Terms.add_up(*parts), "its terms add up to")
    surface, _ = per_area(result.surface_ev_per_fu, n_film=n, area_ang2=area)
    binding, _ = per_area(result.binding_ev_per_fu, n_film=n, area_ang2=area)
    for name, stored, remade in (
        ("surface", result.surface_mev_per_ang2, surface),
        ("binding", result.binding_mev_per_ang2, binding),
    ):
        if stored is not None and remade is not None and not _agree(stored, remade):
            yield f"the {name} energy of {label} is {stored:.4f} meV/Å², its term gives {remade:.4f}"


def _check_answer(document: StabilizationDoc, answer: Stabilization, seen: StabilizationDoc) -> Iterator[str]:
    remade = subtract_sides(find_sides(seen, answer), answer.coverage_fu_per_ang2)
    yield from _compare("black − competitor", answer, remade, "its films give")
    for name, stored, other in (
        ("the black side", answer.black_terms, remade.black_terms),
        ("the competitor", answer.competitor_terms, remade.competitor_terms),
    ):
        if stored is not None and other is not None:
            yield from _compare(f"{name} at n*", stored, other, "its film gives")
    stored_sigma, sigma = answer.interface, remade.interface
    if stored_sigma is not None and sigma is not None:
        one, two = stored_sigma.interface_mev_per_ang2, sigma.interface_mev_per_ang2
        if not _agree(one, two):
            yield f"the difference of the interface energies is {one:.4f} meV/Å², its films give {two:.4f}"
    total = answer.total_ev_per_fu
    is_compared = total is not None and answer.black is not None and answer.competitor is not None
    if total is not None and is_compared and not _says(answer.sentence, total, document):
        yield f"the sentence does not say the total {total:+.4f} eV/f.u."


def _says(sentence: str, total_ev_per_fu: float, document: StabilizationDoc) -> bool:
    """Whether a sentence holds the number: its absolute value where a phase wins, else with its sign.

    A sentence without any energy contradicts nothing.
    """
    if not _ENERGY.search(sentence):
        return True
    for error in {find_error_ev_per_fu(document.uncertainty), None}:
        size, signed = (
            write_with_error(abs(total_ev_per_fu), error),
            write_with_error(total_ev_per_fu, error, is_signed=True),
        )
        if size in sentence or signed in sentence:
            return True
    return False


def _list_bounds(document: StabilizationDoc, result: CandidateResult) -> Iterator[tuple[str, Terms, float]]:
    """Name, terms and Σ Δn μ in eV at each bound of the chemical potentials."""
    potentials, excess = document.chemical_potentials, result.candidate.excess
    if not excess:
        yield "the energies", result, 0.0
    elif potentials is not None:
        bounds = (
            ("the AX-rich energies", result, potentials.ax_rich_ev),
            ("the BX2-rich energies", result.bx2_rich, potentials.bx2_rich_ev),
        )
        for name, terms, bound in bounds:
            if terms is not None and all(compound in bound for compound in excess):
                yield name, terms, sum(count * bound[compound] for compound, count in excess.items())


def _collect_energies(document: StabilizationDoc, result: CandidateResult, look_up: LookUp) -> CandidateEnergies | None:
    """The energies of a film without its excess; None where a calculation is not stored."""
    records = {part: look_up(key) for part, key in result.calculations.items()}
    usable = {part: r for part, r in records.items() if isinstance(r, CalculationRecord) and r.is_usable}
    energy = {part: r.result.energy_ev for part, r in usable.items() if r.result is not None}
    needed = {"bulk", "strained bulk", "film slab", "dot slab", "interface"}
    off_dot = _sum_apart(document, result, look_up)
    if not needed <= energy.keys() or off_dot is None:
        return None
    per_unit = sum(_reduce(usable["bulk"]).values())
    unstrained = "unstrained dot slab"
    if unstrained in result.calculations and unstrained not in energy:
        return None
    return CandidateEnergies(
        bulk_ev=energy["bulk"],
        n_bulk=usable["bulk"].task.structure.n_atoms // per_unit,
        strained_bulk_ev=energy["strained bulk"],
        n_strained_bulk=usable["strained bulk"].task.structure.n_atoms // per_unit,
        film_slab_ev=energy["film slab"],
        dot_slab_ev=energy["dot slab"],
        interface_ev=energy["interface"],
        n_film=result.n_formula_units,
        dot_strain_ev=energy["dot slab"] - energy[unstrained] if unstrained in energy else 0.0,
        apart_ev_per_fu=off_dot,
    )


def _sum_apart(document: StabilizationDoc, result: CandidateResult, look_up: LookUp) -> float | None:
    """Energy of the products off the dot per formula unit of the host; None where one is not stored."""
    total, products = 0.0, document.decomposition
    for name in result.candidate.apart:
        record = None if products is None else look_up(products.calculations.get(name, ""))
        if products is None or not isinstance(record, CalculationRecord) or record.result is None:
            return None
        n_units = record.task.structure.n_atoms // sum(_reduce(record).values())
        total += products.amounts[name] * record.result.energy_ev / n_units
    return total


def _reduce(record: CalculationRecord) -> Mapping[str, int]:
    """Atoms of each element in a formula unit."""
    counts = Counter(record.task.structure.species)
    divisor = reduce(gcd, counts.values())
    return {element: count // divisor for element, count in counts.items()}


def _compare(what: str, stored: Terms, remade: Terms, words: str) -> Iterator[str]:
    """Yield the first term that differs; missing ones stay missing for reasons of their own."""
    for name in TERM_COLUMNS:
        one, two = stored[name], remade[name]
        if one is not None and two is not None and not _agree(one, two):
            yield f"{what}: {name} is {one:+.6f} eV/f.u., {words} {two:+.6f}"
            return


def _agree(one: float, two: float) -> bool:
    return isclose(one, two, rel_tol=1e-9, abs_tol=TOLERANCE_EV_PER_FU)

"""Results side by side as tables, as one mapping, as CSV and as a page of their own."""

from __future__ import annotations

import csv
from io import StringIO

from pydantic import JsonValue

from qdip_dft.analysis.comparison import PER_AREA_MEV, Comparison, Line, Section
from qdip_dft.analysis.numbers import write_signed
from qdip_dft.analysis.verdict import Verdict, judge
from qdip_dft.model.term_names import SIGN_CONVENTION
from qdip_dft.report.cells import Cell
from qdip_dft.report.page import render_page
from qdip_dft.report.tables import Column, Row, Table
from qdip_dft.results.writing import guard_cell

DIFFERS = "≠"
"""Marks a setting in which the results differ."""

MARK = "*"
"""Marks a difference that is larger than twice the error of the results."""


def tabulate_settings(comparison: Comparison) -> Table:
    """Return what was asked of each result, with ``≠`` where they differ."""
    rows = [
        Row(
            f"{DIFFERS} {setting.name}" if setting.differs else setting.name,
            tuple(Cell(value, is_marked=setting.differs) for value in setting.values),
        )
        for setting in comparison.settings
    ]
    return Table(
        title="What is compared",
        heading="setting",
        columns=tuple(Column(letter, "") for letter in comparison.letters),
        rows=tuple(rows),
        note=f"{DIFFERS}: the results differ in it. Settings that are not listed are equal.",
    )


def tabulate_section(comparison: Comparison, section: Section) -> Table:
    """Return the lines of one phase, or of black − competitor, with the differences that may be taken."""
    letters, first = comparison.letters, comparison.letters[0]
    subtracted = [index for index, obstacle in enumerate(comparison.obstacles) if obstacle is None]
    columns = [Column(letter, "") for letter in letters]
    columns += [Column(f"{letters[index + 1]} − {first}", "") for index in subtracted]
    return Table(
        title=section.title,
        heading="term, unit",
        columns=tuple(columns),
        rows=tuple(_make_row(line, subtracted) for line in section.lines),
        note="; ".join(f"{letter}: {film or 'missing'}" for letter, film in zip(letters, section.films, strict=True)),
    )


def list_comparison_tables(comparison: Comparison) -> tuple[Table, ...]:
    """Return all tables of a comparison, the answer first."""
    sections = (comparison.stabilization, *comparison.phases)
    return (*(tabulate_section(comparison, section) for section in sections), tabulate_settings(comparison))


def explain_differences(comparison: Comparison) -> str:
    """Say what the columns of differences hold, what is marked, and what bulk and total are counted from."""
    sign = "black − competitor is negative where the black phase is favoured"
    zero = "bulk and total of a phase: above the most stable bulk of the results that may be subtracted"
    coverages = ", ".join(
        f"{letter} {'as computed' if n is None else f'{n:.4f}'}"
        for letter, n in zip(comparison.letters, comparison.coverages_fu_per_ang2, strict=True)
    )
    zero = f"terms at the coverage n* (f.u./Å²): {coverages}; {zero}"
    if all(obstacle is not None for obstacle in comparison.obstacles):
        return f"{sign}; {zero}."
    return f"{sign}; {zero}; {MARK}: the difference is larger than twice the error of the answers."


def list_refusals(comparison: Comparison) -> tuple[str, ...]:
    """Return why results are not subtracted, one text each, in the four parts of an error."""
    first = comparison.letters[0]
    return tuple(
        f"{letter} − {first} is not taken: {obstacle.what}. Rule: {obstacle.limit}. Why: {obstacle.why}. "
        f"What to do: {obstacle.remedy}."
        for letter, obstacle in zip(comparison.letters[1:], comparison.obstacles, strict=True)
        if obstacle is not None
    )


def say_agreement(comparison: Comparison) -> str:
    """Say in one sentence whether the results give the same answer."""
    verdicts = [judge(document) for document in comparison.documents]
    if len(set(verdicts)) == 1:
        return f"The results agree: {verdicts[0].value}."
    by_verdict = {verdict: [] for verdict in Verdict if verdict in verdicts}  # type: dict[Verdict, list[str]]
    for letter, verdict in zip(comparison.letters, verdicts, strict=True):
        by_verdict[verdict].append(letter)
    answers = "; ".join(f"{', '.join(letters)}: {verdict.value}" for verdict, letters in by_verdict.items())
    return f"The answers differ ({answers})."


def summarise_comparison(comparison: Comparison) -> dict[str, JsonValue]:
    """Return every number of a comparison in full, with the reasons where no difference is taken."""
    named = zip(comparison.letters[1:], comparison.documents[1:], comparison.obstacles, strict=True)
    return {
        "results": [
            {"letter": letter, "id": document.id, "level": document.level.value,
             "formula_version": document.formula_version, "coverage_fu_per_ang2": coverage,
             "verdict": judge(document).value, "sentence": document.stabilization.sentence}
            for letter, document, coverage in zip(
                comparison.letters, comparison.documents, comparison.coverages_fu_per_ang2, strict=True)
        ],
        "agreement": say_agreement(comparison),
        "sign_convention": SIGN_CONVENTION,
        "differences_from": comparison.documents[0].id,
        "not_subtracted": [
            {"letter": letter, "id": document.id, "what": error.what, "limit": error.limit, "why": error.why,
             "remedy": error.remedy}
            for letter, document, error in named if error is not None
        ],
        "settings": {setting.name: {"values": list(setting.values), "differs": setting.differs}
                     for setting in comparison.settings},
        "stabilization": _summarise_section(comparison.stabilization),
        "phases": {section.title: _summarise_section(section) for section in comparison.phases},
    }  # fmt: skip


def write_comparison_csv(comparison: Comparison) -> str:
    """Return every number of a comparison as CSV: one row per phase and quantity; an empty field is missing."""
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    first, *others = (document.id for document in comparison.documents)
    headings = ("phase", "quantity", "unit", first, *others, *(f"{other} - {first}" for other in others))
    writer.writerow(map(guard_cell, headings))
    for section in (comparison.stabilization, *comparison.phases):
        for line in section.lines:
            row = (section.title.replace("−", "-"), line.name, line.unit, *line.values, *line.differences)
            writer.writerow(map(guard_cell, row))
    return text.getvalue()


def render_comparison_page(comparison: Comparison) -> str:
    """Return a comparison as one HTML page that needs no other file and no network."""
    return render_page(
        "comparison.html.j2",
        results=tuple(zip(comparison.letters, comparison.documents, strict=True)),
        agreement=say_agreement(comparison),
        refusals=list_refusals(comparison),
        tables=list_comparison_tables(comparison),
        explanation=explain_differences(comparison),
    )


def _make_row(line: Line, subtracted: list[int]) -> Row:
    decimals = 1 if line.unit == PER_AREA_MEV else 3
    values = [Cell(write_signed(value, decimals=decimals), value) for value in line.values]
    differences = [
        Cell(_write_difference(line, index, decimals), line.differences[index], is_marked=line.is_marked[index])
        for index in subtracted
    ]
    return Row(f"{line.name}, {line.unit}", (*values, *differences))


def _write_difference(line: Line, index: int, decimals: int) -> str:
    return f"{write_signed(line.differences[index], decimals=decimals)} {MARK if line.is_marked[index] else ' '}"


def _summarise_section(section: Section) -> dict[str, JsonValue]:
    return {
        "films": list(section.films),
        "quantities": [
            {"name": line.name, "unit": line.unit, "values": list(line.values),
             "differences": list(line.differences), "is_marked": list(line.is_marked)}
            for line in section.lines
        ],
    }  # fmt: skip

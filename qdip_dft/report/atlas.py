"""The atlas: all results of a store on one page, as a matrix of dots and hosts and as a table, each with its report.

The colour of a result shows its stabilization on a diverging scale from blue (black phase favoured) over grey to orange
(competitor favoured), which all kinds of colour blindness keep apart; sign, number and a word say the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from pydantic import JsonValue

from qdip_dft.analysis.numbers import write_signed
from qdip_dft.analysis.verdict import Verdict
from qdip_dft.model.term_names import SIGN_CONVENTION, TERM_COLUMNS
from qdip_dft.report.cells import Cell, write_numbers
from qdip_dft.report.page import render_page
from qdip_dft.results.overview import ResultOverview

ATLAS_SCRIPT = "atlas.js"
FILTERS = ("dot", "host", "facet", "engine", "level", "formula", "answer")
"""By what the results can be filtered."""

WORDS = {
    Verdict.BLACK: "black",
    Verdict.COMPETITOR: "competitor",
    Verdict.UNDECIDED: "undecided",
    Verdict.INCOMPLETE: "incomplete",
    Verdict.ALONE: "no competitor",
}
"""The answer in the fewest words."""

_BLUE, _GREY, _ORANGE = (0, 114, 178), (240, 240, 240), (230, 159, 0)
_FULL_COLOUR_EV_PER_FU = 0.3
"""From this stabilization on the colour is full; an undecided one stays grey."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One result in the atlas.

    Parameters
    ----------
    id
        Id of the result.
    dot, host, facet, engine, level, formula, answer
        What it is filtered by: the version of its formula, whose numbers stand beside those of another one but are
        never subtracted; the answer is a word of `WORDS`.
    black, competitor
        The two films; ``—`` where there is none.
    terms
        Bulk, strain, surface, binding and total of black − competitor in eV per formula unit.
    coverage, sigma
        n* in formula units per Å² of dot, and σ of black − competitor in meV/Å²; missing in formula version 1.
    bulk
        Where the bulk term comes from, in words.
    link
        Where its report lies, seen from the atlas; None without a report.
    background, ink
        Colours of its field, as ``#rrggbb``.
    """

    id: str
    dot: str
    host: str
    facet: str
    engine: str
    level: str
    formula: str
    answer: str
    black: str
    competitor: str
    terms: tuple[Cell, ...]
    coverage: Cell
    sigma: Cell
    bulk: str
    link: str | None
    background: str
    ink: str

    @property
    def total(self) -> Cell:
        """Return the stabilization."""
        return self.terms[-1]


def render_atlas(results: Sequence[ResultOverview], links: Mapping[str, str]) -> str:
    """Return the overview of results as one HTML page that needs no other file and no network.

    Parameters
    ----------
    results
        The results at a glance.
    links
        Where the report of a result lies, seen from the page, by id; those that are absent are not linked.
    """
    from markupsafe import Markup

    entries = sorted((_describe(r, links.get(r.id)) for r in results), key=lambda e: (e.dot, e.host, e.facet, e.id))
    hosts = sorted({entry.host for entry in entries})
    fields: dict[str, dict[str, list[str]]] = {entry.dot: {host: [] for host in hosts} for entry in entries}
    for entry in entries:
        fields[entry.dot][entry.host].append(_write_field(entry))
    return render_page(
        "atlas.html.j2",
        scripts=(ATLAS_SCRIPT,),
        count=len(entries),
        hosts=hosts,
        matrix={dot: {host: Markup("\n".join(made)) for host, made in row.items()} for dot, row in fields.items()},
        rows=Markup("\n".join(map(_write_row, entries))),
        filters={name: sorted({getattr(entry, name) for entry in entries}) for name in FILTERS},
        headings=TERM_COLUMNS,
        scale=[(value, *choose_colours(value)) for value in (-0.3, -0.2, -0.1, 0.0, 0.1, 0.2, 0.3)],
        write_signed=write_signed,
        sign_convention=SIGN_CONVENTION,
    )  # fmt: skip


def _write_field(entry: Entry) -> str:
    """Return the field of a result in the matrix; a template would take four times as long for each of thousands."""
    is_missing = entry.total.value is None
    place = f"({escape(entry.facet)}) {escape(entry.level)}{', version 1' * (entry.formula == 'version 1')}"
    tag, link = ("span", "") if entry.link is None else ("a", f' href="{escape(entry.link)}"')
    total, title = "?" if is_missing else entry.total.text, "; ".join(filter(None, (entry.id, entry.bulk)))
    return (
        f'<{tag} {_write_data(entry)}{link} title="{escape(title)}"><span class="field{" hatched" * is_missing}"'
        f' style="background-color: {entry.background}; color: {entry.ink}">'
        f"<strong>{total}</strong> {escape(entry.answer)} <small>{place}</small></span></{tag}>"
    )


def _write_row(entry: Entry) -> str:
    """Return the row of a result in the list."""
    name = escape(entry.id) if entry.link is None else f'<a href="{escape(entry.link)}">{escape(entry.id)}</a>'
    texts = (entry.answer, entry.dot, entry.facet, entry.host, entry.level, entry.formula, entry.engine, entry.black,
             entry.competitor)  # fmt: skip
    cells = (
        *map(_write_cell, (entry.total, entry.coverage, entry.sigma)),
        *(f'<td class="text">{escape(text)}</td>' for text in texts),
        *map(_write_cell, entry.terms[:-1]),
    )
    return f'<tr {_write_data(entry)}><th scope="row">{name}</th>{"".join(cells)}</tr>'


def _write_data(entry: Entry) -> str:
    """Return the attributes that a result is filtered by."""
    return 'class="entry" ' + " ".join(f'data-{name}="{escape(getattr(entry, name))}"' for name in FILTERS)


def _write_cell(cell: Cell) -> str:
    value = "" if cell.value is None else f' data-value="{cell.value}"'
    return f"<td{value}>{escape(cell.text)}</td>"


def summarise_atlas(results: Sequence[ResultOverview]) -> list[dict[str, JsonValue]]:
    """Return the results as plain mappings, numbers in full, in eV per formula unit."""
    rows: list[dict[str, JsonValue]] = []
    for result in results:
        entry = _describe(result, None)
        named: dict[str, JsonValue] = {name: getattr(entry, name) for name in ("id", *FILTERS, "black", "competitor")}
        terms = {f"{name}_ev_per_fu": cell.value for name, cell in zip(TERM_COLUMNS, entry.terms, strict=True)}
        rows.append(
            {
                **named,
                **terms,
                "coverage_fu_per_ang2": entry.coverage.value,
                "interface_mev_per_ang2": entry.sigma.value,
                "bulk_basis": entry.bulk or None,
            }
        )
    return rows


def choose_colours(total_ev_per_fu: float | None, *, is_decided: bool = True) -> tuple[str, str]:
    """Return background and ink of a stabilization; the ink is black or white, whichever is read more easily."""
    if total_ev_per_fu is None or not is_decided:
        return _write_colour(_GREY), "#000000"
    share = min(abs(total_ev_per_fu) / _FULL_COLOUR_EV_PER_FU, 1.0)
    end = _BLUE if total_ev_per_fu < 0 else _ORANGE
    mixed = tuple(round(grey + share * (full - grey)) for grey, full in zip(_GREY, end, strict=True))
    luminance = _relative_luminance(mixed)
    # The contrast with white, 1.05 / (L + 0.05), and that with black, (L + 0.05) / 0.05, are equal at L = 0.179.
    return _write_colour(mixed), "#000000" if luminance > 0.179 else "#ffffff"


def _relative_luminance(colour: tuple[int, ...]) -> float:
    """Return the relative luminance of an sRGB colour, WCAG 2.2."""
    parts = [part / 255 for part in colour]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _write_colour(colour: tuple[int, ...]) -> str:
    return "#" + "".join(f"{part:02x}" for part in colour)


def _describe(result: ResultOverview, link: str | None) -> Entry:
    background, ink = choose_colours(result.total_ev_per_fu, is_decided=result.verdict is not Verdict.UNDECIDED)
    return Entry(
        id=result.id,
        dot=result.dot,
        host=result.host,
        facet=result.facet,
        engine=result.engine,
        level=result.level,
        formula=f"version {result.formula_version}",
        answer=WORDS[result.verdict],
        black=_leave_out_facet(result, result.black),
        competitor=_leave_out_facet(result, result.competitor),
        terms=write_numbers(result.terms_ev_per_fu),
        coverage=Cell(
            "own n" if result.coverage_fu_per_ang2 is None else f"{result.coverage_fu_per_ang2:.4f}",
            result.coverage_fu_per_ang2,
        ),
        sigma=write_numbers((result.interface_mev_per_ang2,), decimals=1)[0],
        bulk=result.bulk_basis or "",
        link=link,
        background=background,
        ink=ink,
    )


def _leave_out_facet(result: ResultOverview, side: str | None) -> str:
    """Return a side without the facet, which has a column of its own."""
    return "—" if side is None else side.removeprefix(f"{result.dot}({result.facet})//")

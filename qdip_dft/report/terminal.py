"""The report on the terminal: three narrow tables, what else was tried, and the answer in one sentence."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from qdip_dft.analysis.sentence import write_signed
from qdip_dft.model.calculation import Level
from qdip_dft.model.stabilization import CandidateResult, DecompositionResult, StabilizationDoc, Terms
from qdip_dft.model.study import PhaseRole
from qdip_dft.report.summary import count_surface_cells, find_selected, list_faults

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

ROLE_WORDS = {PhaseRole.BLACK: "black", PhaseRole.COMPETITOR: "yellow"}
"""The sides of the comparison as they are called in tables, figures and sentences."""

LEVEL_NOTICES = {
    Level.TEST: "Level: test. A toy potential computed these numbers; they have no physical meaning.",
    Level.SCREENING: "Level: screening. A machine-learned potential computed these numbers; "
    "they are not for publication without a DFT check.",
    Level.DFT: "Level: DFT.",
}
"""What a reader must know about the level of theory."""

_AREA_NOTE = "surface: both faces of the film; separation: work of separation, positive when bound."
_CELL_NOTE = "cell: 1 × 1 surface cells; strain: principal values with the relaxed lattices, negative: compressed."
_DISPERSION_WORDS = {"none": "", "d3bj": " + D3(BJ)"}
_PERCENT = 100.0


def print_report(doc: StabilizationDoc, console: Console) -> None:
    """Print the four terms of every phase, the difference, what lost and why, and the answer.

    Parameters
    ----------
    doc
        The result of a study on one dot facet.
    console
        Where to print; from 80 columns on every number is shown in full.
    """
    from rich.text import Text

    console.print(Text(f"{doc.id}: {doc.study.question}" if doc.study.question else doc.id, style="bold"))
    console.print(Text(f"Dot facet {doc.study.dot.material}({doc.dot_plane}), host {doc.study.host}, {doc.created_at}"))
    console.print(Text(describe(doc)))
    tables = [(_tabulate_terms(doc), _explain_zero(doc))]
    if list_selected(doc):
        tables += [(_tabulate_areas(doc), _AREA_NOTE), (_tabulate_cells(doc), _CELL_NOTE)]
    for table, note in tables:
        console.print()
        console.print(table)
        console.print(Text(note))
    for title, lines in _list_remarks(doc):
        console.print()
        console.print(Text(title, style="bold"))
        for line in lines:
            _print_item(line, console)
    console.print()
    console.print(Text(doc.stabilization.sentence, style="bold"))
    console.print(Text(LEVEL_NOTICES[doc.level]))


def describe(doc: StabilizationDoc) -> str:
    """Return the level of theory in one line."""
    if doc.theory is None:
        return "Nothing was computed."
    theory = doc.theory
    dispersion = _DISPERSION_WORDS.get(theory.dispersion, f" + {theory.dispersion}")
    method = f"{theory.code} {theory.code_version} ({theory.functional}{dispersion})"
    return f"Level {doc.level.value}: engine {theory.engine}, preset {doc.study.engine.preset.value}, {method}."


def name_film(result: CandidateResult) -> str:
    """Return the film of a candidate as its label writes it, such as ``FAPbI3-alpha(100)``."""
    return result.candidate.label.rpartition("//")[2]


def list_selected(doc: StabilizationDoc) -> tuple[CandidateResult, ...]:
    """Return the candidates that stand for the phases, black ones first."""
    return (*doc.selected(PhaseRole.BLACK), *doc.selected(PhaseRole.COMPETITOR))


def find_compared(doc: StabilizationDoc) -> tuple[CandidateResult, ...]:
    """Return the two candidates of the difference, the black one first; fewer where a side is missing."""
    labels = doc.stabilization.black, doc.stabilization.competitor
    return tuple(result for label in labels for result in doc.candidates if result.candidate.label == label)


def write_strains(strains: Sequence[float] | None) -> str:
    """Return principal strains in percent, such as ``−4.8, −1.0``."""
    return "—" if strains is None else ", ".join(write_signed(_PERCENT * strain, decimals=1) for strain in strains)


def _print_item(line: str, console: Console) -> None:
    """Print one item of a list; what does not fit on the line is indented under it."""
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 1))
    grid.add_row("•", Text(line))
    console.print(Padding(grid, (0, 0, 0, 1)))


def _start_table(title: str, *, columns: Sequence[str]) -> Table:
    """Return an empty table whose first column is text and whose other columns are numbers."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(
        title=Text(title, style="bold"),
        title_justify="left",
        title_style="",
        header_style="",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, 0, 0, 1),
    )
    table.add_column("phase", overflow="fold", vertical="top")
    for column in columns:
        table.add_column(Text(column, justify="right"), justify="right", no_wrap=True)
    return table


def _tabulate_terms(doc: StabilizationDoc) -> Table:
    """Return phases × four terms and total, with the difference as the last row."""
    from rich.text import Text

    columns = [f"{name}\neV/f.u." for name in ("bulk", "strain", "surface", "binding", "total")]
    table = _start_table("The four terms", columns=columns)
    for phase in doc.study.phases:
        result = find_selected(doc, phase.phase)
        name = f"{ROLE_WORDS[phase.role]} {name_film(result) if result else phase.phase}"
        values = _list_relative_terms(result) if result else (None,) * len(columns)
        table.add_row(Text(name), *map(write_signed, values))
    if doc.decomposition is not None:
        table.add_row(Text(doc.decomposition.label), *map(write_signed, _list_relative_terms(doc.decomposition)))
    if doc.study.has_competitor:
        table.add_section()
        table.add_row(Text("black − competitor", style="bold"), *map(write_signed, _list_terms(doc.stabilization)))
    return table


def _explain_zero(doc: StabilizationDoc) -> str:
    """Say what bulk and total are counted from, and what the sign of the difference means."""
    sides = (doc.stabilization.black, doc.stabilization.competitor)
    films = [label.rpartition("//")[2] for label in sides if label is not None]
    subject = f"black − competitor is {' − '.join(films)}" if len(films) == 2 else "black − competitor"
    sign = f"{subject}; negative favours the black phase."
    lowest = find_lowest_bulk(doc)
    if lowest is None:
        return sign
    phase, energy_ev_per_fu = lowest
    return f"bulk and total: above the most stable bulk, {phase} ({write_signed(energy_ev_per_fu)} eV/f.u.).\n{sign}"


def find_lowest_bulk(doc: StabilizationDoc) -> tuple[str, float] | None:
    """Return the phase with the most stable bulk and its energy in eV per formula unit."""
    bulks = [(r.bulk_ev_per_fu, r.candidate.phase) for r in doc.candidates if r.bulk_ev_per_fu is not None]
    if doc.decomposition is not None and doc.decomposition.bulk_ev_per_fu is not None:
        bulks.append((doc.decomposition.bulk_ev_per_fu, doc.decomposition.label))
    if not bulks:
        return None
    energy_ev_per_fu, phase = min(bulks)
    return phase, energy_ev_per_fu


def _list_terms(terms: Terms) -> tuple[float | None, ...]:
    return (
        terms.bulk_ev_per_fu,
        terms.strain_ev_per_fu,
        terms.surface_ev_per_fu,
        terms.binding_ev_per_fu,
        terms.total_ev_per_fu,
    )


def _list_relative_terms(result: CandidateResult | DecompositionResult) -> tuple[float | None, ...]:
    """Return the terms with bulk and total counted from the most stable bulk."""
    _, strain, surface, binding, _ = _list_terms(result)
    return result.bulk_above_lowest_ev_per_fu, strain, surface, binding, find_relative_total(result)


def find_relative_total(result: CandidateResult | DecompositionResult) -> float | None:
    """Return the total counted from the most stable bulk, in eV per formula unit."""
    bulk, total, above = result.bulk_ev_per_fu, result.total_ev_per_fu, result.bulk_above_lowest_ev_per_fu
    return None if bulk is None or total is None or above is None else total - bulk + above


def _tabulate_areas(doc: StabilizationDoc) -> Table:
    """Return the energies per area of interface in both units."""
    from rich.text import Text

    columns = [f"{name}\n{unit}" for name in ("surface", "binding", "separation") for unit in ("meV/Å²", "J/m²")]
    table = _start_table("Per area of interface", columns=columns)
    for result in list_selected(doc):
        work_mev_per_ang2 = None if result.binding_mev_per_ang2 is None else -result.binding_mev_per_ang2
        table.add_row(
            Text(name_film(result)),
            write_signed(result.surface_mev_per_ang2, decimals=1),
            write_signed(result.surface_j_per_m2),
            write_signed(result.binding_mev_per_ang2, decimals=1),
            write_signed(result.binding_j_per_m2),
            write_signed(work_mev_per_ang2, decimals=1),
            write_signed(result.work_of_separation_j_per_m2),
        )
    return table


def _tabulate_cells(doc: StabilizationDoc) -> Table:
    """Return planes, common cell, strain and size of every interface that stands for a phase."""
    from rich.text import Text

    columns = ("cell\nfilm:dot", "area\nÅ²", "film strain\n%", "dot strain\n%", "film\nf.u.", "size\natoms")
    table = _start_table(f"Interfaces with {doc.study.dot.material}({doc.dot_plane})", columns=columns)
    for result in list_selected(doc):
        candidate = result.candidate
        table.add_row(
            Text(name_film(result)),
            f"{count_surface_cells(candidate.film_matrix)}:{count_surface_cells(candidate.dot_matrix)}",
            "—" if result.area_ang2 is None else f"{result.area_ang2:.1f}",
            write_strains(result.film_principal_strains),
            write_strains(result.dot_principal_strains),
            str(result.n_formula_units),
            "—" if result.n_atoms is None else str(result.n_atoms),
        )
    return table


def _list_remarks(doc: StabilizationDoc) -> Iterator[tuple[str, list[str]]]:
    """Yield the lists below the tables that have something to say."""
    remarks = (
        ("Phases without a valid candidate", _list_absent_phases(doc)),
        ("Other candidates", _list_losers(doc)),
        ("Candidates that were not built", [f"{dropped.label}: {dropped.reason}" for dropped in doc.dropped]),
        ("Warnings", _list_warnings(doc)),
    )
    return ((title, lines) for title, lines in remarks if lines)


def _list_absent_phases(doc: StabilizationDoc) -> list[str]:
    absent = (phase for phase in doc.study.phases if find_selected(doc, phase.phase) is None)
    return [f"{ROLE_WORDS[phase.role]} {phase.phase}, planes {', '.join(phase.planes)}" for phase in absent]


def _list_losers(doc: StabilizationDoc) -> list[str]:
    return [f"{name_film(result)}: {_say_why_lost(doc, result)}" for result in doc.candidates if not result.is_selected]


def _say_why_lost(doc: StabilizationDoc, result: CandidateResult) -> str:
    """Say how far a candidate lies above the selected one of its phase, or why it is left out."""
    if not result.is_valid:
        return f"left out: {'; '.join(list_faults(result))}"
    total_ev_per_fu = f"total {write_signed(find_relative_total(result))} eV/f.u."
    winner = find_selected(doc, result.candidate.phase)
    if winner is None or winner.total_ev_per_fu is None or result.total_ev_per_fu is None:
        return total_ev_per_fu
    above_ev_per_fu = result.total_ev_per_fu - winner.total_ev_per_fu
    return f"{total_ev_per_fu}, {write_signed(above_ev_per_fu)} against {name_film(winner)}"


def _list_warnings(doc: StabilizationDoc) -> list[str]:
    """Return the failed checks that left their candidate in the comparison."""
    return [
        f"{name_film(result)}, {check.name}: {check.finding}"
        for result in doc.candidates
        for check in result.checks
        if not check.is_passed and not check.is_decisive
    ]

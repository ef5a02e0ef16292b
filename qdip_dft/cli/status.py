"""`qdip status`: the progress of studies, term by term, once or for as long as they run."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qdip_dft.cli.options import DEFAULT_RESULTS, AsJson, Results
from qdip_dft.cli.output import console, write_json, write_line, write_table
from qdip_dft.cli.query import TABLE_CAPTION
from qdip_dft.cli.stored import open_archive_of, open_folder
from qdip_dft.cli.studies import EngineName, PresetWord, describe_calculation, make_plan

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from qdip_dft.execution.failures import Failure
    from qdip_dft.execution.run_notes import RunNotes
    from qdip_dft.execution.study_status import StudyStatus, TermStatus
    from qdip_dft.model.stabilization import StabilizationDoc
    from qdip_dft.planning.plan import StudyPlan
    from qdip_dft.results.archive import Archive
    from qdip_dft.results.overview import ResultOverview

REFRESH_EVERY_S = 1.0
"""How often a watched study is looked at, in s."""


def status(
    study: Annotated[str | None, typer.Argument(metavar="[STUDY]", help="A study; none: all in the folder.")] = None,
    results: Results = DEFAULT_RESULTS,
    engine: EngineName = None,
    preset: PresetWord = None,
    is_watched: Annotated[bool, typer.Option("--watch", help="Refresh until the run ends; Ctrl-C leaves it.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show the progress of studies, term by term: calculations done, running, failed and to do, and the time left.

    Times in s, min and h come from the measured times of stored calculations with the same potential. For each failure:
    the reason, where it is stored or ran, and the next thing to try. Works beside a running study.

    Example: qdip status pbs-fapbi3 --watch
    """
    notes = _read_run_notes(results)
    if study is not None:
        _show_study(_Watch(results, make_plan(study, engine, preset)), is_watched=is_watched, as_json=as_json)
    elif is_watched and notes is not None and notes.is_alive:
        from qdip_dft.planning.plan import plan_study

        _show_study(_Watch(results, plan_study(notes.study)), is_watched=True, as_json=as_json)
    else:
        _show_all(results, notes, as_json=as_json)
        if is_watched and not as_json:
            console().print("Nothing is running in this folder.")


@dataclass
class _Watch:
    """Looks at a study again and again; what is stored is read anew only when the database has changed."""

    results: Path
    plan: StudyPlan
    _archive: Archive | None = None
    _seen: tuple[object, ...] = ()
    _known: Any = field(default=None)

    def look(self) -> StudyStatus:
        from qdip_dft.execution.run_notes import read_run_notes
        from qdip_dft.execution.study_status import measure_speed, measure_status

        stamp = self._stamp()
        if self._known is None or stamp != self._seen:
            resolution = self.plan.resolve(self._find)
            self._known, self._seen = (resolution, measure_speed(self.plan, resolution, self._archive)), stamp
        resolution, speed = self._known
        notes = read_run_notes(self.results)
        return measure_status(self.plan, resolution, speed=speed, notes=notes, where=str(self.results))

    def list_results(self) -> list[StabilizationDoc]:
        """Return what is stored of this study and its variant."""
        if self._archive is None:
            return []
        study = self.plan.study
        ids = [study.result_id(facet) for facet in study.dot.facets]
        return [document for result_id in ids for document in self._archive.find_stabilizations(result_id)]

    def _find(self, key: str) -> Any:
        if self._archive is None and self.results.exists():
            self._archive = open_archive_of(open_folder(self.results))
        return None if self._archive is None else self._archive.find_record(key)

    def _stamp(self) -> tuple[object, ...]:
        """Return what changes whenever something is stored: size and time of the database and its log."""
        files = (self.results / name for name in ("qdip.sqlite", "qdip.sqlite-wal"))
        return tuple((f.stat().st_mtime_ns, f.stat().st_size) if f.exists() else None for f in files)


def _show_study(watch: _Watch, *, is_watched: bool, as_json: bool) -> None:
    seen = watch.look()
    if is_watched and seen.is_running and not as_json:
        with suppress(KeyboardInterrupt):  # whoever has seen enough leaves; the run goes on
            _follow(watch.look, seen, console())
        seen = watch.look()
    failures = [*seen.failures, *_list_left_out(watch, seen)]
    if as_json:
        write_json(_as_json(seen, failures))
        return
    out = console()
    out.print(_render(seen))
    _print_failures(failures, out)
    for document in watch.list_results() if seen.is_finished else []:
        out.print(document.stabilization.sentence, markup=False)
    if not seen.is_finished and not seen.is_running:
        out.print(f"Nothing is running; resume with qdip run {watch.plan.study.name}.", markup=False)


def _list_left_out(watch: _Watch, seen: StudyStatus) -> list[Failure]:
    from qdip_dft.execution.failures import list_left_out

    return [found for document in watch.list_results() if seen.is_finished for found in list_left_out(document)]


def _follow(look: Callable[[], StudyStatus], seen: StudyStatus, out: Console) -> None:
    """Show a running study until its process has ended: live on a terminal, else a line whenever a term moves on."""
    if out.is_terminal and not out.is_dumb_terminal:
        _follow_live(look, seen, out)
        return
    printed: dict[str, object] = {}
    while seen.is_running:
        for term in seen.terms:
            moved = [term.counts.get(state, 0) for state in ("stored", "running", "failed", "blocked")]
            if printed.get(term.title) != moved:
                write_line(describe_term(term))
            printed[term.title] = moved
        time.sleep(REFRESH_EVERY_S)
        seen = look()


def _follow_live(look: Callable[[], StudyStatus], seen: StudyStatus, out: Console) -> None:
    from rich.live import Live

    with Live(_render(seen), console=out, refresh_per_second=4, transient=True) as live:
        while seen.is_running:
            time.sleep(REFRESH_EVERY_S)
            seen = look()
            live.update(_render(seen))


def describe_term(term: TermStatus) -> str:
    """Return the line of a term, such as ``binding of FAPbI3-delta(001): 2 of 4 calculations, about 4 min left``."""
    words = [f"{term.title}: {_count(term)} calculations", *_list_troubles(term)]
    words += [f"running {running}" for running in term.running]
    left = _say_time(term.remaining_s)
    return ", ".join([*words, f"{left} left"] if left else words)


def _count(term: TermStatus) -> str:
    return f"{term.counts.get('stored', 0)} of {term.n_calculations}"


def _list_troubles(term: TermStatus) -> list[str]:
    return [f"{count} {state}" for state, count in term.counts.items() if state in {"failed", "blocked"}]


def _say_time(duration_s: float) -> str:
    """Return a time that is left, no finer than it is known; nothing where nothing is left."""
    from qdip_dft.execution.progress import format_duration

    if duration_s <= 0:
        return ""
    if duration_s < 10:
        return "a few seconds"
    return f"about {format_duration(duration_s if duration_s < 60 else 60 * round(duration_s / 60))}"


def _render(seen: StudyStatus) -> RenderableType:
    """Return the study by term, and the whole of it."""
    from rich import box
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("term", overflow="fold")
    table.add_column("done", justify="right", no_wrap=True)
    table.add_column("state", overflow="fold")
    table.add_column("left", justify="right", no_wrap=True)
    for term in seen.terms:
        style = "bold" if term.running else ""
        table.add_row(Text(term.title), _count(term), _say_state(term), _say_time(term.remaining_s), style=style)
    return Group(Text(_say_whole(seen), style="bold"), table, Text(_say_source(seen)))


def _say_state(term: TermStatus) -> str:
    if term.running:
        return "; ".join(["running " + running for running in term.running] + _list_troubles(term))
    if troubles := _list_troubles(term):
        return ", ".join(troubles)
    if term.counts.get("stored", 0) == term.n_calculations:
        return "done"
    return "ready" if "ready" in term.counts else "waiting"


def _say_whole(seen: StudyStatus) -> str:
    counts = ", ".join(f"{count} {state}" for state, count in seen.counts.items() if count)
    words = f"{seen.study_id}: {sum(seen.counts.values())} calculations: {counts}"
    left = _say_time(seen.remaining_s)
    return f"{words}; {left} left" if left else words


def _say_source(seen: StudyStatus) -> str:
    if not seen.remaining_s:
        return ""
    if not seen.n_measured:
        return "Times are guessed from the number of atoms."
    return f"Times from {seen.n_measured} measured calculations with the same potential."


def _print_failures(failures: list[Failure], out: Console) -> None:
    from rich.padding import Padding
    from rich.text import Text

    for failure in failures:
        out.print(Text(f"{failure.kind}: {failure.name}", style="bold"))
        lines = [f"why: {failure.reason}", f"where: {failure.where}", f"next: {failure.remedy}"]
        if failure.holds_up:
            lines.append(f"holds up {len(failure.holds_up)} more: {', '.join(failure.holds_up)}")
        for line in lines:
            out.print(Padding(Text(line), (0, 0, 0, 2)))


def _as_json(seen: StudyStatus, failures: list[Failure]) -> dict[str, Any]:
    return {
        "study": seen.study_id,
        "is_running": seen.is_running,
        "counts": seen.counts,
        "remaining_s": seen.remaining_s,
        "n_measured": seen.n_measured,
        "terms": [{**asdict(term), "n_calculations": term.n_calculations} for term in seen.terms],
        "failures": [asdict(failure) for failure in failures],
        "calculations": [describe_calculation(calculation) for calculation in seen.calculations],
    }


def _show_all(results: Path, notes: RunNotes | None, *, as_json: bool) -> None:
    """List the running or interrupted study, and every stored result with its verdict."""
    rows = [*_list_run(notes), *(_describe_result(result) for result in _list_results(results))]
    if as_json:
        write_json(rows)
        return

    if not rows:
        write_line("No results yet.")
        return
    numbers = ("total (eV/f.u.)", "n* (f.u./Å²)")
    names = ("id", "state", "level")
    write_table(
        (*names, *numbers, "answer"),
        [(*(row[name] for name in names), *_write_numbers(row), row["verdict"]) for row in rows],
        numbers=numbers,
        caption=TABLE_CAPTION,
    )


def _write_numbers(row: dict[str, Any]) -> tuple[str, str]:
    """Return total and coverage; a result of formula version 1 took every film at its own n."""
    from qdip_dft.analysis.numbers import write_signed

    total, coverage = row["stabilization_total_ev_per_fu"], row["coverage_fu_per_ang2"]
    if total is None:
        return "", ""
    return write_signed(total), "own n (version 1)" if coverage is None else f"{coverage:.4f}"


def _list_results(results: Path) -> list[ResultOverview]:
    from qdip_dft.results.overview import list_overviews
    from qdip_dft.storage.location import open_stabilizations

    return list_overviews(open_stabilizations(results)) if results.exists() else []


def _read_run_notes(results: Path) -> RunNotes | None:
    """Return what the run of a folder says of itself, if there is one; a folder without needs no study loaded."""
    from qdip_dft.storage.results_folder import NOTES_FILE

    if not (results / NOTES_FILE).exists():
        return None
    from qdip_dft.execution.run_notes import read_run_notes

    return read_run_notes(results)


def _list_run(notes: RunNotes | None) -> list[dict[str, Any]]:
    if notes is None:
        return []
    interrupted = f"interrupted; resume with qdip run {notes.study.name}"
    state = f"running since {notes.started_at}" if notes.is_alive else interrupted
    empty = {
        "level": "",
        "stabilization_total_ev_per_fu": None,
        "coverage_fu_per_ang2": None,
        "verdict": "",
        "sentence": "",
    }
    return [{"id": notes.study.id, "state": state, **empty}]


def _describe_result(result: ResultOverview) -> dict[str, Any]:
    flaws = {"films without all terms": result.films.incomplete, "films left out": result.films.left_out}
    return {
        "id": result.id,
        "state": ", ".join(["finished", *(f"{count} {words}" for words, count in flaws.items() if count)]),
        "level": result.level,
        "stabilization_total_ev_per_fu": result.total_ev_per_fu,
        "coverage_fu_per_ang2": result.coverage_fu_per_ang2,
        "verdict": result.verdict.value,
        "sentence": result.sentence,
    }

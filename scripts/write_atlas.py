"""Draw the atlas of the systems: the tables of docs/atlas.md, and pages, from the stored documents in docs/atlas/.

    python scripts/write_atlas.py [--collect RESULTS]... [--site DIR] [--output FILE]

Nothing is calculated.  --collect takes the documents of the studies in `write_systems_table.SYSTEMS` and of the
campaign of dots and hosts over from results folders; --site writes a matrix of all results and the report of each, as
the documentation has them.  The words of the page are written by hand; what stands between its markers is replaced.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import sqrt
from pathlib import Path
from typing import Any

from write_systems_table import SYSTEMS

from qdip_dft.analysis.numbers import write_signed
from qdip_dft.analysis.sides import list_uncompared
from qdip_dft.analysis.verdict import Verdict, judge
from qdip_dft.model.stabilization import CandidateResult, StabilizationDoc
from qdip_dft.report.atlas import render_atlas
from qdip_dft.report.summary import list_calculation_keys
from qdip_dft.results.migrations import read_stabilization
from qdip_dft.results.overview import describe_result

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "atlas.md"
FOLDER = ROOT / "docs" / "atlas"
CAMPAIGN = "campaigns/dots-and-hosts"
TIMES = FOLDER / "times.json"
"""Wall and processor time of each study, all of its results together, in s on two cores, as measured."""

ANSWERS = ("system", "facet", "black against competitor", "total ± u (eV/f.u.)", "verdict", "n* (f.u./Å²)", "study")
TERMS = (
    *("study", "bulk", "strain", "surface", "binding", "u numerical", "u model"),
    *("calculations", "wall (min)", "processor (min)"),
)
VERDICTS = {
    Verdict.BLACK: "**black**",
    Verdict.COMPETITOR: "**competitor**",
    Verdict.UNDECIDED: "undecided",
    Verdict.INCOMPLETE: "no answer",
    Verdict.ALONE: "no competitor",
}


def read_documents(*kinds: str) -> dict[str, StabilizationDoc]:
    """Return the stored results of the systems (``documents``), of the ``campaign``, or of both, by id."""
    paths = [path for kind in kinds or ("documents", "campaign") for path in sorted((FOLDER / kind).glob("*.json"))]
    return {path.stem: read_stabilization(_read_json(path)) for path in paths}


def collect(results: Path) -> None:
    """Take the results of the systems' studies and of the campaign over from a results folder."""
    from qdip_dft.planning.campaign import read_studies
    from qdip_dft.storage.location import open_results

    kinds = {study: "documents" for studies in SYSTEMS.values() for study in studies}
    kinds |= {study.name: "campaign" for _, study in read_studies(CAMPAIGN)}
    for doc in open_results(results).list_stabilizations():
        if doc.study.name in kinds:
            text = json.dumps(doc.model_dump(mode="json"), ensure_ascii=False, separators=(",", ":"), sort_keys=True)
            (FOLDER / kinds[doc.study.name] / f"{doc.id}.json").write_text(text + "\n", encoding="utf-8")


def write_page(page: str) -> str:
    """Return the page with its tables made anew."""
    docs = read_documents("documents")
    times = _read_json(TIMES)
    tables = {
        "pairs": _write_pairs(list(read_documents("campaign").values())),
        "answers": _write_table(ANSWERS, (_list_answer(*found) for found in _by_system(docs))),
        "terms": _write_table(TERMS, (_list_terms(d, times) for _, _, d in _by_system(docs) if d is not None)),
    }
    for name, table in tables.items():
        place = re.compile(rf"(?<=<!-- {name} -->\n).*?(?=<!-- end -->)", re.DOTALL)
        page, found = place.subn(lambda _, table=table: f"\n{table}\n\n", page, count=1)
        if found != 1:
            raise SystemExit(f"{PAGE.name} has no place for the table of {name}")
    return page


def draw_pages(docs: Mapping[str, StabilizationDoc]) -> Iterator[tuple[str, str]]:
    """Yield file and HTML of the matrix and of each report, without the structures, which no document holds."""
    from qdip_dft.report.study_page import render_study_page

    found = [describe_result(doc.model_dump(mode="json")) for doc in docs.values()]
    yield "matrix.html", render_atlas(found, {name: f"reports/{name}.html" for name in docs})
    for name, doc in docs.items():
        yield f"reports/{name}.html", render_study_page(doc, {})


def _by_system(docs: Mapping[str, StabilizationDoc]) -> Iterator[tuple[str, str, StabilizationDoc | None]]:
    """Yield system, study and result in the order of the systems; a study may have a result for each facet, or none."""
    for system, studies in SYSTEMS.items():
        for study in studies:
            found = [doc for doc in docs.values() if doc.study.name == study]
            yield from ((system, study, doc) for doc in found or [None])


def _write_pairs(docs: Sequence[StabilizationDoc]) -> str:
    """Return the totals of the campaign, a row for each dot and facet, a column for each host."""
    found = {((doc.study.dot.material, doc.dot_plane), doc.study.host): doc for doc in docs}
    dots, hosts = (dict.fromkeys(pair[side] for pair in found) for side in (0, 1))
    rows = (
        (f"{dot}({facet})", *(_write_pair(found.get(((dot, facet), host))) for host in hosts)) for dot, facet in dots
    )
    return _write_table(("dot", *hosts), rows)


def _write_pair(doc: StabilizationDoc | None) -> str:
    if doc is None:
        return "no common cell"
    verdict, total = judge(doc), _write_total(doc)
    if verdict is Verdict.INCOMPLETE:
        return VERDICTS[verdict]
    return (total if verdict is Verdict.UNDECIDED else f"**{total}**") + _mark_uncompared(doc)


def _mark_uncompared(doc: StabilizationDoc) -> str:
    """Mark an answer whose study asks for planes that no valid film represents."""
    return " ‡" if list_uncompared(doc.study, doc.candidates) else ""


def _list_answer(system: str, study: str, doc: StabilizationDoc | None) -> Iterable[str]:
    if doc is None:
        return (system, "", "", "", "not computed", "", f"`{study}`")
    answer = doc.stabilization
    sides = [answer.black or _name_alone(doc), answer.competitor]
    films = " against ".join(side.split("//")[-1] for side in sides if side)
    n = "" if answer.coverage_fu_per_ang2 is None else f"{answer.coverage_fu_per_ang2:.4f}"
    verdict = VERDICTS[judge(doc)] + _mark_uncompared(doc)
    return (system, f"({doc.dot_plane})", films, _write_total(doc), verdict, n, f"`{study}`")


def _list_terms(doc: StabilizationDoc, times: Mapping[str, Mapping[str, float]]) -> Iterable[str]:
    answer = doc.stabilization
    has_answer = answer.total_ev_per_fu is not None
    terms = answer if has_answer else _find_selected(doc)
    values = [getattr(terms, f"{name}_ev_per_fu", None) for name in ("bulk", "strain", "surface", "binding")]
    if not has_answer:
        values[0] = None  # on the scale of the engine, which means nothing by itself
    numerical, model = _find_errors(doc)
    taken = times.get(doc.study.name)  # none where a study was interrupted
    return (
        f"`{doc.id}`",
        *map(write_signed, values),
        *("—" if error is None else f"{error:.3f}" for error in (numerical, model)),
        str(len(list_calculation_keys(doc))),
        *("—" if taken is None else f"{taken[name] / 60:.1f}" for name in ("wall_s", "processor_s")),
    )


def _write_total(doc: StabilizationDoc) -> str:
    total = doc.stabilization.total_ev_per_fu
    if total is None:
        return "—"
    numerical, model = _find_errors(doc)
    return f"{write_signed(total)} ± {sqrt((numerical or 0.0) ** 2 + (model or 0.0) ** 2):.3f}"


def _find_errors(doc: StabilizationDoc) -> tuple[float | None, float | None]:
    """Both parts of the standard uncertainty of the total; None where there is no answer."""
    found = doc.uncertainty
    if found is None or not found.is_stated or doc.stabilization.total_ev_per_fu is None:
        return None, None
    model = found.model_error
    return found.difference.total_ev_per_fu, None if model is None else model.total_ev_per_fu


def _find_selected(doc: StabilizationDoc) -> CandidateResult | None:
    return next((result for result in doc.candidates if result.is_selected), None)


def _name_alone(doc: StabilizationDoc) -> str:
    selected = _find_selected(doc)
    return "" if selected is None else selected.candidate.label


def _write_table(head: tuple[str, ...], rows: Iterable[Iterable[str]]) -> str:
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def _read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def main() -> None:
    """Read the command line and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--collect", type=Path, action="append", default=[], help="results folder to take results from")
    parser.add_argument("--site", type=Path, help="folder for the matrix and a report of each result")
    parser.add_argument("--output", type=Path, default=PAGE, help="page to write")
    given = parser.parse_args()
    for results in given.collect:
        collect(results)
    given.output.write_text(write_page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    for name, html in draw_pages(read_documents()) if given.site is not None else ():
        path = given.site / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(html, encoding="utf-8")


if __name__ == "__main__":
    main()

"""All results at a glance: a few numbers of each, without reading and validating whole documents.

A result has some 15 kB; ten thousand of them take seconds to read.  A results folder keeps the fields below beside each
document (`qdip_dft.storage.summary_collection`); any other store is asked for these fields alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from qdip_dft.analysis.verdict import Verdict, judge_numbers
from qdip_dft.errors import ResultsError
from qdip_dft.model.term_names import TERM_COLUMNS
from qdip_dft.model.versions import STABILIZATION_SCHEMA_VERSION
from qdip_dft.results.collection import Collection, Document
from qdip_dft.results.fields import SUMMARY_FIELDS, show_value, unknown_version

COUNTED_FIELDS = ("candidates.missing", "candidates.checks", "uncertainty.samples.kind")
"""What is counted rather than kept: a summary holds the counts of `FilmCounts` instead."""


@dataclass(frozen=True, slots=True)
class FilmCounts:
    """How many films of a result have a flaw, and how many calculations surround its answer.

    Parameters
    ----------
    incomplete
        Films that lack a term.
    left_out
        Films that fail a decisive check.
    variations
        Calculations around the answer.
    """

    incomplete: int
    left_out: int
    variations: int


@dataclass(frozen=True, slots=True)
class ResultOverview:
    """One result at a glance.

    Parameters
    ----------
    id, dot, host, facet, engine, level, created_at, sentence
        As in its document.
    black, competitor
        Labels of the two sides; None where a side has nothing valid.
    terms_ev_per_fu
        Bulk, strain, surface, binding and total of black − competitor; negative: black favoured.
    coverage_fu_per_ang2, interface_mev_per_ang2
        n* at which they are, and Δσ, which does not depend on it; None in formula version 1.
    formula_version
        Which definition the numbers follow; those of two versions are never subtracted.
    bulk_basis
        Where the bulk term comes from, in words; None in documents before version 5.
    films
        Films with flaws, and variations.
    verdict
        Who wins.
    """

    id: str
    dot: str
    host: str
    facet: str
    engine: str
    level: str
    created_at: str
    sentence: str
    black: str | None
    competitor: str | None
    terms_ev_per_fu: tuple[float | None, ...]
    coverage_fu_per_ang2: float | None
    interface_mev_per_ang2: float | None
    formula_version: int
    bulk_basis: str | None
    films: FilmCounts
    verdict: Verdict

    @property
    def total_ev_per_fu(self) -> float | None:
        """Black − competitor; None where it is missing."""
        return self.terms_ev_per_fu[-1]


def list_overviews(stabilizations: Collection) -> list[ResultOverview]:
    """Return all results at a glance, by id.

    Parameters
    ----------
    stabilizations
        The results of a folder or database.

    Raises
    ------
    ResultsError
        If a result is of a newer version.
    """
    return [describe_result(document, films) for document, films in _read(stabilizations)]


def count_films(document: Document) -> FilmCounts:
    """Count in a whole document what a summary keeps counted; see `COUNTED_FIELDS`."""
    films = document.get("candidates") or []
    failed = [
        any(check["is_decisive"] and not check["is_passed"] for check in film.get("checks") or []) for film in films
    ]
    variations = (document.get("uncertainty") or {}).get("samples") or []
    return FilmCounts(sum(bool(film.get("missing")) for film in films), sum(failed), len(variations))


def _read(stabilizations: Collection) -> Iterator[tuple[Document, FilmCounts]]:
    """Yield fields and counts of each result."""
    query_counted = getattr(stabilizations, "query_counted", None)
    if query_counted is not None:
        for document, counts in query_counted(list(SUMMARY_FIELDS), sort={"id": 1}):
            yield document, FilmCounts(**counts)
        return
    for document in stabilizations.query({}, [*SUMMARY_FIELDS, *COUNTED_FIELDS], sort={"id": 1}):
        yield document, count_films(document)


def describe_result(document: Document, films: FilmCounts | None = None) -> ResultOverview:
    """Return a result at a glance.

    Parameters
    ----------
    document
        The stored document, or at least the fields of its summary.
    films
        What is counted in it; None: a whole document, in which it is counted here.

    Raises
    ------
    ResultsError
        If the document is of a newer version or lacks something.
    """
    version = document.get("schema_version")
    if not isinstance(version, int) or not 1 <= version <= STABILIZATION_SCHEMA_VERSION:
        raise unknown_version(f"a result ({document.get('id')})", version, newest=STABILIZATION_SCHEMA_VERSION)
    try:
        return _describe(document, films or count_films(document))
    except (KeyError, TypeError, AttributeError) as error:
        raise _unreadable(document, error) from error


def _describe(document: Document, films: FilmCounts) -> ResultOverview:
    study, answer = document["study"], document["stabilization"]
    return ResultOverview(
        id=document["id"],
        dot=study["dot"]["material"],
        host=study["host"],
        facet=document["dot_plane"],
        engine=study["engine"]["name"],
        level=document["level"],
        created_at=document["created_at"],
        sentence=answer["sentence"],
        black=answer["black"],
        competitor=answer["competitor"],
        terms_ev_per_fu=tuple(answer[f"{name}_ev_per_fu"] for name in TERM_COLUMNS),
        coverage_fu_per_ang2=answer.get("coverage_fu_per_ang2"),
        interface_mev_per_ang2=(answer.get("interface") or {}).get("interface_mev_per_ang2"),
        formula_version=document.get("formula_version", 1),
        bulk_basis=(document.get("bulk_basis") or {}).get("finding"),
        films=films,
        verdict=_judge(document, films),
    )


def _judge(document: Document, films: FilmCounts) -> Verdict:
    """Return who wins, as `qdip_dft.analysis.verdict.judge` says of the whole document."""
    study: dict[str, Any] = document["study"]
    stated = document.get("uncertainty") or {}
    model = (stated.get("model_error") or {}).get("total_ev_per_fu")
    is_stated = films.variations > 0 or model is not None
    return judge_numbers(
        document["stabilization"]["total_ev_per_fu"],
        level=document["level"],
        has_competitor=bool(study.get("decomposition")) or any(p["role"] == "competitor" for p in study["phases"]),
        numerical_ev_per_fu=stated["difference"]["total_ev_per_fu"] if is_stated else None,
        model_ev_per_fu=model,
    )


def _unreadable(document: Document, error: Exception) -> ResultsError:
    return ResultsError(
        f"result {show_value(document.get('id'))} cannot be read ({type(error).__name__}: {show_value(error)})",
        limit="stored records must follow the schema of their version",
        why="a misread number would be worse than none",
        remedy="update qdip_dft, or choose another results folder with --results",
    )

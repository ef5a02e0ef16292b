"""What a publication of a result should quote, as BibTeX: method, potential, software and the crystal structures."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from qdip_dft.library.collections import load_catalogue
from qdip_dft.model.material import CatalogueEntry
from qdip_dft.model.stabilization import StabilizationDoc
from qdip_dft.report.notation import escape_latex
from qdip_dft.report.page import read_asset

REFERENCES = "references.bib"
"""Articles by key; the entry of the software itself has VERSION and YEAR left open."""

_POTENTIALS = {"sevennet": "sevennet_2024", "chgnet": "chgnet_2023"}
"""Reference by the beginning of a code's name."""


@dataclass(frozen=True, slots=True)
class Citation:
    """One work to quote.

    Parameters
    ----------
    key
        Its BibTeX key.
    reason
        What it stands for in this result.
    bibtex
        The entry.
    """

    key: str
    reason: str
    bibtex: str


def list_citations(doc: StabilizationDoc) -> tuple[Citation, ...]:
    """Return what to quote with a result: its method, its potential, the software and the sources of its structures."""
    return (*_cite_works(doc), *(cite_structure(entry) for entry in list_structures(doc)))


def list_structures(doc: StabilizationDoc) -> tuple[CatalogueEntry, ...]:
    """Return the entries of the crystal library that a result uses; files of the user have none."""
    names = [doc.study.dot.material, *(phase.phase for phase in doc.study.phases)]
    if doc.study.decomposition is not None:
        names += doc.study.decomposition.products
    found = (load_catalogue().find_entry(name) for name in dict.fromkeys(names))
    return tuple(entry for entry in found if entry is not None)


def cite_structure(entry: CatalogueEntry) -> Citation:
    """Return the entry of a crystal structure with the source as the library states it."""
    key = "structure_" + re.sub(r"[^A-Za-z0-9]+", "_", entry.id).strip("_")
    title = f"Crystal structure of {{{escape_latex(entry.id)}}} ({escape_latex(entry.name)})"
    bibtex = f"@misc{{{key},\n  title = {{{title}}},\n  note = {{{escape_latex(entry.source)}}}\n}}"
    return Citation(key, f"structure of {entry.id}", bibtex)


def _cite_works(doc: StabilizationDoc) -> Iterator[Citation]:
    yield _cite("qdip_dft", "this software", doc)
    yield _cite("masi_2020", "the question and the level diagram", doc)
    yield _cite("liu_2019", "the question", doc)
    theories = [theory for theory in (doc.theory, doc.geometry_theory) if theory is not None]
    for theory in theories:
        for beginning, key in _POTENTIALS.items():
            if theory.code.lower().startswith(beginning):
                yield _cite(key, f"the potential {theory.code}", doc)
    if any(theory.dispersion.startswith("d3") for theory in theories):
        yield _cite("d3_2010", "the dispersion correction", doc)
    if any(theory.dispersion == "d3bj" for theory in theories):
        yield _cite("d3bj_2011", "its damping", doc)
    for key, reason in (
        ("ase_2017", "relaxations"),
        ("pymatgen_2013", "structures"),
        ("jobflow_2024", "workflow"),
        ("threedmol_2015", "three-dimensional view of this page"),
    ):
        yield _cite(key, reason, doc)


def _cite(key: str, reason: str, doc: StabilizationDoc) -> Citation:
    text = _read_references()[key]
    if key == "qdip_dft":
        version = doc.versions.get("qdip_dft", "unknown")
        text = text.replace("VERSION", escape_latex(version)).replace("YEAR", doc.created_at[:4])
    return Citation(key, reason, text)


@cache
def _read_references() -> dict[str, str]:
    entries = re.split(r"\n(?=@)", read_asset(REFERENCES).strip())
    return {entry.partition("{")[2].partition(",")[0]: entry.strip() for entry in entries}

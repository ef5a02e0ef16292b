"""A bundle as an RO-Crate: ``ro-crate-metadata.json`` (RO-Crate 1.1, w3id.org/ro/crate/1.1), which archives read.

The terms are those of schema.org.  The answers stand as values with units, so that a search engine finds the number and
not the file alone; lengths and checksums stand in ``manifest.json``.  The licence of a result is the choice of those
who publish it, and is said to be so.
"""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import JsonValue

from qdip_dft.model.calculation import LevelOfTheory
from qdip_dft.model.stabilization import StabilizationDoc
from qdip_dft.results.evidence import Evidence

CRATE = "ro-crate-metadata.json"
SPECIFICATION = "https://w3id.org/ro/crate/1.1"
KINDS = {
    ".cif": "chemical/x-cif",
    ".json": "application/json",
    ".md": "text/markdown",
    ".xyz": "chemical/x-xyz",
    ".extxyz": "chemical/x-xyz",
    ".yaml": "application/yaml",
}
"""Media types by the end of a name."""

Entity = dict[str, JsonValue]


def describe_crate(evidence: Evidence, members: Sequence[str]) -> JsonValue:
    """Return the metadata of a bundle as JSON-LD.

    Parameters
    ----------
    evidence
        What the bundle holds.
    members
        The names of its files but this one.
    """
    about: Entity = {"@id": CRATE, "@type": "CreativeWork", "about": _to("./"), "conformsTo": _to(SPECIFICATION)}
    answers = [_answer(document) for document in evidence.documents]
    codes = _list_codes(evidence)
    root: Entity = {
        "@id": "./",
        "@type": "Dataset",
        "name": f"Phase stability at quantum dots: {', '.join(document.id for document in evidence.documents)}",
        "description": " ".join(document.stabilization.sentence for document in evidence.documents),
        "datePublished": max(document.created_at for document in evidence.documents),
        "license": "Not stated in this file: it is that of the work which the file belongs to",
        "hasPart": [_to(name) for name in members],
        "variableMeasured": [_to(str(answer["@id"])) for answer in answers],
        "mentions": [_to(str(code["@id"])) for code in codes],
    }
    files: list[JsonValue] = [_file(name) for name in members]
    return {"@context": f"{SPECIFICATION}/context", "@graph": [about, root, *files, *answers, *codes]}


def _to(identifier: str) -> Entity:
    return {"@id": identifier}


def _file(name: str) -> Entity:
    kind = next(kind for end, kind in KINDS.items() if name.endswith(end))
    return {"@id": name, "@type": "File", "name": name.rpartition("/")[2], "encodingFormat": kind}


def _answer(document: StabilizationDoc) -> Entity:
    coverage = document.stabilization.coverage_fu_per_ang2
    place = "each film at its own coverage" if coverage is None else f"at n* = {coverage:.4f} f.u. per Å² of dot"
    return {
        "@id": f"#{document.id}",
        "@type": "PropertyValue",
        "name": f"stabilization of {document.id}",
        "description": f"black phase minus competitor {place}, level {document.level.value}; "
        "negative: the black phase is favoured",
        "value": document.stabilization.total_ev_per_fu,
        "unitText": "eV per formula unit of the host",
    }


def _list_codes(evidence: Evidence) -> list[Entity]:
    theories = {_name(theory): theory for theory in (record.theory for record in evidence.records)}
    return [_code(theories[name]) for name in sorted(theories)]


def _code(theory: LevelOfTheory) -> Entity:
    return {
        "@id": f"#{_name(theory)}",
        "@type": "SoftwareApplication",
        "name": theory.code,
        "softwareVersion": theory.code_version,
    }


def _name(theory: LevelOfTheory) -> str:
    return f"{theory.code}-{theory.code_version}".replace(" ", "-")

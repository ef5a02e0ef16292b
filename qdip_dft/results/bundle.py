"""The provenance bundle: one zip file with a result and everything that it rests on.

.. code-block:: text

    README.md                       what is what, how to restore and to cite
    manifest.json                   versions, and length and SHA-256 of every other member
    ro-crate-metadata.json          the same files for archives (RO-Crate 1.1)
    environment.json                codes, weights, packages
    inputs/ID.yaml                  the study
    inputs/ID.settings.json         level of theory and thresholds
    documents/stabilizations/ID.json
    documents/calculations/KEY.json
    documents/screenings/KEY.json        registry scans, where there are any
    structures/PART-KEY/            CIF and extended XYZ, initial and relaxed

The same content gives the same bytes: members are in a fixed order, dated 1980-01-01 and not compressed, because two
versions of a compressor may write different bytes.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from zipfile import ZIP_STORED, ZipFile, ZipInfo

from pydantic import JsonValue

from qdip_dft.errors import ResultsError
from qdip_dft.model.base import Record
from qdip_dft.model.bundle import BundleManifest, BundleMember
from qdip_dft.model.calculation import CalculationRecord, Freedom
from qdip_dft.model.stabilization import StabilizationDoc
from qdip_dft.model.structure import StructureRecord
from qdip_dft.results.bundle_crate import CRATE, describe_crate
from qdip_dft.results.bundle_readme import write_readme
from qdip_dft.results.evidence import Evidence, gather_evidence
from qdip_dft.results.structure_export import StructureFormat, label_slab, label_structure, render_structure
from qdip_dft.results.writing import open_whole

if TYPE_CHECKING:
    from qdip_dft.results.archive import Archive

MAX_MEMBERS = 50_000
MAX_MEMBER_BYTES = 100_000_000
"""A calculation of 100,000 atoms takes about 25 MB."""
MAX_TOTAL_BYTES = 1_000_000_000

MANIFEST = "manifest.json"
CALCULATIONS = "documents/calculations/"
REGISTRY_SCANS = "documents/screenings/"
STABILIZATIONS = "documents/stabilizations/"

_DATE = (1980, 1, 1, 0, 0, 0)
_ORDINARY_FILE = 0o100644 << 16


@dataclass(frozen=True, slots=True)
class BundleSummary:
    """What was written.

    Parameters
    ----------
    path
        The file.
    sha256
        SHA-256 of the whole file (hex), to be published beside it.
    n_results, n_calculations, size_bytes
        What it holds, and its length.
    """

    path: Path
    sha256: str
    n_results: int
    n_calculations: int
    size_bytes: int


def export_bundle(archive: Archive, result_id: str, path: Path) -> BundleSummary:
    """Write a result and everything it rests on into one zip file.

    Parameters
    ----------
    archive
        Where the results are stored.
    result_id
        Name of a study (all its facets), or one result as ``study@facet``.
    path
        The file; it appears whole or not at all, and replaces an earlier one.

    Raises
    ------
    ResultsError
        If there is no such result, a calculation is missing, or the file cannot be written or would be too large.
    """
    evidence = gather_evidence(archive, result_id)
    with open_whole(path) as file, ZipFile(file, "w", ZIP_STORED) as bundle:
        _write_members(bundle, evidence)
    with path.open("rb") as written:
        digest = hashlib.file_digest(written, "sha256").hexdigest()
    return BundleSummary(
        path=path,
        sha256=digest,
        n_results=len(evidence.documents),
        n_calculations=len(evidence.calculations),
        size_bytes=path.stat().st_size,
    )


def _write_members(bundle: ZipFile, evidence: Evidence) -> None:
    members: list[BundleMember] = []
    for name, content in _make_members(evidence):
        _add_member(bundle, name, content, members)
    crate = describe_crate(evidence, [*(member.name for member in members), MANIFEST])
    _add_member(bundle, CRATE, encode_json(crate), members)
    manifest = BundleManifest(
        results=tuple(document.id for document in evidence.documents),
        document_versions=_list_versions(evidence),
        members=tuple(members),
    )
    _write_member(bundle, MANIFEST, encode_record(manifest))


def _add_member(bundle: ZipFile, name: str, content: bytes, members: list[BundleMember]) -> None:
    """Write a member and put it on the list of the manifest."""
    _write_member(bundle, name, content)
    digest = hashlib.sha256(content).hexdigest()
    members.append(BundleMember(name=name, size_bytes=len(content), sha256=digest))
    _require_readable_size(members)


def _write_member(bundle: ZipFile, name: str, content: bytes) -> None:
    header = ZipInfo(name, _DATE)
    header.create_system = 3  # the attributes are those of Unix, on every system
    header.external_attr = _ORDINARY_FILE
    bundle.writestr(header, content)


def _require_readable_size(members: list[BundleMember]) -> None:
    """Refuse to write what `read_bundle` would refuse to read."""
    total_bytes = sum(member.size_bytes for member in members)
    if members[-1].size_bytes <= MAX_MEMBER_BYTES and total_bytes <= MAX_TOTAL_BYTES and len(members) < MAX_MEMBERS:
        return
    raise ResultsError(
        f"the bundle grows beyond {total_bytes / 1e6:.0f} MB in {len(members)} members",
        limit=f"at most {MAX_TOTAL_BYTES / 1e6:.0f} MB, {MAX_MEMBER_BYTES / 1e6:.0f} MB and {MAX_MEMBERS} members",
        why="larger files are refused on reading, because they are how a hostile file fills a disk",
        remedy="export one facet at a time, as STUDY@FACET",
    )


def _make_members(evidence: Evidence) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of every member but the manifest."""
    yield "README.md", write_readme(evidence).encode()
    yield "environment.json", encode_json(_describe_environment(evidence))
    for document in evidence.documents:
        yield f"inputs/{document.id}.yaml", _render_study(document)
        yield f"inputs/{document.id}.settings.json", encode_json(_describe_settings(document))
    for document in evidence.documents:
        yield f"{STABILIZATIONS}{document.id}.json", encode_record(document)
    for record in evidence.calculations:
        yield f"{CALCULATIONS}{record.key}.json", encode_record(record)
    for scan in evidence.registry_scans:
        yield f"{REGISTRY_SCANS}{scan.key}.json", encode_record(scan)
    yield from _make_structures(evidence)


def encode_record(record: Record) -> bytes:
    """Return a record as the bytes of a member."""
    return encode_json(record.model_dump(mode="json"))


def encode_json(value: JsonValue) -> bytes:
    """Return a value as JSON: names sorted, every number with the digits that give it back exactly."""
    return (json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n").encode()


def _render_study(document: StabilizationDoc) -> bytes:
    import yaml

    content = document.study.model_dump(mode="json")
    text: str = yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=100)
    return text.encode()


def _describe_settings(document: StabilizationDoc) -> JsonValue:
    return {
        "theory": None if document.theory is None else document.theory.model_dump(mode="json"),
        "relaxation": document.relaxation_settings,
    }


def _describe_environment(evidence: Evidence) -> JsonValue:
    theories = {encode_record(record.theory): record.theory for record in evidence.records}
    wanted = {"level", "engine", "code", "code_version", "weights_hash"}
    return {
        "codes": [theories[text].model_dump(mode="json", include=wanted) for text in sorted(theories)],
        "versions": {document.id: dict(document.versions) for document in evidence.documents},
    }


def _list_versions(evidence: Evidence) -> dict[str, tuple[int, ...]]:
    return {
        "calculation": tuple(sorted({record.schema_version for record in evidence.calculations})),
        "screening": tuple(sorted({scan.schema_version for scan in evidence.registry_scans})),
        "stabilization": tuple(sorted({document.schema_version for document in evidence.documents})),
        "formula": tuple(sorted({document.formula_version for document in evidence.documents})),
    }


def _make_structures(evidence: Evidence) -> Iterator[tuple[str, bytes]]:
    names = {key: name for document in evidence.documents for name, key in document.calculations.items()}
    parts = label_parts(evidence)
    for record in evidence.calculations:
        name = names.get(record.key, record.task.label)
        folder = f"structures/{re.sub(r'[^A-Za-z0-9]+', '-', name).strip('-')[:80]}-{record.key[:12]}"
        labels = parts.get(record.key, ())
        yield from _render(folder, "initial", record.task.structure, title=name, parts=labels)
        if record.task.freedom is not Freedom.NONE and record.result is not None:
            yield from _render(folder, "relaxed", record.result.structure, title=name, parts=labels)


def _render(
    folder: str, state: str, structure: StructureRecord, *, title: str, parts: tuple[str, ...]
) -> Iterator[tuple[str, bytes]]:
    labelled = label_structure(structure, parts=parts)
    for kind in (StructureFormat.CIF, StructureFormat.EXTXYZ):
        yield f"{folder}/{state}.{kind.value}", render_structure(labelled, kind, title=f"{title}, {state}").encode()


def label_parts(evidence: Evidence) -> Mapping[str, tuple[str, ...]]:
    """Return the part of each atom, ``dot``, ``passivation`` or ``film``, of slabs and interfaces, by key."""
    parts: dict[str, tuple[str, ...]] = {}
    records = {record.key: record for record in evidence.calculations}
    for document in evidence.documents:
        for candidate in (result.candidate for result in document.candidates):
            for ending in ("", " (static)"):
                keys = (document.calculations.get(f"{slab} {candidate.label}{ending}", "") for slab in _SLABS)
                parts |= _label_slabs(*map(records.get, keys), passivation=candidate.passivation)
    return parts


_SLABS = ("dot slab", "film slab", "interface")


def _label_slabs(
    dot: CalculationRecord | None,
    film: CalculationRecord | None,
    interface: CalculationRecord | None,
    *,
    passivation: str | None,
) -> dict[str, tuple[str, ...]]:
    """Return the labels of the slabs that exist; in an interface the dot's atoms come first."""
    n_dot = 0 if dot is None else dot.task.structure.n_atoms
    slabs = [(film, 0), (dot, n_dot), (None if dot is None else interface, n_dot)]
    return {
        slab.key: label_slab(slab.task.structure, n_dot=n, passivation=passivation).part
        for slab, n in slabs
        if slab is not None
    }

"""Reading a provenance bundle that may come from anyone.

Everything is checked before anything is written: the shape of the zip file, the list of its members, their checksums,
and every document against its schema.  Documents are data: nothing in them is executed or imported by name.  Lengths
that the file states about itself are never trusted: members are read in pieces and counted.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import stat
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NoReturn, TypeVar
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile, ZipInfo

from pydantic import JsonValue, ValidationError

from qdip_dft.errors import ResultsError
from qdip_dft.model.base import Record
from qdip_dft.model.bundle import BUNDLE_SCHEMA_VERSION, BundleManifest, BundleMember
from qdip_dft.model.calculation import CalculationRecord
from qdip_dft.model.registry import RegistryScan
from qdip_dft.model.stabilization import StabilizationDoc
from qdip_dft.results.bundle import (
    CALCULATIONS,
    MANIFEST,
    MAX_MEMBER_BYTES,
    MAX_MEMBERS,
    MAX_TOTAL_BYTES,
    REGISTRY_SCANS,
    STABILIZATIONS,
)
from qdip_dft.results.evidence import Evidence, list_keys, list_registry_scan_keys
from qdip_dft.results.migrations import STEPS, migrate, newest_version
from qdip_dft.results.retracing import list_contradictions, retrace
from qdip_dft.runtime.installation import update_hint

MAX_RATIO = 100
"""Largest expansion of a member; texts of numbers shrink to about a third."""

MAX_DIRECTORY_BYTES = 500 * MAX_MEMBERS
MAX_DEPTH = 40
"""Levels of nesting; the documents have about ten."""

_PIECE_BYTES = 1 << 20
_SAFE_NAME = re.compile(r"(?:[A-Za-z0-9][A-Za-z0-9._@+-]{0,150}/){0,4}[A-Za-z0-9][A-Za-z0-9._@+-]{0,150}")
_IS_ENCRYPTED = 0x1

AnyRecord = TypeVar("AnyRecord", bound=Record)


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle whose every member was checked.

    Parameters
    ----------
    manifest
        Its table of contents.
    evidence
        Its documents.
    """

    manifest: BundleManifest
    evidence: Evidence


def read_bundle(path: Path) -> Bundle:
    """Read and check a bundle; nothing is written.

    Raises
    ------
    ResultsError
        If it is damaged, altered, too large, written by a newer version, or no bundle.
    """
    try:
        with path.open("rb") as file:
            _require_plain_directory(file)
            with ZipFile(file) as bundle:
                return _read_members(bundle)
    except (BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        _refuse(f"{path.name} is damaged or no zip file ({error})", "a bundle is one intact zip file")
    except OSError as error:
        raise ResultsError(
            f"{path} cannot be read ({error.strerror or error})",
            limit="a bundle is one readable file",
            why="there is nothing to restore",
            remedy="correct the path or the permissions",
        ) from error


def _require_plain_directory(file: IO[bytes]) -> None:
    """Refuse a file whose table of contents could fill the memory; it must end with a plain end record.

    The end record is the last 22 bytes: signature, counts, length of the directory (at byte 12), offset, and the length
    of a comment, here zero.  A zip64 locator would stand right before it.
    """
    size_bytes = file.seek(0, 2)
    if size_bytes > 2 * MAX_TOTAL_BYTES:
        _refuse(f"the file has {size_bytes / 1e6:.0f} MB", f"at most {2 * MAX_TOTAL_BYTES / 1e6:.0f} MB")
    file.seek(max(0, size_bytes - 42))
    end = file.read(42)
    if len(end) < 22 or not end[-22:].startswith(b"PK\x05\x06") or end[-2:] != b"\0\0":
        _refuse("the file does not end as a zip file does", "a bundle is one intact zip file without a comment")
    directory_bytes = int.from_bytes(end[-10:-6], "little")
    if directory_bytes > MAX_DIRECTORY_BYTES or (len(end) == 42 and end.startswith(b"PK\x06\x07")):
        _refuse("its table of contents is too long", f"at most {MAX_MEMBERS} members in the plain zip format")
    file.seek(0)


def _read_members(bundle: ZipFile) -> Bundle:
    headers = _check_headers(bundle.infolist())
    if MANIFEST not in headers:
        _refuse(f"there is no {MANIFEST}", "a bundle was written by `qdip export --bundle`")
    content = b"".join(_read_pieces(bundle, headers[MANIFEST]))
    manifest = _parse(BundleManifest, MANIFEST, content)
    listed = _check_list(manifest, set(headers) - {MANIFEST})
    documents: dict[str, list[Any]] = {folder: [] for folder in _KINDS}
    total_bytes = 0
    for name in sorted(listed):
        content = _read_checked(bundle, headers[name], listed[name])
        total_bytes += len(content)
        if total_bytes > MAX_TOTAL_BYTES:
            _refuse("the members are too large together", f"at most {MAX_TOTAL_BYTES / 1e6:.0f} MB")
        if name.startswith("documents/"):
            folder, document = _read_document(name, content)
            documents[folder].append(document)
    evidence = Evidence(*(tuple(documents[folder]) for folder in (STABILIZATIONS, CALCULATIONS, REGISTRY_SCANS)))
    _require_complete(manifest, evidence)
    _require_consistent(evidence)
    return Bundle(manifest, evidence)


_KINDS: dict[str, tuple[type[Record], str]] = {
    STABILIZATIONS: (StabilizationDoc, "id"),
    CALCULATIONS: (CalculationRecord, "key"),
    REGISTRY_SCANS: (RegistryScan, "key"),
}
"""The folders of documents, what lies in them, and the field that names it."""


def _read_document(name: str, content: bytes) -> tuple[str, Record]:
    """Return the folder and the record of a document."""
    folder = name.rpartition("/")[0] + "/"
    if folder not in _KINDS:
        _refuse(f"{name} is of an unknown kind", "this version reads stabilizations, calculations and registry scans")
    kind, field = _KINDS[folder]
    document = _parse(kind, name, content)
    expected = f"{folder}{getattr(document, field)}.json"
    if name != expected:
        _refuse(f"{name} holds what belongs into {expected[:120]}", "each document lies under its own id or key")
    return folder, document


def _check_headers(headers: list[ZipInfo]) -> dict[str, ZipInfo]:
    """Return the headers by name after everything that can be refused without reading a member."""
    if len(headers) > MAX_MEMBERS:
        _refuse(f"it has {len(headers)} members", f"at most {MAX_MEMBERS}")
    for header in headers:
        _check_header(header)
    names = [header.filename for header in headers]
    twice = next((name for name in names if names.count(name) > 1), None) if len(set(names)) < len(names) else None
    if twice is not None:
        _refuse(f"{twice} is there twice", "each member has a name of its own")
    total_bytes = sum(header.file_size for header in headers)
    if total_bytes > MAX_TOTAL_BYTES:
        _refuse(f"it unpacks to {total_bytes / 1e6:.0f} MB", f"at most {MAX_TOTAL_BYTES / 1e6:.0f} MB")
    return {header.filename: header for header in headers}


def _check_header(header: ZipInfo) -> None:
    name = header.filename
    if header.orig_filename != name or not _SAFE_NAME.fullmatch(name):
        _refuse(f"a member is called {header.orig_filename[:80]!r}", "names stay inside the bundle: no .., no root")
    mode = header.external_attr >> 16
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
        _refuse(f"{name} is no ordinary file", "a bundle holds no links, folders or devices")
    if header.flag_bits & _IS_ENCRYPTED:
        _refuse(f"{name} is encrypted", "bundles are open")
    if header.compress_type not in (ZIP_STORED, ZIP_DEFLATED):
        _refuse(f"{name} is packed with method {header.compress_type}", "members are stored or deflated")
    if header.file_size > MAX_MEMBER_BYTES:
        _refuse(f"{name} has {header.file_size / 1e6:.0f} MB", f"at most {MAX_MEMBER_BYTES / 1e6:.0f} MB each")


def _read_pieces(bundle: ZipFile, header: ZipInfo) -> Iterator[bytes]:
    """Yield the content of a member, and stop where it grows beyond what a bundle may hold."""
    n_bytes = 0
    allowed_bytes = min(MAX_MEMBER_BYTES, MAX_RATIO * header.compress_size + _PIECE_BYTES)
    with bundle.open(header) as member:
        while piece := member.read(_PIECE_BYTES):
            n_bytes += len(piece)
            if n_bytes > allowed_bytes:
                _refuse(
                    f"{header.filename} unpacks to more than {allowed_bytes / 1e6:.1f} MB",
                    f"at most {MAX_MEMBER_BYTES / 1e6:.0f} MB and {MAX_RATIO} times its packed length",
                )
            yield piece


def _check_list(manifest: BundleManifest, found: set[str]) -> dict[str, BundleMember]:
    listed = {member.name: member for member in manifest.members}
    if len(listed) < len(manifest.members):
        _refuse(f"{MANIFEST} names a member twice", "each member is named once")
    missing, extra = sorted(set(listed) - found), sorted(found - set(listed))
    if missing:
        _refuse(f"{missing[0]} is missing ({len(missing)} in all)", f"every member of {MANIFEST} must be there")
    if extra:
        _refuse(f"{extra[0]} does not belong to it ({len(extra)} in all)", f"only members of {MANIFEST} may be there")
    return listed


def _read_checked(bundle: ZipFile, header: ZipInfo, expected: BundleMember) -> bytes:
    content = b"".join(_read_pieces(bundle, header))
    if len(content) != expected.size_bytes or hashlib.sha256(content).hexdigest() != expected.sha256:
        _refuse(f"{header.filename} was changed", f"its SHA-256 must be {expected.sha256}")
    return content


def _parse(kind: type[AnyRecord], name: str, content: bytes) -> AnyRecord:
    """Return a member as a record; values of another type are refused, not converted."""
    value = _parse_json(name, content)
    _require_known_version(kind, name, value)
    if kind in STEPS and isinstance(value, dict):
        value = migrate(kind, value)
    try:
        record = kind.model_validate(value)
        _require_unconverted(value, record.model_dump(mode="json"), name)
        return record
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])[:100]
        _refuse(f"{name} cannot be read ({place}: {first['msg']})", "documents follow the schema of their version")


def _require_unconverted(given: Any, read: Any, place: str) -> None:
    """Refuse what only became a value of its type on reading, such as a number in quotes; whole numbers may be real."""
    if isinstance(given, dict) and isinstance(read, dict):
        for key in given.keys() & read.keys():
            _require_unconverted(given[key], read[key], f"{place}.{key}")
    elif isinstance(given, list) and isinstance(read, list) and len(given) == len(read):
        for one, other in zip(given, read, strict=True):
            _require_unconverted(one, other, place)
    elif given != read or (type(given) is not type(read) and {type(given), type(read)} != {int, float}):
        _refuse(f"{place[:150]} cannot be read as it stands", "documents follow the schema of their version")


def _parse_json(name: str, content: bytes) -> JsonValue:
    try:
        value: JsonValue = json.loads(
            content.decode("utf-8"), object_pairs_hook=_make_mapping, parse_constant=_refuse_constant
        )
        _require_plain(value, depth=0)
    except (ValueError, RecursionError) as error:
        _refuse(f"{name} is no plain JSON ({error})", "documents hold finite numbers, texts, lists and mappings")
    return value


def _make_mapping(pairs: list[tuple[str, JsonValue]]) -> dict[str, JsonValue]:
    if len(dict(pairs)) < len(pairs):
        raise ValueError("a key appears twice")
    return dict(pairs)


def _refuse_constant(word: str) -> NoReturn:
    raise ValueError(f"{word} is no number")


def _require_plain(value: JsonValue, *, depth: int) -> None:
    """Refuse what other programs would take for an instruction or could not store.

    A key such as ``@module`` makes monty import a class, one such as ``$where`` makes MongoDB run code.
    """
    if depth > MAX_DEPTH:
        raise ValueError(f"more than {MAX_DEPTH} levels deep")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("a number is not finite")
    if isinstance(value, int) and abs(value) >= 1 << 63:
        raise ValueError("a whole number has more than 64 bits")
    for key in value if isinstance(value, dict) else ():
        if key.startswith(("@", "$")) or "\0" in key:
            raise ValueError(f"the key {key[:40]!r} is not allowed")
    for part in _parts_of(value):
        _require_plain(part, depth=depth + 1)


def _parts_of(value: JsonValue) -> Iterable[JsonValue]:
    return value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()


def _require_known_version(kind: type[Record], name: str, value: JsonValue) -> None:
    """Refuse a newer or unknown layout in words of its own, before any field is looked at."""
    newest = newest_version(kind) if kind in STEPS else BUNDLE_SCHEMA_VERSION
    version = value.get("schema_version") if isinstance(value, dict) else None
    if isinstance(version, int) and not isinstance(version, bool) and 1 <= version <= newest:
        return
    raise ResultsError(
        f"{name} has schema version {str(version)[:40]}",
        limit=f"this version of qdip_dft reads versions 1 to {newest}",
        why="newer documents could be misread; nothing was written",
        remedy=f"{update_hint()}, and import again",
    )


def _require_complete(manifest: BundleManifest, evidence: Evidence) -> None:
    """Require every result that the manifest names, every calculation that a result names, and no other."""
    if manifest.results != tuple(document.id for document in evidence.documents):
        _refuse(f"the documents are not the results named in {MANIFEST}", "one document for each result")
    keys = {record.key for record in evidence.records}
    scans = set().union(*map(list_registry_scan_keys, evidence.documents))
    needed = {key for document in evidence.documents for key in document.calculations.values()} | scans
    named = set().union(scans, *map(list_keys, evidence.documents))
    if needed - keys:
        _refuse(f"calculation {min(needed - keys)} is missing", "every calculation of a result must be there")
    if keys - named:
        _refuse(f"calculation {min(keys - named)} belongs to no result", "only calculations of its results")


def _require_consistent(evidence: Evidence) -> None:
    """Require that every result follows from its calculations: checksums that were made anew prove nothing."""
    records = {record.key: record for record in evidence.records}
    for document in evidence.documents:
        contradictions = (*list_contradictions(document), *retrace(document, records.get))
        if contradictions:
            _refuse(
                f"result {document.id[:80]} does not follow from its calculations: {contradictions[0]}",
                "every term, total and sentence must follow from the energies in the bundle",
            )


def _refuse(what: str, limit: str) -> NoReturn:
    raise ResultsError(
        what,
        limit=limit,
        why="numbers from a damaged or altered bundle would look like results; nothing was written",
        remedy="get the bundle again from its source and compare its SHA-256 with the published one",
    )

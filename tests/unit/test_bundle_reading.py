"""Hostile and damaged bundles are refused with a reason, and nothing is written.

Every case starts from a good bundle of made-up documents.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import stat
import struct
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from zipfile import ZIP_BZIP2, ZIP_DEFLATED, ZIP_STORED, ZipFile, ZipInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qdip_dft.errors import ResultsError
from qdip_dft.model.calculation import CalculationRecord, CalculationTask, EngineResult, Freedom, Level, LevelOfTheory
from qdip_dft.results.bundle import MAX_MEMBER_BYTES, export_bundle
from qdip_dft.results.bundle_reading import read_bundle
from qdip_dft.results.evidence import hide_paths
from qdip_dft.storage.results_folder import ResultsFolder, open_archive
from tests.command_line import assert_four_parts, qdip
from tests.unit.crystals import load
from tests.unit.report_documents import make_black, make_document, make_yellow

KEY = hashlib.sha256(b"synthetic").hexdigest()
RECORD = f"documents/calculations/{KEY}.json"
Members = dict[str, bytes]
Content = dict[str, Any]


def make_record(**changes: Any) -> CalculationRecord:
    """Return a made-up static calculation of PbS."""
    structure = load("PbS").structure
    theory = LevelOfTheory(
        level=Level.TEST, engine="testing", code="synthetic", code_version="0", functional="none", dispersion="none",
        weights_hash="", settings={"cutoff_ang": 6.0},
    )  # fmt: skip
    result = EngineResult(
        structure=structure, energy_ev=-1.0 / 3.0, forces_ev_per_ang=((0.0, 0.1, -0.2),) * structure.n_atoms,
        stress_ev_per_ang3=((0.1, 0.0, 0.0), (0.0, 0.2, 0.0), (0.0, 0.0, 0.3)), is_converged=True, n_steps=0,
        max_force_ev_per_ang=0.2, wall_time_s=0.1,
    )  # fmt: skip
    fields = {
        "key": KEY, "task": CalculationTask(label="bulk PbS", freedom=Freedom.NONE, structure=structure),
        "theory": theory, "result": result, "finished_at": "2020-02-06T00:00:00+00:00",
    }  # fmt: skip
    return CalculationRecord(**{**fields, **changes})


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("good")
    archive = open_archive(ResultsFolder(folder / "results"))
    archive.save_records([make_record()])
    document = make_document(make_black(), make_yellow())
    archive.save_stabilization(document.model_copy(update={"calculations": {"bulk PbS": KEY}}))
    export_bundle(archive, document.id, folder / "good.zip")
    return folder / "good.zip"


def read_members(path: Path) -> Members:
    with ZipFile(path) as source:
        return {name: source.read(name) for name in source.namelist()}


def write_members(path: Path, members: Members, *, method: int = ZIP_STORED) -> Path:
    with ZipFile(path, "w", method) as target:
        for name, content in members.items():
            target.writestr(name, content)
    return path


def sign(members: Members) -> Members:
    """Return the members with a manifest that fits them, as a careful attacker would make it."""
    manifest = json.loads(members["manifest.json"])
    others = {name: content for name, content in members.items() if name != "manifest.json"}
    manifest["members"] = [
        {"name": name, "size_bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        for name, content in others.items()
    ]
    return {**others, "manifest.json": json.dumps(manifest).encode()}


def edit_record(members: Members, change: Callable[[Content], object]) -> Members:
    """Return the members with a changed calculation and fitting checksums."""
    content = json.loads(members[RECORD])
    change(content)
    return sign({**members, RECORD: json.dumps(content).encode()})


def replace_text(members: Members, old: str, new: str) -> Members:
    text = members[RECORD].decode()
    assert old in text
    return sign({**members, RECORD: text.replace(old, new, 1).encode()})


def without(members: Members, name: str) -> Members:
    return {other: content for other, content in members.items() if other != name}


def result_name(members: Members) -> str:
    return next(name for name in members if name.startswith("documents/stabilizations/"))


def edit_result(members: Members, change: Callable[[Content], object]) -> Members:
    name = result_name(members)
    content = json.loads(members[name])
    change(content)
    return sign({**members, name: json.dumps(content).encode()})


def edit_manifest(members: Members, change: Callable[[Content], object]) -> Members:
    content = json.loads(members["manifest.json"])
    change(content)
    return {**members, "manifest.json": json.dumps(content).encode()}


def nest(depth: int) -> Content:
    value: Content = {}
    for _ in range(depth):
        value = {"a": value}
    return value


CHANGES: dict[str, tuple[Callable[[Members], Members], str]] = {
    "a changed number": (lambda m: {**m, RECORD: m[RECORD].replace(b"-0.3333", b"-0.3334")}, "was changed"),
    "a changed picture of a structure": (
        lambda m: {name: content + b"#" * name.endswith(".cif") for name, content in m.items()}, "was changed"),
    "a member too few": (lambda m: without(m, "README.md"), "README.md is missing"),
    "a member too many": (lambda m: {**m, "more.txt": b""}, "more.txt does not belong"),
    "no manifest": (lambda m: without(m, "manifest.json"), "no manifest.json"),
    "a name that leads out": (lambda m: sign({**m, "../evil.json": b"{}"}), "../evil.json"),
    "a name deep inside that leads out": (lambda m: sign({**m, "structures/../../evil": b""}), "names stay inside"),
    "an absolute name": (lambda m: sign({**m, "/etc/evil": b""}), "names stay inside"),
    "a Windows drive": (lambda m: sign({**m, "C:evil": b""}), "names stay inside"),
    "a backslash": (lambda m: sign({**m, "a\\..\\evil": b""}), "names stay inside"),
    "a folder": (lambda m: {**m, "documents/": b""}, "names stay inside"),
    "an unknown kind of document": (lambda m: sign({**m, "documents/macros/x.json": b"{}"}), "unknown kind"),
    "a newer calculation": (lambda m: edit_record(m, lambda c: c.update(schema_version=99)), "schema version 99"),
    "a newer result": (lambda m: edit_result(m, lambda c: c.update(schema_version=99)), "schema version 99"),
    "a newer bundle": (lambda m: edit_manifest(m, lambda c: c.update(schema_version=99)), "schema version 99"),
    "a document without a version": (
        lambda m: edit_record(m, lambda c: c.pop("schema_version")), "schema version None"),
    "true for a version": (lambda m: edit_record(m, lambda c: c.update(schema_version=True)), "schema version True"),
    "other formulas": (lambda m: edit_result(m, lambda c: c.update(formula_version=3)), "formula_version"),
    "another format": (lambda m: edit_manifest(m, lambda c: c.update(format="other")), "format"),
    "an unknown field": (lambda m: edit_record(m, lambda c: c.update(command="rm")), "command"),
    "a class to import": (
        lambda m: edit_record(m, lambda c: c["theory"]["settings"].update({"x": [{"@module": "os"}]})), "@module"),
    "a MongoDB operator": (
        lambda m: edit_record(m, lambda c: c["theory"]["settings"].update({"$where": "1"})), "$where"),
    "a text for a number": (lambda m: edit_record(m, lambda c: c["result"].update(energy_ev="-1.0")), "energy_ev"),
    "a number for a text": (lambda m: edit_record(m, lambda c: c.update(finished_at=1)), "finished_at"),
    "a list of two coordinates": (
        lambda m: edit_record(m, lambda c: c["task"]["structure"]["frac_coords"][0].pop()), "frac_coords"),
    "NaN": (lambda m: replace_text(m, "-0.3333333333333333", "NaN"), "NaN is no number"),
    "Infinity": (lambda m: replace_text(m, "-0.3333333333333333", "-Infinity"), "Infinity is no number"),
    "a number beyond all bounds": (lambda m: replace_text(m, "-0.3333333333333333", "1e999"), "not finite"),
    "a number beyond all bounds in the settings": (lambda m: replace_text(m, "6.0", "1e999"), "not finite"),
    "a huge whole number": (lambda m: replace_text(m, "6.0", "9" * 30), "64 bits"),
    "a whole number of ten thousand digits": (lambda m: replace_text(m, "6.0", "9" * 10_000), "no plain JSON"),
    "a key twice": (lambda m: replace_text(m, '"attempt": 0', '"attempt": 0, "attempt": 1'), "twice"),
    "a nest of mappings": (lambda m: edit_record(m, lambda c: c["theory"]["settings"].update(nest(100))), "deep"),
    "a nest that overflows a parser": (lambda m: sign({**m, RECORD: b"[" * 200_000}), "no plain JSON"),
    "a list for a document": (lambda m: sign({**m, RECORD: b"[1]"}), "schema version None"),
    "no JSON": (lambda m: sign({**m, RECORD: b"energy = 1"}), "no plain JSON"),
    "no UTF-8": (lambda m: sign({**m, RECORD: b"\xff\xfe"}), "no plain JSON"),
    "a calculation under another key": (lambda m: edit_record(m, lambda c: c.update(key="0" * 64)), "belongs into"),
    "a result under another name": (lambda m: edit_result(m, lambda c: c.update(id="other")), "belongs into"),
    "a calculation that is left out": (lambda m: sign(without(m, RECORD)), f"calculation {KEY} is missing"),
    "a calculation of no result": (
        lambda m: edit_result(m, lambda c: c.update(calculations={})), "belongs to no result"),
    "a result that is left out": (lambda m: sign(without(m, result_name(m))), "not the results named"),
    "a member named twice in the manifest": (
        lambda m: edit_manifest(m, lambda c: c["members"].append(c["members"][0])), "names a member twice"),
    "a manifest without results": (lambda m: edit_manifest(m, lambda c: c.update(results=[])), "results"),
    "a checksum that is none": (
        lambda m: edit_manifest(m, lambda c: c["members"][0].update(sha256="x")), "sha256"),
}  # fmt: skip


def assert_refused(path: Path, expected: str) -> None:
    """The command refuses in four parts; neither a folder nor a file appears."""
    results = path.parent / "restored"
    before = sorted(path.parent.rglob("*"))
    refused = qdip("import-bundle", path, "--results", results, check=False)
    assert_four_parts(refused, expected)
    assert sorted(path.parent.rglob("*")) == before
    assert "nothing was written" in refused.stderr


def test_a_good_bundle_is_read(bundle: Path) -> None:
    assert read_bundle(bundle).evidence.calculations == (make_record(),)


@pytest.mark.parametrize("change", CHANGES, ids=lambda name: name.replace(" ", "-"))
def test_a_changed_bundle_is_refused(bundle: Path, tmp_path: Path, change: str) -> None:
    spoil, expected = CHANGES[change]
    assert_refused(write_members(tmp_path / "bad.zip", spoil(read_members(bundle))), expected)


def test_the_same_members_in_another_order_and_packed_are_read(bundle: Path, tmp_path: Path) -> None:
    members = dict(reversed(read_members(bundle).items()))
    packed = write_members(tmp_path / "packed.zip", members, method=ZIP_DEFLATED)
    assert read_bundle(packed).evidence == read_bundle(bundle).evidence


def test_a_name_that_is_there_twice_is_refused(bundle: Path, tmp_path: Path) -> None:
    shutil.copy(bundle, tmp_path / "bad.zip")
    with pytest.warns(UserWarning, match="Duplicate name"), ZipFile(tmp_path / "bad.zip", "a") as target:
        target.writestr(RECORD, b"{}")
    assert_refused(tmp_path / "bad.zip", "there twice")


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFDIR])
def test_links_devices_and_folders_are_refused(bundle: Path, tmp_path: Path, kind: int) -> None:
    shutil.copy(bundle, tmp_path / "bad.zip")
    special = ZipInfo("structures/link")
    special.external_attr = (kind | 0o777) << 16
    with ZipFile(tmp_path / "bad.zip", "a") as target:
        target.writestr(special, "/etc/passwd")
    assert_refused(tmp_path / "bad.zip", "no ordinary file")


def patch_headers(path: Path, name: str, *, local: int, central: int, layout: str, value: int) -> None:
    """Write a value into both headers of a member, at the given places after their signatures."""
    data = bytearray(path.read_bytes())
    for signature, place, name_place in ((b"PK\x03\x04", local, 30), (b"PK\x01\x02", central, 46)):
        start = data.find(signature)
        while data[start + name_place : start + name_place + len(name)] != name.encode():
            start = data.find(signature, start + 1)
            assert start >= 0
        struct.pack_into(layout, data, start + place, value)
    path.write_bytes(data)


set_flags = partial(patch_headers, local=6, central=8, layout="<H")
set_method = partial(patch_headers, local=8, central=10, layout="<H")
set_length = partial(patch_headers, local=22, central=24, layout="<I")


def test_an_encrypted_bundle_is_refused(bundle: Path, tmp_path: Path) -> None:
    shutil.copy(bundle, tmp_path / "bad.zip")
    set_flags(tmp_path / "bad.zip", RECORD, value=1)
    assert_refused(tmp_path / "bad.zip", "encrypted")


def test_an_uncommon_packing_is_refused(bundle: Path, tmp_path: Path) -> None:
    members = read_members(bundle)
    assert_refused(write_members(tmp_path / "bad.zip", members, method=ZIP_BZIP2), "stored or deflated")


def deflate_zeros(n_mebibytes: int) -> bytes:
    """Return the packed form of so many MiB of zeros; one packed MiB is repeated."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    piece = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    return piece * n_mebibytes + zlib.compressobj(9, zlib.DEFLATED, -15).flush()


def write_bomb(path: Path, members: Members, *, n_mebibytes: int, stated_bytes: int) -> Path:
    """Write a bundle whose README unpacks to so many MiB and says that it has another length."""
    write_members(path, {**members, "README.md": deflate_zeros(n_mebibytes)})
    set_method(path, "README.md", value=ZIP_DEFLATED)
    set_length(path, "README.md", value=stated_bytes)
    return path


@pytest.mark.parametrize("n_mebibytes", [2048, 4095])
def test_a_member_of_two_gigabytes_is_refused_before_it_is_read(bundle: Path, tmp_path: Path, n_mebibytes: int) -> None:
    bomb = write_bomb(
        tmp_path / "bad.zip", read_members(bundle), n_mebibytes=n_mebibytes, stated_bytes=n_mebibytes << 20
    )
    assert bomb.stat().st_size < 5_000_000
    assert_refused(bomb, f"at most {MAX_MEMBER_BYTES / 1e6:.0f} MB each")


def test_a_member_that_understates_its_length_is_refused(bundle: Path, tmp_path: Path) -> None:
    assert_refused(
        write_bomb(tmp_path / "bad.zip", read_members(bundle), n_mebibytes=2048, stated_bytes=1000), "damaged"
    )


def test_a_member_that_expands_too_much_is_refused(bundle: Path, tmp_path: Path) -> None:
    bomb = write_bomb(tmp_path / "bad.zip", read_members(bundle), n_mebibytes=60, stated_bytes=60 << 20)
    assert_refused(bomb, "times its packed length")


def test_many_large_members_are_refused_together(bundle: Path, tmp_path: Path) -> None:
    members = read_members(bundle)
    path = write_members(tmp_path / "bad.zip", {**members, **{f"more-{n}": b"x" for n in range(11)}})
    for n in range(11):
        set_length(path, f"more-{n}", value=99_000_000)
    assert_refused(path, "it unpacks to 10")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "does not end as a zip file"),
        (b"PK\x03\x04", "does not end as a zip file"),
        (b"schema_version: 1\nname: study\n" * 10, "does not end as a zip file"),
        (b"PK\x05\x06" + bytes(18), "no manifest.json"),
        (b"PK\x05\x06" + bytes(8) + b"\xff\xff\xff\xff" + bytes(6), "table of contents is too long"),
        (b"PK\x06\x07" + bytes(16) + b"PK\x05\x06" + bytes(18), "table of contents is too long"),
    ],
    ids=["empty", "header-only", "a-study", "empty-zip", "huge-directory", "zip64"],
)
def test_what_is_no_bundle_is_refused(tmp_path: Path, content: bytes, expected: str) -> None:
    (tmp_path / "bad.zip").write_bytes(content)
    assert_refused(tmp_path / "bad.zip", expected)


def test_a_truncated_bundle_is_refused(bundle: Path, tmp_path: Path) -> None:
    content = bundle.read_bytes()
    (tmp_path / "bad.zip").write_bytes(content[: len(content) // 2])
    assert_refused(tmp_path / "bad.zip", "does not end as a zip file")


def test_a_bundle_with_a_comment_is_refused(bundle: Path, tmp_path: Path) -> None:
    shutil.copy(bundle, tmp_path / "bad.zip")
    with ZipFile(tmp_path / "bad.zip", "a") as target:
        target.comment = b"hello"
    assert_refused(tmp_path / "bad.zip", "without a comment")


def test_a_file_that_does_not_exist_is_explained(tmp_path: Path) -> None:
    refused = qdip("import-bundle", tmp_path / "none.zip", "--results", tmp_path / "restored", check=False)
    assert_four_parts(refused, "correct the path")
    assert list(tmp_path.iterdir()) == []


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_flipped_byte_never_changes_what_is_read(bundle: Path, tmp_path: Path, data: st.DataObject) -> None:
    good = bundle.read_bytes()
    place, value = data.draw(st.integers(0, len(good) - 1)), data.draw(st.integers(0, 255))
    (tmp_path / "flipped.zip").write_bytes(good[:place] + bytes([value]) + good[place + 1 :])
    try:
        read = read_bundle(tmp_path / "flipped.zip")
    except ResultsError:
        return
    assert read.evidence == read_bundle(bundle).evidence


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("FileNotFoundError: '/home/someone/run/INCAR'", "FileNotFoundError: 'INCAR'"),
        ("/data/crystals/mixed.cif", "mixed.cif"),
        ("C:\\Users\\someone\\mixed.cif", "mixed.cif"),
        ("see ~/notes/run.log, line 3", "see run.log, line 3"),
        ("file:///home/someone/x.cif", "file://x.cif"),
        ("interface PbTe(100)//CsPbI3-alpha(100)", "interface PbTe(100)//CsPbI3-alpha(100)"),
        ("PbI2 / FAI in eV/f.u. and meV/Å²", "PbI2 / FAI in eV/f.u. and meV/Å²"),
        ("structures/own.cif", "structures/own.cif"),
        ("https://www.optimade.org/specification", "https://www.optimade.org/specification"),
    ],
)
def test_absolute_paths_become_file_names_and_nothing_else_changes(text: str, expected: str) -> None:
    record = make_record(failure=text, result=None)
    assert hide_paths(record) == make_record(failure=expected, result=None)


def test_numbers_survive_a_bundle_bit_by_bit(bundle: Path) -> None:
    (record,) = read_bundle(bundle).evidence.calculations
    assert record.result is not None
    assert struct.pack("<d", record.result.energy_ev) == struct.pack("<d", -1.0 / 3.0)

"""Three hundred hostile inputs: each is refused clearly or harmless, none takes longer than 5 s."""

# ruff: noqa: E501 (one attack beside the other)

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest

from qdip_dft.errors import QdipError
from qdip_dft.library.reading import read_structure
from qdip_dft.planning.campaign import read_studies
from qdip_dft.planning.study_files import read_study
from qdip_dft.results.bundle_reading import read_bundle
from qdip_dft.results.migrations import read_calculation, read_registry_scan, read_stabilization, read_temperature
from qdip_dft.results.query import make_filter
from qdip_dft.storage.location import open_results
from qdip_dft.storage.mongo_address import require_folder_name

Attack = Callable[[Path], object]

LIMIT_S = 5.0
GOLDEN = Path(__file__).parents[1] / "data" / "golden"
TOY_STUDY = (Path(__file__).parents[1] / "data" / "toy-study.yaml").read_text(encoding="utf-8")

SCALARS: tuple[object, ...] = (
    None, True, -1, 0, 10**400, -(10**30), 1e308, float("nan"), float("inf"), "", "\0", "\x1b[2J", "../../etc/passwd",
    "=cmd|' /C calc'!A0", "A" * 100_000, "${jndi:ldap://x}", "{{7*7}}", "'; DROP TABLE calculations; --", "\ud83d",
    [], {}, [[]] * 1000, {"@module": "os", "@class": "system"}, {"$where": "1"},
)  # fmt: skip


def deep(opening: str, closing: str, levels: int = 50_000) -> str:
    return opening * levels + closing * levels


YAML_TEXTS = (
    deep("[", "]"), deep("{a: ", "}", 20_000), "- " * 20_000, "a: &a [*a, *a]", "&a {b: *a}", "!!python/object/apply:os.system [id]",
    "!!python/name:os.system", "%YAML 9.9\n---\na", "a: 1\na: 2", "\t- a", "? [a, b]\n: c", "a: !!binary ////", "a: 0x" + "f" * 5000,
    "a: " + "9" * 5000, "a: 1e99999", "a: .inf", "a: 1:2:3:4", "--- a\n--- b", "{" * 1000, "'" * 999, "\x00\x01\x02", "\ufeff: 1", "a: |\n " + "b" * 10**6,
    "x: &x " + "[" + ",".join(["1"] * 1000) + "]\ny: [" + ",".join(["*x"] * 1000) + "]", "", "null", "42", "just text", "a: b: c", "@", "`", "*unknown",
    *(TOY_STUDY.replace("PbTe", json.dumps(value)) for value in ("../PbTe", "PbTe\0", "\x1b[2J", "/etc/passwd", "/dev/zero", "~root", "a" * 300, "")),
    *(TOY_STUDY.replace("max_area_ang2: 100", f"max_area_ang2: {value}") for value in ("1e308", "-1", ".nan", "9" * 400, "[]", "'100'", "!!float x")),
    *(TOY_STUDY.replace("vacuum_ang: 12", f"vacuum_ang: {value}") for value in ("-12", "1e9", ".inf", "null", "{}", "12 Å")),
    *(TOY_STUDY.replace("name: toy-study", f"name: {value}") for value in ('"../up"', '"a/b"', '"\\e[2J"', '"-rf"', '"."', "con\n", '"' + "n" * 200 + '"')),
)  # fmt: skip

STRUCTURES = (
    "", "data_\n", "data_x\nloop_\n", "\0" * 1000, "data_x\n_cell_length_a 1e400\n", "data_x\n_cell_length_a ?\n_cell_length_b .\n",
    "data_x\n" + "loop_\n_a\n" * 2000, "Pb\n1.0\n1 0 0\n0 1 0\n0 0 0\nPb\n1\nDirect\n0 0 0\n", "Pb\n-1e300\n1 0 0\n0 1 0\n0 0 1\nPb\n1\nDirect\n0 0 0\n",
    "Pb\n1.0\n9 0 0\n0 9 0\n0 0 9\nPb\n999999999\nDirect\n0 0 0\n", "Pb\n1.0\nnan 0 0\n0 9 0\n0 0 9\nPb\n1\nDirect\n0 0 0\n",
    "Pb\n1.0\n9 0 0\n0 9 0\n0 0 9\nXx\n1\nDirect\n0 0 0\n", "Pb\n1.0\n9 0 0\n0 9 0\n0 0 9\nPb\n2\nDirect\n0 0 0\n0 0 0\n",
    "1\nLattice=\"nan 0 0 0 1 0 0 0 1\" Properties=species:S:1:pos:R:3\nPb 0 0 0\n", "99999999\nx\nPb 0 0 0\n", "-1\nx\n",
    "1\nLattice=\"9 0 0 0 9 0 0 0 9\" Properties=species:S:1:pos:R:999999999\nPb 0 0 0\n", "{" * 5000, "[" * 100_000,
    '{"@module": "os", "@class": "system"}', '{"lattice": 1}', "<xml/>", "A" * 10**6, "\ufeffdata_x", "data_x\n_symmetry_space_group_name_H-M 'P 999'\n",
)  # fmt: skip

FILTERS = (
    "", "(", ")" * 1000, "(" * 10_000, "not " * 10_000, "a = " + "9" * 5000, "a = 1e99999", "total < nan", "$where = '1'", "a.$b = 1", "'; DROP TABLE x; --",
    "a = 'unterminated", "a == 1", "a = 1 and", "and", "a in (", "a = \"\0\"", "level = '\x1b[2J'", "a" * 100_000, " = 1", "a = b = c", "1 = 1 or 1 = 1",
    "__class__ = 1", "a.b.c.d.e.f.g.h.i.j = 1", "a = 'x' " + "or a = 'x' " * 5000, "\ud83d = 1", "total < 0; total > 0", "total <> 0", "☃ = 1", "a = -",
)  # fmt: skip

ADDRESSES = (
    "mongodb://user:SECRET@", "mongodb://user:SECRET@host:99999/x", "mongodb://user:SECRET@host/", "mongodb:///x", "mongodb://", "mongodb+srv://user:SECRET@x/y",
    "http://user:SECRET@example.org/x", "ftp://user:SECRET@x", "file:///etc/passwd", "sqlite:///x", "://SECRET", "mongodb://user:SECRET@host/a/b",
    "mongodb://user:SECRET@host/$x", "mongodb://user:SECRET@h/x?ssl=maybe&SECRET=1", "MONGODB://user:SECRET@host/x", "mongo db://user:SECRET@x", "\0", "a\0b",
    "mongodb://user:SE%ZZCRET@host/x", "mongodb://user:SECRET@[::1/x", "s3://user:SECRET@bucket", "postgresql://user:SECRET@h/x", "javascript://SECRET", "x" * 5000,
)  # fmt: skip

BUNDLES: tuple[dict[str, bytes], ...] = (
    {}, {"manifest.json": b""}, {"manifest.json": b"{}"}, {"manifest.json": b"[" * 100_000}, {"manifest.json": b"9" * 100_000}, {"manifest.json": b"\xff" * 100},
    {"../evil": b"x"}, {"/etc/passwd": b"x"}, {"C:\\evil": b"x"}, {"a/../../b": b"x"}, {"manifest.json": b'{"schema_version": 999}'},
    {"manifest.json": b'{"schema_version": 1, "members": []}'}, {"manifest.json": b'{"@module": "os"}'}, {"manifest.json": b'{"a": 1, "a": 2}'},
    {"manifest.json": b'{"a": NaN}'}, {"manifest.json": b'{"a": 1e999}'}, {"manifest.json": b'{"a": ' + b"9" * 50_000 + b"}"}, {"\x1b[2J": b"x"},
    {"manifest.json": b'{"\\u0000": 1}'}, {"manifest.json": b"null"},
)  # fmt: skip

READERS = {
    "calculation-3-toy": read_calculation,
    "screening-1-toy": read_registry_scan,
    "stabilization-4-quickstart": read_stabilization,
    "temperature-2-toy": read_temperature,
}


def spoil_document(name: str, number: int) -> Callable[[], object]:
    """Return the reading of a real document in which one value, anywhere, became another."""
    chance = random.Random(f"{name} {number}")
    document = json.loads((GOLDEN / f"{name}.json").read_text(encoding="utf-8"))
    holder, key = chance.choice(list(list_places(document)))
    holder[key] = chance.choice(SCALARS)
    return lambda: READERS[name](document)


def list_places(value: object) -> Iterator[tuple[dict[object, object] | list[object], object]]:
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in pairs:
        yield value, key  # type: ignore[misc]
        yield from list_places(part)


def write(path: Path, text: str) -> str:
    path.write_bytes(text.encode("utf-8", errors="surrogatepass"))
    return str(path)


def pack(path: Path, members: dict[str, bytes]) -> Path:
    with ZipFile(path, "w") as bundle:
        for name, content in members.items():
            bundle.writestr(name, content)
    return path


def list_inputs() -> Iterator[tuple[str, Attack]]:
    """Name and action of every attack; an action gets a folder of its own."""
    yield from name_attacks("study", YAML_TEXTS, lambda text, place: read_study(write(place / "s.yaml", text)))
    yield from name_attacks("campaign", YAML_TEXTS[:20], lambda text, place: read_all(write(place / "c.yaml", text)))
    for kind in ("cif", "vasp", "xyz"):
        yield from name_attacks(
            kind, STRUCTURES, lambda text, place, kind=kind: read_crystal(place / f"x.{kind}", text)
        )
    yield from name_attacks("filter", FILTERS, lambda text, _: make_filter(text))
    yield from name_attacks("address", ADDRESSES, lambda text, _: open_address(text))
    yield from name_attacks("bundle", BUNDLES, lambda members, place: read_bundle(pack(place / "b.zip", members)))
    for name in READERS:
        yield from name_attacks(name, range(20), lambda number, _, name=name: spoil_document(name, number)())


def name_attacks(kind: str, inputs: Iterable[Any], act: Callable[..., object]) -> Iterator[tuple[str, Attack]]:
    for number, each in enumerate(inputs):
        yield f"{kind} {number}", partial(act, each)


def read_all(path: str) -> list[object]:
    return list(read_studies(path))


def read_crystal(path: Path, text: str) -> object:
    return read_structure(Path(write(path, text)))


def open_address(text: str) -> object:
    require_folder_name(text)
    return open_results(text)


INPUTS = dict(list_inputs())


def test_there_are_three_hundred_of_them() -> None:
    assert len(INPUTS) >= 300


@pytest.mark.parametrize("name", INPUTS)
def test_a_hostile_input_is_refused_clearly_or_harmless(name: str, tmp_path: Path) -> None:
    start_s = time.process_time()
    refusal = find_refusal(INPUTS[name], tmp_path)
    assert time.process_time() - start_s < LIMIT_S
    if refusal is not None:
        assert all((refusal.what, refusal.limit, refusal.why, refusal.remedy))
        assert len(str(refusal)) < 5000
        assert "SECRET" not in str(refusal)


def find_refusal(attack: Attack, place: Path) -> QdipError | None:
    try:
        attack(place)
    except QdipError as error:
        return error
    return None

"""Every reader of files and texts from outside, fed with damaged ones for a bounded time: refused clearly, or read.

A second for each reader (``QDIP_FUZZ_S``), from a fixed seed (``QDIP_FUZZ_SEED``), and no more files on a fast processor
than were tried on a slow one.  Outputs of codes have a test of their
own (test_mutated_outputs.py), which also holds what is still read against the truth.
"""

# ruff: noqa: E501 (one reader beside the other)

from __future__ import annotations

import json
import lzma
import os
import random
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from ase.build import bulk, molecule
from ase.io import write
from pymatgen.core.interface import Interface
from pymatgen.core.surface import SlabGenerator
from pymatgen.io.ase import AseAtomsAdaptor

from qdip_dft.cluster.batch_job import parse_walltime_s
from qdip_dft.cluster.folder import read_settings
from qdip_dft.cluster.resources import Scheduler, read_resources
from qdip_dft.errors import QdipError
from qdip_dft.execution.run_notes import read_run_notes
from qdip_dft.library.crystals import read_molecule
from qdip_dft.library.reading import read_structure
from qdip_dft.model.miller import parse_hkl
from qdip_dft.planning.campaign import read_studies
from qdip_dft.planning.interface_files import read_interface_file
from qdip_dft.results.bundle_reading import read_bundle
from qdip_dft.results.migrations import read_record, read_stabilization, read_temperature
from qdip_dft.results.query import make_filter
from qdip_dft.results.structure_export import read_labelled
from qdip_dft.runtime.journal import append_entry, read_entries
from qdip_dft.storage.checkup import check_folder
from qdip_dft.storage.mongo_address import read_address
from qdip_dft.storage.results_folder import ResultsFolder, open_archive

BUDGET_S = float(os.environ.get("QDIP_FUZZ_S", "1"))
SEED = int(os.environ.get("QDIP_FUZZ_SEED", "1"))
MOST_READ = int(1000 * BUDGET_S)
LIMIT_S = 5.0

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "data" / "golden"
WORDS = (
    b"\0", b"\xff\xfe", b"nan", b"-inf", b"1e999", b"9" * 400, b"-1", b"0", b"''", b'"', b"{", b"]" * 50, b"[" * 3000,
    b"{" * 3000, b"[" * 3000 + b"]" * 3000, b"{a: " * 3000 + b"}" * 3000, b"&a [*a, *a]", b"!!python/object:os.system x", b"../../x", b"\x1b[2J", b"\xe2\x80\xae", b"null", b"true",
    b"data_x", b"loop_", b"\n\n", b"\t", b": ", b"#", b"@module", b"$where", b"1-400", b"::", b"%00", b"e", b",", b"\\",
)  # fmt: skip

Read = Callable[[Path], object]


def mutate(sources: Sequence[bytes], chance: random.Random) -> bytes:
    """Damage one of the seeds in one to four places: cut out, put in, repeat, exchange for a part of another one."""
    content = chance.choice(sources)
    for _ in range(chance.randint(1, 4)):
        place, size = chance.randrange(len(content) + 1), chance.choice((1, 1, 4, 40, 4000))
        other = chance.choice(sources)
        start = chance.randrange(len(other) + 1)
        new = chance.choice((
            b"", b"", chance.choice(WORDS), chance.choice(WORDS), chance.choice(WORDS), str(chance.randrange(100)).encode(),
            chance.randbytes(1), content[place : place + 2 * size], other[start : start + size],
        ))  # fmt: skip
        end = chance.choice((place, place + size, place + size, len(content)))
        content = content[:place] + new + content[end:]
    return content


def read_texts(path: Path) -> str:
    return path.read_bytes().decode(errors="replace")


def read_document(path: Path) -> object:
    try:
        document: Any = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return None
    if not isinstance(document, dict):
        return None
    readers = (read_stabilization, read_temperature, read_record)
    return [_try_out(lambda _, read=read: read(document), path) for read in readers]


def read_results(path: Path) -> object:
    folder = ResultsFolder(path.parent)
    archive = open_archive(folder)
    try:
        list(check_folder(folder, archive))
        return list(archive.list_stabilizations()), list(archive.list_calculations())
    finally:
        archive.close()


def read_notes(path: Path) -> object:
    notes = read_run_notes(path.parent)
    return None if notes is None else notes.is_alive


def _files(*patterns: str) -> tuple[bytes, ...]:
    return tuple(path.read_bytes() for pattern in patterns for path in sorted(ROOT.glob(pattern))[:6])


def _texts(*texts: str) -> tuple[bytes, ...]:
    return tuple(text.encode() for text in texts)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Seeds of kinds that no file of the repository has."""
    folder = tmp_path_factory.mktemp("seeds")
    salt = bulk("NaCl", "rocksalt", a=5.64)
    write(folder / "POSCAR", salt, format="vasp")
    write(folder / "salt.xyz", salt, format="extxyz")
    write(folder / "molecule.xyz", molecule("NH3"), format="xyz")
    film, substrate = (
        SlabGenerator(AseAtomsAdaptor.get_structure(salt), (0, 0, 1), 5.0, 10.0).get_slab() for _ in "ab"
    )
    interface = Interface.from_slabs(substrate, film)
    (folder / "interface.json").write_text(json.dumps(interface.as_dict()), encoding="utf-8")
    for number in range(5):
        append_entry(folder / "entries.jsonl", [number, 0.1 * number, "text"])
    packed = {"qdip.sqlite": "quickstart-results-3.sqlite.xz", "bundle.zip": "quickstart-bundle-3.zip.xz"}
    kept = {name: lzma.decompress((GOLDEN / "results" / file).read_bytes()) for name, file in packed.items()}
    return kept | {path.name: path.read_bytes() for path in folder.iterdir()}


READERS: dict[str, tuple[str, Read, tuple[bytes, ...] | tuple[str, ...]]] = {
    "study": ("study.yaml", lambda path: list(read_studies(str(path))), _files("tests/data/*.yaml", "workflows/*.yaml")),
    "campaign": ("c.yaml", lambda path: list(read_studies(str(path))), _files("tests/cluster/*campaign.yaml", "workflows/campaigns/*.yaml")),
    "CIF": ("x.cif", read_structure, _files("structures/P*.cif", "structures/*alpha.cif")),
    "POSCAR": ("POSCAR", read_structure, ("POSCAR",)),
    "extended XYZ": ("x.xyz", read_labelled, ("salt.xyz",)),
    "molecule": ("m.xyz", lambda path: read_molecule(path, 1), ("molecule.xyz",)),
    "interface": ("i.json", read_interface_file, ("interface.json",)),
    "document": ("d.json", read_document, _files("tests/data/golden/*-toy.json")),
    "bundle": ("b.zip", read_bundle, ("bundle.zip",)),
    "results file": ("qdip.sqlite", read_results, ("qdip.sqlite",)),
    "checkpoint": ("entries.jsonl", lambda path: list(read_entries(path)), ("entries.jsonl",)),
    "run notes": ("run.json", read_notes, _texts('{"process_id": 4000000, "host": "localhost", "started_at": "2026", "study": {}}')),
    "filter": ("f", lambda path: make_filter(read_texts(path)), _texts('total < 0 and level = "dft"', "not (dot in ['PbS', 'PbSe'] or sigma is missing)")),
    "address": ("a", lambda path: read_address(read_texts(path)), _texts("mongodb://db.example.org:27017/group?tls=true", "mongodb+srv://u@h/n")),
    "plane": ("p", lambda path: parse_hkl(read_texts(path)), _texts("111", "1 -1 0", "(1-10)", "11 0 0", "[1, 0, 0]")),
    "resources": ("r.yaml", read_resources, _texts("scheduler: PBS\nlarge_from_atoms: 50\nclasses: {mlip: {walltime_h: 4, memory_gb: 4}}\n")),
    "cluster folder": ("my_fworker.yaml", read_settings, _files("fireworks_config/*.yaml", "fireworks_config/worker/*.yaml")),
    "wall time": ("w", lambda path: parse_walltime_s(read_texts(path), Scheduler.SLURM), _texts("1-12:30", "24:00:00", "30")),
}  # fmt: skip
"""The name of the file, its reader, and the seeds: contents, or names of files that the tests have written."""


def _try_out(read: Read, path: Path) -> object:
    """Read; an error of ours is an answer."""
    try:
        return read(path)
    except QdipError as error:
        return error


@pytest.mark.parametrize("name", READERS)
def test_a_damaged_input_is_read_or_refused_in_our_words(name: str, written: dict[str, bytes], tmp_path: Path) -> None:
    file_name, read, seeds = READERS[name]
    contents = [seed if isinstance(seed, bytes) else written[seed] for seed in seeds]
    chance, end_s, n_read = random.Random(f"{SEED} {name}"), time.monotonic() + BUDGET_S, 0
    while n_read < 5 or (time.monotonic() < end_s and n_read < MOST_READ):
        path = tmp_path / str(n_read) / file_name
        path.parent.mkdir()
        content = mutate(contents, chance)
        path.write_bytes(content)
        started_s = time.process_time()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                _try_out(read, path)
        except Exception as error:
            error.add_note(f"{name}, seed {SEED}, number {n_read}: {content[:2000]!r}")
            raise
        assert time.process_time() - started_s < LIMIT_S, content[:2000]
        n_read += 1

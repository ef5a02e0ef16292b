"""The command line as a user meets it: results, repetition, interruptions, refusals."""

from __future__ import annotations

import json
import os
import random
import resource
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import pytest

from qdip_dft.model.registry import RegistryScanTask
from qdip_dft.model.term_names import TERM_FIELDS, TOTAL_FIELD
from qdip_dft.storage.results_folder import ResultsFolder, open_archive
from tests.command_line import QDIP, Outcome, assert_four_parts, qdip

TOY_STUDY = Path(__file__).parents[1] / "data" / "toy-study.yaml"
TERMS = (*TERM_FIELDS, TOTAL_FIELD)
N_CALCULATIONS = 27


@pytest.fixture(scope="module")
def finished_results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    results = tmp_path_factory.mktemp("finished") / "results"
    qdip("run", TOY_STUDY, "--results", results)
    return results


def read_report(results: Path) -> dict[str, object]:
    report: dict[str, object] = json.loads(qdip("report", "toy-study", "--results", results, "--json").stdout)
    return report


def stored_times(results: Path) -> dict[str, str]:
    """Return when each stored calculation was finished, by key."""
    archive = open_archive(ResultsFolder(results))
    records = (*archive.list_calculations(), *archive.list_registry_scans())
    return {record.key: record.finished_at for record in records}


def test_a_study_ends_in_four_terms_that_add_up(finished_results: Path) -> None:
    report = read_report(finished_results)
    entries = [*report["phases"].values(), report["stabilization"]]
    assert len(entries) == 3
    for entry in entries:
        assert sum(entry[name] for name in TERM_FIELDS) == pytest.approx(entry["total_ev_per_fu"], abs=1e-9)


def test_a_report_says_its_level_units_and_sign(finished_results: Path) -> None:
    report = read_report(finished_results)
    assert report["level"] == "test"
    assert "negative" in report["sign_convention"]
    assert report["units"]["_ev_per_fu"].startswith("eV per formula unit")


def test_the_stabilization_is_black_minus_competitor(finished_results: Path) -> None:
    report = read_report(finished_results)
    black, competitor = report["phases"]["CsPbI3-alpha"], report["phases"]["CsPbI3-beta"]
    for name in TERMS:
        assert report["stabilization"][name] == pytest.approx(black[name] - competitor[name], abs=1e-12)


def test_the_report_files_are_written(finished_results: Path) -> None:
    folder = finished_results / "reports" / "toy-study"
    assert {path.suffix for path in folder.iterdir()} >= {".json", ".csv", ".png", ".svg"}


def test_the_same_study_again_calculates_nothing(finished_results: Path) -> None:
    before = stored_times(finished_results)
    again = qdip("run", TOY_STUDY, "--results", finished_results)
    assert f"0 calculations made, {N_CALCULATIONS} found" in again.stdout
    assert stored_times(finished_results) == before


def test_a_plan_knows_what_is_stored(finished_results: Path, tmp_path: Path) -> None:
    stored = json.loads(qdip("plan", TOY_STUDY, "--results", finished_results, "--json").stdout)["calculations"]
    fresh = json.loads(qdip("plan", TOY_STUDY, "--results", tmp_path / "none", "--json").stdout)["calculations"]
    assert len(stored) == len(fresh) == N_CALCULATIONS
    assert all(calculation["is_stored"] for calculation in stored)
    assert not any(calculation["is_stored"] for calculation in fresh)
    assert not (tmp_path / "none").exists()


def test_planned_atoms_are_those_that_are_calculated(finished_results: Path) -> None:
    planned = json.loads(qdip("plan", TOY_STUDY, "--results", finished_results, "--json").stdout)["calculations"]
    archive = open_archive(ResultsFolder(finished_results))
    for calculation in planned:
        record = archive.find_record(calculation["key"])
        assert record is not None
        task = record.task
        n_atoms = task.n_atoms if isinstance(task, RegistryScanTask) else task.structure.n_atoms
        assert n_atoms == calculation["n_atoms"]


def test_results_can_be_queried(finished_results: Path) -> None:
    found = json.loads(qdip("query", "--dot", "PbTe", "--results", finished_results, "--json").stdout)
    assert [row["id"] for row in found] == ["toy-study"]
    assert json.loads(qdip("query", "--dot", "PbS", "--results", finished_results, "--json").stdout) == []


def test_ten_kills_lose_and_repeat_nothing(finished_results: Path, tmp_path: Path) -> None:
    """The process is killed at ten random moments; what was stored stays as it was, the numbers are the same."""
    moments = random.Random(20)
    results = tmp_path / "killed"
    known: dict[str, str] = {}
    for kill in range(10):
        process = subprocess.Popen(
            [*QDIP, "run", str(TOY_STUDY), "--results", str(results)],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        if kill % 2:
            _wait_for_one_more(results, len(known), process)
        time.sleep(moments.uniform(0.0, 0.05) if kill % 2 else moments.uniform(0.0, 4.0))
        with suppress(ProcessLookupError):  # it may have ended by itself
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        now = stored_times(results)
        assert {key: now.get(key) for key in known} == known
        known = now
    qdip("run", TOY_STUDY, "--results", results)
    final = stored_times(results)
    assert {key: final[key] for key in known} == known
    assert len(final) == N_CALCULATIONS
    expected, found = read_report(finished_results), read_report(results)
    for name in TERMS:
        for phase in ("CsPbI3-alpha", "CsPbI3-beta"):
            assert found["phases"][phase][name] == pytest.approx(expected["phases"][phase][name], abs=1e-6)


def _wait_for_one_more(results: Path, n_known: int, process: subprocess.Popen[bytes]) -> None:
    """Wait until the run has stored one more calculation, so that ten kills are spread over the study."""
    deadline = time.monotonic() + 120
    while not (results / "qdip.sqlite").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    store = ResultsFolder(results).collection("calculations")
    store.connect()
    while store.count({"output.key": {"$exists": True}}) <= n_known and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    store.close()


def test_a_second_run_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    with ResultsFolder(tmp_path / "busy").lock_for_run():
        refused = qdip("run", TOY_STUDY, "--results", tmp_path / "busy", check=False)
    assert refused.returncode == 2
    assert str(os.getpid()) in refused.stderr


def edited(tmp_path: Path, old: str, new: str) -> Path:
    content = TOY_STUDY.read_text(encoding="utf-8")
    assert old in content
    path = tmp_path / "edited.yaml"
    path.write_text(content.replace(old, new), encoding="utf-8")
    return path


PARTIAL_OCCUPANCY = """data_mixed
_cell_length_a 6.2
_cell_length_b 6.2
_cell_length_c 6.2
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_symmetry_space_group_name_H-M 'P 1'
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_occupancy
Cs1 Cs 0.5 0.5 0.5 1
Pb1 Pb 0 0 0 1
I1 I 0.5 0 0 0.5
Br1 Br 0.5 0 0 0.5
I2 I 0 0.5 0 1
I3 I 0 0 0.5 1
"""


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("CsPbI3-alpha", "CsPbI3-alhpa", "CsPbI3-alpha"),
        ("vacuum_ang", "vaccum_ang", "known keys"),
        ("max_strain: 0.08", "max_strain: 0.0001", "no cell within"),
        ("min_thickness_ang: 6}", "min_thickness_ang: 1}", "thinner than one formula unit"),
        ('facets: ["100"]', 'facets: ["111"]', "passivation"),
        ("name: testing", "name: tetsing", "testing"),
        ("schema_version: 2", "schema_version: 99", "schema_version"),
        ('planes: ["100"]', "planes: [001]", "in quotes"),
        ("role: black", "role: competitor", "at least one black phase"),
    ],
)  # fmt: skip
def test_bad_input_is_refused_in_four_parts(tmp_path: Path, old: str, new: str, expected: str) -> None:
    refused = qdip("run", edited(tmp_path, old, new), "--results", tmp_path / "results", check=False)
    assert_four_parts(refused, expected)


def test_a_structure_with_partial_occupancy_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mixed.cif").write_text(PARTIAL_OCCUPANCY, encoding="utf-8")
    study = edited(tmp_path, "phase: CsPbI3-alpha", f"phase: {tmp_path / 'mixed.cif'}")
    refused = qdip("run", study, "--results", tmp_path / "results", check=False)
    assert_four_parts(refused, "occupan")


def test_a_newer_results_folder_is_refused_and_left_alone(finished_results: Path, tmp_path: Path) -> None:
    import shutil
    import sqlite3

    newer = tmp_path / "newer"
    shutil.copytree(finished_results, newer)
    with sqlite3.connect(newer / "qdip.sqlite") as database:
        database.execute("UPDATE meta SET value = '99' WHERE name = 'schema_version'")
    database.close()
    before = (newer / "qdip.sqlite").read_bytes()
    refused = qdip("run", TOY_STUDY, "--results", newer, check=False)
    assert_four_parts(refused, "99")
    assert (newer / "qdip.sqlite").read_bytes() == before


def test_an_unknown_result_names_those_that_exist(finished_results: Path) -> None:
    refused = qdip("report", "no-such-study", "--results", finished_results, check=False)
    assert_four_parts(refused, "toy-study")


QDIPS = (
    *("structures", "match", "plan", "run", "status", "report", "query", "compare", "atlas", "doctor"),
    *("init-cluster", "submit", "queue", "pause", "resume", "cancel", "rerun", "runner", "reconcile"),
)


@pytest.mark.parametrize("command", QDIPS)
def test_every_command_explains_itself_with_an_example(command: str) -> None:
    text = qdip(command, "--help").stdout
    assert "Example" in text or command == "structures"


def test_matching_prints_cells_as_json() -> None:
    options = ("--max-area", "400", "--max-strain", "0.05", "--json")
    found = json.loads(qdip("match", "PbS", "111", "CsPbI3-alpha", "100", *options).stdout)
    wanted = {"area_ang2", "n_film", "n_dot", "principal_strains", "n_atoms", "is_pareto"}
    assert all(wanted <= set(cell) for cell in found["cells"])
    assert (6, 15) in {(cell["n_film"], cell["n_dot"]) for cell in found["cells"] if cell["is_pareto"]}


def test_terminations_are_listed_as_pairs_of_layers() -> None:
    found = json.loads(qdip("structures", "terminations", "CsPbI3-alpha", "100", "--json").stdout)
    described = {pair["name"]: (pair["is_symmetric"], pair["excess_in_words"]) for pair in found["terminations"]}
    assert described == {
        "CsI|PbI2": (False, "none"),
        "PbI2|CsI": (False, "none"),
        "CsI|CsI": (True, "+1 CsI"),
        "PbI2|PbI2": (True, "+1 PbI2"),
    }
    assert "  operation  +1 CsI" in qdip("structures", "terminations", "CsPbI3-alpha", "100").stdout
    assert "faces differ in dangling bonds" in qdip(
        "structures", "terminations", "CdSe-zincblende", "111"
    ).stdout.replace("\n", " ")


def test_the_strain_is_shared_as_asked_or_by_stiffness() -> None:
    """PbS is three times as stiff as CsPbI3, so the film still takes most of the strain."""
    half, automatic = (
        json.loads(qdip("match", "PbS", "111", "CsPbI3-alpha", "100", "--strain-partition", w, "--json").stdout)
        for w in ("0.5", "auto")
    )
    assert half["cells"][0]["interface_area_ang2"] == pytest.approx(233, abs=0.5)
    assert 0.1 < automatic["strain_partition"] < 0.4
    assert (
        "neither a number"
        in qdip("match", "PbS", "111", "CsPbI3-alpha", "100", "--strain-partition", "x", check=False).stderr
    )


def test_a_full_disk_is_explained_and_keeps_what_is_stored(tmp_path: Path) -> None:
    """A file-size limit stands for the full disk: SQLite cannot grow its file any more."""
    results = tmp_path / "results"

    def limit_file_size() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, 150_000))

    full = subprocess.run(
        [*QDIP, "run", str(TOY_STUDY), "--results", str(results)],
        capture_output=True, text=True, timeout=300, check=False, preexec_fn=limit_file_size,
    )  # fmt: skip
    assert_four_parts(Outcome(full.returncode, full.stdout, full.stderr), "disk", code=3)
    kept = stored_times(results)
    assert kept
    qdip("run", TOY_STUDY, "--results", results)
    assert {key: stored_times(results)[key] for key in kept} == kept


def test_a_result_is_explained(finished_results: Path) -> None:
    shown = qdip("explain", "toy-study", "--results", finished_results).stdout
    assert "What would reverse the answer" in shown
    assert "layer 1, at the dot" in shown
    assert "balanced" in shown
    summary = json.loads(qdip("explain", "toy-study", "--results", finished_results, "--json").stdout)
    assert [film["candidate"] for film in summary["films"]] == [
        "PbTe(100)//CsPbI3-alpha(100)",
        "PbTe(100)//CsPbI3-beta(001)",
    ]

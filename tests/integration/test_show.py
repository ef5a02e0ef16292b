"""`qdip show` and `qdip dot` as a user meets them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from qdip_dft.library.reading import read_structure
from qdip_dft.storage.results_folder import ResultsFolder, open_archive
from tests.command_line import assert_four_parts, qdip

TOY_STUDY = Path(__file__).parents[1] / "data" / "toy-study.yaml"
CAPPED_STUDY = Path(__file__).parents[1] / "cluster" / "toy-study.yaml"
BLACK = "CsPbI3-alpha(100)"


@pytest.fixture(scope="module")
def finished_results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    results = tmp_path_factory.mktemp("finished") / "results"
    qdip("run", TOY_STUDY, "--results", results, "--quiet")
    return results


def show_json(*arguments: object) -> dict[str, object]:
    description: dict[str, object] = json.loads(qdip("show", *arguments, "--json").stdout)
    return description


def is_png(path: Path) -> bool:
    return path.read_bytes().startswith(b"\x89PNG") and path.stat().st_size > 10_000


@pytest.mark.parametrize("name", ["PbS", "FAPbI3-alpha", "CsPbI3-delta"])
def test_a_phase_of_the_library_is_drawn_and_written(tmp_path: Path, name: str) -> None:
    files = [tmp_path / f"{name}{suffix}" for suffix in (".png", ".cif", ".vasp", ".extxyz")]
    description = show_json(name, *(word for path in files for word in ("--output", path)))
    assert is_png(files[0])
    assert description["files"] == [str(path) for path in files]
    for path in files[1:]:
        assert len(read_structure(path)) == description["n_atoms"]


def test_an_interface_is_previewed_before_anything_was_calculated(tmp_path: Path) -> None:
    picture, file = tmp_path / "interface.png", tmp_path / "interface.extxyz"
    results = tmp_path / "none"
    options = ("--candidate", BLACK, "--output", picture, "--output", file, "--results", results)
    description = show_json(TOY_STUDY, *options)
    assert description["state"] == "unrelaxed"
    assert description["candidate"] == f"PbTe(100)//{BLACK}"
    assert set(description["parts"]) == {"dot", "film"}
    assert is_png(picture)
    assert not results.exists()
    again = show_json(file)
    assert again["parts"] == description["parts"]
    for read, written in zip(again["layers"], description["layers"], strict=True):
        assert read["composition"] == written["composition"]
        assert read["height_ang"] == pytest.approx(written["height_ang"], abs=1e-6)


def test_a_preview_has_the_strain_and_area_of_the_plan(tmp_path: Path) -> None:
    planned = json.loads(qdip("plan", TOY_STUDY, "--results", tmp_path / "none", "--json").stdout)
    for candidate in planned["candidates"]:
        shown = show_json(TOY_STUDY, "--candidate", candidate["label"], "--results", tmp_path / "none")
        assert shown["film_principal_strains"] == pytest.approx(candidate["search_strains"], abs=1e-9)
        assert shown["interface_area_ang2"] == pytest.approx(candidate["search_area_ang2"])
        assert shown["area_ang2"] == pytest.approx(shown["interface_area_ang2"])


@pytest.mark.parametrize("study", [CAPPED_STUDY, TOY_STUDY])
def test_the_parts_of_a_candidate_add_up_to_its_interface(tmp_path: Path, study: object) -> None:
    """Under vacuum, and between two dots, where the lowest layer is the first of the dot above the film."""
    shown = {
        part: show_json(study, "--candidate", BLACK, "--part", part, "--results", tmp_path / "none")
        for part in ("interface", "film", "dot", "bulk", "reference")
    }
    assert shown["film"]["n_atoms"] + shown["dot"]["n_atoms"] == shown["interface"]["n_atoms"]
    assert shown["interface"]["parts"] == {"dot": shown["dot"]["n_atoms"], "film": shown["film"]["n_atoms"]}
    assert shown["bulk"]["vacuum_ang"] == shown["reference"]["vacuum_ang"] == 0
    dot, film = (shown[part]["layers"] for part in ("dot", "film"))
    together = [layer["composition"] for layer in shown["interface"]["layers"]]
    assert together == [layer["composition"] for layer in (*dot, *film)]


def test_a_finished_study_is_shown_relaxed(finished_results: Path, tmp_path: Path) -> None:
    file = tmp_path / "relaxed.extxyz"
    shown = show_json(TOY_STUDY, "--candidate", BLACK, "--results", finished_results, "--output", file)
    assert shown["state"] == "relaxed"
    results = [
        record.result.structure
        for record in open_archive(ResultsFolder(finished_results)).list_calculations()
        if record.result is not None and record.task.label == f"interface PbTe(100)//{BLACK}"
    ]
    lattice = read_structure(file).lattice.matrix
    assert any(np.allclose(lattice, result.lattice_ang, atol=1e-6) for result in results)


def test_a_dot_in_a_host_is_written_and_mapped(tmp_path: Path) -> None:
    picture, file = tmp_path / "dot.png", tmp_path / "dot.extxyz"
    options = ("--diameter", 20, "--host", "CsPbI3-alpha", "--output", picture, "--output", file, "--json")
    built = json.loads(qdip("dot", "PbS", *options).stdout)
    assert built["formal_charge"] == 0
    assert built["diameter_ang"] == pytest.approx(20, abs=3.5)
    assert set(built["parts"]) == {"dot", "passivation", "host"}
    assert sum(built["parts"].values()) == built["n_atoms"]
    assert is_png(picture)
    mapped = show_json(file, "--strain-from", "CsPbI3-alpha")
    assert mapped["parts"] == built["parts"]
    assert sum(shell["n_octahedra"] for shell in mapped["strain_shells"]) == len(mapped["octahedra"]) > 50
    assert max(octahedron["von_mises_strain"] for octahedron in mapped["octahedra"]) < 1e-6


def test_a_bare_dot_stands_in_vacuum(tmp_path: Path) -> None:
    built = json.loads(qdip("dot", "PbTe", "--ratio", 0.6, "--passivation", "Br", "--json").stdout)
    assert set(built["composition"]) == {"Pb", "Te", "Br"}
    assert built["vacuum_ang"] == pytest.approx(15)
    assert "von Mises" not in qdip("dot", "PbTe", "--output", tmp_path / "dot.vasp").stdout


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("show", "CsPbI3-alhpa"), "CsPbI3-alpha"),
        (("show", TOY_STUDY), "--candidate"),
        (("show", TOY_STUDY, "--candidate", "no-such"), BLACK),
        (("show", TOY_STUDY, "--candidate", "PbTe"), "2 candidates fit"),
        (("show", "PbS", "--output", "pbs.gif"), ".extxyz"),
        (("show", "PbS", "--output", "/dev/null/pbs.cif"), "write elsewhere"),
        (("show", "PbS", "--strain-from", "CsPbI3-alpha"), "qdip dot --host"),
        (("dot", "CdSe-zincblende"), "rock-salt"),
        (("dot", "PbS", "--passivation", "none"), "halides"),
        (("dot", "PbS", "--diameter", 3), "20 to 60"),
        (("dot", "PbS", "--host", "CsPbI3-alpha", "--host-thickness", 1), "host thickness"),
    ],
)
def test_bad_requests_are_refused_in_four_parts(arguments: tuple[object, ...], expected: str) -> None:
    assert_four_parts(qdip(*arguments, check=False), expected)


def test_nothing_is_written_when_one_of_the_files_has_no_format(tmp_path: Path) -> None:
    refused = qdip("show", "PbS", "--output", tmp_path / "a.cif", "--output", tmp_path / "b.docx", check=False)
    assert refused.returncode == 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["show", "dot"])
def test_the_commands_explain_themselves_with_an_example(command: str) -> None:
    assert "Example" in qdip(command, "--help").stdout

"""`qdip temperature` on a finished study: every calculation once, and every missing number with its reason."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.command_line import assert_four_parts, qdip

TOY_STUDY = Path(__file__).parents[1] / "data" / "toy-study.yaml"


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("temperature") / "results"
    qdip("run", TOY_STUDY, "--results", folder, "--quiet")
    return folder


def ask(results: Path, *more: str) -> dict[str, Any]:
    answer = qdip("temperature", "toy-study", "--results", results, "--min-length", "6", "--to", "300", "--quiet",
                  "--json", *more)  # fmt: skip
    found: dict[str, Any] = json.loads(answer.stdout)
    return found


def test_the_toys_cubic_phases_have_imaginary_modes_and_no_free_energy(results: Path) -> None:
    found = ask(results)
    assert found["temperatures_k"] == [0, 50, 100, 150, 200, 250, 300]
    assert set(found["off_dot"]["lower_ev_per_fu"]) == {None}
    assert "are imaginary" in found["off_dot"]["missing"][0]
    assert all(phase["harmonic"]["imaginary"] for phase in found["phases"] if not phase["is_strained"])


def test_a_second_run_calculates_nothing(results: Path) -> None:
    from qdip_dft.storage.results_folder import ResultsFolder, open_archive

    ask(results)
    before = sum(1 for _ in open_archive(ResultsFolder(results)).list_calculations())
    found = ask(results, "--step", "100")
    assert found["temperatures_k"] == [0, 100, 200, 300]
    assert sum(1 for _ in open_archive(ResultsFolder(results)).list_calculations()) == before


def test_the_table_says_level_sign_and_assumptions(results: Path) -> None:
    shown = qdip("temperature", "toy-study", "--results", results, "--min-length", "6", "--quiet").stdout
    assert "level test" in shown
    assert "negative: black favoured" in shown
    assert "no thermal expansion" in shown
    assert (results / "reports" / "toy-study" / "temperature.svg").exists()


def test_the_stored_document_is_the_printed_one(results: Path) -> None:
    from qdip_dft.results.temperatures import find_temperature
    from qdip_dft.storage.results_folder import ResultsFolder

    printed = ask(results)
    stored = find_temperature(ResultsFolder(results).collection("temperatures"), "toy-study")
    assert stored is not None
    assert stored.model_dump(mode="json") == printed


def test_a_study_without_a_competing_film_is_refused(tmp_path: Path) -> None:
    study = yaml.safe_load(TOY_STUDY.read_text(encoding="utf-8"))
    study |= {"name": "alone", "phases": study["phases"][:1]}
    (tmp_path / "alone.yaml").write_text(yaml.safe_dump(study), encoding="utf-8")
    qdip("run", tmp_path / "alone.yaml", "--results", tmp_path / "results", "--quiet")
    refused = qdip("temperature", "alone", "--results", tmp_path / "results", "--quiet", check=False)
    assert_four_parts(refused, "complete the study with a competing phase")


SAMPLING = ("--sample", "30", "--sample-steps", "100", "--sample-length", "6")


def count_segments(results: Path) -> int:
    from qdip_dft.storage.results_folder import ResultsFolder

    store = ResultsFolder(results).collection("trajectories")
    store.connect()
    return int(store.count())


def test_sampling_gives_the_cubic_phases_a_free_energy(results: Path) -> None:
    found = ask(results, *SAMPLING)
    alpha = next(phase for phase in found["phases"] if phase["subject"] == "CsPbI3-alpha" and not phase["is_strained"])
    (sampled,) = alpha["sampled"]
    assert alpha["harmonic"]["missing"]
    assert sampled["n_replaced"] > 0
    parts = ("static_ev_per_fu", "reference_ev_per_fu", "anharmonic_ev_per_fu", "quantum_ev_per_fu")
    assert sampled["free_energy_ev_per_fu"] == pytest.approx(sum(sampled[part] for part in parts))
    # Both toy perovskites fall into the same tilted crystal, so their free energies agree.
    (difference,), (error,) = (found["sampled_off_dot"][name] for name in ("difference_ev_per_fu", "error_ev_per_fu"))
    assert difference == pytest.approx(0.0, abs=4 * error)


def test_sampling_again_runs_no_trajectory(results: Path) -> None:
    found = ask(results, *SAMPLING)
    # 400 steps of dynamics in segments of 250, and five times 100 steps in segments of 50, for two crystals.
    assert count_segments(results) == 2 * (2 + 5 * 2)
    assert ask(results, *SAMPLING)["sampled_off_dot"] == found["sampled_off_dot"]
    assert count_segments(results) == 2 * (2 + 5 * 2)


def test_a_run_of_sampling_that_was_killed_goes_on(results: Path, tmp_path: Path) -> None:
    import shutil

    from qdip_dft.storage.results_folder import ResultsFolder

    found = ask(results, *SAMPLING)
    cut = shutil.copytree(results, tmp_path / "cut")
    store = ResultsFolder(cut).collection("trajectories")
    store.connect()
    store.remove_docs({"index": 1})
    assert count_segments(cut) == 2 * (1 + 5)
    again = ask(cut, *SAMPLING)["sampled_off_dot"]["difference_ev_per_fu"]
    assert again == pytest.approx(found["sampled_off_dot"]["difference_ev_per_fu"], abs=1e-6)


def test_the_plan_of_sampling_runs_nothing(results: Path) -> None:
    before = count_segments(results)
    shown = qdip("temperature", "toy-study", "--results", results, "--sample", "500", "--plan").stdout
    assert "CsPbI3-alpha at 500 K: 40 atoms, 3600 evaluations" in shown
    assert count_segments(results) == before


def test_a_density_functional_code_is_not_asked_to_sample() -> None:
    from qdip_dft.engines.registry import engine_from_spec
    from qdip_dft.errors import EngineError
    from qdip_dft.execution.sampling import require_potential
    from qdip_dft.model.engine import EngineSpec

    with pytest.raises(EngineError, match="leave --sample out"):
        require_potential(engine_from_spec(EngineSpec(name="gpaw")))

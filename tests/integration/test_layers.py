"""The layers that pictures and reports name are those of the termination in the table, for every ready-made study."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest

from qdip_dft.flows.building import preview_structures
from qdip_dft.flows.steps import Part, StepId, StudySteps
from qdip_dft.model.interface import Candidate
from qdip_dft.model.orientation import FilmTurn
from qdip_dft.model.structure import StructureRecord
from qdip_dft.planning.plan import plan_study
from qdip_dft.planning.study_files import read_study
from qdip_dft.report.structure_scene import find_layers
from qdip_dft.results.structure_export import label_slab

STUDIES = sorted((Path(__file__).resolve().parents[2] / "workflows").glob("*.yaml"))


@cache
def steps_of(path: Path) -> tuple[StudySteps, dict[StepId, StructureRecord]]:
    steps = plan_study(read_study(str(path))).steps
    return steps, preview_structures(steps)


def film_layers(film: StructureRecord, faces: tuple[str, str] | None) -> list[str]:
    labelled = label_slab(film, n_dot=0, passivation=None)
    return [layer.composition for layer in find_layers(labelled, faces=faces)]


def interface_layers(path: Path, candidate: Candidate) -> list[str]:
    steps, structures = steps_of(path)
    ids = steps.relaxations_of(candidate)
    interface, n_dot = structures[ids[Part.INTERFACE]], structures[ids[Part.DOT_SLAB]].n_atoms
    labelled = label_slab(interface, n_dot=n_dot, passivation=candidate.passivation)
    return [layer.composition for layer in find_layers(labelled, faces=candidate.faces)]


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_every_film_shows_the_layers_of_its_termination(path: Path) -> None:
    steps, structures = steps_of(path)
    for candidate in steps.candidates:
        layers = film_layers(structures[steps.relaxations_of(candidate)[Part.FILM_SLAB]], candidate.faces)
        assert f"{layers[0]}|{layers[-1]}" == candidate.termination, candidate.label
        assert interface_layers(path, candidate)[-len(layers) :] == layers, candidate.label


def test_a_film_that_lies_upside_down_is_named_from_the_dot_on() -> None:
    steps, _ = steps_of(next(path for path in STUDIES if path.stem == "quickstart"))
    film = steps.candidates[0]
    turned = film.model_copy(update={"turn": FilmTurn(matrix=((1, 0), (0, -1)))})
    assert turned.turn.is_flipped
    assert turned.faces == film.faces[::-1]
    assert film.faces[0] != film.faces[1]


def test_without_a_termination_layers_are_parted_by_gaps_alone() -> None:
    steps, structures = steps_of(next(path for path in STUDIES if path.stem == "pbs-cspbi3-size"))
    film = steps.candidates[-1]
    slab = structures[steps.relaxations_of(film)[Part.FILM_SLAB]]
    assert film_layers(slab, None)[0] != film.faces[0]
    assert film_layers(slab, film.faces)[0] == film.faces[0]

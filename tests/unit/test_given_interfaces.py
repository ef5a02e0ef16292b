"""Interfaces of pymatgen as phases of a study: what the file says is what is built, or the file is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from pymatgen.core import Lattice
from pymatgen.core.interface import Interface
from pymatgen.core.surface import Slab, SlabGenerator

from qdip_dft.errors import StudyError
from qdip_dft.execution.local import run_study
from qdip_dft.flows.steps import Part
from qdip_dft.model.interface import Candidate
from qdip_dft.planning.plan import StudyPlan, plan_study
from qdip_dft.planning.pymatgen_objects import list_interfaces, make_slab
from qdip_dft.planning.study_files import read_study, write_study

TOY_STUDY = Path(__file__).parents[1] / "cluster" / "toy-study.yaml"
TOY: dict[str, Any] = yaml.safe_load(TOY_STUDY.read_text("utf-8"))


def plan_of(folder: Path, interface: Interface | Slab | None, **changes: Any) -> StudyPlan:
    """The toy study, whose black film is that of a file."""
    black, competitor = TOY["phases"]
    if interface is not None:
        (folder / "mine.json").write_text(json.dumps(interface.as_dict(), default=np.ndarray.tolist), "utf-8")
        black = {**black, "interface": "mine.json"}
    if isinstance(interface, Slab):  # decides about the termination
        del black["termination"]
    (folder / "study.yaml").write_text(yaml.safe_dump({**TOY, "phases": [black, competitor], **changes}), "utf-8")
    return plan_study(read_study(str(folder / "study.yaml")))


def black_of(plan: StudyPlan) -> tuple[Candidate, Interface]:
    candidate = next(each for each in plan.steps.candidates if each.phase == "CsPbI3-alpha")
    return candidate, list_interfaces(plan)[candidate.label]


def displaced(interface: Interface, *, lateral: tuple[float, float], height_ang: float) -> Interface:
    """The interface with its film elsewhere: by parts of the in-plane vectors, and higher by some Å."""
    content = interface.as_dict()
    length = interface.lattice.c
    for site in content["sites"]:
        if site["properties"]["interface_label"] == "film":
            site["abc"] = np.add(site["abc"], [*lateral, height_ang / length]).tolist()
    return Interface.from_dict(content)


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> StudyPlan:
    """The study without a file."""
    return plan_of(tmp_path_factory.mktemp("own"), None)


def test_an_interface_comes_back_as_it_went_in(own: StudyPlan, tmp_path: Path) -> None:
    candidate, interface = black_of(own)
    back, again = black_of(plan_of(tmp_path, interface))
    assert again.frac_coords == pytest.approx(interface.frac_coords, abs=1e-6)
    assert again.lattice.matrix == pytest.approx(interface.lattice.matrix, abs=1e-6)
    assert again.site_properties == interface.site_properties
    assert (back.film_matrix, back.dot_matrix) == (candidate.film_matrix, candidate.dot_matrix)
    assert back.termination == candidate.termination


@pytest.mark.parametrize("lateral", [(0.25, 0.0), (0.5, 0.5), (-0.1, 0.3)])
def test_the_registry_and_the_gap_are_those_of_the_file(
    own: StudyPlan, tmp_path: Path, lateral: tuple[float, float]
) -> None:
    _, interface = black_of(own)
    given = displaced(interface, lateral=lateral, height_ang=0.4)
    _, built = black_of(plan_of(tmp_path, given))
    assert built.gap == pytest.approx(interface.gap + 0.4, abs=1e-6)
    assert [site.specie for site in built] == [site.specie for site in given]
    is_dot = np.array([label == "substrate" for label in built.site_properties["interface_label"]])
    ours, theirs = (np.array(each.cart_coords) - each.cart_coords[is_dot][0] for each in (built, given))
    parts = np.linalg.solve(built.lattice.matrix[:2, :2].T, (ours - theirs)[:, :2].T)
    assert np.abs(parts - np.round(parts)).max() < 1e-6
    assert np.abs((ours - theirs)[:, 2]).max() < 1e-6


def test_the_frame_of_the_file_does_not_matter(own: StudyPlan, tmp_path: Path) -> None:
    """Another orientation in space, another basis in the plane, atoms in other cells, another order, no matrices."""
    given = displaced(black_of(own)[1], lateral=(0.2, 0.1), height_ang=0.2)
    expected, built = black_of(plan_of(tmp_path, given))
    turn, _ = np.linalg.qr(np.random.default_rng(4).normal(size=(3, 3)))
    turn *= np.sign(np.linalg.det(turn))
    basis = np.array([[1, 1, 0], [0, 1, 0], [0, 0, 1]])
    order = np.random.default_rng(2).permutation(len(given))
    frac_coords = (given.frac_coords @ np.linalg.inv(basis) + [0.3, 0.7, 0.45]) % 1.0
    foreign = Interface(
        Lattice(basis @ given.lattice.matrix @ turn),
        [given[index].specie for index in order],
        frac_coords[order],
        site_properties={"interface_label": [given.site_properties["interface_label"][index] for index in order]},
    )
    found, again = black_of(plan_of(tmp_path, foreign))
    assert found.gap_offset_ang == pytest.approx(expected.gap_offset_ang, abs=1e-6)
    assert again.gap == pytest.approx(built.gap, abs=1e-6)
    assert sorted(again.distance_matrix.ravel()) == pytest.approx(sorted(built.distance_matrix.ravel()), abs=1e-4)


def test_an_interface_from_a_file_has_its_four_terms(own: StudyPlan, tmp_path: Path) -> None:
    plan = plan_of(tmp_path, displaced(black_of(own)[1], lateral=(0.5, 0.5), height_ang=0.0))
    (document,) = run_study(plan, results=tmp_path / "results").documents
    answer = document.stabilization
    terms = (answer.bulk_ev_per_fu, answer.strain_ev_per_fu, answer.surface_ev_per_fu, answer.binding_ev_per_fu)
    assert sum(terms) == pytest.approx(answer.total_ev_per_fu, abs=1e-9)
    assert plan.previews[plan.steps.relaxations_of(black_of(plan)[0])[Part.INTERFACE]].n_atoms == len(black_of(own)[1])


def test_a_study_that_is_written_out_holds_the_interface_itself(own: StudyPlan, tmp_path: Path) -> None:
    plan = plan_of(tmp_path, black_of(own)[1])
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "again.yaml").write_text(write_study(plan.study), "utf-8")
    assert read_study(str(tmp_path / "elsewhere" / "again.yaml")) == plan.study


def with_rubidium(interface: Interface) -> Interface:
    changed = interface.copy()
    changed.replace_species({"Cs": "Rb"})
    return changed


def with_a_moved_atom(interface: Interface) -> Interface:
    changed = interface.copy()
    changed.translate_sites([len(interface) - 1], [0.0, 0.0, 1.0 / interface.lattice.c])
    return changed


@pytest.mark.parametrize(
    ("change", "words"), [(with_rubidium, "hold its atoms"), (with_a_moved_atom, "from its place")]
)
def test_an_interface_of_another_crystal_is_refused(own: StudyPlan, tmp_path: Path, change: Any, words: str) -> None:
    with pytest.raises(StudyError, match=f"{words}.*name its planes"):
        _ = plan_of(tmp_path, change(black_of(own)[1])).steps


def test_one_between_two_dots_is_refused(own: StudyPlan, tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="write `environment: capped`"):
        _ = plan_of(tmp_path, black_of(own)[1], environment="embedded").steps


def cut_by_pymatgen(own: StudyPlan, *, lowest: str) -> Slab:
    """The film as pymatgen cuts it from the crystal as filed, on its 1 × 1 cell, with one of its two layers below."""
    candidate = black_of(own)[0]
    bulk = own.crystals[candidate.phase].structure.to_pymatgen()
    lead = next(site.frac_coords for site in bulk if site.specie.symbol == "Pb")
    bulk.translate_sites(range(len(bulk)), np.array([0.1 if lowest == "Pb" else 0.6] * 3) - lead)
    generator = SlabGenerator(bulk, (1, 0, 0), candidate.n_film_planes, 2, in_unit_planes=True, primitive=False)
    return generator.get_slab(0.0)


@pytest.mark.parametrize("environment", ["capped", "embedded"])
def test_a_slab_leaves_the_films_that_it_is(own: StudyPlan, tmp_path: Path, environment: str) -> None:
    candidate, _ = black_of(own)
    slab = make_slab(own, candidate, own.previews)
    back, _ = black_of(plan_of(tmp_path, slab, environment=environment))
    assert (back.termination, back.n_film_planes) == (candidate.termination, candidate.n_film_planes)


@pytest.mark.parametrize("lowest", ["Cs", "Pb"])
def test_a_slab_that_pymatgen_cuts_decides_about_the_termination(own: StudyPlan, tmp_path: Path, lowest: str) -> None:
    back, interface = black_of(plan_of(tmp_path, cut_by_pymatgen(own, lowest=lowest)))
    assert back.n_film_planes == black_of(own)[0].n_film_planes
    film = [site for site in interface if site.properties["interface_label"] == "film"]
    bottom = min(site.coords[2] for site in film)
    assert lowest in {site.specie.symbol for site in film if site.coords[2] < bottom + 0.5}


def test_a_slab_of_another_crystal_is_refused(own: StudyPlan, tmp_path: Path) -> None:
    slab = make_slab(own, black_of(own)[0], own.previews)
    slab.replace_species({"Cs": "Rb"})
    with pytest.raises(StudyError, match=r"the given slab is none of CsPbI3-alpha.*name its planes"):
        _ = plan_of(tmp_path, slab).steps


@pytest.mark.parametrize("text", ["", "{}", "[1, 2]", '{"lattice": 3, "sites": []}'])
def test_a_file_without_an_interface_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "mine.json").write_text(text, "utf-8")
    black, competitor = TOY["phases"]
    study = {**TOY, "phases": [{**black, "interface": "mine.json"}, competitor]}
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(study), "utf-8")
    with pytest.raises(StudyError, match=r"write it with `json\.dump"):
        read_study(str(tmp_path / "study.yaml"))

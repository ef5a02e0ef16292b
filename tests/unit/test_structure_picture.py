"""Pictures of structures: what is drawn, how layers are named, where labels go."""

from __future__ import annotations

from io import BytesIO
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qdip_dft.builders.dots import build_dot_slab, plan_dot_cut
from qdip_dft.builders.films import in_vacuum
from qdip_dft.model.structure import StructureRecord
from qdip_dft.report.figure import FigureKind, render_figure
from qdip_dft.report.notation import typeset, typeset_latex
from qdip_dft.report.structure_picture import draw_structure, spread_labels
from qdip_dft.report.structure_scene import find_layers, name_layer, set_scene
from qdip_dft.results.structure_export import label_structure
from tests.unit.crystals import load, load_face, make_record

ROCK_SALT_SPACING_ANG = 5.9315 / np.sqrt(3) / 2


def dot_slab() -> StructureRecord:
    """Return the passivated PbS(111) slab."""
    oriented = load_face("PbS", "111").oriented
    cut = plan_dot_cut(oriented, min_thickness_ang=10.0, passivation="I", facet="PbS(111)")
    record = in_vacuum(build_dot_slab(oriented, cut, passivation="I"), 15.0).to_record()
    return label_structure(record, parts=["passivation" if s == "I" else "dot" for s in record.species])


def texts(figure: object) -> str:
    """Return everything that is written in a figure."""
    from matplotlib.text import Text

    return "\n".join(text.get_text() for text in figure.findobj(Text))  # type: ignore[attr-defined]


def test_the_layers_of_a_polar_slab_alternate() -> None:
    layers = find_layers(dot_slab())
    assert [layer.composition for layer in layers] == ["I", *["Pb", "S"] * 3, "Pb", "I"]
    heights = [layer.height_ang for layer in layers[1:-1]]
    assert np.diff(heights) == pytest.approx(ROCK_SALT_SPACING_ANG, abs=1e-6)


def test_a_perovskite_has_its_two_layers() -> None:
    layers = find_layers(label_structure(load("FAPbI3-alpha").structure))
    assert sorted(layer.composition for layer in layers) == ["FAI", "PbI2"]


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (["I", "Pb", "I"], "PbI2"),
        (["I", "FA"], "FAI"),
        (["S", "Pb"] * 4, "PbS"),
        (["Te", "Pb"], "PbTe"),  # although Pauling's value of Pb is the higher one
        (["Cs"], "Cs"),
        (["Br", "Cs", "Br", "Cs", "Br"], "Cs2Br3"),
    ],
)
def test_compositions_are_whole_and_start_with_the_electropositive(labels: list[str], expected: str) -> None:
    assert name_layer(labels) == expected


def test_a_slab_is_open_along_its_normal_only() -> None:
    scene = set_scene(dot_slab())
    assert scene.is_open == (False, False, True)
    assert scene.vacuum_ang == pytest.approx(15.0)


def test_vacuum_is_found_wherever_it_lies() -> None:
    labelled = dot_slab()
    shifted = np.add(labelled.frac_coords, (0.0, 0.0, 0.7))
    record = labelled.model_copy(update={"frac_coords": tuple(map(tuple, (shifted % 1).tolist()))})
    moved = set_scene(label_structure(record, parts=labelled.parts))
    assert moved.vacuum_ang == pytest.approx(15.0)
    assert np.ptp(moved.positions_ang[:, 2]) == pytest.approx(np.ptp(set_scene(labelled).positions_ang[:, 2]))


def test_a_cluster_is_open_on_all_sides_and_not_repeated() -> None:
    record = make_record(np.diag([20.0] * 3), ("Pb", "S"), [(1, 1, 1), (4, 1, 1)])
    scene = set_scene(label_structure(record))
    assert scene.is_finite
    assert len(scene.species) == 2
    assert len(scene.bonds) == 1


def test_the_frame_keeps_handedness_and_distances() -> None:
    structure = load("FAPbI3-delta").structure
    scene = set_scene(label_structure(structure))
    assert np.linalg.det(scene.cell_ang) == pytest.approx(np.linalg.det(structure.lattice_ang))
    assert scene.area_ang2 == pytest.approx(np.linalg.norm(np.cross(*structure.lattice_ang[:2])))


def test_border_atoms_are_shown_on_both_sides() -> None:
    scene = set_scene(label_structure(load("CsPbI3-alpha").structure))
    assert scene.species.count("Pb") == 27  # the corners of 2 × 2 × 2 cells
    assert scene.species.count("I") == 54  # their edges
    assert scene.species.count("Cs") == 8  # their centres


def test_bonds_join_metals_and_anions_only() -> None:
    scene = set_scene(label_structure(load("MAPbI3-cubic").structure))
    pairs = {frozenset((scene.species[i], scene.species[j])) for i, j in scene.bonds}
    assert pairs == {frozenset(pair) for pair in (("Pb", "I"), ("C", "N"), ("C", "H"), ("N", "H"))}


@given(st.lists(st.floats(0, 50), min_size=1, max_size=12).map(sorted), st.floats(0.1, 5))
@settings(deadline=None, max_examples=200)
def test_labels_keep_their_order_and_their_distance(heights: list[float], distance: float) -> None:
    places = spread_labels(heights, distance=distance)
    assert len(places) == len(heights)
    assert all(b - a >= distance - 1e-6 for a, b in pairwise(places))
    assert np.mean(places) == pytest.approx(np.mean(heights), abs=1e-6)


def test_labels_with_room_stay_where_they_belong() -> None:
    assert spread_labels([0.0, 3.0, 9.0], distance=2.0) == [0.0, 3.0, 9.0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("interface PbS(111)//CsPbI3-alpha(100)", "interface PbS(111)//α-CsPbI₃(100)"),
        ("MAPbI3-cubic", "MAPbI₃-cubic"),
        ("film strain −1.2 %, 297 atoms", "film strain −1.2 %, 297 atoms"),
        ("yellow delta-FAPbI3?", "yellow δ-FAPbI₃?"),
        ("the film of CsPbI3-gamma.", "the film of γ-CsPbI₃."),
        ("PBE-D3(BJ), CP2K 2025.1, SevenNet-0", "PBE-D3(BJ), CP2K 2025.1, SevenNet-0"),
        ("I4/mcm, P21, Pm-3m", "I4/mcm, P21, Pm-3m"),
        ("CsPbI3-delta.cif", "CsPbI3-delta.cif"),
        ("Ag2S on CsPbI1.5Br1.5-gamma(001).", "Ag₂S on γ-CsPbI₁.₅Br₁.₅(001)."),
        ("MAPbI2.5Br0.5-cubic, PEA2PbBr4", "MAPbI₂.₅Br₀.₅-cubic, PEA₂PbBr₄"),
        ("CsPbI1.5Br1.5-delta.cif", "CsPbI1.5Br1.5-delta.cif"),
    ],
)
def test_formulas_are_typeset(text: str, expected: str) -> None:
    assert typeset(text) == expected


def test_formulas_are_typeset_for_latex() -> None:
    assert typeset_latex("5 % of CsPbI3-alpha(100)") == r"5 \% of $\alpha$-\ce{CsPbI3}(100)"


@pytest.mark.parametrize("phase", ["CsPbI3-alpha", "CsPbI3-delta", "MAPbI3-cubic", "FAPbI3-delta"])
def test_every_metal_of_a_host_has_a_whole_octahedron(phase: str) -> None:
    scene = set_scene(label_structure(load(phase).structure))
    metals, n_faces = np.unique(scene.octahedra.metals, return_counts=True)
    assert [scene.species[metal] for metal in metals] == [name for name in scene.species if name == "Pb"]
    assert set(n_faces) == {8}
    places = scene.positions_ang[scene.octahedra.metals]
    lengths = np.linalg.norm(scene.octahedra.corners_ang - places[:, None], axis=2)
    assert lengths.min() > 2.9
    assert lengths.max() < 3.6


def test_a_dot_has_no_octahedra() -> None:
    assert len(set_scene(dot_slab()).octahedra.metals) == 0


def test_a_picture_says_what_it_shows() -> None:
    written = texts(
        draw_structure(dot_slab(), title="dot PbS(111)", notes=("strain 0.0 %",), part_names={"dot": "PbS(111)"})
    )
    for words in ("dot PbS(111)", "strain 0.0 %", "side view", "top view", "vacuum 15.0 Å", "I, passivating", "γ = "):
        assert words in written
    assert written.count("PbS(111)") == 2


def test_the_views_have_one_scale() -> None:
    figure = draw_structure(dot_slab(), title="PbS")
    scales = []
    for axes in figure.axes:
        width_inch = axes.get_position().width * figure.get_figwidth()
        height_inch = axes.get_position().height * figure.get_figheight()
        scales += [width_inch / np.ptp(axes.get_xlim()), height_inch / np.ptp(axes.get_ylim())]
    assert len(scales) == 4
    assert scales == pytest.approx([scales[0]] * 4)


@pytest.mark.parametrize("name", ["PbS", "FAPbI3-delta", "black-P"])
def test_a_picture_fits_a_page_and_is_not_blank(name: str) -> None:
    from matplotlib.image import imread

    figure = draw_structure(label_structure(load(name).structure), title=name)
    assert figure.get_figwidth() < 7.3
    pixels = imread(BytesIO(render_figure(figure, FigureKind.PNG)))[..., :3]
    is_drawn = pixels.min(axis=2) < 0.95
    assert 0.1 < is_drawn.mean() < 0.9
    rim = np.concatenate([is_drawn[0], is_drawn[-1], is_drawn[:, 0], is_drawn[:, -1]])
    assert not rim.any()


def test_the_same_structure_gives_the_same_picture() -> None:
    first, second = (render_figure(draw_structure(dot_slab(), title="PbS"), FigureKind.PNG) for _ in range(2))
    assert first == second


def test_a_slice_leaves_atoms_out() -> None:
    from matplotlib.collections import EllipseCollection

    labelled = label_structure(load("CsPbI3-delta").structure)
    whole, cut = (draw_structure(labelled, title="", slice_ang=thickness) for thickness in (None, 3.0))
    n_whole, n_cut = (
        sum(len(balls.get_offsets()) for balls in figure.findobj(EllipseCollection)) for figure in (whole, cut)
    )
    assert 0 < n_cut < n_whole
    assert "3 Å slice" in texts(cut)


def embedded(rise: float) -> StructureRecord:
    """A dot of two layers and a film of two, without vacuum, raised by a fraction of the cell."""
    heights = np.array([0.0, 0.0, 0.25, 0.25, 0.5, 0.5, 0.75, 0.75]) + rise + [0, 0.004, 0, -0.004, 0, 0, 0.005, 0]
    in_plane = [(0.0, 0.0), (0.5, 0.5), (0.5, 0.5), (0.0, 0.0), (0.0, 0.0), (0.5, 0.5), (0.5, 0.5), (0.0, 0.0)]
    record = StructureRecord(
        lattice_ang=((10.0, 0.0, 0.0), (0.0, 10.0, 0.0), (2.0, 1.0, 12.0)),
        species=("Pb", "S", "Pb", "S", "Cs", "I", "Cs", "I"),
        frac_coords=tuple((x, y, float(z)) for (x, y), z in zip(in_plane, heights, strict=True)),
    )
    return label_structure(record, parts=("dot",) * 4 + ("film",) * 4)


@pytest.mark.parametrize("rise", [0.0, 0.3, 0.6, -0.002])
def test_the_layers_between_two_dots_begin_with_the_dot_above_the_film(rise: float) -> None:
    scene = set_scene(embedded(rise))
    assert scene.has_layers
    assert scene.vacuum_ang == 0
    assert [layer.composition for layer in scene.layers] == ["PbS", "PbS", "CsI", "CsI"]
    top = [z for z, is_image in zip(scene.positions_ang[:, 2], scene.is_image, strict=True) if is_image]
    assert min(top) > max(layer.height_ang for layer in scene.layers)
    assert "CsI" in texts(draw_structure(embedded(rise), title="between two dots"))


def test_a_bulk_has_no_lowest_layer() -> None:
    assert not set_scene(label_structure(load("PbS").structure)).has_layers

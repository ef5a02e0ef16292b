"""Pictures of structures: a side and a top view with layers, parts, cell and scale."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from qdip_dft.model.elements import ALKALI_METALS, ORGANIC_ELEMENTS, covalent_radii_ang
from qdip_dft.model.structure import DOT_PART, PASSIVATION_PART, StructureRecord
from qdip_dft.report.figure import STYLE
from qdip_dft.report.notation import typeset
from qdip_dft.report.structure_scene import Array, Scene, set_scene

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLOURS = {"Cs": "#5fb7ad", "Rb": "#8fc7c0", "Pb": "#5b6470", "H": "#f4f4f4", "S": "#f2cf1d", "Te": "#d07a1e"}
"""Beside the colours of Jmol: there Cs is nearly as purple as I, and Pb too dark for a shade."""

_RADIUS_SCALE = 0.72
"""Drawn radius over covalent radius."""

_ALKALI_SCALE = 0.75
"""Alkali ions would hide the octahedra at their covalent size."""

_SHADES = ((1.0, 0.0, -0.14), (0.80, 0.13, 0.0), (0.55, 0.24, 0.22), (0.27, 0.33, 0.55))
"""Discs of a shaded ball: radius and shift to the upper left over the ball's radius, lightening (negative: darker)."""

_DEPTH_FADE = 0.45
"""How far the atoms at the back fade to the paper."""

_DEPTH_STEPS = 24

_OCTAHEDRON_OPACITY = 0.16

_COLUMN_ANG = 0.6
"""Atoms nearer than about this in the picture count as one column."""

_MAX_WIDTH_INCH, _MAX_VIEW_HEIGHT_INCH, _MIN_WIDTH_INCH = 7.2, 5.2, 5.0
_MAX_SCALE_INCH_PER_ANG = 0.16
_LEFT_INCH, _GAP_INCH, _RIGHT_INCH = 0.62, 0.95, 0.25
_TOP_INCH, _HEADING_LINE_INCH, _LEGEND_INCH, _CAPTION_INCH, _BAR_INCH = 0.5, 0.16, 0.38, 0.62, 0.28
_MARGIN_ANG = 2.2
_LABEL_POINTS = 8.5
_POINTS_PER_INCH = 72.0


@dataclass(frozen=True, slots=True)
class _View:
    """A projection: the places of the atoms in the picture, their depth, which are drawn (back to front), limits in Å.

    The two rows of `axes` are the unit vectors to the right and upwards.
    """

    name: str
    axes: Array
    is_side: bool
    places: Array
    depth: Array
    selected: NDArray[np.int_]
    low: Array
    high: Array

    @property
    def size_ang(self) -> Array:
        return np.asarray(self.high - self.low)


def draw_structure(
    structure: StructureRecord,
    *,
    title: str,
    notes: Sequence[str] = (),
    part_names: Mapping[str, str] | None = None,
    slice_ang: float | None = None,
    faces: tuple[str, str] | None = None,
    style: Mapping[Any, Any] = STYLE,
) -> Figure:
    """Draw a structure from the side and from above, to scale.

    Parameters
    ----------
    structure
        The structure with its parts.
    title
        What it is, such as ``interface PbS(111)//CsPbI3-alpha(100)``.
    notes
        Lines under the title, such as the strains.
    part_names
        For each part that gets a bracket beside the side view, what is written there.
    slice_ang
        Show only a slice of this thickness through the middle, in both views: for a dot inside a host.
    faces
        Layers that the film was cut at, the lower one first; None: not known.
    style
        Settings of matplotlib, with the colours of ink and paper.

    Returns
    -------
    matplotlib.figure.Figure
        A figure on the Agg canvas, outside pyplot.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    scene = set_scene(structure, faces=faces)
    side, top = _look_from_side(scene, slice_ang=slice_ang), _look_from_above(scene, slice_ang=slice_ang)
    scale = _choose_scale(side, top)
    is_whole_crystal = slice_ang is None and not scene.is_finite
    caption_inch = _CAPTION_INCH if is_whole_crystal else _BAR_INCH
    heading_inch = _TOP_INCH + _HEADING_LINE_INCH * len(notes)
    height = heading_inch + _LEGEND_INCH + max(scale * side.size_ang[1], scale * top.size_ang[1] + caption_inch)
    width = max(_MIN_WIDTH_INCH, _LEFT_INCH + _GAP_INCH + _RIGHT_INCH + scale * (side.size_ang[0] + top.size_ang[0]))
    with mpl.rc_context(dict(style)):
        figure = Figure(figsize=(width, height))
        FigureCanvasAgg(figure)
        ceiling = height - heading_inch
        left = _place_view(figure, side, left_inch=_LEFT_INCH, top_inch=ceiling, scale=scale)
        start_inch = _LEFT_INCH + scale * side.size_ang[0] + _GAP_INCH
        right = _place_view(figure, top, left_inch=start_inch, top_inch=ceiling, scale=scale)
        for axes, view in ((left, side), (right, top)):
            _draw_atoms(axes, scene, view, scale=scale)
            _draw_cell(axes, scene, view)
            _name_view(axes, view, "" if slice_ang is None else f", {slice_ang:g} Å slice")
        if is_whole_crystal:
            _describe_cell(right, scene, top)
        if slice_ang is None and scene.has_layers:
            _label_layers(left, scene, side, scale=scale)
        _draw_brackets(left, scene, side, part_names or {})
        _draw_scale_bar(right, top, scale=scale, has_text_above=is_whole_crystal)
        _draw_legend(figure, scene)
        _write_heading(figure, title, notes)
    return figure


def draw_side_view(
    structure: StructureRecord,
    *,
    height_inch: float,
    part_names: Mapping[str, str],
    faces: tuple[str, str],
    style: Mapping[Any, Any] = STYLE,
) -> Figure:
    """Draw a slab or interface from the side, to stand beside another figure; parameters as of `draw_structure`."""
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    scene = set_scene(structure, faces=faces)
    side = _look_from_side(scene, slice_ang=None)
    top_inch, below_inch = 0.1, _LEGEND_INCH + _BAR_INCH
    scale = (height_inch - top_inch - below_inch) / float(side.size_ang[1])
    width_inch = _LEFT_INCH + _GAP_INCH + scale * float(side.size_ang[0])
    with mpl.rc_context(dict(style)):
        figure = Figure(figsize=(width_inch, height_inch))
        FigureCanvasAgg(figure)
        axes = _place_view(figure, side, left_inch=_LEFT_INCH, top_inch=height_inch - top_inch, scale=scale)
        _draw_atoms(axes, scene, side, scale=scale)
        _draw_cell(axes, scene, side)
        _label_layers(axes, scene, side, scale=scale)
        _draw_brackets(axes, scene, side, part_names)
        _draw_scale_bar(axes, side, scale=scale, has_text_above=False)
        _draw_legend(figure, scene)
    return figure


def _look_from_side(scene: Scene, *, slice_ang: float | None) -> _View:
    """Return the view along the in-plane direction that lines up the most atoms; vacuum above a slab is left out."""
    first, second = (vector / np.linalg.norm(vector) for vector in scene.cell_ang[:2])
    up = np.array([0.0, 0.0, 1.0])
    directions = {
        "along b": second,
        "along a": first,
        "across a": np.cross(up, first),
        "across b": np.cross(second, up),
    }
    name = min(directions, key=lambda name: _count_columns(scene, np.cross(directions[name], up)))
    axes = np.array([np.cross(directions[name], up), up])
    return _make_view(scene, f"side view, {name}", axes, slice_ang=slice_ang)


def _look_from_above(scene: Scene, *, slice_ang: float | None) -> _View:
    return _make_view(scene, "top view", np.eye(3)[:2], slice_ang=slice_ang)


def _count_columns(scene: Scene, right: Array) -> float:
    """Return how many columns of framework atoms are seen per Å of width."""
    is_framework = np.array([symbol not in ORGANIC_ELEMENTS for symbol in scene.species])
    if not is_framework.any():
        return 0.0
    across = scene.positions_ang[is_framework] @ right
    columns = {(round(x / _COLUMN_ANG), round(z / _COLUMN_ANG)) for x, z in
               zip(across, scene.positions_ang[is_framework, 2], strict=True)}  # fmt: skip
    return round(len(columns) / (float(np.ptp(across)) + _COLUMN_ANG), 3)


def _make_view(scene: Scene, name: str, axes: Array, *, slice_ang: float | None) -> _View:
    is_side = axes[1, 2] == 1.0
    places, depth = scene.positions_ang @ axes.T, scene.positions_ang @ -np.cross(axes[0], axes[1])
    selected = np.arange(len(depth))
    if slice_ang is not None:
        selected = np.flatnonzero(np.abs(depth - (depth.max() + depth.min()) / 2) <= slice_ang / 2)
    low, high = places.min(axis=0) - _MARGIN_ANG, places.max(axis=0) + _MARGIN_ANG
    if not scene.is_finite:
        corners = _cell_corners(scene) @ axes.T
        cut_off = np.array([0.0, scene.vacuum_ang if is_side else 0.0])
        low = np.minimum(low, corners.min(axis=0) - 0.6)
        high = np.maximum(high, corners.max(axis=0) + 0.6 - cut_off)
    order = selected[np.argsort(-depth[selected], kind="stable")]
    return _View(name, axes, bool(is_side), places, depth, order, low, high)


def _cell_corners(scene: Scene) -> Array:
    corners = np.array([(i, j, k) for i in (0, 1) for j in (0, 1) for k in (0, 1)], dtype=float)
    return np.asarray(corners @ scene.cell_ang)


def _choose_scale(side: _View, top: _View) -> float:
    """Return inches per Å: as large as page width and height allow."""
    free_inch = _MAX_WIDTH_INCH - _LEFT_INCH - _GAP_INCH - _RIGHT_INCH
    by_width = free_inch / (side.size_ang[0] + top.size_ang[0])
    by_height = _MAX_VIEW_HEIGHT_INCH / max(side.size_ang[1], top.size_ang[1])
    return float(min(by_width, by_height, _MAX_SCALE_INCH_PER_ANG))


def _place_view(figure: Figure, view: _View, *, left_inch: float, top_inch: float, scale: float) -> Axes:
    width, height = figure.get_size_inches()
    size = view.size_ang * scale
    axes = figure.add_axes((left_inch / width, (top_inch - size[1]) / height, size[0] / width, size[1] / height))
    axes.set_xlim(view.low[0], view.high[0])
    axes.set_ylim(view.low[1], view.high[1])
    axes.set_axis_off()
    return axes


def _draw_atoms(axes: Axes, scene: Scene, view: _View, *, scale: float) -> None:
    """Draw bonds and shaded balls from the back to the front, in steps of depth."""
    if len(view.selected) == 0:
        return
    depth = view.depth
    back, front = depth[view.selected].max(), depth[view.selected].min()
    span = max(float(back - front), 1e-9)
    nearness = (back - depth) / span
    step_of = np.clip((nearness * _DEPTH_STEPS).astype(int), 0, _DEPTH_STEPS - 1)
    colours = _fade(_colour_atoms(scene.species), nearness)
    is_selected = np.zeros(len(depth), dtype=bool)
    is_selected[view.selected] = True
    halves = _halve_bonds(scene, view, is_selected)
    for step in range(_DEPTH_STEPS):
        _draw_octahedra(axes, scene, view, colours, step_of=step_of, step=step)
        _draw_bonds(axes, halves, colours, step_of=step_of, step=step, scale=scale)
        atoms = view.selected[step_of[view.selected] == step]
        _draw_balls(axes, scene, view, atoms, colours, zorder=2 * step + 1)


def _draw_octahedra(
    axes: Axes, scene: Scene, view: _View, colours: Array, *, step_of: NDArray[np.int_], step: int
) -> None:
    """Draw the faces of the octahedra whose metals lie at this depth, those at the back first."""
    from matplotlib.collections import PolyCollection

    metals = scene.octahedra.metals
    here = np.flatnonzero(np.isin(metals, view.selected) & (step_of[metals] == step))
    if len(here) == 0:
        return
    depth = scene.octahedra.corners_ang[here].mean(axis=1) @ -np.cross(view.axes[0], view.axes[1])
    here = here[np.argsort(-depth, kind="stable")]
    ink, _ = _find_ink_and_paper()
    fills = [(*((colours[metal] + ink) / 2), _OCTAHEDRON_OPACITY) for metal in metals[here]]
    edges = [(*(0.7 * colours[metal] + 0.3 * ink), 0.6) for metal in metals[here]]
    corners = scene.octahedra.corners_ang[here] @ view.axes.T
    axes.add_collection(
        PolyCollection(
            list(corners), facecolors=fills, edgecolors=edges, linewidths=0.3, zorder=2 * step, clip_on=False
        )
    )


def _halve_bonds(scene: Scene, view: _View, is_selected: NDArray[np.bool_]) -> list[tuple[int, Array]]:
    """Return the two halves of each bond as (atom it belongs to, its ends in the plane of the picture)."""
    places = view.places
    halves = []
    for first, second in scene.bonds:
        if is_selected[first] and is_selected[second]:
            middle = (places[first] + places[second]) / 2
            halves += [(int(atom), np.array([places[atom], middle])) for atom in (first, second)]
    return halves


def _draw_bonds(
    axes: Axes, halves: list[tuple[int, Array]], colours: Array, *, step_of: NDArray[np.int_], step: int, scale: float
) -> None:
    from matplotlib.collections import LineCollection

    here = [(atom, ends) for atom, ends in halves if step_of[atom] == step]
    if not here:
        return
    width = 0.34 * scale * _POINTS_PER_INCH
    lines = LineCollection(
        [ends for _, ends in here],
        colors=[0.85 * colours[atom] for atom, _ in here],
        linewidths=width,
        capstyle="butt",
        zorder=2 * step,
    )
    axes.add_collection(lines)


def _draw_balls(
    axes: Axes, scene: Scene, view: _View, atoms: NDArray[np.int_], colours: Array, *, zorder: float
) -> None:
    """Draw each ball as a few discs, every atom complete before the next one in front of it."""
    from matplotlib.collections import EllipseCollection

    if len(atoms) == 0:
        return
    ink, _ = _find_ink_and_paper()
    radii = [find_drawn_radius_ang(scene.species[atom]) for atom in atoms]
    places = view.places[atoms]
    sizes, centres, faces, edges, widths = [], [], [], [], []
    for atom, radius, place in zip(atoms, radii, places, strict=True):
        is_marked = scene.parts[atom] == PASSIVATION_PART
        for size, shift, lightening in _SHADES:
            sizes.append(2 * radius * size)
            centres.append(place + radius * shift * np.array([-0.8, 1.0]))
            faces.append(_lighten(colours[atom], lightening))
            is_rim = size == 1.0
            edges.append(tuple(ink if is_rim and is_marked else 0.55 * colours[atom]))
            widths.append((1.1 if is_marked else 0.35) if is_rim else 0.0)
    axes.add_collection(
        EllipseCollection(
            sizes,
            sizes,
            np.zeros(len(sizes)),
            units="xy",
            offsets=np.array(centres),
            offset_transform=axes.transData,
            facecolors=faces,
            edgecolors=edges,
            linewidths=widths,
            zorder=zorder,
        )
    )


def _lighten(colour: Array, amount: float) -> tuple[float, ...]:
    """Return a colour mixed with white, or darkened when the amount is negative."""
    mixed = colour + amount * (1 - colour) if amount >= 0 else colour * (1 + amount)
    return tuple(float(x) for x in np.clip(mixed, 0, 1))


def colour_element(symbol: str) -> str:
    """Return the colour of an element as six hexadecimal digits after ``#``."""
    from matplotlib.colors import to_hex

    return str(to_hex(_colour(symbol)))


def find_drawn_radius_ang(symbol: str) -> float:
    """Return the radius in Å with which an atom is drawn."""
    shrink = _ALKALI_SCALE if symbol in ALKALI_METALS else 1.0
    return float(_RADIUS_SCALE * shrink * covalent_radii_ang([symbol])[0])


def _colour_atoms(species: Sequence[str]) -> Array:
    return np.array([_colour(symbol) for symbol in species])


def _colour(symbol: str) -> tuple[float, float, float]:
    from ase.data import atomic_numbers
    from ase.data.colors import jmol_colors
    from matplotlib.colors import to_rgb

    if symbol in _COLOURS:
        return to_rgb(_COLOURS[symbol])
    red, green, blue = (float(x) for x in jmol_colors[atomic_numbers[symbol]])
    return red, green, blue


def _fade(colours: Array, nearness: Array) -> Array:
    share = _DEPTH_FADE * (1 - np.clip(nearness, 0, 1))[:, None]
    _, paper = _find_ink_and_paper()
    return np.asarray(colours * (1 - share) + share * paper)


def _find_ink_and_paper() -> tuple[Array, Array]:
    """The colours of text and background in the style that is in force."""
    import matplotlib as mpl
    from matplotlib.colors import to_rgb

    return np.array(to_rgb(mpl.rcParams["text.color"])), np.array(to_rgb(mpl.rcParams["figure.facecolor"]))


def _draw_cell(axes: Axes, scene: Scene, view: _View) -> None:
    """Draw the outline of the cell; where vacuum is cut off, it ends in the open."""
    from matplotlib.collections import LineCollection

    if scene.is_finite:
        return
    corners = np.array([(i, j, k) for i in (0, 1) for j in (0, 1) for k in (0, 1)], dtype=float)
    places = corners @ scene.cell_ang @ view.axes.T
    edges = [(p, q) for p in range(8) for q in range(p) if np.sum(np.abs(corners[p] - corners[q])) == 1]
    if view.is_side and scene.vacuum_ang:
        edges = [edge for edge in edges if min(corners[edge[0]][2], corners[edge[1]][2]) == 0]
    segments = [places[list(edge)] for edge in edges]
    ink, _ = _find_ink_and_paper()
    lines = LineCollection(segments, colors=[ink], linewidths=0.6, linestyles=(0, (4, 2)), alpha=0.65)
    lines.set_zorder(-1 if view.is_side and scene.vacuum_ang else 100)
    axes.add_collection(lines)


def _name_view(axes: Axes, view: _View, suffix: str) -> None:
    axes.annotate(
        view.name + suffix,
        (view.low[0], view.high[1]),
        xytext=(0, 2),
        textcoords="offset points",
        fontsize=7,
        alpha=0.7,
    )


def _label_layers(axes: Axes, scene: Scene, view: _View, *, scale: float) -> None:
    """Write the composition of every layer to the right of the side view, with a leader where it had to move."""
    points_per_ang = scale * _POINTS_PER_INCH
    heights = [layer.height_ang for layer in scene.layers]
    places = spread_labels(heights, distance=_LABEL_POINTS / points_per_ang)
    edge, (ink, _) = view.high[0] - 0.7, _find_ink_and_paper()
    for layer, place in zip(scene.layers, places, strict=True):
        axes.plot((edge - 0.9, edge, edge + 0.9), (layer.height_ang, layer.height_ang, place), color=ink,
                  alpha=0.5, linewidth=0.5, clip_on=False, zorder=101)  # fmt: skip
        axes.text(edge + 1.2, place, typeset(layer.composition), fontsize=6.5, va="center", ha="left", clip_on=False)


def spread_labels(heights: Sequence[float], *, distance: float) -> list[float]:
    """Return places at least a distance apart, in the same order and as near to the heights as possible.

    Labels that would touch form a block whose middle lies at the mean of its heights; blocks that meet are joined.

    Parameters
    ----------
    heights
        Where the labels belong, ascending.
    distance
        Least distance of two labels, in the same unit.
    """
    blocks: list[list[float]] = []
    for height in heights:
        blocks.append([height])
        while len(blocks) > 1 and _end(blocks[-2], distance) + distance > _start(blocks[-1], distance):
            last = blocks.pop()
            blocks[-1].extend(last)
    return [_start(block, distance) + distance * index for block in blocks for index in range(len(block))]


def _start(block: Sequence[float], distance: float) -> float:
    return sum(block) / len(block) - distance * (len(block) - 1) / 2


def _end(block: Sequence[float], distance: float) -> float:
    return sum(block) / len(block) + distance * (len(block) - 1) / 2


def _describe_cell(axes: Axes, scene: Scene, view: _View) -> None:
    """Write the in-plane cell and its area under the top view, and the vacuum."""
    a, b = (float(np.linalg.norm(scene.cell_ang[k])) for k in (0, 1))
    angle = float(np.degrees(np.arccos(np.clip(scene.cell_ang[0] @ scene.cell_ang[1] / (a * b), -1, 1))))
    lines = [f"a = {a:.2f} Å, b = {b:.2f} Å, γ = {angle:.1f}°", f"area {scene.area_ang2:.1f} Å²"]
    if scene.vacuum_ang:
        lines[1] += f", vacuum {scene.vacuum_ang:.1f} Å"
    axes.annotate("\n".join(lines), (view.low[0], view.low[1]), xytext=(0, -3), textcoords="offset points", fontsize=7,
                  va="top", annotation_clip=False)  # fmt: skip


def _draw_brackets(axes: Axes, scene: Scene, view: _View, part_names: Mapping[str, str]) -> None:
    """Draw a bracket with its name at the left of the side view for each named part."""
    ink, _ = _find_ink_and_paper()
    for part, name in part_names.items():
        members = {part, PASSIVATION_PART} if part == DOT_PART else {part}
        is_own = np.isin(scene.parts, list(members)) & ~scene.is_image
        heights = view.places[is_own, 1].tolist()
        if not heights:
            continue
        low, high, edge = min(heights) - 0.8, max(heights) + 0.8, view.low[0] + 0.4
        axes.plot((edge + 0.7, edge, edge, edge + 0.7), (low, low, high, high), color=ink, linewidth=0.9,
                  clip_on=False, zorder=101)  # fmt: skip
        axes.annotate(typeset(name), (edge, (low + high) / 2), xytext=(-5, 0), textcoords="offset points", rotation=90,
                      ha="right", va="center", fontsize=8, annotation_clip=False)  # fmt: skip


def _draw_scale_bar(axes: Axes, view: _View, *, scale: float, has_text_above: bool) -> None:
    """Draw a bar of 2, 5, 10 or 20 Å under the top view."""
    length = next((ang for ang in (20.0, 10.0, 5.0, 2.0) if ang <= 0.5 * view.size_ang[0]), 1.0)
    below = (30.0 if has_text_above else 10.0) / (_POINTS_PER_INCH * scale)
    y, x = view.low[1] - below, view.low[0]
    ink, _ = _find_ink_and_paper()
    axes.plot((x, x + length), (y, y), color=ink, linewidth=2.2, solid_capstyle="butt", clip_on=False)
    axes.annotate(f"{length:g} Å", (x + length, y), xytext=(4, 0), textcoords="offset points", va="center", fontsize=7,
                  annotation_clip=False)  # fmt: skip


def _draw_legend(figure: Figure, scene: Scene) -> None:
    """Draw one ball per element along the bottom of the figure."""
    from matplotlib.lines import Line2D

    ink, _ = _find_ink_and_paper()
    present = dict.fromkeys(zip(scene.species, (part == PASSIVATION_PART for part in scene.parts), strict=True))
    entries = sorted(present, key=lambda entry: (entry[1], -_mass_rank(entry[0])))
    handles = [
        Line2D([], [], linestyle="none", marker="o", markersize=7, markerfacecolor=_colour(symbol),
               markeredgecolor=tuple(ink) if is_marked else "#777777", markeredgewidth=1.1 if is_marked else 0.4,
               label=f"{symbol}, passivating" if is_marked else symbol)
        for symbol, is_marked in entries
    ]  # fmt: skip
    figure.legend(handles=handles, loc="lower left", bbox_to_anchor=(_LEFT_INCH / figure.get_figwidth() - 0.02, 0.0),
                  ncols=len(handles), frameon=False, fontsize=7.5, handletextpad=0.1, columnspacing=1.0)  # fmt: skip


def _mass_rank(symbol: str) -> int:
    from ase.data import atomic_numbers

    return int(atomic_numbers[symbol])


def _write_heading(figure: Figure, title: str, notes: Sequence[str]) -> None:
    height = figure.get_figheight()
    left = 0.12 / figure.get_figwidth()
    figure.text(left, 1 - 0.07 / height, typeset(title), fontsize=9, fontweight="bold", va="top")
    for line, note in enumerate(notes):
        y = 1 - (0.27 + _HEADING_LINE_INCH * line) / height
        figure.text(left, y, typeset(note), fontsize=7, alpha=0.8, va="top")

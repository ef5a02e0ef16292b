"""Laws of matching, the reference fronts, and an independent brute force that knows none of the shortcuts."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import product
from math import cos, radians, sin
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qdip_dft.builders.matching import (
    CellMatch,
    find_nearest_cells,
    match_cells,
    pareto_front,
    require_matches,
    scan_planes,
)
from qdip_dft.builders.planes import CrystalLattice, SurfaceLattice, primitive_lattice, surface_lattice
from qdip_dft.builders.strain import interface_cell, principal_strains, von_mises_strain
from qdip_dft.builders.sub_lattices import list_basis_changes, list_hermite_forms
from qdip_dft.errors import MatchError

REFERENCE = json.loads((Path(__file__).parents[1] / "data" / "lattice_matches.json").read_text(encoding="utf-8"))
FACE_CENTRES = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])

Key = tuple[int, tuple[float, ...], int, tuple[float, ...]]


def crystal_lattice(name: str) -> CrystalLattice:
    crystal = REFERENCE["inputs"][name]
    a = crystal["a"]
    lattice = np.diag([a, crystal.get("b", a), crystal.get("c", a)])
    if crystal["lattice"].startswith("hexagonal"):
        lattice[1, :2] = a * cos(radians(120)), a * sin(radians(120))
    centres = FACE_CENTRES if crystal["lattice"].endswith(" F") else FACE_CENTRES[:1]
    return CrystalLattice(lattice, primitive_lattice(lattice, centres, ["X"] * len(centres)))


def surface(name: str, hkl: str | list[int]) -> SurfaceLattice:
    lattice = crystal_lattice(name)
    return surface_lattice(lattice.conventional, lattice.primitive, hkl)


def pair_name(pair: dict) -> str:
    return "{dot}{dot_hkl}-{film}{film_hkl}".format(**pair)


def rotation(angle: float) -> np.ndarray:
    return np.array([[cos(angle), -sin(angle)], [sin(angle), cos(angle)]])


def reduced_gram(rows: np.ndarray) -> tuple[float, float, float]:
    """Return (g11, |g12|, g22) of the reduced basis by Lagrange's algorithm, written out for one lattice."""
    a, b = sorted(rows, key=np.linalg.norm)
    while True:
        b = b - np.rint(a @ b / (a @ a)) * a
        if np.linalg.norm(b) > np.linalg.norm(a) * (1 - 1e-12):
            return float(a @ a), float(abs(a @ b)), float(b @ b)
        a, b = b, a


def reduced_rows(rows: np.ndarray) -> np.ndarray:
    """Return a reduced basis of the same handedness."""
    a, b = rows
    while True:
        if np.linalg.norm(b) < np.linalg.norm(a) * (1 - 1e-12):
            a, b = b, -a
        projection = a @ b / (a @ a)
        if abs(projection) < 0.5 + 1e-9:
            return np.array([a, b])
        b = b - np.rint(projection) * a


def brute_force_sub_lattices(lattice: np.ndarray, max_cells: int) -> list[tuple[int, np.ndarray]]:
    """Return (n, reduced right-handed rows) of every sub-lattice, one matrix at a time."""
    found = []
    for n_cells in range(1, max_cells + 1):
        for p in range(1, n_cells + 1):
            if n_cells % p == 0:
                r = n_cells // p
                found += [(n_cells, reduced_rows(np.array([[p, q], [0, r]]) @ lattice)) for q in range(r)]
    return found


def brute_force(
    film: np.ndarray, dot: np.ndarray, *, max_area: float, max_strain: float, largest_entry: int
) -> dict[Key, float]:
    """Return the least largest strain of every metric-distinct pair, by the SVD of every proper relation.

    Nothing is dismissed unseen, no sub-lattice stands for another and mirror images are not reasoned about.
    """
    span = range(-largest_entry, largest_entry + 1)
    changes = [[[a, b], [c, d]] for a, b, c, d in product(span, repeat=4) if a * d - b * c == 1 and (a, b) > (0, 0)]
    dots = brute_force_sub_lattices(dot, int(max_area / np.linalg.det(dot) + 1e-9))
    films = brute_force_sub_lattices(film, int(max_area / (1 - max_strain) ** 2 / np.linalg.det(film) + 1e-9))
    best: dict[Key, float] = {}
    for n_dot, dot_rows in dots:
        ratios = [np.linalg.det(dot_rows) / np.linalg.det(rows) for _, rows in films]
        near = [k for k, ratio in enumerate(ratios) if (1 - max_strain) ** 2 <= ratio <= (1 + max_strain) ** 2]
        inverses = np.array([np.linalg.inv(films[k][1]) for k in near]).reshape(-1, 1, 2, 2)
        stretches = np.linalg.svd(inverses @ (np.array(changes) @ dot_rows), compute_uv=False)
        for k, strain in zip(near, abs(stretches - 1).max(axis=2).min(axis=1).tolist(), strict=True):
            if strain <= max_strain:
                key = pair_key(*films[k], n_dot, dot_rows)
                best[key] = min(strain, best.get(key, 1.0))
    return best


def pair_key(n_film: int, film_rows: np.ndarray, n_dot: int, dot_rows: np.ndarray) -> Key:
    film_gram, dot_gram = (tuple(np.round(reduced_gram(rows), 4) + 0.0) for rows in (film_rows, dot_rows))
    return n_film, film_gram, n_dot, dot_gram


def keys_of(cells: tuple[CellMatch, ...], film: np.ndarray, dot: np.ndarray) -> dict[Key, float]:
    return {
        pair_key(c.n_film, np.array(c.film_matrix) @ film, c.n_dot, np.array(c.dot_matrix) @ dot): c.largest_strain
        for c in cells
    }


def random_lattice(generator: np.random.Generator) -> np.ndarray:
    """Return a square, rectangular, rhombic, hexagonal or oblique lattice in any orientation and basis, rows in Å."""
    a, b = generator.uniform(3.0, 6.5, 2)
    angle = radians(generator.uniform(60, 120))
    system = generator.integers(6)
    shapes = [
        (a, a, radians(90)),
        (a, b, radians(90)),
        (a, a, angle),
        (a, a, radians(120)),
        (a, b, angle),
        (a, b, angle),
    ]
    a, b, angle = shapes[system]
    rows = np.array([[a, 0.0], [b * cos(angle), b * sin(angle)]]) @ rotation(generator.uniform(0, 6)).T
    changes = list_basis_changes(2)
    return changes[generator.integers(len(changes))] @ rows


lengths_ang = st.integers(300, 900).map(lambda hundredths: hundredths / 100)
lattice_angles = st.integers(60, 120).map(radians)
turns = st.integers(-314, 314).map(lambda hundredths: hundredths / 100)
basis_changes = st.sampled_from(list_basis_changes(2).tolist()).map(np.array)


@st.composite
def lattices(draw: st.DrawFn) -> np.ndarray:
    """Draw a right-handed 2D lattice, rows in Å."""
    a, b, angle = draw(lengths_ang), draw(lengths_ang), draw(lattice_angles)
    return np.array([[a, 0.0], [b * cos(angle), b * sin(angle)]])


def table_of(cells: tuple[CellMatch, ...], *, below: float) -> np.ndarray:
    """Return sorted rows (n_dot, n_film, strains) of the cells that no rounding can put beyond the limit."""
    rows = [
        (cell.n_dot, cell.n_film, *(round(strain, 7) for strain in cell.principal_strains))
        for cell in cells
        if cell.largest_strain < below - 1e-5
    ]
    return np.array(sorted(rows)).reshape(-1, 4)


def assert_same_cells(one: tuple[CellMatch, ...], other: tuple[CellMatch, ...], *, below: float) -> None:
    first, second = table_of(one, below=below), table_of(other, below=below)
    assert first.shape == second.shape
    assert first == pytest.approx(second, abs=1e-6)


@pytest.mark.parametrize("area", [400, 800])
@pytest.mark.parametrize("pair", REFERENCE["pairs"], ids=pair_name)
def test_every_reference_pair_is_reproduced(pair: dict, area: int) -> None:
    film, dot = surface(pair["film"], pair["film_hkl"]), surface(pair["dot"], pair["dot_hkl"])
    cells = match_cells(film.vectors_2d, dot.vectors_2d, max_area_ang2=area, max_strain=0.05)
    front, wanted = [cell for cell in cells if cell.is_pareto], pair[f"front_{area}ang2_5pct"]
    assert len(cells) == pair[f"distinct_cells_{area}ang2_5pct"]
    assert [(cell.n_film, cell.n_dot) for cell in front] == [(cell["n_film"], cell["n_dot"]) for cell in wanted]
    for cell, reference in zip(front, wanted, strict=True):
        assert cell.principal_strains == pytest.approx(reference["principal_strains"], abs=2e-6)  # six digits given
        assert cell.area_ang2 == pytest.approx(reference["area_dot_ang2"], abs=1e-3)


@pytest.mark.parametrize("pair", REFERENCE["pairs"], ids=pair_name)
def test_surface_cells_have_the_reference_areas(pair: dict) -> None:
    for side in ("dot", "film"):
        area = surface(pair[side], pair[f"{side}_hkl"]).area_ang2
        assert area == pytest.approx(pair[f"area_1x1_{side}_ang2"], abs=1e-4)


@pytest.mark.parametrize("seed", range(10))
def test_nothing_differs_from_brute_force_on_random_lattices(seed: int) -> None:
    generator = np.random.default_rng(seed)
    n_cells_found = 0
    for _ in range(24):
        film, dot = random_lattice(generator), random_lattice(generator)
        limits = {"max_area": 6.5 * np.linalg.det(dot), "max_strain": generator.uniform(0.03, 0.14)}
        wanted = brute_force(film, dot, **limits, largest_entry=2)
        cells = match_cells(film, dot, max_area_ang2=limits["max_area"], max_strain=limits["max_strain"])
        found = keys_of(cells, film, dot)
        assert len(found) == len(cells)
        assert found == pytest.approx(wanted, abs=1e-9)
        n_cells_found += len(cells)
    assert n_cells_found > 100


def test_nothing_differs_from_brute_force_at_the_largest_strain() -> None:
    generator = np.random.default_rng(11)
    for _ in range(10):
        film, dot = random_lattice(generator), random_lattice(generator)
        wanted = brute_force(film, dot, max_area=5.5 * np.linalg.det(dot), max_strain=0.25, largest_entry=4)
        cells = match_cells(film, dot, max_area_ang2=5.5 * np.linalg.det(dot), max_strain=0.25)
        assert keys_of(cells, film, dot) == pytest.approx(wanted, abs=1e-9)


@settings(max_examples=40)
@given(lattices(), lattices(), turns, turns)
def test_orientation_does_not_matter(film: np.ndarray, dot: np.ndarray, film_turn: float, dot_turn: float) -> None:
    limits = {"max_area_ang2": 100.0, "max_strain": 0.06}
    cells = match_cells(film, dot, **limits)
    turned = match_cells(film @ rotation(film_turn).T, dot @ rotation(dot_turn).T, **limits)
    assert_same_cells(turned, cells, below=0.06)


@settings(max_examples=40)
@given(lattices(), lattices(), basis_changes, basis_changes)
def test_the_choice_of_basis_does_not_matter(
    film: np.ndarray, dot: np.ndarray, film_change: np.ndarray, dot_change: np.ndarray
) -> None:
    limits = {"max_area_ang2": 100.0, "max_strain": 0.06}
    cells, other = match_cells(film, dot, **limits), match_cells(film_change @ film, dot_change @ dot, **limits)
    assert_same_cells(other, cells, below=0.06)


@settings(max_examples=40)
@given(lattices(), lattices(), st.sampled_from([0.1, 3.0, 10.0]))
def test_strain_knows_no_length_scale(film: np.ndarray, dot: np.ndarray, scale: float) -> None:
    cells = match_cells(film, dot, max_area_ang2=100.0, max_strain=0.06)
    scaled = match_cells(scale * film, scale * dot, max_area_ang2=100.0 * scale**2, max_strain=0.06)
    assert_same_cells(scaled, cells, below=0.06)


@settings(max_examples=40)
@given(lattices(), lattices())
def test_swapping_dot_and_film_flips_the_strain(film: np.ndarray, dot: np.ndarray) -> None:
    cells = match_cells(film, dot, max_area_ang2=80.0, max_strain=0.05)
    swapped = match_cells(dot, film, max_area_ang2=80.0 * 1.05**2 / 0.95**2, max_strain=0.05 / 0.95)
    pairs = [(cell.n_dot, cell.n_film, *cell.principal_strains) for cell in swapped]
    for cell in cells:
        least, most = (1 / (1 + strain) - 1 for strain in reversed(cell.principal_strains))
        assert any(pair == pytest.approx((cell.n_film, cell.n_dot, least, most), abs=1e-9) for pair in pairs)


@settings(max_examples=40)
@given(lattices(), lattices())
def test_the_matrices_carry_the_film_onto_the_dot_without_a_mirror(film: np.ndarray, dot: np.ndarray) -> None:
    for cell in match_cells(film, dot, max_area_ang2=80.0, max_strain=0.06):
        assert round(np.linalg.det(cell.film_matrix)) == cell.n_film
        assert round(np.linalg.det(cell.dot_matrix)) == cell.n_dot
        mesh = interface_cell(film, dot, cell, 0.0)
        assert np.linalg.det(mesh.film_deformation) > 0
        assert principal_strains(mesh.film_deformation) == pytest.approx(cell.principal_strains, abs=1e-9)
        assert mesh.area_ang2 == pytest.approx(cell.area_ang2)
        assert cell.von_mises_strain == pytest.approx(von_mises_strain(cell.principal_strains))


@settings(max_examples=40)
@given(lattices(), lattices())
def test_every_cell_respects_the_limits(film: np.ndarray, dot: np.ndarray) -> None:
    cells = match_cells(film, dot, max_area_ang2=100.0, max_strain=0.06)
    assert all(cell.area_ang2 <= 100.0 + 1e-6 and cell.largest_strain <= 0.06 + 1e-6 for cell in cells)
    assert [cell.area_ang2 for cell in cells] == sorted(cell.area_ang2 for cell in cells)


@settings(max_examples=40)
@given(lattices())
def test_a_lattice_fits_on_itself_without_strain(lattice: np.ndarray) -> None:
    first = match_cells(lattice, lattice, max_area_ang2=1.5 * np.linalg.det(lattice), max_strain=0.02)[0]
    assert (first.n_film, first.n_dot) == (1, 1)
    assert first.principal_strains == pytest.approx((0, 0), abs=1e-9)


def test_a_mirrored_oblique_film_does_not_fit_but_its_opposite_face_does() -> None:
    triclinic = np.array([[5.0, 0, 0], [1.3, 6.1, 0], [0.7, 1.9, 7.3]])
    dot, face, opposite = (surface_lattice(triclinic, triclinic, hkl).vectors_2d for hkl in ("123", "-1-2-3", "123"))
    limits = {"max_area_ang2": 1.5 * float(np.linalg.det(dot)), "max_strain": 0.01}
    assert match_cells(face, dot, **limits) == ()
    assert match_cells(opposite, dot, **limits)[0].largest_strain < 1e-9


def test_a_mirror_line_of_either_lattice_makes_both_faces_fit_alike() -> None:
    oblique, square = np.array([[5.0, 0.0], [1.3, 6.1]]), np.array([[4.1, 0.0], [0.0, 4.1]])
    limits = {"max_area_ang2": 500.0, "max_strain": 0.05}
    mirrored = oblique * [-1, 1] * [[-1], [1]]
    cells = match_cells(oblique, square, **limits)
    assert len(cells) > 5
    assert_same_cells(match_cells(mirrored, square, **limits), cells, below=0.05)


def test_a_slightly_relaxed_cubic_lattice_has_no_more_cells_than_the_cubic_one() -> None:
    dot, relaxed = surface("PbS", "111"), np.diag([6.289403, 6.289397])
    cells = match_cells(relaxed, dot.vectors_2d, max_area_ang2=400, max_strain=0.05)
    assert len(cells) == 8  # as in the reference for the cubic lattice


def test_lead_sulfide_111_on_the_110_film_has_the_small_cell() -> None:
    cells = match_cells(
        surface("CsPbI3_alpha", "110").vectors_2d, surface("PbS", "111").vectors_2d, max_area_ang2=200, max_strain=0.05
    )
    assert [(cell.n_film, cell.n_dot, round(cell.area_ang2)) for cell in cells] == [(3, 11, 168)]


def test_equal_metrics_are_represented_along_the_axes() -> None:
    square = np.array([[4.0, 0.0], [0.0, 4.0]])
    cells = match_cells(square, square, max_area_ang2=25 * 16.0, max_strain=0.001)
    five_by_five = next(
        cell for cell in cells if np.allclose(np.array(cell.dot_matrix) @ np.transpose(cell.dot_matrix), 25 * np.eye(2))
    )
    assert sorted(map(abs, np.ravel(five_by_five.dot_matrix))) == [0, 0, 5, 5]


def test_no_cell_beats_one_of_the_front() -> None:
    def measure(cell: CellMatch) -> tuple[float, float]:
        return cell.area_ang2, cell.largest_strain

    film, dot = surface("FAPbI3_delta", "110").vectors_2d, surface("PbS", "111").vectors_2d
    cells = match_cells(film, dot, max_area_ang2=800, max_strain=0.05)
    front = pareto_front(cells)
    assert len(front) > 1
    for one, other in product(cells, front):
        is_better = measure(one)[0] <= measure(other)[0] + 1e-6 and measure(one)[1] < measure(other)[1] - 1e-5
        assert not is_better
    for cell in cells:
        assert any(measure(o)[0] <= measure(cell)[0] + 1e-6 and measure(o)[1] <= measure(cell)[1] + 2e-6 for o in front)


def test_no_cell_is_an_empty_answer_and_its_error_names_the_nearest() -> None:
    film, dot = surface("FAPbI3_alpha", "100").vectors_2d, surface("PbS", "111").vectors_2d
    assert match_cells(film, dot, max_area_ang2=100, max_strain=0.05) == ()
    message = (
        r"no cell within 5 % up to 100 Å²; nearest: 6:15 at 229 Å², 4\.77 % \(larger\) or 2:6 at 92 Å², 14\.\d\d %"
    )
    with pytest.raises(MatchError, match=message):
        require_matches(film, dot, max_area_ang2=100, max_strain=0.05)


def test_what_is_required_and_exists_is_returned() -> None:
    film, dot = surface("FAPbI3_alpha", "100").vectors_2d, surface("PbS", "111").vectors_2d
    limits = {"max_area_ang2": 400, "max_strain": 0.05}
    assert require_matches(film, dot, **limits) == match_cells(film, dot, **limits)


def test_the_nearest_cells_are_the_smallest_and_the_least_strained() -> None:
    film, dot = surface("CsPbI3_gamma", "101").vectors_2d, surface("PbS", "111").vectors_2d
    nearest = find_nearest_cells(film, dot, max_area_ang2=400, max_strain=0.05)
    larger = match_cells(film, dot, max_area_ang2=800, max_strain=0.05)
    strained = match_cells(film, dot, max_area_ang2=400, max_strain=0.25)
    assert nearest.smallest == larger[0]
    assert nearest.least_strained.largest_strain == pytest.approx(min(cell.largest_strain for cell in strained))


def test_nothing_near_is_said_so() -> None:
    huge, small = np.diag([90.0, 90.0]), np.diag([4.0, 4.0])
    nearest = find_nearest_cells(huge, small, max_area_ang2=50.0, max_strain=0.0001)
    assert nearest.least_strained is None
    assert "more strained" not in str(nearest)


@pytest.mark.parametrize("max_strain", [0.0, -0.05, 5.0, float("nan")])
def test_a_strain_that_is_no_small_fraction_is_refused(max_strain: float) -> None:
    with pytest.raises(MatchError, match="give a fraction such as"):
        match_cells(np.eye(2), np.eye(2), max_area_ang2=10, max_strain=max_strain)


@pytest.mark.parametrize("max_area_ang2", [0.0, -1.0, 1e9, float("nan")])
def test_an_impossible_area_is_refused(max_area_ang2: float) -> None:
    with pytest.raises(MatchError, match="give an area such as"):
        match_cells(np.eye(2), np.eye(2), max_area_ang2=max_area_ang2, max_strain=0.05)


@pytest.mark.parametrize("lattice", [np.diag([1.0, -1.0]), np.zeros((2, 2)), np.full((2, 2), np.nan)])
def test_a_left_handed_or_flat_lattice_is_refused(lattice: np.ndarray) -> None:
    with pytest.raises(MatchError, match="take SurfaceLattice"):
        match_cells(lattice, np.eye(2), max_area_ang2=10, max_strain=0.05)


def test_an_area_below_one_cell_holds_nothing() -> None:
    assert match_cells(4 * np.eye(2), 4 * np.eye(2), max_area_ang2=15.0, max_strain=0.05) == ()


def test_the_sub_lattices_of_n_cells_are_as_many_as_the_sum_of_its_divisors() -> None:
    forms = list_hermite_forms(30)
    n_cells = forms[:, 0] * forms[:, 2]
    for n in range(1, 31):
        assert np.sum(n_cells == n) == sum(divisor for divisor in range(1, n + 1) if n % divisor == 0)
    assert len(np.unique(forms, axis=0)) == len(forms)


def test_a_scan_finds_what_the_single_searches_find() -> None:
    film, dot = crystal_lattice("CsPbI3_alpha"), crystal_lattice("PbS")
    scan = scan_planes(film, dot, max_index=1, max_area_ang2=250, max_strain=0.05)
    by_planes = {(match.film_hkl, match.dot_hkl): match.cells for match in scan}
    assert len(by_planes) == len(scan)
    for film_hkl, dot_hkl in product([(1, 0, 0), (1, 1, 0), (1, 1, 1)], repeat=2):
        single = match_cells(
            surface("CsPbI3_alpha", film_hkl).vectors_2d,
            surface("PbS", dot_hkl).vectors_2d,
            max_area_ang2=250,
            max_strain=0.05,
        )
        assert by_planes.get((film_hkl, dot_hkl), ()) == single
    assert [match.cells[0].area_ang2 for match in scan] == sorted(match.cells[0].area_ang2 for match in scan)


def test_the_search_needs_no_structure_library() -> None:
    code = "import sys, qdip_dft.builders.matching; sys.exit('pymatgen' in sys.modules or 'ase' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

"""The strained host above the most stable way to be the same matter."""

from __future__ import annotations

import pytest

from qdip_dft.analysis.hull import find_hull, place_above_hull
from qdip_dft.model.stabilization import StabilizationDoc
from qdip_dft.report.tables import list_tables, tabulate_hull
from tests.unit import studies
from tests.unit.report_documents import LOWEST_BULK_EV_PER_FU, make_black, make_document, make_yellow
from tests.unit.studies import assemble


def test_the_lowest_state_is_on_the_hull_and_all_others_lie_above() -> None:
    hull = find_hull({"alpha": -18.2, "delta": -18.5, "CsI + PbI2": -18.4, "gamma": None}, n_atoms_per_fu=5)
    assert hull is not None
    assert hull.lowest == "delta"
    assert hull.above_ev_per_fu == pytest.approx({"alpha": 0.3, "delta": 0.0, "CsI + PbI2": 0.1})


def test_without_an_energy_there_is_no_hull() -> None:
    assert find_hull({"alpha": None}, n_atoms_per_fu=5) is None
    assert place_above_hull(make_black(), None) == make_black()


def test_a_film_without_strain_lies_as_high_as_its_bulk() -> None:
    hull = find_hull({"FAPbI3-delta": LOWEST_BULK_EV_PER_FU}, n_atoms_per_fu=12)
    placed = place_above_hull(make_black(terms_ev_per_fu=(0.06, 0.0, 0.2, -0.4)), hull)
    assert placed.strained_above_hull_ev_per_fu == pytest.approx(0.06)
    assert placed.strained_above_hull_mev_per_atom == pytest.approx(5.0)


def test_strain_lifts_the_film_off_the_hull() -> None:
    hull = find_hull({"FAPbI3-delta": LOWEST_BULK_EV_PER_FU}, n_atoms_per_fu=12)
    placed = place_above_hull(make_yellow(terms_ev_per_fu=(0.0, 0.06, 0.1, -0.1)), hull)
    assert placed.strained_above_hull_ev_per_fu == pytest.approx(0.06)


def test_a_film_without_its_strained_bulk_has_no_place() -> None:
    hull = find_hull({"FAPbI3-delta": LOWEST_BULK_EV_PER_FU}, n_atoms_per_fu=12)
    placed = place_above_hull(make_black(terms_ev_per_fu=(0.06, None, None, None)), hull)
    assert placed.strained_above_hull_ev_per_fu is None


def computed() -> StabilizationDoc:
    """A study of one film with an excess, so that CsI and PbI2 are computed as well."""
    black = {"phase": "CsPbI3-alpha", "role": "black", "planes": ["100"], "termination": "CsI|CsI"}
    film = {"min_thickness_ang": 6, "registries": [[0, 0]], "reservoirs": {"ax": "CsI", "bx2": "PbI2"}}
    steps = studies.make_steps(phases=[black], film=film)
    *_, last = studies.stages(steps, {})
    return assemble(steps, last)


def test_phases_and_compounds_are_on_the_hull_of_a_study() -> None:
    doc = computed()
    (film,), hull = doc.candidates, doc.hull
    assert set(hull.above_ev_per_fu) == {"CsPbI3-alpha", "CsI + PbI2"}
    assert hull.n_atoms_per_fu == 5
    window = hull.above_ev_per_fu["CsI + PbI2"] - hull.above_ev_per_fu["CsPbI3-alpha"]
    assert window == pytest.approx(doc.chemical_potentials.window_ev)
    expected = hull.above_ev_per_fu["CsPbI3-alpha"] + film.strain_ev_per_fu
    assert film.strained_above_hull_ev_per_fu == pytest.approx(expected, abs=1e-9)
    table = tabulate_hull(doc, hull)
    assert [row.name for row in table.rows] == ["black CsPbI3-alpha(100)", "CsI + PbI2"]
    assert table.title in [shown.title for shown in list_tables(doc)]


def test_older_documents_have_no_hull_and_no_table() -> None:
    assert "Energy above the hull" not in [table.title for table in list_tables(make_document())]

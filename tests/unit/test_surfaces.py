"""Surface energies of non-stoichiometric films: the field's arithmetic, the bounds, and the laws they obey."""

from __future__ import annotations

import csv
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from surface_energy import grand_potential_mev_per_ang2

from qdip_dft.analysis.stability import IDENTITY_TOLERANCE_EV
from qdip_dft.analysis.surfaces import bound_potentials, check_window
from qdip_dft.builders.candidates import find_candidates
from qdip_dft.errors import ChargeBalanceError, SlabError, StudyError
from qdip_dft.flows.building import preview_structures
from qdip_dft.flows.steps import Part, StudySteps
from qdip_dft.model.stabilization import CandidateResult, StabilizationDoc
from qdip_dft.model.structure import StructureRecord
from qdip_dft.report.tables import list_tables
from tests.unit.studies import assemble, make_steps, stages, toy_engine

PUBLISHED = Path(__file__).resolve().parents[1] / "data" / "cspbi3_surface_energies.csv"
HOST_FORMATION_EV = -5.774
STRIPS_EV = {"PbI2rich": -2.414, "CsIrich": -2.469}
"""μ_Pb + 2 μ_I at both ends of the host's stability."""

CELL_FILM = {"min_thickness_ang": 6, "reservoirs": {"ax": "CsI", "bx2": "PbI2"}}
energies = st.floats(-10, 10)


def published_rows() -> list[dict[str, str]]:
    lines = [line for line in PUBLISHED.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    return list(csv.DictReader(lines))


@pytest.mark.parametrize("row", published_rows(), ids=lambda row: row["label"])
@pytest.mark.parametrize("strip", STRIPS_EV)
@pytest.mark.parametrize("end", ["Irich", "Pbrich"])
def test_the_published_surface_energies_are_reproduced(row, strip, end):
    iodine, lead = (0.0, STRIPS_EV[strip]) if end == "Irich" else (STRIPS_EV[strip] / 2, 0.0)
    found = grand_potential_mev_per_ang2(
        float(row["E_formation_eV"]),
        excess={"Cs": int(row["n_Cs"]), "Pb": int(row["n_Pb"]), "I": int(row["n_I"])},
        potentials_ev={"Cs": HOST_FORMATION_EV - lead - 3 * iodine, "Pb": lead, "I": iodine},
        area_ang2=float(row["area_A2"]),
    )
    assert found == pytest.approx(float(row[f"gamma_meV_A2_{strip}_{end}"]), abs=1e-3)


@given(energy_ev=energies, mu=energies, n=st.integers(1, 5))
def test_a_surface_energy_is_the_same_in_a_larger_cell(energy_ev, mu, n):
    once = grand_potential_mev_per_ang2(energy_ev, excess={"CsI": 1}, potentials_ev={"CsI": mu}, area_ang2=40)
    many = grand_potential_mev_per_ang2(n * energy_ev, excess={"CsI": n}, potentials_ev={"CsI": mu}, area_ang2=n * 40)
    assert many == pytest.approx(once, abs=1e-9)


@given(host=energies, e_ax=energies, e_bx2=energies, a=st.integers(1, 4), b=st.integers(1, 2))
def test_the_potentials_add_up_to_the_host_at_both_bounds(host, e_ax, e_bx2, a, b):
    found = bound_potentials(
        host_ev_per_fu=host, amounts={"AX": a, "BX2": b}, bulk_ev_per_fu={"AX": e_ax, "BX2": e_bx2}, ax="AX", bx2="BX2"
    )
    for bound in (found.ax_rich_ev, found.bx2_rich_ev):
        assert a * bound["AX"] + b * bound["BX2"] == pytest.approx(host, abs=1e-9)
    assert (found.ax_rich_ev["AX"], found.bx2_rich_ev["BX2"]) == (e_ax, e_bx2)
    assert a * (found.ax_rich_ev["AX"] - found.bx2_rich_ev["AX"]) == pytest.approx(found.window_ev, abs=1e-9)


@pytest.mark.parametrize(("host_ev", "is_stable"), [(-5.8, True), (-5.6, False)])
def test_a_host_above_its_compounds_has_no_window_and_says_so(host_ev, is_stable):
    potentials = bound_potentials(
        host_ev_per_fu=host_ev,
        amounts={"CsI": 1, "PbI2": 1},
        bulk_ev_per_fu={"CsI": -3.3, "PbI2": -2.4},
        ax="CsI",
        bx2="PbI2",
    )
    check = check_window(potentials)
    assert check.is_passed is is_stable
    assert ("no chemical potentials keep it stable" in check.finding) is not is_stable
    assert not check.is_decisive


def make_film_steps(termination: str | None, **changes: object) -> StudySteps:
    black = {"phase": "CsPbI3-alpha", "role": "black", "planes": ["100"], "termination": termination}
    return make_steps(phases=[black], film=CELL_FILM, **changes)


@cache
def answer(termination: str) -> StabilizationDoc:
    """Carry out a one-phase study with the toy potential."""
    steps = make_film_steps(termination)
    (last,) = list(stages(steps, {}))[-1:]
    return assemble(steps, last)


@pytest.mark.parametrize("pair", ["CsI|CsI", "PbI2|PbI2"])
def test_doubling_the_cell_doubles_the_energy_of_a_film_with_an_excess(pair):
    steps = make_film_steps(pair)
    film = preview_structures(steps)[steps.id_of(Part.FILM_SLAB, steps.candidates[0].id)].to_pymatgen()
    once, twice = (
        toy_engine().static(StructureRecord.from_pymatgen(cell)).energy_ev for cell in (film, film * (2, 1, 1))
    )
    assert twice == pytest.approx(2 * once, abs=1e-6)


def surface_at_bounds_ev(result: CandidateResult) -> tuple[float, float]:
    assert result.bx2_rich is not None
    return tuple(terms.surface_ev_per_fu * result.n_formula_units for terms in (result, result.bx2_rich))


def test_the_surface_energies_of_both_layers_add_up_independently_of_the_potentials():
    """Together CsI|CsI and PbI2|PbI2 hold whole formula units, so what μ gives to one it takes from the other."""
    (iodide,), (lead,) = (answer(pair).candidates for pair in ("CsI|CsI", "PbI2|PbI2"))
    assert iodide.candidate.excess["CsI"] == lead.candidate.excess["PbI2"]
    ax_rich, bx2_rich = (sum(pair) for pair in zip(*map(surface_at_bounds_ev, (iodide, lead)), strict=True))
    assert ax_rich == pytest.approx(bx2_rich, abs=1e-9)


@pytest.mark.parametrize("pair", ["CsI|CsI", "PbI2|PbI2"])
def test_the_terms_add_up_at_both_bounds(pair):
    doc = answer(pair)
    (result,) = doc.candidates
    assert not result.missing
    assert abs(result.identity_residual_ev) <= IDENTITY_TOLERANCE_EV * result.n_formula_units
    for terms in (result, result.bx2_rich):
        parts = (terms.bulk_ev_per_fu, terms.strain_ev_per_fu, terms.surface_ev_per_fu, terms.binding_ev_per_fu)
        assert sum(parts) == pytest.approx(terms.total_ev_per_fu, abs=1e-9)
    moved = (result.total_ev_per_fu - result.bx2_rich.total_ev_per_fu) * result.n_formula_units
    potentials = doc.chemical_potentials
    gained = sum(
        count * (potentials.bx2_rich_ev[name] - potentials.ax_rich_ev[name])
        for name, count in result.candidate.excess.items()
    )
    assert moved == pytest.approx(gained, abs=1e-9)
    assert any(check.name == "chemical potentials" for check in result.checks)


def test_a_stoichiometric_study_computes_no_reservoirs():
    steps = make_film_steps("PbI2")
    assert steps.reservoirs == ()
    assert not {"CsI", "PbI2"} & {step.id.owner for step in steps.steps}
    (last,) = list(stages(steps, {}))[-1:]
    doc = assemble(steps, last)
    assert doc.chemical_potentials is doc.bx2_rich is doc.candidates[0].bx2_rich is None


@pytest.mark.parametrize("pair", ["CsI|CsI", "PbI2|PbI2"])
@pytest.mark.parametrize("periods", [1, 2])
def test_a_film_with_an_excess_holds_its_formula_units_and_the_excess(pair, periods):
    steps = make_film_steps(pair)
    film = {**CELL_FILM, "reference_periods": periods}
    steps = make_steps(phases=[p.model_dump() for p in steps.study.phases], film=film)
    (candidate,) = steps.candidates
    species = preview_structures(steps)[steps.id_of(Part.FILM_SLAB, candidate.id)].species
    n, excess = candidate.n_formula_units, candidate.excess
    assert species.count("Cs") == n + excess.get("CsI", 0)
    assert species.count("Pb") == n + excess.get("PbI2", 0)
    assert species.count("I") == 3 * n + excess.get("CsI", 0) + 2 * excess.get("PbI2", 0)
    reference = preview_structures(steps)[steps.id_of(Part.STRAINED_BULK, candidate.id)].species
    assert n % reference.count("Pb") == 0


def test_the_answer_names_both_bounds_where_they_differ():
    steps = make_film_steps("CsI|CsI", decomposition={"products": ["CsI", "PbI2"]})
    (last,) = list(stages(steps, {}))[-1:]
    doc = assemble(steps, last)
    assert doc.stabilization.sentence.startswith("CsI-rich: ")
    assert f"PbI2-rich: {doc.bx2_rich.sentence}" in doc.stabilization.sentence
    assert doc.stabilization.competitor == doc.bx2_rich.competitor == "CsI + PbI2"
    assert doc.bx2_rich.total_ev_per_fu == pytest.approx(
        doc.candidates[0].bx2_rich.total_ev_per_fu - doc.decomposition.total_ev_per_fu
    )
    (table,) = (table for table in list_tables(doc) if table.title == "The four terms, PbI2-rich")
    assert table.result.cells[-1].value == doc.bx2_rich.total_ev_per_fu


def test_an_excess_without_reservoirs_is_refused():
    phases = [{"phase": "CsPbI3-alpha", "role": "black", "planes": ["100"], "termination": "CsI|CsI"}]
    with pytest.raises(StudyError, match=r"add film.reservoirs, such as"):
        make_steps(phases=phases)


def test_an_unknown_or_charged_pair_is_refused_with_what_there_is():
    with pytest.raises(SlabError, match=r"name one of these as termination") as refusal:
        make_film_steps("CsI|PbI")
    assert "CsI|PbI2, PbI2|CsI, CsI|CsI, PbI2|PbI2" in refusal.value.limit
    steps = make_film_steps("PbI2")
    polar = steps.study.phases[0].model_copy(update={"planes": ("111",), "termination": "Pb|Pb"})
    with pytest.raises(ChargeBalanceError, match="choose a neutral termination of this plane"):
        find_candidates(steps.study.model_copy(update={"phases": (polar,)}), steps.crystals)

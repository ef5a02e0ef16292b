"""Whether the energy of an interface depends on how thick the film is, with the default potential."""

from __future__ import annotations

from pathlib import Path

from qdip_dft.analysis.coverage import evaluate_total
from qdip_dft.execution.local import run_study
from qdip_dft.model.study import StudySpec
from qdip_dft.planning.plan import plan_study

STUDY = {
    "name": "one-film",
    "dot": {"material": "PbS", "facets": ["100"], "min_thickness_ang": 11},
    "host": "CsPbI3",
    "phases": [{"phase": "CsPbI3-gamma", "role": "black", "planes": ["110"], "termination": "PbI2"}],
    "terms_only": True,
    "check_minima": False,
    "matching": {"max_area_ang2": 200, "max_strain": 0.04},
    "film": {"min_thickness_ang": 12, "thicknesses": 3},
    "engine": {"name": "mlip", "preset": "balanced"},
}


def test_doubling_a_film_between_two_dots_moves_it_by_less_than_three_mev(tmp_path: Path) -> None:
    """At the coverage of the thin one; at its own the thick film would be 0.1 eV higher."""
    (document,) = run_study(plan_study(StudySpec.model_validate(STUDY)), results=tmp_path, workers=1).documents
    (thin,) = document.candidates
    assert document.uncertainty is not None
    *_, twice = document.uncertainty.samples
    assert twice.n_formula_units == 2 * thin.n_formula_units
    assert not twice.faults
    assert thin.coverage_fu_per_ang2 is not None
    moved = evaluate_total(twice, thin.coverage_fu_per_ang2) - evaluate_total(thin, thin.coverage_fu_per_ang2)
    assert abs(moved) < 0.003
    assert twice.total_ev_per_fu - thin.total_ev_per_fu > 0.05

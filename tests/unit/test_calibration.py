"""The error of a potential from single points of another engine: what is measured, and whose error it is."""

from __future__ import annotations

from math import hypot, sqrt

import pytest

from qdip_dft.analysis.calibration import estimate_model_error, measure_calibration
from qdip_dft.analysis.coverage import evaluate_terms
from qdip_dft.analysis.sides import find_sides
from qdip_dft.errors import ResultsError, StudyError
from qdip_dft.model.calculation import Level, LevelOfTheory
from qdip_dft.model.calibration import Calibration
from qdip_dft.model.resolution import MODEL_ERROR_EV_PER_FU
from qdip_dft.model.stabilization import StabilizationDoc
from qdip_dft.planning.study_files import read_engine
from tests.unit.report_documents import make_black, make_document, make_yellow

ELEMENTS = ("Pb", "S", "I", "C", "N", "H")
DEFAULT = MODEL_ERROR_EV_PER_FU[Level.SCREENING]
OF_REFERENCE = MODEL_ERROR_EV_PER_FU[Level.DFT]


def potential() -> StabilizationDoc:
    return make_document()


def reference(*, strain: float = 0.03, binding: float = -0.4) -> StabilizationDoc:
    """The same films with other energies of the black one, by another engine and from another zero."""
    films = (
        make_black(terms_ev_per_fu=(7.05, strain, 0.2, binding)),
        make_yellow(terms_ev_per_fu=(7.0, 0.06, 0.15, -0.15)),
    )
    theory = potential().theory
    assert isinstance(theory, LevelOfTheory)
    other = theory.model_copy(update={"engine": "cp2k", "code": "CP2K", "level": Level.DFT})
    return make_document(*films).model_copy(update={"theory": other})


def calibrate(*, strain: float = 0.03, binding: float = -0.4) -> Calibration:
    return measure_calibration(potential(), reference(strain=strain, binding=binding), elements=ELEMENTS)


def coverage() -> float:
    n = potential().stabilization.coverage_fu_per_ang2
    assert n is not None
    return n


def test_the_correction_is_what_the_reference_changes_of_strain_and_interfaces() -> None:
    found, other = calibrate(strain=0.05, binding=-0.36), reference(strain=0.05, binding=-0.36)
    changes = {}
    for n in (coverage(), 0.02):
        own, theirs = ([evaluate_terms(film, n) for film in find_sides(doc).films] for doc in (potential(), other))
        differences = [(pair[0] - pair[1]) for pair in (own, theirs)]
        changes[n] = sum((differences[1][name] or 0.0) - (differences[0][name] or 0.0) for name in (
            "strain", "surface", "binding"))  # fmt: skip
    assert found.strain_ev_per_fu == pytest.approx(0.02)
    assert found.correction_ev_per_fu(coverage()) == pytest.approx(0.06)
    assert {n: found.correction_ev_per_fu(n) for n in changes} == pytest.approx(changes)


def test_without_a_calibration_the_default_of_the_level_counts() -> None:
    found = estimate_model_error(potential(), [], elements=ELEMENTS)
    assert hypot(found.strain_ev_per_fu, found.interface_ev_per_fu) == DEFAULT
    assert found.used == ()
    assert "qdip calibrate" in found.finding


def test_the_calibration_of_the_own_films_is_the_error_itself() -> None:
    found = estimate_model_error(potential(), [calibrate(strain=0.04)], elements=ELEMENTS)
    error = hypot(found.strain_ev_per_fu, found.interface_ev_per_fu)
    assert error == pytest.approx(hypot(0.01, OF_REFERENCE))
    assert error < DEFAULT
    assert "+0.010 eV/f.u." in found.finding


def test_of_other_films_the_default_counts_as_one_more_value() -> None:
    others = [
        calibrate(strain=0.03 + change).model_copy(update={"result_id": f"other-{change}"})
        for change in (0.01, -0.02, 0.03)
    ]
    found = estimate_model_error(potential(), others, elements=ELEMENTS)
    expected = sqrt((DEFAULT**2 + 0.01**2 + 0.02**2 + 0.03**2) / 4 + OF_REFERENCE**2)
    assert hypot(found.strain_ev_per_fu, found.interface_ev_per_fu) == pytest.approx(expected)
    assert len(found.used) == 3


def test_one_lucky_calibration_of_other_films_does_not_make_an_answer_sure() -> None:
    lucky = calibrate().model_copy(update={"result_id": "other"})
    found = estimate_model_error(potential(), [lucky], elements=ELEMENTS)
    assert hypot(found.strain_ev_per_fu, found.interface_ev_per_fu) > DEFAULT / 2


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"facet": "PbS(100)"}, "calibrated for PbS(100) with C, H, I, N, Pb, S only"),
        ({"elements": ("Pb", "S", "I", "Cs")}, "calibrated for PbS(111) with Pb, S, I, Cs only"),
        ({"potential": reference().theory}, "not calibrated"),
    ],
)
def test_outside_its_range_a_calibration_says_nothing(changes: dict[str, object], said: str) -> None:
    other = calibrate(strain=0.04).model_copy(update=changes)
    found = estimate_model_error(potential(), [other], elements=ELEMENTS)
    assert hypot(found.strain_ev_per_fu, found.interface_ev_per_fu) == DEFAULT
    assert said in found.finding


def test_an_engine_does_not_calibrate_itself() -> None:
    with pytest.raises(ResultsError, match="--engine cp2k"):
        measure_calibration(potential(), potential(), elements=ELEMENTS)


def test_a_calibration_of_one_side_alone_is_refused() -> None:
    alone = reference().model_copy(update={"candidates": reference().candidates[:1]})
    with pytest.raises(ResultsError, match="with --retry"):
        measure_calibration(potential(), alone, elements=ELEMENTS)


def test_an_engine_is_named_by_a_word_or_in_full() -> None:
    assert read_engine("cp2k").name == "cp2k"
    assert read_engine("{name: gpaw, settings: {k_spacing_per_ang: 0.2}}").settings == {"k_spacing_per_ang": 0.2}
    for wrong in ("[1]", "{naame: cp2k}", "{"):
        with pytest.raises(StudyError, match="--engine cp2k"):
            read_engine(wrong)

"""Whether a bulk is a minimum, and what is said about one that is not."""

from __future__ import annotations

import numpy as np
import pytest

from qdip_dft.analysis.minima import check_minimum
from qdip_dft.builders.minima import build_tilting_cell, count_tilting_repeats
from qdip_dft.flows.geometry_checks import check_minima
from qdip_dft.flows.steps import Part
from qdip_dft.model.calculation import Freedom
from tests.unit.crystals import load, load_ions
from tests.unit.studies import make_steps, stages

CHECKED = {"schema_version": 2, "environment": "capped", "film": {"min_thickness_ang": 6, "registries": [[0, 0]]}}


@pytest.mark.parametrize(
    ("name", "repeats"),
    [
        ("CsPbI3-alpha", (2, 2, 2)),
        ("CsPbI3-beta", (1, 1, 2)),
        ("CsPbI3-gamma", (1, 1, 1)),
        ("FAPbI3-orthorhombic", (1, 1, 1)),
        ("PbS", (2, 2, 2)),
    ],
)
def test_every_axis_holds_two_octahedra(name, repeats):
    assert count_tilting_repeats(load_ions(name)) == repeats


def test_molecules_stay_rigid_in_the_tilting_cell():
    crystal = load_ions("FAPbI3-alpha")
    tilting = build_tilting_cell(crystal, seed=0)
    assert len(tilting.ions) == 8 * len(crystal.ions)
    (first, *_) = (ion for ion in tilting.ions if ion.label == "FA")
    (own, *_) = (ion for ion in crystal.ions if ion.label == "FA")
    assert first.offsets_ang == pytest.approx(own.offsets_ang)


def test_a_gain_above_5_mev_is_a_saddle_point():
    assert check_minimum(0.0049, crystal="CsPbI3-gamma").is_passed
    failed = check_minimum(0.212, crystal="CsPbI3-alpha")
    assert not failed.is_passed
    assert not failed.is_decisive
    assert "tilt gain +212.0 meV/f.u." in failed.finding


def test_every_bulk_is_relaxed_once_more_where_it_may_tilt():
    steps = make_steps(**CHECKED)
    *_, resolution = stages(steps, {})
    tilting = {step.id.owner: step for step in steps.steps if step.part is Part.TILTING_BULK}
    assert set(tilting) == {"PbTe", "CsPbI3-alpha", "CsPbI3-delta"}
    assert all(step.freedom is Freedom.CELL for step in tilting.values())
    alpha = tilting["CsPbI3-alpha"].id
    assert resolution.tasks[alpha].structure.n_atoms == 8 * load("CsPbI3-alpha").structure.n_atoms
    checks = check_minima(steps, resolution, tilting)
    assert len(checks) == 3
    assert all("tilt gain" in check.finding for check in checks)
    gains = [float(check.finding.split("tilt gain ")[1].split(" meV")[0]) for check in checks]
    assert min(gains) > -1.0
    assert [check.is_passed for check in checks] == [bool(np.abs(gain) <= 5.0) for gain in gains]


def test_a_code_that_is_too_costly_for_it_says_so():
    steps = make_steps(**CHECKED)
    unable = type(steps)(steps.study, steps.crystals, steps.candidates, can_check_minima=False)
    assert not any(step.part is Part.TILTING_BULK for step in unable.steps)
    (check,) = check_minima(unable, next(stages(steps, {})), ["PbTe", "CsPbI3-alpha"])
    assert check.finding.startswith("not checked: the engine relaxes by density-functional theory")

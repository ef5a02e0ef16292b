"""CP2K with sites that have no atom: what a layer of lithium hydride borrows from the one it lies on."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from qdip_dft.finished.matching_steps import SiteMatch, match_sites
from qdip_dft.finished.readers import read_run
from qdip_dft.model.structure import Presence, StructureRecord
from qdip_dft.runtime.journal import SCRATCH_VARIABLE
from tests.dft_codes import coarse_engine, scratch_files

EDGE_ANG = 4.08
"""Of the cubic cell of LiH; the layers are half of it apart."""

GAMMA = {"k_spacing_per_ang": 2.5, "basis_set": "DZVP-MOLOPT-SR-GTH"}
"""One k-point in the plane of the layers."""


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(SCRATCH_VARIABLE, str(tmp_path))
    return tmp_path


def layers(*, gap_ang: float = EDGE_ANG / 2, height_ang: float = EDGE_ANG) -> StructureRecord:
    """Return two layers of LiH, one above the other as in the crystal: the dot, then the film."""
    edge_ang, z = EDGE_ANG / 2**0.5, gap_ang / height_ang
    return StructureRecord(
        lattice_ang=((edge_ang, 0, 0), (0, edge_ang, 0), (0, 0, height_ang)),
        species=("Li", "H", "Li", "H"),
        frac_coords=((0, 0, 0), (0.5, 0.5, 0), (0.5, 0.5, z), (0, 0, z)),
    )


def lower(whole: StructureRecord, upper: Presence) -> StructureRecord:
    """Return the lower layer, with something else where the upper one is."""
    return whole.model_copy(update={"presence": (Presence.ATOM,) * 2 + (upper,) * 2})


def energy_ev(structure: StructureRecord, **changes: object) -> float:
    return coarse_engine("cp2k", **{**GAMMA, **changes}).static(structure).energy_ev


def borrowed_ev(whole: StructureRecord, **changes: object) -> float:
    alone, with_ghosts = (energy_ev(lower(whole, each), **changes) for each in (Presence.ABSENT, Presence.GHOST))
    return alone - with_ghosts


def test_ghosts_within_reach_lower_the_energy_of_a_layer_and_a_larger_basis_borrows_less() -> None:
    small = borrowed_ev(layers(), basis_set="SZV-MOLOPT-SR-GTH")
    large = borrowed_ev(layers(), basis_set="DZVP-MOLOPT-SR-GTH")
    assert 0.001 < large < small


def test_ghosts_out_of_reach_change_nothing() -> None:
    assert borrowed_ev(layers(gap_ang=12.0, height_ang=24.0)) == pytest.approx(0.0, abs=1e-5)


def test_an_absent_atom_leaves_the_energy_of_the_others() -> None:
    whole = layers()
    rest = whole.model_copy(update={"species": whole.species[:2], "frac_coords": whole.frac_coords[:2]})
    assert energy_ev(lower(whole, Presence.ABSENT)) == pytest.approx(energy_ev(rest), abs=1e-6)


def test_both_ways_have_the_mesh_and_the_dipole_correction_of_the_whole(scratch: Path) -> None:
    whole = layers(height_ang=24.0)
    for each in (Presence.ABSENT, Presence.GHOST):
        energy_ev(lower(whole, each), k_spacing_per_ang=1.2)
    inputs = [path.read_text() for path in scratch_files(scratch, "cp2k.inp")]
    first, second = (re.findall(r"^\s*(?:SURF\w+|KPOINT|[ABC]) .*", text, flags=re.MULTILINE) for text in inputs)
    assert any("SURF_DIP_POS" in line for line in first)
    assert any("KPOINT" in line for line in first)
    assert first == second


def test_a_finished_run_tells_which_sites_have_no_atom(scratch: Path) -> None:
    asked = lower(layers(), Presence.GHOST)
    energy_ev(asked)
    found = read_run(scratch_files(scratch, "cp2k.out")[-1].parent, "cp2k")
    assert found.start.presence == asked.presence
    assert isinstance(match_sites(asked, found.start, tolerance_ang=1e-4), SiteMatch)
    others = (layers(), lower(layers(), Presence.ABSENT))
    assert all(isinstance(match_sites(each, found.start, tolerance_ang=1e-4), str) for each in others)

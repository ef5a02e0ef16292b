"""Structure files: what is written is read back, labels included."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from qdip_dft.builders.ions import find_ions, name_ions, repeat_crystal
from qdip_dft.errors import ResultsError, StructureError
from qdip_dft.library.reading import read_structure
from qdip_dft.model.structure import StructureRecord
from qdip_dft.results.structure_export import (
    StructureFormat,
    choose_format,
    label_crystal,
    label_sites,
    label_structure,
    read_labelled,
    render_structure,
    write_structure,
)
from tests.unit.crystals import distances_of, load, positions_ang

PHASES = ("PbS", "CsPbI3-delta", "FAPbI3-alpha", "FAPbI3-delta", "MAPbI3-cubic")
FORMATS = (".cif", ".vasp", ".extxyz")


def two_parts(name: str = "FAPbI3-alpha") -> StructureRecord:
    """Return two cells of a crystal, one called dot and the other film."""
    crystal = load(name)
    record = repeat_crystal(find_ions(crystal.structure, crystal.formal_charges), np.diag([1, 1, 2])).to_record()
    parts = ["film" if z > 0.5 else "dot" for z in np.array(record.frac_coords)[:, 2] % 1]
    return label_structure(record, parts=parts)


def wrapped(record: StructureRecord) -> StructureRecord:
    return record.model_copy(update={"frac_coords": tuple(map(tuple, (np.array(record.frac_coords) % 1).tolist()))})


@pytest.mark.parametrize("name", PHASES)
@pytest.mark.parametrize("suffix", FORMATS)
def test_a_written_structure_is_read_back(tmp_path: Path, name: str, suffix: str) -> None:
    labelled = label_structure(load(name).structure)
    read = read_structure(write_structure(labelled, tmp_path / f"file{suffix}", title=name))
    expected = labelled.to_pymatgen()
    assert np.allclose(np.sort(read.lattice.abc), np.sort(expected.lattice.abc), atol=1e-6)
    assert sorted(site.specie.symbol for site in read) == sorted(labelled.species)
    for site in read:
        twins = [other for other in expected if other.specie == site.specie]
        distances = [read.lattice.get_distance_and_image(site.frac_coords, twin.frac_coords)[0] for twin in twins]
        assert min(distances) < 1e-6


@pytest.mark.parametrize("suffix", [".cif", ".extxyz"])
def test_parts_and_ions_survive_a_file(tmp_path: Path, suffix: str) -> None:
    labelled = two_parts()
    read = read_labelled(write_structure(labelled, tmp_path / f"file{suffix}", title="two parts"))
    assert read.species == labelled.species
    assert read.parts == labelled.parts
    assert [name_ions(read)[ion] for ion in read.ion] == [name_ions(labelled)[ion] for ion in labelled.ion]


def test_the_labels_are_those_of_the_frame_that_is_read(tmp_path: Path) -> None:
    last = two_parts()
    first = label_structure(last, parts=["film" if part == "dot" else "dot" for part in last.parts])
    frames = (render_structure(record, StructureFormat.EXTXYZ, title="a frame") for record in (first, last))
    path = tmp_path / "frames.extxyz"
    path.write_text("".join(frames), encoding="utf-8")
    assert read_labelled(path).parts == last.parts


def test_a_poscar_groups_the_elements_and_keeps_the_labels() -> None:
    labelled = two_parts()
    lines = render_structure(labelled, StructureFormat.POSCAR, title="two parts").splitlines()
    elements, counts = lines[5].split(), [int(n) for n in lines[6].split()]
    assert len(set(elements)) == len(elements)
    assert dict(zip(elements, counts, strict=True)) == {e: labelled.species.count(e) for e in elements}
    assert sorted(line.split()[-1] for line in lines[8:]) == sorted(label_sites(labelled))


def test_fixed_atoms_are_fixed_in_a_poscar_and_an_extended_xyz(tmp_path: Path) -> None:
    from ase.io import read

    labelled = two_parts("PbS")
    is_fixed = tuple(part == "dot" for part in labelled.parts)
    held = label_structure(labelled.model_copy(update={"is_fixed": is_fixed}), parts=labelled.parts)
    for suffix in (".vasp", ".extxyz"):
        atoms = read(write_structure(held, tmp_path / f"file{suffix}", title="held"))
        (constraint,) = atoms.constraints
        assert len(constraint.get_indices()) == sum(is_fixed)


def test_labels_are_unique_and_name_element_part_and_ion() -> None:
    labelled = two_parts()
    labels = label_sites(labelled)
    assert len(set(labels)) == len(labels)
    for site, label in enumerate(labels):
        head, part, ion = label.split("_")
        assert head == f"{labelled.species[site]}{site}"
        assert (part, int(ion)) == (labelled.parts[site], labelled.ion[site])


@pytest.mark.parametrize("name", ["FAPbI3-alpha", "FAPbI3-delta", "MAPbI3-cubic"])
def test_molecules_are_made_whole(name: str) -> None:
    crystal = load(name)
    whole = label_structure(wrapped(crystal.structure))
    expected = find_ions(crystal.structure, crystal.formal_charges)
    places = positions_ang(whole)
    cation = next(ion for ion in expected.ions if len(ion.species) > 1)
    sites = list(cation.site_indices)
    assert len({whole.ion[site] for site in sites}) == 1
    assert name_ions(whole)[whole.ion[sites[0]]] == cation.label
    assert np.allclose(distances_of(places[sites]), distances_of(cation.offsets_ang), atol=1e-6)


@pytest.mark.parametrize("name", ["PbS", "FAPbI3-alpha", "FAPbI3-delta"])
def test_a_built_crystal_is_labelled_as_its_atoms_are(name: str) -> None:
    crystal = load(name)
    built = find_ions(crystal.structure, crystal.formal_charges)
    known = label_crystal(built, ion_parts=["film"] * len(built.ions))
    found = label_structure(built.to_record(), parts=["film"] * built.n_atoms)
    assert (known.parts, known.ion) == (found.parts, found.ion)
    assert name_ions(known) == name_ions(found)
    assert np.allclose(positions_ang(known), positions_ang(found))


def test_an_extended_xyz_carries_its_title() -> None:
    text = render_structure(two_parts("PbS"), StructureFormat.EXTXYZ, title='a "quoted"\ntitle')
    assert "quoted" in text.splitlines()[1]
    assert len(text.splitlines()) == 2 + two_parts("PbS").n_atoms


@pytest.mark.parametrize("parts", [["dot"], ["two words"] * 8, ["under_score"] * 8, [""] * 8])
def test_parts_that_would_be_lost_are_refused(parts: list[str]) -> None:
    with pytest.raises(StructureError, match="give one word for each atom"):
        label_structure(load("PbS").structure, parts=parts)


@pytest.mark.parametrize("name", ["picture.gif", "structure", "structure.json"])
def test_an_unknown_ending_is_refused(name: str) -> None:
    with pytest.raises(StructureError, match="give one of these endings"):
        choose_format(Path(name))


def test_a_file_that_cannot_be_written_is_explained(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ResultsError, match="or write elsewhere"):
        write_structure(two_parts("PbS"), tmp_path / "file" / "pbs.cif", title="PbS")

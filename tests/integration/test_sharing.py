"""Sharing results: bundles, training sets and OPTIMADE folders of a finished study."""

from __future__ import annotations

import getpass
import hashlib
import json
import platform
import shutil
from dataclasses import dataclass
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
from ase.io import read

from qdip_dft.engines.registry import engine_from_spec
from qdip_dft.errors import LevelOfTheoryError, ResultsError
from qdip_dft.library.reading import read_structure
from qdip_dft.model.calculation import CALCULATION_SCHEMA_VERSION, CalculationRecord, Freedom
from qdip_dft.model.engine import EngineSpec
from qdip_dft.model.registry import REGISTRY_SCAN_SCHEMA_VERSION
from qdip_dft.model.stabilization import FORMULA_VERSION, StabilizationDoc
from qdip_dft.model.stored import StoredRecord
from qdip_dft.model.structure import StructureRecord
from qdip_dft.model.versions import STABILIZATION_SCHEMA_VERSION
from qdip_dft.results.archive import Archive
from qdip_dft.results.bundle import export_bundle
from qdip_dft.results.bundle_reading import read_bundle
from qdip_dft.results.bundle_restoring import restore_evidence
from qdip_dft.results.migrations import read_calculation, read_stabilization
from qdip_dft.results.optimade_folder import export_optimade
from qdip_dft.results.structure_export import read_labelled
from qdip_dft.results.training_set import export_training_set
from qdip_dft.storage.results_folder import ResultsFolder, open_archive
from tests.command_line import assert_four_parts, qdip

TOY_STUDY = Path(__file__).parents[1] / "cluster" / "toy-study.yaml"
N_CALCULATIONS = 22
N_REGISTRY_SCANS = 2
N_DOCUMENTS = N_CALCULATIONS + N_REGISTRY_SCANS + 1


@dataclass(frozen=True)
class Shared:
    """A finished study and everything that was exported of it."""

    results: Path
    bundle: Path
    optimade: Path
    extxyz: Path

    @property
    def archive(self) -> Archive:
        return open_archive(ResultsFolder(self.results))

    def records(self) -> dict[str, CalculationRecord]:
        return {record.key: record for record in self.archive.list_calculations()}

    def copy_changed(self, folder: Path, **changes: object) -> Archive:
        """Return a copy of the archive in which every calculation was changed in the same way."""
        archive = open_archive(ResultsFolder(folder))
        archive.save_records([record.model_copy(update=changes) for record in self.archive.list_calculations()])
        archive.save_records(list(self.archive.list_registry_scans()))
        for document in self.archive.list_stabilizations():
            archive.save_stabilization(document)
        return archive


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Shared:
    folder = tmp_path_factory.mktemp("shared")
    made = Shared(folder / "results", folder / "toy.zip", folder / "optimade", folder / "toy.extxyz")
    qdip("run", TOY_STUDY, "--results", made.results)
    options = ("--bundle", made.bundle, "--optimade", made.optimade, "--extxyz", made.extxyz)
    qdip("export", "toy-study", "--results", made.results, *options)
    return made


def export(results: Path, target: Path) -> bytes:
    qdip("export", "toy-study", "--results", results, "--bundle", target)
    return target.read_bytes()


def contents(bundle: Path) -> dict[str, bytes]:
    with ZipFile(bundle) as members:
        return {name: members.read(name) for name in members.namelist()}


def stored(results: Path) -> tuple[list[StabilizationDoc], list[StoredRecord]]:
    archive = open_archive(ResultsFolder(results))
    records = sorted([*archive.list_calculations(), *archive.list_registry_scans()], key=lambda record: record.key)
    return archive.list_stabilizations(), records


def test_the_same_content_gives_the_same_bytes(shared: Shared, tmp_path: Path) -> None:
    assert export(shared.results, tmp_path / "again.zip") == shared.bundle.read_bytes()


def test_an_imported_bundle_has_the_same_numbers_and_exports_the_same_bytes(shared: Shared, tmp_path: Path) -> None:
    qdip("import-bundle", shared.bundle, "--results", tmp_path / "restored")
    assert stored(tmp_path / "restored") == stored(shared.results)
    assert export(tmp_path / "restored", tmp_path / "again.zip") == shared.bundle.read_bytes()


def test_archives_read_what_a_bundle_holds(shared: Shared) -> None:
    members = contents(shared.bundle)
    crate = json.loads(members["ro-crate-metadata.json"])
    entities = {entity["@id"]: entity for entity in crate["@graph"]}
    assert crate["@context"] == "https://w3id.org/ro/crate/1.1/context"
    assert len(entities) == len(crate["@graph"])
    assert entities["ro-crate-metadata.json"]["about"] == {"@id": "./"}
    assert entities["ro-crate-metadata.json"]["conformsTo"] == {"@id": "https://w3id.org/ro/crate/1.1"}
    root = entities["./"]
    assert all(root[name] for name in ("name", "description", "datePublished", "license"))
    assert {part["@id"] for part in root["hasPart"]} == set(members) - {"ro-crate-metadata.json"}
    assert all(entities[part["@id"]]["@type"] == "File" for part in root["hasPart"])
    (result,) = stored(shared.results)[0]
    (answer,) = (entities[each["@id"]] for each in root["variableMeasured"])
    assert answer["value"] == result.stabilization.total_ev_per_fu
    assert answer["unitText"].startswith("eV per formula unit")
    assert (
        f"n* = {result.stabilization.coverage_fu_per_ang2:.4f} f.u. per Å² of dot, level test" in answer["description"]
    )


def test_a_restored_result_is_reported_and_its_study_runs_without_calculating(shared: Shared, tmp_path: Path) -> None:
    qdip("import-bundle", shared.bundle, "--results", tmp_path / "restored")
    original = json.loads(qdip("report", "toy-study", "--results", shared.results, "--json").stdout)
    assert json.loads(qdip("report", "toy-study", "--results", tmp_path / "restored", "--json").stdout) == original
    (tmp_path / "study.yaml").write_bytes(contents(shared.bundle)["inputs/toy-study.yaml"])
    again = qdip("run", tmp_path / "study.yaml", "--results", tmp_path / "restored")
    assert f"0 calculations made, {N_DOCUMENTS - 1} found" in again.stdout


def test_importing_twice_writes_nothing_the_second_time(shared: Shared, tmp_path: Path) -> None:
    qdip("import-bundle", shared.bundle, "--results", tmp_path / "restored")
    before = stored(tmp_path / "restored")
    again = qdip("import-bundle", shared.bundle, "--results", tmp_path / "restored")
    assert f"0 documents written to {tmp_path / 'restored'}, {N_DOCUMENTS} were there" in again.stdout
    assert stored(tmp_path / "restored") == before


@pytest.mark.parametrize("kind", ["result", "calculation"])
def test_a_different_document_under_the_same_name_is_kept(shared: Shared, tmp_path: Path, kind: str) -> None:
    own = tmp_path / "own"
    archive = open_archive(ResultsFolder(own))
    if kind == "result":
        (document,) = shared.archive.find_stabilizations("toy-study")
        archive.save_stabilization(document.model_copy(update={"created_at": "2020-02-06T00:00:00+00:00"}))
    else:
        record = next(shared.archive.list_calculations())
        archive.save_records([record.model_copy(update={"finished_at": "2020-02-06T00:00:00+00:00"})])
    before = stored(own)
    refused = qdip("import-bundle", shared.bundle, "--results", own, check=False)
    assert_four_parts(refused, "stored here already and differs")
    assert stored(own) == before


def test_an_interrupted_import_leaves_no_result_without_evidence_and_goes_on(shared: Shared, tmp_path: Path) -> None:
    class Interrupted(Archive):
        __slots__ = ()

        def save_stabilization(self, document: StabilizationDoc) -> None:  # noqa: ARG002
            raise KeyboardInterrupt

    folder = ResultsFolder(tmp_path / "restored")
    evidence = read_bundle(shared.bundle).evidence
    stores = map(folder.collection, ("calculations", "stabilizations", "revisions"))
    with pytest.raises(KeyboardInterrupt):
        restore_evidence(evidence, Interrupted(*stores).connect())
    assert stored(folder.path)[0] == []
    done = restore_evidence(evidence, open_archive(folder))
    assert (done.n_written, done.n_skipped) == (1, N_DOCUMENTS - 1)
    assert stored(folder.path) == stored(shared.results)


def test_a_bundle_holds_every_calculation_and_its_structures(shared: Shared) -> None:
    members = contents(shared.bundle)
    keys = {name.split("/")[-1].removesuffix(".json") for name in members if name.startswith("documents/calculations/")}
    assert keys == set(shared.records())
    assert len(keys) == N_CALCULATIONS
    assert sum(name.startswith("documents/screenings/") for name in members) == N_REGISTRY_SCANS
    relaxed = [name for name in members if name.endswith("relaxed.cif")]
    assert len(relaxed) == sum(record.task.freedom is not Freedom.NONE for record in shared.records().values())


def test_the_manifest_lists_every_member_with_its_checksum(shared: Shared) -> None:
    members = contents(shared.bundle)
    manifest = json.loads(members.pop("manifest.json"))
    assert {m["name"]: m["sha256"] for m in manifest["members"]} == {
        name: hashlib.sha256(content).hexdigest() for name, content in members.items()
    }
    assert manifest["document_versions"] == {
        "calculation": [CALCULATION_SCHEMA_VERSION],
        "screening": [REGISTRY_SCAN_SCHEMA_VERSION],
        "stabilization": [STABILIZATION_SCHEMA_VERSION],
        "formula": [FORMULA_VERSION],
    }


def test_the_command_prints_the_checksum_of_the_whole_bundle(shared: Shared, tmp_path: Path) -> None:
    printed = qdip("export", "toy-study", "--results", shared.results, "--bundle", tmp_path / "toy.zip").stdout
    assert hashlib.sha256((tmp_path / "toy.zip").read_bytes()).hexdigest() in printed


def test_a_bundle_names_codes_and_packages_but_no_person_and_no_machine(shared: Shared) -> None:
    members = contents(shared.bundle)
    environment = json.loads(members["environment.json"])
    assert environment["codes"][0]["engine"] == "testing"
    assert environment["versions"]["toy-study"]["python"] == platform.python_version()
    text = b"".join(members.values()).decode()
    private = [str(Path.home()), str(shared.results), str(Path.cwd()), platform.node()]
    private += [word for word in (getpass.getuser(),) if len(word) > 5]  # a short one may be a word of the language
    assert [word for word in private if len(word) > 1 and word in text] == []


def test_the_readme_of_a_bundle_gives_the_answer_the_units_and_the_way_back(shared: Shared) -> None:
    readme = contents(shared.bundle)["README.md"].decode()
    (document,) = shared.archive.find_stabilizations("toy-study")
    assert document.stabilization.sentence in readme
    for words in ("eV per formula unit", "negative", "qdip import-bundle", "Masi"):
        assert words in readme


def test_the_structures_of_a_bundle_are_those_of_its_calculations(shared: Shared, tmp_path: Path) -> None:
    interface = next(r for r in shared.records().values() if r.task.label.startswith("interface"))
    for name, content in contents(shared.bundle).items():
        if not name.startswith("structures/") or interface.key[:12] not in name:
            continue
        path = tmp_path / name.replace("/", "-")
        path.write_bytes(content)
        assert interface.result is not None
        expected = interface.result.structure if "relaxed" in name else interface.task.structure
        labelled = read_labelled(path)
        assert labelled.species == expected.species
        assert set(labelled.parts) == {"dot", "film"}
        apart = np.array(labelled.frac_coords) - np.array(expected.frac_coords)
        assert np.abs(apart - np.round(apart)).max() < 1e-6
        assert np.allclose(read_structure(path).lattice.matrix, expected.lattice_ang, atol=1e-6)


def test_an_unknown_result_and_a_missing_folder_are_explained(shared: Shared, tmp_path: Path) -> None:
    unknown = qdip("export", "no-such", "--results", shared.results, "--bundle", tmp_path / "x.zip", check=False)
    assert_four_parts(unknown, "toy-study")
    nowhere = qdip("export", "x", "--results", tmp_path / "none", "--bundle", tmp_path / "x.zip", check=False)
    assert_four_parts(nowhere, "--results DIR")
    assert_four_parts(qdip("export", "toy-study", "--results", shared.results, check=False), "--bundle toy-study.zip")
    assert list(tmp_path.iterdir()) == []


def test_a_result_whose_calculation_is_lost_is_not_exported(shared: Shared, tmp_path: Path) -> None:
    results = tmp_path / "results"
    shutil.copytree(shared.results, results)
    store = ResultsFolder(results).collection("calculations")
    lost = next(iter(shared.records()))
    store.remove_docs({"output.key": lost})
    store.close()
    refused = qdip("export", "toy-study", "--results", results, "--bundle", tmp_path / "x.zip", check=False)
    assert_four_parts(refused, lost)
    assert not (tmp_path / "x.zip").exists()


def test_a_bundle_that_cannot_be_written_is_explained(shared: Shared, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    target = tmp_path / "file" / "x.zip"
    refused = qdip("export", "toy-study", "--results", shared.results, "--bundle", target, check=False)
    assert_four_parts(refused, "write elsewhere")


def test_training_frames_give_energies_forces_and_stress_back_exactly(shared: Shared) -> None:
    records = shared.records()
    frames = read(shared.extxyz, index=":")
    assert len(frames) == N_CALCULATIONS // 2  # a relaxation ends where its static calculation is
    for frame in frames:
        record = records[frame.info["calculation_key"]]
        result = record.result
        assert result is not None
        assert frame.get_potential_energy() == pytest.approx(result.energy_ev, rel=0, abs=1e-12)
        assert np.abs(frame.get_forces() - result.forces_ev_per_ang).max() < 1e-12
        assert np.abs(frame.get_stress(voigt=False) - np.array(result.stress_ev_per_ang3)).max() < 1e-12
        assert np.abs(frame.cell[:] - result.structure.lattice_ang).max() < 1e-12
        assert np.abs(frame.get_scaled_positions(wrap=False) - result.structure.frac_coords).max() < 1e-12
        assert frame.get_chemical_symbols() == list(result.structure.species)
        assert frame.info["label"] == record.task.label
        assert frame.info["level"] == "test"


def test_no_geometry_is_in_a_training_set_twice(shared: Shared) -> None:
    frames = read(shared.extxyz, index=":")
    assert len({frame.positions.tobytes() for frame in frames}) == len(frames)


def test_training_forces_and_stress_have_the_sign_of_the_energy_gradient(shared: Shared) -> None:
    """Central differences of the engine's energy: F = −dE/dx, stress = dE/dε / V."""
    engine = engine_from_spec(EngineSpec(name="testing"))
    frame = next(f for f in read(shared.extxyz, index=":") if f.info["label"].startswith("film slab"))
    step = 1e-4  # Å, or strain: the error of the difference is of the order of its square

    def energy_ev(*, stretch: float = 0.0, move_ang: float = 0.0) -> float:
        changed = frame.copy()
        changed.positions[0, 0] += move_ang
        changed.set_cell(frame.cell[:] @ np.diag([1 + stretch, 1, 1]), scale_atoms=True)
        coordinates = changed.get_scaled_positions(wrap=False).tolist()
        record = StructureRecord(
            lattice_ang=changed.cell[:].tolist(), species=tuple(changed.symbols), frac_coords=tuple(coordinates)
        )
        return engine.static(record).energy_ev

    force = -(energy_ev(move_ang=step) - energy_ev(move_ang=-step)) / (2 * step)
    stress = (energy_ev(stretch=step) - energy_ev(stretch=-step)) / (2 * step) / frame.get_volume()
    assert abs(force) > 1e-3
    assert frame.get_forces()[0, 0] == pytest.approx(force, abs=1e-5)
    assert abs(stress) > 1e-4
    assert frame.get_stress(voigt=False)[0, 0] == pytest.approx(stress, abs=1e-7)


def test_every_optimade_line_passes_the_reference_models(shared: Shared) -> None:
    from optimade.models import EntryInfoResource, StructureResource

    header, info, *entries = map(json.loads, (shared.optimade / "optimade.jsonl").read_text().splitlines())
    assert header["x-optimade"]["meta"]["api_version"] == "1.1.0"
    described = EntryInfoResource.model_validate(info).properties
    for entry in entries:
        structure = StructureResource.model_validate(entry)
        assert structure.attributes.nsites == len(entry["attributes"]["species_at_sites"])
        assert set(entry["attributes"]) == set(described)
    assert {entry["id"] for entry in entries} == set(shared.records())


def test_an_optimade_entry_has_the_structure_and_the_energy_of_its_calculation(shared: Shared) -> None:
    records = shared.records()
    _, _, *entries = map(json.loads, (shared.optimade / "optimade.jsonl").read_text().splitlines())
    for entry in entries:
        result, attributes = records[entry["id"]].result, entry["attributes"]
        assert result is not None
        assert attributes["_qdip_energy"] == result.energy_ev
        assert attributes["_qdip_results"] == ["toy-study"]
        structure = result.structure.to_pymatgen()
        assert np.allclose(attributes["cartesian_site_positions"], structure.cart_coords, atol=1e-10)
        assert np.allclose(attributes["lattice_vectors"], structure.lattice.matrix, atol=1e-10)
        assert sum(attributes["elements_ratios"]) == pytest.approx(1)


def test_optimade_formulas_are_reduced_and_alphabetical(shared: Shared) -> None:
    _, _, *entries = map(json.loads, (shared.optimade / "optimade.jsonl").read_text().splitlines())
    bulks = {entry["attributes"]["_qdip_label"]: entry["attributes"] for entry in entries}
    assert bulks["bulk CsPbI3-beta"]["chemical_formula_descriptive"] == "Cs2 Pb2 I6"
    assert bulks["bulk CsPbI3-beta"]["chemical_formula_reduced"] == "CsI3Pb"
    assert bulks["bulk CsPbI3-beta"]["chemical_formula_anonymous"] == "A3BC"
    assert bulks["dot bulk PbTe"]["chemical_formula_reduced"] == "PbTe"


def test_a_result_of_a_real_potential_comes_back_with_the_same_numbers(tmp_path: Path) -> None:
    """A study and one of its calculations with SevenNet-0 and D3(BJ), in the form of the first schema version."""
    golden = Path(__file__).parents[1] / "data" / "golden"
    (document, record) = (
        json.loads((golden / f"{kind}-1-quickstart.json").read_text()) for kind in ("stabilization", "calculation")
    )
    source, target = (open_archive(ResultsFolder(tmp_path / name)) for name in ("source", "target"))
    source.save_records([read_calculation(record)])
    source.save_stabilization(read_stabilization(document))
    export_bundle(source, "quickstart", tmp_path / "quickstart.zip")
    restore_evidence(read_bundle(tmp_path / "quickstart.zip").evidence, target)
    assert target.list_stabilizations() == [read_stabilization(document)]
    assert target.find_calculation(record["key"]) == read_calculation(record)
    assert export_training_set(target, "quickstart", tmp_path / "quickstart.extxyz") == 1
    (frame,) = read(tmp_path / "quickstart.extxyz", index=":")
    assert frame.get_potential_energy() == pytest.approx(record["result"]["energy_ev"], rel=0, abs=1e-12)
    assert frame.info["weights_hash"] == record["theory"]["weights_hash"]


def test_facets_of_different_levels_of_theory_make_no_training_set(shared: Shared, tmp_path: Path) -> None:
    archive = shared.copy_changed(tmp_path / "results")
    record = next(r for r in shared.records().values() if r.task.freedom is Freedom.NONE)
    other = record.theory.model_copy(update={"functional": "another"})
    archive.save_records([record.model_copy(update={"theory": other})])
    (document,) = archive.find_stabilizations("toy-study")
    study = document.study.model_copy(update={"name": "two-facets"})
    for facet, theory in (("100", record.theory), ("111", other)):
        changes = {"id": f"two-facets@{facet}", "study": study, "theory": theory}
        archive.save_stabilization(document.model_copy(update=changes))
    with pytest.raises(LevelOfTheoryError, match="functional"):
        export_training_set(archive, "two-facets", tmp_path / "mixed.extxyz")
    assert not (tmp_path / "mixed.extxyz").exists()


def test_a_result_without_a_converged_calculation_makes_no_training_set(shared: Shared, tmp_path: Path) -> None:
    archive = shared.copy_changed(tmp_path / "results", result=None, failure="RuntimeError: synthetic")
    with pytest.raises(ResultsError, match="--retry"):
        export_training_set(archive, "toy-study", tmp_path / "none.extxyz")
    with pytest.raises(ResultsError, match="--retry"):
        export_optimade(archive, "toy-study", tmp_path / "optimade")
    assert not (tmp_path / "none.extxyz").exists()
    assert not (tmp_path / "optimade").exists()


def test_a_bundle_of_failed_calculations_is_still_evidence(shared: Shared, tmp_path: Path) -> None:
    failure = "FileNotFoundError: /home/someone/run/POTCAR"
    archive = shared.copy_changed(tmp_path / "results", result=None, failure=failure)
    export_bundle(archive, "toy-study", tmp_path / "failed.zip")
    assert b"someone" not in (tmp_path / "failed.zip").read_bytes()
    again = restore_evidence(read_bundle(tmp_path / "failed.zip").evidence, archive)
    assert (again.n_written, again.n_skipped) == (0, N_DOCUMENTS)

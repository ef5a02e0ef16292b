"""What is stored is not believed without a check: a changed digit is found, a forged total contradicts its energies."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from shutil import copytree
from typing import Any
from zipfile import ZipFile

import pytest

from qdip_dft.errors import DamagedDocumentError, ResultsError
from qdip_dft.execution.local import run_study
from qdip_dft.model.seals import SEAL, is_intact, seal
from qdip_dft.planning.plan import plan_study
from qdip_dft.planning.study_files import read_study
from qdip_dft.results.bundle_reading import read_bundle
from qdip_dft.results.retracing import list_contradictions, retrace
from qdip_dft.storage.results_folder import ResultsFolder, open_archive
from tests.command_line import assert_four_parts, qdip

TOY_STUDY = Path(__file__).parents[1] / "data" / "toy-study.yaml"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    results = tmp_path_factory.mktemp("finished") / "results"
    run_study(plan_study(read_study(str(TOY_STUDY))), results=results)
    return results


@pytest.fixture
def own(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished results that a test may alter."""
    return Path(copytree(finished, tmp_path / "results"))


def change_text(results: Path, collection: str, change: Callable[[str], str], *, row: int = 1) -> None:
    """Change the text of a stored document as an editor of the file would."""
    with closing(sqlite3.connect(results / "qdip.sqlite")) as connection, connection:
        (text,) = connection.execute(f"SELECT doc FROM {collection} WHERE id = ?", (row,)).fetchone()
        changed = change(text)
        assert changed != text
        connection.execute(f"UPDATE {collection} SET doc = ? WHERE id = ?", (changed, row))


def change_document(results: Path, collection: str, change: Callable[[Any], None], *, row: int = 1) -> None:
    """Change a stored document and give it a new checksum, as a forger would."""

    def forge(text: str) -> str:
        document = json.loads(text)
        record = document.get("output", document)
        change(record)
        sealed = seal(record)
        return json.dumps({**document, "output": sealed} if "output" in document else sealed)

    change_text(results, collection, forge, row=row)


def change_first_digit(name: str) -> Callable[[str], str]:
    def change(text: str) -> str:
        found = re.search(rf'"{name}":-?(\d)', text)
        assert found is not None
        other = "7" if found[1] != "7" else "3"
        return text[: found.start(1)] + other + text[found.end(1) :]

    return change


def forge_total(document: Any) -> None:
    document["stabilization"]["total_ev_per_fu"] = -0.568


def forge_total_and_sentence(document: Any) -> None:
    forge_total(document)
    document["stabilization"]["sentence"] = "Black wins by 0.568 eV/f.u."


def forge_term(document: Any) -> None:
    document["candidates"][0]["binding_ev_per_fu"] -= 0.1


def forge_film(document: Any) -> None:
    """Everything in the document fits; only the calculations know better."""
    film = next(film for film in document["candidates"] if film["is_selected"])
    sign = 1.0 if film["candidate"]["role"] == "black" else -1.0
    film["bulk_ev_per_fu"] -= 0.1
    film["total_ev_per_fu"] -= 0.1
    answer = document["stabilization"]
    side = "black_terms" if sign > 0 else "competitor_terms"
    for terms, shift in ((answer, -0.1 * sign), (answer[side], -0.1)):
        terms["bulk_ev_per_fu"] += shift
        terms["total_ev_per_fu"] += shift
    answer["sentence"] = f"They differ by {answer['total_ev_per_fu']:.3f} or {abs(answer['total_ev_per_fu']):.3f} eV."


def list_records(results: Path) -> list[dict[str, Any]]:
    with closing(sqlite3.connect(results / "qdip.sqlite")) as connection:
        found = connection.execute("SELECT doc FROM calculations ORDER BY id").fetchall()
    return [json.loads(text)["output"] for (text,) in found]


def test_every_stored_document_carries_its_checksum(finished: Path) -> None:
    records = list_records(finished)
    assert records
    assert all(SEAL in record and is_intact(record) for record in records)
    (result,) = open_archive(ResultsFolder(finished)).stabilizations.query({})
    assert SEAL in result
    assert is_intact(result)


def test_a_sound_result_contradicts_neither_itself_nor_its_calculations(finished: Path) -> None:
    archive = open_archive(ResultsFolder(finished))
    (result,) = archive.list_stabilizations()
    assert list_contradictions(result) == ()
    assert retrace(result, archive.find_record) == ()


def test_a_changed_energy_never_counts_and_is_calculated_again(own: Path) -> None:
    """Of every stored calculation one digit of the energy is changed: no term moves, and all are made anew."""
    records = list_records(own)
    total = open_archive(ResultsFolder(own)).list_stabilizations()[0].stabilization.total_ev_per_fu
    changed = 0
    for row, record in enumerate(records, start=1):
        if "kind" not in record:
            change_text(own, "calculations", change_first_digit("energy_ev"), row=row)
            changed += 1
    archive = open_archive(ResultsFolder(own))
    assert list(archive.list_calculations()) == []
    qdip("run", TOY_STUDY, "--quiet", "--workers", 1, "--results", own)
    assert len(list(archive.list_calculations())) == changed
    assert archive.list_stabilizations()[0].stabilization.total_ev_per_fu == total


def test_a_changed_digit_in_a_result_is_refused_and_the_result_made_anew(own: Path) -> None:
    change_text(own, "stabilizations", change_first_digit("total_ev_per_fu"))
    assert_four_parts(qdip("report", "toy-study", "--results", own, check=False), "was changed after it was stored")
    again = qdip("run", TOY_STUDY, "--quiet", "--workers", 1, "--results", own)
    assert "0 calculations made" in again.stdout
    assert qdip("report", "toy-study", "--results", own).returncode == 0


@pytest.mark.parametrize("forge", [forge_total, forge_total_and_sentence, forge_term, forge_film])
@pytest.mark.parametrize("command", ["report", "explain"])
def test_a_forged_result_with_a_new_checksum_is_refused(command: str, forge: Callable[[Any], None], own: Path) -> None:
    change_document(own, "stabilizations", forge)
    refused = qdip(command, "toy-study", "--results", own, check=False)
    assert_four_parts(refused, "contradicts itself")
    assert "0.568" not in refused.stdout


def test_a_forged_energy_with_a_new_checksum_contradicts_the_result(own: Path) -> None:
    """Of every energy that a term needs: it is found as soon as the result is shown."""
    archive = open_archive(ResultsFolder(own))
    (result,) = archive.list_stabilizations()
    needed = {key for film in result.candidates for key in film.calculations.values()}
    rows = [row for row, record in enumerate(list_records(own), start=1) if record["key"] in needed]
    assert len(rows) >= 10
    for row in rows:
        stored = list_records(own)[row - 1]["result"]["energy_ev"]

        def shift(record: Any, energy_ev: float = stored + 0.01) -> None:
            record["result"]["energy_ev"] = energy_ev

        def restore(record: Any, energy_ev: float = stored) -> None:
            record["result"]["energy_ev"] = energy_ev

        change_document(own, "calculations", shift, row=row)
        assert retrace(result, archive.find_record), row
        change_document(own, "calculations", restore, row=row)
    assert retrace(result, archive.find_record) == ()


def forge_bundle(good: Path, forge: Callable[[Any], None]) -> Path:
    """Change the result in a bundle and make every checksum anew."""
    import hashlib

    with ZipFile(good) as bundle:
        members = {name: bundle.read(name) for name in bundle.namelist()}
    (name,) = (name for name in members if name.startswith("documents/stabilizations/"))
    document = json.loads(members[name])
    forge(document)
    members[name] = json.dumps(document).encode()
    manifest = json.loads(members["manifest.json"])
    (entry,) = (entry for entry in manifest["members"] if entry["name"] == name)
    entry.update(sha256=hashlib.sha256(members[name]).hexdigest(), size_bytes=len(members[name]))
    members["manifest.json"] = json.dumps(manifest).encode()
    forged = good.with_name("forged.zip")
    with ZipFile(forged, "w") as bundle:
        for member, content in members.items():
            bundle.writestr(member, content)
    return forged


def test_a_bundle_with_a_forged_total_and_new_checksums_is_refused(finished: Path, tmp_path: Path) -> None:
    good = tmp_path / "good.zip"
    qdip("export", "toy-study", "--bundle", good, "--results", finished)
    assert read_bundle(good).evidence.documents
    with pytest.raises(ResultsError, match="does not follow from its calculations"):
        read_bundle(forge_bundle(good, forge_total_and_sentence))


def forge_error_bar(document: Any) -> None:
    document["uncertainty"]["difference"]["total_ev_per_fu"] /= 10


def forge_component(document: Any) -> None:
    component = next(each for each in document["uncertainty"]["components"] if each["is_sampled"])
    component["difference"]["binding_ev_per_fu"] += 0.1


def forge_hull(document: Any) -> None:
    document["hull"]["above_ev_per_fu"] = dict.fromkeys(document["hull"]["above_ev_per_fu"], 0.0)


def forge_registry(document: Any) -> None:
    film = next(film for film in document["candidates"] if film["registry"] is not None)
    film["registry"]["range_mev_per_ang2"] = 0.0


def forge_check(document: Any) -> None:
    document["candidates"][0]["checks"][0]["is_passed"] = False


BESIDE_THE_TERMS = {
    "uncertainty.difference.total_ev_per_fu": forge_error_bar,
    "uncertainty.components": forge_component,
    "hull.above_ev_per_fu": forge_hull,
    "registry.range_mev_per_ang2": forge_registry,
    "checks[0].is_passed": forge_check,
}


@pytest.mark.parametrize(("place", "forge"), BESIDE_THE_TERMS.items(), ids=BESIDE_THE_TERMS)
def test_whatever_else_a_result_says_is_compared_with_its_calculations(
    place: str, forge: Callable[[Any], None], own: Path
) -> None:
    assert qdip("db", "check", own).stdout.endswith(" 0 findings.\n")
    change_document(own, "stabilizations", forge)
    assert qdip("db", "check", own, "--quick").stdout.endswith(" 0 findings.\n")
    (found,) = json.loads(qdip("db", "check", own, "--json", leaves_with=1).stdout)
    assert found["where"] == "stabilizations toy-study"
    assert place in found["what"]
    assert "its calculations give" in found["what"]
    again = qdip("run", TOY_STUDY, "--quiet", "--workers", 1, "--results", own)
    assert "0 calculations made" in again.stdout
    assert qdip("db", "check", own).stdout.endswith(" 0 findings.\n")


def test_a_bundle_with_a_forged_error_bar_is_told_from_one_that_is_sound(finished: Path, tmp_path: Path) -> None:
    good = tmp_path / "good.zip"
    qdip("export", "toy-study", "--bundle", good, "--results", finished)
    sound = qdip("import-bundle", good, "--results", tmp_path / "sound").stdout
    assert "Caution" not in sound
    assert "not made anew" not in sound
    told = qdip("import-bundle", forge_bundle(good, forge_error_bar), "--results", tmp_path / "forged").stdout
    assert "Caution: toy-study: uncertainty.difference.total_ev_per_fu is" in " ".join(told.split())


def test_a_result_whose_study_cannot_be_planned_here_says_so(own: Path) -> None:
    """Its host stood in a file that is gone; terms and total are checked all the same."""

    def lose_crystal(document: Any) -> None:
        document["study"]["phases"][0]["phase"] = "gone.cif"

    change_document(own, "stabilizations", lose_crystal)
    checked = qdip("db", "check", own).stdout
    assert "were not made anew" in checked
    assert checked.endswith(" 0 findings.\n")


def test_a_scan_with_failed_registries_upgrades_no_result(own: Path) -> None:
    def age(document: Any) -> None:
        document["formula_version"] = 1

    def spoil(record: Any) -> None:
        record["failures"] = ["registry (0.50, 0.00): MemoryError"]

    for row, record in enumerate(list_records(own), start=1):
        if "kind" in record:
            change_document(own, "calculations", spoil, row=row)
    change_document(own, "stabilizations", age)
    (upgrade,) = json.loads(qdip("db", "upgrade", own, "--json").stdout)
    assert "qdip run toy-study" in upgrade["reason"]
    assert open_archive(ResultsFolder(own)).list_stabilizations()[0].formula_version == 1
    assert "qdip db upgrade" in qdip("db", "check", own).stdout
    qdip("run", TOY_STUDY, "--quiet", "--workers", 1, "--results", own)
    assert open_archive(ResultsFolder(own)).list_stabilizations()[0].formula_version > 1


def test_a_contradiction_is_named(own: Path) -> None:
    change_document(own, "stabilizations", forge_total)
    with pytest.raises(DamagedDocumentError, match=r"total is -0\.568000 eV/f\.u\., its films give"):
        open_archive(ResultsFolder(own)).find_stabilizations("toy-study")

"""Reading stored documents of every version: plain mappings are brought up to date step by step, then validated.

A document is data.  Nothing that it names is imported, executed or looked up, and whatever the schema does not know is
refused.  Each kind of document has one step per version, a pure function from version n to n + 1; a step is never
changed once documents of its version exist.  ``tests/data/golden`` keeps a real document of every version.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from pydantic import ValidationError

from qdip_dft.errors import DamagedDocumentError
from qdip_dft.model.base import Record
from qdip_dft.model.calculation import CalculationRecord
from qdip_dft.model.calibration import Calibration
from qdip_dft.model.registry import RegistryScan
from qdip_dft.model.seals import ADDED_BY_STORES, is_intact
from qdip_dft.model.stabilization import StabilizationDoc
from qdip_dft.model.stored import StoredRecord
from qdip_dft.model.study_versions import translate_study
from qdip_dft.model.temperature import TemperatureDoc
from qdip_dft.results.fields import show_value, unknown_version

Document = dict[str, Any]
Step = Callable[[Document], Document]
AnyRecord = TypeVar("AnyRecord", bound=Record)


def _add_calculation_units(document: Document) -> Document:
    """Version 2 of a calculation says its units."""
    units = {
        "_ev": "electronvolt per cell",
        "_ev_per_ang": "electronvolt per angstrom",
        "_ev_per_ang3": "electronvolt per cubic angstrom, positive in tension",
        "_ang": "angstrom",
        "_s": "second",
    }
    return {**document, "schema_version": 2, "units": units}


def _admit_fields(version: int) -> Step:
    """The step to a version that only admits fields which none of its documents must have."""
    return lambda document: {**document, "schema_version": version}


def _keep_bulk_of_engine(document: Document) -> Document:
    """Version 5 of a result may take its bulk term from references; before, it was the engine's."""
    return {**document, "schema_version": 5, "study": {"bulk": "engine", **document["study"]}}


def _leave_sampling_out(document: Document) -> Document:
    """Version 2 of a result against temperature is harmonic: free energies by thermodynamic integration are gone."""
    kept = {name: value for name, value in document.items() if name != "sampled_off_dot"}
    phases = [{name: value for name, value in phase.items() if name != "sampled"} for phase in document["phases"]]
    return {**kept, "schema_version": 2, "phases": phases}


def _name_candidates(document: Document) -> Document:
    """Version 4 of a result knows its candidates by ids, has their labels in parts, and may name its coverage.

    Before, a label was the id, and every film stood at its own coverage: formula version 1.
    """
    candidates = [{**each, "candidate": _name_candidate(each["candidate"])} for each in document["candidates"]]
    named = {
        **document,
        "schema_version": 4,
        "study": translate_study(document["study"]),
        "formula_version": document.get("formula_version", 1),
        "candidates": candidates,
        "dropped": [_name_dropped(each) for each in document["dropped"]],
        "stabilization": _name_sides(document["stabilization"], candidates),
    }
    if document.get("bx2_rich") is not None:
        named["bx2_rich"] = _name_sides(document["bx2_rich"], candidates)
    if document.get("uncertainty") is not None:
        stated = document["uncertainty"]
        lists = {name: [{**f, "film_id": f["film"]} for f in stated.get(name, ())] for name in ("samples", "fits")}
        named["uncertainty"] = {**stated, **lists}
    return named


def _name_candidate(candidate: Document) -> Document:
    named = {name: value for name, value in candidate.items() if name != "screening"}
    title = _split_label(candidate["label"], dot_plane=candidate["dot_plane"], film_plane=candidate["film_plane"])
    return {**named, "id": candidate["label"], "title": title, "registry_scan": candidate.get("screening")}


def _name_dropped(dropped: Document) -> Document:
    facet, _, film = dropped["label"].partition("//")
    planes = {"dot_plane": facet[facet.rindex("(") + 1 : -1], "film_plane": film[film.rindex("(") + 1 : -1]}
    title = _split_label(dropped["label"], **planes)
    return {**dropped, "title": title, "phase": title["film"]}


def _split_label(label: str, *, dot_plane: str, film_plane: str) -> dict[str, str]:
    """The parts of a label such as ``PbS(111)//CsPbI3-beta(110) PbI2 place 2``."""
    dot, _, rest = label.partition(f"({dot_plane})//")
    film, _, distinction = rest.partition(f"({film_plane})")
    return {"dot": dot, "dot_plane": dot_plane, "film": film, "film_plane": film_plane} | _split(distinction.strip())


def _split(distinction: str) -> dict[str, str]:
    words = next((word for word in ("place ", "shift ") if word in distinction), None)
    if words is None:
        return {"termination": distinction}
    termination, _, registry = distinction.partition(words)
    return {"termination": termination.strip(), "registry": f"{words}{registry}"}


def _name_sides(answer: Document, candidates: list[Document]) -> Document:
    known = {each["candidate"]["label"] for each in candidates}
    ids = {f"{side}_id": answer[side] if answer[side] in known else None for side in ("black", "competitor")}
    return {**answer, **ids}


STEPS: dict[type[Record], tuple[Step, ...]] = {
    CalculationRecord: (_add_calculation_units, _admit_fields(3)),
    Calibration: (),
    RegistryScan: (),
    StabilizationDoc: (_admit_fields(2), _admit_fields(3), _name_candidates, _keep_bulk_of_engine),
    TemperatureDoc: (_leave_sampling_out,),
}
"""The steps of each kind of document, from version 1 on."""


def read_calculation(document: Mapping[str, Any]) -> CalculationRecord:
    """Return the record of a calculation of any version.

    Raises
    ------
    ResultsError
        If the document is of a newer version, or does not follow the schema of its own.
    """
    return _read(CalculationRecord, document, name=f"calculation {show_value(document.get('key'))}")


def read_registry_scan(document: Mapping[str, Any]) -> RegistryScan:
    """Return the record of a registry scan of any version; see `read_calculation`."""
    return _read(RegistryScan, document, name=f"registry scan {show_value(document.get('key'))}")


def read_record(document: Mapping[str, Any]) -> StoredRecord:
    """Return the calculation or registry scan of any version; see `read_calculation`."""
    return read_registry_scan(document) if "kind" in document else read_calculation(document)


def read_stabilization(document: Mapping[str, Any]) -> StabilizationDoc:
    """Return the result document of any version; see `read_calculation`."""
    return _read(StabilizationDoc, document, name=f"result {show_value(document.get('id'))}")


def read_calibration(document: Mapping[str, Any]) -> Calibration:
    """Return the calibration of any version; see `read_calculation`."""
    return _read(Calibration, document, name=f"calibration {show_value(document.get('id'))}")


def read_temperature(document: Mapping[str, Any]) -> TemperatureDoc:
    """Return the result against temperature of any version; see `read_calculation`."""
    return _read(TemperatureDoc, document, name=f"result against temperature {show_value(document.get('id'))}")


def migrate(kind: type[Record], document: Mapping[str, Any]) -> Document:
    """Return a document in the words of the present version; the given one is not changed.

    Raises
    ------
    ResultsError
        If it has no version, one that this version of the package does not know, or lacks what its version has.
    """
    steps = STEPS[kind]
    version = document.get("schema_version")
    if isinstance(version, bool) or not isinstance(version, int) or not 1 <= version <= len(steps) + 1:
        raise unknown_version(f"a {kind.__name__}", version, newest=len(steps) + 1)
    migrated = dict(document)
    try:
        for step in steps[version - 1 :]:
            migrated = step(migrated)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise refuse_damaged(f"a {kind.__name__}", f"{type(error).__name__}: {show_value(error)}") from error
    return migrated


def newest_version(kind: type[Record]) -> int:
    """Return the version in which documents of a kind are written."""
    return len(STEPS[kind]) + 1


def _read(kind: type[AnyRecord], document: Mapping[str, Any], *, name: str) -> AnyRecord:
    if not is_intact(document):
        raise _altered(name)
    fields = {field: value for field, value in document.items() if field not in ADDED_BY_STORES}
    try:
        return kind.model_validate(migrate(kind, fields))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise refuse_damaged(name, f"{show_value(where)}: {show_value(first['msg'])}") from error


def _altered(what: str) -> DamagedDocumentError:
    return DamagedDocumentError(
        f"{what} was changed after it was stored",
        limit="a document must have the checksum that it was stored with",
        why="a changed digit would pass for a calculated one",
        remedy="qdip db check names every such document, qdip db repair sets them aside, and qdip run makes them anew",
    )


def refuse_damaged(what: str, finding: str) -> DamagedDocumentError:
    """Return the error for a document that does not follow its schema."""
    return DamagedDocumentError(
        f"{what} cannot be read ({finding})",
        limit="stored records must follow the schema of their version",
        why="a misread number would be worse than none",
        remedy="update qdip_dft; if that does not help, qdip db check names every such document, and qdip db repair "
        "sets them aside",
    )

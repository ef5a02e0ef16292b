"""Study files: reading, checking and writing them, and the crystals that they name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from pydantic import ValidationError

from qdip_dft.errors import StudyError
from qdip_dft.library.collections import find_study
from qdip_dft.library.crystals import load_crystal, read_molecule
from qdip_dft.model.crystal import CrystalRecord
from qdip_dft.model.engine import EngineSpec
from qdip_dft.model.material import Crystal
from qdip_dft.model.ranges import require_in_range
from qdip_dft.model.study import StudySpec
from qdip_dft.model.study_versions import translate_study
from qdip_dft.planning.interface_files import insert_interfaces
from qdip_dft.planning.mistakes import list_mistakes
from qdip_dft.planning.named_files import find_named_file, find_named_files, write_named_files
from qdip_dft.yaml_text import Location, WrittenYaml, parse_written_yaml, parse_yaml

if TYPE_CHECKING:
    from qdip_dft.engines.base import Engine


def read_study(name_or_path: str) -> StudySpec:
    """Return the study of a YAML file or of a file in ``workflows/``; paths in it start from its own folder.

    Raises
    ------
    StudyError
        If there is no such study, it has unknown keys or impossible values, or a file of it lies in the working
        directory alone.

    Examples
    --------
    >>> study = read_study("quickstart")
    >>> study.dot.material, study.host, [phase.phase for phase in study.phases]
    ('PbTe', 'CsPbI3', ['CsPbI3-gamma', 'CsPbI3-delta'])
    """
    path = find_study(name_or_path)
    written = read_written_yaml(path)
    find_named_files(written.content, path.parent)  # refuses a file that lies in the working directory alone
    return validate_study(written.content, source=path.name, written=written, folder=path.parent)


def read_written_yaml(path: Path) -> WrittenYaml:
    """Read a study or campaign with the lines that it is written on; errors as of `parse_written_yaml`."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise StudyError(
            f"{path.name} is not text in UTF-8 (byte {error.start + 1} is 0x{error.object[error.start]:02x})",
            limit="a study or campaign is a YAML file in UTF-8",
            why="its words cannot be read",
            remedy="save it as UTF-8 in the editor",
        ) from error
    return parse_written_yaml(text, source=path.name)


def write_study(study: StudySpec, *, folder: Path | None = None) -> str:
    """Return a study as YAML with every value written out: defaults of a later version cannot change what it asks.

    Parameters
    ----------
    study
        The study.
    folder
        Where the file will lie: paths in it start from there; None: they stay.
    """
    content = study.model_dump(mode="json")
    content = content if folder is None else write_named_files(content, folder, start=study.folder)
    return str(yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=100))


def validate_study(
    content: Any, *, source: str, written: WrittenYaml | None = None, folder: Path = Path()
) -> StudySpec:
    """Return the study of a parsed mapping, of any version.

    Parameters
    ----------
    content
        The mapping.
    source
        What errors call it, such as the name of its file.
    written
        Where the mapping comes from, for the line numbers of errors; None: no file.
    folder
        Where the paths of its files start from.

    Raises
    ------
    StudyError
        With the place and the cure of the first mistakes.
    EngineError
        If a setting of an engine lies out of its range.
    """
    found = written or WrittenYaml(content, None)
    content = insert_interfaces(content, folder)
    try:
        study = StudySpec.model_validate(translate_study(content) if isinstance(content, dict) else content)
    except ValidationError as error:
        raise StudyError(
            f"{source} is not a valid study ({'; '.join(list_mistakes(error, found)[:5])})",
            limit=f"known keys are {', '.join(StudySpec.model_fields)}",
            why="a misread key would silently change what is calculated",
            remedy="correct the named keys; docs/study-file.md lists all of them with units",
        ) from error
    for location, engine in _list_engines(study):
        place = partial(_place_setting, location=location, source=source, written=found)
        require_in_range(engine.settings, place=place)
    return study.place_in(folder.absolute())


def _list_engines(study: StudySpec) -> Iterator[tuple[Location, EngineSpec]]:
    """Every engine that a study names, with where."""
    named: dict[Location, EngineSpec | None] = {
        ("engine",): study.engine,
        ("geometry",): study.geometry,
        ("prerelaxation",): study.prerelaxation,
        ("film", "registry_scan", "engine"): study.film.registry_scan.engine,
    }
    named |= {("uncertainty", "models", number): model for number, model in enumerate(study.uncertainty.models)}
    yield from ((location, engine) for location, engine in named.items() if engine is not None)


def _place_setting(name: str, *, location: Location, source: str, written: WrittenYaml) -> str:
    key = (*location, "settings", name)
    line = written.find_line(key)
    return f"{source}" + ("" if line is None else f", line {line}") + f": {'.'.join(map(str, key))}"


def read_engine(text: str) -> EngineSpec:
    """The engine of a command line: its name, or a mapping such as ``{name: cp2k, settings: {k_spacing: 0.2}}``.

    Raises
    ------
    StudyError
        If it is neither.
    """
    try:
        content = parse_yaml(text)
        return EngineSpec.model_validate({"name": content} if isinstance(content, str) else content)
    except (ValueError, yaml.YAMLError) as error:
        raise StudyError(
            f"{text!r} is no engine ({' '.join(str(error).split())[:200]})",
            limit="the name of an engine, or a mapping with the keys of `engine:` in a study",
            why="another engine than that which is meant would be run",
            remedy="write --engine cp2k, or --engine '{name: cp2k, preset: precise}'; docs/study-file.md has all keys",
        ) from error


def use_engine(study: StudySpec, *, engine: str | None = None, preset: str | None = None) -> StudySpec:
    """Return the study with another engine or preset than its own, as a variant of it with results of its own.

    Parameters
    ----------
    study
        The study.
    engine
        Name of an engine, which starts from its own defaults; None: the study's.
    preset
        ``fast``, ``balanced`` or ``precise``; None: the study's, or the default of another engine.

    Raises
    ------
    StudyError
        If there is no such preset.

    Examples
    --------
    >>> use_engine(read_study("quickstart"), engine="testing").id
    'quickstart+testing'
    """
    own = study.engine if engine in (None, study.engine.name) else EngineSpec(name=str(engine))
    asked = {**own.model_dump(mode="json"), **({} if preset is None else {"preset": preset})}
    content = {**study.model_dump(mode="json"), "engine": asked}
    changed = validate_study(content, source=f"{study.name}, engine changed", folder=study.folder)
    words = [changed.engine.name] if changed.engine.name != study.engine.name else []
    words += [changed.engine.preset.value] if changed.engine.preset != own.preset else []
    return changed.model_copy(update={"variant": "-".join(filter(None, [study.variant, *words]))})


def load_crystals(study: StudySpec) -> dict[str, CrystalRecord]:
    """The crystals of a study as calculations carry them; errors as of `read_crystals`."""
    return {name: crystal.record for name, crystal in read_crystals(study).items()}


def read_crystals(study: StudySpec) -> dict[str, Crystal]:
    """The crystals of a study by the names that it gives them, with what was chosen or converted on reading them.

    A crystal is its content: two files of one name are two crystals, and people are told which is which.

    Raises
    ------
    StructureError
        If one is unknown or unusable.
    """
    places = {name: find_named_file(name, study.folder) for name in study.crystals}
    molecules = [read_molecule(study.folder / each.file, each.charge) for each in study.molecules]
    charges = study.formal_charges
    found = {
        name: load_crystal(place, formal_charges=charges.get(name), molecules=molecules)
        for name, place in places.items()
    }
    records = {places[name]: crystal.record for name, crystal in found.items()}
    apart = {
        name: records[place].model_copy(update={"id": _name_apart(place, records)}) for name, place in places.items()
    }
    return {name: replace(crystal, record=apart[name]) for name, crystal in found.items()}


def make_engine(spec: EngineSpec, study: StudySpec) -> Engine:
    """The engine that a study asks for; the files of a potential start from the study's folder.

    Raises
    ------
    EngineError
        If it is unknown, not installed, or a file is missing.
    """
    from qdip_dft.engines.registry import engine_from_spec

    return engine_from_spec(EngineSpec.model_validate(find_named_files(spec.model_dump(mode="json"), study.folder)))


def _name_apart(name: str, crystals: Mapping[str, CrystalRecord]) -> str:
    """The shortest of a crystal's names that no other crystal of the study has."""
    own = crystals[name]
    taken = {
        choice
        for other, crystal in crystals.items()
        if other != name and crystal.structure != own.structure
        for choice in _list_names(other, crystal)
    }
    return next((choice for choice in _list_names(name, own) if choice not in taken), own.id)


def _list_names(name: str, crystal: CrystalRecord) -> tuple[str, ...]:
    """What a crystal may be called, shortest first: its id, then its file with more and more folders."""
    if name == crystal.id:
        return (name,)
    parts = Path(name).resolve().parts
    return crystal.id, *("/".join(parts[-count:]) for count in range(1, len(parts)))

"""Study files and campaigns as people write them: every key once, every word and number as it looks."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from qdip_dft.engines.preset import load_preset
from qdip_dft.engines.registry import engine_from_spec
from qdip_dft.errors import EngineError, StructureError, StudyError
from qdip_dft.library.collections import find_structure
from qdip_dft.model.engine import EngineSpec, PresetName
from qdip_dft.model.ranges import RANGES
from qdip_dft.planning.campaign import read_campaign, read_studies
from qdip_dft.planning.study_files import read_study
from qdip_dft.yaml_text import parse_written_yaml

ROOT = Path(__file__).resolve().parents[2]

STUDY = """\
schema_version: 2
name: written
dot: {material: PbS, facets: ["111"], passivation: I}
host: CsPbI3
phases:
  - {phase: CsPbI3-gamma, role: black, planes: ["001"]}
  - {phase: CsPbI3-delta, role: competitor, planes: ["100"]}
matching: {max_strain: 0.05}
engine: {name: testing}
"""


def write(folder: Path, *, old: str = "", new: str = "", text: str = STUDY) -> str:
    assert old in text
    path = folder / "asked.yaml"
    path.write_text(text.replace(old, new) if old else text + new, encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("path", sorted((ROOT / "workflows").rglob("*.yaml")), ids=lambda path: path.stem)
def test_what_is_written_plainly_means_what_yaml_says(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert parse_written_yaml(text, source=path.name).content == yaml.safe_load(text)


@pytest.mark.parametrize(
    ("old", "new", "lines"),
    [
        ("", "host: FAPbI3\n", "`host` twice, on lines 4 and 10"),
        ("{max_strain: 0.05}", "{max_strain: 0.05, max_strain: 0.01}", "`max_strain` twice, on lines 8 and 8"),
        ("role: black,", "role: black, role: competitor,", "`role` twice, on lines 6 and 6"),
        ("", "film:\n  thicknesses: 2\n  'thicknesses': 3\n", "`thicknesses` twice, on lines 11 and 12"),
    ],
)
def test_a_key_that_stands_twice_is_refused_with_its_lines(tmp_path: Path, old: str, new: str, lines: str) -> None:
    with pytest.raises(StudyError, match=f"{lines}.*remove one of the lines"):
        read_study(write(tmp_path, old=old, new=new))


def test_a_merged_mapping_may_be_overridden() -> None:
    text = parse_written_yaml("a: &a {x: 1, y: 2}\nb: {<<: *a, x: 3}\n", source="merged")
    assert text.content["b"] == {"x": 3, "y": 2}


@pytest.mark.parametrize(
    ("written", "read"),
    [("012", "10"), ("001", "1"), ("0111", "73"), ("0x11", "17"), ("0b11", "3"), ("1_1_0", "110"), ("1:30", "90")],
)
def test_a_number_that_yaml_reads_as_another_is_refused(tmp_path: Path, written: str, read: str) -> None:
    with pytest.raises(StudyError, match=f'line 6: YAML reads `{written}` as the number {read}.*write "{written}"'):
        read_study(write(tmp_path, old='"001"', new=written))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("max_strain: 0.05", "max_strain: 1:30.5", "line 8: YAML reads `1:30.5` as the number 90.5"),
        ("max_strain: 0.05", "max_strain: .inf", "line 8: YAML reads `.inf` as the number inf"),
        ("", "seed: 0777\n", "line 10: YAML reads `0777` as the number 511"),
        ("name: written", "name: 2026-11-30", "line 2: YAML reads `2026-11-30` as a date"),
        ("host:", "no:", "line 4: the key `no` is no word"),
        ("", "12: x\n", "line 10: the key `12` is no word"),
    ],
)
def test_other_traps_of_yaml_are_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(StudyError, match=f"{message}.*if it is a plane or a name"):
        read_study(write(tmp_path, old=old, new=new))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("host: CsPbI3", "host: no", r'host \(line 4\): YAML reads `no` as a truth value; write "no" in quotes'),
        ("name: written", "name: on", r'name \(line 2\): YAML reads `on` as a truth value; write "on" in quotes'),
        ("name: written", "name: 12", r'name \(line 2\): YAML reads `12` as a number; write "12" in quotes'),
        ("phase: CsPbI3-gamma", "phase: Yes", r'phases.0.phase \(line 6\): YAML reads `Yes` .*write "Yes" in quotes'),
    ],
)
def test_a_name_that_yaml_takes_for_something_else_is_to_be_quoted(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    with pytest.raises(StudyError, match=message):
        read_study(write(tmp_path, old=old, new=new))


@pytest.mark.parametrize(("word", "quoted"), [("2026-11-30", '"2026-11-30"'), ("12", '"12"'), ("on", '"on"')])
def test_the_quotes_cure_it(tmp_path: Path, word: str, quoted: str) -> None:
    assert read_study(write(tmp_path, old="name: written", new=f"name: {quoted}")).name == word


def test_a_truth_value_where_one_is_meant_is_read(tmp_path: Path) -> None:
    assert not read_study(write(tmp_path, new="check_minima: no\n")).check_minima


@pytest.mark.parametrize("word", ["true", "no", "On"])
@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("seed: {}\n", "seed"),
        ("vacuum_ang: {}\n", "vacuum_ang"),
        ("coverage: {}\n", "coverage"),
        ("film:\n  thicknesses: {}\n", "film.thicknesses"),
        ("film:\n  registries: [[0.5, {}]]\n", "film.registries.0.1"),
        ("uncertainty:\n  orientations: {}\n", "uncertainty.orientations"),
        ("ensemble:\n  temperature_k: {}\n", "ensemble.temperature_k"),
        ("formal_charges:\n  PbS: {{Pb: {}, S: -2}}\n", "formal_charges.PbS.Pb"),
        ("geometry:\n  settings: {{max_steps: {}}}\n", "geometry.settings.max_steps"),
    ],
)
def test_a_truth_value_is_no_number(tmp_path: Path, text: str, key: str, word: str) -> None:
    line = 9 + text.count("\n")
    with pytest.raises((StudyError, EngineError), match=rf"line {line}\)?: ") as caught:
        read_study(write(tmp_path, new=text.format(word)))
    assert key in caught.value.what


@pytest.mark.parametrize("word", ["1", "0", "1.0", '"yes"'])
@pytest.mark.parametrize(
    ("text", "key"),
    [("check_minima: {}\n", "check_minima"), ("geometry:\n  spin_orbit: {}\n", "geometry.spin_orbit")],
)
def test_a_number_or_a_word_is_no_truth_value(tmp_path: Path, text: str, key: str, word: str) -> None:
    with pytest.raises(StudyError, match=rf"{key} \(line 1[01]\): only true or false may stand here"):
        read_study(write(tmp_path, new=text.format(word)))


@pytest.mark.parametrize("version", ["true", "yes"])
def test_a_truth_value_is_no_version(tmp_path: Path, version: str) -> None:
    with pytest.raises(StudyError, match=r"schema_version \(line 1\)"):
        read_study(write(tmp_path, old="schema_version: 2", new=f"schema_version: {version}"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: [written\nhost: x\n", "line 2"),
        ("name: !!python/name:os.system x\n", "line 1"),
        ("name: a\n---\nname: b\n", "line 2"),
        ("a: *nothing\n", "line 1"),
        ("a: !!int word\n", "invalid literal"),
        ("[" * 3000, "not readable YAML"),
    ],
)
def test_what_is_no_yaml_is_refused_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(StudyError, match=f"not readable YAML.*{message}.*correct it there|{message}"):
        read_study(write(tmp_path, text="", new=text))


def test_a_file_in_another_encoding_is_refused(tmp_path: Path) -> None:
    (tmp_path / "latin.yaml").write_bytes(STUDY.encode() + "question: für\n".encode("latin-1"))
    with pytest.raises(StudyError, match="save it as UTF-8"):
        read_study(str(tmp_path / "latin.yaml"))


@pytest.mark.parametrize(
    ("new", "line"),
    [
        ("film: &film {registries: *film}\n", 10),
        ("engine: &all\n  settings: [1, {x: *all}]\n", 10),
        ("question: &list [*list]\n", 10),
        (
            "a: &a [1, 1]\n"
            + "".join(f"x{n}: &x{n} [{', '.join([f'*x{n - 1}' if n else '*a'] * 9)}]\n" for n in range(9)),
            15,
        ),
    ],
)
def test_aliases_without_end_are_refused_with_their_line(tmp_path: Path, new: str, line: int) -> None:
    text = STUDY.replace("engine: {name: testing}\n", "") if new.startswith("engine") else STUDY
    lines = text.count("\n") - STUDY.count("\n") + line
    with pytest.raises(StudyError, match=f"not readable YAML.*line {lines}: aliases write out.*correct it there"):
        read_study(write(tmp_path, text=text, new=new))


@pytest.mark.parametrize(
    ("new", "message"),
    [
        ("coverage: nonsense\n", r"^\S+ is not a valid study \(coverage \(line 10\): [^;]*\)"),
        ("film:\n  min_thickness_ang: -3\n", r"\(film.min_thickness_ang \(line 11\): Input should be greater than 0\)"),
        ("film: {thick: 3}\n", r"\(film.thick \(line 10\): "),
        ("coverage: {dot_radius_ang: 30}\n", r"coverage.loading \(line 10\): Field required"),
    ],
)
def test_a_mistake_is_said_once_with_its_key_and_line(tmp_path: Path, new: str, message: str) -> None:
    with pytest.raises(StudyError, match=message) as caught:
        read_study(write(tmp_path, new=new))
    assert caught.value.what.count("(line") == 1 or "loading" in message


def test_a_mistake_in_an_old_study_is_named_as_it_is_written(tmp_path: Path) -> None:
    text = STUDY.replace("schema_version: 2", "schema_version: 1") + "film:\n  registry_shifts: [[0]]\n"
    with pytest.raises(StudyError, match=r"film.registry_shifts.0.1 \(line 11\): Field required"):
        read_study(write(tmp_path, text=text))


CAMPAIGN = """\
schema_version: 2
name: many
dots:
  - {material: PbS, facets: ["100"]}
  - {material: PbSe, facets: ["100"]}
hosts:
  - {host: CsPbI3, phases: [{phase: CsPbI3-gamma, role: black, planes: ["001"]}]}
engines: [{name: testing}]
"""


def test_a_list_is_not_called_empty_for_a_wrong_entry(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=r"hosts.0.host \(line 7\): .* in quotes") as caught:
        list(read_studies(write(tmp_path, old="host: CsPbI3", new="host: 3", text=CAMPAIGN)))
    assert "at least 1 item" not in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("name: many", "name: many\nname: more", "`name` twice, on lines 2 and 3"),
        ('facets: ["100"]}\nhosts', "facets: [010]}\nhosts", "line 5: YAML reads `010` as the number 8"),
        ("host: CsPbI3", "host: Off", r"hosts.0.host \(line 7\): YAML reads `Off` as a truth value"),
        ("material: PbSe,", "material: PbSe, thick: 3,", r"dots.1 \(PbSe\).thick \(line 5\)"),
        ("name: many", "name: [many", "not readable YAML, line"),
    ],
)
def test_campaigns_are_read_by_the_same_reader(tmp_path: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(StudyError, match=message):
        list(read_studies(write(tmp_path, old=old, new=new, text=CAMPAIGN)))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("engines:", "study:\n  matching: {max_strain: 3}\nengines:", r"matching.max_strain \(line 9\): .* less than"),
        ("engines:", "study:\n  vacuum: 12\nengines:", r"vacuum \(line 9\): Extra inputs"),
        ("engines:", "study:\n  film:\n    thicknesses: true\nengines:", r"film.thicknesses \(line 10\): true, false"),
        ("name: testing}", "name: testing,\n  settings: {max_steps: 0}}", r"line 9: engine.settings.max_steps is 0"),
        ("engines:", "study:\n  geometry: {settings: {max_steps: 0}}\nengines:", "line 9: geometry.settings.max_steps"),
        ("host: CsPbI3,", 'host: CsPbI3, decomposition: {products: "PbI2"},', r"decomposition.products \(line 7\)"),
    ],
)
def test_what_is_wrong_with_every_study_of_a_campaign_has_a_line(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    with pytest.raises((StudyError, EngineError), match=message):
        list(read_studies(write(tmp_path, old=old, new=new, text=CAMPAIGN)))


def test_an_undisturbed_campaign_is_read(tmp_path: Path) -> None:
    assert [dot.material for dot in read_campaign(Path(write(tmp_path, text=CAMPAIGN))).dots] == ["PbS", "PbSe"]


@pytest.mark.parametrize(
    ("plane", "text"),
    [
        ('"001"', "001"),
        ("111", "111"),
        ("1-10", "1-10"),
        ("1 -1 0", "1-10"),
        ("(1-10)", "1-10"),
        ("[1, -1, 0]", "1-10"),
        ("[11, 0, 1]", "11,0,1"),
        ('"11 0 1"', "11,0,1"),
        ('"12, 0, -1"', "12,0,-1"),
    ],
)
def test_planes_of_a_study_are_read_as_on_the_command_line(tmp_path: Path, plane: str, text: str) -> None:
    path = write(tmp_path, old='planes: ["001"]', new=f"planes: [{plane}]")
    assert read_study(path).phases[0].planes == (text,)


@pytest.mark.parametrize(
    ("plane", "cure"),
    [
        ('"0001"', r"\(0 0 0 1\) is written 001"),
        ("[1, 0, -1, 0]", r"\(1 0 -1 0\) is written 100"),
        ("[11, 0]", "such as '11 0 0'"),
        ("[1, 0, -10, 0]", "correct the indices"),
        ('"11 0"', "such as '11 0 0'"),
        ("0", r"such as \[\"001\"\] or \[\[0, 0, 1\]\]"),
        ("1010", "write it in quotes or as a list"),
        ("-110", "write it in quotes or as a list"),
        ("1.0", "write it in quotes or as a list"),
        ("yes", "write it in quotes or as a list"),
        ('"000"', "give three indices"),
    ],
)
def test_what_is_no_plane_of_a_study_is_refused_with_its_line_and_cure(tmp_path: Path, plane: str, cure: str) -> None:
    with pytest.raises(StudyError, match=rf"phases.0 \(CsPbI3-gamma\).planes.0 \(line 6\): .*{cure}"):
        read_study(write(tmp_path, old='planes: ["001"]', new=f"planes: [{plane}]"))


def test_results_on_planes_of_two_digits_have_ids_that_name_files(tmp_path: Path) -> None:
    study = read_study(write(tmp_path, old='facets: ["111"]', new='facets: ["111", "12 0 -1"]'))
    assert [study.result_id(facet) for facet in study.dot.facets] == ["written@111", "written@12.0.-1"]


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("force_threshold_ev_per_ang", "1.0e9"),
        ("force_threshold_ev_per_ang", "1e9"),
        ("force_threshold_ev_per_ang", "0"),
        ("stress_threshold_gpa", "-0.1"),
        ("k_spacing_per_ang", "100"),
        ("cutoff_ev", "1"),
        ("cutoff_ev", "[500]"),
        ("relative_cutoff_ev", "1.0e+6"),
        ("smearing_width_ev", "25.85"),
        ("max_steps", "yes"),
        ("max_steps", "many"),
    ],
)
def test_a_setting_out_of_its_range_is_refused_with_its_line(tmp_path: Path, setting: str, value: str) -> None:
    new = f"engine:\n  name: espresso\n  settings:\n    {setting}: {value}\n"
    path = write(tmp_path, old="engine: {name: testing}\n", new=new)
    with pytest.raises(EngineError, match=rf"asked.yaml, line 12: engine.settings.{setting} is .*leave it out"):
        read_study(path)


@pytest.mark.parametrize("key", ["geometry", "prerelaxation"])
def test_settings_of_every_engine_of_a_study_have_ranges(tmp_path: Path, key: str) -> None:
    path = write(tmp_path, new=f"{key}: {{name: mlip, settings: {{max_steps: 0}}}}\n")
    with pytest.raises(EngineError, match=f"line 10: {key}.settings.max_steps is 0: .* from 1 to .*leave it out"):
        read_study(path)


def test_an_engine_refuses_the_same_settings_without_a_file() -> None:
    with pytest.raises(
        EngineError, match=r"engine.settings.force_threshold_ev_per_ang is 1000000000.0: .*leave it out"
    ):
        engine_from_spec(EngineSpec(name="testing", settings={"force_threshold_ev_per_ang": 1e9}))


def test_the_documentation_states_every_range() -> None:
    page = (ROOT / "docs" / "study-file.md").read_text(encoding="utf-8")
    for setting, (least, largest, unit, _) in RANGES.items():
        assert f"| `{setting}` | {unit} | {least:g} to {largest:g} |" in page


@pytest.mark.parametrize("name", PresetName)
def test_every_preset_lies_within_the_ranges(name: PresetName) -> None:
    values = load_preset(name).model_dump(mode="json")
    for setting, (least, largest, *_) in RANGES.items():
        value = values[setting]
        assert all(least <= number < largest for number in (value.values() if isinstance(value, dict) else (value,)))


@pytest.mark.parametrize("seed", ["-1", "4294967296", "1.5"])
def test_a_seed_is_a_whole_number_that_the_generator_takes(tmp_path: Path, seed: str) -> None:
    with pytest.raises(StudyError, match=r"\(seed \(line 10\): Input should be .*correct the named keys"):
        read_study(write(tmp_path, new=f"seed: {seed}\n"))


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("CdSe", {"CdSe-zincblende", "CdSe-wurtzite"}),
        ("cdse", {"CdSe-zincblende", "CdSe-wurtzite"}),
        ("ZnS", {"ZnS-sphalerite", "ZnS-wurtzite"}),
        ("PbS-rocksalt", {"PbS"}),
        ("IPbCsI2", {"CsPbI3-alpha", "CsPbI3-beta", "CsPbI3-gamma", "CsPbI3-gamma-Pnam", "CsPbI3-delta"}),
        ("CH3NH3PbBr3", {"MAPbBr3-cubic"}),
    ],
)
def test_the_nearest_crystals_are_those_of_the_same_compound(asked: str, expected: set[str]) -> None:
    with pytest.raises(StructureError, match="take an id of `qdip structures list`") as caught:
        find_structure(asked)
    named = set(str(caught.value.limit).removeprefix("the nearest ids are ").split(", "))
    assert named == expected


@pytest.mark.parametrize(
    ("asked", "first"),
    [("δ-CsPbI3", "CsPbI3-delta, "), ("CdSe_wurzite", "CdSe-wurtzite, "), ("FAPbI3_gama", "FAPbI3-gamma, ")],
)
def test_of_several_phases_the_one_that_is_meant_comes_first(asked: str, first: str) -> None:
    with pytest.raises(StructureError, match=f"nearest ids are {first}"):
        find_structure(asked)

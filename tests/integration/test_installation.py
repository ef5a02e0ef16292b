"""What error messages tell to type: install commands are run and install what they say; commands of qdip exist."""

from __future__ import annotations

import ast
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from qdip_dft.cli.app import LazyCommand, make_app
from qdip_dft.cli.doctor import PACKAGES
from qdip_dft.engines.mlip import EXTRAS as EXTRAS_OF_POTENTIALS
from qdip_dft.runtime import installation
from qdip_dft.runtime.installation import install_hint, update_hint

ROOT = Path(__file__).resolve().parents[2]
SOURCES = {path: path.read_text(encoding="utf-8") for path in (ROOT / "qdip_dft").rglob("*.py")}
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
LITERAL = {word for text in SOURCES.values() for word in re.findall(r"install_hint\(['\"]([\w,]+)['\"]\)", text)}
NAMED = LITERAL | set(PACKAGES) | set(EXTRAS_OF_POTENTIALS.values()) | {"mlip"}
"""Every extra that a message can name."""

DEBIAN = {word for text in SOURCES.values() for word in re.findall(r"\bapt install ([a-z0-9-]+)", text)}
OWN_COMMAND = re.compile(r"\bqdip ([a-z][a-z-]*(?: [^\s`;,.:()']+)*)")
COMMAND = re.compile(r"`([^`]+ -m pip install [^`]+)`")


def read_command(hint: str) -> list[str]:
    found = COMMAND.search(hint)
    assert found, f"{hint} holds no command"
    return shlex.split(found[1])


def try_command(command: list[str]) -> str:
    """Run a command of pip up to the moment before it would install, without network."""
    dry = [*command, "--dry-run", "--no-deps", "--no-build-isolation", "--no-index"]
    done = subprocess.run(dry, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_the_helper_is_the_only_place_that_writes_an_install_line() -> None:
    writing = {path.name for path, text in SOURCES.items() if re.search(r"pip install (?!pip-audit)", text)}
    assert writing == {"installation.py"}


@pytest.mark.parametrize("extra", sorted(NAMED))
def test_every_install_hint_of_a_checkout_installs_what_it_names(extra: str) -> None:
    command = read_command(install_hint(extra))
    assert command[0] == sys.executable
    assert not extra or extra in EXTRAS
    said = try_command(command)
    assert "Would install qdip-dft" in said
    assert "does not provide the extra" not in said


def test_a_wheel_is_installed_again_from_where_it_came(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index", "-q"]
    subprocess.run([*build, "-w", str(tmp_path), str(ROOT)], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    monkeypatch.setattr(installation, "ROOT", tmp_path)
    monkeypatch.setattr(installation, "_find_wheel", lambda: f" @ {wheel.as_uri()}")
    assert "Would install qdip-dft" in try_command(read_command(install_hint("mlip")))


def test_an_update_names_what_this_installation_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert f"git -C {ROOT} pull" in update_hint()
    monkeypatch.setattr(installation, "ROOT", tmp_path)
    assert "--upgrade WHEEL" in update_hint()


@pytest.mark.needs_binary("apt-get")
@pytest.mark.parametrize("package", sorted(DEBIAN))
def test_a_package_of_debian_that_a_message_names_can_be_installed(package: str) -> None:
    subprocess.run(["apt-get", "--simulate", "install", package], check=True, capture_output=True, timeout=60)


def list_texts(source: str) -> Iterator[str]:
    """Every string of a source, docstrings included; what is filled in later reads ``{}``."""
    filled = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.JoinedStr)]
    pieces = {id(part) for node in filled for part in node.values}
    for node in filled:
        yield "".join(part.value if isinstance(part, ast.Constant) else "{}" for part in node.values)
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in pieces:
            yield node.value


def find_wrong_words(words: list[str]) -> list[str]:
    """The command, the command below it, or the options that do not exist."""
    command = make_app().commands.get(words[0])
    if command is None:
        return words[:1]
    loaded = command.load() if isinstance(command, LazyCommand) else command
    below = getattr(loaded, "commands", None)
    if below is not None and len(words) > 1:
        if words[1] not in below:
            return words[1:2]
        loaded = below[words[1]]
    known = {option for param in loaded.params for option in (*param.opts, *param.secondary_opts)}
    return [word for word in words if word.startswith("--") and word not in known]


@pytest.mark.parametrize("words", ["stats", "db mend", "run quickstart --again"])
def test_a_command_that_does_not_exist_is_noticed(words: str) -> None:
    assert find_wrong_words(words.split()) == words.split()[-1:]


def test_every_command_that_a_message_names_exists_with_its_options() -> None:
    named = {words for source in SOURCES.values() for text in list_texts(source) for words in OWN_COMMAND.findall(text)}
    assert len(named) > 100
    assert {words: wrong for words in named if (wrong := find_wrong_words(words.split()))} == {}


def test_an_example_in_a_help_is_one_line_that_can_be_copied() -> None:
    found = [line for source in SOURCES.values() for line in re.findall(r"^ +(Example: .+)$", source, re.MULTILINE)]
    assert len(found) > 25
    assert [line for line in found if len(line) > 76] == []

r"""Audit what is installed: versions, requirements and every file, without network; known weaknesses where one can ask.

    python scripts/audit_environment.py                  leaves with 1 if anything is not as it should be
    python scripts/audit_environment.py --write REPORT   writes requirements-release.txt from a report of pip

The report:

    pip install --dry-run --ignore-installed --report REPORT -c constraints.txt \
        ".[chgnet,phonons,fireworks,remote,docs,dev]"
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import importlib.util
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import Distribution, distributions
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CONSTRAINTS, RELEASE = ROOT / "constraints.txt", ROOT / "requirements-release.txt"
OURS = "qdip-dft"
LEFT_TO_THE_USER = frozenset({OURS, "torch"})
"""Not in the list of hashes: this package, and the one whose build (CPU, CUDA) the user chooses."""
HEADER = """\
# What a release is tested with, each file by its SHA-256: those for x86-64 Linux and Python 3.11, without addresses.
#     pip install --require-hashes --no-deps -r requirements-release.txt && pip install --no-deps qdip-dft
# torch is left out: its build, for CPUs or CUDA, is your choice; install it first, in the version of constraints.txt.
# Written by scripts/audit_environment.py --write; versions are those of constraints.txt.
"""

_LINE = re.compile(r"(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^\s;]+)(?P<hash> --hash=sha256:[0-9a-f]{64})?")


def main() -> None:
    """Audit, or write the list of hashes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", type=Path, metavar="REPORT", help="write requirements-release.txt instead")
    given = parser.parse_args()
    if given.write is not None:
        RELEASE.write_text(write_release(json.loads(given.write.read_text(encoding="utf-8"))), encoding="utf-8")
        return
    found = [*list_other_versions(), *list_gaps(), *list_changed_files(), *list_broken_requirements()]
    for finding in found:
        sys.stdout.write(f"{finding}\n")
    sys.stdout.write(f"{len(found)} findings; {ask_for_advisories()}\n")
    sys.exit(1 if found else 0)


def read_versions(path: Path) -> dict[str, tuple[str, bool]]:
    """Return version, and whether a hash is given, by name of the package."""
    lines = (line.strip() for line in path.read_text(encoding="utf-8").splitlines())
    found = [_LINE.fullmatch(line) for line in lines if line and not line.startswith("#")]
    return {normalise(line["name"]): (line["version"], line["hash"] is not None) for line in found if line is not None}


def normalise(name: str) -> str:
    """The name of a package as indexes compare it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def write_release(report: dict[str, list[dict[str, dict[str, dict[str, dict[str, str]]]]]]) -> str:
    """Return the requirements file of what pip would install, without addresses."""
    lines = []
    for entry in report["install"]:
        metadata, archive = entry["metadata"], entry["download_info"].get("archive_info")
        if normalise(str(metadata["name"])) not in LEFT_TO_THE_USER and archive is not None:
            lines.append(f"{metadata['name']}=={metadata['version']} --hash=sha256:{archive['hashes']['sha256']}")
    return HEADER + "".join(f"{line}\n" for line in sorted(lines, key=str.lower))


def list_other_versions() -> Iterator[str]:
    """Yield installed packages that have not the version of constraints.txt."""
    asked = read_versions(CONSTRAINTS)
    for package in distributions():
        name = normalise(package.metadata["Name"])
        version = package.version.partition("+")[0]  # such as torch 2.13.0+cpu: the build is the user's choice
        if name in asked and version != asked[name][0]:
            yield f"{name}: {version} is installed, constraints.txt says {asked[name][0]}"


def list_gaps() -> Iterator[str]:
    """Yield what the list of hashes lacks, and where it has another version than constraints.txt."""
    asked = read_versions(CONSTRAINTS)
    for name, (version, has_hash) in read_versions(RELEASE).items():
        if not has_hash:
            yield f"{name}: requirements-release.txt has no hash"
        if asked.get(name, (None,))[0] != version:
            yield f"{name}: requirements-release.txt has {version}, constraints.txt {asked.get(name, ('none',))[0]}"


def list_changed_files() -> Iterator[str]:
    """Yield installed files that differ from what their wheel's list says; start scripts are made at installation."""
    for package in distributions():
        if normalise(package.metadata["Name"]) != OURS:  # installed from this checkout
            yield from _list_changed(package)


def _list_changed(package: Distribution) -> Iterator[str]:
    for file in package.files or ():
        if file.hash is None or file.parts[:2] == ("..", ".."):
            continue
        path = Path(str(file.locate()))
        if not path.exists():
            yield f"{package.metadata['Name']}: {file} is gone"
        elif not _has_hash(path, file.hash.mode, file.hash.value):
            yield f"{package.metadata['Name']}: {file} was changed"


def _has_hash(path: Path, mode: str, expected: str) -> bool:
    with path.open("rb") as content:
        digest = hashlib.file_digest(content, mode).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode() == expected


def list_broken_requirements() -> Iterator[str]:
    """Yield what pip says about requirements that are not met."""
    done = subprocess.run([sys.executable, "-m", "pip", "check"], capture_output=True, text=True, check=False)
    if done.returncode:
        yield from done.stdout.splitlines()


def ask_for_advisories() -> str:
    """Say which installed packages have known weaknesses; that needs the network and pip-audit."""
    if importlib.util.find_spec("pip_audit") is None:
        return "advisories were not asked for: pip install pip-audit, which needs the network"
    command = [sys.executable, "-m", "pip_audit", "--progress-spinner=off", "--timeout=10"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    said = (done.stdout + done.stderr).strip().splitlines()
    return f"advisories: {said[0] if said else 'no answer'}"


if __name__ == "__main__":
    main()

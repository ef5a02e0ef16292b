"""Install the wheel of ``dist/`` into fresh environments and plan, run and report a study with the toy potential there.

    python scripts/try_wheel.py [3.11 3.12 3.13]

Python 3.11 takes the versions of constraints.txt and may build a package that has no wheel; the others take the newest
that have one, so that no compiler is needed.
Without versions all that are at hand are tried; a version that is named and is not there is a failure.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

VERSIONS = ("3.11", "3.12", "3.13")
STUDY = Path("tests/cluster/toy-study.yaml")
"""A study that the toy potential decides."""

CONSTRAINTS = Path("constraints.txt")
"""The versions with which the project is tested, on Python 3.11; other Pythons take the newest that have wheels."""


def find_interpreter(version: str) -> Path | None:
    """The interpreter of a version on the path or among those of pyenv; None if there is none."""
    on_path = shutil.which(f"python{version}")
    kept = sorted((Path.home() / ".pyenv" / "versions").glob(f"{version}.*/bin/python"))
    return next((Path(each) for each in (*kept, *filter(None, [on_path]))), None)


def try_wheel(interpreter: Path, wheel: Path, folder: Path, *, is_pinned: bool) -> None:
    """Install a wheel and use it; the first command that fails ends everything."""
    subprocess.run([interpreter, "-m", "venv", folder / "env"], check=True)
    programs = folder / "env" / "bin"
    options = ["--constraint", CONSTRAINTS.absolute()] if is_pinned else ["--only-binary", ":all:"]
    subprocess.run([programs / "python", "-m", "pip", "install", "--quiet", *options, wheel], check=True)
    for words in (["plan", STUDY.absolute()], ["run", STUDY.absolute()], ["report", STUDY.stem]):
        subprocess.run([programs / "qdip", *words], cwd=folder, check=True, stdout=subprocess.DEVNULL)


def main() -> int:
    """Try every version that is asked for, or that is at hand."""
    asked = sys.argv[1:]
    wheel = max(Path("dist").absolute().glob("qdip_dft-*.whl"), key=lambda path: path.stat().st_mtime)
    missing = []
    for version in asked or VERSIONS:
        interpreter = find_interpreter(version)
        if interpreter is None:
            print(f"Python {version}: not on this machine")
            missing.append(version)
            continue
        with tempfile.TemporaryDirectory() as folder:
            try_wheel(interpreter, wheel, Path(folder), is_pinned=version == "3.11")
        print(f"Python {version}: plan, run and report of {STUDY.stem} from {wheel.name}")
    return 1 if asked and missing else 0


if __name__ == "__main__":
    sys.exit(main())

"""Walk a new user's first ten minutes in a fresh clone: what the README types, in its order, each step timed.

    python scripts/walk.py

The clone has an environment of its own, which borrows the packages that are installed beside this script's interpreter;
how they are installed from nothing is tried by `make fresh`.  `make demo` runs the study `quickstart` in place of the
headline study, which takes longer, and `make test` one file of the tests.  Everything else is as the README has it:
real calculations with the default potential.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
WIDTH = 80
DEMO = "demo STUDY=quickstart"
TEST = "test PYTEST_ARGS=tests/unit/test_signs.py"
NOT_COPIED = (".*", "build", "dist", "qdip-results", "__pycache__")
EXECUTE_NOTEBOOK = "from nbclient.cli import main; main()"


@contextmanager
def timed_step(name: str) -> Iterator[None]:
    """Print the name of a step, and its time when it has not failed."""
    print(f"{name} …", flush=True)
    started = time.monotonic()
    yield
    print(f"{name}: {time.monotonic() - started:.0f} s", flush=True)


def type_command(*words: str | Path, folder: Path, expected: str = "") -> str:
    """Run a command in the clone, whose programs come first; end the walk if it fails or its output lacks something."""
    environment = {**os.environ, "COLUMNS": str(WIDTH), "PATH": f"{folder / '.venv/bin'}:{os.environ['PATH']}"}
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    said = done.stdout + done.stderr
    if done.returncode != 0 or expected not in said:
        sys.exit(f"{said}\n{' '.join(map(str, words))}: left with {done.returncode}; expected {expected!r}")
    return done.stdout


def find_block(page: str, heading: str, language: str) -> str:
    """The first block of a language below a heading of the README."""
    below = page.partition(f"\n## {heading}\n")[2]
    return below.partition(f"```{language}\n")[2].partition("```")[0]


def clone(folder: Path) -> None:
    """Clone what is committed, or copy what is there, and give it an environment that needs no network."""
    safe = ["-c", f"safe.directory={ROOT}", "-c", f"safe.directory={ROOT / '.git'}"]
    cloned = subprocess.run(["git", *safe, "clone", "--quiet", ROOT, folder], check=False)
    if cloned.returncode != 0:  # an exported tree, or a checkout without its history
        print("not a whole repository: its files are copied instead", flush=True)
        shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(*NOT_COPIED))
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / ".venv"], check=True)
    packages = next((folder / ".venv" / "lib").glob("python*")) / "site-packages"
    # Read first: what imports the clone stands on what is borrowed.
    (packages / "00-borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    pip = [sys.executable, "-m", "pip", "--python", folder / ".venv/bin/python", "--disable-pip-version-check"]
    install = ["install", "--quiet", "--no-index", "--no-deps", "--no-build-isolation", "-e", "."]
    subprocess.run([*pip, *install], cwd=folder, check=True)
    for stamp in (".installed-demo", ".installed-test"):
        (folder / ".venv" / stamp).touch()
    where = "import qdip_dft; print(qdip_dft.__file__)"
    type_command("python", "-c", where, folder=folder, expected=str(folder / "qdip_dft" / "__init__.py"))


def walk(folder: Path) -> None:
    """Take every step; the first that fails ends the walk."""
    with timed_step("git clone"):
        clone(folder)
    readme = (folder / "README.md").read_text(encoding="utf-8")
    with timed_step("qdip --help"):
        lines = type_command("qdip", "--help", folder=folder, expected="First steps").splitlines()
        if any(len(line) > WIDTH for line in lines):
            sys.exit(f"qdip --help is wider than {WIDTH} columns")
    with timed_step(f"make {DEMO}"):
        type_command("make", *DEMO.split(), folder=folder, expected="lies")
    with timed_step("the same again, which computes nothing"):
        said = type_command("make", *DEMO.split(), folder=folder, expected="\n0 calculations made")
        page = re.search(r"^Report: (.+)$", said, re.MULTILINE)
        if page is None or not Path(page[1]).is_file():
            sys.exit(f"{said}\nnames no report that is there")
    with timed_step(f"make {TEST}"):
        type_command("make", *TEST.split(), folder=folder, expected=" passed")
    (folder / "my-study.yaml").write_text(find_block(readme, "Your own pair", "yaml"), encoding="utf-8")
    for line in find_block(readme, "Your own pair", "console").splitlines():
        with timed_step(line.removeprefix("$ ")):
            type_command(*line.removeprefix("$ ").split(), folder=folder, expected="pbs-cspbi3-100")
    with timed_step("the README's lines of Python"):
        lines_of_python = find_block(readme, "From Python", "python")
        type_command("python", "-c", lines_of_python, folder=folder, expected=" eV/f.u.")
    with timed_step("the notebook"):
        shutil.copy(folder / "docs" / "first-look.ipynb", folder)  # beside the results that there are by now
        type_command("python", "-c", EXECUTE_NOTEBOOK, "--inplace", "first-look.ipynb", folder=folder)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as parent, timed_step("The walk"):
        walk(Path(parent) / "qdip_dft")

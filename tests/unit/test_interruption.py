"""Ctrl-C ends a command once and in its own words, also in a destructor, and never prints a traceback."""

from __future__ import annotations

import subprocess
import sys

import pytest

COMMAND = """
import atexit, gc, os, signal, sys, time, weakref
from qdip_dft.cli import app, main
from qdip_dft.errors import QdipError

def interrupt(*_):
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.001)

class Dying:
    def __del__(self):
        interrupt()

def command():
    {command}

app.make_app = lambda: command
main()
"""
UNDER_WAY = {
    "plain": "interrupt()",
    "in a destructor": "Dying(); time.sleep(20)",
    "in a callback of a weak reference": "a = set(); r = weakref.ref(a, interrupt); del a; time.sleep(20)",
    "in two destructors": "Dying(); Dying(); time.sleep(20)",
    "in the garbage collector": "gc.callbacks.append(interrupt); gc.collect(); gc.callbacks.clear(); time.sleep(20)",
}


def run(command: str) -> subprocess.CompletedProcess[str]:
    script = COMMAND.format(command=command)
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("command", UNDER_WAY.values(), ids=UNDER_WAY)
def test_an_interruption_ends_the_command_that_is_under_way(command: str) -> None:
    done = run(command)
    assert done.returncode == 3, done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    assert done.stderr.count("the command was interrupted") == 1


def test_an_interruption_while_the_commands_are_imported_has_its_words() -> None:
    script = "import os, signal, sys; from qdip_dft.cli import main; assert 'typer' not in sys.modules\n"
    script += "class Finder:\n    def find_spec(self, name, *_):\n        os.kill(os.getpid(), signal.SIGINT)\n"
    script += "sys.meta_path.insert(0, Finder()); main()"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 3, done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("code", [0, 1])
def test_an_interruption_after_the_answer_changes_nothing(code: int) -> None:
    done = run(f"atexit.register(interrupt); print('the answer'); sys.exit({code})")
    assert (done.returncode, done.stdout, done.stderr) == (code, "the answer\n", "")


def test_an_interruption_of_an_error_leaves_the_error() -> None:
    done = run("atexit.register(interrupt); raise QdipError('no such study', limit='a', why='b', remedy='c')")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("Error:      no such study")


def test_other_errors_of_destructors_are_still_told() -> None:
    done = run("""
    class Failing:
        def __del__(self):
            raise ValueError("of a destructor")
    Failing()""")
    assert done.returncode == 0
    assert "ValueError: of a destructor" in done.stderr

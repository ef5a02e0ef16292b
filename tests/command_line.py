"""Running the command line inside the tests."""

from __future__ import annotations

import signal
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from unittest.mock import patch

from qdip_dft.cli import main

QDIP = [sys.executable, "-c", "import sys; sys.argv[0] = 'qdip'; from qdip_dft.cli import main; main()"]
"""The command line as a process of its own."""


@dataclass(frozen=True)
class Outcome:
    """What a command left behind."""

    returncode: int
    stdout: str
    stderr: str


def qdip(*arguments: object, check: bool = True, leaves_with: int = 0) -> Outcome:
    """Run the command line, errors and exit codes included, in this process."""
    out, err, code, on_interruption = StringIO(), StringIO(), 0, signal.getsignal(signal.SIGINT)
    with patch.object(sys, "argv", ["qdip", *map(str, arguments)]), redirect_stdout(out), redirect_stderr(err):
        try:
            main()
        except SystemExit as leaving:
            code = int(leaving.code or 0)
        finally:
            signal.signal(signal.SIGINT, on_interruption)  # a command ends deaf to it
    assert not check or code == leaves_with, err.getvalue()
    return Outcome(code, out.getvalue(), err.getvalue())


def assert_four_parts(refused: Outcome, expected: str, *, code: int = 2) -> None:
    assert refused.returncode == code, refused.stderr
    assert "Traceback" not in refused.stderr
    lines = refused.stderr.strip().splitlines()
    assert [line.partition(":")[0] for line in lines[-4:]] == ["Error", "Limit", "Why", "What to do"]
    assert expected in refused.stderr

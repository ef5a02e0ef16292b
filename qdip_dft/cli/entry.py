"""Where the command line begins and ends: its one error boundary.

The command tree is imported inside, so that Ctrl-C has its words while it is.
"""

from __future__ import annotations

import sys

from qdip_dft.cli.interruption import interrupted_once
from qdip_dft.cli.output import write_error
from qdip_dft.cli.terminal import harmless_output
from qdip_dft.errors import QdipError
from qdip_dft.runtime.threads import state_threads


def main() -> None:
    """Run the command line; errors that a user can cure leave with exit code 2 or 3 and no traceback."""
    state_threads()
    with harmless_output():
        _run()


def _run() -> None:
    try:
        with interrupted_once():
            from qdip_dft.cli.app import make_app

            make_app()()
    except QdipError as error:
        write_error(error)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(0)

"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Results = Annotated[
    Path,
    typer.Option(
        "--results", envvar="QDIP_RESULTS", help="Results folder; ./qdip-results if not given.", show_default=False
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
StudyName = Annotated[str, typer.Argument(metavar="STUDY", help="A study file (YAML) or its name in workflows/.")]

DEFAULT_RESULTS = Path("qdip-results")

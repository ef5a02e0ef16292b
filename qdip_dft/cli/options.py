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
ResultsLocation = Annotated[
    str,
    typer.Option(
        "--results",
        envvar="QDIP_RESULTS",
        help="Results folder, or a database: mongodb://HOST/NAME (user and password: QDIP_MONGODB_USER, "
        "QDIP_MONGODB_PASSWORD).",
        show_default="./qdip-results",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
StudyName = Annotated[str, typer.Argument(metavar="STUDY", help="A study file (YAML) or its name in workflows/.")]

DEFAULT_RESULTS = Path("qdip-results")

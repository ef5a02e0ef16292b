"""Build step: the wheel carries the data folders of the checkout under ``qdip_dft/_collections``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

DATA_FOLDERS = ("structures", "workflows", "fireworks_config")


class DataFoldersHook(BuildHookInterface):
    """Adds the data folders to a wheel, and nothing to an editable install, which reads them in the checkout."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Map each data folder to its place inside the package."""
        if version != "standard":
            return
        for folder in DATA_FOLDERS:
            build_data["force_include"][str(Path(self.root, folder))] = f"qdip_dft/_collections/{folder}"

"""The version of the package: the one place that the build, the records and the pages read."""

from __future__ import annotations

__version__ = "0.1.0"

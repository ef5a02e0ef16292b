"""How to install more of this package on this machine: commands that work as they stand.

The package may be a checkout, a wheel, or come from an index; only the last can be asked for by its name.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
"""The checkout, where this is one."""


def install_hint(extra: str = "") -> str:
    """Return the command that installs the package, with an extra if one is named, as words for the user."""
    wanted = f"[{extra}]" if extra else ""
    if (ROOT / "pyproject.toml").is_file():
        return f'`{sys.executable} -m pip install -c "{ROOT / "constraints.txt"}" -e "{ROOT}{wanted}"`'
    return f'`{sys.executable} -m pip install "qdip-dft{wanted}{_find_wheel()}"`'


def update_hint() -> str:
    """Return what brings a newer version, in words for the user."""
    if (ROOT / "pyproject.toml").is_file():
        return f"update qdip_dft: `git -C {ROOT} pull`, then {install_hint()}"
    return f"update qdip_dft: install its newer wheel over this one, {sys.executable} -m pip install --upgrade WHEEL"


def package_folder(package: str) -> Path | None:
    """The folder of an installed package, which is not imported; None where it is not installed."""
    specification = find_spec(package)
    places = specification.submodule_search_locations if specification is not None else None
    return Path(places[0]) if places else None


def _find_wheel() -> str:
    """Return where the package was installed from, as pip writes it; nothing where that was an index."""
    import json
    from importlib.metadata import PackageNotFoundError, distribution

    try:
        origin = distribution("qdip-dft").read_text("direct_url.json")
    except PackageNotFoundError:
        return ""
    return "" if origin is None else f" @ {json.loads(origin)['url']}"

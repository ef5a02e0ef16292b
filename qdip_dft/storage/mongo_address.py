"""Where a MongoDB database is and who asks; passwords stay out of every text that is shown or stored.

User and password come from the variables ``QDIP_MONGODB_USER`` and ``QDIP_MONGODB_PASSWORD``, or from the file that
``QDIP_MONGODB_CREDENTIALS`` names (YAML with ``user`` and ``password``, mode 0600), or else from the address.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote_plus

from qdip_dft.errors import ResultsError
from qdip_dft.yaml_text import parse_yaml

DEFAULT_DATABASE = "qdip"
_ADDRESS = re.compile(
    r"(?P<scheme>mongodb(?:\+srv)?://)(?:(?P<user>[^:@/]*)(?::(?P<password>[^@/]*))?@)?"
    r"(?P<hosts>[\w.,:\[\]%-]+)(?:/(?P<database>[\w-]*))?(?P<options>\?[^\s@]*)?"
)
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/|[^/]*://")

_LONGEST_NAME_BYTES = 255
"""How an address begins: a path has lost its second slash, and ``C:/`` is a drive."""


@dataclass(frozen=True, slots=True)
class MongoAddress:
    """An address in parts.

    Parameters
    ----------
    uri
        The address with its options and without user and password.
    database
        Name of the database.
    user, password
        Who asks; empty when the server asks nobody.
    """

    uri: str
    database: str
    user: str = field(default="", repr=False)
    password: str = field(default="", repr=False)

    @property
    def shown(self) -> str:
        """The address as it may be shown: without user, password and options."""
        return self.uri.partition("?")[0]


def is_mongo_uri(location: object) -> bool:
    """Return whether a location is the address of a MongoDB server and not a folder."""
    return str(location).startswith(("mongodb:", "mongodb+srv:"))


def require_folder_name(location: object) -> str:
    """Return the name of a folder, or refuse an address such as ``postgres://…``.

    Raises
    ------
    ResultsError
        If it is an address; it is not repeated, as it may hold a password.
    """
    if _SCHEME.match(str(location)) is None:
        return _require_possible(str(location))
    raise ResultsError(
        "the results location is an address (it is not repeated here: it may hold a password)",
        limit="results are kept in a folder; query, atlas and db also read mongodb://HOST/DATABASE",
        why="a folder of that name would be made, and the password would stand in it",
        remedy="name a folder with --results DIR; qdip db copy brings results into a MongoDB database and back",
    )


def _require_possible(name: str) -> str:
    """Refuse a name that no file system takes."""
    longest = max(len(part.encode(errors="surrogatepass")) for part in name.split("/"))
    if longest <= _LONGEST_NAME_BYTES and "\0" not in name:
        return name
    raise ResultsError(
        f"{name[:40]!r}… cannot name a folder",
        limit=f"each part of a path has at most {_LONGEST_NAME_BYTES} bytes, and no NUL",
        why="there can be no such folder",
        remedy="name a folder with --results DIR",
    )


def read_address(uri: str) -> MongoAddress:
    """Return the parts of an address such as ``mongodb://server.example.org:27017/group``.

    Raises
    ------
    ResultsError
        If it is not one, or the credentials cannot be read.
    """
    found = _ADDRESS.fullmatch(uri)
    if found is None:
        raise refuse_address()
    database = found["database"] or DEFAULT_DATABASE
    user, password = _read_credentials()
    if not user:
        user, password = unquote_plus(found["user"] or ""), unquote_plus(found["password"] or "")
    return MongoAddress(
        uri=f"{found['scheme']}{found['hosts']}/{database}{found['options'] or ''}",
        database=database,
        user=user,
        password=password,
    )


def refuse_address() -> ResultsError:
    """Return the error about an address that cannot be read; it is not repeated, as it may hold a password."""
    return ResultsError(
        "the address of the MongoDB server cannot be read (it is not repeated here: it may hold a password)",
        limit="mongodb://HOST[:PORT]/DATABASE or mongodb+srv://HOST/DATABASE, with options that MongoDB knows, and "
        "special characters written as %XX",
        why="the database cannot be found",
        remedy="write it like mongodb://server.example.org:27017/group; user and password belong into "
        "QDIP_MONGODB_USER and QDIP_MONGODB_PASSWORD",
    )


def _read_credentials() -> tuple[str, str]:
    path = os.environ.get("QDIP_MONGODB_CREDENTIALS")
    if path:
        return _read_credentials_file(Path(path))
    return os.environ.get("QDIP_MONGODB_USER", ""), os.environ.get("QDIP_MONGODB_PASSWORD", "")


def _read_credentials_file(path: Path) -> tuple[str, str]:
    import yaml

    try:
        mode = path.stat().st_mode & 0o777
        content = parse_yaml(path.read_text(encoding="utf-8")) if not mode & 0o077 else None
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        raise _unusable(f"{path} cannot be read") from None  # the error of the parser would quote the file
    if mode & 0o077:
        raise _unusable(f"{path} has the mode {mode:04o}")
    if not isinstance(content, dict) or set(content) != {"user", "password"}:
        raise _unusable(f"{path} does not hold user and password, and nothing else")
    return str(content["user"]), str(content["password"])


def _unusable(what: str) -> ResultsError:
    return ResultsError(
        what,
        limit="a file of credentials holds the lines user: … and password: …, with mode 0600",
        why="others on this machine could read the password",
        remedy="correct the file and run chmod 600 on it, or set QDIP_MONGODB_USER and QDIP_MONGODB_PASSWORD instead",
    )

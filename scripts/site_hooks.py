"""What MkDocs asks while it builds the documentation: pages that are written from the code, and links out of docs/.

The commands are written from the command tree, the Python reference from the docstrings of the public names, the list
of decisions from their titles, the atlas from its documents.  Pages at the root of the checkout join the site; a link
to any other file of the checkout becomes its name: a site without an address of the repository cannot lead there.
"""

from __future__ import annotations

import posixpath
import re
from contextlib import redirect_stdout, suppress
from io import StringIO
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files
from write_atlas import draw_pages, read_documents

import qdip_dft
from qdip_dft.cli.app import COMMANDS, make_app

ROOT = Path(__file__).resolve().parents[1]
ROOT_PAGES = ("CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", "CODE_OF_CONDUCT.md")
FURTHER = {"errors": "Errors", "units": "Units", "model.terms": "Terms", "engines.base": "Engines"}
"""Modules, besides the public names, that have a page."""

_LINK = re.compile(r"(?<!!)\[(?P<text>[^\]]*)\]\((?P<target>[^)\s]+)\)")


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that are not in docs/."""
    pages = {name: (ROOT / name).read_text(encoding="utf-8") for name in ROOT_PAGES if (ROOT / name).is_file()}
    pages |= {"decisions/index.md": list_decisions(), "reference/commands.md": describe_commands()}
    pages |= dict(write_reference())
    pages |= {f"atlas/{name}": html for name, html in draw_pages(read_documents())}
    for name, text in pages.items():
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, *, page: Any, files: Files, **_: Any) -> str:
    """Lead every link to a page of the site, or say which file of the checkout it means."""
    uri = page.file.src_uri
    folder = posixpath.dirname(uri)
    in_checkout = folder if uri in ROOT_PAGES else posixpath.join("docs", folder)

    def lead(link: re.Match[str]) -> str:
        name, mark, anchor = link["target"].partition("#")
        if not name or ":" in name:
            return link[0]
        target = posixpath.normpath(posixpath.join(in_checkout, name))
        inside = posixpath.relpath(target, "docs") if target.startswith("docs/") else target
        inside = f"{inside}/index.md" if (ROOT / target).is_dir() else inside
        if files.get_file_from_path(inside) is None:
            return link["text"] if target in link["text"] else f"{link['text']} (`{target}` in the checkout)"
        return f"[{link['text']}]({posixpath.relpath(inside, folder or '.')}{mark}{anchor})"

    return _LINK.sub(lead, markdown)


def list_decisions() -> str:
    """Return the page of the decisions, a line each."""
    pages = sorted((ROOT / "docs" / "decisions").glob("*.md"))
    titles = [(page.name, page.read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ")) for page in pages]
    return "# Decisions\n\n" + "\n".join(f"* [{title}]({name})" for name, title in titles) + "\n"


def write_reference() -> list[tuple[str, str]]:
    """Return a page for every public name of `qdip_dft`, for some modules, and the list of them all."""
    places = {name: f"qdip_dft.{place}.{name}" for name, place in qdip_dft._PLACES.items()}  # noqa: SLF001
    modules = {title: f"qdip_dft.{module}" for module, title in FURTHER.items()}
    pages = [(f"reference/{name}.md", f"# {name}\n\n::: {place}\n") for name, place in {**places, **modules}.items()]
    rows = "\n".join(f"* [{name}]({name}.md): {summarise(name)}" for name in sorted(places))
    rest = "\n".join(f"* [{title}]({title}.md)" for title in modules)
    text = f"# The public names\n\nNone is loaded until it is used.\n\n{rows}\n\nBehind them:\n\n{rest}\n"
    return [("reference/index.md", text), *pages]


def summarise(name: str) -> str:
    """Return the first line of the docstring of a public name."""
    return (getattr(qdip_dft, name).__doc__ or "").strip().partition("\n")[0]


def describe_commands() -> str:
    """Return the help of every command, as the terminal shows it at 80 columns."""
    parts = ["# Commands\n", "What `qdip COMMAND --help` prints.\n", show_help([])]
    for section, commands in COMMANDS.items():
        parts.append(f"## {section}\n")
        for name in commands:
            parts.append(f"### qdip {name}\n\n{show_help([name])}")
            parts += [show_help([name, inner]) for inner in list_inner(name)]
    return "\n".join(parts)


def list_inner(name: str) -> list[str]:
    """Return the commands below a command."""
    return list(getattr(make_app().commands[name].load(), "commands", {}))


def show_help(words: list[str]) -> str:
    """Return the help of a command as a block of text, 80 columns wide."""
    shown = StringIO()
    with redirect_stdout(shown), suppress(SystemExit):
        make_app().main([*words, "--help"], prog_name="qdip", terminal_width=80)
    return f"```text\n{shown.getvalue().rstrip()}\n```\n"

"""YAML text: files of the project's own read fast, and files that people write read so that nothing is misunderstood.

Both are parsed by libyaml where it is compiled in: the crystal library in a tenth of the time.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qdip_dft.errors import StudyError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from yaml.nodes import MappingNode, Node, ScalarNode

Location = tuple[int | str, ...]
"""Keys and list positions from the top of a file to a value."""

MOST_VALUES = 100_000
"""Keys and values in a file, aliases written out; the largest campaign that is shipped has some hundred."""

MOST_LEVELS = 100
"""Levels of nesting in a file; studies have about six."""

AS_IT_LOOKS = {
    "int": re.compile(r"[-+]?(0|[1-9][0-9]*)"),
    "float": re.compile(r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?"),
}
"""Numbers that YAML 1.1 reads as everybody does; it takes 012 for 10, 1:30 for 90 and 0x11 for 17."""


@dataclass(frozen=True, slots=True, eq=False)
class WrittenYaml:
    """A YAML text that somebody wrote: its values, and where and how each is written.

    Parameters
    ----------
    content
        The plain values.
    root
        The parsed text with line numbers; None for an empty one.
    """

    content: Any
    root: Node | None

    def find_line(self, location: Location) -> int | None:
        """The line, from 1, of a value or, where it is missing, of what should hold it; None for an empty text."""
        node = self._find_head(location)
        return None if node is None else int(node.start_mark.line) + 1

    def rearrange(self, content: Any, places: Mapping[str, Location]) -> WrittenYaml:
        """Other data whose keys are written in this text, for the lines of what is wrong with them.

        Parameters
        ----------
        content
            The data.
        places
            Where in this text each of its keys is written.
        """
        from yaml.nodes import MappingNode, ScalarNode

        if self.root is None:
            return WrittenYaml(content, None)
        pairs = [
            (ScalarNode("tag:yaml.org,2002:str", key, head.start_mark), node)
            for key, place in places.items()
            if (head := self._find_head(place)) is not None and (node := self._step_to(place)) is not None
        ]
        return WrittenYaml(content, MappingNode("tag:yaml.org,2002:map", pairs, self.root.start_mark))

    def find_text(self, location: Location) -> str | None:
        """How a single value is written if it stands without quotes, such as ``no``; None for anything else."""
        node = self._step_to(location)
        return str(node.value) if node is not None and _is_bare(node) else None

    def _find_head(self, location: Location) -> Node | None:
        """The key of a value in a mapping, else the value itself or what should hold it."""
        holder = self._step_to(location[:-1])
        pairs = holder.value if location and holder is not None and holder.id == "mapping" else ()
        return next((key for key, _ in pairs if key.value == location[-1]), None) or self._step_to(location)

    def _step_to(self, location: Location) -> Node | None:
        node = self.root
        for part in location:
            node = _step_into(node, part) or node
        return node


NOT_WRITTEN = WrittenYaml(None, None)
"""What was never a text."""


def parse_yaml(text: str) -> Any:
    """Return the plain values of a YAML text; no object is ever made.

    Raises
    ------
    yaml.YAMLError
        If it is not YAML, or nested too deeply.
    """
    import yaml

    _require_shallow(text)
    return yaml.load(text, Loader=_choose_loader())


def parse_written_yaml(text: str, *, source: str) -> WrittenYaml:
    """Read a YAML text that somebody wrote: every key once, and every number and word as it looks.

    Parameters
    ----------
    text
        The text.
    source
        What errors call it, such as the name of its file.

    Raises
    ------
    StudyError
        If it is not YAML or without end, a key stands twice, or YAML 1.1 reads a value as something else than it looks
        like; the line is named.
    """
    import yaml

    try:
        _require_shallow(text)
    except yaml.YAMLError as error:
        raise _not_yaml(error, source) from error
    loader = _choose_loader()(text)
    try:
        root = loader.get_single_node()
        if root is not None:
            _count_values(root, {})
            _require_as_it_looks(root, source)
        return WrittenYaml(None if root is None else loader.construct_document(root), root)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise _not_yaml(error, source) from error
    finally:
        loader.dispose()


def _choose_loader() -> Any:
    """PyYAML may be built without libyaml; its own parser gives the same values."""
    import yaml

    return getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def _require_shallow(text: str) -> None:
    """Refuse deep nesting before anything recurses into it: libyaml would overflow the stack and end the process.

    Raises
    ------
    yaml.YAMLError
        If there are more levels than `MOST_LEVELS`, or it is not YAML.
    """
    import yaml

    depth = 0
    for event in yaml.parse(text, Loader=_choose_loader()):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MOST_LEVELS:
            raise yaml.YAMLError(f"more than {MOST_LEVELS} levels of nesting in line {event.start_mark.line + 1}")


def _require_as_it_looks(root: Node, source: str) -> None:
    for node in _walk(root):
        if node.id == "mapping":
            _require_words_once(node, source)
        elif _is_bare(node):
            _require_plain_reading(node, source)


def _is_bare(node: Node) -> bool:
    """Whether a node is a single value without quotes; libyaml and PyYAML's own parser differ in the mark of that."""
    return node.id == "scalar" and not node.style


def _count_values(node: Node, known: dict[int, float]) -> float:
    """How many values a node holds where every alias is written out: few lines of aliases may stand for billions."""
    if id(node) not in known:
        known[id(node)] = math.inf  # what holds itself never ends
        pairs = (
            node.value if node.id == "mapping" else [(part,) for part in node.value] if node.id == "sequence" else ()
        )
        known[id(node)] = 1 + sum(_count_values(part, known) for pair in pairs for part in pair)
    if known[id(node)] > MOST_VALUES:
        raise ValueError(
            f"line {node.start_mark.line + 1}: aliases write out more than {MOST_VALUES} values, or themselves"
        )
    return known[id(node)]


def _walk(root: Node) -> Iterator[Node]:
    """Every node once, in the order of the text, however often an alias names it."""
    waiting, seen = [root], set()
    while waiting:
        node = waiting.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        yield node
        if node.id == "mapping":
            waiting += [part for pair in reversed(node.value) for part in reversed(pair)]
        elif node.id == "sequence":
            waiting += reversed(node.value)


def _require_words_once(mapping: MappingNode, source: str) -> None:
    lines: dict[str, int] = {}
    for key, _ in mapping.value:
        word, line = key.value if key.id == "scalar" else "...", key.start_mark.line + 1
        if not key.tag.endswith((":str", ":merge")):
            raise _misread(f"{source}, line {line}: the key `{word}` is no word to YAML", f'"{word}"')
        if word in lines:
            raise StudyError(
                f"{source} gives `{word}` twice, on lines {lines[word]} and {line}",
                limit="a key stands once where it belongs",
                why="YAML would drop the first value without a word, and another question would be answered",
                remedy=f"remove one of the lines {lines[word]} and {line}",
            )
        lines[word] = line


def _require_plain_reading(scalar: ScalarNode, source: str) -> None:
    kind, text = scalar.tag.rpartition(":")[2], scalar.value
    where = f"{source}, line {scalar.start_mark.line + 1}"
    if kind == "timestamp":
        raise _misread(f"{where}: YAML reads `{text}` as a date", f'"{text}"')
    number = parse_yaml(text) if kind in AS_IT_LOOKS and not AS_IT_LOOKS[kind].fullmatch(text) else None
    if isinstance(number, (int, float)):
        raise _misread(f"{where}: YAML reads `{text}` as the number {number}", f'"{text}"')


def _step_into(node: Node | None, part: int | str) -> Node | None:
    if node is not None and node.id == "mapping":
        return next((value for key, value in node.value if key.value == part), None)
    if node is not None and node.id == "sequence" and isinstance(part, int) and part < len(node.value):
        item: Node = node.value[part]
        return item
    return None


def _misread(what: str, quoted: str) -> StudyError:
    return StudyError(
        what,
        limit="a plane or a name that looks like a number, a date or a truth value stands in quotes",
        why="another value than the one on the page would be calculated with",
        remedy=f"write {quoted} if it is a plane or a name; write a number in plain decimal digits",
    )


def _not_yaml(error: Exception, source: str) -> StudyError:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    where = "" if mark is None else f", line {mark.line + 1}"
    problem = getattr(error, "problem", None) or (str(error) or type(error).__name__).splitlines()[0]
    return StudyError(
        f"{source} is not readable YAML{where} ({problem})",
        limit="a study or campaign is a YAML mapping",
        why="nothing can be planned from it",
        remedy="correct it there; workflows/quickstart.yaml shows how a study is written",
    )

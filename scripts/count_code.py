"""Count the lines of code in each folder of qdip_dft; blank lines, comments and docstrings are no code.

python scripts/count_code.py [FOLDER]
"""

from __future__ import annotations

import ast
import io
import sys
import tokenize
from collections import Counter
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1] / "qdip_dft"

_NO_CODE = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
}


def count_code(text: str) -> int:
    """Return the number of lines of a module that hold code."""
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    code = {line for token in tokens if token.type not in _NO_CODE for line in range(token.start[0], token.end[0] + 1)}
    return len(code - _list_docstring_lines(text))


def count_folders(package: Path = PACKAGE) -> Counter[str]:
    """Return the lines of code by folder directly below a package; its own modules stand under its name."""
    counts = Counter[str]()
    for path in sorted(package.rglob("*.py")):
        first, *rest = path.relative_to(package).parts
        counts[first if rest else package.name] += count_code(path.read_text(encoding="utf-8"))
    return counts


def _list_docstring_lines(text: str) -> set[int]:
    """Return the lines of all texts that stand alone: docstrings of modules, classes, functions and fields."""
    alone = (node.value for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Expr))
    texts = [node for node in alone if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    return {line for node in texts for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)}


def main() -> None:
    """Print the counts, the largest first."""
    counts = count_folders(Path(sys.argv[1]) if len(sys.argv) > 1 else PACKAGE)
    for folder, count in counts.most_common():
        print(f"{count:6} {folder}")
    print(f"{counts.total():6} in all")


if __name__ == "__main__":
    main()

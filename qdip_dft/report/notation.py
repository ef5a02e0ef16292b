"""Formulas as they are printed: figures, pages and LaTeX write ``CsPbI3-alpha`` as α-CsPbI₃.

The terminal and machine formats keep the ids of the crystal library, which can be typed.
"""

from __future__ import annotations

import re
from collections.abc import Callable

_GREEK = {"alpha": "α", "beta": "β", "gamma": "γ", "delta": "δ"}
_PHASE = "|".join(_GREEK)
_ORGANIC_CATIONS = ("PEA", "FA", "MA")
_PART = rf"(?:{'|'.join(_ORGANIC_CATIONS)}|[A-Z][a-z]?)"
_AMOUNT = r"(?:\d{1,2}(?:\.\d{1,2})?)?"
_FORMULA = re.compile(
    rf"\b(?![\w.-]*(?:(?<!\d)\.|\.(?!\d)|/)\w)(?:({_PHASE})-)?((?:{_PART}{_AMOUNT})+)(?:-({_PHASE}))?\b(?!\.\d)"
)
"""Neither a file name nor a space group such as I4/mcm."""

_CODES = {"CP2K"}
"""Names that could be read as formulas."""

_LATEX = {"&": r"\&", "%": r"\%", "#": r"\#", "_": r"\_", "$": r"\$", "{": r"\{", "}": r"\}", "\\": r"\textbackslash{}",
          "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "Å": r"\AA{}", "²": r"\textsuperscript{2}",
          "−": "$-$", "±": r"$\pm$", "°": r"\textdegree{}", "⁻": r"\textsuperscript{-}", "³": r"\textsuperscript{3}",
          "×": r"$\times$", "—": "---", "α": r"$\alpha$", "β": r"$\beta$", "γ": r"$\gamma$",
          "δ": r"$\delta$", "σ": r"$\sigma$", "Δ": r"$\Delta$"}  # fmt: skip

_SUBSCRIPTS = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")


def escape_latex(text: str) -> str:
    """Return a text that LaTeX prints as it stands."""
    return "".join(_LATEX.get(character, character) for character in text)


def typeset(text: str) -> str:
    """Write formulas with subscripts and Greek phases: ``CsPbI3-alpha(100)`` becomes ``α-CsPbI₃(100)``."""

    def write(phase: str, formula: str) -> str:
        return (f"{_GREEK[phase]}-" if phase else "") + formula.translate(_SUBSCRIPTS)

    return _replace(text, write)


def typeset_latex(text: str) -> str:
    r"""Write a text for LaTeX with the package mhchem: ``CsPbI3-alpha`` becomes ``$\alpha$-\ce{CsPbI3}``."""

    def write(phase: str, formula: str) -> str:
        return (rf"$\{phase}$-" if phase else "") + rf"\ce{{{formula}}}"

    return _replace(escape_latex(text), write)


def _replace(text: str, write: Callable[[str, str], str]) -> str:
    def improve(match: re.Match[str]) -> str:
        before, formula, after = match.groups(default="")
        return write(before or after, formula) if _is_formula(formula, has_phase=bool(before or after)) else match[0]

    return _FORMULA.sub(improve, text)


def _is_formula(word: str, *, has_phase: bool) -> bool:
    """Whether a word has something to typeset and is made of elements; a lone P21 is a space group."""
    from ase.data import atomic_numbers

    parts = re.findall(rf"({_PART})({_AMOUNT})", word)
    is_lone = len(parts) == 1 and len(parts[0][1]) > 1
    has_elements = all(name in _ORGANIC_CATIONS or name in atomic_numbers for name, _ in parts)
    return (has_phase or any(number for _, number in parts)) and has_elements and not is_lone and word not in _CODES

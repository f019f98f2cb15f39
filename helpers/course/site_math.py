"""Formulas of the site: MathML, made by pandoc, and the font with which browsers draw it.

Browsers draw MathML without a script and without a network. MathJax would need a script and a copy of its files, and no
wheel of the environment contains one that can stand alone. The font is matplotlib's DejaVu Serif: it has the
mathematical letters and brackets of every size, but the distances in its table MATH are zero, so they are filled in.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import pypandoc

PANDOC_LIMIT = 60  # seconds; the formulas of the workbook take less than two
PANDOC_API = [1, 23]  # version of pandoc's document type; pandoc refuses documents of another one
FONT = Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSerif.ttf")
THIN_SPACE = '<mspace width="0.17em"></mspace>'
DISTANCES: Mapping[str, float] = {
    "SubscriptShiftDown": 0.19,
    "SubscriptTopMax": 0.36,
    "SubscriptBaselineDropMin": 0.05,
    "SuperscriptShiftUp": 0.36,
    "SuperscriptShiftUpCramped": 0.29,
    "SuperscriptBottomMin": 0.11,
    "SuperscriptBaselineDropMax": 0.32,
    "SubSuperscriptGapMin": 0.18,
    "SuperscriptBottomMaxWithSubscript": 0.34,
    "SpaceAfterScript": 0.04,
    "UpperLimitGapMin": 0.1,
    "UpperLimitBaselineRiseMin": 0.11,
    "LowerLimitGapMin": 0.1,
    "LowerLimitBaselineDropMin": 0.6,
    "FractionNumeratorShiftUp": 0.39,
    "FractionNumeratorDisplayStyleShiftUp": 0.68,
    "FractionDenominatorShiftDown": 0.34,
    "FractionDenominatorDisplayStyleShiftDown": 0.69,
    "FractionNumeratorGapMin": 0.06,
    "FractionNumDisplayStyleGapMin": 0.12,
    "FractionDenominatorGapMin": 0.06,
    "FractionDenomDisplayStyleGapMin": 0.12,
}
"""Distances of the table MATH in units of the font's size, near those of TeX's own fonts."""


class Formula(NamedTuple):
    """A formula in TeX."""

    tex: str
    is_block: bool  # on a line of its own


def convert_formulas(formulas: Sequence[Formula]) -> list[str]:
    """Return the MathML of each formula, or "" for one that pandoc cannot read.

    Raises:
        OSError: pandoc is missing.
        subprocess.SubprocessError: pandoc fails or takes too long.
    """
    if not formulas:
        return []
    blocks = []
    for formula in formulas:
        kind = "DisplayMath" if formula.is_block else "InlineMath"
        blocks.append({"t": "Para", "c": [{"t": "Math", "c": [{"t": kind}, formula.tex]}]})
    document = json.dumps({"pandoc-api-version": PANDOC_API, "meta": {}, "blocks": blocks})
    command = [pypandoc.get_pandoc_path(), "--sandbox", "--from=json", "--to=html5", "--mathml", "--wrap=none"]
    finished = subprocess.run(
        command, input=document, capture_output=True, encoding="utf-8", timeout=PANDOC_LIMIT, check=True
    )
    paragraphs = re.findall(r"<p>(.*?)</p>", finished.stdout, flags=re.DOTALL)
    return [_find_mathml(paragraph) for paragraph in paragraphs]


def _find_mathml(html: str) -> str:
    """Return the element `math` in a paragraph; the formula's TeX, which it holds a second time, is left out.

    A function's name has a space before an argument without brackets, as in "log 2". The font has no wide braces, so a
    brace under a term becomes a line, which `site.css` draws.
    """
    found = re.search(r"<math.*</math>", html, flags=re.DOTALL)
    mathml = re.sub(r"<annotation.*?</annotation>", "", found[0], flags=re.DOTALL) if found else ""
    mathml = re.sub(r"(<mo>&#8289;</mo></mrow>)(?!(<mrow>)?<mo[^>]*>[(\[{])", rf"\1{THIN_SPACE}", mathml)
    mathml = re.sub(
        r'<munder>((?:(?!<munder>).)*?)<mo accent="true">⏟</mo></munder>', r'<mrow class="brace">\1</mrow>', mathml
    )
    return re.sub(r"<mo>(′+)</mo>", r'<mo class="prime">\1</mo>', mathml)


def write_font(path: Path) -> None:
    """Write the font of the formulas, with its distances, to `path`."""
    from fontTools.ttLib import TTFont

    font = TTFont(FONT)
    head: Any = font["head"]
    constants = font["MATH"].table.MathConstants
    for name, distance in DISTANCES.items():
        getattr(constants, name).Value = round(distance * head.unitsPerEm)
    font.save(path)

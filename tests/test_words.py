"""Words of the field: private terms are kept out of the code, its texts and the project's pages."""

import io
import re
import tokenize
from pathlib import Path

import pytest

from helpers.paths import ROOT

TERMS = {
    r"rulers?": "metric",
    r"rungs?|ladders?|climb(s|ers?|ing)?": "ablation step, cumulative ablation",
    r"levers?|cures?|cured": "factor, change, fix",
    r"gappy|gappiness": "gridding (holes of a dilated receptive field)",
    r"wirings?": "dilation configuration",
    r"answers? for": "is assigned to, matched to",
    r"speaks?|spoken|may say": "predicts, is enabled",
    r"punish(es|ed|ment)?": "penalise, loss",
    r"nobody('s)?|whoever|who(so)?ever": "background, anyone, every caller",
    r"forgiv(e|es|en|ing)": "permutation-invariant, ignored",
    r"hidden truth": "fully occluded objects",
    r"coins?|by lot|lots are drawn": "random assignment, at random",
    r"rescu(e|es|ed)": "low-quality match",
    r"rooms?(?! (for|on|in|at|left))|wings?|corridors?|houses?(?!([-_ ]?numbers?|_NUMBERS))|doors?": (
        "module, package, shared modules, repository, command"
    ),
    r"what .{1,30} promises?": "guarantees",
    r"strangers?": "outsiders",
}
"""Pattern of a private term, as whole words, and the field's term in its place."""

EXPRESSION = re.compile("|".join(rf"\b(?:{pattern})\b" for pattern in TERMS), flags=re.IGNORECASE)
SOURCES = [path for folder in ("helpers", "benchmarks", "tests") for path in sorted((ROOT / folder).rglob("*.py"))]
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "Makefile", "pyproject.toml")]
PAGES += sorted((ROOT / "docs").glob("*.md"))
PATHS = [path for path in [*SOURCES, *PAGES] if path != Path(__file__)]


def split_words(identifier: str) -> str:
    """Return the words of an identifier, separated by blanks: `plot_ladder` and `PlotLadder` are two words each."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", identifier.replace("_", " "))


def read_texts(path: Path) -> list[tuple[int, str]]:
    """Return line number and text of every name, comment and string of a Python file, or of every line of a page."""
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".py":
        return list(enumerate(text.splitlines(), start=1))
    words = {tokenize.NAME, tokenize.COMMENT, tokenize.STRING}
    words |= {getattr(tokenize, "FSTRING_MIDDLE", tokenize.STRING)}
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    return [(token.start[0], split_words(token.string)) for token in tokens if token.type in words]


def find_terms(path: Path) -> list[str]:
    """Return a line for each private term in `path`: where it stands, and the field's term."""
    lines = []
    for number, text in read_texts(path):
        for match in EXPRESSION.finditer(text):
            term = next(better for pattern, better in TERMS.items() if re.fullmatch(pattern, match[0], re.IGNORECASE))
            lines.append(f"{path.relative_to(ROOT)}:{number}: {match[0]!r}, in the field's words: {term}")
    return lines


@pytest.mark.parametrize(
    ("text", "is_private"),
    [
        ("the rung of a ladder", True),
        ("plot_ladder(steps)", True),
        ("an anchor answers for an object", True),
        ("a room of the house", True),
        ("room for two runs; house numbers; HOUSE_NUMBERS", False),
        ("an ablation step", False),
    ],
)
def test_a_private_term_is_recognised_and_an_ordinary_word_is_not(text, is_private):
    assert bool(EXPRESSION.search(split_words(text))) == is_private


@pytest.mark.parametrize("path", PATHS, ids=[path.relative_to(ROOT).as_posix() for path in PATHS])
def test_no_private_term_is_used(path):
    assert find_terms(path) == []

"""Plain words and plain code in the lessons: length, numbers, terms, and cells that a student can change."""

from __future__ import annotations

import ast
import re

import nbformat
import pytest
from nbformat import NotebookNode

from helpers.paths import ROOT
from tests.test_words import EXPRESSION, split_words

PATHS = sorted((ROOT / "notebooks").glob("*.ipynb"))
NOTEBOOKS = {path.stem: nbformat.read(path, as_version=4) for path in PATHS}
MOST_WORDS = 2500  # of prose in a lesson, without statements of tasks and exercises
WORDS_PER_MINUTE = 110  # a technical text in a second language
MOST_MINUTES = 40
PRONOUNS = {"one", "own", "other", "others", "some", "every", "found", "seen", "kept", "met", "said", "told", "there"}
PRONOUNS |= {"these", "those", "both", "few", "whole", "yes", "maybe", "no"}
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
BARE_DECIMAL = re.compile(r"(?<![\w.\])}/:+])\.\d")
each_lesson = pytest.mark.parametrize("stem", NOTEBOOKS)


def find_cells(stem: str, kind: str) -> list[tuple[int, NotebookNode]]:
    """Return number and cell of each cell of a kind, counted from 0 over all cells."""
    return [(number, cell) for number, cell in enumerate(NOTEBOOKS[stem].cells) if cell.cell_type == kind]


def is_statement(cell: NotebookNode) -> bool:
    """Return whether a text cell states a task or exercise, is the place of a written answer, or lists references."""
    return "nbgrader" in cell.metadata or bool(re.match(r"### Task \d|\*\*\d · |## References", cell.source))


def count_words(text: str) -> int:
    """Return the number of words of a Markdown text, without formulas, code, links' targets and table rules.

    A number is one word, whether it is written as a formula or not.
    """
    text = re.sub(r"\$([-±]?\d[\d.,]*)\$", r"\1", text)
    text = re.sub(r"\$\$.*?\$\$|\$[^$\n]*\$|```.*?```|`[^`\n]*`|\]\([^)]*\)", " ", text, flags=re.DOTALL)
    return len(re.findall(r"\d[\d.,]*|[^\W_][\w'’-]*", text))


def parse(cell: NotebookNode) -> ast.Module:
    return ast.parse("\n".join(line for line in cell.source.splitlines() if not line.startswith(("%", "!"))))


def find_names(tree: ast.Module) -> set[str]:
    """Return the names that a cell binds: assignments, loop variables and arguments."""
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    return names | {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}


def find_dense_lines(tree: ast.Module) -> list[int]:
    """Return the lines of comprehensions inside comprehensions, of two `for` in one, and of assignments inside one."""
    lines = []
    for node in ast.walk(tree):
        if isinstance(node, ast.NamedExpr):
            lines.append(node.lineno)
        if isinstance(node, COMPREHENSIONS):
            inner = [part for part in ast.walk(node) if isinstance(part, COMPREHENSIONS) and part is not node]
            if len(node.generators) > 1 or inner:
                lines.append(node.lineno)
    return lines


@each_lesson
def test_a_lesson_is_short_enough_to_be_read_in_one_sitting(stem):
    words = sum(count_words(cell.source) for _, cell in find_cells(stem, "markdown") if not is_statement(cell))
    assert words <= MOST_WORDS
    assert words / WORDS_PER_MINUTE <= MOST_MINUTES


@each_lesson
def test_numbers_have_a_leading_zero(stem):
    cells = enumerate(NOTEBOOKS[stem].cells)
    texts = [(number, re.sub(r"\]\([^)]*\)", "]", cell.source)) for number, cell in cells]
    assert [(number, match[0]) for number, text in texts for match in BARE_DECIMAL.finditer(text)] == []


@each_lesson
def test_no_private_term_is_used(stem):
    terms = []
    for number, cell in enumerate(NOTEBOOKS[stem].cells):
        text = split_words(re.sub(r"\]\([^)]*\)", "]", cell.source))
        terms += [f"[{number}] {match[0]}" for match in EXPRESSION.finditer(text)]
    assert terms == []


@each_lesson
def test_no_variable_is_a_pronoun_or_a_participle(stem):
    names = [(number, sorted(find_names(parse(cell)) & PRONOUNS)) for number, cell in find_cells(stem, "code")]
    assert [entry for entry in names if entry[1]] == []


@each_lesson
def test_no_expression_holds_more_than_one_comprehension(stem):
    dense = [(number, find_dense_lines(parse(cell))) for number, cell in find_cells(stem, "code")]
    assert [entry for entry in dense if entry[1]] == []


@pytest.mark.parametrize(
    ("code", "lines"),
    [
        ("[x for x in a]", []),
        ("[x for x in a for y in x]", [1]),
        ("y = 1\n[[x for x in row] for row in a]", [2]),
        ("if (n := 3) > 2: pass", [1]),
        ("sum(x for x in a) + sum(x for x in b)", []),
    ],
)
def test_a_dense_line_is_recognised(code, lines):
    assert find_dense_lines(ast.parse(code)) == lines


@pytest.mark.parametrize(
    ("text", "is_bare"),
    [
        ("AP of .83", True),
        ("@.5", True),
        ("0.83", False),
        ("v1.2.3", False),
        ("a[:, 0].5", False),
        ("../x", False),
        ('f"{share:.2f}"', False),
    ],
)
def test_a_bare_decimal_is_recognised(text, is_bare):
    assert bool(BARE_DECIMAL.search(text)) == is_bare

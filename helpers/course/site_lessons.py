"""Lessons as pages of the site: their saved outputs, with alternative texts, and without what needs a kernel.

Nothing is executed. Sources of functions are highlighted by the site, so that they follow its dark mode. Where an
explorer would stand, its fragment is shown, whose sliders move without a kernel; or its saved picture, or a sentence.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping

from nbformat import NotebookNode

from helpers.course.report_cells import is_source
from helpers.course.report_cells import read_text as join_lines

WIDGET = "application/vnd.jupyter.widget-view+json"
RUN_IT = "*Run this lesson to move the sliders.*"
NO_ANSWER = "# your answer"
NO_ANSWER_IN_WORDS = "*Your answer in words.*"
LONGEST_ALT = 400  # characters; screen readers read an alternative text without a pause
PICTURES = ("image/png", "image/jpeg", "image/svg+xml")

_NAVIGATION = re.compile(r"^.*\]\(\.\./README\.md\).*$", flags=re.MULTILINE)  # the site has its own links
_HIDDEN_TESTS = re.compile(r"^### BEGIN HIDDEN TESTS$.*?^### END HIDDEN TESTS$\n?", flags=re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^#+\s+(.*)$", flags=re.MULTILINE)
_SENTENCE_END = re.compile(r"(?<=[.!?:])\s+(?=[A-Z(*])")
_EXERCISE = re.compile(r"\d\d-\d-(solution|check|answer)")  # `grade_id` of a cell of an exercise, not of a build task
_PREDICTIONS = "log.tabulate()"  # in the cell whose table has the results of all predictions, also of the exercises
_SOLUTION = re.compile(r"^### BEGIN SOLUTION$.*?^### END SOLUTION$", flags=re.MULTILINE | re.DOTALL)
_SAVED = re.compile(r"""save_figure\([^\n]*?["'](\w+)["']\)""")
_ABOUT_A_FIGURE = re.compile(
    r"\b(figure|panels?|dots?|bars?|dotted|dashed|left|right|upper|lower|row|column|curves?|lines?|hatched|crosses)\b",
    flags=re.IGNORECASE,
)


def prepare_lesson(
    lesson: NotebookNode, texts: Mapping[str, str], explorers: Mapping[str, str], with_answers: bool = False
) -> NotebookNode:
    """Return a copy of a lesson as the site shows it.

    Links to the lessons before and after, hidden tests and answers to exercises are left out, solutions are folded, and
    every figure has an alternative text.

    Args:
        lesson: with its saved outputs.
        texts: alternative texts of its figures by the name under which a cell saves them.
        explorers: fragments of its explorers by the name under which a cell saves them.
        with_answers: whether answers to exercises are kept, folded like the solutions of build tasks.
    """
    lesson = copy.deepcopy(lesson)
    lesson.metadata.pop("widgets", None)
    lesson.cells[0].source = _NAVIGATION.sub("", lesson.cells[0].source).rstrip()
    for position, cell in enumerate(lesson.cells):
        is_exercise = _EXERCISE.fullmatch(cell.metadata.get("nbgrader", {}).get("grade_id", ""))
        if not with_answers and (is_exercise or (cell.cell_type == "code" and _PREDICTIONS in cell.source)):
            remove_answer(cell)
        if cell.cell_type != "code":
            continue
        cell.source = _HIDDEN_TESTS.sub("", cell.source).rstrip()
        options = {}
        if cell.metadata.get("nbgrader", {}).get("solution") and NO_ANSWER not in cell.source:
            cell.metadata["tags"] = [*cell.metadata.get("tags", []), "hide-cell"]
            options |= {"code_prompt_show": "Show the solution", "code_prompt_hide": "Hide the solution"}
        if any(has_picture(output) for output in cell.outputs):
            options["image"] = {"alt": describe_figure(lesson, position, texts)}
        if options:
            cell.metadata["mystnb"] = options
        cell.outputs = [prepare_output(output, explorers) for output in cell.outputs]
    return lesson


def remove_answer(cell: NotebookNode) -> None:
    """Replace the answer in a cell by a comment or a sentence, and remove what the cell has shown."""
    if cell.cell_type == "code":
        cell.source = _SOLUTION.sub(NO_ANSWER, cell.source)
        cell.outputs = []
    else:
        cell.source = NO_ANSWER_IN_WORDS


def prepare_output(output: NotebookNode, explorers: Mapping[str, str]) -> NotebookNode:
    """Return an output as the site shows it: an explorer's fragment, source as Markdown, others as they are.

    Args:
        output: of a code cell.
        explorers: fragments by name; without one, an explorer is its saved picture or a sentence.
    """
    data = output.get("data", {})
    name = output.get("metadata", {}).get("explorer")
    if name in explorers:
        output["data"] = {"text/html": explorers[name]}
    elif WIDGET in data:
        pictures = {kind: data[kind] for kind in PICTURES if kind in data}
        output["data"] = pictures or {"text/markdown": RUN_IT}
    elif is_source(output):
        code = join_lines(data["text/plain"])
        fence = "`" * max(3, 1 + max((len(ticks) for ticks in re.findall(r"`+", code)), default=0))
        output["data"] = {"text/markdown": f"{fence}python\n{code.rstrip()}\n{fence}"}
    return output


def has_picture(output: NotebookNode) -> bool:
    """Return whether an output holds a picture."""
    return any(kind in output.get("data", {}) for kind in PICTURES)


def read_texts(page: str, lesson: str) -> dict[str, str]:
    """Return the alternative texts of a lesson's figures by name, from the rows of the page about the figures.

    Args:
        page: Markdown with a row for each figure: its file, `NN_name.png`, and the text.
        lesson: two-digit number.
    """
    return dict(re.findall(rf"^\| `{lesson}_(\w+)\.png` \| (.+) \|$", page, flags=re.MULTILINE))


def describe_figure(lesson: NotebookNode, position: int, texts: Mapping[str, str]) -> str:
    """Return the alternative text of the figures of the cell at `position`.

    It is the text of the figure that the cell saves. Without one, it is the heading of the section and the nearest
    sentence about a figure: in the text after the cell, or before it. If there is none, the last sentence before the
    cell.

    Args:
        lesson: the notebook.
        position: of the cell.
        texts: by the name under which a cell saves its figure.
    """
    names = _SAVED.findall(lesson.cells[position].source)
    authored = [texts[name] for name in names if name in texts]
    if authored:
        return " ".join(authored)
    sources = [cell.source if cell.cell_type == "markdown" else "" for cell in lesson.cells]
    headings = [heading for source in sources[:position] for heading in _HEADING.findall(source)]
    before = next((source for source in reversed(sources[:position]) if source), "")
    after = next((source for source in sources[position + 1 :] if source), "")
    sentences_before = split_sentences(_HEADING.split(before)[-1])
    candidates = [*split_sentences(_HEADING.split(after)[0]), *reversed(sentences_before)]
    described = [sentence for sentence in candidates if _ABOUT_A_FIGURE.search(sentence)]
    described += sentences_before[-1:]
    section = [_to_plain_text(heading) for heading in headings[-1:]]
    alt = " – ".join(["Figure", *section, *described[:1]])
    return alt if len(alt) <= LONGEST_ALT else f"{alt[:LONGEST_ALT].rsplit(' ', 1)[0]} …"


def split_sentences(markdown: str) -> list[str]:
    """Return the sentences of a text in plain words: without hints, tables, code and displayed formulas."""
    left_out = r"<details>.*?</details>|\$\$.*?\$\$|```.*?```|^\|[^\n]*$"
    text = re.sub(left_out, "", markdown, flags=re.DOTALL | re.MULTILINE)
    paragraphs = [_to_plain_text(" ".join(paragraph.split())) for paragraph in re.split(r"\n\s*\n|\n(?=- )", text)]
    return [sentence for paragraph in paragraphs for sentence in _SENTENCE_END.split(paragraph) if sentence]


def _to_plain_text(markdown: str) -> str:
    """Return a line of Markdown without links, emphasis and the signs of code and formulas."""
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", markdown)
    text = re.sub(r"^- ", "", text)
    return re.sub(r"\*\*|[`$]|(?<![\w*])\*(?=\S)|(?<=\S)\*(?![\w*])", "", text).strip()

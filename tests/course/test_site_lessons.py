"""Lessons as pages: outputs are kept, what needs a kernel is replaced, and figures are described."""

import copy

import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from helpers.course.lessons import find_lessons, read_notebook
from helpers.course.site_lessons import (
    LONGEST_ALT,
    NO_ANSWER,
    RUN_IT,
    WIDGET,
    describe_figure,
    has_picture,
    prepare_lesson,
    prepare_output,
    read_texts,
    split_sentences,
)
from helpers.paths import ROOT

PICTURE = new_output("display_data", {"image/png": "AAAA", "text/plain": "<Figure size 1x1>"})
EXPLORER = new_output("execute_result", {WIDGET: {"model_id": "a"}, "text/plain": "VBox(children=())"})


def make_lesson(before, source, after="", outputs=(PICTURE,)):
    cells = [new_markdown_cell("# 01 · A lesson"), new_markdown_cell(before)]
    cells += [new_code_cell(source, outputs=copy.deepcopy(list(outputs))), new_markdown_cell(after)]
    return new_notebook(cells=cells)


def test_a_figure_has_the_text_of_the_name_under_which_it_is_saved():
    page = "| `01_loss.png` | Loss against steps. |\n| `02_loss.png` | Another. |\n"
    texts = read_texts(page, "01")
    assert texts == {"loss": "Loss against steps."}
    lesson = make_lesson("Text.", 'path = run.save_figure(draw("other", 1), "loss")')
    assert describe_figure(lesson, 2, texts) == "Loss against steps."


def test_without_a_text_a_figure_has_its_heading_and_the_nearest_sentence_about_a_figure():
    lesson = make_lesson("## What *is* `it`?\n\nA reason. The end.", "plot()", "Well. **Left**, the truth.")
    assert describe_figure(lesson, 2, {}) == "Figure – What is it? – Left, the truth."
    lesson = make_lesson("## What is it?\n\nThe bars are seeds. The end.", "plot()", "## Next\n\nLeft, no.")
    assert describe_figure(lesson, 2, {}) == "Figure – What is it? – The bars are seeds."
    lesson = make_lesson("A reason. The end.", "plot()", "Well.")
    assert describe_figure(lesson, 2, {}) == "Figure – 01 · A lesson – The end."


def test_a_long_description_is_cut():
    lesson = make_lesson("Left, " + "very " * 200 + "long.", "plot()")
    assert len(describe_figure(lesson, 2, {})) <= LONGEST_ALT + 2


def test_sentences_have_no_formulas_tables_or_links():
    text = "One [link](a.md). Two\nlines.\n\n$$x^2$$\n\n| a | b |\n\n- *an* item of $n$"
    assert split_sentences(text) == ["One link.", "Two lines.", "an item of n"]


@pytest.mark.parametrize("path", find_lessons(), ids=lambda path: path.stem[:2])
def test_the_three_exercises_of_a_lesson_have_no_answers_unless_they_are_asked_for(path):
    lesson = read_notebook(path)
    solutions = {cell.source for cell in lesson.cells if is_exercise(cell) and cell.cell_type == "code"}
    assert len(solutions) == 3
    assert solutions <= {cell.source for cell in prepare_lesson(lesson, {}, {}, with_answers=True).cells}
    without = prepare_lesson(lesson, {}, {})
    exercises = [cell for cell in without.cells if is_exercise(cell)]
    assert all(NO_ANSWER in cell.source for cell in exercises if cell.cell_type == "code")
    assert not any(cell.get("outputs") or "SOLUTION" in cell.source for cell in exercises)
    reveals = [cell for cell in without.cells if "-check" in get_name(cell)[4:] or "log.tabulate()" in cell.source]
    assert len([cell for cell in reveals if get_name(cell)[:1].isdigit()]) == 3
    assert not any(cell.outputs for cell in reveals if not get_name(cell)[:1].isalpha())
    assert not any("exercises.md" in cell.source for cell in without.cells)
    assert any("BEGIN SOLUTION" in cell.source for cell in without.cells)  # of build tasks, folded


def is_exercise(cell):
    return get_name(cell)[:1].isdigit() and cell.metadata.nbgrader.solution


def get_name(cell):
    return cell.metadata.get("nbgrader", {}).get("grade_id", "")


def test_an_explorer_is_its_picture_or_a_sentence():
    assert prepare_output(copy.deepcopy(EXPLORER), {}).data == {"text/markdown": RUN_IT}
    with_picture = copy.deepcopy(EXPLORER)
    with_picture["data"]["image/png"] = "AAAA"
    assert prepare_output(with_picture, {}).data == {"image/png": "AAAA"}


def test_an_explorer_with_a_fragment_is_the_fragment():
    explorer = new_output("execute_result", {"image/png": "AAAA"}, metadata={"explorer": "codec"})
    assert prepare_output(copy.deepcopy(explorer), {"codec": "<div>"}).data == {"text/html": "<div>"}
    assert prepare_output(copy.deepcopy(explorer), {"other": "<div>"}).data == {"image/png": "AAAA"}
    assert prepare_output(copy.deepcopy(PICTURE), {"codec": "<div>"}) == PICTURE


def test_source_is_highlighted_by_the_site_also_if_it_holds_a_fence():
    code = 'def f():\n    """```"""\n'
    data = {"text/html": '<div class="highlight">', "text/latex": "x", "text/plain": code}
    output = prepare_output(new_output("display_data", data), {})
    assert output.data == {"text/markdown": f"````python\n{code}````"}


def test_other_outputs_stay_as_they_are():
    for output in (new_output("stream", text="a"), PICTURE):
        assert prepare_output(copy.deepcopy(output), {}) == output


def test_a_solution_is_folded_and_hidden_tests_are_left_out():
    lesson = make_lesson("Text.", "a = 1\n### BEGIN HIDDEN TESTS\nassert a\n### END HIDDEN TESTS\nb = 2", outputs=())
    lesson.cells[2].metadata["nbgrader"] = {"solution": True}
    cell = prepare_lesson(lesson, {}, {}).cells[2]
    assert cell.source == "a = 1\nb = 2"
    assert "hide-cell" in cell.metadata.tags  # source and output: an output can show a solution, too
    assert cell.metadata.mystnb["code_prompt_show"] == "Show the solution"
    assert "HIDDEN" in lesson.cells[2].source  # the lesson itself is not changed


def test_the_line_of_links_to_other_lessons_is_left_out():
    lesson = make_lesson("Text.", "")
    lesson.cells[0].source += "\n\nText.\n\n← [a](b.ipynb) · [contents](../README.md)"
    assert prepare_lesson(lesson, {}, {}).cells[0].source == "# 01 · A lesson\n\nText."


@pytest.mark.parametrize("path", find_lessons(), ids=lambda path: path.stem)
def test_every_figure_of_a_real_lesson_is_described_and_no_widget_is_left(path):
    texts = read_texts((ROOT / "figures" / "README.md").read_text(encoding="utf-8"), path.stem[:2])
    lesson = prepare_lesson(read_notebook(path), texts, {})
    cells = [cell for cell in lesson.cells if cell.cell_type == "code"]
    assert not [cell for cell in cells for output in cell.outputs if WIDGET in output.get("data", {})]
    with_figures = [cell for cell in cells if any(map(has_picture, cell.outputs))]
    assert with_figures
    assert all(len(cell.metadata.mystnb["image"]["alt"]) > 20 for cell in with_figures)

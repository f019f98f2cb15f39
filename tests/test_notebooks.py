"""The template of a lesson, proved on every committed notebook."""

from __future__ import annotations

import ast
import re
import socket

import nbformat
import pytest
from nbformat import NotebookNode

from helpers.course import lessons, publishing, student
from helpers.course.cleaning import WIDGET
from helpers.explorer_frames import read_fragments
from helpers.paths import ROOT

PATHS = sorted((ROOT / "notebooks").glob("*.ipynb"))
NOTEBOOKS = {path.stem: nbformat.read(path, as_version=4) for path in PATHS}
SOLUTION = ["### BEGIN SOLUTION", "### END SOLUTION"]
HIDDEN_TESTS = ["### BEGIN HIDDEN TESTS", "### END HIDDEN TESTS"]

IMPORTS = (ast.Import, ast.ImportFrom)
each_lesson = pytest.mark.parametrize("stem", NOTEBOOKS)


def find_tags(cell: NotebookNode) -> list[str]:
    return cell.metadata.get("tags", [])


def find_code(stem: str) -> list[NotebookNode]:
    return lessons.find_code_cells(NOTEBOOKS[stem])


def parse(cell: NotebookNode) -> ast.Module:
    """Return the syntax tree of a code cell; IPython's own lines (`%matplotlib`, `!ls`) are left out."""
    return ast.parse("\n".join(line for line in cell.source.splitlines() if not line.startswith(("%", "!"))))


def is_check(node: ast.AST) -> bool:
    """Return whether `node` can fail: an `assert`, or a call of torch.testing's or numpy.testing's."""
    return isinstance(node, ast.Assert) or (
        isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1].startswith("assert_")
    )


def find_marks(cell: NotebookNode) -> list[str]:
    return [line.strip() for line in cell.source.splitlines() if line.strip().startswith("### ")]


def holds_check(cell: NotebookNode) -> bool:
    return any(is_check(node) for node in ast.walk(parse(cell)))


def find_text(stem: str) -> str:
    return "\n\n".join(cell.source for cell in NOTEBOOKS[stem].cells if cell.cell_type == "markdown")


def find_sections(stem: str) -> list[tuple[str, list[NotebookNode]]]:
    """Return the code cells below each `##` heading, with the heading; what stands before the first has none."""
    sections: list[tuple[str, list[NotebookNode]]] = [("", [])]
    for cell in NOTEBOOKS[stem].cells:
        if cell.cell_type == "markdown":
            sections += [(heading, []) for heading in re.findall(r"^## (.+)$", cell.source, re.MULTILINE)]
        else:
            sections[-1][1].append(cell)
    return sections


def test_the_lessons_are_numbered_from_one_without_a_gap():
    assert NOTEBOOKS
    assert [stem[:3] for stem in NOTEBOOKS] == [f"{number:02d}_" for number in range(1, len(NOTEBOOKS) + 1)]


@each_lesson
def test_a_lesson_opens_with_its_number_and_one_question(stem):
    first = NOTEBOOKS[stem].cells[0]
    assert first.cell_type == "markdown"
    assert re.match(rf"# {stem[:2]} · [^\n]+\?(\n|$)", first.source)


@each_lesson
def test_a_lesson_opens_with_its_aims_its_duration_and_links_to_its_neighbours(stem):
    opening = NOTEBOOKS[stem].cells[0].source
    assert len(re.findall(r"^[-*] ", opening.partition("**You will**")[2], re.MULTILINE)) >= 3
    for profile in ("smoke", "quick", "full"):
        assert profile in opening
    assert "←" in opening or stem.startswith("01_")
    assert "→" in opening or stem == list(NOTEBOOKS)[-1]
    for target in re.findall(r"\]\(([^)#]+)", opening):
        assert "://" in target or (ROOT / "notebooks" / target).exists(), f"{target} does not exist"


@each_lesson
def test_the_first_code_cell_alone_is_tagged_parameters_and_holds_plain_literals(stem):
    first, *others = find_code(stem)
    assert "parameters" in find_tags(first)
    assert not any({"parameters", "injected-parameters"} & set(find_tags(cell)) for cell in others)
    values = {}
    for statement in parse(first).body:
        assert isinstance(statement, ast.Assign)
        (target,) = statement.targets
        values[target.id] = ast.literal_eval(statement.value)
    assert (values["profile"], values["seed"]) == (None, 0)


@each_lesson
def test_a_parameter_keeps_its_value_until_the_exercises(stem):
    parameters = {name.id for name in ast.walk(parse(find_code(stem)[0])) if isinstance(name, ast.Name)}
    for heading, cells in find_sections(stem):
        if heading == "Try it":
            return
        for cell in cells if heading else cells[1:]:
            inner = (ast.GeneratorExp, ast.ListComp, ast.SetComp, ast.DictComp, ast.FunctionDef, ast.Lambda)
            nodes = [parse(cell)]
            while nodes:
                node = nodes.pop()
                stored = isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
                assert not (stored and node.id in parameters), f"{node.id} is a parameter: {cell.source!r}"
                nodes += [child for child in ast.iter_child_nodes(node) if not isinstance(child, inner)]


@each_lesson
def test_imports_stand_in_the_second_code_cell_only(stem):
    imports = [
        number
        for number, cell in enumerate(find_code(stem), start=1)
        if any(isinstance(node, ast.Import | ast.ImportFrom) for node in ast.walk(parse(cell)))
    ]
    assert imports == [2]


@each_lesson
def test_the_cell_of_imports_does_nothing_else_but_use_saved_solutions(stem):
    statements = [node for node in parse(find_code(stem)[1]).body if not isinstance(node, IMPORTS)]
    assert [ast.unparse(node) for node in statements] == [
        f"tasks.use_saved({number!r})" for number in find_lesson_of_saved(stem)
    ]


@each_lesson
def test_the_third_code_cell_starts_the_run_under_the_name_of_the_lesson(stem):
    cell = find_code(stem)[2]
    assert f'start_run("{stem}", profile, seed)' in cell.source
    assert "nbval-ignore-output" in find_tags(cell)


@each_lesson
def test_the_last_code_cell_saves_the_results(stem):
    assert "run.save_results(" in find_code(stem)[-1].source
    assert not any("save_results(" in cell.source for cell in find_code(stem)[:-1])


@each_lesson
def test_a_cell_besides_the_imports_has_at_most_25_lines(stem):
    cells = [cell for cell in find_code(stem) if not any(isinstance(node, IMPORTS) for node in parse(cell).body)]
    assert max(len(cell.source.splitlines()) for cell in cells) <= 25


@each_lesson
def test_a_lesson_defines_at_most_one_function_and_no_class(stem):
    nodes = [node for cell in find_code(stem) for node in ast.walk(parse(cell))]
    assert sum(isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) for node in nodes) <= 1
    assert not any(isinstance(node, ast.ClassDef) for node in nodes)


@each_lesson
def test_a_lesson_is_saved_as_it_ran_from_top_to_bottom_without_an_error(stem):
    counts = [cell.execution_count for cell in find_code(stem)]
    assert counts == list(range(1, len(counts) + 1))
    assert lessons.find_problems(NOTEBOOKS[stem]) == []
    assert any("image/png" in output.get("data", {}) for cell in find_code(stem) for output in cell.outputs)


@each_lesson
def test_a_lesson_is_small_and_carries_nothing_of_the_machinery_that_ran_it(stem):
    assert (ROOT / "notebooks" / f"{stem}.ipynb").stat().st_size <= publishing.LARGEST_NOTEBOOK
    assert NOTEBOOKS[stem].metadata.kernelspec.name == "python3"
    assert not {"papermill", "widgets", "workbook"} & set(NOTEBOOKS[stem].metadata)
    assert not any({"papermill", "execution"} & set(cell.metadata) for cell in NOTEBOOKS[stem].cells)


@each_lesson
def test_every_saved_explorer_is_a_picture_and_has_a_fragment_for_pages_without_a_kernel(stem):
    explorers = []
    for cell in find_code(stem):
        explorers += [output for output in cell.outputs if "explorer" in output.get("metadata", {})]
    names = {explorer.metadata.explorer for explorer in explorers}
    assert names == set(read_fragments(ROOT / "figures" / "explorers", stem[:2]))
    assert all("image/png" in explorer.data and WIDGET not in explorer.data for explorer in explorers)


@each_lesson
def test_outputs_name_no_folder_and_no_host_of_the_machine_that_ran_it(stem):
    assert publishing.find_machine_paths(NOTEBOOKS[stem]) == []
    texts = [
        text
        for cell in find_code(stem)
        for output in cell.outputs
        for text in (output.get("text", ""), output.get("data", {}).get("text/plain", ""))
    ]
    assert not any(
        re.search(rf"\b({re.escape(socket.gethostname())}|localhost|127\.0\.0\.1)\b", text) for text in texts
    )


@each_lesson
def test_outputs_hold_no_warning(stem):
    streams = [output for cell in find_code(stem) for output in cell.outputs if output.output_type == "stream"]
    assert [output.text for output in streams if output.name == "stderr" and "Warning" in output.text] == []


@each_lesson
def test_a_measurement_is_guarded_by_a_check_in_its_section(stem):
    for heading, cells in find_sections(stem):
        for number, cell in enumerate(cells):
            exempt = "start_run(" in cell.source or "save_results(" in cell.source
            if "nbval-ignore-output" in find_tags(cell) and not exempt:
                assert any(map(holds_check, cells[number:])), f"section {heading!r}: nothing guards {cell.source!r}"


@each_lesson
def test_a_bare_comparison_never_stands_for_a_check(stem):
    for cell in find_code(stem):
        for node in ast.walk(parse(cell)):
            bare = isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)
            assert not (bare and ast.unparse(node.value.func).endswith(("allclose", "equal"))), cell.source


@each_lesson
def test_paths_start_at_the_workbooks_root(stem):
    for cell in find_code(stem):
        for node in ast.walk(parse(cell)):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in {"Path", "open", "os.getcwd", "Path.cwd"}:
                pytest.fail(f"{ast.unparse(node)}: take the path from run.folder or runtime")


@each_lesson
def test_a_lesson_ends_with_takeaways_and_three_exercises_with_checks(stem):
    headings = [heading for heading, _ in find_sections(stem)]
    takeaways, exercises = headings.index("Takeaways"), headings.index("Try it")
    assert 0 < takeaways < exercises
    checks = [cell for _, cells in find_sections(stem)[exercises:] for cell in cells if holds_check(cell)]
    assert len(checks) >= 3
    for cell in checks:
        asserts = [node for node in ast.walk(parse(cell)) if isinstance(node, ast.Assert)]
        assert all(node.msg is not None for node in asserts), f"say what is wrong: {cell.source!r}"


@each_lesson
def test_no_placeholder_is_left_in_a_lessons_text(stem):
    text = re.sub(r"`[^`]*`|\]\([^)]*\)", "", find_text(stem))  # without code and addresses
    assert re.findall(r"\b(?:TODO|FIXME|TBD|XXX|[A-Z]{7,})\b", text) == []


def find_exercises(stem: str) -> list[dict[str, NotebookNode]]:
    """Return the cells of each exercise by their part: text, setup if there is one, solution, check, and answer."""
    cells, exercises = NOTEBOOKS[stem].cells, []
    for task in student.find_tasks(NOTEBOOKS[stem]):
        rows = {student.find_id(cell): row for row, cell in enumerate(cells) if "nbgrader" in cell.metadata}
        row, exercise = rows[task.solution], {}
        if "nbgrader" not in cells[row - 1].metadata and cells[row - 1].cell_type == "code":
            exercise["setup"] = cells[row - 1]
        exercise |= {"text": cells[row - 1 - len(exercise)], "solution": cells[row], "check": cells[row + 1]}
        if f"{stem[:2]}-{task.number}-answer" in rows:
            exercise["answer"] = cells[row + 2]
        exercises.append(exercise)
    return exercises


@each_lesson
def test_each_exercise_is_a_text_a_cell_with_the_solution_and_a_check_with_hidden_tests(stem):
    for number, exercise in enumerate(find_exercises(stem), start=1):
        assert exercise["text"].cell_type == "markdown"
        assert exercise["text"].source.startswith(f"**{number} · ")
        assert find_marks(exercise["solution"]) == SOLUTION
        assert find_marks(exercise["check"]) == HIDDEN_TESTS
        assert holds_check(exercise["check"])
        assert not holds_check(exercise["solution"])
        if "answer" in exercise:
            assert student.find_id(exercise["answer"]) == f"{stem[:2]}-{number}-answer"
            assert "**In words**" in exercise["text"].source
    for cell in NOTEBOOKS[stem].cells:
        if "nbgrader" not in cell.metadata:
            assert not any(mark in cell.source for mark in (*SOLUTION, *HIDDEN_TESTS))


def find_lesson_of_saved(stem: str) -> list[str]:
    """Return the arguments of `tasks.use_saved` in the cell of imports."""
    calls = [node for node in ast.walk(parse(find_code(stem)[1])) if isinstance(node, ast.Call)]
    return [ast.literal_eval(call.args[0]) for call in calls if ast.unparse(call.func) == "tasks.use_saved"]


@each_lesson
def test_every_lesson_but_the_first_uses_the_saved_solutions_of_earlier_lessons(stem):
    assert find_lesson_of_saved(stem) == ([] if stem.startswith("01_") else [stem[:2]])


@each_lesson
def test_each_exercise_states_points_difficulty_and_time_and_has_two_hints(stem):
    questions = {question.number: question for question in student.find_questions(NOTEBOOKS[stem])}
    for task, exercise in zip(student.find_tasks(NOTEBOOKS[stem]), find_exercises(stem), strict=True):
        text = exercise["text"].source
        assert f"*{task.points:g} points" in text
        if task.number in questions:
            assert f"and {questions[task.number].points:g} for the answer in words" in text
        assert re.search(r"difficulty [1-5] of 5 · about \d+ minutes\*", text)
        hints = re.findall(r"<details><summary>(.+?)</summary>\n\n.+?\n\n</details>", text, re.DOTALL)
        assert hints == ["Hint 1", "Hint 2"]


@each_lesson
def test_a_solution_leaves_named_answers_and_a_check_calls_nothing_of_the_solution(stem):
    """The check runs in another process than the solution and gets the answers as plain values."""
    for exercise in find_exercises(stem):
        answers = student.find_answers(exercise["solution"].source, exercise["check"].source)
        assert answers, exercise["solution"].source
        assert not [name for name in answers if f"`{name}`" not in exercise["text"].source]
        made = {ast.Lambda, ast.FunctionDef, ast.ClassDef}
        for statement in parse(exercise["solution"]).body:
            assert type(statement) not in made
            if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
                assert statement.targets[0].id not in answers or type(statement.value) not in made
        for node in ast.walk(parse(exercise["check"])):
            if isinstance(node, ast.Call):
                assert not (isinstance(node.func, ast.Name) and node.func.id in answers), ast.unparse(node)


@each_lesson
def test_an_exercise_neither_changes_a_parameter_nor_a_name_of_the_imports(stem):
    """The cells above can then run again after the exercises."""
    lesson = find_code(stem)
    kept = {name.id for name in ast.walk(parse(lesson[0])) if isinstance(name, ast.Name)}
    kept |= {
        (alias.asname or alias.name).split(".")[0]
        for node in ast.walk(parse(lesson[1]))
        if isinstance(node, IMPORTS)
        for alias in node.names
    }
    for exercise in find_exercises(stem):
        for part in ("setup", "solution", "check"):
            nodes = ast.walk(parse(exercise[part])) if part in exercise else ()
            stored = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
            assert not stored & kept


@each_lesson
def test_an_exercise_leaves_the_answers_of_the_others_alone(stem):
    """Any cell of an exercise can then run again after the others."""
    exercises = find_exercises(stem)
    answers = [student.find_answers(exercise["solution"].source, exercise["check"].source) for exercise in exercises]
    for number, exercise in enumerate(exercises):
        others = {name for other, names in enumerate(answers) if other != number for name in names}
        for part in exercise.keys() - {"text", "answer"}:
            nodes = ast.walk(parse(exercise[part]))
            assert not others & {
                node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
            }


@each_lesson
def test_each_lesson_asks_for_two_or_three_predictions_before_their_results(stem):
    events = []
    for cell in find_code(stem):
        for node in ast.walk(parse(cell)):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in {"log.predict", "log.record"}:
                events.append((node.func.attr, ast.literal_eval(node.args[0])))
                if node.func.attr == "predict":
                    assert ast.literal_eval(node.args[1]) is None, "a published lesson predicts nothing"
    names = [name for kind, name in events if kind == "predict"]
    assert len(names) in (2, 3)
    for name in names:
        assert [kind for kind, other in events if other == name] == ["predict", "record"], name
        assert len(name) < 50, "pandas shows no more characters of an index"
    assert {name for _, name in events} == set(names)
    assert "log.tabulate()" in find_code(stem)[-2].source


GUIDE = ROOT / "docs" / "exercises.md"


@each_lesson
def test_the_guide_describes_each_exercise_with_its_points_and_each_written_answer_with_a_rubric(stem):
    guide = GUIDE.read_text(encoding="utf-8")
    for task, exercise in zip(student.find_tasks(NOTEBOOKS[stem]), find_exercises(stem), strict=True):
        heading = f"{stem[:2]}-{task.number}"
        section = guide.partition(f"\n### {heading}\n")[2].partition("\n### ")[0].partition("\n## ")[0]
        assert section, f"{GUIDE.name} lacks {heading}"
        assert f"{task.points:g} points" in section
        assert re.search(r"difficulty \d of 5 · about \d+ minutes", exercise["text"].source)[0] in section
        assert all(f"**{part}**" in section for part in ("Model answer", "Prerequisites", "Common mistakes"))
        questions = [question for question in student.find_questions(NOTEBOOKS[stem]) if question.number == task.number]
        assert all(f"{question.points:g} for the answer in words" in section for question in questions)
        assert ("**Rubric**" in section) == bool(questions)
        levels = re.findall(r"^- [0-4] points?: ", section.partition("**Rubric**")[2], re.MULTILINE)
        assert len(levels) == 3 * len(questions)


@each_lesson
def test_a_check_tells_a_student_what_is_wrong_without_its_hidden_tests(stem):
    copy = student.make_copy(NOTEBOOKS[stem])
    checks = {task.check for task in student.find_tasks(NOTEBOOKS[stem])}
    for cell in lessons.find_code_cells(copy):
        if student.find_id(cell) in checks:
            asserts = [node for node in ast.walk(parse(cell)) if isinstance(node, ast.Assert)]
            assert asserts, cell.source
            assert all(node.msg is not None for node in asserts), f"say what is wrong: {cell.source!r}"
        ast.parse("\n".join(line for line in cell.source.splitlines() if not line.startswith(("%", "!"))))


def test_every_picture_and_link_of_the_readme_exists():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    targets = re.findall(r"\]\(([^)#\s]+)", text) + re.findall(r'(?:src|href)="([^"#]+)"', text)
    local = [target for target in targets if "://" not in target]
    assert [target for target in local if not (ROOT / target).exists()] == []
    assert any(target.startswith("figures/") for target in local)
    for stem in NOTEBOOKS:
        assert f"notebooks/{stem}.ipynb" in local, f"the README's table lacks {stem}"


def test_every_figure_belongs_to_a_lesson():
    assert {path.name[:2] for path in (ROOT / "figures").glob("*.png")} <= {stem[:2] for stem in NOTEBOOKS}


@each_lesson
def test_every_picture_of_a_lessons_text_exists(stem):
    for target in re.findall(r"!\[[^\]]*\]\(([^)\s]+)", find_text(stem)):
        assert (ROOT / "notebooks" / target).exists(), f"{target} does not exist"

"""Students' workbooks: nothing in them gives a solution away, and they run without the instructor's workbook."""

import ast
import json
import os
import re
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import nbformat
import pytest
import yaml
from nbformat.v4 import new_code_cell, new_markdown_cell

from helpers import paths
from helpers.course import cli, open_functions, student, student_copy
from helpers.course.checks import catalogue
from helpers.course.checks.cells import make_cells, make_solution
from helpers.course.checks.definition import make_generator
from helpers.course.lessons import LessonFailed, find_lessons
from tests.course.tiny import make_notebook, make_parameters, read_notebook

SHORTEST = 30  # characters of a line that is taken for part of a solution
DEFINITIONS = catalogue.list_definitions()
IOU = catalogue.find_definition("compute_iou")
CHECKS = paths.ROOT / "helpers" / "course" / "checks"


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """A student's workbook with all lessons."""
    return student_copy.write_student_copy(folder=tmp_path_factory.mktemp("student"))


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """A student's workbook with lesson 02 and its solutions."""
    folder = tmp_path_factory.mktemp("given")
    (folder / "helpers" / "detection").mkdir(parents=True)
    (folder / "helpers" / "detection" / "old.py").write_text("")
    (folder / "data" / "solutions").mkdir(parents=True)
    return student_copy.write_student_copy(["02"], ["02"], folder=folder)


# What must not travel


def find_bodies(path, names=None):
    """Return the ranges of lines in which the functions of a file stand, without signatures and docstrings.

    Args:
        names: qualified names of functions or classes; all functions but those that draw cases if None.
    """
    ranges = []
    waiting = [("", node) for node in ast.parse(path.read_text()).body]
    while waiting:
        prefix, node = waiting.pop()
        if isinstance(node, ast.ClassDef):
            waiting += [(f"{prefix}{node.name}.", child) for child in node.body]
        if isinstance(node, ast.FunctionDef):
            full_name = f"{prefix}{node.name}"
            is_drawing = node.name.startswith("draw_")  # the cases: data that a copy holds
            is_chosen = (
                not is_drawing if names is None else any(f"{full_name}.".startswith(f"{name}.") for name in names)
            )
            first = 1 if ast.get_docstring(node) else 0
            if is_chosen and len(node.body) > first:
                ranges.append(range(node.body[first].lineno, node.end_lineno + 1))
    return ranges


def list_lines(text, ranges):
    lines = text.splitlines()
    return {lines[number - 1].strip() for numbers in ranges for number in numbers}


def find_open_names(definitions):
    """Return the names of the open functions by the file of the original in which they stand."""
    names = {}
    for function in open_functions.find_open_functions(definitions):
        names.setdefault(paths.ROOT / function.module, []).append(function.name)
    return names


def read_kept_code(definitions):
    """Return the original's code that may travel: the copied modules without the bodies of open functions."""
    open_names = find_open_names(definitions)
    kept = []
    for path in sorted((paths.ROOT / "helpers").rglob("*.py")):
        parts = path.relative_to(paths.ROOT / "helpers").parts
        if parts[0] == "course" and parts[1] not in student_copy.COURSE:
            continue
        lines = path.read_text().splitlines()
        for numbers in find_bodies(path, open_names[path]) if path in open_names else []:
            for number in numbers:
                lines[number - 1] = ""
        kept.append("\n".join(lines))
    return "\n".join(kept)


def read_hints(definitions):
    """Return the texts that a student gets: titles of cases, names of mistakes, and hints, which can hold a line."""
    texts = [hint for definition in definitions for hint in definition.hints]
    texts += [
        text for definition in definitions for mistake in definition.mistakes for text in (mistake.name, mistake.hint)
    ]
    for definition in definitions:
        texts += [f'"{case.title}",' for case in definition.draw_cases(make_generator(0))]
    return "\n".join(texts)


def find_secrets(definitions):
    """Return the lines that must not be in a copy in which the tasks of these definitions are open."""
    secrets = set()
    for module in catalogue.MODULES:
        path = Path(module.__file__)
        secrets |= list_lines(path.read_text(), find_bodies(path))
    for path, names in find_open_names(definitions).items():
        secrets |= list_lines(path.read_text(), find_bodies(path, names))
    for path in find_lessons():
        is_secret = False
        for cell in read_notebook(path).cells:
            for line in cell.source.splitlines() if cell.cell_type == "code" else []:
                is_secret = line.startswith("### BEGIN") or (is_secret and not line.startswith("### END"))
                if is_secret and "tasks.show(" not in line:
                    secrets.add(line.strip())
    kept = read_kept_code(definitions) + read_hints(definitions)
    return {line for line in secrets if len(line) > SHORTEST and line not in kept}


def read_texts(path):
    """Return the text of a file, and of JSON every text in it."""
    text = path.read_bytes().decode("utf-8", "ignore")
    texts = [text]
    if path.suffix in (".json", ".ipynb"):
        waiting = [json.loads(text)]
        while waiting:
            value = waiting.pop()
            if isinstance(value, str):
                texts.append(value)
            elif isinstance(value, list) and all(isinstance(item, str) for item in value):
                texts.append("".join(value))
            elif isinstance(value, list | dict):
                waiting += value.values() if isinstance(value, dict) else value
    return texts


def find_leaks(folder, secrets):
    """Return file and line for each secret line in the files of a folder."""
    leaks = []
    for path in sorted(folder.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            text = "\n".join(read_texts(path))
            leaks += [(path.relative_to(folder).as_posix(), line) for line in secrets if line in text]
    return leaks


def test_no_line_of_a_solution_of_a_mistake_or_of_a_hidden_test_is_in_any_file(copy):
    secrets = find_secrets(DEFINITIONS)
    assert len(secrets) > 40
    assert find_leaks(copy.folder, secrets) == []


def test_the_search_finds_solutions_wherever_a_copy_holds_them(given):
    secrets = find_secrets(DEFINITIONS)
    files = {name for name, _ in find_leaks(given.folder, secrets)}
    assert "notebooks/02_anchor_visualization.ipynb" in files
    assert "helpers/tasks/given_solutions/compute_iou.py" in files
    assert "helpers/detection/boxes.py" in files


@pytest.mark.parametrize("definition", DEFINITIONS, ids=[definition.name for definition in DEFINITIONS])
def test_each_task_has_lines_that_the_search_looks_for(definition):
    path = Path(sys.modules[definition.reference.__module__].__file__)
    bodies = list_lines(path.read_text(), find_bodies(path, [definition.reference.__qualname__]))
    if not bodies & find_secrets(DEFINITIONS):
        assert all(len(line) <= SHORTEST for line in bodies), "every line of the reference is in code that travels"


def test_only_named_modules_of_the_course_are_copied_and_no_test(copy):
    copied = {path.name for path in (copy.folder / "helpers" / "course").iterdir()} - {"__pycache__"}
    assert copied == set(student_copy.COURSE)
    assert not {path.name for path in copy.folder.iterdir()} & {"tests", "benchmarks", "conftest.py", "figures"}
    texts = [path.read_text() for path in (copy.folder / "notebooks").glob("*.ipynb")]
    assert len(texts) == 8
    assert not [text for text in texts if "BEGIN SOLUTION" in text or "HIDDEN TESTS" in text]


def test_each_task_has_compiled_checks_and_a_stub_and_no_mistake_has_code(copy):
    folder = copy.folder / "helpers" / "tasks" / "compiled_checks"
    assert {path.stem for path in folder.iterdir()} == {definition.name for definition in DEFINITIONS}
    content = json.loads((folder / "compute_iou.json").read_text())
    assert content["stub"].rstrip().endswith("raise NotImplementedError")
    assert {mistake["code"] for mistake in content["mistakes"]} == {mistake.code for mistake in IOU.mistakes}
    assert all(set(mistake) == {"code", "name", "hint", "outputs"} for mistake in content["mistakes"])


# Solutions of earlier lessons


def test_given_solutions_stand_in_the_notebook_and_in_the_helpers(given):
    assert [definition.lesson for definition in given.given_tasks] == ["02"] * len(given.given_tasks)
    assert {definition.lesson for definition in given.open_tasks}.isdisjoint({"02"})
    notebook = read_notebook(given.folder / "notebooks" / "02_anchor_visualization.ipynb")
    cells = {student.find_id(cell): cell.source for cell in notebook.cells}
    assert cells["compute_iou-solution"] == make_solution(IOU).rstrip()
    boxes = (given.folder / "helpers" / "detection" / "boxes.py").read_text()
    assert boxes == (paths.ROOT / "helpers" / "detection" / "boxes.py").read_text()


def test_a_copy_has_the_chosen_lessons_and_replaces_modules_but_no_data(given):
    assert [path.name[:2] for path in (given.folder / "notebooks").iterdir()] == ["02"]
    assert not (given.folder / "helpers" / "detection" / "old.py").exists()
    assert (given.folder / "data" / "solutions").is_dir()


def test_solutions_of_an_unknown_lesson_are_refused_before_anything_is_written(tmp_path):
    with pytest.raises(LessonFailed, match="no lesson 77"):
        student_copy.write_student_copy([], ["77"], folder=tmp_path)
    assert list(tmp_path.iterdir()) == []


# Set-up files


def test_the_set_up_files_name_nothing_that_is_missing(copy):
    project = tomllib.loads((copy.folder / "pyproject.toml").read_text())
    packages = project["tool"]["setuptools"]["packages"]
    folders = {path.parent.relative_to(copy.folder) for path in (copy.folder / "helpers").rglob("*.py")}
    assert set(packages) == {".".join(folder.parts) for folder in folders}
    assert project["project"] == tomllib.loads((paths.ROOT / "pyproject.toml").read_text())["project"]
    environment = yaml.safe_load((copy.folder / "environment.yml").read_text())
    assert environment["dependencies"][-1] == {"pip": ["-e ."]}
    readme = (copy.folder / "README.md").read_text()
    assert f"{len(DEFINITIONS)} build tasks" in readme
    assert (copy.folder / "requirements.lock").read_bytes() == (paths.ROOT / "requirements.lock").read_bytes()


def test_every_link_of_a_page_or_lesson_leads_to_a_file_of_the_copy(copy):
    pages = [copy.folder / "README.md", *(copy.folder / "notebooks").glob("*.ipynb")]
    for page in pages:
        text = page.read_text()
        if page.suffix == ".ipynb":
            text = "\n".join(cell.source for cell in read_notebook(page).cells if cell.cell_type == "markdown")
        for target in re.findall(r"\]\(([^)#\s]+)", text):
            assert "://" in target or (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_makefile_has_the_targets_of_a_student(copy):
    text = (copy.folder / "Makefile").read_text()
    done = subprocess.run(["make", "help"], cwd=copy.folder, capture_output=True, text=True, check=True)
    targets = {line.split()[1] for line in done.stdout.splitlines()}
    assert {"run", "lab", "progress", "data", "clean"} <= targets
    assert not targets & set(student_copy.TARGETS)
    for target in student_copy.TARGETS:
        assert f"$(WORKBOOK) {target}" not in text


# In the copy, without the original


def run_python(folder, *arguments, **variables):
    """Run a program of the copy, to which the original's helpers are not visible."""
    environment = {name: text for name, text in os.environ.items() if not name.startswith("WORKBOOK_")}
    environment |= {"PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1", "COLUMNS": "200"} | variables
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


def run_workbook(folder, *arguments):
    return run_python(folder, "-m", "helpers.course.cli", *arguments)


def test_the_commands_of_the_instructor_do_not_appear(copy):
    done = run_workbook(copy.folder, "--help")
    names = {line.split()[0] for line in done.stdout.partition("Commands:")[2].splitlines() if line.strip()}
    assert {"run", "lab", "progress", "data", "report"} <= names
    assert not names & set(cli.NEEDED)
    assert "publish" not in run_workbook(copy.folder, "run", "--help").stdout


ALONE = """
import sys

import helpers
from helpers.detection import boxes
from helpers.tasks import solutions, tasks
from helpers.tasks.unsolved import NotSolved

assert helpers.__file__.startswith(sys.argv[1]), helpers.__file__
try:
    import helpers.course.checks
except ModuleNotFoundError:
    print("no definitions")
import torch

pair = torch.tensor([[0.0, 0, 10, 10]]), torch.tensor([[5.0, 5, 15, 15]])
try:
    boxes.compute_iou(*pair)
except NotSolved as error:
    print(error)
import json, pathlib

cells = json.loads(pathlib.Path(sys.argv[2]).read_text())
for name, source in cells.items():
    stub = tasks.load_task(name).stub
    print(tasks.check(name, solutions.load_function(stub, name)))
for name, source in cells.items():
    print(tasks.check(name, solutions.load_function(source, name)))
print(boxes.compute_iou(*pair).item())
print(tasks.progress().to_string())
"""


def choose_tasks():
    """Return compute_iou and one more task, if there is one."""
    others = [definition for definition in DEFINITIONS if definition.name != IOU.name]
    return [IOU, *others[:1]]


@pytest.fixture(scope="module")
def answers():
    """References of two tasks as cells of a student, by name."""
    return {definition.name: make_solution(definition) for definition in choose_tasks()}


def test_a_stub_is_not_written_and_references_as_the_students_cells_pass_in_a_copy_alone(copy, answers, tmp_path):
    (tmp_path / "alone.py").write_text(ALONE)
    (tmp_path / "cells.json").write_text(json.dumps(answers))
    solutions = copy.folder / "data" / "solutions"
    done = run_python(copy.folder, tmp_path / "alone.py", copy.folder, tmp_path / "cells.json")
    written = sorted(path.stem for path in solutions.glob("*.py"))
    for path in solutions.glob("*.py"):
        path.unlink()
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[:2] == ["no definitions", "compute_iou is task 2.2, lesson 02: solve it first, until its check passes"]
    for definition in choose_tasks():
        title = f"Task {definition.number}, {definition.name}"
        assert lines.count(f"{title}: not written yet") == 1
        assert lines.count(f"{title}: passed") == 1
    assert f"{25 / 175:.6f}"[:7] in done.stdout
    assert written == sorted(answers)
    assert f"{len(answers)} of {len(DEFINITIONS)} solved" in done.stdout


def make_lesson(*cells):
    """Return a lesson that uses IoU below the cells given."""
    imports = "import torch\n\nfrom helpers import runtime\nfrom helpers.detection import boxes\n"
    imports += "from helpers.tasks import tasks\n\n"
    use = "pair = torch.tensor([[0.0, 0, 10, 10]]), torch.tensor([[5.0, 5, 15, 15]])\niou = boxes.compute_iou(*pair)"
    return make_notebook(
        make_parameters(),
        new_code_cell(f'{imports}tasks.use_saved("LESSON")'),
        new_code_cell('run = runtime.start_run("STEM", profile, seed)'),
        *cells,
        new_markdown_cell("## Use"),
        new_code_cell(use),
        new_code_cell('run.save_results({"iou": iou.item()})'),
    )


def write_lesson(folder, stem, notebook):
    for cell in notebook.cells:
        cell.source = cell.source.replace("STEM", stem).replace("LESSON", stem[:2])
    nbformat.write(notebook, folder / "notebooks" / f"{stem}.ipynb")


def test_a_lesson_stops_at_an_open_task_and_goes_on_after_it_and_so_does_a_later_one(copy, answers):
    folder = copy.folder
    (folder / "data").mkdir(exist_ok=True)
    if paths.HANDOUT.exists() and not (folder / "data" / "handout").exists():
        (folder / "data" / "handout").symlink_to(paths.HANDOUT)
    cells = [cell for definition in choose_tasks() for cell in make_cells(definition)]
    lesson = student.make_copy(make_lesson(*cells))
    write_lesson(folder, "90_tasks", lesson)
    write_lesson(folder, "91_later", make_lesson())

    open_run = run_workbook(folder, "run", "90", "91", "--profile", "smoke", "--jobs", "1")
    assert open_run.returncode == 1
    assert "Traceback" not in open_run.stdout + open_run.stderr
    # on a busy machine a kernel may note that it was interrupted while it was ended
    (line,) = [line for line in open_run.stderr.splitlines() if not line.startswith("[IPKernelApp]")]
    assert line.startswith("2 of 2 lessons did not finish: 90_tasks stops at code cell")
    assert line.count("(Use): compute_iou is task 2.2, lesson 02: solve it first, until its check passes") == 2
    later = read_notebook(folder / "data" / "runs" / "91_later" / "smoke" / "91_later.unfinished.ipynb")
    texts = [output.get("text", "") for cell in later.cells if cell.cell_type == "code" for output in cell.outputs]
    assert any("  compute_iou is task 2.2, lesson 02\n" in text for text in texts)
    errors = [output for cell in later.cells if cell.cell_type == "code" for output in cell.outputs]
    (error,) = [output for output in errors if output.output_type == "error"]
    assert len(error.traceback) == 1

    for cell in lesson.cells:
        name = (student.find_id(cell) or "").removesuffix("-solution")
        cell.source = answers.get(name, cell.source)
    write_lesson(folder, "90_tasks", lesson)
    solved_run = run_workbook(folder, "run", "90", "91", "--profile", "smoke", "--jobs", "1")
    assert solved_run.returncode == 0, solved_run.stderr
    for stem in ("90_tasks", "91_later"):
        results = json.loads((folder / "data" / "runs" / stem / "smoke" / "results.json").read_text())
        assert results["metrics"]["iou"] == pytest.approx(25 / 175)

    again = run_workbook(folder, "run", "91", "--profile", "smoke", "--jobs", "1")
    assert "up to date" in again.stdout
    progress = run_workbook(folder, "progress").stdout
    assert f"{len(answers)} of {len(DEFINITIONS)} solved" in progress


def test_it_is_installed_in_a_fresh_environment_within_20_seconds(copy, tmp_path):
    started = time.perf_counter()
    environment = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    scripts = environment / ("Scripts" if os.name == "nt" else "bin")
    packages = next(environment.glob("[Ll]ib*/**/site-packages"))
    installed = Path(nbformat.__file__).parents[1]
    (packages / "installed.pth").write_text(f"{installed}\n")  # the packages of the lock, and no editable workbook
    pip = [sys.executable, "-m", "pip", "--python", scripts / "python", "install", "--quiet", "--no-deps"]
    variables = {name: text for name, text in os.environ.items() if name != "PYTHONPATH"}
    subprocess.run([*pip, "--no-build-isolation", "-e", copy.folder], check=True, env=variables)
    done = subprocess.run(
        [scripts / "workbook", "--help"], cwd=tmp_path, env=variables, capture_output=True, text=True, check=True
    )
    assert time.perf_counter() - started < 20
    assert "progress" in done.stdout
    assert " grade " not in done.stdout


def test_the_command_passes_lessons_on_and_says_what_the_copy_holds(given, monkeypatch, capsys):
    requests = []

    def write(*request):
        requests.append(request)
        return given

    monkeypatch.setattr(student_copy, "write_student_copy", write)
    assert cli.main(["student", "02", "--with-solutions-of", "01, 02"]) == 0
    assert requests == [(("02",), ["01", "02"])]
    output = capsys.readouterr().out
    (lesson,) = given.lessons
    points = sum(task.points for task in lesson.build_tasks)
    build_tasks = f"{len(lesson.build_tasks)} build tasks, {points:g} points"
    assert f"02_anchor_visualization: {build_tasks}; 3 exercises, 10 points" in output
    assert f"{len(given.open_tasks)} build tasks are open, {len(given.given_tasks)} are given" in output

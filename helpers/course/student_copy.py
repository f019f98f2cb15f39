"""Students' workbooks (command: `workbook student`): a complete workbook without solutions in a folder of its own.

    data/student/
        notebooks/     the lessons, with stubs in place of the solutions, and without hidden tests and outputs
        helpers/       the modules that lessons and commands need; open tasks have no body in them
          tasks/compiled_checks/    the checks of all build tasks, as data
          tasks/given_solutions/    references of the lessons whose deadline has passed
        results/       the published results that lessons show
        docs/, README.md, Makefile, pyproject.toml, requirements.lock, environment.yml

Of `helpers/course` only the modules in `COURSE` are copied, so that a new module of the instructor's never travels by
accident. Tests and benchmarks stay behind: they hold right implementations of many tasks.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from helpers import files, paths
from helpers.course import lessons, open_functions, student
from helpers.course.checks import catalogue
from helpers.course.checks.cells import make_solution
from helpers.course.checks.definition import Definition
from helpers.course.lessons import LessonFailed, shorten
from helpers.course.student import Lesson
from helpers.tasks.compiled import write_task

COURSE = ("__init__.py", "cleaning.py", "cli.py", "execution.py", "grid", "lessons.py", "report.css", "report.lua")
COURSE += ("report.py", "report.typ", "report_cells.py", "schedule.py", "summary.py")
"""What a student's copy holds of `helpers/course`."""
SET_UP = (
    ".gitignore",
    "LICENSE",
    "requirements.lock",
    "docs/colab.py",
    "docs/data.md",
    "docs/glossary.md",
    "docs/references.md",
    "docs/results.md",
    "docs/running.md",
    "docs/students.md",
)
"""Files that a student's copy holds as they are."""
TARGETS = ("test", "student", "grade", "figures", "bench", "lock")
"""Targets of the Makefile that a student's copy lacks."""
MADE = ("helpers", "notebooks", "docs", "results")
"""Folders of a copy that the command replaces; data in it stays."""
FIND_FAILURE = (
    "import json; from helpers.tasks.unsolved import find_import_failure; print(json.dumps(find_import_failure()))"
)
MOST_VALUES = 20  # expressions of one copy that call open functions while their module is imported

README = """\
# Where is it? A hands-on workbook in object localisation

You write the functions that the lessons need. {num_tasks} build tasks and the exercises at the end of each lesson are
yours; `workbook progress` lists the tasks with points, difficulty and time.

```
make run LESSONS=02   # set up, make the data, run a lesson up to the first task that it needs and that is open
make lab              # open the lessons in JupyterLab
make progress         # list the tasks, solved and open
```

They need `make` and Python 3.11 to 3.14; the set-up takes a few minutes once. **Without `make`, as on Windows:**
`python -m venv .venv`, activate it, `pip install --require-hashes -r requirements.lock`,
`pip install --no-deps --no-build-isolation -e .`, then `workbook lab`. **With conda:**
`conda env create -f environment.yml && conda activate localisation-workbook`.

**Read first** [docs/students.md](docs/students.md): tasks, checks, hints, predictions, handing in.

**A task** is a cell with the signature and the contract of a function, and a check below it. The check shows which
cases pass, and the first that fails with its input. Once it has passed, this lesson and the later ones run on your
function; it is saved in `data/solutions/`. Keep that folder if you get a newer copy of the workbook. A lesson that
needs an open task stops there and names it.

**Hand in** the notebooks in `notebooks/`, saved under their names. Only your cells are graded.

Lessons: {lessons}. Commands: `workbook --help`. Data and file formats: [docs/data.md](docs/data.md). Runs, grids and
GPUs: [docs/running.md](docs/running.md). Licence: [MIT](LICENSE).
"""


@dataclass(frozen=True)
class StudentCopy:
    """A student's workbook that was written."""

    folder: Path
    lessons: list[Lesson]
    open_tasks: list[Definition]  # in the order of the lessons
    given_tasks: list[Definition]  # the copy holds their references


def write_student_copy(
    numbers: Sequence[str] = (), with_solutions_of: Collection[str] = (), folder: Path | None = None
) -> StudentCopy:
    """Write a student's workbook.

    Args:
        numbers: of the lessons; all if empty.
        with_solutions_of: two-digit numbers of the lessons whose references are in the copy.
        folder: `student.COPIES` if None. Its folders in `MADE` are replaced.

    Raises:
        LessonFailed: there is no such lesson, or a source is broken.
    """
    folder = folder or student.COPIES
    definitions = catalogue.list_definitions()
    lessons.find_lessons(sorted(with_solutions_of))  # refuses an unknown number
    given = [definition for definition in definitions if definition.lesson in with_solutions_of]
    remaining = [definition for definition in definitions if definition.lesson not in with_solutions_of]
    given_names = {definition.name for definition in given}
    chosen = [Lesson.read(path, given_names) for path in lessons.find_lessons(numbers)]
    for name in MADE:
        shutil.rmtree(folder / name, ignore_errors=True)
    _copy_helpers(folder)
    shutil.copytree(paths.RESULTS, folder / "results")
    for definition in definitions:
        path = folder / "helpers" / "tasks" / "compiled_checks" / f"{definition.name}.json"
        write_task(path, catalogue.compile_visible(definition.name))
    for definition in given:
        path = folder / "helpers" / "tasks" / "given_solutions" / f"{definition.name}.py"
        files.write_text(path, make_solution(definition))
    functions = open_functions.find_open_functions(remaining)
    kept = {(function.module, function.name, function.entry) for function in open_functions.find_open_functions(given)}
    functions = [function for function in functions if (function.module, function.name, function.entry) not in kept]
    open_functions.remove_open_functions(folder, functions)
    _write_down_values(folder)
    for lesson in chosen:
        lesson.write_copy(folder / "notebooks")
    _write_set_up(folder, chosen, len(definitions))
    return StudentCopy(folder, chosen, remaining, given)


def _copy_helpers(folder: Path) -> None:
    """Copy the modules that a student needs."""
    rubbish = shutil.ignore_patterns("__pycache__", "compiled_checks", "given_solutions")
    source = paths.ROOT / "helpers"
    for path in sorted(source.iterdir()):
        if path.is_dir() and path.name not in ("course", "__pycache__"):
            shutil.copytree(path, folder / "helpers" / path.name, ignore=rubbish)
        elif path.is_file():
            (folder / "helpers").mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, folder / "helpers" / path.name)
    (folder / "helpers" / "course").mkdir()
    for name in COURSE:
        if (source / "course" / name).is_dir():
            shutil.copytree(source / "course" / name, folder / "helpers" / "course" / name, ignore=rubbish)
        else:
            shutil.copyfile(source / "course" / name, folder / "helpers" / "course" / name)


def _write_down_values(folder: Path) -> None:
    """Import every module of the copy; what calls an open function meanwhile is replaced by its value.

    Raises:
        LessonFailed: a module cannot be imported.
    """
    for _ in range(MOST_VALUES):
        environment = os.environ | {"PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run(
            [sys.executable, "-c", FIND_FAILURE], cwd=folder, env=environment, capture_output=True, text=True
        )
        if done.returncode:
            raise LessonFailed(f"the student's copy cannot be imported: {shorten(done.stderr.splitlines()[-1])}")
        failed = json.loads(done.stdout.splitlines()[-1])
        if failed is None:
            return
        open_functions.write_down_value(folder, failed)
    raise LessonFailed(f"more than {MOST_VALUES} values of modules need open tasks")


def _write_set_up(folder: Path, chosen: Sequence[Lesson], num_tasks: int) -> None:
    """Write the files around notebooks and helpers."""
    for name in SET_UP:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(paths.ROOT / name, folder / name)
    for name, change in (
        ("Makefile", change_makefile),
        ("pyproject.toml", change_project),
        ("environment.yml", change_environment),
    ):
        files.write_text(folder / name, change((paths.ROOT / name).read_text(encoding="utf-8")))
    links = ", ".join(f"[{lesson.stem[:2]}](notebooks/{lesson.stem}.ipynb)" for lesson in chosen)
    files.write_text(folder / "README.md", README.format(num_tasks=num_tasks, lessons=links))


def change_makefile(text: str) -> str:
    """Return the Makefile without the targets that only the instructor's workbook has."""
    blocks = []
    for block in text.split("\n\n"):
        target = re.match(r"(?:#.*\n)*([a-z]+):", block)
        if target is None or target[1] not in TARGETS:
            blocks.append(block)
    lines = "\n\n".join(blocks).splitlines()
    for row, line in enumerate(lines):
        if line.startswith(".PHONY:"):
            lines[row] = " ".join(name for name in line.split() if name not in TARGETS)
    return "\n".join(lines) + "\n"


def change_project(text: str) -> str:
    """Return pyproject.toml without the instructor's packages and the settings of tests, with the compiled checks."""
    text = re.sub(r'^    "helpers\.course\.checks",\n', "", text, flags=re.MULTILINE)
    text = text.partition("[tool.ruff]")[0].rstrip() + "\n"
    return text + '"helpers.tasks" = ["compiled_checks/*.json", "given_solutions/*.py"]\n'


def change_environment(text: str) -> str:
    """Return environment.yml without what only tests need."""
    return re.sub(r"-e \.\[test\].*", "-e .         # this package where it lies: its paths start at this folder", text)

"""Views: the files that the processes of a grading see, copied once from the instructor's workbook.

    functions   build tasks: the helpers, without the bodies of the functions that the tasks ask for
    answers     exercises: the helpers, the data, and the trained models of the lesson
    checks      the instructor's own side of the exercises: the same, and the definitions of the build tasks

No view holds an executed notebook. The first two hold no hidden test and nothing of `helpers/course/`. The second holds
the references of the build tasks, because the exercises run on them.
"""

from __future__ import annotations

import compileall
import shutil
from collections.abc import Sequence
from pathlib import Path

from helpers import paths
from helpers.course.checks.definition import Definition
from helpers.course.lessons import find_lessons, find_loaded
from helpers.course.open_functions import find_open_functions, remove_open_functions
from helpers.course.sandbox import FONTS, View

RUBBISH = shutil.ignore_patterns("__pycache__")
SECRETS = shutil.ignore_patterns("__pycache__", "course", "compiled_checks")
EXECUTED = shutil.ignore_patterns("try_it", "figures", "*.ipynb", "results.json", "__pycache__")


class Views:
    """Views of one grading, whose files lie in a temporary folder."""

    def __init__(self, folder: Path, definitions: Sequence[Definition] = (), compiles: bool = True) -> None:
        """Copy the helpers.

        Args:
            folder: empty.
            definitions: tasks whose functions the view of build tasks must not hold.
            compiles: whether to compile all modules, which saves each process half a second.
        """
        self.folder = folder
        shutil.copytree(paths.ROOT / "helpers", folder / "answers", ignore=SECRETS)
        shutil.copytree(folder / "answers", folder / "functions" / "helpers")
        remove_open_functions(folder / "functions", find_open_functions(definitions))
        shutil.copytree(folder / "answers", folder / "checks")
        shutil.copytree(paths.ROOT / "helpers" / "course", folder / "checks" / "course", ignore=RUBBISH)
        if compiles:  # after the removal: compiled modules hold the bodies of their functions
            compileall.compile_dir(folder, quiet=2)
        _copy_font_list(folder / "fonts")

    def of_functions(self) -> View:
        """Return the view of the build tasks."""
        return View({self.folder / "functions" / "helpers": "helpers"}, {self.folder / "fonts": FONTS})

    def of_answers(self, stem: str) -> View:
        """Return the view in which a student's cells of lesson `stem` run."""
        return self._with_data("answers", stem)

    def of_checks(self, stem: str) -> View:
        """Return the view in which the checks of lesson `stem` run."""
        return self._with_data("checks", stem)

    def _with_data(self, helpers: str, stem: str) -> View:
        numbers = (paths.DATA / "house_numbers", paths.DATA / "house_numbers_wide")
        data = [folder for folder in (paths.HANDOUT, *numbers) if folder.exists()]
        fixed = {self.folder / helpers: "helpers"}
        fixed |= {folder: folder.relative_to(paths.ROOT).as_posix() for folder in data}
        copied = {self._copy_run(name): f"data/runs/{name}/smoke" for name in _find_runs(stem)}
        return View(fixed, {self.folder / "fonts": FONTS} | copied)

    def _copy_run(self, stem: str) -> Path:
        """Return a copy of the files of a run, without its notebook, which holds solutions and hidden tests."""
        copy = self.folder / "runs" / stem
        if not copy.exists():
            shutil.copytree(paths.RUNS / stem / "smoke", copy, ignore=EXECUTED)
        return copy


def _copy_font_list(folder: Path) -> None:
    """Copy the list of fonts that matplotlib has made on this machine."""
    import matplotlib
    import matplotlib.font_manager  # makes the list where there is none

    folder.mkdir()
    for path in Path(matplotlib.get_cachedir()).glob("fontlist-*.json"):
        shutil.copy(path, folder)


def _find_runs(stem: str) -> list[str]:
    """Return the lessons whose trained models a lesson needs: itself, and the one that it loads."""
    lessons = find_lessons()
    lesson = next((path for path in lessons if path.stem == stem), None)
    loaded = None if lesson is None else find_loaded(lesson, lessons)
    return [path.stem for path in (lesson, loaded) if path is not None and (paths.RUNS / path.stem / "smoke").exists()]

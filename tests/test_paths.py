"""Locations of the workbook, and the names of its budgets."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from helpers import paths


def test_the_root_is_the_folder_that_holds_pyproject():
    assert (paths.ROOT / "pyproject.toml").is_file()
    assert paths.ROOT.is_absolute()


@pytest.mark.parametrize(("variable", "folder"), [("", paths.DATA / "runs"), ("/elsewhere", Path("/elsewhere"))])
def test_runs_lie_in_the_workbook_unless_the_environment_names_a_folder(variable, folder):
    program = "from helpers import paths; print(paths.RUNS)"
    environment = {**os.environ, "PYTHONPATH": str(paths.ROOT), paths.RUNS_VARIABLE: variable}
    printed = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    assert printed.stdout.strip() == str(folder)


def test_the_profile_of_a_run_that_sets_none_is_the_environments_or_else_quick(monkeypatch):
    monkeypatch.setenv(paths.PROFILE_VARIABLE, "full")
    assert paths.default_profile() == "full"
    monkeypatch.delenv(paths.PROFILE_VARIABLE)
    assert paths.default_profile() == "quick"


def test_modules_that_start_and_watch_runs_do_not_import_pytorch():
    program = "import sys; from helpers.course.grid import run, worker; print('torch' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": str(paths.ROOT)}
    printed = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    assert printed.stdout == "False\n"

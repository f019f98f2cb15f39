"""The error of an open function."""

import sys

import pytest

from helpers.tasks import unsolved


def test_a_notebook_shows_the_message_alone():
    error = unsolved.NotSolved("compute_iou is task 2.2, lesson 02")
    assert error._render_traceback_() == ["NotSolved: compute_iou is task 2.2, lesson 02"]
    assert str(error) == "compute_iou is task 2.2, lesson 02"


def test_a_task_is_named_with_number_and_lesson():
    assert unsolved.describe_task("compute_iou", "2.2", "02") == "compute_iou is task 2.2, lesson 02"


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Function that writes a module of a package `helpers` and returns the import failure there."""

    def find_failure(source):
        folder = tmp_path / "helpers"
        folder.mkdir()
        (folder / "__init__.py").write_text('"""Helpers."""\n')
        (folder / "first.py").write_text(source)
        for name in [name for name in sys.modules if name.partition(".")[0] == "helpers"]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.syspath_prepend(str(tmp_path))
        monkeypatch.setitem(sys.modules, "unsolved_under_test", unsolved)
        try:
            return unsolved.find_import_failure()
        finally:
            for name in [name for name in sys.modules if name.partition(".")[0] == "helpers"]:
                del sys.modules[name]

    return find_failure


OPEN = """from unsolved_under_test import NotSolved


def compute(number):
    raise NotSolved("open")


def twice(number):
    return 2 * compute(number)


"""


def test_the_expression_that_calls_an_open_function_at_import_is_found_through_other_functions(package):
    failure = package(f"{OPEN}VALUES = [1, twice(\n    3\n)]\n")
    assert failure is not None
    assert failure["message"] == "open"
    assert (failure["file"], failure["line"], failure["end_line"]) == ("helpers/first.py", 12, 14)
    assert (failure["column"], failure["end_column"]) == (13, 1)


def test_an_expression_in_a_class_is_found(package):
    failure = package(f"{OPEN}class Recipe:\n    value = compute(1)\n")
    assert failure is not None
    assert (failure["line"], failure["column"], failure["end_column"]) == (13, 12, 22)


def test_modules_that_call_no_open_function_have_no_failure(package):
    assert package(OPEN) is None

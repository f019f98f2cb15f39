"""Open functions: found by their tasks' adapters, and removed from a module's source."""

import ast
from dataclasses import replace
from pathlib import Path

import pytest

from helpers.course import open_functions
from helpers.course.checks import catalogue
from helpers.course.lessons import LessonFailed
from helpers.paths import ROOT
from helpers.tasks.unsolved import NotSolved

IOU = catalogue.find_definition("compute_iou")
BOXES = Path("helpers/detection/boxes.py")

MODULE = '''"""A module."""

from __future__ import annotations

import math

SIZE = math.pi


def plain(x):
    # a comment of the solution
    y = x + 1
    return y
    # another one


# a comment of the module


def described(x: int) -> int:
    """Return more.

    Of x.
    """
    # a comment of the solution

    if x:
        return secret(x)
    return 0


def secret(x):
    """Return it."""
    return x * 41


class Codec:
    """A codec."""

    size: int = 3

    def __init__(self):
        self.size = 4

    def encode(self, x):
        """Return the code."""
        return x + self.size

    def decode(self, x):
        return x - self.size


def empty():
    """Do nothing."""
'''


def remove(messages):
    return open_functions.add_import(open_functions.remove_bodies(MODULE, messages))


def run(source):
    namespace = {}
    exec(compile(source, "module", "exec"), namespace)
    return namespace


def test_a_body_becomes_an_error_that_names_the_task_and_signature_and_docstring_stay():
    source = remove({"plain": "plain is task 1", "described": "described is task 2"})
    module = run(source)
    with pytest.raises(NotSolved, match="described is task 2"):
        module["described"](1)
    with pytest.raises(NotSolved, match="plain is task 1"):
        module["plain"](1)
    assert module["described"].__doc__ == "Return more.\n\n    Of x.\n    "
    assert "def described(x: int) -> int:" in source
    assert (module["secret"](1), module["Codec"]().encode(1)) == (41, 5)
    assert "of the solution" not in source
    assert "another one" not in source
    assert "# a comment of the module" in source
    assert source.count(open_functions.IMPORT) == 1


def test_of_a_class_all_methods_lose_their_bodies_or_one_alone():
    module = run(remove({"Codec": "open"}))
    with pytest.raises(NotSolved):
        module["Codec"]()
    assert "self.size" not in remove({"Codec": "open"})
    codec = run(remove({"Codec.encode": "open"}))["Codec"]()
    assert codec.decode(5) == 1
    with pytest.raises(NotSolved):
        codec.encode(5)


def test_a_function_without_code_stays_and_a_missing_one_is_refused():
    assert run(remove({"empty": "open"}))["empty"]() is None
    with pytest.raises(LessonFailed, match="no function absent"):
        remove({"absent": "open"})


def test_a_task_removes_what_its_adapter_replaces_and_what_it_names():
    (function,) = open_functions.find_open_functions([IOU])
    assert (function.module, function.name) == (BOXES, "compute_iou")
    assert "compute_iou is task 2.2, lesson 02" in function.message
    more = replace(IOU, removed=("helpers.detection.boxes.area", "helpers.detection.matching.Matches.__eq__"))
    with pytest.raises(LessonFailed, match="no function or class of helpers"):
        open_functions.find_open_functions([replace(IOU, removed=("helpers.detection.boxes.SMALLEST_AREA",))])
    with pytest.raises((LessonFailed, AttributeError)):
        open_functions.find_open_functions([replace(IOU, removed=("helpers.detection.boxes.absent",))])
    names = [
        function.name for function in open_functions.find_open_functions([replace(more, removed=more.removed[:1])])
    ]
    assert names == ["compute_iou", "area"]


def test_a_name_that_another_module_imported_is_removed_where_it_is_defined():
    imported = replace(IOU, removed=("helpers.detection.loss.paired_overlap",))
    functions = open_functions.find_open_functions([imported])
    assert [(function.module, function.name) for function in functions][1:] == [(BOXES, "paired_overlap")]


def test_a_function_of_two_tasks_names_the_first():
    second = replace(IOU, number="4.1")
    (function,) = open_functions.find_open_functions([IOU, second])
    assert "task 2.2" in function.message


def test_no_adapter_needs_the_body_of_a_function_that_a_copy_lacks():
    for path in (ROOT / "helpers" / "tasks" / "adapters").glob("*.py"):
        assert "get_original" not in path.read_text(), path.name


TABLE = 'LOSSES: dict = {"one": max, "two": min,  # Ü\n    "three": sum}\n'


def test_an_entry_of_a_table_becomes_a_function_that_raises_the_error():
    source = TABLE
    for entry in ("two", "three"):
        function = open_functions.OpenFunction(BOXES, "LOSSES", f"{entry} is open", entry)
        source = open_functions.remove_entry(source, function)
    losses = run(open_functions.add_import(source))["LOSSES"]
    assert losses["one"] is max
    for entry in ("two", "three"):
        with pytest.raises(NotSolved, match=f"{entry} is open"):
            losses[entry](1)
    with pytest.raises(LessonFailed, match="no entry 'four' of LOSSES"):
        open_functions.remove_entry(TABLE, open_functions.OpenFunction(BOXES, "LOSSES", "", "four"))


def test_a_task_that_changes_a_table_opens_the_entries_that_it_changes():
    (function,) = open_functions.find_open_functions([catalogue.find_definition("giou_loss")])
    assert function.module == Path("helpers/digits/loss.py")
    assert (function.name, function.entry) == ("OVERLAP_LOSSES", "giou")


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Function that writes a module of helpers, in the original and in a copy, and returns the path of the latter."""
    import sys
    from types import ModuleType

    def write(source):
        original = ModuleType("helpers.made_up")
        exec(source, original.__dict__)
        monkeypatch.setitem(sys.modules, "helpers.made_up", original)
        path = tmp_path / "helpers" / "made_up.py"
        path.parent.mkdir()
        path.write_text(source)
        return path

    return write


def fail_at(source, expression):
    """Return the report of a failed import for the one place of `expression` in the source."""
    (call,) = [
        node
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call) and ast.get_source_segment(source, node) == expression
    ]
    place = {"line": call.lineno, "end_line": call.end_lineno, "column": call.col_offset}
    return {"message": "open", "file": "helpers/made_up.py", "end_column": call.end_col_offset} | place


def test_a_value_that_an_open_function_computes_at_import_is_written_down(module, tmp_path):
    source = "def order(names):\n    return sorted(names)\n\n\nÜ, ORDER = 1, {'é': order(\n    ['b', 'a']\n)}\n"
    path = module(source)
    open_functions.write_down_value(tmp_path, fail_at(source, "order(\n    ['b', 'a']\n)"))
    assert path.read_text().endswith("Ü, ORDER = 1, {'é': ['a', 'b']}\n")


def test_a_value_without_a_text_is_refused_with_its_place(module, tmp_path):
    source = "def make():\n    return object()\n\n\nVALUE = make()\n"
    module(source)
    with pytest.raises(LessonFailed, match=r"helpers/made_up.py, line 5: make\(\) calls an open task"):
        open_functions.write_down_value(tmp_path, fail_at(source, "make()"))

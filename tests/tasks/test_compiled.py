"""Compiled checks: written as JSON and read again."""

import json

import pytest

from helpers.course.checks import catalogue
from helpers.tasks.compiled import GROUPS, read_task, write_task
from helpers.tasks.values import are_equal


@pytest.fixture
def task():
    return catalogue.compile_visible("compute_iou")


def test_a_task_is_the_same_after_it_was_written_and_read(task, tmp_path):
    write_task(tmp_path / "task.json", task)
    returned = read_task(tmp_path / "task.json")
    assert (returned.name, returned.stub, returned.hints, returned.minutes) == (
        task.name,
        task.stub,
        task.hints,
        task.minutes,
    )
    for case, original in zip(returned.cases, task.cases, strict=True):
        assert (case.group, case.title, case.driver, case.partners) == (
            original.group,
            original.title,
            original.driver,
            original.partners,
        )
        assert are_equal(case.inputs, original.inputs, 0)
        assert are_equal(case.accepted, original.accepted, 0)
    for mistake, original in zip(returned.mistakes, task.mistakes, strict=True):
        assert (mistake.code, mistake.hint) == (original.code, original.hint)
        assert are_equal(mistake.outputs, original.outputs, 0)


def test_a_task_knows_its_lesson_and_its_groups_in_order(task):
    assert task.lesson == "02"
    assert list(task.groups) == [group for group in GROUPS if group in task.groups]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"cases": [{}], "mistakes": []}', "no json"])
def test_a_file_that_is_no_task_is_named(text, tmp_path):
    path = tmp_path / "task.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"task\.json: not the checks of a task"):
        read_task(path)


def test_the_file_holds_no_code(task, tmp_path):
    write_task(tmp_path / "task.json", task)
    content = json.loads((tmp_path / "task.json").read_text())
    content.pop("stub")
    assert "def " not in json.dumps(content)
    assert "return " not in json.dumps([case["driver"] for case in content["cases"]])

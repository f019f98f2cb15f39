"""The functions that a lesson's cells call: show, check, use_saved and progress."""

import sys
from dataclasses import replace

import pytest

from helpers.course.checks import boxes, catalogue
from helpers.detection import boxes as helper_boxes
from helpers.tasks import solutions, tasks
from helpers.tasks.compiled import write_task

RIGHT = """import torch


def compute_iou(boxes, others):
    start = torch.maximum(boxes[..., :, None, :2], others[..., None, :, :2])
    size = (torch.minimum(boxes[..., :, None, 2:], others[..., None, :, 2:]) - start).clamp(min=0)
    areas = (boxes[..., 2:] - boxes[..., :2]).prod(-1)
    other_areas = (others[..., 2:] - others[..., :2]).prod(-1)
    union = areas[..., :, None] + other_areas[..., None, :] - size.prod(-1)
    return size.prod(-1) / union.clamp(min=1e-30)
"""
WRONG = RIGHT.replace(".clamp(min=0)", "")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(solutions, "SOLUTIONS", tmp_path / "solutions")
    yield tmp_path
    solutions.restore_originals()


def solve(source, name="compute_iou"):
    return tasks.check(name, solutions.load_function(source, name))


def test_a_passed_solution_is_saved_and_takes_the_helpers_place(folder):
    report = solve(RIGHT)
    assert report.is_passed, report
    assert (folder / "solutions" / "compute_iou.py").read_text() == RIGHT
    if solutions.find_adapter("compute_iou"):
        assert helper_boxes.compute_iou is not solutions.get_original("helpers.detection.boxes.compute_iou")


def test_a_wrong_one_is_not_saved_and_its_mistake_is_named_with_input_and_values(folder):
    report = solve(WRONG)
    text = repr(report)
    assert not report.is_passed
    assert not (folder / "solutions").exists()
    assert "two boxes apart, on a diagonal" in text
    assert "expected: [[0.]]" in text
    assert "yours:    [[1.]]" in text
    assert "width and height are not cut at 0" in text
    assert text.count("Cut each side at 0") == 1


def test_inputs_have_the_names_of_the_signature():
    assert "    boxes: [[ 0.,  0., 10., 10.]]\n    others: [[20., 20., 30., 30.]]" in repr(solve(WRONG))


@pytest.mark.parametrize(
    ("driver", "num_partners", "num_inputs", "names"),
    [
        ("general.call", 0, 1, ["boxes"]),
        ("general.call", 0, 3, ["boxes", "others", "input 3"]),
        ("general.call_swapped", 0, 2, ["first", "second"]),
        ("general.compute_gradient", 0, 2, ["variable", "others"]),
        ("boxes.encode_then_decode", 1, 2, ["boxes", "anchors"]),
    ],
)
def test_an_input_of_another_call_has_the_name_of_the_driver_s_parameter(driver, num_partners, num_inputs, names):
    task = tasks.load_task("compute_iou")
    partners = tuple(f"partner_{number}" for number in range(num_partners))
    case = replace(task.cases[0], driver=driver, partners=partners, inputs=[0.0] * num_inputs)
    assert tasks.name_inputs(task, case) == names


def test_what_is_compared_is_told_of_other_calls_only():
    case = tasks.load_task("compute_iou").cases[0]
    assert tasks.describe_call(replace(case, driver="general.call")) == ""
    swapped = replace(case, driver="general.call_swapped")
    assert tasks.describe_call(swapped) == "what the function returns for its two arguments exchanged"


LOOPS = """import torch


def compute_iou(boxes, others):
    iou = torch.zeros(len(boxes), len(others))
    for row, (x1, y1, x2, y2) in enumerate(boxes.tolist()):
        for column, (u1, v1, u2, v2) in enumerate(others.tolist()):
            width, height = min(x2, u2) - max(x1, u1), min(y2, v2) - max(y1, v1)
            if width > 0 and height > 0:
                union = (x2 - x1) * (y2 - y1) + (u2 - u1) * (v2 - v1) - width * height
                iou[row, column] = width * height / union
    return iou
"""


def test_a_slow_solution_passes_and_the_report_says_what_it_costs():
    report = solve(LOOPS)
    assert report.is_passed
    assert "times slower than the vectorised version: this lesson needs about" in repr(report)
    assert "slower" not in repr(solve(RIGHT))


def test_the_stub_is_not_written_yet():
    stub = tasks.load_task("compute_iou").stub
    assert repr(solve(stub)).endswith("not written yet")


def test_a_function_that_uses_the_notebook_around_it_is_told_so():
    report = solve(RIGHT.removeprefix("import torch\n"))
    assert "NameError" in repr(report)
    assert "line 5" in repr(report) or "line 4" in repr(report)


def test_the_notebooks_own_function_is_checked(monkeypatch):
    monkeypatch.delattr(sys.modules["__main__"], "compute_iou", raising=False)
    assert "run the cell above" in repr(tasks.check("compute_iou"))
    monkeypatch.setattr(sys.modules["__main__"], "compute_iou", solutions.load_function(RIGHT, "compute_iou"), False)
    assert tasks.check("compute_iou").is_passed


def test_the_reference_is_shown_and_checked_and_replaces_nothing(folder, capsys):
    reference = tasks.show("compute_iou")
    assert reference is boxes.compute_iou
    assert tasks.check("compute_iou", reference).is_passed
    assert not (folder / "solutions").exists()


def test_a_students_copy_reads_compiled_checks_and_shows_no_reference(folder, monkeypatch):
    compiled = folder / "compiled_checks"
    write_task(compiled / "compute_iou.json", catalogue.compile_visible("compute_iou"))
    monkeypatch.setattr(tasks, "COMPILED", compiled)
    monkeypatch.setattr(tasks, "CATALOGUE", "helpers.no_such_module")
    assert tasks.list_names() == ["compute_iou"]
    assert solve(RIGHT).is_passed
    with pytest.raises(KeyError, match="student's copy"):
        tasks.show("compute_iou")
    with pytest.raises(KeyError, match="compute_iou"):
        tasks.load_task("unknown")


def test_an_unknown_task_is_refused_with_the_names_of_all():
    with pytest.raises(KeyError, match="compute_iou"):
        tasks.check("compute_io", len)


@pytest.fixture
def copy(folder, monkeypatch):
    """Make the tasks those of a student's copy."""
    compiled = folder / "compiled_checks"
    write_task(compiled / "compute_iou.json", catalogue.compile_visible("compute_iou"))
    monkeypatch.setattr(tasks, "COMPILED", compiled)
    monkeypatch.setattr(solutions, "GIVEN", folder / "given")
    return folder


def test_a_copys_later_lessons_use_saved_solutions(copy, capsys):
    solutions.save_solution("compute_iou", RIGHT)
    original = helper_boxes.compute_iou
    tasks.use_saved("02")
    assert helper_boxes.compute_iou is original
    tasks.use_saved("03")
    assert helper_boxes.compute_iou is not original
    assert capsys.readouterr().out == ""


def test_a_copys_later_lesson_names_open_tasks_of_earlier_ones(copy, capsys):
    tasks.use_saved("02")
    assert capsys.readouterr().out == ""
    tasks.use_saved("03")
    assert "  compute_iou is task 2.2, lesson 02\n" in capsys.readouterr().out


def test_a_given_solution_is_no_open_task_and_a_partner(copy, capsys):
    (copy / "given").mkdir()
    (copy / "given" / "compute_iou.py").write_text(RIGHT)
    tasks.use_saved("03")
    assert capsys.readouterr().out == ""
    assert solutions.read_given() == {"compute_iou": RIGHT}
    assert tasks.progress()["state"].iloc[0] == "given"


def test_the_original_uses_no_saved_solution(folder, capsys):
    solutions.save_solution("compute_iou", RIGHT)
    original = helper_boxes.compute_iou
    tasks.use_saved("03")
    assert helper_boxes.compute_iou is original
    assert capsys.readouterr().out == ""


def test_the_report_is_escaped_in_html():
    assert "&lt;" in solve("def compute_iou(boxes, others):\n    raise ValueError('<b>')\n")._repr_html_()

"""Grading, with real processes: an accident in a submission costs its own row at most, and a task its own points."""

import csv
import json
import os
import signal
import sys
import tempfile
from functools import partial
from textwrap import dedent

import nbformat
import pytest

from helpers.course import attempts, cli, grading, lessons, sandbox, student
from helpers.course.attempts import Setting
from helpers.course.sandbox import Limits
from helpers.course.submissions import Submission, collect_submissions
from helpers.course.views import Views
from tests.course.conftest import QUICK
from tests.course.tiny import is_running, wait_until

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot grade without a container")


def test_right_solutions_earn_all_points_and_no_remark(attempt):
    assert [(mark.points, mark.of, mark.remark) for mark in attempt()] == [(3, 3, ""), (4, 4, "")]


def test_the_source_s_own_solutions_earn_all_points(lesson, attempt):
    cells = {student.find_id(cell): cell.source for cell in lesson.notebook.cells}
    marks = attempt(cells["09-1-solution"], cells["09-2-solution"])
    assert [mark.points for mark in marks] == [3, 4]


def test_an_untouched_copy_earns_nothing_and_starts_no_process(lesson, plan, grader, tmp_path, monkeypatch, hand_in):
    hand_in(tmp_path / "ann", lesson.copy)
    monkeypatch.setattr(attempts, "open_process", None)
    (submission,) = collect_submissions(tmp_path, [plan])
    marks = grading.grade_exercises(submission, plan, grader)
    assert [(mark.points, mark.remark) for mark in marks] == [(0, "left as it was")] * 2


@pytest.mark.parametrize(
    ("first", "remark"),
    [
        pytest.param("first = 0", "AssertionError: first is too small", id="the check that the student sees"),
        pytest.param("first = 7", "AssertionError: first is not one", id="a hidden test"),
        pytest.param("first = 1 / 0", "ZeroDivisionError: division by zero", id="raises"),
        pytest.param("first = (", "SyntaxError", id="is no Python"),
        pytest.param("frist = 1", "the cell defines no `first`", id="another name"),
        pytest.param("raise SystemExit", "SystemExit", id="exits politely"),
        pytest.param("raise ValueError('x' * 10**8)", "ValueError: xxx", id="raises an error of 100 MB"),
        pytest.param("first = 'x' * 10**8", "not a plain value but a text of", id="answers with 100 MB"),
        pytest.param("first = ['x' * 10_000] * 1000", "more than 8 MB", id="answers with 10 MB in parts"),
        pytest.param("first = object()", "not a plain value but a value of type object", id="no plain answer"),
        pytest.param("input()", "EOFError", id="waits for input"),
        pytest.param("os._exit(0)", "its process died", id="ends its process"),
        pytest.param("raise ValueError('\\x1b[31mred\\r\\n\\ud800')", "ValueError: \\x1b[31mred", id="colours"),
    ],
)
def test_a_wrong_solution_costs_its_own_points_and_the_remark_tells_why(first, remark, attempt):
    one, two = attempt(first)
    assert (one.points, two.points) == (0, 4)
    assert remark in one.remark
    assert len(one.remark) <= 2 * sandbox.LONGEST_REMARK
    assert one.remark.isprintable()


@pytest.mark.parametrize(
    ("first", "limits", "remark"),
    [
        pytest.param("while True:\n    pass", Limits(1.0, 1e9), "still running after 1 s", id="never ends"),
        pytest.param(
            "while True:\n    try:\n        time.sleep(60)\n    except BaseException:\n        pass",
            Limits(1.0, 1e9),
            "still running after 1 s",
            id="cannot be interrupted",
        ),
        pytest.param(
            "held = [bytearray(b'x' * 10**7) for _ in range(70)]\ntime.sleep(60)",
            Limits(30.0, 5e8),
            "GB of memory",
            id="takes memory",
        ),
    ],
)
def test_a_solution_beyond_its_limits_costs_its_own_points(first, limits, remark, plan, grader):
    solutions = {plan.lesson.stem: {"09-1-solution": first, "09-2-solution": "second = 4"}}
    narrow = grading.Grader(grader.plans, {}, grader.checkers, grader.views, Setting(limits))
    one, two = grading.grade_exercises(Submission("ann", solutions), plan, narrow)
    assert (one.points, two.points) == (0, 4)
    assert remark in one.remark


@pytest.mark.parametrize("end", ["exit()", "quit()", "__import__('threading').Timer(0, os._exit, [1]).start()"])
def test_a_right_solution_that_ends_its_process_costs_at_most_its_own_task(end, attempt):
    one, two = attempt(f"first = 1\n{end}")
    assert one.points == 3 or one.remark == "its process died"
    assert two.points == 4


def test_a_name_that_the_lesson_needs_may_be_overwritten_by_a_solution(attempt):
    assert [mark.points for mark in attempt("first = 1\nstart = None\nPath = None\nabs = print")] == [3, 4]


def test_checks_hidden_tests_and_the_lesson_itself_are_the_sources_whatever_comes_back(
    plan, grader, tmp_path, hand_in, solve
):
    edited = solve("first = 0", "second = 5")
    for cell in edited.cells:
        if student.find_id(cell) in {"09-1-check", "09-2-check"}:
            cell.source = "pass"
        elif cell.source == "start = 2":
            cell.source = "start = 2.5"
    hand_in(tmp_path / "ann", edited)
    (submission,) = collect_submissions(tmp_path, [plan])
    marks = grading.grade_exercises(submission, plan, grader)
    assert [mark.remark for mark in marks] == [
        "AssertionError: first is too small",
        "AssertionError: second is not four",
    ]
    assert submission.remarks == {
        "09_tiny": [
            "the check cell of task 1 was edited or is gone; the original was run",
            "the check cell of task 2 was edited or is gone; the original was run",
            "cells that are not part of the lesson and were not run: 1",
        ]
    }


def test_a_deleted_solution_cell_costs_its_task_alone(plan, grader, tmp_path, hand_in, solve):
    torn = solve()
    del torn.cells[2]
    hand_in(tmp_path / "ann", torn)
    (submission,) = collect_submissions(tmp_path, [plan])
    assert submission.remarks == {"09_tiny": ["the solution cell of task 1 is gone"]}
    marks = grading.grade_exercises(submission, plan, grader)
    assert [(mark.points, mark.remark) for mark in marks] == [(0, "not handed in"), (4, "")]


def test_half_a_character_in_a_cell_costs_that_cell_alone(attempt):
    one, two = attempt("first = 1  # \ud800")
    assert (one.points, two.points) == (0, 4)
    assert "half of a character" in one.remark


# Build tasks


def test_right_functions_earn_all_points(build):
    doubled, halved = build(halve="def halve(x):\n    return x / 2")
    assert (doubled.points, doubled.of, doubled.remark) == (4, 4, "")
    assert (halved.points, halved.of, halved.remark) == (1, 1, "")
    assert doubled.detail["groups"]["pairs"] == {"passed": 1, "of": 1}


def test_a_known_mistake_is_named_and_each_passed_group_earns_its_share(build):
    doubled, halved = build("def double(x, halve=None):\n    return x + 2", "import os\nos._exit(1)")
    assert doubled.points == 0
    assert "DBL1: two is added" in doubled.remark
    assert doubled.detail["first_failure"]["expected"] == "6"
    assert doubled.detail["first_failure"]["got"] == "5"
    assert doubled.detail["missing_partners"] == ["halve"]  # it ended the process, and its own points alone
    assert (halved.points, halved.remark) == (0, "its process died")


def test_a_function_that_hangs_in_one_case_keeps_the_groups_before(build):
    source = """
    import time

    def double(x, halve=None):
        if x == 0:
            time.sleep(60)
        return 2 * x
    """
    doubled, halved = build(dedent(source))
    assert doubled.points == 1.33  # of 4, for one of three groups; the pair has no partner
    assert "still running after 10 s" in doubled.remark
    assert halved.remark == "not handed in"


def test_hidden_cases_differ_between_seeds_and_are_not_those_of_the_student(build_plan, views):
    from helpers.course.checks.definition import compile_task
    from tests.course.conftest import DOUBLE

    graders = [grading.make_grader([build_plan], (DOUBLE,), views, Setting(QUICK)) for _ in range(2)]
    inputs = {grader.tasks["double"].cases[2].inputs[0] for grader in graders}
    assert len(inputs | {compile_task(DOUBLE).cases[2].inputs[0]}) == 3


# A class


def test_a_class_of_accidents_gets_a_row_each(lesson, plan, grader, tmp_path, capsys, hand_in, solve):
    hand_in(tmp_path / "ann", solve())
    hand_in(tmp_path / "bob", solve("os._exit(1)", "os._exit(2)"))
    (tmp_path / "dia").mkdir()
    hand_in(tmp_path / "eva", lesson.copy)
    (tmp_path / "fin").mkdir()
    (tmp_path / "fin" / "09_tiny.ipynb").write_text("{")
    submissions = collect_submissions(tmp_path, [plan])
    marks = grading.grade_submissions(submissions, grader)
    rows = grading.grades.tabulate(submissions, [plan], marks, "bubblewrap")
    points = {row["submission"]: (row["09"], row["points"], row["of"]) for row in rows}
    zero = (0, 0, 7)
    assert points == {"ann": (7, 7, 7), "bob": zero, "dia": zero, "eva": zero, "fin": zero}
    assert "is no notebook" in rows[-1]["remarks"]
    assert len(capsys.readouterr().out.splitlines()) == 5


def test_a_fault_of_the_grader_costs_one_row_and_shows_there(plan, grader, tmp_path, monkeypatch, hand_in, solve):
    hand_in(tmp_path / "ann", solve())
    hand_in(tmp_path / "bob", solve())
    grade_exercises = grading.grade_exercises

    def fail_for_ann(submission, plan, grader):
        if submission.name == "ann":
            raise OSError("no space left")
        return grade_exercises(submission, plan, grader)

    monkeypatch.setattr(grading, "grade_exercises", fail_for_ann)
    marks = grading.grade_submissions(collect_submissions(tmp_path, [plan]), grader)
    assert [mark.points for mark in marks] == [0, 0, 3, 4]
    assert [mark.remark for mark in marks[:2]] == ["not graded: OSError: no space left"] * 2
    assert not marks[0].is_graded


def test_without_a_sandbox_attempts_are_plain_processes_and_the_table_says_so(
    lesson, plan, grader, tmp_path, monkeypatch, capsys, hand_in, solve, plain
):
    prepare_command(monkeypatch, lesson, tmp_path)
    hand_in(tmp_path / "submissions" / "ann", solve("first = 0", "second = 4\nos.system('sleep 7301 &')"))
    assert cli.main(["grade", str(tmp_path / "submissions")]) == 0
    output = capsys.readouterr()
    assert "WARNING: no sandbox, because a test asks for none" in output.out
    assert "WARNING: no sandbox" in output.err
    (row,) = read_table(tmp_path / "grades" / "points.csv")
    assert (row["points"], row["of"], row["sandbox"]) == ("4", "7", sandbox.PLAIN)
    assert not find_commands("sleep 7301")


def find_commands(text):
    """Return the processes of this machine with a text in their command."""
    import psutil

    return [process for process in psutil.process_iter(["cmdline"]) if text in " ".join(process.info["cmdline"] or [])]


def read_table(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def prepare_command(monkeypatch, lesson, folder):
    """Let the command grade the tiny lesson, without build tasks and without running the lesson itself before."""
    source = folder / "09_tiny.ipynb"
    nbformat.write(lesson.notebook, source)
    monkeypatch.setattr(grading, "find_lessons", lambda numbers: [source])
    monkeypatch.setattr(grading, "run_lesson", lambda path, folder, profile: path)
    monkeypatch.setattr(grading, "list_definitions", lambda: [])
    monkeypatch.setattr(grading, "GRADES", folder / "grades")
    monkeypatch.setattr(grading, "Views", partial(Views, compiles=False))


def test_the_command_writes_all_tables_and_prints_the_points(lesson, tmp_path, monkeypatch, capsys, hand_in, solve):
    prepare_command(monkeypatch, lesson, tmp_path)
    for name, first in (("ann", "first = 1"), ("bob", "first = 0")):
        hand_in(tmp_path / "submissions" / name, solve(first))
    assert cli.main(["grade", str(tmp_path / "submissions")]) == 0
    rows = read_table(tmp_path / "grades" / "points.csv")
    assert [(row["submission"], row["09"], row["points"], row["of"]) for row in rows] == [
        ("ann", "7", "7", "7"),
        ("bob", "4", "4", "7"),
    ]
    tasks = {(row["submission"], row["task"]): row for row in read_table(tmp_path / "grades" / "tasks.csv")}
    assert tasks["bob", "1"]["remark"] == "AssertionError: first is too small"
    assert tasks["bob", "2"]["points"] == "4"
    assert len(read_table(tmp_path / "grades" / "canvas.csv")) == 3
    assert len(read_table(tmp_path / "grades" / "moodle.csv")) == 2
    results = [json.loads(path.read_text()) for path in sorted((tmp_path / "grades" / "results").glob("*.json"))]
    assert [(result["submission"], result["points"]) for result in results] == [("ann", 7), ("bob", 4)]
    assert "ann" in capsys.readouterr().out.partition("written")[0]


def test_nothing_is_graded_where_the_source_itself_fails(lesson, tmp_path, monkeypatch, capsys, hand_in, solve):
    def fail(path, folder, profile):
        raise lessons.LessonFailed("09_tiny failed in code cell 5")

    prepare_command(monkeypatch, lesson, tmp_path)
    monkeypatch.setattr(grading, "run_lesson", fail)
    hand_in(tmp_path / "submissions" / "ann", solve())
    assert cli.main(["grade", str(tmp_path / "submissions")]) == 1
    assert "failed in code cell 5" in capsys.readouterr().err
    assert not (tmp_path / "grades").exists()


# Interruptions


def start_grading(folder, log):
    """Return the number of a new process that grades a folder, and prints into a file."""
    process = os.fork()
    if process:
        return process
    try:
        os.setsid()
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT)
        os.dup2(descriptor, 1)
        sys.stdout = sys.stderr = os.fdopen(descriptor, "w", buffering=1)
        tempfile.tempdir = str(folder / "temporary")
        grading.GRADES = folder / "grades"
        os._exit(cli.main(["grade", str(folder / "submissions")]))
    finally:
        os._exit(1)


def test_after_any_signal_the_tables_hold_what_was_graded_and_nothing_remains(
    lesson, tmp_path, monkeypatch, hand_in, solve, find_descendants
):
    prepare_command(monkeypatch, lesson, tmp_path)
    signals = {
        "terminated": [signal.SIGTERM],
        "terminal closed": [signal.SIGHUP],
        "interrupted twice": [signal.SIGINT, signal.SIGINT],
    }
    started = {}
    for name in signals:
        folder = tmp_path / name
        hand_in(folder / "submissions" / "ann", solve())
        hand_in(folder / "submissions" / "bob", solve("while True:\n    pass"))  # hangs longer than the test
        (folder / "temporary").mkdir()
        started[name] = start_grading(folder, tmp_path / f"{name}.txt")
    for name, process in started.items():
        folder, log = tmp_path / name, tmp_path / f"{name}.txt"
        wait_until(lambda log=log: "  ann" in log.read_text())
        descendants = find_descendants(process)
        assert descendants
        for number in signals[name]:
            os.kill(process, number)
        _, status = os.waitpid(process, 0)
        assert os.waitstatus_to_exitcode(status) == 130, log.read_text()
        assert [row["points"] for row in read_table(folder / "grades" / "points.csv")] == ["7", "0"]
        tasks = read_table(folder / "grades" / "tasks.csv")
        assert [row["remark"] for row in tasks] == ["", "", grading.INTERRUPTED, grading.INTERRUPTED]
        assert list((folder / "temporary").iterdir()) == []
        assert not any(map(is_running, descendants))

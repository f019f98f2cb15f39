"""Tables and results that are written from marks."""

import csv
import json

import numpy as np
import pytest

from helpers.course import grades
from helpers.course.grades import Mark
from helpers.course.submissions import Submission
from helpers.tasks.judging import judge
from helpers.tasks.running import Outcome

MARKS = [
    Mark("ann", "09_tiny", "1", 3, 3),
    Mark("ann", "09_tiny", "2", 0, 4, "AssertionError: =1"),
    Mark("bob", "09_tiny", "1", 1.5, 3, is_graded=False),
    Mark("bob", "09_tiny", "2", 4, 4),
]
SUBMISSIONS = [Submission("ann", remarks={"": ["second"], "09_tiny": ["first"]}), Submission("bob")]


def read(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_row_per_submission_adds_its_points(plan):
    ann, bob = grades.tabulate(SUBMISSIONS, [plan], MARKS, "bubblewrap")
    assert ann == {
        "submission": "ann",
        "09": 3,
        "points": 3,
        "of": 7,
        "sandbox": "bubblewrap",
        "remarks": "second; 09 first",
    }
    assert (bob["points"], bob["remarks"]) == (5.5, "tasks that were not graded: 1")


def test_a_row_per_task_holds_groups_and_mistakes(build_grader):
    task = build_grader.tasks["double"]
    outcomes = [Outcome(case.inputs[0] + 2) for case in task.cases[:3]] + [Outcome(None, is_skipped=True)]
    detail = grades.describe_verdict(task, judge(task, outcomes))
    (row,) = grades.list_tasks([Mark("ann", "08_built", "double", 0, 4, "wrong", detail)])
    assert (row["groups"], row["mistakes"]) == ("0 of 3", "DBL1")
    assert detail["first_failure"]["inputs"] == ["3"]
    assert detail["mistakes"][0]["hint"] == "Multiply by two."
    assert detail["first_failure"]["got_value"] == 5
    assert json.loads(json.dumps(detail)) == detail


def test_a_huge_value_of_a_student_is_described_but_not_kept(build_grader):
    task = build_grader.tasks["double"]
    huge = np.arange(grades.LONGEST_JSON)
    failure = grades.describe_verdict(task, judge(task, [Outcome(huge) for _ in task.cases]))["first_failure"]
    assert failure["got"] == "array of shape [100000], first numbers [0, 1, 2, 3, 4, 5]"
    assert failure["got_value"] is None
    assert failure["input_values"] == [3]


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("=1+1", "'=1+1"),
        ("+1", "'+1"),
        ("-1", "'-1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'\\t=1"),
        (" =1", "' =1"),
        ("＝1", "'＝1"),
        ("a\r\n=1", "a\\r\\n=1"),
        ('a, "b"', 'a, "b"'),
        ("\x1b[31m\udce9", "\\x1b[31m\\xe9"),
        (-1, "-1"),
    ],
)
def test_a_table_keeps_what_spreadsheets_would_compute_as_text_in_one_row(text, cell, tmp_path):
    grades.write_table(tmp_path / "t.csv", [{"submission": text}])
    assert read(tmp_path / "t.csv") == [{"submission": cell}]
    assert len((tmp_path / "t.csv").read_bytes().splitlines()) == 2


def test_canvas_and_moodle_find_their_students_in_the_names_of_downloads(plan):
    names = [
        "baann_12345_998877_09_tiny.ipynb",
        "caleb_LATE_777_5_x.ipynb",
        "Ann Ba_1234567_assignsubmission_file_",
        "x",
    ]
    marks = [Mark(name, "09_tiny", "1", 3, 3) for name in names]
    rows = grades.tabulate([Submission(name) for name in names], [plan], marks, "bubblewrap")
    canvas = grades.list_canvas(rows, "Workbook 09")
    assert canvas[0]["Student"].strip() == "Points Possible"
    assert canvas[0]["Workbook 09 (points)"] == 3
    assert [(row["Student"], row["ID"]) for row in canvas[1:3]] == [("baann", "12345"), ("caleb", "777")]
    moodle = grades.list_moodle(rows)
    assert (moodle[2]["Identifier"], moodle[2]["Full name"]) == ("Participant 1234567", "Ann Ba")
    assert (moodle[3]["Identifier"], moodle[3]["Full name"], moodle[3]["Grade"]) == ("", "x", 3)


def test_each_submission_has_a_result_whose_name_is_safe(tmp_path):
    submissions = [Submission(name) for name in ("ann", "../../etc", "Ann", "a" * 500, "\\xe9", "漢字")]
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "old.json").write_text("{}")
    grades.write_results(tmp_path / "results", submissions, MARKS, "bubblewrap")
    paths = list((tmp_path / "results").iterdir())
    assert len(paths) == len(submissions)
    contents = {json.loads(path.read_text())["submission"]: json.loads(path.read_text()) for path in paths}
    assert contents["ann"]["points"] == 3
    assert [task["remark"] for task in contents["ann"]["tasks"]] == ["", "AssertionError: =1"]
    assert all(len(path.name) < 60 for path in paths)

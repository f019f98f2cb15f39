"""Pages of feedback: what a student and the instructor read, and what hostile names and values cannot do."""

import csv
import re
from dataclasses import replace
from html import unescape

import pytest

from helpers.course import cli, feedback, grades, grading
from helpers.course.grades import INTERRUPTED, NOT_HANDED_IN, UNCHANGED, Mark
from helpers.course.student import Question
from helpers.course.submissions import Submission, make_visible
from helpers.tasks.compiled import GROUPS
from helpers.tasks.judging import judge
from helpers.tasks.running import Outcome
from helpers.tasks.values import Failure
from tests.course.test_grading import prepare_command

HOSTILE = (
    "<script>alert(1)</script>",
    "</pre><img src=http://evil.example/x.png onerror=alert(1)>",
    '" onmouseover="alert(1)',
    "=cmd|'/c calc'!A1",
    "{{ 7 * 7 }}{% raise %}",
    "\x1b[31m\x00\u202e\udce9red",
    "<b>" * 33_334,
)
"""Texts that a student controls: markup, an attribute, a formula, a template, control characters, 100 kB."""


def mark_double(task, change, name="ann", place=""):
    """Return the mark of the task `double` whose outcomes are `change` of each input; the pair check is left out."""
    outcomes = [Outcome(change(case.inputs[0]), place=place) for case in task.cases[:3]]
    verdict = judge(task, [*outcomes, Outcome(None, is_skipped=True)])
    points = round(task.points * verdict.share, 2)
    return Mark(name, "08_built", "double", points, task.points, "wrong", grades.describe_verdict(task, verdict))


def read_page(page):
    """Return the words of a page as a reader sees them."""
    body = page.partition("<body>")[2]
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", body)).split())


@pytest.fixture
def tasks(build_grader):
    return build_grader.tasks


@pytest.fixture
def questioned(build_plan):
    """The tiny lesson with a written answer."""
    lesson = replace(build_plan.lesson, questions=[Question(2, "08-2-answer", 6)])
    return replace(build_plan, lesson=lesson)


def test_a_student_reads_what_failed_with_input_expected_value_and_hint(questioned, tasks):
    marks = [
        mark_double(tasks["double"], lambda x: x + 2),
        Mark("ann", "08_built", "halve", 0, 1, NOT_HANDED_IN),
        Mark("ann", "08_built", "1", 3, 3),
        Mark("ann", "08_built", "2", 0, 4, "AssertionError: second is too large"),
    ]
    submission = Submission("ann", remarks={"": ["notes.pdf is no notebook"], "08_built": ["a cell is gone"]})
    text = read_page(feedback.make_page(submission, [questioned], marks, tasks))
    for part in (
        "Feedback for ann 3 of 12 points",
        "up to 6 points",
        "notes.pdf is no notebook Lesson 08: a cell is gone",
        "9.1 double: double Not passed · 0 of 4 points",
        "✗ small examples worked out by hand: 0 of 1 passed",
        "These functions are missing or do not load: halve.",
        "First case that fails: three Input x 3 Expected 6 Yours 5",
        "This is what comes out when two is added. Multiply by two.",
        "9.2 halve: halve Not handed in · 0 of 1 points",
        "Exercise 1 Passed · 3 of 3 points",
        "Exercise 2 Not passed · 0 of 4 points second is too large",
        "Exercise 2: graded by a person, 6 points",
    ):
        assert part in text


def test_a_student_reads_where_an_error_was_raised_and_a_hint_if_no_mistake_is_known(build_plan, tasks):
    error = Failure("IndexError", "index 3 is out of range")
    mark = mark_double(tasks["double"], lambda x: error, place="line 4: y = x[3]")
    text = read_page(feedback.make_page(Submission("ann"), [build_plan], [mark], tasks))
    assert "Yours IndexError: index 3 is out of range Where it was raised line 4: y = x[3]" in text
    assert "A hint: Add." in text


def test_a_changed_input_is_named(build_plan, tasks):
    mark = mark_double(tasks["double"], lambda x: 0)
    changed = {**mark.detail, "first_failure": {**mark.detail["first_failure"], "changed_inputs": [1]}}
    page = feedback.make_page(Submission("ann"), [build_plan], [replace(mark, detail=changed)], tasks)
    assert "Your function changes its input 1 (x): work on a copy" in read_page(page)


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: ascii(text[:12]))
def test_what_a_student_controls_is_escaped_visible_and_short_on_every_page(text, build_plan, tasks):
    name = make_visible(text)
    submission = Submission(name, remarks={"": [text], "08_built": [text]})
    marks = [
        mark_double(tasks["double"], lambda x: Failure("ValueError", text), name, place=text),
        Mark(name, "08_built", "1", 0, 3, text),
    ]
    expected = feedback.show_line(text)
    student_page = feedback.make_page(submission, [build_plan], marks, tasks)
    class_page = feedback.make_class_page([submission], marks, tasks)
    for page in (student_page, class_page):
        assert len(page) < 100_000
        assert all(character.isprintable() or character == "\n" for character in page)
        assert " ".join(expected.split()) in " ".join(unescape(page).split())
        assert "49" not in read_page(page)
        assert re.search(r"<(script|b)\b", page) is None
        assert re.search(r"<[^<>]*\son\w+\s*=", page) is None
    assert "<img" not in student_page
    assert class_page.count("<img") == 2
    assert read_page(student_page).startswith(f"Feedback for {' '.join(feedback.show_name(name).split())}")


def test_a_name_like_a_formula_has_the_apostrophe_of_the_tables():
    assert feedback.show_name("=cmd|'/c calc'!A1") == "'=cmd|'/c calc'!A1"
    assert feedback.show_name("ann") == "ann"


def test_a_value_keeps_its_lines_and_is_cut_where_it_is_too_long():
    assert feedback.show_value("[[1, 2],\n [3, 4]]") == "[[1, 2],\n [3, 4]]"
    assert feedback.show_value("\x1b\n\r") == "\\x1b\n\\r"
    assert feedback.show_value("a\n" * 1000).count("a") == feedback.MOST_LINES
    assert len(feedback.show_value("\x00" * 100_000)) == feedback.LONGEST_VALUE + len(" …")


def test_of_many_remarks_the_first_are_shown_and_the_rest_is_counted():
    remarks = feedback.list_remarks(Submission("ann", remarks={"": ["late"] * (feedback.MOST_REMARKS + 7)}))
    assert remarks == ["late"] * feedback.MOST_REMARKS + ["and 7 more"]


def test_no_page_loads_anything_or_runs_a_script(build_plan, tasks):
    marks = [mark_double(tasks["double"], lambda x: x + 2)]
    for page in (
        feedback.make_page(Submission("ann"), [build_plan], marks, tasks),
        feedback.make_class_page([Submission("ann", remarks={"": ["late"]})], marks, tasks),
    ):
        assert "default-src &#39;none&#39;; img-src data:" in page
        addresses = re.findall(r'\b(?:src|href)="([^"]*)"', page)
        assert addresses
        assert all(address.startswith(("#", "data:image/svg+xml;base64,", "feedback/")) for address in addresses)
        assert "http:" not in page
        assert "https:" not in page
        assert re.search(r"<(script|link|iframe|object)\b", page) is None
        assert all('alt="' in image for image in re.findall(r"<img[^>]*>", page))


def test_a_page_holds_nothing_of_another_student_and_no_hidden_test(build_plan, tasks):
    def fail(x):
        return Failure("ValueError", "a message of bob")

    submissions = [Submission("ann"), Submission("bob", remarks={"": ["a remark about bob"]})]
    marks = [
        mark_double(tasks["double"], lambda x: x + 2, "ann"),
        mark_double(tasks["double"], fail, "bob"),
        Mark("ann", "08_built", "1", 0, 3, "not graded: KeyError: 'bob' in /home/instructor", is_graded=False),
    ]
    page = feedback.make_page(submissions[0], [build_plan], marks, tasks)
    assert "bob" not in page
    assert "instructor" not in read_page(page).replace("Ask your instructor", "")
    assert "bob" in feedback.make_page(submissions[1], [build_plan], marks, tasks)
    for exercise in build_plan.exercises:
        hidden = exercise.check.partition("### BEGIN HIDDEN TESTS\n")[2].partition("\n")[0]
        assert hidden.startswith("assert ")
        assert hidden not in unescape(page)


@pytest.mark.parametrize(
    ("mark", "state"),
    [
        (Mark("ann", "09_tiny", "1", 3, 3), "passed"),
        (Mark("ann", "09_tiny", "1", 1.5, 3), "partly"),
        (Mark("ann", "09_tiny", "1", 0, 3, "AssertionError: wrong"), "not passed"),
        (Mark("ann", "09_tiny", "1", 0, 3, NOT_HANDED_IN), "not handed in"),
        (Mark("ann", "09_tiny", "1", 0, 3, UNCHANGED), "not handed in"),
        (Mark("ann", "09_tiny", "f", 0, 3, "", {"is_written": False}), "not handed in"),
        (Mark("ann", "09_tiny", "1", 0, 3, INTERRUPTED, is_graded=False), "not graded"),
    ],
)
def test_each_mark_has_one_state(mark, state):
    assert feedback.find_state(mark) == state
    assert state in feedback.STATES


def test_every_group_of_cases_has_a_title_in_plain_words():
    assert tuple(feedback.GROUP_TITLES) == GROUPS


def test_the_class_page_counts_states_mistakes_and_unsolved_tasks(tasks):
    names = ["ann", "bob", "cem", "dee"]
    marks = [
        mark_double(tasks["double"], lambda x: x + 2, "ann"),
        mark_double(tasks["double"], lambda x: x + 2, "bob"),
        Mark("cem", "08_built", "double", 0, 4, NOT_HANDED_IN),
        replace(mark_double(tasks["double"], lambda x: 2 * x if x else 7, "dee"), points=3),
    ]
    for name in names:
        marks.append(Mark(name, "08_built", "1", 3 if name == "ann" else 0, 3, "" if name == "ann" else "wrong"))
    assert [dict(counts) for counts in feedback.count_states(marks, tasks).values()] == [
        {"not passed": 2, "not handed in": 1, "partly": 1},
        {"passed": 1, "not passed": 3},
    ]
    (row,) = feedback.count_mistakes(marks, tasks)
    assert (row["count"], row["code"], row["hint"]) == (2, "DBL1", "Multiply by two.")
    page = feedback.make_class_page([Submission(name) for name in names], marks, tasks)
    text = read_page(page)
    assert "The class 4 submissions" in text
    assert "Median 1.5, lowest 0, highest 3 of 7 points." in text  # of 3, 0, 0 and 3
    assert "9.1 double 0 1 2 1 exercise 08-1 1 0 3 0" in text
    assert "Tasks that no submission solved 9.1 double Commonest" in text
    assert "9.1 double DBL1: two is added. Multiply by two. 2" in text
    assert "0 to 10 %: 2; 40 to 50 %: 2." in page
    assert page.count('src="data:image/svg+xml;base64,') == 2


def test_submissions_that_were_interrupted_are_named_and_not_in_the_distribution(tasks):
    marks = [
        Mark("ann", "09_tiny", "1", 3, 3),
        Mark("bob", "09_tiny", "1", 0, 3, INTERRUPTED, is_graded=False),
    ]
    page = feedback.make_class_page([Submission("ann"), Submission("bob")], marks, tasks)
    assert "Submissions with tasks that were not graded: 1." in read_page(page)
    assert 'percent of the highest sum. 90 to 100 %: 1."' in page


@pytest.mark.parametrize(("share", "position"), [(0, 0), (0.0999, 0), (0.1, 1), (0.3, 3), (0.7, 7), (0.99, 9), (1, 9)])
def test_a_share_lies_in_the_bin_that_begins_with_it_and_all_points_in_the_last(share, position):
    assert [number for number, count in enumerate(feedback.count_bins([share])) if count] == [position]


def test_an_empty_class_has_a_page(tmp_path, tasks):
    assert feedback.write_feedback(tmp_path, [], [], [], tasks) == []
    text = read_page((tmp_path / "class.html").read_text(encoding="utf-8"))
    assert "0 submissions" in text
    assert "No submission was graded in full." in text
    assert "There is no task to grade." in text


def test_pages_of_an_earlier_grading_are_replaced_and_names_of_files_are_safe(tmp_path, build_plan, tasks):
    names = ["ann", "../../etc", "Ann", "a" * 500, "<script>", "漢字"]
    feedback.write_feedback(tmp_path, [Submission("gone")], [build_plan], [], tasks)
    pages = feedback.write_feedback(tmp_path, [Submission(name) for name in names], [build_plan], [], tasks)
    assert sorted(pages) == sorted((tmp_path / "feedback").iterdir())
    assert len(set(pages)) == len(names)
    assert all(re.fullmatch(r"[A-Za-z0-9_]{8,60}\.html", page.name) for page in pages)


def test_the_command_writes_pages_whose_numbers_are_those_of_the_points_table(
    lesson, tmp_path, monkeypatch, capsys, hand_in, solve
):
    prepare_command(monkeypatch, lesson, tmp_path)
    for name, first in (("ann", "first = 1"), ("=bob", "first = 0")):
        hand_in(tmp_path / "submissions" / name, solve(first))
    assert cli.main(["grade", str(tmp_path / "submissions")]) == 0
    folder = tmp_path / "grades"
    with open(folder / "points.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["points"] for row in rows] == ["4", "7"]
    for row, name in zip(rows, ("=bob", "ann"), strict=True):
        page = (folder / "feedback" / feedback.name_page(name)).read_text(encoding="utf-8")
        text = read_page(page)
        assert f"Feedback for {row['submission']} {row['points']} of {row['of']} points" in text
        assert f"Lesson 09: tiny {row['09']} 7 Sum {row['points']} 7" in text
    assert "lowest 4, highest 7 of 7 points" in read_page((folder / "class.html").read_text(encoding="utf-8"))
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("feedback: ")]
    assert "(2 pages)" in line
    assert line.endswith("class.html")


def test_pages_are_written_after_an_interruption(lesson, tmp_path, monkeypatch, hand_in, solve):
    prepare_command(monkeypatch, lesson, tmp_path)
    hand_in(tmp_path / "submissions" / "ann", solve())

    def stop(submission, plan, grader):
        grader.setting.stop.set()
        raise grading.Stopped

    monkeypatch.setattr(grading, "grade_exercises", stop)
    assert cli.main(["grade", str(tmp_path / "submissions")]) == 130
    page = (tmp_path / "grades" / "feedback" / feedback.name_page("ann")).read_text(encoding="utf-8")
    assert "Tasks that were not graded: 2." in read_page(page)
    assert INTERRUPTED in page
    assert "No submission was graded in full." in (tmp_path / "grades" / "class.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("width", [1280, 390])
def test_a_browser_shows_the_pages_without_a_fault_and_without_scrolling_sideways(width, tmp_path, build_plan, tasks):
    sync = pytest.importorskip("playwright.sync_api", reason="no playwright: pip install -e .[test]")
    from benchmarks import browser

    executable = browser.find_browser()
    if executable is None:
        pytest.skip(browser.HOW_TO_GET_A_BROWSER)
    name = "<script>document.title = 'run'</script>" + "x" * 300
    marks = [
        mark_double(tasks["double"], lambda x: Failure("ValueError", "y" * 5000), name, place="z" * 500),
        Mark(name, "08_built", "1", 0, 3, "w" * 5000),
    ]
    submission = Submission(name, remarks={"": ["v" * 400]})
    pages = feedback.write_feedback(tmp_path, [submission], [build_plan], marks, tasks)
    with sync.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=executable)
        page = chromium.new_page(viewport={"width": width, "height": 900})
        faults, requests = [], []
        page.on("console", lambda message: faults.append(message.text))
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        for path in (*pages, tmp_path / "class.html"):
            page.goto(path.as_uri())
            assert page.title() != "run"
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            broken = "[...document.images].filter(image => !image.complete || !image.naturalWidth).length"
            assert page.evaluate(broken) == 0
        chromium.close()
    assert faults == []
    assert [address for address in requests if not address.startswith(("file:", "data:"))] == []

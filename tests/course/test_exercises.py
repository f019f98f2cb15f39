"""Named answers: what a solution assigns and its check reads."""

import pytest

from helpers.course.exercises import find_answers, make_plan
from helpers.course.lessons import LessonFailed, find_lessons
from helpers.course.student import Lesson


def wrap(source, before=""):
    return f"{before}\n### BEGIN SOLUTION\n{source}\n### END SOLUTION"


@pytest.mark.parametrize(
    ("solution", "check", "answers"),
    [
        (wrap("a = 1"), "assert a == 1", ("a",)),
        (wrap("helper = 2\na = helper"), "assert a == 1", ("a",)),
        (wrap("a, (b, *c) = 1, (2, 3)"), "print(a, b, c)", ("a", "b", "c")),
        (wrap("for n in range(3):\n    a = n"), "assert a == 2", ("a",)),
        (wrap("with x as a:\n    pass\nif (b := 2): pass\nc: int = 3\nd += 1"), "a, b, c, d", ("a", "b", "c", "d")),
        (wrap("a = [n for n in range(3)]"), "assert a == [n for n in (0, 1, 2)]", ("a",)),
        (wrap("n = 3\na = 1"), "assert a in [n for n in (0, 1)]", ("a",)),
        (wrap("causes = []\na = 1"), "causes = [2]\nassert a in causes", ("a",)),
        (wrap("causes = []\na = 1"), "print(causes)\ncauses = [2]\nassert a in causes", ("causes", "a")),
        (wrap("a = 1", before="given = 2"), "assert a == given", ("a",)),
        (wrap("def f():\n    inner = 1\nimport os.path as p, sys"), "f, inner, p, sys", ("f", "p", "sys")),
        (wrap("a = 1"), "%time print(a)\nassert a == 1", ("a",)),
        (wrap("a = 1"), "print()", ()),
        ("a = 1", "print(a)", ()),
    ],
)
def test_answers_are_found(solution, check, answers):
    assert find_answers(solution, check) == answers


@pytest.mark.parametrize("path", find_lessons(), ids=lambda path: path.stem)
def test_every_exercise_of_the_lessons_has_an_answer(path):
    plan = make_plan(Lesson.read(path))
    assert len(plan.exercises) == len(plan.lesson.tasks)
    assert all(exercise.answers for exercise in plan.exercises)


def test_a_check_that_reads_no_answer_is_refused(lesson, monkeypatch):
    monkeypatch.setattr("helpers.course.exercises.find_answers", lambda solution, check: ())
    with pytest.raises(LessonFailed, match="09_tiny, task 1: the check reads no name"):
        make_plan(lesson)


def test_build_tasks_are_no_exercises(build_plan):
    assert build_plan.builds == ("double", "halve")
    assert [exercise.answers for exercise in build_plan.exercises] == [("first",), ("second",)]
    assert build_plan.solution_ids == ("double-solution", "halve-solution", "09-1-solution", "09-2-solution")

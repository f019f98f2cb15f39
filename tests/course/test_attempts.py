"""Attempts: what comes back of a submission, and the process that checks answers."""

import os

import pytest

from helpers.course import attempts
from helpers.course.attempts import Answer, Checker, Setting, read_answers, read_outcomes, set_skips
from helpers.course.sandbox import AttemptEnded
from helpers.tasks.values import Failure
from tests.course.conftest import QUICK

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot grade without a container")

OUTCOME = {"value": 6.0, "changed": [], "is_input": False, "is_skipped": False, "seconds": 0.1, "place": ""}


def test_outcomes_that_were_not_sent_are_failures(build_grader):
    tried = read_outcomes(build_grader.tasks["double"], Answer([OUTCOME], "it was still running after 3 s"))
    assert [outcome.value for outcome in tried.outcomes] == [6.0] + 3 * [Failure("Ended")]
    assert tried.outcomes[1].value.message == "it was still running after 3 s"


def test_a_case_is_skipped_only_because_of_its_partner(build_grader):
    task = build_grader.tasks["double"]
    sent = [OUTCOME | {"is_skipped": True}, OUTCOME, OUTCOME, OUTCOME | {"is_skipped": True}]
    tried = read_outcomes(task, Answer(sent, ""))
    with_partner = set_skips(task, tried, {"double", "halve"}).outcomes
    assert [outcome.is_skipped for outcome in with_partner] == [False] * 4
    without = set_skips(task, tried, {"double"}).outcomes
    assert [outcome.is_skipped for outcome in without] == [False, False, False, True]


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ([], "its process died"),
        ([5], "its process died"),
        ([{"error": "ValueError: x"}], "ValueError: x"),
        ([{"answers": {}}], "the cell defines no `first`"),
        ([{"answers": {"first": 5}}], "the cell defines no `first`"),
        ([{"answers": {"first": {"problem": "not plain"}}}], "`first` is not plain"),
        ([{"answers": {"first": {"value": {"array": [1], "shape": [2], "type": "f8"}}}}], "`first` cannot be read"),
        ([{"answers": {"first": {"value": {"failure": 1}}}}], "`first` cannot be read"),
        ([{"answers": {"first": {"value": 1}, "second": {"value": 4}}}], ""),
    ],
)
def test_answers_are_read_whatever_was_sent(values, problem, plan):
    answered = read_answers(plan.exercises[0], Answer(values, ""))
    assert answered.problem.startswith(problem)
    assert bool(answered.problem) == bool(problem)
    assert answered.answers == ({} if problem else {"first": 1})


def test_an_error_of_the_lesson_is_told_with_the_error_of_a_solution(plan):
    answered = read_answers(plan.exercises[0], Answer([{"error": "NameError: x"}], "", "OSError: no data"))
    assert answered.problem == "NameError: x (the lesson's own cells failed before: OSError: no data)"


def test_a_checker_whose_lesson_fails_says_so_each_time(plan, views, monkeypatch):
    checker = Checker(plan, views.of_checks("09_tiny"), Setting(QUICK))
    make_request = checker._make_request

    def make_broken_request(process):
        request = make_request(process)
        return request | {"cells": [{"source": "1 / 0"}, *request["cells"]]}

    monkeypatch.setattr(checker, "_make_request", make_broken_request)
    try:
        for _ in range(2):
            with pytest.raises(AttemptEnded, match="the lesson itself failed: ZeroDivisionError"):
                checker.check(plan.exercises[0], {"first": 1})
    finally:
        checker.close()


def test_a_checker_that_died_is_started_again(plan, views):
    checker = Checker(plan, views.of_checks("09_tiny"), Setting(QUICK))
    try:
        assert checker.check(plan.exercises[0], {"first": 1}) == ""
        checker.find_processes()[0].kill()
        with pytest.raises(AttemptEnded):
            checker.check(plan.exercises[0], {"first": 1})
        assert checker.check(plan.exercises[1], {"second": 5}) == "AssertionError: second is not four"
    finally:
        checker.close()


def test_cells_of_build_tasks_are_replaced_by_their_references(build_plan):
    sources = [source for _, source in attempts._list_cells(build_plan)]
    assert "raise ValueError" not in sources
    assert sum("def double" in source or "def halve" in source for source in sources) == 2

"""Judging: groups, first failure, conventions, and known mistakes."""

import numpy as np
import pytest

from helpers.tasks.compiled import CompiledCase, CompiledMistake, CompiledTask
from helpers.tasks.judging import judge
from helpers.tasks.running import Outcome, run_cases
from helpers.tasks.values import Failure


def make_task(groups, accepted, mistakes=(), conventions=("as described",), partners=()):
    cases = tuple(
        CompiledCase(group, f"case {number}", "general.call", partners, [np.array([float(number)])], {}, 1e-4, values)
        for number, (group, values) in enumerate(zip(groups, accepted, strict=True))
    )
    return CompiledTask("f", "2.1", "F", 2, 1, (5, 10), "", ("a", "b"), conventions, cases, tuple(mistakes))


@pytest.fixture
def task():
    mistakes = [
        CompiledMistake("A", "adds one", "hint", [1.0, 2.0, 3.0]),
        CompiledMistake("B", "is right in the first case", "hint", [0.0, -2.0, -4.0]),
    ]
    return make_task(["by hand", "by hand", "laws"], [[0.0], [2.0], [4.0]], mistakes)


def outcomes(*values):
    return [Outcome(value) for value in values]


def test_a_right_function_passes_all_groups(task):
    verdict = judge(task, outcomes(0.0, 2.0, 4.0))
    assert verdict.is_passed
    assert verdict.passed == {"by hand": (2, 2), "laws": (1, 1)}
    assert verdict.share == 1
    assert (verdict.failures, verdict.diagnoses, verdict.convention) == ((), (), "")


def test_points_are_shared_by_complete_groups(task):
    verdict = judge(task, outcomes(0.0, 2.0, 5.0))
    assert verdict.share == 0.5
    assert verdict.failures[0].number == 2
    assert verdict.failures[0].expected == 4.0


def test_a_mistake_that_agrees_in_all_cases_is_certain(task):
    verdict = judge(task, outcomes(1.0, 2.0, 3.0))
    assert [(diagnosis.mistake.code, diagnosis.is_certain) for diagnosis in verdict.diagnoses] == [("A", True)]


def test_a_mistake_that_explains_most_failures_is_likely_and_one_that_explains_few_is_not_named(task):
    likely = judge(task, outcomes(9.0, -2.0, -4.0)).diagnoses
    assert [(diagnosis.mistake.code, diagnosis.is_certain) for diagnosis in likely] == [("B", False)]
    assert judge(task, outcomes(9.0, 9.0, -4.0)).diagnoses == ()


@pytest.mark.parametrize(
    "unwritten",
    [
        [Outcome(None)] * 3,
        [Outcome(Failure("NotImplementedError"))] * 3,
        [Outcome(np.array([float(number)]), is_input=True) for number in range(3)],
    ],
)
def test_what_is_not_written_is_recognised_first(task, unwritten):
    verdict = judge(task, unwritten)
    assert not verdict.is_written
    assert not verdict.is_passed
    assert verdict.share == 0
    assert verdict.diagnoses == ()


def test_one_convention_must_hold_in_all_cases():
    task = make_task(["by hand", "laws"], [[1.0, 10.0], [2.0, 20.0]], conventions=("rows first", "columns first"))
    assert judge(task, outcomes(1.0, 2.0)).convention == "rows first"
    assert judge(task, outcomes(10.0, 20.0)).convention == "columns first"
    mixed = judge(task, outcomes(1.0, 20.0))
    assert not mixed.is_passed
    assert len(mixed.failures) == 1


def test_a_changed_input_fails_its_case(task):
    verdict = judge(task, [Outcome(0.0, changed=(0,)), *outcomes(2.0, 4.0)])
    assert [failure.number for failure in verdict.failures] == [0]


def test_a_case_without_its_partner_counts_neither_way():
    task = make_task(["by hand", "pairs"], [[0.0], [1.0]], partners=("g",))
    verdict = judge(task, run_cases(lambda x: x.sum(), task.cases, {}))
    assert verdict.skipped == ("g",)
    assert verdict.passed == {}
    task = make_task(["by hand", "pairs"], [[0.0], [1.0]])
    assert judge(task, run_cases(lambda x: x.sum(), task.cases, {})).share == 1

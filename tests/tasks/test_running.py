"""Running a student's function on cases: copies, exceptions, and what is noticed."""

import random

import numpy as np
import pytest
import torch

from helpers.tasks.compiled import CompiledCase
from helpers.tasks.running import find_driver, fixed_generators, run_case
from helpers.tasks.values import Failure


def make_case(*inputs, **changes):
    values = {"group": "by hand", "title": "", "driver": "general.call", "partners": (), "keywords": {}}
    values |= {"tolerance": 1e-4, "accepted": []}
    return CompiledCase(inputs=list(inputs), **values | changes)


def test_the_function_gets_tensors_and_its_result_becomes_an_array():
    outcome = run_case(lambda boxes: boxes * 2, make_case(np.array([1.0, 2])), {})
    assert outcome.value.tolist() == [2, 4]
    assert outcome.changed == ()
    assert not outcome.is_input


def test_an_input_that_changes_is_noticed_and_the_stored_one_is_kept():
    def double_in_place(first, second):
        second *= 2
        return first + second

    case = make_case(np.array([1.0]), np.array([2.0]))
    assert run_case(double_in_place, case, {}).changed == (1,)
    assert case.inputs[1].tolist() == [2]
    assert run_case(double_in_place, make_case(np.ones(1), np.ones(1), may_change_inputs=True), {}).changed == ()


def test_an_exception_is_a_value_with_the_line_of_the_students_code():
    namespace = {}
    exec(compile("def f(x):\n    return x / 0\n", "/tmp/cell.py", "exec"), namespace)
    outcome = run_case(namespace["f"], make_case(1), {})
    assert outcome.value == Failure("ZeroDivisionError")
    assert outcome.value.message == "division by zero"


@pytest.mark.parametrize("returned", [NotImplemented, ..., len], ids=repr)
def test_no_value_counts_as_not_written(returned):
    assert run_case(lambda x: returned, make_case(1), {}).value.kind == "NotImplementedError"


def test_a_value_of_a_foreign_type_is_a_failure():
    outcome = run_case(lambda x: {1, 2}, make_case(1), {})
    assert outcome.value == Failure("NotPlain")
    assert "set" in outcome.value.message


def test_the_input_itself_as_result_is_noticed():
    assert run_case(lambda boxes: boxes, make_case(np.ones(2)), {}).is_input
    assert not run_case(lambda number: number, make_case(3), {}).is_input


def draw(count):
    return [torch.rand(count).tolist(), np.random.rand(count).tolist()]  # noqa: NPY002


def test_random_numbers_are_the_same_in_each_run_and_the_callers_generators_are_left_alone():
    torch.manual_seed(5)
    np.random.seed(5)  # noqa: NPY002
    expected = draw(1)
    torch.manual_seed(5)
    np.random.seed(5)  # noqa: NPY002
    first = run_case(draw, make_case(3), {}).value
    assert first == run_case(draw, make_case(3), {}).value
    assert draw(1) == expected


def test_pythons_own_generator_is_fixed_and_left_alone():
    random.seed(5)
    expected = random.random()
    random.seed(5)
    with fixed_generators():
        first = random.random()
    assert random.random() == expected
    with fixed_generators():
        assert random.random() == first


def test_what_a_function_prints_is_dropped(capsys):
    run_case(print, make_case("noise"), {})
    assert capsys.readouterr().out == ""


def test_a_case_without_its_partner_is_skipped():
    case = make_case(1, partners=("encode",))
    assert run_case(lambda x: x, case, {}).is_skipped
    outcome = run_case(lambda x: x, make_case(1, partners=("encode",)), {"encode": abs})
    assert not outcome.is_skipped


def test_a_driver_is_found_by_module_and_name():
    assert find_driver("general.call")(max, 1, 2) == 2

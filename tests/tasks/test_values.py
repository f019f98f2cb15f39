"""Plain values: conversion, JSON and comparison."""

import json

import numpy as np
import pytest
import torch

from helpers.tasks import values
from helpers.tasks.values import Failure, NotPlain, are_equal, describe, from_json, to_inputs, to_json, to_plain

EXAMPLES = [
    None,
    True,
    3,
    2.5,
    float("nan"),
    float("-inf"),
    "text with ü",
    [1, [2.5, None], "x"],
    {"a": [1.0], "array": {"shape": 3}},
    np.array([[1.5, float("inf")], [0, -2]], np.float32),
    np.zeros((0, 4)),
    np.array([True, False]),
    np.array(7),
    Failure("ValueError", "no box"),
]


@pytest.mark.parametrize("value", EXAMPLES, ids=repr)
def test_json_and_back_gives_the_same_value(value):
    text = json.dumps(to_json(value), allow_nan=False)
    returned = from_json(json.loads(text))
    assert are_equal(returned, value, tolerance=0)
    assert type(returned) is type(value)
    if isinstance(value, np.ndarray):
        assert (returned.dtype, returned.shape) == (value.dtype, value.shape)


class Sly(float):
    """A number that is equal to everything."""

    def __eq__(self, other):
        return True

    def __hash__(self):
        return 0

    def __sub__(self, other):
        return 0.0


def test_no_class_of_a_student_survives():
    class Text(str):
        def __eq__(self, other):
            return True

        __hash__ = str.__hash__

    class Texts(list):
        def __len__(self):
            return 1

    assert type(to_plain(Sly(3))) is float
    assert not are_equal(to_plain(Sly(3)), 4.0)
    assert type(to_plain(Text("a"))) is str
    assert type(to_plain(Texts([1, 2]))) is list
    assert to_plain(np.float32(2)) == 2
    assert isinstance(to_plain(torch.nn.Parameter(torch.ones(2))), np.ndarray)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (object(), "type object"),
        (np.array(["a"]), "type <U1"),
        (torch.zeros(values.LARGEST_ARRAY + 1), "500001 numbers"),
        ("x" * (values.LONGEST_TEXT + 1), "characters"),
        ({(1, 2): 3}, "key of type tuple"),
        (1 + 2j, "complex"),
        ([[[[[[[[[[1]]]]]]]]]], "nested"),
        (range(values.LARGEST_ARRAY + 1), "items"),
    ],
)
def test_what_is_not_plain_is_refused_with_the_reason(value, reason):
    with pytest.raises(NotPlain, match=reason):
        to_plain(value)


@pytest.mark.parametrize(
    "value",
    [
        {"array": [1], "shape": [2], "type": "float32"},
        {"array": [1], "shape": [1], "type": "object"},
        {"array": ["a"], "shape": [1], "type": "float32"},
        {"array": [1], "shape": [1], "type": "nonsense"},
        {"failure": 3, "message": ""},
        {"number": "a"},
        {"other": 1},
        [[[[[[[[[[[1]]]]]]]]]]],
        {"dict": {"a": {"b": 1}}},
    ],
)
def test_json_that_was_made_otherwise_is_refused(value):
    with pytest.raises(NotPlain):
        from_json(value)


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (np.array([1.0, 2]), [1, 2], True),
        (np.array([1.0, 2]), [1, 3], False),
        (np.array([[1.0, 2]]), np.array([1.0, 2]), False),
        (np.array([True, False]), np.array([1, 0]), True),
        (np.array([np.nan]), np.array([np.nan]), True),
        (np.array([np.nan]), np.array([0.0]), False),
        (1, 1.00001, True),
        (1, 1.01, False),
        (np.array([1e6]), np.array([1e6 + 10]), True),
        ("1", 1, False),
        (None, 0, False),
        (None, None, True),
        ([1, "a"], [1, "a"], True),
        ([1, "a"], [1, "b"], False),
        ([np.zeros(2), np.zeros(3)], [np.zeros(2), np.zeros(3)], True),
        ([np.zeros(2), np.zeros(3)], [np.zeros(2), np.ones(3)], False),
        ({"a": 1}, {"a": 1.0}, True),
        ({"a": 1}, {"b": 1}, False),
        (Failure("A", "x"), Failure("A", "y"), True),
        (Failure("A"), Failure("B"), False),
        ([], np.zeros(0), True),
        (np.zeros((0, 4)), np.zeros((0, 2)), False),
    ],
)
def test_numbers_are_equal_within_the_tolerance_and_shapes_exactly(first, second, expected):
    assert are_equal(first, second) == expected
    assert are_equal(second, first) == expected


def test_inputs_are_new_tensors():
    stored = [np.zeros(2), {"a": np.ones(1)}, "text"]
    inputs = to_inputs(stored)
    inputs[0] += 1
    inputs[1]["a"] += 1
    assert stored[0].tolist() == [0, 0]
    assert stored[1]["a"].tolist() == [1]
    assert inputs[2] == "text"


def test_a_description_is_short_and_rounded():
    assert describe(np.array([[0.123456, 1]])) == "[[0.1235, 1.    ]]"
    assert describe(0.5) == "0.5"
    assert describe(np.zeros((0, 4))) == "empty array of shape [0, 4]"
    assert describe(np.zeros((20, 20))).startswith("array of shape [20, 20]")
    assert describe([1, None, "a"]) == "[1, None, 'a']"
    assert describe({"shape": [2, 3]}) == "{shape: [2, 3]}"
    assert len(describe("x" * 5000)) == 600

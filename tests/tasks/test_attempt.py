"""The program of an attempt: its replies to requests, as a plain process."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from helpers.tasks import attempt
from helpers.tasks.values import from_json, to_json, to_plain

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot grade without a container")

LIMITS = {"memory": 4e9, "seconds": 20.0, "num_processes": 0}


def ask(*requests):
    """Return the replies of the program."""
    text = "".join(json.dumps(request) + "\n" for request in requests)
    command = [sys.executable, "-m", "helpers.tasks.attempt"]
    result = subprocess.run(command, input=text, capture_output=True, text=True, check=True)
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_functions_run_on_inputs_and_their_outcomes_are_plain():
    case = {"driver": "general.call", "partners": [], "keywords": {"dict": {}}, "may_change_inputs": False}
    case |= {"inputs": to_json([np.array([1.0, 2.0])])}
    sources = {
        "right": "def right(x):\n    print('noise')\n    return x + 1",
        "wrong": "def wrong(x):\n    raise KeyError('x')",
        "none": "x = 1",
        "leaves": "raise SystemExit",
    }
    tasks = [{"name": name, "source": source, "partners": {}, "cases": [case]} for name, source in sources.items()]
    replies = {reply["task"]: reply for reply in ask(LIMITS | {"kind": "functions", "tasks": tasks, "solutions": {}})}
    assert from_json(replies["right"]["values"][0]["value"]).tolist() == [2.0, 3.0]
    assert from_json(replies["wrong"]["values"][0]["value"]).kind == "KeyError"
    assert replies["none"]["values"] == [{"problem": "the cell defines no function or class none"}]
    assert replies["leaves"]["values"] == [{"problem": "SystemExit"}]


def test_answers_of_each_solution_are_sent_and_no_solution_sees_another_one():
    cells = [
        {"source": "start = 1"},
        {"task": 1, "source": "a = start + 1\nb = (1, [2.5])\nstart = 5", "names": ["a", "b", "c"]},
        {"source": "start += 1"},
        {"task": 2, "source": "d = start\ne = print\nassert 'a' not in globals()", "names": ["d", "e"]},
        {"source": "1 / 0"},
        {"task": 3, "source": "undefined", "names": ["x"]},
    ]
    first, second, third = ask(LIMITS | {"kind": "answers", "cells": cells})
    answers = {"a": {"value": 2}, "b": {"value": [1, [2.5]]}, "c": {"problem": "missing"}}
    assert first["values"] == [{"answers": answers}]
    assert second["values"][0]["answers"]["d"] == {"value": 2}
    assert "not a plain value" in second["values"][0]["answers"]["e"]["problem"]
    assert third["values"] == [{"error": "NameError: name 'undefined' is not defined"}]
    assert third["lesson"] == "ZeroDivisionError: division by zero"


def test_checks_find_the_variables_of_their_place_for_each_request():
    cells = [
        {"source": "limit = 3"},
        {"task": 1, "source": "given = 1\na = 2", "check": "given += 1\nassert a < limit, f'{a} of {limit}, {given}'"},
        {"source": "limit = 100"},
        {"task": 2, "source": "b = (1, 2)", "check": "assert b == (1, 2), repr(b)"},
    ]
    answers = [{"task": 1, "answers": {"a": 5}}, {"task": 1, "answers": {"a": 1}}, {"task": 1, "answers": {"a": 6}}]
    answers += [{"task": 2, "answers": {"b": [1, 2]}}, {"task": 2, "answers": {"b": [1]}}]
    ready, *replies = ask(LIMITS | {"kind": "checks", "cells": cells}, *answers)
    assert ready == {"ready": True, "problems": []}
    assert [reply["error"] for reply in replies] == [
        "AssertionError: 5 of 3, 2",
        "",
        "AssertionError: 6 of 3, 2",
        "",
        "AssertionError: (1,)",
    ]


def test_a_lesson_that_refuses_its_own_solution_is_named():
    cells = [{"task": 1, "source": "a = 2", "check": "assert a == 3, 'not three'"}]
    (ready,) = ask(LIMITS | {"kind": "checks", "cells": cells})
    assert ready["problems"] == ["task 1 refuses the lesson's own solution: AssertionError: not three"]


@pytest.mark.parametrize(
    ("value", "example", "expected"),
    [
        ((1, 2), (0, 0), (1, 2)),
        ([[1, 2], [3]], ((1, 2), (3,)), ((1, 2), (3,))),
        ({1: 2.0}, {1: 0.0, 2: 0.0}, {1: 2.0}),
        ({"a": 1}, {1: 0.0}, {"a": 1}),
        ([], (), ()),
        ("text", 5, "text"),
        (1.5, torch.zeros(()), 1.5),
    ],
)
def test_an_answer_takes_the_type_of_the_lesson_s_own(value, example, expected):
    assert attempt.adapt(from_json(to_json(to_plain(value))), example) == expected


def test_an_array_becomes_a_tensor_unless_the_lesson_s_own_is_an_array():
    array = np.array([1.0, 2.0])
    assert isinstance(attempt.adapt(array, None), torch.Tensor)
    assert isinstance(attempt.adapt(array, np.zeros(2)), np.ndarray)

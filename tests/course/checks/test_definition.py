"""Definitions: compilation into data, and the stub of the student's cell."""

import re
from dataclasses import replace

import pytest
import torch
from torch import nn

from helpers.course.checks.boxes import IOU
from helpers.course.checks.definition import Case, Mistake, compile_task, make_stub


def double(number):
    """Return twice a number.

    Example: 2 gives 4.
    """
    return 2 * number


class Net(nn.Module):
    """A network.

    Example: one layer.
    """

    def __init__(self, width: int = 3):
        """Make the layers."""
        super().__init__()
        self.layer = nn.Linear(width, self._secret())

    def forward(self, x):
        return self.layer(x)

    def _secret(self):
        return 7


DOUBLE = replace(
    IOU,
    name="double",
    reference=double,
    imports="import math",
    draw_cases=lambda generator: [
        Case("by hand", "two", (2,)),
        Case("data", "a random number", (torch.rand(1, generator=generator).item(),)),
    ],
    mistakes=(Mistake("D1", "adds one", "Multiply.", lambda number: number + 1),),
)


def test_a_task_is_compiled_to_values_and_outputs_of_mistakes():
    task = compile_task(DOUBLE)
    assert task.cases[0].accepted == [4]
    assert task.mistakes[0].outputs[0] == 3
    assert task.conventions == ("as described",)


def test_another_seed_draws_other_random_cases_and_the_same_cases_by_hand():
    first, second = compile_task(DOUBLE, 1), compile_task(DOUBLE, 2)
    assert first.cases[0].inputs == second.cases[0].inputs
    assert first.cases[1].inputs != second.cases[1].inputs
    assert first.cases[1].inputs == compile_task(DOUBLE, 1).cases[1].inputs


def test_a_definition_that_contradicts_itself_is_refused():
    with pytest.raises(ValueError, match="group 'hand'"):
        compile_task(replace(DOUBLE, draw_cases=lambda generator: [Case("hand", "", (1,))]))
    with pytest.raises(ValueError, match="changes its input"):
        compile_task(replace(IOU, reference=lambda boxes, others: boxes.add_(1) @ others.T))
    with pytest.raises(ValueError, match="lacks a partner"):
        compile_task(replace(DOUBLE, draw_cases=lambda generator: [Case("pairs", "", (1,), partners=("other",))]))


def test_the_stub_of_a_function_is_its_contract_and_an_empty_body():
    stub = make_stub(DOUBLE)
    assert stub.startswith('import math\n\n\ndef double(number):\n    """Return twice a number.')
    assert stub.endswith('    """\n    # YOUR CODE HERE\n    raise NotImplementedError\n')


def test_the_stub_of_a_class_keeps_the_methods_without_their_code_and_no_private_one():
    stub = make_stub(replace(DOUBLE, reference=Net))
    assert "class Net(nn.Module):" in stub
    assert "def __init__(self, width: int = 3):" in stub
    assert '"""Make the layers."""' in stub
    assert "def forward(self, x):" in stub
    assert len(re.findall("raise NotImplementedError", stub)) == 2
    assert "Linear" not in stub
    assert "_secret" not in stub
    compile(stub, "stub", "exec")


def test_a_reference_without_a_docstring_is_refused():
    def bare(x):
        return x

    with pytest.raises(ValueError, match="no docstring"):
        make_stub(replace(DOUBLE, reference=bare))

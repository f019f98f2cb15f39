"""Drivers for any function."""

import torch

from helpers.tasks.drivers import general


def test_a_call_passes_inputs_and_keywords():
    assert general.call(lambda a, b=0: a - b, 3, b=1) == 2
    assert general.call_swapped(lambda a, b: a - b, 3, 1) == -2


def test_the_gradient_is_that_of_the_sum():
    gradient = general.compute_gradient(lambda x, y: x * x * y, torch.tensor([1.0, 2]), 3)
    assert gradient.tolist() == [6, 12]

"""Drivers for receptive fields and for the analysis of scales."""

import torch

from helpers.tasks.drivers import scales


def test_layers_are_passed_as_tuples_and_fields_become_numbers():
    calls = []

    def compute(layers):
        calls.append(layers)
        return [(torch.tensor(3), 1, 0.5)]

    assert scales.list_fields(compute, [[3, 1, 1, 1]]) == [[3.0, 1.0, 0.5]]
    assert calls == [[(3, 1, 1, 1)]]


def test_limits_are_passed_as_a_tuple_and_keywords_by_name():
    result = scales.analyze(lambda *inputs, **keywords: (inputs, keywords), [], [], [32.0, 96.0], num_levels=2)
    assert result == (([], [], (32.0, 96.0)), {"num_levels": 2})

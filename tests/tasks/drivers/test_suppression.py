"""Drivers for suppression: forms in which rows may be returned."""

import torch

from helpers.tasks.drivers.suppression import list_indices, time_image


def test_rows_are_a_tensor_or_a_list_of_numbers():
    rows = torch.tensor([2, 0])
    assert list_indices(lambda: rows) is rows
    assert list_indices(lambda: list(rows)) == [2, 0]
    assert list_indices(lambda: [2, 0]) == [2, 0]


def test_a_single_row_without_an_axis_is_a_list_of_one():
    assert list_indices(lambda: torch.tensor(3)).tolist() == [3]


def test_boxes_stay_boxes():
    boxes = torch.zeros(2, 4)
    assert list_indices(lambda: boxes) is boxes


def test_the_workload_of_an_image_calls_the_function_once():
    calls = []
    assert time_image(lambda *inputs: calls.append(inputs) or [1, 2], 9) == 2
    ((boxes, scores, iou_threshold),) = calls
    assert (boxes.shape, scores.shape, iou_threshold) == ((9, 4), (9,), 0.5)

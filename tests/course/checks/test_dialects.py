"""Right implementations of the tasks of the box dialects, and their contracts."""

import json

import numpy as np
import pytest
import torch
import torchvision

from helpers import coco
from helpers.course.checks import dialects


def _convert(boxes, source, target):
    boxes = torch.tensor(boxes, dtype=torch.float64).reshape(-1, 4)
    return torchvision.ops.box_convert(boxes, source, target)


ORACLES = {
    "to_corners": lambda boxes: _convert(boxes, "xywh", "xyxy"),
    "to_coco": lambda boxes: _convert(boxes.tolist(), "xyxy", "xywh").tolist(),
}
"""An independent right implementation of each task."""


def _read_in_loop(boxes):
    result = torch.zeros(len(boxes), 4)
    for row, (x, y, width, height) in enumerate(boxes):
        result[row] = torch.tensor([x, y, x + width, y + height])
    return result


def _read_numpy(boxes):
    values = np.array(boxes, float).reshape(-1, 4)
    values[:, 2:] += values[:, :2]
    return values


VARIATIONS = {
    "to_corners": {"a loop": _read_in_loop, "NumPy array, float64": _read_numpy},
    "to_coco": {
        "a loop": lambda boxes: [[x1, y1, x2 - x1, y2 - y1] for x1, y1, x2, y2 in boxes.tolist()],
        "tuples": lambda boxes: [(x1, y1, x2 - x1, y2 - y1) for x1, y1, x2, y2 in boxes.tolist()],
        "the workbook's own": lambda boxes: coco.from_corners(boxes.numpy()).tolist(),
    },
}
"""Legitimate variations of each task."""


def test_the_box_of_the_handout_that_is_read_wrongly_most_often():
    assert dialects.to_corners([[109, 198, 18, 18]]).tolist() == [[109, 198, 127, 216]]
    assert dialects.to_coco(torch.tensor([[109.0, 198, 127, 216]])) == [[109, 198, 18, 18]]


def test_an_edge_lies_at_the_right_border():
    assert dialects.to_corners([[176, 10, 48, 48]]).tolist() == [[176, 10, 224, 58]]


def test_an_image_without_objects_has_boxes_of_four_columns():
    assert dialects.to_corners([]).shape == (0, 4)


def test_a_predicted_width_is_not_rounded_and_json_can_write_it():
    (box,) = json.loads(json.dumps(dialects.to_coco(torch.tensor([[10.6, 0, 30.4, 5]]))))
    assert box[2] == pytest.approx(19.8, abs=1e-4)

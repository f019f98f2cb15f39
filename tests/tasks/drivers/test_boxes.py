"""Drivers of box geometry."""

import math

import pytest
import torch
from torch.testing import assert_close

from helpers.detection.boxes import compute_iou, decode, encode
from helpers.tasks.drivers import boxes

ANCHORS = torch.tensor([[0.0, 0, 10, 20]])


def test_random_boxes_lie_in_the_image_and_have_an_area():
    drawn = boxes.draw_boxes(50)
    assert drawn.min() >= 0
    assert drawn.max() <= 224
    assert ((drawn[:, 2:] - drawn[:, :2]) >= 16).all()


def test_a_workload_calls_the_function_once():
    assert boxes.time_pairs(compute_iou, 7, 3) == [7, 3]
    assert boxes.time_rows(encode, 7) == [7, 4]


@pytest.mark.parametrize(
    ("log_size", "expected"), [(-87.0, -10.0), (-16.0, -10.0), (-9.0, -9.0), (1.0, 1.0), (-math.inf, -math.inf)]
)
def test_a_small_log_size_is_raised_to_a_common_one_and_an_infinite_one_is_not(log_size, expected):
    offsets = torch.tensor([[0.0, 0, log_size, log_size]])
    assert boxes.encode_small(lambda boxes, anchors: offsets, ANCHORS, ANCHORS)[0, 2:].tolist() == [expected] * 2


def test_nan_stays_nan():
    offsets = boxes.encode_small(lambda boxes, anchors: anchors * math.nan, ANCHORS, ANCHORS)
    assert offsets.isnan().all()


def test_boxes_come_back():
    box = torch.tensor([[4.0, 8, 34, 18]])
    assert_close(boxes.encode_then_decode(encode, decode, box, ANCHORS), box)
    assert_close(boxes.decode_what_was_encoded(decode, encode, box, ANCHORS), box)
    in_double = boxes.encode_then_decode(lambda *pair: encode(*pair).double().numpy(), decode, box, ANCHORS)
    assert in_double.dtype == torch.float32


def test_the_gradient_of_each_corner_has_its_own_weight():
    offsets = torch.zeros(1, 4)
    assert boxes.compute_offset_gradient(lambda offsets, anchors: 2 * offsets, offsets, ANCHORS).tolist() == [
        [2, 4, 6, 8]
    ]
    with pytest.raises(RuntimeError):
        boxes.compute_offset_gradient(lambda offsets, anchors: offsets.detach(), offsets, ANCHORS)

"""Explorers of anchors and of reading: their descriptions, and pictures that follow the controls."""

import numpy as np
import pytest
import torch

from helpers.average_precision import Detections
from helpers.digits.anchors import ANCHOR_SETS, AnchorSet, Resize, measure_best_iou
from helpers.digits.explorers import describe_anchors, describe_reading, explore_anchors, explore_reading
from helpers.digits.metrics import NO_NUMBER
from tests.support import find_control, read_picture

IMAGE = np.full((47, 104, 3), 90, np.uint8)
IMAGE[10:39, 40:54] = 220
BOX = np.array([40.0, 10, 54, 39])
DETECTIONS = Detections(
    torch.tensor([[40.0, 10, 54, 39], [41, 10, 55, 39], [60, 10, 74, 39]]),
    torch.tensor([0.9, 0.6, 0.3]),
    torch.tensor([2, 8, 1]),
)


def test_the_longer_side_limits_the_resize():
    size, box, shapes, _, _ = describe_anchors((47, 104), BOX, AnchorSet(((256,),), (2.0,)), Resize())
    assert size == (602, 1333)
    assert (box[2:] - box[:2]).tolist() == pytest.approx([14 * 1333 / 104, 29 * 602 / 47], rel=1e-5)
    np.testing.assert_allclose(shapes[:, :2] + shapes[:, 2:], [box[:2] + box[2:]], rtol=1e-5)


@pytest.mark.parametrize("name", ANCHOR_SETS)
@pytest.mark.parametrize("side", [64, 800])
def test_the_best_shape_has_the_highest_iou_of_the_whole_anchor_set(name, side):
    resize = Resize(side, 2 * side)
    description = describe_anchors((47, 104), BOX, ANCHOR_SETS[name], resize)
    boxes, sizes = torch.from_numpy(BOX).float()[None], torch.tensor([[47, 104]])
    assert description.best_iou == pytest.approx(measure_best_iou(boxes, sizes, ANCHOR_SETS[name], resize).item())
    assert len(description.shapes) == sum(map(len, ANCHOR_SETS[name].sizes)) * len(ANCHOR_SETS[name].ratios)
    assert 0 <= description.best < len(description.shapes)


@pytest.mark.parametrize(
    ("score", "nms", "number", "num_digits"), [(0.5, 0.5, "1", 1), (0.5, 1.0, "17", 2), (0.2, 0.5, "10", 2)]
)
def test_the_number_depends_on_both_thresholds(score, nms, number, num_digits):
    description = describe_reading(DETECTIONS, score, nms)
    assert (description.number, len(description.digits.scores)) == (number, num_digits)
    assert describe_reading(DETECTIONS, 0.95, nms).number == NO_NUMBER


@pytest.mark.parametrize(("description", "value"), [("short side (px)", 64), ("anchors", "fitted")])
def test_every_control_moves_the_anchors_picture_and_moves_it_back(description, value):
    box = explore_anchors(IMAGE, BOX)
    before, control = read_picture(box), find_control(box, description)
    start = control.value
    control.value = value
    assert not np.array_equal(read_picture(box), before)
    control.value = start
    np.testing.assert_array_equal(read_picture(box), before)


@pytest.mark.parametrize(("description", "value"), [("image", 1), ("score from", 0.1), ("NMS above", 1.0)])
def test_every_control_moves_the_readings_picture_and_moves_it_back(description, value):
    box = explore_reading([IMAGE, IMAGE[:30, :50]], [DETECTIONS, DETECTIONS], ["10", "1"])
    before, control = read_picture(box), find_control(box, description)
    start, control.value = control.value, value
    assert not np.array_equal(read_picture(box), before)
    control.value = start
    np.testing.assert_array_equal(read_picture(box), before)

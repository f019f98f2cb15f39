"""Drivers for functions of boxes."""

from helpers.detection.boxes import compute_iou
from helpers.tasks.drivers import boxes


def test_random_boxes_lie_in_the_image_and_have_an_area():
    drawn = boxes.draw_boxes(50)
    assert drawn.min() >= 0
    assert drawn.max() <= 224
    assert ((drawn[:, 2:] - drawn[:, :2]) >= 16).all()


def test_the_workload_of_pairs_calls_the_function_once():
    assert boxes.time_pairs(compute_iou, 7, 3) == [7, 3]

"""Drivers of the colour baseline: images are painted as described, and detections are sorted."""

import random

import numpy as np
import pytest
import torch

from helpers.detection.scenes import draw_scene
from helpers.tasks.drivers import colour_baseline


def test_a_rectangle_covers_the_columns_up_to_x2_and_the_rows_up_to_y2():
    image = colour_baseline.paint((4, 6), [("red", 1, 0, 3, 2), ("green", 2, 1, 6, 4)])
    assert image.shape == (4, 6, 3)
    assert image[0, 1].tolist() == [255, 0, 0]
    assert image[3, 5].tolist() == image[1, 2].tolist() == [0, 255, 0]
    assert (image == 255).all(axis=-1).sum() == 24 - 3 - 12


def test_a_detector_that_changes_the_image_fails():
    def erase(image):
        image[:] = 0

    with pytest.raises(ValueError, match="read-only"):
        colour_baseline.detect_in_drawing(erase, (4, 6), [])
    with pytest.raises(ValueError, match="read-only"):
        colour_baseline.detect_in_scene(erase, 0)


def test_detections_are_sorted_by_label_and_box():
    boxes = torch.tensor([[5.0, 0, 6, 1], [2, 0, 3, 1], [9, 9, 10, 10]])
    result = (boxes, np.array([0.5, 0.25, 1]), [1, 1, 0])
    assert colour_baseline.detect_in_drawing(lambda image: result, (4, 6), []) == {
        "boxes": [[9, 9, 10, 10], [2, 0, 3, 1], [5, 0, 6, 1]],
        "scores": [1, 0.25, 0.5],
        "labels": [0, 1, 1],
    }


def test_a_scene_is_that_of_its_seed():
    images = []

    def detect(image):
        images.append(image)
        return torch.zeros(0, 4), [], []

    assert colour_baseline.detect_in_scene(detect, 5) == {"boxes": [], "scores": [], "labels": []}
    assert np.array_equal(images[0], draw_scene(random.Random(5)).image)


def test_the_shapes_of_an_image_without_detections():
    shapes = colour_baseline.describe_shapes(lambda image: (torch.zeros(0, 4), np.zeros(0), []), (4, 6), [])
    assert shapes == {"boxes": [0, 4], "scores": [0], "labels": [0]}

"""Right implementations of the detector of colour, and its contract."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from helpers.average_precision import Detections
from helpers.course.checks import colour_baseline
from helpers.detection.dataset import ShapeDetectionDataset
from helpers.detection.metrics import evaluate_detections


def _flood(image):
    """Detect by flood fill, pixel by pixel."""
    is_bright = image > 127
    waiting = {
        (int(row), int(column)): int(is_bright[row, column].argmax())
        for row, column in np.argwhere(is_bright.sum(axis=-1) == 1)
    }
    boxes, labels = [], []
    while waiting:
        start, label = waiting.popitem()
        region, border = [start], [start]
        while border:
            row, column = border.pop()
            for place in ((row + 1, column), (row - 1, column), (row, column + 1), (row, column - 1)):
                if waiting.get(place) == label:
                    del waiting[place]
                    region.append(place)
                    border.append(place)
        rows, columns = zip(*region, strict=True)
        boxes.append((min(columns), min(rows), max(columns) + 1, max(rows) + 1))
        labels.append(label)
    return np.array(boxes, float).reshape(-1, 4), np.ones(len(boxes)), np.array(labels, int)


def _in_reverse_order(image):
    boxes, scores, labels = colour_baseline.detect_regions(image)
    return boxes.flip(0).double(), scores, labels.flip(0).int()


def _region_by_region(image):
    boxes, labels = torch.zeros(0, 4), []
    for label in range(3):
        others = [channel for channel in range(3) if channel != label]
        mask = (image[..., label] >= 128) & (image[..., others[0]] < 128) & (image[..., others[1]] < 128)
        regions, count = ndimage.label(mask)
        for number in range(1, count + 1):
            rows, columns = np.where(regions == number)
            box = torch.tensor([[columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]])
            boxes = torch.cat([boxes, box.float()])
            labels.append(label)
    return boxes, torch.ones(len(labels)), torch.tensor(labels)


ORACLES = {"detect_regions": _flood}
"""An independent right implementation of each task."""

VARIATIONS = {"detect_regions": {"another order, float64": _in_reverse_order, "region by region": _region_by_region}}
"""Legitimate variations of each task."""


def test_the_example_of_the_contract():
    image = np.full((6, 9, 3), 255, np.uint8)
    image[1:3, 2:5] = (0, 255, 0)
    boxes, scores, labels = colour_baseline.detect_regions(image)
    assert (boxes.tolist(), scores.tolist(), labels.tolist()) == ([[2, 1, 5, 3]], [1], [1])


def test_on_the_handouts_validation_split_the_ap50_is_0_755_as_the_contract_states():
    dataset = ShapeDetectionDataset.draw(1200, seed=641).select(slice(1000, 1200))
    detections = [Detections(*colour_baseline.detect_regions(image)) for image in dataset.images.numpy()]
    assert evaluate_detections(dataset, detections)["ap50"] == pytest.approx(0.755, abs=5e-4)
    assert colour_baseline.detect_regions.__doc__ is not None
    assert "0.755" in colour_baseline.detect_regions.__doc__

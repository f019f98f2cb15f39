"""Right implementations of the tasks of the resize and of fitted anchors, and their contracts by hand."""

import math

import numpy as np
import pytest
import torch
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.transform import GeneralizedRCNNTransform

from helpers.course.checks import resizing
from helpers.digits.anchors import Resize


def _library_size(height, width, shorter=800, longer=1333):
    """The size of torchvision's own transform, and the factor from the sizes before rounding."""
    transform = GeneralizedRCNNTransform(shorter, longer, [0.0] * 3, [1.0] * 3, size_divisible=1)
    images, _ = transform([torch.zeros(3, height, width)])
    factor = shorter / min(height, width)
    return *images.image_sizes[0], factor if factor * max(height, width) <= longer else longer / max(height, width)


def _by_branches(height, width, shorter=800, longer=1333):
    small, large = sorted((height, width))
    if large * shorter <= longer * small:
        return height * shorter // small, width * shorter // small, shorter / small
    return height * longer // large, width * longer // large, longer / large


def _workbook_size(height, width, shorter=800, longer=1333):
    new_height, new_width = Resize(shorter, longer).sizes(torch.tensor([[height, width]]))[0]
    return [new_height, new_width, min(shorter / min(height, width), longer / max(height, width))]


def _sorted_list(values, count):
    """Quantiles with linear interpolation, from a sorted list."""
    values = sorted(values)
    quantiles = []
    for k in range(count):
        place = (k + 0.5) / count * (len(values) - 1)
        below = math.floor(place)
        above = min(below + 1, len(values) - 1)
        quantiles.append(values[below] + (place - below) * (values[above] - values[below]))
    return tuple(quantiles)


def _anchors_by_loops(boxes, factors, num_sizes=5, num_ratios=3):
    sizes, ratios = [], []
    for (x1, y1, x2, y2), factor in zip(boxes.tolist(), factors.tolist(), strict=True):
        sizes.append(factor * math.sqrt((x2 - x1) * (y2 - y1)))
        ratios.append((y2 - y1) / (x2 - x1))
    levels = tuple((size,) for size in _sorted_list(sizes, num_sizes))
    return AnchorGenerator(levels, (_sorted_list(ratios, num_ratios),) * num_sizes)


def _anchors_with_numpy(boxes, factors, num_sizes=5, num_ratios=3):
    width, height = ((boxes[:, 2:] - boxes[:, :2]).numpy().astype(float) * factors.numpy()[:, None]).T
    sizes = np.quantile(np.sqrt(width * height), (np.arange(num_sizes) + 0.5) / num_sizes)
    ratios = np.quantile(height / width, (np.arange(num_ratios) + 0.5) / num_ratios)
    return AnchorGenerator(tuple((size,) for size in sizes), tuple(tuple(ratios) for _ in sizes))


ORACLES = {"resize_size": _by_branches, "fit_anchors": _anchors_by_loops}
VARIATIONS = {
    "resize_size": {"torchvision's transform": _library_size, "the workbook's own, as tensors": _workbook_size},
    "fit_anchors": {"NumPy": _anchors_with_numpy},
}


def test_the_resize_by_hand():
    height, width, factor = resizing.resize_size(47, 104)
    assert (height, width) == (602, 1333)
    assert factor == pytest.approx(12.817, abs=1e-3)


def test_the_known_mistake_of_one_side_by_hand():
    assert resizing._shorter_side_only(47, 104)[2] == pytest.approx(17.021, abs=1e-3)


def test_anchors_by_hand():
    generator = resizing.fit_anchors(torch.tensor([[40.0, 9, 54, 38]]), torch.tensor([12.8173]), 1, 1)
    assert generator.cell_anchors[0].tolist() == [[-90, -186, 90, 186]]  # 179.4 × 371.7, rounded on each side


def test_torchvision_rounds_no_anchor_of_the_cases_to_another_pixel_for_a_small_difference():
    for seed in range(5):
        for case in resizing.draw_anchor_cases(torch.Generator().manual_seed(seed)):
            if case.group == "pairs":
                continue
            boxes, factors, *counts = case.inputs
            first, second = (resizing.fit_anchors(boxes, factors * scale, *counts) for scale in (1, 1 + 1e-6))
            for level, other_level in zip(first.cell_anchors, second.cell_anchors, strict=True):
                assert torch.equal(level, other_level)

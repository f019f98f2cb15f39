"""Right implementations of receptive fields and of the analysis of scales, and their contracts."""

import math

import numpy as np
import torch
from torch import nn
from torchvision.ops import box_iou

from helpers.course.checks import scales
from helpers.detection.receptive_fields import compute_receptive_fields


def _trace_intervals(layers):
    """Follow the first two cells of each layer back to the pixels they depend on."""
    fields = []
    for count in range(1, len(layers) + 1):
        intervals = []
        for cell in (0, 1):
            first = last = cell
            for kernel, stride, padding, dilation in reversed(layers[:count]):
                first = first * stride - padding
                last = last * stride - padding + (kernel - 1) * dilation
            intervals.append((first, last + 1))
        (start, end), (next_start, _) = intervals
        fields.append((end - start, next_start - start, (start + end) / 2))
    return fields


def _closed_form(layers):
    strides = [1, *np.cumprod([layer[1] for layer in layers]).tolist()]
    reach = [(kernel - 1) * dilation for kernel, _, _, dilation in layers]
    widths = [1 + sum(r * s for r, s in zip(reach[:n], strides, strict=False)) for n in range(1, len(layers) + 1)]
    shifts = [(r / 2 - layer[2]) * s for r, layer, s in zip(reach, layers, strides, strict=False)]
    centres = [0.5 + sum(shifts[:n]) for n in range(1, len(layers) + 1)]
    return np.array([widths, strides[1:], centres]).T.tolist()


def _count_with_masks(detections, targets, size_limits, num_levels=3, iou_threshold=0.5):
    sizes, hits = [torch.zeros(0)], [torch.zeros(0, num_levels, dtype=torch.bool)]
    for image, target in zip(detections, targets, strict=True):
        width, height = (target["boxes"][:, 2:] - target["boxes"][:, :2]).unbind(-1)
        sizes.append((width * height).sqrt())
        is_right = box_iou(target["boxes"], image["boxes"]).ge(iou_threshold)
        is_right &= target["labels"].unsqueeze(1).eq(image["labels"])
        is_level = image["levels"].unsqueeze(1) == torch.arange(num_levels)
        hits.append((is_right.float() @ is_level.float()) > 0)
    column = torch.bucketize(torch.cat(sizes), torch.tensor(size_limits), right=True)
    is_size = column.unsqueeze(1) == torch.arange(3)
    return torch.cat(hits).double().T @ is_size.double() / is_size.sum(dim=0).clamp(min=1)


def _count_in_lists(detections, targets, size_limits, num_levels=3, iou_threshold=0.5):
    rows = [[[] for _ in range(3)] for _ in range(num_levels)]
    for image, target in zip(detections, targets, strict=True):
        for box, label in zip(target["boxes"], target["labels"], strict=True):
            size = math.sqrt((box[2] - box[0]) * (box[3] - box[1]))
            column = 0 if size < size_limits[0] else 1 if size < size_limits[1] else 2
            levels = {
                int(level)
                for other, other_label, level in zip(*[image[n] for n in ("boxes", "labels", "levels")], strict=True)
                if other_label == label and box_iou(box[None], other[None]) >= iou_threshold
            }
            for level in range(num_levels):
                rows[level][column].append(level in levels)
    return [[sum(cell) / len(cell) if cell else 0.0 for cell in row] for row in rows]


ORACLES = {"receptive_fields": _trace_intervals, "analyze_scale_performance": _count_with_masks}
"""An independent right implementation of each task."""

VARIATIONS = {
    "receptive_fields": {
        "sums": _closed_form,
        "tensor": lambda layers: torch.tensor(_trace_intervals(layers)).reshape(-1, 3),
    },
    "analyze_scale_performance": {
        "lists": _count_in_lists,
        "array": lambda *inputs, **keywords: np.array(_count_in_lists(*inputs, **keywords)),
    },
}
"""Legitimate variations of each task."""


def test_the_fields_of_the_assignment_by_hand():
    fields = scales.receptive_fields(scales.BACKBONE)
    assert [width for width, _, _ in fields] == [3, 5, 9, 17, 33, 65]
    assert [step for _, step, _ in fields] == [1, 2, 4, 8, 16, 16]
    assert fields[-1][0] == compute_receptive_fields()[2]


def test_a_gradient_agrees_with_the_closed_form():
    layers = [(3, 2, 1, 1), (3, 1, 2, 2), (5, 2, 0, 1)]
    chain = [nn.Conv1d(1, 1, kernel, s, p, d, bias=False) for kernel, s, p, d in layers]
    network = nn.Sequential(*chain)
    for parameter in network.parameters():
        nn.init.ones_(parameter)
    pixels = torch.zeros(1, 1, 80, requires_grad=True)
    (gradient,) = torch.autograd.grad(network(pixels)[0, 0, 5], pixels)
    reached = gradient[0, 0].nonzero().flatten()
    width, step, centre = scales.receptive_fields(layers)[-1]
    assert reached[-1] - reached[0] + 1 == width
    assert (reached[0] + reached[-1] + 1) / 2 == centre + 5 * step


def test_the_shares_of_the_example_by_hand():
    target = {"boxes": torch.tensor([scales.SMALL, scales.SMALL_TOO]), "labels": torch.tensor([0, 0])}
    boxes = torch.tensor([scales.SMALL, scales.SMALL, scales.SMALL_TOO])
    image = {"boxes": boxes, "labels": torch.tensor([0, 0, 0]), "levels": torch.tensor([0, 1, 1])}
    shares = scales.analyze_scale_performance([image], [target], (32.0, 96.0))
    assert shares.tolist() == [[0.5, 0, 0], [1, 0, 0], [0, 0, 0]]

"""Right implementations of the tasks of box geometry, and their contracts."""

import math

import torch
import torchvision
from torchvision.models.detection._utils import BoxCoder

from helpers.course.checks import boxes
from helpers.detection.boxes import compute_iou, decode, encode

CODER = BoxCoder(weights=(1.0, 1.0, 1.0, 1.0))


def _loop(boxes, others):
    rows = torch.zeros(len(boxes), len(others))
    for i, (x1, y1, x2, y2) in enumerate(boxes.tolist()):
        for j, (other_x1, other_y1, other_x2, other_y2) in enumerate(others.tolist()):
            width = min(x2, other_x2) - max(x1, other_x1)
            height = min(y2, other_y2) - max(y1, other_y1)
            if width > 0 and height > 0:
                areas = (x2 - x1) * (y2 - y1) + (other_x2 - other_x1) * (other_y2 - other_y1)
                rows[i, j] = width * height / (areas - width * height)
    return rows


def _from_torchvision(boxes, others):
    return torch.nan_to_num(torchvision.ops.box_iou(boxes, others))


def _encode_in_loop(rows, anchors):
    result = torch.zeros(len(rows), 4)
    pairs = zip(rows.tolist(), anchors.tolist(), strict=True)
    for row, ((x1, y1, x2, y2), (anchor_x1, anchor_y1, anchor_x2, anchor_y2)) in enumerate(pairs):
        anchor_width, anchor_height = anchor_x2 - anchor_x1, anchor_y2 - anchor_y1
        width, height = max(x2 - x1, 1e-6), max(y2 - y1, 1e-6)
        result[row, 0] = ((x1 + x2) - (anchor_x1 + anchor_x2)) / 2 / anchor_width
        result[row, 1] = ((y1 + y2) - (anchor_y1 + anchor_y2)) / 2 / anchor_height
        result[row, 2] = math.log(width / anchor_width)
        result[row, 3] = math.log(height / anchor_height)
    return result


def _decode_in_loop(offsets, anchors):
    rows = [torch.zeros(0, 4)]
    for (tx, ty, tw, th), (x1, y1, x2, y2) in zip(offsets, anchors, strict=True):
        width, height = x2 - x1, y2 - y1
        x, y = x1 + width / 2 + tx * width, y1 + height / 2 + ty * height
        width, height = (
            width * min(tw, torch.tensor(math.log(62.5))).exp(),
            height * min(th, torch.tensor(math.log(62.5))).exp(),
        )
        rows.append(torch.stack([x - width / 2, y - height / 2, x + width / 2, y + height / 2])[None])
    return torch.cat(rows)


ORACLES = {
    "compute_iou": _from_torchvision,
    "encode": lambda rows, anchors: torch.nan_to_num(CODER.encode_single(rows, anchors), neginf=-20.0),
    "decode": lambda offsets, anchors: CODER.decode_single(offsets, anchors),
}
"""An independent right implementation of each task."""

VARIATIONS = {
    "compute_iou": {
        "loops": _loop,
        "the workbook's own": compute_iou,
        "float64": lambda boxes, others: boxes_in_double(boxes, others),
        "NumPy array": lambda boxes, others: _loop(boxes, others).numpy(),
    },
    "encode": {
        "loops, sizes of at least 1e-6 pixels": _encode_in_loop,
        "the workbook's own": encode,
        "NumPy array": lambda rows, anchors: _encode_in_loop(rows, anchors).numpy(),
        "float64": lambda rows, anchors: encode(rows.double(), anchors.double()),
    },
    "decode": {
        "loops": _decode_in_loop,
        "the workbook's own": decode,
        "float64": lambda offsets, anchors: decode(offsets.double(), anchors.double()),
    },
}
"""Legitimate variations of each task."""


def boxes_in_double(boxes, others):
    return _from_torchvision(boxes.double(), others.double())


def test_iou_by_hand():
    iou = boxes.compute_iou(torch.tensor([[0.0, 0, 10, 10]]), torch.tensor([[5.0, 5, 15, 15]]))
    torch.testing.assert_close(iou, torch.tensor([[25 / 175]]))


def test_offsets_by_hand():
    anchor = torch.tensor([[0.0, 0, 10, 20]])
    offsets = boxes.encode(torch.tensor([[4.0, 8, 34, 18]]), anchor)
    torch.testing.assert_close(offsets, torch.tensor([[1.4, 0.15, 1.0986, -0.6931]]), atol=1e-4, rtol=0)
    box = boxes.decode(torch.tensor([[0.5, 0.25, math.log(2), math.log(3)]]), anchor)
    torch.testing.assert_close(box, torch.tensor([[0.0, -15, 20, 45]]))


def test_a_row_of_zeros_has_finite_offsets():
    assert boxes.encode(torch.zeros(1, 4), torch.tensor([[0.0, 0, 10, 20]])).isfinite().all()

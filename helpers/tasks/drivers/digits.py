"""Drivers for the tasks of digits: anchors, the reader of numbers, and the records of pred.json."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from helpers.tasks.drivers.boxes import draw_boxes
from helpers.tasks.drivers.general import compute_gradient


def read_anchors(fit_anchors: Callable[..., Any], boxes: Tensor, factors: Tensor, *counts: int) -> list[Tensor]:
    """Return the anchors that the generator places on a cell of each level."""
    return list(fit_anchors(boxes, factors, *counts).cell_anchors)


def fit_anchors_to_photos(
    fit_anchors: Callable[..., Any],
    resize_size: Callable[..., Any],
    boxes: Tensor,
    image_sizes: Tensor,
    *counts: int,
) -> list[Tensor]:
    """Return the anchors of each level, with the factors that the student's own `resize_size` returns.

    Args:
        image_sizes: (height, width) of the photo of each box.
    """
    factors = [float(resize_size(height, width)[2]) for height, width in image_sizes.tolist()]
    return read_anchors(fit_anchors, boxes, torch.tensor(factors), *counts)


def read_text(read_number: Callable[..., Any], *inputs: Any) -> Any:
    """Return the number that the function reads; -1 may be a number or text."""
    number = read_number(*inputs)
    return "-1" if isinstance(number, int) and number == -1 else number


def write_records(
    make_records: Callable[..., Any],
    file_names: list[str],
    detections: list[dict[str, Tensor]],
    factors: list[float],
) -> Any:
    """Return the records after they were written as JSON and read again.

    Raises:
        TypeError: a record holds what JSON cannot write, as a tensor.
    """
    return json.loads(json.dumps(make_records(file_names, detections, factors)))


def read_then_record(
    make_records: Callable[..., Any],
    read_number: Callable[..., Any],
    file_names: list[str],
    detections: list[dict[str, Tensor]],
    factors: list[float],
) -> Any:
    """Return the records of detections whose numbers were read before, from the same tensors."""
    for image in detections:
        read_number(image["boxes"], image["scores"], image["labels"])
    return write_records(make_records, file_names, detections, factors)


def time_reading(read_number: Callable[..., Any], count: int) -> int:
    """Return the number of characters that are read from `count` random detections of one image."""
    labels = torch.randint(1, 11, (count,))
    return len(str(read_number(draw_boxes(count), torch.rand(count), labels, 0.5, 0.5)))


def time_loss(box_loss: Callable[..., Any], count: int) -> list[int]:
    """Return the shape of the gradient of a box loss for `count` pairs of boxes."""
    return list(compute_gradient(box_loss, draw_boxes(count), draw_boxes(count)).shape)

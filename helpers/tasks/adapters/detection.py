"""Adapters of the tasks about detection."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from helpers.detection.anchors import ANCHOR_SCALES, FEATURE_MAP_SIZES
from helpers.tasks.solutions import get_original

Function = Callable[..., Any]


# Tasks 1.1 to 1.3, 2.1 to 2.5: boxes and anchors


def to_corners(function: Function) -> dict[str, Function]:
    """Return no replacement: files are read in float64, and each record is checked while it is converted."""
    return {}


def to_coco(function: Function) -> dict[str, Function]:
    """Return no replacement: files are written, and COCO's metrics computed, in float64."""
    return {}


def detect_by_colour(function: Function) -> dict[str, Function]:
    """Return no replacement.

    The lessons' baseline adds the outline to each box and scores how complete a region is; its AP is a row of their
    tables. The task's detector has one score for all.
    """
    return {}


def generate_anchors(function: Function) -> dict[str, Function]:
    """Return the replacement of the workbook's function: equal order, and its defaults.

    The task accepts two orders within a level; anchors listed size by size are put into the workbook's order. Aspect
    ratios are no part of the task: anchors with ratios other than 1 are made by the workbook's own function.
    """
    name = "helpers.detection.anchors.generate_anchors"
    is_size_by_size = _lists_sizes_apart(function)

    def replacement(
        feature_map_sizes: Sequence[tuple[int, int]] = FEATURE_MAP_SIZES,
        anchor_scales: Sequence[Sequence[int | float]] = ANCHOR_SCALES,
        image_size: int = 224,
        aspect_ratios: Sequence[int | float] = (1.0,),
    ) -> list[Tensor]:
        if tuple(aspect_ratios) != (1.0,):
            return get_original(name)(feature_map_sizes, anchor_scales, image_size, aspect_ratios)
        levels = []
        for level, scales in zip(function(feature_map_sizes, anchor_scales, image_size), anchor_scales, strict=True):
            anchors = torch.as_tensor(level, dtype=torch.float32)
            levels.append(_to_cell_by_cell(anchors, len(scales)) if is_size_by_size else anchors)
        return levels

    return {name: replacement}


def _lists_sizes_apart(generate: Function) -> bool:
    """Return whether the anchors of a level are listed size by size: all cells with the first size come first."""
    (level,) = generate([(1, 2)], [[1, 2]], 2)
    (first_width, second_width) = (float(row[2] - row[0]) for row in level[:2])
    return abs(first_width - second_width) < 0.1


def _to_cell_by_cell(rows: Tensor, num_anchors: int, axis: int = 0) -> Tensor:
    """Return the rows of a level, listed size by size, with the anchors of each cell together."""
    by_size = rows.unflatten(axis, (num_anchors, rows.shape[axis] // num_anchors))
    return by_size.transpose(axis, axis + 1).flatten(axis, axis + 1)


def flatten_predictions(function: Function) -> dict[str, Function]:
    """Return the replacement of the workbook's function: predictions listed size by size are put into its order."""
    first, second = 0, 1  # values of two cells; the other anchor of the cells has the values 10 and 11
    painted = torch.tensor([[[[first, second]], [[10, 11]]]], dtype=torch.float32)
    is_size_by_size = float(function([painted], 2)[0, 1, 0]) == second

    def replacement(maps: Sequence[Tensor], num_anchors: int) -> Tensor:
        predictions = torch.as_tensor(function(maps, num_anchors)).to(maps[0])
        if not is_size_by_size:
            return predictions
        counts = [num_anchors * level.shape[-2] * level.shape[-1] for level in maps]
        levels = [_to_cell_by_cell(level, num_anchors, axis=1) for level in predictions.split(counts, dim=1)]
        return torch.cat(levels, dim=1)

    return {"helpers.detection.anchors.flatten_predictions": replacement}


def compute_iou(function: Function) -> dict[str, Function]:
    """Return the replacement of the workbook's function, with leading axes that broadcast."""

    def replacement(boxes: Tensor, others: Tensor) -> Tensor:
        shape = (boxes.shape[-2], others.shape[-2])
        leading = torch.broadcast_shapes(boxes.shape[:-2], others.shape[:-2])
        if others.dim() == 2:  # one call: each row of the result depends on one box alone
            iou = function(boxes.reshape(-1, 4), others)
            return torch.as_tensor(iou).to(boxes).reshape(*leading, *shape)
        boxes = boxes.expand(*leading, *boxes.shape[-2:]).flatten(0, -3)
        others = others.expand(*leading, *others.shape[-2:]).flatten(0, -3)
        result = boxes.new_zeros(len(boxes), *shape)
        for image in range(len(boxes)):
            result[image] = torch.as_tensor(function(boxes[image], others[image]))
        return result.reshape(*leading, *shape)

    return {"helpers.detection.boxes.compute_iou": replacement}


def encode(function: Function) -> dict[str, Function]:
    """Return the replacement of the workbook's function, with leading axes that broadcast."""
    return {"helpers.detection.boxes.encode": _lift_rows(function)}


def decode(function: Function) -> dict[str, Function]:
    """Return the replacement of the workbook's function, with leading axes that broadcast."""
    return {"helpers.detection.boxes.decode": _lift_rows(function)}


def _lift_rows(function: Function) -> Function:
    """Return a function of two tensors [N, 4] as one of any leading axes."""

    def replacement(values: Tensor, anchors: Tensor) -> Tensor:
        values, anchors = torch.broadcast_tensors(values, anchors)
        result = function(values.reshape(-1, 4), anchors.reshape(-1, 4))
        return torch.as_tensor(result).to(values).reshape(values.shape)

    return replacement

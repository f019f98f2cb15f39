"""Adapters for the tasks of digits: box losses, the reader of numbers, and pred.json."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from helpers import files
from helpers.average_precision import Detections
from helpers.digits import loss, metrics, reading


def resize_size(function: Callable[..., Any]) -> Mapping[str, Any]:
    """Replace nothing: torchvision resizes inside its detector, and no lesson calls a function of this kind."""
    return {}


def fit_anchors(function: Callable[..., Any]) -> Mapping[str, Any]:
    """Replace nothing: the workbook fits its anchors by k-means, which is another method."""
    return {}


def read_number(function: Callable[..., Any]) -> Mapping[str, Any]:
    """Replace the reader of the numbers of many images.

    The function reads one image with one score threshold. In a cascade of thresholds it is called again with the next
    lower threshold for an image in which it finds no digit.
    """

    def read_numbers(detections: Sequence[Detections], config: reading.ReadingConfig | None = None) -> list[str]:
        return [read_image(image, config or reading.ReadingConfig()) for image in detections]

    def read_image(image: Detections, config: reading.ReadingConfig) -> str:
        number = metrics.NO_NUMBER
        for threshold in config.thresholds:
            columns = [column.clone() for column in image]
            number = str(function(*columns, threshold, config.nms_threshold))
            if number != metrics.NO_NUMBER:
                break
        return number

    return {"helpers.digits.reading.read_numbers": read_numbers}


def make_records(function: Callable[..., Any]) -> Mapping[str, Any]:
    """Replace what writes pred.json; boxes without width or height are left out before."""

    def write_predictions(path: Path, image_ids: np.ndarray, detections: Sequence[Detections]) -> None:
        images = []
        for image in detections:
            has_area = (image.boxes[:, 2:] > image.boxes[:, :2]).all(dim=1)
            columns = [column[has_area] for column in image]
            images.append(dict(zip(("boxes", "scores", "labels"), columns, strict=True)))
        file_names = [f"{image_id}.png" for image_id in image_ids.tolist()]
        fields = ("image_id", "category_id", "bbox", "score")
        records = []
        for record in function(file_names, images, [1.0] * len(images)):
            records.append({field: record[field] for field in fields})
        files.write_text(path, json.dumps(records, allow_nan=False))

    return {"helpers.digits.reading.write_predictions": write_predictions}


def giou_loss(function: Callable[..., Any]) -> Mapping[str, Any]:
    """Replace the GIoU loss."""
    return _replace_loss("giou", function)


def diou_loss(function: Callable[..., Any]) -> Mapping[str, Any]:
    """Replace the DIoU loss."""
    return _replace_loss("diou", function)


def ciou_loss(function: Callable[..., Any]) -> Mapping[str, Any]:
    """Replace the CIoU loss."""
    return _replace_loss("ciou", function)


def _replace_loss(name: str, function: Callable[..., Any]) -> Mapping[str, Any]:
    """Return the table of losses that is in use now, with one loss replaced."""
    return {"helpers.digits.loss.OVERLAP_LOSSES": {**loss.OVERLAP_LOSSES, name: function}}

"""Adapters for suppression and average precision of the detector."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from helpers.average_precision import Detections
from helpers.detection import metrics
from helpers.detection import nms as suppression


def nms(function: Callable[..., Any]) -> Mapping[str, Any]:
    """Replace hard suppression; soft suppression remains the workbook's own.

    The function is called once per image. Boxes of different classes are moved apart before, as in torchvision, so
    that a box removes boxes of its own class only.
    """
    name = "helpers.detection.nms.suppress"

    def suppress(candidates: suppression.Candidates, config: suppression.InferenceConfig) -> list[Detections]:
        if config.nms != "hard":
            return suppression.suppress_softly(candidates, config)
        detections = []
        for boxes, scores, labels in zip(*(column.cpu() for column in candidates), strict=True):
            rows = _list_rows(function(_move_apart(boxes, labels), scores.clone(), config.nms_threshold))
            rows = rows[: config.max_detections]
            detections.append(Detections(boxes[rows], scores[rows], labels[rows]))
        return detections

    return {name: suppress}


def _move_apart(boxes: Tensor, labels: Tensor) -> Tensor:
    """Return the boxes, those of each class moved so far that they overlap no box of another class."""
    if len(boxes) == 0:
        return boxes.clone()
    return boxes + (labels.to(boxes) * (boxes.max() + 1)).unsqueeze(1)


def _list_rows(rows: Any) -> Tensor:
    """Return the rows that a student's function returned, a tensor or a list, as a tensor [K]."""
    if isinstance(rows, list | tuple):
        rows = [int(row) for row in rows]
    return torch.as_tensor(rows, dtype=torch.int64).reshape(-1)


def precision_recall_curve(function: Callable[..., Any]) -> Mapping[str, Any]:
    """Replace the curve of a class.

    The contract knows no ignored objects. They are left out before, with the detections that are matched to them.
    """
    name = "helpers.detection.metrics.precision_recall_curve"

    def compute_curve(dataset: Any, detections: list[Detections], label: int, iou_threshold: float = 0.5) -> Any:
        is_evaluated = (dataset.labels >= 0).cpu() & ~dataset.ignored.cpu()
        if not bool((is_evaluated & (dataset.labels.cpu() == label)).any()):
            name_of_class = metrics.CLASS_NAMES[label]
            raise ValueError(f"the dataset has no {name_of_class} that is not ignored: choose another class")
        assignment = metrics.assign_detections(dataset, detections, iou_threshold)
        is_used = assignment.is_true_positive | assignment.is_false_positive
        # In double precision, as COCO computes the IoU.
        table = {
            "boxes": torch.from_numpy(assignment.boxes[is_used]).double(),
            "scores": torch.from_numpy(assignment.scores[is_used]),
            "labels": torch.from_numpy(assignment.labels[is_used]),
            "images": torch.from_numpy(np.nonzero(is_used)[0]),
        }
        images, rows = torch.nonzero(is_evaluated, as_tuple=True)
        targets = {
            "boxes": dataset.boxes.cpu()[images, rows].double(),
            "labels": dataset.labels.cpu()[images, rows],
            "images": images,
        }
        recall, precision = function(table, targets, label, iou_threshold)
        scores = table["scores"][table["labels"] == label].sort(descending=True).values
        return metrics.PrecisionRecall(
            np.asarray(recall, dtype=np.float64), np.asarray(precision, dtype=np.float64), scores.numpy()
        )

    return {name: compute_curve}


def compute_ap(function: Callable[..., Any]) -> Mapping[str, Any]:
    """Replace the average precision of a curve."""

    def compute_area(recall: Any, precision: Any, method: str = "all-point") -> float:
        return float(function(np.array(recall, np.float64), np.array(precision, np.float64), method))

    return {"helpers.detection.metrics.compute_ap": compute_area}

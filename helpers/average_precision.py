"""Detections of an image, and COCO's average precision and recall.

A package passes its ground truth as columns, with the package's labels; only this module makes COCO's records of them.
All numbers that the lessons report are from here. `detection.metrics.compute_ap` is the computation by hand, for one
class and one IoU threshold.

Shape letters: M images, N objects of all images, D detections of one image.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from faster_coco_eval import COCO, COCOeval_faster
from jaxtyping import Bool, Float, Int
from torch import Tensor

from helpers import coco

TWELVE = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large")
TWELVE += ("ar_1", "ar_10", "ar", "ar_small", "ar_medium", "ar_large")
"""COCO's twelve numbers, in its order; `evaluate_boxes` explains them."""
MAX_DETECTIONS: tuple[int, ...] = (1, 10, 100)
"""Numbers of best detections per image and class that are evaluated: `ar_1`, `ar_10`, and all other numbers."""


class Detections(NamedTuple):
    """The detections of one image: float32 on the CPU, best score first."""

    boxes: Float[Tensor, "D 4"]  # (x1, y1, x2, y2) in pixels
    scores: Float[Tensor, " D"]
    labels: Int[Tensor, " D"]  # classes, numbered by the package

    def above(self, score_threshold: float) -> Detections:
        """Return the detections with at least this score, for figures and use; evaluation takes all detections."""
        return Detections(*(column[self.scores >= score_threshold] for column in self))


class TrueBoxes(NamedTuple):
    """The objects of M images, in any order."""

    owners: Int[np.ndarray, " N"]  # row of the object's image, 0..M-1
    boxes: Float[np.ndarray, "N 4"]  # (x1, y1, x2, y2) in pixels
    labels: Int[np.ndarray, " N"]
    evaluated: Bool[np.ndarray, " N"]  # False: ignored, so no miss if undetected, and one detection of it is no error


def evaluate_boxes(
    truth: TrueBoxes, detections: Sequence[Detections], class_names: Mapping[int, str]
) -> dict[str, float]:
    """Return COCO's twelve numbers for `detections`, without a score threshold, and the precision of each class.

    Args:
        truth: the objects of as many images as there are `detections`.
        detections: one entry per image; the 100 best per image and class are evaluated.
        class_names: name of each label.

    Returns:
        `ap` (mean over classes and IoU 0.50, 0.55, …, 0.95), `ap50`, `ap75`, `ap_small` (box area up to 32² px),
        `ap_medium` (from there to 96²), `ap_large` (COCO's ranges include both ends); `ar_1`, `ar_10`, `ar` (recall at
        1, 10 and 100 detections, mean over the same IoUs), `ar_small`, `ar_medium`, `ar_large`; `ap_<class>` and
        `ap50_<class>`.
        A number for which there is no ground truth is -1, as in COCO.

    Source: https://cocodataset.org/#detection-eval.
    """
    evaluation = _make_evaluation(truth, detections, class_names)
    evaluation.params.maxDets = list(MAX_DETECTIONS)
    evaluation.evaluate()
    evaluation.accumulate()
    # precision [IoU threshold, recall point, class, area range]; recall [IoU threshold, class, area range, detections]
    precision, recall = evaluation.eval["precision"][..., -1], evaluation.eval["recall"]
    metrics = {
        "ap": _mean_where_defined(precision[..., 0]),
        "ap50": _mean_where_defined(precision[0, ..., 0]),
        "ap75": _mean_where_defined(precision[5, ..., 0]),
        "ap_small": _mean_where_defined(precision[..., 1]),
        "ap_medium": _mean_where_defined(precision[..., 2]),
        "ap_large": _mean_where_defined(precision[..., 3]),
        "ar_1": _mean_where_defined(recall[..., 0, 0]),
        "ar_10": _mean_where_defined(recall[..., 0, 1]),
        "ar": _mean_where_defined(recall[..., 0, 2]),
        "ar_small": _mean_where_defined(recall[..., 1, 2]),
        "ar_medium": _mean_where_defined(recall[..., 2, 2]),
        "ar_large": _mean_where_defined(recall[..., 3, 2]),
    }
    for row, label in enumerate(sorted(class_names)):  # COCO orders classes by their ids
        metrics[f"ap_{class_names[label]}"] = _mean_where_defined(precision[:, :, row, 0])
        metrics[f"ap50_{class_names[label]}"] = _mean_where_defined(precision[0, :, row, 0])
    return metrics


def resample_ap(
    truth: TrueBoxes,
    detections: Sequence[Detections],
    class_names: Mapping[int, str],
    images: Int[np.ndarray, "R M"],
) -> dict[str, Float[np.ndarray, " R"]]:
    """Return `ap`, `ap50` and `ap_<class>` of each of R draws of images, for intervals: see `helpers.intervals`.

    Detections are matched once per image; only the precision is accumulated anew for each draw.

    Args:
        truth: the objects of as many images as there are `detections`.
        detections: one entry per image, as in `evaluate_boxes`.
        class_names: name of each label.
        images: rows of image indices, as `intervals.resample_images` draws them.
    """
    evaluation = _make_evaluation(truth, detections, class_names)
    evaluation.separate_eval = True  # keeps a match per class and image, which can be drawn several times
    evaluation.params.maxDets = [MAX_DETECTIONS[-1]]
    evaluation.params.areaRng = evaluation.params.areaRng[:1]  # all sizes
    evaluation.params.areaRngLbl = evaluation.params.areaRngLbl[:1]
    evaluation.evaluate()
    matches = np.array(evaluation._evalImgs_cpp, dtype=object).reshape(len(class_names), len(detections))
    names = [class_names[label] for label in sorted(class_names)]  # COCO orders classes by their ids
    resampled: dict[str, list[float]] = {"ap": [], "ap50": [], **{f"ap_{name}": [] for name in names}}
    for drawn in images:
        evaluation._evalImgs_cpp = matches[:, drawn].ravel().tolist()
        evaluation.accumulate()
        precision = evaluation.eval["precision"]
        resampled["ap"].append(_mean_where_defined(precision))
        resampled["ap50"].append(_mean_where_defined(precision[0]))
        for row, name in enumerate(names):
            resampled[f"ap_{name}"].append(_mean_where_defined(precision[:, :, row]))
    return {name: np.array(values) for name, values in resampled.items()}


def _make_evaluation(
    truth: TrueBoxes, detections: Sequence[Detections], class_names: Mapping[int, str]
) -> COCOeval_faster:
    """Return COCO's evaluation of these boxes, which has not run yet."""
    images = [{"id": image} for image in range(len(detections))]
    categories = [{"id": label, "name": name} for label, name in class_names.items()]
    records = _truth_records(truth), _detection_records(detections)
    return COCOeval_faster(
        *(COCO({"images": images, "categories": categories, "annotations": rows}) for rows in records), iouType="bbox"
    )


def _truth_records(truth: TrueBoxes) -> list[dict]:
    """Return COCO's annotations of the ground truth; the id of an image is its row."""
    boxes = truth.boxes.astype(np.float64)
    values = coco.from_corners(boxes)
    # An ignored object gets an area outside every area range: COCO ignores such an object, together with one detection
    # that overlaps it by IoU. `iscrowd` would ignore any number of detections, and measures their overlap as the share
    # of the detection that lies inside.
    areas = np.where(truth.evaluated, values[:, 2:].prod(axis=1), -1.0)
    columns = (truth.owners, truth.labels, values, areas)
    return [
        {"id": index, "image_id": image, "category_id": label, "bbox": box, "area": area, "iscrowd": 0}
        for index, (image, label, box, area) in enumerate(zip(*(column.tolist() for column in columns), strict=True), 1)
    ]


def _detection_records(detections: Sequence[Detections]) -> list[dict]:
    """Return COCO's results of the detections, in their order, because the order breaks ties between scores."""
    if not detections:
        return []
    image = np.repeat(np.arange(len(detections)), [len(image_detections.scores) for image_detections in detections])
    boxes, scores, labels = (
        np.concatenate([column.cpu().numpy() for column in columns]) for columns in zip(*detections, strict=True)
    )
    values = coco.from_corners(boxes.astype(np.float64))
    columns = (image, labels, values, values[:, 2:].prod(axis=1), scores)
    return [
        {"id": index, "image_id": image, "category_id": label, "bbox": box, "area": area, "score": score, "iscrowd": 0}
        for index, (image, label, box, area, score) in enumerate(
            zip(*(column.tolist() for column in columns), strict=True), 1
        )
    ]


def _mean_where_defined(values: np.ndarray) -> float:
    """Return the mean of the entries that are not COCO's -1 for undefined, or -1 if there is none."""
    return float(np.mean(values[values > -1])) if (values > -1).any() else -1.0

"""What every detector says of an image, and COCO's average precision and recall of it.

A wing brings its truth as columns and its own labels; only this module makes COCO's records of them.

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
MAX_DETECTIONS = (1, 10, 100)
"""The best detections per image and class that COCO keeps for recall; everything but `ar_1`, `ar_10` takes the last."""


class Detections(NamedTuple):
    """What a detector says about one image: float32 on the CPU, best score first."""

    boxes: Float[Tensor, "D 4"]  # (x1, y1, x2, y2) in pixels
    scores: Float[Tensor, " D"]
    labels: Int[Tensor, " D"]  # as the wing counts its classes

    def above(self, score_threshold: float) -> Detections:
        """Returns the detections with at least this score: what is shown, or used; evaluation takes them all."""
        return Detections(*(column[self.scores >= score_threshold] for column in self))


class TrueBoxes(NamedTuple):
    """The objects of M images, in any order."""

    owners: Int[np.ndarray, " N"]  # row of the image, 0..M-1
    boxes: Float[np.ndarray, "N 4"]  # (x1, y1, x2, y2) in pixels
    labels: Int[np.ndarray, " N"]
    counts: Bool[np.ndarray, " N"]  # an object that does not is neither missed, nor is the one detection of it wrong


def evaluate_boxes(
    truth: TrueBoxes, detections: Sequence[Detections], class_names: Mapping[int, str]
) -> dict[str, float]:
    """Returns COCO's twelve numbers for `detections`, without any score cut, and the precision of each class.

    Args:
        truth: the objects of as many images as there are `detections`.
        detections: one entry per image; COCO keeps the 100 best per image and class.
        class_names: name of each label.

    Returns:
        `ap` (mean over IoU .5:.05:.95 and classes), `ap50`, `ap75`, `ap_small` (box area up to 32² px), `ap_medium`
        (from there to 96²), `ap_large` (COCO's ranges include both ends); `ar_1`, `ar_10`, `ar` (recall at 1, 10 and
        100 detections, mean over the same IoUs), `ar_small`, `ar_medium`, `ar_large`; `ap_<class>` and `ap50_<class>`.
        A number without any truth to measure it on is -1, as in COCO: finite, and never a real score.

    Source: https://cocodataset.org/#detection-eval.
    """
    images = [{"id": image} for image in range(len(detections))]
    categories = [{"id": label, "name": name} for label, name in class_names.items()]
    records = _truth_records(truth), _detection_records(detections)
    evaluation = COCOeval_faster(
        *(COCO({"images": images, "categories": categories, "annotations": rows}) for rows in records), iouType="bbox"
    )
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
    for row, label in enumerate(sorted(class_names)):  # COCO counts classes by their ids
        metrics[f"ap_{class_names[label]}"] = _mean_where_defined(precision[:, :, row, 0])
        metrics[f"ap50_{class_names[label]}"] = _mean_where_defined(precision[0, :, row, 0])
    return metrics


def _truth_records(truth: TrueBoxes) -> list[dict]:
    """Returns COCO's annotations of the truth; the id of an image is its row."""
    boxes = truth.boxes.astype(np.float64)
    values = coco.from_corners(boxes)
    # COCO ignores what lies outside the area range under study, with the plain IoU and one detection per object. An
    # ignored object gets an area outside every range. Marking it `iscrowd` would not do: a crowd forgives any number of
    # detections, and measures them by the share of the detection inside it.
    areas = np.where(truth.counts, values[:, 2:].prod(axis=1), -1.0)
    columns = (truth.owners, truth.labels, values, areas)
    return [
        {"id": index, "image_id": image, "category_id": label, "bbox": box, "area": area, "iscrowd": 0}
        for index, (image, label, box, area) in enumerate(zip(*(column.tolist() for column in columns), strict=True), 1)
    ]


def _detection_records(detections: Sequence[Detections]) -> list[dict]:
    """Returns COCO's results of the detections, in their order: it breaks ties between scores."""
    if not detections:
        return []
    image = np.repeat(np.arange(len(detections)), [len(one.scores) for one in detections])
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
    """Returns the mean of the entries that COCO could measure, and its -1 where there is none."""
    return float(np.mean(values[values > -1])) if (values > -1).any() else -1.0

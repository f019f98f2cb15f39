"""Detection metrics: average precision, assignment of detections to objects, and causes of failures.

Objects that are `ignored` in the dataset are excluded everywhere: they are not missed if undetected, and one detection
of such an object is not a false positive. `dataset.hide(0.1)` ignores the objects with a visibility below 0.1.

Shape letters: M images, N objects of an image (padded), D detections of an image (padded in arrays whose first axis is
M), P points of a curve.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, cast

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torchvision.ops import batched_nms

from helpers import average_precision, intervals
from helpers.average_precision import Detections, TrueBoxes, evaluate_boxes
from helpers.detection.boxes import paired_overlap
from helpers.detection.dataset import PADDING, ShapeDetectionDataset
from helpers.detection.scenes import CLASS_NAMES

NEAR = 0.1
"""Smallest IoU of a detection that is near an object, for the cause `loose`."""


def evaluate_detections(dataset: ShapeDetectionDataset, detections: list[Detections]) -> dict[str, float]:
    """Return COCO's average precision and recall of `detections`, without any score threshold.

    Args:
        dataset: the true objects of M images.
        detections: one entry per image of `dataset`, in its order; COCO uses the 100 best per image and class.

    Returns:
        `ap`, `ap50`, `ap75`, `ap_small`, `ap_medium`, `ap_large`, `ar`, `ap_<class>` and `ap50_<class>`, as
        `average_precision.evaluate_boxes` defines them; -1 where no true object exists to measure a number on.

    Raises:
        ValueError: the number of images differs.
    """
    truth = _true_boxes(dataset, detections)
    metrics = evaluate_boxes(truth, detections, dict(enumerate(CLASS_NAMES)))
    return {name: value for name, value in metrics.items() if name == "ar" or not name.startswith("ar_")}


def resample_ap(
    dataset: ShapeDetectionDataset, detections: list[Detections], num_resamples: int = intervals.NUM_RESAMPLES
) -> dict[str, Float[np.ndarray, " R"]]:
    """Return `ap`, `ap50` and `ap_<class>` of draws of the dataset's images with replacement, for intervals.

    Two detectors are compared by the difference of their draws: the images of a draw are the same for both.

    Raises:
        ValueError: the number of images differs.
    """
    truth = _true_boxes(dataset, detections)
    images = intervals.resample_images(len(dataset), num_resamples)
    return average_precision.resample_ap(truth, detections, dict(enumerate(CLASS_NAMES)), images)


def _true_boxes(dataset: ShapeDetectionDataset, detections: list[Detections]) -> TrueBoxes:
    """Return the dataset's objects, if there is an entry of `detections` for each of its images."""
    if len(detections) != len(dataset):
        raise ValueError(f"detections are given for {len(detections)} images, but the dataset has {len(dataset)}")
    labels = dataset.labels.cpu().numpy()
    image, row = np.nonzero(labels != PADDING)
    boxes = dataset.boxes.cpu().numpy()[image, row]
    return TrueBoxes(image, boxes, labels[image, row], _is_evaluated(dataset)[image, row])


def compute_ap(
    recall: Sequence[float] | Float[np.ndarray, " P"],
    precision: Sequence[float] | Float[np.ndarray, " P"],
    method: str = "all-point",
) -> float:
    """Return the average precision: the mean over recall 0 to 1 of the highest precision at that recall or above.

    "all-point" is the exact area under this envelope (PASCAL VOC since 2010); "11-point" is its mean at the recalls
    0, 0.1, ..., 1 (PASCAL VOC before 2010). COCO takes the mean at 0, 0.01, ..., 1. The envelope never rises, so COCO's
    number for one class and IoU differs from the area by at most 1/101. A recall that is never reached has precision 0.
    The lessons report COCO's number, from `average_precision.evaluate_boxes`.

    Args:
        recall: rising, one value per detection, best score first, from 0 to 1.
        precision: of the same detections, from 0 to 1.
        method: "all-point" or "11-point".

    Raises:
        ValueError: `method` is another name.

    Source: section 2 of the assignment; Everingham et al., "The PASCAL visual object classes challenge" (2010).
    """
    recall = np.concatenate([[0.0], recall, [1.0]])
    precision = np.concatenate([[0.0], precision, [0.0]])
    envelope = precision_envelope(precision)
    if method == "all-point":
        return float(np.sum(np.diff(recall) * envelope[1:]))
    if method == "11-point":
        # Tenths are quotients, as recall is: 3 of 10 objects give recall 3 / 10, not the 0.1 * 3 of a linspace.
        points = np.arange(11) / 10
        return float(np.mean(envelope[np.searchsorted(recall, points)]))
    raise ValueError(f"method is {method!r}; choose 'all-point' or '11-point'")


def precision_envelope(precision: Float[np.ndarray, " P"]) -> Float[np.ndarray, " P"]:
    """Return the highest precision at each recall or any higher recall."""
    return np.maximum.accumulate(precision[::-1])[::-1]


class PrecisionRecall(NamedTuple):
    """Recall and precision of a class if the 1, 2, ..., P best detections are kept."""

    recall: Float[np.ndarray, " P"]
    precision: Float[np.ndarray, " P"]
    scores: Float[np.ndarray, " P"]  # of the last detection kept

    def outline(self) -> tuple[Float[np.ndarray, " corners"], Float[np.ndarray, " corners"]]:
        """Return recall and precision at the corners of the envelope, down to zero where recall ends."""
        recall = np.repeat(np.concatenate([[0.0], self.recall]), 2)[1:]
        return recall, np.append(np.repeat(precision_envelope(self.precision), 2), 0.0)


def precision_recall_curve(
    dataset: ShapeDetectionDataset, detections: list[Detections], label: int, iou_threshold: float = 0.5
) -> PrecisionRecall:
    """Return precision against recall of one class over all images, best score first.

    Raises:
        ValueError: every object of the class is ignored, or none exists, so that recall is undefined.
    """
    is_class = dataset.labels.cpu().numpy() == label
    num_objects = int(np.sum(_is_evaluated(dataset) & is_class))
    if num_objects == 0:
        raise ValueError(
            f"the dataset has no {CLASS_NAMES[label]} that is not ignored: its recall is undefined; choose another "
            "class or more images"
        )
    assignment = assign_detections(dataset, detections, iou_threshold)
    used = (assignment.labels == label) & (assignment.is_true_positive | assignment.is_false_positive)
    scores, is_true_positive = assignment.scores[used], assignment.is_true_positive[used]
    order = np.argsort(-scores, kind="stable")
    true_positives = np.cumsum(is_true_positive[order])
    return PrecisionRecall(
        recall=true_positives / num_objects,
        precision=true_positives / np.arange(1, len(order) + 1),
        scores=scores[order],
    )


class Assignment(NamedTuple):
    """The object that each detection is matched to.

    A padding row has the label -1 and is neither a true nor a false positive.
    """

    boxes: Float[np.ndarray, "M D 4"]  # the detections of all images
    scores: Float[np.ndarray, "M D"]
    labels: Int[np.ndarray, "M D"]
    matched: Int[np.ndarray, "M D"]  # row of the matched object, -1 for none
    iou: Float[np.ndarray, "M D"]  # with that object, 0 for none
    is_true_positive: Bool[np.ndarray, "M D"]
    is_false_positive: Bool[np.ndarray, "M D"]
    is_missed: Bool[np.ndarray, "M N"]


def assign_detections(
    dataset: ShapeDetectionDataset,
    detections: list[Detections],
    iou_threshold: float = 0.5,
    score_threshold: float = 0.0,
) -> Assignment:
    """Assign each detection to at most one object by COCO's rule.

    In each image the detections are assigned in the order of their scores. A detection is matched to the object of its
    class with the highest IoU, at least `iou_threshold`, among those not yet matched; an object that is not ignored
    precedes ignored ones. A second detection of a matched object is a false positive. Since an assignment does not
    depend on detections of lower score, a score threshold only removes the last ones.

    Args:
        dataset: the true objects.
        detections: one entry per image of `dataset`.
        iou_threshold: smallest IoU of a match.
        score_threshold: detections with lower scores are left out (they become padding).
    """
    boxes, scores, labels = _pad(detections, score_threshold)
    is_evaluated = _is_evaluated(dataset)
    true_labels = dataset.labels.cpu().numpy()
    overlap = _overlap(boxes, dataset) * (labels[:, :, None] == true_labels[:, None, :])
    is_free = true_labels != PADDING
    matched = np.full(labels.shape, -1)
    for rank in range(labels.shape[1]):  # one detection after the other, in all images at once
        is_possible = is_free & (overlap[:, rank] >= iou_threshold)
        preference = np.where(is_possible, overlap[:, rank] + 2 * is_evaluated, 0.0)
        (image,) = np.nonzero(preference.any(axis=1) & (labels[:, rank] >= 0))
        row = preference[image].argmax(axis=1)
        matched[image, rank] = row
        is_free[image, row] = False
    is_matched = matched >= 0
    return Assignment(
        boxes,
        scores,
        labels,
        matched,
        iou=np.take_along_axis(overlap, matched[:, :, None], axis=2)[:, :, 0] * is_matched,
        is_true_positive=is_matched & np.take_along_axis(is_evaluated, matched, axis=1),
        is_false_positive=(labels >= 0) & ~is_matched,
        is_missed=is_evaluated & is_free,
    )


def choose_score_threshold(
    dataset: ShapeDetectionDataset, detections: list[Detections], iou_threshold: float = 0.5
) -> float:
    """Return the score threshold with the highest F1 over all classes (detections from it upwards are kept).

    F1 = 2 · true positives / (detections + objects) is the harmonic mean of precision and recall. Use the threshold to
    show or use detections. Choose it on a selection split, never on the one reported. Of equal F1 the highest threshold
    is returned; without any detection, 1.
    """
    assignment = assign_detections(dataset, detections, iou_threshold)
    used = assignment.is_true_positive | assignment.is_false_positive
    if not used.any():
        return 1.0
    scores, is_true_positive = assignment.scores[used], assignment.is_true_positive[used]
    order = np.argsort(-scores, kind="stable")
    scores = scores[order]
    num_objects = _is_evaluated(dataset).sum()
    f1 = 2 * np.cumsum(is_true_positive[order]) / (np.arange(1, len(order) + 1) + num_objects)
    f1[:-1][scores[:-1] == scores[1:]] = -1.0  # a threshold cannot separate equal scores
    return float(scores[f1.argmax()])


Cause = Literal["hidden", "overlapped", "border", "duplicate", "confused class", "loose", "background", "unseen"]


class Failure(NamedTuple):
    """One missed object or one false positive, and the first cause that applies."""

    image: int  # row in the dataset
    kind: Literal["missed", "false positive"]
    row: int  # of the object, or of the detection, in its image
    cause: Cause
    label: int  # class of the object, or of the detection
    box: tuple[float, float, float, float]  # (x1, y1, x2, y2) in pixels


def explain_failures(
    dataset: ShapeDetectionDataset,
    detections: list[Detections],
    score_threshold: float,
    iou_threshold: float = 0.5,
    nms_threshold: float = 0.5,
) -> list[Failure]:
    """Return every missed object and every false positive with its cause, in the order of images.

    A missed object has the first of these causes that applies; causes in the scene precede causes in the detector:

    1. `hidden`: less than a tenth of it is visible.
    2. `overlapped`: more than a tenth of it is covered, or its IoU with an object of its class is above
       `nms_threshold`, so that suppression may have dropped its detection.
    3. `border`: its box is at most one pixel from the edge of the image.
    4. `confused class`: a detection of another class overlaps it (IoU at least `iou_threshold`).
    5. `loose`: a detection of its class is near (IoU at least 0.1), but too far off, or matched to another object.
    6. `unseen`: none of the above.

    A false positive has the first of these causes that applies:

    1. `duplicate`: it overlaps an object of its class that a better detection is matched to.
    2. `confused class`: it overlaps an object of another class.
    3. `loose`: it is near an object of its class (IoU at least 0.1).
    4. `background`: none of the above.

    Args:
        dataset: the true objects.
        detections: one entry per image of `dataset`.
        score_threshold: detections with lower scores are left out.
        iou_threshold: smallest IoU of a match.
        nms_threshold: the IoU above which the detector suppresses its detections.
    """
    assignment = assign_detections(dataset, detections, iou_threshold, score_threshold)
    overlap = _overlap_by_class(assignment, dataset)
    missed = _list_failures(
        "missed",
        assignment.is_missed,
        _explain_missed(dataset, overlap, iou_threshold, nms_threshold),
        dataset.labels.cpu().numpy(),
        dataset.boxes.cpu().numpy(),
    )
    false_positives = _list_failures(
        "false positive",
        assignment.is_false_positive,
        _explain_false_positives(overlap, iou_threshold),
        assignment.labels,
        assignment.boxes,
    )
    return sorted(missed + false_positives, key=lambda failure: failure.image)


class _ClassOverlap(NamedTuple):
    """IoU of each detection with each object, split by whether their classes agree; 0 elsewhere."""

    same_class: Float[np.ndarray, "M D N"]
    other_class: Float[np.ndarray, "M D N"]


def _overlap_by_class(assignment: Assignment, dataset: ShapeDetectionDataset) -> _ClassOverlap:
    """Return the IoU of detections and objects of the same class, and of different classes."""
    true_labels = dataset.labels.cpu().numpy()
    is_real = (assignment.labels[:, :, None] >= 0) & (true_labels[:, None, :] >= 0)
    is_same_class = assignment.labels[:, :, None] == true_labels[:, None, :]
    overlap = _overlap(assignment.boxes, dataset)
    return _ClassOverlap(
        same_class=np.where(is_real & is_same_class, overlap, 0.0),
        other_class=np.where(is_real & ~is_same_class, overlap, 0.0),
    )


def _explain_missed(
    dataset: ShapeDetectionDataset, overlap: _ClassOverlap, iou_threshold: float, nms_threshold: float
) -> np.ndarray:
    """Return the cause [M, N] for which each object would be missed."""
    visibility = dataset.visibility.cpu().numpy()
    causes = {
        "hidden": visibility < 0.1,
        "overlapped": (visibility < 0.9) | (_overlap_of_neighbours(dataset) > nms_threshold),
        "border": _distance_to_edge(dataset) <= 1,
        "confused class": overlap.other_class.max(axis=1, initial=0.0) >= iou_threshold,
        "loose": overlap.same_class.max(axis=1, initial=0.0) >= NEAR,
    }
    return np.select(list(causes.values()), list(causes), "unseen")


def _explain_false_positives(overlap: _ClassOverlap, iou_threshold: float) -> np.ndarray:
    """Return the cause [M, D] for which each detection would be a false positive."""
    causes = {
        "duplicate": overlap.same_class.max(axis=2) >= iou_threshold,
        "confused class": overlap.other_class.max(axis=2) >= iou_threshold,
        "loose": overlap.same_class.max(axis=2) >= NEAR,
    }
    return np.select(list(causes.values()), list(causes), "background")


def _overlap_of_neighbours(dataset: ShapeDetectionDataset) -> Float[np.ndarray, "M N"]:
    """Return each object's highest IoU with another object of its class in the same image."""
    labels = dataset.labels.cpu().numpy()
    overlap = _overlap(dataset.boxes.cpu().numpy(), dataset) * (labels[:, :, None] == labels[:, None, :])
    diagonal = np.arange(overlap.shape[1])
    overlap[:, diagonal, diagonal] = 0.0
    return overlap.max(axis=1)


def _distance_to_edge(dataset: ShapeDetectionDataset) -> Float[np.ndarray, "M N"]:
    """Return the distance in pixels between each box and the nearest edge of its image."""
    boxes = dataset.boxes.cpu().numpy()
    height, width = dataset.images.shape[1:3]
    return np.minimum(boxes[..., :2].min(-1), ([width, height] - boxes[..., 2:]).min(-1))


def _list_failures(
    kind: Literal["missed", "false positive"],
    is_failure: Bool[np.ndarray, "M R"],
    causes: np.ndarray,
    labels: Int[np.ndarray, "M R"],
    boxes: Float[np.ndarray, "M R 4"],
) -> list[Failure]:
    """Return the failures of one kind, in the order of images and rows (R objects or detections per image)."""
    failures = []
    for image, row in np.argwhere(is_failure).tolist():
        x1, y1, x2, y2 = boxes[image, row].tolist()
        cause = cast(Cause, str(causes[image, row]))
        failures.append(Failure(image, kind, row, cause, int(labels[image, row]), (x1, y1, x2, y2)))
    return failures


def oracle_detections(
    dataset: ShapeDetectionDataset, minimum_visibility: float, nms_threshold: float | None = None
) -> list[Detections]:
    """Return the detections of a perfect detector: the true box of every object above `minimum_visibility`.

    The score is the visibility of the object. With `nms_threshold`, detections of one class suppress each other as
    those of a detector do; the result shows what this threshold costs a detector whose boxes are exact.
    """
    is_detected = (dataset.labels != PADDING) & (dataset.visibility > minimum_visibility)
    oracle = []
    for image in range(len(dataset)):
        rows = is_detected[image]
        boxes = dataset.boxes[image][rows].cpu()
        scores = dataset.visibility[image][rows].cpu()
        labels = dataset.labels[image][rows].cpu()
        if nms_threshold is None:
            order = scores.argsort(descending=True, stable=True)
        else:
            order = batched_nms(boxes, scores, labels, nms_threshold)
        oracle.append(Detections(boxes[order], scores[order], labels[order]))
    return oracle


def _is_evaluated(dataset: ShapeDetectionDataset) -> Bool[np.ndarray, "M N"]:
    """Return which rows are objects to be detected: neither padding nor ignored."""
    return ((dataset.labels != PADDING) & ~dataset.ignored).cpu().numpy()


def _overlap(boxes: Float[np.ndarray, "M D 4"], dataset: ShapeDetectionDataset) -> Float[np.ndarray, "M D N"]:
    """Return the IoU of each image's boxes with its objects, in double precision as COCO computes it."""
    pairs = torch.broadcast_tensors(torch.from_numpy(boxes).double()[:, :, None], dataset.boxes.cpu().double()[:, None])
    return paired_overlap(*pairs)[0].numpy()


def _pad(
    detections: list[Detections], score_threshold: float
) -> tuple[Float[np.ndarray, "M D 4"], Float[np.ndarray, "M D"], Int[np.ndarray, "M D"]]:
    """Return boxes, scores and labels of all images' detections above the threshold; padding has the label -1."""
    selected = [image.above(score_threshold) for image in detections]
    shape = (len(selected), max((len(image.scores) for image in selected), default=0))
    boxes = np.zeros((*shape, 4), np.float32)
    scores = np.zeros(shape, np.float32)
    labels = np.full(shape, PADDING)
    for row, image in enumerate(selected):
        count = len(image.scores)
        boxes[row, :count] = image.boxes
        scores[row, :count] = image.scores
        labels[row, :count] = image.labels
    return boxes, scores, labels

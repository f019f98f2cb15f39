"""How good detections are: average precision, who found what, and why the rest failed.

Every function measures against the same truth: objects that are `ignored` in the dataset, or less visible than
`minimum_visibility`, are neither missed, nor is the one detection that finds such an object wrong.

Shape letters: M images, N objects of an image (padded), D detections of an image (padded where it leads an array with
M), P points of a curve.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torchvision.ops import batched_nms

from helpers.average_precision import Detections, TrueBoxes, evaluate_boxes
from helpers.detection.boxes import compute_iou
from helpers.detection.dataset import ShapeDetectionDataset
from helpers.detection.scenes import CLASS_NAMES


def evaluate_detections(
    dataset: ShapeDetectionDataset, detections: list[Detections], minimum_visibility: float = 0.0
) -> dict[str, float]:
    """Returns COCO's average precision and recall of `detections`, without any score cut.

    Args:
        dataset: the truth of M images.
        detections: one entry per image of `dataset`, in its order; COCO keeps the 100 best per image and class.
        minimum_visibility: share of an object's pixels that must be seen for it to count; 0 counts every box.

    Returns:
        `ap`, `ap50`, `ap75`, `ap_small`, `ap_medium`, `ap_large`, `ar`, `ap_<class>` and `ap50_<class>`, as
        `evaluation.evaluate_boxes` defines them; -1 where there is no truth to measure a number on.

    Raises:
        ValueError: the number of images differs.
    """
    if len(detections) != len(dataset):
        raise ValueError(f"detections are given for {len(detections)} images, but the dataset has {len(dataset)}")
    labels = dataset.labels.cpu().numpy()
    image, row = np.nonzero(labels >= 0)
    boxes = dataset.boxes.cpu().numpy()[image, row]
    truth = TrueBoxes(image, boxes, labels[image, row], _counts(dataset, minimum_visibility)[image, row])
    metrics = evaluate_boxes(truth, detections, dict(enumerate(CLASS_NAMES)))
    return {name: value for name, value in metrics.items() if name == "ar" or not name.startswith("ar_")}


def compute_ap(
    recall: Sequence[float] | Float[np.ndarray, " P"],
    precision: Sequence[float] | Float[np.ndarray, " P"],
    method: str = "all-point",
) -> float:
    """Returns the average precision: the mean over recall 0..1 of the best precision at that recall or a higher one.

    "all-point" takes the area under this envelope exactly (PASCAL VOC since 2010), "11-point" its mean at recall
    0, .1, ..., 1 (before). COCO takes the mean at 0, .01, ..., 1; since the envelope only falls, COCO's number for one
    class and IoU lies within 1/101 of the area. Recall that is never reached counts as precision 0.

    Args:
        recall: rising, one value per detection, best score first, in 0..1.
        precision: of the same detections, in 0..1.

    Raises:
        ValueError: the method is another.

    Source: section 2 of the assignment; Everingham et al., "The PASCAL visual object classes challenge" (2010).
    """
    recall = np.concatenate([[0.0], recall, [1.0]])
    precision = np.concatenate([[0.0], precision, [0.0]])
    envelope = best_from_here(precision)
    if method == "all-point":
        return float(np.sum(np.diff(recall) * envelope[1:]))
    if method == "11-point":
        # Tenths as quotients, as recall is one: 3 of 10 objects reach recall 3 / 10, but not the 0.1 * 3 of a linspace.
        points = np.arange(11) / 10
        return float(np.mean(envelope[np.searchsorted(recall, points)]))
    raise ValueError(f"method is {method!r}; choose 'all-point' or '11-point'")


def best_from_here(precision: Float[np.ndarray, " P"]) -> Float[np.ndarray, " P"]:
    """Returns the best precision at each recall or a higher one: the envelope."""
    return np.maximum.accumulate(precision[::-1])[::-1]


class PrecisionRecall(NamedTuple):
    """What keeping the best 1, 2, ... P detections of a class finds, and how often it is right."""

    recall: Float[np.ndarray, " P"]
    precision: Float[np.ndarray, " P"]
    scores: Float[np.ndarray, " P"]  # of the last detection kept

    def outline(self) -> tuple[Float[np.ndarray, " corners"], Float[np.ndarray, " corners"]]:
        """Returns recall and precision at the corners of the envelope, down to zero where recall ends."""
        recall = np.repeat(np.concatenate([[0.0], self.recall]), 2)[1:]
        return recall, np.append(np.repeat(best_from_here(self.precision), 2), 0.0)


def precision_recall_curve(
    dataset: ShapeDetectionDataset,
    detections: list[Detections],
    label: int,
    iou_threshold: float = 0.5,
    minimum_visibility: float = 0.0,
) -> PrecisionRecall:
    """Returns precision against recall of one class, over all images, best score first.

    Raises:
        ValueError: no object of the class counts, so there is no recall.
    """
    num_objects = int(np.sum(_counts(dataset, minimum_visibility) & (dataset.labels.cpu().numpy() == label)))
    if num_objects == 0:
        raise ValueError(f"the dataset has no {CLASS_NAMES[label]} that counts: its recall is undefined")
    assignment = assign_detections(dataset, detections, iou_threshold, minimum_visibility=minimum_visibility)
    kept = (assignment.labels == label) & (assignment.is_true_positive | assignment.is_false_positive)
    scores, is_true_positive = assignment.scores[kept], assignment.is_true_positive[kept]
    order = np.argsort(-scores, kind="stable")
    true_positives = np.cumsum(is_true_positive[order])
    return PrecisionRecall(
        recall=true_positives / num_objects,
        precision=true_positives / np.arange(1, len(order) + 1),
        scores=scores[order],
    )


class Assignment(NamedTuple):
    """Who found whom. A padding row of detections has label -1; it is neither right nor wrong."""

    boxes: Float[np.ndarray, "M D 4"]  # the detections of all images
    scores: Float[np.ndarray, "M D"]
    labels: Int[np.ndarray, "M D"]
    found: Int[np.ndarray, "M D"]  # row of the object that the detection found, -1 for none
    iou: Float[np.ndarray, "M D"]  # with that object, 0 for none
    is_true_positive: Bool[np.ndarray, "M D"]
    is_false_positive: Bool[np.ndarray, "M D"]
    is_missed: Bool[np.ndarray, "M N"]


def assign_detections(
    dataset: ShapeDetectionDataset,
    detections: list[Detections],
    iou_threshold: float = 0.5,
    score_threshold: float = 0.0,
    minimum_visibility: float = 0.0,
) -> Assignment:
    """Returns which object each detection found, by COCO's rule.

    In each image the detections choose in the order of their scores. Each takes the object of its class that it
    overlaps most, by at least `iou_threshold`, among those not yet taken; an object that counts goes before one that is
    ignored. What the detection takes is found, and a second detection of it is a false positive. Since earlier choices
    never depend on later ones, a score threshold only cuts the tail.

    Args:
        score_threshold: detections with lower scores are left out (they become padding).
    """
    boxes, scores, labels = _pad(detections, score_threshold)
    counts = _counts(dataset, minimum_visibility)
    true_labels = dataset.labels.cpu().numpy()
    overlap = _overlap(boxes, dataset) * (labels[:, :, None] == true_labels[:, None, :])
    free = true_labels >= 0
    found = np.full(labels.shape, -1)
    for rank in range(labels.shape[1]):  # one choice after the other, in all images at once
        preference = np.where(free & (overlap[:, rank] >= iou_threshold), overlap[:, rank] + 2 * counts, 0.0)
        (image,) = np.nonzero(preference.any(axis=1) & (labels[:, rank] >= 0))
        row = preference[image].argmax(axis=1)
        found[image, rank] = row
        free[image, row] = False
    is_found = found >= 0
    is_true_positive = is_found & np.take_along_axis(counts, found, axis=1)
    iou = np.take_along_axis(overlap, found[:, :, None], axis=2)[:, :, 0] * is_found
    return Assignment(
        boxes, scores, labels, found, iou, is_true_positive, (labels >= 0) & ~is_found, is_missed=counts & free
    )


def choose_score_threshold(
    dataset: ShapeDetectionDataset,
    detections: list[Detections],
    iou_threshold: float = 0.5,
    minimum_visibility: float = 0.0,
) -> float:
    """Returns the score threshold (a detection is kept from it upwards) with the highest F1 over all classes.

    F1 = 2 · true positives / (detections + objects), the harmonic mean of precision and recall: the point at which to
    show or use detections. Choose it on a selection split, never on the one reported. Of equals, the highest threshold;
    without any detection, 1.
    """
    assignment = assign_detections(dataset, detections, iou_threshold, minimum_visibility=minimum_visibility)
    kept = assignment.is_true_positive | assignment.is_false_positive
    if not kept.any():
        return 1.0
    scores, is_true_positive = assignment.scores[kept], assignment.is_true_positive[kept]
    order = np.argsort(-scores, kind="stable")
    scores = scores[order]
    num_objects = _counts(dataset, minimum_visibility).sum()
    f1 = 2 * np.cumsum(is_true_positive[order]) / (np.arange(1, len(order) + 1) + num_objects)
    f1[:-1][scores[:-1] == scores[1:]] = -1.0  # a threshold cannot separate equal scores
    return float(scores[f1.argmax()])


Cause = Literal["hidden", "overlapped", "border", "duplicate", "confused class", "loose", "background", "unseen"]


class Failure(NamedTuple):
    """One missed object, or one false positive, and the first cause that explains it."""

    image: int  # row in the dataset
    kind: Literal["missed", "false positive"]
    row: int  # of the object, or of the detection, in its image
    cause: Cause


def explain_failures(
    dataset: ShapeDetectionDataset,
    detections: list[Detections],
    score_threshold: float,
    iou_threshold: float = 0.5,
    nms_threshold: float = 0.5,
    minimum_visibility: float = 0.0,
) -> list[Failure]:
    """Returns every missed object and every false positive with its cause, in the order of images.

    A missed object has the first of these causes that holds; the scene's come before the detector's:

    1. `hidden`: less than a tenth of it is visible.
    2. `overlapped`: more than a tenth of it is covered, or an object of its class overlaps it by more than
       `nms_threshold`, so that suppression may have taken the one for the other.
    3. `border`: its box comes within a pixel of the image's edge.
    4. `confused class`: a detection of another class lies on it (IoU at least `iou_threshold`).
    5. `loose`: a detection of its class is near (IoU at least .1), but too far off, or another object's.
    6. `unseen`: nothing of the above.

    So has a false positive:

    1. `duplicate`: it lies on an object of its class that a better detection has found.
    2. `confused class`: it lies on an object of another class.
    3. `loose`: it is near an object of its class (IoU at least .1).
    4. `background`: nothing of the above.

    Args:
        score_threshold: detections with lower scores do not exist.
        nms_threshold: the IoU above which the detector suppresses its own detections.
    """
    near = 0.1
    assignment = assign_detections(dataset, detections, iou_threshold, score_threshold, minimum_visibility)
    true_boxes, true_labels = dataset.boxes.cpu().numpy(), dataset.labels.cpu().numpy()
    visibility = dataset.visibility.cpu().numpy()
    height, width = dataset.images.shape[1:3]

    is_real = (assignment.labels[:, :, None] >= 0) & (true_labels[:, None, :] >= 0)
    is_same_class = assignment.labels[:, :, None] == true_labels[:, None, :]
    overlap = _overlap(assignment.boxes, dataset)
    own = np.where(is_real & is_same_class, overlap, 0.0)  # [M, D, N], as is the next
    other = np.where(is_real & ~is_same_class, overlap, 0.0)

    neighbours = _overlap(true_boxes, dataset) * (true_labels[:, :, None] == true_labels[:, None, :])
    neighbours[:, *np.diag_indices(neighbours.shape[1])] = 0.0
    edge_distance = np.minimum(true_boxes[..., :2].min(-1), ([width, height] - true_boxes[..., 2:]).min(-1))
    causes_of_missed = {
        "hidden": visibility < 0.1,
        "overlapped": (visibility < 0.9) | (neighbours.max(axis=1) > nms_threshold),
        "border": edge_distance <= 1,
        "confused class": other.max(axis=1, initial=0.0) >= iou_threshold,
        "loose": own.max(axis=1, initial=0.0) >= near,
    }
    causes_of_false_positives = {
        "duplicate": own.max(axis=2) >= iou_threshold,
        "confused class": other.max(axis=2) >= iou_threshold,
        "loose": own.max(axis=2) >= near,
    }
    failures = [
        Failure(int(image), kind, int(row), str(cause[image, row]))
        for kind, failed, causes, otherwise in (
            ("missed", assignment.is_missed, causes_of_missed, "unseen"),
            ("false positive", assignment.is_false_positive, causes_of_false_positives, "background"),
        )
        for cause in [np.select(list(causes.values()), list(causes), otherwise)]
        for image, row in np.argwhere(failed)
    ]
    return sorted(failures, key=lambda failure: failure.image)


def oracle_detections(
    dataset: ShapeDetectionDataset, minimum_visibility: float, nms_threshold: float | None = None
) -> list[Detections]:
    """Returns what a perfect detector would say: the true box of every object more visible than `minimum_visibility`.

    Its score is the object's visibility. With `nms_threshold` the detections of a class suppress each other as a
    detector's would: what remains is the ceiling that this threshold puts on any detector.
    """
    objects = (dataset.boxes, dataset.visibility, dataset.labels)
    exists = (dataset.labels >= 0) & (dataset.visibility > minimum_visibility)
    oracle = []
    for boxes, scores, labels, kept in zip(*objects, exists, strict=True):
        boxes, scores, labels = boxes[kept].cpu(), scores[kept].cpu(), labels[kept].cpu()
        order = scores.argsort(descending=True, stable=True)
        if nms_threshold is not None:
            order = batched_nms(boxes, scores, labels, nms_threshold)
        oracle.append(Detections(boxes[order], scores[order], labels[order]))
    return oracle


def _counts(dataset: ShapeDetectionDataset, minimum_visibility: float) -> Bool[np.ndarray, "M N"]:
    """Returns which rows are objects that must be found: neither padding, nor ignored, nor hidden too far."""
    is_hidden = dataset.visibility < minimum_visibility
    return ((dataset.labels >= 0) & ~dataset.ignored & ~is_hidden).cpu().numpy()


def _overlap(boxes: Float[np.ndarray, "M D 4"], dataset: ShapeDetectionDataset) -> Float[np.ndarray, "M D N"]:
    """Returns the IoU of each image's boxes with its objects, in COCO's precision."""
    return compute_iou(torch.from_numpy(boxes).double(), dataset.boxes.cpu().double()).numpy()


def _pad(
    detections: list[Detections], score_threshold: float
) -> tuple[Float[np.ndarray, "M D 4"], Float[np.ndarray, "M D"], Int[np.ndarray, "M D"]]:
    """Returns boxes, scores and labels of all images' detections above the threshold; padding has label -1."""
    num_kept = [int((one.scores >= score_threshold).sum()) for one in detections]
    shape = (len(detections), max(num_kept, default=0))
    boxes = np.zeros((*shape, 4), np.float32)
    scores = np.zeros(shape, np.float32)
    labels = np.full(shape, -1)
    for image, (one, kept) in enumerate(zip(detections, num_kept, strict=True)):
        for padded, column in zip((boxes, scores, labels), one, strict=True):
            padded[image, :kept] = column[:kept]
    return boxes, scores, labels

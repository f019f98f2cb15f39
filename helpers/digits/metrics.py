"""Metrics of detected digits and numbers: COCO's metrics, errors by kind, confusions, accuracy of whole numbers.

The truth is a `coco.BoxFile`. There and in every matrix a digit is 0 to 9; a detection's label is the digit + 1.

Shape letters: M images, N objects of all images, F findings.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torchvision.ops import box_iou

from helpers import average_precision, intervals
from helpers.average_precision import Detections, TrueBoxes, evaluate_boxes
from helpers.coco import BoxFile
from helpers.digits.dataset import DIGIT_NAMES
from helpers.digits.reading_order import spell_number

NOTHING = len(DIGIT_NAMES)
"""Row of a confusion matrix for extra detections, and column for missed digits."""
NO_NUMBER = "-1"
"""Text in place of the number of an image without detected digits, as the assignment requires."""
NEAR_IOU = 0.1
"""Smallest IoU of a detection with its digit that is a localisation error; below it the digit is missed."""

Kind = Literal["right", "wrong class", "localisation error", "missed", "extra"]
KINDS: tuple[Kind, ...] = get_args(Kind)


def evaluate_digits(file: BoxFile, detections: Sequence[Detections]) -> dict[str, float]:
    """Return COCO's twelve metrics, and `ap_<digit>` and `ap50_<digit>`: see `average_precision.evaluate_boxes`.

    Args:
        file: the truth of M images.
        detections: one entry per image, in the order of `file`, without a score threshold.

    Raises:
        ValueError: the number of images differs.
    """
    return evaluate_boxes(_true_boxes(file, detections), detections, dict(enumerate(DIGIT_NAMES, 1)))


def resample_ap(
    file: BoxFile, detections: Sequence[Detections], num_resamples: int = intervals.NUM_RESAMPLES
) -> dict[str, Float[np.ndarray, " R"]]:
    """Return `ap` and `ap50` of draws of the file's images with replacement, for intervals.

    Two detectors are compared by the difference of their draws: the images of a draw are the same for both.

    Raises:
        ValueError: the number of images differs.
    """
    truth = _true_boxes(file, detections)
    images = intervals.resample_images(len(detections), num_resamples)
    return average_precision.resample_ap(truth, detections, dict(enumerate(DIGIT_NAMES, 1)), images)


def _true_boxes(file: BoxFile, detections: Sequence[Detections]) -> TrueBoxes:
    """Return the file's digits, if there is an entry of `detections` for each of its images."""
    _require_equal_lengths(file, detections)
    return TrueBoxes(file.owners, file.boxes, file.labels + 1, ~file.ignored)


class Findings(NamedTuple):
    """Result for every object and every detection, image by image; each of them is in exactly one row."""

    images: Int64[np.ndarray, " F"]
    objects: Int64[np.ndarray, " F"]  # row in the file, -1 for an extra detection
    detections: Int64[np.ndarray, " F"]  # row among the detections of the image, -1 for a missed object
    true_digits: Int64[np.ndarray, " F"]  # 0 to 9, `NOTHING` for extra
    predicted_digits: Int64[np.ndarray, " F"]  # 0 to 9, `NOTHING` for missed
    kinds: list[Kind]


def find_errors(
    file: BoxFile, detections: Sequence[Detections], score_threshold: float = 0.5, iou_threshold: float = 0.5
) -> Findings:
    """Match the detections of each image to its objects, and return the kind of every match and every error.

    Detections are matched in the order of their scores, regardless of class. Each is matched to the remaining object
    with the highest IoU, at least `iou_threshold`: `right` if the classes are equal, else `wrong class`. In a second
    round, the remaining detections are matched to the remaining objects by an IoU of at least `NEAR_IOU`:
    `localisation error`. A remaining object is `missed`; a remaining detection, for example a second one of the same
    digit, is `extra`.

    Law: right + wrong class + localisation error + missed is the number of objects; with extra in place of missed, the
    number of detections.

    Args:
        score_threshold: detections with lower scores are removed first.

    Raises:
        ValueError: the number of images differs.
    """
    _require_equal_lengths(file, detections)
    rows: list[tuple[int, int, int, int, int, Kind]] = []
    for image, image_detections in enumerate(detections):
        (objects,) = np.nonzero(file.owners == image)
        confident = image_detections.above(score_threshold)
        predicted_digits = (confident.labels - 1).tolist()
        overlap = box_iou(confident.boxes.double(), torch.from_numpy(file.boxes[objects]))
        matched = choose_objects(overlap, iou_threshold, NEAR_IOU)
        for detection, place in enumerate(matched):
            if place < 0:
                rows.append((image, -1, detection, NOTHING, predicted_digits[detection], "extra"))
                continue
            true_digit = int(file.labels[objects[place]])
            kind: Kind = "right" if true_digit == predicted_digits[detection] else "wrong class"
            if overlap[detection, place] < iou_threshold:
                kind = "localisation error"
            rows.append((image, int(objects[place]), detection, true_digit, predicted_digits[detection], kind))
        for place, row in enumerate(objects):
            if place not in matched:
                rows.append((image, int(row), -1, int(file.labels[row]), NOTHING, "missed"))
    numbers = np.array([row[:5] for row in rows], np.int64).reshape(-1, 5)
    return Findings(*numbers.T, kinds=[row[5] for row in rows])


def find_correct(
    file: BoxFile, detections: Sequence[Detections], score_threshold: float = 0.5
) -> Bool[np.ndarray, " N"]:
    """Return for each object of `file` whether it is detected with its class: kind `right` of `find_errors`."""
    findings = find_errors(file, detections, score_threshold)
    is_correct = np.zeros(len(file.owners), bool)
    is_correct[findings.objects[np.array(findings.kinds, str) == "right"]] = True
    return is_correct


def measure_recall_by_height(
    file: BoxFile, is_correct: Bool[np.ndarray, " N"], borders: Sequence[float]
) -> list[intervals.Interval]:
    """Return the share of correct digits in each band of relative height, with its interval over draws of the images.

    The digits of an image are drawn together, because they have nearly the same height. Draws without a digit of the
    band are left out. A band without digits has the value 0.

    Args:
        is_correct: whether each object of the file is detected, as `find_correct` returns it.
        borders: box height / image height, rising; a band holds its lower border and not its upper one.
    """
    heights = (file.boxes[:, 3] - file.boxes[:, 1]) / file.image_sizes[file.owners, 0]
    num_images = len(file.file_names)
    draws = intervals.resample_images(num_images)
    recalls = []
    for low, high in itertools.pairwise(borders):
        in_band = (heights >= low) & (heights < high)
        # Of each image: the digits of the band, and those of them that are correct.
        counts = np.bincount(file.owners[in_band], minlength=num_images)
        correct = np.bincount(file.owners[in_band & is_correct], minlength=num_images)
        drawn_counts, drawn_correct = counts[draws].sum(axis=1), correct[draws].sum(axis=1)
        has_digits = drawn_counts > 0
        if not has_digits.any():
            recalls.append(intervals.Interval(0.0, 0.0, 0.0))
            continue
        resampled = drawn_correct[has_digits] / drawn_counts[has_digits]
        recalls.append(intervals.make_interval(correct.sum() / counts.sum(), resampled))
    return recalls


def measure_correct_iou(file: BoxFile, detections: Sequence[Detections], score_threshold: float = 0.5) -> float:
    """Return the mean IoU of correct detections with their objects: kind `right` of `find_errors`; 0 without one."""
    findings = find_errors(file, detections, score_threshold)
    overlaps: list[float] = []
    for row, kind in enumerate(findings.kinds):
        if kind == "right":
            confident = detections[findings.images[row]].above(score_threshold)
            box = confident.boxes[findings.detections[row]].double()
            true_box = torch.from_numpy(file.boxes[findings.objects[row]])
            overlaps.append(box_iou(box.unsqueeze(0), true_box.unsqueeze(0)).item())
    return float(np.mean(overlaps)) if overlaps else 0.0


def choose_objects(overlap: Float[Tensor, "_detections _objects"], *thresholds: float) -> list[int]:
    """Return the object that each detection is matched to, or -1, after one round of matching per threshold.

    Args:
        overlap: IoU; the rows are detections, highest score first.
    """
    matched = [-1] * len(overlap)
    for threshold in thresholds:
        for detection, row in enumerate(overlap.tolist()):
            candidates = [place for place in range(len(row)) if place not in matched and row[place] >= threshold]
            if matched[detection] < 0 and candidates:
                matched[detection] = max(candidates, key=row.__getitem__)
    return matched


def count_kinds(findings: Findings) -> dict[Kind, int]:
    """Return the number of findings of each of `KINDS`."""
    counts = Counter(findings.kinds)
    return {kind: counts[kind] for kind in KINDS}


def count_confusions(findings: Findings) -> Int64[np.ndarray, "11 11"]:
    """Return the confusion matrix: how often each true digit (row) was detected as each digit (column).

    Row `NOTHING` counts extra detections, column `NOTHING` missed objects. A localisation error counts in both, as an
    extra detection and a missed object.
    """
    matrix = np.zeros((NOTHING + 1, NOTHING + 1), np.int64)
    is_localisation_error = np.array(findings.kinds, str) == "localisation error"
    matched = ~is_localisation_error
    np.add.at(matrix, (findings.true_digits[matched], findings.predicted_digits[matched]), 1)
    np.add.at(matrix[:, NOTHING], findings.true_digits[is_localisation_error], 1)
    np.add.at(matrix[NOTHING], findings.predicted_digits[is_localisation_error], 1)
    return matrix


def true_numbers(file: BoxFile) -> list[str]:
    """Return the number in each image: its digits in reading order (`reading_order`), `NO_NUMBER` without a digit.

    Law: the order of the file's records has no effect.
    """
    order = np.argsort(file.owners, kind="stable")
    starts = np.searchsorted(file.owners[order], np.arange(len(file.file_names) + 1))
    numbers = []
    for first, last in itertools.pairwise(starts):
        rows = order[first:last]
        numbers.append(spell_number(file.boxes[rows], file.labels[rows]) or NO_NUMBER)
    return numbers


def measure_accuracy(predicted: Sequence[str], true: Sequence[str]) -> float:
    """Return the share of predicted numbers that equal the true ones as text: "9" is not "09".

    Raises:
        ValueError: the lengths differ, or there is no number.
    """
    if len(predicted) != len(true) or not true:
        raise ValueError(f"{len(predicted)} numbers are predicted, but {len(true)} are true; both need one per image")
    return sum(number == expected for number, expected in zip(predicted, true, strict=True)) / len(true)


def _require_equal_lengths(file: BoxFile, detections: Sequence[Detections]) -> None:
    if len(detections) != len(file.file_names):
        raise ValueError(f"detections are given for {len(detections)} images, but the file has {len(file.file_names)}")

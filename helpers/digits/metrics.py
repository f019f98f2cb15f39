"""How well digits are found and numbers read: COCO's numbers, who was taken for whom, and errors by their kind.

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

from helpers.average_precision import Detections, TrueBoxes, evaluate_boxes
from helpers.coco import BoxFile
from helpers.digits.dataset import DIGIT_NAMES
from helpers.digits.reading_order import spell_number

NOTHING = len(DIGIT_NAMES)
"""Row of a confusion matrix for what is no digit, and column for what was not found."""
NO_NUMBER = "-1"
"""What stands for the number of an image in which nothing is found."""
NEAR = 0.1
"""IoU from which a box that misses its digit is loose and not somewhere else."""

Kind = Literal["right", "wrong class", "loose", "missed", "extra"]
KINDS: tuple[Kind, ...] = get_args(Kind)


def evaluate_digits(file: BoxFile, detections: Sequence[Detections]) -> dict[str, float]:
    """Returns COCO's twelve numbers, and `ap_<digit>` and `ap50_<digit>`, as `evaluation.evaluate_boxes` defines them.

    Args:
        file: the truth of M images.
        detections: one entry per image, in the order of the file, without any score cut.

    Raises:
        ValueError: the number of images differs.
    """
    _require_one_each(file, detections)
    truth = TrueBoxes(file.owners, file.boxes, file.labels + 1, ~file.ignored)
    return evaluate_boxes(truth, detections, dict(enumerate(DIGIT_NAMES, 1)))


class Findings(NamedTuple):
    """What became of every object and of every detection, each of which is in one row; image by image."""

    images: Int64[np.ndarray, " F"]
    objects: Int64[np.ndarray, " F"]  # row in the file, -1 where there is none: "extra"
    detections: Int64[np.ndarray, " F"]  # row among the image's, -1 where there is none: "missed"
    true_digits: Int64[np.ndarray, " F"]  # 0 to 9, `NOTHING` for extra
    predicted_digits: Int64[np.ndarray, " F"]  # 0 to 9, `NOTHING` for missed
    kinds: list[Kind]


def find_errors(
    file: BoxFile, detections: Sequence[Detections], score_threshold: float = 0.5, iou_threshold: float = 0.5
) -> Findings:
    """Returns which detection found which object, and what went wrong with the rest.

    In each image the detections choose in the order of their scores, whatever their class. Each takes the object that
    it overlaps most, by at least `iou_threshold`, among those not yet taken: `right` if it is of its class, else
    `wrong class`. The detections that are left choose once more among the objects that are left, by an IoU of at least
    `NEAR`: `loose`, whatever the class. An object that nothing has taken is `missed`, a detection that has taken
    nothing, such as a second one of the same digit, is `extra`.

    Law: right + wrong class + loose + missed is the number of objects, + extra instead of missed that of detections.

    Args:
        score_threshold: detections with lower scores do not exist.

    Raises:
        ValueError: the number of images differs.
    """
    _require_one_each(file, detections)
    rows: list[tuple[int, int, int, int, int, Kind]] = []
    for image, one in enumerate(detections):
        (objects,) = np.nonzero(file.owners == image)
        kept = one.above(score_threshold)
        predicted = (kept.labels - 1).tolist()
        overlap = box_iou(kept.boxes.double(), torch.from_numpy(file.boxes[objects]))
        taken = choose_objects(overlap, iou_threshold, NEAR)
        for detection, place in enumerate(taken):
            if place < 0:
                rows.append((image, -1, detection, NOTHING, predicted[detection], "extra"))
                continue
            true = int(file.labels[objects[place]])
            is_near = overlap[detection, place] >= iou_threshold
            kind: Kind = ("right" if true == predicted[detection] else "wrong class") if is_near else "loose"
            rows.append((image, int(objects[place]), detection, true, predicted[detection], kind))
        rows += [
            (image, int(row), -1, int(file.labels[row]), NOTHING, "missed")
            for place, row in enumerate(objects)
            if place not in taken
        ]
    *columns, kinds = zip(*rows, strict=True) if rows else ((),) * 6
    return Findings(*(np.array(column, np.int64) for column in columns), list(kinds))


def find_right(file: BoxFile, detections: Sequence[Detections], score_threshold: float = 0.5) -> Bool[np.ndarray, " N"]:
    """Returns for each object of `file` whether it was found and named rightly, as `find_errors` says it."""
    findings = find_errors(file, detections, score_threshold)
    right = np.zeros(len(file.owners), bool)
    right[findings.objects[np.array(findings.kinds, str) == "right"]] = True
    return right


def choose_objects(overlap: Float[Tensor, "_detections _objects"], *thresholds: float) -> list[int]:
    """Returns the object that each detection takes, -1 for none: one round of choices per threshold, best score first.

    Args:
        overlap: IoU; the detections' rows in the order of their scores.
    """
    taken = [-1] * len(overlap)
    for threshold in thresholds:
        for detection, row in enumerate(overlap.tolist()):
            free = [place for place in range(len(row)) if place not in taken and row[place] >= threshold]
            if taken[detection] < 0 and free:
                taken[detection] = max(free, key=row.__getitem__)
    return taken


def count_kinds(findings: Findings) -> dict[Kind, int]:
    """Returns how many findings are of each of `KINDS`."""
    counts = Counter(findings.kinds)
    return {kind: counts[kind] for kind in KINDS}


def count_confusions(findings: Findings) -> Int64[np.ndarray, "11 11"]:
    """Returns how often each true digit (row) was taken for each digit (column): among boxes that lie on it.

    Row `NOTHING` counts the extra detections, column `NOTHING` the missed objects. Loose boxes are in both: they have
    found nothing.
    """
    matrix = np.zeros((NOTHING + 1, NOTHING + 1), np.int64)
    loose = np.array(findings.kinds, str) == "loose"
    np.add.at(matrix, (findings.true_digits[~loose], findings.predicted_digits[~loose]), 1)
    np.add.at(matrix[:, NOTHING], findings.true_digits[loose], 1)
    np.add.at(matrix[NOTHING], findings.predicted_digits[loose], 1)
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


def measure_accuracy(read: Sequence[str], true: Sequence[str]) -> float:
    """Returns the share of numbers that are read exactly right: "9" is not "09".

    Raises:
        ValueError: there are not as many, or none.
    """
    if len(read) != len(true) or not true:
        raise ValueError(f"{len(read)} numbers are read, but there are {len(true)}")
    return sum(one == other for one, other in zip(read, true, strict=True)) / len(true)


def _require_one_each(file: BoxFile, detections: Sequence[Detections]) -> None:
    if len(detections) != len(file.file_names):
        raise ValueError(f"detections are given for {len(detections)} images, but the file has {len(file.file_names)}")

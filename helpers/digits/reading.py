"""Numbers from detections, and the assignment's two files.

`pred.json` has every detection (task 1). `pred.csv` has one number per image, computed from `pred.json` alone (task 2):
of overlapping digits the one with the highest score remains, digits with low scores are used only in images without a
better one, and the remaining digits are read from left to right (`reading_order`).

Shape letters: M images.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int64
from torchvision.ops import nms

from helpers import coco
from helpers.average_precision import Detections
from helpers.digits.dataset import DIGIT_NAMES, DigitDataset
from helpers.digits.metrics import NO_NUMBER, measure_accuracy
from helpers.digits.reading_order import spell_number
from helpers.files import write_text
from helpers.records import LARGEST_TABLE, DatasetError, explain, read_text, shorten

CSV_HEADER = ["image_id", "pred_label"]
SCORE_THRESHOLDS = tuple(round(0.05 * step, 2) for step in range(1, 20))
"""Score thresholds that `choose_reading` tries, rising."""
NMS_THRESHOLDS = (0.3, 0.5, 0.7)
"""IoU thresholds of suppression that `choose_reading` tries."""


@dataclass(frozen=True)
class ReadingConfig:
    """Settings with which detections become a number."""

    # Score thresholds, decreasing. Each is used only for images in which no score reaches those before it: a cascade.
    thresholds: tuple[float, ...] = (0.5,)
    nms_threshold: float = 0.5  # IoU above which a detection suppresses one with a lower score, of any class


# Reading


def read_numbers(detections: Sequence[Detections], config: ReadingConfig = ReadingConfig()) -> list[str]:
    """Return the number in each image, as text because "09" is not "9", or `NO_NUMBER` without a detection."""
    return [_read_number(suppress(image, config.nms_threshold), config.thresholds) for image in detections]


def _read_number(detections: Detections, thresholds: Sequence[float]) -> str:
    """Return the number of detections without duplicates."""
    for threshold in thresholds:
        digits = detections.above(threshold)
        if len(digits.scores):
            return spell_number(digits.boxes, digits.labels - 1)
    return NO_NUMBER


def suppress(detections: Detections, nms_threshold: float) -> Detections:
    """Return the detections after non-maximum suppression across classes.

    The network suppresses within a class only: a digit that is detected as 1 and as 7 has two boxes and would be read
    twice. A score threshold may be applied before or after: a detection never suppresses one with a higher score.

    Args:
        nms_threshold: IoU above which the detection with the lower score is removed.
    """
    rows = nms(detections.boxes, detections.scores, nms_threshold)
    return Detections(*(column[rows] for column in detections))


def choose_reading(
    detections: Sequence[Detections],
    numbers: Sequence[str],
    nms_thresholds: Sequence[float] = NMS_THRESHOLDS,
    score_thresholds: Sequence[float] = SCORE_THRESHOLDS,
) -> ReadingConfig:
    """Return the settings with the highest accuracy on a validation split, which must not be the reported one.

    The first threshold is the best one for all images. Each further threshold is the best lower one for the images in
    which no score reaches the thresholds before it, as long as the accuracy rises. Of thresholds with equal accuracy
    the highest is taken.

    Args:
        numbers: true number of each image.
        nms_thresholds: IoU thresholds of suppression to try.
        score_thresholds: score thresholds to try.
    """
    best_accuracy, best_config = -1.0, ReadingConfig()
    for nms_threshold in nms_thresholds:
        suppressed = [suppress(image, nms_threshold) for image in detections]
        accuracy, thresholds = _choose_cascade(suppressed, numbers, score_thresholds)
        if accuracy > best_accuracy:
            best_accuracy, best_config = accuracy, ReadingConfig(thresholds, nms_threshold)
    return best_config


def _choose_cascade(
    detections: Sequence[Detections], numbers: Sequence[str], score_thresholds: Sequence[float]
) -> tuple[float, tuple[float, ...]]:
    """Return the highest accuracy and its score thresholds, for detections without duplicates; see `choose_reading`."""
    accuracy, cascade = -1.0, ()
    while True:
        lower_thresholds = [threshold for threshold in score_thresholds if not cascade or threshold < cascade[-1]]
        results = []
        for threshold in lower_thresholds:
            predicted_numbers = [_read_number(image, (*cascade, threshold)) for image in detections]
            results.append((measure_accuracy(predicted_numbers, numbers), threshold))
        if not results or max(results)[0] <= accuracy:
            return accuracy, cascade
        accuracy, threshold = max(results)
        cascade = (*cascade, threshold)


# Task 1: pred.json


def write_predictions(path: Path, image_ids: Int64[np.ndarray, " M"], detections: Sequence[Detections]) -> None:
    """Write every detection: a list of `image_id`, `bbox` [x, y, width, height], `score`, `category_id` (digit + 1).

    Boxes without width or height are omitted.
    """
    boxes, scores, labels = (
        np.concatenate([column.numpy() for column in columns]) for columns in zip(*detections, strict=True)
    )
    owners = np.repeat(image_ids, [len(image.scores) for image in detections])
    has_area = (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
    results = (owners, boxes.astype(np.float64), labels - 1, scores.astype(np.float64))
    coco.write_results(path, coco.ResultFile(*(column[has_area] for column in results)))


def read_predictions(path: Path, dataset: DigitDataset) -> list[Detections]:
    """Return the detections of a `pred.json` in each image of `dataset`, highest score first; any program may write it.

    Args:
        dataset: the images of the file; true boxes are not used.

    Raises:
        DatasetError: the file is missing or a record is not valid; names file, record and remedy.
    """
    results = coco.read_results(path, DIGIT_NAMES, dataset.image_ids, dataset.sizes)
    row_of = {image_id: row for row, image_id in enumerate(dataset.image_ids.tolist())}
    rows = np.array([row_of[image_id] for image_id in results.image_ids.tolist()], np.int64)
    # Equal scores are ordered by label and box, so the order of the records has no effect.
    order = np.lexsort((*results.boxes.T, results.labels, -results.scores, rows))
    ends = np.searchsorted(rows[order], np.arange(1, len(dataset) + 1))
    columns = (results.boxes.astype(np.float32), results.scores.astype(np.float32), results.labels + 1)
    parts = [np.split(column[order], ends[:-1]) for column in columns]
    return [Detections(*(torch.from_numpy(part) for part in image)) for image in zip(*parts, strict=True)]


# Task 2: pred.csv


def write_numbers(path: Path, image_ids: Int64[np.ndarray, " M"], numbers: Sequence[str]) -> None:
    """Write `image_id,pred_label`, one line per image; numbers are text, so that leading zeros are kept."""
    lines = [
        ",".join(CSV_HEADER),
        *(f"{image_id},{number}" for image_id, number in zip(image_ids.tolist(), numbers, strict=True)),
    ]
    write_text(path, "\n".join(lines) + "\n")


def check_numbers(
    path: Path, image_ids: Int64[np.ndarray, " M"], detections: Sequence[Detections] | None = None
) -> list[str]:
    """Check a `pred.csv`, which any program may write, and return its numbers in the order of `image_ids`.

    Args:
        detections: detections in each image, from the `pred.json` of the numbers, to recognise lost leading zeros.

    Raises:
        DatasetError: the file is missing or a line is not valid; names file, line and remedy.
    """
    rows = _read_rows(path)
    line, header = rows[0] if rows else (1, [])
    if sorted(name for name in header if name in CSV_HEADER) != sorted(CSV_HEADER):
        first_line = shorten(",".join(header)) if rows else "nothing"
        raise DatasetError(f"{path}: line {line} is {first_line}. Remedy: write the header {','.join(CSV_HEADER)}")

    def refuse(line: int, problem: str, remedy: str) -> None:
        raise DatasetError(f"{path}: line {line}: {problem}. Remedy: {remedy}")

    known_ids, numbers = set(image_ids.tolist()), {}
    columns = [header.index(name) for name in CSV_HEADER]
    for line, row in rows[1:]:
        if len(row) != len(header):
            refuse(line, f"it has {len(row)} fields", "write an image_id and a pred_label in every line")
        text, number = (row[column] for column in columns)
        image_id = int(text) if text.isascii() and text.isdecimal() and len(text) <= 18 else None
        if image_id not in known_ids:
            refuse(line, f"image_id {shorten(text)} is none of the {len(known_ids)} images", "check the split")
        if image_id in numbers:
            refuse(line, f"image_id {image_id} has an earlier line", "write one line per image")
        if number != NO_NUMBER and not (number.isascii() and number.isdecimal()):
            hint = "numbers were read as decimals: keep them as text" if "." in number else "keep numbers as text"
            problem = f"pred_label is {shorten(number)}"
            refuse(line, problem, f"it is digits, or {NO_NUMBER} where nothing is found; {hint}")
        numbers[image_id] = number
    missing = [image_id for image_id in image_ids.tolist() if image_id not in numbers]
    if missing:
        raise DatasetError(
            f"{path}: image_id {missing[0]} is missing ({len(missing)} of {len(known_ids)} images). "
            f"Remedy: write a line for every image, with {NO_NUMBER} for one without a detected digit"
        )
    ordered = [numbers[image_id] for image_id in image_ids.tolist()]
    changes = [] if detections is None else find_lost_zeros(ordered, detections)
    if changes:
        row, complete_number = changes[0]
        raise DatasetError(
            f"{path}: image_id {image_ids[row]}: pred_label is {shorten(ordered[row], 30)}, but the detections make "
            f"{shorten(complete_number, 30)} ({len(changes)} of {len(known_ids)} images). Integers have no leading "
            "zeros. Remedy: keep numbers as text"
        )
    return ordered


def _read_rows(path: Path) -> list[tuple[int, list[str]]]:
    """Return the lines of a CSV file that are not blank, each with its line number, without empty fields at their ends.

    Raises:
        DatasetError: the file is missing, no UTF-8 text or no CSV.
    """
    reader = csv.reader(io.StringIO(read_text(path, "file", largest=LARGEST_TABLE), newline=""))
    rows = []
    try:
        for row in reader:
            fields = [field.strip() for field in row]
            if any(fields):
                rows.append((reader.line_num, fields))
    except csv.Error as error:
        raise DatasetError(f"{path}: line {reader.line_num}: not CSV ({explain(error)}). Check the line") from None
    header = rows[0][1] if rows else []
    width = max((column for column, name in enumerate(header, 1) if name), default=0)
    return [(line, fields[:width] if not any(fields[width:]) else fields) for line, fields in rows]


def find_lost_zeros(numbers: Sequence[str], detections: Sequence[Detections]) -> list[tuple[int, str]]:
    """Return the rows of numbers that have lost leading zeros, each with the complete number.

    A number may lack a zero because the zero was not detected. It has lost a zero if no score threshold gives the
    number and some threshold gives it with leading zeros. Integers lose all leading zeros: if one number of the file
    has a leading zero, none was lost.
    """
    if any(number.startswith("0") and len(number) > 1 for number in numbers):
        return []
    changes = []
    for row, (number, image) in enumerate(zip(numbers, detections, strict=True)):
        candidates = image.above(min(SCORE_THRESHOLDS))
        if number == NO_NUMBER or DIGIT_NAMES.index("0") + 1 not in candidates.labels:
            continue
        readings = set()
        for nms_threshold in NMS_THRESHOLDS:
            suppressed = suppress(candidates, nms_threshold)
            readings |= {_read_number(suppressed, [threshold]) for threshold in suppressed.scores.tolist()}
        complete_numbers = [
            reading for reading in sorted(readings) if reading != number and reading.lstrip("0") == number.lstrip("0")
        ]
        if complete_numbers and number not in readings:
            changes.append((row, complete_numbers[0]))
    return changes


# Both files


def write_submission_files(
    folder: Path, images: DigitDataset, detections: Sequence[Detections], config: ReadingConfig
) -> list[str]:
    """Write `pred.json` and, from it alone, `pred.csv` to `folder`, check both, and return the numbers."""
    folder.mkdir(parents=True, exist_ok=True)
    predictions, numbers = folder / "pred.json", folder / "pred.csv"
    write_predictions(predictions, images.image_ids, detections)
    detections_in_file = read_predictions(predictions, images)
    write_numbers(numbers, images.image_ids, read_numbers(detections_in_file, config))
    return check_numbers(numbers, images.image_ids, detections_in_file)

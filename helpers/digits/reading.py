"""Numbers from detections, and the assignment's two files.

`pred.json` holds every detection (task 1). `pred.csv` holds one number per image and is computed from `pred.json` alone
(task 2): of digits that overlap the one with the best score remains, digits with low scores are used only where no
better one exists, and the remaining digits are read from left to right (`reading_order`).

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
CANDIDATES = tuple(round(0.05 * step, 2) for step in range(1, 20))
"""Score thresholds from which `choose_reading` selects."""
NMS_THRESHOLDS = (0.3, 0.5, 0.7)
"""IoU thresholds of suppression from which `choose_reading` selects one."""


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
    candidates: Sequence[float] = CANDIDATES,
) -> ReadingConfig:
    """Return the settings that read most `numbers` right, for a validation split, never for the reported one.

    The first threshold is the best one for all images. Each further threshold is the best lower one for the images in
    which no score reaches the thresholds before it, as long as more numbers are right. Of equal ones the highest.

    Args:
        numbers: true number of each image.
    """
    best: tuple[float, ReadingConfig] | None = None
    for nms_threshold in nms_thresholds:
        suppressed = [suppress(image, nms_threshold) for image in detections]
        thresholds: tuple[float, ...] = ()
        accuracy = -1.0
        while True:
            lower = [value for value in sorted(candidates, reverse=True) if not thresholds or value < thresholds[-1]]
            tried = [
                (
                    measure_accuracy([_read_number(image, (*thresholds, threshold)) for image in suppressed], numbers),
                    threshold,
                )
                for threshold in lower
            ]
            if not tried or max(tried)[0] <= accuracy:
                break
            accuracy, threshold = max(tried)
            thresholds = (*thresholds, threshold)
        if best is None or accuracy > best[0]:
            best = accuracy, ReadingConfig(thresholds, nms_threshold)
    assert best is not None
    return best[1]


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
    """Read a `pred.json` of any program: return the detections in each image of `dataset`, highest score first.

    Args:
        dataset: the images of the file; true boxes are not used.

    Raises:
        DatasetError: the file is missing or a record is wrong; names file, record and remedy.
    """
    results = coco.read_results(path, DIGIT_NAMES, dataset.image_ids, dataset.sizes)
    row_of = {image_id: row for row, image_id in enumerate(dataset.image_ids.tolist())}
    rows = np.array([row_of[image_id] for image_id in results.image_ids.tolist()], np.int64)
    # Equal scores are ordered by label and place, so that the order of the records has no effect.
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
    """Read and check a `pred.csv` of any program: return its numbers in the order of `image_ids`.

    Args:
        detections: detections in each image, from the `pred.json` of the numbers; they reveal lost leading zeros.

    Raises:
        DatasetError: the file is missing or a line is wrong; names file, line and remedy.
    """
    rows = _read_rows(path)
    line, header = rows[0] if rows else (1, [])
    if sorted(name for name in header if name in CSV_HEADER) != sorted(CSV_HEADER):
        first_line = shorten(",".join(header)) if rows else "nothing"
        raise DatasetError(f"{path}: line {line} is {first_line}. Remedy: the header is {','.join(CSV_HEADER)}")

    def refuse(line: int, problem: str, remedy: str) -> None:
        raise DatasetError(f"{path}: line {line}: {problem}. Remedy: {remedy}")

    known, numbers = set(image_ids.tolist()), {}
    columns = [header.index(name) for name in CSV_HEADER]
    for line, row in rows[1:]:
        if len(row) != len(header):
            refuse(line, f"it has {len(row)} fields", "every line is an image_id and a pred_label")
        text, number = (row[column] for column in columns)
        image_id = int(text) if text.isascii() and text.isdecimal() and len(text) <= 18 else None
        if image_id not in known:
            refuse(line, f"image_id {shorten(text)} is none of the {len(known)} images", "check the split")
        if image_id in numbers:
            refuse(line, f"image_id {image_id} has come before", "write one line per image")
        if number != NO_NUMBER and not (number.isascii() and number.isdecimal()):
            hint = "numbers were read as decimals: keep them as text" if "." in number else "keep numbers as text"
            problem = f"pred_label is {shorten(number)}"
            refuse(line, problem, f"it is digits, or {NO_NUMBER} where nothing is found; {hint}")
        numbers[image_id] = number
    missing = [image_id for image_id in image_ids.tolist() if image_id not in numbers]
    if missing:
        raise DatasetError(
            f"{path}: image_id {missing[0]} is missing ({len(missing)} of {len(known)} are). "
            f"Remedy: every image has a line, with {NO_NUMBER} where nothing is found"
        )
    ordered = [numbers[image_id] for image_id in image_ids.tolist()]
    lost = [] if detections is None else find_lost_zeros(ordered, detections)
    if lost:
        row, full = lost[0]
        raise DatasetError(
            f"{path}: image_id {image_ids[row]}: pred_label is {shorten(ordered[row], 30)}, where the detections make "
            f"{shorten(full, 30)} ({len(lost)} of {len(known)} are so). Remedy: numbers were integers on their way, "
            "which have no zeros in front: keep them as text"
        )
    return ordered


def _read_rows(path: Path) -> list[tuple[int, list[str]]]:
    """Return the lines of a CSV file that hold anything, each with its number; empty fields at their ends are cut.

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
        raise DatasetError(f"{path}: line {reader.line_num}: not CSV ({explain(error)}). Check the file") from None
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
    lost = []
    for row, (number, image) in enumerate(zip(numbers, detections, strict=True)):
        candidates = image.above(min(CANDIDATES))
        if number == NO_NUMBER or DIGIT_NAMES.index("0") + 1 not in candidates.labels:
            continue
        readings = {
            _read_number(suppressed, [threshold])
            for suppressed in (suppress(candidates, nms_threshold) for nms_threshold in NMS_THRESHOLDS)
            for threshold in suppressed.scores.tolist()
        }
        full = [
            reading for reading in sorted(readings) if reading != number and reading.lstrip("0") == number.lstrip("0")
        ]
        if full and number not in readings:
            lost.append((row, full[0]))
    return lost


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

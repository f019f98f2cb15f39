"""From boxes to numbers: the assignment's two files, how one is made of the other, and what is wrong with any.

`pred.json` holds every detection (task 1). `pred.csv` holds one number per image and is made of `pred.json` alone
(task 2): digits that cover each other are one digit, weak ones count only where nothing better is found, and what is
left is read line by line.

Shape letters: M images, N boxes of one image.
"""

from __future__ import annotations

import argparse
import csv
import io
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int64
from scipy.sparse.csgraph import connected_components
from torch import Tensor
from torchvision.ops import nms

from helpers import coco
from helpers.average_precision import Detections
from helpers.digits.dataset import DIGIT_NAMES, DigitDataset
from helpers.digits.metrics import NO_NUMBER, measure_accuracy
from helpers.files import write_text
from helpers.records import LARGEST_TABLE, DatasetError, explain, read_text, shorten

CSV_HEADER = ["image_id", "pred_label"]
SAME_LINE = 0.25
"""Share of a digit's height from which another one at its side stands in its line."""
CANDIDATES = tuple(round(0.05 * step, 2) for step in range(1, 20))
"""Score thresholds among which a cascade is chosen."""
NMS_THRESHOLDS = (0.3, 0.5, 0.7)
"""IoUs of suppression among which one is chosen."""


@dataclass(frozen=True)
class ReadingConfig:
    """How detections become a number."""

    thresholds: tuple[float, ...] = (0.5,)  # falling: each is for images in which nothing reaches those before it
    nms_threshold: float = 0.5  # IoU above which a digit hides a worse one, whatever its class


# Reading


def read_numbers(detections: Sequence[Detections], config: ReadingConfig = ReadingConfig()) -> list[str]:
    """Returns the number in each image, as text because "09" is not "9", or `NO_NUMBER` where nothing is found."""
    return [_read_number(suppress(one, config.nms_threshold), config.thresholds) for one in detections]


def _read_number(detections: Detections, thresholds: Sequence[float]) -> str:
    """Returns the number that detections without duplicates stand for."""
    for threshold in thresholds:
        kept = detections.above(threshold)
        if len(kept.scores):
            return "".join(DIGIT_NAMES[kept.labels[row] - 1] for row in order_digits(kept.boxes))
    return NO_NUMBER


def suppress(detections: Detections, nms_threshold: float) -> Detections:
    """Returns the best of all detections that overlap by more than `nms_threshold`, whatever their classes.

    A network suppresses within a class only: a digit that it takes for a 1 and for a 7 comes twice, and would be read
    twice. What a score threshold keeps of the result is what suppression keeps of that: the weaker never hides the
    better.
    """
    kept = nms(detections.boxes, detections.scores, nms_threshold)
    return Detections(*(column[kept] for column in detections))


def order_digits(boxes: Float[Tensor, "N 4"]) -> list[int]:
    """Returns the rows of the boxes in the order of reading: line by line from the top, in each from the left.

    Two digits stand in one line if they share more of their heights than of their widths (and at least `SAME_LINE`),
    or if others between them lead from one to the other. So a slanted number is one line, though its ends may share no
    height, and of stacked digits each is a line of its own.
    """
    if len(boxes) == 0:
        return []
    sizes = boxes[:, 2:] - boxes[:, :2]
    shared = torch.minimum(boxes[:, None, 2:], boxes[:, 2:]) - torch.maximum(boxes[:, None, :2], boxes[:, :2])
    across, down = (shared.clamp(min=0) / torch.minimum(sizes[:, None], sizes)).unbind(-1)
    _, lines = connected_components(((down > across) & (down >= SAME_LINE)).numpy(), directed=False)
    centres = ((boxes[:, :2] + boxes[:, 2:]) / 2).numpy()
    heights = np.bincount(lines, centres[:, 1]) / np.bincount(lines)  # of each line in the image
    return np.lexsort((centres[:, 0], heights[lines])).tolist()


def choose_reading(
    detections: Sequence[Detections],
    numbers: Sequence[str],
    nms_thresholds: Sequence[float] = NMS_THRESHOLDS,
    candidates: Sequence[float] = CANDIDATES,
) -> ReadingConfig:
    """Returns the config that reads most `numbers` right: choose it on a validation split, never on the one reported.

    The first threshold is the best for all images. Each further one is the best, of those below, for the images in
    which nothing was found, as long as it reads any of them right. Of equals, the highest.
    """
    best: tuple[float, ReadingConfig] | None = None
    for nms_threshold in nms_thresholds:
        suppressed = [suppress(one, nms_threshold) for one in detections]
        thresholds: tuple[float, ...] = ()
        accuracy = -1.0
        while True:
            lower = [one for one in sorted(candidates, reverse=True) if not thresholds or one < thresholds[-1]]
            tried = [
                (
                    measure_accuracy([_read_number(one, (*thresholds, threshold)) for one in suppressed], numbers),
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
    """Writes every detection: a list of `image_id`, `bbox` [x, y, width, height], `score`, `category_id` (digit + 1).

    Boxes without width or height, which no digit has, are left out.
    """
    columns = [np.concatenate([column.numpy() for column in one]) for one in zip(*detections, strict=True)]
    boxes, scores, labels = columns
    owners = np.repeat(image_ids, [len(one.scores) for one in detections])
    real = (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
    results = (owners, boxes.astype(np.float64), labels - 1, scores.astype(np.float64))
    coco.write_results(path, coco.ResultFile(*(column[real] for column in results)))


def read_predictions(path: Path, dataset: DigitDataset) -> list[Detections]:
    """Returns the detections in a `pred.json`, whoever wrote it, for each image of `dataset`, best score first.

    Args:
        dataset: the images that the file is about; their truth, if there is any, is not looked at.

    Raises:
        DatasetError: names file, record, what is wrong, and the remedy.
    """
    results = coco.read_results(path, DIGIT_NAMES, dataset.image_ids, dataset.sizes)
    row_of = {image_id: row for row, image_id in enumerate(dataset.image_ids.tolist())}
    rows = np.array([row_of[image_id] for image_id in results.image_ids.tolist()], np.int64)
    # Equal scores are ordered by label and box, so that the order of the records means nothing.
    order = np.lexsort((*results.boxes.T, results.labels, -results.scores, rows))
    ends = np.searchsorted(rows[order], np.arange(1, len(dataset) + 1))
    columns = (results.boxes.astype(np.float32), results.scores.astype(np.float32), results.labels + 1)
    parts = [np.split(column[order], ends[:-1]) for column in columns]
    return [Detections(*(torch.from_numpy(part) for part in image)) for image in zip(*parts, strict=True)]


# Task 2: pred.csv


def write_numbers(path: Path, image_ids: Int64[np.ndarray, " M"], numbers: Sequence[str]) -> None:
    """Writes `image_id,pred_label`, one line per image; numbers are text, so that a leading zero stays."""
    lines = [
        ",".join(CSV_HEADER),
        *(f"{image_id},{number}" for image_id, number in zip(image_ids.tolist(), numbers, strict=True)),
    ]
    write_text(path, "\n".join(lines) + "\n")


def check_numbers(
    path: Path, image_ids: Int64[np.ndarray, " M"], detections: Sequence[Detections] | None = None
) -> list[str]:
    """Returns the numbers in a `pred.csv`, whoever wrote it, in the order of `image_ids`.

    Args:
        detections: of each image, in the `pred.json` that the numbers are made of: it tells whether zeros were lost.

    Raises:
        DatasetError: names file, line, what is wrong, and the remedy.
    """
    rows = _read_rows(path)
    line, header = rows[0] if rows else (1, [])
    if sorted(name for name in header if name in CSV_HEADER) != sorted(CSV_HEADER):
        found = shorten(",".join(header)) if rows else "nothing"
        raise DatasetError(f"{path}: line {line} is {found}. Remedy: the header is {','.join(CSV_HEADER)}")

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
    """Returns the rows of numbers that have lost zeros in front, each with the number as it was.

    A number may lack a zero because it was not found. It has lost one if no score threshold gives the number, and some
    threshold gives it with zeros in front. Integers lose all of them: where one number has kept its own, none is lost.
    """
    if any(number.startswith("0") and len(number) > 1 for number in numbers):
        return []
    lost = []
    for row, (number, found) in enumerate(zip(numbers, detections, strict=True)):
        kept = found.above(min(CANDIDATES))
        if number == NO_NUMBER or DIGIT_NAMES.index("0") + 1 not in kept.labels:
            continue
        readings = {
            _read_number(suppressed, [threshold])
            for suppressed in (suppress(kept, nms_threshold) for nms_threshold in NMS_THRESHOLDS)
            for threshold in suppressed.scores.tolist()
        }
        full = [
            reading for reading in sorted(readings) if reading != number and reading.lstrip("0") == number.lstrip("0")
        ]
        if full and number not in readings:
            lost.append((row, full[0]))
    return lost


# Both


def write_answers(
    folder: Path, images: DigitDataset, detections: Sequence[Detections], config: ReadingConfig
) -> list[str]:
    """Writes `pred.json` and, made of it alone, `pred.csv` to `folder`, checks both, and returns the numbers."""
    folder.mkdir(parents=True, exist_ok=True)
    predictions, numbers = folder / "pred.json", folder / "pred.csv"
    write_predictions(predictions, images.image_ids, detections)
    found = read_predictions(predictions, images)
    write_numbers(numbers, images.image_ids, read_numbers(found, config))
    return check_numbers(numbers, images.image_ids, found)


def main(arguments: Sequence[str] | None = None) -> int:
    """Says what is wrong with a `pred.json`, and with a `pred.csv` if given, and returns 1, or 0 if nothing is."""
    parser = argparse.ArgumentParser(prog="python -m helpers.digits.reading", description=main.__doc__)
    parser.add_argument("images", type=Path, help="folder with the split's images, 1.png, 2.png, …")
    parser.add_argument("predictions", type=Path, help="pred.json")
    parser.add_argument("numbers", type=Path, nargs="?", help="pred.csv")
    options = parser.parse_args(arguments)
    try:
        dataset = DigitDataset.read_unlabelled(options.images.parent, options.images.name)
        found = read_predictions(options.predictions, dataset)
        print(f"{options.predictions}: {sum(len(one.scores) for one in found)} detections in {len(found)} images")
        if options.numbers:
            numbers = check_numbers(options.numbers, dataset.image_ids, found)
            print(f"{options.numbers}: {len(numbers)} images, {numbers.count(NO_NUMBER)} of them without a number")
    except DatasetError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

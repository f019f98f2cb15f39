"""Build tasks of reading: the number of an image, and the records of pred.json."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torchvision.ops import batched_nms, box_iou

from helpers.course.checks.definition import Case, Definition, Mistake

Detections = dict[str, Tensor]


def read_number(
    boxes: Float[Tensor, "N 4"],
    scores: Float[Tensor, " N"],
    labels: Int[Tensor, " N"],
    score_threshold: float = 0.5,
    iou_threshold: float = 0.5,
) -> str:
    """Return the number in one image as text: its digits from left to right, or "-1" if there is no digit.

    Only detections with a score of at least `score_threshold` are used. Of two detections that overlap by more than
    `iou_threshold`, the one with the higher score remains, also if their labels differ: one digit may be detected as 7
    and as 1. The remaining digits are read from left to right by the left edges of their boxes (or by their centres,
    both are accepted), also where one digit stands higher than the other. Zeros in front belong to the number.

    Example: the boxes [50, 5, 60, 25] (label 10), [10, 5, 20, 25] (label 1) and [11, 5, 20, 25] (label 9) have the
    scores 0.9, 0.8 and 0.6. Label 10 is the digit 9, label 1 the digit 0. The third box overlaps the second by 90 %
    and has the lower score, so it is dropped. The number is "09".

    Args:
        boxes: N detections (x1, y1, x2, y2) in pixels, in any order; N may be 0.
        scores: of the detections.
        labels: 1 for the digit 0, 2 for the digit 1, ..., 10 for the digit 9.
        score_threshold: smallest score of a digit.
        iou_threshold: IoU above which two detections are the same digit.

    Returns:
        Text. You may use `box_iou` and `nms` of torchvision.
    """
    iou = box_iou(boxes, boxes)
    kept = []
    for row in scores.argsort(descending=True, stable=True).tolist():
        is_double = any(iou[row, better] > iou_threshold for better in kept)
        if scores[row] >= score_threshold and not is_double:
            kept.append(row)
    kept.sort(key=lambda row: boxes[row].tolist())  # x1 decides; of equal x1 the upper box is first
    digits = [str(int(labels[row]) - 1) for row in kept]
    return "".join(digits) or "-1"


def make_records(
    file_names: Sequence[str], detections: Sequence[dict[str, Tensor]], factors: Sequence[float]
) -> list[dict[str, Any]]:
    """Return the records of pred.json: one for each detection of all images, in COCO's format for results.

    A record is {"image_id": int, "bbox": [x, y, width, height], "score": float, "category_id": int}. The image_id is
    the number in the file's name: 12 for "12.png". The bbox holds the upper left corner, the width and the height of
    the box, in pixels of the file and not rounded. The category_id is the label: 1 for the digit 0. All numbers are
    plain Python numbers, because json cannot write tensors. Every detection is written, whatever its score.

    Example: the file "7.png" was enlarged by the factor 2. A detection in the enlarged image has the box
    [20, 40, 60, 120], the score 0.9 and the label 4 (the digit 3). In the file the box is [10, 20, 30, 60], so the
    record is {"image_id": 7, "bbox": [10.0, 20.0, 20.0, 40.0], "score": 0.9, "category_id": 4}.

    Args:
        file_names: of M images.
        detections: of each image: "boxes" [N, 4] (x1, y1, x2, y2), "scores" [N], "labels" [N]; N may be 0. They must
            not be changed: the number of the image is read from them, too.
        factors: by which each image was enlarged before the detection; boxes are pixels of the enlarged image.

    Returns:
        A list of dicts, image by image, in the order of the detections.
    """
    records = []
    for file_name, image, factor in zip(file_names, detections, factors, strict=True):
        image_id = int(file_name.split(".")[0])
        boxes = image["boxes"].double() / factor
        columns = (boxes.tolist(), image["scores"].tolist(), image["labels"].tolist())
        for (x1, y1, x2, y2), score, label in zip(*columns, strict=True):
            bbox = [x1, y1, x2 - x1, y2 - y1]
            records.append({"image_id": image_id, "bbox": bbox, "score": score, "category_id": label})
    return records


# Cases


def make_digits(*rows: tuple[float, float, int]) -> tuple[Tensor, Tensor, Tensor]:
    """Return boxes, scores and labels of `(left edge, score, digit)` rows; boxes are 10 × 20 pixels."""
    boxes = torch.tensor([[left, 5.0, left + 10, 25.0] for left, _, _ in rows]).reshape(-1, 4)
    scores = torch.tensor([score for _, score, _ in rows], dtype=torch.float32)
    labels = torch.tensor([digit + 1 for _, _, digit in rows], dtype=torch.int64)
    return boxes, scores, labels


TWO_CLASSES = (torch.tensor([[10.0, 5, 20, 25], [10.0, 5, 20, 23]]), torch.tensor([0.85, 0.97]), torch.tensor([2, 8]))
STACKED = (torch.tensor([[13.0, 40, 23, 60], [10.0, 5, 20, 25]]), torch.tensor([0.9, 0.8]), torch.tensor([3, 5]))


def _draw_digits(generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Return four digits side by side in any order, and weaker copies of two of them with other labels."""
    left = torch.cumsum(12 + 20 * torch.rand(4, generator=generator), 0)
    top = 5 + 10 * torch.rand(4, generator=generator)
    boxes = torch.stack([left, top, left + 9, top + 22], dim=1)
    labels = 1 + torch.randint(0, 10, (4,), generator=generator)
    scores = 0.75 + 0.2 * torch.rand(4, generator=generator)
    copies = torch.randperm(4, generator=generator)[:2]
    boxes = torch.cat([boxes, boxes[copies] + 0.8])
    labels = torch.cat([labels, 1 + labels[copies] % 10])
    scores = torch.cat([scores, scores[copies] - 0.2])
    order = torch.randperm(6, generator=generator)
    return boxes[order], scores[order], labels[order]


def draw_reading_cases(generator: torch.Generator) -> list[Case]:
    """Return the cases of `read_number`."""
    driver = "digits.read_text"
    first, second = _draw_digits(generator), _draw_digits(generator)
    shifted = (first[0] + 31, *first[1:])
    cases = {
        ("by hand", "9 and 1"): make_digits((10, 0.9, 9), (50, 0.95, 1)),
        ("by hand", "a zero in front"): make_digits((50, 0.9, 9), (10, 0.8, 0)),
        ("by hand", "one digit with two labels"): TWO_CLASSES,
        ("by hand", "one digit detected twice"): make_digits((10, 0.7, 6), (12, 0.9, 6)),
        ("by hand", "left edges 100 and 20"): make_digits((100, 0.9, 3), (20, 0.8, 5)),
        ("by hand", "left edges 9 and 30"): make_digits((30, 0.9, 4), (9, 0.8, 6)),
        ("borders and empty input", "nothing detected"): make_digits(),
        ("borders and empty input", "a low score alone"): make_digits((10, 0.2, 3)),
        ("borders and empty input", "a zero alone"): make_digits((10, 0.9, 0)),
        ("borders and empty input", "two zeros"): make_digits((10, 0.9, 0), (30, 0.8, 0)),
        ("borders and empty input", "a digit that stands lower than the other"): STACKED,
        ("shapes and batches", "the same digit three times"): make_digits((30, 0.7, 7), (10, 0.9, 7), (50, 0.8, 7)),
        ("shapes and batches", "the score threshold 0.1"): (*make_digits((10, 0.2, 3), (30, 0.6, 1)), 0.1),
        ("shapes and batches", "the IoU threshold 0.95"): (*TWO_CLASSES, 0.5, 0.95),
        ("laws", "detections moved to the right"): shifted,
        ("laws", "detections in reverse order"): tuple(column.flip(0) for column in first),
        ("data", "random digits"): first,
        ("data", "other random digits"): second,
    }
    return [Case(group, title, inputs, driver=driver) for (group, title), inputs in cases.items()]


def _as_detections(boxes: Tensor, scores: Tensor, labels: Tensor) -> Detections:
    return {"boxes": boxes, "scores": scores, "labels": labels}


def draw_record_cases(generator: torch.Generator) -> list[Case]:
    """Return the cases of `make_records`."""
    three = _as_detections(torch.tensor([[10.0, 20, 30, 60]]), torch.tensor([0.9]), torch.tensor([4]))
    exact = _as_detections(torch.tensor([[10.6, 4.2, 30.4, 41.7]]), torch.tensor([0.75]), torch.tensor([10]))
    enlarged = _as_detections(torch.tensor([[20.0, 40, 60, 120]]), torch.tensor([0.9]), torch.tensor([4]))
    weak = _as_detections(
        torch.tensor([[10.0, 20, 30, 60], [50, 20, 64, 50], [70, 20, 80, 50]]),
        torch.tensor([0.9, 0.31, 0.02]),
        torch.tensor([1, 2, 3]),
    )
    nothing = _as_detections(*make_digits())
    drawn = _as_detections(*_draw_digits(generator))
    names = ["1.png", "10.png", "100.png", "2.png"]

    def make_case(group: str, title: str, names: list[str], images: list[Detections], factors: list[float]) -> Case:
        return Case(group, title, (names, images, factors), driver="digits.write_records")

    return [
        make_case("by hand", "one detection", ["7.png"], [three], [1.0]),
        make_case("by hand", "one detection in an image that was enlarged by 2", ["7.png"], [enlarged], [2.0]),
        make_case("by hand", "corners between pixels", ["31.png"], [exact], [1.0]),
        make_case("borders and empty input", "an image without detections", ["3.png"], [nothing], [1.0]),
        make_case("borders and empty input", "no image", [], [], []),
        make_case("borders and empty input", "low scores", ["5.png"], [weak], [1.0]),
        make_case(
            "shapes and batches", "files in the order of their names", names, [three, nothing, exact, weak], [1.0] * 4
        ),
        make_case("laws", "the same detections in two files", ["12.png", "9.png"], [three, three], [1.0, 1.0]),
        Case(
            "pairs",
            "the number is read first, then the records are made",
            (["7.png"], [weak], [1.0]),
            driver="digits.read_then_record",
            partners=("read_number",),
        ),
        make_case("data", "random detections", ["21.png"], [drawn], [4.3]),
    ]


# Wrong readers. Each is written as a student writes it.


def _select(boxes: Tensor, scores: Tensor, labels: Tensor, score_threshold: float, iou_threshold: float) -> list[int]:
    """Return the rows that remain, in reading order."""
    iou = box_iou(boxes, boxes)
    kept: list[int] = []
    for row in scores.argsort(descending=True, stable=True).tolist():
        if scores[row] >= score_threshold and all(iou[row, better] <= iou_threshold for better in kept):
            kept.append(row)
    return sorted(kept, key=lambda row: float(boxes[row, 0]))


def _spell(labels: Tensor, rows: list[int], offset: int = 1) -> str:
    return "".join(str(int(labels[row]) - offset) for row in rows) or "-1"


def _as_integer(
    boxes: Tensor, scores: Tensor, labels: Tensor, score_threshold: float = 0.5, iou_threshold: float = 0.5
) -> int:
    return int(read_number(boxes, scores, labels, score_threshold, iou_threshold))


def _as_integer_text(
    boxes: Tensor, scores: Tensor, labels: Tensor, score_threshold: float = 0.5, iou_threshold: float = 0.5
) -> str:
    return str(int(read_number(boxes, scores, labels, score_threshold, iou_threshold)))


def _nothing_left_out(
    boxes: Tensor, scores: Tensor, labels: Tensor, score_threshold: float = 0.5, iou_threshold: float = 0.5
) -> str:
    number = read_number(boxes, scores, labels, score_threshold, iou_threshold)
    return "" if number == "-1" else number


def _nms_within_classes(
    boxes: Tensor, scores: Tensor, labels: Tensor, score_threshold: float = 0.5, iou_threshold: float = 0.5
) -> str:
    rows = batched_nms(boxes, scores, labels, iou_threshold)
    rows = [row for row in rows.tolist() if scores[row] >= score_threshold]
    return _spell(labels, sorted(rows, key=lambda row: float(boxes[row, 0])))


def _without_nms(
    boxes: Tensor, scores: Tensor, labels: Tensor, score_threshold: float = 0.5, iou_threshold: float = 0.5
) -> str:
    return _spell(labels, _select(boxes, scores, labels, score_threshold, 1.0))


def _label_as_digit(
    boxes: Tensor, scores: Tensor, labels: Tensor, score_threshold: float = 0.5, iou_threshold: float = 0.5
) -> str:
    return _spell(labels, _select(boxes, scores, labels, score_threshold, iou_threshold), 0)


def _label_modulo_ten(
    boxes: Tensor, scores: Tensor, labels: Tensor, score_threshold: float = 0.5, iou_threshold: float = 0.5
) -> str:
    return _spell(labels % 10, _select(boxes, scores, labels, score_threshold, iou_threshold), 0)


def _shifted_twice(
    boxes: Tensor, scores: Tensor, labels: Tensor, score_threshold: float = 0.5, iou_threshold: float = 0.5
) -> str:
    return _spell(labels, _select(boxes, scores, labels, score_threshold, iou_threshold), 2)


def _merged_by_centre(
    boxes: Tensor, scores: Tensor, labels: Tensor, score_threshold: float = 0.5, iou_threshold: float = 0.5
) -> str:
    centres = (boxes[:, 0] + boxes[:, 2]) / 2
    kept: list[int] = []
    for row in scores.argsort(descending=True, stable=True).tolist():
        is_near = any(abs(centres[row] - centres[better]) < 5 for better in kept)
        if scores[row] >= score_threshold and not is_near:
            kept.append(row)
    return _spell(labels, sorted(kept, key=lambda row: float(centres[row])))


def _upper_first(
    boxes: Tensor, scores: Tensor, labels: Tensor, score_threshold: float = 0.5, iou_threshold: float = 0.5
) -> str:
    rows = _select(boxes, scores, labels, score_threshold, iou_threshold)
    return _spell(labels, sorted(rows, key=lambda row: float(boxes[row, 1])))


def _by_score(
    boxes: Tensor, scores: Tensor, labels: Tensor, score_threshold: float = 0.5, iou_threshold: float = 0.5
) -> str:
    rows = _select(boxes, scores, labels, score_threshold, iou_threshold)
    return _spell(labels, sorted(rows, key=lambda row: -float(scores[row])))


def _x_as_text(
    boxes: Tensor, scores: Tensor, labels: Tensor, score_threshold: float = 0.5, iou_threshold: float = 0.5
) -> str:
    rows = _select(boxes, scores, labels, score_threshold, iou_threshold)
    return _spell(labels, sorted(rows, key=lambda row: str(float(boxes[row, 0]))))


def _as_detected(
    boxes: Tensor, scores: Tensor, labels: Tensor, score_threshold: float = 0.5, iou_threshold: float = 0.5
) -> str:
    return _spell(labels, sorted(_select(boxes, scores, labels, score_threshold, iou_threshold)))


def _right_to_left(
    boxes: Tensor, scores: Tensor, labels: Tensor, score_threshold: float = 0.5, iou_threshold: float = 0.5
) -> str:
    return _spell(labels, _select(boxes, scores, labels, score_threshold, iou_threshold)[::-1])


def _set_of_digits(
    boxes: Tensor, scores: Tensor, labels: Tensor, score_threshold: float = 0.5, iou_threshold: float = 0.5
) -> str:
    rows = {}
    for row in _select(boxes, scores, labels, score_threshold, iou_threshold):
        rows.setdefault(int(labels[row]), row)
    return _spell(labels, list(rows.values()))


def _without_score_threshold(
    boxes: Tensor, scores: Tensor, labels: Tensor, score_threshold: float = 0.5, iou_threshold: float = 0.5
) -> str:
    return read_number(boxes, scores, labels, 0.0, iou_threshold)


def _thresholds_fixed(
    boxes: Tensor, scores: Tensor, labels: Tensor, score_threshold: float = 0.5, iou_threshold: float = 0.5
) -> str:
    return read_number(boxes, scores, labels)


def _weaker_kept(
    boxes: Tensor, scores: Tensor, labels: Tensor, score_threshold: float = 0.5, iou_threshold: float = 0.5
) -> str:
    is_used = scores >= score_threshold
    return read_number(boxes[is_used], 1 - scores[is_used], labels[is_used], 0.0, iou_threshold)


def _changes_boxes(
    boxes: Tensor, scores: Tensor, labels: Tensor, score_threshold: float = 0.5, iou_threshold: float = 0.5
) -> str:
    number = read_number(boxes, scores, labels, score_threshold, iou_threshold)
    boxes[:, 2:] -= boxes[:, :2]
    return number


def _crash_without_detections(
    boxes: Tensor, scores: Tensor, labels: Tensor, score_threshold: float = 0.5, iou_threshold: float = 0.5
) -> str:
    scores.max()
    return read_number(boxes, scores, labels, score_threshold, iou_threshold)


NUMBER = Definition(
    name="read_number",
    number="7.4",
    title="The number in an image",
    purpose="pred.csv needs one number per image, and the detector finds single digits.",
    points=3,
    difficulty=3,
    minutes=(20, 30),
    reference=read_number,
    imports=(
        "import torch\nfrom jaxtyping import Float, Int\nfrom torch import Tensor\n"
        "from torchvision.ops import box_iou, nms"
    ),
    draw_cases=draw_reading_cases,
    workload=Case("data", "12 detections in an image", (12,), driver="digits.time_reading"),
    calls=5000,
    hints=(
        "Write the steps down in words. Which detections are used? Which of them are the same digit? In which order "
        "are the others read?",
        "Take the detections by falling score. Keep one only if it overlaps none of those that are kept already.",
        'Sort the rows by `boxes[row, 0]`, and join `str(label - 1)` of each. An empty text becomes "-1".',
    ),
    mistakes=(
        Mistake(
            "RD1a",
            "the number is an integer",
            'A number may begin with a zero: "09" is not 9. Return text.',
            _as_integer,
        ),
        Mistake(
            "RD1b",
            "zeros in front are lost, because the number was an integer on its way",
            'A number may begin with a zero: "09" is not "9". Never convert it to an integer.',
            _as_integer_text,
        ),
        Mistake(
            "RD2a",
            "an image without digits has an empty text",
            'Every image needs a line in the file: return "-1" if no digit is found.',
            _nothing_left_out,
        ),
        Mistake(
            "RD2b",
            "without detections it raises an exception",
            'Every image needs a line in the file: return "-1" if no digit is found.',
            _crash_without_detections,
        ),
        Mistake(
            "RD3a",
            "only boxes of the same label are compared",
            "One digit that is detected as 7 and as 1 is read twice. Compare boxes of different labels, too.",
            _nms_within_classes,
        ),
        Mistake(
            "RD3b",
            "overlapping boxes are not compared",
            "One digit may be detected several times: keep the best of the boxes that overlap.",
            _without_nms,
        ),
        Mistake("RD4a", "the label is taken for the digit", "Label 1 is the digit 0: subtract 1.", _label_as_digit),
        Mistake(
            "RD4b",
            "label 10 is read as 0 and the others as they are",
            "Label 1 is the digit 0, and label 10 the digit 9: subtract 1.",
            _label_modulo_ten,
        ),
        Mistake("RD4c", "2 is subtracted from the label", "Label 1 is the digit 0: subtract 1 once.", _shifted_twice),
        Mistake(
            "RD5",
            "boxes with near centres in x are merged",
            "Digits at a similar x may stand at different heights. Compare the boxes by their IoU.",
            _merged_by_centre,
        ),
        Mistake("RD6", "the upper digit is read first", "Sort by x, not by y.", _upper_first),
        Mistake("RD7a", "the digits are in the order of their scores", "Sort the remaining boxes by x.", _by_score),
        Mistake(
            "RD7b",
            "left edges are sorted as text",
            'As text "100" comes before "20". Sort the numbers.',
            _x_as_text,
        ),
        Mistake("RD7c", "the digits are in the order of the rows", "Sort the remaining boxes by x.", _as_detected),
        Mistake("RD7d", "the digits are read from right to left", "Sort by rising x.", _right_to_left),
        Mistake(
            "RD8",
            "every digit is read once",
            "A number may hold a digit twice. Merge boxes that overlap, not equal labels.",
            _set_of_digits,
        ),
        Mistake(
            "RD9",
            "the score threshold is not used",
            "Drop detections with a score below `score_threshold`.",
            _without_score_threshold,
        ),
        Mistake("RD10", "the thresholds are always 0.5", "Use the arguments.", _thresholds_fixed),
        Mistake(
            "RD11",
            "of overlapping boxes the one with the lower score remains",
            "Keep the box with the higher score.",
            _weaker_kept,
        ),
        Mistake(
            "RD12",
            "it turns the caller's boxes into widths and heights",
            "The boxes are used again, for pred.json. Work on a copy: `boxes.clone()`.",
            _changes_boxes,
        ),
    ),
)


# Wrong records. Each is written as a student writes it.

Records = list[dict[str, Any]]


def _change(records: Records, **changes: Any) -> Records:
    """Return the records with fields computed from each record."""
    return [record | {name: change(record) for name, change in changes.items()} for record in records]


def _corners(file_names: Sequence[str], detections: Sequence[Detections], factors: Sequence[float]) -> Records:
    def to_corners(record: dict[str, Any]) -> list[float]:
        x, y, width, height = record["bbox"]
        return [x, y, x + width, y + height]

    return _change(make_records(file_names, detections, factors), bbox=to_corners)


def _centres(file_names: Sequence[str], detections: Sequence[Detections], factors: Sequence[float]) -> Records:
    def to_centre(record: dict[str, Any]) -> list[float]:
        x, y, width, height = record["bbox"]
        return [x + width / 2, y + height / 2, width, height]

    return _change(make_records(file_names, detections, factors), bbox=to_centre)


def _category_plus_one(
    file_names: Sequence[str], detections: Sequence[Detections], factors: Sequence[float]
) -> Records:
    return _change(make_records(file_names, detections, factors), category_id=lambda record: record["category_id"] + 1)


def _category_is_digit(
    file_names: Sequence[str], detections: Sequence[Detections], factors: Sequence[float]
) -> Records:
    return _change(make_records(file_names, detections, factors), category_id=lambda record: record["category_id"] - 1)


def _score_cut(file_names: Sequence[str], detections: Sequence[Detections], factors: Sequence[float]) -> Records:
    return [record for record in make_records(file_names, detections, factors) if record["score"] >= 0.5]


def _rounded(file_names: Sequence[str], detections: Sequence[Detections], factors: Sequence[float]) -> Records:
    """Round the corners to whole pixels."""
    rounded = []
    for image, factor in zip(detections, factors, strict=True):
        rounded.append({**image, "boxes": (image["boxes"] / factor).round() * factor})
    return make_records(file_names, rounded, factors)


def _cut_to_integers(file_names: Sequence[str], detections: Sequence[Detections], factors: Sequence[float]) -> Records:
    def cut(record: dict[str, Any]) -> list[int]:
        return [int(value) for value in record["bbox"]]

    return _change(make_records(file_names, detections, factors), bbox=cut)


def _not_rescaled(file_names: Sequence[str], detections: Sequence[Detections], factors: Sequence[float]) -> Records:
    return make_records(file_names, detections, [1.0] * len(factors))


def _scaled_twice(file_names: Sequence[str], detections: Sequence[Detections], factors: Sequence[float]) -> Records:
    return make_records(file_names, detections, [1 / factor for factor in factors])


def _position_as_id(file_names: Sequence[str], detections: Sequence[Detections], factors: Sequence[float]) -> Records:
    positions = [f"{position}.png" for position in range(len(file_names))]
    return make_records(positions, detections, factors)


def _position_from_one_as_id(
    file_names: Sequence[str], detections: Sequence[Detections], factors: Sequence[float]
) -> Records:
    positions = [f"{position + 1}.png" for position in range(len(file_names))]
    return make_records(positions, detections, factors)


def _id_as_text(file_names: Sequence[str], detections: Sequence[Detections], factors: Sequence[float]) -> Records:
    return _change(make_records(file_names, detections, factors), image_id=lambda record: str(record["image_id"]))


def _file_name_as_id(file_names: Sequence[str], detections: Sequence[Detections], factors: Sequence[float]) -> Records:
    return _change(make_records(file_names, detections, factors), image_id=lambda record: f"{record['image_id']}.png")


def _first_digit_as_id(
    file_names: Sequence[str], detections: Sequence[Detections], factors: Sequence[float]
) -> Records:
    firsts = [re.findall(r"\d", file_name)[0] + ".png" for file_name in file_names]
    return make_records(firsts, detections, factors)


def _boxes_changed(file_names: Sequence[str], detections: Sequence[Detections], factors: Sequence[float]) -> Records:
    records = make_records(file_names, detections, factors)
    for image, factor in zip(detections, factors, strict=True):
        image["boxes"] /= factor
        image["boxes"][:, 2:] -= image["boxes"][:, :2]
    return records


def _best_only(file_names: Sequence[str], detections: Sequence[Detections], factors: Sequence[float]) -> Records:
    best = [{name: column[:1] for name, column in image.items()} for image in detections]
    return make_records(file_names, best, factors)


def _list_per_image(
    file_names: Sequence[str], detections: Sequence[Detections], factors: Sequence[float]
) -> list[Records]:
    return [
        make_records([name], [image], [factor])
        for name, image, factor in zip(file_names, detections, factors, strict=True)
    ]


def _tensors_in_records(
    file_names: Sequence[str], detections: Sequence[Detections], factors: Sequence[float]
) -> Records:
    return _change(make_records(file_names, detections, factors), score=lambda record: torch.tensor(record["score"]))


def _name_of_label(file_names: Sequence[str], detections: Sequence[Detections], factors: Sequence[float]) -> Records:
    return [
        {("label" if name == "category_id" else name): value for name, value in record.items()}
        for record in make_records(file_names, detections, factors)
    ]


RECORDS = Definition(
    name="make_records",
    number="7.3",
    title="The records of pred.json",
    purpose="pred.json is what the assignment grades as its first task.",
    points=2,
    difficulty=2,
    minutes=(15, 20),
    reference=make_records,
    imports=("from collections.abc import Sequence\nfrom typing import Any\n\nimport torch\nfrom torch import Tensor"),
    draw_cases=draw_record_cases,
    partners={"read_number": read_number},
    hints=(
        "Write the record of the example by hand. From where does each of its four values come?",
        "Divide the boxes by the factor of their image, then compute width and height from the corners.",
        '`int(file_name.split(".")[0])` is the image_id, and `.tolist()` makes plain numbers of a tensor.',
    ),
    mistakes=(
        Mistake("PJ1a", "corners are written", "COCO's bbox is [x, y, width, height].", _corners),
        Mistake(
            "PJ1b",
            "the centre is written in place of the corner",
            "COCO's bbox begins with the upper left corner.",
            _centres,
        ),
        Mistake(
            "PJ2a",
            "1 is added to the label",
            "The label already is the category: 1 for the digit 0.",
            _category_plus_one,
        ),
        Mistake(
            "PJ2b",
            "the digit is written in place of the category",
            "Category 1 is the digit 0: write the label as it is.",
            _category_is_digit,
        ),
        Mistake(
            "PJ3a",
            "detections with a score below 0.5 are left out",
            "Average precision needs every detection. Use a score threshold only where the number is read.",
            _score_cut,
        ),
        Mistake("PJ3b", "only the first detection of an image is written", "Write every detection.", _best_only),
        Mistake(
            "PJ4a",
            "corners are rounded to whole pixels",
            "At an IoU of 0.9, half a pixel decides. Write the numbers as they are.",
            _rounded,
        ),
        Mistake(
            "PJ4b",
            "values are cut to integers",
            "At an IoU of 0.9, half a pixel decides. Write the numbers as they are.",
            _cut_to_integers,
        ),
        Mistake(
            "PJ5a",
            "the boxes are pixels of the enlarged image",
            "The file is smaller than the image that the network saw: divide by the factor.",
            _not_rescaled,
        ),
        Mistake(
            "PJ5b",
            "the boxes are multiplied by the factor",
            "The image was enlarged by the factor: divide.",
            _scaled_twice,
        ),
        Mistake(
            "PJ6a",
            "the image_id is the position in the list, from 0",
            "The files are sorted as text: 1, 10, 100, 2. Take the number from the file's name.",
            _position_as_id,
        ),
        Mistake(
            "PJ6b",
            "the image_id is the position in the list, from 1",
            "The files are sorted as text: 1, 10, 100, 2. Take the number from the file's name.",
            _position_from_one_as_id,
        ),
        Mistake("PJ6c", "the image_id is text", "Convert it: int(...).", _id_as_text),
        Mistake("PJ6d", "the image_id is the file's name", "Take the number in front of the point.", _file_name_as_id),
        Mistake(
            "PJ6e",
            "the image_id is the first digit of the file's name",
            "Take all digits in front of the point.",
            _first_digit_as_id,
        ),
        Mistake(
            "PJ7a",
            "it turns the caller's boxes into widths and heights",
            'The boxes are used again. Compute new values: `boxes = image["boxes"] / factor`.',
            _boxes_changed,
        ),
        Mistake(
            "PJ7b",
            "read_number of task 7.4 has changed the boxes before they are written",
            "Correct `read_number`: it must work on a copy of the boxes, `boxes.clone()`.",
            make_records,
            {"read_number": _changes_boxes},
        ),
        Mistake(
            "PJ10",
            "the records of each image are in a list of their own",
            "Return one flat list.",
            _list_per_image,
        ),
        Mistake(
            "PJ12",
            "a record holds a tensor, which json cannot write",
            "Convert every value: `.item()` or `.tolist()`.",
            _tensors_in_records,
        ),
        Mistake(
            "PJ11",
            "a field has another name",
            "The four fields are image_id, bbox, score and category_id.",
            _name_of_label,
        ),
    ),
)

DEFINITIONS = (NUMBER, RECORDS)

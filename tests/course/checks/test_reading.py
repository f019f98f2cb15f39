"""Right implementations of the tasks of reading, and their contracts by hand."""

import torch
from torchvision.ops import box_convert, nms

from helpers.average_precision import Detections
from helpers.course.checks import reading
from helpers.digits.reading import ReadingConfig, read_numbers


def _workbook_number(boxes, scores, labels, score_threshold=0.5, iou_threshold=0.5):
    return read_numbers([Detections(boxes, scores, labels)], ReadingConfig((score_threshold,), iou_threshold))[0]


def _by_centre(boxes, scores, labels, score_threshold=0.5, iou_threshold=0.5):
    rows = nms(boxes, scores, iou_threshold)
    rows = rows[scores[rows] >= score_threshold]
    if len(rows) == 0:
        return -1
    order = ((boxes[rows, 0] + boxes[rows, 2]) / 2).argsort()
    return "".join(str(label - 1) for label in labels[rows[order]].tolist())


def _loops(boxes, scores, labels, score_threshold=0.5, iou_threshold=0.5):
    rows = [list(row) for row in zip(scores.tolist(), boxes.tolist(), labels.tolist(), strict=True)]
    rows = sorted((row for row in rows if row[0] >= score_threshold), reverse=True)
    digits = []
    for _, box, label in rows:
        is_double = False
        for kept, _ in digits:
            width, height = min(box[2], kept[2]) - max(box[0], kept[0]), min(box[3], kept[3]) - max(box[1], kept[1])
            shared = max(width, 0) * max(height, 0)
            areas = [(x2 - x1) * (y2 - y1) for x1, y1, x2, y2 in (box, kept)]
            is_double |= shared > iou_threshold * (sum(areas) - shared)
        if not is_double:
            digits.append((box, label))
    digits.sort(key=lambda digit: digit[0][0])
    return "".join("?0123456789"[label] for _, label in digits) or "-1"


def _records_by_library(file_names, detections, factors):
    records = []
    for file_name, image, factor in zip(file_names, detections, factors, strict=True):
        boxes = box_convert(image["boxes"] / factor, "xyxy", "xywh")
        for row in range(len(boxes)):
            record = {"image_id": int(file_name[:-4]), "category_id": image["labels"][row].item()}
            records.append(record | {"bbox": boxes[row].tolist(), "score": float(image["scores"][row])})
    return records


def _records_on_copies(file_names, detections, factors):
    copies = [{name: column.clone() for name, column in image.items()} for image in detections]
    for image, factor in zip(copies, factors, strict=True):
        image["boxes"] /= factor
        image["boxes"][:, 2:] -= image["boxes"][:, :2]
    return [
        {"category_id": int(label), "score": score.item(), "bbox": [float(x) for x in box], "image_id": int(name[:-4])}
        for name, image in zip(file_names, copies, strict=True)
        for box, score, label in zip(*(image[column] for column in ("boxes", "scores", "labels")), strict=True)
    ]


ORACLES = {"read_number": _workbook_number, "make_records": _records_by_library}
VARIATIONS = {
    "read_number": {"by centre, -1 as a number": _by_centre, "loops": _loops},
    "make_records": {"in place on copies": _records_on_copies},
}


def test_numbers_by_hand():
    assert reading.read_number(*reading.make_digits((10, 0.9, 9), (50, 0.95, 1))) == "91"
    assert reading.read_number(*reading.make_digits((50, 0.9, 9), (10, 0.8, 0))) == "09"
    assert reading.read_number(*reading.make_digits()) == "-1"
    assert reading.read_number(*reading.TWO_CLASSES) == "7"
    assert reading.read_number(*reading.make_digits((10, 0.2, 3))) == "-1"
    assert reading.read_number(*reading.STACKED) == "42"
    assert reading.read_number(*reading.make_digits((10, 0.9, 0))) == "0"
    assert reading.read_number(*reading.make_digits((100, 0.9, 3), (20, 0.8, 5))) == "53"


def test_the_values_of_known_mistakes_by_hand():
    mistakes = {mistake.code: mistake.function for mistake in reading.NUMBER.mistakes}
    assert mistakes["RD1a"](*reading.make_digits((50, 0.9, 9), (10, 0.8, 0))) == 9
    assert mistakes["RD3a"](*reading.TWO_CLASSES) in ("71", "17")
    assert mistakes["RD4a"](*reading.make_digits((10, 0.9, 9))) == "10"
    assert mistakes["RD5"](*reading.STACKED) == "2"
    assert mistakes["RD7a"](*reading.make_digits((10, 0.9, 9), (50, 0.95, 1))) == "19"
    assert mistakes["RD7b"](*reading.make_digits((100, 0.9, 3), (20, 0.8, 5))) == "35"


def test_a_record_by_hand():
    detection = {
        "boxes": torch.tensor([[10.0, 20, 30, 60]]),
        "scores": torch.tensor([0.5]),
        "labels": torch.tensor([4]),
    }
    expected = {"image_id": 7, "bbox": [10.0, 20.0, 20.0, 40.0], "score": 0.5, "category_id": 4}
    assert reading.make_records(["7.png"], [detection], [1.0]) == [expected]


def test_left_edges_and_centres_give_the_same_order_in_every_case():
    for seed in range(10):
        for case in reading.draw_reading_cases(torch.Generator().manual_seed(seed)):
            number = _by_centre(*case.inputs)
            assert str(number) == reading.read_number(*case.inputs)

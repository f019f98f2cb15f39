"""Right implementations of the task of suppression, and its contract by hand."""

import torch
import torchvision

from helpers.course.checks import suppression


def _loop(boxes, scores, iou_threshold):
    def measure_iou(first, second):
        width = min(first[2], second[2]) - max(first[0], second[0])
        height = min(first[3], second[3]) - max(first[1], second[1])
        if width <= 0 or height <= 0:
            return 0.0
        areas = [(x2 - x1) * (y2 - y1) for x1, y1, x2, y2 in (first, second)]
        return width * height / (sum(areas) - width * height)

    rows = sorted(range(len(boxes)), key=lambda row: -float(scores[row]))
    coordinates = boxes.tolist()
    kept = []
    for row in rows:
        if all(measure_iou(coordinates[row], coordinates[better]) < iou_threshold for better in kept):
            kept.append(row)
    return kept


def _squeezed(boxes, scores, iou_threshold):
    return torchvision.ops.nms(boxes, scores, iou_threshold).squeeze()


ORACLES = {"nms": torchvision.ops.nms}
VARIATIONS = {
    "nms": {
        "loops, a list, and boxes at the threshold removed": _loop,
        "a single row without an axis": _squeezed,
        "a list of tensors": lambda *inputs: list(torchvision.ops.nms(*inputs)),
        "int32": lambda *inputs: torchvision.ops.nms(*inputs).int(),
        "float64": lambda boxes, scores, limit: torchvision.ops.nms(boxes.double(), scores.double(), limit),
    }
}


def test_nms_by_hand():
    assert suppression.nms(suppression.NESTED, suppression.NESTED_SCORES, 0.5).tolist() == [1, 2]
    assert suppression.nms(suppression.NESTED, suppression.NESTED_SCORES, 0.6).tolist() == [1, 3, 2]
    assert suppression.nms(suppression.CHAIN, suppression.CHAIN_SCORES, 0.5).tolist() == [0, 2]


def test_an_equal_score_and_an_iou_at_the_threshold_are_not_probed():
    for case in suppression.draw_nms_cases(torch.Generator().manual_seed(3)):
        boxes, scores, iou_threshold = case.inputs
        assert len(scores.unique()) == len(scores)
        assert ((torchvision.ops.box_iou(boxes, boxes) - iou_threshold).abs() > 1e-3).all() or len(boxes) == 4


def test_the_values_of_known_mistakes():
    mistakes = {mistake.code: mistake.function for mistake in suppression.NMS.mistakes}
    nested = suppression.NESTED, suppression.NESTED_SCORES
    chain = suppression.CHAIN, suppression.CHAIN_SCORES, 0.5
    assert mistakes["NM1"](*nested, 0.5).tolist() == [0, 3]
    assert mistakes["NM2a"](*nested, 0.5) == [0, 2, 3]
    assert mistakes["NM3"](*chain) == [0]
    assert mistakes["NM4"](*nested, 0.5) == [1, 3, 2]
    assert mistakes["NM5"](*nested, 0.5).tolist() == [1, 3, 0, 2]
    assert mistakes["NM10"](*chain) == [0, 1]

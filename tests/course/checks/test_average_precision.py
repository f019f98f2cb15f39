"""Right implementations of the tasks of average precision, and their contracts by hand."""

import contextlib
import io

import numpy as np
import pytest
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from helpers.course.checks import average_precision
from helpers.course.checks.average_precision import compute_ap, list_sequences, make_table, precision_recall_curve
from helpers.detection import metrics
from helpers.tasks.drivers.average_precision import compute_ap_of_detections


def _measure_iou(first, second):
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = [(x2 - x1) * (y2 - y1) for x1, y1, x2, y2 in (first, second)]
    return width * height / (sum(areas) - width * height)


def _voc_curve(detections, targets, label, iou_threshold=0.5):
    """PASCAL VOC's rule in plain loops: only the best target may be hit, and only once."""
    targets_of = {}
    columns = (targets["boxes"].tolist(), targets["labels"].tolist(), targets["images"].tolist())
    for box, target_label, image in zip(*columns, strict=True):
        if target_label == label:
            targets_of.setdefault(image, []).append({"box": box, "is_hit": False})
    num_targets = sum(len(listed) for listed in targets_of.values())
    columns = (detections[name].tolist() for name in ("scores", "boxes", "labels", "images"))
    ranked = sorted((row for row in zip(*columns, strict=True) if row[2] == label), key=lambda row: -row[0])
    hits, recall, precision = 0, [], []
    for rank, (_, box, _, image) in enumerate(ranked, start=1):
        overlaps = [_measure_iou(box, target["box"]) for target in targets_of.get(image, [])]
        if overlaps and max(overlaps) >= iou_threshold:
            target = targets_of[image][overlaps.index(max(overlaps))]
            hits += not target["is_hit"]
            target["is_hit"] = True
        recall.append(hits / num_targets if num_targets else 0.0)
        precision.append(hits / rank)
    return recall, precision


def _library_curve(detections, targets, label, iou_threshold=0.5):
    """The hits and misses that pycocotools finds in each image, merged by score."""
    images = sorted({*detections["images"].tolist(), *targets["images"].tolist()})
    records = []
    for table in (detections, targets):
        rows = []
        columns = (table["boxes"].tolist(), table["labels"].tolist(), table["images"].tolist())
        scores = table["scores"].tolist() if "scores" in table else [0.0] * len(table["boxes"])
        for (x1, y1, x2, y2), row_label, image, score in zip(*columns, scores, strict=True):
            record = {"id": len(rows) + 1, "image_id": image, "category_id": row_label, "iscrowd": 0, "score": score}
            rows.append(record | {"bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1)})
        records.append(rows)
    with contextlib.redirect_stdout(io.StringIO()):
        coco = []
        for rows in records:
            content = COCO()
            content.dataset = {"images": [{"id": image} for image in images], "categories": [{"id": label}]}
            content.dataset["annotations"] = rows
            content.createIndex()
            coco.append(content)
        evaluation = COCOeval(coco[1], coco[0], "bbox")
        evaluation.params.iouThrs = np.array([iou_threshold])
        evaluation.params.maxDets = [100]
        evaluation.params.areaRng = [[0, 1e10]]
        evaluation.evaluate()
    matched = [image for image in evaluation.evalImgs if image is not None]
    num_targets = sum(len(image["gtIds"]) for image in matched)
    scores = np.concatenate([[], *(image["dtScores"] for image in matched)])
    is_hit = np.concatenate([[], *(image["dtMatches"][0] > 0 for image in matched)])
    hits = np.cumsum(is_hit[np.argsort(-scores, kind="stable")])
    return hits / max(num_targets, 1), hits / np.arange(1, len(hits) + 1)


def _ap_by_search(recall, precision, method="all-point"):
    """Sum over the recalls at which the curve rises; the mean at eleven recalls, with a small tolerance."""
    points = list(zip(np.asarray(recall).tolist(), np.asarray(precision).tolist(), strict=True))
    if method == "11-point":
        best = [max([p for r, p in points if r >= k / 10 - 1e-9], default=0.0) for k in range(11)]
        return sum(best) / 11
    if method != "all-point":
        raise ValueError("choose another method")
    area, reached = 0.0, 0.0
    for position, (point_recall, _) in enumerate(points):
        area += (point_recall - reached) * max(p for _, p in points[position:])
        reached = point_recall
    return area


def _curve_in_float32(detections, targets, label, iou_threshold=0.5):
    recall, precision = precision_recall_curve(detections, targets, label, iou_threshold)
    return torch.tensor(recall, dtype=torch.float32), torch.tensor(precision, dtype=torch.float32)


ORACLES = {"precision_recall_curve": _library_curve, "compute_ap": _ap_by_search}
VARIATIONS = {
    "precision_recall_curve": {"loops, VOC's rule, lists": _voc_curve, "float32 tensors": _curve_in_float32},
    "compute_ap": {
        "the workbook's own": metrics.compute_ap,
        "float32": lambda recall, precision, method="all-point": torch.tensor(compute_ap(recall, precision, method)),
    },
}

APS = {  # of the sequences: all-point, 11-point
    "one hit, one target": (1, 1),
    "two hits, two targets": (1, 1),
    "a hit and a duplicate, two targets": (0.5, 0.5455),
    "hit, false alarm, hit; two targets": (0.8333, 0.8485),
    "false alarm, hit, hit; two targets": (0.6667, 0.6667),
    "three hits, ten targets": (0.3, 0.3636),
    "a box at the place of a target of another image": (0, 0),
    "the best score is in an image without targets": (0.5, 0.5),
    "a target of another class at the same place": (1, 1),
    "scores that are not sorted": (1, 1),
}


@pytest.mark.parametrize(("title", "detections", "targets"), list_sequences())
def test_ap_of_each_sequence_by_hand(title, detections, targets):
    for method, value in zip(("all-point", "11-point"), APS[title], strict=True):
        ap = compute_ap_of_detections(compute_ap, precision_recall_curve, detections, targets, method)
        assert ap == pytest.approx(value, abs=1e-4)


def test_recall_and_precision_by_hand():
    sequences = {title: tables for title, *tables in list_sequences()}
    recall, precision = precision_recall_curve(*sequences["hit, false alarm, hit; two targets"], 0)
    assert recall.tolist() == [0.5, 0.5, 1]
    assert precision.tolist() == [1, 0.5, 2 / 3]


def test_where_the_two_rules_for_a_target_that_is_hit_differ_the_reference_follows_coco():
    first, second = [0.0, 0, 10, 10], [0.0, 0, 10, 16]
    detections = make_table((first, 0.9, 0, 0), (first, 0.8, 0, 0))
    targets = make_table((first, 0, 0, 0), (second, 0, 0, 0))
    assert precision_recall_curve(detections, targets, 0)[0].tolist() == [0.5, 1]
    assert _library_curve(detections, targets, 0)[0].tolist() == [0.5, 1]
    assert _voc_curve(detections, targets, 0)[0] == [0.5, 0.5]


def test_the_values_of_known_mistakes_by_hand():
    sequences = [tables for _, *tables in list_sequences()]
    curves = {mistake.code: mistake.function for mistake in average_precision.CURVE.mistakes}
    areas = {mistake.code: mistake.function for mistake in average_precision.AP.mistakes}

    def measure(code, number, method="all-point"):
        curve, area = curves.get(code, precision_recall_curve), areas.get(code, compute_ap)
        return compute_ap_of_detections(area, curve, *sequences[number - 1], method)

    values = [measure("AP1", number) for number in (1, 2, 4)]
    assert values == pytest.approx([0, 0.5, 0.2917], abs=1e-4)
    assert measure("AP2a", 1, "11-point") == pytest.approx(10 / 11)
    assert measure("AP2a", 6, "11-point") == pytest.approx(0.2727, abs=1e-4)
    assert measure("AP3", 3) == pytest.approx(1)
    assert measure("AP4a", 10) == pytest.approx(0.5)
    assert measure("AP5", 7) == pytest.approx(0.5)
    assert measure("AP6", 8) == pytest.approx(1)
    assert measure("AP7a", 5) == pytest.approx(0.5833, abs=1e-4)
    assert measure("AP8a", 6) == pytest.approx(1)
    assert measure("AP9a", 6) == pytest.approx(0.65)
    assert measure("AP11a", 9) == pytest.approx(0.25)
    assert measure("AP12", 6) == pytest.approx(0.2)
    assert measure("AP13", 6, "11-point") == pytest.approx(3 / 11)
    assert measure("AP14", 5, "11-point") == pytest.approx(0.5303, abs=1e-4)
    assert measure("AP15", 6) == pytest.approx(1)

"""COCO's metrics of digits against pycocotools, errors by kind, confusions and whole numbers."""

from __future__ import annotations

import contextlib
import io

import numpy as np
import pytest
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from helpers import coco
from helpers.average_precision import TWELVE, Detections
from helpers.digits.metrics import (
    KINDS,
    NO_NUMBER,
    NOTHING,
    choose_objects,
    count_confusions,
    count_kinds,
    evaluate_digits,
    find_correct,
    find_errors,
    measure_accuracy,
    measure_correct_iou,
    measure_recall_by_height,
    true_numbers,
)
from tests.digits.support import LEFT, RIGHT, build_detections, build_file

HALF_OFF = (10.0, 30.0, 30.0, 70.0)  # IoU with LEFT: 20 / 60


def build_truth(*images: list[tuple]) -> coco.BoxFile:
    """Return the truth of images from the `(box, digit)` of each object, image by image."""
    records = [(row, box, digit) for row, objects in enumerate(images) for box, digit in objects]
    return build_file(records, num_images=len(images))


def draw_random_case(seed: int, num_images: int = 40) -> tuple[coco.BoxFile, list[Detections]]:
    rng = np.random.default_rng(seed)
    images, detections = [], []
    for _ in range(num_images):
        corner = rng.integers(0, 40, (4, 2)).astype(float)
        boxes = np.hstack([corner, corner + rng.integers(8, 40, (4, 2))])
        digits = rng.integers(0, 10, 4)
        images.append(list(zip(boxes.tolist(), digits.tolist(), strict=True))[: rng.integers(0, 5)])
        count = rng.integers(0, 12)
        source = rng.integers(0, 4, count)
        noisy = np.maximum(boxes[source] + rng.normal(0, 3, (count, 4)), 0)
        noisy[:, 2:] = np.maximum(noisy[:, 2:], noisy[:, :2] + 1)
        guesses = np.where(rng.random(count) < 0.3, rng.integers(0, 10, count), digits[source])
        scores = np.sort(rng.random(count))[::-1]
        detections.append(build_detections(*zip(noisy.tolist(), scores.tolist(), guesses.tolist(), strict=True)))
    return build_truth(*images), detections


def test_metrics_equal_those_of_pycocotools_on_the_written_file(tmp_path):
    file, detections = draw_random_case(0)
    coco.write_boxes(tmp_path / "truth.json", file, "coco", [str(digit) for digit in range(10)])
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(tmp_path / "truth.json")
        results = [
            {"image_id": image, "category_id": label, "bbox": [x1, y1, x2 - x1, y2 - y1], "score": score}
            for image, image_detections in enumerate(detections, 1)
            for (x1, y1, x2, y2), score, label in zip(*(column.tolist() for column in image_detections), strict=True)
        ]
        evaluation = COCOeval(truth, truth.loadRes(results), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    metrics = evaluate_digits(file, detections)
    assert [metrics[name] for name in TWELVE] == pytest.approx(evaluation.stats.tolist(), abs=1e-9)
    for digit in range(10):
        precision = evaluation.eval["precision"][:, :, digit, 0, -1]
        assert metrics[f"ap_{digit}"] == pytest.approx(precision.mean(), abs=1e-9)
    assert 0.05 < metrics["ap50"] < 0.95


def find_kinds(objects: list[tuple], *records: tuple) -> list[str]:
    """Return the kinds of findings in one image with these objects and detections."""
    return find_errors(build_truth(objects), [build_detections(*records)]).kinds


def test_every_kind_of_error_by_hand():
    objects = [(LEFT, 1), (RIGHT, 7)]
    right = (RIGHT, 0.9, 7)
    assert find_kinds(objects, (LEFT, 0.95, 1), right) == ["right", "right"]
    assert find_kinds(objects, right) == ["right", "missed"]
    assert find_kinds(objects, (LEFT, 0.95, 4), right) == ["wrong class", "right"]
    assert find_kinds(objects, right, (HALF_OFF, 0.8, 1)) == ["right", "localisation error"]
    assert find_kinds(objects, right, (LEFT, 0.8, 1), (LEFT, 0.7, 4)) == ["right", "right", "extra"]
    assert find_kinds(objects, right, (LEFT, 0.8, 1), (HALF_OFF, 0.7, 1)) == ["right", "right", "extra"]
    assert find_kinds(objects, right, (LEFT, 0.8, 1), ((70.0, 0.0, 90.0, 30.0), 0.7, 1)) == ["right", "right", "extra"]
    assert find_kinds(objects, right, (LEFT, 0.4, 1)) == ["right", "missed"]  # below the score threshold
    assert find_kinds([], right) == ["extra"]
    assert find_kinds(objects) == ["missed", "missed"]


def test_findings_have_the_rows_of_objects_and_detections():
    file = build_truth([], [(LEFT, 1), (RIGHT, 7)])
    detections = build_detections((RIGHT, 0.9, 7), (LEFT, 0.8, 4), (LEFT, 0.7, 1))
    findings = find_errors(file, [build_detections(), detections])
    assert findings.images.tolist() == [1, 1, 1]
    assert findings.objects.tolist() == [1, 0, -1]
    assert findings.detections.tolist() == [0, 1, 2]
    assert findings.true_digits.tolist() == [7, 1, NOTHING]
    assert findings.predicted_digits.tolist() == [7, 4, 1]


def test_the_detection_with_the_higher_score_is_matched_first_to_the_object_it_overlaps_most():
    overlap = torch.tensor([[0.6, 0.7, 0.0], [0.9, 0.8, 0.3], [0.2, 0.9, 0.4]])
    assert choose_objects(overlap, 0.5) == [1, 0, -1]
    assert choose_objects(overlap, 0.5, 0.1) == [1, 0, 2]
    assert choose_objects(overlap[:0], 0.5) == []


@pytest.mark.parametrize("seed", range(3))
def test_every_object_and_every_detection_is_in_one_finding(seed):
    file, detections = draw_random_case(seed)
    findings = find_errors(file, detections, score_threshold=0.3)
    counts = count_kinds(findings)
    matched = counts["right"] + counts["wrong class"] + counts["localisation error"]
    assert matched + counts["missed"] == len(file.boxes)
    assert matched + counts["extra"] == sum(int((image.scores >= 0.3).sum()) for image in detections)
    assert sorted(findings.objects[findings.objects >= 0].tolist()) == list(range(len(file.boxes)))
    assert tuple(counts) == KINDS
    assert min(counts.values()) > 0


@pytest.mark.parametrize("seed", range(3))
def test_a_confusion_matrix_counts_objects_by_row_and_detections_by_column(seed):
    file, detections = draw_random_case(seed)
    findings = find_errors(file, detections, score_threshold=0.3)
    matrix = count_confusions(findings)
    labels = torch.cat([image.above(0.3).labels for image in detections]).numpy()
    assert matrix[:NOTHING].sum(1).tolist() == np.bincount(file.labels, minlength=10).tolist()
    assert matrix[:, :NOTHING].sum(0).tolist() == np.bincount(labels - 1, minlength=10).tolist()
    counts = count_kinds(findings)
    assert np.trace(matrix[:NOTHING, :NOTHING]) == counts["right"]
    assert matrix[:NOTHING, NOTHING].sum() == counts["missed"] + counts["localisation error"]
    assert matrix[NOTHING, :NOTHING].sum() == counts["extra"] + counts["localisation error"]


def test_a_confusion_by_hand():
    file = build_truth([(LEFT, 1), (RIGHT, 7)])
    matrix = count_confusions(find_errors(file, [build_detections((LEFT, 0.9, 4), (HALF_OFF, 0.8, 7))]))
    assert {tuple(place): matrix[tuple(place)] for place in np.argwhere(matrix).tolist()} == {
        (1, 4): 1,
        (7, NOTHING): 1,
        (NOTHING, 7): 1,
    }


def test_true_numbers_are_the_digits_from_left_to_right_in_any_order_of_the_records():
    file = build_truth([(RIGHT, 9), (LEFT, 0)], [], [(LEFT, 5)])
    assert true_numbers(file) == ["09", NO_NUMBER, "5"]
    assert true_numbers(build_truth()) == []


def test_accuracy_compares_whole_numbers_so_a_lost_zero_is_an_error():
    assert measure_accuracy(["9", "12", "-1", "7"], ["09", "12", "3", "7"]) == 0.5
    for predicted, true in ((["1"], ["1", "2"]), ([], [])):
        with pytest.raises(ValueError, match=f"{len(predicted)} numbers are predicted, but {len(true)} are true"):
            measure_accuracy(predicted, true)


def test_detections_for_another_number_of_images_are_refused():
    for function in (evaluate_digits, find_errors):
        with pytest.raises(ValueError, match="given for 1 images, but the file has 2"):
            function(build_truth([], []), [build_detections()])


def test_an_object_is_correct_if_a_detection_above_the_threshold_has_its_class():
    file = build_truth([(LEFT, 3), (RIGHT, 4)], [(LEFT, 5)])
    detections = [build_detections((RIGHT, 0.9, 4), (LEFT, 0.8, 8)), build_detections((LEFT, 0.4, 5))]
    assert find_correct(file, detections).tolist() == [False, True, False]
    assert find_correct(file, detections, score_threshold=0.3).tolist() == [False, True, True]


def test_recall_by_height_by_hand():
    boxes = [(0, 0, 10, 20), (20, 0, 30, 40), (40, 0, 50, 60), (0, 0, 10, 40)]  # 0.1, 0.2, 0.3 and 0.2 of 200 px
    file = build_file([(0, boxes[0], 1), (0, boxes[1], 2), (0, boxes[2], 3), (1, boxes[3], 4)])
    recalls = measure_recall_by_height(file, np.array([False, True, True, False]), (0, 0.2, 0.3, 0.5, 1))
    assert [recall.value for recall in recalls] == [0, 0.5, 1, 0]
    # Band 0.2 to 0.3: draws of image 0 alone give 1, draws of image 1 alone 0. The other bands have one digit or none.
    assert [(recall.low, recall.high) for recall in recalls] == [(0, 0), (0, 1), (1, 1), (0, 0)]


@pytest.mark.parametrize("seed", [0, 1])
def test_recall_by_height_averages_to_the_share_of_all_digits_and_lies_in_its_interval(seed):
    rng = np.random.default_rng(seed)
    corners = rng.uniform(0, 60, (80, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(4, 140, (80, 2))], axis=1)
    owners = np.sort(rng.integers(0, 20, 80))
    file = build_file([(owner, tuple(box), 1) for owner, box in zip(owners.tolist(), boxes, strict=True)], 20)
    is_correct = rng.random(80) < 0.6
    borders = (0, 0.2, 0.4, 1)
    recalls = measure_recall_by_height(file, is_correct, borders)
    heights = (boxes[:, 3] - boxes[:, 1]) / 200
    counts = np.histogram(heights, borders)[0]
    assert np.average([recall.value for recall in recalls], weights=counts) == pytest.approx(is_correct.mean())
    assert all(recall.low <= recall.value <= recall.high for recall in recalls)


def test_the_mean_iou_is_that_of_correct_detections_only():
    x1, y1, x2, y2 = LEFT
    narrow = (x1, y1, x1 + 0.6 * (x2 - x1), y2)  # IoU 0.6
    file = build_truth([(LEFT, 3), (RIGHT, 4)], [(LEFT, 5)])
    detections = [build_detections((narrow, 0.9, 3), (RIGHT, 0.8, 8)), build_detections((LEFT, 0.7, 5))]
    assert measure_correct_iou(file, detections) == pytest.approx((0.6 + 1) / 2)
    assert measure_correct_iou(file, detections, score_threshold=0.8) == pytest.approx(0.6)
    assert measure_correct_iou(file, detections, score_threshold=0.95) == 0

"""COCO's twelve numbers and the precision of each class, against pycocotools and by hand."""

from __future__ import annotations

import contextlib
import io

import numpy as np
import pytest
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from helpers import intervals
from helpers.average_precision import TWELVE, Detections, TrueBoxes, evaluate_boxes, resample_ap

NAMES = {1: "one", 2: "two", 7: "seven"}
BOX, FAR_BOX = (10.0, 10.0, 30.0, 30.0), (100.0, 100.0, 140.0, 140.0)


def build_truth(*objects: tuple) -> TrueBoxes:
    """Return the objects from `(image, box, label, evaluated = True)` each."""
    rows = [(*values, True)[:4] for values in objects]
    owners, boxes, labels, evaluated = zip(*rows, strict=True) if rows else ([], [], [], [])
    boxes = np.array(boxes, float).reshape(-1, 4)
    return TrueBoxes(np.array(owners, int), boxes, np.array(labels, int), np.array(evaluated, bool))


def build_detections(*rows: tuple) -> Detections:
    """Return the detections of one image from `(box, score, label)` each, best first."""
    boxes, scores, labels = zip(*rows, strict=True) if rows else ([], [], [])
    return Detections(torch.tensor(boxes).reshape(-1, 4), torch.tensor(scores).float(), torch.tensor(labels).long())


def draw_random_case(seed: int, num_images: int = 30) -> tuple[TrueBoxes, list[Detections]]:
    """Return random truth, some of it ignored, images with many detections and with none, and tied scores."""
    rng = np.random.default_rng(seed)
    objects, detections = [], []
    for image in range(num_images):
        corner = rng.integers(0, 150, (6, 2)).astype(float)
        boxes = np.hstack([corner, corner + rng.integers(8, 160, (6, 2))])
        labels = rng.choice(list(NAMES), 6)
        count = rng.integers(0, 7)
        objects += [(image, box, label, rng.random() > 0.15) for box, label in zip(boxes, labels, strict=True)][:count]
        num_detections = 0 if image % 7 == 0 else rng.integers(0, 400 if image == 1 else 60)
        source = rng.integers(0, 6, num_detections)
        noisy = boxes[source] + rng.normal(0, 4, (num_detections, 4))
        noisy[:, 2:] = np.maximum(noisy[:, 2:], noisy[:, :2] + 1)
        scores = np.sort(rng.integers(0, 20, num_detections))[::-1] / 20
        columns = (noisy.astype(np.float32), scores.astype(np.float32), labels[source])
        detections.append(Detections(*(torch.from_numpy(column.copy()) for column in columns)))
    return build_truth(*objects), detections


def evaluate_with_pycocotools(truth: TrueBoxes, detections: list[Detections]) -> dict[str, float]:
    """Return the same numbers from pycocotools, with records made in a loop."""
    annotations, results = [], []
    for owner, (x1, y1, x2, y2), label, evaluated in zip(*(column.tolist() for column in truth), strict=True):
        area = (x2 - x1) * (y2 - y1) if evaluated else 1e12
        record = {"image_id": owner, "category_id": label, "bbox": [x1, y1, x2 - x1, y2 - y1], "area": area}
        annotations.append({**record, "id": len(annotations) + 1, "iscrowd": 0})
    for image, image_detections in enumerate(detections):
        for (x1, y1, x2, y2), score, label in zip(*(column.tolist() for column in image_detections), strict=True):
            box = [x1, y1, x2 - x1, y2 - y1]
            results.append({"image_id": image, "category_id": label, "bbox": box, "score": score})
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {
            "images": [{"id": image} for image in range(len(detections))],
            "categories": [{"id": label} for label in NAMES],
            "annotations": annotations,
        }
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(results), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    metrics = dict(zip(TWELVE, evaluation.stats, strict=True))
    for row, name in enumerate(NAMES.values()):
        precision = evaluation.eval["precision"][:, :, row, 0, -1]
        metrics |= {f"ap_{name}": precision.mean(), f"ap50_{name}": precision[0].mean()}
    return metrics


@pytest.mark.parametrize("seed", range(4))
def test_all_numbers_are_those_of_pycocotools(seed):
    truth, detections = draw_random_case(seed)
    metrics = evaluate_boxes(truth, detections, NAMES)
    assert metrics == pytest.approx(evaluate_with_pycocotools(truth, detections), abs=1e-9)
    assert 0.1 < metrics["ap50"] < 0.9  # the case is neither empty nor trivial
    assert 0 < metrics["ar_1"] < metrics["ar_10"] < metrics["ar"] < 1


def test_classes_are_named_by_their_labels_in_whatever_order_the_names_come():
    truth, detections = draw_random_case(4)
    backwards = dict(reversed(NAMES.items()))
    assert evaluate_boxes(truth, detections, backwards) == evaluate_boxes(truth, detections, NAMES)


def test_a_number_without_ground_truth_is_minus_one():
    metrics = evaluate_boxes(build_truth((0, BOX, 1)), [build_detections((BOX, 0.9, 1), (FAR_BOX, 0.8, 2))], NAMES)
    undefined = {name for name, value in metrics.items() if value == -1}
    others = {f"{kind}_{name}" for kind in ("ap", "ap50") for name in ("two", "seven")}
    assert undefined == {"ap_medium", "ap_large", "ar_medium", "ar_large"} | others
    assert {value for name, value in metrics.items() if name not in undefined} == {1.0}


def test_without_any_detection_every_object_is_missed():
    metrics = evaluate_boxes(build_truth((0, BOX, 1)), [build_detections()], NAMES)
    assert (metrics["ap"], metrics["ar"], metrics["ap_two"]) == (0.0, 0.0, -1.0)


def test_without_any_image_nothing_can_be_measured():
    assert set(evaluate_boxes(build_truth(), [], NAMES).values()) == {-1.0}


def test_one_detection_of_an_ignored_object_is_ignored_and_a_second_is_a_false_positive():
    truth = build_truth((0, BOX, 1, False), (0, FAR_BOX, 1))
    once = build_detections((BOX, 0.9, 1), (FAR_BOX, 0.8, 1))
    twice = build_detections((BOX, 0.9, 1), (BOX, 0.85, 1), (FAR_BOX, 0.8, 1))
    neither = build_detections((FAR_BOX, 0.8, 1))
    ap50 = [evaluate_boxes(truth, [image_detections], NAMES)["ap50"] for image_detections in (once, twice, neither)]
    assert ap50 == pytest.approx([1.0, 0.5, 1.0])


def test_above_keeps_the_best_first():
    detections = build_detections((BOX, 0.9, 1), (FAR_BOX, 0.5, 2), (BOX, 0.2, 7))
    assert detections.above(0.5).labels.tolist() == [1, 2]
    assert detections.above(0.95).boxes.shape == (0, 4)


def repeat_images(
    truth: TrueBoxes, detections: list[Detections], images: np.ndarray
) -> tuple[TrueBoxes, list[Detections]]:
    """Return truth and detections of a split that consists of the given images, some of them several times."""
    objects = [
        (new_image, truth.boxes[row], truth.labels[row], truth.evaluated[row])
        for new_image, image in enumerate(images)
        for row in np.flatnonzero(truth.owners == image)
    ]
    return build_truth(*objects), [detections[image] for image in images]


@pytest.mark.parametrize("seed", [0, 1])
def test_a_draw_of_images_is_evaluated_as_a_split_of_these_images(seed):
    truth, detections = draw_random_case(seed)
    draws = np.vstack([np.arange(len(detections)), intervals.resample_images(len(detections), 4, seed)])
    resampled = resample_ap(truth, detections, NAMES, draws)
    for number, images in enumerate(draws):
        metrics = evaluate_boxes(*repeat_images(truth, detections, images), NAMES)
        for name, values in resampled.items():
            assert values[number] == pytest.approx(metrics[name], abs=1e-12)

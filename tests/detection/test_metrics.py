"""Average precision against pycocotools and by hand; assignment of detections; causes of failures."""

import contextlib
import io

import numpy as np
import pytest
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from helpers.detection.dataset import ShapeDetectionDataset
from helpers.detection.metrics import (
    Detections,
    assign_detections,
    choose_score_threshold,
    compute_ap,
    evaluate_detections,
    explain_failures,
    oracle_detections,
    precision_recall_curve,
)
from helpers.detection.scenes import CLASS_NAMES

CIRCLE, SQUARE, TRIANGLE = range(3)
BOX, FAR_BOX = (10.0, 10.0, 30.0, 30.0), (100.0, 100.0, 140.0, 140.0)


def build_dataset(images: list[list[tuple]]) -> ShapeDetectionDataset:
    """Return a dataset of blank images from `(box, label, visibility = 1, ignored = False)` per object."""
    shape = (len(images), 5)
    boxes, labels = torch.zeros(*shape, 4), torch.full(shape, -1)
    visibility, ignored = torch.zeros(shape), torch.zeros(shape, dtype=torch.bool)
    for image, objects in enumerate(images):
        for row, (box, label, *rest) in enumerate(objects):
            boxes[image, row], labels[image, row] = torch.tensor(box), label
            visibility[image, row], ignored[image, row] = [*rest, *(1.0, False)[len(rest) :]]
    pixels = torch.full((len(images), 224, 224, 3), 255, dtype=torch.uint8)
    return ShapeDetectionDataset(pixels, boxes, labels, visibility, ignored, torch.arange(len(images)))


def build_detections(*rows: tuple) -> Detections:
    """Return the detections of one image from `(box, score, label)` each, best first."""
    boxes, scores, labels = zip(*rows, strict=True) if rows else ([], [], [])
    return Detections(torch.tensor(boxes).reshape(-1, 4), torch.tensor(scores).float(), torch.tensor(labels).long())


def draw_random_case(seed: int, num_images: int = 40) -> tuple[ShapeDetectionDataset, list[Detections]]:
    """Return random truth (with ignored objects and empty images) and detections around it (with tied scores)."""
    generator = torch.Generator().manual_seed(seed)
    images, detections = [], []
    for image in range(num_images):
        corner = torch.randint(0, 150, (5, 2), generator=generator).float()
        boxes = torch.cat([corner, corner + torch.randint(16, 160, (5, 2), generator=generator)], dim=1)
        labels = torch.randint(0, 3, (5,), generator=generator)
        visibility, luck = torch.rand(2, 5, generator=generator)
        num_objects = int(torch.randint(0, 6, (), generator=generator))
        objects = zip(boxes.tolist(), labels.tolist(), visibility.tolist(), (luck < 0.15).tolist(), strict=True)
        images.append(list(objects)[:num_objects])
        num_detections = 0 if image % 7 == 0 else int(torch.randint(0, 60, (), generator=generator))
        source = torch.randint(0, 5, (num_detections,), generator=generator)
        noisy = boxes[source] + 5 * torch.randn(num_detections, 4, generator=generator)
        noisy[:, 2:] = torch.maximum(noisy[:, 2:], noisy[:, :2] + 1)
        scores = torch.randint(0, 20, (num_detections,), generator=generator).sort(descending=True)[0] / 20
        is_confused = torch.rand(num_detections, generator=generator) < 0.2
        detections.append(Detections(noisy, scores, torch.where(is_confused, 2 - labels[source], labels[source])))
    return build_dataset(images), detections


def evaluate_with_pycocotools(dataset: ShapeDetectionDataset, detections: list[Detections]) -> dict[str, float]:
    """Return the same metrics from pycocotools, from records built one by one."""
    truth, results = [], []
    for image in range(len(dataset)):
        columns = (dataset.boxes, dataset.labels, dataset.ignored)
        for (x1, y1, x2, y2), label, ignored in zip(*(c[image].tolist() for c in columns), strict=True):
            if label >= 0:
                area = 1e12 if ignored else (x2 - x1) * (y2 - y1)
                record = {"image_id": image, "category_id": label, "bbox": [x1, y1, x2 - x1, y2 - y1], "area": area}
                truth.append({**record, "id": len(truth) + 1, "iscrowd": 0})
        for (x1, y1, x2, y2), score, label in zip(*(c.tolist() for c in detections[image]), strict=True):
            box = [x1, y1, x2 - x1, y2 - y1]
            results.append({"image_id": image, "category_id": label, "bbox": box, "score": score})
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {
            "images": [{"id": image} for image in range(len(dataset))],
            "categories": [{"id": label} for label in range(3)],
            "annotations": truth,
        }
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(results), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    metrics = dict(zip(("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large"), evaluation.stats[:6], strict=True))
    metrics["ar"] = evaluation.stats[8]
    for label, name in enumerate(CLASS_NAMES):
        precision = evaluation.eval["precision"][:, :, label, 0, -1]
        metrics[f"ap_{name}"], metrics[f"ap50_{name}"] = precision.mean(), precision[0].mean()
    return metrics


@pytest.mark.parametrize("minimum_visibility", [0.0, 0.3])
@pytest.mark.parametrize("seed", range(4))
def test_average_precision_is_that_of_pycocotools(seed, minimum_visibility):
    dataset, detections = draw_random_case(seed)
    dataset = dataset.hide(minimum_visibility)
    metrics = evaluate_detections(dataset, detections)
    assert metrics == pytest.approx(evaluate_with_pycocotools(dataset, detections), abs=1e-9)
    assert 0.1 < metrics["ap50"] < 0.9  # the case is neither empty nor trivial


def test_the_truth_itself_scores_one():
    dataset = build_dataset([[(BOX, CIRCLE), (FAR_BOX, SQUARE)], [(FAR_BOX, TRIANGLE)]])
    metrics = evaluate_detections(dataset, oracle_detections(dataset, 0.0))
    assert metrics["ap_large"] == -1  # no object is large: undefined, COCO says -1
    assert {value for name, value in metrics.items() if name != "ap_large"} == {1.0}


def test_no_detection_at_all_scores_zero():
    dataset = build_dataset([[(BOX, CIRCLE)], []])
    metrics = evaluate_detections(dataset, [build_detections()] * 2)
    assert (metrics["ap"], metrics["ap50_circle"], metrics["ar"], metrics["ap_square"]) == (0.0, 0.0, 0.0, -1.0)


def test_a_class_without_objects_is_left_out_of_the_mean():
    dataset = build_dataset([[(BOX, CIRCLE)]])
    metrics = evaluate_detections(dataset, [build_detections((BOX, 0.9, CIRCLE), (FAR_BOX, 0.8, SQUARE))])
    assert (metrics["ap"], metrics["ap_square"]) == (1.0, -1.0)


def test_one_detection_of_an_ignored_object_is_ignored_and_a_second_is_wrong():
    dataset = build_dataset([[(BOX, CIRCLE, 0.05), (FAR_BOX, CIRCLE)]])
    once = build_detections((BOX, 0.9, CIRCLE), (FAR_BOX, 0.8, CIRCLE))
    twice = build_detections((BOX, 0.9, CIRCLE), (BOX, 0.85, CIRCLE), (FAR_BOX, 0.8, CIRCLE))
    neither = build_detections((FAR_BOX, 0.8, CIRCLE))
    ap50 = [evaluate_detections(dataset.hide(0.1), [detections])["ap50"] for detections in (once, twice, neither)]
    assert ap50 == pytest.approx([1.0, 0.5, 1.0])


def test_a_small_detection_inside_an_ignored_object_is_wrong():
    # COCO's rule for crowds would ignore it, because all of it lies inside.
    dataset = build_dataset([[((0.0, 0.0, 100.0, 100.0), TRIANGLE, 0.0), (FAR_BOX, TRIANGLE)]])
    inside = build_detections(((10.0, 10.0, 40.0, 40.0), 0.9, TRIANGLE), (FAR_BOX, 0.8, TRIANGLE))
    assert evaluate_detections(dataset.hide(0.1), [inside])["ap50"] == pytest.approx(0.5)


def test_what_is_hidden_and_what_was_ignored_before_are_both_excluded():
    dataset, detections = draw_random_case(5)
    hidden = dataset.hide(0.3)
    visible_only = build_dataset(
        [
            [
                (box, label, 1.0, ignored)
                for box, label, ignored in zip(*(column.tolist() for column in columns), strict=True)
            ]
            for columns in (
                (example.boxes, example.labels, example.ignored | (example.visibility < 0.3))
                for example in map(dataset.example, range(len(dataset)))
            )
        ]
    )
    assert evaluate_detections(hidden, detections) == evaluate_detections(visible_only, detections)
    assert evaluate_detections(hidden, detections) != evaluate_detections(dataset, detections)


def test_detections_for_another_number_of_images_are_refused():
    with pytest.raises(ValueError, match="given for 1 images, but the dataset has 2"):
        evaluate_detections(build_dataset([[], []]), [build_detections()])


def test_average_precision_by_hand():
    # Five objects; seven detections, best first: right, right, wrong, right, wrong, wrong, right. One is missed.
    recall = [0.2, 0.4, 0.4, 0.6, 0.6, 0.6, 0.8]
    precision = [1, 1, 2 / 3, 3 / 4, 3 / 5, 1 / 2, 4 / 7]
    # Best precision at recall 0..0.4 is 1, up to 0.6 it is 3/4, up to 0.8 it is 4/7, beyond it is 0.
    assert compute_ap(recall, precision) == pytest.approx(0.4 * 1 + 0.2 * 3 / 4 + 0.2 * 4 / 7)
    # The eleven points: 0, 0.1, 0.2, 0.3, 0.4 | 0.5, 0.6 | 0.7, 0.8 | 0.9, 1
    assert compute_ap(recall, precision, "11-point") == pytest.approx((5 * 1 + 2 * 3 / 4 + 2 * 4 / 7) / 11)


def test_eleven_points_reach_the_recall_that_equals_them():
    for tenths in range(1, 11):
        assert compute_ap([tenths / 10], [1.0], "11-point") == pytest.approx((tenths + 1) / 11)


def test_average_precision_of_nothing_is_zero_and_of_everything_one():
    for method in ("all-point", "11-point"):
        assert compute_ap([], [], method) == 0.0
        assert compute_ap([0.5, 1.0], [1.0, 1.0], method) == 1.0


def test_an_unknown_method_is_refused():
    with pytest.raises(ValueError, match="choose 'all-point' or '11-point'"):
        compute_ap([1.0], [1.0], "12-point")


@pytest.mark.parametrize("minimum_visibility", [0.0, 0.3])
def test_the_area_under_the_curve_is_within_a_hundred_and_first_of_coco(minimum_visibility):
    differences = []
    for seed in range(4):
        dataset, detections = draw_random_case(seed)
        dataset = dataset.hide(minimum_visibility)
        metrics = evaluate_detections(dataset, detections)
        for label, name in enumerate(CLASS_NAMES):
            curve = precision_recall_curve(dataset, detections, label)
            differences.append(compute_ap(curve.recall, curve.precision) - metrics[f"ap50_{name}"])
            # COCO's own 101 points on our curve: the same number.
            envelope = np.maximum.accumulate(curve.precision[::-1])[::-1]
            at_points = np.append(envelope, 0.0)[np.searchsorted(curve.recall, np.linspace(0, 1, 101))]
            assert at_points.mean() == pytest.approx(metrics[f"ap50_{name}"], abs=1e-9)
    assert np.abs(differences).max() < 1 / 101
    assert np.abs(differences).max() > 1e-5


def test_a_curve_by_hand():
    dataset = build_dataset([[(BOX, CIRCLE), (FAR_BOX, CIRCLE)], [(BOX, CIRCLE), (FAR_BOX, SQUARE)]])
    first = build_detections((BOX, 0.9, CIRCLE), (BOX, 0.7, CIRCLE))
    second = build_detections((FAR_BOX, 0.8, CIRCLE), (BOX, 0.6, CIRCLE), (FAR_BOX, 0.5, SQUARE))
    curve = precision_recall_curve(dataset, [first, second], CIRCLE)
    assert curve.scores.tolist() == pytest.approx([0.9, 0.8, 0.7, 0.6])
    assert curve.recall.tolist() == pytest.approx([1 / 3, 1 / 3, 1 / 3, 2 / 3])
    assert curve.precision.tolist() == pytest.approx([1, 1 / 2, 1 / 3, 1 / 2])


def test_a_curve_of_a_class_without_objects_is_refused():
    with pytest.raises(ValueError, match="no square that is not ignored"):
        precision_recall_curve(build_dataset([[(BOX, CIRCLE)]]), [build_detections()], SQUARE)


def test_the_better_score_is_matched_and_the_second_detection_is_wrong():
    dataset = build_dataset([[(BOX, CIRCLE), (FAR_BOX, SQUARE)]])
    near_box = (12.0, 10.0, 32.0, 30.0)  # IoU with BOX: 18 * 20 / (2 * 400 - 360) = 9 / 11
    detections = build_detections((near_box, 0.9, CIRCLE), (BOX, 0.8, CIRCLE), (FAR_BOX, 0.7, CIRCLE))
    assignment = assign_detections(dataset, [detections])
    assert assignment.matched.tolist() == [[0, -1, -1]]
    assert assignment.iou[0].tolist() == pytest.approx([9 / 11, 0, 0])
    assert assignment.is_true_positive.tolist() == [[True, False, False]]
    assert assignment.is_false_positive.tolist() == [[False, True, True]]
    assert assignment.is_missed.tolist() == [[False, True, False, False, False]]


def test_an_ignored_object_of_higher_iou_is_matched_last():
    dataset = build_dataset([[(BOX, CIRCLE, 0.0), ((12.0, 10.0, 32.0, 30.0), CIRCLE)]])
    assignment = assign_detections(dataset.hide(0.1), [build_detections((BOX, 0.9, CIRCLE))])
    assert assignment.matched.tolist() == [[1]]
    assert not assignment.is_missed.any()


def test_a_score_threshold_only_removes_the_last_detections():
    dataset, detections = draw_random_case(6)
    unlimited = assign_detections(dataset, detections)
    limited = assign_detections(dataset, detections, score_threshold=0.5)
    num_kept = (limited.labels >= 0).sum()
    assert 0 < num_kept < (unlimited.labels >= 0).sum()
    width = limited.labels.shape[1]
    is_kept = limited.labels >= 0
    np.testing.assert_array_equal(limited.matched[is_kept], unlimited.matched[:, :width][is_kept])


def test_every_detection_is_right_wrong_or_ignored_and_every_object_matched_or_missed():
    dataset, detections = draw_random_case(7)
    dataset = dataset.hide(0.3)
    assignment = assign_detections(dataset, detections)
    real = assignment.labels >= 0
    on_ignored = real & (assignment.matched >= 0) & ~assignment.is_true_positive
    assert (assignment.is_true_positive.astype(int) + assignment.is_false_positive + on_ignored == real).all()
    is_evaluated = (dataset.labels >= 0) & ~dataset.ignored
    assert assignment.is_true_positive.sum() + assignment.is_missed.sum() == is_evaluated.sum()


def test_the_best_threshold_by_hand():
    dataset = build_dataset([[(BOX, CIRCLE), (FAR_BOX, SQUARE)]])
    detections = build_detections((BOX, 0.9, CIRCLE), (BOX, 0.6, SQUARE), (FAR_BOX, 0.6, SQUARE), (BOX, 0.2, TRIANGLE))
    # F1: 2 / 3 from 0.9; the pair at 0.6 stays together, 4 / 5; from 0.2, 4 / 6.
    assert choose_score_threshold(dataset, [detections]) == pytest.approx(0.6)


def test_without_detections_the_best_threshold_is_one():
    assert choose_score_threshold(build_dataset([[(BOX, CIRCLE)]]), [build_detections()]) == 1.0


def test_the_best_threshold_has_the_highest_f1_of_all():
    dataset, detections = draw_random_case(8)

    def measure_f1(threshold: float) -> float:
        assignment = assign_detections(dataset, detections, score_threshold=threshold)
        right = assignment.is_true_positive.sum()
        return 2 * right / (2 * right + assignment.is_false_positive.sum() + assignment.is_missed.sum())

    scores = torch.cat([image.scores for image in detections]).unique().tolist()
    assert measure_f1(choose_score_threshold(dataset, detections)) == max(map(measure_f1, scores))


def explain(objects: list[tuple], *rows: tuple) -> list[tuple[str, str]]:
    failures = explain_failures(build_dataset([objects]), [build_detections(*rows)], score_threshold=0.3)
    return [(failure.kind, failure.cause) for failure in failures]


def test_a_missed_object_has_the_first_cause_that_applies():
    shifted = (100.0, 120.0, 140.0, 160.0)  # IoU with FAR_BOX: 1 / 3
    twin = (100.0, 105.0, 140.0, 145.0)  # IoU with FAR_BOX: 35 / 45, more than suppression leaves
    border = (0.0, 50.0, 40.0, 90.0)
    assert explain([(border, SQUARE, 0.05)]) == [("missed", "hidden")]
    assert explain([(border, SQUARE, 0.8)]) == [("missed", "overlapped")]
    assert explain([(FAR_BOX, SQUARE), (twin, SQUARE)], (FAR_BOX, 0.9, SQUARE)) == [("missed", "overlapped")]
    assert explain([(border, SQUARE)]) == [("missed", "border")]
    assert ("missed", "confused class") in explain([(FAR_BOX, SQUARE)], (FAR_BOX, 0.9, CIRCLE))
    assert ("missed", "loose") in explain([(FAR_BOX, SQUARE)], (shifted, 0.9, SQUARE))
    assert explain([(FAR_BOX, SQUARE)], (FAR_BOX, 0.2, SQUARE)) == [("missed", "unseen")]


def test_a_false_positive_has_the_first_cause_that_applies():
    shifted = (100.0, 120.0, 140.0, 160.0)
    assert explain([(FAR_BOX, SQUARE)], (FAR_BOX, 0.9, SQUARE), (FAR_BOX, 0.8, SQUARE)) == [
        ("false positive", "duplicate")
    ]
    assert ("false positive", "confused class") in explain([(FAR_BOX, SQUARE)], (FAR_BOX, 0.9, CIRCLE))
    assert ("false positive", "loose") in explain([(FAR_BOX, SQUARE)], (shifted, 0.9, SQUARE))
    assert ("false positive", "background") in explain([(FAR_BOX, SQUARE)], (BOX, 0.9, SQUARE))


def test_every_failure_is_explained_once():
    dataset, detections = draw_random_case(9)
    dataset = dataset.hide(0.2)
    failures = explain_failures(dataset, detections, score_threshold=0.3)
    assignment = assign_detections(dataset, detections, score_threshold=0.3)
    missed = [(failure.image, failure.row) for failure in failures if failure.kind == "missed"]
    wrong = [(failure.image, failure.row) for failure in failures if failure.kind == "false positive"]
    assert sorted(missed) == [tuple(pair) for pair in np.argwhere(assignment.is_missed).tolist()]
    assert sorted(wrong) == [tuple(pair) for pair in np.argwhere(assignment.is_false_positive).tolist()]


def test_a_failure_has_the_box_and_the_class_of_its_object_or_detection():
    dataset = build_dataset([[(BOX, CIRCLE)], [(FAR_BOX, SQUARE)]])
    detections = [build_detections((FAR_BOX, 0.9, TRIANGLE)), build_detections((FAR_BOX, 0.8, SQUARE))]
    failures = explain_failures(dataset, detections, score_threshold=0.3)
    assert [(failure.kind, failure.image, failure.row, failure.label, failure.box) for failure in failures] == [
        ("missed", 0, 0, CIRCLE, BOX),
        ("false positive", 0, 0, TRIANGLE, FAR_BOX),
    ]


@pytest.fixture(scope="module")
def handout_val() -> ShapeDetectionDataset:
    """Return the handout's reported split, drawn instead of read: the same objects."""
    return ShapeDetectionDataset.draw(1200, seed=641).select(slice(1000, 1200))


@pytest.mark.parametrize(
    ("minimum_visibility", "nms_threshold", "all_point", "coco"),
    [(0.0, None, 0.960, 0.954), (0.05, None, 0.947, 0.941), (0.05, 0.5, 0.911, 0.908), (0.05, 0.7, 0.938, 0.934)],
)
def test_hidden_objects_and_suppression_limit_a_perfect_detector(
    handout_val, minimum_visibility, nms_threshold, all_point, coco
):
    detections = oracle_detections(handout_val, minimum_visibility, nms_threshold)
    curves = [precision_recall_curve(handout_val, detections, label) for label in range(3)]
    areas = [compute_ap(curve.recall, curve.precision) for curve in curves]
    assert np.mean(areas) == pytest.approx(all_point, abs=5e-4)
    assert evaluate_detections(handout_val, detections)["ap50"] == pytest.approx(coco, abs=5e-4)


def test_a_perfect_detector_has_an_ap_of_1_on_visible_objects(handout_val):
    assert evaluate_detections(handout_val.hide(0.1), oracle_detections(handout_val, 0.1))["ap"] == pytest.approx(1.0)

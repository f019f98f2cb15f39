"""Adapters for suppression and average precision: with the references, all results stay as they are."""

import numpy as np
import pytest
import torch
from torchvision.ops import nms as torchvision_nms

from helpers.course.checks import average_precision
from helpers.course.checks.suppression import nms
from helpers.detection import inference, metrics
from helpers.detection import nms as suppression
from helpers.detection.dataset import ShapeDetectionDataset
from helpers.tasks import solutions
from helpers.tasks.adapters import suppression as adapters


@pytest.fixture(autouse=True)
def _restored():
    yield
    solutions.restore_originals()


def draw_boxes(generator: torch.Generator, *shape: int) -> torch.Tensor:
    """Return boxes in a 224 × 224 image, many of which overlap."""
    corners = torch.randint(0, 20, (*shape, 2), generator=generator) * 8.0
    corners += torch.randn(*shape, 2, generator=generator)
    return torch.cat([corners, corners + 48 + 40 * torch.rand(*shape, 2, generator=generator)], dim=-1)


def draw_candidates(seed: int = 1, num_images: int = 12, count: int = 300) -> suppression.Candidates:
    """Return candidates as the network proposes them, best score first."""
    generator = torch.Generator().manual_seed(seed)
    boxes = draw_boxes(generator, num_images, count)
    scores = torch.rand(num_images, count, generator=generator).sort(dim=1, descending=True).values
    return suppression.Candidates(boxes, scores, torch.randint(0, 3, (num_images, count), generator=generator))


def draw_truth(num_images: int = 12) -> ShapeDetectionDataset:
    generator = torch.Generator().manual_seed(5)
    boxes = draw_boxes(generator, num_images, 5)
    labels = torch.randint(-1, 3, (num_images, 5), generator=generator).sort(dim=1, descending=True).values
    pixels = torch.zeros(num_images, 224, 224, 3, dtype=torch.uint8)
    ignored = torch.zeros(num_images, 5, dtype=torch.bool)
    boxes[labels < 0] = 0
    return ShapeDetectionDataset(pixels, boxes, labels, torch.ones(num_images, 5), ignored, torch.arange(num_images))


def draw_detections(truth: ShapeDetectionDataset) -> list[metrics.Detections]:
    """Return the candidates after suppression, with true boxes among them."""
    candidates = draw_candidates(num_images=len(truth))
    candidates.boxes[:, :20] = truth.boxes.repeat(1, 4, 1) + torch.arange(20).reshape(1, 20, 1) / 3
    return suppression.suppress(candidates, suppression.InferenceConfig(nms_threshold=0.7))


def assert_equal(first, second):
    assert len(first) == len(second)
    for image, other in zip(first, second, strict=True):
        for column, other_column in zip(image, other, strict=True):
            assert torch.equal(column, other_column)


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.7])
def test_with_the_reference_hard_suppression_stays_the_same(threshold):
    candidates = draw_candidates()
    config = suppression.InferenceConfig(nms_threshold=threshold)
    before = suppression.suppress(candidates, config)
    assert solutions.use_solution("nms", nms) == ("helpers.detection.nms.suppress",)
    assert inference.suppress is suppression.suppress
    assert_equal(suppression.suppress(candidates, config), before)
    assert_equal(inference.suppress(candidates, config), before)


def test_the_students_function_decides_which_boxes_remain_within_each_class():
    calls = []

    def keep_one(boxes, scores, iou_threshold):
        calls.append((len(boxes), iou_threshold))
        return [scores.argmax()]

    candidates = draw_candidates(num_images=3)
    solutions.use_solution("nms", keep_one)
    detections = suppression.suppress(candidates, suppression.InferenceConfig(nms_threshold=0.4))
    assert calls == [(300, 0.4)] * 3
    assert [len(image.scores) for image in detections] == [1, 1, 1]
    assert torch.equal(detections[1].boxes[0], candidates.boxes[1, 0])


def test_soft_suppression_stays_the_workbooks_own():
    candidates = draw_candidates(num_images=2)
    config = suppression.InferenceConfig(nms="soft", nms_threshold=0.8)
    before = suppression.suppress(candidates, config)
    solutions.use_solution("nms", lambda boxes, scores, iou_threshold: [])
    assert_equal(suppression.suppress(candidates, config), before)


def test_an_image_without_candidates_has_no_detection():
    empty = suppression.Candidates(torch.zeros(2, 0, 4), torch.zeros(2, 0), torch.zeros(2, 0, dtype=torch.int64))
    solutions.use_solution("nms", torchvision_nms)
    detections = suppression.suppress(empty, suppression.InferenceConfig())
    assert [image.boxes.shape for image in detections] == [(0, 4), (0, 4)]


def test_with_the_references_curve_and_ap_stay_the_same():
    truth = draw_truth()
    detections = draw_detections(truth)
    before = [metrics.precision_recall_curve(truth, detections, label) for label in range(3)]
    aps = [[metrics.compute_ap(c.recall, c.precision, m) for m in ("all-point", "11-point")] for c in before]
    assert any(0.05 < ap < 1 for pair in aps for ap in pair)
    solutions.use_solution("precision_recall_curve", average_precision.precision_recall_curve)
    solutions.use_solution("compute_ap", average_precision.compute_ap)
    for label, expected in enumerate(before):
        curve = metrics.precision_recall_curve(truth, detections, label)
        for column, expected_column in zip(curve, expected, strict=True):
            np.testing.assert_array_equal(column, expected_column)
            assert column.dtype == expected_column.dtype
        ap = [metrics.compute_ap(curve.recall, curve.precision, method) for method in ("all-point", "11-point")]
        assert ap == aps[label]


def test_with_the_reference_the_curve_of_a_class_with_ignored_objects_stays_the_same():
    truth = draw_truth()
    detections = draw_detections(truth)
    truth.ignored[truth.labels == 1] = torch.arange(int((truth.labels == 1).sum())) % 2 == 0
    before = metrics.precision_recall_curve(truth, detections, 1)
    solutions.use_solution("precision_recall_curve", average_precision.precision_recall_curve)
    after = metrics.precision_recall_curve(truth, detections, 1)
    for column, expected in zip(after, before, strict=True):
        np.testing.assert_array_equal(column, expected)
    solutions.use_solution("precision_recall_curve", lambda *inputs: ([0.0], [0.0]))
    assert metrics.precision_recall_curve(truth, detections, 1).recall.tolist() == [0.0]


def test_a_class_without_objects_is_refused_as_before():
    truth = draw_truth()
    truth.labels[truth.labels == 2] = 1
    solutions.use_solution("precision_recall_curve", average_precision.precision_recall_curve)
    with pytest.raises(ValueError, match="no triangle"):
        metrics.precision_recall_curve(truth, draw_detections(truth), 2)


def test_an_ap_that_the_student_returns_as_a_tensor_is_a_number():
    solutions.use_solution("compute_ap", lambda recall, precision, method: torch.tensor(0.25))
    assert metrics.compute_ap([0.5], [1.0]) == 0.25


def test_every_function_of_the_module_is_the_adapter_of_a_task():
    assert set(adapters.nms(nms)) == {"helpers.detection.nms.suppress"}
    assert set(adapters.compute_ap(average_precision.compute_ap)) == {"helpers.detection.metrics.compute_ap"}

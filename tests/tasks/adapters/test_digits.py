"""Adapters for the tasks of digits: with the references, all results stay as they are."""

import numpy as np
import pytest
import torch

from helpers.average_precision import Detections
from helpers.course.checks import box_losses
from helpers.course.checks import reading as tasks_of_reading
from helpers.course.checks.resizing import fit_anchors, resize_size
from helpers.digits import loss, reading
from helpers.digits.box_losses import measure_loss
from helpers.tasks import solutions


@pytest.fixture(autouse=True)
def _restored():
    yield
    solutions.restore_originals()


def draw_detections(seed: int = 3, num_images: int = 60) -> list[Detections]:
    """Return detections of digits side by side, with weak copies of other classes; every seventh image has none."""
    generator = torch.Generator().manual_seed(seed)
    detections = []
    for image in range(num_images):
        count = 0 if image % 7 == 0 else int(torch.randint(1, 15, (), generator=generator))
        left = 12.0 * torch.randint(0, 5, (count,), generator=generator) + 3 * torch.rand(count, generator=generator)
        top = 5 * torch.rand(count, generator=generator)
        size = 8 + 4 * torch.rand(count, 2, generator=generator)
        boxes = torch.stack([left, top, left + size[:, 0], top + 2 * size[:, 1]], dim=1)
        scores = torch.rand(count, generator=generator).sort(descending=True).values
        detections.append(Detections(boxes, scores, torch.randint(1, 11, (count,), generator=generator)))
    return detections


@pytest.mark.parametrize("thresholds", [(0.5,), (0.9, 0.6, 0.2)])
def test_with_the_reference_every_number_stays_the_same(thresholds):
    detections, config = draw_detections(), reading.ReadingConfig(thresholds, 0.4)
    before = reading.read_numbers(detections, config)
    assert "-1" in before
    assert any(len(number) > 2 for number in before)
    assert any(number.startswith("0") for number in before)
    solutions.use_solution("read_number", tasks_of_reading.read_number)
    assert reading.read_numbers(detections, config) == before


def test_the_students_reader_gets_copies_and_the_settings():
    calls = []

    def read_number(boxes, scores, labels, score_threshold, iou_threshold):
        calls.append((score_threshold, iou_threshold))
        boxes.zero_()
        return -1

    detections = draw_detections()[1:2]
    before = detections[0].boxes.clone()
    solutions.use_solution("read_number", read_number)
    assert reading.read_numbers(detections, reading.ReadingConfig((0.8, 0.3), 0.4)) == ["-1"]
    assert calls == [(0.8, 0.4), (0.3, 0.4)]
    assert torch.equal(detections[0].boxes, before)


def test_with_the_reference_the_file_of_predictions_stays_the_same(tmp_path):
    detections = draw_detections()
    detections[1].boxes[0, 2] = detections[1].boxes[0, 0]  # no width
    image_ids = np.arange(100, 100 + len(detections))
    reading.write_predictions(tmp_path / "before.json", image_ids, detections)
    solutions.use_solution("make_records", tasks_of_reading.make_records)
    reading.write_predictions(tmp_path / "after.json", image_ids, detections)
    assert (tmp_path / "after.json").read_text() == (tmp_path / "before.json").read_text()


def test_the_students_records_are_written(tmp_path):
    record = {"score": 0.5, "image_id": 3, "bbox": [1.0, 2.0, 3.0, 4.0], "category_id": 2, "comment": "none"}
    solutions.use_solution("make_records", lambda file_names, detections, factors: [record])
    reading.write_predictions(tmp_path / "pred.json", np.array([3]), draw_detections()[1:2])
    assert (tmp_path / "pred.json").read_text() == (
        '[{"image_id": 3, "category_id": 2, "bbox": [1.0, 2.0, 3.0, 4.0], "score": 0.5}]'
    )


def draw_pairs() -> tuple[torch.Tensor, torch.Tensor]:
    """Return predicted and true boxes in pixels: near ones, and some far apart."""
    generator = torch.Generator().manual_seed(2)
    corners = 200 * torch.rand(500, 2, generator=generator)
    true = torch.cat([corners, corners + 10 + 150 * torch.rand(500, 2, generator=generator)], dim=1)
    predicted = true + torch.linspace(0.5, 12, 500).unsqueeze(1) * torch.randn(500, 4, generator=generator)
    predicted[::20] += 400
    predicted[:, 2:] = torch.maximum(predicted[:, 2:], predicted[:, :2] + 2)
    return predicted, true


@pytest.mark.parametrize("name", ["giou", "diou", "ciou"])
def test_with_the_reference_values_and_gradients_stay_the_same(name):
    predicted, true = draw_pairs()
    before = measure_loss(name, predicted, true)
    solutions.use_solution(f"{name}_loss", getattr(box_losses, f"{name}_loss"))
    assert loss.OVERLAP_LOSSES[name] is getattr(box_losses, f"{name}_loss")
    values, gradients = measure_loss(name, predicted, true)
    assert torch.equal(values, before[0])
    assert torch.equal(gradients, before[1])


def test_the_losses_of_several_tasks_are_replaced_together():
    def constant(boxes, others):
        return boxes.sum(1) * 0 + 7

    original = loss.OVERLAP_LOSSES["giou"]
    for name in ("giou_loss", "ciou_loss"):
        solutions.use_solution(name, constant)
    predicted, true = draw_pairs()
    values = [measure_loss(name, predicted, true)[0] for name in ("giou", "diou", "ciou")]
    assert [bool((column == 7).all()) for column in values] == [True, False, True]
    solutions.restore_originals()
    assert loss.OVERLAP_LOSSES["giou"] is original


def test_tasks_that_no_lesson_calls_replace_nothing():
    assert solutions.use_solution("resize_size", resize_size) == ()
    assert solutions.use_solution("fit_anchors", fit_anchors) == ()

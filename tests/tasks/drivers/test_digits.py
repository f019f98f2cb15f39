"""Drivers for the tasks of digits."""

import pytest
import torch
from torchvision.models.detection.anchor_utils import AnchorGenerator

from helpers.tasks.drivers import digits


def test_anchors_are_those_of_the_generator():
    def fit_anchors(boxes, factors, num_sizes):
        return AnchorGenerator(((10,),) * num_sizes, ((1.0,),) * num_sizes)

    levels = digits.read_anchors(fit_anchors, torch.zeros(1, 4), torch.ones(1), 2)
    assert [level.tolist() for level in levels] == [[[-5, -5, 5, 5]]] * 2


def test_the_factors_of_photos_come_from_the_students_resize():
    factors_in_use = []

    def fit_anchors(boxes, factors):
        factors_in_use.append(factors.tolist())
        return AnchorGenerator(((10,),), ((1.0,),))

    image_sizes = torch.tensor([[10, 20], [30, 40]])
    digits.fit_anchors_to_photos(fit_anchors, lambda height, width: (0, 0, height / 4), torch.zeros(2, 4), image_sizes)
    assert factors_in_use == [[2.5, 7.5]]


def test_minus_one_may_be_a_number_or_text():
    assert [digits.read_text(lambda value=value: value) for value in (-1, "-1", 9, "09")] == ["-1", "-1", 9, "09"]


def test_records_are_written_as_json():
    records = digits.write_records(lambda *inputs: [{"bbox": (1.5, 2)}], [], [], [])
    assert records == [{"bbox": [1.5, 2]}]
    with pytest.raises(TypeError, match="not JSON serializable"):
        digits.write_records(lambda *inputs: [{"score": torch.tensor(1.0)}], [], [], [])


def test_the_records_are_made_after_the_number_was_read_from_the_same_tensors():
    image = {"boxes": torch.ones(1, 4), "scores": torch.ones(1), "labels": torch.ones(1, dtype=torch.int64)}

    def read_number(boxes, scores, labels):
        boxes.mul_(3)

    def make_records(file_names, detections, factors):
        return detections[0]["boxes"].tolist()

    assert digits.read_then_record(make_records, read_number, ["1.png"], [image], [1.0]) == [[3.0] * 4]


def test_the_workload_of_a_reader_is_one_image():
    calls = []
    assert digits.time_reading(lambda *inputs: calls.append(inputs) or "123", 6) == 3
    ((boxes, scores, labels, *thresholds),) = calls
    assert (boxes.shape, scores.shape, labels.shape, thresholds) == ((6, 4), (6,), (6,), [0.5, 0.5])


def test_the_workload_of_a_loss_includes_its_gradient():
    assert digits.time_loss(lambda boxes, others: ((boxes - others) ** 2).sum(1), 5) == [5, 4]
    with pytest.raises(RuntimeError, match="grad"):
        digits.time_loss(lambda boxes, others: (boxes - others).detach(), 5)

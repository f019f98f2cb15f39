"""The detector's losses, by hand and at their edges."""

from __future__ import annotations

import math

import pytest
import torch
from torchvision.ops import box_iou

from helpers.detection.boxes import encode
from helpers.detection.loss import DetectionLoss, paired_iou
from helpers.detection.matching import IGNORED, NEGATIVE

ANCHORS = torch.tensor([[0.0, 0, 10, 10], [20, 20, 40, 40], [50, 50, 60, 60], [70, 70, 80, 80], [90, 90, 99, 99]])
BOXES = torch.tensor([[[1.0, 0, 11, 10]]])
LABELS = torch.tensor([[2]])
INDEX = torch.tensor([[0, NEGATIVE, NEGATIVE, IGNORED, NEGATIVE]])


def silent_predictions(objectness: float = 0.0) -> torch.Tensor:
    """Returns predictions [1, 5, 8] of zero offsets, equal classes and one objectness logit."""
    predictions = torch.zeros(1, 5, 8)
    predictions[..., 4] = objectness
    return predictions


def perfect_predictions() -> torch.Tensor:
    predictions = silent_predictions(objectness=-30.0)
    predictions[0, 0] = torch.tensor([*encode(BOXES[0, 0], ANCHORS[0]), 30.0, -30, -30, 30])
    return predictions


def test_the_assignments_loss_by_hand():
    losses = DetectionLoss()(silent_predictions(), ANCHORS, INDEX, BOXES, LABELS)
    # One positive and three negatives, all at logit 0: log 2 each. Three equal classes: log 3. Only dx is off, by 0.1.
    assert losses["objectness"] == pytest.approx(math.log(2))
    assert losses["class"] == pytest.approx(math.log(3))
    assert losses["box"] == pytest.approx(0.5 * 0.1**2 / 4)
    assert losses["loss"] == pytest.approx(math.log(2) + math.log(3) + 2 * 0.5 * 0.1**2 / 4)


@pytest.mark.parametrize("box_loss", ["smooth-l1", "giou"])
@pytest.mark.parametrize("objectness", ["mined", "quality"])
def test_a_perfect_prediction_costs_nothing(box_loss, objectness):
    losses = DetectionLoss(box_loss, objectness)(perfect_predictions(), ANCHORS, INDEX, BOXES, LABELS)
    assert all(value == pytest.approx(0, abs=1e-5) for value in losses.values())


@pytest.mark.parametrize("objectness", ["mined", "quality"])
def test_an_ignored_anchor_is_neither_praised_nor_blamed(objectness):
    criterion = DetectionLoss("giou", objectness)
    predictions = silent_predictions().requires_grad_()
    criterion(predictions, ANCHORS, INDEX, BOXES, LABELS)["loss"].backward()
    touched = predictions.grad[0].abs().sum(dim=1) > 0
    assert touched.tolist() == [True, True, True, False, True]


@pytest.mark.parametrize("box_loss", ["smooth-l1", "giou"])
@pytest.mark.parametrize("objectness", ["mined", "quality"])
@pytest.mark.parametrize("index", [NEGATIVE, IGNORED])
def test_images_without_positives_give_finite_losses_and_gradients(box_loss, objectness, index):
    predictions = silent_predictions(objectness=2.0).requires_grad_()
    nothing = torch.full_like(INDEX, index)
    losses = DetectionLoss(box_loss, objectness)(predictions, ANCHORS, nothing, BOXES, LABELS)
    losses["loss"].backward()
    assert losses["class"] == 0
    assert losses["box"] == 0
    assert torch.isfinite(predictions.grad).all()


def test_quality_asks_a_positive_for_the_overlap_its_own_box_reaches():
    # The anchor itself overlaps the truth by 9 / 11; saying exactly that is free, saying more or less is not.
    def cost(probability):
        predictions = silent_predictions(objectness=-30.0)
        predictions[0, 0, 4] = math.log(probability / (1 - probability))
        return DetectionLoss("giou", "quality")(predictions, ANCHORS, INDEX, BOXES, LABELS)["objectness"].item()

    assert cost(9 / 11) == pytest.approx(0, abs=1e-6)
    assert cost(0.99) > cost(0.9) > 1e-4
    assert cost(0.5) > cost(0.7) > 1e-4


def test_padded_objects_do_not_change_the_loss():
    padded_boxes = torch.cat([BOXES, torch.zeros(1, 2, 4)], dim=1)
    padded_labels = torch.cat([LABELS, torch.full((1, 2), -1)], dim=1)
    predictions = torch.randn(1, 5, 8, generator=torch.Generator().manual_seed(0))
    for criterion in (DetectionLoss(), DetectionLoss("giou", "quality")):
        plain = criterion(predictions, ANCHORS, INDEX, BOXES, LABELS)
        padded = criterion(predictions, ANCHORS, INDEX, padded_boxes, padded_labels)
        assert plain == padded


def test_paired_iou_is_the_diagonal_of_torchvisions_matrix():
    corners = torch.rand(50, 4, generator=torch.Generator().manual_seed(0)) * 40
    boxes = torch.cat([corners[:, :2], corners[:, :2] + corners[:, 2:]], dim=1)
    others = boxes.roll(1, dims=0)
    torch.testing.assert_close(paired_iou(boxes, others), box_iou(boxes, others).diagonal())

"""The detector's losses, by hand and at their edges."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from jaxtyping import TypeCheckError
from torchvision.ops import box_iou, generalized_box_iou_loss

from helpers.detection.anchors import generate_anchors
from helpers.detection.boxes import decode, encode
from helpers.detection.dataset import ShapeDetectionDataset
from helpers.detection.loss import DetectionLoss
from helpers.detection.matching import IGNORED, NEGATIVE, hard_negative_mining, list_positives, match_anchors_to_targets

ANCHORS = torch.tensor([[0.0, 0, 10, 10], [20, 20, 40, 40], [50, 50, 60, 60], [70, 70, 80, 80], [90, 90, 99, 99]])
BOXES = torch.tensor([[[1.0, 0, 11, 10]]])
LABELS = torch.tensor([[2]])
INDEX = torch.tensor([[0, NEGATIVE, NEGATIVE, IGNORED, NEGATIVE]])
POSITIVES = list_positives(INDEX)


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
    losses = DetectionLoss()(silent_predictions(), ANCHORS, INDEX, POSITIVES, BOXES, LABELS)
    # One positive and three negatives, all at logit 0: log 2 each. Three equal classes: log 3. Only dx is off, by 0.1.
    assert losses["objectness"] == pytest.approx(math.log(2))
    assert losses["class"] == pytest.approx(math.log(3))
    assert losses["box"] == pytest.approx(0.5 * 0.1**2 / 4)
    assert losses["loss"] == pytest.approx(math.log(2) + math.log(3) + 2 * 0.5 * 0.1**2 / 4)


@pytest.mark.parametrize("box_loss", ["smooth-l1", "giou"])
@pytest.mark.parametrize("objectness", ["mined", "quality"])
def test_a_perfect_prediction_costs_nothing(box_loss, objectness):
    losses = DetectionLoss(box_loss, objectness)(perfect_predictions(), ANCHORS, INDEX, POSITIVES, BOXES, LABELS)
    assert all(value == pytest.approx(0, abs=1e-5) for value in losses.values())


@pytest.mark.parametrize("objectness", ["mined", "quality"])
def test_an_ignored_anchor_is_neither_praised_nor_blamed(objectness):
    criterion = DetectionLoss("giou", objectness)
    predictions = silent_predictions().requires_grad_()
    criterion(predictions, ANCHORS, INDEX, POSITIVES, BOXES, LABELS)["loss"].backward()
    touched = predictions.grad[0].abs().sum(dim=1) > 0
    assert touched.tolist() == [True, True, True, False, True]


@pytest.mark.parametrize("box_loss", ["smooth-l1", "giou"])
@pytest.mark.parametrize("objectness", ["mined", "quality"])
@pytest.mark.parametrize("index", [NEGATIVE, IGNORED])
def test_images_without_positives_give_finite_losses_and_gradients(box_loss, objectness, index):
    predictions = silent_predictions(objectness=2.0).requires_grad_()
    nothing = torch.full_like(INDEX, index)
    losses = DetectionLoss(box_loss, objectness)(predictions, ANCHORS, nothing, list_positives(nothing), BOXES, LABELS)
    losses["loss"].backward()
    assert losses["class"] == 0
    assert losses["box"] == 0
    assert torch.isfinite(predictions.grad).all()


def test_quality_asks_a_positive_for_the_overlap_its_own_box_reaches():
    # The anchor itself overlaps the truth by 9 / 11; saying exactly that is free, saying more or less is not.
    def cost(probability):
        predictions = silent_predictions(objectness=-30.0)
        predictions[0, 0, 4] = math.log(probability / (1 - probability))
        losses = DetectionLoss("giou", "quality")(predictions, ANCHORS, INDEX, POSITIVES, BOXES, LABELS)
        return losses["objectness"].item()

    assert cost(9 / 11) == pytest.approx(0, abs=1e-6)
    assert cost(0.99) > cost(0.9) > 1e-4
    assert cost(0.5) > cost(0.7) > 1e-4


def test_padded_objects_do_not_change_the_loss():
    padded_boxes = torch.cat([BOXES, torch.zeros(1, 2, 4)], dim=1)
    padded_labels = torch.cat([LABELS, torch.full((1, 2), -1)], dim=1)
    predictions = torch.randn(1, 5, 8, generator=torch.Generator().manual_seed(0))
    for criterion in (DetectionLoss(), DetectionLoss("giou", "quality")):
        plain = criterion(predictions, ANCHORS, INDEX, POSITIVES, BOXES, LABELS)
        padded = criterion(predictions, ANCHORS, INDEX, POSITIVES, padded_boxes, padded_labels)
        assert plain == padded


@pytest.mark.parametrize("box_loss", ["smooth-l1", "giou"])
@pytest.mark.parametrize("objectness", ["mined", "quality"])
def test_a_batch_costs_what_its_positives_cost_one_by_one(box_loss, objectness):
    """The oracle gathers the positives of all images, as their number allows, and takes torchvision's losses."""
    generator = torch.Generator().manual_seed(0)
    scenes = ShapeDetectionDataset.draw(3, seed=1)
    anchors = torch.cat(generate_anchors())
    index = match_anchors_to_targets(anchors, scenes.boxes, scenes.labels).index
    predictions = torch.randn(3, len(anchors), 8, generator=generator).requires_grad_()
    criterion = DetectionLoss(box_loss, objectness)
    losses = criterion(predictions, anchors, index, list_positives(index), scenes.boxes, scenes.labels)

    image, anchor = (index >= 0).nonzero(as_tuple=True)
    row, matched, logits = index[image, anchor], predictions[image, anchor], predictions[..., 4]
    true_boxes, predicted = scenes.boxes[image, row], decode(matched[:, :4], anchors[anchor])
    quality = torch.zeros_like(logits)
    if box_loss == "giou":
        box = generalized_box_iou_loss(predicted, true_boxes, reduction="mean")
    else:
        box = F.smooth_l1_loss(matched[:, :4], encode(true_boxes, anchors[anchor]))
    if objectness == "mined":
        quality[image, anchor] = 1.0
        one_by_one = F.binary_cross_entropy_with_logits(logits, quality, reduction="none")
        hardest = hard_negative_mining(one_by_one.detach(), index >= 0, index == NEGATIVE)
        expected = one_by_one[(index >= 0) | hardest].mean()
    else:
        quality[image, anchor] = box_iou(predicted, true_boxes).diagonal().detach()
        one_by_one = F.binary_cross_entropy_with_logits(logits, quality, reduction="none")
        one_by_one = one_by_one * (quality - logits.sigmoid()).detach().square()
        expected = one_by_one[index != IGNORED].sum() / len(row)
    label = F.cross_entropy(matched[:, 5:], scenes.labels[image, row])

    torch.testing.assert_close(losses["box"], box)
    torch.testing.assert_close(losses["class"], label)
    torch.testing.assert_close(losses["objectness"], expected)
    (ours,) = torch.autograd.grad(losses["loss"], predictions, retain_graph=True)
    (theirs,) = torch.autograd.grad(expected + label + 2 * box, predictions)
    torch.testing.assert_close(ours, theirs, atol=1e-7, rtol=1e-3)


@pytest.mark.parametrize("names", [("l2", "mined"), ("giou", "focal")])
def test_a_loss_that_does_not_exist_is_refused(names):
    with pytest.raises((ValueError, TypeCheckError), match=r"focal|l2"):
        DetectionLoss(*names)

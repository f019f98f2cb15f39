"""Detection losses: by hand, against losses of torchvision, and without positives."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from jaxtyping import TypeCheckError
from torchvision.ops import box_iou, generalized_box_iou_loss

from helpers.detection import loss
from helpers.detection.anchors import generate_anchors
from helpers.detection.boxes import decode, encode
from helpers.detection.dataset import ShapeDetectionDataset
from helpers.detection.loss import DetectionLoss
from helpers.detection.matching import (
    BACKGROUND,
    IGNORED,
    hard_negative_mining,
    list_positives,
    match_anchors_to_targets,
)

ANCHORS = torch.tensor([[0.0, 0, 10, 10], [20, 20, 40, 40], [50, 50, 60, 60], [70, 70, 80, 80], [90, 90, 99, 99]])
BOXES = torch.tensor([[[1.0, 0, 11, 10]]])
LABELS = torch.tensor([[2]])
INDEX = torch.tensor([[0, BACKGROUND, BACKGROUND, IGNORED, BACKGROUND]])
POSITIVES = list_positives(INDEX)


def build_neutral_predictions(objectness: float = 0.0) -> torch.Tensor:
    """Return predictions [1, 5, 8] of zero offsets, equal classes and one objectness logit."""
    predictions = torch.zeros(1, 5, 8)
    predictions[..., 4] = objectness
    return predictions


def build_perfect_predictions() -> torch.Tensor:
    predictions = build_neutral_predictions(objectness=-30.0)
    predictions[0, 0] = torch.tensor([*encode(BOXES[0, 0], ANCHORS[0]), 30.0, -30, -30, 30])
    return predictions


def test_the_assignments_loss_by_hand():
    losses = DetectionLoss()(build_neutral_predictions(), ANCHORS, INDEX, POSITIVES, BOXES, LABELS)
    # One positive and three negatives, all at logit 0: log 2 each. Three equal classes: log 3. Only dx is off, by 0.1.
    assert losses["objectness"] == pytest.approx(math.log(2))
    assert losses["class"] == pytest.approx(math.log(3))
    assert losses["box"] == pytest.approx(0.5 * 0.1**2 / 4)
    assert losses["loss"] == pytest.approx(math.log(2) + math.log(3) + 2 * 0.5 * 0.1**2 / 4)


@pytest.mark.parametrize("box_loss", ["smooth-l1", "giou"])
@pytest.mark.parametrize("objectness", ["mined", "quality"])
def test_a_perfect_prediction_has_the_loss_0(box_loss, objectness):
    losses = DetectionLoss(box_loss, objectness)(build_perfect_predictions(), ANCHORS, INDEX, POSITIVES, BOXES, LABELS)
    assert all(value == pytest.approx(0, abs=1e-5) for value in losses.values())


def test_overlaps_are_computed_only_for_the_losses_that_use_them(monkeypatch):
    calls = []
    paired_overlap = loss.paired_overlap
    monkeypatch.setattr(loss, "paired_overlap", lambda *boxes: (calls.append(boxes), paired_overlap(*boxes))[1])
    counts = {}
    for names in [("smooth-l1", "mined"), ("giou", "mined"), ("smooth-l1", "quality"), ("giou", "quality")]:
        DetectionLoss(*names)(build_neutral_predictions(), ANCHORS, INDEX, POSITIVES, BOXES, LABELS)
        counts[names] = len(calls)
        calls.clear()
    assert list(counts.values()) == [0, 1, 1, 1]


@pytest.mark.parametrize("objectness", ["mined", "quality"])
def test_an_ignored_anchor_has_no_gradient(objectness):
    criterion = DetectionLoss("giou", objectness)
    predictions = build_neutral_predictions().requires_grad_()
    criterion(predictions, ANCHORS, INDEX, POSITIVES, BOXES, LABELS)["loss"].backward()
    has_gradient = predictions.grad[0].abs().sum(dim=1) > 0
    assert has_gradient.tolist() == [True, True, True, False, True]


@pytest.mark.parametrize("box_loss", ["smooth-l1", "giou"])
@pytest.mark.parametrize("objectness", ["mined", "quality"])
@pytest.mark.parametrize("index", [BACKGROUND, IGNORED])
def test_images_without_positives_give_finite_losses_and_gradients(box_loss, objectness, index):
    predictions = build_neutral_predictions(objectness=2.0).requires_grad_()
    nothing = torch.full_like(INDEX, index)
    losses = DetectionLoss(box_loss, objectness)(predictions, ANCHORS, nothing, list_positives(nothing), BOXES, LABELS)
    losses["loss"].backward()
    assert losses["class"] == 0
    assert losses["box"] == 0
    assert torch.isfinite(predictions.grad).all()


def test_the_quality_target_of_a_positive_is_the_iou_of_its_predicted_box():
    # The IoU of the anchor itself is 9 / 11: an objectness of 9 / 11 has the loss 0, a higher or lower one does not.
    def compute_objectness_loss(probability):
        predictions = build_neutral_predictions(objectness=-30.0)
        predictions[0, 0, 4] = math.log(probability / (1 - probability))
        losses = DetectionLoss("giou", "quality")(predictions, ANCHORS, INDEX, POSITIVES, BOXES, LABELS)
        return losses["objectness"].item()

    assert compute_objectness_loss(9 / 11) == pytest.approx(0, abs=1e-6)
    assert compute_objectness_loss(0.99) > compute_objectness_loss(0.9) > 1e-4
    assert compute_objectness_loss(0.5) > compute_objectness_loss(0.7) > 1e-4


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
def test_the_loss_of_a_batch_is_that_of_its_positives_gathered_one_by_one(box_loss, objectness):
    """The oracle gathers the positives of all images and uses losses of torchvision."""
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
        hardest = hard_negative_mining(one_by_one.detach(), index >= 0, index == BACKGROUND)
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

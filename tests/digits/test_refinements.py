"""Refinements of the RoI head: overlaps of proposals with their digits, and boxes in the resized images."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torchvision.ops import box_iou

from helpers.digits.anchors import FITTED_ANCHORS, REPORT_ANCHORS, AnchorSet, measure_best_iou
from helpers.digits.dataset import DigitDataset
from helpers.digits.model import build_digit_rcnn
from helpers.digits.recipes import QUICK
from helpers.digits.refinements import collect_matched_anchors, collect_refinements, summarise_pairs


@pytest.fixture(scope="module")
def images(dataset) -> DigitDataset:
    """Three images with their digits."""
    return dataset.select(range(3))


def build_network(num_proposals: int = 2000):
    torch.manual_seed(0)
    return build_digit_rcnn(replace(QUICK.model, num_proposals=(num_proposals, num_proposals))).eval()


def test_every_proposal_has_an_iou_from_one_half_to_less_than_1_with_its_digit(images):
    refinements = collect_refinements(build_network(), images)
    overlap = box_iou(refinements.proposals, refinements.true).diagonal()
    assert len(overlap) > 0
    assert (overlap >= 0.5).all()
    assert (overlap < 1).all()


def test_refined_boxes_of_offsets_of_0_are_the_proposals(images):
    network = build_network()
    torch.nn.init.zeros_(network.roi_heads.box_predictor.bbox_pred.weight)
    torch.nn.init.zeros_(network.roi_heads.box_predictor.bbox_pred.bias)
    refinements = collect_refinements(network, images)
    torch.testing.assert_close(refinements.refined, refinements.proposals)


def test_true_boxes_are_those_of_the_resized_images(images):
    refinements = collect_refinements(build_network(), images)
    sizes = torch.from_numpy(images.sizes)
    allowed = QUICK.model.resize.boxes(torch.from_numpy(images.boxes), sizes[torch.from_numpy(images.owners)])
    distances = (refinements.true.unsqueeze(1) - allowed).abs().amax(-1).amin(1)
    assert distances.max() < 0.01


def test_matched_anchors_are_those_that_the_rpn_trains(images):
    network = build_network()
    matched = collect_matched_anchors(images, QUICK.model.anchors, QUICK.model.resize)
    expected_anchors, expected_boxes = [], []
    for index in range(len(images)):
        image, target = images[index]
        batch, targets = network.transform([image / 255], [target])
        maps = list(network.backbone(batch.tensors).values())
        anchors = network.rpn.anchor_generator(batch, maps)
        labels, boxes = network.rpn.assign_targets_to_anchors(anchors, targets)
        expected_anchors.append(anchors[0][labels[0] == 1])
        expected_boxes.append(boxes[0][labels[0] == 1])
    torch.testing.assert_close(matched.anchors, torch.cat(expected_anchors))
    torch.testing.assert_close(matched.true, torch.cat(expected_boxes), atol=0.01, rtol=0)


@pytest.mark.parametrize("anchors", [REPORT_ANCHORS, FITTED_ANCHORS], ids=["report", "fitted"])
def test_an_anchor_below_the_threshold_is_the_best_of_its_digit(images, anchors: AnchorSet):
    matched = collect_matched_anchors(images, anchors)
    overlap = box_iou(matched.anchors, matched.true).diagonal()
    sizes = torch.from_numpy(images.sizes)[torch.from_numpy(images.owners)]
    best = measure_best_iou(torch.from_numpy(images.boxes), sizes, anchors)
    low_quality = overlap[overlap < 0.7]
    distances = (low_quality.unsqueeze(1) - best).abs()
    assert distances.numel() == 0 or distances.amin(1).max() < 1e-3
    assert overlap.max() >= best.max() - 1e-3


def test_pairs_are_summarised_by_hand():
    true = torch.tensor([[0.0, 0, 10, 10]]).expand(4, 4)
    boxes = torch.tensor([[0.0, 0, 10, 10], [2, 2, 4, 7], [20, 0, 30, 10], [0, 0, 10, 16]])
    summary = summarise_pairs(boxes, true)
    assert summary == pytest.approx(
        {"boxes": 4, "mean IoU": (1 + 0.1 + 0 + 0.625) / 4, "IoU below 0.5": 0.5, "apart": 0.25, "inside": 0.5}
    )
    empty = summarise_pairs(true[:0], true[:0])
    assert empty["boxes"] == 0
    assert empty["mean IoU"] != empty["mean IoU"]  # NaN

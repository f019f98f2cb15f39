"""Refinements of the second stage: overlaps of proposals with their digits, and boxes in the resized images."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torchvision.ops import box_iou

from helpers.digits.dataset import DigitDataset
from helpers.digits.model import build_digit_rcnn
from helpers.digits.recipes import QUICK
from helpers.digits.refinements import collect_refinements


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

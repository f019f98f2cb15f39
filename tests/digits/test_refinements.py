"""Refinements of the second stage: proposals overlap their digits, and boxes are those of the resized images."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torchvision.ops import box_iou

from helpers.digits.dataset import DigitDataset
from helpers.digits.drawn import DrawnConfig, ensure_drawn
from helpers.digits.model import build_digit_rcnn
from helpers.digits.recipes import QUICK
from helpers.digits.refinements import collect_refinements


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> DigitDataset:
    config = DrawnConfig(num_train=3, num_valid=1, num_test=1)
    return DigitDataset.read(ensure_drawn(tmp_path_factory.mktemp("drawn") / "numbers", config), "train")


def build_network(num_proposals: int = 2000):
    torch.manual_seed(0)
    return build_digit_rcnn(replace(QUICK.model, num_proposals=(num_proposals, num_proposals))).eval()


def test_every_proposal_overlaps_its_digit_by_half_and_is_not_the_true_box(images):
    refinements = collect_refinements(build_network(), images)
    overlap = box_iou(refinements.proposals, refinements.true).diagonal()
    assert len(overlap) > 0
    assert (overlap >= 0.5).all()
    assert (overlap < 1).all()


def test_a_network_that_predicts_no_offset_leaves_the_proposals_as_they_are(images):
    network = build_network()
    torch.nn.init.zeros_(network.roi_heads.box_predictor.bbox_pred.weight)
    torch.nn.init.zeros_(network.roi_heads.box_predictor.bbox_pred.bias)
    refinements = collect_refinements(network, images)
    torch.testing.assert_close(refinements.refined, refinements.proposals)


def test_boxes_are_those_of_the_resized_images(images):
    refinements = collect_refinements(build_network(), images)
    sizes = torch.from_numpy(images.sizes)
    allowed = QUICK.model.resize.boxes(torch.from_numpy(images.boxes), sizes[torch.from_numpy(images.owners)])
    distances = (refinements.true.unsqueeze(1) - allowed).abs().amax(-1).amin(1)
    assert distances.max() < 0.01

"""Samples of proposals for the RoI head."""

from dataclasses import replace

import pytest
import torch

from helpers.digits.model import build_digit_rcnn
from helpers.digits.recipes import QUICK
from helpers.digits.sampling import count_positive_proposals

CONFIG = replace(QUICK.model, width=8, pyramid_width=16, head_width=16)


@pytest.mark.parametrize(("positive_fraction", "limit"), [(0.25, 16), (1 / 64, 1)])
def test_the_sample_holds_as_many_positives_as_there_are_up_to_the_limit(dataset, positive_fraction, limit):
    torch.manual_seed(0)
    network = build_digit_rcnn(replace(CONFIG, positive_fraction=positive_fraction)).eval()
    counts = count_positive_proposals(network, dataset.select(range(4)))
    assert counts.shape == (4, 2)
    available, sampled = counts.T
    assert sampled.tolist() == [min(count, limit) for count in available.tolist()]
    digits = [len(dataset[index][1]["boxes"]) for index in range(4)]
    assert (available >= digits).all()  # the true boxes are among the proposals


def test_the_share_is_fixed_when_the_network_is_built():
    heads = build_digit_rcnn(CONFIG).roi_heads
    heads.positive_fraction = 0.5
    assert heads.fg_bg_sampler.positive_fraction == 0.25

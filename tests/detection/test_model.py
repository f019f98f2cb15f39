"""The network: its weights, the sizes of its maps, and its initialisation."""

from __future__ import annotations

import pytest
import torch

from helpers.detection.anchors import FEATURE_MAP_SIZES
from helpers.detection.model import Dilations, MultiScaleDetector

WIDE = Dilations(block3=2, block4=2, heads=(3, 4, 4))


def count_weights(model: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def test_the_assignments_network_has_4_69_million_weights():
    kernels = 9 * (3 * 32 + 32 * 64 + 64 * 128 + 128 * 256 + 256 * 512)  # backbone
    kernels += 9 * (128**2 + 256**2 + 512**2)  # 3 x 3 of the heads
    normalisation = 2 * (32 + 64 + 128 + 256 + 512 + 128 + 256 + 512)
    outputs = 24 * (128 + 256 + 512) + 3 * 24  # 1 x 1 of the heads, with biases
    assert count_weights(MultiScaleDetector()) == kernels + normalisation + outputs == 4_689_512


def test_maps_have_the_sizes_that_the_anchors_assume():
    maps = MultiScaleDetector(width=4)(torch.rand(2, 3, 224, 224))
    assert [tuple(level.shape) for level in maps] == [(2, 24, *size) for size in FEATURE_MAP_SIZES]


def test_dilation_adds_no_weight_and_moves_no_cell():
    plain, wide = MultiScaleDetector(width=4), MultiScaleDetector(width=4, dilations=WIDE)
    wide.load_state_dict(plain.state_dict())
    image = torch.rand(1, 3, 224, 224)
    assert [level.shape for level in wide(image)] == [level.shape for level in plain(image)]


def test_the_prior_sets_the_objectness_of_the_untrained_network():
    model = MultiScaleDetector(width=2, objectness_prior=0.01)
    biases = torch.stack([head[-1].bias.detach().view(3, 8) for head in model.heads])
    plain = torch.stack([head[-1].bias.detach().view(3, 8) for head in MultiScaleDetector(width=2).heads])
    assert biases[..., 4].sigmoid().mean() == pytest.approx(0.01, abs=0.01)
    assert plain[..., 4].sigmoid().mean() == pytest.approx(0.5, abs=0.2)
    assert biases[..., :4].abs().max() < 1  # the prior moves objectness alone

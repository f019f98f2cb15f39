"""Right implementations of the network tasks, and their contracts."""

import torch
import torch.nn.functional as F
from torch import nn

from helpers.course.checks import keypoint_models
from helpers.keypoints import model


class _WithoutBiases(nn.Module):
    """Heatmap network written with functions, without biases before batch normalisation, joined the other way round."""

    def __init__(self, num_points=5, output_size=64, skips=True, width=32):
        super().__init__()
        self.skips = skips
        channels = [1, width, 2 * width, 4 * width, 8 * width]
        self.convolutions = nn.ModuleList(
            nn.Conv2d(channels[i], channels[i + 1], 3, padding=1, bias=False) for i in range(4)
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(channels[i + 1]) for i in range(4))
        factor = 2 if skips else 1
        sizes = [(8 * width, 4 * width), (factor * 4 * width, 2 * width)]
        sizes += [(factor * 2 * width, width), (factor * width, width // 2)]
        sizes = sizes[: {16: 1, 32: 2, 64: 3, 128: 4}[output_size]]
        self.deconvolutions = nn.ModuleList(nn.ConvTranspose2d(*size, 2, 2, bias=False) for size in sizes)
        self.stage_norms = nn.ModuleList(nn.BatchNorm2d(size[1]) for size in sizes)
        self.last = nn.Conv2d(sizes[-1][1], num_points, 1)

    def forward(self, images):
        maps = []
        features = images
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            features = F.relu(F.max_pool2d(norm(convolution(features)), 2))
            maps.append(features)
        for number in range(len(self.deconvolutions)):
            features = F.relu(self.stage_norms[number](self.deconvolutions[number](features)))
            if self.skips and number < len(self.deconvolutions) - 1:
                features = torch.cat([maps[2 - number], features], dim=1)
        return self.last(features)


class _MeanOverAxes(keypoint_models.RegressionNet):
    """Regression network that pools by a mean and returns one row per point."""

    def forward(self, images):
        means = self.blocks(images).mean((2, 3))
        return torch.sigmoid(self.output(self.hidden(means))).view(len(images), -1, 2)


ORACLES = {"HeatmapNet": model.HeatmapNet, "RegressionNet": model.RegressionNet}
"""An independent right implementation of each task."""

VARIATIONS = {
    "HeatmapNet": {"functions, no biases, joined the other way round": _WithoutBiases},
    "RegressionNet": {"mean over axes, [B, K, 2]": _MeanOverAxes},
}
"""Legitimate variations of each task."""


def _count(network):
    return sum(parameter.numel() for parameter in network.parameters())


def test_the_numbers_of_parameters_are_the_accepted_ones():
    assert _count(keypoint_models.HeatmapNet()) == 602_629
    assert _count(_WithoutBiases()) == 601_925
    biases = 602_629 - 601_925
    larger = [_count(build()) for build in keypoint_models.HEATMAP_NET.conventions.values()]
    assert larger == [868_165 + biases, 1_241_605]
    assert _count(keypoint_models.RegressionNet()) == 430_602
    mistakes = {mistake.code: mistake.function for mistake in keypoint_models.HEATMAP_NET.mistakes}
    assert _count(mistakes["NT3"]()) == 602_789


def test_the_same_seed_gives_the_same_outputs_as_the_workbooks_networks():
    images = torch.rand(2, 1, 128, 128, generator=torch.Generator().manual_seed(0))
    for reference, workbook in (
        (keypoint_models.HeatmapNet, model.HeatmapNet),
        (keypoint_models.RegressionNet, model.RegressionNet),
    ):
        outputs = []
        for network_class in (reference, workbook):
            torch.manual_seed(3)
            network = network_class().eval()
            with torch.no_grad():
                outputs.append(network(images).flatten())
        assert torch.equal(*outputs)


def test_coordinates_are_between_0_and_1_and_maps_are_not():
    images = 100 * torch.rand(4, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    with torch.no_grad():
        coordinates = keypoint_models.RegressionNet().eval()(images)
        maps = keypoint_models.HeatmapNet(20).eval()(images)
    assert ((coordinates > 0) & (coordinates < 1)).all()
    assert maps.min() < 0

"""Right implementations of the detector's network, and its contract."""

import itertools

import torch
from torch import nn
from torchvision.ops import Conv2dNormActivation

from helpers.course.checks import catalogue, detection_model
from helpers.detection.model import MultiScaleDetector
from helpers.tasks.judging import judge
from helpers.tasks.running import run_cases


class FromTorchvision(nn.Module):
    def __init__(self, num_classes=3, num_anchors=3, width=32):
        super().__init__()
        channels = [3, width, 2 * width, 4 * width, 8 * width, 16 * width]
        self.layers = nn.ModuleList(
            Conv2dNormActivation(inputs, outputs, 3, 1 if inputs == 3 else 2)
            for inputs, outputs in itertools.pairwise(channels)
        )
        self.heads = nn.ModuleList(self.build_head(size, num_anchors * (5 + num_classes)) for size in channels[3:])

    def build_head(self, channels, outputs):
        return nn.Sequential(Conv2dNormActivation(channels, channels, 3), nn.Conv2d(channels, outputs, 1))

    def features(self, images):
        maps = []
        for layer in self.layers:
            images = layer(images)
            maps.append(images)
        return tuple(maps[2:])

    def forward(self, images):
        return tuple(head(level) for head, level in zip(self.heads, self.features(images), strict=True))


class WithBiases(FromTorchvision):
    def __init__(self, num_classes=3, num_anchors=3, width=32):
        super().__init__(num_classes, num_anchors, width)
        channels = [3, width, 2 * width, 4 * width, 8 * width, 16 * width]
        for number, layer in enumerate(self.layers):
            layer[0] = nn.Conv2d(channels[number], channels[number + 1], 3, 1 if number == 0 else 2, 1)

    def build_head(self, channels, outputs):
        return nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1), nn.ReLU(), nn.Conv2d(channels, outputs, 1))


class NeedsNumbers(FromTorchvision):
    def __init__(self, num_classes=3, num_anchors=3, width=32):
        super().__init__(num_classes, num_anchors, width)
        self.prior = torch.zeros(1).item()


ORACLES = {"MultiScaleDetector": FromTorchvision}
"""An independent right implementation of each task."""

VARIATIONS = {
    "MultiScaleDetector": {
        "biases, and ReLU alone in the heads": WithBiases,
        "the workbook's own": MultiScaleDetector,
        "linear heads": detection_model.LinearHeads,
        "code that reads a number": NeedsNumbers,
    }
}
"""Legitimate variations of each task."""


def test_the_number_of_weights_and_the_shapes_by_hand():
    model = detection_model.MultiScaleDetector(4, 2).eval()
    shapes = [tuple(level.shape) for level in model(torch.zeros(1, 3, 64, 64))]
    assert shapes == [(1, 18, 16, 16), (1, 18, 8, 8), (1, 18, 4, 4)]
    assert sum(parameter.numel() for parameter in detection_model.MultiScaleDetector().parameters()) == 4_689_512


def test_linear_heads_pass_and_are_remarked():
    task = catalogue.compile_visible("MultiScaleDetector")
    verdict = judge(task, run_cases(detection_model.LinearHeads, task.cases, {}))
    assert verdict.is_passed
    assert verdict.convention.startswith("linear heads")

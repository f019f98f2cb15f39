"""Drivers for networks: weights, shapes, receptive fields and gradients of small networks."""

import torch
from torch import nn

from helpers.tasks.drivers import networks


class Small(nn.Module):
    """Two levels: one convolution, and a second one with stride 2 behind it."""

    def __init__(self, outputs=1, pools=False, activates=False, detaches=False):
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 2, 3, padding=1), nn.BatchNorm2d(2), nn.ReLU())
        second = nn.Conv2d(2, 2, 3, stride=1 if pools else 2, padding=1)
        self.second = nn.Sequential(second, nn.ReLU(), nn.MaxPool2d(2) if pools else nn.Identity())
        self.heads = nn.ModuleList(
            [nn.Conv2d(2, outputs, 1), nn.Sequential(nn.Conv2d(2, 16, 1), nn.ReLU(), nn.Conv2d(16, outputs, 1))]
        )
        self.activates, self.detaches = activates, detaches

    def features(self, images):
        fine = self.first(images)
        return [fine, self.second(fine)]

    def forward(self, images):
        features = [level.detach() if self.detaches else level for level in self.features(images)]
        outputs = [head(level) for head, level in zip(self.heads, features, strict=True)]
        return [level.sigmoid() for level in outputs] if self.activates else outputs


class Numbers(Small):
    """A network that reads a number while it is built, which a network without memory cannot."""

    def __init__(self, outputs=1):
        super().__init__(outputs)
        self.number = self.first[0].bias.sum().item()


class Pair(nn.Module):
    def __init__(self, outputs=1):
        super().__init__()
        self.layer = nn.Conv2d(3, outputs, 1)

    def forward(self, images):
        return self.layer(images)


def test_kernels_are_sorted_and_biases_left_free():
    weights = networks.list_weights(Small)
    assert weights["kernels"] == [[1, 2, 1, 1], [1, 16, 1, 1], [2, 2, 3, 3], [2, 3, 3, 3], [16, 2, 1, 1]]
    assert weights["channels of batch normalisations"] == [2]


def test_shapes_of_a_list_and_of_one_tensor():
    shapes = {"returned": "a list of maps", "shapes": [[2, 4, 8, 12], [2, 4, 4, 6]]}
    assert networks.list_shapes(Small, [2, 3, 8, 12], outputs=4) == shapes
    assert networks.list_shapes(Numbers, [2, 3, 8, 12], outputs=4) == shapes
    assert networks.list_shapes(Pair, [1, 3, 2, 2]) == {"returned": "one tensor", "shapes": [[1, 1, 2, 2]]}


def test_weights_of_a_network_that_reads_a_number():
    assert networks.list_weights(Numbers) == networks.list_weights(Small)


def test_receptive_fields_with_a_stride_and_with_a_maximum():
    assert networks.measure_fields(Small, 16) == [[3, 3], [5, 5]]
    assert networks.measure_fields(lambda: Small(pools=True), 16) == [[3, 3], [6, 6]]


def test_facts_of_a_network_in_detail():
    torch.manual_seed(0)
    facts = networks.probe_detector(Small, 1)
    assert facts["channels of the feature maps"] == [2, 2]
    assert facts["all features are at least 0"]
    assert facts["kernels that a gradient reaches"] == 5
    assert facts["the heads are linear"] == [True, False]
    assert facts["the maps have no activation"] == [True, True]
    assert networks.probe_detector(lambda: Small(activates=True), 1)["the maps have no activation"] == [False, False]
    assert networks.probe_detector(lambda: Small(detaches=True), 1)["kernels that a gradient reaches"] == 3

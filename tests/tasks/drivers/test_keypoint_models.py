"""Drivers of the networks."""

import pytest
import torch
from torch import nn

from helpers.tasks.drivers import keypoint_models


class Small(nn.Module):
    """Network with a block, dropout, a layer that is not used, and a last layer."""

    def __init__(self, num_points, dropout=0.5):
        super().__init__()
        self.block = nn.Sequential(nn.Conv2d(1, 20, 1), nn.BatchNorm2d(20), nn.ReLU())
        self.unused = nn.Linear(3, 20)
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Conv2d(20, num_points, 1)

    def forward(self, images):
        return self.output(self.dropout(self.block(images)))


def test_a_network_is_described_by_shapes_and_numbers():
    description = keypoint_models.describe_network(Small, 3, torch.zeros(2, 1, 4, 6))
    assert description == {
        "shape of the outputs": [2, 3, 4, 6],
        "weights without biases": 20 + 3 * 20 + 20 * 3,
        "channels with batch normalisation": 20,
    }


def test_outputs_of_a_painted_network_by_hand():
    images = torch.tensor([[[[2.0, -3.0]]]])
    # A kernel of the block has 1 weight of 0.5, so the block gives relu(1 + 0.5 · image). The last layer has the mean.
    painted = keypoint_models.compute_painted_outputs(Small, 1, images, 0.5, 1.0)
    torch.testing.assert_close(painted, torch.tensor([[[[2.0, 0.0]]]]), atol=1e-4, rtol=0)
    painted = keypoint_models.compute_painted_outputs(Small, 1, images, -0.5, -1.0)
    torch.testing.assert_close(painted, torch.tensor([[[[0.0, -2.5]]]]), atol=1e-4, rtol=0)


def test_weights_without_a_gradient_are_counted():
    assert keypoint_models.count_unreached_weights(Small, 2, torch.ones(2, 1, 4, 4)) == 60


def test_dropout_makes_two_passes_differ_in_training_only():
    assert keypoint_models.compare_passes(Small, 2, torch.ones(2, 1, 4, 4)) == {
        "in training": True,
        "in evaluation": False,
    }


def test_options_reach_the_network():
    passes = keypoint_models.compare_passes(Small, 2, torch.ones(2, 1, 4, 4), dropout=0.0)
    assert passes == {"in training": False, "in evaluation": False}
    with pytest.raises(TypeError, match="width"):
        keypoint_models.describe_network(Small, 2, torch.ones(2, 1, 4, 4), width=3)


@pytest.mark.parametrize("learns", [True, False])
def test_a_few_steps_reduce_the_error_of_a_network_that_learns(learns):
    def build(num_points):
        torch.manual_seed(0)
        network = nn.Conv2d(1, num_points, 1)
        network.requires_grad_(learns)
        network.register_parameter("scale", nn.Parameter(torch.ones(1)))
        network.register_forward_hook(lambda module, inputs, outputs: outputs + 0 * module.scale)
        return network

    images, targets = torch.ones(2, 1, 4, 4), torch.full((2, 3, 4, 4), 5.0)
    assert keypoint_models.train_on_two_images(build, 3, images, targets) == learns

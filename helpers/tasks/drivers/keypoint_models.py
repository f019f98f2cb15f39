"""Drivers of the networks: what a check reads off a student's network class.

Two right networks have different random weights, so their outputs cannot be compared. `compute_painted_outputs` gives
all kernels of one shape the same numbers. Then the outputs depend on the layers alone, not on the order in which they
were made.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

NetworkClass = Callable[..., nn.Module]

NUM_STEPS = 5
"""Of `train_on_two_images`."""
LEARNING_RATE = 0.1
FEWEST_CHANNELS = 16
"""Of a layer that is not the last one."""


def describe_network(network_class: NetworkClass, num_points: int, images: Tensor, **options: Any) -> dict[str, Any]:
    """Return the shape of the outputs, numbers in one row per image, and the numbers of weights.

    Biases are left out, because a bias before a batch normalisation has no effect and may be omitted.

    Args:
        num_points: of the network.
        images: its inputs.
        options: further arguments of the network class.
    """
    network = network_class(num_points, **options).eval()
    with torch.no_grad():
        outputs = network(images)
    kernels = [parameter.numel() for parameter in network.parameters() if parameter.ndim > 1]
    normalised = [module.num_features for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    return {
        "shape of the outputs": list(outputs.shape) if outputs.ndim == 4 else list(outputs.flatten(1).shape),
        "weights without biases": sum(kernels),
        "channels with batch normalisation": sum(normalised),
    }


def compute_painted_outputs(
    network_class: NetworkClass, num_points: int, images: Tensor, scale: float, last_sign: float
) -> Tensor:
    """Return the outputs of a network in evaluation mode whose kernels hold one number each.

    Args:
        num_points: of the network; few, so that the last layer has fewer outputs than all others.
        images: its inputs.
        scale: of the kernels, see `paint`.
        last_sign: 1 or -1, the sign of the last layer's kernel.
    """
    network = network_class(num_points).eval()
    paint(network, scale, last_sign)
    with torch.no_grad():
        outputs = network(images)
    return outputs if outputs.ndim == 4 else outputs.flatten(1)


@torch.no_grad()
def paint(network: nn.Module, scale: float, last_sign: float) -> None:
    """Set each kernel to one number, biases to 0, and batch normalisations to adding 1.

    The number is `scale` divided by the weights of one entry of the kernel's first axis, so values neither grow nor
    vanish from layer to layer. A kernel whose first axis is shorter than `FEWEST_CHANNELS` is the last layer's.
    """
    for module in network.modules():
        for parameter in module.parameters(recurse=False):
            if isinstance(module, nn.BatchNorm2d):
                parameter.fill_(1.0)
            elif parameter.ndim == 1:
                parameter.zero_()
            elif len(parameter) < FEWEST_CHANNELS:
                parameter.fill_(last_sign * len(parameter) / parameter.numel())
            else:
                parameter.fill_(scale * len(parameter) / parameter.numel())


def count_unreached_weights(network_class: NetworkClass, num_points: int, images: Tensor) -> int:
    """Return the number of weights without biases that get no gradient from the outputs."""
    network = network_class(num_points).train()
    network(images).square().sum().backward()
    return sum(weight.numel() for weight in network.parameters() if weight.ndim > 1 and weight.grad is None)


def compare_passes(network_class: NetworkClass, num_points: int, images: Tensor, **options: Any) -> dict[str, bool]:
    """Return whether two passes of the same images differ, in training and in evaluation mode.

    Args:
        num_points: of the network.
        images: its inputs.
        options: further arguments of the network class.
    """
    network = network_class(num_points, **options)
    with torch.no_grad():
        differences = {
            "in training": not torch.equal(network.train()(images), network(images)),
            "in evaluation": not torch.equal(network.eval()(images), network(images)),
        }
    return differences


def train_on_two_images(network_class: NetworkClass, num_points: int, images: Tensor, targets: Tensor) -> bool:
    """Return whether a few steps on the same images reduce the mean squared error."""
    network = network_class(num_points).train()
    errors = []
    for _ in range(NUM_STEPS):
        error = (network(images).reshape(targets.shape) - targets).square().mean()
        errors.append(error.item())
        network.zero_grad()
        error.backward()
        with torch.no_grad():
            for weight in network.parameters():
                if weight.grad is not None:
                    weight -= LEARNING_RATE * weight.grad
    return errors[-1] < errors[0]

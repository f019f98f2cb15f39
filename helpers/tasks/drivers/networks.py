"""Drivers for networks: their weights, shapes, receptive fields and gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


def list_weights(network: Callable[..., nn.Module], **settings: int) -> dict[str, Any]:
    """Return the shapes of all kernels (outputs, inputs, height, width) and the widths of the batch normalisations.

    Both are sorted, and each width is listed once: the order and the biases are left free.
    """
    try:
        with torch.device("meta"):
            model = network(**settings)
    except Exception:  # as in `list_shapes`
        model = network(**settings)
    kernels = sorted(list(parameter.shape) for parameter in model.parameters() if parameter.dim() == 4)
    widths = {layer.num_features for layer in model.modules() if isinstance(layer, nn.BatchNorm2d)}
    return {"kernels": kernels, "channels of batch normalisations": sorted(widths)}


def list_shapes(network: Callable[..., nn.Module], size: list[int], **settings: int) -> dict[str, Any]:
    """Return the shapes of the network's outputs for images of the shape `size`.

    The network is built without memory for its weights where PyTorch can do that, because shapes need no numbers.
    """
    try:
        with torch.device("meta"):
            outputs = network(**settings)(torch.zeros(size))
    except Exception:  # code that reads a number fails without memory; a real mistake fails once more below
        outputs = network(**settings).eval()(torch.zeros(size))
    kind = "one tensor" if isinstance(outputs, Tensor) else "a list of maps"
    maps = [outputs] if isinstance(outputs, Tensor) else outputs
    return {"returned": kind, "shapes": [list(level.shape) for level in maps]}


def measure_fields(network: Callable[..., nn.Module], side: int) -> list[list[int]]:
    """Return the height and width in pixels of the area that the middle cell of each output depends on.

    All weights are made positive, so that no two paths through the network cancel out. One image gets brighter towards
    its lower right corner, the other towards its upper left one, so that a maximum takes its input from either side.

    Args:
        network: the student's class.
        side: height and width of the image.
    """
    model = network().eval()
    for parameter in model.parameters():
        parameter.data.abs_()
    steps = torch.arange(side) / side
    ramp = (steps[:, None] + steps + 1).expand(3, side, side)
    images = torch.stack([ramp, ramp.flip(1, 2)]).requires_grad_()
    fields = []
    for level in model(images):
        middle = level[:, :, level.shape[2] // 2, level.shape[3] // 2].sum()
        (gradient,) = torch.autograd.grad(middle, images, retain_graph=True)
        is_reached = (gradient != 0).any(dim=0).any(dim=0)
        fields.append([int(is_reached.any(dim=1).sum()), int(is_reached.any(dim=0).sum())])
    return fields


def probe_detector(network: Callable[..., nn.Module], seed: int) -> dict[str, Any]:
    """Return facts about a detector that its shapes do not show.

    A linear map has h(x) + h(-x) = 2 h(0). Outputs without an activation change their sign with the last weights.
    """
    generator = torch.Generator().manual_seed(seed)
    model: Any = network()
    images = torch.rand(2, 3, 16, 32, generator=generator)
    torch.stack([(level**2).sum() for level in model(images)]).sum().backward()
    kernels = [parameter for parameter in model.parameters() if parameter.dim() == 4]
    with torch.no_grad():
        model.eval()
        features = model.features(images)
        outputs = model(images)
        are_linear = [_is_linear(head, level) for head, level in zip(model.heads, features, strict=True)]
        matches = [
            torch.allclose(head(level), output, atol=1e-4)
            for head, level, output in zip(model.heads, features, outputs, strict=True)
        ]
        for head in model.heads:
            last_layer = [layer for layer in head.modules() if isinstance(layer, nn.Conv2d)][-1]
            for parameter in last_layer.parameters():
                parameter.neg_()
        negated = model(images)
        are_raw = [torch.allclose(after, -before, atol=1e-4) for before, after in zip(outputs, negated, strict=True)]
    return {
        "channels of the feature maps": [level.shape[1] for level in features],
        "all features are at least 0": all(bool((level >= 0).all()) for level in features),
        "kernels that a gradient reaches": sum(kernel.grad is not None for kernel in kernels),
        "the maps are the heads' outputs": matches,
        "the maps have no activation": are_raw,
        "the heads are linear": are_linear,
    }


def _is_linear(head: nn.Module, features: Tensor) -> bool:
    """Return whether a head, in evaluation mode, is linear but for a constant."""
    curvature = head(features) + head(-features) - 2 * head(torch.zeros_like(features))
    return bool(curvature.abs().max() < 1e-4)

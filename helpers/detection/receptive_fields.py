"""Receptive fields: the pixels that a cell of each level depends on, by the architecture and in a trained network.

Shape letters: N objects, A anchors per cell, L levels, S side of a square of pixels, H W image.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor, nn

from helpers.detection.boxes import area
from helpers.detection.dataset import ShapeDetectionDataset, prepare_images
from helpers.detection.model import UNDILATED, Dilations, MultiScaleDetector

STRIDES = (4, 8, 16)
"""Pixels between neighbouring cells of each level."""


def compute_receptive_fields(dilations: Dilations = UNDILATED) -> tuple[int, int, int]:
    """Return for each level the width in pixels of the square of input that one output cell can depend on.

    A 3 x 3 convolution with dilation d on a map whose cells are j pixels apart widens the receptive field by 2 d j; a
    stride s multiplies j by s.

    Source: Araujo et al. 2019, "Computing receptive fields of convolutional neural networks".
    """
    width, jump = 1, 1
    maps = []
    for stride, dilation in ((1, 1), (2, 1), (2, 1), (2, dilations.block3), (2, dilations.block4)):
        width += 2 * dilation * jump
        jump *= stride
        maps.append((width, jump))
    fine, middle, coarse = (
        width + 2 * head * jump for (width, jump), head in zip(maps[-3:], dilations.heads, strict=True)
    )
    return fine, middle, coarse


def compute_path_weights(dilations: Dilations) -> Float[Tensor, "L S S"]:
    """Return for each level the share of all paths through the network that lead from each pixel to one cell.

    Without signs and thresholds a network is a sum over paths, so with all weights equal to one the gradient of an
    output counts the paths. A share of 0 inside the receptive field is gridding: the cell does not depend on the pixel,
    whatever the weights are. The centre of the square is the centre of every receptive field, and S is the widest one.

    Law: the shares of a level add up to 1.
    """
    span = max(compute_receptive_fields(dilations))
    size = 32 * math.ceil(span / 32)  # of the image: pixel size // 2 is a multiple of 16, so a field is centred on it
    first = size // 2 - span // 2  # [first, first + span) is the widest field
    weights = []
    for paths in _count_paths(dilations, size):
        shown = paths[first : first + span, first : first + span]
        weights.append(shown / shown.sum())
    return torch.stack(weights)


def measure_receptive_fields(dilations: Dilations = UNDILATED, size: int = 256) -> tuple[int, int, int]:
    """Return the widths of `compute_receptive_fields`, measured in a network: the pixels that change an output.

    Args:
        dilations: of the network.
        size: of the image in pixels, a multiple of 32.

    Raises:
        ValueError: a receptive field reaches the border of the image, so it may be wider.
    """
    widths = []
    for paths in _count_paths(dilations, size):
        (columns,) = paths.sum(dim=0).nonzero(as_tuple=True)
        first, last = int(columns[0]), int(columns[-1])
        if first == 0 or last == size - 1:
            raise ValueError(f"a receptive field reaches the border of an image of {size} pixels: choose a larger size")
        widths.append(last + 1 - first)
    fine, middle, coarse = widths
    return fine, middle, coarse


def _count_paths(dilations: Dilations, size: int) -> list[Float[Tensor, "size size"]]:
    """Return for each level the number of paths from each pixel of a square image to the cell in its middle."""
    model = MultiScaleDetector(num_classes=1, num_anchors=1, dilations=dilations, width=1).double().eval()
    for parameter in model.parameters():
        nn.init.ones_(parameter)
    image = torch.ones((1, 3, size, size), dtype=torch.float64, requires_grad=True)
    counts = []
    for level in model(image):
        middle = level[0, :, level.shape[2] // 2, level.shape[3] // 2].sum()
        (gradient,) = torch.autograd.grad(middle, image, retain_graph=True)
        counts.append(gradient[0].sum(dim=0))
    return counts


def compute_reached_shares(
    weights: Float[np.ndarray, "L S S"] | Float[Tensor, "L S S"], widths: Sequence[int]
) -> list[float]:
    """Return for each level the share of the receptive field's pixels that a path starts from; below 1 is gridding.

    Args:
        weights: from `compute_path_weights`.
        widths: of the receptive fields in pixels, from `compute_receptive_fields`.
    """
    return [float((paths > 0).sum() / width**2) for paths, width in zip(weights, widths, strict=True)]


class Objects(NamedTuple):
    """Single objects, each with its image."""

    images: UInt8[Tensor, "N H W 3"]
    boxes: Float[Tensor, "N 4"]  # (x1, y1, x2, y2) in pixels


def pick_objects(
    dataset: ShapeDetectionDataset, label: int, minimum_visibility: float = 0.1, count: int | None = None
) -> Objects:
    """Return the objects of one class with at least `minimum_visibility`, largest first, each with a copy of its image.

    Args:
        dataset: the scenes.
        label: the class.
        minimum_visibility: smallest visibility.
        count: return only the first `count` objects; `None` returns all.
    """
    is_picked = (dataset.labels == label) & (dataset.visibility >= minimum_visibility)
    image, row = is_picked.nonzero(as_tuple=True)
    order = area(dataset.boxes[image, row]).argsort(descending=True, stable=True)[:count]
    return Objects(dataset.images[image[order]], dataset.boxes[image[order], row[order]])


def find_middle_cells(boxes: Float[Tensor, "N 4"], level: int) -> Int[Tensor, "N 2"]:
    """Return (row, column) of the cell of `level` in the middle of each box."""
    return ((boxes[:, [1, 0]] + boxes[:, [3, 2]]) / 2 / STRIDES[level]).long()


class CellSensitivity(NamedTuple):
    """Sensitivity of one cell per image to each pixel.

    The receptive field of cell i is centred on pixel `stride * i`, half a cell before the centre of the cell, because
    the middle tap of a kernel of stride 2 lies on every second pixel.
    """

    centres: Int[Tensor, "N 2"]  # (row, column) of the pixel at the centre of the receptive field
    sensitivity: Float[Tensor, "N H W"]  # |gradient|; each image adds up to 1, or to 0 if no pixel changes the output
    outputs: Float[Tensor, "N A outputs"]  # of the cell's anchors: 4 offsets, an objectness logit, class logits


def measure_sensitivity(model: MultiScaleDetector, objects: Objects, level: int) -> CellSensitivity:
    """Return the gradient of the objectness of the cell in the middle of each object with respect to the pixels.

    Args:
        model: in evaluation mode, on the device of `objects`.
        objects: one cell of each is measured.
        level: of the cells.
    """
    cells = find_middle_cells(objects.boxes, level)
    pixels = prepare_images(objects.images).requires_grad_()
    level_map = model.heads[level](model.features(pixels)[level]).unflatten(1, (model.num_anchors, -1))
    outputs = level_map[torch.arange(len(cells)), :, :, cells[:, 0], cells[:, 1]]  # [N, A, 5 + classes]
    objectness = outputs[:, :, 4]  # before the sigmoid; channels 0 to 3 are the box offsets
    (gradient,) = torch.autograd.grad(objectness.sum(), pixels)  # [N, 3, H, W]
    sensitivity = gradient.abs().sum(dim=1)  # [N, H, W]
    total = sensitivity.sum(dim=(1, 2), keepdim=True).clamp(min=torch.finfo(sensitivity.dtype).tiny)
    return CellSensitivity(cells * STRIDES[level], sensitivity / total, outputs.detach())


def compute_effective_width(cells: CellSensitivity, share: float = 0.95) -> int:
    """Return the width in pixels of the smallest centred square that holds `share` of the sensitivity of all images.

    Source: Luo et al. 2016, "Understanding the effective receptive field in deep convolutional neural networks".
    """
    distance = _distance_from_centre(cells.centres, cells.sensitivity.shape[1:])
    profile = torch.bincount(distance.flatten(), weights=cells.sensitivity.flatten().double())
    cumulative_share = profile.cumsum(0) / profile.sum()
    return 2 * int((cumulative_share < share).sum()) + 1


def is_field_uniform(objects: Objects, level: int, width: int) -> Bool[Tensor, " N"]:
    """Return whether the receptive field in the middle of each object contains one colour only: no edge, no corner.

    Args:
        objects: with their images.
        level: of the cells in the middle of the objects.
        width: of the level's receptive field in pixels.
    """
    centres = find_middle_cells(objects.boxes, level) * STRIDES[level]
    middle = objects.images[torch.arange(len(centres)), centres[:, 0], centres[:, 1]]
    differs = (objects.images != middle[:, None, None]).any(dim=-1)
    is_inside = _distance_from_centre(centres, differs.shape[1:]) <= width // 2
    return ~(differs & is_inside).flatten(1).any(dim=1)


def _distance_from_centre(centres: Int[Tensor, "N 2"], size: Sequence[int]) -> Int[Tensor, "N H W"]:
    """Return the distance of each pixel from its image's centre: the larger of the two offsets, for squares."""
    height, width = size
    down = (torch.arange(height, device=centres.device) - centres[:, :1]).abs()
    across = (torch.arange(width, device=centres.device) - centres[:, 1:]).abs()
    return torch.maximum(down.unsqueeze(2), across.unsqueeze(1))

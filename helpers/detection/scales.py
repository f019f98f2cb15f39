"""What each level of a detector says of objects of each size, what it can see of them, and what it has learned.

Shape letters: M images, N objects, A anchors per cell, L levels, C channels, K concepts, S side of a square of pixels,
H W image, h w feature map.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from scipy.stats import rankdata
from torch import Tensor, nn

from helpers.detection.anchors import flatten_predictions
from helpers.detection.boxes import area, compute_iou, decode
from helpers.detection.dataset import ShapeDetectionDataset
from helpers.detection.inference import prepare_images
from helpers.detection.model import Dilations, MultiScaleDetector, receptive_fields
from helpers.detection.recipes import Detector

STRIDES = (4, 8, 16)
"""Pixels between the cells of each level."""


class ScalePerformance(NamedTuple):
    """What each level says of each object that counts."""

    sizes: Float[Tensor, " N"]  # square root of the box's area, pixels
    labels: Int[Tensor, " N"]
    objectness: Float[Tensor, "L N"]  # highest of all boxes that the level puts on the object; 0 if it puts none
    scores: Float[Tensor, "L N"]  # highest of those boxes that name the object's class

    def winners(self, score_threshold: float) -> Int[Tensor, " N"]:
        """Returns the level whose box survives on each object, or -1 where no score reaches the threshold."""
        best, level = self.scores.max(dim=0)
        return torch.where(best >= score_threshold, level, -1)


@torch.inference_mode()
def analyze_scale_performance(
    detector: Detector,
    dataset: ShapeDetectionDataset,
    minimum_visibility: float = 0.0,
    iou_threshold: float = 0.5,
    batch_size: int = 20,
) -> ScalePerformance:
    """Returns what the levels say of every object, before any suppression.

    A level speaks for an object through the boxes that it predicts on it, wherever their anchors are. Of boxes on one
    object the best score survives the suppression, so the level of the highest score is the level of the detection.

    Args:
        minimum_visibility: objects less visible than this are left out, and so are ignored ones.
        iou_threshold: smallest IoU of a predicted box with the object it speaks for.
        batch_size: images per forward pass.
    """
    columns = []
    for first in range(0, len(dataset), batch_size):
        part = dataset.select(slice(first, first + batch_size)).to(detector.anchors.device)
        maps = detector.model(prepare_images(part.images))
        counts = [level[0, 0].numel() * detector.model.num_anchors for level in maps]
        predictions = flatten_predictions(maps, detector.model.num_anchors).float()
        objectness = predictions[..., 4].sigmoid()
        probabilities, labels = predictions[..., 5:].softmax(-1).max(-1)
        boxes = decode(predictions[..., :4], detector.anchors)
        speaks = compute_iou(part.boxes, boxes) >= iou_threshold  # [B, N, A]
        names = speaks & (part.labels.unsqueeze(2) == labels.unsqueeze(1))
        said = torch.stack([objectness.unsqueeze(1) * speaks, (objectness * probabilities).unsqueeze(1) * names])
        best = torch.stack([level.amax(dim=-1) for level in said.split(counts, dim=-1)])  # [L, 2, B, N]
        counted = (part.labels >= 0) & ~part.ignored & (part.visibility >= minimum_visibility)
        sizes = area(part.boxes).sqrt()
        columns.append((sizes[counted], part.labels[counted], best[:, 0, counted], best[:, 1, counted]))
    return ScalePerformance(*(torch.cat(column, dim=-1).cpu() for column in zip(*columns, strict=True)))


def compute_view_weights(dilations: Dilations) -> Float[Tensor, "L S S"]:
    """Returns the share of all paths through the network that lead from each pixel to one cell of each level.

    Without signs and thresholds a network is a sum over paths, so with all weights equal to one the gradient of an
    output counts them. Zero means that the cell cannot see the pixel, whatever the weights are. The square's centre is
    the centre of every view, S the widest view. The weights of a level add up to one.
    """
    span = max(receptive_fields(dilations))
    size = 32 * math.ceil(span / 32)  # holds the widest view, and its middle is the middle of a view on every level
    model = MultiScaleDetector(num_classes=1, num_anchors=1, dilations=dilations, width=1).double().eval()
    for parameter in model.parameters():
        nn.init.ones_(parameter)
    image = torch.ones((1, 3, size, size), dtype=torch.float64, requires_grad=True)
    first = size // 2 - span // 2
    weights = []
    for level in model(image):
        middle = level[0, :, level.shape[2] // 2, level.shape[3] // 2].sum()
        (gradient,) = torch.autograd.grad(middle, image, retain_graph=True)
        paths = gradient[0].sum(dim=0)[first : first + span, first : first + span]
        weights.append(paths / paths.sum())
    return torch.stack(weights)


class Objects(NamedTuple):
    """Single objects, each with its image."""

    images: UInt8[Tensor, "N H W 3"]
    boxes: Float[Tensor, "N 4"]  # (x1, y1, x2, y2) in pixels


def pick_objects(
    dataset: ShapeDetectionDataset, label: int, minimum_visibility: float = 0.1, count: int | None = None
) -> Objects:
    """Returns the objects of one class that are visible enough, largest first, each with a copy of its image.

    Args:
        count: keep so many; `None` keeps all.
    """
    chosen = (dataset.labels == label) & (dataset.visibility >= minimum_visibility)
    image, row = chosen.nonzero(as_tuple=True)
    order = area(dataset.boxes[image, row]).argsort(descending=True, stable=True)[:count]
    return Objects(dataset.images[image[order]], dataset.boxes[image[order], row[order]])


def middle_cells(boxes: Float[Tensor, "N 4"], level: int) -> Int[Tensor, "N 2"]:
    """Returns (row, column) of the level's cell in the middle of each box."""
    return ((boxes[:, [1, 0]] + boxes[:, [3, 2]]) / 2 / STRIDES[level]).long()


class Views(NamedTuple):
    """How strongly one cell per image depends on each pixel.

    The view of cell i is centred on pixel `stride * i`, half a cell before the cell's own centre: a kernel of stride 2
    puts its middle tap on every second pixel.
    """

    centres: Int[Tensor, "N 2"]  # (row, column) of the pixel at the centre of the view
    sensitivity: Float[Tensor, "N H W"]  # |gradient|; each image adds up to 1, or to 0 if nothing moves the cell
    outputs: Float[Tensor, "N A outputs"]  # of the cells' anchors: 4 offsets, an objectness logit, class logits


def measure_views(model: MultiScaleDetector, objects: Objects, level: int) -> Views:
    """Returns what moves the objectness that the level's cell in the middle of each object reports.

    Args:
        model: in evaluation mode, on the device of `objects`.
    """
    cells = middle_cells(objects.boxes, level)
    pixels = prepare_images(objects.images).requires_grad_()
    level_map = model.heads[level](model.features(pixels)[level]).unflatten(1, (model.num_anchors, -1))
    outputs = level_map[torch.arange(len(cells)), :, :, cells[:, 0], cells[:, 1]]
    (gradient,) = torch.autograd.grad(outputs[:, :, 4].sum(), pixels)
    sensitivity = gradient.abs().sum(dim=1)
    total = sensitivity.sum(dim=(1, 2), keepdim=True).clamp(min=torch.finfo(sensitivity.dtype).tiny)
    return Views(cells * STRIDES[level], sensitivity / total, outputs.detach())


def compute_effective_width(views: Views, share: float = 0.95) -> int:
    """Returns the width in pixels of the smallest centred square that holds `share` of the sensitivity of all images.

    Source: Luo et al. 2016, "Understanding the effective receptive field in deep convolutional neural networks".
    """
    distance = _distance_from_centre(views.centres, views.sensitivity.shape[1:])
    profile = torch.bincount(distance.flatten(), weights=views.sensitivity.flatten().double())
    held = profile.cumsum(0) / profile.sum()
    return 2 * int((held < share).sum()) + 1


def sees_one_colour(objects: Objects, level: int, view: int) -> Bool[Tensor, " N"]:
    """Returns whether the level's cell in the middle of each object sees one colour only: no edge, no corner.

    Args:
        view: width of the level's receptive field in pixels.
    """
    centres = middle_cells(objects.boxes, level) * STRIDES[level]
    middle = objects.images[torch.arange(len(centres)), centres[:, 0], centres[:, 1]]
    differs = (objects.images != middle[:, None, None]).any(dim=-1)
    seen = _distance_from_centre(centres, differs.shape[1:]) <= view // 2
    return ~(differs & seen).flatten(1).any(dim=1)


def _distance_from_centre(centres: Int[Tensor, "N 2"], size: Sequence[int]) -> Int[Tensor, "N H W"]:
    """Returns how far each pixel is from its image's centre, as squares count it: the larger of the two offsets."""
    height, width = size
    down = (torch.arange(height, device=centres.device) - centres[:, :1]).abs()
    across = (torch.arange(width, device=centres.device) - centres[:, 1:]).abs()
    return torch.maximum(down.unsqueeze(2), across.unsqueeze(1))


def rank_channels(features: Float[Tensor, "M C h w"], concepts: Bool[Tensor, "M K h w"]) -> Float[np.ndarray, "K C"]:
    """Returns how well each channel alone tells the cells of each concept from all others.

    The measure is the area under the ROC curve: the probability that a cell of the concept has a higher value than
    another cell, ties counting half; .5 is chance, 1 perfect, 0 perfect with the sign reversed.

    Args:
        concepts: which cells belong to each concept; every concept has some and lacks some.
    """
    values = features.movedim(1, -1).flatten(0, 2).cpu().numpy()  # [cells, C]
    belongs = concepts.movedim(1, -1).flatten(0, 2).cpu().numpy().T.astype(np.float64)  # [K, cells]
    inside = belongs.sum(axis=1, keepdims=True)
    outside = belongs.shape[1] - inside
    ranks = rankdata(values, axis=0)
    return (belongs @ ranks - inside * (inside + 1) / 2) / (inside * outside)


def colour_features(features: Float[Tensor, "M C h w"]) -> Float[np.ndarray, "M h w 3"]:
    """Returns the features' three principal components as red, green and blue, 0..1: like cells get like colours.

    The components are those of all images together; each is stretched so that one cell in fifty saturates at either
    end. Colours carry no meaning of their own and do not compare between two calls.
    """
    cells = features.movedim(1, -1).flatten(0, 2).double()  # [cells, C]
    cells = cells - cells.mean(dim=0)
    _, axes = torch.linalg.eigh(cells.T @ cells)  # the largest come last
    projected = cells @ axes[:, -3:].flip(1)
    low, high = projected.quantile(torch.tensor([0.02, 0.98], dtype=torch.float64, device=cells.device), dim=0)
    stretched = ((projected - low) / (high - low).clamp(min=1e-12)).clamp(0, 1)
    num_images, _, height, width = features.shape
    return stretched.unflatten(0, (num_images, height, width)).cpu().numpy()

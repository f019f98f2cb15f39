"""Adapters of the tasks about detection."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from helpers.average_precision import Detections
from helpers.detection import boxes as box_geometry
from helpers.detection import matching
from helpers.detection.anchors import ANCHOR_SCALES, FEATURE_MAP_SIZES
from helpers.detection.model import UNDILATED, Dilations

Function = Callable[..., Any]
Replacements = Mapping[str, Any]


# Tasks 1.1 to 1.3, 2.1 to 2.5: boxes and anchors


def to_corners(function: Function) -> dict[str, Function]:
    """Return no replacement: files are read in float64, and each record is checked while it is converted."""
    return {}


def to_coco(function: Function) -> dict[str, Function]:
    """Return no replacement: files are written, and COCO's metrics computed, in float64."""
    return {}


def detect_regions(function: Function) -> dict[str, Function]:
    """Return the replacement of the workbook's detector of colour alone, a row of lesson 1's table."""

    def replacement(image: np.ndarray) -> Detections:
        boxes, scores, labels = function(image)
        return Detections(
            torch.as_tensor(boxes, dtype=torch.float32).reshape(-1, 4),
            torch.as_tensor(scores, dtype=torch.float32),
            torch.as_tensor(labels, dtype=torch.int64),
        )

    return {"helpers.detection.baseline.detect_regions": replacement}


def generate_anchors(function: Function) -> dict[str, Function]:
    """Return the replacement of the workbook's function: equal order, and its defaults.

    The task accepts two orders within a level; anchors listed size by size are put into the workbook's order. Aspect
    ratios are no part of the task: anchors with other ratios are made of the function's squares.
    """
    name = "helpers.detection.anchors.generate_anchors"
    is_size_by_size = _lists_sizes_apart(function)

    def replacement(
        feature_map_sizes: Sequence[tuple[int, int]] = FEATURE_MAP_SIZES,
        anchor_scales: Sequence[Sequence[int | float]] = ANCHOR_SCALES,
        image_size: int = 224,
        aspect_ratios: Sequence[int | float] = (1.0,),
    ) -> list[Tensor]:
        levels = []
        for level, scales in zip(function(feature_map_sizes, anchor_scales, image_size), anchor_scales, strict=True):
            anchors = torch.as_tensor(level, dtype=torch.float32)
            squares = _to_cell_by_cell(anchors, len(scales)) if is_size_by_size else anchors
            levels.append(squares if tuple(aspect_ratios) == (1.0,) else _vary_ratios(squares, aspect_ratios))
        return levels

    return {name: replacement}


def _vary_ratios(squares: Tensor, aspect_ratios: Sequence[int | float]) -> Tensor:
    """Return for each square the boxes of equal area and centre with these ratios of height to width."""
    ratios = torch.tensor(aspect_ratios, dtype=torch.float32).sqrt()
    centres = (squares[:, None, :2] + squares[:, None, 2:]) / 2
    sides = squares[:, 2:3] - squares[:, :1]
    half_sizes = torch.stack([sides / ratios, sides * ratios], dim=-1) / 2  # [squares, ratios, (width, height)]
    return torch.cat([centres - half_sizes, centres + half_sizes], dim=-1).reshape(-1, 4)


def _lists_sizes_apart(generate: Function) -> bool:
    """Return whether the anchors of a level are listed size by size: all cells with the first size come first."""
    (level,) = generate([(1, 2)], [[1, 2]], 2)
    (first_width, second_width) = (float(row[2] - row[0]) for row in level[:2])
    return abs(first_width - second_width) < 0.1


def _to_cell_by_cell(rows: Tensor, num_anchors: int, axis: int = 0) -> Tensor:
    """Return the rows of a level, listed size by size, with the anchors of each cell together."""
    by_size = rows.unflatten(axis, (num_anchors, rows.shape[axis] // num_anchors))
    return by_size.transpose(axis, axis + 1).flatten(axis, axis + 1)


def flatten_predictions(function: Function) -> dict[str, Function]:
    """Return the replacement of the workbook's function: predictions listed size by size are put into its order."""
    first, second = 0, 1  # values of two cells; the other anchor of the cells has the values 10 and 11
    painted = torch.tensor([[[[first, second]], [[10, 11]]]], dtype=torch.float32)
    is_size_by_size = float(function([painted], 2)[0, 1, 0]) == second

    def replacement(maps: Sequence[Tensor], num_anchors: int) -> Tensor:
        predictions = torch.as_tensor(function(maps, num_anchors)).to(maps[0])
        if not is_size_by_size:
            return predictions
        counts = [num_anchors * level.shape[-2] * level.shape[-1] for level in maps]
        levels = [_to_cell_by_cell(level, num_anchors, axis=1) for level in predictions.split(counts, dim=1)]
        return torch.cat(levels, dim=1)

    return {"helpers.detection.anchors.flatten_predictions": replacement}


def compute_iou(function: Function) -> dict[str, Function]:
    """Return the replacement of the workbook's function, with leading axes that broadcast."""

    def replacement(boxes: Tensor, others: Tensor) -> Tensor:
        shape = (boxes.shape[-2], others.shape[-2])
        leading = torch.broadcast_shapes(boxes.shape[:-2], others.shape[:-2])
        if others.dim() == 2:  # one call: each row of the result depends on one box alone
            iou = function(boxes.reshape(-1, 4), others)
            return torch.as_tensor(iou).to(boxes).reshape(*leading, *shape)
        boxes = boxes.expand(*leading, *boxes.shape[-2:]).flatten(0, -3)
        others = others.expand(*leading, *others.shape[-2:]).flatten(0, -3)
        result = boxes.new_zeros(len(boxes), *shape)
        for image in range(len(boxes)):
            result[image] = torch.as_tensor(function(boxes[image], others[image]))
        return result.reshape(*leading, *shape)

    return {"helpers.detection.boxes.compute_iou": replacement}


def encode(function: Function) -> dict[str, Function]:
    """Return the replacement of the workbook's function, with leading axes that broadcast."""
    return {"helpers.detection.boxes.encode": _lift_rows(function)}


def decode(function: Function) -> dict[str, Function]:
    """Return the replacement of the workbook's function, with leading axes that broadcast."""
    return {"helpers.detection.boxes.decode": _lift_rows(function)}


def _lift_rows(function: Function) -> Function:
    """Return a function of two tensors [N, 4] as one of any leading axes."""

    def replacement(values: Tensor, anchors: Tensor) -> Tensor:
        values, anchors = torch.broadcast_tensors(values, anchors)
        result = function(values.reshape(-1, 4), anchors.reshape(-1, 4))
        return torch.as_tensor(result).to(values).reshape(values.shape)

    return replacement


# Tasks 2.6, 2.7, 3.1, 3.2, 3.6, 4.1 and 4.2: matching, the network, its loss, and scales


def match_anchors_to_targets(student: Callable[..., Any]) -> Replacements:
    """Lift a matching of one image to any number of images, padded targets and ignored objects."""

    def match(
        anchors: Tensor,
        target_boxes: Tensor,
        target_labels: Tensor,
        pos_threshold: float = 0.5,
        neg_threshold: float = 0.3,
        ignored: Tensor | None = None,
    ) -> matching.Matches:
        matching.check_thresholds(pos_threshold, neg_threshold)
        batch, num_objects = target_labels.shape[:-1], target_labels.shape[-1]
        hidden = torch.zeros_like(target_labels, dtype=torch.bool) if ignored is None else ignored
        images = zip(
            target_boxes.reshape(-1, num_objects, 4) if num_objects else target_boxes.reshape(batch.numel(), 0, 4),
            target_labels.reshape(batch.numel(), num_objects),
            hidden.reshape(batch.numel(), num_objects),
            strict=True,
        )
        thresholds = (pos_threshold, neg_threshold)
        index = torch.full((batch.numel(), len(anchors)), matching.BACKGROUND, device=anchors.device)
        iou = torch.zeros((batch.numel(), len(anchors)), device=anchors.device)
        for image, (boxes, labels, is_hidden) in enumerate(images):
            index[image], iou[image] = _match_image(student, anchors, boxes, labels, is_hidden, thresholds)
        return matching.Matches(index.reshape(*batch, len(anchors)), iou.reshape(*batch, len(anchors)))

    return {"helpers.detection.matching.match_anchors_to_targets": match}


def _match_image(
    student: Callable[..., Any],
    anchors: Tensor,
    boxes: Tensor,
    labels: Tensor,
    is_hidden: Tensor,
    thresholds: tuple[float, float],
) -> tuple[Tensor, Tensor]:
    """Return for each anchor the row of its object, or BACKGROUND or IGNORED, and its highest IoU.

    The function is called for the objects that can be matched, and once more with the ignored ones: what is background
    then is background.
    """
    rows = ((labels >= 0) & ~is_hidden).nonzero(as_tuple=True)[0]
    matched_labels, matched_boxes, positive, negative = _call(student, anchors, boxes[rows], labels[rows], thresholds)
    if is_hidden.any():
        is_object = labels >= 0
        *_, negative = _call(student, anchors, boxes[is_object], labels[is_object], thresholds)
    index = torch.full((len(anchors),), matching.IGNORED, device=anchors.device)
    index[negative] = matching.BACKGROUND
    found = positive.nonzero(as_tuple=True)[0]
    is_same_box = (matched_boxes[found, None] == boxes[rows]).all(dim=-1)
    is_same = is_same_box & (matched_labels[found, None] == labels[rows] + 1)
    if len(found):
        index[found] = rows[is_same.int().argmax(dim=1)]
    iou = torch.zeros(len(anchors), device=anchors.device)
    if len(rows):
        iou = box_geometry.compute_iou(boxes[rows], anchors).amax(dim=0)
    return index, iou


def _call(
    student: Callable[..., Any], anchors: Tensor, boxes: Tensor, labels: Tensor, thresholds: tuple[float, float]
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the results of the student's matching as tensors on the device of the anchors."""
    results = student(anchors, boxes, labels, *thresholds)
    matched_labels, matched_boxes, positive, negative = (
        torch.as_tensor(result, device=anchors.device) for result in results
    )
    return matched_labels, matched_boxes.to(anchors.dtype), positive.bool(), negative.bool()


def hard_negative_mining(student: Callable[..., Any]) -> Replacements:
    """Lift the mining of one image to a batch.

    Which of several equal losses are used may differ from the workbook's choice.
    """

    def mine(
        losses: Tensor, positive: Tensor, negative: Tensor, ratio: int = 3, most_positives: int | None = None
    ) -> Tensor:
        chosen = torch.zeros_like(negative)
        for image, image_losses in enumerate(losses.detach()):
            result = torch.as_tensor(
                student(image_losses, positive[image], negative[image], ratio), device=losses.device
            )
            is_mask = result.dtype == torch.bool
            chosen[image, result if is_mask else result.long()] = True
        return chosen

    return {"helpers.detection.matching.hard_negative_mining": mine}


def MultiScaleDetector(student: type[nn.Module]) -> Replacements:
    """Use the student's network in all configurations of the lessons.

    The contract has no dilations and no prior of the objectness. Both are set in the finished network.
    """

    class Detector(nn.Module):
        """The student's network with the arguments and attributes of the workbook's."""

        def __init__(
            self,
            num_classes: int = 3,
            num_anchors: int = 3,
            dilations: Dilations = UNDILATED,
            width: int = 32,
            objectness_prior: float = 0.5,
        ) -> None:
            super().__init__()
            self.num_anchors = num_anchors
            self.network: Any = student(num_classes=num_classes, num_anchors=num_anchors, width=width)
            _dilate(self.network, dilations, width)
            for head in self.network.heads:
                _add_prior(head, num_anchors, math.log(objectness_prior / (1 - objectness_prior)))

        @property
        def heads(self) -> nn.ModuleList:
            """The heads of the three levels, finest first."""
            return self.network.heads

        def forward(self, images: Tensor) -> list[Tensor]:
            """Return the maps of the three levels, finest first."""
            return list(self.network(images))

        def features(self, images: Tensor) -> list[Tensor]:
            """Return the three feature maps that are the input of the heads, finest first."""
            return list(self.network.features(images))

    Detector.__name__ = Detector.__qualname__ = "MultiScaleDetector"
    return {"helpers.detection.model.MultiScaleDetector": Detector}


def _dilate(network: nn.Module, dilations: Dilations, width: int) -> None:
    """Dilate the 3 x 3 convolutions of a network; its numbers of channels tell which one it is."""
    levels = (4 * width, 8 * width, 16 * width)
    wanted = {(channels, channels): dilation for channels, dilation in zip(levels, dilations.heads, strict=True)}
    wanted[levels[0], levels[1]] = dilations.block3
    wanted[levels[1], levels[2]] = dilations.block4
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d) and layer.kernel_size == (3, 3):
            dilation = wanted.get((layer.in_channels, layer.out_channels), 1)
            layer.dilation = layer.padding = (dilation, dilation)


def _add_prior(head: nn.Module, num_anchors: int, logit: float) -> None:
    """Add a number to the bias of each objectness in the last convolution of a head."""
    last = [layer for layer in head.modules() if isinstance(layer, nn.Conv2d)][-1]
    if last.bias is None:
        last.bias = nn.Parameter(torch.zeros(last.out_channels))
    last.bias.data.view(num_anchors, -1)[:, 4] += logit


def DetectionLoss(student: type[nn.Module]) -> Replacements:
    """Use the terms of the student's loss; GIoU and the objectness that predicts the IoU remain the workbook's.

    The student's loss matches by itself, as the assignment does. Where a lesson matches in another way, the class term
    alone is used.
    """
    module = "helpers.detection.loss"
    last: dict[str, Any] = {"batch": None}

    def compute_terms(batch: Any) -> Mapping[str, Tensor]:
        """Return the terms of a batch; its three terms are asked for one by one and computed together."""
        if last["batch"] is not batch:
            last.update(batch=batch, terms=_compute_terms(student, batch))
        return last["terms"]

    def compute_class_loss(batch: Any) -> Tensor:
        return compute_terms(batch)["loss_cls"]

    def compute_offset_loss(batch: Any) -> Tensor:
        return _find_term(compute_terms(batch), "loss_loc")

    def compute_mined_objectness(batch: Any) -> Tensor:
        return _find_term(compute_terms(batch), "loss_obj")

    return {
        f"{module}.compute_class_loss": compute_class_loss,
        f"{module}.compute_offset_loss": compute_offset_loss,
        f"{module}.compute_mined_objectness": compute_mined_objectness,
    }


def _find_term(terms: Mapping[str, Tensor], name: str) -> Tensor:
    if name not in terms:
        raise ValueError(
            "your DetectionLoss matches as the assignment does, from IoU 0.5 and up to 0.3, and ignores no object; "
            "with other matches choose box_loss='giou' and objectness='quality'"
        )
    return terms[name]


def _compute_terms(student: type[nn.Module], batch: Any) -> Mapping[str, Tensor]:
    """Return the terms of the student's loss for a batch, or its class term alone if the matches are others.

    The student's loss gets the flat outputs as a map of one column and one anchor per cell, whose order every way of
    flattening keeps.
    """
    criterion = student(num_classes=batch.predictions.shape[-1] - 5)
    if not _has_default_matches(batch.anchors, batch.index, batch.boxes, batch.labels):
        return {"loss_cls": _compute_class_term(criterion, batch)}
    targets = [
        {"boxes": boxes[labels >= 0], "labels": labels[labels >= 0]}
        for boxes, labels in zip(batch.boxes, batch.labels, strict=True)
    ]
    one_level = batch.predictions.float().mT.unsqueeze(-1)  # [B, 5 + C, A, 1]
    return criterion([one_level], targets, [batch.anchors])


def _compute_class_term(criterion: nn.Module, batch: Any) -> Tensor:
    """Return the class term of the positive anchors, whatever they were matched by.

    The classes do not depend on places. In a made-up image each class has one object, and the anchors of a class equal
    its object.
    """
    logits, labels = batch.class_logits[batch.is_real], batch.matched_labels[batch.is_real].long()
    if len(labels) == 0:
        return batch.class_logits.sum() * 0
    corners = 100.0 * torch.arange(logits.shape[1], device=logits.device)
    boxes = torch.stack([corners, corners, corners + 50, corners + 50], dim=1)  # one for each class
    outputs = torch.cat([torch.zeros_like(logits[:, :1]).expand(-1, 5), logits], dim=1)
    target = {"boxes": boxes, "labels": torch.arange(len(boxes), device=logits.device)}
    return criterion([outputs.T[None, :, :, None]], [target], [boxes[labels]])["loss_cls"]


def _has_default_matches(anchors: Tensor, index: Tensor, boxes: Tensor, labels: Tensor) -> bool:
    """Return whether `index` is what the assignment's thresholds give without ignored objects."""
    expected = matching.match_anchors_to_targets(anchors, boxes, labels).index
    return bool(torch.equal(expected, index.to(expected.dtype)))


def train_epoch(student: Callable[..., Any]) -> Replacements:
    """Replace nothing: the lessons train by `helpers.training`, which can be interrupted and resumed."""
    return {}


def receptive_fields(student: Callable[..., Any]) -> Replacements:
    """Compute the fields of the detector's three levels by the student's function."""

    def compute_receptive_fields(dilations: Dilations = UNDILATED) -> tuple[int, int, int]:
        backbone = [(3, 1, 1, 1), (3, 2, 1, 1), (3, 2, 1, 1)]
        backbone += [(3, 2, dilation, dilation) for dilation in (dilations.block3, dilations.block4)]
        fine, middle, coarse = (
            student([*backbone[: 3 + level], (3, 1, dilation, dilation)])[-1][0]
            for level, dilation in enumerate(dilations.heads)
        )
        return int(fine), int(middle), int(coarse)

    return {"helpers.detection.receptive_fields.compute_receptive_fields": compute_receptive_fields}


def analyze_scale_performance(student: Callable[..., Any]) -> Replacements:
    """Replace nothing: the workbook's function of this name runs a detector and returns scores."""
    return {}

"""Scale performance: what each level of a detector predicts for objects of each size.

Shape letters: N objects, L levels, G groups of objects of one class and similar size.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from helpers.detection.anchors import flatten_predictions
from helpers.detection.boxes import area, compute_iou, decode
from helpers.detection.dataset import PADDING, ShapeDetectionDataset, prepare_images
from helpers.detection.scenes import SIZE_RANGES
from helpers.detection.training import Detector

GROUPS_PER_CLASS = (4, 6, 6)
"""Number of size groups into which `group_by_size` divides the sizes of each class."""


class ScalePerformance(NamedTuple):
    """What each level predicts for each object that is not ignored."""

    sizes: Float[Tensor, " N"]  # square root of the box's area, pixels
    labels: Int[Tensor, " N"]
    objectness: Float[Tensor, "L N"]  # highest of the level's boxes that overlap the object; 0 if none does
    scores: Float[Tensor, "L N"]  # highest of those boxes that predict the object's class

    def winners(self, score_threshold: float) -> Int[Tensor, " N"]:
        """Return the level with the highest score on each object, or -1 where no score reaches the threshold."""
        best, level = self.scores.max(dim=0)
        return torch.where(best >= score_threshold, level, -1)


@torch.inference_mode()
def analyze_scale_performance(
    detector: Detector, dataset: ShapeDetectionDataset, iou_threshold: float = 0.5, batch_size: int = 20
) -> ScalePerformance:
    """Return what each level predicts for every object, before suppression.

    A prediction of a level belongs to an object if its box overlaps the object, wherever its anchor is. Suppression
    keeps the box with the highest score on an object, so the level with the highest score is the level of the
    detection.

    Args:
        detector: a trained network with its anchors.
        dataset: the scenes; ignored objects are left out.
        iou_threshold: smallest IoU of a predicted box with the object.
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

        overlaps = compute_iou(part.boxes, boxes) >= iou_threshold  # [B, N, A]
        has_right_class = overlaps & (part.labels.unsqueeze(2) == labels.unsqueeze(1))
        objectness_on_object = objectness.unsqueeze(1) * overlaps
        score_on_object = (objectness * probabilities).unsqueeze(1) * has_right_class
        highest_objectness = _highest_per_level(objectness_on_object, counts)  # [L, B, N]
        highest_score = _highest_per_level(score_on_object, counts)

        is_evaluated = (part.labels != PADDING) & ~part.ignored
        sizes = area(part.boxes).sqrt()
        columns.append(
            (
                sizes[is_evaluated],
                part.labels[is_evaluated],
                highest_objectness[:, is_evaluated],
                highest_score[:, is_evaluated],
            )
        )
    return ScalePerformance(*(torch.cat(column, dim=-1).cpu() for column in zip(*columns, strict=True)))


def _highest_per_level(values: Float[Tensor, "B N A"], counts: list[int]) -> Float[Tensor, "L B N"]:
    """Return the highest value of each level, whose anchors are neighbours on the last axis."""
    return torch.stack([level.amax(dim=-1) for level in values.split(counts, dim=-1)])


def tabulate_detecting_levels(
    winners: Int[Tensor, " N"], groups: Mapping[str, Bool[Tensor, " N"]], num_levels: int = 3
) -> pd.DataFrame:
    """Return a table of the share of objects that each level detects: one row per group, shares in percent.

    Args:
        winners: level that detects each object, or -1, from `ScalePerformance.winners`.
        groups: for each row of the table, which objects belong to it.
        num_levels: L.

    Returns:
        The columns "objects", "level 0 (%)", … and "no level (%)"; the shares of a group without objects are 0.
    """
    rows = {}
    for name, is_member in groups.items():
        group_winners = winners[is_member]
        divisor = max(len(group_winners), 1)
        row: dict[str, float] = {"objects": len(group_winners)}
        for level in range(num_levels):
            row[f"level {level} (%)"] = 100 * (group_winners == level).sum().item() / divisor
        row["no level (%)"] = 100 * (group_winners == -1).sum().item() / divisor
        rows[name] = row
    return pd.DataFrame.from_dict(rows, orient="index").astype({"objects": int})


class SizeGroups(NamedTuple):
    """Means over groups of objects of one class and similar size."""

    edges: Float[np.ndarray, "G 2"]  # smallest and largest size of each group, pixels
    labels: Int[np.ndarray, " G"]
    counts: Int[np.ndarray, " G"]  # objects of each group
    objectness: Float[np.ndarray, "L G"]  # mean highest objectness of each level; 0 in a group without objects
    shares: Float[np.ndarray, "_rows G"]  # of the objects that each level detects; the last row is no level


def group_by_size(performance: ScalePerformance, score_threshold: float) -> SizeGroups:
    """Return means over groups of neighbouring sizes, `GROUPS_PER_CLASS` of equal width for each class.

    Args:
        performance: of all objects.
        score_threshold: an object whose scores are all lower is detected by no level.
    """
    sizes, labels = performance.sizes.numpy(), performance.labels.numpy()
    objectness = performance.objectness.numpy()
    winners = performance.winners(score_threshold).numpy()
    levels = [*range(len(objectness)), -1]
    edges, group_labels, members = [], [], []
    for label, (smallest, largest) in enumerate(SIZE_RANGES):
        limits = np.linspace(smallest, largest, GROUPS_PER_CLASS[label] + 1)
        group = np.searchsorted(limits[1:-1], sizes, side="right")
        for number in range(GROUPS_PER_CLASS[label]):
            edges.append(limits[number : number + 2])
            group_labels.append(label)
            members.append((group == number) & (labels == label))
    is_member = np.stack(members)  # [G, N]
    counts = is_member.sum(axis=1)
    divisors = np.maximum(counts, 1)
    return SizeGroups(
        edges=np.stack(edges),
        labels=np.array(group_labels),
        counts=counts,
        objectness=objectness @ is_member.T / divisors,
        shares=np.stack([(is_member & (winners == level)).sum(axis=1) / divisors for level in levels]),
    )

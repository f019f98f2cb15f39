"""Training batches: a dataset with its anchors matched once, and gathered batch by batch.

Shape letters: M images, N objects per image (padded), A anchors, P positive anchors per image (padded), B batch.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from helpers.detection.dataset import ShapeDetectionDataset, prepare_images
from helpers.detection.matching import list_positives, match_anchors_to_targets


class Batch(NamedTuple):
    """The input of one training step, on the device."""

    images: Float[Tensor, "B 3 H W"]
    index: Int[Tensor, "B A"]  # row of each anchor's object, BACKGROUND or IGNORED
    positives: Int[Tensor, "B P"]  # the anchors that are matched to an object, padded with -1
    boxes: Float[Tensor, "B N 4"]  # (x1, y1, x2, y2) in pixels
    labels: Int[Tensor, "B N"]


class MatchedDataset(NamedTuple):
    """A dataset with every anchor matched."""

    images: UInt8[Tensor, "M H W 3"]
    index: Int[Tensor, "M A"]  # as in `Batch`, one byte each
    positives: Int[Tensor, "M P"]
    boxes: Float[Tensor, "M N 4"]
    labels: Int[Tensor, "M N"]


def match_dataset(
    dataset: ShapeDetectionDataset, anchors: Float[Tensor, "A 4"], thresholds: tuple[float, float] = (0.5, 0.3)
) -> MatchedDataset:
    """Return `dataset` with every anchor matched once, so that no training step has to match.

    Args:
        dataset: its ignored objects are excluded from training.
        anchors: boxes in pixels, all levels.
        thresholds: smallest IoU of a positive anchor, and largest IoU of a background anchor.
    """
    matches = match_anchors_to_targets(anchors, dataset.boxes, dataset.labels, *thresholds, dataset.ignored)
    index = matches.index.to(torch.int8)
    return MatchedDataset(dataset.images, index, list_positives(index), dataset.boxes, dataset.labels)


@dataclass(frozen=True)
class MatchedBatches:
    """The batches of one epoch; each is gathered from the device's memory when it is needed."""

    matched: MatchedDataset
    order: Int[Tensor, " M"]  # rows of the images
    batch_size: int

    def __len__(self) -> int:
        return math.ceil(len(self.order) / self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        for rows in self.order.split(self.batch_size):
            images, index, positives, boxes, labels = (column[rows] for column in self.matched)
            yield Batch(prepare_images(images), index, positives, boxes, labels)

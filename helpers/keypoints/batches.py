"""Batches of a training epoch, gathered from a data set that is on the device.

Shape letters: B batch, M images, K points.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from helpers.keypoints.dataset import KeypointDataset, mirror, prepare_images


class Batch(NamedTuple):
    """Inputs and true points of one training step, on the device."""

    images: Float[Tensor, "B 1 H W"]
    points: Float[Tensor, "B K 2"]  # (x, y) pixels


@dataclass(frozen=True)
class FigureBatches:
    """Batches of one epoch; each is gathered in the device's memory when the iteration reaches it."""

    figures: KeypointDataset
    order: Int[Tensor, " M"]  # rows of `figures`
    mirrored: Bool[Tensor, " M"] | None  # whether each image of `order` is mirrored; None mirrors no image
    batch_size: int

    def __len__(self) -> int:
        return math.ceil(len(self.order) / self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        for start in range(0, len(self.order), self.batch_size):
            chosen = slice(start, start + self.batch_size)
            rows = self.order[chosen]
            images, points = self.figures.images[rows], self.figures.points[rows]
            if self.mirrored is not None:
                is_mirrored = self.mirrored[chosen, None, None]
                mirrored_images, mirrored_points = mirror(images, points)
                images = torch.where(is_mirrored, mirrored_images, images)
                points = torch.where(is_mirrored, mirrored_points, points)
            yield Batch(prepare_images(images), points)

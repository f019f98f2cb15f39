"""Layout statistics of images and digit boxes, with those of SVHN for comparison."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from jaxtyping import Float64, Int64
from torchvision.ops import box_iou

PERCENTAGES = (5, 50, 95)
"""Quantiles that describe a distribution, %."""

SVHN_LAYOUT: dict[str, dict[str, tuple[float, float, float]]] = {
    "train": {
        "image width": (48, 104, 300),
        "image height": (20, 47, 130),
        "box width": (6, 14, 36),
        "box height": (14, 29, 68),
        "height / width": (1.4, 2.07, 3.6),
        "box height / image height": (0.33, 0.66, 0.86),
    },
    "test": {
        "image width": (63, 132, 423),
        "image height": (27, 53, 175),
        "box width": (7, 13, 31),
        "box height": (15, 24, 54),
        "height / width": (1.26, 1.79, 3.0),
        "box height / image height": (0.18, 0.47, 0.73),
    },
}
"""The 5, 50 and 95 % quantiles of SVHN's train split (73,257 boxes) and test split (26,032); lengths in pixels."""


def measure_layout(
    sizes: Int64[np.ndarray, "M 2"], owners: Int64[np.ndarray, " N"], boxes: Float64[np.ndarray, "N 4"]
) -> dict[str, Float64[np.ndarray, " _"]]:
    """Return each quantity of `SVHN_LAYOUT` for every image or every box.

    Args:
        sizes: (height, width) of the images, pixels.
        owners: row of the image of each box.
        boxes: (x1, y1, x2, y2), pixels of their images.
    """
    image_height, image_width = sizes.astype(float).T
    width, height = (boxes[:, 2:] - boxes[:, :2]).T
    return {
        "image width": image_width,
        "image height": image_height,
        "box width": width,
        "box height": height,
        "height / width": height / width,
        "box height / image height": height / image_height[owners],
    }


def summarise_layout(measures: Mapping[str, Float64[np.ndarray, " _"]]) -> dict[str, tuple[float, float, float]]:
    """Return the 5, 50 and 95 % quantiles of each quantity, in the form of `SVHN_LAYOUT`."""
    return {name: tuple(np.percentile(values, PERCENTAGES).tolist()) for name, values in measures.items()}


def measure_overlaps(owners: Int64[np.ndarray, " N"], boxes: Float64[np.ndarray, "N 4"]) -> Float64[np.ndarray, " _"]:
    """Return for each image with at least two boxes the largest IoU of two of them.

    Args:
        owners: row of the image of each box.
        boxes: (x1, y1, x2, y2), pixels of their images.
    """
    largest = []
    for image in np.unique(owners):
        boxes_of_image = torch.from_numpy(boxes[owners == image])
        if len(boxes_of_image) > 1:
            iou = box_iou(boxes_of_image, boxes_of_image).fill_diagonal_(0)
            largest.append(iou.max().item())
    return np.array(largest, np.float64)

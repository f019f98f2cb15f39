"""The keypoint set as tensors: read from files or drawn on the spot, a whole split at a time."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64, Shaped, UInt8
from torch import Tensor
from torch.utils.data import Dataset

from helpers import coco
from helpers.images import read_images
from helpers.keypoints.scenes import (
    FEET,
    HANDOUT_FIGURE,
    HANDS,
    IMAGE_SIZE,
    POINT_NAMES,
    FigureConfig,
    draw_scene,
    exchange_rows,
    paint_figure,
)

MIRRORED_ROWS = exchange_rows(HANDS, FEET)
"""For each row of `scenes.POINT_NAMES` the row that takes its name in the mirror: left becomes right."""


@dataclasses.dataclass(frozen=True, eq=False)
class KeypointDataset(Dataset):
    """A split in memory: M images as one tensor, each with one figure and its K points.

    A thousand images take 16 MB as bytes, so that a batch is one gather instead of thirty-two files. What a network is
    asked for (heatmaps, coordinates, …) is no part of the data: a codec makes it of the points, a batch at a time.
    """

    images: UInt8[Tensor, "M H W"]
    points: Float32[Tensor, "M K 2"]  # (x, y) pixels, rows as in scenes.POINT_NAMES
    image_ids: Int64[Tensor, " M"]

    @classmethod
    def read(cls, folder: Path, split: str, dialect: coco.Dialect = "coco") -> KeypointDataset:
        """Returns the split in `folder` (`helpers.handout` makes one), every record and every image checked.

        Args:
            split: "train" or "val": the folder of the images and the start of the annotation file's name.
            dialect: which of the two annotation files is read: "coco" or "handout".

        Raises:
            DatasetError: a file is missing, broken or not in that dialect.
        """
        folder = Path(folder)
        path = coco.annotation_path(folder, split, dialect)
        file = coco.read_points(path, dialect, POINT_NAMES, (IMAGE_SIZE, IMAGE_SIZE))
        pixels = read_images(folder / split, file.file_names, file.image_sizes, "L")
        return cls(*(torch.from_numpy(column) for column in (pixels, file.points.astype(np.float32), file.image_ids)))

    @classmethod
    def draw(cls, num_images: int, seed: int, config: FigureConfig = HANDOUT_FIGURE) -> KeypointDataset:
        """Returns freshly drawn figures: cheaper than reading them from files.

        Law: `draw(m, s, a)` and `draw(m, s, b)` hold the same points. No seed draws the handout's figures: those stand
        in the middle of a stream that begins with the detection set.
        """
        layout = random.Random(seed)
        images = np.empty((num_images, IMAGE_SIZE, IMAGE_SIZE), np.uint8)
        points = np.empty((num_images, len(POINT_NAMES), 2), np.float32)
        for index in range(num_images):
            images[index], points[index] = draw_scene(layout, config)
        return cls(torch.from_numpy(images), torch.from_numpy(points), torch.arange(num_images))

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Float32[Tensor, "1 H W"], dict[str, Tensor]]:
        """Returns image `index` with values from 0 to 1, and its points."""
        image = prepare_images(self.images[index, None])[0]
        return image, {"points": self.points[index], "image_id": self.image_ids[index]}

    def to(self, device: torch.device) -> KeypointDataset:
        """Returns the dataset on `device`."""
        return self._map(lambda column: column.to(device))

    def select(self, indices: Tensor | Sequence[int] | slice) -> KeypointDataset:
        """Returns the images at `indices`, in that order."""
        if not isinstance(indices, Tensor | slice):
            indices = torch.tensor(indices, dtype=torch.int64, device=self.images.device)
        return self._map(lambda column: column[indices])

    def repaint(self, config: FigureConfig) -> KeypointDataset:
        """Returns the same figures, points and ids in another look: what differs then is due to the look alone."""
        images = [paint_figure(points, config) for points in self.points.cpu().double().numpy()]
        pixels = np.array(images, np.uint8).reshape(self.images.shape)
        return dataclasses.replace(self, images=torch.from_numpy(pixels).to(self.images.device))

    def _map(self, function) -> KeypointDataset:
        return KeypointDataset(*(function(getattr(self, field.name)) for field in dataclasses.fields(self)))


def prepare_images(images: UInt8[Tensor, "B H W"]) -> Float[Tensor, "B 1 H W"]:
    """Returns the images as the network reads them, 0..1, dark strokes on white as they are.

    White is 1 and the convolutions pad with 0, so that networks see the border of the image as an edge: one of the few
    hints at a position that survive global average pooling. Inverted images would hide it.
    """
    return images.unsqueeze(1).float().div_(255)


def mirror(
    images: Shaped[Tensor, "*B H W"], points: Float[Tensor, "*B K 2"]
) -> tuple[Shaped[Tensor, "*B H W"], Float[Tensor, "*B K 2"]]:
    """Returns the mirrored images and their points.

    Pixel i of a mirrored row is pixel W - 1 - i, and its centre i + 0.5 becomes W - (i + 0.5): points are centres, so
    x -> W - x is exact. (The detection set's boxes name pixels by their index, hence their W - 1 - x.)
    Left and right change names: the left foot stays the one at the smaller x. Figures with `tellable_hands` must not be
    mirrored: the mitten marks the left hand, and in the mirror it would mark the right one. No recipe may ask both.
    """
    x, y = points[..., MIRRORED_ROWS, :].unbind(-1)
    return images.flip(-1), torch.stack([images.shape[-1] - x, y], dim=-1)

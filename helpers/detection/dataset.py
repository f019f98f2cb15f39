"""The detection set as tensors: read from files or drawn on the spot, a whole split at a time."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float32, Int64, UInt8
from torch import Tensor
from torch.utils.data import Dataset

from helpers import coco
from helpers.detection.scenes import CLASS_NAMES, HANDOUT_LOOK, IMAGE_SIZE, SceneConfig, draw_scene
from helpers.images import read_images

PADDING = -1
"""The label of a row that holds no object."""


@dataclasses.dataclass(frozen=True, eq=False)
class ShapeDetectionDataset(Dataset):
    """A split in memory: M images as one tensor and their objects padded to N rows.

    A thousand images take 150 MB as bytes, so that a batch is one gather instead of sixteen files.
    """

    images: UInt8[Tensor, "M H W 3"]
    boxes: Float32[Tensor, "M N 4"]  # (x1, y1, x2, y2) pixels; padding is zero
    labels: Int64[Tensor, "M N"]  # 0 circle, 1 square, 2 triangle; -1 is padding
    visibility: Float32[Tensor, "M N"]  # share of an object's own pixels that no later object covers
    ignored: Bool[Tensor, "M N"]  # neither to be found nor to be held against who finds it
    image_ids: Int64[Tensor, " M"]

    @classmethod
    def read(cls, folder: Path, split: str, dialect: coco.Dialect = "coco") -> ShapeDetectionDataset:
        """Returns the split in `folder` (`helpers.handout` makes one), every record and every image checked.

        Args:
            split: "train" or "val": the folder of the images and the start of the annotation file's name.
            dialect: which of the two annotation files is read: "coco" or "handout".

        Raises:
            DatasetError: a file is missing, broken or not in that dialect.
        """
        folder = Path(folder)
        file = coco.read_boxes(coco.annotation_path(folder, split, dialect), dialect, CLASS_NAMES)
        pixels = read_images(folder / split, file.file_names, file.image_sizes, "RGB")
        counts = np.bincount(file.owners, minlength=len(pixels))
        order = np.argsort(file.owners, kind="stable")
        # The rank of an object within its image: its place in the file minus that of the image's first object.
        rows = file.owners[order]
        columns = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
        shape = (len(pixels), int(counts.max(initial=0)))
        dataset = cls._pad(torch.from_numpy(pixels), torch.from_numpy(file.image_ids), shape[1])
        dataset.boxes.numpy()[rows, columns] = file.boxes[order]
        dataset.labels.numpy()[rows, columns] = file.labels[order]
        dataset.visibility.numpy()[rows, columns] = file.visibility[order]
        dataset.ignored.numpy()[rows, columns] = file.ignored[order]
        return dataset

    @classmethod
    def draw(cls, num_images: int, seed: int, config: SceneConfig = HANDOUT_LOOK) -> ShapeDetectionDataset:
        """Returns freshly drawn scenes: cheaper than reading them from files.

        Law: `draw(m, s, a)` and `draw(m, s, b)` hold the same objects if `a` and `b` agree in `num_objects`; seed 641
        draws the handout's train split.
        """
        layout, look = random.Random(seed), np.random.default_rng(seed)
        images = torch.empty((num_images, IMAGE_SIZE, IMAGE_SIZE, 3), dtype=torch.uint8)
        dataset = cls._pad(images, torch.arange(num_images), config.num_objects[1])
        columns = [column.numpy() for column in (dataset.boxes, dataset.labels, dataset.visibility, dataset.ignored)]
        pixels = images.numpy()
        for index in range(num_images):
            scene = draw_scene(layout, config, look)
            pixels[index] = scene.image
            values = (scene.boxes, scene.labels, scene.visibility, scene.ignored)
            for column, value in zip(columns, values, strict=True):
                column[index, : len(value)] = value
        return dataset

    @classmethod
    def _pad(cls, images: Tensor, image_ids: Tensor, num_objects: int) -> ShapeDetectionDataset:
        """Returns the dataset of `images` with nothing but padding in its rows."""
        shape = (len(images), num_objects)
        return cls(
            images,
            torch.zeros((*shape, 4)),
            torch.full(shape, PADDING),
            torch.zeros(shape),
            torch.zeros(shape, dtype=torch.bool),
            image_ids,
        )

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Float32[Tensor, "3 H W"], dict[str, Tensor]]:
        """Returns image `index` with values from 0 to 1, and its objects without padding."""
        real = self.labels[index] != PADDING
        image = self.images[index].permute(2, 0, 1).float() / 255
        names = ("boxes", "labels", "visibility", "ignored")
        targets = {name: getattr(self, name)[index][real] for name in names}
        return image, targets | {"image_id": self.image_ids[index]}

    def to(self, device: torch.device) -> ShapeDetectionDataset:
        """Returns the dataset on `device`."""
        return self._map(lambda column: column.to(device))

    def select(self, indices: Tensor | Sequence[int] | slice) -> ShapeDetectionDataset:
        """Returns the images at `indices`, in that order."""
        if not isinstance(indices, Tensor | slice):
            indices = torch.tensor(indices, dtype=torch.int64, device=self.images.device)
        return self._map(lambda column: column[indices])

    def hide(self, minimum_visibility: float) -> ShapeDetectionDataset:
        """Returns the same dataset in which objects less visible than `minimum_visibility` are ignored too."""
        hidden = (self.visibility < minimum_visibility) & (self.labels != PADDING)
        return dataclasses.replace(self, ignored=self.ignored | hidden)

    def _map(self, function) -> ShapeDetectionDataset:
        return ShapeDetectionDataset(*(function(getattr(self, field.name)) for field in dataclasses.fields(self)))

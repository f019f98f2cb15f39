"""Detection dataset: a whole split as tensors, read from files or drawn from a seed."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int64, UInt8
from torch import Tensor
from torch.utils.data import Dataset

from helpers import coco
from helpers.detection.scenes import CLASS_NAMES, HANDOUT_LOOK, IMAGE_SIZE, SceneConfig, draw_scene
from helpers.images import read_images

PADDING = -1
"""The label of a row that holds no object."""


class Example(NamedTuple):
    """One image and its n objects without padding, as NumPy arrays: the input of figure functions."""

    image: UInt8[np.ndarray, "H W 3"]
    boxes: Float32[np.ndarray, "n 4"]  # (x1, y1, x2, y2) in pixels
    labels: Int64[np.ndarray, " n"]
    visibility: Float32[np.ndarray, " n"]
    ignored: Bool[np.ndarray, " n"]


@dataclasses.dataclass(frozen=True, eq=False)
class ShapeDetectionDataset(Dataset):
    """A split in memory: M images as one tensor, and their objects padded to N rows.

    A thousand images take 150 MB as bytes. Gathering a batch is then one operation instead of reading sixteen files.
    """

    images: UInt8[Tensor, "M H W 3"]
    boxes: Float32[Tensor, "M N 4"]  # (x1, y1, x2, y2) in pixels; padding is zero
    labels: Int64[Tensor, "M N"]  # 0 circle, 1 square, 2 triangle; -1 is padding
    visibility: Float32[Tensor, "M N"]  # share of the object's pixels that no later object covers
    ignored: Bool[Tensor, "M N"]  # excluded from training and evaluation: neither a miss nor a false positive
    image_ids: Int64[Tensor, " M"]

    @classmethod
    def read(cls, folder: Path, split: str, dialect: coco.Dialect = "coco") -> ShapeDetectionDataset:
        """Return the split in `folder` (written by `helpers.handout`) with every record and image checked.

        Args:
            folder: holds the annotation files and one folder of images per split.
            split: "train" or "val": the folder of the images and the start of the annotation file's name.
            dialect: which of the two annotation files is read: "coco" or "handout".

        Raises:
            DatasetError: a file is missing, broken or not in that dialect.
        """
        folder = Path(folder)
        file = coco.read_boxes(coco.annotation_path(folder, split, dialect), dialect, CLASS_NAMES)
        images = read_images(folder / split, file.file_names, file.image_sizes, "RGB")
        order = np.argsort(file.owners, kind="stable")
        rows = file.owners[order]
        columns = rank_within_groups(rows)
        shape = (len(images), int(columns.max(initial=-1)) + 1)

        boxes, labels, visibility, ignored = _build_padding(*shape)
        boxes[rows, columns] = file.boxes[order]
        labels[rows, columns] = file.labels[order]
        visibility[rows, columns] = file.visibility[order]
        ignored[rows, columns] = file.ignored[order]
        return cls._from_arrays(images, boxes, labels, visibility, ignored, file.image_ids)

    @classmethod
    def draw(cls, num_images: int, seed: int, config: SceneConfig = HANDOUT_LOOK) -> ShapeDetectionDataset:
        """Return newly drawn scenes, which is faster than reading them from files.

        Law: `draw(m, s, a)` and `draw(m, s, b)` hold the same objects if `a` and `b` agree in `num_objects`; seed 641
        draws the handout's train split.
        """
        layout, look = random.Random(seed), np.random.default_rng(seed)
        images = np.empty((num_images, IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8)
        boxes, labels, visibility, ignored = _build_padding(num_images, config.num_objects[1])
        for row in range(num_images):
            scene = draw_scene(layout, config, look)
            count = len(scene.labels)
            images[row] = scene.image
            boxes[row, :count] = scene.boxes
            labels[row, :count] = scene.labels
            visibility[row, :count] = scene.visibility
            ignored[row, :count] = scene.ignored
        return cls._from_arrays(images, boxes, labels, visibility, ignored, np.arange(num_images))

    @classmethod
    def _from_arrays(cls, *columns: np.ndarray) -> ShapeDetectionDataset:
        """Return the dataset of the arrays, one per field in their order; the tensors share their memory."""
        return cls(*(torch.from_numpy(column) for column in columns))

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Float32[Tensor, "3 H W"], dict[str, Tensor]]:
        """Return image `index` with values from 0 to 1, and its objects without padding."""
        is_object = self.labels[index] != PADDING
        image = self.images[index].permute(2, 0, 1).float() / 255
        names = ("boxes", "labels", "visibility", "ignored")
        targets = {name: getattr(self, name)[index][is_object] for name in names}
        return image, targets | {"image_id": self.image_ids[index]}

    def example(self, index: int) -> Example:
        """Return image `index` as bytes and its objects without padding, as arrays on the CPU."""
        is_object = self.labels[index] != PADDING
        columns = (self.boxes, self.labels, self.visibility, self.ignored)
        objects = (column[index][is_object].cpu().numpy() for column in columns)
        return Example(self.images[index].cpu().numpy(), *objects)

    def to(self, device: torch.device) -> ShapeDetectionDataset:
        """Return the dataset on `device`."""
        return self._map(lambda column: column.to(device))

    def select(self, indices: Tensor | Sequence[int] | slice) -> ShapeDetectionDataset:
        """Return the images at `indices`, in that order."""
        if not isinstance(indices, Tensor | slice):
            indices = torch.tensor(indices, dtype=torch.int64, device=self.images.device)
        return self._map(lambda column: column[indices])

    def hide(self, minimum_visibility: float) -> ShapeDetectionDataset:
        """Return the same dataset in which objects with a visibility below `minimum_visibility` are ignored too.

        This is the one place that says which objects are ignored: training, metrics and explorers all read `ignored`.
        """
        hidden = (self.visibility < minimum_visibility) & (self.labels != PADDING)
        return dataclasses.replace(self, ignored=self.ignored | hidden)

    def _map(self, function: Callable[[Tensor], Tensor]) -> ShapeDetectionDataset:
        """Return the dataset with `function` applied to every field."""
        return ShapeDetectionDataset(*(function(getattr(self, field.name)) for field in dataclasses.fields(self)))


def prepare_images(images: UInt8[Tensor, "B H W 3"]) -> Float[Tensor, "B 3 H W"]:
    """Return the images as input of the network, from 0 to 1.

    The memory stays channels-last, which makes convolutions faster.
    """
    return images.permute(0, 3, 1, 2).float().div_(255)


def rank_within_groups(groups: Int64[np.ndarray, " N"]) -> Int64[np.ndarray, " N"]:
    """Return the rank of each element within its group: 0 for the first of each group, then 1, 2, …

    Args:
        groups: the number of each element's group, in rising order.
    """
    _, first, counts = np.unique(groups, return_index=True, return_counts=True)
    return np.arange(len(groups)) - np.repeat(first, counts)


def _build_padding(
    num_images: int, num_objects: int
) -> tuple[
    Float32[np.ndarray, "M N 4"],
    Int64[np.ndarray, "M N"],
    Float32[np.ndarray, "M N"],
    Bool[np.ndarray, "M N"],
]:
    """Return boxes, labels, visibility and ignored of images without any object."""
    shape = (num_images, num_objects)
    return (
        np.zeros((*shape, 4), np.float32),
        np.full(shape, PADDING, np.int64),
        np.zeros(shape, np.float32),
        np.zeros(shape, bool),
    )

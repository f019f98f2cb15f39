"""Data sets of house numbers, streamed from disk.

Thirty thousand images of varying size may not fit in memory. A data set holds their records, decodes an image when it
is requested, and keeps the first images in memory once they are decoded. `batches` makes batches of a data set.
"""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64, UInt8
from torch import Tensor
from torch.utils.data import Dataset

from helpers import coco
from helpers.images import read_image, read_image_sizes
from helpers.records import DatasetError, explain

DIGIT_NAMES = tuple("0123456789")
"""Names of the labels 1 to 10. Label 0 is torchvision's background; in SVHN's own files, label 10 is the digit 0."""
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff")
"""Suffixes of files that are read as images from a folder without a list of images."""
CACHE_BYTES = 2**27
"""Decoded images that a data set keeps in memory, bytes: all drawn images, or a sixth of SVHN's photos."""
Target = dict[str, Tensor]
"""The truth of an image: `boxes` (x1, y1, x2, y2) in its pixels, `labels` and `image_id`."""


@dataclasses.dataclass(frozen=True, eq=False)
class DigitDataset(Dataset):
    """Split on disk: M images of any size and their N digits, whose records are in the order of the images."""

    folder: Path  # holds the images
    file: coco.BoxFile  # its labels are digits, 0 to 9

    @classmethod
    def read(cls, folder: Path, split: str) -> DigitDataset:
        """Return the split in `folder`, in the assignment's layout: `<split>.json` beside the folder `<split>`.

        Images and the digits of an image are ordered by their ids, so the order of the records has no effect. Every
        record is checked, and the format, size and mode of every image. Boxes that cross the border of their image are
        clipped.

        Raises:
            DatasetError: a file is missing or broken, a record is not valid, or there are no annotations.
        """
        folder = Path(folder)
        path = folder / f"{split}.json"
        if not os.path.exists(path):
            raise DatasetError(f"{path}: the annotation file is missing. {_describe_layout(folder)}")
        file = coco.read_boxes(path, "coco", DIGIT_NAMES, clip=True)
        if len(file.boxes) == 0:
            raise DatasetError(f"{path}: no annotations: the split has no truth. Add them, or use another split")
        if file.ignored.any():
            row = int(file.ignored.argmax())
            raise DatasetError(
                f"{path}: a digit of image {file.image_ids[file.owners[row]]} is a crowd or marked as ignored, "
                "which digits never are. Remedy: remove the annotation"
            )
        _check_sizes(folder / split, file)
        return cls(folder / split, file)

    @classmethod
    def read_unlabelled(cls, folder: Path, split: str) -> DigitDataset:
        """Return the images of a split without their truth, in the order of their ids.

        The assignment's test split has this form. If `<split>.json` exists, it lists ids and files of the images.
        Otherwise the images are `<folder>/<split>/<image id>.png`; hidden files are skipped.

        Raises:
            DatasetError: there is no image; or an image has no number as its name, is no PNG, not in colour or damaged.
        """
        folder = Path(folder)
        images, path = folder / split, folder / f"{split}.json"
        if not os.path.isdir(images):
            raise DatasetError(f"{images}: the folder of the images is missing. {_describe_layout(folder)}")
        if os.path.exists(path):
            file = coco.read_image_list(path)
            if not file.file_names:
                raise DatasetError(f"{path}: lists no image. {_describe_layout(folder)}")
            _check_sizes(images, file)
            return cls(images, file)
        try:
            paths = [path for path in images.iterdir() if not path.name.startswith(".")]
        except OSError as error:
            raise DatasetError(f"{images}: the folder cannot be read ({explain(error)}). Check the path") from None
        names = sorted(path.name for path in paths if path.suffix.lower() in IMAGE_SUFFIXES)
        if not names:
            raise DatasetError(f"{images}: holds no image. {_describe_layout(folder)}")
        invalid_names = [name for name in names if find_image_id(name) is None]
        if invalid_names:
            count = f" ({len(invalid_names)} of {len(names)} images)" if len(invalid_names) > 1 else ""
            is_png = invalid_names[0].lower().endswith(".png")
            remedy = "rename them to <image_id>.png" if is_png else "save them as PNG"
            raise DatasetError(
                f"{images / invalid_names[0]}: the name is not an image_id with .png{count}. Remedy: {remedy}. "
                f"{_describe_layout(folder)}"
            )
        ids = np.array([find_image_id(name) for name in names], np.int64)
        order = np.argsort(ids, kind="stable")
        names = tuple(names[row] for row in order)
        repeated = np.flatnonzero(np.diff(ids[order]) == 0)
        if len(repeated):
            first, second = names[repeated[0] : repeated[0] + 2]
            raise DatasetError(f"{images / second}: its image_id is also that of {first}. Rename one of them")
        return cls(images, coco.BoxFile.of(ids[order], names, read_image_sizes(images, names, "RGB")))

    def __len__(self) -> int:
        return len(self.file.file_names)

    def __getitem__(self, index: int) -> tuple[UInt8[Tensor, "3 H W"], Target]:
        """Return image `index` and its truth.

        Raises:
            DatasetError: the image is missing, truncated or not in colour.
        """
        pixels = self._cache.get(index)
        if pixels is None:
            path, size = self.folder / self.file.file_names[index], tuple(self.file.image_sizes[index].tolist())
            pixels = np.array(read_image(path, size, "RGB").transpose(2, 0, 1), order="C")
            if index < self._num_cached:
                self._cache[index] = pixels
        rows = slice(self._starts[index], self._starts[index + 1])
        return torch.from_numpy(pixels.copy()), {
            "boxes": torch.from_numpy(self.file.boxes[rows].astype(np.float32)),
            "labels": torch.from_numpy(self.file.labels[rows] + 1),
            "image_id": torch.tensor(self.file.image_ids[index]),
        }

    @functools.cached_property
    def _starts(self) -> Int64[np.ndarray, " starts"]:
        """Row of each image's first digit, and at the end the number of digits."""
        return np.searchsorted(self.file.owners, np.arange(len(self) + 1))

    @functools.cached_property
    def _cache(self) -> dict[int, UInt8[np.ndarray, "3 _h _w"]]:
        """Decoded images by index, among the first `_num_cached`: training reads every image in every epoch."""
        return {}

    @functools.cached_property
    def _num_cached(self) -> int:
        """Number of images that fit in `CACHE_BYTES`, in the order of the set."""
        return int(np.searchsorted(np.cumsum(3 * self.sizes.prod(axis=1)), CACHE_BYTES, side="right"))

    @property
    def sizes(self) -> Int64[np.ndarray, "M 2"]:
        """(height, width) of each image, pixels."""
        return self.file.image_sizes

    @property
    def owners(self) -> Int64[np.ndarray, " N"]:
        """Row of the image of each digit, 0 to M - 1, never falling."""
        return self.file.owners

    @property
    def boxes(self) -> Float64[np.ndarray, "N 4"]:
        """Boxes (x1, y1, x2, y2) of all digits, pixels of their images."""
        return self.file.boxes

    @property
    def labels(self) -> Int64[np.ndarray, " N"]:
        """Labels of all digits, 1 to 10."""
        return self.file.labels + 1

    @property
    def image_ids(self) -> Int64[np.ndarray, " M"]:
        """Image id of each image in the files."""
        return self.file.image_ids

    def select(self, indices: Tensor | np.ndarray | Sequence[int] | slice) -> DigitDataset:
        """Return the images at `indices`, in that order."""
        rows = indices.numpy() if isinstance(indices, Tensor) else indices
        if isinstance(rows, slice):
            rows = range(*rows.indices(len(self)))
        return dataclasses.replace(self, file=self.file.take(np.asarray(rows, np.int64)))


def find_image_id(name: str) -> int | None:
    """Return the image id that the file name `name` gives: 17 for "17.png", `None` for a name of another form."""
    stem, _, suffix = name.rpartition(".")
    return int(stem) if suffix == "png" and stem.isascii() and stem.isdecimal() and len(stem) <= 18 else None


def prepare_images(images: Sequence[UInt8[Tensor, "3 _h _w"]], device: torch.device) -> list[Float[Tensor, "3 _h _w"]]:
    """Return the images on `device` as input of the network, from 0 to 1; the network normalises and resizes them."""
    return [image.to(device).float().div_(255) for image in images]


def _check_sizes(images: Path, file: coco.BoxFile) -> None:
    """Refuse a split if an image is missing, of another size than recorded or not in colour; no image is decoded."""
    if not os.path.isdir(images):
        raise DatasetError(f"{images}: the folder of the images is missing. {_describe_layout(images.parent)}")
    sizes = read_image_sizes(images, file.file_names, "RGB")
    differs = (sizes != file.image_sizes).any(axis=1)
    if differs.any():
        row = int(differs.argmax())
        count = f" ({differs.sum()} of {len(differs)} images)" if differs.sum() > 1 else ""
        raise DatasetError(
            f"{images / file.file_names[row]}: the image is {tuple(sizes[row].tolist())} (height, width), its record "
            f"has {tuple(file.image_sizes[row].tolist())}{count}. Annotations and images are not of the same set, or "
            "one was resized without the other. Use annotations and images of one set"
        )


def _describe_layout(folder: Path) -> str:
    return f"Images are {folder.name}/train/1.png, 2.png, …, annotations {folder.name}/train.json: check the path"

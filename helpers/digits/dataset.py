"""Data sets of house numbers, streamed from disk.

Thirty thousand images of varying size need not fit in memory: a set holds their records, decodes an image when it is
requested, and keeps the first images in memory once they are decoded. `batches` makes batches of a set.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float64, Int64, UInt8
from torch import Tensor
from torch.utils.data import Dataset

from helpers import coco

DIGIT_NAMES = tuple("0123456789")
"""In the order of their labels, 1 to 10: label 0 is torchvision's background, and SVHN's own label 10 is digit 0."""
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff")
"""Of files that are taken for images, in a folder without a list of them."""
KEPT_BYTES = 2**27
"""Of decoded images, per set: what the lessons draw is kept whole, of SVHN's photos a sixth."""
Target = dict[str, Tensor]
"""The truth of an image: `boxes` (x1, y1, x2, y2) in its pixels, `labels` and `image_id`."""


@dataclasses.dataclass(frozen=True, eq=False)
class DigitDataset(Dataset):
    """A split on disk: M images of any size, in the order of their ids, and their N digits, image by image."""

    folder: Path  # holds the images
    file: coco.BoxFile  # its labels are digits, 0 to 9

    @classmethod
    def read(cls, folder: Path, split: str) -> DigitDataset:
        """Returns the split in `folder`, laid out as the assignment does: `<split>.json` beside the folder `<split>`.

        Every record is checked, and of every image that it is there and as large as recorded. Annotators dragged some
        boxes over the border; they are cut there.

        Raises:
            coco.DatasetError: a file is missing or broken, or a record cannot be.
        """
        folder = Path(folder)
        path = folder / f"{split}.json"
        if not path.is_file():
            raise coco.DatasetError(f"{path}: the annotation file is missing. {_describe_layout(folder)}")
        file = coco.read_boxes(path, "coco", DIGIT_NAMES, clip=True)
        if file.ignored.any():
            row = int(file.ignored.argmax())
            raise coco.DatasetError(
                f"{path}: a digit of image {file.image_ids[file.owners[row]]} is a crowd or marked as ignored. "
                "Remedy: house numbers have neither, take the annotation out"
            )
        _check_sizes(folder / split, file)
        return cls(folder / split, _take(file, np.argsort(file.image_ids, kind="stable")))

    @classmethod
    def read_unlabelled(cls, folder: Path, split: str) -> DigitDataset:
        """Returns the images `<folder>/<split>/<image id>.png` without truth, as the assignment's test split comes.

        Raises:
            coco.DatasetError: there are none, or one has no number for a name, is no PNG or has a damaged beginning.
        """
        images = Path(folder) / split
        if not images.is_dir():
            raise coco.DatasetError(f"{images}: the folder of the images is missing. {_describe_layout(Path(folder))}")
        paths = sorted(path for path in images.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
        if not paths:
            raise coco.DatasetError(f"{images}: holds no image. {_describe_layout(Path(folder))}")
        unnamed = [path for path in paths if path.suffix != ".png" or not path.stem.isdecimal()]
        if unnamed:
            others = f" ({len(unnamed)} of {len(paths)} images are so)" if len(unnamed) > 1 else ""
            raise coco.DatasetError(
                f"{unnamed[0]}: its name is no image_id with .png{others}, and its answer would be missing. "
                f"{_describe_layout(Path(folder))}, or take it out"
            )
        ids = np.array([int(path.stem) for path in paths], np.int64)
        order = np.argsort(ids, kind="stable")
        names = tuple(paths[row].name for row in order)
        sizes = coco.read_image_sizes(images, names)
        numbers, nothing = np.empty(0), np.empty(0, np.int64)
        no_boxes, no_flags = np.empty((0, 4)), np.empty(0, bool)
        return cls(
            images, coco.BoxFile(ids[order], names, sizes, nothing, no_boxes, nothing, numbers, numbers, no_flags)
        )

    def __len__(self) -> int:
        return len(self.file.file_names)

    def __getitem__(self, index: int) -> tuple[UInt8[Tensor, "3 H W"], Target]:
        """Returns image `index` and its truth.

        Raises:
            coco.DatasetError: the image is gone, truncated or not in colour.
        """
        pixels = self._kept.get(index)
        if pixels is None:
            path, size = self.folder / self.file.file_names[index], tuple(self.file.image_sizes[index].tolist())
            pixels = np.array(coco.read_image(path, size, "RGB").transpose(2, 0, 1), order="C")
            if index < self._num_kept:
                self._kept[index] = pixels
        rows = slice(self._starts[index], self._starts[index + 1])
        return torch.from_numpy(pixels.copy()), {
            "boxes": torch.from_numpy(self.file.boxes[rows].astype(np.float32)),
            "labels": torch.from_numpy(self.file.labels[rows] + 1),
            "image_id": torch.tensor(self.file.image_ids[index]),
        }

    @functools.cached_property
    def _starts(self) -> Int64[np.ndarray, " starts"]:
        """The row of each image's first digit, and the end of all."""
        return np.searchsorted(self.file.owners, np.arange(len(self) + 1))

    @functools.cached_property
    def _kept(self) -> dict[int, UInt8[np.ndarray, "3 _h _w"]]:
        """The images that have been decoded, of the first `_num_kept`: training asks for all of them in every epoch."""
        return {}

    @functools.cached_property
    def _num_kept(self) -> int:
        """How many images fit in `KEPT_BYTES`."""
        return int(np.searchsorted(np.cumsum(3 * self.sizes.prod(axis=1)), KEPT_BYTES, side="right"))

    @property
    def sizes(self) -> Int64[np.ndarray, "M 2"]:
        """Each image's (height, width), pixels."""
        return self.file.image_sizes

    @property
    def owners(self) -> Int64[np.ndarray, " N"]:
        """The image of each digit, 0 to M - 1, in order."""
        return self.file.owners

    @property
    def boxes(self) -> Float64[np.ndarray, "N 4"]:
        """All digits' boxes (x1, y1, x2, y2), pixels of their images."""
        return self.file.boxes

    @property
    def labels(self) -> Int64[np.ndarray, " N"]:
        """All digits' labels, 1 to 10."""
        return self.file.labels + 1

    @property
    def image_ids(self) -> Int64[np.ndarray, " M"]:
        """Each image's number in the files."""
        return self.file.image_ids

    def select(self, indices: Tensor | np.ndarray | Sequence[int] | slice) -> DigitDataset:
        """Returns the images at `indices`, in that order."""
        rows = indices.numpy() if isinstance(indices, Tensor) else indices
        if isinstance(rows, slice):
            rows = range(*rows.indices(len(self)))
        return dataclasses.replace(self, file=_take(self.file, np.asarray(rows, np.int64)))


def _take(file: coco.BoxFile, images: Int64[np.ndarray, " M"]) -> coco.BoxFile:
    """Returns the records of `images`, the digits of each in the order of the file."""
    order = np.argsort(file.owners, kind="stable")
    starts = np.searchsorted(file.owners[order], np.arange(len(file.file_names) + 1))
    counts = np.diff(starts)[images]
    # For every digit its rank among all that are taken, less that of its image's first, on top of where those begin.
    ranks = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    rows = order[np.repeat(starts[:-1][images], counts) + ranks]
    return coco.BoxFile(
        file.image_ids[images],
        tuple(file.file_names[image] for image in images),
        file.image_sizes[images],
        np.repeat(np.arange(len(images)), counts),
        *(column[rows] for column in (file.boxes, file.labels, file.areas, file.visibility, file.ignored)),
    )


def _check_sizes(images: Path, file: coco.BoxFile) -> None:
    """Refuses a split of which an image is missing or of another size than recorded; no image is decoded for it."""
    if not images.is_dir():
        raise coco.DatasetError(f"{images}: the folder of the images is missing. {_describe_layout(images.parent)}")
    found = coco.read_image_sizes(images, file.file_names)
    wrong = (found != file.image_sizes).any(axis=1)
    if wrong.any():
        row = int(wrong.argmax())
        others = f" ({wrong.sum()} of {len(wrong)} images are so)" if wrong.sum() > 1 else ""
        raise coco.DatasetError(
            f"{images / file.file_names[row]}: the image is {tuple(found[row].tolist())} (height, width), its record "
            f"says {tuple(file.image_sizes[row].tolist())}{others}. Annotations and images are not of the same set, or "
            "one was resized without the other"
        )


def _describe_layout(folder: Path) -> str:
    return (
        f"House numbers are laid out as {folder / 'train'}/1.png, 2.png, … with {folder / 'train.json'} beside the "
        "folder, and so are valid and test: check the path"
    )

"""House numbers as tensors: streamed from disk, and batched with others of their shape.

Thirty thousand images of varying size need not fit in memory: a set holds their records, decodes an image when it is
asked for, and keeps the first that it has decoded. A GPU's images are decoded by a worker process while it is busy with
the batch before; a network on the CPU needs that worker's core for itself.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float64, Int64, UInt8
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import tv_tensors
from torchvision.transforms import v2

from helpers import coco
from helpers.images import read_image, read_image_sizes
from helpers.records import DatasetError, explain

DIGIT_NAMES = tuple("0123456789")
"""In the order of their labels, 1 to 10: label 0 is torchvision's background, and SVHN's own label 10 is digit 0."""
IMAGE_MEAN = (0.485, 0.456, 0.406)
"""Of ImageNet's red, green and blue, from 0 to 1: what a network that normalises its input takes for nothing."""
GROUP_SIZE = 16
"""Batches among which images are sorted by shape: sorting them all would give every epoch the same batches."""
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff")
"""Of files that are taken for images, in a folder without a list of them."""
KEPT_BYTES = 2**27
"""Of decoded images, per set: what the lessons draw is kept whole, of SVHN's photos a sixth."""
BLUR_SIGMAS = (0.3, 0.8)
"""Pixels, from and to."""

Target = dict[str, Tensor]
"""The truth of an image: `boxes` (x1, y1, x2, y2) in its pixels, `labels` and `image_id`."""
Batch = tuple[list[Tensor], list[Target]]
Transform = Callable[[Tensor, Target], tuple[Tensor, Target]]


@dataclasses.dataclass(frozen=True, eq=False)
class DigitDataset(Dataset):
    """A split on disk: M images of any size and their N digits, whose records stand in the order of the images."""

    folder: Path  # holds the images
    file: coco.BoxFile  # its labels are digits, 0 to 9

    @classmethod
    def read(cls, folder: Path, split: str) -> DigitDataset:
        """Return the split in `folder`, laid out as the assignment does: `<split>.json` beside the folder `<split>`.

        Images stand in the order of their ids, the digits of each in the order of theirs: the order of the records
        means nothing. Every record is checked, and of every image the format, size and mode. Boxes that annotators
        dragged over the border are cut there.

        Raises:
            DatasetError: a file is missing or broken, a record is impossible, or no image is annotated.
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
                f"{path}: a digit of image {file.image_ids[file.owners[row]]} is a crowd or marked as ignored. "
                "Remedy: house numbers have neither, take the annotation out"
            )
        _check_sizes(folder / split, file)
        return cls(folder / split, file)

    @classmethod
    def read_unlabelled(cls, folder: Path, split: str) -> DigitDataset:
        """Return the images of a split without their truth, in the order of their ids.

        The assignment's test split comes so. Where `<split>.json` lists the images, ids and files are taken from there;
        else they are `<folder>/<split>/<image id>.png`. Hidden files are passed over.

        Raises:
            DatasetError: there are none; or an image is not in `<image id>.png`, no PNG, not in colour or damaged.
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
        unnamed = [name for name in names if find_image_id(name) is None]
        if unnamed:
            others = f" ({len(unnamed)} of {len(names)} images are so)" if len(unnamed) > 1 else ""
            remedy = "name them so" if unnamed[0].lower().endswith(".png") else "save them as PNG"
            raise DatasetError(
                f"{images / unnamed[0]}: its name is no image_id with .png{others}. Remedy: {remedy}. "
                f"{_describe_layout(folder)}"
            )
        ids = np.array([find_image_id(name) for name in names], np.int64)
        order = np.argsort(ids, kind="stable")
        names = tuple(names[row] for row in order)
        repeated = np.flatnonzero(np.diff(ids[order]) == 0)
        if len(repeated):
            first, second = names[repeated[0] : repeated[0] + 2]
            raise DatasetError(f"{images / second}: its image_id is that of {first}, too. Keep one of the two")
        return cls(images, coco.BoxFile.of(ids[order], names, read_image_sizes(images, names, "RGB")))

    def __len__(self) -> int:
        return len(self.file.file_names)

    def __getitem__(self, index: int) -> tuple[UInt8[Tensor, "3 H W"], Target]:
        """Returns image `index` and its truth.

        Raises:
            DatasetError: the image is gone, truncated or not in colour.
        """
        pixels = self._kept.get(index)
        if pixels is None:
            path, size = self.folder / self.file.file_names[index], tuple(self.file.image_sizes[index].tolist())
            pixels = np.array(read_image(path, size, "RGB").transpose(2, 0, 1), order="C")
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
        return dataclasses.replace(self, file=self.file.take(np.asarray(rows, np.int64)))


def find_image_id(name: str) -> int | None:
    """Return the image id that the file name `name` gives: 17 for "17.png", `None` for a name of another form."""
    stem, _, suffix = name.rpartition(".")
    return int(stem) if suffix == "png" and stem.isascii() and stem.isdecimal() and len(stem) <= 18 else None


def _check_sizes(images: Path, file: coco.BoxFile) -> None:
    """Refuse a split if an image is missing, of another size than recorded or not in colour; no image is decoded."""
    if not os.path.isdir(images):
        raise DatasetError(f"{images}: the folder of the images is missing. {_describe_layout(images.parent)}")
    sizes = read_image_sizes(images, file.file_names, "RGB")
    wrong = (sizes != file.image_sizes).any(axis=1)
    if wrong.any():
        row = int(wrong.argmax())
        others = f" ({wrong.sum()} of {len(wrong)} images are so)" if wrong.sum() > 1 else ""
        raise DatasetError(
            f"{images / file.file_names[row]}: the image is {tuple(sizes[row].tolist())} (height, width), its record "
            f"says {tuple(file.image_sizes[row].tolist())}{others}. Annotations and images are not of the same set, or "
            "one was resized without the other"
        )


def _describe_layout(folder: Path) -> str:
    return f"Images are {folder.name}/train/1.png, 2.png, …, annotations {folder.name}/train.json: check the path"


# Batches


def build_loader(
    dataset: DigitDataset,
    batch_size: int,
    generator: torch.Generator | None = None,
    num_workers: int = 0,
    augment: Transform | None = None,
) -> DigitBatches:
    """Returns an epoch's batches, each a list of images and a list of their targets; every image comes once.

    Law: the batches are a pure function of `generator`, whatever the number of workers: order and augmentation are
    drawn before the first image is read.

    Images of a batch have about the same shape, because a batch is padded to its widest and its tallest image. Without
    a generator nothing is left to chance: all images are sorted by shape, for evaluation.

    Args:
        num_workers: processes that decode; 0 decodes in this one.
        augment: changes an image and its targets, e.g. `build_augmentation`; random, so it needs a generator.

    Raises:
        ValueError: `augment` is given and `generator` is not.
    """
    if augment is not None and generator is None:
        raise ValueError("augmentation is random: pass a generator with it")
    groups = group_by_shape(dataset.sizes, batch_size, generator)
    seeds = torch.randint(2**62, (len(groups),), generator=generator).tolist() if augment else [0] * len(groups)
    epoch = _Epoch(dataset, groups, seeds, augment)
    options = {"num_workers": num_workers, "collate_fn": _to_arrays, "generator": torch.Generator()}
    return DigitBatches(DataLoader(epoch, batch_size=None, **options))  # its own draws mean nothing, and stay its own


class DigitBatches:
    """An epoch's batches; their number is known, and each is decoded while those before it are used.

    Workers hand over arrays: a tensor would come as an open file, and a few dozen large batches ahead exhaust those.
    """

    def __init__(self, loader: DataLoader) -> None:
        """Takes a loader of batches whose tensors are arrays."""
        self._loader = loader

    def __len__(self) -> int:
        return len(self._loader)

    def __iter__(self) -> Iterator[Batch]:
        for images, targets in self._loader:
            tensors = [{name: torch.from_numpy(value) for name, value in target.items()} for target in targets]
            yield [torch.from_numpy(image) for image in images], tensors


def group_by_shape(
    sizes: Int64[np.ndarray, "M 2"], batch_size: int, generator: torch.Generator | None = None
) -> list[Int64[np.ndarray, " B"]]:
    """Returns the images of each batch: shuffled, then sorted by height / width among the next few hundred.

    Every image is in one batch; the last one that is filled may be smaller, and comes anywhere.
    """
    order = np.arange(len(sizes)) if generator is None else torch.randperm(len(sizes), generator=generator).numpy()
    ratios = (sizes[:, 0] / sizes[:, 1])[order]
    group = np.arange(len(order)) // (batch_size * GROUP_SIZE) if generator is not None else np.zeros(len(order))
    order = order[np.lexsort((ratios, group))]
    batches = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    if generator is None:
        return batches
    return [batches[number] for number in torch.randperm(len(batches), generator=generator).tolist()]


class _Epoch(Dataset):
    """Batches by number: what a worker is asked for."""

    def __init__(
        self, dataset: DigitDataset, groups: list[np.ndarray], seeds: list[int], augment: Transform | None
    ) -> None:
        self.dataset, self.groups, self.seeds, self.augment = dataset, groups, seeds, augment

    def __len__(self) -> int:
        return len(self.groups)

    def __getitem__(self, number: int) -> Batch:
        items = [self.dataset[index] for index in self.groups[number].tolist()]
        if self.augment is not None:
            with torch.random.fork_rng(devices=[]):  # transforms draw from the global generator
                torch.manual_seed(self.seeds[number])
                items = [_augment(image, target, self.augment) for image, target in items]
        images, targets = zip(*items, strict=True)
        return list(images), list(targets)


def _augment(image: UInt8[Tensor, "3 H W"], target: Target, augment: Transform) -> tuple[Tensor, Target]:
    """Returns plain tensors of what `augment` makes of an image and of boxes that know that they are boxes."""
    boxes = tv_tensors.BoundingBoxes(target["boxes"], format="XYXY", canvas_size=image.shape[-2:])
    changed, changed_target = augment(tv_tensors.Image(image), target | {"boxes": boxes})
    plain = {name: value.as_subclass(Tensor) for name, value in changed_target.items()}
    return changed.as_subclass(Tensor), plain


def _to_arrays(batch: Batch) -> tuple[list[np.ndarray], list[dict[str, np.ndarray]]]:
    images, targets = batch
    return [image.numpy() for image in images], [
        {name: value.numpy() for name, value in target.items()} for target in targets
    ]


# Augmentation


@dataclasses.dataclass(frozen=True)
class AugmentationConfig:
    """How training images are changed; the defaults are the report's."""

    colour: float = 0.3  # probability of other brightness, contrast and saturation, each by a factor of 0.8 to 1.2
    blur: float = 0.3  # probability of a 3 × 3 Gaussian blur with a sigma among `BLUR_SIGMAS`
    zoom_out: float = 0.0  # probability of a larger canvas around the image, which makes its digits relatively smaller
    canvas: tuple[float, float] = (1.0, 2.0)  # sides of that canvas, as a multiple of the image's


def build_augmentation(config: AugmentationConfig = AugmentationConfig()) -> Transform:
    """Returns the transform of an image and its targets that `config` describes.

    Zooming out pads with ImageNet's mean colour, which normalisation turns to zero, the padding of batches.

    Source: the report, section 2.1; zooming out from SSD (Liu et al. 2016, section 3.6).
    """
    jitter = v2.ColorJitter(brightness=0.2, contrast=0.2, saturation=0.2)
    fill = [round(255 * value) for value in IMAGE_MEAN]
    return v2.Compose(
        [
            v2.RandomApply([jitter], p=config.colour),
            v2.RandomApply([v2.Lambda(_blur_by_chance, tv_tensors.Image)], p=config.blur),
            v2.RandomZoomOut(fill=fill, side_range=config.canvas, p=config.zoom_out),
        ]
    )


def _blur_by_chance(image: tv_tensors.Image) -> tv_tensors.Image:
    sigma = torch.empty(1).uniform_(*BLUR_SIGMAS).item()
    return tv_tensors.wrap(blur(image.as_subclass(Tensor), sigma), like=image)


def blur(image: UInt8[Tensor, "3 H W"], sigma: float) -> UInt8[Tensor, "3 H W"]:
    """Returns the image after a 3 × 3 Gaussian blur, mirrored at its borders; `sigma` in pixels.

    Law: what torchvision's `gaussian_blur` gives, within one level. Its convolution is compiled anew for every size of
    image, and here every image has its own: six of these fit in the time.
    """
    side = 1 / (2 + math.exp(0.5 / sigma**2))
    padded = F.pad(image.float(), (1, 1, 1, 1), mode="reflect")
    rows = (1 - 2 * side) * padded[:, 1:-1] + side * (padded[:, :-2] + padded[:, 2:])
    blurred = (1 - 2 * side) * rows[..., 1:-1] + side * (rows[..., :-2] + rows[..., 2:])
    return blurred.round_().to(torch.uint8)

"""Batches of house numbers: images of similar shape together, and their augmentation.

A batch is padded to its widest and its highest image, so images of one batch should have similar shapes. For a GPU, a
worker process decodes the next batch during the current step. A network on the CPU needs that worker's core itself.

Shape letters: B images of a batch, M images of a set, H W one image.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import tv_tensors
from torchvision.transforms import v2

from helpers.digits.dataset import DigitDataset, Target
from helpers.digits.fast_ops import blur

IMAGE_MEAN = (0.485, 0.456, 0.406)
"""Mean red, green and blue of ImageNet, from 0 to 1. The networks normalise their input with it, so it becomes 0."""
GROUP_SIZE = 16
"""Number of batches among which images are sorted by shape. Sorting all images would repeat the batches every epoch."""
BLUR_SIGMAS = (0.3, 0.8)
"""Smallest and largest standard deviation of the blur, pixels."""

Batch = tuple[list[Tensor], list[Target]]
"""Images [3, H, W] of uint8 and their targets."""
Transform = Callable[[Tensor, Target], tuple[Tensor, Target]]


def build_loader(
    dataset: DigitDataset,
    batch_size: int,
    generator: torch.Generator | None = None,
    num_workers: int = 0,
    augment: Transform | None = None,
) -> DigitBatches:
    """Return the batches of an epoch, each a list of images and a list of their targets; every image occurs once.

    Law: the batches depend on `generator` alone, for any number of workers: order and seeds of the augmentation are
    drawn before the first image is read.

    Args:
        generator: draws order and augmentation; `None` sorts all images by shape, for evaluation.
        num_workers: number of processes that decode images; 0 decodes in the calling process.
        augment: changes an image and its target, e.g. `build_augmentation()`; it is random and needs a generator.

    Raises:
        ValueError: `augment` is given and `generator` is not.
    """
    if augment is not None and generator is None:
        raise ValueError("augmentation is random: pass a generator with it")
    groups = group_by_shape(dataset.sizes, batch_size, generator)
    seeds = torch.randint(2**62, (len(groups),), generator=generator).tolist() if augment else [0] * len(groups)
    epoch = _Epoch(dataset, groups, seeds, augment)
    options = {"num_workers": num_workers, "collate_fn": _to_arrays, "generator": torch.Generator()}
    # The loader draws numbers without using them. With a separate generator, no other random stream changes.
    return DigitBatches(DataLoader(epoch, batch_size=None, **options))


class DigitBatches:
    """Batches of one epoch, with a known number, decoded ahead of their use if the loader has workers.

    Workers return arrays: each tensor would need an open file, and a few dozen large batches exceed the limit of files.
    """

    def __init__(self, loader: DataLoader) -> None:
        """Take a loader of batches that hold arrays in place of tensors."""
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
    """Return the rows of the images of each batch: shuffled, then sorted by height / width in groups of batches.

    Every image is in one batch. One batch may be smaller than the others, at any position.

    Args:
        sizes: (height, width) of the images, pixels.
        generator: draws the order; `None` sorts all images by shape.
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
    """Batches of an epoch by number, as a loader's worker requests them."""

    def __init__(
        self, dataset: DigitDataset, groups: list[np.ndarray], seeds: list[int], augment: Transform | None
    ) -> None:
        self.dataset, self.groups, self.seeds, self.augment = dataset, groups, seeds, augment

    def __len__(self) -> int:
        return len(self.groups)

    def __getitem__(self, number: int) -> Batch:
        items = [self.dataset[index] for index in self.groups[number].tolist()]
        if self.augment is not None:
            with torch.random.fork_rng(devices=[]):  # transforms use the global generator
                torch.manual_seed(self.seeds[number])
                items = [augment_item(image, target, self.augment) for image, target in items]
        images, targets = zip(*items, strict=True)
        return list(images), list(targets)


def augment_item(image: UInt8[Tensor, "3 H W"], target: Target, augment: Transform) -> tuple[Tensor, Target]:
    """Return image and target after `augment`, as plain tensors; `augment` gets the boxes as torchvision's own type."""
    height, width = image.shape[-2:]
    boxes = tv_tensors.BoundingBoxes(  # pyright: ignore[reportCallIssue] - its arguments are those of `__new__`
        target["boxes"], format="XYXY", canvas_size=(height, width)
    )
    changed, changed_target = augment(tv_tensors.Image(image), target | {"boxes": boxes})
    plain = {name: value.as_subclass(Tensor) for name, value in changed_target.items()}
    return changed.as_subclass(Tensor), plain


def _to_arrays(batch: Batch) -> tuple[list[np.ndarray], list[dict[str, np.ndarray]]]:
    images, targets = batch
    return [image.numpy() for image in images], [
        {name: value.numpy() for name, value in target.items()} for target in targets
    ]


@dataclasses.dataclass(frozen=True)
class AugmentationConfig:
    """Random changes of training images; the defaults are the report's."""

    colour: float = 0.3  # probability of a change of brightness, contrast and saturation, factors from 0.8 to 1.2
    blur: float = 0.3  # probability of a 3 × 3 Gaussian blur with a sigma within `BLUR_SIGMAS`
    zoom_out: float = 0.0  # probability of a larger canvas around the image, which makes its digits relatively smaller
    canvas: tuple[float, float] = (1.0, 2.0)  # smallest and largest side of the canvas, as a multiple of the image's


def build_augmentation(config: AugmentationConfig = AugmentationConfig()) -> Transform:
    """Return the transform of an image and its target that `config` describes.

    Zooming out pads with ImageNet's mean colour: normalisation makes it 0, which is also the padding of batches.

    Source: the report, section 2.1; zooming out from SSD (Liu et al. 2016, section 3.6).
    """
    jitter = v2.ColorJitter(brightness=0.2, contrast=0.2, saturation=0.2)
    fill = [round(255 * value) for value in IMAGE_MEAN]
    return v2.Compose(
        [
            v2.RandomApply([jitter], p=config.colour),
            v2.RandomApply([v2.Lambda(_blur_randomly, tv_tensors.Image)], p=config.blur),
            v2.RandomZoomOut(fill=fill, side_range=config.canvas, p=config.zoom_out),
        ]
    )


def _blur_randomly(image: tv_tensors.Image) -> tv_tensors.Image:
    sigma = torch.empty(1).uniform_(*BLUR_SIGMAS).item()
    blurred = blur(image.as_subclass(Tensor), sigma)
    return tv_tensors.wrap(blurred, like=image)  # pyright: ignore[reportCallIssue] - a dispatcher hides `like`

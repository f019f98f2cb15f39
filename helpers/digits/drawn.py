"""Drawn house numbers in the assignment's layout (command: `workbook data --house-numbers`)."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from helpers import coco, generated, paths
from helpers.digits.dataset import DIGIT_NAMES
from helpers.digits.scenes import TEST_NUMBERS, TRAIN_NUMBERS, NumberConfig, draw_scene
from helpers.images import write_image

HOUSE_NUMBERS = paths.DATA / "house_numbers"
WIDE_NUMBERS = paths.DATA / "house_numbers_wide"
SPLITS = ("train", "valid", "test")
"""Names of the splits, which the assignment gives."""
_FORMAT = 1  # raise it whenever the same configuration would give other files


@dataclasses.dataclass(frozen=True)
class DrawnConfig:
    """Numbers of images of the splits, and their layouts. Two CPU cores can train a detector on the default."""

    seed: int = 10
    num_train: int = 1500  # images
    num_valid: int = 300
    num_test: int = 500
    train_numbers: NumberConfig = TRAIN_NUMBERS  # layout of train and valid
    test_numbers: NumberConfig = TEST_NUMBERS  # layout of test: digits are smaller in the image, as in SVHN

    def __post_init__(self):
        if min(self.num_train, self.num_valid, self.num_test) < 1:
            counts = f"{self.num_train}, {self.num_valid} and {self.num_test}"
            raise ValueError(f"numbers of images are {counts}; every split needs at least one image")


DRAWN_CONFIG = DrawnConfig()
WIDE_CONFIG = DrawnConfig(seed=11, num_train=1, num_valid=300, num_test=1, train_numbers=TEST_NUMBERS)
"""A valid split in the layout of test, from another seed: it selects, so that test need not."""


def ensure_drawn(folder: Path = HOUSE_NUMBERS, config: DrawnConfig = DRAWN_CONFIG) -> Path:
    """Return `folder` with the three splits of `config`, after drawing them if they are missing or differ.

    Law: every split has its own random stream, so its first images do not depend on the numbers of images.

    Raises:
        DatasetError: `folder` holds files of another origin.
    """
    parts = [name for split in SPLITS for name in (split, f"{split}.json")]
    return generated.ensure_folder(folder, _describe(config), parts, lambda partial: _write_splits(partial, config))


def is_complete(folder: Path = HOUSE_NUMBERS, config: DrawnConfig = DRAWN_CONFIG) -> bool:
    """Return whether `folder` holds every file of `config` in the length it was written with; no image is read."""
    return generated.is_complete(folder, _describe(config))


def _describe(config: DrawnConfig) -> generated.Description:
    return {"format": _FORMAT, **dataclasses.asdict(config)}


def _write_splits(folder: Path, config: DrawnConfig) -> None:
    counts = (config.num_train, config.num_valid, config.num_test)
    layouts = (config.train_numbers, config.train_numbers, config.test_numbers)
    for stream, (split, count, layout) in enumerate(zip(SPLITS, counts, layouts, strict=True)):
        _write_split(folder, split, count, layout, np.random.default_rng((config.seed, stream)))


def _write_split(folder: Path, split: str, count: int, layout: NumberConfig, rng: np.random.Generator) -> None:
    """Write `<split>/1.png`, … and `<split>.json`; ids start at 1 in every split, as in the assignment."""
    (folder / split).mkdir()
    image_ids = np.arange(1, count + 1)
    file_names = tuple(f"{image_id}.png" for image_id in image_ids)
    sizes, boxes, digits = [], [], []
    for file_name in file_names:
        scene = draw_scene(rng, layout)
        write_image(folder / split / file_name, scene.image)
        sizes.append(scene.image.shape[:2])
        boxes.append(scene.boxes)
        digits.append(scene.digits)
    owners = np.repeat(np.arange(count), [len(row) for row in digits])
    labels = np.concatenate(digits)
    file = coco.BoxFile.of(image_ids, file_names, np.array(sizes), owners, np.concatenate(boxes), labels)
    coco.write_boxes(folder / f"{split}.json", file, "coco", DIGIT_NAMES)

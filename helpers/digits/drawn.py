"""Drawn house numbers in the assignment's layout (command: `workbook data --house-numbers`)."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import numpy as np

from helpers import coco, generated, paths
from helpers.digits.dataset import DIGIT_NAMES, DigitDataset
from helpers.digits.scenes import TEST_NUMBERS, TRAIN_NUMBERS, NumberConfig, draw_scene
from helpers.images import write_image
from helpers.records import DatasetError

HOUSE_NUMBERS = paths.DATA / "house_numbers"
SPLITS = ("train", "valid", "test")
REAL_VARIABLE = "WORKBOOK_SVHN"
"""Environment variable that names a folder of real photos, in the layout of the assignment."""
_FORMAT = 1  # raise it whenever the same configuration would give other files


@dataclasses.dataclass(frozen=True)
class DrawnConfig:
    """Numbers of images and their layouts: enough images to train a detector, few enough for two CPU cores."""

    seed: int = 10
    num_train: int = 1500  # images
    num_valid: int = 300
    num_test: int = 500
    train_numbers: NumberConfig = TRAIN_NUMBERS  # layout of train and valid
    test_numbers: NumberConfig = TEST_NUMBERS  # layout of test: digits are smaller in the image, as in SVHN

    def __post_init__(self):
        if min(self.num_train, self.num_valid, self.num_test) < 1:
            raise ValueError(f"{self.num_train}, {self.num_valid} and {self.num_test} images: a split has at least one")


DRAWN_CONFIG = DrawnConfig()


def ensure_drawn(folder: Path = HOUSE_NUMBERS, config: DrawnConfig = DRAWN_CONFIG) -> Path:
    """Return `folder` with the three splits of `config`; they are drawn unless it holds them complete and unchanged.

    Law: every split has its own random stream, so that its first images do not depend on the numbers of images.

    Raises:
        DatasetError: `folder` holds something else.
    """
    parts = [name for split in SPLITS for name in (split, f"{split}.json")]
    return generated.ensure_folder(folder, _describe(config), parts, lambda partial: _write_splits(partial, config))


def find_house_numbers(named: str | None = None) -> tuple[Path, Path | None]:
    """Return the folder with the three splits to learn from, and one with real photos to look at, if there is one.

    A named folder with the truth of train and valid is both. A folder whose valid split is missing or has no truth is
    only looked at, and the splits to learn from are drawn; without a name, nothing is real.

    Args:
        named: a folder in the assignment's layout; `None` takes the environment variable `WORKBOOK_SVHN`.

    Raises:
        DatasetError: the named folder has no train split, or an annotation file in it is broken.
    """
    name = named or os.environ.get(REAL_VARIABLE)
    if not name:
        return ensure_drawn(), None
    real = Path(os.path.expanduser(name))
    if not os.path.isfile(real / "train.json"):
        raise DatasetError(f"{real / 'train.json'}: the file is missing. Check `data_dir` or {REAL_VARIABLE}")
    return (real if has_truth(real, "valid") else ensure_drawn()), real


def has_truth(folder: Path, split: str) -> bool:
    """Return whether `<split>.json` in `folder` exists and has annotations: a list of images alone is no truth.

    Raises:
        DatasetError: the file is broken.
    """
    path = folder / f"{split}.json"
    return os.path.exists(path) and coco.lists_annotations(path)


def read_splits(folder: Path) -> tuple[DigitDataset, DigitDataset, DigitDataset]:
    """Return the splits of `folder` to train on, to choose on and to report: train, valid and test.

    The truth of the assignment's test split is not public. If `test.json` is missing or has no annotations, every other
    image of valid is reported in its place, and is not used for choices.

    Raises:
        DatasetError: a split is missing, broken, or not what it is said to be.
    """
    train_set, valid_set = (DigitDataset.read(folder, split) for split in SPLITS[:2])
    if has_truth(folder, "test"):
        return train_set, valid_set, DigitDataset.read(folder, "test")
    return train_set, valid_set.select(slice(0, None, 2)), valid_set.select(slice(1, None, 2))


def is_complete(folder: Path = HOUSE_NUMBERS, config: DrawnConfig = DRAWN_CONFIG) -> bool:
    """Return whether `folder` holds every file of `config` with the length it was written with; no image is read."""
    return generated.is_complete(folder, _describe(config))


def _describe(config: DrawnConfig) -> generated.Description:
    return {"format": _FORMAT, **dataclasses.asdict(config)}


def _write_splits(folder: Path, config: DrawnConfig) -> None:
    counts = (config.num_train, config.num_valid, config.num_test)
    looks = (config.train_numbers, config.train_numbers, config.test_numbers)
    for stream, (split, count, numbers) in enumerate(zip(SPLITS, counts, looks, strict=True)):
        _write_split(folder, split, count, numbers, np.random.default_rng((config.seed, stream)))


def _write_split(folder: Path, split: str, count: int, numbers: NumberConfig, rng: np.random.Generator) -> None:
    """Write `<split>/1.png`, … and `<split>.json`; ids start at 1 in every split, as in the assignment."""
    (folder / split).mkdir()
    image_ids = np.arange(1, count + 1)
    file_names = tuple(f"{image_id}.png" for image_id in image_ids)
    sizes, boxes, digits = [], [], []
    for file_name in file_names:
        scene = draw_scene(rng, numbers)
        write_image(folder / split / file_name, scene.image)
        sizes.append(scene.image.shape[:2])
        boxes.append(scene.boxes)
        digits.append(scene.digits)
    owners = np.repeat(np.arange(count), [len(row) for row in digits])
    labels = np.concatenate(digits)
    file = coco.BoxFile.of(image_ids, file_names, np.array(sizes), owners, np.concatenate(boxes), labels)
    coco.write_boxes(folder / f"{split}.json", file, "coco", DIGIT_NAMES)

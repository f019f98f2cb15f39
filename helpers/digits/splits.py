"""Splits to train on, to select on and to report, in drawn house numbers or in a folder of real photos."""

from __future__ import annotations

import os
from pathlib import Path

from helpers import coco
from helpers.digits.dataset import DigitDataset
from helpers.digits.drawn import HOUSE_NUMBERS, WIDE_CONFIG, WIDE_NUMBERS, ensure_drawn
from helpers.records import DatasetError

REAL_VARIABLE = "WORKBOOK_SVHN"
"""Environment variable that names a folder of real photos, in the layout of the assignment."""


def find_house_numbers(real_folder: str | None = None) -> tuple[Path, Path | None]:
    """Return the folder with the splits for training, and the folder with real photos, if there is one.

    A folder of real photos is used for training if its train and valid splits have annotations. If its valid split has
    none, the splits for training are drawn, and the photos are shown beside them.

    Args:
        real_folder: in the assignment's layout; `None` takes the environment variable `WORKBOOK_SVHN`. If that is not
            set either, the splits are drawn and there is no folder of real photos.

    Raises:
        DatasetError: the folder of real photos has no train split, or an annotation file in it is broken.
    """
    name = real_folder or os.environ.get(REAL_VARIABLE)
    if not name:
        return ensure_drawn(), None
    real = Path(os.path.expanduser(name))
    if not os.path.isfile(real / "train.json"):
        raise DatasetError(f"{real / 'train.json'}: the file is missing. Check `data_dir` or {REAL_VARIABLE}")
    return (real if has_truth(real, "valid") else ensure_drawn()), real


def has_truth(folder: Path, split: str) -> bool:
    """Return whether `<split>.json` in `folder` exists and has annotations; a list of images alone is not enough.

    Raises:
        DatasetError: the file is broken.
    """
    path = folder / f"{split}.json"
    return os.path.exists(path) and coco.lists_annotations(path)


def read_splits(folder: Path) -> tuple[DigitDataset, DigitDataset, DigitDataset]:
    """Return the splits of `folder` to train on, to select on and to report: train, valid and test.

    The truth of the assignment's test split is not public. If `test.json` is missing or has no annotations, every other
    image of valid is reported in its place, and is not used for selection.

    Raises:
        DatasetError: a split is missing or broken.
    """
    train_set, valid_set = DigitDataset.read(folder, "train"), DigitDataset.read(folder, "valid")
    if has_truth(folder, "test"):
        return train_set, valid_set, DigitDataset.read(folder, "test")
    return train_set, valid_set.select(slice(0, None, 2)), valid_set.select(slice(1, None, 2))


def read_wide_valid(folder: Path, valid_set: DigitDataset) -> DigitDataset:
    """Return images to select on whose digits are as small in their images as in the drawn test split.

    They are drawn for the drawn house numbers. For photos they are `valid_set`: the sizes of the photos' test split are
    not known.

    Args:
        folder: the folder of the splits, as `find_house_numbers` returns it.
        valid_set: split to select on, as `read_splits` returns it.
    """
    if folder != HOUSE_NUMBERS:
        return valid_set
    return DigitDataset.read(ensure_drawn(WIDE_NUMBERS, WIDE_CONFIG), "valid")

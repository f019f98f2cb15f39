"""Fixtures of the digit tests: small drawn data sets, and real photos, without which tests that need them skip."""

import os
import shutil
from pathlib import Path

import pytest

from helpers.digits.dataset import DigitDataset
from helpers.digits.drawn import DrawnConfig, ensure_drawn
from helpers.paths import ROOT

DRAWN = DrawnConfig(num_train=24, num_valid=2, num_test=2)
DRAWN_FOR_TRAINING = DrawnConfig(seed=5, num_train=20, num_valid=8, num_test=6)


@pytest.fixture(scope="session")
def svhn_folder() -> Path:
    """The folder with `train.json` and `train/` of SVHN photos."""
    folder = Path(os.environ.get("WORKBOOK_SVHN", ROOT.parent / "shared" / "svhn_sample"))
    if not (folder / "train.json").is_file():
        pytest.skip(f"no photos in {folder}: name a folder with SVHN's train.json and train/ in WORKBOOK_SVHN")
    return folder


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory) -> Path:
    """The folder of a small drawn data set, which no test may change."""
    return ensure_drawn(tmp_path_factory.mktemp("data") / "house_numbers", DRAWN)


@pytest.fixture
def folder(shared_folder, tmp_path) -> Path:
    """A copy of `shared_folder`, which a test may change."""
    return Path(shutil.copytree(shared_folder, tmp_path / "house_numbers"))


@pytest.fixture(scope="session")
def dataset(shared_folder) -> DigitDataset:
    """The train split of `shared_folder`: 24 images."""
    return DigitDataset.read(shared_folder, "train")


@pytest.fixture(scope="session")
def house_numbers(tmp_path_factory) -> Path:
    """The folder of a drawn data set for tests that train, which no test may change."""
    return ensure_drawn(tmp_path_factory.mktemp("training") / "house_numbers", DRAWN_FOR_TRAINING)


@pytest.fixture(scope="session")
def train_set(house_numbers) -> DigitDataset:
    """The first 12 images of the train split of `house_numbers`."""
    return DigitDataset.read(house_numbers, "train").select(range(12))


@pytest.fixture(scope="session")
def valid_set(house_numbers) -> DigitDataset:
    """The first 6 images of the valid split of `house_numbers`."""
    return DigitDataset.read(house_numbers, "valid").select(range(6))

"""Fixtures of the digit tests: a small drawn data set, and real photos, without which tests that need them skip."""

import os
import shutil
from pathlib import Path

import pytest

from helpers.digits.dataset import DigitDataset
from helpers.digits.drawn import DrawnConfig, ensure_drawn
from helpers.paths import ROOT

DRAWN = DrawnConfig(num_train=24, num_valid=2, num_test=2)


@pytest.fixture(scope="session")
def svhn_folder() -> Path:
    """The folder with `train.json` and `train/` of SVHN photos."""
    folder = Path(os.environ.get("WORKBOOK_SVHN", ROOT.parent / "shared" / "svhn_sample"))
    if not (folder / "train.json").is_file():
        pytest.skip(f"no photos in {folder}: name a folder with SVHN's train.json and train/ in WORKBOOK_SVHN")
    return folder


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """The folder of a small drawn data set, which no test may change."""
    return ensure_drawn(tmp_path_factory.mktemp("data") / "house_numbers", DRAWN)


@pytest.fixture
def folder(sound, tmp_path):
    """A copy of that folder, which a test may change."""
    return Path(shutil.copytree(sound, tmp_path / "house_numbers"))


@pytest.fixture(scope="module")
def dataset(sound):
    """The train split of that folder."""
    return DigitDataset.read(sound, "train")

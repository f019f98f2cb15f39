"""Where real photos lie: they are not the project's to give away, so tests that need them skip without them."""

import os
from pathlib import Path

import pytest

from helpers.paths import ROOT


@pytest.fixture(scope="session")
def svhn_folder() -> Path:
    """The folder with `train.json` and `train/` of SVHN photos."""
    folder = Path(os.environ.get("WORKBOOK_SVHN", ROOT.parent / "shared" / "svhn_sample"))
    if not (folder / "train.json").is_file():
        pytest.skip(f"no photos in {folder}: name a folder with SVHN's train.json and train/ in WORKBOOK_SVHN")
    return folder

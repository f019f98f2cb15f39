"""Locations of the workbook on disk, and the names of its budgets (profiles).

Only the standard library is imported, so that commands which start and watch runs do not wait for PyTorch.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal, get_args

RUNS_VARIABLE = "WORKBOOK_RUNS"
PROFILE_VARIABLE = "WORKBOOK_PROFILE"

ROOT = Path(__file__).resolve().parents[1]
"""The workbook's folder: papermill and nbval start kernels in different ones, so no path is relative to the current."""
DATA = ROOT / "data"
HANDOUT = DATA / "handout"
RUNS = Path(os.environ.get(RUNS_VARIABLE) or DATA / "runs")
"""What runs make. A run of a grid has such a folder of its own, so that no two ever meet in a checkpoint."""
GRIDS = "grids"  # the folder in RUNS that keeps the runs of all grids

Profile = Literal["smoke", "quick", "full"]
PROFILES: tuple[Profile, ...] = get_args(Profile)


SEED_REMEDY = f"choose a whole number from 0 to {2**32 - 1}"  # what NumPy takes


def is_seed(value: object) -> bool:
    """Returns whether every random generator can start from `value`."""
    return isinstance(value, int) and 0 <= value < 2**32


def default_profile() -> str:
    """Returns the profile of a run that names none: the environment's, whatever it says, or else "quick"."""
    return os.environ.get(PROFILE_VARIABLE, "quick")

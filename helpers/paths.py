"""Locations of the workbook on disk, and the names of its budgets (profiles).

Only the standard library is imported, so that commands which start and watch runs do not wait for PyTorch.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal, TypeGuard, get_args

RUNS_VARIABLE = "WORKBOOK_RUNS"
PROFILE_VARIABLE = "WORKBOOK_PROFILE"
FRAMES_VARIABLE = "WORKBOOK_FRAMES"
"""Set while `workbook run` executes a lesson: its explorers are rendered for pages without a kernel."""

ROOT = Path(__file__).resolve().parents[1]
"""The workbook's folder. papermill and nbval start kernels in different folders, so no path is relative."""
DATA = ROOT / "data"
HANDOUT = DATA / "handout"
RUNS = Path(os.environ.get(RUNS_VARIABLE) or DATA / "runs")
"""The folder for all files of runs. Each run of a grid has a separate one, so that no two share a checkpoint."""
RESULTS = ROOT / "results"
"""Published results of studies: small JSON files, kept in the repository."""
GRIDS = "grids"  # folder in RUNS for the runs of all grids

Profile = Literal["smoke", "quick", "full"]
PROFILES: tuple[Profile, ...] = get_args(Profile)

SEED_REMEDY = f"choose a whole number from 0 to {2**32 - 1}"  # the range of NumPy's seeds


def is_seed(value: object) -> bool:
    """Return whether every random generator can be seeded with `value`."""
    return isinstance(value, int) and 0 <= value < 2**32


def default_profile() -> str:
    """Return the environment's profile, unchecked, or else "quick"."""
    return os.environ.get(PROFILE_VARIABLE, "quick")


def is_profile(name: str) -> TypeGuard[Profile]:
    """Return whether `name` is one of `PROFILES`."""
    return name in PROFILES

"""Runs of lessons: profile, seed, device, and the folder for results and figures."""

from __future__ import annotations

import ctypes
import importlib.metadata
import inspect
import json
import math
import os
import platform
import random
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch

from helpers import files, paths
from helpers.explorer_frames import MOST_FRAMES
from helpers.explorers import Explorer
from helpers.paths import Profile

T = TypeVar("T")

KEPT_MEMORY = (1 << 31) - 1
"""Bytes, the most that `mallopt` takes: tensors below this size, and as much free memory, stay with the process."""


@dataclass(frozen=True)
class Run:
    """One run of one lesson."""

    lesson: str  # stem of the notebook, e.g. "03_detector_training"
    profile: Profile
    seed: int
    device: torch.device
    folder: Path  # data/runs/<lesson>/<profile>; made when the first file is written into it

    def budget(self, smoke: T, quick: T, full: T) -> T:
        """Return the value for this run's profile. Profiles differ in such values and in nothing else."""
        return {"smoke": smoke, "quick": quick, "full": full}[self.profile]

    def save_figure(self, figure, name: str) -> Path:
        """Write `figures/NN_name.png` in the run's folder and return its path (`workbook run --publish` copies it)."""
        path = self.folder / "figures" / f"{self.lesson[:2]}_{name}.png"
        with files.replace_when_complete(path) as partial:
            figure.savefig(partial, dpi=110, bbox_inches="tight", format="png")
        return path

    def save_explorer(self, explorer: Explorer, name: str) -> Explorer:
        """Return `explorer` with the name under which pages without a kernel find its frames.

        Inside `workbook run`, the frames are rendered into `explorers/NN_name.html` in the run's folder, in a few
        seconds (`workbook run --publish` copies the file). In Jupyter nothing is rendered, because a reader would wait.
        """
        explorer.set_name(name)
        if os.environ.get(paths.FRAMES_VARIABLE):
            path = self.folder / "explorers" / f"{self.lesson[:2]}_{name}.html"
            explorer.save_frames(path, self.budget(smoke=2, quick=MOST_FRAMES, full=MOST_FRAMES))
        return explorer

    def save_results(self, metrics: dict[str, float]) -> Path:
        """Write `results.json` and return its path: profile, seed, device, versions and `metrics`.

        Args:
            metrics: finite numbers by name.

        Raises:
            ValueError: a metric is not a finite number; nothing is written then.
        """
        for name, value in metrics.items():
            if not math.isfinite(value):
                raise ValueError(f"metric {name!r} of {self.lesson} is {value}: results.json holds finite numbers only")
        versions = {package: importlib.metadata.version(package) for package in ("torch", "torchvision", "numpy")}
        results = {
            "profile": self.profile,
            "seed": self.seed,
            "device": describe_device(self.device),
            "versions": {"python": platform.python_version(), **versions},
            "metrics": {name: float(value) for name, value in metrics.items()},
        }
        path = self.folder / "results.json"
        files.write_text(path, json.dumps(results, indent=2) + "\n")
        return path


def start_run(lesson: str, profile: Profile | None = None, seed: int = 0) -> Run:
    """Return the run of `lesson`, and seed every global random generator. Nothing is written.

    Args:
        lesson: stem of the notebook.
        profile: the budget; `None` takes the environment variable `WORKBOOK_PROFILE`, or else "quick".
        seed: seeds Python, NumPy and PyTorch; each variant inside a lesson seeds them again from its configuration.

    Raises:
        ValueError: the profile is not one of `PROFILES`, or the seed is not a whole number from 0 to 2³² − 1.
    """
    source = "the parameter `profile`"
    name: str | None = profile
    if name is None:
        source = f"the environment variable {paths.PROFILE_VARIABLE}"
        name = paths.default_profile()
    if not paths.is_profile(name):
        raise ValueError(f"{source} is {name!r}; choose one of {', '.join(paths.PROFILES)}")
    if not paths.is_seed(seed):
        raise ValueError(f"the parameter `seed` is {seed!r}; {paths.SEED_REMEDY}")
    seed_everything(seed)
    reuse_memory()
    return Run(lesson, name, seed, choose_device(), paths.RUNS / lesson / name)


def choose_device() -> torch.device:
    """Return the first CUDA device if there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def reuse_memory() -> bool:
    """Let the C library keep freed memory for the next tensors, and return whether it does (Linux with glibc only).

    Without it, glibc asks the system for each large tensor anew, and the system fills it with zeros page by page. That
    costs a fifth of a training step on a CPU (`workbook bench memory`). The numbers of a training do not change.

    Source: M_TRIM_THRESHOLD and M_MMAP_THRESHOLD in https://man7.org/linux/man-pages/man3/mallopt.3.html
    """
    if not sys.platform.startswith("linux") or platform.libc_ver()[0] != "glibc":
        return False
    set_option = ctypes.CDLL(None).mallopt
    trim_threshold, mmap_threshold = -1, -3  # numbers of the options in malloc.h
    return all(set_option(option, KEPT_MEMORY) == 1 for option in (trim_threshold, mmap_threshold))


def choose_precision(device: torch.device) -> torch.dtype:
    """Return the faster number format on `device`: bfloat16 if the hardware multiplies it, else float32.

    On a CPU without bfloat16 instructions, bfloat16 is two to three times slower than float32.
    """
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    has_bfloat16 = any(torch.cpu.get_capabilities().get(flag, False) for flag in ("avx512_bf16", "amx_bf16"))
    return torch.bfloat16 if has_bfloat16 else torch.float32


def autocast(device: torch.device) -> torch.autocast:
    """Return the context in which networks run in the precision of `choose_precision`.

    Take at most one optimizer step per context: on a CPU it caches bfloat16 copies of the weights, which a step would
    leave outdated. On a GPU it caches none, because a recorded step (`helpers.cuda_graphs`) must copy the weights at
    each replay.
    """
    precision = choose_precision(device)
    on_cpu = device.type == "cpu"
    return torch.autocast(device.type, precision, enabled=precision != torch.float32, cache_enabled=on_cpu)


def describe_device(device: torch.device) -> str:
    """Return the GPU's name, or the CPU's architecture and the number of threads."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.machine()} CPU, {torch.get_num_threads()} threads"


def seed_everything(seed: int) -> None:
    """Seed the global generators of Python, NumPy and PyTorch, and restrict a GPU to deterministic convolutions."""
    torch.backends.cudnn.deterministic = True
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - libraries may draw from the global generator
    torch.manual_seed(seed)


def show_source(*objects) -> None:
    """Display the source of functions or classes in a notebook, so that a lesson holds no copy of tested code."""
    from IPython.display import Code, display

    display(Code("\n\n".join(inspect.getsource(item) for item in objects), language="python"))

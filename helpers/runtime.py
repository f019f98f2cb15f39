"""Where, how big, on what, from which seed: everything a run has to settle once."""

from __future__ import annotations

import importlib.metadata
import inspect
import json
import math
import platform
import random
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch

from helpers import files, paths
from helpers.paths import Profile

T = TypeVar("T")


@dataclass(frozen=True)
class Run:
    """One run of one lesson: its budget, its seed, its device and the folder that keeps what it makes."""

    lesson: str  # stem of the notebook, e.g. "03_detector_training"
    profile: Profile
    seed: int
    device: torch.device
    folder: Path  # data/runs/<lesson>/<profile>

    def budget(self, smoke: T, quick: T, full: T) -> T:
        """Returns the value for this run's profile: the one place where profiles may differ."""
        return {"smoke": smoke, "quick": quick, "full": full}[self.profile]

    def save_figure(self, figure, name: str) -> Path:
        """Writes `figures/NN_name.png` in the run's folder and returns its path (`make figures` publishes it)."""
        path = self.folder / "figures" / f"{self.lesson[:2]}_{name}.png"
        with files.replace_when_complete(path) as partial:
            figure.savefig(partial, dpi=110, bbox_inches="tight", format="png")
        return path

    def save_results(self, metrics: dict[str, float]) -> Path:
        """Writes `results.json` with the run's circumstances and `metrics` (flat names, finite numbers).

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
    """Returns the run of `lesson`, with every global generator seeded and its folder made.

    Args:
        lesson: stem of the notebook.
        profile: the budget; `None` takes the environment variable `WORKBOOK_PROFILE`, or else "quick".
        seed: seeds Python, NumPy and PyTorch; variants inside a lesson reseed from their own config.

    Raises:
        ValueError: the profile is not one of `PROFILES`, or the seed is none.
    """
    source = "the parameter `profile`"
    if profile is None:
        source = f"the environment variable {paths.PROFILE_VARIABLE}"
        profile = paths.default_profile()
    if profile not in paths.PROFILES:
        raise ValueError(f"{source} is {profile!r}; choose one of {', '.join(paths.PROFILES)}")
    if not paths.is_seed(seed):
        raise ValueError(f"the parameter `seed` is {seed!r}; {paths.SEED_REMEDY}")
    seed_everything(seed)
    folder = paths.RUNS / lesson / profile
    folder.mkdir(parents=True, exist_ok=True)
    return Run(lesson, profile, seed, choose_device(), folder)


def choose_device() -> torch.device:
    """Returns the first CUDA device where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def choose_precision(device: torch.device) -> torch.dtype:
    """Returns the number format that pays off on `device`: bfloat16 where the hardware multiplies it, else float32.

    On a CPU without bfloat16 instructions autocast is two to three times slower than float32, so the flag decides.
    """
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    capable = any(torch.cpu.get_capabilities().get(flag, False) for flag in ("avx512_bf16", "amx_bf16"))
    return torch.bfloat16 if capable else torch.float32


def autocast(device: torch.device) -> torch.autocast:
    """Returns the context in which networks run in the precision that pays off on `device`.

    One optimizer step per context: it keeps copies of the weights, and steps inside would train on stale ones. On a GPU
    it keeps none, because a recorded step (`helpers.cuda_graphs`) has to make its own every time.
    """
    precision = choose_precision(device)
    on_cpu = device.type == "cpu"
    return torch.autocast(device.type, precision, enabled=precision != torch.float32, cache_enabled=on_cpu)


def describe_device(device: torch.device) -> str:
    """Returns the device in words: the GPU's name, or the CPU's architecture and its number of threads."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.machine()} CPU, {torch.get_num_threads()} threads"


def seed_everything(seed: int) -> None:
    """Seeds Python's, NumPy's and PyTorch's global generators, and lets a GPU choose only convolutions that repeat."""
    torch.backends.cudnn.deterministic = True
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - libraries that draw from the global generator must repeat too
    torch.manual_seed(seed)


def show_source(*objects) -> None:
    """Displays the source of functions or classes in a notebook: shown where it is tested, never copied."""
    from IPython.display import Code, display

    display(Code("\n\n".join(inspect.getsource(item) for item in objects), language="python"))

"""Cost of memory in a training step: with freed memory kept by the C library, against glibc's own settings.

Each step trains the detector of lesson 3 on 8 images of noise. The settings of glibc hold for a whole process, so each
is measured in processes of its own, which alternate. The time is that of the processor, with what the system adds.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time

import torch

from helpers import paths, runtime
from helpers.detection.model import MultiScaleDetector

NUM_TURNS = 3
NUM_STEPS = 2
BATCH_SIZE = 8


def measure() -> dict[str, float]:
    """Return the median over the turns: seconds of a step, kept memory against glibc's settings, as a ratio."""
    ratios = []
    for _ in range(NUM_TURNS):
        seconds = {setting: _measure_process(setting) for setting in ("kept", "returned")}
        ratios.append(seconds["kept"] / seconds["returned"])
    return {"memory.kept_ratio": statistics.median(ratios)}


def _measure_process(setting: str) -> float:
    """Return the seconds of a step in a new process."""
    command = [sys.executable, "-m", "benchmarks.memory", setting]
    done = subprocess.run(command, cwd=paths.ROOT, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def _time_step(setting: str) -> float:
    """Return the processor's seconds of a step in this process, after one that is not measured."""
    if setting == "kept" and not runtime.reuse_memory():
        raise OSError("this C library has no such settings: the ratio can be measured on Linux with glibc only")
    torch.manual_seed(0)
    network = MultiScaleDetector()
    images = torch.randn(BATCH_SIZE, 3, 224, 224)
    for step in range(NUM_STEPS + 1):
        if step == 1:
            start = time.process_time()
        outputs = torch.cat([level.flatten() for level in network(images)])
        outputs.float().square().mean().backward()
    return (time.process_time() - start) / NUM_STEPS


if __name__ == "__main__":
    print(json.dumps(_time_step(sys.argv[1])))

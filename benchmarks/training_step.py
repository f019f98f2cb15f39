"""The detector's full training step against the bare one, that against the machine, and matching against both.

`benchmarks.timing` says what a full and a bare step are.
"""

from __future__ import annotations

import resource
import sys
from dataclasses import replace

import torch

from benchmarks.timing import time_call, time_steps
from helpers import runtime
from helpers.detection.dataset import ShapeDetectionDataset
from helpers.detection.model import MultiScaleDetector
from helpers.detection.recipes import ASSIGNMENT, TUNED, DetectorTask, match_dataset

NUM_STEPS = 6  # per epoch of assignment batches
MATRIX = 4096  # rows and columns of the product that stands for the machine's peak


def measure() -> dict[str, float]:
    """Returns the step's ratios for `assignment` and `tuned`, the share of the machine's peak, matching and memory."""
    device = runtime.choose_device()
    recipe = replace(TUNED, fresh_scenes=None, flips=True)  # every work a step can have
    scenes = ShapeDetectionDataset.draw(NUM_STEPS * ASSIGNMENT.training.batch_size, seed=641)
    results = {}
    for name, one in (("assignment", ASSIGNMENT), ("tuned", recipe)):
        task = DetectorTask(one, scenes, scenes.select(slice(1)), device)
        times = time_steps(MultiScaleDetector(dilations=one.dilations), task, one.training, device)
        results[f"step.{name}_seconds"], results[f"step.{name}_ratio"] = times
    flops = 3 * ASSIGNMENT.training.batch_size * _forward_operations(MultiScaleDetector())
    results["step.share_of_peak"] = flops / results["step.assignment_seconds"] / _peak_operations(device)

    task = DetectorTask(recipe, scenes, scenes, device)
    seconds = time_call(lambda: match_dataset(scenes.to(device), task.anchors), device)
    results["matching.ms_per_image"] = 1000 * seconds / len(scenes)
    per_step = 1000 * results["step.assignment_seconds"] / ASSIGNMENT.training.batch_size
    results["matching.share_of_a_step"] = results["matching.ms_per_image"] / per_step  # if every step matched anew
    if device.type == "cuda":
        results["memory.peak_gb"] = torch.cuda.max_memory_allocated() / 1e9
    else:
        unit = 1 if sys.platform == "darwin" else 1024
        results["memory.peak_gb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9
    return results


def _forward_operations(model: MultiScaleDetector) -> int:
    """Returns the multiplications and additions of the convolutions for one image; the backward pass takes two more."""
    operations = 0

    def count(layer, inputs, output) -> None:
        nonlocal operations
        operations += 2 * layer.weight[0].numel() * output[0].numel()

    handles = [layer.register_forward_hook(count) for layer in model.modules() if isinstance(layer, torch.nn.Conv2d)]
    with torch.inference_mode():
        model.eval()(torch.zeros(1, 3, 224, 224))
    for handle in handles:
        handle.remove()
    return operations


def _peak_operations(device: torch.device) -> float:
    """Returns operations per second of the machine's own matrix product, in the number format that training uses."""
    a, b = (torch.randn(MATRIX, MATRIX, device=device, dtype=runtime.choose_precision(device)) for _ in range(2))
    a @ b
    return 2 * MATRIX**3 / min(time_call(lambda: a @ b, device) for _ in range(5))


if __name__ == "__main__":
    for name, value in measure().items():
        print(f"{name:28} {value:.3f}")

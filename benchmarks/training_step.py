"""Speed of the detector's training step: full against bare, bare against the machine, and the cost of matching.

`benchmarks.timing` defines a full and a bare step.
"""

from __future__ import annotations

import resource
import sys
from dataclasses import replace

import torch

from benchmarks.timing import print_measurements, time_call, time_steps
from helpers import runtime
from helpers.detection.anchors import generate_anchors
from helpers.detection.batches import match_dataset
from helpers.detection.dataset import ShapeDetectionDataset
from helpers.detection.model import MultiScaleDetector
from helpers.detection.recipes import ASSIGNMENT, TUNED
from helpers.detection.training import Task

NUM_STEPS = 6  # per epoch of assignment batches
MATRIX = 4096  # rows and columns of the matrix product that measures the machine's peak


def measure() -> dict[str, float]:
    """Return the ratios of the step for `assignment` and `tuned`, the share of the peak, matching time and memory."""
    device = runtime.choose_device()
    tuned = replace(TUNED, fresh_scenes=None)  # drawing scenes is no part of a step
    scenes = ShapeDetectionDataset.draw(NUM_STEPS * ASSIGNMENT.training.batch_size, seed=641)
    results = {}
    for name, recipe in (("assignment", ASSIGNMENT), ("tuned", tuned)):
        task = Task(recipe, scenes, scenes.select(slice(1)), device)
        times = time_steps(MultiScaleDetector(dilations=recipe.dilations), task, recipe.training, device)
        results[f"step.{name}_seconds"], results[f"step.{name}_ratio"] = times
    flops = 3 * ASSIGNMENT.training.batch_size * _forward_operations(MultiScaleDetector())
    results["step.share_of_peak"] = flops / results["step.assignment_seconds"] / _peak_operations(device)

    anchors = torch.cat(generate_anchors()).to(device)
    scenes_on_device = scenes.to(device)
    seconds = time_call(lambda: match_dataset(scenes_on_device, anchors), device)
    results["matching.ms_per_image"] = 1000 * seconds / len(scenes)
    per_step = 1000 * results["step.assignment_seconds"] / ASSIGNMENT.training.batch_size
    results["matching.share_of_a_step"] = (
        results["matching.ms_per_image"] / per_step
    )  # if every step matched its anchors
    if device.type == "cuda":
        results["memory.peak_gb"] = torch.cuda.max_memory_allocated() / 1e9
    else:
        unit = 1 if sys.platform == "darwin" else 1024
        results["memory.peak_gb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9
    return results


def _forward_operations(model: MultiScaleDetector) -> int:
    """Return the multiplications and additions of the convolutions for one image; a backward pass takes two more."""
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
    """Return operations per second of the machine's matrix product, in the number format that training uses."""
    a, b = (torch.randn(MATRIX, MATRIX, device=device, dtype=runtime.choose_precision(device)) for _ in range(2))
    torch.matmul(a, b)  # warms up
    return 2 * MATRIX**3 / min(time_call(lambda: torch.matmul(a, b), device) for _ in range(5))


if __name__ == "__main__":
    print_measurements(measure())

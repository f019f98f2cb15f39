"""A full training step against the bare one, the bare step against the machine, and matching against both.

A full step is everything `training.train_epoch` does for a batch: gathering images and matches, mirroring, scaling to
0..1, all losses, bookkeeping. A bare step is the network's own forward pass on a ready batch, the backward pass of its
summed output, and the optimizer.
"""

from __future__ import annotations

import resource
import statistics
import sys
import time
from dataclasses import replace

import torch

from helpers import runtime, training
from helpers.detection.dataset import ShapeDetectionDataset
from helpers.detection.model import MultiScaleDetector
from helpers.detection.recipes import ASSIGNMENT, TUNED, DetectorTask, match_dataset

NUM_TURNS = 7  # full and bare epochs alternate; the median ratio counts
NUM_STEPS = 6  # per turn
MATRIX = 4096  # rows and columns of the product that stands for the machine's peak


def measure() -> dict[str, float]:
    """Returns the step's ratios for `assignment` and `tuned`, the share of the machine's peak, matching and memory."""
    device = runtime.choose_device()
    recipe = replace(TUNED, fresh_scenes=None, flips=True)  # every work a step can have
    scenes = ShapeDetectionDataset.draw(NUM_STEPS * ASSIGNMENT.training.batch_size, seed=641)
    results = {}
    for name, one in (("assignment", ASSIGNMENT), ("tuned", recipe)):
        full, bare = _time_steps(one, scenes, device)
        results[f"step.{name}_seconds"] = statistics.median(bare)
        results[f"step.{name}_ratio"] = statistics.median(f / b for f, b in zip(full, bare, strict=True))
    flops = 3 * ASSIGNMENT.training.batch_size * _forward_operations(MultiScaleDetector())
    results["step.share_of_peak"] = flops / results["step.assignment_seconds"] / _peak_operations(device)

    task = DetectorTask(recipe, scenes, scenes, device)
    seconds = _time(lambda: match_dataset(scenes.to(device), task.anchors), device)
    results["matching.ms_per_image"] = 1000 * seconds / len(scenes)
    per_step = 1000 * results["step.assignment_seconds"] / ASSIGNMENT.training.batch_size
    results["matching.share_of_a_step"] = results["matching.ms_per_image"] / per_step  # if every step matched anew
    if device.type == "cuda":
        results["memory.peak_gb"] = torch.cuda.max_memory_allocated() / 1e9
    else:
        unit = 1 if sys.platform == "darwin" else 1024
        results["memory.peak_gb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9
    return results


def _time_steps(recipe, scenes, device) -> tuple[list[float], list[float]]:
    """Returns seconds per full step and per bare step, one pair a turn."""
    task = DetectorTask(recipe, scenes, scenes.select(slice(1)), device)
    model = MultiScaleDetector(dilations=recipe.dilations).to(device, memory_format=torch.channels_last)
    config = recipe.training
    optimizer = training.build_optimizer(model, config)
    batches = task.batches(1, config.batch_size, torch.Generator().manual_seed(0))
    ready = [batch.images for batch in batches]

    def bare() -> None:
        for images in ready:
            with runtime.autocast(device):
                maps = model(images)
            loss = sum(level.sum() for level in maps) * 1e-9
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()

    def full() -> None:
        training.train_epoch(model, batches, task.losses, optimizer, config)

    model.train()
    full()
    bare()
    turns = [(_time(full, device), _time(bare, device)) for _ in range(NUM_TURNS)]
    return tuple([seconds / len(batches) for seconds in column] for column in zip(*turns, strict=True))


def _time(function, device: torch.device) -> float:
    """Returns the seconds that `function` takes, the device's queue included."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    function()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


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
    return 2 * MATRIX**3 / min(_time(lambda: a @ b, device) for _ in range(5))


if __name__ == "__main__":
    for name, value in measure().items():
        print(f"{name:28} {value:.3f}")

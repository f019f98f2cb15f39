"""What it buys, and takes, to start a training step otherwise than kernel by kernel: replayed, or compiled.

python -m benchmarks.launching
"""

from __future__ import annotations

import statistics
from functools import partial

import torch
from torch import nn

from benchmarks.timing import NUM_TURNS, time_call
from helpers import runtime, training
from helpers.cuda_graphs import Step
from helpers.detection.dataset import ShapeDetectionDataset
from helpers.detection.model import MultiScaleDetector
from helpers.detection.recipes import ASSIGNMENT, DetectorTask
from helpers.keypoints.dataset import KeypointDataset
from helpers.keypoints.recipes import ASSIGNMENT_HEATMAP
from helpers.keypoints.training import Task as KeypointTask
from helpers.keypoints.training import build_network

NUM_STEPS = 3  # per epoch


def measure() -> dict[str, float]:
    """Returns for each way the ratio of its step to the plain one, and the seconds until it has begun to pay back.

    Replaying needs a GPU, compiling a compiler; the seconds are those of the first epoch beyond a later one.
    """
    device = runtime.choose_device()
    scenes = ShapeDetectionDataset.draw(NUM_STEPS * ASSIGNMENT.training.batch_size, seed=641)
    figures = KeypointDataset.draw(NUM_STEPS * ASSIGNMENT_HEATMAP.training.batch_size, seed=641)
    detector = DetectorTask(ASSIGNMENT, scenes, scenes.select(slice(1)), device)
    localizer = KeypointTask(ASSIGNMENT_HEATMAP, figures, figures.select(slice(1)), device)
    return _compare("detector", detector, MultiScaleDetector(), ASSIGNMENT.training, device) | _compare(
        "heatmap", localizer, build_network(ASSIGNMENT_HEATMAP), ASSIGNMENT_HEATMAP.training, device
    )


def _compare(
    name: str, task: training.Task, model: nn.Module, config: training.TrainingConfig, device: torch.device
) -> dict[str, float]:
    model = model.to(device, memory_format=torch.channels_last)
    compiled = torch.compile(model)
    plain = partial(training.compute_gradients, task.losses)
    ways: dict[str, Step] = {"plain": plain}
    if device.type == "cuda":
        ways["replayed"] = training.choose_step(task, device)
    ways["compiled"] = lambda _, batch: plain(compiled, batch)
    optimizer = training.build_optimizer(model, config)
    batches = task.batches(1, config.batch_size, torch.Generator().manual_seed(0))

    def time_epoch(step: Step) -> float:
        return time_call(lambda: training.train_epoch(model, batches, step, optimizer, config), device)

    first = {way: time_epoch(step) for way, step in ways.items()}
    turns = [{way: time_epoch(step) for way, step in ways.items()} for _ in range(NUM_TURNS)]
    results = {}
    for way in list(ways)[1:]:
        results[f"launch.{name}_{way}_ratio"] = statistics.median(turn[way] / turn["plain"] for turn in turns)
        results[f"launch.{name}_{way}_set_up_seconds"] = first[way] - statistics.median(turn[way] for turn in turns)
    return results


if __name__ == "__main__":
    for name, value in measure().items():
        print(f"{name:40} {value:.3f}")

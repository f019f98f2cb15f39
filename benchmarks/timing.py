"""Time measurements: a function on a device, and the full training steps of a task against bare ones.

A full step is everything that `training.train_epoch` does for a batch: gathering it, scaling to 0..1, targets, all
losses, bookkeeping. A bare step is the network's forward pass on a prepared batch, the backward pass from a prepared
gradient, and the optimizer. A GPU replays both, as far as they can be recorded.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from helpers import runtime, training
from helpers.cuda_graphs import ReplayedStep

NUM_TURNS = 7  # of full and bare epochs, which alternate


class StepTimes(NamedTuple):
    """Medians over the turns."""

    bare: float  # seconds per step
    ratio: float  # full step / bare step, of the same turn


def print_measurements(measurements: Mapping[str, float]) -> None:
    """Print a line with name and number for each measurement; `benchmarks.full_budget` parses such lines."""
    for name, value in measurements.items():
        print(f"{name:40} {value:.3f}", flush=True)


def time_call(function: Callable[[], object], device: torch.device) -> float:
    """Return the seconds that `function` takes, with all that it puts into the queue of the device."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    function()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def time_steps(
    model: nn.Module, task: training.Task[nn.Module], config: training.TrainingConfig, device: torch.device
) -> StepTimes:
    """Return the seconds of a bare step and the ratio of a full step to it. `model` is trained meanwhile."""
    model = model.to(device).to(memory_format=torch.channels_last).train()
    optimizer = training.build_optimizer(model, config)
    batches = task.batches(1, config.batch_size, torch.Generator().manual_seed(0))
    step = training.choose_step(task, device)
    bare_step = ReplayedStep(_compute_bare_gradients) if isinstance(step, ReplayedStep) else _compute_bare_gradients
    ready = [(batch.images, _draw_gradients(model, batch.images, device)) for batch in batches]

    def bare() -> None:
        for batch in ready:
            bare_step(model, batch)
            optimizer.step()

    def full() -> None:
        training.train_epoch(model, batches, step, optimizer, config)

    full()
    bare()
    turns = [(time_call(full, device), time_call(bare, device)) for _ in range(NUM_TURNS)]
    return StepTimes(
        bare=statistics.median(bare for _, bare in turns) / len(batches),
        ratio=statistics.median(full / bare for full, bare in turns),
    )


def _compute_bare_gradients(model: nn.Module, batch: tuple[Tensor, Tensor | list[Tensor]]) -> dict[str, Tensor]:
    """Leave gradients in the parameters, computed from given gradients of the outputs; there is no loss."""
    images, gradients = batch
    with runtime.autocast(images.device):
        outputs = model(images)
    model.zero_grad(set_to_none=True)
    torch.autograd.backward(outputs, gradients)
    return {}


def _draw_gradients(model: nn.Module, images: Tensor, device: torch.device) -> Tensor | list[Tensor]:
    """Return noise for each of the network's outputs, about as large as the gradient of a mean loss.

    The gradient of a sum is no substitute: normalisation layers remove the part of a gradient that is equal in all
    cells. The layers before them would then multiply numbers so small that processors multiply them slowly.
    """

    def draw(output: Tensor) -> Tensor:
        return torch.randn_like(output) / output.numel()

    with torch.no_grad(), runtime.autocast(device):
        outputs = model(images)
    return draw(outputs) if isinstance(outputs, Tensor) else [draw(output) for output in outputs]

"""Times what is compared: a function on a device, and a task's full training steps against bare ones.

A full step is everything `training.train_epoch` does for a batch: gathering it, scaling to 0..1, targets,
all losses, bookkeeping. A bare step is the network's own forward pass on a ready batch, the backward pass from a ready
gradient, and the optimizer. A GPU replays both, as far as they can be recorded.
"""

from __future__ import annotations

import statistics
import time
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


def time_call(function, device: torch.device) -> float:
    """Returns the seconds that `function` takes, the device's queue included."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    function()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def time_steps(
    model: nn.Module, task: training.Task, config: training.TrainingConfig, device: torch.device
) -> StepTimes:
    """Returns how long a step of one epoch takes, bare and full; trains `model` on the way."""
    model = model.to(device, memory_format=torch.channels_last).train()
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
    """Leaves the gradients that ready ones of the outputs give; there is no loss."""
    images, gradients = batch
    with runtime.autocast(images.device):
        outputs = model(images)
    model.zero_grad(set_to_none=True)
    torch.autograd.backward(outputs, gradients)
    return {}


def _draw_gradients(model: nn.Module, images: Tensor, device: torch.device) -> Tensor | list[Tensor]:
    """Returns noise for each of the network's outputs, about as large as a mean loss' gradient.

    The gradient of a sum would not do: normalisation layers stop what is the same in every cell, and behind them
    processors would multiply numbers too small to be multiplied at full speed.
    """

    def draw(output: Tensor) -> Tensor:
        return torch.randn_like(output) / output.numel()

    with torch.no_grad(), runtime.autocast(device):
        outputs = model(images)
    return draw(outputs) if isinstance(outputs, Tensor) else [draw(output) for output in outputs]

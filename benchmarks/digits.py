"""Training step of the quick digit detector against a bare step of its network, and the time it waits for images.

The bare step is the network's forward pass, which ends in torchvision's losses, on decoded images in floating point,
the backward pass of the sum of losses, and the optimizer.

python -m benchmarks.digits
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import nn

from benchmarks.timing import NUM_TURNS, print_measurements, time_call
from helpers import runtime, training
from helpers.digits.batches import Batch, DigitBatches, build_loader
from helpers.digits.dataset import DigitDataset, prepare_images
from helpers.digits.drawn import DrawnConfig, ensure_drawn
from helpers.digits.model import build_digit_rcnn
from helpers.digits.recipes import QUICK
from helpers.digits.training import Task

NUM_STEPS = 20  # per epoch


def measure() -> dict[str, float]:
    """Return the seconds of a bare step, the ratio of a full step to it, and decoding and waiting as shares of it."""
    device = runtime.choose_device()
    count = NUM_STEPS * QUICK.training.batch_size
    with tempfile.TemporaryDirectory() as folder:
        numbers = ensure_drawn(Path(folder) / "house_numbers", DrawnConfig(num_train=count, num_valid=1, num_test=1))
        images = DigitDataset.read(numbers, "train")
        return _measure_steps(images, device)


def _measure_steps(images: DigitDataset, device: torch.device) -> dict[str, float]:
    config = QUICK.training
    model = build_digit_rcnn(QUICK.model).to(device).to(memory_format=torch.channels_last).train()
    task = Task(QUICK, images, images, device)
    optimizer = training.build_optimizer(model, config)
    step = training.choose_step(task, device)
    order = torch.Generator().manual_seed(0)

    def in_this_process() -> DigitBatches:
        return build_loader(images, config.batch_size, order.manual_seed(0), augment=task.augment)

    prepared = []
    for images_of_batch, targets in in_this_process():
        prepared_images = prepare_images(images_of_batch, device)
        prepared_targets = [{name: value.to(device) for name, value in target.items()} for target in targets]
        prepared.append((prepared_images, prepared_targets))

    def sum_losses(model: nn.Module, batch: tuple) -> dict[str, torch.Tensor]:
        losses: dict[str, torch.Tensor] = model(*batch)
        return {"loss": sum(losses.values(), torch.zeros((), device=device))}

    def bare() -> None:
        for batch in prepared:
            training.compute_gradients(sum_losses, model, batch)
            optimizer.step()

    def full() -> WaitingBatches:
        batches = WaitingBatches(task.batches(1, config.batch_size, order.manual_seed(0)))
        training.train_epoch(model, batches, step, optimizer, config)
        return batches

    def decode() -> None:
        for _ in in_this_process():
            pass

    full()
    bare()
    turns, waits = [], []
    for _ in range(NUM_TURNS):
        started = time.perf_counter()
        waits.append(full().seconds)
        turns.append((time.perf_counter() - started, time_call(bare, device)))
    seconds = statistics.median(full for full, _ in turns)
    return {
        "digits.seconds": statistics.median(bare for _, bare in turns) / len(prepared),
        "digits.ratio": statistics.median(full / bare for full, bare in turns),
        "digits.decoding_share": statistics.median(time_call(decode, device) for _ in range(3)) / seconds,
        "digits.waiting_share": statistics.median(waits) / seconds,
    }


class WaitingBatches:
    """Batches with the sum of the seconds that a training step waits for them."""

    def __init__(self, batches: training.Batches) -> None:
        self.batches = batches
        self.seconds = 0.0

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Batch]:
        batches = iter(self.batches)
        while True:
            started = time.perf_counter()
            batch = next(batches, None)
            self.seconds += time.perf_counter() - started
            if batch is None:
                return
            yield batch


if __name__ == "__main__":
    print_measurements(measure())

"""Small training task, network and training process, shared by the tests of training, checkpoints and CUDA graphs."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from helpers import checkpoints
from helpers.training import TrainingConfig, train

CONFIG = TrainingConfig(epochs=3, batch_size=4, optimizer="adamw", learning_rate=0.05, weight_decay=0.1, seed=7)


class Points(NamedTuple):
    """Points of a line."""

    inputs: Float[Tensor, "B 1"]
    targets: Float[Tensor, "B 1"]


class LineTask:
    """Points on a line: batches in an order drawn from the generator, so that a lost generator state would show.

    Args:
        scores: measure of each epoch in place of the agreement with the line.
        pause: seconds added to each validation.
        device: of the points.
        count: number of points; one that batches do not divide gives a shorter last batch.
    """

    monitor = "agreement"
    replayable = True

    def __init__(
        self,
        scores: list[float] | None = None,
        pause: float = 0.0,
        device: torch.device = torch.device("cpu"),  # noqa: B008 - a constant
        count: int = 16,
    ) -> None:
        inputs = torch.linspace(-1, 1, count, device=device).unsqueeze(1)
        self.points = Points(inputs, 3 * inputs)
        self.scores = None if scores is None else iter(scores)
        self.pause = pause

    def batches(self, epoch, batch_size, generator):
        order = torch.randperm(len(self.points.inputs), generator=generator).to(self.points.inputs.device)
        return [Points(*(column[rows] for column in self.points)) for rows in order.split(batch_size)]

    def losses(self, model, batch):
        error = (model(batch.inputs).float() - batch.targets).square().mean()
        return {"loss": error, "twice": 2 * error}

    def validate(self, model):
        time.sleep(self.pause)
        distance = (model(self.points.inputs) - self.points.targets).abs().mean().item()
        return {"agreement": next(self.scores) if self.scores else -distance}


def build_network() -> nn.Module:
    """Return a small network with what a checkpoint or a recording could lose: running statistics, random dropout."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(1, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 1))


def run(folder: Path, config: TrainingConfig = CONFIG, task: LineTask | None = None, **arguments):
    """Return the trained network and its history."""
    network = build_network()
    history = train(network, task or LineTask(), config, folder, identity={"data": "line"}, **arguments)
    return network, history


def without_seconds(history):
    """Return the history without the one column that differs between two equal runs."""
    return [{name: value for name, value in row.items() if name != "seconds"} for row in history]


def kill_after(count: int, function):
    """Return `function`, except that this process ends by SIGKILL instead of call number `count`."""
    calls = itertools.count(1)

    def wrapped(*arguments):
        if next(calls) == count:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments)

    return wrapped


class TrainingProcess:
    """A process that trains in `folder`.

    It is forked from a server that has imported PyTorch, so it starts in milliseconds. What it prints goes into files
    beside the folder.

    Args:
        moment: "step" or "rename"; the process kills itself with SIGKILL instead of call number `count` of it.
        count: 0 lets the process run to its end.
        save_every: seconds between two savings.
        pause: seconds added to each validation.
    """

    def __init__(
        self, folder: Path, moment: str = "step", count: int = 0, save_every: float = 0.0, pause: float = 0.0
    ) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["tests.line"])
        self._printed, self._errors = (
            Path(tempfile.mkstemp(dir=folder.parent, suffix=suffix)[1]) for suffix in (".printed", ".errors")
        )
        arguments = (folder, moment, count, save_every, pause, self._printed, self._errors)
        self._process = context.Process(target=train_in_process, args=arguments)
        self._process.start()

    def kill(self) -> None:
        """End the process with SIGKILL."""
        self._process.kill()

    def wait(self) -> tuple[int | None, str, str]:
        """Return the exit status, minus the number of a signal that ended it, and what the process has printed."""
        self._process.join(60)
        return self._process.exitcode, self._printed.read_text(), self._errors.read_text()


def train_in_process(
    folder: Path, moment: str, count: int, save_every: float, pause: float, printed: Path, errors: Path
) -> None:
    """Train in `folder`, print the history, and end; see `TrainingProcess`."""
    sys.stdout, sys.stderr = printed.open("w", buffering=1), errors.open("w", buffering=1)
    checkpoints.SAVE_EVERY = save_every
    task = LineTask(pause=pause)
    if moment == "step":
        task.losses = kill_after(count, task.losses)
    else:
        os.replace = kill_after(count, os.replace)
    _, history = run(folder, task=task)
    print(without_seconds(history))

"""A small training task, and a process that trains it: what the tests of training and of checkpoints share.

As a program, `python -m tests.line FOLDER MOMENT COUNT SAVE_EVERY PAUSE` trains in FOLDER. It kills itself with SIGKILL
instead of call number COUNT of MOMENT ("step" or "rename"); with COUNT 0 it runs to its end.
"""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import torch
from torch import nn

from helpers import checkpoints, paths
from helpers.training import TrainingConfig, train

CONFIG = TrainingConfig(epochs=3, batch_size=4, optimizer="adamw", learning_rate=0.05, weight_decay=0.1, seed=7)


class LineTask:
    """Points on a line: batches in an order drawn from the generator, so that a lost generator state would show."""

    monitor = "agreement"
    replayable = True

    def __init__(self, scores: list[float] | None = None, pause: float = 0.0) -> None:
        self.inputs = torch.linspace(-1, 1, 16).unsqueeze(1)
        self.scores = None if scores is None else iter(scores)
        self.pause = pause  # seconds that each validation takes longer

    def batches(self, epoch, batch_size, generator):
        return self.inputs[torch.randperm(16, generator=generator)].split(batch_size)

    def losses(self, model, batch):
        error = (model(batch).float() - 3 * batch).square().mean()
        return {"loss": error, "twice": 2 * error}

    def validate(self, model):
        time.sleep(self.pause)
        score = next(self.scores) if self.scores else -(model(self.inputs) - 3 * self.inputs).abs().mean().item()
        return {"agreement": score}


def build_network() -> nn.Module:
    """Return a small network with all that a checkpoint could forget: running statistics and random dropout."""
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


def start_process(folder: Path, moment: str = "step", count: int = 0, save_every: float = 0.0, pause: float = 0.0):
    """Return a process that trains in `folder`; see the module."""
    command = [sys.executable, "-m", "tests.line", *map(str, (folder, moment, count, save_every, pause))]
    environment = {**os.environ, "PYTHONPATH": str(paths.ROOT)}
    return subprocess.Popen(
        command, cwd=paths.ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def main() -> None:
    """Train in the folder that the command line names."""
    folder, moment, count = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    checkpoints.SAVE_EVERY = float(sys.argv[4])
    task = LineTask(pause=float(sys.argv[5]))
    if moment == "step":
        task.losses = kill_after(count, task.losses)
    else:
        os.replace = kill_after(count, os.replace)
    _, history = run(folder, task=task)
    print(without_seconds(history))


if __name__ == "__main__":
    main()

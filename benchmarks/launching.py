"""Speed of a training step launched in five ways: plain, replayed, graphed, compiled and reduced.

    python -m benchmarks.launching

`replayed` is the whole step recorded by `helpers.cuda_graphs`. `graphed` is PyTorch's `make_graphed_callables`, which
records the forward and the backward pass of the network alone. `compiled` is `torch.compile`, and `reduced` is
`torch.compile(mode="reduce-overhead")`, which records CUDA graphs of the compiled network.

The ways other than `plain` and `compiled` need a GPU and are skipped without one. No GPU was at hand: this benchmark
has not run on one, and it is unproven that `replayed` is the fastest. One run on a GPU decides: `helpers.cuda_graphs`
is worth keeping if `replayed_ratio` is at least 10 % below `graphed_ratio` and `reduced_ratio`.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from functools import partial

import torch
from torch import nn

from benchmarks.timing import NUM_TURNS, print_measurements, time_call
from helpers import runtime, training
from helpers.cuda_graphs import ReplayedStep, Step
from helpers.detection.dataset import ShapeDetectionDataset
from helpers.detection.model import MultiScaleDetector
from helpers.detection.recipes import ASSIGNMENT
from helpers.detection.training import Task as DetectorTask
from helpers.keypoints.dataset import KeypointDataset
from helpers.keypoints.recipes import ASSIGNMENT_HEATMAP
from helpers.keypoints.training import Task as KeypointTask
from helpers.keypoints.training import build_network

NUM_STEPS = 3  # per epoch
NEEDS_GPU = ("replayed", "graphed", "reduced")


def measure() -> dict[str, float]:
    """Return for each way the ratio of its step to the plain one, and the seconds of its set-up.

    The set-up is the time of the first epoch beyond the median of later ones. A way that fails on this machine has no
    entry, and its reason is printed.
    """
    device = runtime.choose_device()
    scenes = ShapeDetectionDataset.draw(NUM_STEPS * ASSIGNMENT.training.batch_size, seed=641)
    figures = KeypointDataset.draw(NUM_STEPS * ASSIGNMENT_HEATMAP.training.batch_size, seed=641)
    detector_task = DetectorTask(ASSIGNMENT, scenes, scenes.select(slice(1)), device)
    heatmap_task = KeypointTask(ASSIGNMENT_HEATMAP, figures, figures.select(slice(1)), device)
    results = _compare("detector", MultiScaleDetector, detector_task, ASSIGNMENT.training, device)
    build_heatmap_network = partial(build_network, ASSIGNMENT_HEATMAP)
    return results | _compare("heatmap", build_heatmap_network, heatmap_task, ASSIGNMENT_HEATMAP.training, device)


def _compare(
    name: str,
    build: Callable[[], nn.Module],
    task: training.Task[nn.Module],
    config: training.TrainingConfig,
    device: torch.device,
) -> dict[str, float]:
    """Return the ratios and set-up times of one task; each way trains another network, so that none shares state."""
    batches = task.batches(1, config.batch_size, torch.Generator().manual_seed(0))
    images = next(iter(batches)).images
    epochs: dict[str, Callable[[], object]] = {}
    first: dict[str, float] = {}
    for way in ("plain", "replayed", "graphed", "compiled", "reduced"):
        if way in NEEDS_GPU and device.type != "cuda":
            print(f"launch.{name}_{way}: skipped, it needs a GPU")
            continue
        model = build().to(device).to(memory_format=torch.channels_last).train()
        optimizer = training.build_optimizer(model, config)
        try:
            seconds, step = _time_set_up(way, model, task, images, device)
            epoch = partial(training.train_epoch, model, batches, step, optimizer, config)
            first[way] = seconds + time_call(epoch, device)
        except Exception as error:  # each way raises other errors for a network that it cannot handle
            print(f"launch.{name}_{way}: failed, {type(error).__name__}: {str(error).splitlines()[0][:200]}")
            continue
        epochs[way] = epoch

    turns = [{way: time_call(epoch, device) for way, epoch in epochs.items()} for _ in range(NUM_TURNS)]
    results = {}
    for way in list(epochs)[1:]:
        later = statistics.median(turn[way] for turn in turns)
        results[f"launch.{name}_{way}_ratio"] = statistics.median(turn[way] / turn["plain"] for turn in turns)
        results[f"launch.{name}_{way}_set_up_seconds"] = first[way] - later
    return results


def _time_set_up(
    way: str, model: nn.Module, task: training.Task[nn.Module], images: torch.Tensor, device: torch.device
) -> tuple[float, Step[nn.Module]]:
    """Return the seconds of building the step, and the step."""
    steps: list[Step[nn.Module]] = []
    seconds = time_call(lambda: steps.append(_build_step(way, model, task, images)), device)
    return seconds, steps[0]


def _build_step(way: str, model: nn.Module, task: training.Task[nn.Module], images: torch.Tensor) -> Step[nn.Module]:
    """Return the step that launches the kernels in one of the ways.

    Args:
        way: "plain", "replayed", "graphed", "compiled" or "reduced".
        model: on the device.
        task: its losses are the step's.
        images: of one batch; all batches have this shape.
    """
    plain = partial(training.compute_gradients, task.losses)
    match way:
        case "plain":
            return plain
        case "replayed":
            return ReplayedStep(plain)
        case "graphed":
            return _substitute(plain, _GraphedNetwork(model, images))
        case "compiled":
            return _substitute(plain, _compile(model, "default"))
        case "reduced":
            return _substitute(plain, _compile(model, "reduce-overhead"))
        case _:
            raise ValueError(f"way is {way!r}; choose plain, replayed, graphed, compiled or reduced")


def _compile(model: nn.Module, mode: str) -> nn.Module:
    """Return `model` compiled by `torch.compile`, which returns a module for a module."""
    compiled = torch.compile(model, mode=mode)
    assert isinstance(compiled, nn.Module)
    return compiled


def _substitute(step: Step[nn.Module], network: nn.Module) -> Step[nn.Module]:
    """Return the step that runs `network` in place of its model; both share their parameters."""
    return lambda _, batch: step(network, batch)


class _GraphedNetwork(nn.Module):
    """A network whose forward and backward pass are recorded; the loss is launched kernel by kernel.

    `make_graphed_callables` needs a tuple of tensors as output and autocast without its cache of weights.
    """

    def __init__(self, model: nn.Module, images: torch.Tensor) -> None:
        super().__init__()
        self.model = model
        self.returns_list = False
        with runtime.autocast(images.device):
            self.returns_list = isinstance(model(images), list)
            graphed = torch.cuda.make_graphed_callables(_TupleOutput(model), (images,))
        self.run_graphed = graphed.__call__  # the method and not the module: its parameters are those of `model`

    def forward(self, images: torch.Tensor) -> torch.Tensor | list[torch.Tensor]:
        """Return what the network returns."""
        outputs = self.run_graphed(images)
        return list(outputs) if self.returns_list else outputs[0]


class _TupleOutput(nn.Module):
    """A network whose output is a tuple of tensors."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return the outputs of the network as a tuple."""
        outputs = self.model(images)
        return tuple(outputs) if isinstance(outputs, list) else (outputs,)


if __name__ == "__main__":
    print_measurements(measure())

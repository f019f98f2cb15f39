"""Training steps that a GPU replays: recorded once as a CUDA graph, then started as one.

The workbook's networks are small. A GPU is done with a step before Python has told it what to compute, one kernel after
the other; a graph is told once.

Source: https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs, "whole-network capture".
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Hashable
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

T = TypeVar("T")
Step = Callable[[nn.Module, Any], dict[str, Tensor]]
"""Leaves a batch's gradients in the parameters of a network, and returns its losses without their history."""

REFUSAL = "the step cannot be recorded and is started kernel by kernel"
WARM_UPS = 3  # before recording: libraries choose algorithms and reserve memory in the first calls


class Recording(NamedTuple):
    """A step on a GPU that waits to be repeated; all tensors keep their places in memory."""

    replay: Callable[[], None]
    batch: Any
    losses: dict[str, Tensor]
    gradients: list[Tensor | None]


class ReplayedStep:
    """Takes the place of `step`: records each network's first batch of every shape.

    Law: losses, gradients, running statistics and random numbers are those of `step`; recording leaves no trace.

    Args:
        step: starts the same kernels for any two batches of equal shapes, whatever their values, and asks for none of
            their results. Batches are tensors on the GPU, in any tuple.
    """

    def __init__(self, step: Step) -> None:
        self._step = step
        self._recordings: dict[Hashable, Recording | None] = {}

    def __call__(self, model: nn.Module, batch: Any) -> dict[str, Tensor]:
        """Does what a `Step` does."""
        key = model, model.training, *((column.shape, column.dtype) for column in tree_leaves(batch))
        if key not in self._recordings:
            self._recordings[key] = self._record(model, batch)
        recording = self._recordings[key]
        if recording is None:
            return self._step(model, batch)
        for place, column in zip(tree_leaves(recording.batch), tree_leaves(batch), strict=True):
            place.copy_(column)
        recording.replay()
        for parameter, gradient in zip(model.parameters(), recording.gradients, strict=True):
            parameter.grad = gradient
        return {name: value.clone() for name, value in recording.losses.items()}

    def _record(self, model: nn.Module, batch: Any) -> Recording | None:
        """Returns the step of `batch`, or nothing where it cannot be recorded.

        It is run a few times for that, which must not train anything.
        """
        own_batch = tree_map(torch.clone, batch)

        def run() -> tuple[dict[str, Tensor], list[Tensor | None]]:
            losses = self._step(model, own_batch)
            return losses, [parameter.grad for parameter in model.parameters()]

        before = [buffer.clone() for buffer in model.buffers()]
        devices = {column.device for column in tree_leaves(batch) if column.is_cuda}
        try:
            with torch.random.fork_rng(devices):
                replay, (losses, gradients) = capture(run)
        except RuntimeError as error:
            # The end of a recording fails because something in it did. No name is given to that: a local one would tie
            # this frame, and with it the graph, to the exception's traceback.
            warnings.warn(f"{REFUSAL}, which costs time and nothing else: {error.__context__ or error}", stacklevel=3)
            return None
        finally:
            with torch.no_grad():
                for buffer, value in zip(model.buffers(), before, strict=True):
                    buffer.copy_(value)
        return Recording(replay, own_batch, losses, gradients)


def capture(function: Callable[[], T]) -> tuple[Callable[[], None], T]:
    """Returns what repeats all that `function` does on the GPU, and what it has returned: the place of the results."""
    current, own = torch.cuda.current_stream(), _recording_stream()
    own.wait_stream(current)
    try:
        with torch.cuda.stream(own):
            for _ in range(WARM_UPS):
                function()
    finally:
        current.wait_stream(own)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.stream(current), torch.cuda.graph(graph, stream=own):  # the outer one brings a failure back here
        results = function()
    return graph.replay, results


@functools.cache
def _recording_stream() -> torch.cuda.Stream:
    """Returns the one stream for all recordings: on each, libraries reserve memory that they never give back."""
    return torch.cuda.Stream()

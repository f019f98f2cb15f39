"""Recorded training steps: a CUDA graph, recorded once and then replayed on a GPU.

The workbook's networks are small: a GPU computes a kernel faster than Python starts the next one. A graph starts all
kernels of a step at once.

Unproven: no GPU was at hand, so no part of this module has run on one. The tests that need no GPU use a stand-in for
`capture` and fake tensors. On a CPU nothing here is used. `benchmarks.launching` compares this module on a GPU with
PyTorch's `make_graphed_callables` and `torch.compile`; one run of it decides whether the module is worth keeping.

Source: https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs, "whole-network capture".
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Hashable
from typing import Any, Generic, NamedTuple, TypeVar

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

Network = TypeVar("Network", bound=nn.Module)
Result = TypeVar("Result")
Step = Callable[[Network, Any], dict[str, Tensor]]
"""A function that leaves the gradients of a batch in the parameters of a network, and returns its detached losses."""

REFUSAL = "the step cannot be recorded and is started kernel by kernel"
WARM_UPS = 3  # calls before recording, in which libraries choose algorithms and reserve memory


class Recording(NamedTuple):
    """A recorded step. Replaying reads and writes the same memory each time, so the tensors below are overwritten."""

    replay: Callable[[], None]
    batch: Any
    losses: dict[str, Tensor]
    gradients: list[Tensor | None]


class ReplayedStep(Generic[Network]):
    """A `Step` that records `step` once per network and shape of batch, and then replays the recording.

    Law: losses, gradients, running statistics and random numbers are those of `step`; recording changes none of them.

    Args:
        step: must start the same kernels for any two batches of equal shapes, and must not read a result back to the
            CPU. Batches are tuples of tensors on the GPU.
    """

    def __init__(self, step: Step[Network]) -> None:
        self._step = step
        self._recordings: dict[Hashable, Recording | None] = {}

    def __call__(self, model: Network, batch: Any) -> dict[str, Tensor]:
        """Compute the losses and gradients of `batch`; see `Step`."""
        key = model, model.training, *((column.shape, column.dtype) for column in tree_leaves(batch))
        if key not in self._recordings:
            self._recordings[key] = self._record(model, batch)
        recording = self._recordings[key]
        if recording is None:
            return self._step(model, batch)
        for recorded_column, column in zip(tree_leaves(recording.batch), tree_leaves(batch), strict=True):
            recorded_column.copy_(column)
        recording.replay()
        for parameter, gradient in zip(model.parameters(), recording.gradients, strict=True):
            parameter.grad = gradient
        return {name: value.clone() for name, value in recording.losses.items()}

    def _record(self, model: Network, batch: Any) -> Recording | None:
        """Return a recording of the step for batches like `batch`, or `None` if the step cannot be recorded.

        The step runs a few times for that, so running statistics and random generators are restored afterwards.
        """
        recorded_batch = tree_map(torch.clone, batch)

        def run() -> tuple[dict[str, Tensor], list[Tensor | None]]:
            losses = self._step(model, recorded_batch)
            return losses, [parameter.grad for parameter in model.parameters()]

        before = [buffer.clone() for buffer in model.buffers()]
        devices = {column.device for column in tree_leaves(batch) if column.is_cuda}
        try:
            with torch.random.fork_rng(devices):
                replay, (losses, gradients) = capture(run)
        except RuntimeError as error:
            # The cause is the error's context: ending a recording fails because something in it failed. The cause gets
            # no local name, because that would keep this frame, and with it the graph, alive in its traceback.
            warnings.warn(f"{REFUSAL}, which is slower: {error.__context__ or error}", stacklevel=3)
            return None
        finally:
            with torch.no_grad():
                for buffer, value in zip(model.buffers(), before, strict=True):
                    buffer.copy_(value)
        return Recording(replay, recorded_batch, losses, gradients)


def capture(function: Callable[[], Result]) -> tuple[Callable[[], None], Result]:
    """Record what `function` does on the GPU; return a function that replays it, and the results.

    Each replay writes new values into the tensors of the results.
    """
    current, recording = torch.cuda.current_stream(), _recording_stream()
    recording.wait_stream(current)
    try:
        with torch.cuda.stream(recording):
            for _ in range(WARM_UPS):
                function()
    finally:
        current.wait_stream(recording)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.stream(current), torch.cuda.graph(graph, stream=recording):  # the first restores it after an error
        results = function()
    return graph.replay, results


@functools.cache
def _recording_stream() -> torch.cuda.Stream:
    """Return one stream for all recordings, because libraries reserve memory per stream and never release it."""
    return torch.cuda.Stream()

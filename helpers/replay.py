"""Training steps that a GPU replays: recorded once as a CUDA graph, then started as one.

The workbook's networks are small. A GPU is done with a step before Python has told it what to compute, one kernel after
the other; a graph is told once.

Source: https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

Losses = Callable[[nn.Module, Any], dict[str, Tensor]]
"""Maps a network and a batch to scalar losses; the one named "loss" is minimised."""


class ReplayedLosses:
    """Takes the place of `losses` in the training of one network: records the first batch of every shape.

    Law: losses, gradients, running statistics and random numbers are those of `losses`; recording leaves no trace.

    Args:
        losses: starts the same kernels for any two batches of equal shapes, whatever their values, and asks for none of
            their results. Its batches are named tuples of tensors on the GPU.
    """

    def __init__(self, losses: Losses) -> None:
        self._losses = losses
        self._steps: dict[tuple[torch.Size, ...], nn.Module] = {}

    def __call__(self, model: nn.Module, batch: tuple[Tensor, ...]) -> dict[str, Tensor]:
        """Returns the losses of `batch`; their backward pass is replayed too."""
        shapes = tuple(column.shape for column in batch)
        if shapes not in self._steps:
            self._steps[shapes] = self._record(model, batch)
        # The graph writes its results to the same place every time: who keeps them must keep copies.
        return {name: value.clone() for name, value in self._steps[shapes](*batch).items()}

    def _record(self, model: nn.Module, batch: tuple[Tensor, ...]) -> nn.Module:
        """Returns the step of `batch`, recorded. It is run a few times for that, which must not train anything."""
        step = _Step(model, self._losses, type(batch))
        before = [buffer.clone() for buffer in model.buffers()]
        devices = [batch[0].device] if batch[0].is_cuda else []
        try:
            with torch.random.fork_rng(devices):
                samples = tuple(column.clone() for column in batch)  # later batches are copied into these
                return torch.cuda.make_graphed_callables(step, samples, allow_unused_input=True)
        except RuntimeError as error:
            warnings.warn(
                f"this GPU cannot record the training step, which costs time and nothing else: {error}", stacklevel=2
            )
            return step
        finally:
            with torch.no_grad():
                for buffer, value in zip(model.buffers(), before, strict=True):
                    buffer.copy_(value)


class _Step(nn.Module):
    """Losses as a module of the batch's columns, which owns what is trained: the form that can be recorded."""

    def __init__(self, model: nn.Module, losses: Losses, kind: type) -> None:
        super().__init__()
        self.model = model
        self.losses = losses
        self.kind = kind

    def forward(self, *columns: Tensor) -> dict[str, Tensor]:
        losses = self.losses(self.model, self.kind(*columns))
        return {name: value if name == "loss" else value.detach() for name, value in losses.items()}

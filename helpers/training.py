"""Training: one loop for every model, with progress, history and checkpoints.

An epoch is a pure function of the state before it and of (seed, epoch). A run that was killed in the middle of an epoch
repeats that epoch, and ends with exactly the weights of a run that was never killed.
"""

from __future__ import annotations

import hashlib
import math
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from helpers import paths, runtime
from helpers.checkpoints import Checkpoints, Row
from helpers.cuda_graphs import ReplayedStep, Step
from helpers.identity import Identity

Network = TypeVar("Network", bound=nn.Module)
TaskNetwork = TypeVar("TaskNetwork", bound=nn.Module, contravariant=True)
AnyRecipe = TypeVar("AnyRecipe", bound="HasTraining")
Result = TypeVar("Result")


@dataclass(frozen=True)
class TrainingConfig:
    """Optimizer, schedule and length of a training."""

    epochs: int
    batch_size: int
    optimizer: Literal["sgd", "adam", "adamw"] = "sgd"
    learning_rate: float = 1e-3  # the largest of the schedule
    momentum: float = 0.9  # of SGD
    weight_decay: float = 0.0
    schedule: Literal["constant", "cosine", "one-cycle"] = "constant"
    seed: int = 0


@runtime_checkable
class HasTraining(Protocol):
    """A recipe: a frozen dataclass with the configuration of its training."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def training(self) -> TrainingConfig:
        """Return the configuration of the training."""
        ...


@runtime_checkable
class Batches(Protocol):
    """The batches of one epoch: their number is known before the first is made."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Any]: ...


@runtime_checkable
class Task(Protocol[TaskNetwork]):
    """Task of a training: batches, losses, and the measure that selects an epoch."""

    monitor: str  # the column of the history that selects the best epoch; larger is better
    replayable: bool  # whether `losses` and their gradients are a step that `ReplayedStep` can record

    def batches(self, epoch: int, batch_size: int, generator: torch.Generator) -> Batches:
        """Return the epoch's batches, which depend on `epoch` and `generator` alone."""
        ...

    def losses(self, model: TaskNetwork, batch: Any) -> dict[str, Tensor]:
        """Return scalar losses; the one named "loss" is minimised."""
        ...

    def validate(self, model: TaskNetwork) -> Row:
        """Return measures of `model` on data that is neither trained on nor reported."""
        ...


def train(
    model: Network,
    task: Task[Network],
    config: TrainingConfig,
    folder: Path,
    *,
    identity: Identity,
    on_epoch_end: Callable[[Row, Network], None] | None = None,
) -> list[Row]:
    """Train `model` in place and return the history; the model ends with the weights of the best epoch.

    The state is kept in `folder` (see `helpers.checkpoints`). A repeated call resumes an interrupted run and loads a
    finished one. On a GPU the steps are recorded and replayed, if the task allows it.

    Args:
        identity: everything else that decides the result (data, loss, recipe) as JSON values. A checkpoint of another
            identity is refused.
        on_epoch_end: called after each epoch with its row and the model; again if a stopped run repeats the epoch.

    Raises:
        CheckpointError: `folder` holds another run, or a damaged or incomplete one.
        FloatingPointError: a training loss, or the measure that selects the epoch, is not finite.
        ValueError: there is no epoch or no batch to train on.
    """
    if config.epochs < 1:
        raise ValueError(f"epochs is {config.epochs}: a training takes at least one")
    step = choose_step(task, next(model.parameters()).device)
    optimizer = build_optimizer(model, config)
    with Checkpoints(folder, {"training": asdict(config), **identity}, config.epochs, task.monitor) as checkpoints:
        history = checkpoints.resume(model, optimizer)
        epochs = range(len(history) + 1, config.epochs + 1)
        bar = tqdm(
            epochs, desc=folder.name, initial=len(history), total=config.epochs, unit="epoch", disable=not epochs
        )
        for epoch in bar:
            row = run_epoch(model, task, step, optimizer, config, epoch)
            history.append(row)
            bar.set_postfix({"loss": f"{row['loss']:.3f}", task.monitor: f"{row[task.monitor]:.3f}"})
            if on_epoch_end is not None:  # before the epoch is saved: after a kill in between, both are repeated
                on_epoch_end(row, model)
            checkpoints.note(model, optimizer, history)
        model.zero_grad(set_to_none=True)  # gradients of a replayed step keep its memory
        model.eval()
        return checkpoints.finish(model, history)


def run_epoch(
    model: Network,
    task: Task[Network],
    step: Step[Network],
    optimizer: torch.optim.Optimizer,
    config: TrainingConfig,
    epoch: int,
) -> Row:
    """Train `model` for one epoch and return its row of the history; the model ends in evaluation mode.

    Raises:
        FloatingPointError: a training loss, or the measure that selects the epoch, is not finite.
    """
    start = time.perf_counter()
    epoch_seed = config.seed * 1_000_003 + epoch
    torch.manual_seed(epoch_seed)
    batches = task.batches(epoch, config.batch_size, torch.Generator().manual_seed(epoch_seed))
    row: Row = {"epoch": epoch, **train_epoch(model, batches, step, optimizer, config, epoch)}
    model.eval()
    row |= task.validate(model)
    if not math.isfinite(row[task.monitor]):
        raise FloatingPointError(f"{task.monitor} became {row[task.monitor]} in epoch {epoch}: it selects no epoch")
    row["seconds"] = round(time.perf_counter() - start, 2)
    return row


def choose_step(task: Task[Network], device: torch.device) -> Step[Network]:
    """Return the training step for a network on `device`: recorded on a GPU, if the task allows it."""
    step = partial(compute_gradients, task.losses)
    return ReplayedStep(step) if device.type == "cuda" and task.replayable else step


def compute_gradients(
    losses: Callable[[Network, Any], dict[str, Tensor]], model: Network, batch: Any
) -> dict[str, Tensor]:
    """Return the losses of `batch`, detached, and leave the gradients of "loss" in the parameters."""
    with runtime.autocast(next(model.parameters()).device):
        batch_losses = losses(model, batch)
    model.zero_grad(set_to_none=True)
    batch_losses["loss"].backward()
    return {name: value.detach() for name, value in batch_losses.items()}


def train_variants(
    variants: Mapping[str, AnyRecipe], num_seeds: int, folder: Path, train_recipe: Callable[[AnyRecipe, Path], Result]
) -> dict[str, list[Result]]:
    """Train every variant from the seeds 0, 1, … and return the results of `train_recipe(recipe, folder)`.

    Each run has a separate folder below `folder`. `train` loads finished runs, so a stopped comparison is resumed.
    """
    return {
        name: [
            train_recipe(
                replace(recipe, training=replace(recipe.training, seed=seed)), folder / variant_folder(name, seed)
            )
            for seed in range(num_seeds)
        ]
        for name, recipe in variants.items()
    }


def lesson_recipe(recipe: AnyRecipe, run: runtime.Run, quick_epochs: int) -> AnyRecipe:
    """Return `recipe` with the seed of `run` and the epochs of its profile: 1, `quick_epochs`, or the recipe's own."""
    epochs = run.budget(smoke=1, quick=quick_epochs, full=recipe.training.epochs)
    return replace(recipe, training=replace(recipe.training, epochs=epochs, seed=run.seed))


def lesson_folder(lesson: str, name: str, run: runtime.Run) -> Path:
    """Return `data/runs/<lesson>/<profile>/<name>_seed<seed>`: the folder of a model that several lessons load.

    Args:
        lesson: stem of the notebook that trains the model; `run` may be of another lesson.
        name: name of the model.
    """
    return paths.RUNS / lesson / run.profile / variant_folder(name, run.seed)


def variant_folder(variant: str, seed: int) -> str:
    """Return the name of the folder for `variant`, trained from `seed`, in characters that any file system accepts.

    Raises:
        ValueError: the variant's name has no such characters.
    """
    name = re.sub(r"[^a-z0-9]+", "_", variant.lower()).strip("_")
    if not name:
        raise ValueError(f"{variant!r} names no folder: use some Latin letters or digits")
    return f"{name}_seed{seed}"


def fingerprint(columns: Iterable[Tensor]) -> str:
    """Return 16 hexadecimal digits that stand for the bytes of `columns` in the identity of a run."""
    digest = hashlib.blake2b(digest_size=8)
    for column in columns:
        digest.update(column.cpu().contiguous().numpy().data)
    return digest.hexdigest()


def train_epoch(
    model: Network,
    batches: Batches,
    step: Step[Network],
    optimizer: torch.optim.Optimizer,
    config: TrainingConfig,
    epoch: int = 1,
) -> Row:
    """Train on every batch once and return the mean of each loss.

    Losses stay on the device until the end of the epoch, because reading a number makes a GPU wait.

    Raises:
        FloatingPointError: the mean of the training loss is not finite.
        ValueError: there is no batch.
    """
    if not len(batches):
        raise ValueError("there is no batch to train on: the training set is empty")
    model.train()
    batch_losses: list[dict[str, Tensor]] = []
    for number, batch in enumerate(tqdm(batches, desc=f"epoch {epoch}", leave=False, unit="step")):
        progress = (epoch - 1 + number / len(batches)) / config.epochs
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * learning_rate_factor(config.schedule, progress)
        batch_losses.append(step(model, batch))
        optimizer.step()
    names = batch_losses[0]
    means = {name: torch.stack([losses[name] for losses in batch_losses]).double().mean().item() for name in names}
    if not math.isfinite(means["loss"]):
        raise FloatingPointError(
            f"the training loss became {means['loss']} in epoch {epoch}: lower the learning rate {config.learning_rate}"
        )
    return means


def build_optimizer(model: nn.Module, config: TrainingConfig) -> torch.optim.Optimizer:
    """Return the optimizer of `config`; weight decay acts on kernels only, not on biases and normalisation.

    Raises:
        ValueError: the optimizer is not one of those of `TrainingConfig`.
    """
    kernels = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    vectors = [parameter for parameter in model.parameters() if parameter.ndim <= 1]
    groups = [{"params": kernels, "weight_decay": config.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    match config.optimizer:
        case "sgd":
            return torch.optim.SGD(groups, lr=config.learning_rate, momentum=config.momentum, fused=True)
        case "adam":
            return torch.optim.Adam(groups, lr=config.learning_rate, fused=True)
        case "adamw":
            return torch.optim.AdamW(groups, lr=config.learning_rate, fused=True)
        case _:
            raise ValueError(f"optimizer {config.optimizer!r} is none of sgd, adam, adamw")


def learning_rate_factor(schedule: str, progress: float) -> float:
    """Return the learning rate at `progress` in 0..1 as a share of its largest value.

    "cosine" falls along a half cosine to 0.01 (Loshchilov and Hutter 2017). "one-cycle" rises linearly from 0.04 over
    the first fifth and falls along a half cosine to zero (Smith and Topin 2019).

    Raises:
        ValueError: the schedule is not one of those of `TrainingConfig`.
    """
    warm_up = 0.2
    match schedule:
        case "constant":
            return 1.0
        case "cosine":
            return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
        case "one-cycle" if progress < warm_up:
            return 0.04 + 0.96 * progress / warm_up
        case "one-cycle":
            return 0.5 * (1 + math.cos(math.pi * min(1.0, (progress - warm_up) / (1 - warm_up))))
        case _:
            raise ValueError(f"schedule {schedule!r} is none of constant, cosine, one-cycle")

"""One training loop for every model: progress, history, checkpoints, and going on where a killed run stopped.

An epoch is a pure function of the state before it and of (seed, epoch), so a run that was killed in the middle of an
epoch repeats that epoch and ends with the very weights of a run that was never killed.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from helpers import files, runtime
from helpers.cuda_graphs import ReplayedStep, Step

LAST, BEST, LOG = "last.pth", "best_model.pth", "training_log.json"
FORMAT = "localisation-workbook checkpoint 1"
SAVING_SHARE = 0.05
"""Of the time that training takes: what saving may. Epochs shorter than twenty savings share one."""

R = TypeVar("R")  # a wing's recipe, a frozen dataclass whose field `training` is a TrainingConfig
T = TypeVar("T")  # what a recipe becomes

Row = dict[str, float]
"""One epoch of a history: its number, its seconds, the mean training losses and what `validate` measured."""


@dataclass(frozen=True)
class TrainingConfig:
    """How a network is trained; what it is trained on is the task's own config."""

    epochs: int
    batch_size: int
    optimizer: Literal["sgd", "adam", "adamw"] = "sgd"
    learning_rate: float = 1e-3  # the highest of the schedule
    momentum: float = 0.9  # of SGD
    weight_decay: float = 0.0
    schedule: Literal["constant", "cosine", "one-cycle"] = "constant"
    seed: int = 0


@runtime_checkable
class Batches(Protocol):
    """An epoch's batches: their number is known, and each is made when it is asked for."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Any]: ...


@runtime_checkable
class Task(Protocol):
    """What a wing brings to the loop: batches, losses and a measure of quality."""

    monitor: str  # the column of the history that selects the best epoch; larger is better
    replayable: bool  # whether `losses` and their gradients are a step that `ReplayedStep` can record

    def batches(self, epoch: int, batch_size: int, generator: torch.Generator) -> Batches:
        """Returns the epoch's batches, which depend on `epoch` and `generator` alone."""

    def losses(self, model: nn.Module, batch: Any) -> dict[str, Tensor]:
        """Returns scalar losses; the one named "loss" is minimised."""

    def validate(self, model: nn.Module) -> Row:
        """Returns measures of `model` on data that is neither trained on nor reported."""


class CheckpointError(RuntimeError):
    """A checkpoint that is not this run's: truncated, foreign, or made with other settings."""


def train(
    model: nn.Module,
    task: Task,
    config: TrainingConfig,
    folder: Path,
    *,
    settings: dict[str, Any],
    on_epoch_end: Callable[[Row, nn.Module], None] | None = None,
) -> list[Row]:
    """Returns the history of training `model` in place; it ends with the weights of the best epoch.

    Writes into `folder`, each file whole or not at all: `training_log.json` (the history so far), `best_model.pth`
    (weights of the best epoch) and `last.pth` (everything needed to go on); the last two after every epoch, or more
    rarely where that would take too long a time (`SAVING_SHARE`). Called again after an interruption it goes on; called
    again after the end it loads. On a GPU the steps are replayed, if the task allows it.

    Args:
        settings: whatever else decides the result (data, loss, recipe) as plain JSON values. A checkpoint made with
            other settings is refused.
        on_epoch_end: sees each finished epoch's row and the model as it is then.

    Raises:
        CheckpointError: `folder` holds a checkpoint of another run, or a damaged one.
        FloatingPointError: a training loss, or the measure that selects the epoch, is not finite.
        ValueError: there is no epoch or no batch to train on.
    """
    if config.epochs < 1:
        raise ValueError(f"epochs is {config.epochs}: a training takes at least one")
    settings = json.loads(json.dumps({"training": asdict(config), **settings}))
    device = next(model.parameters()).device
    optimizer = build_optimizer(model, config)
    history: list[Row] = []

    folder.mkdir(parents=True, exist_ok=True)
    for leftover in folder.glob(".*.partial"):  # of a killed run
        leftover.unlink()
    if (folder / LAST).exists():
        state = read_checkpoint(folder / LAST, settings, device)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        history = state["history"]
        write_log(folder / LOG, settings, history)

    step = choose_step(task, device)
    best = None  # what `BEST` has yet to hold
    saved, saving = time.perf_counter(), 0.0  # when, and how long it took
    epochs = range(len(history) + 1, config.epochs + 1)
    bar = tqdm(epochs, desc=folder.name, initial=len(history), total=config.epochs, unit="epoch", disable=not epochs)
    for epoch in bar:
        started = time.perf_counter()
        epoch_seed = config.seed * 1_000_003 + epoch
        torch.manual_seed(epoch_seed)
        batches = task.batches(epoch, config.batch_size, torch.Generator().manual_seed(epoch_seed))
        row: Row = {"epoch": epoch, **train_epoch(model, batches, step, optimizer, config, epoch)}
        model.eval()
        row |= task.validate(model)
        if not math.isfinite(row[task.monitor]):
            raise FloatingPointError(f"{task.monitor} became {row[task.monitor]} in epoch {epoch}: it selects no epoch")
        row["seconds"] = round(time.perf_counter() - started, 2)
        history.append(row)
        bar.set_postfix({"loss": f"{row['loss']:.3f}", task.monitor: f"{row[task.monitor]:.3f}"})
        if row[task.monitor] >= max(earlier[task.monitor] for earlier in history):
            best = {"model": {name: value.clone() for name, value in model.state_dict().items()}, "epoch": epoch}
        # The order of the three writes makes every moment safe: whatever a kill leaves newer than LAST is written
        # again, with the same content, when the epochs since then are repeated.
        now = time.perf_counter()
        is_due = epoch == config.epochs or saving <= SAVING_SHARE * (now - saved)
        if is_due and best is not None:
            write_checkpoint(folder / BEST, settings, best)
            best = None
        write_log(folder / LOG, settings, history)
        if is_due:
            state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "history": history}
            write_checkpoint(folder / LAST, settings, state)
            saved = time.perf_counter()
            saving = saved - now
        if on_epoch_end is not None:
            on_epoch_end(row, model)
    model.zero_grad(set_to_none=True)  # gradients of a replayed step keep its memory
    model.load_state_dict(read_checkpoint(folder / BEST, settings, device)["model"])
    model.eval()
    return history


def choose_step(task: Task, device: torch.device) -> Step:
    """Returns the step that trains one network on `device`: a GPU replays it, if the task allows that."""
    step = partial(compute_gradients, task.losses)
    return ReplayedStep(step) if device.type == "cuda" and task.replayable else step


def compute_gradients(
    losses: Callable[[nn.Module, Any], dict[str, Tensor]], model: nn.Module, batch: Any
) -> dict[str, Tensor]:
    """Returns the losses of `batch` without their history, and leaves the gradients of "loss" in the parameters."""
    with runtime.autocast(next(model.parameters()).device):
        found = losses(model, batch)
    model.zero_grad(set_to_none=True)
    found["loss"].backward()
    return {name: value.detach() for name, value in found.items()}


def train_variants(
    variants: Mapping[str, R], num_seeds: int, folder: Path, train_one: Callable[[R, Path], T]
) -> dict[str, list[T]]:
    """Returns what `train_one(recipe, folder)` makes of each variant from the seeds 0, 1, …: the same for all.

    What `folder` holds already is loaded by `train`, so a stopped comparison goes on where it was.
    """
    return {
        name: [
            train_one(
                replace(recipe, training=replace(recipe.training, seed=seed)), folder / variant_folder(name, seed)
            )
            for seed in range(num_seeds)
        ]
        for name, recipe in variants.items()
    }


def variant_folder(variant: str, seed: int) -> str:
    """Returns the name of the folder for `variant`, trained from `seed`: its name in words, in letters for any disk.

    Raises:
        ValueError: nothing would be left of the name.
    """
    name = re.sub(r"[^a-z0-9]+", "_", variant.lower()).strip("_")
    if not name:
        raise ValueError(f"{variant!r} names no folder: use some Latin letters or digits")
    return f"{name}_seed{seed}"


def fingerprint(columns: Iterable[Tensor]) -> str:
    """Returns 16 hexadecimal digits that stand for the bytes of `columns`: data that differs is another run's."""
    digest = hashlib.blake2b(digest_size=8)
    for column in columns:
        digest.update(column.cpu().contiguous().numpy())
    return digest.hexdigest()


def train_epoch(
    model: nn.Module,
    batches: Batches,
    step: Step,
    optimizer: torch.optim.Optimizer,
    config: TrainingConfig,
    epoch: int = 1,
) -> Row:
    """Returns the mean of every loss over one pass through `batches`, having stepped the optimizer for each.

    Losses stay on the device until the end of the epoch: reading one earlier would make a GPU wait.
    """
    if not len(batches):
        raise ValueError("there is no batch to train on: the training set is empty")
    model.train()
    seen: list[dict[str, Tensor]] = []
    for number, batch in enumerate(tqdm(batches, desc=f"epoch {epoch}", leave=False, unit="step")):
        progress = (epoch - 1 + number / len(batches)) / config.epochs
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * learning_rate_factor(config.schedule, progress)
        seen.append(step(model, batch))
        optimizer.step()
    means = {name: torch.stack([losses[name] for losses in seen]).double().mean().item() for name in seen[0]}
    if not math.isfinite(means["loss"]):
        raise FloatingPointError(
            f"the training loss became {means['loss']} in epoch {epoch}: lower the learning rate {config.learning_rate}"
        )
    return means


def build_optimizer(model: nn.Module, config: TrainingConfig) -> torch.optim.Optimizer:
    """Returns the optimizer of `config`; weight decay acts on kernels only, not on biases and normalisation.

    Raises:
        ValueError: the optimizer is not one of those of `TrainingConfig`.
    """
    kernels = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    others = [parameter for parameter in model.parameters() if parameter.ndim <= 1]
    groups = [{"params": kernels, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}]
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
    """Returns the share of the highest learning rate at `progress` in 0..1.

    "cosine" falls along a half cosine to a hundredth (Loshchilov and Hutter 2017). "one-cycle" climbs linearly over the
    first fifth and falls along a half cosine to zero (Smith and Topin 2019).
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


def write_log(path: Path, settings: dict[str, Any], history: list[Row]) -> None:
    """Writes `training_log.json`: the settings, and the history with one row per epoch."""
    files.write_text(path, json.dumps({"settings": settings, "history": history}, indent=2) + "\n")


def read_log(path: Path) -> list[Row]:
    """Returns the history in `training_log.json`; it grows while a run is under way."""
    return json.loads(path.read_text(encoding="utf-8"))["history"]


def write_checkpoint(path: Path, settings: dict[str, Any], state: dict[str, Any]) -> None:
    """Writes `state` (tensors and plain values) with the settings that made it."""
    with files.replace_when_complete(path) as partial:
        torch.save({"format": FORMAT, "settings": settings, **state}, partial)


def read_checkpoint(path: Path, settings: dict[str, Any], device: torch.device) -> dict[str, Any]:
    """Returns the state in `path` if it is whole and was made with `settings`.

    Raises:
        CheckpointError: names the file, what is wrong with it, and the remedy.
    """
    remedy = f"delete the folder {path.parent} to train anew, or train into another one"
    try:
        state = torch.load(path, map_location=device, weights_only=True)
    except Exception as error:  # torch.load raises a dozen kinds for a damaged or foreign file
        raise CheckpointError(f"{path} is truncated or not a checkpoint ({type(error).__name__}); {remedy}") from error
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise CheckpointError(f"{path} was not written by this workbook (expected format {FORMAT!r}); {remedy}")
    differences = list(_differences(state["settings"], settings))
    if differences:
        raise CheckpointError(f"{path} was made with other settings: {'; '.join(differences)}; {remedy}")
    return state


def _differences(found: Any, expected: Any, name: str = "") -> Iterable[str]:
    """Yields a line for every setting, however deep, in which a checkpoint and this run differ."""
    if isinstance(found, dict) and isinstance(expected, dict):
        for key in sorted(found.keys() | expected.keys()):
            yield from _differences(found.get(key), expected.get(key), f"{name}.{key}" if name else key)
    elif found != expected:
        yield f"{name} is {found!r} there and {expected!r} here"

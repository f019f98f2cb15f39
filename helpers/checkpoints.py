"""Checkpoints: the state of a training run on disk, each file whole or absent, from which a killed run is resumed.

A folder holds one run:

    best_model.pth      weights of the best epoch
    training_log.json   identity of the run and its history so far, to be read while it is under way
    last.pth            everything needed to resume: weights, optimizer state, history
    .lock               held by the process that trains in the folder

Both .pth files are torch archives (`torch.load(path, weights_only=True)` reads them) followed by one line with the
format and the digest of all bytes before it, so any flipped bit is noticed.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import math
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from helpers import files
from helpers import identity as identities
from helpers.identity import Identity

LAST, BEST, LOG, LOCK = "last.pth", "best_model.pth", "training_log.json", ".lock"
SAVE_EVERY = 20.0  # seconds; a killed run repeats at most these and the epoch under way

REMEDY = "train into another folder, or move this one away"
FORMAT = b"\nlocalisation-workbook checkpoint 2 blake2b "
_DIGEST_BYTES = 32
_FOOTER_LENGTH = len(FORMAT) + 2 * _DIGEST_BYTES + 1  # the format, the digest in hexadecimal digits, a line's end

State = dict[str, Any]
"""Tensors and plain values by name."""
Row = dict[str, float]
"""One epoch of a history: its number, its seconds, the mean training losses and what `validate` measured."""


class CheckpointError(RuntimeError):
    """A checkpoint that is not this run's: damaged, incomplete, foreign, or made with another identity."""


class Checkpoints:
    """The resumable state of one training run in `folder`.

    Used in a `with` statement: from `resume` to the end of the statement no other process trains in the folder. A
    process that comes second waits there, and then loads what the first has made. A finished run is loaded without
    writing anything, so the disk may be read-only.

    Args:
        identity: everything that decides the result, as JSON values.
        epochs: length of the whole run.
        monitor: the column of the history that selects the best epoch: the largest value, the latest of equal ones.
    """

    def __init__(self, folder: Path, identity: Identity, epochs: int, monitor: str) -> None:
        self._folder = folder
        self._identity = identities.normalise(identity)
        self._epochs = epochs
        self._monitor = monitor
        self._unsaved_best: State | None = None
        self._last_save = time.monotonic()
        self._lock = contextlib.ExitStack()

    def __enter__(self) -> Checkpoints:
        """Return these checkpoints; the lock is taken by `resume`."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Free the folder for other processes."""
        self._lock.close()

    def resume(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> list[Row]:
        """Return the history of the saved epochs, and put their state into `model` and `optimizer`.

        Without a saved state the history is empty, and both are left as they are.

        Raises:
            CheckpointError: the folder holds a run of another identity, or a damaged or incomplete one.
        """
        device = next(model.parameters()).device
        state = self._read_last(device)
        history = [] if state is None else state["history"]
        if len(history) < self._epochs:
            waiting = f"{self._folder}: another process trains in this folder; waiting until it has ended"
            self._lock.enter_context(files.hold_lock(self._folder / LOCK, waiting))
            self._remove_leftovers()
            state = self._read_last(device)  # the other process may have written it meanwhile
            history = [] if state is None else state["history"]
            self._check_best(history, device)
        if state is not None:
            path = self._folder / LAST
            _load_weights(model, state["model"], path)
            try:
                optimizer.load_state_dict(state["optimizer"])
            except Exception as error:  # PyTorch raises many kinds for a state of another optimizer
                raise CheckpointError(f"{path} holds the state of another optimizer ({error}); {REMEDY}") from error
            if len(history) < self._epochs:
                write_log(self._folder / LOG, self._identity, history)
        self._last_save = time.monotonic()
        return history

    def note(self, model: nn.Module, optimizer: torch.optim.Optimizer, history: list[Row]) -> None:
        """Write the log, and every `SAVE_EVERY` seconds and after the last epoch the state.

        The order of the three writes makes a kill safe at every moment: whatever is newer than `LAST` is written again,
        with the same content, when the epochs since then are repeated.
        """
        epoch = len(history)
        if find_best_epoch(history, self._monitor) == epoch:
            weights = {name: value.clone() for name, value in model.state_dict().items()}
            self._unsaved_best = {"model": weights, "epoch": epoch}
        is_due = epoch == self._epochs or time.monotonic() - self._last_save >= SAVE_EVERY
        if is_due and self._unsaved_best is not None:
            write_checkpoint(self._folder / BEST, self._identity, self._unsaved_best)
            self._unsaved_best = None
        write_log(self._folder / LOG, self._identity, history)
        if is_due:
            state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "history": history}
            write_checkpoint(self._folder / LAST, self._identity, state)
            self._last_save = time.monotonic()

    def finish(self, model: nn.Module, history: list[Row]) -> list[Row]:
        """Return the history, and put the weights of its best epoch into `model`.

        Raises:
            CheckpointError: `BEST` is missing, damaged, or of another epoch than the best one.
        """
        path = self._folder / BEST
        state = read_checkpoint(path, self._identity, next(model.parameters()).device, {"model", "epoch"})
        self._check_epoch(state, history)
        _load_weights(model, state["model"], path)
        return history

    def _read_last(self, device: torch.device) -> State | None:
        """Return the state in `LAST`, checked, or `None` where there is no such file."""
        path = self._folder / LAST
        if not path.exists():
            return None
        state = read_checkpoint(path, self._identity, device, {"model", "optimizer", "history"})
        problem = _find_problem(state["history"], self._monitor)
        if not problem and len(state["history"]) > self._epochs:
            problem = f"it has {len(state['history'])} of {self._epochs} epochs"
        if problem:
            raise CheckpointError(f"{path} holds a damaged history: {problem}; {REMEDY}")
        return state

    def _check_best(self, history: list[Row], device: torch.device) -> None:
        """Check that `BEST` can be of the run with this history.

        A run that was killed between two files has a `BEST` that is newer than `LAST`.

        Raises:
            CheckpointError: it is missing, damaged, or of an epoch that was not the best.
        """
        if history or (self._folder / BEST).exists():
            state = read_checkpoint(self._folder / BEST, self._identity, device, {"model", "epoch"})
            if state["epoch"] not in range(len(history) + 1, self._epochs + 1):
                self._check_epoch(state, history)

    def _check_epoch(self, state: State, history: list[Row]) -> None:
        """Raise a `CheckpointError` unless `state`, read from `BEST`, is of the best epoch of `history`."""
        best_epoch = find_best_epoch(history, self._monitor) if history else None
        if state["epoch"] != best_epoch:
            raise CheckpointError(
                f"{self._folder / BEST} holds the weights of epoch {state['epoch']!r:.20}, but by {LAST} the best "
                f"epoch is {best_epoch}: the two files are of different runs; {REMEDY}"
            )

    def _remove_leftovers(self) -> None:
        """Remove the partial files of killed runs; the lock is held, so no living process writes these three files."""
        for name in (LAST, BEST, LOG):
            for partial in self._folder.glob(f".{name}.*.partial"):
                partial.unlink(missing_ok=True)


def find_best_epoch(history: list[Row], monitor: str) -> int:
    """Return the number of the epoch with the largest value of `monitor`, the latest of equal ones."""
    return int(max(history, key=lambda row: (row[monitor], row["epoch"]))["epoch"])


def write_log(path: Path, identity: Identity, history: list[Row]) -> None:
    """Write `training_log.json`: the identity of the run, and the history with one row per epoch."""
    files.write_text(path, json.dumps({"identity": identity, "history": history}, indent=2) + "\n")


def read_log(path: Path) -> list[Row]:
    """Return the history in `training_log.json`; it grows while a run is under way.

    Raises:
        CheckpointError: the file is missing, truncated or not a training log.
    """
    _refuse_device(path)
    try:
        history = json.loads(path.read_text(encoding="utf-8"))["history"]
    except FileNotFoundError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}; train into its folder first") from error
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}; {REMEDY}") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise CheckpointError(
            f"{path} is truncated or not a training log ({type(error).__name__}); {REMEDY}"
        ) from error
    if problem := _find_problem(history):
        raise CheckpointError(f"{path} holds a damaged history: {problem}; {REMEDY}")
    return history


def write_checkpoint(path: Path, identity: Identity, state: State) -> None:
    """Write `state` with the identity that made it and the digest of both.

    Raises:
        OSError: the file cannot be written; the error names `path`, and a full disk as the reason.
    """
    buffer = io.BytesIO()  # torch's own writer has no plain message for a full disk
    torch.save({"identity": identity, **state}, buffer)
    archive = buffer.getbuffer()
    with files.replace_when_complete(path) as partial, open(partial, "wb") as file:
        file.write(archive)
        file.write(FORMAT + _compute_digest(archive) + b"\n")


def read_checkpoint(path: Path, identity: Identity, device: torch.device, names: set[str]) -> State:
    """Return the state in `path` if it is undamaged, made with `identity`, and holds the values called `names`.

    Raises:
        CheckpointError: names the file, what is wrong with it, and the remedy.
    """
    _refuse_device(path)
    try:
        content = memoryview(path.read_bytes())
    except FileNotFoundError as error:
        raise CheckpointError(f"{path} is missing, although other files of its run are there; {REMEDY}") from error
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}; {REMEDY}") from error
    archive, footer = content[:-_FOOTER_LENGTH], bytes(content[-_FOOTER_LENGTH:])
    if not footer.startswith(FORMAT):
        raise CheckpointError(
            f"{path} is truncated or not a checkpoint of this version of the workbook: no digest ends it; {REMEDY}"
        )
    if footer != FORMAT + _compute_digest(archive) + b"\n":
        raise CheckpointError(f"{path} is damaged: its digest is not the one it was written with; {REMEDY}")
    try:
        state = torch.load(io.BytesIO(archive), map_location=device, weights_only=True)
    except Exception as error:  # torch.load raises many kinds, for example for a file of a later version of PyTorch
        raise CheckpointError(f"{path} cannot be read by PyTorch ({type(error).__name__}); {REMEDY}") from error
    missing = sorted({"identity", *names} - state.keys()) if isinstance(state, dict) else ["identity"]
    if missing:
        raise CheckpointError(f"{path} is incomplete: it lacks {', '.join(map(repr, missing))}; {REMEDY}")
    try:
        stored = identities.normalise(dict(state["identity"]))
    except (TypeError, ValueError) as error:  # a tensor in the place of a JSON value
        raise CheckpointError(f"{path} holds an identity that is no JSON ({type(error).__name__}); {REMEDY}") from error
    if difference := identities.describe_differences(stored, identity):
        raise CheckpointError(f"{path} was made with other settings: {difference}; {REMEDY}")
    return state


def _refuse_device(path: Path) -> None:
    """Raise a `CheckpointError` for a pipe, a socket or a device: reading one may never end."""
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise CheckpointError(f"{path} cannot be read: it is no regular file; {REMEDY}")


def _compute_digest(archive: memoryview) -> bytes:
    return hashlib.blake2b(archive, digest_size=_DIGEST_BYTES).hexdigest().encode()


def _load_weights(model: nn.Module, weights: Any, path: Path) -> None:
    """Put `weights` into `model` if each name, shape and number format is the model's.

    Raises:
        CheckpointError: names the first weights that differ.
    """
    if difference := identities.describe_differences(_describe_weights(weights), _describe_weights(model.state_dict())):
        raise CheckpointError(f"{path} holds the weights of another network: {difference}; {REMEDY}")
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:  # of a sparse tensor, for example
        reason = " ".join(str(error).split())[:120]
        raise CheckpointError(f"{path} holds weights that cannot be copied ({reason}); {REMEDY}") from error


def _describe_weights(weights: Any) -> Identity:
    """Return shape and number format of each weight in words."""
    if not isinstance(weights, dict):
        return {"weights": type(weights).__name__}
    return {
        str(name): f"{list(value.shape)} {value.dtype}" if isinstance(value, Tensor) else type(value).__name__
        for name, value in weights.items()
    }


def _find_problem(history: Any, monitor: str | None = None) -> str:
    """Return what is wrong with a history that was read back, "" if nothing is."""
    if not isinstance(history, list) or not all(isinstance(row, dict) for row in history):
        return "it is no list of rows"
    for number, row in enumerate(history, start=1):
        if row.get("epoch") != number:
            return f"row {number} is of epoch {row.get('epoch')!r:.20}"
        for name, value in row.items():
            if not isinstance(value, int | float):
                return f"{name!r:.40} of epoch {number} is {value!r:.20}, no number"
        if monitor is not None and monitor not in row:
            return f"epoch {number} lacks {monitor!r}"
        if monitor is not None and not math.isfinite(row[monitor]):
            return f"{monitor!r} of epoch {number} is {row[monitor]}"
    return ""

"""The loop against a plain one, and against kill -9 at every kind of moment."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import nn

from helpers import paths, runtime, training
from helpers.training import CheckpointError, TrainingConfig, fingerprint, learning_rate_factor, train, variant_folder

CONFIG = TrainingConfig(epochs=3, batch_size=4, optimizer="adamw", learning_rate=0.05, weight_decay=0.1, seed=7)


class LineTask:
    """Points on a line: batches in an order drawn from the generator, so that a lost generator state would show."""

    monitor = "agreement"
    replayable = True

    def __init__(self, scores: list[float] | None = None) -> None:
        self.inputs = torch.linspace(-1, 1, 16).unsqueeze(1)
        self.scores = None if scores is None else iter(scores)

    def batches(self, epoch, batch_size, generator):
        return self.inputs[torch.randperm(16, generator=generator)].split(batch_size)

    def losses(self, model, batch):
        error = (model(batch).float() - 3 * batch).square().mean()
        return {"loss": error, "twice": 2 * error}

    def validate(self, model):
        score = next(self.scores) if self.scores else -(model(self.inputs) - 3 * self.inputs).abs().mean().item()
        return {"agreement": score}


def build_network() -> nn.Module:
    """Returns a small network with all that a checkpoint could forget: running statistics and random dropout."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(1, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 1))


def run(folder: Path, config: TrainingConfig = CONFIG, task: LineTask | None = None, **arguments):
    network = build_network()
    history = train(network, task or LineTask(), config, folder, settings={"data": "line"}, **arguments)
    return network, history


def kill_after(count: int, function):
    """Returns `function`, except that this process ends by SIGKILL instead of call number `count`."""
    calls = itertools.count(1)

    def wrapped(*arguments):
        if next(calls) == count:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments)

    return wrapped


ALWAYS, SELDOM = math.inf, -1.0
"""Shares of the time that saving may take: after every epoch, or after the last alone."""


@pytest.mark.parametrize(
    ("moment", "count", "share"),
    [
        pytest.param("step", 3, ALWAYS, id="in the first epoch, before anything is saved"),
        pytest.param("step", 7, ALWAYS, id="in the middle of the second epoch"),
        pytest.param("rename", 1, ALWAYS, id="while the first best model is being saved"),
        pytest.param("rename", 5, ALWAYS, id="between the second best model and its log"),
        pytest.param("rename", 6, ALWAYS, id="between the second log and its checkpoint"),
        pytest.param("rename", 9, ALWAYS, id="while the last checkpoint is being saved"),
        pytest.param("step", 7, SELDOM, id="after an epoch that was logged and not saved"),
        pytest.param("rename", 3, SELDOM, id="between the best model and the last log"),
        pytest.param("rename", 5, SELDOM, id="while the only checkpoint is being saved"),
    ],
)
def test_a_run_killed_with_signal_9_ends_with_the_weights_of_one_that_never_was(tmp_path, moment, count, share):
    _, expected = run(tmp_path / "whole")
    command = [sys.executable, __file__, str(tmp_path / "killed"), moment, str(count), str(share)]
    environment = {**os.environ, "PYTHONPATH": str(paths.ROOT)}
    killed = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr

    _, history = run(tmp_path / "killed")

    for name in (training.LAST, training.BEST):
        whole, resumed = (torch.load(tmp_path / run / name, weights_only=True) for run in ("whole", "killed"))
        assert whole["model"].keys() == resumed["model"].keys()
        assert all(torch.equal(whole["model"][key], resumed["model"][key]) for key in whole["model"])
    assert without_seconds(history) == without_seconds(expected)
    assert without_seconds(training.read_log(tmp_path / "killed" / training.LOG)) == without_seconds(expected)
    assert sorted(path.name for path in (tmp_path / "killed").iterdir()) == sorted(
        (training.BEST, training.LAST, training.LOG)
    )


def without_seconds(history):
    return [{name: value for name, value in row.items() if name != "seconds"} for row in history]


def test_short_epochs_share_a_saving_and_long_ones_do_not(tmp_path, monkeypatch):
    saved = []
    monkeypatch.setattr(training, "write_checkpoint", lambda path, settings, state: saved.append(path.name))
    monkeypatch.setattr(training, "read_checkpoint", lambda *arguments: {"model": build_network().state_dict()})
    for share, expected in ((ALWAYS, 3), (SELDOM, 1)):
        saved.clear()
        monkeypatch.setattr(training, "SAVING_SHARE", share)
        run(tmp_path / str(share), task=LineTask(scores=[0.1, 0.2, 0.3]))
        assert saved == [training.BEST, training.LAST] * expected


def test_a_finished_run_is_loaded_and_not_repeated(tmp_path):
    network, history = run(tmp_path)
    written = (tmp_path / training.LAST).stat().st_mtime_ns
    again, loaded = run(tmp_path, on_epoch_end=lambda row, model: pytest.fail("an epoch was repeated"))
    assert loaded == history
    assert (tmp_path / training.LAST).stat().st_mtime_ns == written
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), again.parameters(), strict=True))


def test_the_model_ends_with_the_weights_of_its_best_epoch(tmp_path):
    weights = {}
    keep = lambda row, model: weights.update({row["epoch"]: model[0].weight.detach().clone()})  # noqa: E731
    network, _ = run(tmp_path, task=LineTask(scores=[0.1, 0.9, 0.5]), on_epoch_end=keep)
    torch.testing.assert_close(network[0].weight, weights[2], rtol=0, atol=0)
    assert not torch.equal(weights[2], weights[3])


def test_the_log_can_be_read_after_every_epoch(tmp_path):
    lengths = []
    run(tmp_path, on_epoch_end=lambda row, model: lengths.append(len(training.read_log(tmp_path / training.LOG))))
    assert lengths == [1, 2, 3]


def test_an_epoch_equals_the_plain_loop_of_a_textbook():
    config = TrainingConfig(epochs=1, batch_size=4, optimizer="sgd", learning_rate=0.1, momentum=0.9)
    ours, plain = nn.Linear(1, 1), nn.Linear(1, 1)
    plain.load_state_dict(ours.state_dict())
    task = LineTask()
    batches = task.batches(1, 4, torch.Generator().manual_seed(0))
    step = training.choose_step(task, torch.device("cpu"))
    row = training.train_epoch(ours, batches, step, training.build_optimizer(ours, config), config)

    optimizer, seen = torch.optim.SGD(plain.parameters(), lr=0.1, momentum=0.9), []
    for batch in batches:
        with runtime.autocast(torch.device("cpu")):
            loss = task.losses(plain, batch)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        seen.append(loss.item())
    torch.testing.assert_close(ours.weight, plain.weight)
    assert row["loss"] == pytest.approx(sum(seen) / 4)
    assert row["twice"] == pytest.approx(2 * row["loss"])


def test_weight_decay_spares_biases_and_normalisation():
    optimizer = training.build_optimizer(build_network(), CONFIG)
    decay = {parameter.ndim: group["weight_decay"] for group in optimizer.param_groups for parameter in group["params"]}
    assert decay == {2: 0.1, 1: 0.0}


def test_one_cycle_starts_low_peaks_after_a_fifth_and_ends_at_zero():
    factors = [learning_rate_factor("one-cycle", step / 100) for step in range(101)]
    assert factors[0] == pytest.approx(0.04)
    assert max(factors) == factors[20] == 1.0
    assert factors[100] == pytest.approx(0.0)
    assert factors[:21] == sorted(factors[:21])
    assert factors[20:] == sorted(factors[20:], reverse=True)
    assert learning_rate_factor("constant", 0.7) == 1.0


def test_cosine_falls_from_the_whole_rate_to_a_hundredth():
    factors = [learning_rate_factor("cosine", step / 100) for step in range(101)]
    assert (factors[0], factors[50], factors[100]) == pytest.approx((1.0, 0.505, 0.01))
    assert factors == sorted(factors, reverse=True)
    assert learning_rate_factor("cosine", 1.01) == pytest.approx(0.01)


def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_epoch(tmp_path):
    task = LineTask()
    task.losses = lambda model, batch: {"loss": model(batch).sum() * float("nan")}
    with pytest.raises(FloatingPointError, match=r"nan in epoch 1: lower the learning rate 0\.05"):
        run(tmp_path, task=task)
    assert not (tmp_path / training.LAST).exists()


def test_a_measure_that_is_no_number_stops_the_run_instead_of_selecting_nothing(tmp_path):
    with pytest.raises(FloatingPointError, match="agreement became nan in epoch 2: it selects no epoch"):
        run(tmp_path, task=LineTask(scores=[0.1, math.nan, 0.5]))


def test_nothing_to_train_on_is_refused_by_name(tmp_path):
    with pytest.raises(ValueError, match="epochs is 0: a training takes at least one"):
        run(tmp_path, dataclasses.replace(CONFIG, epochs=0))
    assert not list(tmp_path.iterdir())
    task = LineTask()
    task.inputs = task.inputs[:0]
    task.batches = lambda epoch, batch_size, generator: []
    with pytest.raises(ValueError, match="no batch to train on: the training set is empty"):
        run(tmp_path, task=task)


def test_an_unknown_schedule_is_refused():
    with pytest.raises(ValueError, match="schedule 'constnat' is none of constant, cosine, one-cycle"):
        learning_rate_factor("constnat", 0.5)


def test_a_checkpoint_of_other_settings_is_refused_by_name(tmp_path):
    run(tmp_path)
    other = TrainingConfig(epochs=3, batch_size=4, optimizer="adamw", learning_rate=0.01, weight_decay=0.1, seed=7)
    with pytest.raises(
        CheckpointError, match=r"last\.pth.*training\.learning_rate is 0\.05 there and 0\.01 here; delete"
    ):
        run(tmp_path, other)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-100]), "is truncated or not a checkpoint"),
        (lambda path: path.write_bytes(b""), "is truncated or not a checkpoint"),
        (lambda path: path.write_text(json.dumps({"epoch": 3})), "is truncated or not a checkpoint"),
        (lambda path: torch.save(build_network(), path), "is truncated or not a checkpoint"),
        (lambda path: torch.save({"model": {}}, path), "was not written by this workbook"),
        (lambda path: torch.save(torch.zeros(3), path), "was not written by this workbook"),
    ],
    ids=["truncated", "empty", "text", "pickle that could run code", "foreign dictionary", "tensor"],
)
def test_a_damaged_or_foreign_checkpoint_is_refused_with_its_name_and_a_remedy(tmp_path, damage, message):
    run(tmp_path)
    damage(tmp_path / training.LAST)
    with pytest.raises(CheckpointError, match=rf"last\.pth {message}.*delete the folder"):
        run(tmp_path)


if __name__ == "__main__":  # the process that is killed
    folder, moment, count = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    training.SAVING_SHARE = float(sys.argv[4])
    task = LineTask()
    if moment == "step":
        task.losses = kill_after(count, task.losses)
    else:
        os.replace = kill_after(count, os.replace)
    run(folder, task=task)


def test_every_variant_is_trained_from_every_seed_in_a_folder_of_its_own(tmp_path):
    @dataclass(frozen=True)
    class LineRecipe:
        training: TrainingConfig
        slope: float

    variants = {"steep, as told": LineRecipe(CONFIG, 3.0), "flat": LineRecipe(CONFIG, 0.1)}
    made = training.train_variants(
        variants, 2, tmp_path, lambda recipe, folder: (recipe.slope, recipe.training.seed, folder.name)
    )
    assert made == {
        "steep, as told": [(3.0, 0, "steep_as_told_seed0"), (3.0, 1, "steep_as_told_seed1")],
        "flat": [(0.1, 0, "flat_seed0"), (0.1, 1, "flat_seed1")],
    }


def test_a_folder_is_named_in_letters_that_every_file_system_takes():
    assert variant_folder("+ AdamW, one cycle (batch 4)", 3) == "adamw_one_cycle_batch_4_seed3"


def test_a_name_of_which_nothing_would_be_left_is_refused():
    with pytest.raises(ValueError, match="'попытка' names no folder: use some Latin letters or digits"):
        variant_folder("попытка", 0)


def test_a_fingerprint_changes_with_one_value_and_not_with_the_memory_order():
    values = torch.arange(6).view(2, 3)
    assert fingerprint([values]) == fingerprint([values.T.contiguous().T])
    assert fingerprint([values]) != fingerprint([values + (values == 5)])

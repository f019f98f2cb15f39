"""Training: the loop against a plain one, schedules, weight decay and variants."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import pytest
import torch
from torch import nn

from helpers import checkpoints, paths, runtime, training
from helpers.training import TrainingConfig, fingerprint, learning_rate_factor, variant_folder
from tests.line import CONFIG, LineTask, build_network, run


def test_an_epoch_equals_the_plain_loop_of_a_textbook():
    config = TrainingConfig(epochs=1, batch_size=4, optimizer="sgd", learning_rate=0.1, momentum=0.9)
    ours, plain = nn.Linear(1, 1), nn.Linear(1, 1)
    plain.load_state_dict(ours.state_dict())
    task = LineTask()
    batches = task.batches(1, 4, torch.Generator().manual_seed(0))
    step = training.choose_step(task, torch.device("cpu"))
    row = training.train_epoch(ours, batches, step, training.build_optimizer(ours, config), config)

    optimizer, losses = torch.optim.SGD(plain.parameters(), lr=0.1, momentum=0.9), []
    for batch in batches:
        with runtime.autocast(torch.device("cpu")):
            loss = task.losses(plain, batch)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    torch.testing.assert_close(ours.weight, plain.weight)
    assert row["loss"] == pytest.approx(sum(losses) / 4)
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
    task.losses = lambda model, batch: {"loss": model(batch.inputs).sum() * float("nan")}
    with pytest.raises(FloatingPointError, match=r"nan in epoch 1: lower the learning rate 0\.05"):
        run(tmp_path, task=task)
    assert not (tmp_path / checkpoints.LAST).exists()


def test_a_measure_that_is_no_number_stops_the_run_instead_of_selecting_nothing(tmp_path):
    with pytest.raises(FloatingPointError, match="agreement became nan in epoch 2: it selects no epoch"):
        run(tmp_path, task=LineTask(scores=[0.1, math.nan, 0.5]))


def test_nothing_to_train_on_is_refused_by_name(tmp_path):
    with pytest.raises(ValueError, match="epochs is 0: a training takes at least one"):
        run(tmp_path, dataclasses.replace(CONFIG, epochs=0))
    assert not list(tmp_path.iterdir())
    task = LineTask()
    task.batches = lambda epoch, batch_size, generator: []
    with pytest.raises(ValueError, match="no batch to train on: the training set is empty"):
        run(tmp_path, task=task)


def test_an_unknown_schedule_is_refused():
    with pytest.raises(ValueError, match="schedule 'constnat' is none of constant, cosine, one-cycle"):
        learning_rate_factor("constnat", 0.5)


@dataclass(frozen=True)
class LineRecipe:
    """A recipe of a line."""

    training: TrainingConfig
    slope: float


def test_every_variant_is_trained_from_every_seed_in_a_separate_folder(tmp_path):
    variants = {"steep, as given": LineRecipe(CONFIG, 3.0), "flat": LineRecipe(CONFIG, 0.1)}
    made = training.train_variants(
        variants, 2, tmp_path, lambda recipe, folder: (recipe.slope, recipe.training.seed, folder.name)
    )
    assert made == {
        "steep, as given": [(3.0, 0, "steep_as_given_seed0"), (3.0, 1, "steep_as_given_seed1")],
        "flat": [(0.1, 0, "flat_seed0"), (0.1, 1, "flat_seed1")],
    }


def test_a_lessons_model_has_the_budget_of_the_profile_and_a_folder_of_the_lesson_that_trains_it(monkeypatch, tmp_path):
    monkeypatch.setattr(paths, "RUNS", tmp_path)
    recipe = LineRecipe(dataclasses.replace(CONFIG, epochs=9), 3.0)
    for profile, epochs in (("smoke", 1), ("quick", 4), ("full", 9)):
        run_of_lesson = runtime.Run("04_other", profile, 6, torch.device("cpu"), tmp_path / "04_other" / profile)
        adapted = training.lesson_recipe(recipe, run_of_lesson, quick_epochs=4)
        assert adapted == LineRecipe(dataclasses.replace(CONFIG, epochs=epochs, seed=6), 3.0)
        folder = training.lesson_folder("03_line", "steep", run_of_lesson)
        assert folder == tmp_path / "03_line" / profile / "steep_seed6"


def test_a_folder_is_named_in_letters_that_every_file_system_takes():
    assert variant_folder("+ AdamW, one cycle (batch 4)", 3) == "adamw_one_cycle_batch_4_seed3"


def test_a_name_without_latin_letters_and_digits_is_refused():
    with pytest.raises(ValueError, match="'попытка' names no folder: use some Latin letters or digits"):
        variant_folder("попытка", 0)


def test_a_fingerprint_changes_with_one_value_and_not_with_the_memory_order():
    values = torch.arange(6).view(2, 3)
    assert fingerprint([values]) == fingerprint([values.T.contiguous().T])
    assert fingerprint([values]) != fingerprint([values + (values == 5)])

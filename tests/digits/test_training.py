"""Training of recipes, and the two files of the assignment from a trained detector."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial

import pytest
import torch

from helpers import checkpoints, paths, runtime, training
from helpers.average_precision import TWELVE
from helpers.digits import training as digit_training
from helpers.digits.anchors import FITTED_ANCHORS, Resize
from helpers.digits.batches import AugmentationConfig
from helpers.digits.dataset import DigitDataset
from helpers.digits.loss import REPORT_SCHEDULE, BoxLossConfig
from helpers.digits.metrics import measure_accuracy, true_numbers
from helpers.digits.model import build_digit_rcnn
from helpers.digits.reading import (
    check_numbers,
    choose_reading,
    read_numbers,
    read_predictions,
    write_numbers,
    write_predictions,
)
from helpers.digits.recipes import QUICK, REPORT, Recipe, vary_anchors
from helpers.digits.training import Task, lesson_model, train
from tests.digits.support import changed_fields, seeded

CPU = torch.device("cpu")
RESIZE = Resize(32, 96)
TINY = replace(
    QUICK,
    training=replace(QUICK.training, epochs=2, batch_size=4),
    model=replace(
        QUICK.model,
        resize=RESIZE,
        anchors=FITTED_ANCHORS.on_one_level().scaled_to(RESIZE),
        num_proposals=(50, 50),
        num_regions=16,
        width=8,
        pyramid_width=8,
        head_width=16,
    ),
)
ONCE = replace(TINY, training=replace(TINY.training, epochs=1))


def build_task(recipe: Recipe, dataset: DigitDataset) -> tuple[Task, torch.nn.Module]:
    torch.manual_seed(0)
    network = build_digit_rcnn(recipe.model, recipe.box_loss.term)
    return Task(recipe, dataset, dataset, CPU), network


def test_the_loss_is_the_sum_of_torchvisions_four_losses(train_set):
    task, network = build_task(TINY, train_set)
    batch = next(iter(task.batches(1, 4, seeded(0))))
    losses = task.losses(network, batch)
    assert list(losses) == ["loss", "objectness", "proposal", "class", "box"]
    assert losses["loss"].item() == pytest.approx(sum(value.item() for value in list(losses.values())[1:]))
    sum(losses.values()).backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


@pytest.mark.parametrize(("epoch", "share"), [(6, 1.0), (7, 0.9), (15, 0.5), (30, 0.5)])
def test_a_constant_term_only_scales_the_gradient_of_smooth_l1_by_the_reports_schedule(train_set, epoch, share):
    plain, constant = (
        measure_box_gradient(replace(TINY, box_loss=box_loss), train_set, epoch)
        for box_loss in (BoxLossConfig(), BoxLossConfig("diou", REPORT_SCHEDULE, constant=True))
    )
    torch.testing.assert_close(constant, share * plain)


def measure_box_gradient(recipe: Recipe, dataset: DigitDataset, epoch: int) -> torch.Tensor:
    task, network = build_task(recipe, dataset)
    batch = next(iter(task.batches(epoch, 4, seeded(0))))
    torch.manual_seed(1)  # for the sample of regions
    task.losses(network, batch)["box"].backward()
    return network.roi_heads.box_predictor.bbox_pred.weight.grad


LOSSES = ("loss", "objectness", "proposal", "class", "box")


def test_validation_returns_cocos_twelve_numbers_and_the_losses(train_set):
    task, network = build_task(TINY, train_set)
    assert tuple(task.validate(network.eval())) == (*TWELVE, *(f"valid_{name}" for name in LOSSES))
    assert task.monitor in TWELVE


def test_losses_on_the_selection_set_change_neither_the_network_nor_the_generator(train_set):
    task, network = build_task(TINY, train_set)
    network.eval()
    weights = {name: value.clone() for name, value in network.state_dict().items()}
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    losses = task.measure_losses(network)
    assert torch.equal(torch.rand(1), expected)
    assert task.measure_losses(network) == losses
    assert all(torch.equal(weights[name], value) for name, value in network.state_dict().items())
    assert not any(part.training for part in network.modules())
    assert losses["loss"] == pytest.approx(sum(losses[name] for name in LOSSES[1:]))


def test_the_loss_on_a_set_is_the_mean_over_its_images(train_set):
    task, network = build_task(TINY, train_set)
    with torch.no_grad():
        network.roi_heads.box_predictor.bbox_pred.weight.zero_()
        network.roi_heads.box_predictor.cls_score.weight.zero_()
        network.roi_heads.box_predictor.cls_score.bias.zero_()
    assert task.measure_losses(network.eval())["class"] == pytest.approx(math.log(11))


def test_an_interrupted_training_resumes_to_the_same_weights_even_if_a_worker_decodes(
    train_set, valid_set, tmp_path, monkeypatch
):
    def interrupt(row, model):
        raise KeyboardInterrupt

    uninterrupted = train(TINY, tmp_path / "uninterrupted", train_set=train_set, selection_set=valid_set, device=CPU)
    monkeypatch.setattr(digit_training, "count_workers", lambda device: 1)
    with pytest.raises(KeyboardInterrupt):
        train(
            TINY, tmp_path / "stopped", train_set=train_set, selection_set=valid_set, device=CPU, on_epoch_end=interrupt
        )
    resumed = train(TINY, tmp_path / "stopped", train_set=train_set, selection_set=valid_set, device=CPU)
    expected = uninterrupted.model.state_dict()
    assert all(torch.equal(expected[name], value) for name, value in resumed.model.state_dict().items())
    assert [row["loss"] for row in resumed.history] == [row["loss"] for row in uninterrupted.history]


def test_checkpoints_of_other_data_or_another_recipe_are_refused_with_the_difference(train_set, valid_set, tmp_path):
    train(ONCE, tmp_path, train_set=train_set, selection_set=valid_set, device=CPU)
    with pytest.raises(checkpoints.CheckpointError, match="train_set is"):
        train(ONCE, tmp_path, train_set=train_set.select(range(6)), selection_set=valid_set, device=CPU)
    with pytest.raises(checkpoints.CheckpointError, match=r"recipe\.box_loss\.term is None there and 'giou' here"):
        train(
            replace(ONCE, box_loss=BoxLossConfig("giou")),
            tmp_path,
            train_set=train_set,
            selection_set=valid_set,
            device=CPU,
        )


def test_the_next_lesson_loads_the_detector_of_lesson_7(train_set, valid_set, tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "RUNS", tmp_path)
    run = runtime.Run("07_digit_detection", "smoke", 3, CPU, tmp_path)
    first = lesson_model("main", TINY, run, train_set, valid_set)
    assert (tmp_path / "07_digit_detection" / "smoke" / "main_seed3" / checkpoints.BEST).exists()
    assert (first.recipe.training.epochs, first.recipe.training.seed) == (1, 3)
    assert lesson_model("main", TINY, run, train_set, valid_set).history == first.history


def test_fine_tuning_starts_from_the_given_weights_and_its_checkpoint_names_them(train_set, valid_set, tmp_path):
    first = train(ONCE, tmp_path / "first", train_set=train_set, selection_set=valid_set, device=CPU)
    no_step = replace(ONCE, training=replace(ONCE.training, learning_rate=0.0))
    tuned = train(
        no_step, tmp_path / "tuned", train_set=train_set, selection_set=valid_set, device=CPU, start=first.model
    )
    for parameter, start in zip(tuned.model.parameters(), first.model.parameters(), strict=True):
        assert torch.equal(parameter, start)
    with pytest.raises(checkpoints.CheckpointError, match=r"start is '\w+' there and None here"):
        train(no_step, tmp_path / "tuned", train_set=train_set, selection_set=valid_set, device=CPU)


def test_detections_have_the_order_of_the_dataset(train_set, tmp_path):
    detector = train(ONCE, tmp_path, train_set=train_set, selection_set=train_set, device=CPU)
    order = [3, 11, 0, 7]
    detections = detector.detect(train_set.select(sorted(order)))
    shuffled = detector.detect(train_set.select(order))
    for place, row in enumerate(order):
        expected = detections[sorted(order).index(row)]
        assert len(expected.scores) > 0
        assert all(torch.equal(*columns) for columns in zip(shuffled[place], expected, strict=True))


def test_variants_share_their_seeds_and_are_loaded_in_the_next_call(train_set, valid_set, tmp_path):
    variants = {"smooth-L1": ONCE, "CIoU": replace(ONCE, box_loss=BoxLossConfig("ciou"))}
    train_one = partial(train, train_set=train_set, selection_set=valid_set, device=CPU)
    first = training.train_variants(variants, 2, tmp_path, train_one)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "ciou_seed0",
        "ciou_seed1",
        "smooth_l1_seed0",
        "smooth_l1_seed1",
    ]
    assert [detector.recipe.training.seed for detector in first["CIoU"]] == [0, 1]
    again = training.train_variants(variants, 2, tmp_path, train_one)
    assert [detector.history for detector in again["CIoU"]] == [detector.history for detector in first["CIoU"]]


def test_the_recipe_of_the_profile_full_runs_end_to_end_with_a_smaller_budget_and_random_weights(
    train_set, valid_set, tmp_path, monkeypatch
):
    monkeypatch.setattr(paths, "RUNS", tmp_path)
    run = runtime.Run("07_digit_detection", "full", 0, CPU, tmp_path)
    # Images, regions and epochs are smaller, and no weights are downloaded. Everything else is as at `full`.
    small = replace(
        REPORT,
        training=replace(REPORT.training, epochs=1, batch_size=2),
        model=replace(REPORT.model, weights=None, resize=Resize(64, 128), num_proposals=(50, 50), num_regions=16),
    )
    recipe, full_recipe = vary_anchors(small)["fitted"], vary_anchors(REPORT)["fitted"]
    assert changed_fields(recipe, full_recipe) == {"training", "model"}
    assert changed_fields(recipe.training, full_recipe.training) == {"epochs", "batch_size"}
    budget = {"resize", "anchors", "num_proposals", "num_regions"}
    assert changed_fields(recipe.model, full_recipe.model) == {"weights"} | budget
    assert replace(recipe.model.anchors, scale=1.0) == full_recipe.model.anchors
    images, selection_set = train_set.select(range(4)), valid_set.select(range(2))
    detector = lesson_model("main", recipe, run, images, selection_set)
    assert len(detector.history) == 1
    write_predictions(tmp_path / "pred.json", selection_set.image_ids, detector.detect(selection_set))
    assert len(read_predictions(tmp_path / "pred.json", selection_set)) == 2


def test_a_detector_overfits_two_house_numbers_and_the_files_have_them(train_set, tmp_path, float32):
    images = train_set.select(range(2))
    recipe = replace(
        QUICK,
        training=replace(QUICK.training, epochs=8, batch_size=2, learning_rate=5e-3),
        model=replace(QUICK.model, width=16, pyramid_width=32, head_width=64, num_regions=32),
        augmentation=AugmentationConfig(0, 0, 0),
    )
    repeated = train_set.select([0, 1] * 40)
    detector = train(recipe, tmp_path, train_set=repeated, selection_set=images, device=CPU)
    write_predictions(tmp_path / "pred.json", images.image_ids, detector.detect(images))
    detections, numbers = read_predictions(tmp_path / "pred.json", images), true_numbers(images.file)
    reading = choose_reading(detections, numbers)
    write_numbers(tmp_path / "pred.csv", images.image_ids, read_numbers(detections, reading))
    assert measure_accuracy(check_numbers(tmp_path / "pred.csv", images.image_ids), numbers) == 1.0
